"""Read one library file, and say in one line what is wrong with it."""

from __future__ import annotations

import hashlib
import os
import stat
import sys
from typing import TYPE_CHECKING, Any, BinaryIO

from xdiag.errors import CannotRun, Usage, XdiagError, near_matches
from xdiag.model import Record

if TYPE_CHECKING:
    from elftools.elf.dynamic import DynamicSegment

#: os.uname().machine -> e_machine; a machine that is not named is not checked.
_MACHINES = {"x86_64": "EM_X86_64", "aarch64": "EM_AARCH64", "ppc64le": "EM_PPC64"}
#: SHA-1 makes 20 bytes; nothing in use makes more than 64.
_LONGEST_BUILD_ID = 64


class Library(Record, frozen=True):
    """What a library file says of itself."""

    path: str
    device: int
    inode: int
    size: int
    soname: str = ""
    build_id: str = ""
    needed: tuple[str, ...] = ()
    #: DT_RPATH and DT_RUNPATH, as they are written.
    rpath: tuple[str, ...] = ()


def read_runtime(path: str | os.PathLike[str], proof: str = "hipInit") -> Library:
    """Read a runtime's file; ``proof`` is the export that makes it one.

    Raises Usage if the path names no library that could be a runtime, CannotRun if it names one
    that cannot be used here: unreadable, damaged, or for another machine.
    """
    name = os.fspath(path)
    try:
        return _read(name, proof)
    except XdiagError:
        raise
    except OSError as error:
        raise CannotRun(f"{name}: cannot be read: {error.strerror or error}") from error
    except Exception as error:
        # pyelftools believes what a file says of itself; on a damaged one it fails in any way.
        raise _damaged(name) from error


def sha256(path: str | os.PathLike[str]) -> str:
    """The digest of a file, in hex."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _read(name: str, proof: str) -> Library:
    with _opened(name) as file:
        status = os.fstat(file.fileno())
        elf = _checked(name, file)
        segment = _dynamic_segment(elf)
        if segment is None:
            raise Usage(f"{name}: not a shared library")
        tags: dict[str, list[str]] = {}
        for tag in segment.iter_tags():
            for attribute in ("soname", "needed", "rpath", "runpath"):
                if tag.entry.d_tag == f"DT_{attribute.upper()}":
                    tags.setdefault(attribute, []).append(str(getattr(tag, attribute)))
        if not _exports(name, segment, proof, status.st_size):
            raise Usage(f"{name}: a shared library but no HIP runtime: it does not export {proof}")
        return Library(
            path=name,
            device=status.st_dev,
            inode=status.st_ino,
            size=status.st_size,
            soname=next(iter(tags.get("soname", [])), ""),
            build_id=_build_id(elf),
            needed=tuple(tags.get("needed", [])),
            rpath=tuple(tags.get("rpath", []) + tags.get("runpath", [])),
        )


def _opened(name: str) -> BinaryIO:
    """The file, opened; raises Usage if there is none, CannotRun if it may not be read."""
    try:
        name.encode()
        mode = os.stat(name).st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        raise Usage(f"{name}: no such file{_neighbours(name)}") from error
    except ValueError as error:  # a null character; or bytes that no report could show
        raise Usage(f"{name!r}: not a path of printable text") from error
    if not stat.S_ISREG(mode):
        kind = "a directory, not a library" if stat.S_ISDIR(mode) else "not a regular file"
        raise Usage(f"{name}: {kind}{_inside(name)}")
    return open(name, "rb")


def _checked(name: str, file: BinaryIO) -> Any:
    """The file as ELF for this machine."""
    from elftools.elf.elffile import ELFFile

    start = file.read(20)
    if start[:4] != b"\x7fELF":
        raise Usage(f"{name}: {'an empty file' if not start else 'not an ELF file'}, no library")
    if len(start) < 20:
        raise _damaged(name)
    # EI_CLASS and EI_DATA come first: with a wrong one nothing after it can be believed.
    if start[4] != 2:
        raise CannotRun(f"{name}: a 32-bit library; this is a 64-bit machine")
    if start[5] != (1 if sys.byteorder == "little" else 2):
        raise CannotRun(f"{name}: a library for a machine of the other byte order")
    file.seek(0)
    elf = ELFFile(file)
    machine = os.uname().machine
    if elf.header.e_machine != _MACHINES.get(machine, elf.header.e_machine):
        raise CannotRun(
            f"{name}: a library for {elf.get_machine_arch()}; this machine is {machine}"
        )
    if elf.header.e_type != "ET_DYN":
        raise Usage(f"{name}: an ELF file, but not a shared library")
    return elf


def _dynamic_segment(elf: Any) -> DynamicSegment | None:
    # Segments, not sections: these are what the dynamic loader goes by, and what strip leaves.
    for segment in elf.iter_segments():
        if segment.header.p_type == "PT_DYNAMIC":
            found: DynamicSegment = segment
            return found
    return None


def _exports(name: str, segment: Any, proof: str, size: int) -> bool:
    count = segment.num_symbols()
    _, table = segment.get_table_offset("DT_SYMTAB")
    # A damaged count would have us read for hours.
    if table is not None and table + count * 24 > size:
        raise _damaged(name)
    return any(
        symbol.name == proof
        and symbol.entry.st_shndx != "SHN_UNDEF"
        and symbol.entry.st_info.bind != "STB_LOCAL"
        for symbol in segment.iter_symbols()
    )


def _build_id(elf: Any) -> str:
    for segment in elf.iter_segments():
        if segment.header.p_type != "PT_NOTE":
            continue
        for note in segment.iter_notes():
            if note["n_type"] == "NT_GNU_BUILD_ID":
                text = str(note["n_desc"])
                return text if len(text) <= 2 * _LONGEST_BUILD_ID else ""
    return ""


def _damaged(name: str) -> CannotRun:
    return CannotRun(f"{name}: a damaged or truncated ELF file")


def _neighbours(name: str) -> str:
    """Names like this one in the same directory."""
    folder, base = os.path.split(name)
    try:
        known = os.listdir(folder or ".")
    except OSError:
        return ""
    return near_matches(base, known)


def _inside(name: str) -> str:
    """Runtimes in this directory, where it was meant to name one."""
    try:
        found = sorted(entry for entry in os.listdir(name) if entry.startswith("libamdhip64.so"))
    except OSError:
        return ""
    return f"; did you mean {os.path.join(name, found[0])}?" if found else ""
