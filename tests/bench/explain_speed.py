"""How fast ``xdiag explain`` reads a large log of the runtime's, beside grep on the same file.

``python -m bench explain_speed`` reads 2 GB; XDIAG_BENCH_LOG_MB=200 makes it smaller.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bench.figure import Figure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xdiag.model import Target

MEGABYTES = int(os.environ.get("XDIAG_BENCH_LOG_MB", "2000"))
ROUNDS = 3
#: Megabytes that stay free on the disk.
_MARGIN = 1000
_THREADS = ("0x7f27f8672880", "0x7f27f0ff96c0", "0x7f27e9bf86c0", "0x7f27e93f76c0")
_STREAM = "0x7f27e0090410"

#: What explain runs in: a process of its own, which says at its end how much memory it has had.
_PROGRAM = """
import sys
from xdiag.cli import main
sys.argv = ["xdiag", "explain", sys.argv[1], "-o", sys.argv[2]]
try:
    main()
finally:
    status = open("/proc/self/status").read()
    print(status.split("VmHWM:")[1].split()[0], file=sys.stderr)
"""


def _calls(chance: random.Random, clock: int) -> Iterator[str]:
    """Lines of one call as a program that infers with PyTorch makes them: launches, mostly."""
    thread = chance.choice(_THREADS)
    head = f"us: [pid:29129 tid:{thread}]"

    def call(file: str, entry: str, answer: str) -> Iterator[str]:
        name = entry.split(" ", 1)[0]
        yield f":3:{file:<24}:{332:<4}: {clock} {head} \x1b[32m {entry} \x1b[0m\n"
        yield f":3:{file:<24}:{340:<4}: {clock + 3} {head} {name}: Returned {answer}\n"

    what = chance.random()
    if what < 0.45:
        grid = chance.randrange(1, 4096)
        yield from call(
            "hip_module.cpp",
            f"hipLaunchKernel ( 0x7f2700{chance.randrange(1 << 24):06x}, {{{grid},1,1}},"
            f" {{256,1,1}}, 0x7ffd8a8ae3f0, 0, stream:{_STREAM} )",
            "hipSuccess : ",
        )
    elif what < 0.6:
        place = f":3:{'hip_error.cpp':<24}:{27:<4}: {clock} {head}"
        yield f"{place} \x1b[32m hipGetLastError (  ) \x1b[0m\n"
    elif what < 0.7:
        event = f"0x562df50{chance.randrange(1 << 20):05x}"
        answer = chance.choice(("hipSuccess : ", "hipErrorNotReady : "))
        yield from call("hip_event.cpp", f"hipEventQuery ( event:{event} )", answer)
    elif what < 0.85:
        size = chance.randrange(1, 1 << 20)
        yield from call(
            "hip_memory.cpp",
            f"hipMemcpyAsync ( 0x7f1e{size:08x}, 0x7f24{size:08x}, {size}, hipMemcpyDeviceToDevice,"
            f" stream:{_STREAM} )",
            "hipSuccess : : duration: 12 us",
        )
    elif what < 0.999:
        yield from call("hip_device_runtime.cpp", "hipGetDevice ( 0x7ffd8a8ae3f0 )",
                        "hipSuccess : 0")  # fmt: skip
    elif what < 0.9998:
        yield from call("hip_memory.cpp", "hipPointerGetAttributes ( 0x7ffd8a8ae3f0, 0x7f1e )",
                        "hipErrorInvalidValue : ")  # fmt: skip
    else:
        stream = f"0x7f27d{chance.randrange(1 << 28):07x}"
        yield from call("hip_stream.cpp", "hipStreamCreateWithFlags ( 0x7ffd8a8ae3f0, 1 )",
                        f"hipSuccess : stream:{stream}")  # fmt: skip


def _write(path: Path, megabytes: int) -> int:
    """A log of that size, with some refused calls in it; how many."""
    chance, clock, refused = random.Random(709), 7_098_562_840_830, 0
    with path.open("w") as file:
        start = f":3:{'rocdevice.cpp':<24}:{416:<4}: {clock} us: [pid:29129 tid:{_THREADS[0]}] "
        made = "hipStreamCreateWithFlags: Returned hipSuccess : stream:"
        file.write(f"{start}Initializing HSA stack.\n" * 2 + f"{start}{made}{_STREAM}\n")
        # Blocks of 8 MB, written again and again: what is measured is reading.
        block = []
        size = 0
        while size < 8 << 20:
            clock += chance.randrange(3, 40)
            for line in _calls(chance, clock):
                block.append(line)
                size += len(line)
        text = "".join(block)
        failing = (
            f":3:{'hip_stream.cpp':<24}:{427:<4}: {clock} us: [pid:29129 tid:{_THREADS[1]}]"
            f" hipStreamGetFlags ( stream:{_STREAM}, 0x7ffd8a8ae3f0 )\n"
            f":3:{'hip_stream.cpp':<24}:{428:<4}: {clock} us: [pid:29129 tid:{_THREADS[1]}]"
            " hipStreamGetFlags: Returned hipErrorContextIsDestroyed : \n"
        )
        for number in range(max(1, megabytes >> 3)):
            file.write(text)
            if number % 16 == 0:
                file.write(failing)
                refused += 1
    return refused


class _Took(NamedTuple):
    """MB/s by the clock, and per second of processor time, in which others have no part."""

    by_clock: float
    by_processor: float
    said: str


def _took(megabytes: float, command: list[str]) -> _Took:
    before, begun = os.times(), time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds, after = time.perf_counter() - begun, os.times()
    assert done.returncode in (0, 1), done.stderr
    processor = (after.children_user - before.children_user) + (
        after.children_system - before.children_system
    )
    return _Took(megabytes / seconds, megabytes / processor, done.stderr)


def run(target: Target) -> list[Figure]:
    """MB/s, everything in the page cache, one process at a time; the memory that explain takes."""
    del target
    with tempfile.TemporaryDirectory() as folder:
        path, answer = Path(folder) / "amd.log", Path(folder) / "answer"
        room = shutil.disk_usage(folder).free / 1e6 - _MARGIN
        wanted = min(MEGABYTES, int(room))
        refused = _write(path, wanted)
        megabytes = path.stat().st_size / 1e6
        if wanted < MEGABYTES:
            print(f"the disk has room for {megabytes:.0f} MB only", file=sys.stderr)
        commands = {
            "explain": [sys.executable, "-c", _PROGRAM, str(path), str(answer)],
            "grep -c 709": ["grep", "-c", "709", str(path)],
        }
        if shutil.which("rg"):
            commands["rg -j1 -c 709"] = ["rg", "-j1", "-c", "709", str(path)]
        took: dict[str, list[_Took]] = {name: [] for name in commands}
        for _ in range(ROUNDS):
            for name, command in commands.items():
                took[name].append(_took(megabytes, command))
        told = answer.read_text()
        assert re.search(r"likely\s+two-runtimes", told) and f"{refused} times" in told, told
        memory = [int(each.said.split()[-1]) / 1024 for each in took["explain"]]
        what = f"a log of {megabytes:.0f} MB"
        figures = [
            Figure("memory of explain (VmHWM)", memory, "MB", aim="at most 150"),
        ]
        for name, each in took.items():
            aim = "at least 300" if name == "explain" else ""
            figures += [
                Figure(f"{name}, {what}", [t.by_clock for t in each], "MB/s", aim=aim),
                Figure(f"{name}, per processor's second", [t.by_processor for t in each], "MB/s"),
            ]
            if name != "explain":
                ratios = [
                    mine.by_processor / theirs.by_processor
                    for mine, theirs in zip(took["explain"], each, strict=True)
                ]
                figures.append(Figure(f"explain against {name}", ratios, "times"))
        return figures
