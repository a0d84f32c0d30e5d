"""xdiag explain as users call it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from recording.writer import Written

from xdiag.recording.report import Report

Explain = Callable[..., subprocess.CompletedProcess[str]]

A, B = "/torch/lib/libamdhip64.so.6", "/opt/rocm/lib/libamdhip64.so.6"
STREAM = 0x7F12_8765_4320


@pytest.fixture
def explain(home: dict[str, str]) -> Explain:
    """Run ``xdiag explain``."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "xdiag", "explain", *map(str, arguments)], env=home,
            capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    return run


@pytest.fixture
def record(tmp_path: Path) -> Written:
    """One process, one copy, a stream that is used as it should be."""
    written = Written(tmp_path / "run.xdiag")
    process = written.process(100)
    a = process.runtime(A, 1)
    process.runtime(B, 1.5)
    thread = process.thread()
    thread.make(a, STREAM, 10)
    thread.use(a, STREAM, 20)
    return written


@pytest.fixture
def fault(record: Written) -> Path:
    """The same with a thread that gives the stream to the other copy."""
    from recording.writer import Process

    Process(record, 100).thread(101, 25).use(2, STREAM, 30, result=709)
    return record.path


def test_a_fault(explain: Explain, fault: Path) -> None:
    done = explain(fault)
    assert (done.returncode, done.stderr) == (1, "")
    shown = " ".join(done.stdout.split())
    assert f"FAIL two-runtimes stream {STREAM:#x} was made by A ({A}) and given to B ({B})" in shown
    assert "3 calls seen, 3 kept, 1 failed (1 with 709)" in shown


def test_no_fault(explain: Explain, record: Written) -> None:
    done = explain(record.path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "WARN  two-runtimes-loaded" in done.stdout


def test_a_handle_where_nothing_failed(explain: Explain, record: Written) -> None:
    done = explain(record.path, "--handle", hex(STREAM))
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == f"handle {STREAM:#x}"
    assert "was made by A" in lines[1]
    assert [line.split()[2].rstrip(":") for line in lines if " s  " in line] == ["made", "used"]
    assert explain(record.path, "--handle", STREAM).stdout == done.stdout
    nothing = explain(record.path, "--handle", "0x1234")
    assert "no call that the record has was given 0x1234" in nothing.stdout


def test_json(explain: Explain, fault: Path, tmp_path: Path) -> None:
    done = explain(fault, "--json", "--handle", hex(STREAM))
    read = msgspec.json.decode(done.stdout, type=Report)
    assert done.returncode == 1 and read.fault and read.story is not None
    target = tmp_path / "report.json"
    assert explain(fault, "--json", "-o", target).returncode == 1
    assert msgspec.json.decode(target.read_bytes(), type=Report).diagnoses == read.diagnoses


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        ([], 2, "which file? give one or more"),
        (["/none/such"], 3, "/none/such: cannot be read: No such file"),
        (["/"], 3, "/: cannot be read: Is a directory"),
        ([""], 3, "cannot be read"),
        (["RECORD", "--handle", "stream"], 2, "--handle takes an address"),
        (["RECORD", "--handle", "-1"], 2, "--handle takes an address"),
        (["RECORD", "--handle", "0x1" + "0" * 16], 2, "--handle takes an address"),
        (["RECORD", "--handle", "9" * 5000], 2, "--handle takes an address"),
        (["RECORD", "-o", "/none/such"], 3, "there is no directory /none"),
    ],
)
def test_wrong_usage_in_one_line(
    explain: Explain, record: Written, arguments: list[str], status: int, says: str
) -> None:
    done = explain(*(record.path if each == "RECORD" else each for each in arguments))
    assert (done.returncode, done.stdout) == (status, "")
    assert says in done.stderr
    assert done.stderr.startswith("xdiag: ") and done.stderr.count("\n") == 1


def test_a_record_that_ends_in_the_middle(explain: Explain, fault: Path) -> None:
    os.truncate(fault, os.path.getsize(fault) - 4000)
    done = explain(fault)
    assert (done.returncode, done.stdout) == (3, "") and "the record is cut short" in done.stderr
    os.truncate(fault, 40)
    done = explain(fault)
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
