"""What is read of a record: processes, loads, requests, threads, calls, what is lost."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from recording.writer import NANOSECONDS, REALTIME, Written, ticks
from xdiag.recording import layout
from xdiag.recording.addresses import AddressMap
from xdiag.recording.facts import Object
from xdiag.recording.layout import Answer, ClockKind, EventKind
from xdiag.recording.read import BadRecord, read
from xdiag.recording.requests import routes

A, B = "/torch/lib/libamdhip64.so.6", "/opt/rocm/lib/libamdhip64.so.6"


def test_a_process_and_what_it_loads(written: Written) -> None:
    process = written.process(100, command="python3\0-c\0a b\0", exe="/usr/bin/python3.11")
    first = process.opened("/usr/bin/python3.11", 1, base=0x1000, end=0x2000)
    copy = process.runtime(A, 5, base=0x7000_0000, end=0x7100_0000, namespace=3)
    process.closed(copy, 9)
    process.thread().use(copy, 0, 8)
    process.ended(10)
    (told,) = read(written.path).facts.processes
    assert (told.pid, told.parent, told.exe) == (100, 1, "/usr/bin/python3.11")
    assert told.command == ("python3", "-c", "a b")
    assert (told.begun, told.how_ended) == (0, "exit")
    assert told.ended == pytest.approx(10e-3)
    program, runtime = told.objects
    assert (program.number, program.path, program.is_runtime) == (first, told.exe, False)
    assert told.runtimes == (runtime,)
    assert (runtime.soname, runtime.build_id, runtime.namespace) == (
        "libamdhip64.so.6", "ab" * 20, 3,
    )  # fmt: skip
    assert (runtime.opened, runtime.closed) == (pytest.approx(5e-3), pytest.approx(9e-3))
    assert told.object(copy) == runtime and told.object(99) is None


def test_which_object_an_address_lies_in() -> None:
    first = Object(1, "/a", base=0x1000, end=0x3000)
    again = Object(5, "/b", base=0x1000, end=0x2000)  # there after the first was closed
    unknown = Object(6, "/c", base=0x1800)
    addresses = AddressMap([again, first, unknown])
    assert addresses.at(0xFFF) is None and addresses.at(0x3000) is None
    assert addresses.at(0x1900) == again and addresses.at(0x2000) == first


def test_a_record_that_nobody_wrote_into(written: Written) -> None:
    with read(written.path) as recording:
        assert list(recording.calls()) == []
        facts = recording.facts
    assert facts.command == ("python3", "serve.py") and facts.refusal == 709
    assert (facts.processes, facts.threads, facts.failures, facts.notes) == ((), (), (), ())


def test_calls_of_all_threads_by_time(written: Written) -> None:
    process = written.process(100)
    a = process.runtime(A)
    process.opened("/lib/libtorch_hip.so", base=0x5000_0000, end=0x6000_0000)
    main, worker = process.thread(), process.thread(101, 3)
    main.make(a, 0x7F00_0000_1000, 10)
    worker.use(a, 0x7F00_0000_1000, 20)
    main.use(a, 0x7F00_0000_1000, 30, result=709)
    worker.call("EventRecord", a, 25, stream=0x7F00_0000_1000, event=0xABC)
    with read(written.path) as recording:
        calls = list(recording.calls())
        facts = recording.facts
    assert [(call.tid, call.name) for call in calls] == [
        (100, "hipStreamCreateWithFlags"), (101, "hipStreamGetFlags"), (101, "hipEventRecord"),
        (100, "hipStreamGetFlags"),
    ]  # fmt: skip
    assert [call.begun for call in calls] == pytest.approx([10e-3, 20e-3, 25e-3, 30e-3])
    assert calls[0].ended == pytest.approx(10.5e-3)
    assert calls[0].stream == 0x7F00_0000_1000 and calls[0].event is None
    assert calls[2].event == 0xABC
    assert calls[3].error == "hipErrorContextIsDestroyed" and calls[3].runtime == a
    assert {call.caller_path for call in calls} == {"/lib/libtorch_hip.so"}
    assert facts.failures == (calls[3],)
    assert (facts.failures_seen, facts.refusals_seen) == (1, 1)
    assert [(t.tid, t.calls_seen, t.calls_kept) for t in facts.threads] == [
        (100, 2, 2), (101, 2, 2),
    ]  # fmt: skip
    assert facts.calls_seen == facts.calls_kept == 4


def test_a_ring_keeps_the_last(written: Written) -> None:
    process = written.process(100)
    a = process.runtime(A)
    thread = process.thread()
    for number in range(50):
        thread.use(a, number, 10 + number, result=709 if number == 3 else 0)
    with read(written.path) as recording:
        calls = list(recording.calls())
        facts = recording.facts
    # The ring has the last 16; the failed one was kept apart.
    assert [call.stream for call in calls] == [3, *range(34, 50)]
    assert [call.position for call in calls] == [4, *range(35, 51)]
    assert facts.failures == (calls[0],)
    assert (facts.calls_seen, facts.calls_kept, facts.lost.overwritten) == (50, 16, 34)


def test_a_failed_call_is_not_told_twice(written: Written) -> None:
    process = written.process(100)
    a = process.runtime(A)
    thread = process.thread()
    for number in range(12):
        thread.use(a, 7, 10 + number, result=709)
    with read(written.path) as recording:
        assert len(list(recording.calls())) == 12
        # There is room for 8 failures; all have been counted, and the ring has the rest.
        assert (len(recording.facts.failures), recording.facts.failures_seen) == (8, 12)
        assert recording.facts.lost.failures == 4


def test_an_entry_that_was_being_written(written: Written) -> None:
    process = written.process(100)
    a = process.runtime(A)
    thread = process.thread()
    thread.use(a, 5, 10)
    thread.use(a, 6, 11, torn=True)
    with read(written.path) as recording:
        assert [call.stream for call in recording.calls()] == [5]
        assert recording.facts.lost.torn == 1
        assert recording.facts.threads[0].calls_kept == 1


def test_a_call_that_did_not_return(written: Written) -> None:
    process = written.process(100)
    a = process.runtime(A)
    first, last = process.thread(), process.thread(101)
    first.make(a, 0x10_0000_0000, 10)
    first.use(a, 0x10_0000_0000, 12)
    last.call("StreamSynchronize", a, 11, stream=0x10_0000_0000, returned=False)
    threads = read(written.path).facts.threads
    assert threads[0].in_flight is None
    in_flight = threads[1].in_flight
    assert in_flight is not None and in_flight.ended is None
    assert in_flight.name == "hipStreamSynchronize"


def test_a_place_that_went_on_to_another_thread(written: Written) -> None:
    process = written.process(100)
    a = process.runtime(A)
    gone = process.thread(101)
    for number in range(5):
        gone.use(a, 100 + number, 10 + number)
    heir = process.thread(102, 50, block=gone.block)
    heir.use(a, 7, 60)
    # Counted, and the process died before the entry was wiped: what lies there is the other's.
    heir.recent += 1
    written.write_block(heir)
    written.set(calls_overwritten=5)
    with read(written.path) as recording:
        assert [(call.tid, call.stream) for call in recording.calls()] == [(102, 7)]
        facts = recording.facts
    assert [(t.tid, t.calls_seen, t.calls_kept) for t in facts.threads] == [(102, 2, 1)]
    assert (facts.lost.overwritten_by_others, facts.lost.torn) == (5, 1)
    assert facts.calls_seen == 7


def test_a_fork_has_what_its_parent_had(written: Written) -> None:
    parent = written.process(100)
    a = parent.runtime(A, 1)
    child = parent.fork(200, 10)
    # The parent opened this after the fork: its number is another object's in the child.
    parent.runtime("/late/libamdhip64.so.6", 9)
    child.numbers = a
    b = child.runtime(B, 12)
    assert b == a + 1
    child.closed(a, 20)
    told = read(written.path).facts.processes
    assert (told[1].forked, told[1].parent_index, told[1].exe) == (True, 0, "/usr/bin/python3")
    assert [each.path for each in told[0].runtimes] == [A, "/late/libamdhip64.so.6"]
    assert [each.path for each in told[1].runtimes] == [A, B]
    assert told[0].runtimes[0].closed is None and told[1].runtimes[0].closed is not None


def test_another_program_in_the_same_process(written: Written) -> None:
    shell = written.process(100, 0, exe="/bin/sh", command="sh\0")
    shell.opened("/bin/sh")
    python = written.process(100, 10)
    a = python.runtime(A, 11)
    thread = python.thread(at=12)
    thread.make(a, 0x7F00_0000_0000, 13)
    with read(written.path) as recording:
        (call,) = recording.calls()
        told = recording.facts.processes
    assert [(each.exe, each.how_ended) for each in told] == [
        ("/bin/sh", "exec"), ("/usr/bin/python3", ""),
    ]  # fmt: skip
    assert call.process == 1 and told[1].object(call.runtime) == told[1].runtimes[0]


def test_times_by_a_clock_in_nanoseconds(written: Written) -> None:
    written.set(clock=ClockKind.NANOSECONDS)
    payload = layout.ProcessPayload(nanoseconds=ticks(0), realtime=REALTIME)
    written.event(100, EventKind.PROCESS, 0, payload, exe_length="/p", command_length="p")
    written.event(100, EventKind.END, 500, None)
    facts = read(written.path).facts
    assert facts.processes[0].ended == pytest.approx(500e-3 * 2)  # two ticks a nanosecond
    assert facts.wall_clock == pytest.approx(REALTIME / 1e9)
    assert facts.notes == ()


def test_a_run_too_short_for_the_clock_is_said(written: Written) -> None:
    written.process(100)
    facts = read(written.path).facts
    assert facts.notes == (
        "times are rough: the record is too short to tell how fast its clock ran",
    )
    assert facts.wall_clock == pytest.approx(REALTIME / 1e9)
    assert NANOSECONDS / 1e9 == 0.5


def test_requests_and_what_came_of_them(written: Written) -> None:
    process = written.process(100)
    hip = process.opened("/torch/lib/libtorch_hip.so")
    hal = process.opened("/xsched/libhalhip.so")
    process.asked("libamdhip64.so.6", 3, hip)
    process.asked(A, 3.1, hip, rule=4)
    a = process.runtime(A, 4)
    process.asked("/opt/rocm/lib/libamdhip64.so", 5, hal, answer=Answer.REDIRECTED, to=A)
    process.asked(B, 6, hal, answer=Answer.OTHER_SONAME, why="its SONAME is another")
    b = process.runtime(B, 7)
    process.asked("/link/libamdhip64.so", 8, hal, answer=Answer.SAME_FILE)
    process.asked("libamdhip64.so.9", 9, hal)
    (told,) = read(written.path).facts.processes
    assert told.requests[2].answer == "redirected" and told.requests[2].to == A
    found = routes(told)
    assert [(route.name, route.path, route.found_by, route.runtime) for route in found] == [
        ("libamdhip64.so.6", A, "RPATH or RUNPATH", a),
        ("/opt/rocm/lib/libamdhip64.so", "/opt/rocm/lib/libamdhip64.so", "", a),
        (B, B, "", b),
        ("/link/libamdhip64.so", "/link/libamdhip64.so", "", a),
        ("libamdhip64.so.9", "", "", 0),
    ]
    assert [os.path.basename(route.requester_path) for route in found] == [
        "libtorch_hip.so", *["libhalhip.so"] * 4,
    ]  # fmt: skip
    assert found[2].why == "its SONAME is another"


def test_events_that_were_not_finished(written: Written) -> None:
    process = written.process(100)
    process.runtime(A, 1)
    payload = layout.ObjectPayload(number=2)
    written.event(100, EventKind.OBJECT, 2, payload, ready=0, path_length="/half/written.so",
                  soname_length="", build_id_length="")  # fmt: skip
    # Room that was taken and not written to at all.
    written.set(events_used=written.header.events_used + 80)
    process.runtime(B, 3)
    facts = read(written.path).facts
    assert [each.path for each in facts.processes[0].objects] == [A, B]
    assert facts.lost.events == 1


def test_names_that_are_no_text(written: Written) -> None:
    process = written.process(100, exe="/bin/\udcff", command="a\udcfe\0")
    process.runtime("/\udcff/libamdhip64.so.6")
    (told,) = read(written.path).facts.processes
    assert (told.exe, told.command) == ("/bin/\udcff", ("a\udcfe",))
    assert told.runtimes[0].path == "/\udcff/libamdhip64.so.6"


def test_a_file_that_is_cut_short(written: Written) -> None:
    process = written.process(100)
    a = process.runtime(A)
    process.thread().use(a, 5, 10)
    # As it was made it is sparse, and whole.
    with read(written.path) as recording:
        assert [call.stream for call in recording.calls()] == [5]
    whole = os.path.getsize(written.path)
    for size in (whole - 1, written.block_at(1) + 64, 3000):
        os.truncate(written.path, size)
        with pytest.raises(BadRecord, match=f"cut short: it has {size} of {whole} bytes"):
            read(written.path)
    # Nor does a header help that names a smaller file than its parts make.
    written.set(file_size=3000)
    with pytest.raises(BadRecord, match=f"of {whole} bytes"):
        read(written.path)
    os.truncate(written.path, 100)
    with pytest.raises(BadRecord, match="cut short within its header"):
        read(written.path)


def test_a_damaged_table_costs_its_words_only(written: Written) -> None:
    process = written.process(100)
    a = process.runtime(A)
    process.thread().use(a, 5, 10)
    written.put(written.header.table_offset, b"\xff")
    with read(written.path) as recording:
        assert [call.name for call in recording.calls()] == ["hipStreamGetFlags"]
        assert recording.facts.notes == (
            "its table is damaged: the list of calls is that of this xdiag",
        )


@pytest.mark.parametrize("kind", ["none", "directory", "fifo", "text", "empty", "version", "size"])
def test_what_is_no_record_is_one_line(written: Written, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "other"
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind in ("text", "empty"):
        path.write_text("hello" * 2000 if kind == "text" else "")
    elif kind in ("version", "size"):
        path = written.path
        written.set(**({"version": 2} if kind == "version" else {"block_count": 1 << 31}))
    with pytest.raises(BadRecord) as raised:
        read(path)
    assert "\n" not in str(raised.value) and str(path) in str(raised.value)
    assert raised.value.exit_code == 3
