"""xdiag explain as users call it."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from explain.samples import ROCM, TORCH, XSCHED_OLD, Log, maps
from explain.samples import STREAM as LOG_STREAM
from recording.writer import Written

from xdiag.explain.facts import Explanation
from xdiag.model import SCHEMA_VERSION
from xdiag.recording.report import Report

Explain = Callable[..., subprocess.CompletedProcess[str]]

A, B = "/torch/lib/libamdhip64.so.6", "/opt/rocm/lib/libamdhip64.so.6"
STREAM = 0x7F12_8765_4320


@pytest.fixture
def explain(home: dict[str, str]) -> Explain:
    """Run ``xdiag explain``."""

    def run(*arguments: object, given: str | None = None) -> subprocess.CompletedProcess[str]:
        stdin = {"stdin": subprocess.DEVNULL} if given is None else {"input": given}
        return subprocess.run(
            [sys.executable, "-m", "xdiag", "explain", *map(str, arguments)], env=home,
            capture_output=True, text=True, timeout=60, **stdin,
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
        (["two-runtime"], 3, "did you mean two-runtimes"),
        (["--list", "RECORD"], 2, "--list goes with neither files nor --handle"),
        (["--list", "--handle", "0x10"], 2, "--list goes with neither files nor --handle"),
        (["-", "-"], 2, "standard input (-) can be read once"),
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


# ---- logs ----------------------------------------------------------------------------------------


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log of the runtime's with a stream that is destroyed before it is used."""
    path = tmp_path / "amd.log"
    path.write_text(Log("5.7").start().make().destroy().refuse().text())
    return path


def test_a_log_from_a_file_and_from_standard_input(explain: Explain, log: Path) -> None:
    done = explain(log)
    assert (done.returncode, done.stderr) == (1, "")
    assert "likely  destroyed-stream" in done.stdout and f"{log}:4" in "".join(done.stdout.split())
    piped = explain("-", given=log.read_text())
    assert piped.returncode == 1
    assert "(standard input):4" in " ".join(piped.stdout.split())


def test_a_log_with_nothing_in_it(explain: Explain) -> None:
    done = explain("-", given="hello\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert "nothing in it tells of a fault" in done.stdout
    assert explain("-", given="").returncode == 0


def test_several_files_are_explained_together(explain: Explain, log: Path, tmp_path: Path) -> None:
    mapped = tmp_path / "maps"
    mapped.write_text(maps((TORCH, 1181, "08:01"), (ROCM, 2207, "08:01")))
    xsched = tmp_path / "xsched.log"
    xsched.write_text(XSCHED_OLD)
    alone, both = explain(xsched), explain(xsched, mapped)
    assert "possible  two-runtimes" in alone.stdout and "likely  two-runtimes" in both.stdout
    assert (
        explain(xsched, mapped, "-", given="").stdout.splitlines()[0]
        == (both.stdout.splitlines()[0])
    )


def test_a_record_among_logs(explain: Explain, fault: Path, log: Path) -> None:
    done = explain(fault, log)
    assert done.returncode == 1
    assert "two-runtimes" in done.stdout and "destroyed-stream" in done.stdout
    document = json.loads(explain(log, fault, "--json").stdout)
    assert document["schema_version"] == SCHEMA_VERSION
    assert document["records"][0]["diagnoses"][0]["cause"] == "two-runtimes"
    assert document["explanation"]["causes"][0]["cause"] == "destroyed-stream"


def test_a_log_as_json(explain: Explain, log: Path, tmp_path: Path) -> None:
    target = tmp_path / "explanation.json"
    assert explain(log, "--json", "-o", target).returncode == 1
    found = msgspec.json.decode(target.read_bytes(), type=Explanation)
    assert found.fault and found.schema_version == SCHEMA_VERSION
    assert found.failures[0].entry is not None and found.failures[0].entry.number == 6
    assert explain(target).returncode == 1


def test_the_history_of_a_handle_in_a_log(explain: Explain, log: Path) -> None:
    done = explain(log, "--handle", hex(LOG_STREAM))
    assert done.returncode == 1 and f"handle {LOG_STREAM:#x}" in done.stdout
    assert [word for word in ("made:", "destroyed:", "given:") if word in done.stdout] == [
        "made:", "destroyed:", "given:",
    ]  # fmt: skip


def test_what_cannot_be_read_to_its_end_is_not_called_well(
    explain: Explain, log: Path, tmp_path: Path
) -> None:
    packed = tmp_path / "log.gz"
    data = gzip.compress(b"hello\n" * 100 + os.urandom(4000))
    packed.write_bytes(data[: len(data) // 2])
    done = explain(packed)
    assert done.returncode == 3 and "cut short" in done.stdout
    packed.write_bytes(gzip.compress(log.read_bytes()))
    assert explain(packed).returncode == 1


@pytest.mark.parametrize("word", ["709", "two-runtimes", "thread-bound", "--list"])
def test_the_knowledge_base(explain: Explain, word: str) -> None:
    done = explain(word)
    assert (done.returncode, done.stderr) == (0, "") and done.stdout
    document = json.loads(explain(word, "--json").stdout)
    assert document["schema_version"] == SCHEMA_VERSION and document["causes"]


def test_a_file_goes_before_a_cause_of_its_name(explain: Explain, tmp_path: Path) -> None:
    (tmp_path / "709").write_text("hello\n")
    done = subprocess.run(
        [sys.executable, "-m", "xdiag", "explain", "709"], cwd=tmp_path, capture_output=True,
        text=True, env={**os.environ, "PYTHONPATH": os.getcwd()},
    )  # fmt: skip
    assert "nothing in it tells of a fault" in done.stdout
