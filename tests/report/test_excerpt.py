"""Excerpts of logs: whole where small, ends and places where large, never a word cut in half."""

from __future__ import annotations

import gzip
import lzma
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xdiag.errors import CannotRun
from xdiag.report import excerpt as module
from xdiag.report.excerpt import AROUND, ENDS, WHOLE, excerpt


def _log(lines: int) -> bytes:
    return b"".join(b"line %d of the log, with some words in it\n" % n for n in range(1, lines + 1))


def _kept(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"^line (\d+) ", text, re.MULTILINE)]


def test_a_small_log_is_told_whole(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    log.write_bytes(_log(1000))
    told = excerpt(str(log))
    assert told.text.encode() == _log(1000)
    assert (told.size, told.lines, told.note) == (len(_log(1000)), 1000, "")


def test_a_large_log_is_told_by_its_ends_and_what_matters(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    log.write_bytes(_log(100_000))
    told = excerpt(str(log), (50_000, 50_003))
    kept = _kept(told.text)
    assert kept[0] == 1 and kept[-1] == 100_000
    assert kept == sorted(set(kept))
    assert set(range(50_000 - AROUND, 50_003 + AROUND + 1)) <= set(kept)
    assert 2 * ENDS <= len(told.text) < 2 * ENDS + 4096
    assert told.lines == 100_000
    assert "an excerpt of" in told.note
    gaps = re.findall(r"\[\.\.\. lines (\d+) to (\d+) left out\]", told.text)
    left_out = {n for first, last in gaps for n in range(int(first), int(last) + 1)}
    assert left_out | set(kept) == set(range(1, 100_001))
    assert not left_out & set(kept)


def test_a_place_near_the_end_is_told_once(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    log.write_bytes(_log(40_000))
    kept = _kept(excerpt(str(log), (39_990, 1, 40_000)).text)
    assert kept == sorted(set(kept))


@pytest.mark.parametrize(("pack", "name"), [(gzip.compress, "gzip"), (lzma.compress, "xz")])
def test_a_packed_log_is_unpacked(tmp_path: Path, pack, name: str) -> None:
    log = tmp_path / "x.log.packed"
    log.write_bytes(pack(_log(100)))
    told = excerpt(str(log))
    assert told.text.encode() == _log(100)
    assert told.note == f"unpacked ({name})"


def test_a_packed_log_that_breaks_off(tmp_path: Path) -> None:
    log = tmp_path / "x.log.gz"
    log.write_bytes(gzip.compress(os.urandom(1 << 16).hex().encode())[:5000])
    assert "cut short" in excerpt(str(log)).note


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-16-le"])
def test_utf_16_is_told_as_utf_8(tmp_path: Path, encoding: str) -> None:
    log = tmp_path / "x.log"
    mark = b"\xfe\xff" if encoding == "utf-16-be" else b""
    log.write_bytes(mark + "erste Zeile: Zoé\nzweite\n".encode(encoding))
    told = excerpt(str(log))
    assert told.text == "erste Zeile: Zoé\nzweite\n"


def test_colours_are_left_out(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    log.write_bytes(b"\x1b[32m:3:hip.cpp\x1b[0m: ali\x1b[1mce\x1b]0;title\x07\n")
    assert excerpt(str(log)).text == ":3:hip.cpp: alice\n"


def test_a_very_long_line_is_cut_between_words(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    log.write_bytes(b"first\n" + b"word123 " * 1_000_000 + b"\nlast\n")
    text = excerpt(str(log)).text
    first, line, last = text.splitlines()
    assert (first, last) == ("first", "last")
    assert re.fullmatch(r"(word123 )+\[\.\.\. \d+ bytes left out\]", line)
    assert len(text) < 2 * module._LONGEST_LINE


def test_one_word_without_end_is_left_out(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    log.write_bytes(b"secret" * 1_000_000)
    text = excerpt(str(log)).text
    assert re.fullmatch(r"\[\.\.\. \d+ bytes left out\]\n", text)


def test_memory_does_not_grow_with_the_log(tmp_path: Path) -> None:
    log = tmp_path / "x.log.gz"
    with gzip.open(log, "wb", compresslevel=1) as file:
        for _ in range(100):
            file.write(_log(20_000))
    code = (
        "import sys; from xdiag.report.excerpt import excerpt\n"
        # Not ru_maxrss, which remembers the process that it was before exec.
        "def most():\n"
        "    return [int(x.split()[1]) for x in open('/proc/self/status') if 'VmHWM' in x][0]\n"
        "before = most()\n"
        "told = excerpt(sys.argv[1], (600_000,))\n"
        "print(told.lines, most() - before)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, log], capture_output=True, text=True, check=True
    )
    lines, grown = map(int, ended.stdout.split())
    assert lines == 2_000_000
    assert grown < 40 << 10  # KiB; the log has 90 MiB


def test_what_is_no_log(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "zeros").write_bytes(bytes(100_000))
    for name, says in (("fifo", "not a regular file"), ("zeros", "no text"), (".", "regular")):
        with pytest.raises(CannotRun, match=says):
            excerpt(str(tmp_path / name))
    with pytest.raises(OSError, match="No such file"):
        excerpt(str(tmp_path / "gone"))


@settings(max_examples=100, deadline=2000,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(st.binary(max_size=3000), st.sets(st.integers(0, 100)), st.sampled_from([b"", b"\xff\xfe"]))
def test_any_bytes(tmp_path: Path, data: bytes, wanted: set[int], mark: bytes) -> None:
    log = tmp_path / "any"
    log.write_bytes(mark + data)
    try:
        told = excerpt(str(log), wanted)
    except CannotRun:
        return
    assert told.lines <= data.count(b"\n") + len(data) // 2 + 1


def test_wanted_lines_are_bounded(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    log.write_bytes(_log(200_000))
    told = excerpt(str(log), range(1, 200_000, 5))
    assert len(told.text) < WHOLE
