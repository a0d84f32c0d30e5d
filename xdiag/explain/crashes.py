"""Processes that a signal killed: whether a handle that nobody checked may be the reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xdiag.explain import amd_log, history, refusals, unanswered, versions
from xdiag.explain.facts import Failure
from xdiag.explain.handles import is_sign_extended

if TYPE_CHECKING:
    from xdiag.explain.evidence import Crash, Found
    from xdiag.explain.scales import Scales

#: Addresses below this one are NULL with an offset.
_NULL_PAGES = 0x1_0000


def take(scales: Scales, crash: Crash) -> None:
    """Tell of one crash, and weigh what it speaks for."""
    scales.fault = True
    found = _call_of(scales, crash)
    if found is not None:
        scales.told.add(found.failure.entry)
        crash.call = crash.call or found.failure.call
        crash.pid = crash.pid if crash.pid is not None else found.failure.pid
        crash.thread = crash.thread or found.failure.thread
        crash.handle = crash.handle if crash.handle is not None else found.failure.handle
        crash.frame = crash.frame if crash.frame not in (None, crash.line) else found.failure.entry
        if unanswered.is_bad(found):
            refusals.given(scales, found)
    told = versions.of_path(crash.path) or scales.version
    call = amd_log.base_name(crash.call)
    ranges = versions.ranges_of(call, versions.FOLLOWED)
    follows = [each for each in ranges if told is None or versions.common((each, told))]
    new = told is not None and told.low >= (7, 0)
    notes = []
    alive = found is not None and found.life is not None and not unanswered.is_bad(found)
    if follows and amd_log.takes(call) != (None, None) and not alive:
        notes.append(
            f"{call} follows its handle without a check on HIP {versions.either(ranges)}: what is a"
            " 709 elsewhere is a segmentation fault there"
        )
        which = "this version" if told is not None else "some versions"
        scales.say(
            "unchecked-handle",
            "possible",
            f"it died in {call}, which does not check its handle on {which}",
            crash.line,
            crash.frame,
        )
    elif new and not crash.call and crash.path:
        notes.append(
            "HIP 7 checks the handle in few calls: what is a 709 up to 6.4 is a segmentation"
            " fault there"
        )
        scales.say(
            "unchecked-handle",
            "possible",
            "it died inside HIP 7's library, which checks handles in few calls",
            crash.line,
            crash.frame,
        )
    # One that the log has as it was made is not cut.
    made = found is not None and found.life is not None and crash.handle == found.failure.handle
    if not made and crash.handle is not None and _looks_cut(crash.handle):
        scales.say(
            "truncated-handle",
            "possible",
            f"the handle it was given, {crash.handle:#x}, has 32 bits only",
            crash.line,
            crash.frame,
        )
    elif not made and crash.address is not None and _looks_cut(crash.address):
        scales.say(
            "truncated-handle",
            "possible",
            f"the address that it could not reach, {crash.address:#x}, has 32 bits only",
            crash.line,
        )
    scales.failures.append(
        Failure(
            kind=crash.kind,
            platform="hip",
            line=crash.line,
            call=crash.call,
            signal=crash.signal,
            pid=crash.pid,
            thread=crash.thread,
            handle=crash.handle,
            entry=crash.frame if crash.frame != crash.line else None,
            certain=found is None or found.failure.certain,
            history=tuple(history.of(found, crash.line)) if found is not None else (),
            notes=tuple(notes),
        )
    )


def _call_of(scales: Scales, crash: Crash) -> Found | None:
    """The call of the runtime's log in which the process died; None where it is not told.

    It has no return line.  Of several, in several threads, the one that was given a bad handle.
    """
    calls = crash.unanswered
    if crash.pid is not None:
        # The kernel's and gdb's words may come from another source than the log.
        calls = calls or scales.evidence.unanswered
        calls = [each for each in calls if each.failure.pid in (crash.pid, None)]
        calls = [each for each in calls if each.failure.pid is not None] or calls
    if crash.kind != "message" and crash.pid is None:
        return None
    if crash.call:
        calls = [each for each in calls if each.failure.call == amd_log.base_name(crash.call)]
    bad = [each for each in calls if unanswered.is_bad(each)]
    found = bad[0] if len(bad) == 1 else calls[0] if len(calls) == 1 else None
    if found is not None and len(calls) > 1:
        found.firm = False
    return found


def _looks_cut(value: int) -> bool:
    return is_sign_extended(value) or _NULL_PAGES <= value < 1 << 32
