"""Starting a command so that from outside it looks as if it had been started directly."""

from __future__ import annotations

import mmap
import os
import resource
import signal
import struct
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from xdiag import native
from xdiag.errors import CannotRun
from xdiag.launch import signals
from xdiag.launch.program import Program
from xdiag.launch.witness import Witness
from xdiag.model import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

#: What a child that could not exec leaves behind: errno, and which candidate it was.
_REFUSAL = struct.Struct("=II")
#: Seen only if our own code in the child fails.
_NO_COMMAND = 127
_TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)


class Ending(Record, frozen=True):
    """How a command ended: with an exit status, or by a signal, which may have left a core."""

    pid: int
    status: int | None = None
    signal: int | None = None
    core: bool = False


def supervise(
    command: Sequence[str],
    environ: Mapping[str, str],
    *,
    tick: Callable[[], None] | None = None,
    interval: float = 0.1,
) -> Ending:
    """Run ``command`` with exactly ``environ``, and wait for it; how it ended.

    To be called in a program's only thread.  The command gets what this process was started with:
    descriptors, directory, limits, signal mask and dispositions (``signals.held_back`` says what of
    these cannot be known), timers, process group and session.  No shell is involved; a name without
    a slash is looked for in the PATH of ``environ``, as execvp(3) does.

    While it runs, ``tick`` is called about every ``interval`` seconds, and once more after it
    ended; an exception in it ends the ticking, and is raised when the command has ended.  Signals
    are served between two ticks.

    Signals sent to this process go on to the command, once; those that were sent to the command as
    well, by the terminal or by someone who signals the whole group or every process, do not
    (``witness.Witness`` says how that is told apart).  When the command stops, this process stops;
    whoever continues one of them continues the other.

    **This process's standard input and output become /dev/null, and other inherited descriptors are
    closed**: a pipe is at its end when the command has closed it.  Standard error stays, for what
    there is to say afterwards.

    If this process is killed, so is the command (PR_SET_PDEATHSIG of prctl(2), bound to the thread
    that called this; the kernel drops it when a setuid program is started).  Processes that outlive
    the command are left alone.

    What differs all the same: the command is not the leader of its process group or session, and
    its parent is this process; a signal is seen to come from this process, without the value that
    sigqueue(3) gives it; SIGSTOP sent to this process alone does not stop the command.

    Raises Usage for a command that there is not, CannotRun for one that the kernel refuses.
    """
    program = Program.of(command, environ)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()  # what was said before the command started comes before its output
    # In memory and not through a pipe: no descriptor is opened that the command could see, and no
    # read can hang while a Ctrl-Z stops the child before its exec.
    with mmap.mmap(-1, mmap.PAGESIZE) as refusal, signals.held_back() as inherited:
        pid = _start(program, inherited, refusal)
        _let_go()
        with Witness(pid) as witness:
            ending = _attend(pid, witness, tick, interval)
        number, place = _REFUSAL.unpack_from(refusal)
    if number:
        raise program.why(number, place)
    return ending


def end_like(ending: Ending) -> int:
    """The exit status to leave with, so that the caller sees what the command did.

    After a signal it does not return: this process is killed by that signal, without a core of its
    own.  Only where the kernel has it survive (process 1 of a container) is 128 + the signal the
    status, as shells have it.
    """
    if ending.signal is None:
        return ending.status or 0
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
    # 1 and not 0: the kernel writes no core shorter than a page, and with exactly 1 it starts no
    # core handler either, which 0 does not keep it from (do_coredump in fs/coredump.c).
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (1 if most else 0, most))
    if ending.signal in signals.EVERY:
        signal.signal(ending.signal, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {ending.signal})
    os.kill(os.getpid(), ending.signal)
    return 128 + ending.signal


def _start(program: Program, inherited: signals.Inherited, refusal: mmap.mmap) -> int:
    """Start the command in a child; its process id.

    Neither posix_spawn(3) nor subprocess can ask for PDEATHSIG, move timers and keep a signal
    ignored in the child without code of ours between fork and exec, so that code is written here.
    """
    supervisor = os.getpid()
    # Timers survive exec(2), so they are the command's (perl -e 'alarm 9; exec ...'), but not fork.
    timers = [signal.getitimer(each) for each in _TIMERS]
    try:
        pid = os.fork()
    except OSError as error:
        raise CannotRun(f"no process can be started: {error.strerror}") from None
    if pid == 0:
        try:
            native.die_with_parent()
            if os.getppid() != supervisor:  # it was killed before we asked for that
                os.kill(os.getpid(), signal.SIGKILL)
            for which, (left, interval) in zip(_TIMERS, timers, strict=True):
                signal.setitimer(which, left, interval)
            inherited.restore()
            _REFUSAL.pack_into(refusal, 0, *program.become())
        finally:
            os._exit(_NO_COMMAND)
    for which in _TIMERS:
        signal.setitimer(which, 0)
    return pid


def _let_go() -> None:
    """Hold nothing open that was inherited, but standard error.

    Descriptors of our own are not meant: Python opens all to be closed on exec (PEP 446).
    """
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in map(int, os.listdir("/proc/self/fd")):
        with suppress(OSError):  # the one that read the directory is gone
            if descriptor in (0, 1):
                os.dup2(nothing, descriptor, inheritable=False)
            elif descriptor > 2 and os.get_inheritable(descriptor):
                os.close(descriptor)
    if nothing > 2:
        os.close(nothing)


def _attend(pid: int, witness: Witness, tick: Callable[[], None] | None, interval: float) -> Ending:
    """Serve signals and ticks until the command has ended."""
    failure: BaseException | None = None
    due = time.monotonic() + interval
    while True:
        if tick is None or failure is not None:
            info: signal.struct_siginfo | None = signal.sigwaitinfo(signals.EVERY)
        else:
            info = signal.sigtimedwait(signals.EVERY, max(0.0, due - time.monotonic()))
        if info is not None:
            _pass_on(info, pid, witness)
        # Not only after SIGCHLD: one that was sent by kill(2) stands for the kernel's as well.
        ending = _news(pid, witness)
        if ending is not None:
            break
        if tick is not None and failure is None and time.monotonic() >= due:
            try:
                tick()
            except BaseException as error:
                failure = error
            due = time.monotonic() + interval
    if failure is not None:
        raise failure
    if tick is not None:
        tick()
    return ending


def _pass_on(info: signal.struct_siginfo, pid: int, witness: Witness) -> None:
    """Send the command a signal that was sent to us in its place."""
    # The command's own are no orders to itself: it signals its group, and so has its copy.
    if info.si_pid in (pid, witness.pid):
        return
    number = info.si_signo
    meant = signals.only_for_us(info) and not witness.has_it_too(info)
    if meant and not signals.outdated(number):
        with suppress(PermissionError):  # a setuid program: nor could the sender have sent it
            os.kill(pid, number)


def _news(pid: int, witness: Witness) -> Ending | None:
    """How the command ended, None while it runs; stops with it where it has stopped."""
    while True:
        news = os.waitid(os.P_PID, pid, os.WEXITED | os.WSTOPPED | os.WNOHANG)
        if news is None:
            return None
        if news.si_code == os.CLD_EXITED:
            return Ending(pid=pid, status=news.si_status)
        if news.si_code in (os.CLD_KILLED, os.CLD_DUMPED):
            core = news.si_code == os.CLD_DUMPED
            return Ending(pid=pid, signal=news.si_status, core=core)
        with witness.watching():
            signals.stop_by(news.si_status)
