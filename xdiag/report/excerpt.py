"""A log as a report takes it: whole where it is small, else its ends and what matters in between.

A log may be larger than memory, and packed; it is read once, in chunks.  It is cut at the ends of
lines, so that no name or secret is cut in half and recognised no more.
"""

from __future__ import annotations

import codecs
import os
import re
import stat
from collections import deque
from typing import TYPE_CHECKING

from xdiag.errors import CannotRun
from xdiag.explain.stream import Stream
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

#: Colours and titles of terminals, which would part a name from what is before it.
_ESCAPES = re.compile(rb"\x1b(?:\[[0-9;?]{0,32}[A-Za-z]|\][^\x07\x1b]{0,256}(?:\x07|\x1b\\))")


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

    Raises CannotRun where it cannot be read or is no text.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise CannotRun(f"{path}: not a regular file")
    with Stream(path, any_encoding=True) as stream:
        notes = [f"unpacked ({stream.compressed})"] if stream.compressed else []
        keeping = _Keeping(frozenset(wanted))
        size = number = 0
        for line, length in _lines(_chunks(stream, path)):
            number += 1
            size += length
            keeping.take(number, line)
            if size >= MOST_READ:
                notes.append(f"read up to {MOST_READ >> 30} GiB")
                break
        if stream.problem:
            notes.append(stream.problem)
    text, cut = keeping.told(size)
    if cut:
        notes.append(cut)
    return Excerpt(text.decode("utf-8", "surrogateescape"), size, number, "; ".join(notes))


def _chunks(stream: Stream, path: str) -> Iterator[bytes]:
    """What the log says, as UTF-8 where it is UTF-16; raises CannotRun for what is no text."""
    decoder: codecs.IncrementalDecoder | None = None
    for number, window in enumerate(stream.windows()):
        chunk = bytes(window.data[window.begin : window.end])
        if number == 0:
            encoding = _utf16(chunk)
            if encoding:
                decoder = codecs.getincrementaldecoder(encoding)(errors="replace")
            elif chunk.count(b"\0") * 4 > len(chunk):
                raise CannotRun(f"{path}: no text: a quarter of it is zeros")
        if decoder is not None:
            chunk = decoder.decode(chunk).lstrip("\ufeff").encode("utf-8", "surrogatepass")
        yield chunk


def _utf16(chunk: bytes) -> str:
    """The encoding where it is UTF-16, by its mark or by its zeros; else empty."""
    if chunk.startswith(codecs.BOM_UTF16_LE) and not chunk.startswith(codecs.BOM_UTF32_LE):
        return "utf-16-le"
    if chunk.startswith(codecs.BOM_UTF16_BE):
        return "utf-16-be"
    even, odd = chunk[::2], chunk[1::2]
    zeros = even.count(0), odd.count(0)
    few, many = len(even) // 10, len(odd) * 8 // 10
    if many and zeros[0] <= few and zeros[1] >= many:
        return "utf-16-le"
    return "utf-16-be" if many and zeros[1] <= few and zeros[0] >= many else ""


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
