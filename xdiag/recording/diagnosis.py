"""What is wrong in a record: its root causes, each once, with the calls that show it.

A cause is named where the record supports it and not otherwise; what a call was given decides, not
the code that it returned: HIP 7 returns success for another copy's stream.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from xdiag.causes import CAUSES
from xdiag.model import Record
from xdiag.recording import words
from xdiag.recording.facts import Call  # noqa: TC001 - msgspec reads the annotations
from xdiag.recording.handles import LAST_SPECIAL, NOT_READY, TAKES_EVENT, TAKES_STREAM, Handles
from xdiag.recording.history import Provenance, provenance_of
from xdiag.recording.requests import routes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from xdiag.recording.facts import Facts, Object, Process
    from xdiag.recording.handles import Kind, Life, Origin
    from xdiag.recording.read import Recording
    from xdiag.recording.rings import Row

#: A refusal of which the record does not say why.
_NOT_KNOWN = ("unknown-handle", "unexplained")
#: What to do about a cause.
_REMEDIES = {cause.id: cause.remedy for cause in CAUSES if cause.id not in _NOT_KNOWN}
#: PyTorch's libraries, which ask for a copy: libtorch_hip.so, libc10_hip.so, ...
_TORCH = re.compile(r"lib(torch|c10)\w*\.so")
#: Root causes that are told one by one; the rest is one more.
_MOST_GROUPS = 64
#: Handles counted of one cause, and calls named.
_MOST_HANDLES, _MOST_NAMES = 4096, 6
#: What a call may take, in the order in which it is looked at.
_TAKEN: tuple[tuple[int, Kind], ...] = ((TAKES_STREAM, "stream"), (TAKES_EVENT, "event"))
#: Times of a history that are told.
_MOST_STEPS = 12
#: What starts a program under the repair that fits it, in a line of what to do.  A record does not
#: say which that is; ``xdiag run`` does, where it is the one that tells.
START = "or start the program with: xdiag run -- COMMAND"


class Diagnosis(Record, frozen=True):
    """One root cause, or one thing to know."""

    #: An id of ``xdiag.causes``, or of what only a record shows: "two-runtimes-loaded".
    cause: str
    #: One sentence: what is so.
    sentence: str
    #: False for what is no fault by itself.
    fault: bool = True
    #: Whether the record proves it; else it is the likeliest reading, or no cause is known.
    certain: bool = True
    #: Calls that show it: of them failed, returned success (0), did not return.
    calls: int = 0
    failed: int = 0
    succeeded: int = 0
    #: Answered that work is not finished (HIP: 600), which is no failure.
    not_ready: int = 0
    unfinished: int = 0
    handles: int = 0
    processes: int = 0
    #: The first of them that failed, or the first, and where its handle came from.
    call: Call | None = None
    provenance: Provenance | None = None
    #: What was seen, a line each; the history first.
    evidence: tuple[str, ...] = ()
    remedy: tuple[str, ...] = ()


def diagnose(recording: Recording) -> tuple[Diagnosis, ...]:
    """What is wrong in a record, the cause of the first failing call first, then what to know.

    One pass over the calls; 1.5 million take some seconds.
    """
    survey = _Survey(recording)
    faults = sorted(survey.groups.values(), key=_Group.order)
    found = [group.diagnosis(survey) for group in faults]
    return (*found, *_two_loaded(survey), *_other_errors(survey), *_unfinished(survey))


@dataclass
class _Group:
    """The calls with one root cause."""

    cause: str
    calls: int = 0
    failed: int = 0
    not_ready: int = 0
    unfinished: int = 0
    handles: set[int] = field(default_factory=set)
    processes: set[int] = field(default_factory=set)
    names: Counter[int] = field(default_factory=Counter)
    #: Processes of which the last thing known is one of these calls.
    died: list[int] = field(default_factory=list)
    first: tuple[int, Provenance, Call] | None = None
    first_failed: tuple[int, Provenance, Call] | None = None

    def order(self) -> tuple[int, int]:
        """By the first call that failed; those without one last."""
        first = self.first[0] if self.first is not None else 0
        return (self.first_failed[0] if self.first_failed is not None else 1 << 64, first)

    @property
    def succeeded(self) -> int:
        """Calls that returned success."""
        return self.calls - self.failed - self.not_ready - self.unfinished

    @property
    def shown(self) -> tuple[int, Provenance, Call]:
        """The call that is told of, with its time and its handle's history."""
        shown = self.first_failed or self.first
        assert shown is not None
        return shown

    @property
    def went_astray(self) -> bool:
        """Whether that call was given a cut handle of another copy."""
        _, provenance, call = self.shown
        return _went_astray(call, provenance)

    def diagnosis(self, survey: _Survey) -> Diagnosis:
        """The group as it is told."""
        _, provenance, call = self.shown
        return Diagnosis(
            cause=self.cause,
            sentence=provenance.sentence,
            certain=provenance.certain and self.cause not in _NOT_KNOWN,
            calls=self.calls,
            failed=self.failed,
            succeeded=self.succeeded,
            not_ready=self.not_ready,
            unfinished=self.unfinished,
            handles=len(self.handles),
            processes=len(self.processes),
            call=call,
            provenance=provenance,
            evidence=(*_history(provenance), *self._numbers(survey), *_besides(self)),
            remedy=tuple(_remedy(self.cause, survey.facts, call, provenance)),
        )

    def _numbers(self, survey: _Survey) -> Iterator[str]:
        names = [
            survey.recording.listed(index).platform_name
            for index, _ in self.names.most_common(_MOST_NAMES)
        ]
        more = ", ..." if len(self.names) > _MOST_NAMES else ""
        ends = [
            f"{number} {what}"
            for number, what in (
                (self.failed, "failed"),
                (self.succeeded, "returned success"),
                (self.not_ready, f"answered {NOT_READY} hipErrorNotReady"),
                (self.unfinished, "did not return"),
            )
            if number
        ]
        where = f" in {words.plural(len(self.processes), 'process')}"
        yield (
            f"{words.plural(self.calls, 'call')}{where if len(self.processes) > 1 else ''} with"
            f" {words.plural(len(self.handles), 'such handle')}: {', '.join(ends)}"
            f" ({', '.join(names)}{more})"
        )
        for index in self.died[:_MOST_NAMES]:
            yield (
                f"{words.process_named(survey.facts.processes[index])} died in it, or was running"
                " still"
            )
        if self.cause == "two-runtimes" and self.calls > self.failed + self.unfinished:
            yield (
                "success says nothing here: HIP 7 takes another copy's stream without a check, and"
                " its work is silently unordered"
            )


class _Survey:
    """All calls looked at once, in their order."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self.facts = recording.facts
        self.handles = Handles(recording)
        self.groups: dict[tuple[object, ...], _Group] = {}
        #: (process, runtime) -> calls that were kept.
        self.used: Counter[tuple[int, int]] = Counter()
        self.other_errors: Counter[tuple[int, int]] = Counter()
        self.first_other: Row | None = None
        #: Refused with a handle of which nothing was wrong when the call began.
        self._puzzling: list[tuple[Row, tuple[str, Origin], list[Origin]]] = []
        #: Processes in which the low half of one copy's handle was given to another copy, with the
        #: two, and in which a copy accepted a value that had been another copy's stream.
        self.halves_crossed: dict[int, tuple[int, int]] = {}
        self.addresses_shared: set[int] = set()
        #: Processes that did not end by themselves -> the call in flight that began last.
        self.last_in_flight = _last_in_flight(recording.facts)
        #: (cause, process, the maker's runtime, the called one) -> group, found before.
        self._groups_at: dict[tuple[str, int, int, int], _Group] = {}
        self._go_through()

    def _go_through(self) -> None:
        handles = self.handles
        used: list[dict[int, int]] = [{} for _ in handles.table_of]
        tables = handles.table_of
        takes = TAKES_STREAM | TAKES_EVENT
        for row, does in handles.rows():
            _, ended, stream, other, _, _, _, runtime, result, _, source = row
            counts = used[source]
            counts[runtime] = counts.get(runtime, 0) + 1
            if not does & takes:
                if result and handles.failed(row):
                    self._other_error(row)
                continue
            table = tables[source]
            # The usual call, told apart quickly: no error, and handles that this copy made.
            if (
                ended
                and not result
                and not table.any_reset
                and (stream <= LAST_SPECIAL or _is_own(table.streams.get(stream), runtime))
                and (
                    not other or not does & TAKES_EVENT or _is_own(table.events.get(other), runtime)
                )
            ):
                continue
            self._look_closer(row, does)
        for row, (cause, origin), well in self._puzzling:
            for each in well:
                now = handles.ended_during(row, each)
                if now.state != "own":
                    cause, origin = self._cause(row, now, failed=True), now
                    break
            self._add(cause, row, origin, failed=True)
        for table, counts in zip(tables, used, strict=True):
            for runtime, number in counts.items():
                self.used[table.index, runtime] += number

    def _look_closer(self, row: Row, does: int) -> None:
        failed = self.handles.failed(row)
        not_known = None
        well: list[Origin] = []
        for flag, kind in _TAKEN:
            if does & flag:
                origin = self.handles.origin(row, kind)
                cause = self._cause(row, origin, failed)
                if cause and cause not in _NOT_KNOWN:
                    self._add(cause, row, origin, failed)
                    return
                if origin.state == "own":
                    well.append(origin)
                # Its stream may be well, and its event tell why.
                if cause and not_known is None:
                    not_known = (cause, origin)
        if not_known is not None and well and len(self._puzzling) < _MOST_HANDLES:
            self._puzzling.append((row, not_known, well))
        elif not_known is not None:
            self._add(not_known[0], row, not_known[1], failed)
        elif failed:
            self._other_error(row)

    def _cause(self, row: Row, origin: Origin, failed: bool) -> str:
        """Why a call is a fault; empty where it is none."""
        refused = failed and self.handles.refused(row)
        life = origin.life
        # A call that did not fail is a fault only where nothing is missing that could explain it:
        # the address may have been made again, by a call that is lost.
        proved = failed or origin.complete
        if not failed and self.handles.proves_live(row, origin.kind):
            # It is a live one of this copy, made by a call that was not seen.
            if origin.state == "foreign":
                self.addresses_shared.add(self.handles.table_of[row[10]].index)
            return "fork" if origin.state == "inherited" and origin.complete else ""
        # From 7.0 on success says nothing; before that, memory that was given back is not used so.
        believed = failed or not row[1] or not self.handles.has_check(row)
        match origin.state:
            case "foreign":
                return "two-runtimes" if proved else ""
            case "unloaded":
                return "unloaded-runtime" if proved else ""
            case "inherited":
                return "fork" if proved else ""
            case "truncated":
                return "truncated-handle" if believed else ""
            case "wrong-kind":
                # No version checks its events, but for hipEventDestroy.
                return "wrong-kind" if proved and (believed or origin.kind == "event") else ""
            case "destroyed":
                # One that began before the destruction was over is a race that was won.
                raced = life is not None and row[0] < life.ended_at
                if failed or (believed and origin.complete and not raced):
                    return "destroyed-stream" if origin.kind == "stream" else "destroyed-event"
            case "reset":
                if failed or (believed and origin.certain and life is not None and row[1]):
                    return "device-reset"
            case "remade":
                return "unknown-handle" if refused else ""
            case "elsewhere":
                return "other-process" if failed else ""
            case "special":
                if refused and origin.kind == "stream":
                    return "legacy-stream" if origin.value == 1 else "unexplained"
            case "own":
                return "unexplained" if refused else ""
            case "unknown":
                return "unknown-handle" if refused else ""
        return ""

    def _add(self, cause: str, row: Row, origin: Origin, failed: bool) -> None:
        group = self._group(cause, row, origin)
        group.calls += 1
        group.failed += failed
        group.not_ready += row[8] == NOT_READY and bool(row[1]) and not failed
        if not row[1]:
            group.unfinished += 1
            self._note_death(group, row)
        group.names[row[6]] += 1
        group.processes.add(self.handles.table_of[row[10]].index)
        if len(group.handles) < _MOST_HANDLES:
            group.handles.add(origin.value)
        life = origin.life
        if origin.state == "truncated" and life is not None and life.runtime != row[7]:
            process = self.handles.table_of[row[10]].index
            self.halves_crossed.setdefault(process, (life.runtime, row[7]))
        is_first = group.first is None or row[0] < group.first[0]
        earlier_failed = group.first_failed is not None and row[0] >= group.first_failed[0]
        if is_first or (failed and not earlier_failed):
            told = (row[0], provenance_of(self.handles, row, origin), self.recording.call_of(row))
            group.first = told if is_first else group.first
            if failed and not earlier_failed:
                group.first_failed = told

    def _note_death(self, group: _Group, row: Row) -> None:
        source = self.recording.sources[row[10]]
        last = self.last_in_flight.get(source.process)
        if last is not None and (last.tid, last.position) == (source.tid, row[9]):
            group.died.append(source.process)
            del self.last_in_flight[source.process]

    def _group(self, cause: str, row: Row, origin: Origin) -> _Group:
        life = origin.life
        where = (cause, self.handles.table_of[row[10]].index, life.runtime if life else 0, row[7])
        group = self._groups_at.get(where)
        if group is None:
            key = self._key(*where)
            if key not in self.groups and len(self.groups) >= _MOST_GROUPS:
                key = (cause,)
            group = self.groups.setdefault(key, _Group(cause))
            if len(self._groups_at) < _MOST_HANDLES:
                self._groups_at[where] = group
        return group

    def _key(self, cause: str, process: int, maker: int, runtime: int) -> tuple[object, ...]:
        """What makes one root cause of many calls: files, whatever processes they are loaded in."""
        if cause not in ("two-runtimes", "unloaded-runtime"):
            return (cause,)
        return (
            cause,
            _file(self.facts.processes[process], maker),
            _file(self.facts.processes[process], runtime),
        )

    def _other_error(self, row: Row) -> None:
        self.first_other = self.first_other or row
        if len(self.other_errors) < _MOST_HANDLES:
            self.other_errors[row[6], row[8]] += 1


def _is_own(life: Life | None, runtime: int) -> bool:
    return life is not None and life.runtime == runtime and not life.end and not life.inherited


def _file(process: Process, number: int) -> object:
    found = process.object(number)
    return (found.path, found.namespace) if found is not None else number


def _files(process: Process) -> tuple[object, ...]:
    return tuple(_file(process, each.number) for each in process.runtimes)


# ---- what is told of a cause -----------------------------------------------------------------


def _history(provenance: Provenance) -> Iterator[str]:
    steps = provenance.steps
    left_out = len(steps) - _MOST_STEPS
    for step in steps[max(0, left_out) :]:
        yield f"{words.moment(step.time)}  {step.what}: {step.text}"


def _besides(group: _Group) -> Iterable[str]:
    cause = group.cause
    if cause == "fork":
        if group.failed:
            yield (
                "refused in the child: streams are copied with the process, so that another reason"
                " may have come on top"
            )
        if group.calls > group.failed:
            yield (
                "where the child's copied handle is accepted, the GPU's queues are not the child's:"
                " its work hangs"
            )
    elif cause == "unexplained":
        yield "what ended it, or why the copy does not know it, is not in the record"


def _is_frameworks(process: Process, copy: Object) -> bool:
    """Whether a copy is the one that PyTorch brings, or that it asked for."""
    if "/torch/lib/" in copy.path:
        return True
    return any(
        route.runtime == copy.number and _TORCH.match(os.path.basename(route.requester_path))
        for route in routes(process)
    )


def _remedy(cause: str, facts: Facts, call: Call, provenance: Provenance) -> Iterable[str]:
    made = provenance.made
    if cause == "two-runtimes" and made is not None:
        one, *how = _one_copy(facts.processes[call.process], made.runtime, call.runtime)
        yield from (f"{one}{',' * bool(how)}", *how)
    elif cause == "truncated-handle" and _went_astray(call, provenance):
        assert made is not None
        one, *how = _one_copy(facts.processes[call.process], made.runtime, call.runtime)
        yield "two causes, each enough for this by itself: repair both"
        yield f"1. the handle is cut: {_REMEDIES[cause]}"
        yield f"2. whole, it is another copy's still: {one}"
        yield from how
    elif cause in _REMEDIES:
        yield _REMEDIES[cause]


def _went_astray(call: Call, provenance: Provenance) -> bool:
    """Whether a cut handle was given to another copy than the one that made the whole one."""
    made = provenance.made
    return provenance.state == "truncated" and made is not None and made.runtime != call.runtime


def _one_copy(process: Process, maker: int, called: int) -> Iterator[str]:
    """How two copies become one, by one line or by the next."""
    keep, other = process.object(maker), process.object(called)
    if keep and other and _is_frameworks(process, other) and not _is_frameworks(process, keep):
        keep, other = other, keep
    if keep is None or other is None:
        yield _REMEDIES["two-runtimes"]
    elif keep.soname != other.soname:
        yield (
            f"they are of different versions ({keep.soname}, {other.soname}): who uses"
            f" {words.letter(process, other.number)} needs a build for the other one"
        )
    elif other.namespace:
        yield f"open {keep.path} with dlopen, not into a namespace of its own (dlmopen)"
    else:
        yield f"make every party open {keep.path} (for XSched: XSCHED_HIP_LIB={keep.path})"
        yield START


# ---- what to know besides --------------------------------------------------------------------


def _two_loaded(survey: _Survey) -> Iterator[Diagnosis]:
    """Two copies at a time in processes in which no handle went from one to the other."""
    told = {
        _files(survey.facts.processes[index])
        for group in survey.groups.values()
        if group.cause in ("two-runtimes", "unloaded-runtime")
        for index in group.processes
    }
    seen: dict[object, list[Process]] = {}
    for process in survey.facts.processes:
        if _at_a_time(process.runtimes) and _files(process) not in told:
            seen.setdefault(_files(process), []).append(process)
    for processes in [*seen.values()][:_MOST_GROUPS]:
        first = processes[0]
        lines = []
        for each in first.runtimes[:_MOST_NAMES]:
            calls = sum(survey.used[process.index, each.number] for process in processes)
            used = words.plural(calls, "call") if each.recorded else "its calls were not recorded"
            lines.append(f"{words.named(first, each.number)}: {used}")
        others = f", and {len(processes) - 1} more alike" if len(processes) > 1 else ""
        all_recorded = all(each.recorded for each in first.runtimes)
        yield Diagnosis(
            cause="two-runtimes-loaded",
            sentence=f"{words.process_named(first)}{others} had {len(first.runtimes)} copies of"
            " the runtime loaded; " + _met(survey, processes, all_recorded=all_recorded),
            fault=False,
            processes=len(processes),
            evidence=tuple(lines),
            remedy=(
                *_also_one_copy(survey, processes),
                "see who asks for the second: xdiag doctor -- COMMAND",
            ),
        )


def _also_one_copy(survey: _Survey, processes: Iterable[Process]) -> Iterator[str]:
    """What repairs this cause, where cut handles hide it and what is told of them names it not."""
    if any(group.went_astray for group in survey.groups.values()):
        return
    for process in processes:
        if process.index in survey.halves_crossed:
            one, *_ = _one_copy(process, *survey.halves_crossed[process.index])
            yield f"{one}: a whole handle of one is not known to the other either"
            return


def _met(survey: _Survey, processes: Iterable[Process], *, all_recorded: bool) -> str:
    """What is known of handles that went from one copy to the other, and are no cause by that."""
    numbers = {process.index for process in processes}
    if numbers & survey.halves_crossed.keys():
        return "the low half of a handle of one was given to the other"
    if numbers & survey.addresses_shared:
        return (
            "the value of a stream of one was accepted by the other, which has made a stream there"
            " by a call that was not seen"
        )
    if all_recorded:
        return "no handle of one was seen given to the other"
    return "whether a handle of one was given to the other is not known"


def _at_a_time(runtimes: tuple[Object, ...]) -> bool:
    """Whether two of them were loaded at one time."""
    last_closed = None
    for each in sorted(runtimes, key=lambda each: each.opened):
        if last_closed is not None and each.opened < last_closed:
            return True
        closed = each.closed if each.closed is not None else float("inf")
        last_closed = closed if last_closed is None else max(last_closed, closed)
    return False


def _other_errors(survey: _Survey) -> Iterator[Diagnosis]:
    if survey.first_other is None:
        return
    from xdiag.recording.read import error_name

    lines = [
        f"{survey.recording.listed(index).platform_name} returned {code}"
        f" {error_name(code)}".rstrip()
        + f": {words.plural(number, 'time')}"
        for (index, code), number in survey.other_errors.most_common(_MOST_NAMES)
    ]
    total = sum(survey.other_errors.values())
    first = survey.recording.call_of(survey.first_other)
    yield Diagnosis(
        cause="other-error",
        sentence=f"{words.plural(total, 'call')} failed for reasons that are not a handle's: the"
        f" first, {words.on(survey.facts, first)}, {words.outcome(first)}",
        fault=False,
        certain=False,
        calls=total,
        failed=total,
        call=first,
        evidence=tuple(lines),
    )


def _last_in_flight(facts: Facts) -> dict[int, Call]:
    found: dict[int, Call] = {}
    for thread in facts.threads:
        call = thread.in_flight
        if call is None or facts.processes[thread.process].how_ended:
            continue
        if thread.process not in found or call.begun > found[thread.process].begun:
            found[thread.process] = call
    return found


def _unfinished(survey: _Survey) -> Iterator[Diagnosis]:
    """Processes that have not ended by themselves, with a call that has not returned."""
    facts = survey.facts
    for index, call in [*survey.last_in_flight.items()][:_MOST_GROUPS]:
        process = facts.processes[index]
        given = f" given {words.handle(call.stream)}" if call.stream is not None else ""
        yield Diagnosis(
            cause="unfinished-call",
            sentence=f"{words.process_named(process)} died in {words.on(facts, call)}{given}, or"
            " was running still",
            fault=False,
            certain=False,
            calls=1,
            unfinished=1,
            processes=1,
            call=call,
            evidence=(f"{words.moment(call.begun)}  not returned: {words.by(call)}",),
        )
