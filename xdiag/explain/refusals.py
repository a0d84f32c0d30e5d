"""Why a handle was refused, as far as the text around the refusal says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xdiag import causes
from xdiag.explain.handles import LAST_SPECIAL, is_short, is_sign_extended

if TYPE_CHECKING:
    from xdiag.explain.evidence import Found
    from xdiag.explain.facts import Failure, Likelihood
    from xdiag.explain.scales import Scales

#: A heap lies above this, unless the program is no PIE; a cut handle may lie below.
_ABOVE_LOW_HEAPS = 0x4000_0000
#: From here on hipStreamLegacy is known.
_LEGACY_FROM = (6, 3)
_LAST_ERROR = ("hipGetLastError", "hipPeekAtLastError", "hipExtGetLastError")


# ---- a refusal that the runtime's log has --------------------------------------------------------


def in_log(scales: Scales, found: Found) -> None:
    """Weigh a refusal that the runtime's own log has, with what it has of the handle."""
    failure = found.failure
    before = len(scales.reasons)
    if failure.call in _LAST_ERROR:
        _last_error(scales, found)
    elif failure.handle == 1 and found.kind == "stream":
        _legacy(scales, failure)
    elif failure.handle is None or failure.handle <= LAST_SPECIAL:
        _unknown(scales, failure)
    else:
        given(scales, found)
    if all(each.likelihood == "possible" for each in scales.reasons[before:]):
        _leave_open(scales, found)


def given(scales: Scales, found: Found) -> None:
    """Weigh what the log has of the handle that a call was given."""
    if found.wrong_kind:
        _wrong_kind(scales, found)
    elif found.end is not None:
        _destroyed(scales, found)
    elif found.life is not None:
        _refused_alive(scales, found)
    else:
        _refused_unmade(scales, found)


def maybe_refused(scales: Scales, found: Found) -> None:
    """Weigh an answer that is not 709, to a handle that no line makes."""
    failure = found.failure
    scales.say(
        "unknown-handle",
        "possible",
        f"no line makes {failure.handle or 0:#x}, and {failure.call} answers {failure.code} to a"
        " handle that it does not know, among other things",
        failure.entry,
        failure.line,
    )
    _leave_open(scales, found)


def _leave_open(scales: Scales, found: Found) -> None:
    """What a refusal without a likely cause may come of, and the log does not exclude."""
    left = {*(causes.OF_AN_EVENT if found.kind == "event" else causes.OF_A_REFUSAL)}
    handle = found.failure.handle
    if handle is not None and handle <= LAST_SPECIAL:
        # It is a name, and no stream's address.
        return
    if found.life is not None and found.life.made_at:
        # The log has it whole and alive.
        left &= {"two-runtimes"}
    elif handle is not None and (not is_short(handle) or found.accepted_before is not None):
        left -= {"truncated-handle"}
    scales.left_open |= left


def _legacy(scales: Scales, failure: Failure) -> None:
    if scales.version is None or scales.version.low < _LEGACY_FROM:
        scales.say("legacy-stream", "likely", "the call was given 0x1", failure.entry, failure.line)
        return
    scales.note(
        "0x1 is hipStreamLegacy, which is known from HIP 6.3 on, and the log is of such a version:"
        " what it says does not explain the refusal",
        failure.line,
    )
    _unknown(scales, failure)


def _wrong_kind(scales: Scales, found: Found) -> None:
    failure, life = found.failure, found.life
    assert life is not None
    end = life.ended
    # Its address may have been given to another one since.
    sure = found.firm and (end is None or end.line == failure.entry)
    kinds = {"stream": "a stream", "event": "an event"}
    since = "" if sure or end is None else ", and was destroyed since"
    scales.say(
        "wrong-kind",
        _if(sure),
        f"{life.handle:#x} was made as {kinds[life.kind]}{since}, and {failure.call} takes"
        f" {kinds[found.kind]}",
        life.made,
        failure.entry,
        failure.line,
    )


def _destroyed(scales: Scales, found: Found) -> None:
    failure, end = found.failure, found.end
    assert end is not None and failure.handle is not None
    made = found.life.made if found.life is not None and found.life.made_at else None
    destroy = "hipEventDestroy" if found.kind == "event" else "hipStreamDestroy"
    if end.succeeded is None:
        said = f"was given to {destroy} before, and no return line says what came of that"
    elif failure.call == destroy:
        said = "was destroyed before, and is destroyed again"
    else:
        said = "was destroyed before it was used"
    scales.say(
        f"destroyed-{found.kind}",
        _if(found.firm and end.succeeded is True),
        f"{failure.handle:#x} {said}",
        made,
        end.line,
        failure.entry,
        failure.line,
    )


def _refused_alive(scales: Scales, found: Found) -> None:
    """The log has the call that made the handle, and none that ended it."""
    failure, life = found.failure, found.life
    assert life is not None and failure.handle is not None
    shown = (
        life.made,
        found.accepted_before,
        failure.entry,
        failure.line,
        found.accepted_after,
    )
    started = scales.started(found)
    together = scales.together(found)
    if found.kind == "stream" and (other := scales.evidence.ledger.other_reset(found.key, life)):
        scales.note(
            f"{life.handle:#x} is not of what this call resets: "
            + ("it was refused" if other.succeeded is False else "another device was set"),
            other.line,
        )
    statement = ""
    if found.kind == "event":
        statement = "the event was made by another loaded copy of the library"
    if found.reset is not None:
        alone = len(started) <= 1 and not together
        same = found.reset.device is not None and found.reset.device == life.device
        sure = same and found.reset.succeeded is True
        because = f"the device was reset after {failure.handle:#x} was made"
        if not same:
            because = (
                f"a device, which may be another one, was reset after {failure.handle:#x} was made"
            )
        elif not sure:
            because += ", by a call that has no return line"
        scales.say(
            "device-reset",
            _if(alone and found.firm and sure),
            because,
            life.made,
            found.reset.line,
            failure.entry,
            failure.line,
        )
        if alone:
            return
    alive = f"{failure.handle:#x} was made in this process and is neither destroyed nor reset"
    if found.kind == "event":
        alive = f"{failure.handle:#x} was made in this process and is not destroyed"
    if found.reset is not None:
        alive = f"{failure.handle:#x} was made in this process and is not destroyed"
    sure = found.firm and found.reset is None
    if together:
        scales.say(
            "two-runtimes",
            _if(sure),
            f"{alive}, and two copies of the library are loaded",
            *shown,
            *(load.line for load in together),
            statement=statement,
        )
    elif len(started) > 1:
        whose = "in this process" if failure.pid is not None else "in this log"
        scales.say(
            "two-runtimes",
            _if(sure and failure.pid is not None),
            f"{alive}, and the runtime was initialised {len(started)} times {whose}: once"
            " for each copy",
            *shown,
            *started[:2],
            statement=statement,
        )
    elif found.accepted_after is not None and len(started) != 1 and not scales.is_unchecked:
        scales.say(
            "two-runtimes",
            _if(sure),
            f"{alive}: one call refuses it, and a later one accepts it",
            *shown,
            statement=statement,
        )
    elif len(started) == 1:
        scales.note(
            f"{alive}, and the log has one initialisation of the runtime only: what it says"
            " does not explain the refusal",
            life.made,
            started[0],
            failure.line,
        )
        _unknown(scales, failure)
    elif scales.only_copy is not None:
        _unknown(scales, failure)
    else:
        scales.say(
            "two-runtimes",
            "possible",
            f"{alive}; the copy that refuses it is then another one than the copy that made it",
            *shown,
            statement=statement,
        )


def _refused_unmade(scales: Scales, found: Found) -> None:
    """The log has no call that made the handle in this process."""
    failure = found.failure
    handle = failure.handle or 0
    process = scales.evidence.ledger.processes.get(found.key)
    if found.whole is not None:
        scales.say(
            "truncated-handle",
            _if(found.firm),
            f"the low 32 bits of {handle:#x} are"
            f" those of {found.whole.handle:#x}, which was made before",
            found.whole.made,
            failure.entry,
            failure.line,
        )
    elif is_sign_extended(handle):
        scales.say(
            "truncated-handle",
            "likely",
            f"{handle:#x} is a 32-bit number made wide by"
            " its sign: no address of a program looks so",
            failure.entry,
            failure.line,
        )
    elif found.elsewhere is not None:
        (_, pid), life = found.elsewhere
        known = pid is not None and failure.pid is not None
        scales.say(
            "other-process",
            _if(found.firm and known),
            f"{handle:#x} was made in another"
            f" process{f' ({pid})' if pid is not None else ''} and not in this one",
            life.made,
            failure.entry,
            failure.line,
        )
    elif is_short(handle) and (
        handle >= _ABOVE_LOW_HEAPS
        or (process is not None and any(each >> 32 for each in process.lives[found.kind]))
    ):
        scales.say(
            "truncated-handle",
            "possible",
            f"{handle:#x} fits into 32 bits, and no call in the log made it",
            failure.entry,
            failure.line,
        )
    elif (together := scales.together(found)) or (
        failure.pid is not None and len(scales.started(found)) > 1
    ):
        scales.say(
            "two-runtimes",
            "possible",
            f"two copies of the library are loaded; where {handle:#x} was made is not in the log",
            failure.entry,
            failure.line,
            *(load.line for load in together),
            *scales.started(found)[:2],
            statement="the event was made by another loaded copy of the library"
            if found.kind == "event"
            else "",
        )
    else:
        _unknown(scales, failure)


def _unknown(scales: Scales, failure: Failure) -> None:
    handle = f"{failure.handle:#x}" if failure.handle is not None else "a handle"
    scales.say(
        "unknown-handle",
        "possible",
        f"{failure.call or 'a call'} refused {handle}, and nothing here says why",
        failure.entry,
        failure.line,
    )


def _last_error(scales: Scales, found: Found) -> None:
    failure = found.failure
    for other in scales.destroyed_again(found):
        made = other.life.made if other.life is not None and other.life.made_at else None
        scales.say(
            "destroyed-event",
            _if(failure.kind == "AMD log" and other.end is not None and bool(other.end.succeeded)),
            f"{failure.call} reports a 709 that another call left; {other.failure.handle or 0:#x}"
            " was destroyed twice before, and the second hipEventDestroy has no return line",
            made,
            other.end.line if other.end is not None else None,
            other.failure.line,
            failure.line,
        )
        return
    scales.say(
        "destroyed-event",
        "possible",
        f"{failure.call} takes no handle: it reports a 709"
        " that another call left, and hipEventDestroy leaves one without a line in the"
        " log",
        failure.line,
    )


# ---- a refusal that a program's message tells ----------------------------------------------------


def in_message(scales: Scales, found: Found) -> None:
    """Weigh a refusal of which a program's message tells, and which names no handle."""
    failure = found.failure
    before = len(scales.reasons)
    together = scales.together(found)
    if failure.call in _LAST_ERROR:
        _last_error(scales, found)
        if not scales.destroyed_again(found):
            _leave_open(scales, found)
        return
    if failure.call == "hipEventDestroy":
        # It names no event: that one was destroyed before is the commonest reason, and not told.
        found.kind = "event"
        if together:
            scales.say(
                "two-runtimes",
                "possible",
                "an event was refused, and two copies of the library are loaded",
                failure.line,
                *(load.line for load in together),
                statement="the event was made by another loaded copy of the library",
            )
        else:
            _unknown(scales, failure)
        _leave_open(scales, found)
        return
    is_xsched = failure.kind == "XSched"
    if together:
        scales.say(
            "two-runtimes",
            "likely",
            "a handle was refused, and two copies of the library are loaded",
            failure.line,
            *(load.line for load in together),
        )
        return
    if scales.only_copy is None:
        if is_xsched:
            scales.say(
                "two-runtimes",
                "possible",
                "XSched opens a libamdhip64 by a search of its"
                " own (/opt/rocm, or XSCHED_HIP_LIB) and does not look at which one the"
                " program has loaded",
                failure.line,
            )
        else:
            for party, line in found.parties.items():
                scales.say(
                    "two-runtimes",
                    "possible",
                    f"{party} has opened a libamdhip64 of its own before (see the reports)",
                    failure.line,
                    line,
                )
    if is_xsched or "xsched" in found.parties:
        old = scales.evidence.signs.get("old-binding", [])
        scales.say(
            "truncated-handle",
            "possible",
            "XSched's Python binding from before June 2026"
            " passes the handle without argument types: ctypes cuts it to 32 bits",
            failure.line,
            *old,
        )
    if len(scales.reasons) == before:
        _unknown(scales, failure)
    _leave_open(scales, found)


def _if(sure: bool) -> Likelihood:
    return "likely" if sure else "possible"
