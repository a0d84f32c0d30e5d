"""One matrix over many runs: per cell what each run has seen, those that agree together.

A merged matrix can be merged again.  A run is known by a hash of its report, so that one that is
given twice counts once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec

from xdiag import __version__
from xdiag.errors import Usage
from xdiag.model import FAULTS, SCHEMA_VERSION, Record, Report, Result
from xdiag.patterns import PATTERNS
from xdiag.saved import (
    MOST_CELLS,
    MOST_SEEN,
    Manner,
    Place,
    Run,
    Saved,
    check_names,
    in_order,
    in_order_of_versions,
    manner,
    place_of,
    read_report,
    run_of,
    shortened,
    too_large,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

Entry = TypeVar("Entry", Run, Result)


class Seen(Record, frozen=True):
    """What some of the runs have seen in a cell; of the trace, the lines that tell how it ended."""

    #: As the first of the runs has it; the others ended alike.
    result: Result
    #: Ids of the runs, in their order.
    runs: tuple[str, ...]


class Row(Record, frozen=True):
    """A pattern under a fix with a consumer: one entry where all runs agree, else one per way."""

    pattern: str
    fix: str
    consumer: str
    seen: tuple[Seen, ...]
    #: Steps or variables are not the same in all runs: it is not the same experiment.
    asked_differently: bool = False

    @property
    def agrees(self) -> bool:
        """Whether all runs that have the cell have seen it end alike."""
        return len(self.seen) == 1

    @property
    def runs(self) -> frozenset[str]:
        """The runs that have the cell."""
        return frozenset(id for each in self.seen for id in each.runs)


class Merged(Record, frozen=True):
    """A matrix over many runs."""

    schema_version: int
    #: By platform, version, agent and system.
    runs: tuple[Run, ...]
    #: In the catalogues' order.
    rows: tuple[Row, ...]
    #: The xdiag that wrote this; each run names its own.
    xdiag: str = ""

    @property
    def agreeing(self) -> tuple[Row, ...]:
        """The rows that more than one run has, with one answer."""
        return tuple(row for row in self.rows if row.agrees and len(row.runs) > 1)

    @property
    def alone(self) -> tuple[Row, ...]:
        """The rows that one run has: there is nothing that they could agree with."""
        return tuple(row for row in self.rows if len(row.runs) == 1)

    @property
    def differing(self) -> tuple[Row, ...]:
        """The rows in which runs have seen different things."""
        return tuple(row for row in self.rows if not row.agrees)

    def lacking(self, row: Row) -> tuple[str, ...]:
        """Ids of the runs that do not have a cell."""
        return tuple(run.id for run in self.runs if run.id not in row.runs)


def single(report: Report) -> Merged:
    """A matrix over one run."""
    run = run_of(report)
    rows = [
        Row(*place_of(result), seen=(Seen(shortened(result), (run.id,)),))
        for result in sorted(report.results, key=lambda result: in_order(place_of(result)))
    ]
    return Merged(SCHEMA_VERSION, runs=(run,), rows=tuple(rows), xdiag=__version__)


def read(saved: Saved) -> Merged:
    """What is in a file, a report or a merged matrix; raises Usage where it is damaged."""
    if not saved.merged:
        return single(read_report(saved))
    merged = saved.decoded(Merged)
    if len(merged.rows) > MOST_CELLS or len(merged.rows) * len(merged.runs) > MOST_SEEN:
        raise too_large(saved.name)
    known = {run.id for run in merged.runs}
    places: set[Place] = set()
    for row in merged.rows:
        place = Place(row.pattern, row.fix, row.consumer)
        ids = [id for each in row.seen for id in each.runs]
        if place in places or len(ids) != len(set(ids)):
            raise Usage(f"{saved.name} is damaged: {str(place)[:120]!r} has a run twice")
        if not ids or not all(each.runs for each in row.seen) or not known.issuperset(ids):
            raise Usage(f"{saved.name} is damaged: {str(place)[:120]!r} has no such run")
        for each in row.seen:
            check_names(each.result, saved.name)
        if any(place_of(each.result) != place for each in row.seen):
            raise Usage(f"{saved.name} is damaged: {str(place)[:120]!r} has another cell's result")
        places.add(place)
    return merged


def merge(parts: Iterable[Merged]) -> Merged:
    """All runs in one matrix; the order of the parts is no matter."""
    runs: dict[str, Run] = {}
    seen: dict[Place, dict[str, Result]] = {}
    asked: dict[Place, set[object]] = {}
    for part in parts:
        for run in part.runs:
            runs[run.id] = _either(runs.get(run.id), run)
        for row in part.rows:
            place = Place(row.pattern, row.fix, row.consumer)
            by_run = seen.setdefault(place, {})
            questions = asked.setdefault(place, set())
            # The runs that ended alike may have been asked differently: then the row says so.
            questions.update(["differently"] if row.asked_differently else [])
            for each in row.seen:
                questions.add(_asked(each.result))
                for id in each.runs:
                    by_run[id] = _either(by_run.get(id), each.result)
    ordered = tuple(sorted(runs.values(), key=in_order_of_versions))
    rows = tuple(
        Row(*place, seen=_seen(seen[place], ordered), asked_differently=len(asked[place]) > 1)
        for place in sorted(seen, key=in_order)
    )
    return Merged(SCHEMA_VERSION, runs=ordered, rows=rows, xdiag=__version__)


def given_twice(parts: Iterable[Merged]) -> tuple[Run, ...]:
    """Runs that are in more than one of the parts."""
    once: set[str] = set()
    twice: dict[str, Run] = {}
    for part in parts:
        for run in part.runs:
            if run.id in once:
                twice[run.id] = run
            once.add(run.id)
    return tuple(twice.values())


def faulty(merged: Merged) -> bool:
    """Whether a sound story failed without a fix in any run, as ``session.faulty`` has it."""
    sound = {pattern.id for pattern in PATTERNS if pattern.sound}
    return any(
        each.result.outcome.kind in FAULTS
        for row in merged.rows
        if row.pattern in sound and row.fix == "none"
        for each in row.seen
    )


def _seen(by_run: dict[str, Result], ordered: tuple[Run, ...]) -> tuple[Seen, ...]:
    """What the runs have seen, those that ended alike together, in the order of the runs."""
    groups: dict[Manner, list[str]] = {}
    for run in ordered:
        if run.id in by_run:
            groups.setdefault(manner(by_run[run.id]), []).append(run.id)
    return tuple(Seen(by_run[ids[0]], tuple(ids)) for ids in groups.values())


def _asked(result: Result) -> object:
    return result.cell.steps, tuple(sorted(result.cell.environment.items()))


def _either(one: Entry | None, other: Entry) -> Entry:
    """The same of two, where files say different things of one run, whichever comes first."""
    if one is None or one == other:
        return other
    return min(one, other, key=msgspec.json.encode)
