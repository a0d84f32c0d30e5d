"""From what was gathered to causes: only those that a line supports, each with its lines.

*Likely* is a cause that the text shows (the destruction between making and use, the low half of a
handle that was made, two copies under one pid and a live stream refused); *possible* is one that a
line speaks for and none against.  What nothing speaks for is never named a cause; where a refusal
is not explained, what is left open is told apart from that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from xdiag import causes
from xdiag.explain import amd_log, crashes, history, refusals, unanswered, versions
from xdiag.explain.evidence import MOST_LINES
from xdiag.explain.facts import Candidate, Loaded, Note
from xdiag.explain.failing_calls import SEVERE
from xdiag.explain.handles import LAST_SPECIAL
from xdiag.explain.scales import Scales
from xdiag.platforms.hip import CONTEXT_IS_DESTROYED

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from xdiag.explain.evidence import Evidence, Found, Load
    from xdiag.explain.facts import Failure
    from xdiag.explain.scales import Reason

#: Lines of one cause, other errors named, copies told.
_MOST_LINES, _MOST_NAMES, _MOST_LOADED = 12, 6, 16
_MOST_COPIES = 4

#: What is so where nothing was refused: a map has no stream.
_TWO_LOADED = (
    "two copies of the library are loaded: a stream of one is refused by the other, or taken"
    " without a check"
)
_ORDER = {cause.id: place for place, cause in enumerate(causes.CAUSES)}
#: Signs that state a cause themselves, and why they are believed.
_STATED = (
    ("duplicate-llvm", "LLVM itself says so and aborts"),
    ("gpu-reset", "the kernel says so"),
    (
        "runtime-not-found",
        "XSched says so and ends the process: it asks for a call in the library that it has found,"
        " and has found none, or none with that call",
    ),
    ("cuda-thread-context", "XSched compares the two contexts and says so"),
)


class Weighed(NamedTuple):
    """What came of it."""

    failures: tuple[Failure, ...]
    causes: tuple[Candidate, ...]
    not_excluded: tuple[str, ...]
    loaded: tuple[Loaded, ...]
    notes: tuple[Note, ...]
    fault: bool


def weigh(evidence: Evidence) -> Weighed:
    """Weigh all that was gathered."""
    scales = Scales(evidence)
    founds = list(evidence.failures.values())
    for found in _all_founds(evidence):
        found.settle()
    refused = [found for found in founds if _is_refusal(scales, found)]
    for found in founds:
        _failure(scales, found, refused)
    for crash in evidence.crashes:
        crashes.take(scales, crash)
    unanswered.take(scales)
    _loads(scales, refused=bool(refused))
    _signs(scales, refused=bool(refused))
    for cause, likelihood, because, line in evidence.stated:
        scales.say(cause, likelihood, because, line)
    _notes(scales, refused)
    candidates = _candidates(scales)
    return Weighed(
        failures=tuple(scales.failures),
        causes=candidates,
        not_excluded=_not_excluded(scales, candidates),
        loaded=tuple(
            Loaded(load.path, load.line, load.pid, load.told)
            for load in [*evidence.loads.values()][:_MOST_LOADED]
        ),
        notes=(*scales.notes, *evidence.notes),
        fault=scales.fault,
    )


# ---- failures ----------------------------------------------------------------------------------


def _is_refusal(scales: Scales, found: Found) -> bool:
    failure = found.failure
    if failure.platform != "hip" or failure.code is None:
        return False
    if failure.code == CONTEXT_IS_DESTROYED:
        return True
    means = versions.may_mean_bad_handle(failure.call, failure.code, scales.version)
    return bool(means) and _is_known_bad(scales, found)


def _is_known_bad(scales: Scales, found: Found) -> bool:
    """Whether the log itself says that the handle is bad."""
    failure = found.failure
    if unanswered.is_bad(found) or found.elsewhere is not None or found.reset is not None:
        return True
    return found.life is not None and failure.pid is not None and len(scales.started(found)) > 1


def _is_unmade(scales: Scales, found: Found) -> bool:
    """Whether a call answers as to a handle that it does not know, and no line makes that one."""
    failure = found.failure
    return (
        failure.code is not None
        and failure.handle is not None
        and failure.handle > LAST_SPECIAL
        and found.life is None
        and bool(versions.may_mean_bad_handle(failure.call, failure.code, scales.version))
    )


def _all_founds(evidence: Evidence) -> Iterator[Found]:
    yield from evidence.failures.values()
    yield from evidence.unanswered
    yield from (found for _, found in evidence.again)
    for crash in evidence.crashes:
        yield from crash.unanswered


def _failure(scales: Scales, found: Found, refused: list[Found]) -> None:
    failure = found.failure
    logged, is_refused = failure.kind == "AMD log", found in refused
    if failure.code == 0:
        _took_destroyed(scales, found)
        return
    is_unmade = logged and not is_refused and _is_unmade(scales, found)
    if logged and not is_refused and not is_unmade and failure.code not in SEVERE:
        name = failure.name or str(failure.code)
        scales.evidence.other(failure.call, name, failure.line, found.count)
        return
    scales.fault = True
    scales.told.add(failure.entry)
    scales.failures.append(
        replace(
            failure,
            count=found.count,
            history=tuple(history.of(found)),
            notes=(*failure.notes, *_of_version(scales, failure, refused=is_refused)),
            refusal=is_refused,
        )
    )
    if failure.platform == "cuda":
        if failure.code == CONTEXT_IS_DESTROYED:
            scales.say(
                "cuda-context",
                "likely",
                "the message is CUDA's, where 709 is about a context and not, as on HIP, about a"
                " stream",
                failure.line,
            )
    elif is_refused and logged:
        refusals.in_log(scales, found)
    elif is_unmade:
        refusals.maybe_refused(scales, found)
    elif is_refused and any(each.failure.kind == "AMD log" for each in refused):
        # The runtime's own log goes before what a program says.
        scales.note(
            "the runtime's log has refused calls of its own, which tell more of the handle; this"
            " message is taken for one of them",
            failure.line,
        )
    elif is_refused:
        refusals.in_message(scales, found)


def _of_version(scales: Scales, failure: Failure, *, refused: bool) -> Iterator[str]:
    """What the runtime's version has to do with the code by which a bad handle shows."""
    if failure.platform != "hip" or failure.code is None:
        return
    if not failure.call:
        yield from _of_any_call(scales, failure)
        return
    ranges = versions.may_mean_bad_handle(failure.call, failure.code, scales.version)
    if not ranges:
        return
    if failure.code == CONTEXT_IS_DESTROYED:
        if failure.call == "hipModuleLaunchKernel":
            yield "709 from hipModuleLaunchKernel is HIP 7's: 5.7 to 6.4 answer 1 to such a handle"
        return
    may = "" if refused else "this may be a refused handle: "
    yield f"{may}{_answers(failure.call, failure.code, ranges)}, where other calls answer 709"


def _answers(call: str, code: int, ranges: Iterable[versions.Range]) -> str:
    name = next((name for name, number in amd_log.codes().items() if number == code), "")
    where = f"on HIP {versions.either(ranges)}"
    return f"{where} {call} answers {code} ({name}) to a handle that it does not know"


def _of_any_call(scales: Scales, failure: Failure) -> Iterator[str]:
    """The same of a message that names no call: which ones may have answered so."""
    assert failure.code is not None
    told = [
        f"{call} ({versions.either(ranges)})"
        for call, ranges in versions.calls_that_answer(failure.code)
        if versions.may_mean_bad_handle(call, failure.code, scales.version)
    ]
    if told:
        yield (
            "this may be a refused handle: where other calls answer 709 to a handle that they do"
            f" not know, these answer {failure.code} on some versions of HIP: {', '.join(told)};"
            " AMD_LOG_LEVEL=4 shows the call and its handle"
        )


def _took_destroyed(scales: Scales, found: Found) -> None:
    """HIP 7: a call succeeds with a stream that was destroyed before."""
    failure, end = found.failure, found.end
    if end is None or failure.handle is None:
        return
    scales.fault = True
    scales.told.add(failure.entry)
    made = found.life.made if found.life is not None and found.life.made_at else None
    note = (
        f"{failure.call} does not check its handle on HIP 7: what is a 709 up to 6.4 reads freed"
        " memory there, unless the address was given to a new stream by a call that the log lacks"
    )
    told = replace(failure, history=tuple(history.of(found)), notes=(*failure.notes, note))
    scales.failures.append(told)
    scales.say(
        "destroyed-stream",
        "possible",
        f"{failure.handle:#x} was destroyed, and {failure.call} took it afterwards",
        made,
        end.line,
        failure.entry,
    )


# ---- what is loaded, and other signs -------------------------------------------------------------


def _loads(scales: Scales, *, refused: bool) -> None:
    evidence = scales.evidence
    for group in sorted(evidence.together):
        loads = [load for load in evidence.loads.values() if load.group == group]
        lines = [load.line for load in loads[:_MOST_COPIES]]
        if loads[0].kind == "log" and loads[0].pid is None:
            scales.say(
                "two-runtimes",
                "possible",
                "the log names two paths of the library: two copies in one process, or two"
                " processes in one log",
                *lines,
                statement="" if refused else _TWO_LOADED,
            )
            continue
        scales.fault = True
        pid = loads[0].pid
        scales.say(
            "two-runtimes",
            "possible",
            f"{len(loads)} copies of the library are loaded in one process"
            f"{f' ({pid})' if pid is not None else ''}: {_paths(loads)}",
            *lines,
            statement="" if refused else _TWO_LOADED,
        )
    if not refused:
        return
    for group in sorted(evidence.in_turn - evidence.together):
        loads = [load for load in evidence.loads.values() if load.group == group]
        scales.say(
            "unloaded-runtime",
            "possible",
            "one copy of the library was closed before another one was opened",
            *(load.line for load in loads[:_MOST_COPIES]),
        )
    if scales.only_copy is not None:
        scales.note(
            f"the memory map shows one copy of the library, {scales.only_copy.path}: two copies are"
            " not the cause, if it is of the same process, and of the time when the call failed",
            scales.only_copy.line,
        )


def _signs(scales: Scales, *, refused: bool) -> None:
    signs = scales.evidence.signs
    for name, because in _STATED:
        if name not in signs:
            continue
        scales.fault = True
        if name == "gpu-reset" and refused:
            because = f"{because}; {causes.get(name).versions}"
        scales.say(name, "likely", because, *signs[name][:MOST_LINES])
    if "xsched-error" in signs:
        scales.fault = True
        scales.note("XSched ended the process", *signs["xsched-error"])
    if "no-platform" in signs and not scales.failures:
        scales.note(
            '"context is destroyed" is said without a word of the platform: HIP and CUDA both say'
            " so, and mean different things",
            *signs["no-platform"],
        )


def _notes(scales: Scales, refused: list[Found]) -> None:
    evidence = scales.evidence
    if any(found.failure.code == CONTEXT_IS_DESTROYED for found in refused):
        meaning = Note(
            "709 from a HIP call says that this loaded copy of the library does not know the"
            ' handle. Its words are "context is destroyed"; no context and no thread plays a part'
        )
        scales.notes.insert(0, meaning)
    for (_, pid), process in evidence.ledger.processes.items():
        if pid is not None and len(process.initialised) > 1 and not refused:
            scales.note(
                f"the runtime was initialised {len(process.initialised)} times under pid {pid}:"
                " once for each copy that is loaded",
                *process.initialised[:_MOST_COPIES],
            )
    if evidence.others:
        most = evidence.others.most_common(_MOST_NAMES)
        named = [
            f"{call} {error} {'once' if number == 1 else f'{number} times'}"
            for (call, error), number in most
        ]
        more = ", ..." if len(evidence.others) > _MOST_NAMES else ""
        total = sum(evidence.others.values())
        scales.note(
            f"{total} {'call' if total == 1 else 'calls'} returned errors that are not known to be"
            f" a handle's (many programs ask so): {', '.join(named)}{more}",
            *(evidence.first_other[key] for key, _ in most),
        )
        _may_be_handles(scales, most)
    if evidence.more_failures:
        scales.note(f"{evidence.more_failures} failures more were only counted")
    if any(process.forgot for process in evidence.ledger.processes.values()):
        scales.note(
            "more streams were made than are remembered: where the oldest were made is not known"
        )


def _may_be_handles(scales: Scales, most: Iterable[tuple[tuple[str, str], int]]) -> None:
    for (call, error), _ in most:
        code = amd_log.codes().get(error)
        ranges = versions.may_mean_bad_handle(call, code or 0, scales.version)
        if code and ranges:
            scales.note(
                f"{_answers(call, code, ranges)}: here the log does not show that it is one",
                scales.evidence.first_other[call, error],
            )


# ---- candidates ----------------------------------------------------------------------------------


def _candidates(scales: Scales) -> tuple[Candidate, ...]:
    by_cause: dict[str, list[Reason]] = {}
    for reason in scales.reasons:
        by_cause.setdefault(reason.cause, []).append(reason)
    told = [_candidate(scales, cause, reasons) for cause, reasons in by_cause.items()]
    refused = any(each.code == CONTEXT_IS_DESTROYED for each in scales.failures)

    def place(each: Candidate) -> tuple[bool, bool, int]:
        # What does not explain the refusal stands behind what may.
        aside = refused and each.cause == "gpu-reset"
        return aside, each.likelihood != "likely", _ORDER[each.cause]

    return tuple(sorted(told, key=place))


def _candidate(scales: Scales, id: str, reasons: list[Reason]) -> Candidate:
    cause = causes.get(id)
    best = next((each for each in reasons if each.likelihood == "likely"), reasons[0])
    lines = dict.fromkeys(line for each in [best, *reasons] for line in each.lines)
    why = list(dict.fromkeys(each.because for each in [best, *reasons]))
    more = f" (and {len(why) - 2} reasons more like these)" if len(why) > 2 else ""
    return Candidate(
        cause=id,
        likelihood=best.likelihood,
        statement=best.statement or cause.statement,
        because="; ".join(why[:2]) + more,
        lines=tuple([*lines][:_MOST_LINES]),
        decide=cause.discriminators,
        remedy=(cause.remedy, *_particular_remedy(scales, id)),
        references=cause.references,
    )


def _particular_remedy(scales: Scales, id: str) -> Iterator[str]:
    if id != "two-runtimes":
        return
    evidence = scales.evidence
    loads = [load for load in evidence.loads.values() if load.group in evidence.together]
    of_torch = [load for load in loads if "/torch/lib/" in load.path]
    # A memory map is in the order of addresses: it does not say which copy came first.
    keep = of_torch or [load for load in loads if load.kind == "LD_DEBUG"]
    if keep:
        yield f"here, for XSched: XSCHED_HIP_LIB={keep[0].path}"
    yield "try it at once: xdiag run -- COMMAND, which chooses the repair"


def _not_excluded(scales: Scales, candidates: Iterable[Candidate]) -> tuple[str, ...]:
    """What a refusal that is not explained leaves open, and nothing speaks for."""
    named = {each.cause for each in candidates}
    if scales.only_copy is not None:
        named.add("two-runtimes")
    order = dict.fromkeys((*causes.OF_A_REFUSAL, *causes.OF_AN_EVENT))
    return tuple(id for id in order if id in scales.left_open and id not in named)


def _paths(loads: list[Load]) -> str:
    return ", ".join(load.path for load in loads[:_MOST_COPIES])
