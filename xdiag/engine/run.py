"""The supervisor: sends cells to the warm parents and watches what becomes of them."""

from __future__ import annotations

import contextlib
import os
import selectors
import time
from collections import Counter, deque
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from xdiag import errors, platforms
from xdiag.engine import judge, log
from xdiag.engine.messages import Ended, Kill, Paths, Ready, Refused, Start, Started
from xdiag.engine.warm_parent import CannotStart, WarmParent, WarmParents
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


@dataclass
class _Running:
    """One child in flight."""

    cell: Cell
    number: int
    parent: WarmParent
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
    #: True once its warm parent died while this cell ran: it runs alone then.
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
        self._most_processes = platforms.get(target.platform).processes
        self._running: dict[int, _Running] = {}
        self._suspects: deque[_Running] = deque()
        self._numbers = 0
        self._selector = selectors.DefaultSelector()
        self._parents = WarmParents(target, paths, self._selector)

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """End the warm parents and, with them, every child."""
        for running in list(self._running.values()):
            self._forget(running)
        self._parents.close()
        self._selector.close()

    # ---- the loop ----

    def run(self, cells: Iterable[Cell]) -> Iterator[Result]:
        """Yield a result per cell, as they are finished.

        Cells that a fix does not apply to are answered at once.  Those that ask for the same
        variables are run together, so that few warm parents are there at a time.
        """
        groups: dict[frozenset[tuple[str, str]], list[Cell]] = {}
        for cell in cells:
            groups.setdefault(frozenset(cell.environment.items()), []).append(cell)
        left = Counter({variables: len(group) for variables, group in groups.items()})
        for result in self._run(deque(chain.from_iterable(groups.values()))):
            variables = frozenset(result.cell.environment.items())
            left[variables] -= 1
            if not left[variables]:
                self._parents.release(result.cell.environment)
            yield result

    def _run(self, waiting: deque[Cell]) -> Iterator[Result]:
        while waiting or self._suspects or self._running:
            while self._suspects and not self._running:
                lost = self._suspects.popleft()
                yield from self._start(lost.cell, lost.leave_out, lost.earlier, suspect=True)
            while waiting and not self._suspects and self._has_room():
                cell = waiting.popleft()
                if cell.not_applicable:
                    yield Result(
                        cell,
                        Outcome(OutcomeKind.NOT_APPLICABLE, reason=cell.not_applicable),
                    )
                elif cell.devices > self._target.devices:
                    reason = f"needs {cell.devices} devices, {self._target.devices} found"
                    yield _skipped(cell, reason)
                else:
                    yield from self._start(cell)
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
            # Neither ended nor forgotten a moment ago?
            if isinstance(key.data, WarmParent):
                if key.data in self._parents:
                    yield from self._hear(key.data)
            elif key.data.number in self._running:
                self._read(key.data)
        now = time.monotonic()
        for parent in self._parents:
            if not parent.ready and now >= parent.give_up_at:
                reason = f"Python was not ready after {parent.patience:g} s"
                self._parents.refuse(parent, reason)
                yield from self._skip(parent, reason)
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
    ) -> Iterator[Result]:
        """Have a child forked for a cell; yields a result at once where there can be none."""
        try:
            parent = self._parents.of(cell.environment)
        except CannotStart as error:
            yield _skipped(cell, str(error))
            return
        self._numbers += 1
        output_r, output_w = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(output_r, False)
        fresh = log.new()
        now = time.monotonic()
        running = _Running(
            cell=cell,
            number=self._numbers,
            parent=parent,
            log=fresh,
            output=output_r,
            started=now,
            deadline=now + cell.timeout if parent.ready else _NEVER,
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
            parent.send(start, [fresh, output_w])
        finally:
            os.close(output_w)
        self._running[running.number] = running
        self._selector.register(output_r, selectors.EVENT_READ, running)

    def _hear(self, parent: WarmParent) -> Iterator[Result]:
        """Take what a warm parent says."""
        reply = parent.hear()
        if reply is None:
            yield from self._lost(parent)
            return
        if isinstance(reply, Ready):
            now = time.monotonic()
            if reply.unfit:
                reason = ": ".join(filter(None, [reply.unfit, parent.last_words()]))
                self._parents.refuse(parent, reason)
                yield from self._skip(parent, reason)
            for waiting in self._of(parent):
                waiting.deadline = now + waiting.cell.timeout
            return
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

    def _of(self, parent: WarmParent) -> list[_Running]:
        return [running for running in self._running.values() if running.parent is parent]

    def _skip(self, parent: WarmParent, reason: str) -> Iterator[Result]:
        """Answer the cells that wait for a warm parent which will not run them."""
        for running in self._of(parent):
            self._forget(running)
            yield _skipped(running.cell, reason)

    def _lost(self, parent: WarmParent) -> Iterator[Result]:
        """A warm parent is gone: run what was in flight in it again, one at a time.

        A cell that brings it down when it is alone has done it.
        """
        if reason := self._parents.lost(parent):
            yield from self._skip(parent, reason)
            return
        for running in self._of(parent):
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
        running.parent.send(Kill(number=running.number))

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
        if stumbled is not None and len(tellings) < self._most_processes:
            yield from self._start(running.cell, (*running.leave_out, stumbled), tellings)
            return
        yield Result(running.cell, judge.outcome(running.cell, tellings, self._target.platform))


def _skipped(cell: Cell, reason: str) -> Result:
    return Result(cell, Outcome(OutcomeKind.SKIPPED, reason=reason))


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
