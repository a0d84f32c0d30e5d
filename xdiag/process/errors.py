"""Why a process cannot be looked at."""

from __future__ import annotations

from xdiag.errors import CannotRun


class Refused(CannotRun):
    """The kernel does not let this user look at the process."""


class Vanished(CannotRun):
    """There is no such process, or it ended while it was looked at."""


class NothingToSee(CannotRun):
    """A zombie, a thread of the kernel or a 32-bit process: no runtime of ours is in it."""
