"""The supervisor: sends cells to the warm parent and watches what becomes of them."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import subprocess
import sys
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from xdiag import errors
from xdiag.engine import judge, log
from xdiag.engine.messages import (
    MAX_MESSAGE,
    Ended,
    Kill,
    Paths,
    Refused,
    Reply,
    Start,
    Started,
)
from xdiag.model import Cell, Outcome, OutcomeKind, Result

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from xdiag.model import Target

#: Bytes kept of what a child prints: enough for the last lines, whatever it pours out.
OUTPUT_KEPT = 16 * 1024
#: A cell that runs longer than this is looked at, at this interval: how many processes it has, and
#: whether they do anything.
_GUARD_AFTER = 0.3
#: A cell that sleeps leaves its place to another; at most so many times ``jobs`` are in flight.
_SLEEPERS = 4
#: More processes than this in one cell is a fork bomb, not an experiment.
PROCESS_LIMIT = 64
_NEVER = float("inf")
#: A crash costs one child; this many questions may each cost one before the cell is given up.
MAX_PROCESSES = 8


@dataclass
class _Running:
    """One child in flight."""

    cell: Cell
    number: int
    log: int
    output: int
    started: float
    deadline: float
    leave_out: tuple[int, ...]
    earlier: list[judge.Telling]
    pid: int = 0
    tail: bytes = b""
    wait_status: int | None = None
    #: Why the supervisor killed it; empty while it runs by itself.
    killed: str = ""
    #: True once the warm parent died while this cell ran: it runs alone then.
    suspect: bool = False
    next_guard: float = 0.0
    #: Processor time of its processes when it was last looked at, and whether it stood still.
    busy: float = -1.0
    asleep: bool = False


class Engine:
    """Runs cells on one target; a context manager that leaves no process behind.

    ``jobs`` children run at a time; with more than one, those that only sleep are not counted.
    """

    def __init__(self, target: Target, paths: Paths, *, jobs: int = 1) -> None:
        self._target = target
        self._paths = paths
        self._jobs = jobs
        self._encode = msgspec.json.Encoder().encode
        self._decode_reply = msgspec.json.Decoder(Reply).decode
        self._running: dict[int, _Running] = {}
        self._suspects: deque[_Running] = deque()
        self._numbers = 0
        self._selector = selectors.DefaultSelector()
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """End the warm parent and, with it, every child."""
        for running in list(self._running.values()):
            self._forget(running)
        if self._socket is not None:
            self._selector.unregister(self._socket)
            self._socket.close()
            self._socket = None
        if self._process is not None:
            try:
                self._process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        self._selector.close()

    # ---- the loop ----

    def run(self, cells: Iterable[Cell]) -> Iterator[Result]:
        """Yield a result per cell, as they are finished.

        Cells that a fix does not apply to are answered at once.
        """
        waiting = deque(cells)
        while waiting or self._suspects or self._running:
            while self._suspects and not self._running:
                lost = self._suspects.popleft()
                self._start(lost.cell, lost.leave_out, lost.earlier, suspect=True)
            while waiting and not self._suspects and self._has_room():
                cell = waiting.popleft()
                if cell.not_applicable:
                    yield Result(
                        cell,
                        Outcome(OutcomeKind.NOT_APPLICABLE, reason=cell.not_applicable),
                    )
                elif cell.devices > self._target.devices:
                    reason = f"needs {cell.devices} devices, {self._target.devices} found"
                    yield Result(cell, Outcome(OutcomeKind.SKIPPED, reason=reason))
                else:
                    self._start(cell)
            if self._running:
                yield from self._turn()

    def _has_room(self) -> bool:
        """Whether another cell may start.

        A cell that hangs and does nothing would hold up the others until its time is up.
        """
        if self._jobs == 1:
            return not self._running
        awake = sum(not running.asleep for running in self._running.values())
        return awake < self._jobs and len(self._running) < self._jobs * _SLEEPERS

    def _turn(self) -> Iterator[Result]:
        """Wait for something to happen, and deal with it."""
        now = time.monotonic()
        nearest = min(
            min(running.deadline, running.next_guard) for running in self._running.values()
        )
        patience = None if nearest == _NEVER else max(0.0, nearest - now)
        for key, _ in self._selector.select(patience):
            if key.fileobj is self._socket:
                yield from self._hear()
            elif key.data.number in self._running:  # not forgotten a moment ago
                self._read(key.data)
        now = time.monotonic()
        for running in list(self._running.values()):
            if running.wait_status is not None:
                yield from self._finish(running)
                continue
            if now >= running.deadline and not running.killed:
                self._kill(running, "hang")
            elif now >= running.next_guard:
                self._guard(running, now)

    # ---- one child ----

    def _start(
        self,
        cell: Cell,
        leave_out: tuple[int, ...] = (),
        earlier: list[judge.Telling] | None = None,
        *,
        suspect: bool = False,
    ) -> None:
        link = self._connected()
        self._numbers += 1
        output_r, output_w = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(output_r, False)
        fresh = log.new()
        now = time.monotonic()
        running = _Running(
            cell=cell,
            number=self._numbers,
            log=fresh,
            output=output_r,
            started=now,
            deadline=now + cell.timeout,
            leave_out=leave_out,
            earlier=earlier or [],
            next_guard=now + _GUARD_AFTER,
            suspect=suspect,
        )
        start = Start(
            number=running.number,
            cell=cell,
            platform=self._target.platform,
            paths=self._paths,
            leave_out=leave_out,
        )
        try:
            socket.send_fds(link, [self._encode(start)], [fresh, output_w])
        finally:
            os.close(output_w)
        self._running[running.number] = running
        self._selector.register(output_r, selectors.EVENT_READ, running)

    def _connected(self) -> socket.socket:
        """The socket to the warm parent, which is started where there is none."""
        if self._socket is not None:
            return self._socket
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MAX_MESSAGE)
        package_parent = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
        program = (
            # Not what lies in the user's working directory, which -c puts first.
            f"import sys; sys.path[0:1] = []; sys.path.append({package_parent!r});"
            "from xdiag.engine.zygote import main; main()"
        )
        compiler = [self._target.compiler] if self._target.compiler else []
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", program, str(theirs.fileno()), *compiler],
                pass_fds=[theirs.fileno()],
                env=self._environment(),
                stdin=subprocess.DEVNULL,
            )
        except OSError as error:
            raise errors.CannotRun(f"cannot start {sys.executable}: {error.strerror}") from error
        theirs.close()
        self._socket = ours
        self._selector.register(ours, selectors.EVENT_READ)
        return ours

    def _environment(self) -> dict[str, str]:
        environment = {**os.environ, **self._target.environment}
        path = [*self._target.library_path, *filter(None, [os.environ.get("LD_LIBRARY_PATH")])]
        if path:
            environment["LD_LIBRARY_PATH"] = ":".join(path)
        return environment

    def _hear(self) -> Iterator[Result]:
        """Take what the warm parent says."""
        assert self._socket is not None
        try:
            message = self._socket.recv(MAX_MESSAGE)
        except ConnectionResetError:
            message = b""
        if not message:
            yield from self._lost()
            return
        reply = self._decode_reply(message)
        running = self._running.get(reply.number)
        if running is None:
            return
        if isinstance(reply, Started):
            running.pid = reply.pid
            # The clock starts when the child does, not while the warm parent warms up.
            running.started = time.monotonic()
            running.deadline = running.started + running.cell.timeout
        elif isinstance(reply, Ended):
            running.wait_status = reply.wait_status
        elif isinstance(reply, Refused):
            raise errors.CannotRun(f"{reply.reason}; too many processes or too little memory")

    def _lost(self) -> Iterator[Result]:
        """The warm parent is gone: run what was in flight again, one at a time.

        A cell that brings it down when it is alone has done it.
        """
        assert self._socket is not None and self._process is not None
        self._selector.unregister(self._socket)
        self._socket.close()
        self._socket = None
        status = self._process.wait()
        self._process = None
        if status > 0:
            raise errors.CannotRun(
                "the process that forks the cells could not start; its message stands above"
            )
        for running in list(self._running.values()):
            self._forget(running)
            if running.suspect:
                reason = "it killed the process that had forked it"
                yield Result(
                    running.cell, Outcome(OutcomeKind.CRASH, signal="SIGKILL", reason=reason)
                )
            else:
                self._suspects.append(running)

    def _read(self, running: _Running) -> None:
        """Take what a child has printed, without waiting for more."""
        try:
            # At most what a pipe holds (pipe(7)), so that a flood cannot keep us here.
            data = os.read(running.output, 65536)
        except BlockingIOError:
            return
        if data:
            running.tail = (running.tail + data)[-OUTPUT_KEPT:]
        else:
            self._selector.unregister(running.output)

    def _kill(self, running: _Running, why: str) -> None:
        running.killed = why
        running.deadline = running.next_guard = _NEVER
        self._connected().send(self._encode(Kill(number=running.number)))

    def _guard(self, running: _Running, now: float) -> None:
        """Stop a cell that multiplies; note one that sleeps."""
        running.next_guard = now + _GUARD_AFTER
        if not running.pid:
            return
        count, busy = _group(running.pid)
        running.asleep = busy == running.busy
        running.busy = busy
        if count > PROCESS_LIMIT:
            self._kill(running, f"stopped: it had {count} processes")

    def _forget(self, running: _Running) -> None:
        if self._running.pop(running.number, None) is None:
            return
        if running.output in self._selector.get_map():
            self._selector.unregister(running.output)
        os.close(running.output)
        os.close(running.log)

    def _finish(self, running: _Running) -> Iterator[Result]:
        """Judge a child that has ended; go on with the rest of its questions if it crashed."""
        assert running.wait_status is not None
        if running.output in self._selector.get_map():
            self._read(running)
        messages = log.read(running.log)
        self._forget(running)
        telling = judge.Telling(
            messages=messages,
            wait_status=running.wait_status,
            killed=running.killed,
            output=running.tail.decode(errors="replace"),
            seconds=time.monotonic() - running.started,
            leave_out=running.leave_out,
        )
        tellings = [*running.earlier, telling]
        stumbled = judge.stumbled_at(running.cell, telling)
        if stumbled is not None and len(tellings) < MAX_PROCESSES:
            self._start(running.cell, (*running.leave_out, stumbled), tellings)
            return
        yield Result(running.cell, judge.outcome(running.cell, tellings, self._target.platform))


def _group(leader: int) -> tuple[int, float]:
    """How many processes a process group has, and the processor seconds they have used."""
    import psutil

    count, busy = 0, 0.0
    for pid in psutil.pids():
        with contextlib.suppress(OSError, psutil.Error):
            if os.getpgid(pid) == leader:
                count += 1
                times = psutil.Process(pid).cpu_times()
                busy += times.user + times.system
    return count, busy
