"""Checks of XSched: is it whole, does its binding pass the handle, which runtime will it open."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from xdiag.discover import elf, xsched
from xdiag.doctor import bindings
from xdiag.doctor.check import Check
from xdiag.findings import failed, passed, skipped, warned

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from xdiag.discover.xsched import Binding
    from xdiag.doctor.bindings import Import
    from xdiag.doctor.patient import Patient
    from xdiag.findings import Finding

_NEWER = "or use the binding of June 2026 or later (xsched.hip)"
#: The modules that bindings are, by their kinds; imports of them that are shown.
_MODULES = {"current": bindings.CURRENT, "old": bindings.OLD}
_MOST_SHOWN = 4
_ANEW = "build or install XSched for HIP anew (make hip): both libraries lie in its lib directory"
_ABSENT = "XSched is not here (set XSCHED_ROOT to its prefix if it is in an unusual place)"


def _libraries(patient: Patient) -> Finding:
    found = patient.xsched.installations
    evidence = [f"{each.folder}: {', '.join((*each.libraries, *each.others))}" for each in found]
    told = patient.environ.get("XSCHED_ROOT", "")
    if told and not patient.root.is_dir(os.path.join(patient.cwd, told)):
        return warned(
            "XSCHED_ROOT leads to no directory",
            f"XSCHED_ROOT={told}",
            *evidence,
            remedy=("set XSCHED_ROOT to the prefix that XSched was installed to, or unset it",),
        )
    places = xsched.named_places(patient.environ, patient.cwd)
    if told and not any(each.folder in places for each in found):
        return warned(
            "XSCHED_ROOT leads to no installation of XSched",
            f"XSCHED_ROOT={told}",
            f"none of its libraries is in {' or '.join(places)}",
            *evidence,
            remedy=("set XSCHED_ROOT to the prefix that XSched was installed to, or unset it",),
        )
    if not patient.xsched.present:
        if not found:
            return skipped(_ABSENT)
        return warned(
            f"XSched is here, built for another platform than HIP: there is no {xsched.HAL}",
            *evidence,
            remedy=("set XSCHED_ROOT to the prefix of a build for HIP, or build it (make hip)",),
        )
    problems = [problem for each in found for problem in each.problems]
    if not found:
        return warned(
            "a Python binding of XSched is there, its libraries are not",
            *(binding.path for binding in patient.xsched.bindings),
            remedy=("set XSCHED_ROOT to XSched's prefix, and LD_LIBRARY_PATH to its lib",),
        )
    if problems:
        return failed(
            "a library of XSched cannot be loaded here",
            *evidence,
            *problems,
            remedy=("build or install XSched for this machine anew",),
        )
    if mixed := [each.two_versions for each in found if each.two_versions]:
        return failed(
            "XSched's libraries are of two versions",
            *evidence,
            *mixed,
            remedy=("install XSched anew, into an empty directory",),
        )
    whole = [each for each in found if xsched.HAL in each.libraries]
    if not whole:
        return warned(
            f"XSched is not whole: there is no {xsched.HAL}",
            *evidence,
            remedy=(_ANEW,),
        )
    if halves := [each.folder for each in whole if xsched.PREEMPT not in each.libraries]:
        return _half(halves, evidence, patient)
    if len(whole) > 1:
        return warned(
            "XSched is here more than once",
            *evidence,
            remedy=("leave one of them on LD_LIBRARY_PATH",),
        )
    return passed("XSched's libraries are here", *evidence)


def _half(folders: Sequence[str], evidence: Sequence[str], patient: Patient) -> Finding:
    """A HAL without the library that it needs beside it: it gets another one's, or cannot start."""
    others = {folder: _elsewhere(folder, patient) for folder in folders}
    missing = [folder for folder, other in others.items() if not other]
    told = [
        f"{xsched.HAL} in {folder} needs {xsched.PREEMPT}, which is not there"
        + (f"; {other} has one, which may be of another version" if other else "")
        for folder, other in others.items()
    ]
    report = failed if missing else warned
    how = "not to be found" if missing else "not beside it"
    return report(
        f"XSched is not whole: {xsched.HAL} needs {xsched.PREEMPT}, which is {how}",
        *evidence,
        *told,
        remedy=(_ANEW,),
    )


def _elsewhere(folder: str, patient: Patient) -> str:
    """A directory besides ``folder`` from which its HAL may be given PREEMPT; empty for none."""
    root = patient.root
    places = _entries(patient.environ.get("LD_LIBRARY_PATH", ""))
    with contextlib.suppress(elf.BadElf):
        read = elf.read(os.path.join(folder, xsched.HAL), root)
        places += _entries((read.runpath or read.rpath).replace("$ORIGIN", folder))
    places += [each.folder for each in patient.xsched.installations]
    return next((each for each in places if root.is_file(f"{each}/{xsched.PREEMPT}")), "")


def _shim(patient: Patient) -> Finding:
    links = [(each, link) for each in patient.xsched.installations for link in each.shim_links]
    if not links:
        return skipped("no link of XSched's shim stands in for the runtime")
    evidence = [f"{link} -> {xsched.SHIM}" for _, link in links]
    folders = _entries(patient.environ.get("LD_LIBRARY_PATH", ""))
    on_path = [each.folder for each, _ in links if each.folder in folders]
    preloaded = xsched.SHIM in patient.environ.get("LD_PRELOAD", "")
    if on_path and not preloaded:
        return warned(
            "LD_LIBRARY_PATH puts XSched's shim before the runtime, for some requests only",
            *evidence,
            "caught: programs that need libamdhip64.so or .so.1 and have no RPATH",
            "not caught: a need for libamdhip64.so.5 or later, and the libraries of a framework"
            " wheel, whose RPATH comes first",
            remedy=(f"export LD_PRELOAD={on_path[0]}/{xsched.SHIM} catches both",),
        )
    way = "LD_PRELOAD loads it" if preloaded else "nothing puts it before the runtime"
    return passed(f"XSched's shim is installed; {way}", *evidence)


def _binding(patient: Patient) -> Finding:
    found = patient.xsched.bindings
    imports = bindings.imports(patient)
    asked = tuple(dict.fromkeys(each.module for each in imports or ()))
    if not found and not asked:
        return skipped("no Python binding of XSched is on the search path")
    got = {_MODULES[each.kind]: each for each in found if not each.hidden_by}
    evidence = [*_got(found, asked), *(f"{_place(each)} imports {each.module}"
                                       for each in (imports or ())[:_MOST_SHOWN])]  # fmt: skip
    narrow = [name for name, each in got.items() if each.call_line and not each.full_width]
    whole = [name for name, each in got.items() if each.full_width]
    missing = [name for name in asked if name not in got]
    if narrow and (not asked or missing != [*asked]):
        return _cut(got[narrow[0]], narrow[0], whole, imports, evidence)
    if missing:
        return warned(
            f"the program imports {missing[0]}, and no module of that name would be found",
            *evidence,
            remedy=_to_be_found(missing[0], found, got),
        )
    if any(each.problem for each in found):
        return warned("a binding of XSched cannot be read", *evidence)
    if any(each.hidden_by for each in found):
        return warned("a binding of XSched is hidden by another module", *evidence)
    return passed("XSched's binding passes a handle whole", *evidence)


def _cut(
    where: Binding,
    name: str,
    whole: Sequence[str],
    imports: Sequence[Import] | None,
    evidence: Sequence[str],
) -> Finding:
    """A binding that cuts handles is here: what that means for the program, if that is known."""
    asked = {each.module for each in imports or ()}
    cut = f"{name}, which passes a stream's handle cut to 32 bits"
    cuts = f"{name} passes a stream's handle cut to 32 bits"
    also = f"{whole[0]} passes it whole" if whole else ""
    if name in asked and asked.isdisjoint(whole):
        report, summary = failed, f"the program imports {cut}"
    elif name in asked:
        report, summary = warned, f"{cuts}, and {also}: the program imports both"
    elif imports is not None:
        report, summary = warned, f"{cuts}; no file of the program's own imports it"
    elif whole:
        report, summary = warned, f"{cuts}, and {also}: what is imported decides"
    else:
        report, summary = failed, f"the binding of XSched that is here is {cut}"
    return report(
        summary,
        *evidence,
        "ctypes passes a Python int as a C int where no argument type is declared: the handle"
        " 0x7f1287650010 arrives as 0xffffffff87650010, which no runtime knows (709)",
        remedy=(
            *(f"import {each} in the place of {name}" for each in whole),
            f"{'or ' * bool(whole)}pass ctypes.c_void_p(handle) instead of the int",
            f"or add to {where.path}: "
            "<library>.HipQueueCreate.argtypes ="
            " [ctypes.POINTER(ctypes.c_uint64), ctypes.c_void_p]",
            *([_NEWER] if where.kind == "old" and not whole else []),
            "to see it: xdiag probe --pattern truncated-handle --consumer replay",
        ),
    )


def _got(found: Sequence[Binding], asked: Sequence[str]) -> Iterator[str]:
    """What an import of each name gets, of those that are here or that the program imports."""
    by_name = {_MODULES[each.kind]: each for each in found}
    for name in dict.fromkeys((*by_name, *asked)):
        binding = by_name.get(name)
        if binding is None:
            yield f"import {name} finds no module"
        elif binding.hidden_by:
            yield (
                f"import {name} finds no module: xsched is {binding.hidden_by}, which comes before"
                f" {binding.path} on Python's path"
            )
        else:
            yield f"import {name} gets {_told(binding)}"


def _to_be_found(name: str, found: Sequence[Binding], got: Iterable[str]) -> tuple[str, ...]:
    hidden = [each for each in found if each.hidden_by and _MODULES[each.kind] == name]
    if hidden:
        return (f"remove {hidden[0].hidden_by}, or put the directory of the other one before it on"
                " PYTHONPATH",)  # fmt: skip
    other = [f"or import {each}, which is here" for each in got]
    return ("put its directory on PYTHONPATH", *other)


def _place(each: Import) -> str:
    return f"{each.path}, line {each.line},"


def _runtime(patient: Patient) -> Finding:
    if not patient.xsched.present:
        return skipped(_ABSENT)
    choice = patient.xsched.choice
    evidence = (choice.rule, *filter(None, [choice.ignored]))
    if not choice.path:
        return failed(
            "XSched will find no HIP runtime, and end the process",
            *evidence,
            remedy=(f"export {xsched.HIP_LIB}=<path of the runtime that the program loads>",),
        )
    if choice.ignored:
        return failed(
            f"{xsched.HIP_LIB} names no file; XSched will open {choice.path} instead",
            *evidence,
            remedy=(f"export {xsched.HIP_LIB}=<absolute path of a file that exists>",),
        )
    if "/" not in choice.path:
        return warned(
            f"{xsched.HIP_LIB} is a bare name: seen in the working directory, opened elsewhere",
            *evidence,
            "the file's existence is looked up in the working directory, dlopen then searches the"
            " loader's directories for the name",
            remedy=(f"export {xsched.HIP_LIB}=<absolute path>",),
        )
    return passed(f"XSched will open {choice.path}", *evidence)


def _told(binding: Binding) -> str:
    if binding.problem:
        return f"{binding.path}: {binding.problem}"
    text = f"{binding.path} ({binding.kind} binding)"
    if not binding.call_line:
        return f"{text}: does not call HipQueueCreate"
    declared = f"argtypes = {binding.argtypes} (line {binding.argtypes_line})"
    types = declared if binding.argtypes_line else "no argtypes"
    opens = binding.opens or "a library"
    means = "passes a handle whole" if binding.full_width else "cuts a handle to 32 bits"
    return f"{text}: calls HipQueueCreate of {opens}, line {binding.call_line}; {types}: {means}"


def _entries(path: str) -> list[str]:
    return [os.path.normpath(each) for each in path.replace(";", ":").split(":") if each]


CHECKS = (
    Check("xsched.libraries", "XSched's libraries", _libraries, severity="fault"),
    Check("xsched.shim", "what XSched's shim stands in for", _shim, severity="risk"),
    Check("xsched.binding", "whether the Python binding passes handles whole", _binding,
          severity="fault"),
    Check("xsched.runtime", "which runtime XSched's own search finds", _runtime,
          severity="fault"),
)  # fmt: skip
