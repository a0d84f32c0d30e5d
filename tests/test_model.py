"""The step notation and the records' round trip through JSON."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xdiag.model import Outcome, OutcomeKind, Step, StepRecord, parse_step

names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,12}", fullmatch=True)
steps = st.builds(
    Step,
    actors=st.lists(names, min_size=1, max_size=3).map(tuple),
    verb=names,
    args=st.lists(names | st.integers(-(2**64), 2**64), max_size=5).map(tuple),
    runtime=st.just("") | names,
    result=st.just("") | names,
    repeat=st.integers(1, 10_000),
    tolerated=st.booleans(),
)


@given(steps)
def test_a_step_is_read_back_from_its_line(step: Step) -> None:
    assert parse_step(str(step)) == step


@given(st.text(max_size=60))
def test_any_line_is_a_step_or_a_clear_error(line: str) -> None:
    try:
        step = parse_step(line)
    except ValueError as error:
        message = str(error)
    else:
        message = repr(line)
        assert parse_step(str(step)) == step
    assert repr(line) in message


def test_every_part_of_the_notation() -> None:
    step = parse_step("main & worker: flags = A.StreamGetFlags(s, 0x10, -3) x200 ?")
    assert step == Step(
        actors=("main", "worker"),
        verb="StreamGetFlags",
        args=("s", 16, -3),
        runtime="A",
        result="flags",
        repeat=200,
        tolerated=True,
    )


@pytest.mark.parametrize(
    "line", ["", "main", "main:", "main: A.", "main: f(", "main: f(1.5)", "main: f() x0", "1: f()"]
)
def test_what_is_no_step_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="not a"):
        parse_step(line)


def test_records_survive_json() -> None:
    record = StepRecord(
        step=3, actor="worker", call="hipStreamGetFlags", state="done", handle=0x7F1287650010,
        code=709, name="hipErrorContextIsDestroyed", values=(("s", 2**63),), nanoseconds=912,
    )  # fmt: skip
    outcome = Outcome(kind=OutcomeKind.ERROR, step=3, code=709, trace=(record,))
    assert msgspec.json.decode(msgspec.json.encode(outcome), type=Outcome) == outcome


def test_records_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Outcome(kind=OutcomeKind.OK).code = 1  # type: ignore[misc]
