"""What lies where in a record file: ``cffi_build/audit/record.h``, said in Python.

A test compiles that header and holds every size, offset and value here against it.  Fields that the
header leaves to alignment are ``reserved`` here.
"""

from __future__ import annotations

import ctypes
import struct
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import TypeVar

    AnyStructure = TypeVar("AnyStructure", bound=ctypes.Structure)

MAGIC = b"XDIAGREC"
VERSION = 1
HEADER_SIZE = 4096
#: Every part of the file begins at a multiple of this: the writer's cache lines.
ALIGNMENT = 64
EVENT_MARKER = 0x56454458

U16, U32, U64 = ctypes.c_uint16, ctypes.c_uint32, ctypes.c_uint64
I32, I64 = ctypes.c_int32, ctypes.c_int64


class ClockKind(IntEnum):
    """What a tick is."""

    UNKNOWN = 0
    TSC = 1
    NANOSECONDS = 2


class EventKind(IntEnum):
    """What an event tells of."""

    PROCESS = 1
    OBJECT = 2
    REQUEST = 3
    CLOSE = 4
    END = 5


class Answer(IntEnum):
    """What became of a request for a runtime."""

    AS_ASKED = 0
    SAME_FILE = 1
    REDIRECTED = 2
    OTHER_SONAME = 3
    LACKS_VERSIONS = 4
    FILE_REPLACED = 5
    UNREADABLE = 6
    OTHER_NAMESPACE = 7


class Header(ctypes.LittleEndianStructure):
    """``record_header``: first what the creator writes, then what the writers count."""

    _fields_ = (
        ("magic", ctypes.c_char * 8),
        ("version", U32),
        ("call_count", U32),
        ("file_size", U64),
        ("table_offset", U64),
        ("table_size", U64),
        ("failures_offset", U64),
        ("failure_count", U64),
        ("events_offset", U64),
        ("events_size", U64),
        ("blocks_offset", U64),
        ("block_count", U32),
        ("life_size", U32),
        ("recent_size", U32),
        ("refusal", U32),
        ("reserved_1", U32 * 8),
        ("clock", U32),
        ("reserved_2", U32 * 15),
        ("events_used", U64),
        ("reserved_3", U64 * 7),
        ("failures_seen", U64),
        ("refusals_seen", U64),
        ("reserved_4", U64 * 6),
        ("blocks_used", U32),
        ("threads_without_block", U32),
        ("events_lost", U64),
        ("runtimes_not_wrapped", U64),
        ("calls_overwritten", U64),
        ("reserved_5", U64 * 4),
    )


class CallEntry(ctypes.LittleEndianStructure):
    """``record_call``: a call of a thread.  ``position`` is its number in the ring, from 1."""

    _fields_ = (
        ("begun", U64),
        ("ended", U64),
        ("stream", U64),
        ("other", U64),
        ("extra", U64),
        ("caller", U64),
        ("call", U16),
        ("object", U16),
        ("result", I32),
        ("position", U64),
    )


#: ``CallEntry`` once more: a record holds more than a million, and unpacking one so takes 0.2 µs.
CALL = struct.Struct("<6Q2HiQ")


class Failure(ctypes.LittleEndianStructure):
    """``record_failure``: a call that failed, kept whatever the rings have forgotten."""

    _fields_ = (
        ("ready", U32),
        ("pid", U32),
        ("tid", U32),
        ("reserved", U32),
        ("nanoseconds", U64),
        ("reserved_too", U64 * 5),
        ("call", CallEntry),
    )


class Block(ctypes.LittleEndianStructure):
    """``record_block``: the head of a thread's calls."""

    _fields_ = (
        ("pid", U32),
        ("tid", U32),
        ("life_count", U64),
        ("recent_count", U64),
        ("ticks", U64),
        ("nanoseconds", U64),
        ("takes", U32),
        ("reserved", U32),
        ("reserved_too", U64 * 2),
    )


class Event(ctypes.LittleEndianStructure):
    """``record_event``: the head of an event."""

    _fields_ = (
        ("marker", U32),
        ("size", U32),
        ("kind", U16),
        ("ready", U16),
        ("pid", U32),
        ("tid", U32),
        ("reserved", U32),
        ("ticks", U64),
    )


class ProcessPayload(ctypes.LittleEndianStructure):
    """``record_process``; the program's path and its command line follow."""

    _fields_ = (
        ("nanoseconds", U64),
        ("realtime", U64),
        ("parent", U32),
        ("forked", U32),
        ("exe_length", U32),
        ("command_length", U32),
    )


class ObjectPayload(ctypes.LittleEndianStructure):
    """``record_object``; path, SONAME and build id follow."""

    _fields_ = (
        ("number", U32),
        ("is_runtime", U32),
        ("link_map_list", I64),
        ("base", U64),
        ("end", U64),
        ("device", U64),
        ("inode", U64),
        ("recorded", U32),
        ("path_length", U32),
        ("soname_length", U32),
        ("build_id_length", U32),
    )


class RequestPayload(ctypes.LittleEndianStructure):
    """``record_request``; the name asked for, the path answered and a sentence follow."""

    _fields_ = (
        ("answer", U32),
        ("requester", U32),
        ("rule", U32),
        ("name_length", U32),
        ("to_length", U32),
        ("why_length", U32),
        ("caller", U64),
    )


class ClosePayload(ctypes.LittleEndianStructure):
    """``record_close``."""

    _fields_ = (("number", U32), ("reserved", U32))


#: By the names that record.h gives them.
STRUCTURES: dict[str, type[ctypes.Structure]] = {
    "record_header": Header,
    "record_call": CallEntry,
    "record_failure": Failure,
    "record_block": Block,
    "record_event": Event,
    "record_process": ProcessPayload,
    "record_object": ObjectPayload,
    "record_request": RequestPayload,
    "record_close": ClosePayload,
}


def block_size(life: int, recent: int) -> int:
    """Bytes of a thread's block: its head and its two rings."""
    return ctypes.sizeof(Block) + (life + recent) * CALL.size


def taken_from(structure: type[AnyStructure], data: bytes, at: int = 0) -> AnyStructure | None:
    """The structure at ``at``; None where the data ends before it does."""
    if at < 0 or len(data) - at < ctypes.sizeof(structure):
        return None
    return structure.from_buffer_copy(data, at)
