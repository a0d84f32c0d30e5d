"""Where our rtld-audit library is (cffi_build/audit), which LD_AUDIT names."""

from __future__ import annotations

from pathlib import Path

from xdiag.errors import CannotRun

#: Filled in by the build (cffi_build/build_native.py).
_BUILT = Path(__file__).resolve().parent.parent / "_lib" / "audit" / "libxdiag-audit.so"


def path() -> str:
    """The audit library's file; raises CannotRun where it was not built."""
    if not _BUILT.is_file():
        raise CannotRun(
            f"this installation has no audit library ({_BUILT} is missing):"
            " run `make native`, or install xdiag from a wheel"
        )
    return str(_BUILT)
