"""Files that appear whole or not at all: written beside their place, then renamed to it."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from xdiag.errors import CannotRun

#: Characters of a name that are kept in that of the temporary file, which has more besides.
_LONGEST = 100


def place(path: str) -> str:
    """The file that ``path`` leads to, through links to what the user wants to see changed.

    Raises CannotRun for what could not be written later, after the work is done.
    """
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise CannotRun(f"cannot write {path}: it is a directory")
    if not target.parent.is_dir():
        raise CannotRun(f"cannot write {path}: there is no directory {target.parent}")
    if target.exists() and not target.is_file():
        raise CannotRun(f"cannot write {path}: not a regular file")
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise CannotRun(f"cannot write {path}: no permission to write into {target.parent}")
    return str(target)


def write(data: bytes, path: str, *, private: bool = False) -> None:
    """Put ``data`` at ``path``, which ``place`` gave; what is there keeps its permissions.

    A new file is anybody's who may read such files here, with ``private`` its user's alone.
    Raises CannotRun; Ctrl-C leaves what was there before.
    """
    target = Path(path)
    temporary = ""
    try:
        fd, temporary = tempfile.mkstemp(prefix=f".{target.name[:_LONGEST]}.", dir=target.parent)
        with os.fdopen(fd, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, _mode(target, private))
        os.replace(temporary, target)
        temporary = ""
        _sync_directory(target.parent)
    except OSError as error:
        raise CannotRun(f"cannot write {path}: {error.strerror}") from error
    finally:
        if temporary and os.path.exists(temporary):
            os.unlink(temporary)


def _mode(target: Path, private: bool) -> int:
    if target.exists():
        return stat.S_IMODE(target.stat().st_mode)
    mask = os.umask(0)
    os.umask(mask)
    return 0o600 if private else 0o666 & ~mask


def _sync_directory(folder: Path) -> None:
    """Have the new name itself on the disk; some file systems have no such thing."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    except OSError:
        pass
    finally:
        os.close(fd)
