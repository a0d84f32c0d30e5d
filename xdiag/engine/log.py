"""What a child reports, in memory that it shares with the supervisor.

A line per message, written by the child, read by the supervisor once the child has ended, however
it ended.  Shared memory because it costs the child no system call and wakes nobody, and because
what was written stays whatever becomes of the writer.
"""

from __future__ import annotations

import contextlib
import mmap
import os
from typing import TYPE_CHECKING

import msgspec

from xdiag.engine.messages import ChildMessage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Bytes; a long cell writes about 10 KiB.  Pages that are not written to cost nothing.
SIZE = 1 << 20


def new() -> int:
    """A descriptor of an empty log."""
    fd = os.memfd_create("xdiag-log", os.MFD_CLOEXEC)
    os.truncate(fd, SIZE)
    return fd


def writer(fd: int) -> Callable[[ChildMessage], None]:
    """A function that appends a message to the log."""
    memory = mmap.mmap(fd, SIZE)
    encode = msgspec.json.Encoder().encode

    def report(message: ChildMessage) -> None:
        # The newline comes last: a line without one was cut off, and is not read.
        memory.write(encode(message) + b"\n")

    return report


_decode = msgspec.json.Decoder(ChildMessage).decode


def read(fd: int) -> tuple[ChildMessage, ...]:
    """The messages in a log, up to the first that is not whole: the child's memory was its own."""
    data = b""
    while b"\0" not in data and len(data) < SIZE:
        data += os.pread(fd, 1 << 16, len(data))
    return tuple(_whole(data.partition(b"\0")[0].split(b"\n")[:-1]))


def _whole(lines: list[bytes]) -> Iterator[ChildMessage]:
    with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
        for line in lines:
            yield _decode(line)
