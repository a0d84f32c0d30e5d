"""Where the result goes, and records that come compressed or by a pipe."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from pathlib import Path

import pytest
from explain.samples import Log
from recording.writer import Written

REFUSED = Log("5.7").start().make().destroy().refuse().text()


def xdiag(home: dict[str, str], *arguments: object, **more: object):
    return subprocess.run(
        [sys.executable, "-m", "xdiag", *map(str, arguments)], env=home, capture_output=True,
        timeout=60, **{"stdin": subprocess.DEVNULL, **more},
    )  # fmt: skip


@pytest.fixture
def record(tmp_path: Path) -> Path:
    """A record with a stream that one copy makes and the other one refuses."""
    written = Written(tmp_path / "run.xdiag")
    process = written.process(100)
    a, b = process.runtime("/a/libamdhip64.so.6", 1), process.runtime("/b/libamdhip64.so.6", 2)
    thread = process.thread()
    thread.make(a, 0x7F12_8765_4320, 10)
    thread.use(b, 0x7F12_8765_4320, 20, result=709)
    return written.path


@pytest.mark.parametrize("link", [False, True])
def test_what_is_read_is_not_written_over(home: dict[str, str], tmp_path: Path, link: bool) -> None:
    log = tmp_path / "amd.log"
    log.write_text(REFUSED)
    target = log
    if link:
        target = tmp_path / "link"
        target.symlink_to(log)
    done = xdiag(home, "explain", log, "-o", target)
    assert (done.returncode, done.stdout) == (2, b"") and b"would be lost" in done.stderr
    assert done.stderr.count(b"\n") == 1 and log.read_text() == REFUSED


def test_nor_by_merge(home: dict[str, str], tmp_path: Path) -> None:
    matrix = tmp_path / "a.json"
    matrix.write_text("{}")
    done = xdiag(home, "merge", matrix, "-o", matrix)
    assert done.returncode == 2 and b"would be lost" in done.stderr
    assert matrix.read_text() == "{}"


def test_standard_output_by_its_name(home: dict[str, str], tmp_path: Path) -> None:
    log = tmp_path / "amd.log"
    log.write_text(REFUSED)
    plain = xdiag(home, "explain", log)
    for name in ("/dev/stdout", "/proc/self/fd/1"):
        done = xdiag(home, "explain", log, "-o", name)
        assert (done.returncode, done.stdout, done.stderr) == (1, plain.stdout, b"")
    done = xdiag(home, "explain", log, "-o", "/dev/stderr")
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", plain.stdout)


def test_a_record_that_is_compressed_or_comes_by_a_pipe(
    home: dict[str, str], record: Path, tmp_path: Path
) -> None:
    packed = tmp_path / "run.xdiag.gz"
    packed.write_bytes(gzip.compress(record.read_bytes()))
    plain = xdiag(home, "explain", record)
    assert plain.returncode == 1 and b"FAIL  two-runtimes" in plain.stdout
    assert xdiag(home, "explain", packed).stdout == plain.stdout
    with record.open("rb") as file:
        piped = subprocess.Popen(["cat"], stdin=file, stdout=subprocess.PIPE)
        done = xdiag(home, "explain", "-", stdin=piped.stdout)
        piped.communicate()
    assert (done.returncode, done.stdout) == (1, plain.stdout)
    log = tmp_path / "amd.log"
    log.write_text(REFUSED)
    both = xdiag(home, "explain", packed, log)
    assert both.returncode == 1
    assert b"two-runtimes" in both.stdout and b"destroyed-stream" in both.stdout


def test_a_packed_record_that_is_cut_short(home: dict[str, str], record: Path) -> None:
    os.truncate(record, 5000)
    packed = record.with_suffix(".gz")
    packed.write_bytes(gzip.compress(record.read_bytes()))
    done = xdiag(home, "explain", packed)
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (3, b"", 1)
    assert str(packed).encode() in done.stderr
