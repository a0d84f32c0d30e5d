"""Logs that AMD's real runtime writes, explained: what was done is what is said."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from explain.conftest import Explain
from xdiag.engine.messages import Paths
from xdiag.model import Target

_PROGRAM = """
import ctypes, sys, threading
a, b = ctypes.CDLL(sys.argv[1]), None
s, flags = ctypes.c_void_p(), ctypes.c_uint()
assert a.hipInit(0) == 0

def second():
    global b
    b = ctypes.CDLL(sys.argv[2])
    assert b.hipInit(0) == 0

def in_thread(work):
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()

def make():
    assert a.hipStreamCreateWithFlags(ctypes.byref(s), 1) == 0

def use(library, handle=s):
    print(library.hipStreamGetFlags(handle, ctypes.byref(flags)), flush=True)
"""

#: What is done, and the cause where the last call is refused.
STORIES = {
    "one copy, two threads": (["make()", "in_thread(lambda: use(a))"], ""),
    "two copies": (["make()", "second()", "in_thread(lambda: use(b))"], "two-runtimes"),
    "two copies that do not meet": (["make()", "second()", "use(a)"], ""),
    "destroyed by another thread": (
        ["make()", "in_thread(lambda: a.hipStreamDestroy(s))", "use(a)"], "destroyed-stream"),
    "reset": (["make()", "assert a.hipDeviceReset() == 0", "use(a)"], "device-reset"),
    # A stream made by a thread: the main thread's heap may lie low.
    "cut": (["in_thread(make)", "use(a, ctypes.c_void_p(s.value & 0xFFFFFFFF))"],
            "truncated-handle"),
    # As ctypes passes it without argument types.
    "cut by a C int": (
        ["in_thread(make)", "cut = ctypes.c_int(s.value & 0xFFFFFFFF).value",
         "use(a, ctypes.c_void_p(cut))"],
        "truncated-handle"),
    "destroyed by the other copy is not destroyed": (
        ["make()", "second()", "print(b.hipStreamDestroy(s), flush=True)"], "two-runtimes"),
    "an event as a stream": (
        ["e = ctypes.c_void_p()", "assert a.hipEventCreateWithFlags(ctypes.byref(e), 0) == 0",
         "use(a, e)"],
        "wrong-kind"),
    "a reset of another device": (
        ["make()", "assert a.hipSetDevice(1) == 0", "assert a.hipDeviceReset() == 0", "use(a)"],
        ""),
    "per-thread and NULL": (["use(a, ctypes.c_void_p(2))", "use(a, None)"], ""),
}  # fmt: skip


@pytest.fixture
def run(real_target: Target, real_paths: Paths):
    """Run a story, with variables."""

    def done(lines: list[str], **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", _PROGRAM + "\n".join(lines), real_paths.first, real_paths.copy],
            env={
                **os.environ, **real_target.environment,
                "LD_LIBRARY_PATH": ":".join(real_target.library_path), **environ,
            },
            capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip

    return done


@pytest.fixture(params=["3", "4"])
def log_of(request: pytest.FixtureRequest, run):
    """Run a story: its log, and the code of its last call."""

    def logged(lines: list[str]) -> tuple[str, int]:
        done = run(lines, AMD_LOG_LEVEL=request.param)
        return done.stderr, int(done.stdout.split()[-1])

    return logged


@pytest.mark.parametrize("story", STORIES)
def test_stories(log_of, explained: Explain, story: str) -> None:
    lines, cause = STORIES[story]
    log, code = log_of(lines)
    found = explained(log)
    assert "AMD log" in found.sources[0].formats
    told = [(each.cause, each.likelihood) for each in found.causes]
    if code == 709:
        assert cause and told == [(cause, "likely")] and found.fault
        (failure,) = found.failures
        assert failure.code == 709 and failure.certain and failure.entry is not None
        assert failure.history[-1].what == "refused"
    else:
        # HIP 7 refuses in few calls: it takes a stream that was destroyed, which is told.
        assert told in ([], [("destroyed-stream", "possible")])
        assert found.fault == bool(told) and (not told or cause == "destroyed-stream")


@pytest.mark.parametrize("copies", [1, 2])
def test_the_loaders_own_words(run, explained: Explain, real_paths: Paths, copies: int) -> None:
    done = run(["make()", *["second()"] * (copies - 1)], LD_DEBUG="libs,files")
    found = explained(done.stderr)
    assert found.sources[0].formats[0] == "LD_DEBUG" and found.fault == (copies == 2)
    expected = [real_paths.first, real_paths.copy][:copies]
    assert [load.path for load in found.loaded] == expected
    assert all("_ctypes" in load.told for load in found.loaded)


@pytest.mark.parametrize("copies", [1, 2])
def test_a_map(run, explained: Explain, copies: int) -> None:
    maps = "print(open('/proc/self/maps').read())"
    done = run(["make()", *["second()"] * (copies - 1), maps])
    found = explained(done.stdout)
    assert found.sources[0].formats == ("memory map",)
    assert (len(found.loaded), found.fault) == (copies, copies == 2)
