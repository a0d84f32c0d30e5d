"""The measured table before AMD's own test-suite, and what of the suite the table cannot answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from xdiag import native
from xdiag.api.handles import HANDLES
from xdiag.api.hip_tests import (
    CAPTURED,
    EXPECTATIONS,
    EXPLANATIONS,
    READ_AT,
    SUITES,
    Expectation,
    Explanation,
)
from xdiag.api.judge import Judgement, judge, stale, unexplained
from xdiag.api.measured_data import Entry, Measured, Subject
from xdiag.api.shipped import shipped
from xdiag.engine.run import Engine
from xdiag.errors import XdiagError
from xdiag.model import Cell, parse_step
from xdiag.runtimes.choose import choose
from xdiag.runtimes.copies import copies

if TYPE_CHECKING:
    from xdiag.api.judge import Finding
    from xdiag.model import Target

VERSIONS = tuple(suite.version for suite in SUITES)


def _table(version: str, **entries: Entry) -> Measured:
    """A made-up table in which every call has these answers, by kind of handle."""
    subject = Subject(
        platform="hip", version=f"{version}.1", soname="", build_id="", agent="software"
    )
    return Measured(
        schema_version=1, xdiag="", started="", subject=subject, rounds=1, patience=1.0,
        calls={"StreamQuery": {name.replace("_", "-"): entry for name, entry in entries.items()}},
    )  # fmt: skip


def _expectation(**changed: object) -> Expectation:
    facts = {
        "call": "StreamQuery", "handle": "destroyed", "codes": (709,), "test": "Unit_made_up",
        "file": "stream/made_up.cc", "stated": ("6.4",),
    }  # fmt: skip
    return Expectation(**{**facts, **changed})  # type: ignore[arg-type]


def _judged(
    expectation: Expectation, entry: Entry, explanations: tuple[Explanation, ...] = ()
) -> Finding:
    (finding,) = judge([_table("6.4", **{expectation.handle: entry})], [expectation], explanations)
    return finding


# ---- the real table ----


@pytest.fixture(scope="module")
def findings() -> list[Finding]:
    assert shipped(), "no measured table is shipped"
    return list(judge(shipped()))


def test_every_version_that_is_shipped_has_a_suite() -> None:
    assert {table.label for table in shipped()} <= set(VERSIONS)


def test_every_disagreement_is_explained(findings: list[Finding]) -> None:
    assert [
        (each.version, each.expectation.call, each.expectation.handle, each.answer)
        for each in unexplained(findings)
    ] == []


def test_no_explanation_is_stale(findings: list[Finding]) -> None:
    measured = {table.label for table in shipped()}
    of_these = [each for each in EXPLANATIONS if measured.issuperset(each.versions)]
    assert of_these
    assert stale(findings, of_these) == []


def test_most_of_the_suite_is_answered(findings: list[Finding]) -> None:
    """A table or names that have changed would else leave nothing to disagree about."""
    for version in {table.label for table in shipped()}:
        stated = [f for f in findings if f.version == version and version in f.expectation.stated]
        answered = [f for f in stated if f.judgement is not Judgement.UNANSWERED]
        plain = [f for f in stated if not f.expectation.story]
        assert len(answered) >= 0.8 * len(plain), version


# ---- the facts about the suite ----


def test_calls_and_handles_are_the_tables() -> None:
    assert {each.call for each in EXPECTATIONS} <= set(native.calls())
    assert {each.handle for each in EXPECTATIONS} <= {handle.id for handle in HANDLES}


def test_an_expectation_belongs_to_some_suite_and_is_said_once() -> None:
    seen = set()
    for each in EXPECTATIONS:
        assert each.stated or each.off
        assert not set(each.stated) & set(each.off)
        assert {*each.stated, *each.off} <= set(VERSIONS)
        assert bool(each.off) == bool(each.reason)
        assert not each.gone or each.gone not in (*each.stated, *each.off)
        for version in (*each.stated, *each.off):
            key = (each.call, each.handle, each.story, version)
            assert key not in seen
            seen.add(key)


def test_what_is_said_of_the_newest_suite_was_read_somewhere() -> None:
    newest = VERSIONS[-1]
    files = {each.file for each in EXPECTATIONS if newest in (*each.stated, each.gone)}
    assert files <= set(READ_AT)


# ---- the judge ----


@pytest.mark.parametrize(
    ("codes", "answers", "judgement"),
    [
        ((709,), {"709": 3}, Judgement.AGREES),
        ((709, 400), {"709": 2, "400": 1}, Judgement.AGREES),
        ((709,), {"400": 3}, Judgement.DISAGREES),
        # What happens sometimes happens.
        ((709,), {"709": 2, "SIGSEGV": 1}, Judgement.DISAGREES),
        ((), {"709": 1, "1": 2}, Judgement.AGREES),
        ((), {"0": 3}, Judgement.DISAGREES),
        ((), {"SIGSEGV": 3}, Judgement.DISAGREES),
        ((), {"hang": 3}, Judgement.DISAGREES),
        ((0,), {"0": 3}, Judgement.AGREES),
    ],
)
def test_an_answer_is_held_against_the_codes(
    codes: tuple[int, ...], answers: dict[str, int], judgement: Judgement
) -> None:
    assert _judged(_expectation(codes=codes), Entry(answers=answers)).judgement is judgement


@pytest.mark.parametrize(
    ("entry", "answer"),
    [
        (Entry(absent=True), "absent"),
        (Entry(unasked="it has no function"), "not asked: it has no function"),
    ],
)
def test_what_was_not_asked_is_no_disagreement(entry: Entry, answer: str) -> None:
    finding = _judged(_expectation(), entry)
    assert (finding.judgement, finding.answer) == (Judgement.UNANSWERED, answer)


def test_a_call_that_the_table_lacks_is_no_disagreement() -> None:
    (finding,) = judge([_table("6.4")], [_expectation()], ())
    assert (finding.judgement, finding.answer) == (Judgement.UNANSWERED, "not in the table")


def test_a_suite_that_does_not_ask_is_no_judge() -> None:
    finding = _judged(_expectation(stated=("7.2",)), Entry(answers={"0": 3}))
    assert finding.judgement is Judgement.UNCHECKED
    assert not finding.as_expected


def test_another_story_is_another_question() -> None:
    finding = _judged(_expectation(story=CAPTURED), Entry(answers={"0": 3}))
    assert finding.judgement is Judgement.UNANSWERED
    assert CAPTURED in finding.answer


def test_an_explanation_explains_its_version_only() -> None:
    entry = Entry(answers={"0": 3})
    right = Explanation(("StreamQuery",), ("destroyed",), ("6.4",), "because", "there")
    wrong = Explanation(("StreamQuery",), ("destroyed",), ("5.7",), "because", "there")
    finding = _judged(_expectation(), entry, (wrong, right))
    assert finding.explanation == right
    assert unexplained([finding]) == []
    assert stale([finding], (wrong, right)) == [wrong]
    assert unexplained([_judged(_expectation(), entry, (wrong,))]) != []


def test_what_came_most_often_is_said_first() -> None:
    finding = _judged(_expectation(), Entry(answers={"0": 1, "SIGSEGV": 2}))
    assert finding.answer == "SIGSEGV or 0"


# ---- stories that the table does not have ----

STORIES = [each for each in EXPECTATIONS if each.story == CAPTURED]


def _asked(target: Target, expectations: list[Expectation]) -> dict[str, int | None]:
    """What the calls answer while another stream is being captured, by call and handle."""
    cells = []
    for each in expectations:
        name = f"{each.call}-{each.handle}"
        handle = {"null": "NULL", "legacy": "LEGACY"}[each.handle]
        steps = (
            "main: A = open(first, local)",
            "main: A.Init(0)",
            "main: s = A.StreamCreateWithFlags(0)",
            "main: A.StreamBeginCapture(s, 0)",
            f"main: A.{each.call}({handle})",
        )
        told = tuple(parse_step(step) for step in steps)
        cells.append(Cell(name, name, "none", "driver", steps=told))
    with Engine(target, copies(target), jobs=2) as engine:
        return {result.cell.id: result.outcome.trace[-1].code for result in engine.run(cells)}


@pytest.mark.versions
@pytest.mark.parametrize("version", VERSIONS)
def test_while_another_stream_is_captured(version: str) -> None:
    stated = [each for each in STORIES if version in each.stated]
    if not stated:
        pytest.skip(f"the suite of {version} has no such test")
    try:
        target = choose(version, "software")
    except XdiagError as error:
        pytest.skip(f"HIP {version} is not here: {error}")
    expected = {f"{each.call}-{each.handle}": each.codes[0] for each in stated}
    assert _asked(target, stated) == expected


def test_every_story_is_asked_somewhere() -> None:
    assert {each.story for each in EXPECTATIONS} == {"", CAPTURED}
    assert STORIES
