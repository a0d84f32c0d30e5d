"""Calls that have no return line: the process died in them, waits in them, or they say nothing.

From HIP 7 on, and in some calls of every version, a bad handle is followed and not refused: the
last word that the log has is then the entry line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from xdiag.explain import history, refusals, versions
from xdiag.explain.handles import LAST_SPECIAL, is_sign_extended

if TYPE_CHECKING:
    from xdiag.explain.evidence import Found
    from xdiag.explain.scales import Scales


def is_bad(found: Found) -> bool:
    """Whether the log shows that the handle of a call is none, or no longer one, in its process."""
    handle = found.failure.handle
    if handle is None or handle <= LAST_SPECIAL:
        return False
    return (
        found.wrong_kind
        or found.end is not None
        or found.whole is not None
        or (found.life is None and is_sign_extended(handle))
    )


def take(scales: Scales) -> None:
    """Tell of calls without a return line that were given a bad handle."""
    evidence = scales.evidence
    again = [found for act, found in evidence.again if act.succeeded is None]
    for found in (*again, *evidence.unanswered):
        if is_bad(found) and found.failure.entry not in scales.told:
            _tell(scales, found)
            refusals.given(scales, found)
    for waits, used in evidence.forks:
        if waits.failure.entry not in scales.told:
            _fork(scales, waits, used)


def followed(scales: Scales, call: str) -> str:
    """What a call does with a bad handle where it does not refuse it; empty where it does."""
    if call == "hipEventDestroy":
        return (
            "for an event that it does not know, hipEventDestroy has no return line: 5.2 follows"
            " the pointer, later versions answer 709 without the usual line"
        )
    ranges = versions.ranges_of(call, versions.FOLLOWED)
    version = scales.version
    if not any(version is None or versions.common((each, version)) for each in ranges):
        return ""
    return (
        f"{call} follows its handle without a check on HIP {versions.either(ranges)}: what is a"
        " 709 elsewhere is a segmentation fault there"
    )


def _tell(scales: Scales, found: Found) -> None:
    scales.fault = True
    scales.told.add(found.failure.entry)
    note = followed(scales, found.failure.call)
    notes = (*found.failure.notes, *((note,) if note else ()))
    scales.failures.append(replace(found.failure, history=tuple(history.of(found)), notes=notes))


def _fork(scales: Scales, waits: Found, used: Found) -> None:
    """A process that was given another one's stream, accepted it, and waits since."""
    assert used.elsewhere is not None
    (key, pid), life = used.elsewhere
    child, parent = waits.failure.pid, scales.evidence.ledger.processes[key, pid]
    _tell(scales, replace_failure(waits, used))
    sure = bool(parent.initialised) and not scales.is_unchecked
    started = f"; {child} has not initialised the runtime" if sure else ""
    scales.say(
        "fork",
        "likely" if sure else "possible",
        f"{life.handle:#x} was made by process {pid} and accepted in {child}, which has not made"
        f" it{started}: a forked child has a copy of the set of live streams. Its last call,"
        f" {waits.failure.call}, has no return line",
        *parent.initialised[:1],
        life.made,
        used.accepted_before,
        waits.failure.entry,
    )


def replace_failure(waits: Found, used: Found) -> Found:
    """The call that waits, with the history of the stream that was used before it."""
    used.failure = replace(waits.failure, notes=())
    return used
