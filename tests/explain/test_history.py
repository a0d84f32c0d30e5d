"""What happened to a handle: which calls count, of which device, of what kind; no return line."""

from __future__ import annotations

import pytest

from explain.conftest import Explain
from explain.samples import CUT, ERAS, EVENT, OTHER, ROCM, STREAM, TORCH, WORKER, Log
from explain.test_samples import causes_of
from xdiag.explain.facts import Explanation

#: Eras whose lines tell the thread.
THREADED = [era for era in ERAS if era != "6.3"]
SEVEN = "/opt/rocm-7.2.4/lib/libamdhip64.so.7.2.70204"
REFUSED = "hipErrorContextIsDestroyed"


def steps(found: Explanation, place: int = 0) -> list[str]:
    return [step.what for step in found.failures[place].history]


# ---- calls that were refused ended nothing -------------------------------------------------------


@pytest.mark.parametrize("era", ERAS)
def test_a_refused_destruction_does_not_make_a_stream(explained: Explain, era: str) -> None:
    log = Log(era).destroy(error=REFUSED)
    for found in (explained(log.text()), explained(log.refuse().text())):
        assert causes_of(found) == {"unknown-handle": "possible"}
        assert "made" not in steps(found) and "destroyed" not in steps(found)


def test_nor_where_two_copies_are_loaded(explained: Explain) -> None:
    log = Log("7.2").library(TORCH).library(ROCM).destroy(error=REFUSED)
    found = explained(log.text())
    assert causes_of(found) == {"two-runtimes": "possible"}
    assert "is not in the log" in found.causes[0].because


@pytest.mark.parametrize("era", ERAS)
def test_a_destruction_that_fails_otherwise_is_none(explained: Explain, era: str) -> None:
    log = Log(era).start().make().destroy(error="hipErrorInvalidHandle").refuse()
    found = explained(log.text())
    assert causes_of(found) == {"unknown-handle": "possible"}
    assert steps(found) == ["made", "given", "refused"]
    # The log has it whole and alive: this alone it cannot exclude.
    assert found.not_excluded == ("two-runtimes",)


def test_a_destruction_without_a_return_line_is_not_sure(explained: Explain) -> None:
    log = Log("5.7").start().make().enter("hipStreamDestroy", f"stream:{STREAM:#x}", tid=WORKER)
    found = explained(log.refuse().text())
    assert causes_of(found) == {"destroyed-stream": "possible"}
    assert "no return line" in found.causes[0].because
    # Its return line may stand behind the refusal.
    log.leave("hipStreamDestroy", tid=WORKER)
    assert causes_of(explained(log.text())) == {"destroyed-stream": "likely"}


def test_a_call_that_a_program_cites_is_none(explained: Explain) -> None:
    log = Log("6.3").start().make()
    log.lines.append(f"app: hipStreamDestroy ( stream:{STREAM:#x} ) comes later")
    log.lines.append("app: and hipDeviceReset (  ) too")
    assert causes_of(explained(log.refuse().text())) == {"unknown-handle": "possible"}


def test_an_address_that_was_given_again_keeps_its_history(explained: Explain) -> None:
    found = explained(Log("5.7").start().make().destroy().make().refuse().text())
    assert steps(found) == [
        "an earlier stream made there", "the earlier stream destroyed", "made", "given", "refused",
    ]  # fmt: skip
    assert causes_of(found) == {"unknown-handle": "possible"}
    assert found.not_excluded == ("two-runtimes",)


# ---- which device --------------------------------------------------------------------------------


@pytest.mark.parametrize("era", THREADED)
def test_a_reset_of_another_device_ends_nothing(explained: Explain, era: str) -> None:
    other = Log(era).start().make().device(1).reset().refuse()
    back = Log(era).start().device(1).make().device(0).reset().refuse()
    for log in (other, back):
        found = explained(log.text())
        assert causes_of(found) == {"unknown-handle": "possible"}
        assert any("another device was set" in note.sentence for note in found.notes)
        assert "device-reset" not in found.not_excluded


@pytest.mark.parametrize("era", THREADED)
def test_a_reset_of_the_same_device(explained: Explain, era: str) -> None:
    same = Log(era).start().device(1).make().device(0).device(1).reset().refuse()
    refused = Log(era).start().make().device(9, "hipErrorInvalidDevice").reset().refuse()
    # A device belongs to the thread that has set it.
    thread = Log(era).start().device(1, tid=WORKER).make().reset().refuse()
    for log in (same, refused, thread):
        assert causes_of(explained(log.text())) == {"device-reset": "likely"}


def test_without_thread_ids_the_device_is_not_known(explained: Explain) -> None:
    found = explained(Log("6.3").start().make().device(1).reset().refuse().text())
    assert causes_of(found) == {"device-reset": "possible"}
    assert "may be another one" in found.causes[0].because


@pytest.mark.parametrize("era", ERAS)
def test_a_reset_that_fails_ends_nothing(explained: Explain, era: str) -> None:
    found = explained(Log(era).start().make().reset("hipErrorInvalidDevice").refuse().text())
    assert causes_of(found) == {"unknown-handle": "possible"}
    assert any("it was refused" in note.sentence for note in found.notes)


# ---- events --------------------------------------------------------------------------------------


def test_an_event_of_which_nothing_is_known(explained: Explain) -> None:
    found = explained(Log("5.7").start().destroy_event(error=REFUSED).text())
    assert causes_of(found) == {"unknown-handle": "possible"}
    assert found.not_excluded == ("two-runtimes", "destroyed-event")


def test_a_message_of_an_event_shows_no_cause(explained: Explain) -> None:
    found = explained("RuntimeError: hipEventDestroy failed: 709 (context is destroyed)\n")
    assert causes_of(found) == {"unknown-handle": "possible"}
    assert "destroyed-event" in found.not_excluded


@pytest.mark.parametrize("era", ERAS)
def test_an_event_destroyed_before(explained: Explain, era: str) -> None:
    log = Log(era).start().make_event().destroy_event().destroy_event(error=REFUSED)
    found = explained(log.text())
    assert causes_of(found) == {"destroyed-event": "likely"}
    assert steps(found) == ["made", "destroyed", "given", "refused"]
    assert not explained(Log(era).start().make_event().destroy_event().make_event().text()).fault


@pytest.mark.parametrize("era", ERAS)
def test_an_event_destroyed_twice_without_a_word(explained: Explain, era: str) -> None:
    """As 5.2.3 dies of it, and later versions go on."""
    log = Log(era).start().make_event().destroy_event().destroy_event(error=None)
    for found in (explained(log.text()), explained(log.make().text())):
        assert found.fault and causes_of(found) == {"destroyed-event": "likely"}
        assert steps(found) == ["made", "destroyed", "given"] and found.failures[0].code is None
        assert [line.number for line in found.causes[0].lines] == [3, 4, 6]
    log.enter("hipGetLastError").leave("hipGetLastError", REFUSED)
    found = explained(log.text())
    assert causes_of(found) == {"destroyed-event": "likely"} and not found.not_excluded
    assert {failure.call for failure in found.failures} == {"hipGetLastError", "hipEventDestroy"}


def test_an_event_of_another_copy(explained: Explain) -> None:
    log = Log("6.3 level 4").start().make_event().start().destroy_event(error=REFUSED)
    found = explained(log.text())
    assert causes_of(found) == {"two-runtimes": "likely"}
    assert found.causes[0].statement.startswith("the event was made by another")


@pytest.mark.parametrize("era", ERAS)
def test_a_handle_of_the_other_kind(explained: Explain, era: str) -> None:
    event = explained(Log(era).start().make_event().refuse(EVENT).text())
    stream = explained(Log(era).start().make().destroy_event(STREAM, REFUSED).text())
    for found in (event, stream):
        assert causes_of(found) == {"wrong-kind": "likely"}
        assert steps(found) == ["made", "given", "refused"]


# ---- calls without a return line -----------------------------------------------------------------

DEATHS = {
    "a shell": "Segmentation fault (core dumped)\n",
    "Python": 'Fatal Python error: Segmentation fault\n\n  File "/app/serve.py", line 3 in f\n',
    "the kernel": "[ 12.3] python3[4711]: segfault at 8 ip 00007f1122334455 sp 00007ffd00000000"
    " error 4 in libamdhip64.so.7.2.53211[7f1122000000+1000000]\n",
}


@pytest.mark.parametrize("death", DEATHS)
def test_a_crash_is_of_the_call_that_does_not_return(explained: Explain, death: str) -> None:
    log = Log("7.2").library(SEVEN).start().make().destroy()
    log.enter("hipStreamSynchronize", f"{STREAM:#x}")
    found = explained(log.text() + DEATHS[death])
    assert causes_of(found) == {"destroyed-stream": "likely", "unchecked-handle": "possible"}
    (failure,) = found.failures
    assert (failure.call, failure.handle) == ("hipStreamSynchronize", STREAM)
    assert (failure.signal, failure.pid) == ("SIGSEGV", 4711)
    assert steps(found) == ["made", "destroyed", "given", "died"]


def test_a_crash_with_a_cut_handle(explained: Explain) -> None:
    log = Log("7.2").library(SEVEN).start().make().enter("hipStreamSynchronize", f"{CUT:#x}")
    found = explained(log.text() + DEATHS["a shell"])
    assert causes_of(found)["truncated-handle"] == "likely"
    assert steps(found) == ["whole handle made", "given", "died"]


def test_a_crash_with_a_stream_that_is_alive_names_no_cause(explained: Explain) -> None:
    log = Log("7.2").library(SEVEN).start().make().enter("hipStreamSynchronize", f"{STREAM:#x}")
    found = explained(log.text() + DEATHS["a shell"])
    assert found.fault and not found.causes and found.failures[0].handle == STREAM


def test_a_crash_of_another_process_takes_no_call(explained: Explain) -> None:
    log = Log("7.2", pid=99).library(SEVEN).start().make().enter("hipStreamQuery", f"{STREAM:#x}")
    found = explained(log.text(), DEATHS["the kernel"])
    assert found.failures[0].handle is None and found.failures[0].pid == 4711


def test_of_several_threads_the_one_with_the_bad_handle_is_not_sure(explained: Explain) -> None:
    log = Log("7.2").library(SEVEN).start().make().make(OTHER).destroy(OTHER)
    log.enter("hipStreamSynchronize", f"{OTHER:#x}", tid=WORKER)
    log.enter("hipStreamSynchronize", f"{STREAM:#x}")
    found = explained(log.text() + DEATHS["a shell"])
    assert causes_of(found)["destroyed-stream"] == "possible"
    assert found.failures[0].handle == OTHER


@pytest.mark.parametrize("era", ERAS)
def test_a_log_that_ends_within_a_call(explained: Explain, era: str) -> None:
    log = Log(era).start().make()
    log.enter("hipStreamSynchronize", log.handle(STREAM))
    assert not explained(log.text()).fault
    log = Log(era).start().make().enter("hipStreamDestroy", log.handle(STREAM))
    assert not explained(log.text()).fault
    log = Log(era).start().make().destroy()
    log.enter("hipMemcpyAsync", "0x1", "0x2", "8", "hipMemcpyHostToDevice", log.handle(STREAM))
    found = explained(log.text())
    assert found.fault and causes_of(found) == {"destroyed-stream": "likely"}


def test_hip_7_takes_a_destroyed_stream(explained: Explain) -> None:
    log = Log("7.2").library(SEVEN).start().make().destroy().use(call="hipStreamSynchronize")
    found = explained(log.text())
    assert found.fault and causes_of(found) == {"destroyed-stream": "possible"}
    assert steps(found) == ["made", "destroyed", "given", "accepted"]
    # Made again it is another stream; up to 6.4 the answer proves that it is one.
    again = Log("7.2").library(SEVEN).start().make().destroy().make().use()
    assert not explained(again.text()).fault
    older = Log("5.7").start().make().destroy().use(call="hipStreamSynchronize")
    assert not explained(older.text()).fault


# ---- other processes -----------------------------------------------------------------------------


@pytest.mark.parametrize("started", [True, False])
def test_a_forked_child_that_waits(explained: Explain, started: bool) -> None:
    parent, child = Log("5.2", pid=100), Log("5.2", pid=101)
    parent = parent.start().make() if started else parent.make()
    child.use(call="hipStreamQuery").make_event()
    child.enter("hipEventSynchronize", child.event(EVENT))
    found = explained(parent.text() + child.text())
    assert found.fault
    assert causes_of(found) == {"fork": "likely" if started else "possible"}
    # A child that has initialised the runtime for itself is no such thing, nor one that goes on.
    own = explained(parent.text() + Log("5.2", pid=101).start().text() + child.text())
    assert not own.fault
    assert not explained(parent.text() + child.leave("hipEventSynchronize").text()).fault


# ---- which entry line, and what a code may mean --------------------------------------------------


def test_of_two_unanswered_calls_the_one_with_the_bad_handle(explained: Explain) -> None:
    log = Log("6.3").make().make(OTHER).destroy(OTHER)
    log.enter("hipStreamQuery", log.handle(OTHER)).enter("hipStreamQuery", log.handle(STREAM))
    log.leave("hipStreamQuery", REFUSED).leave("hipStreamQuery")
    found = explained(log.text())
    assert causes_of(found) == {"destroyed-stream": "possible"}
    assert found.failures[0].handle == OTHER and not found.failures[0].certain


@pytest.mark.parametrize(
    ("call", "error", "code"),
    [
        ("hipModuleLaunchKernel", "hipErrorInvalidValue", 1),
        ("hipStreamWaitEvent", "hipErrorInvalidHandle", 400),
    ],
)
def test_a_handle_that_no_line_makes_may_be_refused_so(
    explained: Explain, call: str, error: str, code: int
) -> None:
    found = explained(Log("5.7").start().use(call=call, error=error).text())
    assert found.fault and causes_of(found) == {"unknown-handle": "possible"}
    (failure,) = found.failures
    assert failure.code == code and "on HIP 5.7 to 6.4" in failure.notes[-1]
    alive = explained(Log("5.7").start().make().use(call=call, error=error).text())
    assert not alive.fault
    assert any("on HIP 5.7 to 6.4" in note.sentence for note in alive.notes)


@pytest.mark.parametrize(
    ("text", "call"),
    [
        ("RuntimeError: HIP error: invalid argument\n", "hipModuleLaunchKernel (5.7 to 6.4)"),
        ("RuntimeError: HIP error: invalid resource handle\n", "hipStreamWaitEvent (5.7 to 6.4)"),
        ("hipModuleLaunchKernel failed: 1 (invalid argument)\n", "hipModuleLaunchKernel answers"),
    ],
)
def test_messages_that_may_mean_a_refused_handle(explained: Explain, text: str, call: str) -> None:
    found = explained(text)
    assert found.fault and not found.causes
    assert call in found.failures[0].notes[0] and "709" in found.failures[0].notes[0]
