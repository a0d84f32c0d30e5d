"""What changed between two matrices: cells, what they ran on, verdicts.

A cell got *worse* where it ends in a more serious way than before (nothing failed, an error was
returned, the process ended violently), *better* where in a less serious one.  Anything else that
differs is told, and not judged: another code, another call, a cell that was not run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from xdiag.model import SCHEMA_VERSION, Loader, OutcomeKind, Record, Report, Result
from xdiag.patterns import PATTERNS
from xdiag.saved import (
    Place,
    Run,
    in_order,
    manner,
    place_of,
    run_of,
    severity,
    shortened,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from xdiag.model import StepRecord

How = Literal["worse", "better", "otherwise"]


class Difference(Record, frozen=True):
    """A fact about the runtime, the machine or the run that is not the same in both."""

    what: str
    before: str
    after: str


class Answer(Record, frozen=True):
    """One step that was answered differently, in a cell that ended alike all the same."""

    step: int
    actor: str
    call: str
    before: str
    after: str


class Change(Record, frozen=True):
    """A cell that differs; of its traces only the lines that tell how it ended are kept."""

    pattern: str
    fix: str
    consumer: str
    how: How
    before: Result
    after: Result
    answers: tuple[Answer, ...] = ()
    #: Copies of the library that were loaded, as groups of the steps' names for them, where the
    #: groups differ.
    copies: tuple[str, str] | None = None
    #: The pattern uses the library as its documentation allows.
    sound: bool = False
    #: Steps or variables are not the same in both: it is not the same experiment.
    asked_differently: bool = False


class VerdictChange(Record, frozen=True):
    """A hypothesis with another mark; empty where a run does not weigh it."""

    hypothesis: str
    before: str
    after: str


class Comparison(Record, frozen=True):
    """What differs between two runs."""

    schema_version: int
    before: Run
    after: Run
    #: What a reader has to know before anything else is believed, in sentences.
    cautions: tuple[str, ...] = ()
    differences: tuple[Difference, ...] = ()
    changes: tuple[Change, ...] = ()
    #: Cells that only one of them has.
    only_before: tuple[str, ...] = ()
    only_after: tuple[str, ...] = ()
    verdicts: tuple[VerdictChange, ...] = ()
    #: Cells that are the same in both.
    alike: int = 0
    #: Cells of both, changed or not, whose steps or variables are not the same.
    asked_differently: int = 0

    @property
    def worse(self) -> tuple[Change, ...]:
        """The regressions, those of sound stories first."""
        return self._that_are("worse")

    @property
    def better(self) -> tuple[Change, ...]:
        """What fails less seriously than before, or not at all."""
        return self._that_are("better")

    @property
    def otherwise(self) -> tuple[Change, ...]:
        """What differs and is neither."""
        return self._that_are("otherwise")

    @property
    def identical(self) -> bool:
        """Whether nothing differs but when and how long it was run."""
        return not (
            self.differences
            or self.changes
            or self.only_before
            or self.only_after
            or self.verdicts
            or self.asked_differently
        )

    def _that_are(self, how: How) -> tuple[Change, ...]:
        found = [change for change in self.changes if change.how == how]
        return tuple(sorted(found, key=lambda change: not change.sound))


def compare(before: Report, after: Report) -> Comparison:
    """What changed from one run to the other."""
    earlier = {place_of(result): result for result in before.results}
    later = {place_of(result): result for result in after.results}
    both = sorted(earlier.keys() & later.keys(), key=in_order)
    changes = [c for c in (_change(p, earlier[p], later[p]) for p in both) if c is not None]
    made = Comparison(
        schema_version=SCHEMA_VERSION,
        before=run_of(before),
        after=run_of(after),
        differences=_differences(before, after),
        changes=tuple(changes),
        only_before=_named(earlier.keys() - later.keys()),
        only_after=_named(later.keys() - earlier.keys()),
        verdicts=_verdicts(before, after),
        alike=len(both) - len(changes),
        asked_differently=sum(_asked(earlier[place]) != _asked(later[place]) for place in both),
    )
    return msgspec.structs.replace(made, cautions=_cautions(made))


def _named(places: Iterable[Place]) -> tuple[str, ...]:
    return tuple(str(place) for place in sorted(places, key=in_order))


# ---- cells ----

_SOUND = {pattern.id for pattern in PATTERNS if pattern.sound}


def _change(place: Place, before: Result, after: Result) -> Change | None:
    answers: tuple[Answer, ...] = ()
    how = _judged(before.outcome.kind, after.outcome.kind)
    copies = _copies(before), _copies(after)
    if manner(before) == manner(after):
        answers = _answers(before, after)
        if not answers and copies[0] == copies[1]:
            return None
    return Change(
        pattern=place.pattern,
        fix=place.fix,
        consumer=place.consumer,
        how=how,
        before=shortened(before),
        after=shortened(after),
        answers=answers,
        copies=copies if copies[0] != copies[1] else None,
        sound=place.pattern in _SOUND,
        asked_differently=_asked(before) != _asked(after),
    )


def _judged(before: OutcomeKind, after: OutcomeKind) -> How:
    was, now = severity(before), severity(after)
    if was is None or now is None or was == now:
        return "otherwise"
    return "worse" if now > was else "better"


def _asked(result: Result) -> object:
    return result.cell.steps, result.cell.environment


def _copies(result: Result) -> str:
    """Which of the steps' names are one loaded copy: ``A=B, C``; empty where none was loaded."""
    groups: dict[tuple[int, int, int], list[str]] = {}
    for name, loaded in result.outcome.runtimes.items():
        groups.setdefault((loaded.device, loaded.inode, loaded.namespace), []).append(name)
    return ", ".join("=".join(names) for names in groups.values())


def _answers(before: Result, after: Result) -> tuple[Answer, ...]:
    """Steps with another answer; none where other steps were asked, whose numbers say nothing."""
    if _asked(before) != _asked(after):
        return ()
    earlier = {(record.step, record.actor): record for record in before.outcome.trace}
    later = {(record.step, record.actor): record for record in after.outcome.trace}
    return tuple(
        Answer(step, actor, record.call or other.call, _said(record), _said(other))
        for (step, actor), record in earlier.items()
        if (other := later.get((step, actor))) is not None
        and (record.state, record.code) != (other.state, other.code)
    )


def _said(record: StepRecord) -> str:
    if record.state != "done" or record.code is None:
        return record.state
    return f"{record.code} {record.name}".rstrip()


# ---- what they ran on ----

#: What a reader calls a fact, and where it is.  When a run began, how long it took and what its
#: results are is told elsewhere.
_FACTS = (
    ("platform", "target.platform"),
    ("runtime", "target.runtime"),
    ("version", "target.version"),
    ("SONAME", "target.soname"),
    ("build id", "target.build_id"),
    ("agent", "target.agent"),
    ("devices", "target.devices"),
    ("device", "target.device_name"),
    ("found in", "target.source"),
    ("library path", "target.library_path"),
    ("loader", "target.loader"),
    ("environment", "target.environment"),
    ("compiler", "target.compiler"),
    ("notes", "target.notes"),
    ("system", "host.system"),
    ("kernel", "host.kernel"),
    ("libc", "host.libc"),
    ("Python", "host.python"),
    ("CPUs", "host.cpus"),
    ("container", "host.container"),
    ("xdiag", "xdiag"),
)


def _differences(before: Report, after: Report) -> tuple[Difference, ...]:
    pairs = ((what, _fact(before, where), _fact(after, where)) for what, where in _FACTS)
    return tuple(Difference(what, was, now) for what, was, now in pairs if was != now)


def _fact(report: Report, where: str) -> str:
    value: object = report
    for name in where.split("."):
        value = getattr(value, name)
    if isinstance(value, Loader):
        return value.path
    if isinstance(value, dict):
        return " ".join(f"{name}={text}" for name, text in sorted(value.items()))
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    return "" if value is None else str(value)


def _verdicts(before: Report, after: Report) -> tuple[VerdictChange, ...]:
    earlier = {verdict.hypothesis: verdict.mark.value for verdict in before.verdicts}
    later = {verdict.hypothesis: verdict.mark.value for verdict in after.verdicts}
    return tuple(
        VerdictChange(hypothesis, earlier.get(hypothesis, ""), later.get(hypothesis, ""))
        for hypothesis in sorted(earlier.keys() | later.keys())
        if earlier.get(hypothesis) != later.get(hypothesis)
    )


# ---- what keeps the two from being compared as they are ----


def _cautions(made: Comparison) -> tuple[str, ...]:
    sides = (("before", made.before), ("after", made.after))
    said = []
    agents = {run.target.agent for _, run in sides}
    if len(agents) > 1:
        on = " and ".join(f"{side} was run on {_agent(run)}" for side, run in sides)
        said.append(
            f"{on}: the software agent stands in for a GPU and does not speak for hardware. What"
            " differs below may be the agent's doing as well as the runtime's."
        )
    if len({run.target.platform for _, run in sides}) > 1:
        on = ", ".join(f"{side} is {run.target.platform}" for side, run in sides)
        said.append(f"Two platforms ({on}): the same number is not the same error on both.")
    if len({_checks_few(run) for _, run in sides}) > 1:
        newer = next(side for side, run in sides if _checks_few(run))
        said.append(
            f"HIP 7 ({newer}) checks the handle in few calls: that a call returns success there"
            " does not say that the handle was known."
        )
    said += [
        f"{side} was interrupted: {run.results} of {run.planned} cells."
        for side, run in sides
        if run.results < run.planned
    ]
    if made.asked_differently:
        said.append(
            f"Steps or variables are not the same in {made.asked_differently} of the cells that"
            " both have: those are not the same experiment."
        )
    return tuple(said)


def _agent(run: Run) -> str:
    if run.target.agent == "software":
        return "the software agent"
    # The name is what a file says it is.
    name = run.target.device_name[:60]
    return f"hardware ({name})" if name else "hardware"


def _checks_few(run: Run) -> bool:
    digits = run.target.version.partition(".")[0]
    return run.target.platform == "hip" and digits.isdecimal() and int(digits[:9]) >= 7
