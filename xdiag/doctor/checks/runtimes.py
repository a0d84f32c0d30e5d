"""Checks of the GPU libraries on disk: which files there are, and which are one too many."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xdiag.discover import libraries
from xdiag.discover.names import HIP, SHIM, identity
from xdiag.doctor.check import Check
from xdiag.doctor.forecast import OURSELVES
from xdiag.findings import passed, skipped, warned
from xdiag.loaded import FAMILIES

if TYPE_CHECKING:
    from xdiag.discover.libraries import LibraryFile
    from xdiag.doctor.patient import Patient
    from xdiag.findings import Finding


_TO_EXPERIMENT = (
    "to experiment all the same: xdiag runtimes lists what xdiag itself can use, and xdiag runtimes"
    " add fetches AMD's, without root",
)


def _found(patient: Patient) -> Finding:
    usable = _usable(patient, HIP)
    others = [
        file for family in (*FAMILIES, SHIM) if family != HIP
        for file in _usable(patient, family)
    ]  # fmt: skip
    evidence = [described(file, patient) for file in (*usable, *others)]
    if not usable:
        return warned(
            "there is no HIP runtime where it was looked",
            *evidence,
            *patient.libraries.looked,
            *patient.tree.skipped,
            remedy=_TO_EXPERIMENT if patient.root.is_this_machine else (),
        )
    return passed(
        f"HIP runtimes: {len(usable)}; other GPU libraries: {len(others)}",
        *evidence,
        *patient.tree.skipped,
    )


def _usability(patient: Patient) -> Finding:
    bad = [file for file in patient.libraries.files if file.problem]
    if not patient.libraries.files:
        return skipped("no GPU library was found")
    if bad:
        return warned(
            f"{_files(len(bad))} with a GPU library's name cannot be used here",
            *(file.problem for file in bad),
            remedy=("remove the file, or make the link lead to a library that is there",),
        )
    return passed("every GPU library found can be read, and is one of this machine")


def _copies(patient: Patient) -> Finding:
    usable = _usable(patient, HIP)
    if not usable:
        return skipped("no HIP runtime was found")
    if len(usable) == 1:
        return passed("one HIP runtime only was found", described(usable[0], patient))
    return warned(
        f"{len(usable)} HIP runtimes: a program that opens two of them is refused by one (709)",
        *(described(file, patient) for file in usable),
        remedy=("whether a program will open two is told by forecast.agreement",),
    )


def _same_bytes(patient: Patient) -> Finding:
    usable = [file for file in patient.libraries.files if not file.problem]
    if not usable:
        return skipped("no GPU library was found")
    groups = libraries.copies(usable, patient.root)
    if not groups:
        return passed("no GPU library was found twice")
    evidence = []
    for group in groups:
        evidence.append(f"the same {group.same}:")
        evidence += [f"  {described(file, patient)}" for file in group.files]
    return warned(
        "one library, several files: to the dynamic loader each is a library of its own",
        *evidence,
        remedy=(
            "replace all but one by a symbolic link to it (a hard link is lost when an image's"
            " layers are unpacked)",
        ),
    )


def _majors(patient: Patient) -> Finding:
    usable = _usable(patient, HIP)
    if not usable:
        return skipped("no HIP runtime was found")
    majors = sorted({file.soname.rpartition(".so")[2] for file in usable})
    named = ", ".join(f"{HIP}.so{major}" for major in majors)
    if len(majors) > 1:
        return warned(
            f"HIP runtimes of several ABIs: {named}",
            *(described(file, patient) for file in usable),
            "a request for one SONAME never finds a loaded library of another: a process with"
            " users of both has two runtimes",
            remedy=("install everything for one major version of ROCm",),
        )
    return passed(f"one ABI of the HIP runtime: {named}")


def described(file: LibraryFile, patient: Patient) -> str:
    """One line about a file: path, which file it is, what it is, whose it is."""
    parts = [identity(file.device, file.inode), f"{file.size:,} bytes"]
    if file.soname:
        parts.append(f"SONAME {file.soname}")
    if file.version:
        parts.append(f"version {file.version}")
    if file.build_id:
        parts.append(f"build id {file.build_id[:12]}")
    ours = file.source == "package" and file.package == OURSELVES
    no_owner = "xdiag's own stand-in" if ours else f"of no package ({file.source})"
    parts.append(patient.owners.get(file.real_path) or no_owner)
    path = file.path if file.path == file.real_path else f"{file.path} -> {file.real_path}"
    more = len(file.names) - 1
    also = f" and {more} more name{'s' if more > 1 else ''}" if more > 0 else ""
    return f"{path}{also}: {', '.join(parts)}"


def _usable(patient: Patient, family: str) -> list[LibraryFile]:
    return [file for file in patient.libraries.of(family) if not file.problem]


def _files(count: int) -> str:
    return "one file" if count == 1 else f"{count} files"


CHECKS = (
    Check("runtimes.found", "GPU libraries on disk", _found, severity="risk"),
    Check("runtimes.usable", "broken links, damaged files, other machines' libraries", _usability,
          severity="risk"),
    Check("runtimes.copies", "whether there is more than one HIP runtime", _copies,
          severity="risk"),
    Check("runtimes.same-bytes", "one library in several files", _same_bytes, severity="risk"),
    Check("runtimes.majors", "HIP runtimes of different ABIs", _majors, severity="risk"),
)  # fmt: skip
