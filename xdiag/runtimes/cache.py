"""The per-user cache directory, by the rules of the XDG Base Directory Specification."""

from __future__ import annotations

import errno
import os
import pwd
from pathlib import Path

from xdiag.errors import CannotRun

#: Separators in LD_LIBRARY_PATH, which cannot be quoted there.
SEPARATORS = ":;"


def root() -> Path:
    """Where the cache is, or would be; raises CannotRun where the user has no home."""
    told = os.environ.get("XDG_CACHE_HOME", "")
    # "If an implementation encounters a relative path ... it should ignore it."
    if os.path.isabs(told):
        return Path(told) / "xdiag"
    # Not Path.home(): it takes an empty HOME for the root directory.
    home = Path(os.environ.get("HOME") or _home_by_account())
    if not home.is_absolute():
        raise CannotRun("you have no home directory: set XDG_CACHE_HOME to one you can write to")
    return home / ".cache" / "xdiag"


def _home_by_account() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:  # a user id without an account, as in many containers
        return ""


def folder(*parts: str) -> Path:
    """A directory of the cache that can be written to, made where it is missing.

    Raises CannotRun, which says what to do, where it cannot be made or written to.
    """
    path = root().joinpath(*parts)
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(path, error.strerror or str(error)) from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise _unwritable(path, os.strerror(errno.EROFS if _read_only(path) else errno.EACCES))
    return path


def _read_only(path: Path) -> bool:
    """Whether the file system is, where not even root may write."""
    try:
        return bool(os.statvfs(path).f_flag & os.ST_RDONLY)
    except OSError:
        return False


def _unwritable(path: Path, reason: str) -> CannotRun:
    return CannotRun(
        f"cannot write to the cache {path}: {reason};"
        " set XDG_CACHE_HOME to a directory you can write to"
    )
