"""Scenes for the doctor: a Python, a framework with a runtime of its own, XSched; real files."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from runtimes.conftest import compile_library

from xdiag.discover.root import Root
from xdiag.doctor.interpreter import Interpreter
from xdiag.doctor.patient import Patient

#: The binding of XSched before June 2026 in shape: opens the shim, declares no types.
OLD_BINDING = """
import ctypes
from xsched import *

class XSchedHIP():
    __shim = ctypes.cdll.LoadLibrary("libshimhip.so")

    @staticmethod
    def HIPQueueCreate(stream: ctypes.c_void_p):
        queue = ctypes.c_uint64()
        return XSchedHIP.__shim.HipQueueCreate(ctypes.byref(queue), stream), queue
"""
#: And since: opens the HAL, declares a 64-bit type by a name of its own.
CURRENT_BINDING = """
import ctypes

class XSchedHip:
    __stream_type = ctypes.c_int64
    __dll = ctypes.cdll.LoadLibrary("libhalhip.so")
    __dll.HipQueueCreate.argtypes = [ctypes.POINTER(ctypes.c_uint64), __stream_type]

    @staticmethod
    def HipQueueCreate(stream):
        queue = ctypes.c_uint64()
        return XSchedHip.__dll.HipQueueCreate(ctypes.byref(queue), stream), queue.value
"""
SITE = "usr/lib/python3.11/site-packages"


@dataclass
class Image:
    """An unpacked image: a Python, and what a test puts into it."""

    folder: Path

    @property
    def site(self) -> Path:
        """Where its Python's packages are."""
        return self.folder / SITE

    def runtime(self, path: str, soname: str = "libamdhip64.so.6", marker: str = "") -> Path:
        """A HIP runtime; another ``marker`` makes other bytes."""
        source = f'int hipInit(unsigned flags) {{ return (int)flags; }}\nchar mark[] = "{marker}";'
        return compile_library(self.folder / path, source, f"-Wl,-soname,{soname}")

    def library(self, path: str, *needs: Path, rpath: str = "", runpath: str = "") -> Path:
        """A library that needs others."""
        options = ["-Wl,--no-as-needed", *map(str, needs)]
        if rpath:
            options += ["-Wl,--disable-new-dtags", f"-Wl,-rpath,{rpath}"]
        if runpath:
            options += ["-Wl,--enable-new-dtags", f"-Wl,-rpath,{runpath}"]
        source = "int nothing_of_this_name_elsewhere;"
        return compile_library(self.folder / path, source, *options)

    def write(self, path: str, text: str) -> Path:
        """A text file."""
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def torch(self, hip: str = "6.4.43484", *, bundled: str = "libamdhip64.so.6") -> Path:
        """A framework's wheel: a runtime in torch/lib under RPATH $ORIGIN, and _C that needs it."""
        self.write(f"{SITE}/torch/__init__.py", "")
        self.write(
            f"{SITE}/torch/version.py",
            f"__version__ = '2.9.0+rocm6.4'\nhip = {hip!r}\ncuda = None\n",
        )
        self.write(f"{SITE}/torch-2.9.0+rocm6.4.dist-info/METADATA", "Name: torch\n")
        self.write(f"{SITE}/torch-2.9.0+rocm6.4.dist-info/RECORD",
                   f"torch/__init__.py,,\ntorch/lib/{bundled},,\n")  # fmt: skip
        runtime = self.runtime(f"{SITE}/torch/lib/{bundled}", bundled, marker="torch")
        hip_part = self.library(f"{SITE}/torch/lib/libtorch_hip.so", runtime, rpath="$ORIGIN")
        self.library(
            f"{SITE}/torch/_C.cpython-311-x86_64-linux-gnu.so", hip_part, rpath="$ORIGIN/lib"
        )
        return runtime

    def xsched(self, prefix: str = "opt/xsched") -> None:
        """XSched's libraries and its current binding, on the path of the image's Python."""
        self.library(f"{prefix}/lib/libpreempt.so")
        preempt = self.folder / prefix / "lib" / "libpreempt.so"
        self.library(f"{prefix}/lib/libhalhip.so", preempt, runpath=f"/{prefix}/lib")
        self.write(f"{SITE}/xsched/__init__.py", "")
        self.write(f"{SITE}/xsched/hip/__init__.py", CURRENT_BINDING)

    def patient(self, **environ: str) -> Patient:
        """Examine its Python, started with ``environ``."""
        return Patient(
            root=Root(self.folder),
            environ=environ,
            interpreter=Interpreter("/usr/bin/python3", "the test says so"),
        )


def bare_image(folder: Path) -> None:
    """Make an image with an interpreter by its looks, a C library, and nothing else."""
    program = folder / "usr/bin/python3.11"
    program.parent.mkdir(parents=True)
    subprocess.run(
        ["cc", "-rdynamic", "-x", "c", "-", "-o", str(program)],
        input="int Py_BytesMain(void) { return 0; } int main(void) { return Py_BytesMain(); }",
        text=True, check=True,
    )  # fmt: skip
    (folder / "usr/bin/python3").symlink_to("python3.11")
    library = folder / "usr/lib/python3.11"
    (library / "site-packages").mkdir(parents=True)
    (library / "os.py").write_text("")
    (library / "site.py").write_text("")
    compile_library(
        library / "lib-dynload/_ctypes.cpython-311-x86_64-linux-gnu.so", "int of_ctypes;"
    )
    # The loader and the C library are where the program asks for them.
    for path in _needed_by(program):
        target = folder / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)


def _needed_by(program: Path) -> list[str]:
    listed = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=True)
    return [word for word in listed.stdout.split() if word.startswith("/")]
