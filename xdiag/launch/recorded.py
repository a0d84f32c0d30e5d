"""The record of one run: where it is kept, and what tells the program of it."""

from __future__ import annotations

import contextlib
import os
import tempfile
from typing import TYPE_CHECKING

from xdiag.launch import audit_library, trust
from xdiag.launch.reach import audit_variable
from xdiag.recording import create

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from xdiag.launch.reach import Reach

#: What the audit library reads (cffi_build/audit/audit.c).
_RECORD, _CALLS = "XDIAG_RECORD", "XDIAG_RECORD_CALLS"


class Recorded:
    """A record file for one run; a context manager that removes it if it has no name.

    ``path`` is where to keep it, None for a private place until the run is over.  ``calls`` is
    whether driver calls are recorded, or loads only.  Raises CannotRun where no safe place is.
    """

    def __init__(self, path: str | None, command: Sequence[str], *, calls: bool = True) -> None:
        self._kept = path is not None
        self._calls = calls
        self._noticed = False
        self._on_refusal: Callable[[], None] | None = None
        if path is None:
            folder = trust.private_folder()
            # A name that is not there yet: the file is created, never opened.
            self._folder = tempfile.mkdtemp(prefix="run-", dir=folder)
            path = os.path.join(self._folder, "record")
        self.path = os.path.abspath(path)
        trust.check_trusted(os.path.dirname(self.path), what="the record's directory")
        self._file = create.create(self.path, command=command)

    def __enter__(self) -> Recorded:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()
        if not self._kept:
            with contextlib.suppress(OSError):
                os.unlink(self.path)
                os.rmdir(self._folder)

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
