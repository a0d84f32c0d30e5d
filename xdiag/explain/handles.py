"""What became of each stream, as far as a log has it: made, destroyed, reset; in bounded memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xdiag.explain.facts import Line

#: Streams remembered of all processes, processes, and lines of one kind.
_MOST_LIVES, _MOST_PROCESSES, _MOST_LINES = 32768, 256, 64
#: Handles up to this one are names: NULL, hipStreamLegacy, hipStreamPerThread.
LAST_SPECIAL = 2
_LOW = 0xFFFF_FFFF

#: A process: the source of a log without pids, or the pid.
Key = tuple[str, int | None]


@dataclass
class Life:
    """One stream, from the call that made it on."""

    handle: int
    made: Line
    made_at: int
    ended: Line | None = None
    #: The end before, where the last one turns out to be none.
    _before: Line | None = None

    def end(self, line: Line) -> None:
        """Note that it was destroyed."""
        self._before, self.ended = self.ended, line

    def revoke(self, line: Line | None) -> None:
        """Take back an end: the call that was to destroy it was refused."""
        if line is not None and self.ended == line:
            self.ended, self._before = self._before, None


@dataclass
class ProcessLog:
    """What a log has of one process."""

    streams: dict[int, Life] = field(default_factory=dict)
    #: The low 32 bits of a handle that has more -> the stream that was made last with these.
    halves: dict[int, Life] = field(default_factory=dict)
    #: Calls of hipDeviceReset, each with its place in the order of events.
    resets: list[tuple[int, Line]] = field(default_factory=list)
    #: Lines that the runtime writes when it is initialised, once for each copy.
    initialised: list[Line] = field(default_factory=list)
    #: Whether there were more streams than are remembered.
    forgot: bool = False


class Ledger:
    """All processes of all logs."""

    def __init__(self) -> None:
        self.processes: dict[Key, ProcessLog] = {}
        self._now = 0
        self._lives = 0

    def of(self, key: Key) -> ProcessLog:
        """The process; one that is not kept where there are too many."""
        found = self.processes.get(key)
        if found is None:
            found = ProcessLog()
            if len(self.processes) < _MOST_PROCESSES:
                self.processes[key] = found
        return found

    def made(self, key: Key, handle: int, line: Line) -> None:
        """A call made a stream."""
        self._now += 1
        self._remember(self.of(key), Life(handle, line, self._now))

    def _remember(self, process: ProcessLog, life: Life) -> None:
        if process.streams.pop(life.handle, None) is None:
            self._lives += 1
        process.streams[life.handle] = life
        if not is_short(life.handle):
            process.halves[life.handle & _LOW] = life
        if self._lives > _MOST_LIVES:
            process.forgot = True
            self._lives -= 1
            oldest = process.streams.pop(next(iter(process.streams)))
            if process.halves.get(oldest.handle & _LOW) is oldest:
                del process.halves[oldest.handle & _LOW]

    def destroyed(self, key: Key, handle: int, line: Line) -> None:
        """A call was given a stream to destroy."""
        self._now += 1
        life = self.of(key).streams.get(handle)
        if life is not None:
            life.end(line)
        elif handle > LAST_SPECIAL:
            # Made before the log begins, or by a call that it lacks.
            self._remember(self.of(key), Life(handle, line, 0, line))

    def reset(self, key: Key, line: Line) -> None:
        """A call reset a device."""
        self._now += 1
        resets = self.of(key).resets
        if len(resets) < _MOST_LINES:
            resets.append((self._now, line))
        else:
            resets[-1] = (self._now, line)

    def initialised(self, key: Key, line: Line) -> None:
        """A copy of the runtime was initialised."""
        lines = self.of(key).initialised
        if len(lines) < _MOST_LINES:
            lines.append(line)

    def life(self, key: Key, handle: int) -> Life | None:
        """The stream that a handle is, or was; None for one that is not in the log."""
        process = self.processes.get(key)
        return process.streams.get(handle) if process is not None else None

    def reset_since(self, key: Key, life: Life) -> Line | None:
        """The first reset after a stream was made."""
        resets = self.of(key).resets
        return next((line for at, line in resets if at > life.made_at), None)

    def whole_of(self, key: Key, handle: int) -> Life | None:
        """The stream, made earlier in the process, of whose handle this one is the low half."""
        process = self.processes.get(key)
        if process is None or not is_short(handle):
            return None
        return process.halves.get(handle & _LOW)

    def elsewhere(self, key: Key, handle: int) -> tuple[Key, Life] | None:
        """Another process in which the handle was made."""
        for other, process in self.processes.items():
            if other != key and handle in process.streams and process.streams[handle].made_at:
                return other, process.streams[handle]
        return None


def is_short(handle: int) -> bool:
    """Whether a value may be half a handle: zero- or sign-extended from 32 bits."""
    return LAST_SPECIAL < handle < 1 << 32 or is_sign_extended(handle)


def is_sign_extended(handle: int) -> bool:
    """Whether a value is a negative C int made 64 bits wide: no address of a program is."""
    return handle >> 31 == 0x1_FFFF_FFFF
