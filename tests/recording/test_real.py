"""Records that the audit library writes: real processes on the fake runtime."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import xdiag
from xdiag.recording.create import create
from xdiag.recording.provenance import diagnose, story
from xdiag.recording.read import Recording, read
from xdiag.recording.requests import routes

LIBRARY = Path(xdiag.__file__).parent / "_lib" / "audit" / "libxdiag-audit.so"
pytestmark = pytest.mark.skipif(not LIBRARY.exists(), reason="the audit library is not built")

#: Two copies, a stream of the first, and a few ways to use it.
_PROGRAM = """
import ctypes, os, sys, threading
a, b = (ctypes.CDLL(path) for path in sys.argv[1:3])
stream, event, flags = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_uint()
a.hipInit(0)
assert a.hipStreamCreateWithFlags(ctypes.byref(stream), 1) == 0
print(hex(stream.value), flush=True)
def use(library, handle=stream):
    return library.hipStreamGetFlags(handle, ctypes.byref(flags))
assert use(a) == 0
"""

Run = Callable[..., tuple[Recording, int, int]]


@pytest.fixture
def run(fake_library: Path, tmp_path: Path) -> Run:
    """Run the program with more lines at its end: the record, the stream, and how it ended."""

    def recorded(*lines: str, copies: int = 2, **environ: str) -> tuple[Recording, int, int]:
        record = tmp_path / "record"
        create(record, command=["python3"], threads=64).close()
        paths = [fake_library]
        if copies == 2:
            paths.append(tmp_path / "copy" / fake_library.name)
            paths[1].parent.mkdir(exist_ok=True)
            shutil.copy(fake_library, paths[1])
        else:
            paths.append(fake_library)
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM + "\n".join(lines), *map(str, paths)],
            env={**os.environ, "LD_AUDIT": str(LIBRARY), "XDIAG_RECORD": str(record), **environ},
            stdout=subprocess.PIPE, text=True, timeout=60,
        )  # fmt: skip
        return read(record), int(done.stdout.split()[0], 16), done.returncode

    return recorded


def test_two_copies(run: Run, fake_library: Path) -> None:
    recording, stream, status = run("assert use(b) == 709")
    with recording:
        (found,) = diagnose(recording)
        facts = recording.facts
        calls = [call.name for call in recording.calls()]
        told = story(recording, stream)
    assert status == 0
    assert (found.cause, found.certain, found.calls) == ("two-runtimes", True, 1)
    assert found.provenance is not None
    assert (found.provenance.handle, found.provenance.state) == (stream, "foreign")
    assert calls == [
        "hipInit", "hipStreamCreateWithFlags", "hipStreamGetFlags", "hipStreamGetFlags",
    ]  # fmt: skip
    assert [step.what for step in told.steps] == ["made", "used", "refused"]
    process = next(each for each in facts.processes if each.runtimes)
    assert process.how_ended == "exit" and len(process.runtimes) == 2
    assert process.runtimes[0].path == str(fake_library) and process.runtimes[0].recorded
    assert [route.runtime for route in routes(process)] == [
        each.number for each in process.runtimes
    ]  # fmt: skip
    assert found.call is not None and "ffi" in found.call.caller_path
    assert (facts.failures_seen, facts.refusals_seen, facts.calls_kept) == (1, 1, 4)
    assert facts.lost.torn == facts.lost.events == 0
    begun = process.begun
    assert begun is not None and 0 <= begun < 30 and abs(facts.wall_clock - 1.79e9) < 1e9


def test_unified(run: Run, fake_library: Path) -> None:
    recording, _, status = run("assert use(b) == 0", XDIAG_UNIFY="libamdhip64")
    with recording:
        assert diagnose(recording) == ()
        process = next(each for each in recording.facts.processes if each.runtimes)
        redirected = [route for route in routes(process) if route.answer == "redirected"]
    assert status == 0
    assert [each.path for each in process.runtimes] == [str(fake_library)]
    assert [route.to for route in redirected] == [str(fake_library)]
    assert redirected[0].runtime == process.runtimes[0].number


def test_destroyed_by_a_thread(run: Run) -> None:
    recording, _, _ = run(
        "thread = threading.Thread(target=a.hipStreamDestroy, args=(stream,))",
        "thread.start(); thread.join()",
        "assert use(a) == 709",
        copies=1,
    )
    with recording:
        (found,) = diagnose(recording)
        assert len(recording.facts.threads) == 2
    assert found.cause == "destroyed-stream" and found.provenance is not None
    ended = found.provenance.ended
    assert ended is not None and ended.tid != ended.pid and ended.name == "hipStreamDestroy"


def test_reset(run: Run) -> None:
    recording, _, _ = run("a.hipDeviceReset()", "assert use(a) == 709", copies=1)
    with recording:
        (found,) = diagnose(recording)
    assert (found.cause, found.certain) == ("device-reset", True)


def test_truncated(run: Run) -> None:
    recording, stream, _ = run("assert use(a, stream.value & 0xFFFFFFFF) == 709", copies=1)
    with recording:
        (found,) = diagnose(recording)
    assert found.cause == "truncated-handle" and found.provenance is not None
    assert found.provenance.whole == stream


def test_a_forked_child(run: Run) -> None:
    recording, _, _ = run(
        "if os.fork() == 0:", "    use(a)", "    os._exit(0)", "os.wait()", copies=1
    )
    with recording:
        (found,) = diagnose(recording)
        child = next(each for each in recording.facts.processes if each.forked)
    assert found.cause == "fork" and found.call is not None and found.call.pid == child.pid
    assert child.runtimes and child.how_ended == ""


def test_killed_within_a_call(run: Run) -> None:
    recording, stream, status = run(
        "a.hipStreamQuery(stream)", copies=1, FAKE_FAULT="hipStreamQuery=kill"
    )
    with recording:
        (found,) = diagnose(recording)
    assert status == -signal.SIGKILL
    assert (found.cause, found.fault) == ("unfinished-call", False)
    assert found.call is not None and found.call.stream == stream
    assert found.call.name == "hipStreamQuery" and found.call.ended is None


def test_segmentation_fault_on_the_other_copy(run: Run) -> None:
    recording, _, status = run("b.hipStreamQuery(stream)", FAKE_FAULT="hipStreamQuery=segv")
    with recording:
        (found,) = diagnose(recording)
    assert status == -signal.SIGSEGV
    assert (found.cause, found.unfinished) == ("two-runtimes", 1)
    assert any("died in it" in line for line in found.evidence)


def test_loads_only(run: Run) -> None:
    recording, _, _ = run("use(b)", XDIAG_RECORD_CALLS="0")
    with recording:
        (found,) = diagnose(recording)
        assert list(recording.calls()) == []
    assert (found.cause, found.fault) == ("two-runtimes-loaded", False)
    assert "is not known" in found.sentence
