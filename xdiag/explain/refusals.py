"""Why a handle was refused, as far as the text around the refusal says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xdiag.explain.handles import LAST_SPECIAL, is_short, is_sign_extended

if TYPE_CHECKING:
    from xdiag.explain.evidence import Found
    from xdiag.explain.facts import Failure, Likelihood
    from xdiag.explain.scales import Scales

#: A heap lies above this, unless the program is no PIE; a cut handle may lie below.
_ABOVE_LOW_HEAPS = 0x4000_0000
_LAST_ERROR = ("hipGetLastError", "hipPeekAtLastError", "hipExtGetLastError")


# ---- a refusal that the runtime's log has --------------------------------------------------------


def in_log(scales: Scales, found: Found) -> None:
    """Weigh a refusal that the runtime's own log has, with what it has of the handle."""
    failure = found.failure
    before = len(scales.reasons)
    handle, entry = failure.handle, failure.entry
    if failure.call == "hipEventDestroy":
        scales.say(
            "destroyed-event",
            "likely",
            "hipEventDestroy gives 709 for an event that it"
            " does not know: one that was destroyed before",
            entry,
            failure.line,
        )
    elif failure.call in _LAST_ERROR:
        _last_error(scales, failure)
    elif handle == 1:
        scales.say("legacy-stream", "likely", "the call was given 0x1", entry, failure.line)
    elif handle is None or handle <= LAST_SPECIAL:
        _unknown(scales, failure)
    elif found.ended is not None:
        made = found.life.made if found.life is not None and found.life.made_at else None
        scales.say(
            "destroyed-stream",
            _if(found.firm),
            f"{handle:#x} was destroyed before it was used",
            made,
            found.ended,
            entry,
            failure.line,
        )
    elif found.life is not None:
        _refused_alive(scales, found)
    else:
        _refused_unmade(scales, found)
    if all(each.likelihood == "possible" for each in scales.reasons[before:]):
        scales.left_open = True


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
    if found.reset is not None:
        alone = len(started) <= 1 and not together
        scales.say(
            "device-reset",
            _if(alone and found.firm),
            f"the device was reset after {failure.handle:#x} was made",
            life.made,
            found.reset,
            failure.entry,
            failure.line,
        )
        if alone:
            return
    alive = f"{failure.handle:#x} was made in this process and is neither destroyed nor reset"
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
        )
    elif found.accepted_after is not None and len(started) != 1:
        scales.say(
            "two-runtimes",
            _if(sure),
            f"{alive}: one call refuses it, and a later one accepts it",
            *shown,
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
        or (process is not None and any(each >> 32 for each in process.streams))
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


def _last_error(scales: Scales, failure: Failure) -> None:
    scales.say(
        "destroyed-event",
        "possible",
        f"{failure.call} takes no handle: it reports a 709"
        " that another call left, and hipEventDestroy leaves one without a line in the"
        " log",
        failure.line,
    )
    scales.left_open = True


# ---- a refusal that a program's message tells ----------------------------------------------------


def in_message(scales: Scales, found: Found) -> None:
    """Weigh a refusal of which a program's message tells, and which names no handle."""
    failure = found.failure
    before = len(scales.reasons)
    together = scales.together(found)
    if failure.call in _LAST_ERROR:
        _last_error(scales, failure)
        return
    if failure.call == "hipEventDestroy":
        scales.say(
            "destroyed-event",
            "likely",
            "hipEventDestroy gives 709 for an event that it"
            " does not know: one that was destroyed before",
            failure.line,
        )
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
    scales.left_open = True


def _if(sure: bool) -> Likelihood:
    return "likely" if sure else "possible"
