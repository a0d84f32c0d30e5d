"""The files that are mapped in a process, opened as the process sees them.

A path of the memory map counts from the root of the process's mount namespace.  It is followed
there, and what is found is held against the device and inode of the map, because another file may
have taken that place.  Then the kernel's own link to the mapped file is tried
(/proc/PID/map_files), which needs CAP_SYS_ADMIN or CAP_CHECKPOINT_RESTORE (proc(5)), and in the
end the image in memory, where that may be read.
"""

from __future__ import annotations

import errno
import mmap
import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO

from xdiag.discover import elf
from xdiag.discover.root import Root
from xdiag.errors import CannotRun
from xdiag.model import Record
from xdiag.process import image

if TYPE_CHECKING:
    from xdiag.process.facts import AtPath
    from xdiag.process.maps import Load
    from xdiag.process.memory import Memory
    from xdiag.process.proc import Proc


class FileFacts(Record, frozen=True):
    """One mapped file: where it is, what is at its path now, and what it says of itself."""

    path: str
    at_path: AtPath
    elf: elf.Elf | None = None
    #: Why there is no ``elf``, or why ``at_path`` is unknown; one line.
    problem: str = ""


class MappedFiles:
    """Reads the mapped files of one process.

    ``known`` is kept by the caller, by device, inode and path, from one process to the next: most
    map the same libraries.
    """

    def __init__(
        self,
        process: Proc,
        memory: Memory | None,
        known: dict[tuple[int, int, bytes], elf.Elf] | None = None,
    ) -> None:
        self._process = process
        self._memory = memory
        self._known = {} if known is None else known
        self._root = _root_of(process)

    def read(self, load: Load) -> FileFacts:
        """What can be known of the file of one load."""
        path, at_path, fd, reason = self._at_its_path(load)
        try:
            if fd is None:
                fd = self._through_the_kernel(load)
            if fd is not None:
                return self._read_file(load, path, at_path, fd)
        finally:
            if fd is not None:
                os.close(fd)
        found = self._image(load, path)
        return FileFacts(path, at_path, found, "" if found else reason or _UNREACHABLE)

    def open(self, load: Load) -> BinaryIO | None:
        """The mapped file, opened for reading; None where it cannot be reached."""
        fd = self._at_its_path(load)[2]
        if fd is None:
            fd = self._through_the_kernel(load)
        if fd is None:
            return None
        try:
            return _Opened(fd).open("")
        except OSError:
            return None
        finally:
            os.close(fd)

    def exports(self, load: Load, symbol: str) -> bool:
        """Whether the mapped file defines a symbol for others; False where it is unknown."""
        file = self.open(load)
        if file is None:
            return False
        with file, suppress(elf.BadElf):
            return elf.exports(os.fsdecode(load.raw_path), symbol, _Opened(file.fileno()))
        return False

    # ---- ways to the file --------------------------------------------------------------------

    def _at_its_path(self, load: Load) -> tuple[str, AtPath, int | None, str]:
        """Path, what is there, a descriptor (O_PATH) if it is the mapped file, or else why not."""
        readings = load.paths()
        at_path: AtPath = "gone"
        reason = ""
        for reading in readings:
            try:
                # O_PATH opens nothing: a device is not woken by it, nor a pipe waited for.
                fd = os.open(
                    self._root.outside(os.fsdecode(reading), follow=False),
                    os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC,
                )
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ESRCH):
                    at_path, reason = "unknown", error.strerror or str(error)
                continue
            if _is_the_mapped_file(fd, load):
                return os.fsdecode(reading), "same", fd, ""
            os.close(fd)
            at_path = "other"
        return os.fsdecode(readings[0]), at_path, None, reason

    def _through_the_kernel(self, load: Load) -> int | None:
        first = load.mappings[0]
        name = f"map_files/{first.start:x}-{first.end:x}"
        try:
            return self._process.open(name, os.O_PATH)
        except (OSError, CannotRun):
            return None

    def _read_file(self, load: Load, path: str, at_path: AtPath, fd: int) -> FileFacts:
        key = (load.device, load.inode, load.raw_path)
        if key not in self._known:
            try:
                self._known[key] = elf.read(path, _Opened(fd))
            except elf.BadElf as error:
                return FileFacts(path, at_path, None, str(error))
        return FileFacts(path, at_path, self._known[key])

    def _image(self, load: Load, path: str) -> elf.Elf | None:
        if self._memory is None:
            return None
        seen = image.read(self._memory, load.start)
        if seen is None:
            return None
        return elf.Elf(
            path, load.device, load.inode, 0,
            executable=seen.interpreted, dynamic=bool(seen.dynamic),
            soname=seen.soname, build_id=seen.build_id, needed=seen.needed, rpath=seen.rpath,
            runpath=seen.runpath,
        )  # fmt: skip


_UNREACHABLE = "its file is not at its path any more, and may not be read in another way"


class _Opened(Root):
    """A root in which every path leads to one file that is open already."""

    def __init__(self, fd: int) -> None:
        super().__init__("/")
        self._fd = fd

    def outside(self, path: str, *, follow: bool = True) -> str:
        del path, follow
        return f"/proc/self/fd/{self._fd}"


def _root_of(process: Proc) -> Root:
    """The root that paths of the memory map count from.

    That is not /proc/PID/root where a program has changed its root (chroot) and kept its mount
    namespace: the kernel writes these paths as the reader would (d_path, fs/d_path.c).
    """
    try:
        theirs = process.link(f"{process.below}ns/mnt")
        if theirs == os.readlink("/proc/self/ns/mnt"):
            return Root("/")
    except OSError:
        return Root("/")
    return _RootBelow(process.outside(f"{process.below}root"))


class _RootBelow(Root):
    """A root behind one of the kernel's links: its path must not be resolved."""

    @property
    def is_this_machine(self) -> bool:
        return False


def _is_the_mapped_file(fd: int, load: Load) -> bool:
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        return False
    if status.st_ino == load.inode and status.st_dev == load.device:
        return True
    return numbers_as_mapped(fd) == (load.device, load.inode)


def numbers_as_mapped(fd: int) -> tuple[int, int] | None:
    """Device and inode of a file as the memory map shows them; None where that cannot be told.

    stat(2) shows others on btrfs (a device of each subvolume's own) and on an overlay (in some
    kernels maps show the file of the layer below).  Instead of knowing every file system's ways,
    the kernel is asked the same question about the same file: it is mapped here, to be read and
    not read, and looked up in our own map.
    """
    try:
        readable = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        with mmap.mmap(readable, 1, access=mmap.ACCESS_COPY) as mapped:
            return _numbers_at(_address_of(mapped))
    except (OSError, ValueError):  # an empty file, or one that cannot be mapped
        return None
    finally:
        os.close(readable)


def _address_of(mapped: mmap.mmap) -> int:
    import ctypes

    return ctypes.addressof(ctypes.c_char.from_buffer(mapped))


def _numbers_at(address: int) -> tuple[int, int] | None:
    """Device and inode of what is mapped at an address of this process of ours."""
    with open("/proc/self/maps", "rb") as lines:
        for line in lines:
            addresses, _, _, device, inode = line.split(None, 5)[:5]
            start, _, end = addresses.partition(b"-")
            if int(start, 16) <= address < int(end, 16):
                major, _, minor = device.partition(b":")
                return os.makedev(int(major, 16), int(minor, 16)), int(inode)
    return None
