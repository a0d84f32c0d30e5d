"""What a loaded object says of itself, read from where it is mapped instead of from its file.

For a file that cannot be opened any more, and for core files.  Less than ``discover.elf`` reads:
what the loader keeps in memory.
"""

from __future__ import annotations

import os
import struct
import sys
from typing import TYPE_CHECKING

from xdiag.model import Record
from xdiag.process.memory import string

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xdiag.process.memory import Memory

# elf.h, by the names that it gives them.
_PT_LOAD, _PT_DYNAMIC, _PT_INTERP, _PT_NOTE = 1, 2, 3, 4
_DT_NULL, _DT_NEEDED, _DT_STRTAB, _DT_SONAME, _DT_RPATH, _DT_RUNPATH = 0, 1, 5, 14, 15, 29
_NT_GNU_BUILD_ID = 3
_ORDER = 1 if sys.byteorder == "little" else 2
_HEADER = struct.Struct("=16xHHI QQQ I HHH")
_SEGMENT = struct.Struct("=IIQQQQQQ")
# Limits, as in discover.elf.
_MOST_HEADERS, _MOST_TAGS, _MOST_NEEDED, _MOST_NOTES = 256, 1 << 12, 4096, 16 << 10
_LONGEST_BUILD_ID = 64


class Image(Record, frozen=True):
    """What could be read."""

    #: Address of the dynamic section; 0 if there is none.
    dynamic: int = 0
    #: Has a PT_INTERP, as programs do (and few libraries).
    interpreted: bool = False
    build_id: str = ""
    soname: str = ""
    needed: tuple[str, ...] = ()
    rpath: str = ""
    runpath: str = ""
    #: Whether the dynamic section and its strings could be read: else all of them are empty.
    whole: bool = False


def read(memory: Memory, base: int) -> Image | None:
    """The object whose first page is at ``base``; None if there is no ELF header."""
    try:
        start = memory.read(base, _HEADER.size)
        # Class and byte order: those of this machine, or nothing after them can be believed.
        if start[:5] != b"\x7fELF\x02" or start[5] != _ORDER:
            return None
        _, _, _, _, table, _, _, _, size, count = _HEADER.unpack(start)
        if size != _SEGMENT.size or not count or count > _MOST_HEADERS:
            return None
        segments = list(_SEGMENT.iter_unpack(memory.read(base + table, size * count)))
    except OSError:
        return None
    first = next((each[3] for each in segments if each[0] == _PT_LOAD), 0)
    bias = base - (first & ~0xFFF)
    dynamic, build_id, interpreted = 0, "", False
    for kind, _, _, address, _, in_file, _, _ in segments:
        if kind == _PT_DYNAMIC:
            dynamic = bias + address
        elif kind == _PT_INTERP:
            interpreted = True
        elif kind == _PT_NOTE and not build_id:
            try:
                build_id = _build_id(memory.read(bias + address, min(in_file, _MOST_NOTES)))
            except OSError:
                continue
    found = Image(dynamic=dynamic, interpreted=interpreted, build_id=build_id)
    try:
        return _with_names(memory, found, base, bias) if dynamic else found
    except OSError:
        return found


def _with_names(memory: Memory, found: Image, base: int, bias: int) -> Image:
    tags = list(_tags(memory, found.dynamic))
    one = dict(tags)
    strings = one.get(_DT_STRTAB, 0)
    if not strings:
        return found
    # glibc writes the address in the place of the offset where the section can be written to;
    # musl, and glibc on some machines, leave it (glibc, elf/get-dynamic-info.h, D_PTR).
    if strings < base:
        strings += bias

    def name(place: int | None) -> str:
        return "" if place is None else os.fsdecode(string(memory, strings + place))

    needed = [place for tag, place in tags if tag == _DT_NEEDED][:_MOST_NEEDED]
    return Image(
        dynamic=found.dynamic,
        interpreted=found.interpreted,
        build_id=found.build_id,
        soname=name(one.get(_DT_SONAME)),
        needed=tuple(map(name, needed)),
        rpath=name(one.get(_DT_RPATH)),
        runpath=name(one.get(_DT_RUNPATH)),
        whole=True,
    )


def _tags(memory: Memory, dynamic: int) -> Iterator[tuple[int, int]]:
    for number in range(_MOST_TAGS):
        tag, value = struct.unpack("=qQ", memory.read(dynamic + number * 16, 16))
        if tag == _DT_NULL:
            return
        yield tag, value


def _build_id(notes: bytes) -> str:
    place = 0
    while place + 12 <= len(notes):
        name_size, size, kind = struct.unpack_from("=III", notes, place)
        value = place + 12 + (name_size + 3 & ~3)
        if kind == _NT_GNU_BUILD_ID and notes[place + 12 : place + 16] == b"GNU\0":
            return notes[value : value + size].hex() if size <= _LONGEST_BUILD_ID else ""
        place = value + (size + 3 & ~3)
    return ""
