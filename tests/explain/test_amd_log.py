"""The runtime's log: eras, colours, and which entry line belongs to a return line."""

from __future__ import annotations

import pytest

from explain.conftest import Explain
from explain.samples import ERAS, MAIN, OTHER, STREAM, WORKER, Log
from xdiag.explain import amd_log
from xdiag.explain.amd_log import NO_ONE, Thread


@pytest.mark.parametrize(
    ("line", "thread", "text", "era"),
    [
        (":3:hip_stream.cpp           :332 : 7098562840830 us: 244319: [tid:0x7f27f8672880] "
         "hipStreamCreateWithFlags: Returned hipSuccess : stream:0x562df5090410",
         Thread(244319, "7f27f8672880"),
         "hipStreamCreateWithFlags: Returned hipSuccess : stream:0x562df5090410", "5.x to 5.6"),
        # As 5.2.3 writes a pid of four digits.
        (":3:hip_stream.cpp           :427 : 20196342885 us: 9124 : [tid:0x7f664ffff6c0] "
         "\x1b[32mhipStreamGetFlags ( stream:0x7f6650000e80, 0x7f666697e1d0 )\x1b[0m",
         Thread(9124, "7f664ffff6c0"),
         "hipStreamGetFlags ( stream:0x7f6650000e80, 0x7f666697e1d0 )", "5.x to 5.6"),
        (":3:hip_stream.cpp           :464 : 2813836027 us: [pid:29129 tid:0x7fec4bfadd00]  "
         "hipStreamDestroy ( stream:0x1688950 )",
         Thread(29129, "7fec4bfadd00"), "hipStreamDestroy ( stream:0x1688950 )", "5.7 to 6.2"),
        (":3:os_posix.cpp             :934 : 2150276221405 us:  HIP Library Path: /a/b.so.7",
         NO_ONE, "HIP Library Path: /a/b.so.7", "6.3 or later"),
        (":4:command.cpp              :164 : 13220495444d us: [pid:7 tid: 0xabcde]  x",
         Thread(7, "abcde"), "x", "6.3 or later"),
        # Behind what a container's log puts before each line.
        ("2026-06-03T12:00:00Z stderr F :3:a.cpp:1: 5 us: [pid:7 tid:0x1] hipInit ( 0 )",
         Thread(7, "1"), "hipInit ( 0 )", "5.7 to 6.2"),
        ("hipStreamGetFlags ( stream:0x1 )", NO_ONE, "hipStreamGetFlags ( stream:0x1 )", ""),
    ],
)  # fmt: skip
def test_lines_of_every_era(line: str, thread: Thread, text: str, era: str) -> None:
    assert amd_log.message(line.encode()) == (thread, text.encode(), era)


@pytest.mark.parametrize(
    ("entry", "handle"),
    [
        ("hipStreamQuery ( stream:0x7f01 )", 0x7F01),
        ("hipStreamQuery ( 0x7f01 )", 0x7F01),
        ("hipStreamQuery ( stream:<null> )", 0),
        ("hipStreamQuery ( nullptr )", 0),
        ("hipStreamGetFlags ( stream:0x1, 0x7ffd )", 1),
        ("hipEventRecord ( event:0x5557, stream:0x7f01 )", 0x7F01),
        ("hipEventRecord ( 0x5557, 0x7f01 )", 0x7F01),
        ("hipEventDestroy ( event:0x5557 )", 0x5557),
        ("hipEventQuery ( 0x5557 )", 0x5557),
        ("hipLaunchKernel ( 0x5557, {1,2,3}, {64,1,1}, 0x7ffd, 0, 0x7f01 )", 0x7F01),
        ("hipModuleLaunchKernel ( 0x5557, 1, 1, 1, 64, 1, 1, 0, 0x7f01, 0x0, 0x7ffd )", 0x7F01),
        ("hipMemcpyAsync ( 0x1, 0x2, 8, hipMemcpyHostToDevice, stream:0x7f01 )", 0x7F01),
        ("hipMalloc ( 0x7ffd, 256 )", None),
        ("hipStreamQuery (  )", None),
        ("hipStreamQuery ( cut off in the mid", None),
    ],
)
def test_the_handle_of_an_entry_line(entry: str, handle: int | None) -> None:
    entered = amd_log.entered(entry.encode())
    assert entered is not None
    assert amd_log.handle_of(*entered) == handle


@pytest.mark.parametrize("era", [era for era in ERAS if era != "6.3"])
def test_interleaved_threads(explained: Explain, era: str) -> None:
    log = Log(era).start().make()
    arguments = [log.handle(OTHER), "0x7ffd8a8ae3f0"]
    log.enter("hipStreamGetFlags", *arguments, tid=WORKER)
    log.enter("hipStreamGetFlags", log.handle(STREAM), "0x7ffd", tid=MAIN)
    log.leave("hipStreamGetFlags", "hipErrorContextIsDestroyed", tid=WORKER)
    log.leave("hipStreamGetFlags", tid=MAIN)
    (failure,) = explained(log.text()).failures
    assert (failure.handle, failure.certain) == (OTHER, True)
    assert failure.entry is not None and failure.entry.number == 4


def test_interleaved_without_threads_is_not_certain(explained: Explain) -> None:
    log = Log("6.3").start().make().make(OTHER).destroy(OTHER)
    log.enter("hipStreamGetFlags", log.handle(OTHER), "0x7ffd", tid=WORKER)
    log.enter("hipStreamGetFlags", log.handle(STREAM), "0x7ffd", tid=MAIN)
    log.leave("hipStreamGetFlags", "hipErrorContextIsDestroyed", tid=WORKER)
    found = explained(log.text())
    (failure,) = found.failures
    assert not failure.certain and "may be another thread's" in failure.notes[0]
    assert all(each.likelihood == "possible" for each in found.causes)


def test_without_threads_a_return_line_takes_its_entry_away(explained: Explain) -> None:
    log = Log("6.3").start().make().make(OTHER)
    log.enter("hipStreamGetFlags", log.handle(OTHER), "0x7ffd")
    log.use(STREAM)  # entered and returned in between
    log.leave("hipStreamGetFlags", "hipErrorContextIsDestroyed")
    assert explained(log.text()).failures[0].handle == OTHER


@pytest.mark.parametrize("era", ERAS)
def test_two_return_lines_are_one_failure(explained: Explain, era: str) -> None:
    log = Log(era).start().make().destroy()
    log.enter("hipStreamSynchronize", log.handle(STREAM))
    log.leave("hipStreamSynchronize_common", "hipErrorContextIsDestroyed")
    log.leave("hipStreamSynchronize", "hipErrorContextIsDestroyed")
    found = explained(log.text())
    (failure,) = found.failures
    assert (failure.call, failure.handle, failure.count) == ("hipStreamSynchronize", STREAM, 1)
    assert [step.what for step in failure.history] == [
        "made", "destroyed", "given", "refused", "refused",
    ]  # fmt: skip
    assert [each.likelihood for each in found.causes] == ["likely"]


def test_two_return_lines_without_an_entry_are_one_failure(explained: Explain) -> None:
    """As in the log of a bug report that begins in the middle."""
    found = explained(
        ":3:hip_stream.cpp           :354 : 3377460511 us:  hipStreamSynchronize_common: Returned"
        " hipErrorContextIsDestroyed :\n"
        ":3:hip_stream.cpp           :385 : 3377460513 us:  hipStreamSynchronize: Returned"
        " hipErrorContextIsDestroyed :\n"
    )
    (failure,) = found.failures
    assert (failure.count, failure.handle, failure.entry) == (1, None, None)
    assert "its entry line is not in the log" in failure.notes[0]
    assert [(each.cause, each.likelihood) for each in found.causes] == [
        ("unknown-handle", "possible")
    ]
    assert "two-runtimes" in found.not_excluded


@pytest.mark.parametrize("era", ERAS)
def test_a_lost_entry_line(explained: Explain, era: str) -> None:
    log = Log(era).start().make().use()
    log.leave("hipStreamGetFlags", "hipErrorContextIsDestroyed")
    (failure,) = explained(log.text()).failures
    assert failure.handle is None and failure.entry is None
    assert "its entry line is not in the log" in failure.notes[0]


def test_an_entry_line_far_away_is_found_within_bounds(explained: Explain) -> None:
    log = Log("5.7").start().make().destroy()
    log.enter("hipStreamGetFlags", log.handle(STREAM), "0x7ffd", tid=WORKER)
    for _ in range(2000):
        log.use(OTHER, call="hipStreamQuery")
    log.leave("hipStreamGetFlags", "hipErrorContextIsDestroyed", tid=WORKER)
    assert explained(log.text()).failures[0].handle == STREAM


def test_a_made_line_of_another_call_is_no_stream(explained: Explain) -> None:
    log = (
        Log("5.7")
        .start()
        .enter("hipMalloc", "0x7ffd", "8")
        .leave("hipMalloc", extra=f"{STREAM:#x}")
    )
    assert [each.cause for each in explained(log.refuse().text()).causes] == ["unknown-handle"]


def test_a_stream_destroyed_that_was_made_before_the_log(explained: Explain) -> None:
    found = explained(Log("5.7").destroy().refuse().text())
    assert [(each.cause, each.likelihood) for each in found.causes] == [
        ("destroyed-stream", "likely")
    ]
    assert [step.what for step in found.failures[0].history] == ["destroyed", "given", "refused"]


def test_the_history_of_a_handle_that_was_asked_for(explained: Explain) -> None:
    log = Log("5.7").start().make().use().make(STREAM << 4).destroy()
    found = explained(log.text(), handle=STREAM)
    assert [step.what for step in found.history] == ["made", "given", "destroyed"]
    assert not found.fault and found.handle == STREAM
    many = Log("5.7")
    for _ in range(300):
        many.use()
    told = explained(many.text(), handle=STREAM)
    assert (len(told.history), told.more) == (200, 100)
    assert explained(many.text(), handle=OTHER).history == ()


def test_pasted_lines_without_a_prefix(explained: Explain) -> None:
    found = explained(
        "hipStreamGetFlags ( stream:0xffffffff87650010, 0x7ffd )\n"
        "hipStreamGetFlags: Returned hipErrorContextIsDestroyed :\n"
    )
    assert [(each.cause, each.likelihood) for each in found.causes] == [
        ("truncated-handle", "likely")
    ]
