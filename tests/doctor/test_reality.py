"""The forecast against what really happens: the foretold program is started, and its maps read."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from runtimes.conftest import compile_library

from doctor.scenes import CURRENT_BINDING
from xdiag.discover.root import Root
from xdiag.doctor.forecast import forecast
from xdiag.doctor.interpreter import Interpreter
from xdiag.doctor.patient import Patient
from xdiag.model import Target

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
#: A library that looks for the runtime as XSched's does, and opens it in the same mode.
HAL = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
int HipQueueCreate(void *queue, long long stream)
{
    const char *path = getenv("XSCHED_HIP_LIB");
    (void)queue; (void)stream;
    return dlopen(path ? path : "/opt/rocm/lib/libamdhip64.so", RTLD_NOW | RTLD_LOCAL | MODE) == 0;
}
"""
PROGRAM = """
import json, torch
from xsched.hip import XSchedHip
assert XSchedHip.HipQueueCreate(1)[0] == 0, "the runtime did not open"
import opener
found = set()
for line in open("/proc/self/maps"):
    fields = line.split()
    name = fields[-1].rpartition("/")[2]
    if "r-xp" in line and name.startswith("libamdhip64"):
        found.add((fields[3], int(fields[4])))
print(json.dumps(sorted(found)))
"""


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


@pytest.fixture
def fake(tmp_path: Path, fake_library: Path) -> Scene:
    """A scene on the fake runtime."""
    return Scene(tmp_path, fake_library, {}, "RTLD_DEEPBIND")


def _file(path: Path) -> tuple[int, int]:
    return path.stat().st_dev, path.stat().st_ino


def test_two_runtimes_are_foretold_and_come_true(fake: Scene) -> None:
    fake.environ["XSCHED_HIP_LIB"] = str(fake.second)
    assert fake.foretold() == fake.mapped() == {_file(fake.bundled), _file(fake.second)}


@pytest.mark.parametrize("way", ["the path", "a symlink", "a hardlink"])
def test_one_runtime_is_foretold_and_comes_true(fake: Scene, way: str) -> None:
    fake.second.unlink()
    if way == "a symlink":
        fake.second.symlink_to(fake.bundled)
    elif way == "a hardlink":
        os.link(fake.bundled, fake.second)
    path = fake.bundled if way == "the path" else fake.second
    if way == "the path":
        shutil.copy(fake.bundled, fake.second)
    fake.environ["XSCHED_HIP_LIB"] = str(path)
    assert fake.foretold() == fake.mapped() == {_file(fake.bundled)}


@pytest.mark.parametrize("preload", [False, True])
def test_a_bare_name_finds_the_loaded_soname_else_the_library_path(
    fake: Scene, preload: bool
) -> None:
    fake.environ["XSCHED_HIP_LIB"] = str(fake.bundled)
    fake.environ["LD_LIBRARY_PATH"] += f":{fake.second.parent}"
    (fake.second.parent / "libamdhip64.so").symlink_to(fake.second.name)
    if preload:
        fake.environ["LD_PRELOAD"] = str(fake.second)
    fake.opener("libamdhip64.so.5")
    first = fake.second if preload else fake.bundled
    expected = {_file(first), _file(fake.bundled)}
    assert fake.foretold() == fake.mapped() == expected
    # Without its number the name matches no SONAME that is loaded.
    fake.opener("libamdhip64.so")
    assert fake.foretold() == fake.mapped() == {_file(fake.bundled), _file(fake.second)}


@pytest.mark.parametrize("split", [True, False])
def test_with_amds_own_runtime(tmp_path: Path, real_target: Target, split: bool) -> None:
    environ = {
        **real_target.environment,
        "LD_LIBRARY_PATH": ":".join(real_target.library_path),
    }
    # AMD's build is called libamdhip64.so.5.2.21153; its SONAME is what it is installed under.
    runtime = tmp_path / real_target.soname
    shutil.copy(real_target.runtime, runtime)
    # RTLD_DEEPBIND of a second copy crashes in a program that is no PIE: docs/why-709.md.
    scene = Scene(tmp_path, runtime, environ, "0")
    scene.environ["XSCHED_HIP_LIB"] = str(scene.second if split else scene.bundled)
    expected = {_file(scene.bundled), _file(scene.second)} if split else {_file(scene.bundled)}
    assert scene.foretold() == scene.mapped() == expected
