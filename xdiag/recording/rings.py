"""The calls of a record: from the rings of its threads, as one row after the other by time."""

from __future__ import annotations

import heapq
import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from xdiag.recording.layout import CALL

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: A call: the fields of ``layout.CallEntry`` in their order, and the number of its source.  Plain
#: numbers all; a record may have a million and a half of them.
Row = tuple[int, ...]
BEGUN, ENDED, STREAM, OTHER, EXTRA, CALLER, CALL_INDEX, RUNTIME, RESULT, POSITION, SOURCE = range(
    11
)

#: Calls read at a time, of each of 3000 rings that may be open at once, and of one alone.
_CHUNK, _LARGE_CHUNK = 64, 1024
_BEGUN_AND_POSITION = struct.Struct("<Q48xQ")


@dataclass(frozen=True)
class Ring:
    """A ring of calls: where it lies in the file, its size, and how many calls went through it."""

    start: int
    size: int
    count: int
    #: Ticks at which its thread took it: what is older was another's.
    since: int

    @property
    def first(self) -> int:
        """Number, from 0, of the oldest call that it can have still."""
        return max(0, self.count - self.size)

    def place(self, position: int) -> int:
        """Where in the file the call with this number (from 1) lies."""
        return self.start + (position - 1) % self.size * CALL.size

    def pieces(self, most: int) -> Iterator[tuple[int, int, int]]:
        """What it has, oldest first: (place in the file, number of calls before, calls)."""
        number = self.first
        while number < self.count:
            until_wrap = self.size - number % self.size
            calls = min(most, until_wrap, self.count - number)
            yield self.place(number + 1), number, calls
            number += calls


class Source(NamedTuple):
    """Where rows come from: a ring of a thread, or one call that only the failures have."""

    process: int
    pid: int
    tid: int
    ring: Ring | None = None
    #: Whether it is the ring of calls that make and end handles.
    is_life: bool = False
    #: Whether other threads have had the place before.
    reused: bool = False
    #: Whether calls are missing by which its thread may have chosen a device.
    forgets: bool = True
    #: Without a ring: the call.
    only: tuple[int, ...] = ()


def merged(fd: int, sources: Sequence[Source]) -> Iterator[Row]:
    """All calls of all sources by the time at which they began.

    A few kilobytes of each ring are in memory at a time.
    """
    return heapq.merge(*(_rows(fd, source, number) for number, source in enumerate(sources)))


def _rows(fd: int, whose: Source, source: int) -> Iterator[Row]:
    ring = whose.ring
    if ring is None:
        yield (*whose.only, source)
        return
    since, size = ring.since, CALL.size
    for place, number, calls in ring.pieces(_CHUNK):
        data = os.pread(fd, calls * size, place)
        for fields in CALL.iter_unpack(data[: len(data) // size * size]):
            number += 1
            # Another number is an entry that was being written; one that began before the thread
            # had the ring is left of its owner before.
            if fields[9] == number and fields[0] >= since:
                yield (*fields, source)


def kept(fd: int, ring: Ring) -> int:
    """How many calls of a ring are whole."""
    whole = 0
    for place, number, calls in ring.pieces(_LARGE_CHUNK):
        data = os.pread(fd, calls * CALL.size, place)
        found = _BEGUN_AND_POSITION.iter_unpack(data[: len(data) // CALL.size * CALL.size])
        for begun, position in found:
            number += 1
            whole += position == number and begun >= ring.since
    return whole


def entry(fd: int, ring: Ring, position: int) -> tuple[int, ...] | None:
    """The call with this number; None where it is not there (any more) or not whole."""
    if not ring.first < position <= ring.count:
        return None
    data = os.pread(fd, CALL.size, ring.place(position))
    if len(data) != CALL.size:
        return None
    fields = CALL.unpack(data)
    return fields if fields[9] == position and fields[0] >= ring.since else None
