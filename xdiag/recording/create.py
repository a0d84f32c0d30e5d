"""Creates record files, and watches the counters of one that is being written."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import stat
import struct
from datetime import datetime
from typing import TYPE_CHECKING

from xdiag import __version__, platforms
from xdiag.errors import CannotRun, Usage, XdiagError
from xdiag.model import SCHEMA_VERSION
from xdiag.recording import layout

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

#: What a reader reads of each part (read.py); more could be written and not be read.
MOST_THREADS, MOST_CALLS, MOST_EVENTS, MOST_FAILURES = 1 << 14, 1 << 23, 16 << 20, 1 << 14

#: Characters kept of the command line.
_MOST_COMMAND = 4096

#: A record's figures unless told, and the fewest threads where there is little room.
THREADS, _LIFE, _RECENT, _EVENTS, _FAILURES = 1500, 256, 1024, 8 << 20, 512
_FEWEST_THREADS = 16
#: errno of flock(2) on file systems without locks.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)

_FAILURES_SEEN = layout.Header.failures_seen.offset
_COUNTERS = struct.Struct("<QQ")


class RecordFile:
    """A record file, and the counters that its writers keep while the run goes on.

    They are read with pread(2), which takes a microsecond: a mapping would show the same bytes, and
    end the reader where somebody cuts the file short.

    One that was made by ``create`` is locked until it is closed, or this process has ended.
    """

    def __init__(self, path: str, fd: int) -> None:
        self.path = path
        self._fd = fd
        self.size = os.fstat(fd).st_size

    def __enter__(self) -> RecordFile:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Let the file go; it stays where it is."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    @property
    def is_in_place(self) -> bool:
        """Whether this file, and no other one, is what its path leads to."""
        try:
            return os.path.samestat(os.lstat(self.path), os.fstat(self._fd))
        except OSError:
            return False

    @property
    def failures_seen(self) -> int:
        """Calls that have failed so far."""
        return self._counters()[0]

    @property
    def refusals_seen(self) -> int:
        """Calls that have returned the platform's refusal (HIP: 709) so far."""
        return self._counters()[1]

    def _counters(self) -> tuple[int, int]:
        data = os.pread(self._fd, _COUNTERS.size, _FAILURES_SEEN)
        if len(data) != _COUNTERS.size:
            return 0, 0
        failures, refusals = _COUNTERS.unpack(data)
        return failures, refusals


def create(
    path: str | os.PathLike[str],
    *,
    command: Sequence[str],
    threads: int = THREADS,
    life: int = _LIFE,
    recent: int = _RECENT,
    events: int = _EVENTS,
    failures: int = _FAILURES,
    platform: str = "hip",
) -> RecordFile:
    """A new record file for a run of ``command``, readable and writable by this user alone.

    Kept are the first ``failures`` calls that fail, ``events`` bytes of what the loader does (some
    150 bytes an object), and for each of ``threads`` threads at a time the last ``life`` calls that
    make or end a handle and the last ``recent`` others; both are powers of two.  The file is sparse
    and has a bound that it never grows beyond::

        4096 + table (under 40 KiB) + 128 failures + events + threads (64 + 64 (life + recent))

    bytes, 125 MiB with the figures above; a run of one thread takes less than 0.3 MiB of them.

    An existing record of this user is replaced as a whole.  Raises Usage for figures out of bounds
    and for a path at which anything else lies; CannotRun where the file cannot be made, where the
    record there is another run's that is not over, or the disk has less room than the bound: a
    writer that runs out of it is ended by a signal.
    """
    target = os.path.abspath(os.fspath(path))
    header, table = _planned(command, threads, life, recent, events, failures, platform)
    try:
        with _ours(target) as there:
            if there:
                return _replaced(target, header, table)
            return RecordFile(target, _new(target, header, table))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise CannotRun(f"cannot create the record {target}: {reason}") from error


def threads_that_fit(folder: str | os.PathLike[str], command: Sequence[str]) -> int:
    """How many threads a record in ``folder`` has room for: 1500, halved until the disk has it.

    Not below 16, whether or not they fit: ``create`` says then what is missing.
    """
    threads = THREADS
    try:
        free = _free(os.statvfs(folder))
    except OSError:
        return threads
    while threads > _FEWEST_THREADS and _size(command, threads) > free:
        threads = max(threads // 2, _FEWEST_THREADS)
    return threads


def remove_if_over(path: str | os.PathLike[str]) -> bool:
    """Remove a record whose run is over, however it ended; whether it is gone now."""
    try:
        with _ours(os.fspath(path)) as there:
            if there:
                os.unlink(path)
            return True
    except (OSError, XdiagError):
        return False


def watch(path: str | os.PathLike[str]) -> RecordFile:
    """An existing record file's counters; raises CannotRun where there is none."""
    target = os.path.abspath(os.fspath(path))
    try:
        fd = os.open(target, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        raise CannotRun(f"cannot watch {target}: {error}") from error
    return RecordFile(target, fd)


# ---- what is written -------------------------------------------------------------------------


def _planned(
    command: Sequence[str],
    threads: int,
    life: int,
    recent: int,
    events: int,
    failures: int,
    platform: str,
) -> tuple[layout.Header, bytes]:
    for name, value, most in (
        ("threads", threads, MOST_THREADS),
        ("failures", failures, MOST_FAILURES),
        ("events", events, MOST_EVENTS),
    ):
        if not 1 <= value <= most:
            raise Usage(f"a record has from 1 to {most} {name}, not {value}")
    for name, value in (("life", life), ("recent", recent)):
        if value < 1 or value & (value - 1):
            raise Usage(f"a record's {name} calls a thread are a power of two, not {value}")
    if threads * (life + recent) > MOST_CALLS:
        raise Usage(
            f"a record has at most {MOST_CALLS} calls, not {threads} threads with {life + recent}"
        )
    table = table_of(command, platform)
    header = layout.Header(
        magic=layout.MAGIC,
        version=layout.VERSION,
        call_count=len(table["calls"]),
        failure_count=failures,
        events_size=_aligned(events),
        block_count=threads,
        life_size=life,
        recent_size=recent,
        refusal=platforms.get(platform).refusal,
    )
    # JSON that is ASCII: a command line may hold bytes that are no text.
    written = json.dumps(table, separators=(",", ":")).encode("ascii")
    header.table_offset, header.table_size = layout.HEADER_SIZE, len(written)
    header.failures_offset = _aligned(layout.HEADER_SIZE + len(written))
    header.events_offset = header.failures_offset + failures * ctypes.sizeof(layout.Failure)
    header.blocks_offset = header.events_offset + header.events_size
    header.file_size = header.blocks_offset + threads * layout.block_size(life, recent)
    return header, written


def table_of(command: Sequence[str], platform: str) -> dict[str, Any]:
    """What a record says of itself in words: who made it, for what, and the list of calls."""
    from xdiag.native import calls

    return {
        "schema_version": SCHEMA_VERSION,
        "xdiag": __version__,
        "command": _cut(command),
        "started": datetime.now().astimezone().isoformat(timespec="milliseconds"),
        "platform": platform,
        "calls": [
            {"name": call.name, "hip": list(call.hip), "kinds": list(call.kinds)}
            for call in sorted(calls().values(), key=lambda call: call.index)
        ],
    }


def _cut(command: Sequence[str]) -> list[str]:
    """The command's beginning: the kernel takes lines that are longer than the rest of the file."""
    kept, left = [], _MOST_COMMAND
    for word in command:
        if left <= 0:
            break
        kept.append(str(word)[:left])
        left -= len(word) + 1
    return kept


def _aligned(size: int) -> int:
    return -(-size // layout.ALIGNMENT) * layout.ALIGNMENT


# ---- the file --------------------------------------------------------------------------------


@contextlib.contextmanager
def _ours(path: str) -> Iterator[bool]:
    """Whether a record of this user lies there, which nobody else replaces meanwhile.

    Raises Usage where something else lies there, CannotRun where its run is not over.
    """
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        yield False
        return
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
        raise Usage(f"{path} is there already and is no record of yours: name another file")
    # For writing, which locks over NFS ask for (flock(2)); nothing is written.
    fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        # Another run that replaces it renames a file that is locked, and lets go of this one then.
        if not _locked(fd) or not os.path.samestat(os.lstat(path), os.fstat(fd)):
            raise CannotRun(
                f"{path} is the record of a run that is not over: wait for it, or name another file"
            )
        if os.read(fd, len(layout.MAGIC)) != layout.MAGIC:
            raise Usage(f"{path} is there already and is no record: name another file")
        yield True
    finally:
        os.close(fd)


def _locked(fd: int) -> bool:
    """Lock a file for as long as it is open in this process; whether nobody else has.

    The kernel lets go of it however the process ends.  Where the file system knows no locks, there
    is none.
    """
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    return True


def _size(command: Sequence[str], threads: int) -> int:
    """Bytes that a record with that many threads, and else as usual, may have."""
    planned, _ = _planned(command, threads, _LIFE, _RECENT, _EVENTS, _FAILURES, "hip")
    return int(planned.file_size)


def _free(disk: os.statvfs_result) -> int:
    return disk.f_bavail * disk.f_frsize


def _replaced(path: str, header: layout.Header, table: bytes) -> RecordFile:
    """A new file in place of the old one: whoever still writes into that one does no harm."""
    fresh = f"{path}.{os.getpid()}.new"
    fd = _new(fresh, header, table)
    try:
        os.rename(fresh, path)
    except BaseException:
        os.close(fd)
        os.unlink(fresh)
        raise
    return RecordFile(path, fd)


def _new(path: str, header: layout.Header, table: bytes) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(path, flags, 0o600)
    try:
        os.fchmod(fd, 0o600)  # whatever the umask has taken away
        if not _locked(fd):  # only while somebody else looks what it is
            raise OSError("another program holds it")
        free = _free(os.fstatvfs(fd))
        if free < header.file_size:
            raise OSError(
                f"it may grow to {header.file_size >> 20} MiB, and {free >> 20} are free there"
            )
        os.ftruncate(fd, header.file_size)
        os.pwrite(fd, table, header.table_offset)
        # Last: a file without it is no record.
        os.pwrite(fd, bytes(header), 0)
    except BaseException:
        os.close(fd)
        with contextlib.suppress(OSError):
            os.unlink(path)
        raise
    return fd
