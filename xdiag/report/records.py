"""A record written anew: its texts masked, without the room that it did not use.

The texts lie between numbers that say how long they are, so a record is not masked by replacing
bytes: header, table and events are made again, and the parts that hold numbers only are copied.
"""

from __future__ import annotations

import ctypes
import json
import os
from typing import TYPE_CHECKING, Any, BinaryIO

from xdiag.discover.root import Root
from xdiag.errors import CannotRun
from xdiag.recording import layout
from xdiag.recording.events import RawEvent, read_events
from xdiag.recording.read import read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

#: Bytes of a record in a report; calls of so many threads that it would be larger are left out.
MOST_BYTES = 48 << 20
_MOST_TABLE = 1 << 20


def texts(path: str) -> Iterator[str]:
    """All that the record says in words: to learn from.  Raises BadRecord for what is none."""
    with read(path) as recording:
        facts = recording.facts
        yield json.dumps(facts.command)
        for process in facts.processes:
            yield json.dumps(process.command)
            yield process.exe
            yield from (each.path for each in process.objects)
            yield from (f"{each.name}\n{each.to}\n{each.why}" for each in process.requests)


def rewritten(path: str, masked: Callable[[str], str]) -> bytes:
    """The record at ``path``, each text in it as ``masked`` gives it back.

    Raises BadRecord for what is none, CannotRun for one that is too large for a report.
    """
    read(path).close()  # its header makes sense
    with Root("/").open(os.path.abspath(path)) as file:
        return _rewritten(file, path, masked)


def _rewritten(file: BinaryIO, path: str, masked: Callable[[str], str]) -> bytes:
    header = layout.taken_from(layout.Header, _part(file, 0, layout.HEADER_SIZE))
    if header is None:
        raise CannotRun(f"{path}: the record changed while it was read")
    table = _table(_part(file, header.table_offset, min(header.table_size, _MOST_TABLE)), masked)
    told = read_events(
        _part(file, header.events_offset, min(header.events_used, header.events_size))
    )
    events = b"".join(_event(event, masked) for event in told.events)
    failures = _part(
        file,
        header.failures_offset,
        min(header.failures_seen, header.failure_count) * ctypes.sizeof(layout.Failure),
    )
    blocks = min(header.blocks_used, header.block_count)
    size = layout.block_size(header.life_size, header.recent_size)
    if blocks * size > MOST_BYTES:
        raise CannotRun(
            f"{path}: the calls of {blocks} threads are {blocks * size >> 20} MiB, more than a"
            f" report takes ({MOST_BYTES >> 20})"
        )
    calls = _part(file, header.blocks_offset, blocks * size)
    header.events_lost += told.torn
    return _laid_out(header, table, failures, events, calls, blocks)


def _laid_out(
    header: layout.Header, table: bytes, failures: bytes, events: bytes, calls: bytes, blocks: int
) -> bytes:
    """The parts one after the other, and a header that says where they are."""
    header.table_offset, header.table_size = layout.HEADER_SIZE, len(table)
    header.failure_count = len(failures) // ctypes.sizeof(layout.Failure)
    header.block_count = header.blocks_used = blocks
    header.events_used = len(events)
    header.events_size = len(_padded(events))
    parts = [_padded(bytes(header), layout.HEADER_SIZE), _padded(table)]
    for name, part in (("failures", failures), ("events", events), ("blocks", calls)):
        setattr(header, f"{name}_offset", sum(map(len, parts)))
        parts.append(_padded(part))
    header.file_size = sum(map(len, parts))
    parts[0] = _padded(bytes(header), layout.HEADER_SIZE)
    return b"".join(parts)


def _padded(data: bytes, to: int = layout.ALIGNMENT) -> bytes:
    return data + bytes(-len(data) % to)


def _part(file: BinaryIO, offset: int, size: int) -> bytes:
    try:
        return os.pread(file.fileno(), size, offset) if size > 0 else b""
    except OverflowError:  # beyond what a place in a file can be
        return b""


def _table(written: bytes, masked: Callable[[str], str]) -> bytes:
    """The table with its texts masked; without, where it is damaged."""
    try:
        table: Any = json.loads(written)
    except (ValueError, RecursionError):
        return b""
    if not isinstance(table, dict):
        return b""
    kept: dict[str, Any] = {}
    for name in ("schema_version", "xdiag", "started", "platform"):
        value = table.get(name)
        if isinstance(value, int | str):
            kept[name] = masked(value) if isinstance(value, str) else value
    command = table.get("command")
    if isinstance(command, list):
        kept["command"] = _command([str(word) for word in command], masked)
    calls = table.get("calls")
    if isinstance(calls, list):
        kept["calls"] = [_call(each, masked) for each in calls]
    return json.dumps(kept, separators=(",", ":")).encode("ascii")


def _command(words: list[str], masked: Callable[[str], str]) -> list[str]:
    """A command's words: what is secret of one may be said by the word before it."""
    together = masked("\0".join(words)).split("\0")
    return together if len(together) == len(words) else [masked(word) for word in words]


def _call(call: object, masked: Callable[[str], str]) -> dict[str, Any]:
    if not isinstance(call, dict):
        return {}
    kinds = call.get("kinds")
    return {
        "name": masked(str(call.get("name", ""))),
        "kinds": [masked(str(each)) for each in kinds] if isinstance(kinds, list) else [],
    }


def _event(event: RawEvent, masked: Callable[[str], str]) -> bytes:
    body = b""
    if event.payload is not None:
        written = [_text(text, masked) for text in event.texts]
        for name, text in zip(_lengths(event.payload), written, strict=True):
            setattr(event.payload, name, len(text))
        body = bytes(event.payload) + b"".join(written)
    body += bytes(-len(body) % 8)
    head = layout.Event(
        marker=layout.EVENT_MARKER,
        size=ctypes.sizeof(layout.Event) + len(body),
        kind=event.kind,
        ready=1,
        pid=event.pid,
        tid=event.tid,
        ticks=event.ticks,
    )
    return bytes(head) + body


def _text(text: bytes, masked: Callable[[str], str]) -> bytes:
    return masked(text.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")


def _lengths(payload: ctypes.Structure) -> Iterable[str]:
    """A payload's fields that say how long its texts are, in the texts' order."""
    return [str(field[0]) for field in payload._fields_ if str(field[0]).endswith("_length")]
