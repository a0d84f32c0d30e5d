"""Two copies of a runtime: a framework brings one of them, programs open the other."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from runtimes.conftest import compile_library

from xdiag.launch import audit_library
from xdiag.recording import create
from xdiag.recording.read import Recording, read

HERE = Path(__file__).parent
WARNINGS = ("-O1", "-g", "-Wall", "-Wextra", "-Werror", "-pthread")
#: What a library is linked against whose file asks for a runtime by an unusual name.
STUB = "int hipInit(unsigned f) { return (int)f; } int hipStreamGetFlags(void *s, unsigned *f)"
STUB += " { return s && f; }"


def program(output: Path, source: Path, *options: str) -> Path:
    """A C program, compiled."""
    command = ["cc", *WARNINGS, str(source), "-o", str(output), *options, "-ldl"]
    subprocess.run(command, check=True)
    return output


def library(output: Path, source: Path, *options: str) -> Path:
    """A shared library, compiled."""
    return compile_library(output, source.read_text(), *WARNINGS, *options, "-ldl")


@dataclass
class Scene:
    """The files, and how to start programs on them."""

    folder: Path
    runtime: Path
    soname: str
    environ: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.bundled = self._copy("framework")
        self.second = self._copy("rocm")
        (self.second.parent / "libamdhip64.so").symlink_to(self.second.name)
        self.link = self.folder / "rocm" / "libhip-by-another-name.so"
        self.link.symlink_to("libamdhip64.so")
        self.framework = library(
            self.folder / "framework/libframework.so", HERE / "framework.c",
            "-Wl,--no-as-needed", str(self.bundled), "-Wl,--disable-new-dtags",
            "-Wl,-rpath,$ORIGIN", "-Wl,--allow-shlib-undefined",
        )  # fmt: skip
        self.by_path = library(
            self.folder / "framework/libframework-by-path.so", HERE / "framework.c",
            f'-DBY_PATH="{self.soname}"',
        )  # fmt: skip
        stub = compile_library(self.folder / "stub/libamdhip64.so", STUB)
        self.user = library(
            self.folder / "user/libuser.so", HERE / "user.c", str(stub),
            "-Wl,--enable-new-dtags", "-Wl,-rpath,$ORIGIN/../rocm",
        )  # fmt: skip
        self.shim = library(self.folder / "shim/libxsched-shim.so", HERE / "shim.c")
        self.program = program(self.folder / "routes", HERE / "routes.c")
        self.usual = {
            **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
            **self.environ,
        }
        path = [str(self.shim.parent), *self.usual.get("LD_LIBRARY_PATH", "").split(":")]
        self.usual["LD_LIBRARY_PATH"] = ":".join(filter(None, path))

    def found_by_name(self) -> dict[str, str]:
        """The environment in which the second copy is on the library path."""
        path = f"{self.second.parent}:{self.usual['LD_LIBRARY_PATH']}"
        return {"LD_LIBRARY_PATH": path}

    def start(
        self, command: list[str | Path], *, unify: bool, cwd: Path | None = None, **extra: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command without and with the audit library that makes one runtime out of two."""
        audited = {"LD_AUDIT": audit_library.path(), "XDIAG_UNIFY": "libamdhip64"}
        environ = {**self.usual, **(audited if unify else {}), **extra}
        return subprocess.run(
            list(map(str, command)), env=environ, cwd=cwd or self.folder, capture_output=True,
            text=True, timeout=60, check=False,
        )  # fmt: skip

    def route(
        self, route: str, name: str | Path, order: str = "", *, unify: bool,
        before: tuple[str, ...] = (), framework: Path | None = None, cwd: Path | None = None,
        **extra: str,
    ) -> str:  # fmt: skip
        """What the C program prints: the code, and whether the two are the same runtime."""
        command: list[str | Path] = [
            *before, self.program, route, name, framework or self.framework, self.bundled, order,
        ]  # fmt: skip
        done = self.start(command, unify=unify, cwd=cwd, **extra)
        assert done.returncode in (0, 2), (done.returncode, done.stdout, done.stderr)
        return done.stdout.strip()

    def python(
        self, how: str, name: str | Path, *, unify: bool, cwd: Path | None = None, **extra: str
    ) -> str:
        """The same of a Python program."""
        command: list[str | Path] = [
            sys.executable, HERE / "routes.py", how, name, self.framework, self.bundled,
        ]  # fmt: skip
        done = self.start(command, unify=unify, cwd=cwd, **extra)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def _copy(self, folder: str) -> Path:
        target = self.folder / folder / self.soname
        target.parent.mkdir(parents=True)
        return Path(shutil.copy(self.runtime, target))


def record(folder: Path, **sizes: int) -> tuple[Path, dict[str, str]]:
    """A new record file, and what tells a program to write into it."""
    path = folder / "record"
    create.create(path, command=["test"], **sizes).close()
    return path, {"LD_AUDIT": audit_library.path(), "XDIAG_RECORD": str(path)}


def recording(path: Path) -> Recording:
    """A record file, read."""
    return read(path)
