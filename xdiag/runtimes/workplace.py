"""Where runtimes are put together: aside, under a lock, and renamed when they are whole.

An interrupted command leaves nothing that could be taken for a runtime; the next one clears up.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from xdiag.errors import CannotRun
from xdiag.runtimes import cache
from xdiag.runtimes.apt import free_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Say = Callable[[str], None]

_PARTIAL = ".partial-"


@contextmanager
def workplace(say: Say) -> Iterator[tuple[Path, Path]]:
    """The directory of the entries, and an empty one beside them that is gone at the end.

    Only one process of this user is in here at a time; the others wait.  Raises CannotRun, which
    says what to do, where the cache cannot be written to, also for what fails inside.
    """
    folder = cache.folder("runtimes")
    try:
        with _lock(folder, say), _private(folder) as work:
            yield folder, work
    except OSError as error:
        raise _explained(error, folder) from error


def fresh(path: Path) -> Path:
    """An empty directory at this path."""
    if path.exists():
        shutil.rmtree(path)
    path.mkdir()
    return path


def replace(destination: Path, entry: Path, work: Path) -> None:
    """Put a finished entry in its place; what processes have mapped of an old one stays theirs."""
    entry.chmod(0o755)
    if destination.exists():
        put_away(destination, work)
    entry.rename(destination)


def put_away(entry: Path, work: Path) -> None:
    """Take an entry out of its place at once; it is deleted with the workplace."""
    entry.rename(Path(tempfile.mkdtemp(prefix="old-", dir=work)) / entry.name)


def refuse_small_disk(folder: Path, needed: int) -> None:
    """Raises CannotRun if the disk has less room than ``needed`` bytes."""
    free = free_bytes(folder)
    if free < needed:
        raise CannotRun(
            f"{folder} has {free >> 20} MiB free, a runtime needs {needed >> 20}: make room, or set"
            " XDG_CACHE_HOME to another disk"
        )


@contextmanager
def _lock(folder: Path, say: Say) -> Iterator[None]:
    """Be the only one of this user who changes the entries."""
    with open(folder / ".lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Another xdiag is adding a runtime: waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def _private(folder: Path) -> Iterator[Path]:
    """A private directory beside the entries, gone at the end; the lock has to be held."""
    for stale in folder.glob(_PARTIAL + "*"):
        shutil.rmtree(stale, ignore_errors=True)
    work = Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=folder))
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _explained(error: OSError, folder: Path) -> CannotRun:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return CannotRun(
            f"no space left for {folder}: make room, or set XDG_CACHE_HOME to another disk"
        )
    reason = error.strerror or str(error)
    where = os.fsdecode(error.filename) if error.filename else str(folder)
    return CannotRun(f"cannot write to the cache: {where}: {reason}; set XDG_CACHE_HOME")
