"""A framework with a bundled runtime, XSched, a package that opens one: files that can be run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from doctor.scenes import CURRENT_BINDING, OLD_BINDING
from runtimes.conftest import compile_library

from xdiag.discover.root import Root
from xdiag.doctor.forecast import forecast
from xdiag.doctor.interpreter import Interpreter
from xdiag.doctor.patient import Patient

#: What torch/__init__.py does with its libraries, in its order.
TORCH = """
import ctypes, os
_lib = os.path.join(os.path.dirname(__file__), "lib")
ctypes.CDLL(os.path.join(_lib, "libtorch_global_deps.so"), ctypes.RTLD_GLOBAL)
from torch import _C
"""
EXTENSION = """
#include <Python.h>
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_C", 0, -1, 0, 0, 0, 0, 0};
PyMODINIT_FUNC PyInit__C(void) { return PyModule_Create(&module); }
"""
#: A library that looks for the runtime as XSched's does and opens it in the same mode.  It asks
#: that runtime for the stream's flags and returns the answer; -1 without a runtime, 0 for a NULL
#: stream.
HAL = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
int HipQueueCreate(void *queue, long long stream)
{
    const char *path = getenv("XSCHED_HIP_LIB");
    unsigned value;
    const char *wanted = path ? path : "/opt/rocm/lib/libamdhip64.so";
    void *runtime = dlopen(wanted, RTLD_NOW | RTLD_LOCAL | MODE);
    int (*init)(unsigned), (*flags)(void *, unsigned *);
    (void)queue;
    if (!runtime)
        return -1;
    *(void **)&init = dlsym(runtime, "hipInit");
    *(void **)&flags = dlsym(runtime, "hipStreamGetFlags");
    return stream ? init(0), flags((void *)stream, &value) : 0;
}
"""
PROGRAM = """
import json, torch
from xsched.hip import XSchedHip
assert XSchedHip.HipQueueCreate(0)[0] == 0, "the runtime did not open"
import opener
found = set()
for line in open("/proc/self/maps"):
    fields = line.split()
    name = fields[-1].rpartition("/")[2]
    if "r-xp" in line and name.startswith("libamdhip64"):
        found.add((fields[3], int(fields[4])))
print(json.dumps(sorted(found)))
"""

#: The case: the main thread makes a stream with the framework's runtime, a worker hands it on to
#: XSched.  Prints what HipQueueCreate returned; exits with 1 if that was an error, as XSched does.
CASE = """
import ctypes, sys, threading
import torch
from xsched.hip import XSchedHip
import opener
hip = ctypes.CDLL({bundled!r})
assert hip.hipInit(0) == 0
stream = ctypes.c_void_p()
assert hip.hipStreamCreateWithFlags(ctypes.byref(stream), 1) == 0
codes = []
def work():
    codes.append(XSchedHip.HipQueueCreate(stream.value)[0])
worker = threading.Thread(target=work)
worker.start()
worker.join()
print("HipQueueCreate", codes[0], flush=True)
sys.exit(codes[0] != 0)
"""


#: The same through XSched's binding of before June 2026.  A thread makes the stream, so that its
#: handle needs more than 32 bits even in a program whose heap is low.
OLD_CASE = (
    CASE.replace("xsched.hip import XSchedHip", "xsched_hip import XSchedHIP")
    .replace("XSchedHip.HipQueueCreate", "XSchedHIP.HIPQueueCreate")
    .replace(
        "assert hip.hipStreamCreateWithFlags(ctypes.byref(stream), 1) == 0",
        "make = lambda: hip.hipStreamCreateWithFlags(ctypes.byref(stream), 1)"
        "\nmaker = threading.Thread(target=make)\nmaker.start()\nmaker.join()",
    )
)


class Scene:
    """A site directory for this interpreter, with everything that the program imports."""

    def __init__(self, folder: Path, runtime: Path, environ: dict[str, str], mode: str) -> None:
        self.site = folder / "site"
        self.bundled = self._copy(runtime, "torch/lib")
        self.second = self._copy(runtime, "rocm/lib")
        self.environ = {
            **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
            **environ,
            "PYTHONPATH": str(self.site),
        }
        earlier = environ.get("LD_LIBRARY_PATH", "")
        self.environ["LD_LIBRARY_PATH"] = f"{self.site}/xsched/lib:{earlier}".rstrip(":")
        needs = ["-Wl,--no-as-needed", str(self.bundled)]
        by_rpath = ["-Wl,--disable-new-dtags", "-Wl,-rpath,$ORIGIN"]
        lib = self.site / "torch/lib"
        compile_library(lib / "libtorch_global_deps.so", "int global_deps;")
        hip_part = compile_library(lib / "libtorch_hip.so", "int hip_part;", *needs, *by_rpath)
        compile_library(
            self.site / f"torch/_C{sysconfig.get_config_var('EXT_SUFFIX')}", EXTENSION,
            f"-I{sysconfig.get_paths()['include']}", "-Wl,--no-as-needed", str(hip_part),
            "-Wl,--disable-new-dtags", "-Wl,-rpath,$ORIGIN/lib",
        )  # fmt: skip
        self._write("torch/__init__.py", TORCH)
        self._write("torch/version.py", "__version__ = '2'\nhip = '5.2'\ncuda = None\n")
        compile_library(self.site / "xsched/lib/libhalhip.so", HAL, f"-DMODE={mode}", "-ldl")
        self._write("xsched/__init__.py", "")
        self._write("xsched/hip/__init__.py", CURRENT_BINDING)
        self._write("opener.py", "")

    def opener(self, name: str) -> None:
        """A package that opens the runtime by this name."""
        self._write("opener.py", f'import ctypes\nctypes.CDLL("{name}")\n')

    def old_case(self) -> Path:
        """The case's program with the old binding, which opens the shim."""
        shutil.copy(self.site / "xsched/lib/libhalhip.so", self.site / "xsched/lib/libshimhip.so")
        self._write("xsched_hip.py", OLD_BINDING)
        self._write("old_case.py", OLD_CASE.format(bundled=str(self.bundled)))
        return self.site / "old_case.py"

    def case(self) -> Path:
        """The case's program, as a script."""
        self._write("case.py", CASE.format(bundled=str(self.bundled)))
        return self.site / "case.py"

    def foretold(self) -> set[tuple[int, int]]:
        """Device and inode of each copy that the doctor expects."""
        python = Interpreter(sys.executable, "the test says so")
        told = forecast(Patient(Root(), self.environ, python, cwd=str(self.site)))
        assert not [problem for party in told.parties for problem in party.problems]
        return set(told.copies("libamdhip64"))

    def mapped(self) -> set[tuple[int, int]]:
        """Device and inode of each copy that the program really had."""
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], env=self.environ, cwd=self.site, capture_output=True,
            text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        files = (self.bundled, self.second)
        by_inode = {file.stat().st_ino: file.stat().st_dev for file in files}
        return {(by_inode[inode], inode) for _, inode in json.loads(done.stdout)}

    def _copy(self, runtime: Path, folder: str) -> Path:
        target = self.site / folder / runtime.name
        target.parent.mkdir(parents=True)
        return Path(shutil.copy(runtime, target))

    def _write(self, path: str, text: str) -> None:
        file = self.site / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
