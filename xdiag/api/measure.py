"""Asks every call with every kind of handle, each time in a process of its own.

A call that does not succeed with a live stream is not asked further: what it says of a bad handle
would say nothing of the handle.
"""

from __future__ import annotations

import datetime
import re
from typing import TYPE_CHECKING

import msgspec

from xdiag import __version__, platforms
from xdiag.api.circumstances import after, before, circumstances, environment
from xdiag.api.handles import CONTROL, HANDLES, Handle
from xdiag.api.measured_data import (
    EXIT,
    HANG,
    PATIENCE,
    ROUNDS,
    SURE,
    Circumstance,
    Entry,
    Measured,
    Subject,
)
from xdiag.api.questions import QUESTIONS, Question, Way
from xdiag.api.readings import named, succeeded
from xdiag.engine.run import Engine
from xdiag.model import SCHEMA_VERSION, Cell, OutcomeKind, Step, parse_step

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from xdiag.engine.messages import Paths
    from xdiag.model import Outcome, Result, StepRecord, Target

    #: Call, way, kind of handle, circumstance, number of the round.
    Key = tuple[str, int, str, str, int]

#: Whether the address of a stream that is gone is a stream's again.  This call looks the handle up
#: in the set of live streams and does not follow it (measured on 5.2.3, 5.7.1, 6.4.3 and 7.2.4).
_IS_IT_BACK = "main: {R}.GetStreamDeviceId(h) ?"
_OPEN = ("main: A = open(first, local)", "main: A.Init(0)")


def steps_of(
    handle: Handle, way: Way, past: Sequence[str] = (), later: Sequence[str] = ()
) -> tuple[Step, ...]:
    """The story of one question: the handle, what the call is asked with besides, the call.

    ``past`` are steps that come before the handle is what it is to be, ``later`` those after.
    """

    def read(lines: Iterable[str]) -> list[Step]:
        return [parse_step(line.replace("{R}", handle.asked)) for line in lines]

    prepared = read(way.prepare)
    # A struct that holds the handle is made when there is one.
    late = [step for step in prepared if "h" in step.args]
    (ask,) = read([f"main: {handle.asked}.{way.ask}"])
    steps = (
        *read(_OPEN),
        *read(handle.make),
        *read(way.owner if handle.owned else ()),
        *read(past),
        *read(handle.then),
        *(step for step in prepared if step not in late),
        *read(handle.last),
        *read(later),
        *late,
        *read((_IS_IT_BACK,) if handle.gone else ()),
        msgspec.structs.replace(ask, phase="use"),
    )
    return steps


def cell(
    question: Question,
    way: int,
    handle: Handle,
    circumstance: Circumstance,
    number: int,
    patience: float,
    variables: dict[str, str],
) -> Cell:
    """One question in one circumstance as a cell; ``number`` tells the rounds apart.

    ``variables`` are those of the circumstance; ``patience`` is in seconds.
    """
    return Cell(
        id=f"{question.call}/{way}/{handle.id}/{circumstance.id}/{number}",
        pattern=handle.id,
        fix="none",
        consumer=question.call,
        steps=steps_of(handle, question.ways[way], before(circumstance), after(circumstance)),
        environment=variables,
        timeout=patience,
    )


def answer_of(outcome: Outcome) -> Entry:
    """What one process says: the last step is the question, the others are its story."""
    *story, asked = outcome.trace or (None,)
    if story and _is_back(story[-1]):
        return Entry(unasked="a new stream was given the address meanwhile")
    if asked is not None and asked.state == "done":
        return Entry(answers={str(asked.code): 1})
    if asked is not None and asked.state == "unsupported":
        return Entry(absent=True)
    if asked is not None and asked.state == "unfinished":
        if outcome.kind == OutcomeKind.HANG:
            return Entry(answers={HANG: 1})
        if outcome.kind == OutcomeKind.EXIT:
            return Entry(answers={f"{EXIT} {outcome.status}": 1})
        return Entry(answers={outcome.signal: 1})
    return Entry(unasked=_why_not(outcome))


def _is_back(before: StepRecord | None) -> bool:
    """Whether the step before the question found the handle to be a live stream again."""
    if before is None or before.phase != "setup" or not before.call.endswith("GetStreamDeviceId"):
        return False
    return before.state == "done" and before.code is not None and before.code >= 0


def _why_not(outcome: Outcome) -> str:
    """Why the story did not come to its question."""
    if outcome.kind == OutcomeKind.SKIPPED:
        return outcome.reason
    at = outcome.died_at if outcome.died_at is not None else outcome.step
    call = next((record.call for record in outcome.trace if record.step == at), "")
    if outcome.kind == OutcomeKind.UNSUPPORTED:
        return f"cannot be set up: {outcome.reason}"
    if outcome.kind == OutcomeKind.ERROR and outcome.code is not None:
        return f"cannot be set up: {call} gives {outcome.code} {outcome.name}"
    how = outcome.signal or outcome.message or outcome.kind.value
    return f"cannot be set up: {call}: {how}"


def together(entries: Sequence[tuple[str, Entry]]) -> Entry:
    """Several rounds' entries, each with the id of its circumstance, as one.

    Every answer that came, the most frequent first.
    """
    if absent := next((entry for _, entry in entries if entry.absent), None):
        return absent
    counted: dict[str, int] = {}
    where: dict[str, dict[str, None]] = {}
    for circumstance, entry in entries:
        for answer, times in entry.answers.items():
            counted[answer] = counted.get(answer, 0) + times
            where.setdefault(answer, {})[circumstance] = None
    if not counted:
        return entries[0][1]
    order = sorted(counted, key=lambda answer: (-counted[answer], answer))
    return Entry(
        answers={answer: counted[answer] for answer in order},
        where={answer: tuple(where[answer]) for answer in order} if len(order) > 1 else {},
    )


class _Asking:
    """One measurement on its way."""

    def __init__(
        self,
        engine: Engine,
        target: Target,
        among: Sequence[Circumstance],
        rounds: int,
        patience: float,
        tell: Callable[[Result], None],
    ) -> None:
        self._engine = engine
        self._rounds = rounds
        self._patience = patience
        self._tell = tell
        self._circumstances = {each.id: each for each in among}
        self._variables = {each.id: environment(each, target) for each in among}

    def ask(
        self, wanted: Iterable[tuple[Question, int, Handle]]
    ) -> dict[tuple[str, int, str], Entry]:
        """Every question wanted, in every circumstance, in all its rounds."""
        asked = {
            (question.call, way, handle.id, circumstance, number): (question, way, handle)
            for question, way, handle in wanted
            for circumstance in self._circumstances
            for number in range(self._rounds)
        }
        found = self._run(asked, self._patience, self._tell)
        # Whatever came too late is asked once more, with time enough.
        late = {
            key: asked[key] for key, outcome in found.items() if outcome.kind == OutcomeKind.HANG
        }
        found.update(self._run(late, max(SURE, self._patience), lambda result: None))
        merged: dict[tuple[str, int, str], list[tuple[str, Entry]]] = {}
        for (call, way, handle_id, circumstance, _), outcome in found.items():
            entries = merged.setdefault((call, way, handle_id), [])
            entries.append((circumstance, answer_of(outcome)))
        return {key: together(entries) for key, entries in merged.items()}

    def _run(
        self,
        asked: dict[Key, tuple[Question, int, Handle]],
        patience: float,
        tell: Callable[[Result], None],
    ) -> dict[Key, Outcome]:
        cells = {}
        for key, (question, way, handle) in asked.items():
            *_, circumstance, number = key
            cells[key] = cell(
                question, way, handle, self._circumstances[circumstance], number, patience,
                self._variables[circumstance],
            )  # fmt: skip
        keys = {made.id: key for key, made in cells.items()}
        found = {}
        for result in self._engine.run(cells.values()):
            found[keys[result.cell.id]] = result.outcome
            tell(result)
        return {key: found[key] for key in cells}


def measure(
    target: Target,
    paths: Paths,
    *,
    questions: Sequence[Question] = QUESTIONS,
    handles: Sequence[Handle] = HANDLES,
    rounds: int = ROUNDS,
    patience: float = PATIENCE,
    among: Sequence[Circumstance] | None = None,
    jobs: int = 1,
    on_result: Callable[[Result], None] = lambda result: None,
) -> Measured:
    """Measure these calls with these kinds of handle on one runtime; the control is always asked.

    Each is asked ``rounds`` times in each of the circumstances ``among`` those that can be had, by
    default all.  ``patience`` is in seconds.  Raises CannotRun where no cell can be run at all.
    """
    started = datetime.datetime.now(datetime.timezone.utc)
    control = next(handle for handle in HANDLES if handle.id == CONTROL)
    others = [handle for handle in handles if not handle.control]
    among = circumstances(target) if among is None else tuple(among)
    with Engine(target, paths, jobs=jobs) as engine:
        asking = _Asking(engine, target, among, rounds, patience, on_result)
        live = asking.ask(
            (question, way, control)
            for question in questions
            for way in _ways(question, target.version)
        )
        ways = {question.call: _way(question, live) for question in questions}
        rest = asking.ask(
            (question, way, handle)
            for question in questions
            if (way := ways[question.call]) is not None
            for handle in others
        )
    calls = {}
    for question in questions:
        way = ways[question.call]
        first = next(iter(_ways(question, target.version)))
        entry = live[question.call, first if way is None else way, CONTROL]
        row = {CONTROL: entry}
        why = _not_judged(question, entry, target.platform)
        for handle in others:
            if way is not None:
                row[handle.id] = rest[question.call, way, handle.id]
            else:
                row[handle.id] = Entry(absent=True) if entry.absent else Entry(unasked=why)
        calls[question.call] = row
    return Measured(
        schema_version=SCHEMA_VERSION,
        xdiag=__version__,
        started=started.isoformat(timespec="seconds"),
        subject=subject_of(target),
        rounds=rounds,
        patience=patience,
        calls=calls,
        circumstances=among,
    )


def _way(question: Question, live: dict[tuple[str, int, str], Entry]) -> int | None:
    """The first way in which a live stream is accepted every time; None where there is none."""
    for way in range(len(question.ways)):
        entry = live.get((question.call, way, CONTROL), Entry())
        if entry.answers and all(succeeded(question.call, answer) for answer in entry.answers):
            return way
    return None


def _ways(question: Question, version: str) -> list[int]:
    """The ways that are meant for this version of the runtime."""
    head = version.partition(".")[0]
    major = int(head) if head.isdigit() else 0
    return [n for n, way in enumerate(question.ways) if way.since <= major <= way.until]


def _not_judged(question: Question, entry: Entry, platform: str) -> str:
    """Why the call is not asked with any other handle, as a user may read it."""
    if entry.unasked:
        return entry.unasked
    said = " or ".join(named(question.call, answer) for answer in entry.answers)
    prefix = platforms.get(platform).prefix
    return f"not askable here: with a live stream {prefix}{question.call} gives {said}"


def subject_of(target: Target) -> Subject:
    """What a measurement of a target says that it was made on."""
    package = re.search(r"/(libamdhip64-[^/]+_[^/]+)/", target.runtime)
    return Subject(
        platform=target.platform,
        version=target.version,
        soname=target.soname,
        build_id=target.build_id,
        agent=target.agent,
        package=package[1] if package else "",
        device=target.device_name,
    )


def count(
    questions: Sequence[Question], handles: Collection[Handle], rounds: int, target: Target
) -> int:
    """How many processes a measurement takes at the most, without those asked again."""
    ways = sum(len(_ways(question, target.version)) for question in questions)
    others = sum(not handle.control for handle in handles)
    return rounds * len(circumstances(target)) * (ways + len(questions) * others)
