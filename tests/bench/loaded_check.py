"""What ``xdiag.assert_single_runtime()`` costs: the call, its import, and what the map alone takes.

The call is measured in processes of three sizes, each with one runtime loaded, against reading
/proc/self/maps, which it cannot do without; with two runtimes it also asks the loader's list for
their order.  Import and first call are those of a fresh interpreter, above one that does nothing.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.figure import Figure
from xdiag.model import Target

RUNS = 40
CALLS = 200

#: Arguments: a folder of libraries, mappings to make, a second runtime, and how often to call.
CHILD = """
import ctypes, glob, json, sys, time
keep = [ctypes.CDLL(path) for path in sorted(glob.glob(sys.argv[1] + "/*"))]
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_size_t
libc.mmap.argtypes = (ctypes.c_size_t,) * 2 + (ctypes.c_int,) * 3 + (ctypes.c_size_t,)
wanted, calls = int(sys.argv[2]), int(sys.argv[4])
space = libc.mmap(0, 8192 * wanted or 8192, 0, 0x22, -1, 0)
with open(sys.executable, "rb") as file:
    for page in range(wanted // 2):
        libc.mmap(space + 8192 * page, 4096, 1, 0x12, file.fileno(), 0)
import xdiag
from xdiag import loaded
def alone():
    with open("/proc/self/maps", "rb", buffering=0) as file:
        return file.read()
def check():
    try:
        xdiag.assert_single_runtime()
    except xdiag.TwoRuntimesError:
        pass
def timed(call):
    begun = time.perf_counter()
    call()
    return (time.perf_counter() - begun) * 1e3
alone(), check()
read, checked = [], []
for _ in range(calls):
    read.append(timed(alone))
    checked.append(timed(check))
keep.append(ctypes.CDLL(sys.argv[3]))
check()
second = [timed(check) for _ in range(calls)]
print(json.dumps([alone().count(b"\\n"), read, checked, second]))
"""


def _libraries(folder: Path, count: int) -> Path:
    """A folder with one runtime and ``count`` other libraries, and a second runtime beside it."""
    folder.mkdir()
    runtime = folder.parent / "libamdhip64.so.6"
    if not runtime.exists():
        subprocess.run(
            ["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(runtime)],
            input="int hipInit(unsigned flags) { return (int)flags; }", text=True, check=True,
        )  # fmt: skip
    shutil.copy(runtime, folder / "libamdhip64.so")
    for number in range(count):
        shutil.copy(runtime, folder / f"lib{number}.so")
    return folder


def _calls(name: str, folder: Path, mappings: int) -> list[Figure]:
    second = str(folder.parent / "libamdhip64.so.6")
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(folder), str(mappings), second, str(CALLS)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    lines, read, checked, two = json.loads(done.stdout)
    where = f"{name} ({lines:,} mappings)"
    return [
        Figure(f"reading the map alone, {where}", read, "ms"),
        Figure(f"assert_single_runtime(), {where}", checked, "ms", aim="under 5"),
        Figure(f"the same, with two runtimes, {where}", two, "ms", aim="under 5"),
    ]


def _fresh() -> list[Figure]:
    """Milliseconds of fresh interpreters, in turn; their medians' differences."""
    codes = ("pass", "import xdiag.loaded", "import xdiag; xdiag.assert_single_runtime()")
    times: dict[str, list[float]] = {code: [] for code in codes}
    for round_ in range(RUNS + 1):
        for code in codes:
            begun = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)
            if round_:  # the first warms the page cache
                times[code].append((time.perf_counter() - begun) * 1e3)
    nothing, imported, called = (statistics.median(times[code]) for code in codes)
    return [
        *(Figure(f'python -c "{code}"', samples, "ms") for code, samples in times.items()),
        Figure("import xdiag.loaded, above nothing", [imported - nothing], "ms", aim="under 5"),
        Figure("import and first call, above nothing", [called - nothing], "ms", aim="under 5"),
    ]


def run(target: Target) -> list[Figure]:
    """The call in a small process, with 300 libraries, and with 10,000 mappings; the import."""
    del target
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        return [
            *_calls("small process", _libraries(folder / "small", 0), 0),
            *_calls("300 libraries", _libraries(folder / "many", 300), 0),
            *_calls("many mappings", _libraries(folder / "maps", 0), 10_000),
            *_fresh(),
        ]
