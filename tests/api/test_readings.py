"""What answers mean, what changed, what is safe: on small made-up measurements."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.made import NEW, OLD, entry, measured
from xdiag.api.changes import changes
from xdiag.api.handles import BAD, HANDLES
from xdiag.api.readings import Reading, is_answer, named, readings, worst
from xdiag.api.safe import around, questions
from xdiag.api.shipped import shipped
from xdiag.api.telling import telling
from xdiag.consumers import CONSUMERS, SAFE_QUESTIONS
from xdiag.model import parse_step

R = Reading


@pytest.mark.parametrize(
    ("call", "handle", "answers", "means"),
    [
        ("StreamQuery", "foreign", ("709",), (R.REPORTS,)),
        ("StreamQuery", "foreign", ("0",), (R.LIES,)),
        # Unfinished work says that there is a stream.
        ("StreamQuery", "foreign", ("600",), (R.LIES,)),
        ("StreamQuery", "live", ("600",), (R.ACCEPTS,)),
        ("StreamQuery", "null", ("0",), (R.ACCEPTS,)),
        ("StreamQuery", "legacy", ("709",), (R.REPORTS,)),
        # A capture that is refused is an error like any other.
        ("StreamBeginCapture", "foreign", ("900",), (R.REPORTS,)),
        ("EventRecord", "destroyed", ("400", "SIGSEGV"), (R.CRASHES, R.REPORTS)),
        ("EventRecord", "destroyed", ("0", "hang"), (R.HANGS, R.LIES)),
        ("EventRecord", "destroyed", ("exit 1",), (R.CRASHES,)),
        # It returns a device, not an error code.
        ("GetStreamDeviceId", "foreign", ("-1",), (R.REPORTS,)),
        ("GetStreamDeviceId", "foreign", ("1",), (R.LIES,)),
        ("GetStreamDeviceId", "live", ("1",), (R.ACCEPTS,)),
        ("StreamQuery", "foreign", (), (R.UNASKED,)),
    ],
)
def test_readings(
    call: str, handle: str, answers: tuple[str, ...], means: tuple[Reading, ...]
) -> None:
    assert readings(call, handle, entry(*answers)) == means
    assert worst(call, handle, entry(*answers)) == means[0]


def test_an_absent_call_is_absent() -> None:
    assert readings("StreamQuery", "foreign", entry(absent=True)) == (R.ABSENT,)


@given(st.sampled_from(BAD), st.integers(-1, 2000))
def test_no_code_is_a_lie_but_success_and_unfinished_work(handle: str, code: int) -> None:
    (said,) = readings("StreamQuery", handle, entry(str(code)))
    assert said == (R.LIES if code in (0, 600) else R.REPORTS)


@given(st.sampled_from([h.id for h in HANDLES if h.documented]), st.sampled_from(["0", "600"]))
def test_success_with_a_documented_handle_is_never_a_lie(handle: str, answer: str) -> None:
    assert readings("StreamQuery", handle, entry(answer)) == (R.ACCEPTS,)


def test_names_of_answers() -> None:
    assert named("StreamQuery", "709") == "709 hipErrorContextIsDestroyed"
    assert named("GetStreamDeviceId", "1") == "device 1"
    assert named("GetStreamDeviceId", "-1") == "-1"
    assert named("StreamQuery", "SIGSEGV") == "SIGSEGV"
    assert all(map(is_answer, ("0", "-1", "SIGABRT", "hang", "exit 3")))
    assert not any(map(is_answer, ("", "success", "709 hipError")))


# ---- changes ----


def test_what_changed() -> None:
    found = {(each.call, each.handle) for each in changes(OLD, NEW)}
    assert found == {
        ("StreamQuery", "foreign"),
        ("StreamQuery", "destroyed"),
        ("StreamGetFlags", "foreign"),
        ("StreamGetFlags", "destroyed"),
        ("StreamGetId", "live"),
        ("StreamGetId", "foreign"),
        ("StreamGetId", "destroyed"),
        ("StreamGetId", "null"),
        ("GetStreamDeviceId", "live"),
        ("GetStreamDeviceId", "null"),
    }


def test_answers_that_vary_have_not_changed_while_one_came_in_both() -> None:
    both = [each for each in changes(OLD, NEW) if each.call == "EventRecord"]
    assert both == []


def test_nothing_changes_from_a_version_to_itself() -> None:
    assert changes(OLD, OLD) == () == changes(NEW, NEW)


def test_what_was_not_asked_in_one_has_not_changed() -> None:
    other = measured("7.3.1", {"StreamQuery": {"foreign": entry(unasked="no room")}})
    assert changes(OLD, other) == ()


# ---- safe questions ----


def test_the_safe_questions_come_first() -> None:
    assert [each.call for each in questions(OLD)] == ["StreamGetFlags", "GetStreamDeviceId"]
    first = questions(NEW)[0]
    assert (first.call, first.safe, first.tells) == ("StreamGetId", True, True)


def test_what_harms_and_what_fools_a_question() -> None:
    by_name = {each.call: each for each in questions(OLD, NEW)}
    flags = by_name["StreamGetFlags"]
    assert (flags.harmed_by, flags.fooled_by) == (("destroyed",), ("foreign",))
    assert (flags.refuses, flags.absent_in) == (("null",), ())
    device = by_name["GetStreamDeviceId"]
    assert (device.safe, device.harmed_by, device.fooled_by) == (False, ("null",), ())
    # Absent in one version is no harm there.
    assert by_name["StreamGetId"].tells
    assert by_name["StreamGetId"].absent_in == ("6.4",)


def test_calls_that_do_something_are_no_questions() -> None:
    # hipStreamQuery ends a capture that is under way.
    assert not {"EventRecord", "StreamQuery"} & {each.call for each in questions(OLD)}


@pytest.mark.parametrize(
    ("version", "labels"),
    [
        ("6.4.1", ["6.4"]),
        ("6.9", ["6.4", "7.2"]),
        ("7.0.1", ["6.4", "7.2"]),
        ("7.2.9", ["7.2"]),
        ("7.10.1", ["7.2"]),
        ("5.2.1", ["6.4"]),
    ],
)
def test_the_measurements_to_go_by(version: str, labels: list[str]) -> None:
    assert [each.label for each in around((NEW, OLD), version)] == labels


def test_no_measurement_to_go_by() -> None:
    with pytest.raises(ValueError, match="nothing was measured"):
        around((), "7.2")


def test_between_two_versions_only_what_reports_on_both_is_telling() -> None:
    old, new, between = (telling("hip", version) for version in ("6.4", "7.2", "7.0"))
    assert old is not None and new is not None and between == old & new
    # 7.0 removed most of the checks that 6.4 has.
    assert "StreamIsCapturing" in old and "StreamIsCapturing" not in between


def test_the_driver_consumer_asks_the_safe_questions_first_in_their_order() -> None:
    in_order = [each.call for each in questions(*shipped()) if not each.fooled_by]
    assert in_order == list(SAFE_QUESTIONS)
    driver = next(consumer for consumer in CONSUMERS if consumer.id == "driver")
    steps = driver.expand(parse_step("main: use(A, s)"))
    assert isinstance(steps, tuple)
    assert [step.verb for step in steps[: len(in_order)]] == in_order
