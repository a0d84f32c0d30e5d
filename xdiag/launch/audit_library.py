"""Where our rtld-audit library is (cffi_build/audit), which LD_AUDIT names."""

from __future__ import annotations

from pathlib import Path

from xdiag.errors import CannotRun
from xdiag.launch.trust import check_trusted

#: Filled in by the build (cffi_build/build_native.py).
_BUILT = Path(__file__).resolve().parent.parent / "_lib" / "audit" / "libxdiag-audit.so"


def path() -> str:
    """The audit library's file.

    Raises CannotRun where it was not built, or lies where others could have put another one.
    """
    if not _BUILT.is_file():
        raise CannotRun(
            f"this installation has no audit library ({_BUILT} is missing):"
            " run `make native`, or install xdiag from a wheel"
        )
    check_trusted(str(_BUILT), what="the audit library")
    return str(_BUILT)
