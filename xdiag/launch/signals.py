"""Signals and a supervisor: which it inherited, which are not its own, stopping by one."""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Every signal that may be blocked and waited for; KILL and STOP may not.
EVERY = frozenset(map(int, signal.valid_signals())) - {signal.SIGKILL, signal.SIGSTOP}

#: siginfo's si_code (asm-generic/siginfo.h): from kill(2), from the kernel, from sigqueue(3).
SI_USER, SI_KERNEL, SI_QUEUE = 0, 0x80, -1

#: What a terminal, or its going away, sends to every process of a group (tty_io.c, n_tty.c,
#: tty_jobctrl.c of Linux, all by kill_pgrp with si_code SI_KERNEL).
_TO_THE_GROUP = frozenset(
    {
        signal.SIGINT,
        signal.SIGQUIT,
        signal.SIGTSTP,
        signal.SIGTTIN,
        signal.SIGTTOU,
        signal.SIGWINCH,
        signal.SIGHUP,
        signal.SIGCONT,
    }
)
_STOPS = frozenset({signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU})
#: What a terminal that goes away sends to the leader of its session alone
#: (tty_signal_session_leader).
_TO_THE_LEADER = frozenset({signal.SIGHUP, signal.SIGCONT})

#: Ignored by Python's start-up whatever they were before, without a trace of it
#: (signal_install_handlers in CPython's Modules/signalmodule.c).
_IGNORED_BY_PYTHON = frozenset({signal.SIGPIPE, signal.SIGXFSZ})
#: Programs that ignore these two only where they were told to (``trap '' PIPE``) or began so, and
#: hand that on to what they start.  Others ignore them for themselves and reset them for a child.
_SHELLS = frozenset({"ash", "bash", "busybox", "dash", "ksh", "ksh93", "mksh", "sh", "zsh"})
#: Bytes of /proc/PID/status; it has about 1500.
_MOST_STATUS = 1 << 16


class Inherited(NamedTuple):
    """The signal mask that this process was started with, and the signals it was to ignore."""

    blocked: frozenset[int]
    ignored: frozenset[int]

    def restore(self) -> None:
        """Give this process, a child about to exec, these again; what is pending then arrives.

        A signal that is caught becomes a default one first: until exec(2) does so itself, Python's
        handler would take a Ctrl-C that is meant to end the command.
        """
        for number in EVERY:
            wanted = signal.SIG_IGN if number in self.ignored else signal.SIG_DFL
            if signal.getsignal(number) is not wanted:
                signal.signal(number, wanted)
        signal.pthread_sigmask(signal.SIG_SETMASK, self.blocked)


@contextmanager
def held_back() -> Iterator[Inherited]:
    """Within it every signal waits to be asked for, and a child that ends waits to be reaped.

    To be used in a program's only thread.  Gives what the process inherited, which Python changed
    as follows: SIGINT is caught if it was a default one, and stays ignored if it was ignored; the
    mask and all others are untouched; SIGPIPE and SIGXFSZ are ignored, and nothing in the process
    tells what they were.  These are taken for default, as nearly all programs are started, except
    where the parent is a shell that ignores them.  What remains unknown: a program between such a
    shell and this one that changed them (``env --ignore-signal=PIPE``), a shell that replaced
    itself by this program (``exec``), a service of systemd (which ignores SIGPIPE by its default)
    without a shell in between.
    """
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, EVERY)
    ignored = {each for each in EVERY if signal.getsignal(each) is signal.SIG_IGN}
    ignored = (ignored - _IGNORED_BY_PYTHON) | _ignored_by_the_shell()
    # A child of a process that ignores SIGCHLD is gone before it can be waited for (wait(2)).
    reaps_itself = signal.SIGCHLD in ignored
    if reaps_itself:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        yield Inherited(frozenset(map(int, blocked)), frozenset(ignored))
        while signal.sigtimedwait(EVERY, 0) is not None:
            pass  # sent to a command that is no more
    finally:
        if reaps_itself:
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _ignored_by_the_shell() -> frozenset[int]:
    """Of what Python ignores by itself: what the parent ignores too, if that is a shell."""
    parent = f"/proc/{os.getppid()}"
    try:
        if os.path.basename(os.readlink(f"{parent}/exe")) not in _SHELLS:
            return frozenset()
        with open(f"{parent}/status", "rb") as file:
            _, _, rest = file.read(_MOST_STATUS).partition(b"\nSigIgn:")
        ignored = int(rest.partition(b"\n")[0], 16)
    except (OSError, ValueError):
        return frozenset()
    return frozenset(each for each in _IGNORED_BY_PYTHON if ignored >> (each - 1) & 1)


def only_for_us(info: signal.struct_siginfo) -> bool:
    """Whether a signal is one that a command in our place would have been sent, and ours was not.

    True for those by kill(2) and its like, as far as the signal itself can tell: it looks the same
    whether one process or all of a group were meant.
    """
    number = info.si_signo
    if number == signal.SIGCHLD and info.si_code not in (SI_USER, SI_QUEUE):
        return False  # about a child of ours
    if info.si_code != SI_KERNEL:
        return True
    if number == signal.SIGXCPU:
        return False  # a limit on our own time; the command inherited it and is held to it itself
    leads = os.getsid(0) == os.getpid()
    return number not in _TO_THE_GROUP or (leads and number in _TO_THE_LEADER)


def outdated(number: int) -> bool:
    """Whether what came since has undone this signal: a stop undoes SIGCONT, and SIGCONT a stop.

    So does the kernel while they wait (signal(7)); what we have taken out meanwhile is ours to
    undo.  Else a late SIGCONT would wake a command that the next Ctrl-Z has stopped already.
    """
    if number == signal.SIGCONT:
        return bool(_STOPS & signal.sigpending())
    return number in _STOPS and signal.SIGCONT in signal.sigpending()


def stop_by(number: int) -> None:
    """Stop this process by the signal that stopped the command, until it is continued.

    The shell then sees what it would have seen of the command: which job, and why.  Afterwards
    SIGCONT is waiting.
    """
    if signal.SIGCONT in signal.sigpending():
        return  # the group was continued before we came to it; stopping would discard that
    if number != signal.SIGSTOP:
        before = signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})  # here it stops
        signal.pthread_sigmask(signal.SIG_BLOCK, {number})
        signal.signal(number, signal.SIG_DFL if before is None else before)
        if signal.SIGCONT in signal.sigpending():
            return
        # The kernel has TSTP, TTIN and TTOU do nothing in a group that no shell controls; the
        # command has stopped nevertheless, for it made a group of its own.
    signal.raise_signal(signal.SIGSTOP)
