"""A source as a stream of windows: plain or compressed, of any length, in bounded memory.

A window is a buffer in which lines lie whole, with some of what came before them.  Everything that
is looked for is looked for in the whole window at once: a loop over lines would take ten times as
long as reading them does.
"""

from __future__ import annotations

import bz2
import contextlib
import errno
import gzip
import importlib
import io
import lzma
import os
import shutil
import stat
import subprocess
import sys
import zlib
from typing import TYPE_CHECKING, Any

from xdiag.errors import CannotRun

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Bytes read at a time, and bytes kept of what came before: a return line finds its entry there.
READ, KEPT = 4 << 20, 1 << 19
#: Bytes at each side of a place that still count as its line, where no newline is.
HALF_LINE = 4096
#: Bytes by which a source is recognised.
HEAD = 16

_MAGIC = {
    b"\x1f\x8b": "gzip",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    **{b"BZh%d" % level: "bzip2" for level in range(1, 10)},
}
#: How a zip begins that has something in it (APPNOTE.TXT 4.3.7).
ZIP = b"PK\x03\x04"
#: How files begin that are not read, what they are, and what makes a text of them.
_NOT_READ = {
    ZIP: (
        "a zip archive within another file or from a pipe",
        "give a report of xdiag's by its name",
    ),
    b"\xff\xfe": ("text in UTF-16", "iconv -f UTF-16 -t UTF-8 FILE | xdiag explain -"),
    b"\xfe\xff": ("text in UTF-16", "iconv -f UTF-16 -t UTF-8 FILE | xdiag explain -"),
    b"7z\xbc\xaf\x27\x1c": ("a 7z archive", "unpack it first: 7z x FILE"),
    b"\x04\x22\x4d\x18": ("compressed with lz4", "lz4 -dc FILE | xdiag explain -"),
}
#: First bytes by which text is told from what is none, and the share of them that no text has: of
#: bytes at random a tenth is such, in a damaged log one of some hundred.
_FIRST, _MOST_ODD = 4096, 0.03
_ODD = bytes({*range(32)} - {7, 8, 9, 10, 11, 12, 13, 27}) + b"\x7f"


class Window:
    """Part of a source.  New in it is what lies from ``begin`` to ``end``."""

    def __init__(
        self, data: bytearray, begin: int, end: int, size: int, first_line: int, offset: int
    ) -> None:
        self.data = data
        self.begin = begin
        self.end = end
        #: Bytes of ``data`` that are filled; behind ``end`` is what comes in the next window.
        self.size = size
        #: Number of the line in which ``begin`` lies.
        self.first_line = first_line
        #: Place of ``data`` in the source.
        self.offset = offset
        self._place, self._line = begin, first_line

    def line_number(self, place: int) -> int:
        """The number of the line in which a place of the window lies; quick in ascending order."""
        data = self.data
        if place < self._place:
            return self._line - data.count(b"\n", place, self._place)
        self._line += data.count(b"\n", self._place, place)
        self._place = place
        return self._line

    def next_line(self, place: int) -> int:
        """Where the line after a place's begins, at most HALF_LINE away."""
        newline = self.data.find(b"\n", place, place + HALF_LINE)
        return newline + 1 if newline >= 0 else place + HALF_LINE

    def line_at(self, place: int) -> tuple[int, int]:
        """Begin and end of the line in which a place lies, at most HALF_LINE away from it."""
        begin = self.data.rfind(b"\n", max(0, place - HALF_LINE), place) + 1
        end = self.data.find(b"\n", place, min(self.size, place + HALF_LINE))
        return (
            begin or max(0, place - HALF_LINE),
            end if end >= 0 else min(self.size, place + HALF_LINE),
        )


class Stream:
    """A source that is open; close it, or use it as a context manager.

    ``path`` is a file, also a pipe's name, or ``-`` for standard input; with ``data`` it is what
    these bytes are called, and no file is opened.  Raises CannotRun where it cannot be opened, is a
    directory, or is compressed in a way that cannot be read here.
    """

    def __init__(self, path: str, *, any_encoding: bool = False, data: bytes | None = None) -> None:
        self.path = path
        self.name = "(standard input)" if path == "-" else path
        self.in_memory = data is not None
        self.bytes = self.newlines = 0
        #: Whether the last byte ended a line.
        self.ended_line = True
        self.problem = ""
        self._first = b""
        self._program: subprocess.Popen[bytes] | None = None
        self._file: io.BufferedReader[Any] = (
            _opened(path, self.name) if data is None else _over(data)
        )
        try:
            head = self._file.peek(HEAD)[:HEAD]
            self.compressed = next(
                (name for magic, name in _MAGIC.items() if head.startswith(magic)), ""
            )
            plain = self._decompressed()
            # One read of what is below: where that breaks off, what came before it is not lost.
            self._readinto = getattr(plain, "readinto1", None) or plain.readinto
            #: Bytes that were read ahead, and are read again.
            self._ahead = b""
            #: The first bytes of what is in it.
            self.head = self._ahead = self._read(HEAD)
            if not any_encoding:
                self._refuse_what_is_no_text()
        except OSError as error:
            self._file.close()
            raise CannotRun(f"{self.name}: cannot be read: {error.strerror or error}") from error
        except CannotRun:
            self._file.close()
            raise

    def _refuse_what_is_no_text(self) -> None:
        for magic, (what, todo) in _NOT_READ.items():
            if self.head.startswith(magic):
                raise CannotRun(f"{self.name}: {what}, which is not read ({todo})")

    @property
    def looks_binary(self) -> bool:
        """Whether the first bytes that were read are those of no text."""
        odd = len(self._first) - len(self._first.translate(None, _ODD))
        return odd > _MOST_ODD * len(self._first)

    @property
    def lines(self) -> int:
        """Lines read so far, an unfinished one counted."""
        return self.newlines + (not self.ended_line)

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file, and of the program that decompresses it."""
        if self._program is not None:
            self._program.kill()
            self._program.communicate()
        with contextlib.suppress(OSError):
            self._file.close()

    def whole(self, most: int) -> bytes | None:
        """All of it; None if there are more than ``most`` bytes.  It can be read all the same."""
        parts: list[bytes] = []
        room = most + 1
        while room > 0:
            part = self._read(room)
            if not part:
                break
            parts.append(part)
            room -= len(part)
        data = self._ahead = b"".join(parts)
        return data if len(data) <= most else None

    def windows(self) -> Iterator[Window]:
        """One window after the other; each is valid until the next one is asked for.

        A source that breaks off (a cut or damaged archive) ends there, and ``problem`` says so.
        """
        data = bytearray(KEPT + READ + 2 * HALF_LINE)
        view = memoryview(data)
        begin = size = 0
        at_end = False
        while not at_end:
            got = self._fill(view[size:])
            size += got
            self.bytes += got
            self._first = self._first or bytes(view[: min(_FIRST, got)])
            at_end = size < len(data)
            end = size
            if not at_end:
                # Whole lines; where there is none, what certainly is before the line's end.
                newline = data.rfind(b"\n", max(begin, size - (READ >> 1)), size)
                end = newline + 1 if newline >= 0 else size - HALF_LINE
            window = Window(data, begin, end, size, self.newlines + 1, self.bytes - size)
            if begin < end or (at_end and end):
                yield window
                # Counted already up to the last place that was asked for.
                self.newlines = window.line_number(end) - 1
                self.ended_line = data[end - 1] == 10
            kept = max(0, end - KEPT)
            if not at_end:
                view[: size - kept] = bytes(view[kept:size])
                begin, size = end - kept, size - kept

    def _fill(self, room: memoryview) -> int:
        """Read until there is no room or no more; pipes give little at a time."""
        filled = 0
        while filled < len(room):
            got = self._into(room[filled:])
            if not got:
                break
            filled += got
        return filled

    def _into(self, room: memoryview) -> int:
        if self._ahead:
            got = min(len(room), len(self._ahead))
            room[:got] = self._ahead[:got]
            self._ahead = self._ahead[got:]
            return got
        try:
            got = self._readinto(room)
        except EOFError:
            self.problem = f"the {self.compressed} file is cut short"
            return 0
        except (OSError, zlib.error, lzma.LZMAError) as error:
            words = getattr(error, "strerror", None) or str(error)
            self.problem = f"cannot be read any further: {words}"
            return 0
        if not got and self._program is not None and self._program.wait():
            said = self._program.stderr.read(200) if self._program.stderr is not None else b""
            told = said.decode(errors="replace").strip().splitlines()
            self.problem = f"cannot be read any further: {told[-1] if told else 'zstd failed'}"
        return int(got or 0)

    def _read(self, most: int) -> bytes:
        room = bytearray(min(most, 1 << 20))
        return bytes(room[: self._into(memoryview(room))])

    def _decompressed(self) -> Any:
        if self.compressed == "gzip":
            return gzip.GzipFile(fileobj=self._file, mode="rb")
        if self.compressed == "xz":
            return lzma.LZMAFile(self._file, "rb")
        if self.compressed == "bzip2":
            return bz2.BZ2File(self._file, "rb")
        if self.compressed == "zstd":
            return self._zstd()
        return self._file

    def _zstd(self) -> Any:
        reader = _zstd_reader(self._file)
        if reader is not None:
            return reader
        program = shutil.which("zstd")
        if program is None:
            raise CannotRun(
                f"{self.name}: compressed with zstd, which needs the program zstd or the Python"
                " package zstandard here"
            )
        if not self._file.seekable():
            raise CannotRun(
                f"{self.name}: zstd from a pipe is not read: decompress it first"
                " (zstd -dc FILE | xdiag explain -)"
            )
        self._file.seek(0)
        os.lseek(self._file.fileno(), 0, os.SEEK_SET)
        self._program = subprocess.Popen(
            [program, "-dcq"],
            stdin=self._file.fileno(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        return self._program.stdout


def _zstd_reader(file: io.BufferedReader[Any]) -> Any:
    """What reads zstd's format, of Python 3.14 or of a package; None where neither is there."""
    for name in ("compression.zstd", "backports.zstd"):
        with contextlib.suppress(ImportError):
            return importlib.import_module(name).ZstdFile(file, "rb")
    with contextlib.suppress(ImportError):
        decompressor = importlib.import_module("zstandard").ZstdDecompressor()
        return decompressor.stream_reader(file, read_across_frames=True)
    return None


def _over(data: bytes) -> io.BufferedReader[Any]:
    return io.BufferedReader(io.BytesIO(data), HEAD)


def _opened(path: str, name: str) -> io.BufferedReader[Any]:
    if path == "-" and sys.stdin is None:
        raise CannotRun(f"{name}: it is closed")
    try:
        if path == "-":
            return io.BufferedReader(io.FileIO(os.dup(sys.stdin.fileno())), HEAD)
        if not path:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
        file = io.BufferedReader(io.FileIO(path), HEAD)
    except (OSError, ValueError, AttributeError) as error:
        words = getattr(error, "strerror", None) or str(error)
        raise CannotRun(f"{name}: cannot be read: {words}") from error
    if stat.S_ISDIR(os.fstat(file.fileno()).st_mode):  # FileIO refuses it already
        file.close()
        raise CannotRun(f"{name}: cannot be read: it is a directory")
    return file
