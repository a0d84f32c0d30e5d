"""What one ELF file says of itself to the dynamic loader, read without trusting it.

Only the tables that the loader goes by are read: program headers, the dynamic section, notes, one
lookup in the hash table (System V ABI, "Object Files" and "Dynamic Linking"; gABI 4.1).  They are
arrays of fixed records, taken with ``struct`` in 0.02 ms; a general parser needs 2 ms, and a
process has hundreds of libraries, an environment thousands.  Every count and offset that the file
states is held against a limit, so that a hostile file costs no more than an honest one.
"""

from __future__ import annotations

import os
import struct
import sys
from functools import cached_property
from itertools import takewhile
from typing import TYPE_CHECKING, BinaryIO

from xdiag.errors import CannotRun
from xdiag.model import Record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xdiag.discover.root import Root

#: os.uname().machine -> e_machine and the name that people know it by.
MACHINES = {"x86_64": 62, "aarch64": 183, "ppc64le": 21, "riscv64": 243, "s390x": 22}
_MACHINE_NAMES = {
    3: "x86", 8: "MIPS", 20: "32-bit PowerPC", 21: "64-bit PowerPC", 22: "IBM S/390", 40: "ARM",
    62: "x86-64", 183: "AArch64", 224: "AMD GPUs", 243: "RISC-V", 258: "LoongArch",
}  # fmt: skip

# elf.h, by the names that it gives them.
_ET_EXEC, _ET_DYN = 2, 3
_PT_LOAD, _PT_DYNAMIC, _PT_INTERP, _PT_NOTE, _PT_TLS = 1, 2, 3, 4, 7
_PF_X, _PF_W, _PF_R = 1, 2, 4
_DT_NULL, _DT_NEEDED, _DT_HASH, _DT_STRTAB, _DT_SYMTAB, _DT_STRSZ = 0, 1, 4, 5, 6, 10
_DT_SONAME, _DT_RPATH, _DT_RUNPATH, _DT_FLAGS = 14, 15, 29, 30
_DT_AUXILIARY, _DT_FILTER = 0x7FFFFFFD, 0x7FFFFFFF
_DT_GNU_HASH, _DT_FLAGS_1 = 0x6FFFFEF5, 0x6FFFFFFB
_DT_VERNEED, _DT_VERNEEDNUM = 0x6FFFFFFE, 0x6FFFFFFF
_DF_STATIC_TLS = 0x10
_DF_1_NOOPEN, _DF_1_NODEFLIB, _DF_1_PIE = 0x40, 0x800, 0x08000000
_NT_GNU_BUILD_ID = 3

# Limits: many times what any real file has (LLVM's library has 60 000 symbols).
_MOST_DYNAMIC = 1 << 20
_MOST_NEEDED = 4096
_MOST_NOTES = 64 << 10
_LONGEST_STRING = 4096
_LONGEST_BUILD_ID = 64
_MOST_CHAIN = 1 << 16
_MOST_PLACES = 64
_MOST_VERSIONS = 4096
_BLOCK = 1 << 20

_HEADER = struct.Struct("=16xHHI QQQ I HHH")
_SEGMENT = struct.Struct("=IIQQQQQQ")
_DYNAMIC = struct.Struct("=qQ")
_SYMBOL = struct.Struct("=IBBHQQ")
_VERNEED = struct.Struct("=HHIII")
_VERNAUX = struct.Struct("=IHHII")


class BadElf(CannotRun):
    """A file that the dynamic loader would not map here; ``kind`` says what is wrong with it.

    ``empty``, ``not-elf``, ``damaged``, ``other-class``, ``other-order``, ``other-machine``,
    ``not-loadable`` (an object or core file), or ``unreadable``.
    """

    def __init__(self, message: str, kind: str) -> None:
        super().__init__(message)
        self.kind = kind


class Filtee(Record, frozen=True):
    """A library asked before the one that names it: DT_FILTER; DT_AUXILIARY may be missing."""

    name: str
    auxiliary: bool = False
    #: How many of the DT_NEEDED come before it: the loader takes them in their order.
    place: int = 0


class Elf(Record, frozen=True):
    """What an executable or shared library says of itself, and which file it is."""

    #: As it was asked for, seen from inside the root.
    path: str
    device: int
    inode: int
    size: int
    #: Whether it can be executed: ET_EXEC, or marked as position-independent executable.
    executable: bool = False
    #: Has a dynamic section: a statically linked program has none.
    dynamic: bool = False
    soname: str = ""
    build_id: str = ""
    #: DT_NEEDED, in order, as written.
    needed: tuple[str, ...] = ()
    #: DT_RPATH and DT_RUNPATH as written: directories separated by colons, with $ORIGIN and such.
    rpath: str = ""
    runpath: str = ""
    #: DT_RUNPATH is there, be it empty, as some tools leave it: DT_RPATH is then ignored.
    has_runpath: bool = False
    #: DT_FILTER and DT_AUXILIARY, in order.
    filtees: tuple[Filtee, ...] = ()
    #: DF_1_NOOPEN: dlopen refuses it.
    noopen: bool = False
    #: DF_1_NODEFLIB: the loader's cache and default directories are not for this one.
    nodeflib: bool = False
    #: PT_INTERP: the dynamic loader that it asks for.
    interpreter: str = ""
    #: Bytes of thread-local storage that have to lie in the static block (PT_TLS, DF_STATIC_TLS).
    static_tls: int = 0


def read(path: str, root: Root) -> Elf:
    """Read the ELF file at ``path`` in ``root``; raises BadElf, which names the path."""
    try:
        with root.open(path) as file:
            return _File(path, file).facts()
    except OSError as error:
        reason = error.strerror or str(error)
        raise BadElf(f"{path}: cannot be read: {reason}", "unreadable") from error
    except ValueError as error:  # a null character in the name
        raise BadElf(f"{path!r}: not a path", "unreadable") from error


def exports(path: str, symbol: str, root: Root) -> bool:
    """Whether the library defines ``symbol`` for others, as dlsym would find it.

    Raises BadElf as ``read`` does.
    """
    try:
        with root.open(path) as file:
            return _File(path, file).defines(symbol.encode())
    except OSError as error:
        reason = error.strerror or str(error)
        raise BadElf(f"{path}: cannot be read: {reason}", "unreadable") from error


def version_needs(path: str, root: Root) -> tuple[str, ...]:
    """Symbol versions that the file asks of its libraries, such as GLIBC_2.34, each once.

    They are in DT_VERNEED (LSB Core, "Symbol Versioning"); the loader refuses the file if a library
    lacks one.  Raises BadElf as ``read`` does.
    """
    try:
        with root.open(path) as file:
            return tuple(dict.fromkeys(_File(path, file).version_needs()))
    except OSError as error:
        reason = error.strerror or str(error)
        raise BadElf(f"{path}: cannot be read: {reason}", "unreadable") from error


def constants(
    path: str, word: bytes, root: Root, most: int, margin: int = 256
) -> tuple[list[bytes], bool]:
    """The bytes around each ``word`` in a file's data, and whether all of that was looked through.

    Only what is mapped without being executable is read, a fifth of a usual file, and no more than
    ``most`` bytes of it: a GPU library's kernels are data too, gigabytes of it.  Raises BadElf as
    ``read`` does.
    """
    try:
        with root.open(path) as file:
            return _File(path, file).constants(word, most, margin)
    except OSError as error:
        reason = error.strerror or str(error)
        raise BadElf(f"{path}: cannot be read: {reason}", "unreadable") from error


class _File:
    """One open ELF file of this machine's class and byte order."""

    def __init__(self, path: str, file: BinaryIO) -> None:
        self.path = path
        self.fd = file.fileno()
        self.status = os.fstat(self.fd)
        start = os.pread(self.fd, 64, 0)
        self._check_ident(start)
        if len(start) < _HEADER.size:
            raise self._damaged()
        header = _HEADER.unpack(start[: _HEADER.size])
        kind, machine, _, _, table, _, _, _, entry_size, count = header
        here = MACHINES.get(os.uname().machine, machine)
        if machine != here:
            other = _MACHINE_NAMES.get(machine, f"another machine (e_machine {machine})")
            raise BadElf(
                f"{path}: a library for {other}; this machine is {os.uname().machine}",
                "other-machine",
            )
        if kind not in (_ET_EXEC, _ET_DYN):
            raise BadElf(f"{path}: an ELF file, but not a shared library", "not-loadable")
        self.kind = kind
        if count and entry_size != _SEGMENT.size:
            raise self._damaged()
        table_bytes = self._bytes(table, count * _SEGMENT.size)
        self.headers: list[tuple[int, ...]] = list(_SEGMENT.iter_unpack(table_bytes))
        #: (type, offset, virtual address, size in the file)
        self.segments = [(each[0], each[2], each[3], each[5]) for each in self.headers]

    @cached_property
    def tags(self) -> list[tuple[int, int]]:
        """The dynamic section."""
        return list(self._dynamic_tags())

    @cached_property
    def values(self) -> dict[int, int]:
        """The dynamic section by tag; of one that is there twice, the loader takes the last."""
        return dict(self.tags)

    def facts(self) -> Elf:
        one = self.values
        flags = one.get(_DT_FLAGS_1, 0)
        needed = [value for tag, value in self.tags if tag == _DT_NEEDED]
        if len(needed) > _MOST_NEEDED:
            raise self._damaged()
        return Elf(
            path=self.path,
            device=self.status.st_dev,
            inode=self.status.st_ino,
            size=self.status.st_size,
            executable=self.kind == _ET_EXEC or bool(flags & _DF_1_PIE),
            dynamic=bool(self.tags),
            soname=self._name(one.get(_DT_SONAME)),
            build_id=self._build_id(),
            needed=tuple(self._name(value) for value in needed),
            rpath=self._name(one.get(_DT_RPATH)),
            runpath=self._name(one.get(_DT_RUNPATH)),
            has_runpath=_DT_RUNPATH in one,
            filtees=tuple(self._filtees()),
            noopen=bool(flags & _DF_1_NOOPEN),
            nodeflib=bool(flags & _DF_1_NODEFLIB),
            interpreter=self._interpreter(),
            static_tls=self._static_tls(),
        )

    def defines(self, symbol: bytes) -> bool:
        """Look a symbol up by the hash table that the loader would use."""
        one = self.values
        if _DT_SYMTAB not in one or _DT_STRTAB not in one:
            return False
        if _DT_GNU_HASH in one:
            places = self._gnu_chain(self._offset(one[_DT_GNU_HASH]), symbol)
        elif _DT_HASH in one:
            places = self._sysv_chain(self._offset(one[_DT_HASH]), symbol)
        else:
            return False
        table = self._offset(one[_DT_SYMTAB])
        return any(self._is(table + place * _SYMBOL.size, symbol) for place in places)

    def version_needs(self) -> Iterator[str]:
        """Names of the versions asked for: a chain of libraries, each with a chain of versions."""
        if _DT_VERNEED not in self.values:
            return
        place = self._offset(self.values[_DT_VERNEED])
        count = 0
        for _ in range(min(self.values.get(_DT_VERNEEDNUM, 0), _MOST_NEEDED)):
            _, versions, _, first, following = _VERNEED.unpack(self._bytes(place, _VERNEED.size))
            at = place + first
            for _ in range(versions):
                count += 1
                if count > _MOST_VERSIONS:
                    raise self._damaged()
                *_, name, step = _VERNAUX.unpack(self._bytes(at, _VERNAUX.size))
                yield self._name(name)
                at += step
            place += following

    def constants(self, word: bytes, most: int, margin: int) -> tuple[list[bytes], bool]:
        """Surroundings of ``word`` in the data segments, and whether these were read to the end."""
        loads = [each for each in self.headers if each[0] == _PT_LOAD]
        # Linkers of before 2018, and some since, put constants and code into one segment.
        apart = any(each[1] == _PF_R for each in loads)
        found: list[bytes] = []
        whole = True
        for _, flags, offset, _, _, size, _, _ in loads:
            if apart and flags & _PF_X:
                continue
            whole &= size <= most
            size = min(size, most)
            most -= size
            for place in self._places(word, offset, size):
                start = max(offset, place - margin)
                found.append(self._at_most(start, place - start + len(word) + margin))
                if len(found) == _MOST_PLACES:
                    return found, whole
        return found, whole

    def _places(self, word: bytes, offset: int, size: int) -> Iterator[int]:
        """Offsets of ``word`` in a part of the file, which may end early."""
        end = min(offset + size, self.status.st_size)
        while offset < end:
            block = os.pread(self.fd, min(_BLOCK, end - offset), offset)
            place = block.find(word)
            while place >= 0:
                yield offset + place
                place = block.find(word, place + len(word))
            if len(block) < _BLOCK:
                return
            offset += len(block) - len(word) + 1  # it may lie across the border of two blocks

    # ---- parts -------------------------------------------------------------------------------

    def _check_ident(self, start: bytes) -> None:
        if not start:
            raise BadElf(f"{self.path}: an empty file, no library", "empty")
        if start[:4] != b"\x7fELF":
            raise BadElf(f"{self.path}: not an ELF file, no library", "not-elf")
        if len(start) < 20:
            raise self._damaged()
        # EI_CLASS and EI_DATA come first: with a wrong one nothing after it can be believed.
        if start[4] != 2:
            raise BadElf(f"{self.path}: a 32-bit library; this is a 64-bit machine", "other-class")
        if start[5] != (1 if sys.byteorder == "little" else 2):
            raise BadElf(
                f"{self.path}: a library for a machine of the other byte order", "other-order"
            )

    def _dynamic_tags(self) -> Iterator[tuple[int, int]]:
        for kind, offset, _, size in self.segments:
            if kind == _PT_DYNAMIC:
                data = self._bytes(offset, min(size, _MOST_DYNAMIC))
                whole = len(data) - len(data) % _DYNAMIC.size
                pairs = _DYNAMIC.iter_unpack(data[:whole])
                yield from takewhile(lambda pair: pair[0] != _DT_NULL, pairs)
                return

    def _filtees(self) -> Iterator[Filtee]:
        needed = found = 0
        for tag, value in self.tags:
            needed += tag == _DT_NEEDED
            if tag in (_DT_AUXILIARY, _DT_FILTER):
                found += 1
                if found > _MOST_NEEDED:
                    raise self._damaged()
                yield Filtee(self._name(value), tag == _DT_AUXILIARY, needed)

    def _name(self, place: int | None) -> str:
        """The string at ``place`` of the dynamic string table; empty without a place."""
        if place is None:
            return ""
        table = self.values
        if _DT_STRTAB not in table or place >= table.get(_DT_STRSZ, 0):
            raise self._damaged()
        data = self._at_most(self._offset(table[_DT_STRTAB]) + place, _LONGEST_STRING)
        text, end, _ = data.partition(b"\0")
        if not end:
            raise self._damaged()
        return os.fsdecode(text)

    def _interpreter(self) -> str:
        for kind, offset, _, size in self.segments:
            if kind == _PT_INTERP:
                data = self._bytes(offset, min(size, _LONGEST_STRING))
                return os.fsdecode(data.partition(b"\0")[0])
        return ""

    def _static_tls(self) -> int:
        if not self.values.get(_DT_FLAGS, 0) & _DF_STATIC_TLS:
            return 0
        return sum(each[6] for each in self.headers if each[0] == _PT_TLS)

    def _build_id(self) -> str:
        for kind, offset, _, size in self.segments:
            if kind != _PT_NOTE:
                continue
            data = self._bytes(offset, min(size, _MOST_NOTES))
            place = 0
            while place + 12 <= len(data):
                name_size, size, note = struct.unpack_from("=III", data, place)
                value = place + 12 + _padded(name_size)
                if note == _NT_GNU_BUILD_ID and data[place + 12 : place + 16] == b"GNU\0":
                    return data[value : value + size].hex() if size <= _LONGEST_BUILD_ID else ""
                place = value + _padded(size)
        return ""

    def _gnu_chain(self, place: int, symbol: bytes) -> Iterator[int]:
        """Symbols whose hash is that of ``symbol`` (the GNU_HASH section, as binutils has it)."""
        count, first, words, _ = struct.unpack("=IIII", self._bytes(place, 16))
        if not count:
            return
        hashed = _gnu_hash(symbol)
        buckets = place + 16 + words * 8
        (at,) = struct.unpack("=I", self._bytes(buckets + hashed % count * 4, 4))
        if at < first:
            return
        chain = self._at_most(buckets + count * 4 + (at - first) * 4, _MOST_CHAIN * 4)
        for step, (value,) in enumerate(struct.iter_unpack("=I", chain[: len(chain) // 4 * 4])):
            if value | 1 == hashed | 1:
                yield at + step
            if value & 1:
                return
        raise self._damaged()

    def _sysv_chain(self, place: int, symbol: bytes) -> Iterator[int]:
        count, length = struct.unpack("=II", self._bytes(place, 8))
        if not count:
            return
        (at,) = struct.unpack("=I", self._bytes(place + 8 + _sysv_hash(symbol) % count * 4, 4))
        for _ in range(min(length, _MOST_CHAIN)):
            if at == 0:
                return
            yield at
            (at,) = struct.unpack("=I", self._bytes(place + 8 + count * 4 + at * 4, 4))
        raise self._damaged()

    def _is(self, place: int, symbol: bytes) -> bool:
        """Whether the symbol table's record at ``place`` defines ``symbol`` for others."""
        name, info, _, section, _, _ = _SYMBOL.unpack(self._bytes(place, _SYMBOL.size))
        strings = self._offset(self.values[_DT_STRTAB])
        text = self._at_most(strings + name, len(symbol) + 1)
        return section != 0 and info >> 4 != 0 and text == symbol + b"\0"

    # ---- bytes -------------------------------------------------------------------------------

    def _offset(self, address: int) -> int:
        """Where in the file that lies which is mapped at a virtual address."""
        for kind, offset, start, size in self.segments:
            if kind == _PT_LOAD and start <= address < start + size:
                return offset + address - start
        raise self._damaged()

    def _bytes(self, place: int, count: int) -> bytes:
        """Exactly these bytes."""
        data = self._at_most(place, count)
        if len(data) != count:
            raise self._damaged()
        return data

    def _at_most(self, place: int, count: int) -> bytes:
        """These bytes, or those of them that the file has."""
        if place > self.status.st_size:
            raise self._damaged()
        return os.pread(self.fd, min(count, self.status.st_size - place), place)

    def _damaged(self) -> BadElf:
        return BadElf(f"{self.path}: a damaged or truncated ELF file", "damaged")


def _padded(size: int) -> int:
    return (size + 3) & ~3


def _gnu_hash(symbol: bytes) -> int:
    value = 5381
    for byte in symbol:
        value = (value * 33 + byte) & 0xFFFFFFFF
    return value


def _sysv_hash(symbol: bytes) -> int:
    value = 0
    for byte in symbol:
        value = (value << 4) + byte
        high = value & 0xF0000000
        value = (value ^ high >> 24) & ~high
    return value
