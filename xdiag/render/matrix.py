"""Results arranged as matrices: one per consumer, patterns down, fixes across."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from xdiag.consumers import CONSUMERS
from xdiag.fixes import FIXES
from xdiag.model import FAULTS
from xdiag.patterns import PATTERNS
from xdiag.render.labels import NO_RESULT, Label, label
from xdiag.xsched_consumers import XSCHED_CONSUMERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from xdiag.model import Report, Result

_PATTERN_TITLES = {pattern.id: pattern.title for pattern in PATTERNS}
_FIX_TITLES = {fix.id: fix.title for fix in FIXES}
_CONSUMER_TITLES = {consumer.id: consumer.title for consumer in (*CONSUMERS, *XSCHED_CONSUMERS)}


def pattern_title(id: str) -> str:
    """The catalogue's title; the id itself for a pattern of another version of xdiag."""
    return _PATTERN_TITLES.get(id, id)


def fix_title(id: str) -> str:
    """The catalogue's title; the id itself for a fix of another version of xdiag."""
    return _FIX_TITLES.get(id, id)


def consumer_title(id: str) -> str:
    """The catalogue's title; the id itself for a consumer of another version of xdiag."""
    return _CONSUMER_TITLES.get(id, id)


@dataclass(frozen=True)
class Matrix:
    """The results of one consumer."""

    consumer: str
    patterns: tuple[str, ...]
    fixes: tuple[str, ...]
    results: dict[tuple[str, str], Result]

    def result(self, pattern: str, fix: str) -> Result | None:
        """What came of a pattern under a fix, if it was run."""
        return self.results.get((pattern, fix))

    def label(self, pattern: str, fix: str) -> Label:
        """What to show for a pattern under a fix."""
        result = self.result(pattern, fix)
        return NO_RESULT if result is None else label(result)

    def complete(self) -> bool:
        """Whether every place has a result."""
        return len(self.results) == len(self.patterns) * len(self.fixes)

    def ordered(self) -> list[Result]:
        """The results, row by row."""
        places = ((pattern, fix) for pattern in self.patterns for fix in self.fixes)
        return [self.results[place] for place in places if place in self.results]


def matrices(report: Report) -> list[Matrix]:
    """One matrix per consumer, in the catalogues' order, whatever order the cells ended in."""
    return arranged(report.results)


def arranged(all_results: Sequence[Result]) -> list[Matrix]:
    """Results as ``matrices`` arranges those of a report."""
    made = []
    for consumer in _in_order((r.cell.consumer for r in all_results), _CONSUMER_TITLES):
        results = [r for r in all_results if r.cell.consumer == consumer]
        made.append(
            Matrix(
                consumer=consumer,
                patterns=_in_order((r.cell.pattern for r in results), _PATTERN_TITLES),
                fixes=_in_order((r.cell.fix for r in results), _FIX_TITLES),
                results={(r.cell.pattern, r.cell.fix): r for r in results},
            )
        )
    return made


def _in_order(found: Iterable[str], catalogue: dict[str, str]) -> tuple[str, ...]:
    position = {id: place for place, id in enumerate(catalogue)}
    return tuple(sorted(dict.fromkeys(found), key=lambda id: position.get(id, len(position))))


def not_run(report: Report) -> list[tuple[str, list[Result]]]:
    """The reasons for which cells were not run, each with those cells; the commonest first."""
    reasons: dict[str, list[Result]] = {}
    for result in report.results:
        if result.outcome.reason and result.outcome.kind not in FAULTS:
            reasons.setdefault(result.outcome.reason, []).append(result)
    return sorted(reasons.items(), key=lambda item: (-len(item[1]), item[0]))
