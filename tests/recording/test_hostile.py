"""Records that lie: whatever a file says, reading it ends, in bounded time and memory."""

from __future__ import annotations

import ctypes
import os
import resource
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from recording.writer import Written
from xdiag.errors import XdiagError
from xdiag.recording import layout
from xdiag.recording.layout import Answer, EventKind
from xdiag.recording.provenance import diagnose, story
from xdiag.recording.read import read
from xdiag.render import json_document
from xdiag.render.recording import document, show_report, show_story

A, B = "/a/libamdhip64.so.6", "/b/libamdhip64.so.6"
STREAM = 0x7F12_8765_4320
_FUZZ = settings(
    max_examples=120, deadline=2000, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def _use(path: Path) -> None:
    """Everything that is ever done with a record."""
    recording = None
    with suppress(XdiagError):
        recording = read(path)
    if recording is None:
        return
    with recording:
        for call in recording.calls():
            assert call.name
        diagnoses = diagnose(recording)
        told = story(recording, STREAM)
        console = Console(file=open(os.devnull, "w"), width=100)  # noqa: SIM115
        show_report(recording, diagnoses, console, brief=False)
        show_report(recording, diagnoses, console, brief=True)
        show_story(told, console)
        json_document.record(document(recording, diagnoses, told))
        console.file.close()


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A record with everything in it: two copies, a fork, requests, failures, a call in flight."""
    path = tmp_path_factory.mktemp("good") / "record"
    written = Written(path, life_size=4, recent_size=4, threads=4)
    process = written.process(100)
    hal = process.opened("/lib/libhalhip.so", base=0x5000_0000, end=0x6000_0000)
    process.asked("libamdhip64.so.6", 1, hal)
    a = process.runtime(A, 1.2)
    process.asked(B, 1.3, hal, answer=Answer.OTHER_SONAME, why="another")
    b = process.runtime(B, 1.5)
    main, worker = process.thread(), process.thread(101)
    main.make(a, STREAM, 10)
    main.call("EventCreate", a, 11, event=0x7F00_0000_0010)
    for number in range(6):
        worker.use(b, STREAM, 20 + number, result=709)
    main.call("DeviceReset", a, 30)
    main.use(a, STREAM & 0xFFFF_FFFF, 31, result=709)
    main.make(a, STREAM + 16, 32)
    child = process.fork(200, 40).thread(200, 41)
    child.use(a, STREAM + 16, 42, returned=False)
    process.closed(b, 50)
    process.ended(51)
    return path.read_bytes()


def test_the_good_one_is_good(good: bytes, tmp_path: Path) -> None:
    path = tmp_path / "record"
    path.write_bytes(good)
    _use(path)
    with read(path) as recording:
        assert {each.cause for each in diagnose(recording)} >= {
            "two-runtimes", "truncated-handle", "fork",
        }  # fmt: skip


@_FUZZ
@given(st.binary(max_size=600), st.booleans())
def test_arbitrary_bytes(tmp_path: Path, data: bytes, headed: bool) -> None:
    path = tmp_path / "any"
    path.write_bytes(layout.MAGIC + b"\1\0\0\0" + data if headed else data)
    _use(path)


@_FUZZ
@given(st.data())
def test_mutated_bytes(good: bytes, tmp_path: Path, data: st.DataObject) -> None:
    header = layout.Header.from_buffer_copy(good)
    end = data.draw(st.one_of(st.just(len(good)), st.integers(0, len(good))))
    changed = bytearray(good[:end])
    used = st.one_of(
        st.integers(0, 384), st.integers(header.events_offset, header.events_offset + 900),
        st.integers(header.blocks_offset, len(good)), st.integers(0, len(good)),
    )  # fmt: skip
    for place in data.draw(st.lists(used, max_size=12)):
        if place < len(changed):
            changed[place] = data.draw(st.sampled_from((0, 1, 0x7F, 0x80, 0xFF)))
    path = tmp_path / "mutated"
    path.write_bytes(changed)
    _use(path)


@_FUZZ
@given(st.data())
def test_mutated_numbers(good: bytes, tmp_path: Path, data: st.DataObject) -> None:
    """Whole fields of the header, of blocks, of events and of calls at once."""
    changed = bytearray(good)
    header = layout.Header.from_buffer_copy(good)
    block = layout.block_size(header.life_size, header.recent_size)
    places = [
        (0, layout.Header),
        *((header.blocks_offset + n * block, layout.Block) for n in range(4)),
        *(
            (header.blocks_offset + n * block + 64 + m * 64, layout.CallEntry)
            for n in range(4) for m in range(8)
        ),
        *((header.failures_offset + n * 128, layout.Failure) for n in range(8)),
        (header.events_offset, layout.Event), (header.events_offset + 32, layout.ProcessPayload),
    ]  # fmt: skip
    value = st.integers(0, 40) | st.integers(0, 2**64 - 1) | st.sampled_from((2**32, 2**63, STREAM))
    for _ in range(data.draw(st.integers(1, 6))):
        at, structure = data.draw(st.sampled_from(places))
        whole = structure.from_buffer_copy(bytes(changed[at : at + ctypes.sizeof(structure)]))
        name = data.draw(st.sampled_from([name for name, kind in structure._fields_
                                          if isinstance(getattr(whole, name), int)]))  # fmt: skip
        setattr(whole, name, data.draw(value))
        changed[at : at + ctypes.sizeof(structure)] = bytes(whole)
    path = tmp_path / "numbers"
    path.write_bytes(changed)
    _use(path)


@_FUZZ
@given(st.lists(st.tuples(
    st.sampled_from(EventKind), st.sampled_from((100, 101, 102)), st.integers(0, 60),
    st.integers(0, 5), st.sampled_from(("", "/a.so", A, "libamdhip64.so.6", "\udcff")),
    st.integers(0, 3),
), max_size=25))  # fmt: skip
def test_events_in_any_order(
    tmp_path: Path, events: list[tuple[EventKind, int, int, int, str, int]]
) -> None:
    """Processes that are their own parents, objects that were never opened, ends without start."""
    (tmp_path / "events").unlink(missing_ok=True)
    written = Written(tmp_path / "events", threads=1)
    for kind, pid, at, number, text, other in events:
        payload: ctypes.Structure | None = None
        texts: dict[str, str] = {}
        if kind is EventKind.PROCESS:
            payload = layout.ProcessPayload(nanoseconds=at, parent=99 + number, forked=other % 2)
            texts = {"exe_length": text, "command_length": text}
        elif kind is EventKind.OBJECT:
            payload = layout.ObjectPayload(number=number, is_runtime=other % 2, recorded=1)
            texts = {"path_length": text, "soname_length": text, "build_id_length": "ab"}
        elif kind is EventKind.REQUEST:
            payload = layout.RequestPayload(answer=other + number, requester=number, rule=1)
            texts = {"name_length": text, "to_length": "", "why_length": text}
        elif kind is EventKind.CLOSE:
            payload = layout.ClosePayload(number=number)
        written.event(pid, kind, at, payload, **texts)
    _use(written.path)


# ---- large -----------------------------------------------------------------------------------


def _measured(path: Path) -> tuple[float, int]:
    """Seconds and KiB that ``xdiag explain`` takes for a file, in a process of its own."""
    script = (
        "import sys, time\n"
        "from xdiag.recording.read import read\n"
        "from xdiag.recording.provenance import diagnose\n"
        "from xdiag.errors import XdiagError\n"
        "begun = time.monotonic()\n"
        "try:\n"
        "    with read(sys.argv[1]) as recording:\n"
        "        diagnose(recording)\n"
        "except XdiagError as error:\n"
        "    print(error, file=sys.stderr)\n"
        "took = time.monotonic() - begun\n"
        "print(took, *[l.split()[1] for l in open('/proc/self/status') if 'VmHWM' in l])\n"
    )

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (20, 20))

    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, timeout=30,
        preexec_fn=limit, check=True,
    )  # fmt: skip
    seconds, kilobytes = done.stdout.split()
    return float(seconds), int(kilobytes)


def test_a_huge_sparse_file(tmp_path: Path) -> None:
    """As many blocks and calls as there may be, none of which was ever written."""
    header = layout.Header(
        magic=layout.MAGIC, version=1, block_count=1 << 13, life_size=1 << 9, recent_size=1 << 9,
        blocks_used=1 << 30, blocks_offset=1 << 20, events_offset=1 << 16, events_used=1 << 63,
        events_size=16 << 20, failures_offset=1 << 13, failures_seen=1 << 63,
        failure_count=1 << 14, file_size=1 << 62, table_offset=1 << 62, table_size=1 << 20,
    )  # fmt: skip
    path = tmp_path / "sparse"
    path.write_bytes(bytes(header))
    os.truncate(path, 1 << 40)
    seconds, kilobytes = _measured(path)
    assert seconds < 2 and kilobytes < 200 << 10


def test_rings_that_claim_more_than_they_hold(tmp_path: Path) -> None:
    written = Written(tmp_path / "record", life_size=512, recent_size=512, threads=2048)
    process = written.process(100)
    with written.path.open("r+b") as file:
        for number in range(2048):
            file.seek(written.block_at(number))
            file.write(bytes(layout.Block(pid=100, tid=number, life_count=1 << 62,
                                          recent_count=(1 << 64) - 1)))  # fmt: skip
    written.set(blocks_used=2048)
    assert process.pid == 100
    seconds, kilobytes = _measured(written.path)
    assert seconds < 4, seconds
    assert kilobytes < 200 << 10


@pytest.mark.parametrize("kind", [EventKind.PROCESS, EventKind.OBJECT])
def test_events_without_end(tmp_path: Path, kind: EventKind) -> None:
    """Every process is a fork of the one before, or one process opens objects for ever."""
    written = Written(tmp_path / "record", threads=1)
    events = 16 << 20
    head = ctypes.sizeof(layout.Event)
    chunks = []
    number = size = 0
    while size < events - 256:
        number += 1
        if kind is EventKind.PROCESS:
            payload = bytes(layout.ProcessPayload(parent=number, forked=1, nanoseconds=number))
            pid = number + 1
        else:
            payload = bytes(layout.ObjectPayload(number=number, is_runtime=1, path_length=16))
            payload, pid = payload + b"/libamdhip64.so.", 1
        chunks.append(bytes(layout.Event(
            marker=layout.EVENT_MARKER, size=head + len(payload), kind=kind, ready=1, pid=pid,
            ticks=number,
        )) + payload)  # fmt: skip
        size += len(chunks[-1])
    written.set(events_offset=1 << 20, events_size=events, events_used=size, file_size=1 << 30,
                blocks_offset=(1 << 20) + events)  # fmt: skip
    written.put(1 << 20, b"".join(chunks))
    seconds, kilobytes = _measured(written.path)
    assert seconds < 4, seconds
    assert kilobytes < 200 << 10


def test_markers_everywhere_but_in_their_place(tmp_path: Path) -> None:
    written = Written(tmp_path / "record", threads=1)
    written.set(events_offset=1 << 20, events_size=16 << 20, events_used=16 << 20)
    written.put(1 << 20, b"\0" + b"XDEV" * (4 << 20))
    begun = time.monotonic()
    with suppress(XdiagError), read(written.path) as recording:
        assert recording.facts.processes == ()
    assert time.monotonic() - begun < 4
