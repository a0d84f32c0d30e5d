"""The case as files that can be run: a framework with a runtime of its own, XSched, a worker.

From the directory ``tests``, ``python -m case.scene DIR [--xsched PREFIX] [--old-xsched PREFIX]``
builds it in DIR.  A shell starts its programs after ``. DIR/env.sh``; with XSched's binding of
before June 2026, after ``. DIR/old.sh``.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from doctor.scenes import CURRENT_BINDING, OLD_BINDING
from framework import CASE, EXTENSION, HAL, OLD_CASE, TORCH
from runtimes.conftest import compile_library

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xdiag.model import Target

#: The second plan: no Python.  The main thread makes the stream, a std::thread hands it on.
NATIVE = """
#include <cstdio>
#include <cstdlib>
#include <thread>
extern "C" int hipInit(unsigned);
extern "C" int hipStreamCreateWithFlags(void **, unsigned);
extern "C" int HipQueueCreate(void *, long long);
int main()
{
    void *stream = nullptr, *queue = nullptr;
    int code = -1;
    if (hipInit(0) || hipStreamCreateWithFlags(&stream, 1))
        return 3;
    std::thread worker([&] { code = HipQueueCreate(&queue, (long long)stream); });
    worker.join();
    std::printf("HipQueueCreate %d\\n", code);
    std::fflush(stdout);
    std::exit(code != 0);
}
"""


@contextmanager
def short_directory() -> Iterator[Path]:
    """A directory with a short name: xdiag breaks a path that is longer than a line."""
    with tempfile.TemporaryDirectory(prefix="", dir="/tmp") as folder:
        yield Path(folder)


class CaseScene:
    """The case in a directory: ``env`` is the program's Python, ``rocm`` the machine's ROCm.

    Args:
        folder: where it is built; made if it is not there.
        target: the HIP runtime to copy, and what it needs below.
        xsched: an installation of the real XSched; without one a library of a few lines stands in.
        old: the same of before June 2026.
    """

    def __init__(
        self, folder: Path, target: Target, xsched: Path | None = None, old: Path | None = None
    ) -> None:
        self.folder = folder
        self.python = folder / "env/bin/python"
        # The interpreter's own libraries are enough: nothing is installed with pip.
        subprocess.run(
            [sys.executable, "-m", "venv", "--without-pip", str(folder / "env")], check=True
        )
        ask = "import sysconfig; v = sysconfig.get_config_vars(); p = sysconfig.get_paths(); "
        ask += "print(p['purelib'], p['include'], v['EXT_SUFFIX'], sep='\\n')"
        asked = subprocess.run(
            [self.python, "-c", ask], check=True, capture_output=True, text=True
        )  # fmt: skip
        site, include, suffix = asked.stdout.splitlines()
        self.site = Path(site)
        self.bundled = self._runtime(target, self.site / "torch/lib")
        self.second = self._runtime(target, folder / "rocm/lib")
        self._torch(include, suffix)
        self._xsched(xsched)
        self._old_xsched(old)
        self._write(folder / "case.py", CASE.format(bundled=str(self.bundled)))
        self._write(folder / "old_case.py", OLD_CASE.format(bundled=str(self.bundled)))
        # The case's programs import it; here nothing but torch and XSched opens a runtime.
        self._write(folder / "opener.py", "")
        self._native()
        # Of the directories that the runtime is run with, its own would be a third copy.
        below = [path for path in target.library_path if path != str(Path(target.runtime).parent)]
        variables = {
            "PATH": f"{self.python.parent}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(folder / "xsched/python"),
            "LD_LIBRARY_PATH": ":".join([str(folder / "xsched/lib"), *below]),
            "ROCM_PATH": str(folder / "rocm"),
            "XSCHED_HIP_LIB": str(self.second),
            **target.environment,
        }
        self._shell("env.sh", {**variables, "TORCH_LIB": str(self.bundled.parent)})
        older = {
            "PYTHONPATH": str(folder / "old"),
            "LD_LIBRARY_PATH": ":".join([str(folder / "old/lib"), *below]),
        }
        self._shell("old.sh", {**variables, **older, "TORCH_LIB": str(self.bundled.parent)})

    def _shell(self, name: str, variables: dict[str, str]) -> None:
        """What a shell reads before a program of the scene is started."""
        lines = [f"export {name}='{value}'" for name, value in variables.items()]
        self._write(self.folder / name, "\n".join([*lines, f"cd '{self.folder}'", ""]))

    def _runtime(self, target: Target, folder: Path) -> Path:
        """A copy under its SONAME, and the link that ROCm has beside it."""
        folder.mkdir(parents=True)
        copy = Path(shutil.copy(target.runtime, folder / target.soname))
        link = folder / "libamdhip64.so"
        link.symlink_to(copy.name)
        return link if folder.parent.name == "rocm" else copy

    def _torch(self, include: str, suffix: str) -> None:
        by_rpath = ["-Wl,--no-as-needed", "-Wl,--disable-new-dtags"]
        lib = self.site / "torch/lib"
        compile_library(lib / "libtorch_global_deps.so", "int global_deps;")
        hip_part = compile_library(
            lib / "libtorch_hip.so", "int hip_part;", *by_rpath, str(self.bundled),
            "-Wl,-rpath,$ORIGIN",
        )  # fmt: skip
        compile_library(
            self.site / f"torch/_C{suffix}", EXTENSION, f"-I{include}", *by_rpath, str(hip_part),
            "-Wl,-rpath,$ORIGIN/lib",
        )  # fmt: skip
        self._write(self.site / "torch/__init__.py", TORCH)
        self._write(self.site / "torch/version.py", "__version__ = '2'\nhip = '5.2'\ncuda = None\n")

    def _xsched(self, prefix: Path | None) -> None:
        lib, python = self.folder / "xsched/lib", self.folder / "xsched/python"
        if prefix is None:
            for name in ("libhalhip.so", "libshimhip.so"):
                compile_library(lib / name, HAL, "-DMODE=0", "-ldl")
            self._write(python / "xsched/__init__.py", "")
            self._write(python / "xsched/hip/__init__.py", CURRENT_BINDING)
            return
        lib.mkdir(parents=True)
        for name in ("libhalhip.so", "libpreempt.so", "libshimhip.so"):
            shutil.copy(prefix / "lib" / name, lib)
        shutil.copytree(prefix / "lib/python/xsched", python / "xsched")

    def _old_xsched(self, prefix: Path | None) -> None:
        """In a directory of its own; who has updated XSched may have both."""
        old, lib = self.folder / "old", self.folder / "old/lib"
        if prefix is None:
            compile_library(lib / "libshimhip.so", HAL, "-DMODE=0", "-ldl")
            self._write(old / "xsched.py", "")
            self._write(old / "xsched_hip.py", OLD_BINDING)
            return
        lib.mkdir(parents=True)
        for name in ("libhalhip.so", "libpreempt.so", "libshimhip.so"):
            shutil.copy(prefix / "lib" / name, lib)
        for name in ("xsched.py", "xsched_hip.py"):
            shutil.copy(prefix / "include" / name, old)

    def _native(self) -> None:
        """One source, linked to the machine's runtime and to the framework's."""
        self._write(self.folder / "native.cpp", NATIVE)
        xsched = self.folder / "xsched/lib"
        for name, runtime in (("native", self.second), ("native-torch", self.bundled)):
            subprocess.run(
                ["c++", "-std=c++17", "-Wall", "-Wextra", "-Werror", "native.cpp", "-o", name,
                 "-pthread", str(runtime), str(xsched / "libhalhip.so"),
                 "-Wl,--allow-shlib-undefined", "-Wl,--disable-new-dtags",
                 f"-Wl,-rpath,{runtime.parent}:{xsched}"],
                cwd=self.folder, check=True,
            )  # fmt: skip

    @staticmethod
    def _write(file: Path, text: str) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def main() -> None:
    """Build the scene in the directory that is named."""
    from xdiag.runtimes.choose import choose

    parser = argparse.ArgumentParser(prog="python -m case.scene", description=__doc__)
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--xsched", type=Path, metavar="PREFIX")
    parser.add_argument("--old-xsched", type=Path, metavar="PREFIX")
    asked = parser.parse_args()
    if asked.folder.exists() and any(asked.folder.iterdir()):
        parser.error(f"{asked.folder} is not empty")
    target = choose(None, "software")
    scene = CaseScene(asked.folder.resolve(), target, asked.xsched, asked.old_xsched)
    print(f". {scene.folder}/env.sh")


if __name__ == "__main__":
    main()
