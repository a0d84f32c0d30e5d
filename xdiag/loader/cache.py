"""/etc/ld.so.cache, read as the loader reads it: the file itself, never by ldconfig.

The format is that of glibc's sysdeps/generic/dl-cache.h: the old one ("ld.so-1.7.0"), the new one
("glibc-ld.so.cache1.1"), or the new one inside the old one; the look-up is search_cache's
(elf/dl-cache.c).  Every offset and count is held against the size of the file.
"""

from __future__ import annotations

import os
import struct
import sys
from typing import TYPE_CHECKING

from xdiag.model import Record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xdiag.discover.root import Root
    from xdiag.loader.cpu import Cpu

PATH = "/etc/ld.so.cache"

_OLD_MAGIC = b"ld.so-1.7.0"
_NEW_MAGIC = b"glibc-ld.so.cache1.1"
# Both formats' headers and entries, in the byte order of the machine that wrote them: this one's.
_OLD_HEADER = struct.Struct("=11sxI")
_OLD_ENTRY = struct.Struct("=iII")
_NEW_HEADER = struct.Struct("=20sIIB3xI12x")
_NEW_ENTRY = struct.Struct("=iIIIQ")
_EXTENSION = struct.Struct("=II")
_SECTION = struct.Struct("=IIII")
_EXTENSION_MAGIC = 0xEAA42174
_SECTION_HWCAPS = 1
_ENDIAN_HERE = 2 if sys.byteorder == "little" else 3

#: hwcap: the low half is an index into the section of glibc-hwcaps names; what is set besides is
#: an x86-64 level.
_NAMED = 1 << 62
_LEVELS = 0x3FF << 32
_TLS = 1 << 63
_PLATFORMS = 0xF << 48

#: Flags of a library for this machine (FLAG_ELF_LIBC6 and the machine's bits, ldconfig.h).
_FLAGS = {"x86_64": 0x303, "aarch64": 0xA03, "ppc64le": 0x503, "s390x": 0x403, "riscv64": 0x1003}

# Limits, many times what any real cache has.
_MOST_BYTES = 16 << 20
_LONGEST_STRING = 4096
_MOST_OF_ONE_NAME = 1024
_MOST_NAMES = 1024


class Entry(Record, frozen=True):
    """A library that the cache lists."""

    name: str
    path: str
    flags: int
    hwcap: int = 0
    #: The kernel's version that it needs at least, as glibc packs it; unused since 2.36.
    osversion: int = 0


class Cache:
    """The cache of one root; without entries where there is none or it is not usable."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        #: Start of the part that is used, of its entries, of what its offsets count from.
        self._entries = self._strings = self._count = 0
        self._entry = _NEW_ENTRY
        self._extension = 0
        if data.startswith(_NEW_MAGIC):
            self._find_new(0, checked=True)
        elif data.startswith(_OLD_MAGIC):
            self._find_old()

    def lookup(self, name: str, cpu: Cpu, version: tuple[int, int], osversion: int = 0) -> str:
        """The path for ``name`` on this processor, as glibc of that version chooses; or empty.

        A binary search, the same as the loader's, so that a cache which is not in order gives what
        it would give there.
        """
        try:
            wanted = os.fsencode(name)
        except UnicodeEncodeError:  # a name that no file can have
            return ""
        left, right = 0, self._count - 1
        while left <= right:
            middle = (left + right) // 2
            key = self._key(middle)
            if key is None:
                return ""
            order = _compare(wanted, key)
            if order == 0:
                return os.fsdecode(
                    self._best(wanted, middle, right, _Choice(self, cpu, version, osversion))
                )
            left, right = (middle + 1, right) if order < 0 else (left, middle - 1)
        return ""

    def entries(self) -> Iterator[Entry]:
        """All entries in their order, those with bad offsets left out."""
        for place in range(self._count):
            flags, key, value, osversion, hwcap = self._fields(place)
            name, path = self._string(key), self._string(value)
            if name is not None and path is not None:
                yield Entry(os.fsdecode(name), os.fsdecode(path), flags, hwcap, osversion)

    @property
    def hwcap_names(self) -> tuple[str, ...]:
        """Names of glibc-hwcaps subdirectories, by the index that entries have."""
        return tuple(map(os.fsdecode, self._hwcap_names()))

    # ---- the look-up -------------------------------------------------------------------------

    def _best(self, wanted: bytes, found: int, right: int, choice: _Choice) -> bytes:
        """The best of the entries of one name, of which ``found`` is one."""
        first = found
        while first > 0 and found - first < _MOST_OF_ONE_NAME:
            key = self._key(first - 1)
            if key is None or _compare(wanted, key) != 0:
                break
            first -= 1
        for place in range(first, min(right, found + _MOST_OF_ONE_NAME) + 1):
            if place > found:
                key = self._key(place)
                if key is None or _compare(wanted, key) != 0:
                    break
            flags, _, value, osversion, hwcap = self._fields(place)
            path = self._string(value)
            if path is not None and choice.is_decided_by(flags, osversion, hwcap, path):
                break
        return choice.best or b""

    def _fields(self, place: int) -> tuple[int, int, int, int, int]:
        """flags, key, value, osversion, hwcap of an entry."""
        start = self._entries + place * self._entry.size
        found = self._entry.unpack_from(self._data, start)
        return found if len(found) == 5 else (*found, 0, 0)

    def _key(self, place: int) -> bytes | None:
        return self._string(self._fields(place)[1])

    def _string(self, offset: int) -> bytes | None:
        """The string at an offset; None if that is beyond the end."""
        start = self._strings + offset
        if start >= len(self._data):
            return None
        end = self._data.find(b"\0", start, start + _LONGEST_STRING)
        return self._data[start : end if end >= 0 else start + _LONGEST_STRING]

    # ---- the parts of the file ---------------------------------------------------------------

    def _find_old(self) -> None:
        if len(self._data) <= _OLD_HEADER.size:
            return
        _, count = _OLD_HEADER.unpack_from(self._data)
        if (len(self._data) - _OLD_HEADER.size) // _OLD_ENTRY.size < count:
            return
        after = _OLD_HEADER.size + count * _OLD_ENTRY.size
        aligned = (after + 7) & ~7
        if self._data.startswith(_NEW_MAGIC, aligned):
            self._find_new(aligned, checked=False)
        else:
            self._entry = _OLD_ENTRY
            self._entries, self._strings, self._count = _OLD_HEADER.size, after, count

    def _find_new(self, start: int, *, checked: bool) -> None:
        if len(self._data) - start < _NEW_HEADER.size + checked:
            return
        _, count, _, flags, extension = _NEW_HEADER.unpack_from(self._data, start)
        room = (len(self._data) - start - _NEW_HEADER.size) // _NEW_ENTRY.size
        # 0: written by an ldconfig before 2.33, which did not say.
        if count > room or (flags and flags & 3 != _ENDIAN_HERE):
            return
        self._entries, self._strings, self._count = start + _NEW_HEADER.size, start, count
        self._extension = extension

    def _hwcap_names(self) -> list[bytes]:
        if not self._extension or self._extension % 4:
            return []
        try:
            magic, count = _EXTENSION.unpack_from(self._data, self._extension)
            if magic != _EXTENSION_MAGIC or count * _SECTION.size > len(self._data):
                return []
            start = self._extension + _EXTENSION.size
            names: list[bytes] = []
            sections = self._data[start : start + count * _SECTION.size]
            for tag, _, offset, size in _SECTION.iter_unpack(sections):
                if offset + size > len(self._data):
                    return []
                if tag == _SECTION_HWCAPS and offset % 4 == size % 4 == 0:
                    names = self._strings_of_file(offset, min(size // 4, _MOST_NAMES))
        except struct.error:
            return []
        return names

    def _strings_of_file(self, offset: int, count: int) -> list[bytes]:
        # Unlike other offsets, these count from the start of the file.
        strings = self._strings
        places = struct.unpack_from(f"={count}I", self._data, offset)
        return [self._string(place - strings) or b"" for place in places]


class _Choice:
    """Which of the entries of one name is the best so far."""

    def __init__(self, cache: Cache, cpu: Cpu, version: tuple[int, int], osversion: int) -> None:
        self.best: bytes | None = None
        self._priority = 0
        self._cpu = cpu
        self._version = version
        self._osversion = osversion if version < (2, 36) else 0
        self._flags = _FLAGS.get(cpu.machine, 0x3)
        self._platform = cpu.platform_bit(version)
        # Up to 2.25, no x86-64 library could ask for a platform.
        self._platforms = _PLATFORMS if cpu.level and version >= (2, 26) else 0
        self._usable = cpu.hwcap(version) | self._platforms | _TLS
        known = cpu.named_subdirectories(version)
        names = cache.hwcap_names if known else ()
        #: Index of a glibc-hwcaps name -> 1 for the best subdirectory, 2 for the next.
        self._priorities = {
            place: known.index(name) + 1 for place, name in enumerate(names) if name in known
        }

    def is_decided_by(self, flags: int, osversion: int, hwcap: int, path: bytes) -> bool:
        """Look at the next entry; True if no later one can be better."""
        if flags != self._flags or (self._osversion and osversion > self._osversion):
            return False
        named = self._version >= (2, 33) and hwcap & ~0xFFFFFFFF & ~_LEVELS == _NAMED
        if not named:
            # Those with names come before all others.
            if self.best is not None:
                return True
            if not self._is_usable(hwcap):
                return False
            self.best = path
            return True
        priority = self._priorities.get(hwcap & 0xFFFFFFFF, 0)
        level = hwcap >> 32 & 0x3FF
        if level < self._cpu.level and priority and priority < (self._priority or 1 << 32):
            self.best, self._priority = path, priority
        return False

    def _is_usable(self, hwcap: int) -> bool:
        if self._version >= (2, 40):
            return hwcap == 0
        platform = hwcap & self._platforms
        return not hwcap & ~self._usable and (not platform or platform == self._platform)


def read(root: Root, path: str = PATH) -> Cache:
    """The cache of a root; an empty one where there is none that can be read."""
    try:
        return Cache(root.read(path, _MOST_BYTES))
    except (OSError, ValueError):
        return Cache(b"")


def paths(root: Root, path: str = PATH) -> tuple[str, ...]:
    """Paths that a root's cache lists, in its order, each once."""
    return tuple(dict.fromkeys(entry.path for entry in read(root, path).entries()))


def _compare(left: bytes, right: bytes) -> int:
    """How glibc orders names: runs of digits by their value, all else as signed characters.

    Source: _dl_cache_libcmp, elf/dl-cache.c.  Numbers are C ints there and overflow as such.
    """
    # The usual case, and many times faster.
    if left == right:
        return 0
    here = there = 0
    while here < len(left):
        one = left[here]
        other = right[there] if there < len(right) else 0
        if _is_digit(one):
            if not _is_digit(other):
                return 1
            value, here = _number(left, here)
            against, there = _number(right, there)
            if value != against:
                return _c_int(value - against)
        elif _is_digit(other):
            return -1
        elif one != other:
            return _c_char(one) - _c_char(other)
        else:
            here += 1
            there += 1
    return 0 if there == len(right) else -_c_char(right[there])


def _is_digit(byte: int) -> bool:
    return 0x30 <= byte <= 0x39


def _number(text: bytes, place: int) -> tuple[int, int]:
    value = 0
    while place < len(text) and _is_digit(text[place]):
        value = _c_int(value * 10 + text[place] - 0x30)
        place += 1
    return value, place


def _c_int(value: int) -> int:
    return (value + 0x80000000 & 0xFFFFFFFF) - 0x80000000


def _c_char(byte: int) -> int:
    return byte - 256 if byte > 127 else byte
