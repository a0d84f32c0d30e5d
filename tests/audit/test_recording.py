"""What is recorded of calls: all of them, by every way in, and the program does not notice."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from runtimes.conftest import compile_library
from support import build_fake

from audit.scene import HERE, WARNINGS, program
from xdiag.launch import audit_library
from xdiag.recording import create, layout
from xdiag.recording.facts import Call, Facts
from xdiag.recording.read import read

GLIBC = tuple(map(int, os.confstr("CS_GNU_LIBC_VERSION").split()[1].split(".")))  # type: ignore[union-attr]
#: The fake runtime's, for calls that are looked up with their symbol versions.
VERSIONS = "hip_4.2 { global: hip*; local: *; };\n"


@dataclass
class Programs:
    """``calls.c`` by every way in to a call, and the runtimes for it."""

    folder: Path

    def __post_init__(self) -> None:
        self.fast = compile_library(
            self.folder / "fast/libamdhip64.so.5", (HERE / "fast_hip.c").read_text(), *WARNINGS
        )
        script = self.folder / "versions.map"
        script.write_text(VERSIONS)
        self.fake = build_fake(self.folder, f"-Wl,--version-script={script}")
        source = HERE / "calls.c"
        self.dlsym = program(self.folder / "calls", source)
        self.ways = {"dlsym": self.dlsym}
        for name, option in {
            "dlvsym": '-DBY_DLVSYM="hip_4.2"', "lazy": "-Wl,-z,lazy", "now": "-Wl,-z,now",
        }.items():  # fmt: skip
            linked = (
                "-DBY_PLT", "-Wl,--no-as-needed", str(self.fake), f"-Wl,-rpath,{self.fake.parent}",
            )  # fmt: skip
            options = (*(linked if name != "dlvsym" else ()), option)
            self.ways[name] = program(self.folder / f"calls-{name}", source, *options)


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    return Programs(tmp_path_factory.mktemp("programs"))


@dataclass
class Recorded:
    """A program that ran, and its record."""

    path: Path
    done: subprocess.CompletedProcess[str]
    facts: Facts
    calls: list[Call] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        return [call.name for call in self.calls]


def _environment(runtime: Path | None, **extra: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return {**kept, **({"RUNTIME": str(runtime)} if runtime else {}), **extra}


def _run(
    folder: Path, command: list[Any], runtime: Path | None = None, *,
    sizes: dict[str, int] | None = None, read_calls: bool = True, **extra: str,
) -> Recorded:  # fmt: skip
    """Run a command under the audit library, and read what it has recorded."""
    path = folder / "record"
    create.create(path, command=["test"], **(sizes or {})).close()
    audited = {"LD_AUDIT": audit_library.path(), "XDIAG_RECORD": str(path)}
    done = subprocess.run(
        list(map(str, command)), env=_environment(runtime, **audited, **extra), cwd=folder,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    with read(path) as recording:
        calls = list(recording.calls()) if read_calls else []
        return Recorded(path, done, recording.facts, calls)


def _story(programs: Programs, folder: Path, *story: object, **options: Any) -> Recorded:
    """A story on the fast runtime; it must have gone well."""
    ran = _run(folder, [programs.dlsym, *story], programs.fast, **options)
    assert (ran.done.returncode, ran.done.stderr) == (0, "")
    return ran


# ---- one program's calls ---------------------------------------------------------------------


@pytest.mark.parametrize("way", ["dlsym", "dlvsym", "lazy", "now"])
def test_a_life_of_a_stream(programs: Programs, tmp_path: Path, way: str) -> None:
    ran = _run(tmp_path, [programs.ways[way], "life"], programs.fake)
    assert (ran.done.returncode, ran.done.stderr) == (0, "")
    stream, event, pid = map(int, ran.done.stdout.split())
    told = [(c.name, c.stream, c.event, c.extra, c.result) for c in ran.calls]
    assert told == [
        ("hipInit", None, None, 0, 0),
        ("hipSetDevice", None, None, 1, 0),
        ("hipStreamCreateWithFlags", stream, None, 1, 0),
        ("hipStreamQuery", stream, None, 0, 0),
        ("hipEventCreateWithFlags", None, event, 2, 0),
        ("hipEventRecord", stream, event, 0, 0),
        ("hipStreamDestroy", stream, None, 0, 0),
        ("hipStreamQuery", stream, None, 0, 709),
    ]
    assert {call.caller_path for call in ran.calls} == {str(programs.ways[way])}
    assert {(call.pid, call.tid) for call in ran.calls} == {(pid, pid)}
    times = [time for call in ran.calls for time in (call.begun, call.ended)]
    assert None not in times
    assert times == sorted(times)
    [process] = ran.facts.processes
    [runtime] = process.runtimes
    assert {call.runtime for call in ran.calls} == {runtime.number}
    assert (runtime.path, runtime.recorded) == (str(programs.fake), True)
    assert runtime.base < runtime.end
    [failure] = ran.facts.failures
    assert (failure.name, failure.stream) == ("hipStreamQuery", stream)
    assert (ran.facts.failures_seen, ran.facts.refusals_seen) == (1, 1)
    assert process.how_ended == "exit"


CTYPES = """
import ctypes, sys
hip = ctypes.CDLL(sys.argv[1])
stream = ctypes.c_void_p()
assert hip.hipStreamCreateWithFlags(ctypes.byref(stream), 1) == 0
assert hip.hipStreamQuery(stream) == 0
assert hip.hipStreamQuery(ctypes.c_void_p(stream.value & 0xffffffff)) == 709
print(stream.value)
"""


def test_ctypes(programs: Programs, tmp_path: Path) -> None:
    ran = _run(tmp_path, [sys.executable, "-c", CTYPES, programs.fake])
    stream = int(ran.done.stdout)
    assert [(c.name, c.stream, c.result) for c in ran.calls] == [
        ("hipStreamCreateWithFlags", stream, 0),
        ("hipStreamQuery", stream, 0),
        ("hipStreamQuery", stream & 0xFFFFFFFF, 709),
    ]
    [process] = ran.facts.processes
    assert process.command == (sys.executable, "-c", CTYPES, str(programs.fake))


def test_build_ids_are_those_that_readelf_tells(programs: Programs, tmp_path: Path) -> None:
    ran = _run(tmp_path, [programs.ways["lazy"], "life"])
    [process] = ran.facts.processes
    real = [each for each in process.objects if os.path.exists(each.path)]
    assert len(real) >= 4
    for each in real:
        notes = subprocess.run(["readelf", "-n", each.path], capture_output=True, text=True)
        assert f"Build ID: {each.build_id}\n" in notes.stdout


def test_a_library_whose_notes_are_far_from_its_beginning(
    programs: Programs, tmp_path: Path
) -> None:
    # As patchelf leaves them in wheels: segments and notes behind everything else.
    data = bytearray(programs.fake.read_bytes())
    phoff, count = struct.unpack_from("<Q", data, 0x20)[0], struct.unpack_from("<H", data, 0x38)[0]
    table = bytearray(data[phoff : phoff + 56 * count])
    data.extend(bytes(-len(data) % 4096 + 8192))
    for at in range(0, len(table), 56):
        kind, _, offset, _, _, size = struct.unpack_from("<IIQQQQ", table, at)
        if kind == 4:  # PT_NOTE
            struct.pack_into("<Q", table, at + 8, len(data))
            data.extend(data[offset : offset + size] + bytes(-size % 8))
    end = len(data)
    data.extend(table)
    moved = tmp_path / "far" / "libamdhip64.so.5"
    moved.parent.mkdir()
    struct.pack_into("<Q", data, 0x20, end)
    moved.write_bytes(data)
    ran = _run(tmp_path, [programs.dlsym, "life"], moved)
    assert ran.done.returncode == 0, ran.done.stderr
    plain = _run(tmp_path, [programs.dlsym, "life"], programs.fake)
    [there], [expected] = (each.facts.processes[0].runtimes for each in (ran, plain))
    assert there.build_id == expected.build_id != ""
    assert there.end - there.base == expected.end - expected.base


# ---- the end of a process --------------------------------------------------------------------


@pytest.mark.parametrize(("fault", "status"), [("segv", -11), ("kill", -9), ("abort", -6)])
def test_a_call_that_its_process_dies_in(
    programs: Programs, tmp_path: Path, fault: str, status: int
) -> None:
    ran = _run(
        tmp_path, [programs.dlsym, "one-call"], programs.fake,
        FAKE_FAULT=f"hipStreamSynchronize={fault}",
    )  # fmt: skip
    assert ran.done.returncode == status
    [thread] = ran.facts.threads
    assert thread.in_flight is not None
    assert thread.in_flight.name == "hipStreamSynchronize"
    assert thread.in_flight.ended is None
    assert ran.names == ["hipStreamCreateWithFlags", "hipStreamSynchronize"]
    assert ran.calls[1].stream == ran.calls[0].stream
    assert ran.facts.processes[0].how_ended == ""


@pytest.mark.parametrize(("fault", "status"), [("exit0", 0), ("exit", 1)])
def test_a_call_that_ends_its_process(
    programs: Programs, tmp_path: Path, fault: str, status: int
) -> None:
    ran = _run(
        tmp_path, [programs.dlsym, "one-call"], programs.fake,
        FAKE_FAULT=f"hipStreamSynchronize={fault}",
    )  # fmt: skip
    assert ran.done.returncode == status
    assert ran.facts.processes[0].how_ended == "exit"
    assert ran.facts.threads[0].in_flight is not None


# ---- processes -------------------------------------------------------------------------------


def _thread_and_number(call: Call) -> tuple[int, int]:
    """What ``numbered`` in calls.c has put into the handle."""
    assert call.stream is not None
    return call.stream >> 40, call.stream >> 12 & 0xFFFFFFF


def test_forked_children_have_blocks_of_their_own(programs: Programs, tmp_path: Path) -> None:
    ran = _story(programs, tmp_path, "forks")
    parent, child, grandchild = ran.facts.processes
    assert [p.forked for p in ran.facts.processes] == [False, True, True]
    assert (child.parent, grandchild.parent) == (parent.pid, child.pid)
    assert [p.how_ended for p in ran.facts.processes] == ["exit", "exit", ""]
    by_process: dict[int, list[tuple[int, int]]] = {}
    for call in ran.calls:
        by_process.setdefault(call.process, []).append(_thread_and_number(call))
    assert by_process == {0: [(1, 1), (1, 2)], 1: [(2, 1), (2, 2)], 2: [(3, 1)]}
    assert len(child.runtimes) == 1


def test_a_call_that_forks(programs: Programs, tmp_path: Path) -> None:
    ran = _story(programs, tmp_path, "fork-in-a-call")
    parent, child = ran.facts.processes
    [failure] = ran.facts.failures
    assert (failure.pid, failure.result) == (child.pid, 709)
    assert child.pid != parent.pid


def test_exec_is_another_program_of_the_same_process(programs: Programs, tmp_path: Path) -> None:
    ran = _run(tmp_path, ["/usr/bin/env", programs.dlsym, "life"], programs.fake)
    first, second = ran.facts.processes
    assert (first.pid, first.how_ended, second.how_ended) == (second.pid, "exec", "exit")
    assert os.path.realpath(first.exe) == os.path.realpath("/usr/bin/env")
    assert second.exe == str(programs.dlsym)
    assert {call.process for call in ran.calls} == {1}


def test_children_of_a_shell_write_into_the_same_record(programs: Programs, tmp_path: Path) -> None:
    script = 'for i in 1 2 3; do "$0" life & done; wait'
    ran = _run(tmp_path, ["sh", "-c", script, programs.dlsym], programs.fake)
    assert ran.done.returncode == 0
    made = Counter(call.pid for call in ran.calls)
    assert sorted(made.values()) == [8, 8, 8]
    assert ran.facts.refusals_seen == 3


# ---- threads ---------------------------------------------------------------------------------


def test_blocks_of_threads_that_are_gone_go_on_to_others(
    programs: Programs, tmp_path: Path
) -> None:
    ran = _story(programs, tmp_path, "in-turn", 60, 10, sizes={"threads": 8})
    assert ran.facts.lost.threads == 0
    assert ran.facts.calls_seen == 600
    assert ran.facts.lost.overwritten_by_others == 600 - ran.facts.calls_kept
    kept: dict[int, list[int]] = {}
    for call in ran.calls:
        thread, number = _thread_and_number(call)
        kept.setdefault(thread, []).append(number)
    assert all(numbers == list(range(1, 11)) for numbers in kept.values())
    # What ended last is kept longest.
    assert set(kept) == set(range(61 - len(kept), 61))
    assert len(kept) == 8


def test_threads_beyond_the_blocks_are_counted(programs: Programs, tmp_path: Path) -> None:
    ran = _story(programs, tmp_path, "at-once", 7, 10, sizes={"threads": 3})
    assert ran.facts.lost.threads == 4
    assert ran.facts.calls_seen == 30
    assert ran.facts.calls_kept == 30


@dataclass
class InTheFile:
    """A thread's block, straight from the bytes: independent of xdiag's reader."""

    count: int
    #: (position, handle) of each entry, by place in the ring.
    entries: list[tuple[int, int]]


def _blocks(path: Path) -> Iterator[InTheFile]:
    entry = struct.Struct("<16xQ32xQ")
    with path.open("rb") as file:
        header = layout.Header.from_buffer_copy(file.read(layout.HEADER_SIZE))
        size = 64 + 64 * (header.life_size + header.recent_size)
        for number in range(header.blocks_used):
            file.seek(header.blocks_offset + number * size)
            block = layout.Block.from_buffer_copy(file.read(64))
            file.seek(64 * header.life_size, os.SEEK_CUR)
            ring = file.read(64 * header.recent_size)
            found = [(position, stream) for stream, position in entry.iter_unpack(ring)]
            yield InTheFile(block.recent_count, found)


def test_a_thousand_threads_and_ten_million_calls(programs: Programs, tmp_path: Path) -> None:
    """Nothing is lost but what the ring's bound says: each has its last calls, in order."""
    threads, calls, kept = 1000, 10_000, 1024
    began = time.monotonic()
    ran = _story(
        programs, tmp_path, "at-once", threads, calls, read_calls=False,
        sizes={"threads": threads, "recent": kept},
    )  # fmt: skip
    seen = set()
    for block in _blocks(ran.path):
        if not block.count:
            continue
        assert block.count == calls
        thread = block.entries[0][1] >> 40
        seen.add(thread)
        expected = [0] * kept
        for number in range(calls - kept + 1, calls + 1):
            expected[(number - 1) % kept] = number
        assert [position for position, _ in block.entries] == expected
        assert [stream for _, stream in block.entries] == [
            thread << 40 | number << 12 for number in expected
        ]
    assert seen == set(range(1, threads + 1))
    assert ran.facts.calls_seen == threads * calls
    assert ran.facts.calls_kept == threads * kept
    assert ran.facts.lost.overwritten == threads * (calls - kept)
    assert (ran.facts.lost.torn, ran.facts.lost.threads) == (0, 0)
    ran.path.unlink()
    assert time.monotonic() - began < 30


# ---- signals ---------------------------------------------------------------------------------


def test_calls_of_a_signal_handler_are_counted(programs: Programs, tmp_path: Path) -> None:
    calls = 2_000_000
    ran = _story(programs, tmp_path, "handler", calls)
    handled = int(ran.done.stdout)
    assert handled > 100
    assert ran.facts.calls_seen == calls + handled
    by_whom: dict[int, list[int]] = {1: [], 2: []}
    for call in sorted(ran.calls, key=lambda call: call.position):
        thread, number = _thread_and_number(call)
        by_whom[thread].append(number)
    assert len(ran.calls) == 1024
    assert by_whom[1] == list(range(calls - len(by_whom[1]) + 1, calls + 1))
    if by_whom[2]:
        assert by_whom[2] == list(range(by_whom[2][0], handled + 1))


def test_the_first_call_of_a_child_may_be_on_a_small_stack(
    programs: Programs, tmp_path: Path
) -> None:
    ran = _story(programs, tmp_path, "small-stack")
    assert [_thread_and_number(call) for call in ran.calls] == [(1, 1), (2, 1)]


def test_a_thread_may_be_cancelled_in_a_call(programs: Programs, tmp_path: Path) -> None:
    ran = _story(programs, tmp_path, "cancelled")
    [call] = ran.calls
    assert (call.name, call.ended) == ("hipDeviceSynchronize", None)


def test_errno_is_the_runtimes(programs: Programs, tmp_path: Path) -> None:
    assert _story(programs, tmp_path, "errno").facts.refusals_seen == 1


# ---- failures --------------------------------------------------------------------------------


def test_the_first_failures_are_kept(programs: Programs, tmp_path: Path) -> None:
    ran = _story(programs, tmp_path, "failures", 5000, sizes={"failures": 16, "recent": 4})
    assert [f.position for f in ran.facts.failures] == list(range(1, 17))
    assert all(f.result == 709 and f.stream is not None for f in ran.facts.failures)
    # 400 is a failure; 600 (not ready) is an answer; what hipGetLastError returns failed before.
    assert (ran.facts.failures_seen, ran.facts.refusals_seen) == (5001, 5000)
    assert ran.facts.lost.failures == 5001 - 16
    assert ran.names[-4:] == [
        "hipStreamQuery", "hipStreamQuery", "hipGetLastError", "hipPeekAtLastError",
    ]  # fmt: skip


def test_events_beyond_their_room_are_counted(programs: Programs, tmp_path: Path) -> None:
    ran = _story(programs, tmp_path, "at-once", 3, 10, sizes={"events": 512})
    assert ran.facts.lost.events > 0
    assert ran.facts.calls_seen == 30


# ---- runtimes --------------------------------------------------------------------------------


def _copies(programs: Programs, folder: Path, count: int) -> list[Path]:
    made = []
    for number in range(count):
        (folder / f"copy-{number}").mkdir()
        made.append(Path(shutil.copy(programs.fast, folder / f"copy-{number}")))
    return made


def test_a_runtime_that_is_closed_gives_its_slot_to_the_next(
    programs: Programs, tmp_path: Path
) -> None:
    copies = _copies(programs, tmp_path, 12)
    ran = _story(programs, tmp_path, "runtimes-in-turn", COPIES=":".join(map(str, copies)))
    [process] = ran.facts.processes
    called = [process.object(call.runtime) for call in ran.calls]
    assert [each.path if each else "" for each in called] == list(map(str, copies))
    assert all(each is not None and each.closed is not None for each in called)
    assert ran.facts.lost.runtimes == 0


def test_runtimes_beyond_the_slots_work_and_are_counted(programs: Programs, tmp_path: Path) -> None:
    copies = _copies(programs, tmp_path, 8)
    ran = _story(programs, tmp_path, "runtimes-at-once", COPIES=":".join(map(str, copies)))
    [process] = ran.facts.processes
    # With $RUNTIME there are nine; six have slots.
    assert [each.recorded for each in process.runtimes] == [True] * 6 + [False] * 3
    assert ran.facts.lost.runtimes == 3
    assert len(ran.calls) == 5


# ---- transparency ----------------------------------------------------------------------------

SHOW = """
import ctypes, os, sys
ctypes.CDLL(sys.argv[1]).hipInit(0)
environ = {name: value for name, value in os.environ.items() if "XDIAG" not in name}
environ.pop("LD_AUDIT", None)
print({fd: os.readlink(f"/proc/self/fd/{fd}").split(":")[0] for fd in range(20)
       if os.path.exists(f"/proc/self/fd/{fd}")}, environ, os.getcwd(), os.umask(0o22))
sys.exit(7)
"""


def test_the_program_does_not_notice(programs: Programs, tmp_path: Path) -> None:
    command = [sys.executable, "-c", SHOW, str(programs.fake)]
    bare = subprocess.run(
        command, env=_environment(None), cwd=tmp_path, capture_output=True, text=True, check=False
    )
    ran = _run(tmp_path, command)
    assert (bare.returncode, bare.stderr) == (7, "")
    assert (ran.done.returncode, ran.done.stdout, ran.done.stderr) == (7, bare.stdout, "")
    assert ran.names == ["hipInit"]


def test_loads_alone_are_recorded_where_calls_are_not_wanted(
    programs: Programs, tmp_path: Path
) -> None:
    ran = _run(tmp_path, [programs.dlsym, "life"], programs.fake, XDIAG_RECORD_CALLS="0")
    assert ran.done.returncode == 0
    assert ran.calls == []
    [runtime] = ran.facts.processes[0].runtimes
    assert not runtime.recorded


OTHER = "int other(int x) { return x + 1; }"
LOOP = """
#include <stdio.h>
#include <time.h>
int other(int);
int main(void)
{
    double best = 1e9;
    for (int round = 0; round < 9; round++) {
        struct timespec a, b;
        int x = 0;
        clock_gettime(CLOCK_MONOTONIC, &a);
        for (int i = 0; i < 500000; i++)
            x = other(x);
        clock_gettime(CLOCK_MONOTONIC, &b);
        double took = (b.tv_sec - a.tv_sec) * 1e9 + (b.tv_nsec - a.tv_nsec);
        best = took < best ? took : best;
    }
    printf("%.0f\\n", best);
    return 0;
}
"""


@pytest.mark.skipif(GLIBC < (2, 35), reason="before glibc 2.35 all calls of audited programs cost")
@pytest.mark.parametrize("binding", ["lazy", "now"])
def test_calls_to_other_libraries_cost_what_they_did(tmp_path: Path, binding: str) -> None:
    other = compile_library(tmp_path / "libother.so", OTHER)
    (tmp_path / "loop.c").write_text(LOOP)
    loop = program(
        tmp_path / "loop", tmp_path / "loop.c", str(other), f"-Wl,-rpath,{tmp_path}",
        f"-Wl,-z,{binding}",
    )  # fmt: skip
    bare, recorded = [], []
    for _ in range(3):
        done = subprocess.run([loop], capture_output=True, text=True, check=True)
        bare.append(int(done.stdout))
        recorded.append(int(_run(tmp_path, [loop]).done.stdout))
    # Through the loader's code for profiling it would be ten times as much.
    assert min(recorded) < 2 * min(bare)


# ---- files that are not written into ---------------------------------------------------------


def _spoil(path: Path, how: str) -> None:
    header = layout.Header
    if how in ("world-readable", "group-writable"):
        path.chmod(0o644 if how == "world-readable" else 0o620)
    elif how == "symlink":
        path.rename(path.with_name("elsewhere"))
        path.symlink_to("elsewhere")
    elif how == "another's":
        os.chown(path, 65534, 65534)
    elif how == "truncated":
        os.truncate(path, 100_000)
    elif how == "empty":
        os.truncate(path, 0)
    elif how == "fifo":
        path.unlink()
        os.mkfifo(path, 0o600)
    elif how == "directory":
        path.unlink()
        path.mkdir(0o700)
    elif how == "missing":
        path.unlink()
    else:
        at, value = {
            "garbage": (0, b"GARBAGE!" * 500),
            "another version": (header.version.offset, b"\x02\0\0\0"),
            "another list of calls": (header.call_count.offset, b"\x01\0\0\0"),
            "a ring of 3": (header.recent_size.offset, b"\x03\0\0\0"),
            "a ring of 0": (header.life_size.offset, b"\0\0\0\0"),
            "blocks outside": (header.blocks_offset.offset, b"\xff" * 7 + b"\0"),
            "events outside": (header.events_size.offset, b"\xff" * 8),
            "failures outside": (header.failure_count.offset, b"\xff" * 8),
            "unaligned": (header.events_offset.offset, b"\x01\x20\0\0\0\0\0\0"),
        }[how]
        with path.open("r+b") as file:
            file.seek(at)
            file.write(value)


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("world-readable", "others may write to it, or it is not this user's"),
        ("group-writable", "others may write to it, or it is not this user's"),
        ("another's", "others may write to it, or it is not this user's"),
        ("symlink", "Too many levels of symbolic links"),
        ("missing", "No such file or directory"),
        ("directory", "Is a directory"),
        ("fifo", "it is too small"),
        ("empty", "it is too small"),
        ("truncated", "its parts do not fit into it"),
        ("garbage", "it is no record file"),
        ("another version", "it was made by another version of xdiag"),
        ("another list of calls", "it was made by another version of xdiag"),
        ("a ring of 3", "its parts do not fit into it"),
        ("a ring of 0", "its parts do not fit into it"),
        ("blocks outside", "its parts do not fit into it"),
        ("events outside", "its parts do not fit into it"),
        ("failures outside", "its parts do not fit into it"),
        ("unaligned", "its parts do not fit into it"),
    ],
)
def test_a_file_that_is_not_ours_is_refused_in_one_line(
    programs: Programs, tmp_path: Path, how: str, why: str
) -> None:
    if how == "another's" and os.geteuid() != 0:
        pytest.skip("only root can give files away")
    path = tmp_path / "record"
    create.create(path, command=["test"]).close()
    _spoil(path, how)
    before = path.read_bytes()[:100_000] if path.is_file() else b""
    audited = {"LD_AUDIT": audit_library.path(), "XDIAG_RECORD": str(path)}
    done = subprocess.run(
        [programs.dlsym, "life"], env=_environment(programs.fake, **audited), cwd=tmp_path,
        capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    pid = done.stdout.split()[2]
    assert done.returncode == 0
    assert done.stderr == (
        f"xdiag: cannot record into {path}: {why}; process {pid} goes on without\n"
    )
    assert before == (path.read_bytes()[:100_000] if path.is_file() else b"")
