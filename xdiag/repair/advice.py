"""What to do about what a run has shown: the start that repairs it, as ``xdiag run`` chooses it.

A record names the causes; which repair fits the command is known where the command is.  Both have
to say the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from msgspec.structs import replace

from xdiag.errors import XdiagError
from xdiag.model import NotApplicable
from xdiag.recording.diagnosis import START
from xdiag.repair import choose
from xdiag.repair.catalogue import REPAIRS
from xdiag.repair.repair import Cause

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from xdiag.recording.diagnosis import Diagnosis
    from xdiag.repair.choose import Choice
    from xdiag.repair.repair import Situation

_CAUSES: tuple[Cause, ...] = get_args(Cause)


def advised(
    diagnoses: Sequence[Diagnosis], situation: Situation, made: Choice
) -> tuple[Diagnosis, ...]:
    """The diagnoses of a run that ``made`` these repairs, with the start that would repair it.

    What is foretold is looked at where a fault needs it, and only then.  Where that fails, what
    the record says to do stays as it is.
    """
    if not any(_wanted(each) for each in diagnoses):
        return tuple(diagnoses)
    try:
        would = choose.auto(situation)
    except XdiagError:
        return tuple(diagnoses)
    advising = _Advising(situation, would, made)
    return tuple(advising.of(each) for each in diagnoses)


def _wanted(diagnosis: Diagnosis) -> tuple[Cause, ...]:
    """The causes that a fault needs repaired, as far as a start repairs any."""
    wanted: list[Cause] = []
    if diagnosis.fault and START in diagnosis.remedy:
        wanted.append("two-runtimes")
    if diagnosis.fault and diagnosis.cause == "truncated-handle":
        wanted.append("truncated-handle")
    return tuple(wanted)


class _Advising:
    """What ``xdiag run`` would choose by itself, and what was made in the run that is told of."""

    def __init__(self, situation: Situation, would: Choice, made: Choice) -> None:
        self.situation = situation
        self.would = would
        self.made = made

    def of(self, diagnosis: Diagnosis) -> Diagnosis:
        wanted = _wanted(diagnosis)
        if not wanted:
            return diagnosis
        told = [line for line in diagnosis.remedy if line != START]
        return replace(diagnosis, remedy=(*told, *self._start(wanted)))

    def _start(self, wanted: tuple[Cause, ...]) -> Iterator[str]:
        repairs = {cause: self._repairs(cause) for cause in wanted}
        left = [cause for cause in wanted if not repairs[cause]]
        # What is no cause of this fault stays repaired.
        named = [id for cause in _CAUSES for id in repairs.get(cause, self._besides(cause))]
        if any(repairs.values()):
            names = " and ".join(named)
            but = ", which is not all that it needs" if left else ""
            if set(named) == set(self.would.repairs):
                yield f"{START}, which chooses {names}{but}"
            else:
                start = START.replace("xdiag run", f"xdiag run --repair {','.join(named)}", 1)
                yield f"{start}{but}"
                yield f"({self._why_named()})"
        for cause in left:
            yield from self._obstacle(cause)

    def _repairs(self, cause: Cause) -> tuple[str, ...]:
        """The repairs for a cause that was seen: those chosen, if they were not made already."""
        made, would = _for(cause, self.made.repairs), _for(cause, self.would.repairs)
        if would and not set(would) <= set(made):
            return would
        # The record knows better than the forecast: of two copies one is made by the loader.
        unify = next(repair for repair in REPAIRS if repair.id == choose.UNFORESEEN)
        if cause == unify.cause and unify.id not in made:
            change = unify.change(self.situation)
            if not isinstance(change, NotApplicable) and not self.situation.lost(change):
                return (unify.id,)
        return ()

    def _besides(self, cause: Cause) -> tuple[str, ...]:
        return _for(cause, self.would.repairs) or _for(cause, self.made.repairs)

    def _why_named(self) -> str:
        done = _for("two-runtimes", self.made.repairs)
        if done:
            return f"with {' and '.join(done)} alone it came to this"
        return f"left to itself it would not: {self.would.because}"

    def _obstacle(self, cause: Cause) -> Iterator[str]:
        done = _for(cause, self.made.repairs)
        if done:
            yield f"{' and '.join(done)} was made, and did not reach what failed"
            return
        for each in self.would.considered:
            if each.repair in _for(cause, [each.repair]):
                yield f"xdiag run cannot do it by {each.repair}: {each.because}"


def _for(cause: Cause, ids: Iterable[str]) -> tuple[str, ...]:
    """Those of the repairs that are for a cause."""
    return tuple(repair.id for repair in REPAIRS if repair.id in ids and repair.cause == cause)
