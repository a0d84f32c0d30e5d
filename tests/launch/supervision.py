"""Commands that are started directly and supervised, and what can be seen of them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SUPERVISED = [sys.executable, str(HERE / "supervised.py")]
DIRECT: list[str] = []
BOTH = pytest.mark.parametrize(
    "way", [pytest.param(DIRECT, id="direct"), pytest.param(SUPERVISED, id="supervised")]
)
#: Seconds in which anything here has happened, on a machine that is busy with other things.
PATIENCE = 20.0
#: Seconds in which a signal that was sent too often would have come again.
ONCE_MORE = 0.15


def run(way: list[str], *command: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*way, *command], capture_output=True, text=True, timeout=PATIENCE, **options
    )  # fmt: skip


def until(true: Callable[[], object]) -> None:
    """Wait for something to become true."""
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def state_of(pid: int) -> str:
    """The state of a process (proc(5): R, S, T, Z); X for one that is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"


def children(pid: int) -> dict[str, int]:
    """Child processes by name."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return {Path(f"/proc/{each}/comm").read_text().strip(): int(each) for each in found}


class Catcher:
    """A command that tells which signals it gets, started one way or the other."""

    def __init__(self, way: list[str], *command: str, **options: object) -> None:
        self.process = subprocess.Popen(
            [*way, *command], stdout=subprocess.PIPE, start_new_session=True, **options
        )  # fmt: skip
        self.text = ""
        #: Of the command itself, once it has told.
        self.pid = self.group = self.process.pid
        self._supervised = bool(way)

    def wait_until_ready(self) -> None:
        self.read(lambda: self.text.endswith("\n"))
        word, pid = self.text.split()
        assert word == "ready"
        self.text = ""
        self.pid = int(pid)
        if self._supervised:
            until(lambda: "signal-witness" in children(self.process.pid))

    def read(self, enough: Callable[[], object], patience: float = PATIENCE) -> None:
        assert self.process.stdout is not None
        os.set_blocking(self.process.stdout.fileno(), False)
        end = time.monotonic() + patience
        while not enough() and time.monotonic() < end:
            block = self.process.stdout.read()
            self.text += (block or b"").decode()
            time.sleep(0.002)

    def got(self, expected: int) -> list[int]:
        """What came: waits for so many, and whether one more does."""
        self.read(lambda: self.text.count("\n") >= expected)
        self.read(lambda: False, ONCE_MORE)
        numbers = [int(each) for each in self.text.split()]
        self.text = ""
        return numbers
