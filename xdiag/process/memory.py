"""Memory of a process, read by address.

/proc/PID/mem is opened under the same rule as ptrace(2) attaches (proc(5), "PTRACE_MODE_ATTACH"),
which is stricter than the rule for the memory map: with Yama's ptrace_scope 1, a user may read the
maps of all own processes and the memory of none but children.  Nothing is attached to: the
process goes on while it is read, and does not notice.  (A page that it has never touched, or that
was swapped out, becomes resident by being read; the loader's own pages mostly are.)
"""

from __future__ import annotations

import errno
import os
import struct
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xdiag.process.proc import Proc

_LONGEST_NAME = 4096
_PAGE = 4096
#: Addresses above belong to the kernel.
_TOP = 1 << 63


class Memory(Protocol):
    """What addresses can be read from."""

    def read(self, address: int, count: int) -> bytes:
        """Exactly these bytes; raises OSError where there is no memory, or not so much."""
        ...


class ProcessMemory:
    """Memory of a running process; raises Refused where it may not be read."""

    def __init__(self, process: Proc) -> None:
        self._fd = process.open(f"{process.below}mem")

    def close(self) -> None:
        """Let it go."""
        os.close(self._fd)

    def read(self, address: int, count: int) -> bytes:
        """Exactly these bytes; raises OSError where there is no memory, or not so much."""
        if not 0 <= address < _TOP - count:
            raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))
        data = os.pread(self._fd, count, address)
        if len(data) != count:
            raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))
        return data


def words(memory: Memory, address: int, count: int) -> Sequence[int]:
    """Unsigned 64-bit words in this machine's byte order."""
    return struct.unpack(f"={count}Q", memory.read(address, count * 8))


def string(memory: Memory, address: int, most: int = _LONGEST_NAME) -> bytes:
    """A string up to its null byte; raises OSError if none comes within ``most`` bytes.

    Read page by page: what follows the page of the string's end need not exist.
    """
    found = b""
    while len(found) < most:
        part, end, _ = memory.read(address, _PAGE - address % _PAGE).partition(b"\0")
        found += part
        if end:
            return found
        address += _PAGE - address % _PAGE
    raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
