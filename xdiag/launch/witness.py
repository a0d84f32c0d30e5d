"""Who was meant by a signal: this process, or all of its group?  A second process can tell."""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
import struct
import time
from typing import TYPE_CHECKING, NoReturn

from xdiag import native
from xdiag.launch import signals

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

#: What the witness notes of one signal: its last sender, when it came in ns, how many have come.
_NOTE = struct.Struct("=qqq")
#: Noted as the sender where that is the kernel; 0 is a process outside of our PID namespace.
_KERNEL = -1
#: Place 0, where no signal is: whether the supervisor is stopped.
_STOPPED, _RUNNING = b"\1", b"\0"
#: Seconds in which a sender gets round to all whom it signals.  A signal that was for us alone
#: reaches the command that much later.
_ROUND = 0.01
#: Seconds for which a witness that has the signal, but no processor, is waited for.
_SCHEDULING = 1.0
#: Nanoseconds after which what was noted belongs to an earlier signal.
_FRESH = 2_000_000_000
#: Seconds between two looks at the command while the supervisor is stopped.
_LOOK = 0.1
#: What ps shows of it.  Not our own name: who ends processes by name means us and not it.
_NAME = b"signal-witness"
#: Bytes of /proc/PID/stat and /proc/PID/status; they have about 350 and 1500.
_MOST = 1 << 16


class Witness:
    """A child in our process group that notes which signals it is sent, and by whom.

    kill(2) of a group, and those who signal every process of a session, a control group or a user
    (``kill %1``, timeout, systemd, Slurm), look to each of them like a signal of its own.  What
    this process and the witness were sent by the same sender at the same time, the command was sent
    too.  What only this process was sent was meant for the command.

    What remains: where no process can be started for it, or someone signals this process and the
    command but not the witness (``kill PID1 PID2``), the command gets the signal twice.  Where
    someone signals this process and the witness but not the command, it does not get it; both are
    named differently, so that this takes a list of processes by their program's file.  Signals that
    come while this process is stopped for more than 2 s count as meant for it alone.
    """

    #: None where there is none.
    pid: int | None = None

    def __init__(self, command: int) -> None:
        self._notes = mmap.mmap(-1, _NOTE.size * signal.NSIG)
        self._counted: dict[int, int] = {}
        supervisor = os.getpid()
        try:
            pid = os.fork()
        except OSError:  # a limit on processes: the command is what matters
            return
        if pid == 0:
            try:
                _testify(self._notes, supervisor, command)
            finally:
                os._exit(0)
        self.pid = pid

    def __enter__(self) -> Witness:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.pid is not None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        self._notes.close()

    def has_it_too(self, info: signal.struct_siginfo) -> bool:
        """Whether the signal was sent to the group, or to everybody; waits a little to see."""
        if self.pid is None or info.si_code not in (signals.SI_USER, signals.SI_QUEUE):
            return False
        start = time.monotonic()
        while not self._noted(info):
            waited = time.monotonic() - start
            if waited > _ROUND and not (waited < _SCHEDULING and self._is_due(info.si_signo)):
                return False
            time.sleep(_ROUND / 20)
        return True

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Within it this process may stop: it is continued if the command runs on, or ends.

        Without this a command that was stopped and continued, or killed, by someone who knows only
        of the command, would leave this process stopped for good.
        """
        self._notes[:1] = _STOPPED
        if self.pid is not None:
            os.kill(self.pid, signal.SIGURG)  # any signal has it look at the mark
        try:
            yield
        finally:
            self._notes[:1] = _RUNNING

    def _noted(self, info: signal.struct_siginfo) -> bool:
        """Whether there is a note of this signal that has not been counted for another."""
        number = info.si_signo
        sender, when, count = _NOTE.unpack_from(self._notes, number * _NOTE.size)
        counted = self._counted.get(number, 0)
        if count == counted or sender != info.si_pid or time.monotonic_ns() - when > _FRESH:
            return False
        # Real-time signals queue up, all others become one while they wait (signal(7)).
        self._counted[number] = counted + 1 if number >= signal.SIGRTMIN else count
        return True

    def _is_due(self, number: int) -> bool:
        """Whether the signal has reached the witness, which has not come to note it."""
        try:
            with open(f"/proc/{self.pid}/status", "rb") as file:
                _, _, rest = file.read(_MOST).partition(b"\nShdPnd:")
            return bool(int(rest.partition(b"\n")[0], 16) >> (number - 1) & 1)
        except (OSError, ValueError):
            return False


def _testify(notes: mmap.mmap, supervisor: int, command: int) -> NoReturn:
    """Be the witness, until killed.  All signals are held back, as they were before the fork."""
    native.die_with_parent()
    if os.getppid() != supervisor:
        os._exit(0)
    os.chdir("/")
    os.closerange(0, max(map(int, os.listdir("/proc/self/fd"))) + 1)
    _rename()
    counts = [0] * signal.NSIG
    while True:
        if notes[:1] == _STOPPED:
            info = signal.sigtimedwait(signals.EVERY, _LOOK)
            if info is None and notes[:1] == _STOPPED and not _is_stopped(command):
                os.kill(supervisor, signal.SIGCONT)
        else:
            info = signal.sigwaitinfo(signals.EVERY)
        if info is not None:
            number = info.si_signo
            counts[number] += 1
            # The count last: who sees it sees the rest.
            sender = _KERNEL if info.si_code == signals.SI_KERNEL else info.si_pid
            note = (sender, time.monotonic_ns(), counts[number])
            _NOTE.pack_into(notes, number * _NOTE.size, *note)


def _rename() -> None:
    """Be called something else than the supervisor, in ps and for pkill (proc(5))."""
    with open("/proc/self/comm", "wb") as file:
        file.write(_NAME)
    with open("/proc/self/stat", "rb") as file:
        fields = file.read(_MOST).rpartition(b")")[2].split()
    start, end = int(fields[45]), int(fields[46])  # arg_start, arg_end
    with open("/proc/self/mem", "r+b", buffering=0) as memory:
        memory.seek(start)
        memory.write(_NAME[: end - start - 1].ljust(end - start, b"\0"))


def _is_stopped(pid: int) -> bool:
    """Whether a process is stopped, by a signal or a debugger; False for one that has ended."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read(_MOST).rpartition(b")")[2].split()[0] in (b"T", b"t")
    except OSError:
        return False
