"""The memory map of a process: which files are loaded in it, each by device and inode.

The format is proc(5)'s.  Only what the loader has mapped to be executed is kept: a file that is
mapped to be read, by a debugger or by a tool as this one, is not loaded.
"""

from __future__ import annotations

import os
from itertools import islice
from typing import TYPE_CHECKING

from xdiag.model import Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_DELETED = b" (deleted)"
#: Loads kept of one file and of all: glibc has 16 namespaces, a large program 1000 libraries.
_MOST_OF_A_FILE, _MOST_LOADS = 64, 4096


class Mapping(Record, frozen=True):
    """One line of the map: a range of addresses that shows a part of a file."""

    start: int
    end: int
    offset: int
    executable: bool
    writable: bool = False


class Load(Record, frozen=True):
    """One load of a file: the mappings that the loader made of it, at one base address."""

    device: int
    inode: int
    #: As the map has it, with the mark of a file that is gone and newlines as the kernel writes
    #: them.
    raw_path: bytes
    mappings: tuple[Mapping, ...]

    @property
    def start(self) -> int:
        """First address."""
        return self.mappings[0].start

    @property
    def end(self) -> int:
        """Address behind the last."""
        return self.mappings[-1].end

    def paths(self) -> tuple[bytes, ...]:
        r"""What ``raw_path`` may stand for, the likeliest first.

        A removed file's path has a mark behind it, a newline is written ``\012``, and nothing else
        is escaped, so that either may also be what the file is called.
        """
        unmarked = self.raw_path.removesuffix(_DELETED)
        readings = [unmarked, self.raw_path]
        readings += [each.replace(rb"\012", b"\n") for each in readings if rb"\012" in each]
        return tuple(dict.fromkeys(readings))

    @property
    def marked_deleted(self) -> bool:
        """Whether the kernel says that the file is gone from its path (or it is called so)."""
        return self.raw_path.endswith(_DELETED)


class Maps:
    """A memory map: how many lines it has, and the loads in it, by address."""

    def __init__(self) -> None:
        self.lines = 0
        self.loads: list[Load] = []
        #: Whether there are more than are kept.
        self.cut = False


def read(lines: Iterable[bytes]) -> Maps:
    """Take a map apart, line by line; a line that is none is counted and left aside."""
    maps = Maps()
    files: dict[tuple[bytes, bytes], tuple[bytes, list[Mapping]]] = {}
    # Most lines of a long map belong to few files, or to none.
    for line in lines:
        maps.lines += 1
        if b"/" not in line:
            continue
        try:
            addresses, permissions, offset, device, inode, path = line.split(None, 5)
            start, _, end = addresses.partition(b"-")
            mapping = Mapping(
                int(start, 16),
                int(end, 16),
                int(offset, 16),
                b"x" in permissions,
                b"w" in permissions,
            )
        except ValueError:
            continue
        if path[:1] != b"/":  # [anon:/...], named by the program itself
            continue
        found = files.get((device, inode))
        if found is None:
            files[device, inode] = (path.rstrip(b"\n"), [mapping])
        else:
            found[1].append(mapping)
    for (device, inode), (path, mappings) in files.items():
        major, _, minor = device.partition(b":")
        try:
            number = os.makedev(int(major, 16), int(minor, 16))
            add_loads(maps, number, int(inode), path, mappings)
        except (ValueError, OverflowError):
            continue
    maps.loads.sort(key=lambda load: load.start)
    return maps


def add_loads(maps: Maps, device: int, inode: int, path: bytes, mappings: list[Mapping]) -> None:
    """Add the loads of one file, as far as there is room."""
    parts = list(islice(loads_among(mappings), _MOST_OF_A_FILE + 1))
    room = min(_MOST_OF_A_FILE, _MOST_LOADS - len(maps.loads))
    maps.cut = maps.cut or len(parts) > room
    maps.loads += [Load(device, inode, path, part) for part in parts[:room]]


def loads_among(mappings: list[Mapping]) -> Iterator[tuple[Mapping, ...]]:
    """The loads among the mappings of one file, which are in the order of their addresses.

    The loader maps a file's segments in the order of their offsets, to one range of addresses.
    So an executable mapping begins another load if it does not lie further on in the file than
    the executable one before it.  Device and inode alone would not tell two namespaces' loads of
    one file apart, nor files in two subvolumes of a btrfs, which maps show with equal numbers.
    """
    begins: list[int] = []
    last = -1
    for place, mapping in enumerate(mappings):
        if not mapping.executable:
            continue
        if mapping.offset <= last or not begins:
            first = place
            while first and mappings[first - 1].offset < mappings[first].offset:
                first -= 1
            begins.append(first)
        last = mapping.offset
    ends = [*begins[1:], len(mappings)]
    for begin, end in zip(begins, ends, strict=False):  # without code there is neither
        yield tuple(mappings[begin:end])
