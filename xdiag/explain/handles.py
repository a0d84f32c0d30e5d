"""What became of each stream and event, as far as a log has it, in bounded memory.

A call that ends something counts by what came of it: one that was refused ended nothing, and one
without a return line is told as such.  A reset is of the device that its thread had set.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xdiag.explain.amd_log import Thread
    from xdiag.explain.facts import Line

#: Streams and events remembered of all processes, processes, and lines of one kind.
_MOST_LIVES, _MOST_PROCESSES, _MOST_LINES = {"stream": 32768, "event": 8192}, 256, 64
#: Calls without a return line that are waited for, and threads whose device is remembered.
_MOST_PENDING = 4096
#: Handles up to this one are names: NULL, hipStreamLegacy, hipStreamPerThread.
LAST_SPECIAL = 2
_LOW = 0xFFFF_FFFF

#: A process: the source of a log without pids, or the pid.
Key = tuple[str, int | None]
Kind = Literal["stream", "event"]


@dataclass
class Act:
    """A call that is to end something: a destruction, or the reset of a device."""

    line: Line
    at: int
    #: What its return line says; None where there is none so far.
    succeeded: bool | None = None
    #: Of a reset: the device; None where it is not known.
    device: int | None = None


@dataclass
class Life:
    """One stream or event, from the call that made it on."""

    handle: int
    made: Line
    #: Its place in the order of events; 0 where the log has no call that made it.
    made_at: int
    kind: Kind = "stream"
    #: The device that the thread had set; None where it is not known.
    device: int | None = 0
    ends: list[Act] = field(default_factory=list)
    #: What had the same address before.
    before: Life | None = None

    @property
    def ended(self) -> Act | None:
        """The first call that destroyed it, or that was to and has no return line."""
        return next((act for act in self.ends if act.succeeded is not False), None)


@dataclass
class ProcessLog:
    """What a log has of one process."""

    lives: dict[Kind, dict[int, Life]] = field(default_factory=lambda: {"stream": {}, "event": {}})
    #: Kind, low 32 bits of a handle that has more -> what was made last with these.
    halves: dict[tuple[Kind, int], Life] = field(default_factory=dict)
    #: Calls of hipDeviceReset.
    resets: list[Act] = field(default_factory=list)
    #: Lines that the runtime writes when it is initialised, once for each copy.
    initialised: list[Line] = field(default_factory=list)
    #: Whether there were more streams than are remembered.
    forgot: bool = False

    def life(self, handle: int) -> Life | None:
        """What was made last with a handle."""
        return self.lives["stream"].get(handle) or self.lives["event"].get(handle)


class Ledger:
    """All processes of all logs."""

    def __init__(self) -> None:
        self.processes: dict[Key, ProcessLog] = {}
        self._now = 0
        self._count: dict[Kind, int] = {"stream": 0, "event": 0}
        #: Calls without a return line: the last one is answered first.
        self._pending: dict[tuple[Key, str, str], list[tuple[Act, Life | None]]] = {}
        #: The device that a thread has set, and the one before: where it is none of the first one.
        self._devices: dict[tuple[Key, str], tuple[int, int]] = {}

    def of(self, key: Key) -> ProcessLog:
        """The process; one that is not kept where there are too many."""
        found = self.processes.get(key)
        if found is None:
            found = ProcessLog()
            if len(self.processes) < _MOST_PROCESSES:
                self.processes[key] = found
        return found

    # ---- devices -------------------------------------------------------------------------------

    @property
    def knows_devices(self) -> bool:
        """Whether a thread has set another device than the first one."""
        return bool(self._devices)

    def device_set(self, key: Key, thread: Thread, device: int) -> None:
        """A thread sets its device."""
        name = (key, thread.tid)
        before = self._devices.get(name, (0, 0))[0]
        if name in self._devices or device:
            self._devices[name] = (device, before)
        if len(self._devices) > _MOST_PENDING:
            del self._devices[next(iter(self._devices))]

    def device_refused(self, key: Key, thread: Thread) -> None:
        """That was refused."""
        name = (key, thread.tid)
        if name in self._devices:
            before = self._devices[name][1]
            self._devices[name] = (before, before)

    def _device_of(self, key: Key, thread: Thread) -> int | None:
        """A thread begins with the first device; which one it has where none is told, who knows."""
        if not thread.tid and self._devices:
            return None
        return self._devices.get((key, thread.tid), (0, 0))[0]

    # ---- what happens --------------------------------------------------------------------------

    def made(self, key: Key, thread: Thread, kind: Kind, handle: int, line: Line) -> None:
        """A call made a stream or an event."""
        self._now += 1
        process = self.of(key)
        life = Life(handle, line, self._now, kind, self._device_of(key, thread))
        life.before = process.life(handle)
        if life.before is not None:
            # One of them is enough to tell, and a chain would have no end.
            life.before.before = None
        self._remember(process, life)

    def _remember(self, process: ProcessLog, life: Life) -> None:
        for kind, lives in process.lives.items():
            if lives.pop(life.handle, None) is not None:
                self._count[kind] -= 1
        lives = process.lives[life.kind]
        lives[life.handle] = life
        self._count[life.kind] += 1
        if not is_short(life.handle):
            process.halves[life.kind, life.handle & _LOW] = life
        if self._count[life.kind] > _MOST_LIVES[life.kind]:
            process.forgot = process.forgot or life.kind == "stream"
            self._forget(process, lives[next(iter(lives))])

    def _forget(self, process: ProcessLog, life: Life) -> None:
        self._count[life.kind] -= 1
        del process.lives[life.kind][life.handle]
        half = (life.kind, life.handle & _LOW)
        if process.halves.get(half) is life:
            del process.halves[half]

    def destroyed(
        self, key: Key, thread: Thread, kind: Kind, handle: int, line: Line
    ) -> Act | None:
        """A call was given a stream or an event to destroy.

        Returns the call where what it is given was destroyed before.
        """
        self._now += 1
        process = self.of(key)
        act = Act(line, self._now)
        life = process.life(handle)
        again = life is not None and life.kind == kind and life.ended is not None
        if life is None and handle > LAST_SPECIAL:
            # Made before the log begins, or by a call that it lacks.
            life = Life(handle, line, 0, kind, ends=[act])
            self._remember(process, life)
        elif life is not None and life.kind == kind and not again:
            # Those before it were refused.
            life.ends = [act]
        self._wait(key, thread, "hipStreamDestroy" if kind == "stream" else "hipEventDestroy",
                   act, None if again else life)  # fmt: skip
        return act if again else None

    def reset(self, key: Key, thread: Thread, line: Line) -> None:
        """A call resets the device that its thread has set."""
        self._now += 1
        act = Act(line, self._now, device=self._device_of(key, thread))
        resets = self.of(key).resets
        if len(resets) >= _MOST_LINES:
            resets.pop()
        resets.append(act)
        self._wait(key, thread, "hipDeviceReset", act, None)

    def _wait(self, key: Key, thread: Thread, call: str, act: Act, life: Life | None) -> None:
        acts = self._pending.setdefault((key, thread.tid, call), [])
        acts.append((act, life))
        del acts[:-_MOST_LINES]
        if len(self._pending) > _MOST_PENDING:
            del self._pending[next(iter(self._pending))]

    def answered(self, key: Key, thread: Thread, call: str, *, succeeded: bool) -> None:
        """The return line of a call that was to destroy or to reset."""
        acts = self._pending.get((key, thread.tid, call))
        if not acts:
            return
        act, life = acts.pop()
        if not acts:
            del self._pending[key, thread.tid, call]
        act.succeeded = succeeded
        if not succeeded and life is not None and not life.made_at and life.ended is None:
            # Nothing is known of it after all: no call made it, and none destroyed it.
            process = self.of(key)
            if process.lives[life.kind].get(life.handle) is life:
                self._forget(process, life)

    def initialised(self, key: Key, line: Line) -> None:
        """A copy of the runtime was initialised."""
        lines = self.of(key).initialised
        if len(lines) < _MOST_LINES:
            lines.append(line)

    # ---- what is known -------------------------------------------------------------------------

    def life(self, key: Key, handle: int) -> Life | None:
        """What a handle is, or was; None for one that is not in the log."""
        process = self.processes.get(key)
        return process.life(handle) if process is not None else None

    def reset_since(self, key: Key, life: Life) -> Act | None:
        """The first reset, after a stream was made, of a device that may be its own."""
        if not life.made_at or life.kind != "stream" or key not in self.processes:
            return None
        # Surely its own device goes before one that is not known.
        resets = [
            act
            for act in self.processes[key].resets
            if act.at > life.made_at
            and act.succeeded is not False
            and (act.device == life.device or act.device is None or life.device is None)
        ]
        return next((act for act in resets if act.device == life.device), next(iter(resets), None))

    def other_reset(self, key: Key, life: Life) -> Act | None:
        """The first reset after a stream was made that is surely not the end of it."""
        if not life.made_at or key not in self.processes:
            return None
        return next(
            (
                act
                for act in self.processes[key].resets
                if act.at > life.made_at
                and (
                    act.succeeded is False
                    or (act.device != life.device and None not in (act.device, life.device))
                )
            ),
            None,
        )

    def whole_of(self, key: Key, handle: int, kind: Kind) -> Life | None:
        """What was made earlier in the process, and of whose handle this one is the low half."""
        process = self.processes.get(key)
        if process is None or not is_short(handle):
            return None
        return process.halves.get((kind, handle & _LOW))

    def elsewhere(self, key: Key, handle: int) -> tuple[Key, Life] | None:
        """Another process in which the handle was made."""
        for other, process in self.processes.items():
            if other != key and (life := process.life(handle)) is not None and life.made_at:
                return other, life
        return None

    def made_elsewhere(self, key: Key, most: int) -> Iterator[tuple[Key, Life]]:
        """The newest streams that other processes have made, and this one has not."""
        for other, process in self.processes.items():
            if other == key:
                continue
            for handle in [*process.lives["stream"]][-most:]:
                life = process.lives["stream"][handle]
                if life.made_at and self.life(key, handle) is None:
                    yield other, life


def is_short(handle: int) -> bool:
    """Whether a value may be half a handle: zero- or sign-extended from 32 bits."""
    return LAST_SPECIAL < handle < 1 << 32 or is_sign_extended(handle)


def is_sign_extended(handle: int) -> bool:
    """Whether a value is a negative C int made 64 bits wide: no address of a program is."""
    return handle >> 31 == 0x1_FFFF_FFFF
