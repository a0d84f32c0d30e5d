"""Which copies of a GPU runtime are loaded in this process, and a check that there is only one.

For start-up code and test suites::

    import xdiag

    xdiag.assert_single_runtime()

Needs the standard library and Linux, nothing of xdiag and no native part: this file may be copied
into another project and works there by itself.

It imports ``os`` and ``sys`` and no more.  A program's start-up is no place to wait in, and in a
bare interpreter ``dataclasses`` alone takes longer to import (17 ms, with ``inspect`` and ``re``)
than the whole check may (5 ms).  That is why the record and the name's pattern are written out.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = [
    "DEFAULT_FAMILIES",
    "FAMILIES",
    "CannotTell",
    "LoadedRuntime",
    "NoRuntimeError",
    "TwoRuntimesError",
    "assert_single_runtime",
    "describe",
    "is_named",
    "known_families",
    "loaded_runtimes",
]

#: The libraries known here, by the part of the file's name before ``.so``, and what follows from
#: two copies of each in one process.
FAMILIES = {
    "libamdhip64": (
        "Each copy knows only the streams that it made itself. Up to HIP 6.4 the other copy"
        " refuses them with error 709; from 7.0 on it takes them without a check, and the work is"
        " silently unordered or the process crashes."
    ),
    "libhsa-runtime64": (
        "Each copy has its own agents, queues and signals, and does not know the other's."
    ),
    # Legitimate in some processes: one that is linked into a framework's build of LLVM beside the
    # one that the runtime opens.
    "libamd_comgr": (
        "Each copy brings a compiler of its own: memory twice, and an abort where both register"
        " the same options of LLVM in one place. Some processes are meant to have two."
    ),
    "librccl": "Each copy has its own communicators, and does not know the other's.",
    "libhiprtc": "Each copy has its own programs and link states, and does not know the other's.",
    # The loader takes a bare name for the loaded copy only where it is that copy's SONAME,
    # libcuda.so.1.  A path, or the name libcuda.so, leads to another file where one lies there: the
    # forward-compatibility package's, a stub's of the toolkit, a container's beside the machine's.
    # What then happens is measured: driver 580.159.04 on an H100 (docs/platforms.md) and an H200,
    # whichever file is the first.
    "libcuda": (
        "NVIDIA's driver starts once in a process: cuInit of the second copy returns 304"
        " (CUDA_ERROR_OPERATING_SYSTEM), and nothing works for who was given that one."
    ),
}

#: What is judged if nothing else is said: the family of which a second copy is always a fault.
DEFAULT_FAMILIES = ("libamdhip64",)

#: The second is for a process whose main thread has ended: the first is empty then (proc(5)).
_MAPS = ("/proc/self/maps", "/proc/thread-self/maps")


class TwoRuntimesError(RuntimeError):
    """More than one copy of a runtime is loaded; ``copies`` are those, as LoadedRuntime.

    A RuntimeError and no AssertionError: it is not a test's expectation that failed but the
    process that is in a wrong state, with or without ``python -O``, and whoever catches failed
    assertions (a retry, a test runner that tells failures from errors) shall not take it for one.
    """

    def __init__(self, message: str, copies: tuple[LoadedRuntime, ...] = ()) -> None:
        super().__init__(message)
        self.copies = copies


class NoRuntimeError(RuntimeError):
    """No copy of a runtime is loaded, where ``allow_none=False`` asked for one."""


class CannotTell(RuntimeError):
    """What is loaded cannot be read: there is no /proc here, or it may not be looked at.

    Raised rather than answered with "none": a check that cannot look must not pass.
    """


class LoadedRuntime:
    """One loaded copy of a library, frozen: which file it is, and where it is mapped.

    A copy is one load: a file that the loader has mapped twice, in two namespaces (dlmopen(3)),
    is two copies, each with a state of its own.
    """

    __slots__ = (  # noqa: RUF023 - in the order of the arguments
        "family", "path", "device", "inode", "address", "deleted", "order",
    )  # fmt: skip

    #: The name before ``.so``, without the hash that auditwheel may have put there.
    family: str
    #: The file as it is mapped, links followed; as ``os.fsdecode`` has it.
    path: str
    #: As ``os.stat`` has it in ``st_dev``, except where a file system shows its files under
    #: another device than it maps them from (btrfs; overlayfs in older kernels).
    device: int
    inode: int
    #: Of its first mapping.
    address: int
    #: Whether the file was removed or replaced after it was loaded.
    deleted: bool
    #: 0 for the copy of its family that was loaded first, 1 for the next; None where that cannot
    #: be told, as with more than one namespace.
    order: int | None

    def __init__(
        self,
        family: str,
        path: str,
        device: int,
        inode: int,
        address: int,
        deleted: bool = False,
        order: int | None = None,
    ) -> None:
        values = (family, path, device, inode, address, deleted, order)
        for name, value in zip(self.__slots__, values, strict=True):
            object.__setattr__(self, name, value)

    def _values(self) -> tuple[str, str, int, int, int, bool, int | None]:
        return (
            self.family, self.path, self.device, self.inode, self.address, self.deleted, self.order,
        )  # fmt: skip

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"cannot delete field {name!r}")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, LoadedRuntime):
            return NotImplemented
        return self._values() == other._values()

    def __hash__(self) -> int:
        return hash(self._values())

    def __reduce__(self) -> tuple[type[LoadedRuntime], tuple[object, ...]]:
        return LoadedRuntime, self._values()

    def __repr__(self) -> str:
        fields = zip(self.__slots__, self._values(), strict=True)
        return f"LoadedRuntime({', '.join(f'{name}={value!r}' for name, value in fields)})"

    def __str__(self) -> str:
        """One line for people: path, device and inode, address."""
        # A terminal may obey a character of a file's name, and cannot show bytes that are no text.
        path = self.path if self.path.isprintable() else ascii(self.path)
        return (
            f"{path}{' (deleted)' if self.deleted else ''}"
            f"  device {os.major(self.device)}:{os.minor(self.device)} inode {self.inode}"
            f" at {self.address:#x}"
        )


def assert_single_runtime(
    families: Iterable[str] | str = DEFAULT_FAMILIES, allow_none: bool = True
) -> tuple[LoadedRuntime, ...]:
    """Raise TwoRuntimesError if more than one copy of a runtime is loaded in this process.

    Judged are ``families``, by default ``libamdhip64`` alone (FAMILIES has the others); copies of
    the rest are not looked for.  Returns the copies found, at most one of each family.  A family
    of which nothing is loaded passes, unless ``allow_none`` is false: then NoRuntimeError.

    Raises CannotTell where /proc cannot be read, ValueError for a family that is not known.
    Takes as long as reading /proc/self/maps: 0.1 ms in a small process, 1 ms with 300 libraries.
    """
    wanted = known_families(families)
    copies = loaded_runtimes(wanted)
    found = [copy.family for copy in copies]
    if len(set(found)) < len(found):
        told = f"{describe(copies)}\nWho brought in each of them: xdiag inspect {os.getpid()}"
        raise TwoRuntimesError(told, copies)
    if not allow_none:
        for family in wanted:
            if family not in found:
                raise NoRuntimeError(f"no copy of {family} is loaded in process {os.getpid()}")
    return copies


def loaded_runtimes(families: Iterable[str] | str | None = None) -> tuple[LoadedRuntime, ...]:
    """The copies of GPU runtime libraries loaded in this process, of ``families`` or of all known.

    By family as asked for; within one in the order of loading, or by address where that cannot be
    told.  A copy is what is mapped for execution: a file that a debugger or an ELF reader has
    mapped to read it is none.  Raises CannotTell where /proc cannot be read, ValueError for a
    family that is not known.
    """
    wanted = known_families(FAMILIES if families is None else families)
    maps = _own_maps()
    found: list[LoadedRuntime] = []
    for family in wanted:
        copies = _copies(family, maps)
        found += _in_order(copies) if len(copies) > 1 else copies
    return tuple(found)


def known_families(families: Iterable[str] | str) -> tuple[str, ...]:
    """``families`` without repetitions; raises ValueError for an unknown one, or for none at all.

    A name with a slip of the pen would be a check that always passes.
    """
    wanted = tuple(dict.fromkeys((families,) if isinstance(families, str) else families))
    for family in wanted:
        if family not in FAMILIES:
            raise ValueError(f"no family {family!r}; known are {', '.join(FAMILIES)}")
    if not wanted:
        raise ValueError(f"no family to judge; known are {', '.join(FAMILIES)}")
    return wanted


def describe(copies: tuple[LoadedRuntime, ...]) -> str:
    """Where copies of this process are more than one of a family: which, and what follows.

    Some lines of text; empty where there is only one of each.
    """
    lines = []
    for family in dict.fromkeys(copy.family for copy in copies):
        of_family = [copy for copy in copies if copy.family == family]
        if len(of_family) < 2:
            continue
        lines.append(f"{len(of_family)} copies of {family} are loaded in process {os.getpid()}:")
        lines += [f"  {each}{', loaded first' if each.order == 0 else ''}" for each in of_family]
        if len({(each.device, each.inode, each.path) for each in of_family}) < len(of_family):
            lines.append("A file named twice was loaded twice, in two namespaces (dlmopen).")
        lines.append(FAMILIES[family])
    return "\n".join(lines)


# ---- the maps --------------------------------------------------------------------------------


def _own_maps() -> bytes:
    """The memory map of this process, as proc(5) describes it."""
    reason = "it is empty"
    for name in _MAPS:
        try:
            with open(name, "rb", buffering=0) as file:
                maps = file.read()
        except OSError as error:
            reason = error.strerror or str(error)
            if not os.path.exists("/proc/self"):
                reason += "; is /proc mounted?"
            break
        if maps:
            return maps
    raise CannotTell(f"cannot tell which libraries are loaded: {name}: {reason}")


class _Mapping:
    """One line of the map."""

    __slots__ = ("executable", "offset", "start")

    def __init__(self, start: int, executable: bool, offset: int) -> None:
        self.start = start
        self.executable = executable
        self.offset = offset


def _copies(family: str, maps: bytes) -> list[LoadedRuntime]:
    """The loads of a family's files, in the order of their addresses."""
    # Files in two subvolumes of a btrfs can have equal numbers in a map: the path is asked too.
    files: dict[tuple[int, int, bytes], list[_Mapping]] = {}
    for line in _lines_with(b"/" + family.encode(), maps):
        try:
            addresses, permissions, offset, device, inode, path = line.split(None, 5)
            if not is_named(family, _without_mark(path).rpartition(b"/")[2]):
                continue
            start = int(addresses.partition(b"-")[0], 16)
            mapping = _Mapping(start, b"x" in permissions, int(offset, 16))
            major, _, minor = device.partition(b":")
            number = os.makedev(int(major, 16), int(minor, 16))
            files.setdefault((number, int(inode), path), []).append(mapping)
        except (ValueError, OverflowError):  # no line of a map: nothing that can be judged
            continue
    copies = [
        LoadedRuntime(
            family,
            _as_text(path),
            device,
            inode,
            address,
            deleted=path != _without_mark(path),
            order=0,
        )
        for (device, inode, path), mappings in files.items()
        for address in _loads(mappings)
    ]
    return sorted(copies, key=lambda copy: copy.address)


def _lines_with(part: bytes, text: bytes) -> Iterator[bytes]:
    """Lines that contain ``part``: the others, thousands maybe, are not even taken apart."""
    place = text.find(part)
    while place >= 0:
        end = text.find(b"\n", place)
        end = len(text) if end < 0 else end
        yield text[text.rfind(b"\n", 0, place) + 1 : end]
        place = text.find(part, end)


def _loads(mappings: list[_Mapping]) -> Iterator[int]:
    """The first address of each load among the mappings of one file.

    The loader maps a file's segments in the order of their offsets, to one range of addresses.
    So an executable mapping begins another load if it does not lie further on in the file than
    the executable one before it.  Device and inode alone would not tell two namespaces' loads of
    one file apart.
    """
    last = -1
    for place, mapping in enumerate(mappings):
        if not mapping.executable:
            continue
        if last < 0 or mapping.offset <= last:
            first = place
            while first and mappings[first - 1].offset < mappings[first].offset:
                first -= 1
            yield mappings[first].start
        last = mapping.offset


def is_named(family: str, name: bytes) -> bool:
    """Whether a file's name is that of a library of the family.

    ``libamdhip64.so``, ``.so.6``, ``.so.6.4.60403``, also with the source's revision behind it
    as some builds have it (``.so.4.4.21432-f9dccde4``, ``.so.5.0.13601-``), and
    ``libamdhip64-1a2b3c4d.so.6``, as auditwheel names what it grafts into a wheel.
    """
    grafted, dot_so, version = name[len(family) :].partition(b".so")
    if not name.startswith(family.encode()) or not dot_so or (grafted and not _is_hash(grafted)):
        return False
    if not version:
        return True
    number, _, revision = version.partition(b"-")
    nothing, *parts = number.split(b".")
    numbered = not nothing and parts and all(map(bytes.isdigit, parts))
    return bool(numbered) and (not revision or revision.isalnum())


def _is_hash(text: bytes) -> bool:
    return len(text) >= 9 and text[:1] == b"-" and not text[1:].strip(b"0123456789abcdef")


def _without_mark(path: bytes) -> bytes:
    """The path without the mark that the kernel puts behind a removed file's."""
    return path[: -len(b" (deleted)")] if path.endswith(b" (deleted)") else path


def _as_text(path: bytes) -> str:
    r"""The path, its newlines put back: maps show them as ``\012`` and escape nothing else."""
    path = _without_mark(path)
    if b"\\012" in path and not os.path.exists(path):
        path = path.replace(b"\\012", b"\n")
    return os.fsdecode(path)


# ---- the order of loading --------------------------------------------------------------------

# elf.h and link.h, by the names that they give these.
_AT_PHDR, _AT_PHENT, _AT_PHNUM = 3, 4, 5
_PT_DYNAMIC, _PT_PHDR = 2, 6
_DT_NULL, _DT_DEBUG = 0, 21
#: Entries followed in any list; more is a list that is being changed under our eyes.
_MOST = 1 << 16


def _in_order(copies: list[LoadedRuntime]) -> list[LoadedRuntime]:
    """Copies of one family in the order of loading, if all are in the main namespace."""
    try:
        places = {address: place for place, address in enumerate(_link_map())}
    except (OSError, LookupError, ValueError, OverflowError):
        places = {}  # a memory that may not be read, or another loader's: the order is an extra
    known = all(copy.address in places for copy in copies)
    if known:
        copies = sorted(copies, key=lambda copy: places[copy.address])
    return [
        LoadedRuntime(*copy._values()[:-1], order=place if known else None)
        for place, copy in enumerate(copies)
    ]


def _link_map() -> Iterator[int]:
    """Base addresses of the loaded objects, in the order that the loader put them on its list.

    Read as a debugger does, through /proc.  dl_iterate_phdr(3) would hold the loader's
    lock while its callback waits for the interpreter's: with another thread that opens a library
    and holds that one, for ever.  And an address that is no more is an error here and no crash.
    """
    if sys.maxsize < 1 << 32:
        return
    with open("/proc/thread-self/auxv", "rb", buffering=0) as file:
        words = _words(file.read(1 << 16))
    vector = dict(zip(words[::2], words[1::2], strict=True))
    with open("/proc/thread-self/mem", "rb", buffering=0) as memory:
        descriptor = memory.fileno()
        debug = _debug_address(descriptor, vector)
        # struct r_debug { int version; struct link_map *map; ... };
        entry = _words(os.pread(descriptor, 16, debug))[1] if debug else 0
        for _ in range(_MOST):
            if not entry:
                return
            # struct link_map { address, name, dynamic section, next, previous };
            address, _, _, entry = _words(os.pread(descriptor, 32, entry))
            yield address


def _debug_address(memory: int, vector: dict[int, int]) -> int:
    """Where the loader tells debuggers of itself: DT_DEBUG of the program; 0 if nowhere."""
    table, size = vector[_AT_PHDR], vector[_AT_PHENT]
    base, dynamic = 0, 0
    for number in range(min(vector[_AT_PHNUM], 1 << 10)):
        words = _words(os.pread(memory, 24, table + number * size))
        kind, address = words[0] & 0xFFFF_FFFF, words[2]
        if kind == _PT_PHDR:
            base = table - address
        elif kind == _PT_DYNAMIC:
            dynamic = address
    for number in range(_MOST if dynamic else 0):
        tag, value = _words(os.pread(memory, 16, base + dynamic + number * 16))
        if tag == _DT_NULL:
            break
        if tag == _DT_DEBUG:
            return value
    return 0


def _words(data: bytes) -> list[int]:
    return [int.from_bytes(data[at : at + 8], sys.byteorder) for at in range(0, len(data), 8)]
