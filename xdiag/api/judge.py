"""The measured table before AMD's own test-suite: where they agree, and where and why not."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from xdiag.api.hip_tests import EXPECTATIONS, EXPLANATIONS
from xdiag.model import Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from xdiag.api.hip_tests import Expectation, Explanation
    from xdiag.api.measured_data import Entry, Measured


class Judgement(Enum):
    """What one expectation came to on one version."""

    AGREES = "agrees"
    #: The suite of that version expects otherwise.
    DISAGREES = "disagrees"
    #: The suite has it but does not check it on AMD's runtime, or that version's has it not at all.
    UNCHECKED = "unchecked"
    #: The table has no answer, or it is one to another question.
    UNANSWERED = "unanswered"


class Finding(Record, frozen=True):
    """One expectation held against one version of the runtime."""

    expectation: Expectation
    version: str
    judgement: Judgement
    #: What the runtime does, as the table says it; or why there is no answer.
    answer: str
    #: Whether that is what is expected, whoever checks it.
    as_expected: bool
    explanation: Explanation | None = None


def judge(
    tables: Iterable[Measured],
    expectations: Iterable[Expectation] = EXPECTATIONS,
    explanations: Iterable[Explanation] = EXPLANATIONS,
) -> Iterator[Finding]:
    """Hold every expectation against every table, in the order of both."""
    tables, explanations = tuple(tables), tuple(explanations)
    for expectation in expectations:
        for table in tables:
            yield _finding(expectation, table, explanations)


def unexplained(findings: Iterable[Finding]) -> list[Finding]:
    """Disagreements for which there is no explanation."""
    return [
        finding
        for finding in findings
        if finding.judgement is Judgement.DISAGREES and finding.explanation is None
    ]


def stale(
    findings: Iterable[Finding], explanations: Iterable[Explanation] = EXPLANATIONS
) -> list[Explanation]:
    """Explanations of what is no disagreement."""
    needed = [finding.explanation for finding in findings if finding.explanation is not None]
    return [explanation for explanation in explanations if explanation not in needed]


def _finding(
    expectation: Expectation, table: Measured, explanations: tuple[Explanation, ...]
) -> Finding:
    version = table.label
    entry = table.calls.get(expectation.call, {}).get(expectation.handle)
    reason = f"the test's story is another one: {expectation.story}" if expectation.story else ""
    answer = reason or _said(entry)
    if entry is None or not entry.answers or reason:
        return Finding(expectation, version, Judgement.UNANSWERED, answer, as_expected=False)
    as_expected = all(_right(said, expectation.codes) for said in entry.answers)
    if version not in expectation.stated:
        return Finding(expectation, version, Judgement.UNCHECKED, answer, as_expected)
    if as_expected:
        return Finding(expectation, version, Judgement.AGREES, answer, as_expected)
    explanation = next(
        (
            each
            for each in explanations
            if expectation.call in each.calls
            and expectation.handle in each.handles
            and version in each.versions
        ),
        None,
    )
    return Finding(expectation, version, Judgement.DISAGREES, answer, as_expected, explanation)


def _said(entry: Entry | None) -> str:
    """An answer in words: what came most often first."""
    if entry is None:
        return "not in the table"
    if entry.absent:
        return "absent"
    if not entry.answers:
        return f"not asked: {entry.unasked}"
    return " or ".join(sorted(entry.answers, key=lambda each: (-entry.answers[each], each)))


def _right(said: str, codes: tuple[int, ...]) -> bool:
    """Whether an answer is one of these codes; with none, whether it is an error code at all."""
    try:
        code = int(said)
    except ValueError:
        return False
    return code in codes if codes else code != 0
