"""The questions: every one can be told, and every call that takes a stream is one or left out."""

from __future__ import annotations

import pytest

from xdiag import native
from xdiag.api.handles import HANDLES
from xdiag.api.measure import steps_of
from xdiag.api.questions import LEFT_OUT, QUESTIONS, Question
from xdiag.engine.props import PROPS
from xdiag.model import ACTIONS, parse_step


def test_every_call_that_takes_a_stream_is_asked() -> None:
    takes_one = {
        name for name, call in native.calls().items() if call.hip and call.stream_input is not None
    }
    assert takes_one <= {question.call for question in QUESTIONS}
    assert len(QUESTIONS) >= 70
    assert len({question.call for question in QUESTIONS}) == len(QUESTIONS)


def test_what_is_left_out_is_not_asked_and_has_a_reason() -> None:
    asked = {f"hip{question.call}" for question in QUESTIONS}
    for calls, reason in LEFT_OUT.items():
        assert reason and not asked & set(calls.split(", "))


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.call)
def test_every_question_is_a_story(question: Question) -> None:
    for way in question.ways:
        for handle in HANDLES:
            steps = steps_of(handle, way)
            known = {"NULL", "LEGACY", "PER_THREAD"}
            runtimes: set[str] = set()
            for step in steps:
                if step.runtime:
                    call = native.calls()[step.verb]
                    assert step.runtime in runtimes
                    assert len(step.args) == len(call.inputs()), step
                else:
                    assert step.verb in ACTIONS or step.verb in PROPS, step
                if step.verb in ("kernel", "variable"):
                    assert step.args[0] in runtimes
                elif step.verb not in ("open", "text"):
                    assert {a for a in step.args if isinstance(a, str)} <= known, step
                (runtimes if step.verb == "open" else known).add(step.result)
            assert steps[-1].verb == question.call and steps[-1].phase == "use"
            assert steps[-1].runtime == handle.asked
            assert [step.phase for step in steps].count("use") == 1
            assert parse_step(str(steps[-1])).args == steps[-1].args


def test_a_question_that_only_looks_has_no_other_arguments_than_the_handle() -> None:
    for question in QUESTIONS:
        if question.looks:
            assert [way.ask for way in question.ways] == [f"{question.call}(h)"]
    assert sum(question.looks for question in QUESTIONS) == 8


def test_there_is_one_control_and_it_is_documented() -> None:
    (control,) = (handle for handle in HANDLES if handle.control)
    assert control.documented and control.asked == "A"
    assert len({handle.id for handle in HANDLES}) == len(HANDLES)
    assert len({handle.id[0] for handle in HANDLES if not handle.documented}) == sum(
        not handle.documented for handle in HANDLES
    )
