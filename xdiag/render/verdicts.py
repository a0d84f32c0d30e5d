"""Verdicts in reading order: what the experiment supports first, each with its deciding cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xdiag import hypotheses
from xdiag.model import Support

if TYPE_CHECKING:
    from xdiag.model import Evidence, Report, Verdict

_ORDER = (Support.SUPPORTED, Support.OPEN, Support.REFUTED)
_REMEDIES = {hypothesis.id: hypothesis.remedy for hypothesis in hypotheses.every()}

#: What a mark says and what it does not; stands before the verdicts.
EXPLANATION = (
    "What the cells say of each explanation. Supported: the fault can come about this way on this"
    " runtime, and the fix repairs it; whether it came about so in your program is for its own"
    " evidence to say. Refuted: the cells contradict it."
)

#: Style of a mark, by the names in ``labels.STYLES``.
MARK_STYLES = {Support.SUPPORTED: "refused", Support.OPEN: "absent", Support.REFUTED: "ok"}


def ordered(report: Report) -> list[Verdict]:
    """The verdicts, supported ones first."""
    return sorted(report.verdicts, key=lambda verdict: _ORDER.index(verdict.mark))


def deciding(verdict: Verdict) -> list[Evidence]:
    """The cells that decide a verdict, first those against a refuted hypothesis."""
    against_first = verdict.mark is Support.REFUTED
    return sorted(verdict.evidence, key=lambda evidence: evidence.agrees is against_first)


def relation(evidence: Evidence) -> str:
    """How what was seen stands to what the hypothesis expected."""
    return "as expected" if evidence.agrees else "against it"


def sentence(evidence: Evidence) -> str:
    """What one cell says, in words."""
    return (
        f"{evidence.cell}: expected that it {evidence.predicted.value}, saw {evidence.observed}"
        f" ({relation(evidence)})"
    )


def remedy(verdict: Verdict) -> str:
    """What to do about a supported hypothesis; empty for any other."""
    return _REMEDIES.get(verdict.hypothesis, "") if verdict.mark is Support.SUPPORTED else ""
