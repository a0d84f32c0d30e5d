"""Opening a candidate as the loader does: use it, pass it over, or give up because of it.

Source: open_verify, elf/dl-load.c.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
import sys
from typing import TYPE_CHECKING

from xdiag.discover.elf import MACHINES
from xdiag.model import Record

if TYPE_CHECKING:
    from xdiag.discover.root import Root

_HEADER = struct.Struct("=4sBBBBB7sHHIQQQIHHH")
_PROGRAM_HEADER = 56
_ET_EXEC, _ET_DYN = 2, 3
#: EI_OSABI: System V, or Linux with an ABI version below LIBC_ABI_MAX (glibc's libc-abis).
_SYSTEM_V, _GNU = 0, 3
_ABI_MAX = 4
_LITTLE, _BIG = 1, 2


class Refused(Exception):
    """A file that ends the search; the message is the loader's own, ``error`` the system's or 0."""

    def __init__(self, message: str, error: int = 0) -> None:
        super().__init__(message)
        self.error = error


class Look(Record, frozen=True):
    """What came of opening a candidate."""

    #: 0 if it is to be used, otherwise why it was passed over: ENOENT also for one of another
    #: class or machine.
    error: int = 0
    #: It was passed over because it is a 32-bit library.
    other_class: bool = False
    #: ET_EXEC: a program at a fixed address.
    fixed: bool = False
    #: st_mode, for the set-user-id bit, and which file it is.
    mode: int = 0
    file: tuple[int, int] = (0, 0)


def look(path: str, root: Root) -> Look:
    """Open the file at an absolute ``path``; raises Refused where the loader would give up."""
    try:
        fd = os.open(root.outside(path), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        root.note(path, error)
        return Look(error.errno or errno.ENOENT)
    except ValueError:  # a name that no file can have
        return Look(errno.ENOENT)
    try:
        return _verified(fd)
    finally:
        os.close(fd)


def _verified(fd: int) -> Look:
    status = os.fstat(fd)
    if stat.S_ISDIR(status.st_mode):
        raise Refused("cannot read file data", errno.EISDIR)
    if not stat.S_ISREG(status.st_mode):
        raise Refused("not a regular file: the loader would wait for it, or not understand it")
    start = os.pread(fd, _HEADER.size, 0)
    if len(start) < _HEADER.size:
        raise Refused("file too short")
    (
        magic, elf_class, order, version, abi, abi_version, padding,
        kind, machine, file_version, _, table, _, _, _, entry_size, count,
    ) = _HEADER.unpack(start)  # fmt: skip
    if magic != b"\x7fELF":
        raise Refused("invalid ELF header")
    if elf_class != 2:
        return Look(errno.ENOENT, other_class=True)
    if order != (_LITTLE if sys.byteorder == "little" else _BIG):
        raise Refused(f"ELF file data encoding not {sys.byteorder}-endian")
    if version != 1:
        raise Refused("ELF file version ident does not match current one")
    if abi not in (_SYSTEM_V, _GNU):
        raise Refused("ELF file OS ABI invalid")
    if abi_version and not (abi == _GNU and abi_version < _ABI_MAX):
        raise Refused("ELF file ABI version invalid")
    if any(padding):
        raise Refused("nonzero padding in e_ident")
    if file_version != 1:
        raise Refused("ELF file version does not match current one")
    if machine != MACHINES.get(os.uname().machine, machine):
        return Look(errno.ENOENT)
    if kind not in (_ET_EXEC, _ET_DYN):
        raise Refused("only ET_DYN and ET_EXEC can be loaded")
    if entry_size != _PROGRAM_HEADER:
        raise Refused("ELF file's phentsize not the expected size")
    if table + count * _PROGRAM_HEADER > status.st_size:
        raise Refused("cannot read file data")
    return Look(fixed=kind == _ET_EXEC, mode=status.st_mode, file=(status.st_dev, status.st_ino))
