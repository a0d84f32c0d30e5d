"""Where xdiag's own native parts are: the software agent, and the cache of compiled kernels."""

from __future__ import annotations

from pathlib import Path

from xdiag.errors import CannotRun

#: Filled in by the build (cffi_build/build_native.py).
NATIVE_PARTS = Path(__file__).resolve().parent.parent / "_lib"

AGENT = "libhsa-runtime64.so.1"
COMGR = "libamd_comgr.so.2"


def library() -> Path:
    """The software agent; raises CannotRun if it was not built."""
    path = NATIVE_PARTS / "agent" / AGENT
    if not path.is_file():
        raise CannotRun(
            f"this installation has no software agent ({path} is missing):"
            " run `make native`, or install xdiag from a wheel"
        )
    return path


def kernel_cache() -> Path | None:
    """The library that keeps compiled kernels in the place of ``COMGR``; None if not built."""
    path = NATIVE_PARTS / "kernel-cache" / COMGR
    return path if path.is_file() else None
