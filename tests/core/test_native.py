"""The native core by itself: the call list, identities, actors."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from elftools.elf.elffile import ELFFile

from xdiag import native

if TYPE_CHECKING:
    from collections.abc import Callable

    from xdiag.engine.messages import Paths
    from xdiag.model import Target

#: What the core was asked to cover at the least.
PROMISED = """Init GetDeviceCount GetDevice SetDevice DeviceReset GetDeviceProperties CtxGetCurrent
    CtxSetCurrent CtxGetDevice CtxPushCurrent CtxPopCurrent CtxCreate CtxDestroy
    DevicePrimaryCtxRetain DevicePrimaryCtxRelease DevicePrimaryCtxGetState StreamCreate
    StreamCreateWithFlags StreamCreateWithPriority StreamDestroy StreamGetFlags StreamGetPriority
    StreamGetDevice StreamQuery StreamSynchronize StreamWaitEvent StreamAddCallback
    StreamIsCapturing StreamGetCaptureInfo StreamGetCaptureInfo_v2 StreamGetId StreamBeginCapture
    StreamEndCapture EventCreate EventRecord EventSynchronize EventDestroy Malloc Free MemcpyAsync
    MemsetAsync GetLastError RuntimeGetVersion DriverGetVersion GetStreamDeviceId""".split()


@pytest.fixture
def in_child(fake_paths: Paths) -> Callable[[str], str]:
    """Run a program in a fresh interpreter, since a process has one table of runtimes."""

    def run(program: str) -> str:
        prelude = (
            f"from xdiag import native\nFIRST, COPY = {fake_paths.first!r}, {fake_paths.copy!r}\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", prelude + program], capture_output=True, text=True, check=True
        )
        return done.stdout

    return run


def test_every_promised_call_is_there() -> None:
    calls = native.calls()
    assert set(PROMISED) <= set(calls)
    assert all(call.hip or call.cuda for call in calls.values())
    assert all(re.match(r"(_Z\d+)?hip", symbol) for call in calls.values() for symbol in call.hip)
    assert calls["GetDeviceProperties"].hip == (
        "hipGetDevicePropertiesR0600", "hipGetDeviceProperties",
    )  # fmt: skip


def test_a_runtime_has_room_for_the_symbols_of_the_list() -> None:
    # A call beyond it would be said to be unsupported.
    core = Path(__file__).parents[2] / "cffi_build" / "core" / "core.h"
    room = re.search(r"MAX_CALLS = (\d+)", core.read_text())
    assert room is not None and native.lib.xd_call_count() <= int(room[1])


def test_the_list_agrees_with_amds_public_header() -> None:
    header = Path(os.environ.get("XDIAG_HIP_HEADER", "/usr/include/hip/hip_runtime_api.h"))
    if not header.exists():
        pytest.skip(f"no HIP header at {header} (XDIAG_HIP_HEADER names one)")
    text = re.sub(r"/\*.*?\*/|//[^\n]*", "", header.read_text(), flags=re.DOTALL)
    checked = 0
    for call in native.calls().values():
        if not call.hip:
            continue  # CUDA's alone
        declared = re.search(rf"\b(?:hipError_t|int)\s+{call.hip[-1]}\s*\(([^;{{]*?)\)\s*;", text)
        if declared is None:
            continue  # newer than this header
        arguments = [a for a in declared[1].split(",") if a.strip() not in ("", "void")]
        assert len(arguments) == len(call.kinds), call.name
        for argument, kind in zip(arguments, call.kinds, strict=True):
            pointer = argument.count("*")
            if kind in ("OUT_I32", "OUT_U32", "OUT_U64", "OUT_SIZE", "OUT_DEVICE"):
                assert pointer == 1, (call.name, argument)
            if kind in ("I32", "U32", "SIZE", "DEVICE", "ZERO", "STREAM", "EVENT", "CONTEXT"):
                assert pointer == 0, (call.name, argument)
        checked += 1
    assert checked >= 40


def test_the_error_table_agrees_with_the_runtime(real_target: Target) -> None:
    program = """
import ctypes, json, sys
lib = ctypes.CDLL(sys.argv[1])
lib.hipGetErrorName.restype = ctypes.c_char_p
print(json.dumps([lib.hipGetErrorName(code).decode() for code in json.loads(sys.argv[2])]))
"""
    import json

    codes = sorted(native.errors())
    done = subprocess.run(
        [sys.executable, "-c", program, real_target.runtime, json.dumps(codes)],
        env={**os.environ, "LD_LIBRARY_PATH": ":".join(real_target.library_path)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    theirs = dict(zip(codes, json.loads(done.stdout.splitlines()[-1]), strict=True))
    wrong = {c: n for c, n in theirs.items() if n not in (native.errors()[c][0], "hipErrorUnknown")}
    assert not wrong
    assert theirs[709] == "hipErrorContextIsDestroyed"


def test_an_identity_is_that_of_the_file(in_child: Callable[[str], str], fake_paths: Paths) -> None:
    out = in_child(
        "native.declare_runtime(0, 'hip', FIRST, 'local')\n"
        "r = native.Request(native.OP_OPEN, runtime=0); r.execute()\n"
        "i = native.identify(0)\n"
        "print(i.path, i.soname, i.build_id, i.device, i.inode, i.namespace, sep='|')\n"
        "print(native.identify(1), native.symbol_used(0, 'GetDeviceProperties'))\n"
    )
    first, second = out.splitlines()
    path, soname, build_id, device, inode, namespace = first.split("|")
    st = os.stat(fake_paths.first)
    with open(fake_paths.first, "rb") as stream:
        elf = ELFFile(stream)
        note = next(elf.get_section_by_name(".note.gnu.build-id").iter_notes())
        tag = next(t for t in elf.get_section_by_name(".dynamic").iter_tags("DT_SONAME"))
        assert (soname, build_id) == (tag.soname, note["n_desc"])
    assert (path, int(device), int(inode)) == (fake_paths.first, st.st_dev, st.st_ino)
    assert namespace == "0"
    assert second == "None hipGetDeviceProperties"


def test_a_library_that_is_not_there_says_so(in_child: Callable[[str], str]) -> None:
    out = in_child(
        "native.declare_runtime(0, 'hip', '/nowhere/libamdhip64.so', 'local')\n"
        "r = native.Request(native.OP_OPEN, runtime=0); r.execute()\n"
        "print(r.raw.status == native.FAILED, r.error)\n"
    )
    assert out.startswith("True /nowhere/libamdhip64.so: cannot open shared object file")


def test_what_is_not_loaded_is_not_found_loaded(in_child: Callable[[str], str]) -> None:
    out = in_child(
        "native.declare_runtime(0, 'hip', FIRST, 'loaded')\n"
        "r = native.Request(native.OP_OPEN, runtime=0); r.execute()\n"
        "print(r.raw.status == native.FAILED, r.error)\n"
    )
    assert out.strip() == "True not loaded in this process"


def test_a_wrong_number_of_arguments_is_refused() -> None:
    with pytest.raises(ValueError, match="StreamGetFlags takes 1 arguments, 2 were given"):
        native.Request(native.OP_CALL, call=native.calls()["StreamGetFlags"], inputs=(1, 2))


def test_more_runtimes_than_there_is_room_for_are_refused() -> None:
    with pytest.raises(ValueError, match="more than 16"):
        native.declare_runtime(16, "hip", "/x", "local")
    with pytest.raises(ValueError, match="too long"):
        native.declare_runtime(0, "hip", "/" + "x" * 5000, "local")


def test_an_actor_that_was_not_started_says_so() -> None:
    request = native.Request(native.OP_END, actor=7)
    request.post()
    request.wait()
    assert request.raw.status == native.FAILED and "not started" in request.error


def test_a_native_thread_is_a_thread_of_its_own(in_child: Callable[[str], str]) -> None:
    out = in_child(
        "import threading, os\n"
        "native.Request(native.OP_THREAD, subject=1).execute()\n"
        "native.declare_runtime(0, 'hip', FIRST, 'local')\n"
        "r = native.Request(native.OP_OPEN, actor=1, runtime=0); r.post(); r.wait()\n"
        "print(r.raw.status, r.raw.pid == os.getpid(), r.raw.tid != threading.get_native_id(),\n"
        "      threading.active_count())\n"
        "e = native.Request(native.OP_END, actor=1); e.post(); e.wait(); print(e.raw.status)\n"
        "native.Request(native.OP_THREAD, subject=1).execute()\n"
        "e = native.Request(native.OP_END, actor=1); e.post(); e.wait(); print(e.raw.status)\n"
    )
    assert out.split() == ["0", "True", "True", "1", "0", "0"]


def test_a_forked_child_has_threads_of_its_own(in_child: Callable[[str], str]) -> None:
    out = in_child(
        "import os\n"
        "native.Request(native.OP_FORK, subject=1).execute()\n"
        "t = native.Request(native.OP_THREAD, actor=1, subject=2); t.post(); t.wait()\n"
        "native.declare_runtime(0, 'hip', FIRST, 'local')\n"
        "r = native.Request(native.OP_END, actor=2); r.post(); r.wait()\n"
        "print(r.raw.status, r.raw.pid != os.getpid(), r.raw.tid != r.raw.pid)\n"
        "e = native.Request(native.OP_END, actor=1); e.post(); e.wait()\n"
        "print(e.raw.status, e.raw.pid == r.raw.pid)\n"
        "try: os.waitpid(-1, os.WNOHANG)\n"
        "except ChildProcessError: print('reaped')\n"
    )
    assert out.split() == ["0", "True", "True", "0", "True", "reaped"]


def test_a_forked_child_that_is_killed_is_told_with_its_signal(
    in_child: Callable[[str], str],
) -> None:
    out = in_child(
        "import os, signal, time\n"
        "native.Request(native.OP_FORK, subject=1).execute()\n"
        "p = native.Request(native.OP_THREAD, actor=1, subject=2); p.post(); p.wait()\n"
        "os.kill(p.raw.pid, signal.SIGKILL)\n"
        "r = native.Request(native.OP_END, actor=1); r.post(); r.wait()\n"
        "print(r.raw.status == native.DIED, os.WTERMSIG(r.raw.wait_status))\n"
    )
    assert out.split() == ["True", str(int(signal.SIGKILL))]
