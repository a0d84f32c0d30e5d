"""Children that end in every way."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from xdiag.workload.children import run


def _python(code: str, timeout: float = 20):
    return run([sys.executable, "-c", code], os.environ, timeout)


def test_one_that_ends_well() -> None:
    ended = _python("print('a'); print('b')")
    assert (ended.ending, ended.status, ended.last_line) == ("ok", 0, "b")


def test_one_that_exits_says_why() -> None:
    ended = _python("import sys; sys.exit('[ERRO] hip error 709')")
    assert (ended.ending, ended.status, ended.last_line) == ("exit", 1, "[ERRO] hip error 709")


def test_one_that_crashes() -> None:
    ended = _python("import os; os.kill(os.getpid(), 11)")
    assert (ended.ending, ended.status, ended.last_line) == ("crash", signal.SIGSEGV, "")


def test_one_that_hangs_is_killed_with_what_it_started() -> None:
    began = time.monotonic()
    code = (
        "import subprocess, time;"
        "print(subprocess.Popen(['sleep', '60']).pid, flush=True); time.sleep(60)"
    )
    ended = _python(code, timeout=1.5)
    assert ended.ending == "hang"
    assert time.monotonic() - began < 15
    with pytest.raises(ProcessLookupError):
        _gone(int(ended.last_line))


def test_what_it_leaves_behind_does_not_hold_it_up() -> None:
    began = time.monotonic()
    ended = _python("import subprocess; print(subprocess.Popen(['sleep', '60']).pid)")
    assert ended.ending == "ok"
    assert time.monotonic() - began < 15
    with pytest.raises(ProcessLookupError):
        _gone(int(ended.last_line))


def _gone(pid: int) -> None:
    """Raise ProcessLookupError as soon as there is no such process, or only its number."""
    for _ in range(100):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")")[-1].split()[0]
        except FileNotFoundError:
            raise ProcessLookupError from None
        if state in "ZX":
            raise ProcessLookupError
        time.sleep(0.02)


def test_of_a_flood_the_end_is_kept() -> None:
    ended = _python("for i in range(200_000): print('x' * 40, i)")
    assert ended.ending == "ok"
    assert len(ended.output) <= 64 << 10
    assert ended.last_line.endswith("199999")


def test_one_that_closes_its_output_goes_on() -> None:
    ended = _python("import os, time; os.close(1); os.close(2); time.sleep(0.3); os._exit(7)")
    assert (ended.ending, ended.status) == ("exit", 7)


def test_one_that_is_none() -> None:
    ended = run(["/no/such/program"], os.environ, 1)
    assert ended.ending == "not-started"
    assert "/no/such/program" in ended.last_line
