"""The loader's own list of what it has loaded, as it keeps it for debuggers (link.h).

The program's dynamic section leads to ``struct r_debug`` (DT_DEBUG), that to a ``struct link_map``
for each object, in the order of loading.  Since glibc 2.35 the structure leads on to those of the
other namespaces (``struct r_debug_extended``, r_version 2); before, only the first can be read.

Nothing that is read is trusted: another program may own this memory, and change it meanwhile.
"""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING

from xdiag.model import Record
from xdiag.process.memory import string, words

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from xdiag.process.memory import Memory

# elf.h and link.h, by the names that they give these.
_AT_PHDR, _AT_PHENT, _AT_PHNUM = 3, 4, 5
_PT_DYNAMIC, _PT_PHDR = 2, 6
_DT_NULL, _DT_DEBUG = 0, 21
_RT_CONSISTENT = 0
#: Entries followed in all lists together, namespaces (glibc has 16), tags, program headers.
_MOST_ENTRIES, _MOST_NAMESPACES, _MOST_TAGS, _MOST_HEADERS = 1 << 14, 64, 1 << 12, 1 << 10


class Entry(Record, frozen=True):
    """One object on the list: its name as the loader has it, and where its dynamic section is."""

    name: str
    dynamic: int


class LinkMap(Record, frozen=True):
    """The lists of all namespaces that the loader tells of, the program's first."""

    namespaces: tuple[tuple[Entry, ...], ...] = ()
    #: Whether the loader tells of namespaces made by dlmopen(3).
    tells_of_others: bool = False
    #: Why there is none, or it is not whole; one line.
    problem: str = ""


def read(memory: Memory, auxiliary: bytes, programs: Iterable[int] = ()) -> LinkMap:
    """The link map; never raises: ``problem`` says why there is none.

    ``auxiliary`` is /proc/PID/auxv.  ``programs`` are addresses of dynamic sections of programs,
    looked at where that leads nowhere: it describes the loader itself, where a program was started
    through it (``ld.so ./program``).
    """
    for dynamic in _dynamic_sections(memory, auxiliary, programs):
        debug = _tag(memory, dynamic, _DT_DEBUG)
        if debug:
            return _namespaces(memory, debug)
    return LinkMap(problem="the program has no link map: it is static, or not started yet")


def _namespaces(memory: Memory, debug: int) -> LinkMap:
    """Every namespace's list, from the first one's r_debug."""
    found: list[tuple[Entry, ...]] = []
    seen: set[int] = set()
    problem, left = "", _MOST_ENTRIES
    version = 0
    while debug and debug not in seen and len(found) < _MOST_NAMESPACES and not problem:
        seen.add(debug)
        try:
            # struct r_debug { int version; link_map *map; breakpoint; int state; loader's base;
            # and behind it, with version 2, the next namespace's };
            head, first, _, state, _ = words(memory, debug, 5)
            version = head & 0xFFFF_FFFF
            following = words(memory, debug + 40, 1)[0] if version >= 2 else 0
        except OSError:
            problem = "the loader's list cannot be read to its end"
            break
        if state & 0xFFFF_FFFF != _RT_CONSISTENT:
            problem = "the loader was just changing its list"
        entries: list[Entry] = []
        for entry in _entries(memory, first, left):
            if entry is None:
                problem = "the loader's list does not end as it should"
                break
            entries.append(entry)
        left -= len(entries)
        # A namespace whose objects were all closed stays, empty.
        if entries or not found:
            found.append(tuple(entries))
        debug = following
    return LinkMap(tuple(found), version >= 2, problem)


def _entries(memory: Memory, address: int, most: int) -> Iterator[Entry | None]:
    """One list; None, and nothing after it, where it breaks off, loops or has no end."""
    seen: set[int] = set()
    while address:
        if address in seen or len(seen) >= most:
            yield None
            return
        seen.add(address)
        try:
            # struct link_map { load bias, name, dynamic section, next, previous };
            _, name, dynamic, address = words(memory, address, 4)
        except OSError:
            yield None
            return
        yield Entry(_name(memory, name), dynamic)


def _name(memory: Memory, address: int) -> str:
    """A name; empty where it cannot be read, as that of the vDSO in some core files."""
    try:
        return os.fsdecode(string(memory, address)) if address else ""
    except OSError:
        return ""


def _dynamic_sections(memory: Memory, auxiliary: bytes, programs: Iterable[int]) -> Iterator[int]:
    numbers = struct.unpack(f"={len(auxiliary) // 8}Q", auxiliary[: len(auxiliary) // 8 * 8])
    vector = dict(zip(numbers[::2], numbers[1::2], strict=False))
    table, size = vector.get(_AT_PHDR, 0), vector.get(_AT_PHENT, 0)
    base, dynamic = 0, 0
    try:
        for number in range(min(vector.get(_AT_PHNUM, 0), _MOST_HEADERS) if table else 0):
            kind, _, address = words(memory, table + number * size, 3)
            if kind & 0xFFFF_FFFF == _PT_PHDR:
                base = table - address
            elif kind & 0xFFFF_FFFF == _PT_DYNAMIC:
                dynamic = address
    except OSError:
        dynamic = 0
    if dynamic:
        yield base + dynamic
    yield from programs


def _tag(memory: Memory, dynamic: int, wanted: int) -> int:
    """The value of a tag; 0 if it is not there."""
    try:
        for number in range(_MOST_TAGS):
            tag, value = words(memory, dynamic + number * 16, 2)
            if tag == wanted:
                return value
            if tag == _DT_NULL:
                break
    except OSError:
        pass
    return 0
