"""Real processes that open what they are told, and tiny libraries by the runtimes' names."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from runtimes.conftest import compile_library

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).parent
HIP = "int hipInit(unsigned flags) { return (int)flags; }"
#: A function, and one that needs it, for libraries that need each other.
USES = "int hipInit(unsigned); int use_%s(void) { return hipInit(0); }"


class Opener:
    """A running process that obeys: ``opener.tell("open /a/lib.so")``."""

    def __init__(self, command: list[str], **options: object) -> None:
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            encoding="utf-8", errors="surrogateescape", **options,
        )  # fmt: skip
        self._until_done()

    @property
    def pid(self) -> int:
        """Of the process that obeys: a helper may have started it."""
        pid = self.process.pid
        while self.process.args[0] in ("unshare", "chroot"):  # type: ignore[index]
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            if not children:
                break
            pid = int(children[0])
        return pid

    def tell(self, *lines: str) -> str:
        """Do these; what was printed besides."""
        said = ""
        for line in lines:
            assert self.process.stdin is not None
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
            said += self._until_done()
        return said

    def _until_done(self) -> str:
        said = ""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line == "done\n":
                return said
            said += line
        raise AssertionError(f"it ended: {said}")

    def end(self) -> None:
        """Kill it."""
        self.process.kill()
        self.process.communicate()


def compile_program(path: Path, *options: str, source: Path = HERE / "opener.c") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        ["cc", "-O1", "-g", "-pthread", "-Wl,--build-id", str(source), "-o", str(path), *options,
         "-ldl"], check=True,
    )  # fmt: skip
    return path


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, linked to nothing of interest."""
    return compile_program(tmp_path_factory.mktemp("opener") / "opener")


@pytest.fixture
def start(program: Path) -> Iterator[Callable[..., Opener]]:
    """Start a process: ``start("open /a/lib.so", program=..., before=["unshare", "-m"])``."""
    begun: list[Opener] = []

    def begin(
        *lines: str, program: Path = program, before: list[str] | None = None, **options: object
    ) -> Opener:
        opener = Opener([*(before or []), str(program)], **options)
        begun.append(opener)
        opener.tell(*lines)
        return opener

    yield begin
    for each in begun:
        each.end()


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A runtime, compiled once; tests copy it."""
    return compile_library(tmp_path_factory.mktemp("built") / "libamdhip64.so.6", HIP)


@pytest.fixture
def runtime(built: Path, tmp_path: Path) -> Callable[[str], Path]:
    """A copy of the runtime below the test's directory: ``runtime("a/libamdhip64.so.6")``."""

    def make(name: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copy(built, path))

    return make


def may(*command: str) -> bool:
    """Whether a command is permitted here."""
    try:
        return subprocess.run(command, capture_output=True, timeout=20).returncode == 0
    except OSError:
        return False


needs_mounts = pytest.mark.skipif(
    os.geteuid() != 0 or not may("unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt"),
    reason="mounting is not permitted here",
)
needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or not may("setpriv", "--reuid", "65534", "--clear-groups", "true"),
    reason="only root can become another user",
)
