"""Looks at everything that a report is made of; what fails is noted, and the rest goes on."""

from __future__ import annotations

import contextlib
import functools
import os
import shlex
import signal
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from xdiag import session
from xdiag.consumers import CONSUMERS
from xdiag.doctor.admission import admit
from xdiag.doctor.catalogue import CHECKS
from xdiag.doctor.examination import examine
from xdiag.engine.plan import plan
from xdiag.errors import Usage, XdiagError
from xdiag.findings import Status
from xdiag.fixes import FIXES
from xdiag.model import FAULTS
from xdiag.patterns import PATTERNS
from xdiag.recording.provenance import diagnose
from xdiag.recording.read import read
from xdiag.repair import verify
from xdiag.repair.catalogue import REPAIRS
from xdiag.repair.repair import Situation
from xdiag.report import identity, logs, records
from xdiag.report.bundle import Missing
from xdiag.report.environment import variables
from xdiag.report.versions import versions
from xdiag.runtimes.find import find
from xdiag.runtimes.torch_here import tellable

Value = TypeVar("Value")

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from xdiag.doctor.examination import Examination
    from xdiag.doctor.patient import Patient
    from xdiag.model import Cell, Report, Result, Target
    from xdiag.repair.verify import Trials
    from xdiag.report.environment import Variables
    from xdiag.report.logs import Log
    from xdiag.report.versions import Versions
    from xdiag.runtimes.find import Found

#: The stories that matter without a matrix: does it work, do threads matter, do copies, does age.
_STORIES = (
    "same-thread", "cross-thread", "second-runtime", "second-runtime-by-name", "reopened-runtime",
    "destroyed-stream", "truncated-handle",
)  # fmt: skip
#: The fixes that the first refused story is tried under.
_FIXED_STORY = "second-runtime"
_FIXES = ("none", "primary-context-retain", "bind-loaded-runtime", "unify")
_CONSUMER = "driver"
#: A cause, as diagnoses and logs name it -> the story in which it is seen.
STORY_OF = {
    "two-runtimes": "second-runtime",
    "destroyed-stream": "destroyed-stream",
    "device-reset": "device-reset",
    "truncated-handle": "truncated-handle",
    "fork": "fork-after-init",
    "legacy-stream": "legacy-stream",
    "destroyed-event": "event-destroyed-twice",
}


#: Causes that there are repairs for.
_REPAIRED = frozenset(each.cause for each in REPAIRS)


@dataclass(frozen=True)
class Wanted:
    """What a report is to hold; ``choose_target`` gives the target for a runtime to keep."""

    choose_target: Callable[[str | None], Target]
    command: tuple[str, ...] = ()
    python: str | None = None
    records: tuple[str, ...] = ()
    logs: tuple[str, ...] = ()
    with_matrix: bool = False
    #: The command line's own arguments.
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True)
class Record:
    """A record that belongs to the report: its path, and what is wrong by it."""

    path: str
    causes: tuple[str, ...]
    fault: bool
    #: All that it says in words, to learn from.
    texts: tuple[str, ...]


@dataclass
class Gathered:
    """All that was seen, as it was seen: nothing in it is masked."""

    command: str
    examination: Examination | None = None
    versions: Versions | None = None
    variables: Variables | None = None
    found: Found | None = None
    target: Target | None = None
    probes: Report | None = None
    matrix: Report | None = None
    trials: Trials | None = None
    records: list[Record] = field(default_factory=list)
    logs: list[Log] = field(default_factory=list)
    #: A program that shows the fault, and the cell that it tells.
    reproducer: str = ""
    reproduces: str = ""
    problems: list[Missing] = field(default_factory=list)
    #: Records and logs that were asked for and could not be read.
    unread: list[str] = field(default_factory=list)
    #: (kind, value) of what is private here.
    private: list[tuple[str, str]] = field(default_factory=list)

    @property
    def fault(self) -> bool:
        """Whether something is wrong, by any of the parts."""
        failed = self.examination is not None and any(
            each.status is Status.FAIL for each in self.examination.findings
        )
        return bool(
            failed
            or (self.trials is not None and self.trials.causes)
            or any(each is not None and session.faulty(each) for each in (self.probes, self.matrix))
            or any(each.fault for each in self.records)
            or any(each.fault for each in self.logs)
        )

    @property
    def causes(self) -> list[str]:
        """Causes that records prove and logs make likely."""
        by_records = [cause for each in self.records for cause in each.causes]
        return [*by_records, *(cause for each in self.logs for cause in each.causes)]


def gather(wanted: Wanted) -> Gathered:
    """Look at everything.  Raises Usage for what cannot be meant, KeyboardInterrupt for Ctrl-C."""
    with _interruptions() as interrupted:
        gathering = _Gathering(wanted, interrupted)
        gathering.look()
        return gathering.seen


class _Gathering:
    def __init__(self, wanted: Wanted, interrupted: Callable[[], bool]) -> None:
        self._wanted = wanted
        self._interrupted = interrupted
        self.seen = Gathered(shlex.join(["xdiag", *wanted.arguments]))

    def look(self) -> None:
        wanted, seen = self._wanted, self.seen
        patient = self._part(
            "doctor", lambda: admit(wanted.command, python=wanted.python), usage=True
        )
        situation = None
        if patient is not None:
            self._examine(patient)
            situation = Situation(patient)
        seen.found = self._part("runtimes", find)
        seen.variables = variables(patient.environ if patient is not None else os.environ)
        for path in wanted.records:
            one = self._part(f"record {path}", functools.partial(_record, path))
            if one is not None:
                seen.records.append(one)
            else:
                seen.unread.append(path)
        for path in wanted.logs:
            self._read_log(path)
        self._run(situation)
        seen.private = identity.of_this_machine(
            {**os.environ, **(patient.environ if patient is not None else {})}, self._paths()
        )

    def _part(self, name: str, look: Callable[[], Value], *, usage: bool = False) -> Value | None:
        """What ``look`` gives; None, with the reason noted, where it fails."""
        try:
            value = look()
        except Usage as error:
            if usage:
                raise
            self._missing(name, str(error))
            return None
        except XdiagError as error:
            self._missing(name, str(error))
            return None
        except OSError as error:
            what = f"{error.filename}: " if error.filename else ""
            self._missing(name, f"{what}{error.strerror or error}")
            return None
        except Exception as error:
            # One part's bug must not cost the others.
            self._missing(name, f"internal error: {type(error).__name__}: {error}")
            return None
        if self._interrupted():
            raise KeyboardInterrupt
        return value

    def _missing(self, part: str, because: str) -> None:
        self.seen.problems.append(Missing(part, because))

    def _examine(self, patient: Patient) -> None:
        self.seen.examination = self._part(
            "doctor", lambda: examine(patient, CHECKS, CHECKS, self._wanted.arguments)
        )
        self.seen.versions = self._part("versions", lambda: versions(patient))

    def _read_log(self, path: str) -> None:
        log = self._part(f"log {path}", lambda: logs.read(path))
        if log is None:
            self.seen.unread.append(path)
        else:
            self.seen.logs.append(log)
            if log.explained is None:
                self._missing(f"explanation of log {path}", log.because)

    # ---- experiments ----

    def _run(self, situation: Situation | None) -> None:
        wanted, seen = self._wanted, self.seen
        keep = None
        if situation is not None:
            # What is foretold may fail like any other part.
            copies = self._part("forecast", lambda: situation.copies) or ()
            keep = copies[0].path if len(copies) > 1 else None
        target = self._part("runtime", lambda: wanted.choose_target(keep), usage=True)
        seen.target = target
        if target is None:
            self._missing("probes", "there is no runtime that can be run")
        elif wanted.with_matrix:
            seen.matrix = self._part("matrix", lambda: self._matrix(target))
        else:
            seen.probes = self._part("probes", lambda: self._probes(target))
        if not wanted.with_matrix:
            self._missing("matrix", "not asked for (--with-matrix)")
        self._try_repairs(situation)
        self._reproduce()

    def _probes(self, target: Target) -> Report:
        possible = [cause for log in self.seen.logs for cause in log.possible]
        causes = [*self.seen.causes, *possible]
        stories = {*_STORIES, *(STORY_OF[cause] for cause in causes if cause in STORY_OF)}
        cells = [
            cell
            for cell in _planned(target)
            if cell.pattern in stories
            and cell.consumer == _CONSUMER
            and (cell.fix == "none" or (cell.pattern == _FIXED_STORY and cell.fix in _FIXES))
        ]
        return self._session(cells, target)

    def _matrix(self, target: Target) -> Report:
        return self._session(_planned(target), target)

    def _session(self, cells: list[Cell], target: Target) -> Report:
        jobs = len(os.sched_getaffinity(0))
        report = session.run(cells, target, command=self.seen.command, jobs=jobs)
        if len(report.results) < report.planned:
            raise KeyboardInterrupt
        return report

    def _try_repairs(self, situation: Situation | None) -> None:
        if situation is None:
            self._missing("repairs", "nothing is known of the program")
            return
        if not self._part("repairs", lambda: (situation.causes,)):
            return
        if not situation.causes:
            self._missing("repairs", self._why_none())
            return
        self.seen.trials = self._part(
            "repairs",
            lambda: verify.put_to_the_test(
                situation,
                lambda keep: self._wanted.choose_target(keep),
                command=self.seen.command,
            ),
        )

    def _why_none(self) -> str:
        """Why none is tried: what a repair mends is foretold, whatever a record says."""
        elsewhere = [cause for cause in dict.fromkeys(self.seen.causes) if cause in _REPAIRED]
        if not elsewhere:
            return "no cause to repair was found here"
        which = "the command given here" if self._wanted.command else "what is installed here"
        return (
            f"{' and '.join(elsewhere)}: by a record or a log, and not foretold for {which}; to"
            " have repairs tried, give the command that was recorded after --, in its environment"
        )

    def _reproduce(self) -> None:
        result = self._failing()
        if result is None:
            self._missing(
                "reproducer", "no cause was found here that a cell shows; nothing to reproduce"
            )
            return

        def written() -> str:
            from xdiag import emit

            return emit.write(result.cell, "c", name="reproducer.c", result=result,
                              target=self.seen.target)  # fmt: skip

        self.seen.reproducer = self._part("reproducer", written) or ""
        self.seen.reproduces = result.cell.id if self.seen.reproducer else ""

    def _failing(self) -> Result | None:
        """The cell that shows what is wrong here: a sound story, else one of a cause found."""
        report = self.seen.matrix or self.seen.probes
        if report is None:
            return None
        failing = {
            result.cell.pattern: result
            for result in report.results
            if result.outcome.kind in FAULTS
            and result.cell.fix == "none"
            and result.cell.consumer == _CONSUMER
        }
        sound = [pattern.id for pattern in PATTERNS if pattern.sound]
        trials = self.seen.trials
        causes = [*(trials.causes if trials is not None else ()), *self.seen.causes]
        stories = [*sound, *(STORY_OF.get(cause, "") for cause in causes)]
        return next((failing[story] for story in stories if story in failing), None)

    def _paths(self) -> list[str]:
        """Files that the report speaks of."""
        seen = self.seen
        paths = [*self._wanted.records, *self._wanted.logs]
        if seen.found is not None:
            paths += [each.path for each in seen.found.candidates]
        if seen.examination is not None:
            paths += [each.path for each in seen.examination.libraries]
            paths += [seen.examination.python, seen.examination.program]
        return [path for path in paths if path]


def _planned(target: Target) -> list[Cell]:
    platform = target.platform
    patterns, consumers = tellable(PATTERNS, platform), tellable(CONSUMERS, platform)
    return plan(patterns, FIXES, consumers, platform=platform)


def _record(path: str) -> Record:
    with read(path) as recording:
        diagnoses = diagnose(recording)
        return Record(
            os.path.abspath(path),
            tuple(dict.fromkeys(each.cause for each in diagnoses)),
            any(each.fault for each in diagnoses),
            tuple(records.texts(path)),
        )


@contextlib.contextmanager
def _interruptions() -> Iterator[Callable[[], bool]]:
    """Whether SIGINT has come, also where who was at work has made nothing of it.

    A session ends early at Ctrl-C and reports what it has; a report wants to end then too.
    """
    came = threading.Event()
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield came.is_set
        return

    def note(number: int, frame: FrameType | None) -> None:
        came.set()
        before(number, frame)

    signal.signal(signal.SIGINT, note)
    try:
        yield came.is_set
    finally:
        signal.signal(signal.SIGINT, before)
