"""One process's directory in /proc, held open.

Everything is opened relative to the directory that was opened first: it stands for that process,
and when the process has ended nothing can be opened below it, even if another one has got the same
number (fs/proc/base.c looks the process up by its struct pid, not by the number).
"""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from xdiag.process.errors import NothingToSee, Refused, Vanished

if TYPE_CHECKING:
    from collections.abc import Iterator

#: What reading a file below an ended process's directory says.
_GONE = (errno.ENOENT, errno.ESRCH)
_DENIED = (errno.EACCES, errno.EPERM)
#: Bytes read of any one of the small files.
_MOST = 8 << 20
#: include/linux/sched.h; field 9 of /proc/PID/stat.
_PF_KTHREAD = 0x0020_0000
#: include/uapi/linux/capability.h.
_CAP_SYS_PTRACE = 19


class Proc:
    """A process's files in /proc; close it, or use it in a with statement.

    Raises Vanished if there is no such process.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        try:
            self.fd = os.open(f"/proc/{pid}", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise Vanished(_none_such(pid)) from error
        #: "" or "task/TID/": where the main thread has ended and others go on, its own files are
        #: empty.
        self.below = ""
        try:
            self._settle()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Proc:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the directory go."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    # ---- who it is ---------------------------------------------------------------------------

    def _settle(self) -> None:
        self.status = self._read_status("status")
        self.name = self.status.get("Name", "")
        fields = self.stat_fields()
        if int(fields[6]) & _PF_KTHREAD:
            raise NothingToSee(
                f"process {self.pid} ({self.name}) is a thread of the kernel:"
                " it has no libraries; name the process that uses the GPU"
            )
        if self.state in "ZX":
            self._find_a_living_thread()

    def _find_a_living_thread(self) -> None:
        for thread in self.names("task"):
            try:
                status = self._read_status(f"task/{thread}/status")
            except Vanished:
                continue
            if status.get("State", "Z")[:1] not in "ZX":
                self.below = f"task/{thread}/"
                return
        raise NothingToSee(
            f"process {self.pid} ({self.name}) has ended and waits to be reaped by its parent,"
            f" process {self.status.get('PPid', '?')}: nothing is loaded in it any more;"
            " inspect a core file of it, or watch it next time from its start (--watch)"
        )

    def _read_status(self, name: str) -> dict[str, str]:
        text = self.read(name).decode(errors="surrogateescape")
        pairs = (line.partition(":") for line in text.split("\n"))
        return {key: value.strip(" \t") for key, _, value in pairs if value}

    @property
    def state(self) -> str:
        """One letter, as proc(5) has it."""
        return self.status.get("State", "?")[:1]

    @property
    def leader(self) -> int:
        """The process whose thread this is; itself for a process."""
        return int(self.status.get("Tgid", self.pid))

    @property
    def user(self) -> int:
        """The effective user id."""
        return int(self.status["Uid"].split()[1])

    def stat_fields(self) -> list[str]:
        """Fields of /proc/PID/stat behind the name, which may contain anything: field 3 first."""
        text = self.read("stat").decode(errors="replace")
        return text.rpartition(")")[2].split()

    def start_ticks(self) -> int:
        """When it started, in clock ticks since the machine did: with the pid, what names it."""
        return int(self.stat_fields()[19])

    # ---- its files ---------------------------------------------------------------------------

    def open(self, name: str, flags: int = os.O_RDONLY) -> int:
        """A descriptor of one of its files; raises Vanished or Refused, OSError for the rest."""
        with self._told():
            return os.open(name, flags | os.O_CLOEXEC, dir_fd=self.fd)

    def read(self, name: str, most: int = _MOST) -> bytes:
        """The first ``most`` bytes of one of its files."""
        with self._told():
            fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self.fd)
            with open(fd, "rb", buffering=0) as file:
                parts = []
                while most > 0 and (part := file.read(min(most, 1 << 16))):
                    parts.append(part)
                    most -= len(part)
                return b"".join(parts)

    def lines(self, name: str) -> Iterator[bytes]:
        """A file's lines, one after the other: a memory map may be large."""
        with self._told():
            fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self.fd)
            with open(fd, "rb", buffering=1 << 18) as file:
                yield from file

    def link(self, name: str) -> str:
        """Where one of its links leads, as the kernel names it."""
        with self._told():
            return os.readlink(name, dir_fd=self.fd)

    def names(self, name: str) -> list[str]:
        """Names in one of its directories."""
        with self._told():
            fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.fd)
            try:
                return os.listdir(fd)
            finally:
                os.close(fd)

    def outside(self, name: str) -> str:
        """A path by which this process of ours reaches one of its files."""
        return f"/proc/self/fd/{self.fd}/{name}"

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turn what the kernel says into what it means."""
        try:
            yield
        except OSError as error:
            if error.errno in _DENIED:
                raise Refused(self.why_refused()) from error
            if error.errno in _GONE and not self.is_there():
                raise Vanished(f"process {self.pid} has ended") from error
            raise

    def is_there(self) -> bool:
        """Whether it has not been reaped yet."""
        try:
            os.stat("stat", dir_fd=self.fd)
            os.close(os.open("stat", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self.fd))
        except OSError:
            return False
        return True

    def why_refused(self) -> str:
        """One line: whose process it is, why it may not be read, and what to do.

        The rules are those of ptrace(2), "Ptrace access mode checking".
        """
        me, who = os.geteuid(), f"process {self.pid} ({self.name})"
        if me == 0:
            if not _has_capability(_CAP_SYS_PTRACE):
                return (
                    f"{who} may not be read: this root has no CAP_SYS_PTRACE; start the container"
                    " with --cap-add SYS_PTRACE, or run xdiag inside the container of the process"
                )
            return (
                f"{who} may not be read even by root: a security module (SELinux, AppArmor) or a"
                " user namespace forbids it; run xdiag in the namespace of the process"
            )
        if self.user != me:
            return (
                f"{who} belongs to {user_name(self.user) or f'user {self.user}'}: run as that user"
                f" or as root: sudo xdiag inspect {self.pid}"
            )
        return (
            f"{who} is yours and may still not be read: it has privileges that you lack, has"
            " changed them, or forbids it (PR_SET_DUMPABLE);"
            f" run as root: sudo xdiag inspect {self.pid}"
        )


def user_name(user: int) -> str:
    """The name of a user of this machine; empty if there is none."""
    import pwd

    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return ""


def _none_such(pid: int) -> str:
    """Why /proc does not show a number: kill(2) tells whether there is such a process."""
    try:
        if pid <= 0:  # kill(2) means groups by these
            raise ProcessLookupError
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return (
            f"there is no process {pid} here"
            " (a container's processes have other numbers outside of it: ps -e shows them)"
        )
    except OSError:
        pass
    if not os.path.exists("/proc/self"):
        return f"process {pid} cannot be looked at: /proc is not mounted here"
    return (
        f"process {pid} is there and /proc does not show it (mount option hidepid);"
        f" run as root: sudo xdiag inspect {pid}"
    )


def _has_capability(number: int) -> bool:
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            for line in file:
                if line.startswith("CapEff:"):
                    return bool(int(line.split()[1], 16) >> number & 1)
    except (OSError, ValueError, IndexError):
        pass
    return True
