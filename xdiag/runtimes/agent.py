"""Where xdiag's own native parts are: the software agent, and the cache of compiled kernels."""

from __future__ import annotations

import mmap
import re
from pathlib import Path

from xdiag.errors import CannotRun

#: Filled in by the build (cffi_build/build_native.py).
NATIVE_PARTS = Path(__file__).resolve().parent.parent / "_lib"

AGENT = "libhsa-runtime64.so.1"
#: What a runtime opens its compiler by, as it stands among its strings: libamd_comgr.so.2 in HIP 5
#: to 6.3, libamd_comgr.so.3 in 6.4 and later (Debian's 5.2.3, 5.7.1, 6.4.3, 7.2.4).
_COMGR = re.compile(rb"\0(libamd_comgr\.so\.\d+)\0")
_COMGR_BEFORE = "libamd_comgr.so.2"


def library() -> Path:
    """The software agent; raises CannotRun if it was not built."""
    path = NATIVE_PARTS / "agent" / AGENT
    if not path.is_file():
        raise CannotRun(
            f"this installation has no software agent ({path} is missing):"
            " run `make native`, or install xdiag from a wheel"
        )
    return path


def compiler_of(runtime: str) -> str:
    """The name by which a runtime opens AMD's compiler (comgr); raises OSError."""
    with open(runtime, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as all_:
        found = _COMGR.search(all_)
        return found[1].decode() if found else _COMGR_BEFORE


def kernel_cache(compiler: str) -> Path | None:
    """The library that keeps compiled kernels in the place of this one; None if not built."""
    path = NATIVE_PARTS / "kernel-cache" / compiler
    return path if path.is_file() else None
