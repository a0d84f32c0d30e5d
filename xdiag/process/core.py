"""Looks at a core file: what was loaded in a process that has ended.

The notes and their layout are the kernel's (fs/binfmt_elf.c; include/uapi/linux/elfcore.h).  They
are arrays of fixed records, taken with ``struct``: a core of 60 000 mappings is told in 0.25 s so,
and pyelftools needs 0.9 s for its notes alone, and sets no limits to what a file says of itself.

A core does not say which inode a file had: what a file is now is held against the build id that
was mapped, as far as the kernel has put that into the core (it does by default, core(5)).
"""

from __future__ import annotations

import bisect
import os
import signal
import struct
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO

from msgspec.structs import replace

from xdiag.discover import elf
from xdiag.discover.root import Root
from xdiag.errors import CannotRun, Usage
from xdiag.model import Record
from xdiag.process import image, link_map
from xdiag.process.copies import MORE_THAN_LOOKED_AT, as_object, with_copies
from xdiag.process.environment import relevant
from xdiag.process.facts import ProcessFacts
from xdiag.process.files import FileFacts
from xdiag.process.maps import Load, Mapping, Maps, add_loads
from xdiag.process.proc import user_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# elf.h, by the names that it gives these.
_ET_CORE, _PT_LOAD, _PT_NOTE, _PF_X, _PF_W, _PN_XNUM = 4, 1, 4, 1, 2, 0xFFFF
_NT_PRSTATUS, _NT_PRPSINFO, _NT_AUXV, _NT_FILE = 1, 3, 6, 0x46494C45
_AT_PHDR, _AT_EXECFN = 3, 31
_HEADER = struct.Struct("=16xHHI QQQ I HHHHHH")
_SEGMENT = struct.Struct("=IIQQQQQQ")
_SECTION_INFO = struct.Struct("=44xI16x")
# struct elf_prstatus up to pr_pid; struct elf_prpsinfo of 64-bit machines.
_PRSTATUS = struct.Struct("=iii h 2x QQ I")
_PRPSINFO = struct.Struct("=bcbb 4x Q II iiii 16s 80s")
_FILE_HEAD, _FILE_ENTRY = struct.Struct("=QQ"), struct.Struct("=QQQ")

#: Limits: vm.max_map_count is 65 530 unless it was raised, and each mapping has a segment.
_MOST_SEGMENTS, _MOST_NOTES, _MOST_NOTE_BYTES = 1 << 18, 1 << 16, 32 << 20
_MOST_ENVIRONMENT = 1 << 20


class NoCore(Usage):
    """A path that leads to no core file."""


class _Segment(Record, frozen=True):
    start: int
    size: int
    offset: int
    flags: int


class CoreFile:
    """A core file of a 64-bit program of this machine's kind; memory that can be read by address.

    Raises NoCore for anything else, CannotRun where it is damaged.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            self._file = Root("/").open(os.path.abspath(path))
        except OSError as error:
            raise NoCore(_why_not_opened(path, error)) from error
        except ValueError as error:
            raise NoCore(f"{path!r}: not a path") from error
        self._fd = self._file.fileno()
        try:
            self._size = os.fstat(self._fd).st_size
            headers = self._headers()
        except BaseException:
            self.close()
            raise
        self.segments = sorted(
            (
                _Segment(address, size, offset, flags)
                for kind, flags, offset, address, _, size, _, _ in headers
                if kind == _PT_LOAD
            ),
            key=lambda segment: segment.start,
        )
        self._starts = [segment.start for segment in self.segments]
        #: Whether memory is missing that the core says it has: the disk was full, or ulimit -c.
        self.truncated = any(
            segment.offset + segment.size > self._size for segment in self.segments
        )
        self._notes_at = [(offset, size) for kind, _, offset, _, _, size, _, _ in headers
                          if kind == _PT_NOTE]  # fmt: skip

    def __enter__(self) -> CoreFile:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the file go."""
        self._file.close()

    def read(self, address: int, count: int) -> bytes:
        """Memory, as ``memory.Memory`` has it."""
        segment = self.segment_at(address)
        if segment is None or address + count > segment.start + segment.size:
            raise OSError("not in the core")
        data = os.pread(self._fd, count, segment.offset + address - segment.start)
        if len(data) != count:
            raise OSError("not in the core")
        return data

    def segment_at(self, address: int) -> _Segment | None:
        """The segment that begins at an address or contains it, be it empty or not."""
        place = bisect.bisect_right(self._starts, address) - 1
        return self.segments[place] if place >= 0 else None

    def notes(self) -> Iterator[tuple[int, bytes]]:
        """Kind and content of the notes that the kernel writes under the name CORE."""
        left = _MOST_NOTES
        for offset, size in self._notes_at:
            data = self._bytes(offset, min(size, _MOST_NOTE_BYTES))
            place = 0
            while place + 12 <= len(data) and left:
                left -= 1
                name_size, content_size, kind = struct.unpack_from("=III", data, place)
                content = place + 12 + (name_size + 3 & ~3)
                if data[place + 12 : place + 17] == b"CORE\0":
                    yield kind, data[content : content + content_size]
                place = content + (content_size + 3 & ~3)

    def _headers(self) -> list[tuple[int, ...]]:
        start = self._bytes(0, _HEADER.size)
        if start[:4] != b"\x7fELF":
            raise NoCore(f"{self.path}: not a core file (and a process is named by its number)")
        if start[4:5] != b"\x02" or start[5:6] != (
            b"\x01" if sys.byteorder == "little" else b"\x02"
        ):
            raise CannotRun(
                f"{self.path}: of a machine or program that is not as this one: 64 bits"
            )
        if len(start) < _HEADER.size:
            raise self._damaged()
        kind, machine, _, _, table, sections, _, _, size, count, _, _, _ = _HEADER.unpack(start)
        if kind != _ET_CORE:
            raise NoCore(f"{self.path}: an ELF file, but no core file")
        here = elf.MACHINES.get(os.uname().machine, machine)
        if machine != here:
            raise CannotRun(
                f"{self.path}: a core file of another machine; this one is {os.uname().machine}"
            )
        if count == _PN_XNUM:  # more than the field can say: elf(5)
            section = self._bytes(sections, _SECTION_INFO.size)
            if len(section) == _SECTION_INFO.size:
                (count,) = _SECTION_INFO.unpack(section)
        if size != _SEGMENT.size or not count:
            raise self._damaged()
        if count > _MOST_SEGMENTS:
            raise CannotRun(f"{self.path}: more segments than any process has ({count})")
        data = self._bytes(table, count * size)
        if len(data) != count * size:
            raise self._damaged()
        return list(_SEGMENT.iter_unpack(data))

    def _bytes(self, offset: int, count: int) -> bytes:
        if offset >= self._size:
            return b""
        return os.pread(self._fd, min(count, self._size - offset), offset)

    def _damaged(self) -> CannotRun:
        return CannotRun(f"{self.path}: a damaged or truncated core file")


def look(path: str) -> ProcessFacts:
    """What is known of the process whose core file this is.

    Raises NoCore or CannotRun, each with one line for the user.
    """
    with CoreFile(path) as core:
        notes: dict[int, bytes] = {}
        threads = 0
        for kind, content in core.notes():
            notes.setdefault(kind, content)  # of the threads, the one that was hit comes first
            threads += kind == _NT_PRSTATUS
        if not notes:
            raise CannotRun(f"{path}: a core file without the kernel's notes: nothing is known")
        auxiliary = notes.get(_NT_AUXV, b"")
        mapped = _mapped(core, notes.get(_NT_FILE, b""))
        files = _CoreFiles(core)
        pairs = [(*as_object(load, files.read(load)), load) for load in mapped.loads]
        # With a debugger's core it cannot be told which mappings are of libraries.
        pairs = [entry for entry in pairs if entry[0].family or not entry[0].problem]
        linked = link_map.read(core, auxiliary, files.programs)
        remarks = []
        if core.truncated:
            remarks.append("the core file is truncated: some memory is missing")
        if _NT_FILE not in notes:
            remarks.append("the core file does not say which files were mapped (no NT_FILE note)")
        if mapped.cut:
            remarks.append(MORE_THAN_LOOKED_AT)
        facts = replace(
            _who(path, notes),
            program=_program(auxiliary, mapped.loads),
            threads=threads,
            environment=_environment(core, auxiliary),
            mappings=mapped.lines,
            notes=tuple(remarks),
        )
        return with_copies(facts, pairs, linked, linked.problem, files)


def _who(path: str, notes: dict[int, bytes]) -> ProcessFacts:
    pid, name, command, user, number = 0, "", b"", None, 0
    told = notes.get(_NT_PRPSINFO, b"")
    if len(told) >= _PRPSINFO.size:
        _, _, _, _, _, user, _, pid, _, _, _, short, command = _PRPSINFO.unpack_from(told)
        name = os.fsdecode(short.partition(b"\0")[0])
    status = notes.get(_NT_PRSTATUS, b"")
    if len(status) >= _PRSTATUS.size:
        number = _PRSTATUS.unpack_from(status)[3]
    try:
        hit_by = signal.Signals(number).name if number else ""
    except ValueError:
        hit_by = f"signal {number}"
    # Arguments are separated by spaces here, and those inside of them are lost.
    words = os.fsdecode(command.partition(b"\0")[0]).split()
    return ProcessFacts(
        pid=pid,
        name=name,
        command=tuple(words),
        user=user,
        user_name=user_name(user) if user is not None else "",
        core=path,
        signal=hit_by,
        devices_problem="a core file does not say what was open",
    )


def _program(auxiliary: bytes, loads: Sequence[Load]) -> str:
    """Path of the program: of what the kernel says its headers are in."""
    headers = _auxiliary(auxiliary).get(_AT_PHDR, 0)
    for load in loads:
        if load.start <= headers < load.end:
            return os.fsdecode(load.paths()[0])
    return ""


def _environment(core: CoreFile, auxiliary: bytes) -> dict[str, str]:
    """Variables that matter, as the process was started with them.

    The kernel puts their strings right below the program's name (fs/exec.c, do_execveat_common).
    """
    name = _auxiliary(auxiliary).get(_AT_EXECFN, 0)
    segment = core.segment_at(name)
    if not name or segment is None:
        return {}
    begin = max(segment.start, name - _MOST_ENVIRONMENT)
    try:
        strings = core.read(begin, name - begin).split(b"\0")
    except OSError:
        return {}
    return relevant(strings)


def _auxiliary(data: bytes) -> dict[int, int]:
    whole = len(data) // 16 * 16
    return dict(struct.iter_unpack("=QQ", data[:whole]))


def _mapped(core: CoreFile, note: bytes) -> Maps:
    """The memory map, as far as it is of files, from the content of NT_FILE."""
    maps = Maps()
    if len(note) < _FILE_HEAD.size:
        return maps
    count, page = _FILE_HEAD.unpack_from(note)
    count = min(count, (len(note) - _FILE_HEAD.size) // _FILE_ENTRY.size)
    names = note[_FILE_HEAD.size + count * _FILE_ENTRY.size :].split(b"\0")
    files: dict[bytes, list[Mapping]] = {}
    for number in range(min(count, len(names))):
        start, end, offset = _FILE_ENTRY.unpack_from(
            note, _FILE_HEAD.size + number * _FILE_ENTRY.size
        )
        segment = core.segment_at(start)
        flags = segment.flags if segment is not None and segment.start == start else None
        maps.lines += 1
        files.setdefault(names[number], []).append(
            Mapping(
                start,
                end,
                offset * page,
                # A debugger's core leaves out what it can find in the file again, code above all.
                executable=flags is None or bool(flags & _PF_X),
                writable=bool((flags or 0) & _PF_W),
            )
        )
    for path, mappings in files.items():
        if path.startswith(b"/"):
            add_loads(maps, 0, 0, path, mappings)
    maps.loads.sort(key=lambda load: load.start)
    return maps


class _CoreFiles:
    """The files that were mapped, as they are now."""

    def __init__(self, core: CoreFile) -> None:
        self._core = core
        #: Dynamic sections of programs that were read.
        self.programs: list[int] = []

    def read(self, load: Load) -> FileFacts:
        """What the image in the core and the file on disk say together."""
        path = os.fsdecode(load.paths()[0])
        seen = image.read(self._core, load.start)
        if seen is not None and seen.interpreted and seen.dynamic:
            self.programs.append(seen.dynamic)
        now, problem = None, ""
        if not load.marked_deleted:
            try:
                now = elf.read(path, Root("/"))
            except elf.BadElf as error:
                problem = str(error)
        if seen is None:
            return FileFacts(
                path, "unknown" if now else "gone", now, problem or "as the file is now: "
                "the core does not hold its first page, to tell whether it was another then",
            )  # fmt: skip
        if now is not None and now.build_id == seen.build_id:
            if seen.build_id:
                return FileFacts(path, "same", now)
            return FileFacts(path, "unknown", now, "as the file is now: it has no build id")
        was = elf.Elf(
            path, 0, 0, 0, executable=seen.interpreted, dynamic=bool(seen.dynamic),
            soname=seen.soname, build_id=seen.build_id, needed=seen.needed, rpath=seen.rpath,
            runpath=seen.runpath,
        )  # fmt: skip
        if now is not None:
            problem = f"the file has another build id now ({now.build_id or 'none'})"
        if not seen.whole:
            problem = f"{problem}; the core does not hold its names".lstrip("; ")
        return FileFacts(path, "changed" if now else "gone", was, problem)

    def open(self, load: Load) -> BinaryIO | None:
        """The file of a load as it is now; None where it cannot be read."""
        with suppress(OSError, ValueError):
            return Root("/").open(os.fsdecode(load.paths()[0]))
        return None

    def exports(self, load: Load, symbol: str) -> bool:
        """Whether the file, as it is now, defines a symbol for others."""
        with suppress(elf.BadElf):
            return elf.exports(os.fsdecode(load.paths()[0]), symbol, Root("/"))
        return False


def _why_not_opened(path: str, error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return f"{path}: neither the number of a process nor a core file that exists"
    return f"{path}: cannot be read as a core file: {error.strerror or error}"
