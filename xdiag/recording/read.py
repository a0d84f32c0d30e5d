"""Reads a record file: its facts at once, its calls one after the other.

The processes that write a record may end at any instruction, and the file may be anybody's: every
size and place in it is held against the file, every count against a limit, and what does not fit is
told as lost.  Nothing is mapped, so that a file that is cut short meanwhile is no signal.
"""

from __future__ import annotations

import ctypes
import json
import os
from functools import cache
from typing import TYPE_CHECKING, Any, BinaryIO

from msgspec.structs import replace

from xdiag import platforms
from xdiag.discover.root import Root
from xdiag.errors import XdiagError
from xdiag.recording import layout, rings
from xdiag.recording.addresses import AddressMap
from xdiag.recording.clock import Clock, clock_of
from xdiag.recording.create import MOST_CALLS, MOST_EVENTS, MOST_FAILURES, MOST_THREADS
from xdiag.recording.events import ProcessTable, Told, read_events
from xdiag.recording.facts import Call, Facts, Lost, Object, Process, Thread
from xdiag.recording.layout import taken_from
from xdiag.recording.rings import Ring, Row, Source

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Limits of the table: bytes, entries of the list of calls, characters of a name.
_MOST_TABLE, _MOST_LISTED, _LONGEST = 1 << 20, 1 << 10, 4096


#: Processes whose objects are kept in order of their addresses at a time.
_MOST_MAPS = 64


class BadRecord(XdiagError):
    """A file that is no record, or one that cannot be read."""


class ListedCall:
    """An entry of the record's list of calls."""

    def __init__(self, name: str, prefix: str, kinds: tuple[str, ...]) -> None:
        self.name = name
        #: As programs write it.
        self.platform_name = prefix + name
        self.kinds = kinds
        #: Whether its result is an error code; of the list's calls one returns a device.
        self.returns_status = name != "GetStreamDeviceId"
        self.has_stream = "STREAM" in kinds or "NEW_STREAM" in kinds
        self.has_event = "EVENT" in kinds or "NEW_EVENT" in kinds


class Recording:
    """A record that is open: its ``facts``, and ``calls()`` by time.

    Close it, or use it as a context manager.
    """

    def __init__(
        self,
        file: BinaryIO,
        facts: Facts,
        listing: tuple[ListedCall, ...],
        sources: list[Source],
        clock: Clock,
        began: list[int],
    ) -> None:
        self._file = file
        self.facts = facts
        #: The list of calls that the writer had.
        self.listing = listing
        #: Where rows come from; a row's last number is a place here.
        self.sources = sources
        self.clock = clock
        #: When each process began, in ticks.
        self.began = began
        self._addresses: dict[int, AddressMap] = {}

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the file go; facts stay, calls cannot be read any more."""
        self._file.close()

    def calls(self) -> Iterator[Call]:
        """All calls that were kept, by the time at which they began."""
        return map(self.call_of, self.rows())

    def rows(self) -> Iterator[Row]:
        """The same as plain tuples, for those who go through all of them: 1 µs each."""
        return rings.merged(self._file.fileno(), self.sources)

    def process_of(self, row: Row) -> Process:
        """The process that made a call."""
        return self.facts.processes[self.sources[row[rings.SOURCE]].process]

    def oldest(self, source: Source) -> int:
        """Ticks at which the oldest call began that a ring has still."""
        if source.ring is None:
            return 0
        first = rings.entry(self._file.fileno(), source.ring, source.ring.first + 1)
        return first[rings.BEGUN] if first is not None else source.ring.since

    def listed(self, index: int) -> ListedCall:
        """An entry of the list of calls; one without kinds for a number that is not on it."""
        if index < len(self.listing):
            return self.listing[index]
        return ListedCall(f"call number {index}", "", ())

    def call_of(self, row: Row) -> Call:
        """A call with everything that is known about it."""
        begun, ended, stream, other, extra, caller, index, runtime, result, position, source = row
        who = self.sources[source]
        listed = self.listed(index)
        there = self._caller(who.process, caller)
        seconds = self.clock.seconds
        return Call(
            process=who.process,
            pid=who.pid,
            tid=who.tid,
            name=listed.platform_name,
            runtime=runtime,
            begun=seconds(begun),
            ended=seconds(ended) if ended else None,
            result=result,
            error=error_name(result) if ended and listed.returns_status else "",
            stream=stream if listed.has_stream else None,
            event=other if listed.has_event else None,
            other=other if other and not listed.has_event else None,
            extra=extra,
            caller=caller,
            caller_path=there.path if there is not None else "",
            position=position,
        )

    def _caller(self, process: int, address: int) -> Object | None:
        if process not in self._addresses:
            if len(self._addresses) >= _MOST_MAPS:
                self._addresses.clear()
            self._addresses[process] = AddressMap(self.facts.processes[process].objects)
        return self._addresses[process].at(address)


def read(path: str | os.PathLike[str]) -> Recording:
    """Open a record; raises BadRecord, with one line, for what is none or cannot be read.

    What is missing or damaged in it is told in its facts: ``lost`` and ``notes``.
    """
    file = _opened(os.fspath(path))
    try:
        return _read(file, os.fspath(path))
    except OSError as error:
        file.close()
        raise BadRecord(f"{path}: cannot be read: {error.strerror or error}") from error
    except BaseException:
        file.close()
        raise


def _read(file: BinaryIO, path: str) -> Recording:
    fd = file.fileno()
    header = _header(fd, path)
    # (A record with nothing in it is sparse: it has its size all the same.)
    size, whole = os.fstat(fd).st_size, _end_of_parts(header)
    if size < whole:
        raise BadRecord(
            f"{path}: the record is cut short: it has {size} of {whole} bytes (a copy that did not"
            " end?)"
        )
    table, notes = _table(fd, header)
    told = read_events(_part(fd, header.events_offset, min(header.events_used, header.events_size)))
    blocks = _blocks(fd, header)
    pairs = told.pairs() + [(b.ticks, b.nanoseconds) for _, b in blocks if b.nanoseconds]
    clock = clock_of(header.clock, pairs, told.zero())
    if clock.rough and pairs:
        notes.append("times are rough: the record is too short to tell how fast its clock ran")
    processes = ProcessTable(told, clock)
    sources = [source for base, block in blocks
               for source in _sources(base, block, header, processes)]  # fmt: skip
    failures = _failed_rows(fd, header, sources, processes)
    if told.cut or processes.cut:
        notes.append("not all loads are known: there are more than are read")
    platform = _text(table.get("platform")) or "hip"
    facts = Facts(
        path=path,
        xdiag=_text(table.get("xdiag")),
        command=_texts(table.get("command")),
        started=_text(table.get("started")),
        platform=platform,
        refusal=header.refusal,
        wall_clock=told.wall_clock(),
        processes=processes.finished(),
        failures_seen=header.failures_seen,
        refusals_seen=header.refusals_seen,
        notes=tuple(notes),
    )
    recording = Recording(file, facts, _listing(table, platform), sources, clock, processes.began())
    failed = sorted(map(recording.call_of, failures), key=lambda call: call.begun)
    recording.facts = replace(facts, failures=tuple(failed))
    recording.facts = _with_threads(recording, fd, [block for _, block in blocks], header, told)
    return recording


def _opened(path: str) -> BinaryIO:
    try:
        return Root("/").open(os.path.abspath(path))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BadRecord(f"{path}: cannot be read: {reason}") from error


def _part(fd: int, offset: int, size: int) -> bytes:
    """A part of the file, as much of it as is there."""
    try:
        return os.pread(fd, size, offset) if size > 0 else b""
    except OverflowError:  # beyond what a place in a file can be
        return b""


def _header(fd: int, path: str) -> layout.Header:
    data = _part(fd, 0, layout.HEADER_SIZE)
    if not data.startswith(layout.MAGIC):
        raise BadRecord(f"{path}: no record of xdiag's (xdiag run --record FILE makes one)")
    header = taken_from(layout.Header, data)
    if header is None:
        raise BadRecord(f"{path}: the record is cut short within its header")
    if header.version != layout.VERSION:
        raise BadRecord(
            f"{path}: a record of version {header.version}; this xdiag reads {layout.VERSION}"
        )
    calls = header.block_count * (header.life_size + header.recent_size)
    if (
        calls > MOST_CALLS
        or header.block_count > MOST_THREADS
        or header.failure_count > MOST_FAILURES
        or header.events_size > MOST_EVENTS
        or header.table_size > _MOST_TABLE
        or not header.life_size
        or not header.recent_size
    ):
        raise BadRecord(f"{path}: the record is damaged: its header names impossible sizes")
    return header


def _end_of_parts(header: layout.Header) -> int:
    """Where a record ends: as it says, and by what it says of its parts."""
    blocks = header.block_count * layout.block_size(header.life_size, header.recent_size)
    ends: tuple[int, ...] = (
        header.file_size,
        header.table_offset + header.table_size,
        header.failures_offset + header.failure_count * ctypes.sizeof(layout.Failure),
        header.events_offset + header.events_size,
        header.blocks_offset + blocks,
    )
    return max(ends)


# ---- the table -------------------------------------------------------------------------------


def _table(fd: int, header: layout.Header) -> tuple[dict[str, Any], list[str]]:
    """What the creator wrote, and what is to be said of it."""
    try:
        table = json.loads(_part(fd, header.table_offset, header.table_size))
    except (ValueError, RecursionError):
        table = None
    if not isinstance(table, dict):
        return {}, ["its table is damaged: the list of calls is that of this xdiag"]
    return table, []


def _listing(table: dict[str, Any], platform: str) -> tuple[ListedCall, ...]:
    """The record's list of calls; this xdiag's own where it has none."""
    prefix = platforms.get(platform).prefix if platform in platforms.names() else ""
    listed = table.get("calls")
    if isinstance(listed, list) and 0 < len(listed) <= _MOST_LISTED:
        return tuple(
            ListedCall(_text(each.get("name")), prefix, _texts(each.get("kinds")))
            if isinstance(each, dict)
            else ListedCall("", prefix, ())
            for each in listed
        )
    from xdiag.native import calls

    return tuple(
        ListedCall(call.name, prefix, call.kinds)
        for call in sorted(calls().values(), key=lambda call: call.index)
    )


def _text(value: object) -> str:
    return value[:_LONGEST] if isinstance(value, str) else ""


def _texts(value: object) -> tuple[str, ...]:
    return tuple(_text(each) for each in value[:_LONGEST]) if isinstance(value, list) else ()


@cache
def _error_names() -> dict[int, str]:
    from xdiag.native import errors

    return {code: name for code, (name, _) in errors().items()}


def error_name(code: int) -> str:
    """The name of an error code; empty for one that has none."""
    return _error_names().get(code, "")


# ---- threads and their calls -----------------------------------------------------------------


def _blocks(fd: int, header: layout.Header) -> list[tuple[int, layout.Block]]:
    """The heads of the blocks that a thread has had, each with its place in the file."""
    found = []
    size = layout.block_size(header.life_size, header.recent_size)
    for number in range(min(header.blocks_used, header.block_count)):
        base = header.blocks_offset + number * size
        block = taken_from(layout.Block, _part(fd, base, ctypes.sizeof(layout.Block)))
        if block is None:
            break
        if block.pid and (block.life_count or block.recent_count):
            found.append((base, block))
    return found


def _sources(
    base: int, block: layout.Block, header: layout.Header, processes: ProcessTable
) -> tuple[Source, Source]:
    """A thread's two rings."""
    process = processes.index_of(block.pid, block.ticks)
    life_at = base + ctypes.sizeof(layout.Block)
    recent_at = base + layout.block_size(header.life_size, 0)
    life = Ring(life_at, header.life_size, block.life_count, block.ticks)
    recent = Ring(recent_at, header.recent_size, block.recent_count, block.ticks)
    reused, forgets = block.takes > 1, recent.first > 0
    return (
        Source(process, block.pid, block.tid, life, True, reused, forgets),
        Source(process, block.pid, block.tid, recent, False, reused, forgets),
    )


def _failed_rows(
    fd: int, header: layout.Header, sources: list[Source], processes: ProcessTable
) -> list[Row]:
    """The failed calls that were kept apart; each that no ring has any more is a new source."""
    size = ctypes.sizeof(layout.Failure)
    rings_of: dict[tuple[int, int], list[int]] = {}
    for number, source in enumerate(sources):
        rings_of.setdefault((source.pid, source.tid), []).append(number)
    found = []
    for number in range(min(header.failures_seen, header.failure_count)):
        entry = taken_from(layout.Failure, _part(fd, header.failures_offset + number * size, size))
        if entry is None:
            break
        if entry.ready != 1:
            continue
        fields = layout.CALL.unpack(bytes(entry.call))
        place = _ring_with(fd, fields, sources, rings_of.get((entry.pid, entry.tid), []))
        if place is None:
            process = processes.index_of(entry.pid, fields[rings.BEGUN])
            place = len(sources)
            sources.append(Source(process, entry.pid, entry.tid, only=fields))
        found.append((*fields, place))
    return found


def _ring_with(
    fd: int, fields: tuple[int, ...], sources: list[Source], numbers: list[int]
) -> int | None:
    """The ring, among some, that has a call still."""
    for number in numbers:
        ring = sources[number].ring
        if ring is None:
            continue
        there = rings.entry(fd, ring, fields[rings.POSITION])
        if there is not None and there[rings.BEGUN] == fields[rings.BEGUN]:
            return number
    return None


def _with_threads(
    recording: Recording, fd: int, blocks: list[layout.Block], header: layout.Header, told: Told
) -> Facts:
    """The facts with the threads, and with what was lost."""
    facts = recording.facts
    threads = []
    torn = overwritten = 0
    for place, block in enumerate(blocks):
        pair = recording.sources[2 * place : 2 * place + 2]
        there = [source.ring for source in pair if source.ring is not None]
        kept = sum(rings.kept(fd, ring) for ring in there)
        overwritten += sum(ring.first for ring in there)
        torn += sum(ring.count - ring.first for ring in there) - kept
        threads.append(
            Thread(
                process=pair[0].process,
                pid=block.pid,
                tid=block.tid,
                begun=recording.clock.seconds(block.ticks),
                calls_seen=block.life_count + block.recent_count,
                calls_kept=kept,
                in_flight=_in_flight(recording, fd, there, 2 * place),
            )
        )
    lost = Lost(
        overwritten=overwritten,
        overwritten_by_others=header.calls_overwritten,
        torn=torn,
        threads=header.threads_without_block,
        events=header.events_lost + told.torn,
        failures=max(0, header.failures_seen - len(facts.failures)),
        runtimes=header.runtimes_not_wrapped,
    )
    return replace(facts, threads=tuple(threads), lost=lost)


def _in_flight(recording: Recording, fd: int, pair: list[Ring], first: int) -> Call | None:
    """The last call of a thread, if it has not returned."""
    last = [
        (*fields, first + place)
        for place, ring in enumerate(pair)
        if (fields := rings.entry(fd, ring, ring.count)) is not None
    ]
    row = max(last, default=None)
    return recording.call_of(row) if row is not None and not row[rings.ENDED] else None
