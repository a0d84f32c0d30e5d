"""Weighs the hypotheses against what the cells showed.

A hypothesis says of each pattern whether it fails or works, and which fixes would repair a failure.
It is refuted when a pattern that it says must fail works, or when a fix that it says must help does
not; supported when what it says fails, fails, what it says works, works, and its fix helps; open
otherwise.  Only a refusal of the handle or a violent end counts as failing: another error code
says something about that call, not about the handle.

A fix that has not taken effect tests nothing: where what the hypothesis blames, two loaded copies,
is still there under it (LD_PRELOAD does not reach a library that is opened by its path), the cell
is evidence neither way.

Nor is silence: where a version's calls return success for a stream that they do not know, as most
of HIP 7 do, a cell without one that would have said so does not show that the stream was usable.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xdiag import platforms
from xdiag.model import (
    Evidence,
    Hypothesis,
    Outcome,
    OutcomeKind,
    Pattern,
    Prediction,
    Result,
    Support,
    Verdict,
)
from xdiag.torch_consumer import brought_another
from xdiag.using import CONTEXTS
from xdiag.xsched_consumers import CUTS_HANDLES, MAKES_CALLS
from xdiag.xsched_errors import left_for_context

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

_NO_FIX = "none"
#: Patterns that a sentence names at most, of those that nobody has run.
_NAMED = 5


def describe(result: Result) -> str:
    """What a cell showed, in a few words: ``709 from hipStreamGetFlags``, ``ok``."""
    outcome = result.outcome
    if outcome.kind == OutcomeKind.ERROR:
        return f"{outcome.call} {_how(outcome)}" if outcome.code is None else (
            f"{outcome.code} from {outcome.call}"
        )  # fmt: skip
    refused = f"{outcome.code} from {outcome.call}, then " if outcome.code is not None else ""
    at = outcome.died_at
    where = next((record.call for record in outcome.trace if record.step == at), outcome.call)
    if left_for_context(outcome.call, outcome.code, where):
        refused = "two contexts differ, then "
    if outcome.kind == OutcomeKind.CRASH:
        return f"{refused}{outcome.signal} in {where}"
    if outcome.kind == OutcomeKind.EXIT:
        return f"{refused}exit({outcome.status}) in {where}"
    if outcome.kind == OutcomeKind.HANG:
        return f"{refused}hang in {where}"
    return str(outcome.kind.value)


def _how(outcome: Outcome) -> str:
    """How a step failed that returns no code."""
    return "did not hold" if outcome.call == "equal" else "failed"


def reading(
    result: Result, platform: str = "hip", telling: Collection[str] | None = None
) -> Prediction | None:
    """Whether the handle was usable in this cell; None where the cell does not tell.

    A cell tells nothing if it was not run, if its set-up failed, if a call that accepted the handle
    returned an error of another kind, or if none of the ``telling`` calls was among those that
    succeeded; None for all calls.
    """
    outcome = result.outcome
    if outcome.kind == OutcomeKind.OK:
        return Prediction.WORKS if telling is None or _asked(result, telling) else None
    at = outcome.step if outcome.step is not None else outcome.died_at
    if at is None or result.cell.steps[at].phase == "setup":
        return None
    if outcome.kind in (OutcomeKind.CRASH, OutcomeKind.EXIT, OutcomeKind.HANG):
        return Prediction.FAILS
    if outcome.kind != OutcomeKind.ERROR:
        return None
    # XSched's CUDA queue leaves where two contexts differ.
    differs = outcome.code is None and result.cell.steps[at].args == CONTEXTS
    refused = differs or outcome.code in platforms.get(platform).refusals
    return Prediction.FAILS if refused else None


def _asked(result: Result, calls: Collection[str]) -> bool:
    """Whether one of these calls was made in the use of the stream, and returned."""
    undone = {record.step for record in result.outcome.trace if record.state != "done"}
    return any(
        step.phase == "use"
        and not {step.verb, *MAKES_CALLS.get(step.verb, ())}.isdisjoint(calls)
        and place not in undone
        for place, step in enumerate(result.cell.steps)
    )


def _copies(result: Result) -> int:
    return len({(i.device, i.inode, i.namespace) for i in result.outcome.runtimes.values()})


@dataclass(frozen=True)
class _Observation:
    """What the consumers together showed of a pattern under a fix."""

    reading: Prediction
    results: tuple[Result, ...]

    def one_copy(self) -> bool:
        """Whether at most one copy of the library was loaded in each of its cells."""
        return all(_copies(result) <= 1 for result in self.results)

    def evidence(self, predicted: Prediction) -> list[Evidence]:
        return [
            Evidence(
                cell=result.cell.id,
                predicted=predicted,
                observed=describe(result),
                agrees=self.reading == predicted,
            )
            for result in self.results
        ]


def _observe(
    results: Iterable[Result], platform: str, telling: Collection[str] | None
) -> dict[tuple[str, str], _Observation]:
    """By pattern and fix: failing if any consumer fails, since HIP 7 checks in some calls only."""
    told: dict[tuple[str, str], list[tuple[Prediction, Result]]] = defaultdict(list)
    unweighed = platforms.get(platform).unweighed
    for result in results:
        if result.cell.consumer in (*CUTS_HANDLES, *unweighed):
            continue  # what it shows is about itself, whatever the story
        what = None if brought_another(result) else reading(result, platform, telling)
        if what is not None:
            told[result.cell.pattern, result.cell.fix].append((what, result))
    observations = {}
    for key, readings in told.items():
        worst = (
            Prediction.FAILS
            if any(what == Prediction.FAILS for what, _ in readings)
            else Prediction.WORKS
        )
        shown = tuple(result for what, result in readings if what == worst)
        observations[key] = _Observation(worst, shown)
    return observations


def weigh(
    results: Sequence[Result],
    hypotheses: Iterable[Hypothesis],
    patterns: Iterable[Pattern],
    platform: str = "hip",
    telling: Collection[str] | None = None,
) -> tuple[Verdict, ...]:
    """A verdict per hypothesis, in the catalogue's order.

    ``telling`` are the calls whose success says that the runtime knows the stream, where not all
    of them do (``xdiag.api.telling``).
    """
    results, stories = list(results), list(patterns)
    observed = _observe(results, platform, telling)
    silent = {
        result.cell.pattern
        for result in results
        if result.outcome.kind is OutcomeKind.OK and reading(result, platform, telling) is None
    }
    early = _ended_early(results)
    return tuple(
        _weigh_one(hypothesis, stories, observed, silent, early) for hypothesis in hypotheses
    )


def _ended_early(results: Iterable[Result]) -> dict[str, str]:
    """Patterns that did not come to the use of the stream without a fix: what they ended with."""
    return {
        result.cell.pattern: describe(result)
        for result in results
        if result.cell.fix == _NO_FIX
        and result.outcome.step is not None
        and result.cell.steps[result.outcome.step].phase == "setup"
    }


def _weigh_one(
    hypothesis: Hypothesis,
    patterns: Sequence[Pattern],
    observed: dict[tuple[str, str], _Observation],
    silent: Collection[str],
    early: dict[str, str],
) -> Verdict:
    must_fail = [p.id for p in patterns if p.predicts.get(hypothesis.id) == Prediction.FAILS]
    must_work = [p.id for p in patterns if p.predicts.get(hypothesis.id) == Prediction.WORKS]

    def seen(ids: Iterable[str], fix: str = _NO_FIX) -> dict[str, _Observation]:
        return {id: observed[id, fix] for id in ids if (id, fix) in observed}

    fail, work = seen(must_fail), seen(must_work)
    failing = [id for id, o in fail.items() if o.reading == Prediction.FAILS]
    surprising = [id for id, o in fail.items() if o.reading == Prediction.WORKS]
    broken = [id for id, o in work.items() if o.reading == Prediction.FAILS]
    under_fix = {
        (id, fix): observed[id, fix]
        for id in failing
        for fix in hypothesis.repaired_by
        if (id, fix) in observed
    }
    repairs = {
        key: o for key, o in under_fix.items() if o.one_copy() or not hypothesis.repaired_as_one
    }
    helping = {(id, fix) for (id, fix), o in repairs.items() if o.reading == Prediction.WORKS}
    helped = {id for id, _ in helping}
    tried = {id for id, _ in repairs}
    thorough = [f for f in hypothesis.repaired_by if all((id, f) in helping for id in helped)]

    evidence = [
        *(e for o in fail.values() for e in o.evidence(Prediction.FAILS)),
        *(e for o in work.values() for e in o.evidence(Prediction.WORKS)),
        *(e for o in repairs.values() for e in o.evidence(Prediction.WORKS)),
    ]

    if surprising:
        mark = Support.REFUTED
        because = f"it says that {_all(surprising)} must fail, and {_it_works(surprising)}"
    elif not failing:
        mark, because = Support.OPEN, f"no cell that could tell was run ({_few(must_fail)})"
        if ended := sorted({early[id] for id in must_fail if id in early}):
            because = f"no cell came to the use of the stream: before it, {_all(ended)}"
        elif mute := [id for id in must_fail if id in silent]:
            because += (
                f"; no call failed in {_all(mute)}, but none of those made there looks whether the"
                " stream is known on this version (the consumer driver's do)"
            )
    elif broken:
        mark = Support.OPEN
        because = f"{_all(failing)} {_fail(failing)} as it says, but so does {_all(broken)}"
    elif under_fix and not tried:
        mark = Support.OPEN
        left = [fix for fix in hypothesis.repaired_by if fix in {fix for _, fix in under_fix}]
        because = f"{_all(failing)} {_fail(failing)} as it says, but under its fix ({_some(left)})"
        because += " two copies were loaded all the same"
    elif hypothesis.repaired_by and not tried:
        mark = Support.OPEN
        because = f"{_all(failing)} {_fail(failing)} as it says, but its fix"
        because += f" ({_some(hypothesis.repaired_by)})"
        because += " was not tried"
    elif tried and not helped:
        mark = Support.REFUTED
        because = f"its fix ({_some(hypothesis.repaired_by)}) does not repair {_all(sorted(tried))}"
    elif tried - helped:
        mark = Support.OPEN
        because = f"its fix repairs {_all(sorted(helped))} but not {_all(sorted(tried - helped))}"
    else:
        mark = Support.SUPPORTED
        because = f"{_all(failing)} {_fail(failing)} as it says"
        if helped:
            fixes = _some(thorough) if thorough else "one fix or another"
            because += f", and {fixes} repairs {_it(failing)}"
        elif work:
            because += f", and {_all(list(work))} {_work(work)}"
    return Verdict(
        hypothesis=hypothesis.id,
        statement=hypothesis.statement,
        mark=mark,
        because=because,
        evidence=tuple(evidence),
    )


def _all(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _few(names: Sequence[str]) -> str:
    """Some of them, by name, and how many more there are."""
    if len(names) <= _NAMED:
        return _some(names)
    return f"{', '.join(names[: _NAMED - 1])} or {len(names) - _NAMED + 1} more"


def _some(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def _fail(names: Sequence[str]) -> str:
    return "fails" if len(names) == 1 else "fail"


def _work(names: Collection[str]) -> str:
    return "works" if len(names) == 1 else "work"


def _it(names: Sequence[str]) -> str:
    return "it" if len(names) == 1 else "them"


def _it_works(names: Sequence[str]) -> str:
    return "it works" if len(names) == 1 else "they work"
