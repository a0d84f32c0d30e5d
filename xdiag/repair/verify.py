"""Repairs put to the test: the failing cells, before and after each."""

from __future__ import annotations

import fnmatch
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from msgspec.structs import replace

from xdiag import __version__, session
from xdiag.consumers import CONSUMERS
from xdiag.doctor.forecast import XSCHED
from xdiag.engine.plan import cell_id, plan
from xdiag.errors import CannotRun, Usage, near_matches
from xdiag.fixes import FIXES
from xdiag.model import (
    FAULTS,
    SCHEMA_VERSION,
    Host,
    NotApplicable,
    OutcomeKind,
    Prediction,
    Record,
    Result,
    Target,
)
from xdiag.patterns import PATTERNS
from xdiag.repair.catalogue import REPAIRS
from xdiag.repair.choose import Choice, auto
from xdiag.repair.repair import Change
from xdiag.runtimes import xsched as installation
from xdiag.runtimes.copies import copies
from xdiag.runtimes.host import host
from xdiag.xsched_consumers import XSCHED_CONSUMERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from xdiag.engine.messages import XSchedFiles
    from xdiag.model import Pattern
    from xdiag.repair.repair import Repair, Situation

#: As it is, before any repair.
_AS_IT_IS = "none"
#: What using the stream means in a trial: every call of the driver, or XSched's own.
_CONSUMER, _XSCHED_CONSUMER = "driver", "hal"
_FORCED = "nothing is wrong here; what fails was made to fail, for --cause"


class Pair(Record, frozen=True):
    """One story, before and after one repair."""

    pattern: str
    title: str
    before: Result
    after: Result

    @property
    def failed(self) -> bool:
        """Whether the story fails without the repair."""
        return self.before.outcome.kind in FAULTS

    @property
    def repaired(self) -> bool:
        """Whether the story fails without and works with the repair."""
        return self.failed and self.after.outcome.kind is OutcomeKind.OK


class Trial(Record, frozen=True):
    """One repair: what it changes, and what came of it."""

    repair: str
    title: str
    cause: str
    changes: str
    risks: str
    change: Change = Change()
    pairs: tuple[Pair, ...] = ()
    #: Why it was not tried; empty where it was.
    skipped: str = ""

    @property
    def repaired(self) -> int:
        """How many of the failing stories it repaired."""
        return sum(pair.repaired for pair in self.pairs)

    @property
    def failed(self) -> int:
        """How many stories failed without it."""
        return sum(pair.failed for pair in self.pairs)


class Trials(Record, frozen=True):
    """All repairs that were tried, on what: what ``xdiag fix --json`` writes."""

    schema_version: int
    xdiag: str
    command: str
    causes: tuple[str, ...]
    trials: tuple[Trial, ...]
    #: The repair, or repairs, that would be chosen, and why.
    chosen: tuple[str, ...] = ()
    because: str = ""
    change: Change = Change()
    #: What the experiment ran on; none where it could not be run, for the reason in ``no_target``.
    target: Target | None = None
    second: str = ""
    no_target: str = ""
    host: Host | None = None
    seconds: float = 0.0
    #: In a sentence: whether these are the copies that the program loads, or why others do.
    tried_on: str = ""


def stories(cause: str, globs: Sequence[str] = ()) -> list[Pattern]:
    """The patterns that fail where this is the cause: what a repair has to get right."""
    return [
        pattern
        for pattern in PATTERNS
        if pattern.predicts.get(cause) is Prediction.FAILS
        and pattern.devices == 1
        and (not globs or any(fnmatch.fnmatchcase(pattern.id, glob) for glob in globs))
    ]


def put_to_the_test(
    situation: Situation,
    choose_target: Callable[[str | None], Target],
    *,
    causes: Sequence[str] = (),
    names: Sequence[str] = (),
    globs: Sequence[str] = (),
    command: str = "",
    xsched: XSchedFiles | None = None,
) -> Trials | None:
    """Run the cells that fail by what is wrong here, before and after each repair for it.

    None where nothing is wrong.  ``causes`` are tried whether they are found here or not; ``names``
    choose among the repairs, ``globs`` among the patterns.  They run on the copies that the program
    is foretold to load: ``choose_target`` gives the target for one of them, for None the one at
    hand.  With ``xsched``, its HAL uses the stream in the cells, instead of the driver's calls.
    Raises Usage for what is unknown.
    """
    began = time.monotonic()
    wanted = tuple(causes) or situation.causes
    if not wanted:
        return None
    candidates = _candidates(situation, wanted, names, forced=bool(causes))
    if xsched is not None:
        candidates = _for_xsched(candidates, asked=bool(names))
    told = [pattern for cause in wanted for pattern in stories(cause, globs)]
    if not told:
        known = [pattern.id for cause in wanted for pattern in stories(cause)]
        hint = near_matches(globs[0], known) or f" (there are {', '.join(known)})"
        raise Usage(f"no pattern that fails by {' or '.join(wanted)} matches {globs[0]!r}{hint}")
    choice = auto(situation) if situation.causes else Choice(because=_FORCED)
    ground = _ground([copy.path for copy in situation.copies], wanted, choose_target)
    target = ground.target
    if target is None:
        trials = tuple(_untried(repair, change, ground.problem) for repair, change in candidates)
    else:
        trials = _tried(candidates, target, ground.second, told, xsched)
        if xsched is not None:
            target = replace(target, notes=(*target.notes, installation.note(xsched)))
    return Trials(
        schema_version=SCHEMA_VERSION,
        xdiag=__version__,
        command=command,
        causes=situation.causes,
        trials=trials,
        chosen=choice.repairs,
        because=choice.because,
        change=choice.change,
        target=target,
        second=ground.second,
        no_target=ground.problem,
        tried_on=ground.told,
        host=host(),
        seconds=time.monotonic() - began,
    )


@dataclass(frozen=True)
class _Ground:
    """What the cells run on."""

    target: Target | None
    #: The file of the second runtime; empty for a copy of the target's.
    second: str = ""
    #: Why there is no target.
    problem: str = ""
    told: str = ""


def _ground(
    paths: Sequence[str], causes: Sequence[str], choose_target: Callable[[str | None], Target]
) -> _Ground:
    """The copies that the program is foretold to load, ``paths``, the one to keep first.

    Where there are none, or the first cannot be run here and a handle is cut, what is at hand.
    """
    own = ""
    try:
        target = choose_target(paths[0] if paths else None)
    except CannotRun as error:
        if not paths or "two-runtimes" in causes:
            return _Ground(None, second="".join(paths[1:2]), problem=str(error))
        own = f"the program's own copy, {paths[0]}, cannot be run here"
        try:
            target = choose_target(None)
        except CannotRun:
            return _Ground(None, problem=str(error))
    if "two-runtimes" not in causes:
        return _Ground(target, told=_of_one(target, paths, own))
    if target.runtime not in paths[:1]:
        return _Ground(target, told=_NOT_THE_PROGRAMS)
    if len(paths) == 1:
        return _Ground(target, told="the copy that the program will load, and a second of it")
    told = "the copies that the program will load"
    more = f", the first two of {len(paths)}" * (len(paths) > 2)
    return _Ground(target, paths[1], told=told + more)


_NOT_THE_PROGRAMS = "not the copies that the program will load: another runtime, and a copy of it"


def _of_one(target: Target, paths: Sequence[str], own: str) -> str:
    """Said of the runtime on which a cut handle is tried."""
    if target.runtime in paths[:1]:
        return "the copy that the program will load"
    why = own or (
        "not the copy that the program will load"
        if paths
        else "which copy the program will load is not known"
    )
    return f"{why}; another shows the same, since ctypes cuts a handle before any runtime has it"


def _candidates(
    situation: Situation, causes: Sequence[str], names: Sequence[str], *, forced: bool
) -> list[tuple[Repair, Change | NotApplicable]]:
    """The repairs for these causes, with what each would change here, or why it cannot.

    ``forced`` has them tried whatever is here.
    """
    known = {repair.id: repair for repair in REPAIRS if repair.cause in causes}
    for name in names:
        if name not in known:
            hint = near_matches(name, list(known)) or f" (there are {', '.join(known)})"
            raise Usage(f"no repair {name!r} for {' or '.join(causes)}{hint}")
    found = []
    for repair in known.values():
        if names and repair.id not in names:
            continue
        change = repair.change(situation)
        if forced and isinstance(change, NotApplicable):
            change = Change()
        found.append((repair, change))
    return found


def _for_xsched(
    candidates: Sequence[tuple[Repair, Change | NotApplicable]], *, asked: bool
) -> list[tuple[Repair, Change | NotApplicable]]:
    """The same for cells in which XSched's own library opens the runtime.

    A variable that another package reads does nothing there: its repair is not tried.  Raises Usage
    where ``asked`` for such repairs and no other.
    """
    deaf = [each for each, _ in candidates if each.reader not in ("", XSCHED)]
    if asked and len(deaf) == len(candidates):
        only = ", ".join(f"{each.id} sets what only {each.reader} reads" for each in deaf)
        raise Usage(f"{only}: XSched's library takes no notice of it; leave --xsched out")
    return [
        (
            each,
            NotApplicable(
                reason=f"only {each.reader} reads what it sets, and XSched's own library opens the"
                " runtime in these cells"
            )
            if each in deaf
            else change,
        )
        for each, change in candidates
    ]


def _tried(
    candidates: Sequence[tuple[Repair, Change | NotApplicable]],
    target: Target,
    second: str,
    told: Sequence[Pattern],
    xsched: XSchedFiles | None,
) -> tuple[Trial, ...]:
    """Run each repair's cells, and those without it.

    ``second`` is the file of the second runtime; empty for a copy of the target's.
    """
    consumer = _CONSUMER if xsched is None else _XSCHED_CONSUMER
    paths = copies(target)
    if second:
        paths = replace(paths, copy=second)
    fixes = {
        _AS_IT_IS,
        *(repair.fix for repair, change in candidates if isinstance(change, Change)),
    }
    cells = plan(
        told,
        [fix for fix in FIXES if fix.id in fixes],
        [each for each in (*CONSUMERS, *XSCHED_CONSUMERS) if each.id == consumer],
        platform=target.platform,
    )
    jobs = len(os.sched_getaffinity(0))
    report = session.run(cells, target, command="", jobs=jobs, paths=paths, xsched=xsched)
    results = {result.cell.id: result for result in report.results}

    def tried(repair: Repair) -> tuple[Pair, ...]:
        return tuple(_pairs(repair, told, consumer, results))

    return tuple(
        _untried(repair, change, "")
        if isinstance(change, NotApplicable)
        else replace(_untried(repair, change, ""), pairs=tried(repair))
        for repair, change in candidates
    )


def _pairs(
    repair: Repair, told: Sequence[Pattern], consumer: str, results: Mapping[str, Result]
) -> Iterator[Pair]:
    for pattern in told:
        before = results.get(cell_id(pattern.id, _AS_IT_IS, consumer))
        after = results.get(cell_id(pattern.id, repair.fix, consumer))
        applies = after is not None and after.outcome.kind is not OutcomeKind.NOT_APPLICABLE
        if before is not None and after is not None and applies:
            yield Pair(pattern.id, pattern.title, before, after)


def _untried(repair: Repair, change: Change | NotApplicable, why: str) -> Trial:
    """A trial without its cells: what the repair would change, or why it was not tried."""
    return Trial(
        repair.id,
        repair.title,
        repair.cause,
        repair.changes,
        repair.risks,
        change if isinstance(change, Change) else Change(),
        skipped=change.reason if isinstance(change, NotApplicable) else why,
    )
