"""Sources: compressed, cut short, without newlines, larger than a window; line numbers."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

from explain.conftest import Explain
from explain.samples import Log, healthy
from xdiag.errors import CannotRun
from xdiag.explain import stream as streams
from xdiag.explain.explanation import explain
from xdiag.explain.stream import Stream

TEXT = Log("5.7").start().make().destroy().refuse().text().encode()
ZSTD = shutil.which("zstd")


def zstd(data: bytes) -> bytes:
    return subprocess.run(["zstd", "-cq"], input=data, stdout=subprocess.PIPE, check=True).stdout


PACKERS = {
    "gzip": gzip.compress, "xz": lzma.compress, "zstd": zstd, "bzip2": bz2.compress,
}  # fmt: skip


@pytest.mark.parametrize("kind", PACKERS)
def test_compressed(explained: Explain, kind: str) -> None:
    if kind == "zstd" and ZSTD is None:
        pytest.skip("no zstd program here")
    found = explained(PACKERS[kind](TEXT))
    assert [each.cause for each in found.causes] == ["destroyed-stream"]
    (source,) = found.sources
    assert (source.compressed, source.bytes, source.lines) == (kind, len(TEXT), TEXT.count(b"\n"))


@pytest.mark.parametrize("kind", PACKERS)
def test_compressed_and_cut_short(tmp_path: Path, kind: str) -> None:
    if kind == "zstd" and ZSTD is None:
        pytest.skip("no zstd program here")
    # bzip2 has blocks of 900 KB.
    noise = os.urandom(3 << 20)
    packed = PACKERS[kind](TEXT + noise)
    path = tmp_path / "log"
    path.write_bytes(packed[: len(packed) // 2])
    # What came before the end is used, and the end is told; with nothing at all there is no use.
    found = explain([str(path)])
    assert found.fault and found.sources[0].problem
    path.write_bytes(packed[:6])
    with pytest.raises(CannotRun):
        explain([str(path)])


def test_damaged_archives_are_told_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "log.gz"
    packed = bytearray(gzip.compress(TEXT * 2000))
    packed[len(packed) // 2 :] = bytes(len(packed) - len(packed) // 2)
    path.write_bytes(packed)
    problem = explain([str(path)]).sources[0].problem
    assert problem and "\n" not in problem


def test_zstd_without_a_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log.zst"
    path.write_bytes(b"\x28\xb5\x2f\xfd" + bytes(20))
    monkeypatch.setattr(streams, "_zstd_reader", lambda file: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CannotRun, match="needs the program zstd or the Python package zstandard"):
        explain([str(path)])


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    for path, says in ((str(tmp_path), "irectory"), (str(tmp_path / "none"), "No such file"),
                       ("", "No such file"), ("a\0b", "null")):  # fmt: skip
        with pytest.raises(CannotRun, match=says) as caught:
            explain([path])
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (TEXT.decode().encode("utf-16"), "UTF-16"),
        (b"\xfe\xff" + TEXT.decode().encode("utf-16-be"), "UTF-16"),
        (gzip.compress(TEXT.decode().encode("utf-16")), "UTF-16"),
        (b"PK\x03\x04" + bytes(200), "zip archive"),
    ],
)
def test_what_is_not_read_is_said(tmp_path: Path, data: bytes, says: str) -> None:
    path = tmp_path / "log"
    path.write_bytes(data)
    with pytest.raises(CannotRun, match=says) as caught:
        explain([str(path)])
    assert "\n" not in str(caught.value)


def test_what_is_no_text_is_not_called_well(explained: Explain) -> None:
    for data in (bytes(range(256)) * 8, b"\x7fELF" + bytes(4000), "log".encode("utf-16-le") * 99):
        (source,) = explained(data).sources
        assert "no text" in source.problem
    # One that is understood all the same, and one with a stray byte, are.
    for data in (bytes(4000) + b"\n" + TEXT, b"hello\n" * 99 + b"\0"):
        assert not explained(data).sources[0].problem


def test_a_text_that_begins_as_an_archive_does(explained: Explain) -> None:
    assert explained(b"BZh: what is it?\n" + TEXT).fault


def test_a_pipe(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    writer = threading.Thread(target=lambda: fifo.write_bytes(TEXT * 3000))
    writer.start()
    found = explain([str(fifo)])
    writer.join()
    assert found.sources[0].lines == 3000 * TEXT.count(b"\n") and found.fault


@pytest.mark.parametrize("before", [0, 1, 100, 5000])
def test_line_numbers_and_handles_across_windows(
    explained: Explain, monkeypatch: pytest.MonkeyPatch, before: int
) -> None:
    """Windows of a few kilobytes: entries lie in the window before, lines across two."""
    monkeypatch.setattr(streams, "READ", 20_000)
    monkeypatch.setattr(streams, "KEPT", 10_000)
    filler = b"".join(b"line %d\n" % number for number in range(before))
    around = healthy("5.7").encode() * 40
    data = filler + around + TEXT + around
    found = explained(data)
    (failure,) = found.failures
    lines = data.split(b"\n")
    assert found.sources[0].lines == len(lines) - 1 and failure.entry is not None
    for line in [failure.line, failure.entry, *found.causes[0].lines]:
        written = lines[line.number - 1].replace(b"\x1b[32m", b"").replace(b"\x1b[0m", b"")
        assert line.text == written.decode()


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 30_000])
def test_windows_hold_every_byte_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, size: int
) -> None:
    monkeypatch.setattr(streams, "READ", 10_000)
    monkeypatch.setattr(streams, "KEPT", 3_000)
    data = bytes((65 + number % 26) if number % 97 else 10 for number in range(size)) * 3
    path = tmp_path / "log"
    path.write_bytes(data)
    with Stream(str(path)) as stream:
        seen = b"".join(
            bytes(window.data[window.begin : window.end]) for window in stream.windows()
        )
        assert seen == data
        assert stream.lines == data.count(b"\n") + (data[-1:] not in (b"", b"\n"))


def test_no_newline_at_all(explained: Explain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "READ", 50_000)
    line = b"x" * 200_000 + b" [ERRO] hip error 709: context is destroyed @ hip_queue.cpp:32 "
    found = explained(line + b"y" * 200_000)
    assert found.fault and found.sources[0].lines == 1
    assert "hip error 709" in found.failures[0].line.text
    assert len(found.failures[0].line.text) <= 300


def test_the_last_line_needs_no_newline(explained: Explain) -> None:
    found = explained(TEXT.rstrip(b"\n"))
    assert found.fault and found.sources[0].lines == TEXT.count(b"\n")


def test_standard_input_can_be_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("text"))
    with pytest.raises(CannotRun, match="standard input"):
        explain(["-"])
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(CannotRun, match="it is closed"):
        explain(["-"])
