"""A log as a report takes it: whole where it is small, else its ends and what matters in between.

A log may be larger than memory, and packed; it is read once, in chunks.  It is cut at the ends of
lines, so that no name or secret is cut in half and recognised no more.
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import os
import re
import zlib
from collections import deque
from typing import IO, TYPE_CHECKING, cast

from xdiag.discover.root import Root
from xdiag.model import Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: Bytes of a log that is told whole; beyond, bytes of its beginning and of its end.
WHOLE = 1 << 20
ENDS = 192 << 10
#: Lines before and after one that matters, and bytes of all of these.
AROUND = 12
MOST_BETWEEN = 512 << 10
#: Bytes read of a log in all: what packs to nothing may unpack to anything.
MOST_READ = 4 << 30
#: Bytes of a line; what is beyond is left out.
_LONGEST_LINE = 64 << 10
_CHUNK = 1 << 20

#: Colours and titles of terminals, which would part a name from what is before it.
_ESCAPES = re.compile(rb"\x1b(?:\[[0-9;?]{0,32}[A-Za-z]|\][^\x07\x1b]{0,256}(?:\x07|\x1b\\))")
_PACKED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz"}
_ZSTANDARD = b"\x28\xb5\x2f\xfd"


class Excerpt(Record, frozen=True):
    """What is told of a log."""

    text: str
    #: Bytes and lines that the log has, unpacked; as many as were read.
    size: int
    lines: int
    #: What was done to it, in words; empty where it is told whole and as it is.
    note: str = ""


def excerpt(path: str, wanted: Iterable[int] = ()) -> Excerpt:
    """What a report tells of the log at ``path``; ``wanted`` are lines that matter, from 1.

    Raises OSError where it cannot be read; ValueError for what is no text.
    """
    with Root("/").open(os.path.abspath(path)) as file:
        head = file.read(8)
        file.seek(0)
        if head.startswith(_ZSTANDARD):
            raise ValueError("packed with zstd, which this Python cannot unpack: zstd -d")
        kind = next((name for magic, name in _PACKED.items() if head.startswith(magic)), "")
        try:
            return _excerpt(_unpacked(file, kind), frozenset(wanted), kind)
        except (EOFError, zlib.error, lzma.LZMAError) as error:
            raise ValueError(f"damaged {kind} data: {error}") from error


def _unpacked(file: IO[bytes], kind: str) -> IO[bytes]:
    if kind == "gzip":
        return cast("IO[bytes]", gzip.open(file))
    if kind == "bzip2":
        return cast("IO[bytes]", bz2.open(file))
    return cast("IO[bytes]", lzma.open(file)) if kind == "xz" else file


def _excerpt(stream: IO[bytes], wanted: frozenset[int], packed: str) -> Excerpt:
    notes = [f"unpacked ({packed})"] if packed else []
    first = stream.read(4)
    encoding = _utf16(first)
    start = io.BytesIO(first)
    keeping = _Keeping(wanted)
    size, number, stopped = 0, 0, False
    for line, length in _lines(_chunks(start, stream, encoding)):
        number += 1
        size += length
        keeping.take(number, line)
        if size >= MOST_READ:
            stopped = True
            break
    if encoding:
        notes.append("UTF-16, told as UTF-8")
    if stopped:
        notes.append(f"read up to {MOST_READ >> 30} GiB")
    text, cut = keeping.told(size)
    if cut:
        notes.append(cut)
    decoded = text.decode("utf-8", "surrogateescape")
    if text and text.count(b"\0") * 4 > len(text):
        raise ValueError("no text: a quarter of it is zeros")
    return Excerpt(decoded, size, number, "; ".join(notes))


def _utf16(first: bytes) -> str:
    if first.startswith(codecs.BOM_UTF16_LE) and not first.startswith(codecs.BOM_UTF32_LE):
        return "utf-16-le"
    return "utf-16-be" if first.startswith(codecs.BOM_UTF16_BE) else ""


def _chunks(start: IO[bytes], stream: IO[bytes], encoding: str) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(encoding)(errors="replace") if encoding else None
    for source in (start, stream):
        while chunk := source.read(_CHUNK):
            if decoder is not None:
                text = decoder.decode(chunk).lstrip("\ufeff")
                yield text.encode("utf-8", "surrogatepass")
            else:
                yield chunk


def _lines(chunks: Iterator[bytes]) -> Iterator[tuple[bytes, int]]:
    """Lines without colours, each with its length; the middle of a very long one is left out."""
    rest, skipped = b"", 0
    for chunk in chunks:
        pieces = (rest + chunk).split(b"\n")
        rest = pieces.pop()
        for piece in pieces:
            yield _shortened(piece, skipped), len(piece) + skipped + 1
            skipped = 0
        if len(rest) > 2 * _LONGEST_LINE:
            skipped += len(rest) - _LONGEST_LINE
            rest = rest[:_LONGEST_LINE]
    if rest or skipped:
        yield _shortened(rest, skipped), len(rest) + skipped


def _shortened(line: bytes, skipped: int) -> bytes:
    if skipped or len(line) > _LONGEST_LINE:
        # Up to a gap between words: half a secret is recognised no more.
        kept = line[:_LONGEST_LINE]
        gap = max(kept.rfind(each) for each in (b" ", b",", b"\t", b";"))
        cut = kept[: gap + 1] if gap > 0 else b""
        line = cut + f"[... {len(line) + skipped - len(cut)} bytes left out]".encode()
    return _ESCAPES.sub(b"", line) + b"\n"


class _Keeping:
    """Lines kept while a log goes by: all of them, as long as they are few; ends and places."""

    def __init__(self, wanted: frozenset[int]) -> None:
        self._wanted = {
            near
            for line in sorted(wanted)[:2000]
            for near in range(line - AROUND, line + AROUND + 1)
        }
        self._whole: list[bytes] | None = []
        self._size = 0
        self._begin: list[tuple[int, bytes]] = []
        self._begin_size = 0
        self._between: list[tuple[int, bytes]] = []
        self._between_size = 0
        self._end: deque[tuple[int, bytes]] = deque()
        self._end_size = 0

    def take(self, number: int, line: bytes) -> None:
        """Look at one line."""
        if self._whole is not None:
            self._whole.append(line)
            self._size += len(line)
            if self._size > WHOLE:
                self._whole = None
        if self._begin_size < ENDS:
            self._begin.append((number, line))
            self._begin_size += len(line)
            return
        if number in self._wanted and self._between_size < MOST_BETWEEN:
            self._between.append((number, line))
            self._between_size += len(line)
        self._end.append((number, line))
        self._end_size += len(line)
        while self._end_size - len(self._end[0][1]) >= ENDS:
            self._end_size -= len(self._end.popleft()[1])

    def told(self, size: int) -> tuple[bytes, str]:
        """The text, and what was left out."""
        if self._whole is not None:
            return b"".join(self._whole), ""
        kept = dict(self._begin) | dict(self._between) | dict(self._end)
        parts, last = [], 0
        for number in sorted(kept):
            if number != last + 1:
                parts.append(f"[... lines {last + 1} to {number - 1} left out]\n".encode())
            parts.append(kept[number])
            last = number
        between = " and the lines around what was found" if self._between else ""
        return b"".join(parts), (
            f"an excerpt of {size >> 10} KiB: its first and last {ENDS >> 10} KiB{between}"
        )
