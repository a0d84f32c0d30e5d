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
from xdiag.explain import crashes, refusals, versions
from xdiag.explain.facts import Candidate, Loaded, Note, Step
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

_ORDER = {cause.id: place for place, cause in enumerate(causes.CAUSES)}
#: Signs that state a cause themselves, and why they are believed.
_STATED = (
    ("duplicate-llvm", "LLVM itself says so and aborts"),
    ("gpu-reset", "the kernel says so"),
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
    refused = [found for found in founds if _is_refusal(scales, found)]
    for found in founds:
        _failure(scales, found, refused)
    for crash in evidence.crashes:
        crashes.take(scales, crash)
    _loads(scales, refused=bool(refused))
    _signs(scales)
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
    if failure.handle is None or failure.handle <= LAST_SPECIAL:
        return False
    if found.ended or found.reset or found.whole or found.elsewhere:
        return True
    return found.life is not None and failure.pid is not None and len(scales.started(found)) > 1


def _failure(scales: Scales, found: Found, refused: list[Found]) -> None:
    failure = found.failure
    logged, is_refused = failure.kind == "AMD log", found in refused
    if logged and not is_refused and failure.code not in SEVERE:
        name = failure.name or str(failure.code)
        scales.evidence.other(failure.call, name, failure.line, found.count)
        return
    scales.fault = True
    scales.failures.append(
        replace(
            failure,
            count=found.count,
            history=tuple(_history(found)),
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
    ranges = versions.may_mean_bad_handle(failure.call, failure.code, scales.version)
    if not ranges:
        return
    if failure.code == CONTEXT_IS_DESTROYED:
        if failure.call == "hipModuleLaunchKernel":
            yield "709 from hipModuleLaunchKernel is HIP 7's: 5.7 to 6.4 answer 1 to such a handle"
        return
    where = f"on HIP {versions.either(ranges)}"
    answer = f"{failure.call} answers {failure.code} ({failure.name})"
    may = "" if refused else "this may be a refused handle: "
    yield f"{may}{where} {answer} to a handle that it does not know, where other calls answer 709"


def _history(found: Found) -> Iterator[Step]:
    failure = found.failure
    steps = []
    if found.life is not None and found.life.made_at:
        steps.append(Step("made", found.life.made))
    if found.whole is not None:
        steps.append(Step("whole handle made", found.whole.made))
    if found.elsewhere is not None:
        steps.append(Step("made in another process", found.elsewhere[1].made))
    for what, line in (
        ("accepted", found.accepted_before),
        ("destroyed", found.ended),
        ("device reset", found.reset),
        ("given", failure.entry),
    ):
        if line is not None:
            steps.append(Step(what, line))
    # Of one source they are told in the order of its lines; others came as they were given.
    if len({step.line.source for step in steps}) == 1:
        steps.sort(key=lambda step: step.line.number)
    yield from steps
    for line in [failure.line, *found.more] if steps else []:
        yield Step("refused" if failure.code == CONTEXT_IS_DESTROYED else "failed", line)
    if found.accepted_after is not None:
        yield Step("accepted", found.accepted_after)


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


def _signs(scales: Scales) -> None:
    signs = scales.evidence.signs
    for name, because in _STATED:
        if name in signs:
            scales.fault = True
            scales.say(name, "likely", because, *signs[name][:3])
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
    if evidence.more_failures:
        scales.note(f"{evidence.more_failures} failures more were only counted")
    if any(process.forgot for process in evidence.ledger.processes.values()):
        scales.note(
            "more streams were made than are remembered: where the oldest were made is not known"
        )


# ---- candidates ----------------------------------------------------------------------------------


def _candidates(scales: Scales) -> tuple[Candidate, ...]:
    by_cause: dict[str, list[Reason]] = {}
    for reason in scales.reasons:
        by_cause.setdefault(reason.cause, []).append(reason)
    told = [_candidate(scales, cause, reasons) for cause, reasons in by_cause.items()]
    return tuple(sorted(told, key=lambda each: (each.likelihood != "likely", _ORDER[each.cause])))


def _candidate(scales: Scales, id: str, reasons: list[Reason]) -> Candidate:
    cause = causes.get(id)
    best = next((each for each in reasons if each.likelihood == "likely"), reasons[0])
    lines = dict.fromkeys(line for each in [best, *reasons] for line in each.lines)
    why = list(dict.fromkeys(each.because for each in [best, *reasons]))
    more = f" (and {len(why) - 2} reasons more like these)" if len(why) > 2 else ""
    return Candidate(
        cause=id,
        likelihood=best.likelihood,
        statement=cause.statement,
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
    yield "try it at once: xdiag run --repair unify -- COMMAND"


def _not_excluded(scales: Scales, candidates: Iterable[Candidate]) -> tuple[str, ...]:
    """What a refusal that is not explained leaves open, and nothing speaks for."""
    if not scales.left_open:
        return ()
    named = {each.cause for each in candidates}
    if scales.only_copy is not None:
        named.add("two-runtimes")
    return tuple(id for id in causes.OF_A_REFUSAL if id not in named)


def _paths(loads: list[Load]) -> str:
    return ", ".join(load.path for load in loads[:_MOST_COPIES])
