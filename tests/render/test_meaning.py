from __future__ import annotations

import pytest

from xdiag.model import OutcomeKind
from xdiag.render.header import STANDS_IN
from xdiag.render.meaning import meaning

RULE = "On HIP up to 6.4 this says one thing: the handle is not in this copy's set of live streams."


def said(result, target) -> str:
    return "\n".join(meaning(result, target))


def test_a_refusal_up_to_6_4(make):
    first, second, third = meaning(make.error(), make.target())
    assert first == (
        "The call hipStreamGetFlags on runtime B refused the handle 0x5647ec7885b0 with 709"
        f" (hipErrorContextIsDestroyed). {RULE}"
    )
    assert second == (
        "Does a second copy of the library know the streams of the first? Here: no (709)."
    )
    assert third.startswith("Two copies of the library are loaded (A, B)")


def test_a_refusal_on_7_does_not_quote_the_old_rule(make):
    text = said(make.error(), make.target(version="7.2.4"))
    assert RULE not in text
    assert "HIP 7 took this check out of most stream calls" in text


def test_a_refusal_by_an_unknown_version_says_so(make):
    text = said(make.error(), make.target(version=""))
    assert RULE in text and "The version of this runtime is not known." in text


def test_no_rule_of_hip_is_quoted_for_another_platform(make):
    text = said(make.error(), make.target(platform="cuda", version="12.4"))
    assert "up to 6.4" not in text and "set of live streams" not in text
    assert "On CUDA this says that a context was destroyed" in text


def test_709_without_a_stream_is_not_about_a_stream(make):
    result = make.result(
        "error", pattern="event-destroyed-twice", step=4, call="hipEventDestroy", code=709,
        name="hipErrorContextIsDestroyed",
        trace=make.trace(4, call="hipEventDestroy", handle=None, code=709),
    )  # fmt: skip
    text = said(result, make.target())
    assert RULE not in text and "It was given no stream" in text
    assert "Is there a 709 that has nothing to do with streams? Here: yes (709)." in text


def test_another_code_is_no_refusal_and_no_answer(make):
    text = said(make.error(code=400), make.target())
    assert "returned 400 (hipError400). The code alone does not say why." in text
    assert "Here: 400." in text and "refused" not in text


@pytest.mark.parametrize(("step", "words"), [(1, "not used yet"), (3, "a step of the fix")])
def test_a_failure_before_the_use_answers_nothing(make, step, words):
    text = said(make.error(step=step), make.target())
    assert words in text and RULE not in text and "Here:" not in text


@pytest.mark.parametrize("kind", ["crash", "exit", "hang"])
@pytest.mark.parametrize("version", ["6.4.3", "7.2.4", ""])
def test_a_violent_end_names_the_call_and_no_cause(make, kind, version):
    result = make.ended(kind, signal="SIGSEGV" if kind == "crash" else "", status=1)
    text = said(result, make.target(version=version))
    assert "in the call hipStreamQuery on runtime B" in text
    assert ("not why" in text) or ("the crash alone does not tell" in text)
    assert "because" not in text and "Here: no" not in text and "Here: yes" not in text


def test_a_violent_end_after_a_refusal_tells_both(make):
    result = make.ended(
        "crash", signal="SIGSEGV", step=4, code=709, name="hipErrorContextIsDestroyed"
    )
    assert meaning(result, make.target())[0] == (
        "The process was killed by SIGSEGV in the call hipStreamQuery on runtime B. Besides, the"
        " call hipStreamGetFlags on runtime B returned 709 (hipErrorContextIsDestroyed). That tells"
        " where it ended, not why."
    )


def test_ok_up_to_6_4_answers_the_question(make):
    text = said(make.result(pattern="cross-thread"), make.target())
    assert "The use made 2 calls and none of them failed." in text
    assert "Can a thread use a stream that another thread made? Here: yes (ok)." in text


@pytest.mark.parametrize("version", ["7.2.4", ""])
def test_ok_from_calls_that_do_not_check_answers_nothing(make, version):
    # Measured on 7.2.4: GetFlags and Query return 0 on the other copy's stream.
    text = said(make.result(pattern="second-runtime"), make.target(version=version))
    assert "does not show that the handle is this copy's" in text
    assert "Here: ok." in text and "yes" not in text


def test_ok_from_a_call_that_checks_on_7_answers(make):
    trace = make.trace(4, call="hipStreamGetDevice", code=0, name="hipSuccess")
    result = make.result(pattern="cross-thread", trace=trace)
    text = said(result, make.target(version="7.2.4"))
    assert "Here: yes (ok)." in text and "does not show" not in text


def test_under_a_fix_the_question_is_not_answered(make):
    text = said(make.result(pattern="cross-thread", fix="set-device"), make.target())
    assert 'With the fix "set the device in the using thread": ok.' in text
    assert "yes" not in text


def test_one_copy_under_two_names_is_said_to_be_one(make):
    one = make.identity(1)
    text = said(make.result(runtimes={"A": one, "B": one}), make.target())
    assert "A and B are one loaded copy of the library." in text
    alone = said(make.result(runtimes={"A": one}), make.target())
    assert "cop" not in alone.replace("copy of the library know", "")


def test_the_software_agent_is_named_where_something_ran(make):
    software = make.target(agent="software")
    assert meaning(make.result(), software)[-1] == STANDS_IN
    assert STANDS_IN not in meaning(make.result(), make.target())
    not_run = make.result("skipped", reason="r", trace=(), runtimes={})
    assert meaning(not_run, software) == ["The cell was not run: r."]


def test_every_kind_has_a_meaning_of_few_sentences(make):
    kinds = set()
    for result, _, _ in make.every_kind():
        lines = meaning(result, make.target(agent="software"))
        kinds.add(result.outcome.kind)
        assert 1 <= len(lines) <= 4
        assert all(line == line.strip() and line.isprintable() for line in lines)
    assert kinds == set(OutcomeKind)
