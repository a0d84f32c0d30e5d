"""Warm parents: the processes that fork the cells, one for each start environment.

Most cells ask for no variables and share one.  The others are started when a cell first needs them.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import subprocess
import time
from typing import TYPE_CHECKING

import msgspec

from xdiag.engine.environment import IMPORT, StartEnvironment, start_environment
from xdiag.engine.messages import MAX_MESSAGE, Command, Ready, Reply
from xdiag.errors import CannotRun
from xdiag.launch.interpreter import interpreter

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from xdiag.engine.messages import Paths
    from xdiag.model import Target

#: Seconds in which one has to be ready: what is preloaded may do anything before Python starts.
START_PATIENCE = 30.0
#: The same of one that has to import something first: torch from a slow disk, say.
IMPORT_PATIENCE = 180.0
#: Seconds that one has to end when it is told to, and bytes kept of what it said.
_END_PATIENCE = 5.0
_WORDS_KEPT = 4096

_PROGRAM = (
    # Not what lies in the user's working directory, which -c puts first.
    "import sys; sys.path[0:1] = []; sys.path.append({package_parent!r});"
    "from xdiag.engine.zygote import main; main()"
)


class WarmParent:
    """One process that forks cells (engine/zygote.py), and the socket to it.

    Raises CannotRun if the interpreter cannot be executed.
    """

    def __init__(self, start: StartEnvironment, target: Target) -> None:
        self._encode = msgspec.json.Encoder().encode
        self._decode = msgspec.json.Decoder(Reply).decode
        self.ready = False
        self.patience = IMPORT_PATIENCE if IMPORT in start.variables else START_PATIENCE
        self.give_up_at = time.monotonic() + self.patience
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (self.socket, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MAX_MESSAGE)
        package_parent = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
        program = _PROGRAM.format(package_parent=package_parent)
        # Kept, not shown: the loader's warnings would otherwise stand in the middle of a report.
        self._words = os.memfd_create("xdiag-words", os.MFD_CLOEXEC)
        python = interpreter(target.loader, start.variables)
        told = (str(theirs.fileno()), target.compiler, *start.mapped)
        try:
            self._process = subprocess.Popen(
                [*python, "-c", program, *told],
                pass_fds=[theirs.fileno()],
                env=start.variables,
                stdin=subprocess.DEVNULL,
                stderr=self._words,
            )
        except OSError as error:
            self.socket.close()
            os.close(self._words)
            raise CannotRun(f"cannot start {python[0]}: {error.strerror}") from error
        finally:
            theirs.close()

    def send(self, command: Command, descriptors: Sequence[int] = ()) -> None:
        """Send a command; lost where the process is gone, which ``hear`` will tell."""
        try:
            socket.send_fds(self.socket, [self._encode(command)], list(descriptors))
        except (BrokenPipeError, ConnectionResetError):
            return

    def hear(self) -> Reply | None:
        """The next thing that it says, waited for; None once it is gone."""
        try:
            message = self.socket.recv(MAX_MESSAGE)
        except ConnectionResetError:
            message = b""
        if not message:
            return None
        reply: Reply = self._decode(message)
        self.ready |= isinstance(reply, Ready)
        return reply

    def last_words(self) -> str:
        """The last line of what it, or the loader in its name, wrote on standard error."""
        size = os.fstat(self._words).st_size
        said = os.pread(self._words, _WORDS_KEPT, max(0, size - _WORDS_KEPT))
        lines = [line for line in said.decode(errors="replace").splitlines() if line.strip()]
        return lines[-1].strip() if lines else ""

    def close(self) -> int:
        """End it and, with it, every child; its exit status, negative for a signal."""
        self.socket.close()
        try:
            # One that is not ready may be in the middle of anything, and has no children.
            status = self._process.wait(timeout=_END_PATIENCE if self.ready else 0.1)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        os.close(self._words)
        return status


class CannotStart(Exception):
    """No cell can run in this environment; the reason is the message."""


class WarmParents:
    """The warm parents of one engine, by the variables that their cells ask for."""

    def __init__(self, target: Target, paths: Paths, selector: selectors.BaseSelector) -> None:
        self._target = target
        self._paths = paths
        self._selector = selector
        self._started: dict[frozenset[tuple[str, str]], WarmParent] = {}
        self._reasons: dict[frozenset[tuple[str, str]], str] = {}

    def __iter__(self) -> Iterator[WarmParent]:
        return iter(tuple(self._started.values()))

    def of(self, asked: Mapping[str, str]) -> WarmParent:
        """The one for these variables, started where there is none; registered with the selector.

        Raises CannotStart with the reason where none can be, CannotRun where even the plain one
        cannot.
        """
        key = frozenset(asked.items())
        if key in self._reasons:
            raise CannotStart(self._reasons[key])
        if key in self._started:
            return self._started[key]
        try:
            parent = WarmParent(start_environment(asked, self._target, self._paths), self._target)
        except CannotRun as error:
            if not asked:
                raise
            self._reasons[key] = str(error)
            raise CannotStart(str(error)) from error
        self._started[key] = parent
        self._selector.register(parent.socket, selectors.EVENT_READ, parent)
        return parent

    def refuse(self, parent: WarmParent, reason: str) -> None:
        """End one: no cell is to run in its environment.

        Raises CannotRun where that is the plain one.
        """
        key = self._key(parent)
        self.end(parent)
        if not key:
            raise CannotRun(f"the process that forks the cells could not start: {reason}")
        self._reasons[key] = reason

    def release(self, asked: Mapping[str, str]) -> None:
        """End the one for these variables.  The plain one is kept: another run may need it."""
        parent = self._started.get(frozenset(asked.items()))
        if asked and parent is not None:
            self.end(parent)

    def lost(self, parent: WarmParent) -> str:
        """Forget one that is gone; why no cell can run in its environment, empty if they can.

        Raises CannotRun where that is the plain one.
        """
        key, words = self._key(parent), parent.last_words()
        status = self.end(parent)
        if parent.ready and status <= 0:
            return ""  # somebody killed it
        how = f"it exited with status {status}" if status >= 0 else signal.Signals(-status).name
        if not key:
            raise CannotRun(f"the process that forks the cells could not start: {words or how}")
        module = dict(key).get(IMPORT)
        names = " and ".join(sorted(name for name, _ in key if name != IMPORT))
        told = f"Python does not start with {names} set so" if names else "Python does not start"
        if module:
            told = (
                f"{told}, or importing {module} ends it" if names else f"importing {module} ends it"
            )
        reason = self._reasons[key] = f"{told}: {words or how}"
        return reason

    def end(self, parent: WarmParent) -> int:
        """End one; its exit status."""
        del self._started[self._key(parent)]
        self._selector.unregister(parent.socket)
        return parent.close()

    def close(self) -> None:
        """End them all."""
        for parent in self:
            self.end(parent)

    def _key(self, parent: WarmParent) -> frozenset[tuple[str, str]]:
        return next(key for key, started in self._started.items() if started is parent)
