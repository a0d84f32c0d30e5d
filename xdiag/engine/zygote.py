"""The warm parent: forks a child per cell on request, reaps it, kills it on request.

A process of its own, single-threaded, that has imported what a child needs and has never opened a
GPU library; so each child starts clean, and in a millisecond or two.  It ends when the supervisor
goes away, and takes every child with it.
"""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import select
import signal
import socket
import sys
from typing import TYPE_CHECKING, NoReturn

import msgspec

from xdiag import native
from xdiag.engine.child import StoryTeller, pipe_reporter
from xdiag.engine.messages import (
    MAX_MESSAGE,
    Command,
    Ended,
    Kill,
    Refused,
    Reply,
    Start,
    Started,
)

if TYPE_CHECKING:
    from types import FrameType

#: prctl(2)
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


class Zygote:
    """Serves one supervisor over a connected socket until it closes."""

    def __init__(self, supervisor: socket.socket) -> None:
        self._supervisor = supervisor
        self._decode = msgspec.json.Decoder(Command).decode
        self._encode = msgspec.json.Encoder().encode
        self._children: dict[int, int] = {}  # pid -> number

    def serve(self) -> None:
        """Answer commands until the supervisor's end is closed, then kill what is left."""
        wakeup_r, wakeup_w = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wakeup_w, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, _note)
        # Ctrl-C is the supervisor's business: it still wants what the children have found.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        poll = select.poll()
        poll.register(self._supervisor, select.POLLIN)
        poll.register(wakeup_r, select.POLLIN)
        try:
            while True:  # until the supervisor hangs up
                ready = {fd for fd, _ in poll.poll()}
                if wakeup_r in ready:
                    os.read(wakeup_r, 4096)
                    self._reap()
                if self._supervisor.fileno() in ready and not self._command():
                    return
        except (BrokenPipeError, ConnectionResetError):
            return  # it hung up with something still unread
        finally:
            for pid in self._children:
                _kill_group(pid)

    def _send(self, reply: Reply) -> None:
        self._supervisor.send(self._encode(reply))

    def _command(self) -> bool:
        """Carry out one command; False once there will be no more."""
        message, descriptors, _, _ = socket.recv_fds(self._supervisor, MAX_MESSAGE, 2)
        if not message:
            return False
        command = self._decode(message)
        if isinstance(command, Kill):
            for pid, number in self._children.items():
                if number == command.number:
                    _kill_group(pid)
            return True
        self._fork(command, *descriptors)
        return True

    def _fork(self, start: Start, records: int, output: int) -> None:
        try:
            pid = os.fork()
        except OSError as error:
            self._send(Refused(number=start.number, reason=f"fork: {error.strerror}"))
        else:
            if pid == 0:
                self._be_child(start, records, output)
            self._children[pid] = start.number
            # Both do it, so that it is done whoever runs first.
            _own_group(pid)
            self._send(Started(number=start.number, pid=pid))
        finally:
            os.close(records)
            os.close(output)

    def _be_child(self, start: Start, records: int, output: int) -> NoReturn:
        status = 70  # EX_SOFTWARE: seen only if our own code below fails
        try:
            _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            _own_group(0)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            self._supervisor.close()
            nothing = os.open(os.devnull, os.O_RDONLY)
            os.dup2(nothing, 0)
            os.dup2(output, 1)
            os.dup2(output, 2)
            os.close(nothing)
            os.close(output)
            os.set_inheritable(records, False)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            os.environ.update(start.cell.environment)
            native.close_in_fork(records)
            teller = StoryTeller(start.cell, start.platform, start.paths, pipe_reporter(records))
            teller.tell(start.leave_out)
            status = 0
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            # Not exit(): what the runtime does in exit handlers is not part of the story.
            os._exit(status)

    def _reap(self) -> None:
        while True:
            try:
                pid, wait_status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            number = self._children.pop(pid, None)
            if number is not None:
                # Whatever it has left behind in its group goes too.
                _kill_group(pid)
                self._send(Ended(number=number, wait_status=wait_status))


def _note(signum: int, frame: FrameType | None) -> None:
    """A handler must exist for the wakeup descriptor to be written."""
    del signum, frame


def _own_group(pid: int) -> None:
    try:
        os.setpgid(pid, pid)
    except (ProcessLookupError, PermissionError):
        return  # it ended, or did so itself


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return  # nothing is left of it


def main() -> None:
    """Entry point: ``argv[1]`` is the descriptor of the socket to the supervisor."""
    supervisor = socket.socket(fileno=int(sys.argv[1]))
    supervisor.set_inheritable(False)
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    # Orphans of a cell come here to be reaped, instead of staying behind.
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    native.calls()
    native.errors()
    gc.disable()
    gc.freeze()
    Zygote(supervisor).serve()


if __name__ == "__main__":
    main()
