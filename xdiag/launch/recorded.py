"""The record of one run: where it is kept, and what tells the program of it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
import time
from typing import TYPE_CHECKING

from xdiag.errors import CannotRun, Usage
from xdiag.launch import audit_library, trust
from xdiag.launch.reach import audit_variable
from xdiag.recording import create

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from xdiag.launch.reach import Reach

#: What the audit library reads (cffi_build/audit/audit.c).
_RECORD, _CALLS = "XDIAG_RECORD", "XDIAG_RECORD_CALLS"
#: Names in the private folder; seconds after which they can be left over; how many are looked at.
_RUN, HOOK = "run-", "hook-"
_FRESH = 60.0
_MOST_LEFT = 1000


class Recorded:
    """A record file for one run; a context manager that removes it if it has no name.

    ``path`` is where to keep it, None for a private place until the run is over.  ``calls`` is
    whether driver calls are recorded, or loads only.  ``fewer_threads`` is how many threads have a
    place in it, where the disk has too little room for the usual number; else None.  Raises Usage
    for a path that is no file's name, CannotRun where no safe place is.
    """

    def __init__(self, path: str | None, command: Sequence[str], *, calls: bool = True) -> None:
        self._kept = path is not None
        self._calls = calls
        self._noticed = False
        self._on_refusal: Callable[[], None] | None = None
        if path is None:
            folder = trust.private_folder()
            remove_leftovers(folder)
            # A name that is not there yet: the file is created, never opened.
            self._folder = tempfile.mkdtemp(prefix=_RUN, dir=folder)
            path = os.path.join(self._folder, "record")
        self.path = _file_name(path)
        folder_of_it = os.path.dirname(self.path)
        trust.check_trusted(folder_of_it, what="the record's directory")
        threads = create.threads_that_fit(folder_of_it, command)
        self.fewer_threads = threads if threads < create.THREADS else None
        self._file = create.create(self.path, command=command, threads=threads)

    def __enter__(self) -> Recorded:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()
        if not self._kept:
            with contextlib.suppress(OSError):
                os.unlink(self.path)
                os.rmdir(self._folder)

    @property
    def is_in_place(self) -> bool:
        """Whether the path leads to this run's record still, and not to something else."""
        return self._file.is_in_place

    def environment(self, environ: Mapping[str, str], reach: Reach) -> dict[str, str]:
        """``environ`` with what makes a program record itself; LD_AUDIT keeps what it names."""
        audit = audit_variable(audit_library.path(), environ.get("LD_AUDIT", ""))
        recorded = {**environ, **reach.settings, "LD_AUDIT": audit, _RECORD: self.path}
        if not self._calls:
            recorded[_CALLS] = "0"
        return recorded

    def at_first_refusal(self, say: Callable[[], None]) -> Callable[[], None]:
        """A function to call now and then; it calls ``say`` once, after the first refused call."""

        def look() -> None:
            if not self._noticed and self._file.refusals_seen:
                self._noticed = True
                say()

        return look


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of runs that were killed.

    A run holds locks on its files; what is younger than a minute may not be locked yet.
    """
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry, _ in zip(entries, range(_MOST_LEFT), strict=False):
            with contextlib.suppress(OSError):
                if time.time() - entry.stat(follow_symlinks=False).st_mtime < _FRESH:
                    continue
                if entry.name.startswith(_RUN) and entry.is_dir(follow_symlinks=False):
                    if create.remove_if_over(os.path.join(entry.path, "record")):
                        os.rmdir(entry.path)
                elif entry.name.startswith(HOOK) and entry.is_file(follow_symlinks=False):
                    _remove_if_unlocked(entry.path)


def _remove_if_unlocked(path: str) -> None:
    with open(path, "rb+") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(path)


def _file_name(path: str) -> str:
    """The absolute path of a file that is to be made; raises Usage for what can be no file's."""
    name = os.path.basename(path)
    if name in ("", ".", ".."):
        raise Usage(f"--record {path!r}: that is no file's name")
    if os.path.isdir(path):
        raise Usage(f"--record {path}: that is a directory: name a file in it")
    try:
        return os.path.abspath(path)
    except OSError as error:
        raise CannotRun(
            f"--record {path}: the working directory is gone: name it from /"
        ) from error
