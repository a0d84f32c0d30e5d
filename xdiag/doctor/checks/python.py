"""Checks of the Python environment: the interpreter, torch, and who else brings a runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xdiag.discover.names import HIP
from xdiag.doctor.check import Check
from xdiag.doctor.checks.runtimes import described
from xdiag.errors import CannotRun
from xdiag.findings import passed, skipped, warned

if TYPE_CHECKING:
    from xdiag.doctor.patient import Patient
    from xdiag.findings import Finding

_NO_PYTHON = "there is no Python here"


def _interpreter(patient: Patient) -> Finding:
    if patient.interpreter is None:
        if patient.no_interpreter:
            raise CannotRun(patient.no_interpreter)
        if patient.program:
            return skipped(f"{patient.program} is no Python")
        return skipped(_NO_PYTHON)
    python = patient.python
    if python is None:
        return skipped(_NO_PYTHON)
    chosen = patient.interpreter
    kind = f", a virtual environment of {python.base_prefix}" if python.is_virtual else ""
    evidence = (
        f"{python.executable} ({chosen.because})",
        f"prefix {python.prefix}{kind}",
        *(f"packages in {folder}" for folder in python.site_dirs),
        *chosen.notes,
        *python.notes,
        *patient.distributions.notes,
    )
    if chosen.others:
        return warned(
            f"Python {python.version} is examined; torch is also in other environments here",
            *evidence,
            *(f"torch is also seen by {other}" for other in chosen.others),
            remedy=tuple(f"xdiag doctor --python {other}" for other in chosen.others),
        )
    if chosen.notes:
        return warned(
            f"Python {python.version} is examined, which is not the one that the shell is set for",
            *evidence,
            remedy=("name the one that is meant with --python",),
        )
    return passed(
        f"Python {python.version}; packages installed: {len(patient.distributions.found)}",
        *evidence,
    )


def _torch(patient: Patient) -> Finding:
    found = patient.torch
    if patient.python is None:
        return skipped(_NO_PYTHON)
    if found is None:
        return skipped("torch is not installed for this Python")
    evidence = [found.folder, f"torch.version.hip = {found.hip or None}",
                f"torch.version.cuda = {found.cuda or None}"]  # fmt: skip
    unread = sorted(path for path in patient.root.refused if path.startswith(found.folder))
    if unread:
        return warned(
            "torch may not be read by this user: nothing can be said of it",
            *unread,
            remedy=("run xdiag doctor as a user who may, or with sudo",),
        )
    if found.problem:
        return warned(f"torch is damaged: {found.problem}", *evidence)
    name = f"torch {found.version or 'of unknown version'}"
    if found.cuda:
        return warned(
            f"{name} is built for CUDA: it makes no HIP streams, and error 709 means something"
            " else there",
            *evidence,
            remedy=("for an AMD GPU install a build of PyTorch for ROCm",),
        )
    if not found.hip:
        return warned(
            f"{name} is built for the CPU: it makes no streams",
            *evidence,
            remedy=("for an AMD GPU install a build of PyTorch for ROCm",),
        )
    where = {
        "bundled": "it brings its own runtime",
        "wheels": "its runtime comes from AMD's ROCm wheels",
        "system": "it uses the system's runtime",
    }[found.runtime_from or "system"]
    evidence += [f"{found.library_dir}/{library}" for library in found.bundled]
    return passed(f"{name}, built for HIP {found.hip}; {where}", *evidence)


def _rocm_wheels(patient: Patient) -> Finding:
    if not patient.rocm_wheels:
        return skipped("AMD's ROCm wheels are not installed for this Python")
    evidence = [
        f"{wheel.package} ({wheel.distribution} {wheel.version}): {wheel.folder}"
        for wheel in patient.rocm_wheels
    ]
    with_runtime = [
        file for file in patient.libraries.of(HIP)
        if any(file.path.startswith(f"{wheel.folder}/") for wheel in patient.rocm_wheels)
    ]  # fmt: skip
    evidence += [described(file, patient) for file in with_runtime]
    if len(with_runtime) > 1:
        return warned(
            "two of AMD's ROCm wheels have a HIP runtime each, and a bare name may find either",
            *evidence,
            remedy=(
                "leave the devel wheel out of what runs, or open libraries by"
                " rocm_sdk.find_libraries instead of by name",
            ),
        )
    torch = patient.torch
    versions = {wheel.version for wheel in patient.rocm_wheels if wheel.version}
    if torch is not None and torch.wants_rocm and versions and torch.wants_rocm not in versions:
        return warned(
            f"torch is built for ROCm wheels {torch.wants_rocm}, installed are"
            f" {', '.join(sorted(versions))}",
            *evidence,
            remedy=(f"pip install 'rocm[libraries]=={torch.wants_rocm}'",),
        )
    return passed("AMD's ROCm wheels are here, with one HIP runtime at most", *evidence)


def _bundled(patient: Patient) -> Finding:
    if patient.python is None:
        return skipped(_NO_PYTHON)
    found = [file for file in patient.libraries.files if file.source == "package"]
    runtimes = [file for file in found if file.family == HIP and not file.problem]
    evidence = [described(file, patient) for file in found]
    if runtimes:
        names = ", ".join(dict.fromkeys(file.package for file in runtimes))
        return warned(
            f"besides torch and ROCm, a HIP runtime is bundled by {names}",
            *evidence,
            remedy=("forecast.agreement tells whether it will be opened beside another",),
        )
    return passed(
        "no package but torch and ROCm's bundles a HIP runtime", *evidence, *patient.tree.skipped
    )


CHECKS = (
    Check("python.interpreter", "the interpreter and its packages", _interpreter,
          severity="risk"),
    Check("python.torch", "torch: version, build, where its runtime is from", _torch,
          severity="risk", requires=("python.interpreter",)),
    Check("python.rocm-wheels", "AMD's ROCm wheels: core, devel, libraries", _rocm_wheels,
          severity="risk", requires=("python.interpreter",)),
    Check("python.bundled", "packages that bundle a runtime", _bundled, severity="risk",
          requires=("python.interpreter",)),
)  # fmt: skip
