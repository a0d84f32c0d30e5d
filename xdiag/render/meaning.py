"""What one cell means, in two to four plain sentences, and never more than it shows.

The rules per HIP version are those of ``hip::isValid``: up to 6.4 most stream calls look the handle
up among the loaded copy's live streams; from 7.0 on only a few still do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from xdiag import platforms
from xdiag.model import OutcomeKind
from xdiag.patterns import PATTERNS
from xdiag.platforms.hip import CONTEXT_IS_DESTROYED
from xdiag.render import seen
from xdiag.render.header import STANDS_IN
from xdiag.render.labels import label
from xdiag.render.matrix import fix_title
from xdiag.render.text import count, printable
from xdiag.xsched_consumers import CUTS_HANDLES, MAKES_CALLS, XSCHED_LIBRARIES

if TYPE_CHECKING:
    from xdiag.model import Result, StepRecord, Target

_PATTERNS = {pattern.id: pattern for pattern in PATTERNS}

#: Calls that look the handle up in every version, and those that do so up to 6.4.
_CHECK_ALWAYS = ("hipStreamGetCaptureInfo_v2", "hipGetStreamDeviceId", "hipStreamGetDevice")
_CHECK_TO_6 = (
    *_CHECK_ALWAYS,
    "hipStreamGetFlags",
    "hipStreamGetPriority",
    "hipStreamQuery",
    "hipStreamSynchronize",
)


def meaning(result: Result, target: Target) -> list[str]:
    """What the outcome of one cell means, as sentences for a reader who knows no HIP internals."""
    lines = [_what_was_seen(result, target), _answer(result, target), _loaded_copies(result)]
    if target.agent == "software" and result.outcome.trace:
        lines.append(STANDS_IN)
    return [printable(line) for line in lines if line]


def _what_was_seen(result: Result, target: Target) -> str:
    outcome = result.outcome
    match outcome.kind:
        case OutcomeKind.NOT_APPLICABLE:
            what = "This combination" if result.cell.fix == "none" else "The fix"
            return f"{what} does not apply: {outcome.reason}."
        case OutcomeKind.SKIPPED:
            return f"The cell was not run: {outcome.reason}."
        case OutcomeKind.UNSUPPORTED:
            return f"The cell says nothing about the stream: {outcome.reason}."
        case OutcomeKind.OK:
            return _accepted(result, target)
        case OutcomeKind.ERROR:
            return _error(result, target)
        case OutcomeKind.CRASH | OutcomeKind.EXIT | OutcomeKind.HANG:
            return _violent_end(result, target)


# ---- an end without any failure ----


def _accepted(result: Result, target: Target) -> str:
    records = [record for record in result.outcome.trace if record.phase == "use"]
    answered = sum(record.state == "done" for record in records)
    missing = sum(record.state == "unsupported" for record in records)
    text = f"The use made {count(answered, 'call')} and none of them failed"
    if missing:
        text += f"; {count(missing, 'call')} more {'is' if missing == 1 else 'are'} not in this"
        text += " runtime"
    text += "."
    if not _handle_was_checked(result, target):
        text += (
            " None of those calls is known to check the handle in this version (HIP 7 checks it in"
            " few), so that this does not show that the handle is this copy's."
        )
    return text


def _handle_was_checked(result: Result, target: Target) -> bool:
    """Whether a call that looks the handle up answered for it."""
    if target.platform != "hip":
        return True
    version = seen.hip_version(target)
    checking = _CHECK_TO_6 if version is not None and version < (7, 0) else _CHECK_ALWAYS
    passed = [
        record
        for record in result.outcome.trace
        if record.phase == "use" and record.state == "done" and record.handle is not None
    ]
    return not passed or any(not _made(record).isdisjoint(checking) for record in passed)


def _made(record: StepRecord) -> set[str]:
    """The driver calls that a record tells of: XSched's make some of their own."""
    inner = MAKES_CALLS.get(record.call.rpartition(".")[2], ())
    return {record.call, *(f"hip{call}" for call in inner)}


# ---- an error ----


def _error(result: Result, target: Target) -> str:
    outcome = result.outcome
    record = seen.failing_record(result)
    phase = seen.failing_phase(result)
    if record is not None and record.call == "equal" and not seen.contexts_differ(result):
        return f"The two values that were to be one are not: {record.error}."
    if record is not None and record.call == "equal":
        return (
            f"XSched compares the two here and ends the process where they differ: {record.error}."
            " The context that is current in the thread is not the stream's."
        )
    if record is None or outcome.code is None:
        why = f": {outcome.message}" if outcome.message else ""
        text = f"The step {outcome.call or 'that failed'} could not be done{why}."
    elif seen.refused(result) and record.handle is not None:
        return _refusal(record, target)
    else:
        text = f"{_call(record)} returned {_code(record)}."
        says = platforms.get(target.platform).says.get(outcome.code)
        if says and phase == "use":
            return f"{text} {says}"
    if phase == "setup":
        return f"{text} The stream was not used yet, so that this says nothing about its use."
    if phase == "fix":
        return f"{text} It is a step of the fix; the stream was not used after it."
    if record is not None and outcome.code == CONTEXT_IS_DESTROYED and target.platform == "hip":
        return f"{text} It was given no stream, so that this is not about a stream."
    return text if outcome.code is None else f"{text} The code alone does not say why."


_UNKNOWN = "the handle is not in this copy's set of live streams"


def _refusal(record: StepRecord, target: Target) -> str:
    text = f"{_call(record)} refused the handle {hex(record.handle or 0)} with {_code(record)}."
    if target.platform != "hip":
        return f"{text} {platforms.get(target.platform).says.get(record.code or 0, '')}".rstrip()
    if record.code == seen.NO_DEVICE:
        return f"{text} That says one thing: {_UNKNOWN}."
    return text + _knows(target)


def _knows(target: Target) -> str:
    """What 709 from a stream call says on this version of HIP."""
    version = seen.hip_version(target)
    if version is not None and version >= (7, 0):
        return (
            " HIP 7 took this check out of most stream calls; from one that still has it, it says"
            f" one thing: {_UNKNOWN}."
        )
    text = f" On HIP up to 6.4 this says one thing: {_UNKNOWN}."
    return text if version else f"{text} The version of this runtime is not known."


# ---- an end that the process did not report ----


def _violent_end(result: Result, target: Target) -> str:
    outcome = result.outcome
    record = seen.record_in_flight(result)
    where = f" in {_call(record, start=False)}" if record is not None else " between two steps"
    if outcome.kind is OutcomeKind.CRASH:
        text = f"The process was killed by {outcome.signal or 'a signal'}{where}."
    elif outcome.kind is OutcomeKind.EXIT:
        status = "" if outcome.status is None else f" with status {outcome.status}"
        text = f"The process exited{status}{where}."
    else:
        text = f"The process was still{where} after {outcome.seconds:.1f} s, and was ended."
    if seen.contexts_differ(result):
        return (
            f"{text} XSched did that, as it does where the context that is current in the thread is"
            f" not the stream's. It said: {outcome.message}."
        )
    if record is not None and seen.said_by_xsched(result):
        told = msgspec.structs.replace(record, call=outcome.call, code=outcome.code,
                                       name=outcome.name, runtime="")  # fmt: skip
        text += (
            " XSched did that, as it does at any error:"
            if outcome.kind is OutcomeKind.EXIT
            else " XSched was about to exit, as it does at any error, which runs what the loaded"
            " libraries left to be run then:"
        )
        who = outcome.call if outcome.call != record.call else "a call of the driver"
        text += f" {who} had returned {_code(told)} to it."
        if seen.refused(result):
            says = platforms.get(target.platform).says.get(outcome.code or 0, "")
            text += _knows(target) if target.platform == "hip" else f" {says}".rstrip()
            text += _cut(result, record)
        return text
    refusal = seen.failing_record(result)
    if outcome.code is not None and refusal is not None:
        text += f" Besides, {_call(refusal, start=False)} returned {_code(refusal)}."
    version = seen.hip_version(target)
    trusting = record is not None and record.handle is not None and record.phase == "use"
    if trusting and outcome.kind is OutcomeKind.CRASH and version and version >= (7, 0):
        text += " HIP 7 follows a handle unchecked in most stream calls; whether it did so here,"
        return f"{text} the crash alone does not tell."
    return f"{text} That tells where it ended, not why."


def _cut(result: Result, record: StepRecord) -> str:
    """What was refused, where a binding had passed on half of a handle."""
    if result.cell.consumer not in CUTS_HANDLES or record.handle is None:
        return ""
    half = record.handle & 0xFFFFFFFF
    if half == record.handle:
        return ""
    return (
        " This binding declares no argument types: of the handle"
        f" {hex(record.handle)} it passes the low 32 bits on, {hex(half)}, and that is what was"
        " refused."
    )


# ---- the pattern's question ----


def _answer(result: Result, target: Target) -> str:
    cell, outcome = result.cell, result.outcome
    pattern = _PATTERNS.get(cell.pattern)
    if pattern is None or label(result).style in ("absent", "setup"):
        return ""
    seen_here = label(result).text
    if cell.fix != "none":
        return (
            f'With the fix "{fix_title(cell.fix)}": {seen_here}. It was asked: {pattern.question}'
        )
    works, refused = pattern.answers
    answer = ""
    if outcome.kind is OutcomeKind.OK and _handle_was_checked(result, target):
        answer = works
    elif outcome.kind is OutcomeKind.ERROR and (seen.refused(result) or seen.values_differ(result)):
        answer = refused
    return f"{pattern.question} Here: {f'{answer} ({seen_here})' if answer else seen_here}."


# ---- which copies were loaded ----


def _loaded_copies(result: Result) -> str:
    copies = seen.copies(result.outcome)
    if len(copies) > 1:
        names = ["/".join(name for name, _ in copy) for copy in copies]
        return (
            f"{_number_word(len(copies))} copies of the library are loaded ({', '.join(names)}):"
            " the loader tells them apart by device and inode, and each has streams of its own."
        )
    if len(result.outcome.runtimes) > 1:
        return f"{' and '.join(result.outcome.runtimes)} are one loaded copy of the library."
    return ""


def _number_word(number: int) -> str:
    return {2: "Two", 3: "Three"}.get(number, str(number))


# ---- words for a record ----


def _call(record: StepRecord, *, start: bool = True) -> str:
    of_xsched = record.runtime in XSCHED_LIBRARIES
    on = f" of XSched's {record.runtime}" if of_xsched else f" on runtime {record.runtime}"
    on = on if record.runtime else ""
    kind = "call" if record.runtime else "step"
    return f"{'The' if start else 'the'} {kind} {record.call}{on}"


def _code(record: StepRecord) -> str:
    return f"{record.code} ({record.name})" if record.name else str(record.code)
