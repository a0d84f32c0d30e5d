"""Versions of what takes part, read from files: nothing is imported for it."""

from __future__ import annotations

import os
import platform
import sys
from typing import TYPE_CHECKING

from xdiag import __version__
from xdiag.errors import XdiagError
from xdiag.model import Record

if TYPE_CHECKING:
    from xdiag.doctor.patient import Patient


class Versions(Record, frozen=True):
    """Versions; empty where there is none, or none is told."""

    xdiag: str
    #: The Python that runs xdiag, and the one that was examined.
    python: str
    examined_python: str
    libc: str
    kernel: str
    #: PyTorch as its version.py has it, with the HIP or CUDA that it was built for.
    torch: str = ""
    torch_hip: str = ""
    torch_cuda: str = ""
    #: Where its runtime comes from: bundled, wheels, system.
    torch_runtime: str = ""
    #: XSched says no version of itself: where it is, and its bindings.
    xsched: tuple[str, ...] = ()
    #: The kernel's driver, and the GPUs that it shows.
    driver: str = ""
    gpus: tuple[str, ...] = ()


def versions(patient: Patient) -> Versions:
    """What is installed for this patient; what cannot be read is left empty."""
    try:
        python, torch = patient.python, patient.torch
    except XdiagError:
        python = torch = None
    return Versions(
        xdiag=__version__,
        python=f"{platform.python_implementation()} {platform.python_version()} ({sys.executable})",
        examined_python=f"{python.version} ({python.executable})" if python is not None else "",
        libc=_libc(),
        kernel=f"{platform.release()} {platform.machine()}",
        torch=torch.version if torch is not None else "",
        torch_hip=torch.hip if torch is not None else "",
        torch_cuda=torch.cuda if torch is not None else "",
        torch_runtime=torch.runtime_from if torch is not None else "",
        xsched=_xsched(patient),
        driver=patient.devices.driver,
        gpus=tuple(f"{gpu.target} {gpu.name}".strip() for gpu in patient.devices.gpus),
    )


def _libc() -> str:
    try:
        return os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (ValueError, OSError):  # not the GNU C library
        return " ".join(filter(None, platform.libc_ver()))


def _xsched(patient: Patient) -> tuple[str, ...]:
    found = patient.xsched
    return (
        *(f"{', '.join(each.libraries)} in {each.folder}" for each in found.installations),
        *(f"{each.kind} binding {each.path}" for each in found.bindings),
    )
