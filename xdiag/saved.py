"""Runs that were saved as JSON: read back, reduced to what tells them apart, and named.

What ``xdiag compare`` and ``xdiag merge`` share.  A file may come from anywhere: it is read within
bounds of size and memory, and what is wrong with it is one line.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import sys
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import msgspec

from xdiag.consumers import CONSUMERS
from xdiag.errors import CannotRun, Usage
from xdiag.fixes import FIXES
from xdiag.model import (
    FAULTS,
    SCHEMA_VERSION,
    Host,
    OutcomeKind,
    Record,
    Report,
    Result,
    Support,
    Target,
)
from xdiag.patterns import PATTERNS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from xdiag.model import StepRecord

#: Bytes of a file that is read.  The whole catalogue for two consumers takes 6.5 MB.
MOST_BYTES = 24 << 20
#: Values in a file, by their commas.  The whole catalogue has 170,000; a value takes up to 80 bytes
#: of memory, whatever few bytes it was written in.
MOST_VALUES = 1_000_000
#: Cells of a matrix, and in a merged one cells times runs.  The whole catalogue has 728.
MOST_CELLS, MOST_SEEN = 20_000, 1_000_000
#: Characters of a name: of a pattern, a call, an error, a signal.
MOST_NAME = 300
#: Characters of a part of a run's name that are shown.
_MOST_WORD = 60

#: Where the name of standard input stands in a message.
_STANDARD_INPUT = "standard input"

Document = TypeVar("Document")


class Run(Record, frozen=True):
    """What a run was: on which runtime and machine, by which xdiag, and how far it came."""

    #: Hash of the whole report: the same run has the same wherever its file has been.
    id: str
    xdiag: str
    command: str
    target: Target
    host: Host
    #: Cells with a result, and cells that were planned: more where the run was interrupted.
    results: int
    planned: int
    seconds: float = 0.0
    started: str = ""
    #: What it makes of each hypothesis, by its id, in the catalogue's order.
    marks: dict[str, Support] = msgspec.field(default_factory=dict)


class Place(NamedTuple):
    """Where a cell stands in a matrix, whichever run it is of."""

    pattern: str
    fix: str
    consumer: str

    def __str__(self) -> str:
        return "/".join(self)


class _Versioned(msgspec.Struct):
    """What every document of xdiag's has, whatever else is in it."""

    schema_version: int
    xdiag: str = ""
    #: Present in a merged matrix only; never looked into here.
    rows: msgspec.Raw = msgspec.Raw()


# ---- reading ----


class Saved(NamedTuple):
    """A file's bytes and which kind of document they are."""

    name: str
    data: bytes
    merged: bool

    def decoded(self, kind: type[Document]) -> Document:
        """The document; raises Usage, with one line, where it is damaged."""
        return _decoded(self.data, kind, self.name)


def open_saved(path: str) -> Saved:
    """Read a file, or standard input for ``-``, and see what it is.

    Raises CannotRun for what cannot be read, Usage for what is no document of xdiag's, or one of a
    newer xdiag.
    """
    name = _STANDARD_INPUT if path == "-" else path
    data = _bytes_of(path)
    if len(data) > MOST_BYTES or data.count(b",") > MOST_VALUES:
        raise too_large(name)
    head = _decoded(data, _Versioned, name)
    if head.schema_version > SCHEMA_VERSION:
        by = f" {head.xdiag[:40]!r}" if head.xdiag else ""
        raise Usage(
            f"{name} was written by a newer xdiag{by} (schema_version {head.schema_version}, this"
            f" one reads up to {SCHEMA_VERSION}); update xdiag"
        )
    return Saved(name, data, merged=bool(bytes(head.rows)))


def read_report(saved: Saved) -> Report:
    """The report in a file; raises Usage where it is damaged or has a cell twice."""
    report = saved.decoded(Report)
    if len(report.results) > MOST_CELLS:
        raise too_large(saved.name)
    once: set[Place] = set()
    for result in report.results:
        check_names(result, saved.name)
        if (place := place_of(result)) in once:
            raise Usage(f"{saved.name} is damaged: the cell {str(place)[:120]!r} is in it twice")
        once.add(place)
    return report


def check_names(result: Result, file: str) -> None:
    """Raise Usage for a result with a name that nobody could read."""
    outcome = result.outcome
    calls = (record.call for record in outcome.trace)
    for name in (*place_of(result), outcome.call, outcome.name, outcome.signal, *calls):
        if len(name) > MOST_NAME:
            raise Usage(f"{file} is damaged: a name in it has {len(name)} characters")


def too_large(name: str) -> Usage:
    """The error for what is larger than any matrix."""
    return Usage(f"{name} is no matrix of xdiag's: it is too large for one")


def _bytes_of(path: str) -> bytes:
    if path == "-":
        return sys.stdin.buffer.read(MOST_BYTES + 1)
    try:
        # A pipe that nobody writes into must not keep the command waiting before it is refused.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise CannotRun(f"{path}: cannot be read: not a regular file (- reads a pipe)")
            with open(fd, "rb", closefd=False) as file:
                return file.read(MOST_BYTES + 1)
        finally:
            os.close(fd)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise CannotRun(f"{path}: cannot be read: {why}") from error


def _decoded(data: bytes, kind: type[Document], name: str) -> Document:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        hint = "xdiag matrix --format json writes one"
        if data[:1] == b"{" and b"\n{" in data:
            hint = "a journal becomes one by xdiag matrix --resume JOURNAL --format json"
        why = "nested too deeply" if isinstance(error, RecursionError) else _one_line(error)
        raise Usage(f"{name} is no matrix of xdiag's ({hint}): {why}") from error


def _one_line(error: Exception) -> str:
    # The library quotes names and values of the file.
    said = str(error)[:200]
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in said)


# ---- what tells runs apart ----


def run_of(report: Report) -> Run:
    """What a report's run was."""
    return Run(
        id=hashlib.sha256(msgspec.json.encode(report)).hexdigest(),
        xdiag=report.xdiag,
        command=report.command,
        target=report.target,
        host=report.host,
        results=len(report.results),
        planned=max(report.planned, len(report.results)),
        seconds=report.seconds,
        started=report.started,
        marks={verdict.hypothesis: verdict.mark for verdict in report.verdicts},
    )


def place_of(result: Result) -> Place:
    """Where a result stands in the matrix."""
    return Place(result.cell.pattern, result.cell.fix, result.cell.consumer)


_ORDER = (
    {consumer.id: place for place, consumer in enumerate(CONSUMERS)},
    {pattern.id: place for place, pattern in enumerate(PATTERNS)},
    {fix.id: place for place, fix in enumerate(FIXES)},
)


def in_order(place: Place) -> tuple[tuple[int, str], ...]:
    """Sort key: the catalogues' order, as matrices have it; what they lack comes last, by name."""
    names = (place.consumer, place.pattern, place.fix)
    return tuple(
        (known.get(name, len(known)), "" if name in known else name)
        for name, known in zip(names, _ORDER, strict=True)
    )


def shortened(result: Result) -> Result:
    """The result with those lines of its trace only that tell how it ended.

    What is shown of an outcome in a matrix, its label, call and meaning, is the same of both.
    """
    outcome = result.outcome
    wanted = {outcome.step, outcome.died_at}
    trace = tuple(record for record in outcome.trace if record.step in wanted)
    return Result(result.cell, msgspec.structs.replace(outcome, trace=trace))


class Manner(NamedTuple):
    """How a cell ended, without what differs from one run to the next: addresses, threads, times.

    Two cells with the same manner have ended alike.
    """

    kind: str
    phase: str
    code: int | None
    name: str
    call: str
    died_in: str
    signal: str
    status: int | None


def manner(result: Result) -> Manner:
    """How a cell ended."""
    outcome = result.outcome
    step = outcome.step if outcome.step is not None else outcome.died_at
    steps = result.cell.steps
    phase = steps[step].phase if step is not None and 0 <= step < len(steps) else ""
    return Manner(
        kind=outcome.kind.value,
        phase=phase,
        code=outcome.code,
        name=outcome.name,
        call=outcome.call,
        died_in=_call_in_flight(outcome.trace, outcome.died_at),
        signal=outcome.signal,
        status=outcome.status,
    )


def _call_in_flight(trace: Sequence[StepRecord], died_at: int | None) -> str:
    records = [record for record in trace if died_at is not None and record.step == died_at]
    unfinished = [record for record in records if record.state == "unfinished"]
    return next((record.call for record in unfinished or records), "")


def severity(kind: OutcomeKind) -> int | None:
    """0 nothing failed, 1 an error was returned, 2 a violent end; None: nothing was asked."""
    if kind is OutcomeKind.OK:
        return 0
    if kind not in FAULTS:
        return None
    return 1 if kind is OutcomeKind.ERROR else 2


# ---- names for a reader ----


def names(runs: Iterable[Run]) -> dict[str, str]:
    """A short name for each run, by its id, that no other has.

    Version, agent and system; where those of two runs are the same, what else tells them apart.
    """
    known = {run.id: run for run in runs}
    chosen = {id: _words(run)[:2] for id, run in known.items()}
    for place in range(2, max((len(_words(run)) for run in known.values()), default=2)):
        for alike in _same(chosen):
            if len({_words(known[id])[place] for id in alike}) > 1:
                for id in alike:
                    chosen[id] = (*chosen[id], _words(known[id])[place])
    made = {id: ", ".join(word for word in words if word) for id, words in chosen.items()}
    # Different words may read alike (a comma in a version), and ids are what a file says they are.
    taken: set[str] = set()
    for id in sorted(made):
        name, number = made[id], 2
        while made[id] in taken:
            made[id] = f"{name} ({number})"
            number += 1
        taken.add(made[id])
    return made


def _words(run: Run) -> tuple[str, ...]:
    return tuple(word[:_MOST_WORD] for word in _all_words(run))


def _all_words(run: Run) -> tuple[str, ...]:
    target, host = run.target, run.host
    agent = "software agent" if target.agent == "software" else target.device_name or "hardware"
    return (
        f"{target.platform.upper()} {target.version or 'of unknown version'}",
        agent,
        host.system,
        target.build_id[:8] and f"build {target.build_id[:8]}",
        target.runtime,
        host.kernel,
        host.libc,
        host.python,
        host.container,
        f"{host.cpus} CPUs",
        f"xdiag {run.xdiag}",
        run.started,
        run.id[:12],
    )


def _same(chosen: dict[str, tuple[str, ...]]) -> list[list[str]]:
    groups: dict[tuple[str, ...], list[str]] = {}
    for id, words in chosen.items():
        groups.setdefault(words, []).append(id)
    return [ids for ids in groups.values() if len(ids) > 1]


def in_order_of_versions(run: Run) -> tuple[object, ...]:
    """Sort key of runs: platform, version, agent, system, then when they were started."""
    numbers = tuple(int(digits) for digits in re.findall(r"[0-9]{1,9}", run.target.version))
    target = run.target
    version = (target.platform, numbers, target.version)
    return (*version, target.agent, run.host.system, run.started, run.id)
