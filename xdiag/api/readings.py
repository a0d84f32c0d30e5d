"""What an answer means: whether the call reports a bad handle, lies about it, crashes or hangs."""

from __future__ import annotations

from enum import Enum
from functools import cache
from typing import TYPE_CHECKING

from xdiag import native
from xdiag.api.handles import HANDLES
from xdiag.api.measured_data import EXIT, HANG

if TYPE_CHECKING:
    from xdiag.api.measured_data import Entry

#: hipErrorNotReady: the stream has unfinished work, and so is there.
_NOT_READY = 600


class Reading(str, Enum):
    """What a call does with a kind of handle; the later, the worse."""

    ABSENT = "absent"
    UNASKED = "unasked"
    ACCEPTS = "accepts"
    REPORTS = "reports"
    LIES = "lies"
    CRASHES = "crashes"
    HANGS = "hangs"


#: What each of them says, for readers.
MEANS = {
    Reading.REPORTS: "returns an error",
    Reading.LIES: "returns success for a handle that is no live stream of this copy",
    Reading.CRASHES: "ends the process",
    Reading.HANGS: "does not return",
    Reading.ACCEPTS: "returns success, as documented",
    Reading.ABSENT: "the runtime does not export it",
    Reading.UNASKED: "was not asked; the reason is beside it",
}
_ORDER = list(Reading)


@cache
def _documented() -> frozenset[str]:
    return frozenset(handle.id for handle in HANDLES if handle.documented)


def succeeded(call: str, answer: str) -> bool:
    """Whether an answer says success: no error, unfinished work, or the number of a device."""
    if not answer.isdigit():
        return False
    known = native.calls().get(call)
    return int(answer) in (0, _NOT_READY) or (known is not None and not known.returns_status)


def reading(call: str, handle: str, answer: str) -> Reading:
    """What one answer of this call to this kind of handle means."""
    if answer == HANG:
        return Reading.HANGS
    if succeeded(call, answer):
        return Reading.ACCEPTS if handle in _documented() else Reading.LIES
    if answer.lstrip("-").isdigit():
        return Reading.REPORTS
    return Reading.CRASHES


def readings(call: str, handle: str, entry: Entry) -> tuple[Reading, ...]:
    """What an entry means, the worst first; several where the answers vary."""
    if entry.absent:
        return (Reading.ABSENT,)
    if not entry.answers:
        return (Reading.UNASKED,)
    found = {reading(call, handle, answer) for answer in entry.answers}
    return tuple(sorted(found, key=_ORDER.index, reverse=True))


def worst(call: str, handle: str, entry: Entry) -> Reading:
    """The worst that an entry has."""
    return readings(call, handle, entry)[0]


def named(call: str, answer: str) -> str:
    """An answer as readers know it: ``709 hipErrorContextIsDestroyed``, ``exit 1``."""
    known = native.calls().get(call)
    if known is not None and not known.returns_status:
        return f"device {answer}" if answer.isdigit() else answer
    if answer.lstrip("-").isdigit() and int(answer) in native.errors():
        return f"{answer} {native.errors()[int(answer)][0]}"
    return answer


def is_answer(text: str) -> bool:
    """Whether this is how answers are written: a file may come from anywhere."""
    return (
        text.lstrip("-").isdigit()
        or text == HANG
        or text.startswith(("SIG", f"{EXIT} ", "signal "))
    )
