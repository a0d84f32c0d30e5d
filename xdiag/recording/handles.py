"""Follows handles through a record, call by call: who made each, who ended it, who was given it.

One pass forward in time.  A handle is an address, and addresses are used again: what is kept is the
*lives* of a handle, each from the call that made it to the one that ended it.
"""

from __future__ import annotations

import heapq
import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xdiag.recording.read import ListedCall, Recording
    from xdiag.recording.rings import Row

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")

Kind = Literal["stream", "event"]
#: What a call was given.  own: alive, of the runtime that was called; foreign: of another runtime;
#: destroyed, reset: ended before; remade: ended before, and live again by a call that was not seen;
#: unloaded: of a copy that had been closed; inherited: made before this process was forked;
#: truncated: the low half of a handle; wrong-kind: an event for a stream, or a stream for an event;
#: special: NULL, legacy, per thread; elsewhere: known in another process only; unknown: never seen
#: being made.
State = Literal[
    "own", "foreign", "destroyed", "reset", "remade", "unloaded", "inherited", "truncated",
    "wrong-kind", "special", "elsewhere", "unknown",
]  # fmt: skip

#: Addresses kept, of all processes; when there are more, those whose life has ended are forgotten.
MOST_ADDRESSES = 1 << 16
#: Handles with one low half that are kept.
_MOST_ALIKE = 8
#: Values up to here are too common to be proof of a cut handle.
_LAST_SMALL = 0xFFFF
#: Earlier lives kept of one address.
_MOST_BEFORE = 2
#: Threads' devices and resets kept of one process.
_MOST_NOTED = 1 << 14
#: Generations of forks that a handle is followed through.
_MOST_ANCESTORS = 64
#: A time after everything.
ALWAYS = 1 << 64

# What calls do, as flags.
TAKES_STREAM, MAKES_STREAM, ENDS_STREAM = 1, 2, 4
TAKES_EVENT, MAKES_EVENT, ENDS_EVENT = 8, 16, 32
RESETS, MAY_RESET, SETS_DEVICE, TELLS_DEVICE, LOSES_DEVICE = 64, 128, 256, 512, 1024
TELLS_DEVICE_OR_MINUS_ONE, REPEATS = 2048, 4096
CHECKS_TO_6, CHECKS_FROM_7 = 8192, 16384

_BY_NAME = {
    "StreamDestroy": ENDS_STREAM,
    "EventDestroy": ENDS_EVENT,
    "DeviceReset": RESETS,
    # Measured on HIP 5.2.3: it returns 0, and streams are as they were.
    "DevicePrimaryCtxReset": MAY_RESET,
    "SetDevice": SETS_DEVICE,
    "GetDevice": TELLS_DEVICE,
    "CtxSetCurrent": LOSES_DEVICE,
    "CtxPushCurrent": LOSES_DEVICE,
    "CtxPopCurrent": LOSES_DEVICE,
    "CtxCreate": LOSES_DEVICE,
    "GetStreamDeviceId": TELLS_DEVICE_OR_MINUS_ONE,
    # They return what another call returned.
    "GetLastError": REPEATS,
    "PeekAtLastError": REPEATS,
}
#: Calls that return success for a live handle only: up to HIP 6.4, and from 7.0 on, which has taken
#: the check out of most (AMD's hip_stream.cpp, hip_event.cpp; measured on 5.2.3, 6.4.3 and 7.2.4).
_CHECKED_TO_6 = {
    "StreamGetFlags", "StreamGetPriority", "StreamGetDevice", "GetStreamDeviceId", "StreamQuery",
    "StreamSynchronize", "StreamDestroy", "StreamWaitEvent", "StreamAddCallback",
    "StreamGetCaptureInfo_v2", "EventDestroy",
}  # fmt: skip
_CHECKED_FROM_7 = {
    "StreamGetDevice", "GetStreamDeviceId", "StreamGetCaptureInfo_v2", "StreamGetId",
    "ModuleLaunchKernel",
}  # fmt: skip
_LAST_CHECKED = 6
_MAJOR = re.compile(r"\.so\.(\d{1,4})(?!\d)")
_BY_KIND = {
    "STREAM": TAKES_STREAM,
    "NEW_STREAM": MAKES_STREAM,
    "EVENT": TAKES_EVENT,
    "NEW_EVENT": MAKES_EVENT,
}
#: hipErrorNotReady: work is not finished, which is an answer.
NOT_READY = 600
#: NULL, hipStreamLegacy, hipStreamPerThread (hip_runtime_api.h).
LAST_SPECIAL = 2


def effects(listed: ListedCall) -> int:
    """What a call does, as flags."""
    flags = _BY_NAME.get(listed.name, 0)
    flags |= CHECKS_TO_6 if listed.name in _CHECKED_TO_6 else 0
    flags |= CHECKS_FROM_7 if listed.name in _CHECKED_FROM_7 else 0
    for kind in listed.kinds:
        flags |= _BY_KIND.get(kind, 0)
    return flags


@dataclass
class Life:
    """A handle from the call that made it to the one that ended it."""

    __slots__ = (
        "before", "device", "end", "ended_at", "ended_by", "inherited", "kind", "made_at",
        "made_by", "process", "runtime", "value",
    )  # fmt: skip

    value: int
    kind: Kind
    #: Of the process that made it.
    process: int
    runtime: int
    #: None where it is not known which device was the thread's current one.
    device: int | None
    made_at: int
    made_by: Row
    ended_at: int
    ended_by: Row | None
    end: Literal["", "destroyed", "reset"]
    #: Whether it is a forked process's view of its parent's handle.
    inherited: bool
    #: The life of the same address before this one.
    before: Life | None


@dataclass
class Table:
    """The handles that one process knows."""

    index: int
    parent: int | None
    forked_at: int
    streams: dict[int, Life] = field(default_factory=dict)
    events: dict[int, Life] = field(default_factory=dict)
    #: Low 32 bits of a handle -> the whole ones, of those that have more; the latest is the last.
    low: dict[int, tuple[int, ...]] = field(default_factory=dict)
    #: (runtime, stream) -> when it began (ticks), of the last call that only a live one passes;
    #: of streams that were not seen being made, or made again.
    proved: dict[tuple[int, int], int] = field(default_factory=dict)
    #: Up to here (ticks) calls that make or end streams, or events, may be missing.
    streams_lost_until: int = 0
    events_lost_until: int = 0
    #: (thread, runtime) -> current device, None where that is not known.
    devices: dict[tuple[int, int], int | None] = field(default_factory=dict)
    #: (runtime, device) -> the last call that reset it.  Device None: which one is not known.
    resets: dict[tuple[int, int | None], Row] = field(default_factory=dict)
    #: The same of calls that may have reset it, and of all devices of a runtime.
    doubtful_resets: dict[tuple[int, int | None], Row] = field(default_factory=dict)
    any_reset: dict[int, Row] = field(default_factory=dict)

    def of(self, kind: Kind) -> dict[int, Life]:
        """The handles of a kind."""
        return self.streams if kind == "stream" else self.events

    def lost_until(self, kind: Kind) -> int:
        """Up to when (ticks) calls that make or end handles of a kind may be missing."""
        return self.streams_lost_until if kind == "stream" else self.events_lost_until


class Origin(NamedTuple):
    """What is known of a handle at the moment of a call."""

    state: State
    kind: Kind
    value: int
    life: Life | None = None
    #: Of a truncated handle, and others that have the same low half.
    whole: int = 0
    others: tuple[int, ...] = ()
    #: Of one that is known in another process only.
    process: int = 0
    #: The call that reset its device.
    reset_by: Row | None = None
    #: Whether the record has all calls that could say otherwise.
    complete: bool = True
    #: Whether there is no other reading either.
    certain: bool = True


class Handles:
    """The handles of all processes, as far as calls have been followed."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        facts = recording.facts
        self.effects = [effects(listed) for listed in recording.listing]
        self.refusal = facts.refusal
        self._tables: dict[int, Table] = {}
        self.table_of = [self._table(source.process) for source in recording.sources]
        self._note_what_is_lost()
        #: Handles that are being made: (ticks of the return, row).
        self._pending: list[tuple[int, Row]] = []
        self._addresses = 0
        #: (process, runtime) -> the major version of its SONAME.
        self._majors = {
            (process.index, each.number): _major(each.soname or each.path)
            for process in facts.processes
            for each in process.runtimes
        }
        #: Value -> the process that made it last, for handles that come from elsewhere.
        self._made_in: dict[int, int] = {}
        self._closed = {
            (process.index, each.number): each.closed
            for process in facts.processes
            for each in process.runtimes
            if each.closed is not None
        }

    def _table(self, index: int) -> Table:
        """The table of a process; it and those of its parents are made when they are needed."""
        place: int | None = index
        for _ in range(_MOST_ANCESTORS):
            if place is None or place in self._tables:
                break
            process = self.recording.facts.processes[place]
            parent = process.parent_index if process.forked else None
            self._tables[place] = Table(place, parent, self.recording.began[place])
            place = parent
        return self._tables[index]

    def _note_what_is_lost(self) -> None:
        recording, lost = self.recording, self.recording.facts.lost
        everywhere = ALWAYS if lost.threads or lost.runtimes else 0
        if lost.overwritten_by_others:
            # Whoever had a place before may have been of any process.
            since = [each.ring.since for each in recording.sources if each.ring and each.reused]
            everywhere = max([everywhere, *(since or [ALWAYS])])
        for table in self._tables.values():
            table.streams_lost_until = table.events_lost_until = everywhere
        for source, table in zip(recording.sources, self.table_of, strict=True):
            if source.ring is None or not source.ring.first:
                continue
            oldest = recording.oldest(source)
            if source.is_life:
                table.streams_lost_until = max(table.streams_lost_until, oldest)
            else:
                table.events_lost_until = max(table.events_lost_until, oldest)

    # ---- following ---------------------------------------------------------------------------

    def rows(self) -> Iterator[tuple[Row, int]]:
        """All calls by time with their effects; what was before each has been followed.

        A row's own effects are followed when the next one is asked for.
        """
        known = len(self.effects)
        pending, tables, checks = self._pending, self.table_of, CHECKS_TO_6 | CHECKS_FROM_7
        for row in self.recording.rows():
            begun, call = row[0], row[6]
            while pending and pending[0][0] <= begun:
                self._made(heapq.heappop(pending)[1])
            does = self.effects[call] if call < known else 0
            yield row, does
            if does & checks and row[2] > LAST_SPECIAL:
                table = tables[row[10]]
                life = table.streams.get(row[2])
                # Of the usual stream, one that is known to live, nothing has to be proved.
                if life is None or life.end or life.runtime != row[7] or table.any_reset:
                    self._note_proof(row)
            if does & _FOLLOWED:
                self._follow(row, does)
        while pending:
            self._made(heapq.heappop(pending)[1])

    def _follow(self, row: Row, does: int) -> None:
        _, ended, stream, other, extra, _, _, runtime, result, _, source = row
        if not ended or result != 0:
            return
        if does & (MAKES_STREAM | MAKES_EVENT):
            heapq.heappush(self._pending, (ended, row))
        elif does & ENDS_STREAM:
            self._end("stream", stream, row)
        elif does & ENDS_EVENT:
            self._end("event", other, row)
        else:
            table = self.table_of[source]
            who = (self.recording.sources[source].tid, runtime)
            if does & RESETS:
                device = self._device(table, source, runtime)
                _note(table.resets, (runtime, device), row)
                _note(table.any_reset, runtime, row)
            elif does & MAY_RESET:
                _note(table.doubtful_resets, (runtime, extra), row)
                _note(table.any_reset, runtime, row)
            elif does & (SETS_DEVICE | TELLS_DEVICE):
                _note(table.devices, who, extra)
            elif does & LOSES_DEVICE:
                _note(table.devices, who, None)

    def _note_proof(self, row: Row) -> None:
        """Note a success that only a live stream has, of one that is not known to live."""
        if self.proves_live(row, "stream"):
            _note(self.table_of[row[10]].proved, (row[7], row[2]), row[0])

    def _device(self, table: Table, source: int, runtime: int) -> int | None:
        """The current device of a thread: 0 until it chooses; None where that may be lost."""
        who = self.recording.sources[source]
        if len(table.devices) >= _MOST_NOTED or who.forgets:
            return table.devices.get((who.tid, runtime))
        return table.devices.get((who.tid, runtime), 0)

    def _made(self, row: Row) -> None:
        _, ended, stream, other, _, _, call, runtime, _, _, source = row
        is_stream = self.effects[call] & MAKES_STREAM
        kind: Kind = "stream" if is_stream else "event"
        value = stream if is_stream else other
        if not value:
            return
        table = self.table_of[source]
        lives = table.of(kind)
        self._addresses += value not in lives
        lives[value] = Life(
            value=value,
            kind=kind,
            process=table.index,
            runtime=runtime,
            device=self._device(table, source, runtime),
            made_at=ended,
            made_by=row,
            ended_at=0,
            ended_by=None,
            end="",
            inherited=False,
            before=_shortened(lives.get(value)),
        )
        if value >> 32:
            low = value & 0xFFFF_FFFF
            before = [each for each in table.low.get(low, ()) if each != value]
            table.low[low] = (*before[1 - _MOST_ALIKE :], value)
        self._made_in[value] = table.index
        if self._addresses > MOST_ADDRESSES:
            self._forget(ended)

    def _end(self, kind: Kind, value: int, row: Row) -> None:
        life = self.find(self.table_of[row[10]], kind, value)
        if life is None:
            return
        table = self.table_of[row[10]]
        # One that was ended, and that this call ended once more, had been made again in between.
        if not life.end or (kind == "stream" and _proved(table, life) >= life.ended_at):
            life.end, life.ended_at, life.ended_by = "destroyed", row[1], row

    def _forget(self, now: int) -> None:
        """Make room: addresses whose life has ended go first, then all."""
        for keep_living in (True, False):
            self._addresses = 0
            for table in self._tables.values():
                for lives in (table.streams, table.events):
                    kept = {v: life for v, life in lives.items() if keep_living and not life.end}
                    lives.clear()
                    lives.update(kept)
                    self._addresses += len(kept)
                table.low = {
                    low: kept_of
                    for low, wholes in table.low.items()
                    if (
                        kept_of := tuple(
                            w for w in wholes if w in table.streams or w in table.events
                        )
                    )
                }
                table.streams_lost_until = max(table.streams_lost_until, now)
                table.events_lost_until = max(table.events_lost_until, now)
            if self._addresses <= MOST_ADDRESSES // 2:
                break
        self._made_in.clear()

    # ---- asking ------------------------------------------------------------------------------

    def effect_of(self, row: Row) -> int:
        """What a call does, as flags."""
        return self.effects[row[6]] if row[6] < len(self.effects) else 0

    def failed(self, row: Row) -> bool:
        """Whether a call returned, and an error."""
        result, does = row[8], self.effect_of(row)
        if not row[1] or not result or does & REPEATS:
            return False
        return result < 0 if does & TELLS_DEVICE_OR_MINUS_ONE else result != NOT_READY

    def refused(self, row: Row) -> bool:
        """Whether a call said that the handle is not one of a live stream."""
        result, does = row[8], self.effect_of(row)
        if not row[1] or does & REPEATS:
            return False
        return result == -1 if does & TELLS_DEVICE_OR_MINUS_ONE else result == self.refusal

    def has_check(self, row: Row) -> bool | None:
        """Whether the runtime that was called is one that checks streams; None: not known."""
        major = self._majors.get((self.table_of[row[10]].index, row[7]), 0)
        return None if not major else major <= _LAST_CHECKED

    def proves_live(self, row: Row, kind: Kind) -> bool:
        """Whether a call returned what it returns for a live handle of its own runtime only."""
        does, checked = self.effect_of(row), self.has_check(row)
        # hipStreamWaitEvent checks its stream, not its event.
        if checked is None or (kind == "event" and not does & ENDS_EVENT):
            return False
        if not does & (CHECKS_TO_6 if checked else CHECKS_FROM_7):
            return False
        return bool(row[1]) and not self.failed(row)

    def ended_during(self, row: Row, origin: Origin) -> Origin:
        """What was given to a call, once all is known that went on until it returned."""
        life = origin.life
        if life is None or origin.state != "own":
            return origin
        ender = life.ended_by
        if life.end == "destroyed" and ender is not None and row[0] <= ender[0] < row[1]:
            return origin._replace(state="destroyed", reset_by=ender)
        reset, certain = _reset_of(self.table_of[row[10]], life)
        if origin.kind == "stream" and reset is not None and row[0] <= reset[0] < row[1]:
            certain = certain and origin.complete
            return origin._replace(state="reset", reset_by=reset, certain=certain)
        return origin

    def ending(self, row: Row, origin: Origin) -> str:
        """How a handle ended after a call was given it, in words; empty where it was not seen."""
        life = origin.life
        if life is None:
            return ""
        if life.end and life.ended_by is not None:
            return f"{life.end} {self._when(life.ended_by, row)}"
        reset, certain = _reset_of(self.table_of[row[10]], life)
        if origin.kind != "stream" or reset is None:
            return ""
        return f"{'' if certain else 'perhaps '}reset {self._when(reset, row)}"

    def _when(self, ender: Row, row: Row) -> str:
        name = self.recording.listed(ender[6]).platform_name
        if ender is row or not row[0] <= ender[0] < row[1]:
            return f"later by {name}"
        return f"by {name}, during {self.recording.listed(row[6]).platform_name}"

    def lost_in(self, process: int, kind: Kind) -> bool:
        """Whether calls that make or end handles of a process may be missing."""
        table = self._tables.get(process)
        return table is None or table.lost_until(kind) > 0

    def find(self, table: Table, kind: Kind, value: int) -> Life | None:
        """The present life of a handle in a process, its parent's at the fork if need be."""
        life = table.of(kind).get(value)
        if life is not None:
            return life
        above, before = table, ALWAYS
        for _ in range(_MOST_ANCESTORS):
            if above.parent is None:
                break
            before = min(before, above.forked_at)
            above = self._tables[above.parent]
            life = above.of(kind).get(value)
            while life is not None and life.made_at > before:
                life = life.before
            if life is not None:
                view = self._inherited(life, above, before)
                table.of(kind)[value] = view
                self._addresses += 1
                return view
        return None

    def _inherited(self, life: Life, above: Table, before: int) -> Life:
        """A forked process's own view: what the parent does later is no matter to it."""
        end, ended_at, ended_by = life.end, life.ended_at, life.ended_by
        if end and ended_at > before:
            end, ended_at, ended_by = "", 0, None
        if not end:
            reset, certain = _reset_of(above, life)
            if reset is not None and certain and reset[0] <= before:
                end, ended_at, ended_by = "reset", reset[1], reset
        return Life(
            life.value, life.kind, life.process, life.runtime, life.device, life.made_at,
            life.made_by, ended_at, ended_by, end, True, life.before,
        )  # fmt: skip

    def origin(self, row: Row, kind: Kind) -> Origin:
        """What a call was given for its stream or event."""
        value = row[2] if kind == "stream" else row[3]
        begun, runtime = row[0], row[7]
        table = self.table_of[row[10]]
        if value <= (LAST_SPECIAL if kind == "stream" else 0):
            return Origin("special", kind, value)
        life = self.find(table, kind, value)
        if life is None:
            return self._stranger(table, row, kind, value)
        complete = table.lost_until(kind) <= max(life.made_at, life.ended_at)
        proved = table.proved.get((runtime, value), 0) if kind == "stream" else 0
        if self.proves_live(row, kind):
            proved = begun
        if life.runtime != runtime:
            closed = self._closed.get((table.index, life.runtime))
            gone = closed is not None and closed < self.recording.clock.seconds(begun)
            # An own one of that address, ended since, may be what the caller means.
            mine = life.before is not None and any(e.runtime == runtime for e in earlier(life))
            state: State = "unloaded" if gone else "foreign"
            # Of one that has ended, an own one before it would do as well, if calls are lost.
            may_be_mine = mine or (bool(life.end) and table.lost_until(kind) > 0)
            certain = complete and not may_be_mine and proved <= max(life.made_at, life.ended_at)
            return Origin(state, kind, value, life, complete=complete, certain=certain)
        if life.end:
            if proved >= life.ended_at:
                return Origin("remade", kind, value, life, complete=False, certain=False)
            return Origin(
                life.end, kind, value, life, reset_by=life.ended_by, complete=complete,
                certain=complete,
            )  # fmt: skip
        if kind == "stream":
            reset, certain = _reset_of(table, life)
            if reset is not None and proved >= reset[1]:
                # Accepted since: that one did not end it, or another one was made at its address.
                if certain:
                    return Origin(
                        "remade", kind, value, life, reset_by=reset, complete=False, certain=False
                    )
            elif reset is not None:
                certain = certain and complete
                return Origin(
                    "reset", kind, value, life, reset_by=reset, complete=complete, certain=certain
                )
        state = "inherited" if life.inherited else "own"
        return Origin(state, kind, value, life, complete=complete, certain=complete)

    def _stranger(self, table: Table, row: Row, kind: Kind, value: int) -> Origin:
        """A value that this process has not made."""
        other_kind: Kind = "event" if kind == "stream" else "stream"
        life = self.find(table, other_kind, value)
        if life is not None and not life.end:
            complete = not self._lost(table, life)
            return Origin("wrong-kind", kind, value, life, complete=complete, certain=complete)
        high = value >> 32
        if high == 0 or (high == 0xFFFF_FFFF and value & 0x8000_0000):
            found = self._truncated(table, row, kind, value)
            if found is not None:
                return found
        elsewhere = self._made_in.get(value)
        if elsewhere is not None and elsewhere != table.index:
            life = self._tables[elsewhere].of(kind).get(value)
            return Origin("elsewhere", kind, value, life, process=elsewhere, certain=False)
        return Origin("unknown", kind, value, certain=False)

    def _truncated(self, table: Table, row: Row, kind: Kind, value: int) -> Origin | None:
        """A value that is the low half of handles: the likeliest of them, and the others."""
        other_kind: Kind = "event" if kind == "stream" else "stream"
        found: list[tuple[tuple[bool, ...], Life]] = []
        for place, whole in enumerate(self._wholes(table, value & 0xFFFF_FFFF)):
            for each in (kind, other_kind):
                life = self.find(table, each, whole) if whole != value else None
                if life is not None:
                    own, last = life.runtime == row[7], not place
                    found.append(((not life.end, each == kind, own, last), life))
        if not found:
            return None
        # The sort keeps the order of those that are alike: the latest first.
        found.sort(key=lambda each: each[0], reverse=True)
        best = found[0][1]
        others = [life for order, life in found[1:] if order[0] or best.end]
        # A small number may be anything: a size, a file descriptor, an index.
        certain = (
            not others
            and not best.end
            and best.kind == kind
            and value > _LAST_SMALL
            and not self._lost(table, best)
            and (row[7], value) not in table.proved
        )
        return Origin(
            "truncated", kind, value, best, whole=best.value,
            others=tuple(dict.fromkeys(life.value for life in others)),
            certain=certain,
        )  # fmt: skip

    def _lost(self, table: Table, life: Life) -> bool:
        """Whether a call may be missing by which a value was made that is no handle now."""
        return table.streams_lost_until > 0 or table.events_lost_until > life.made_at

    def _wholes(self, table: Table, low: int) -> list[int]:
        """Handles with this low half, of a process and of those it is a fork of; latest first."""
        above: Table | None = table
        found: dict[int, None] = {}
        for _ in range(_MOST_ANCESTORS):
            if above is None:
                break
            found.update(dict.fromkeys(above.low.get(low, ())[::-1]))
            above = self._tables[above.parent] if above.parent is not None else None
        return [*found][:_MOST_ALIKE]


_FOLLOWED = (
    MAKES_STREAM | MAKES_EVENT | ENDS_STREAM | ENDS_EVENT | RESETS | MAY_RESET | SETS_DEVICE
    | TELLS_DEVICE | LOSES_DEVICE
)  # fmt: skip


def _major(soname: str) -> int:
    """The major version that a SONAME or path ends in; 0 where there is none."""
    found = _MAJOR.search(os.path.basename(soname))
    return int(found[1]) if found else 0


def _proved(table: Table, life: Life) -> int:
    return table.proved.get((life.runtime, life.value), -1)


def _shortened(life: Life | None) -> Life | None:
    """An earlier life, without those that are too long ago."""
    last = life
    for _ in range(_MOST_BEFORE - 1):
        if last is None or last.before is None:
            return life
        last = last.before
    if last is not None:
        last.before = None
    return life


def earlier(life: Life) -> Iterator[Life]:
    """The lives of the same address before this one, the latest first."""
    before = life.before
    while before is not None:
        yield before
        before = before.before


def _reset_of(table: Table, life: Life) -> tuple[Row | None, bool]:
    """The call that reset a stream's device after it was made, and whether it surely did.

    hipDeviceReset destroys the streams of the calling thread's current device, in all threads.
    """
    since, runtime, device = life.made_at, life.runtime, life.device
    if device is None:
        doubtful = [table.any_reset.get(runtime)]
    else:
        sure = table.resets.get((runtime, device))
        if sure is not None and sure[0] >= since:
            return sure, True
        doubtful = [
            table.resets.get((runtime, None)),
            table.doubtful_resets.get((runtime, device)),
        ]
    found = [row for row in doubtful if row is not None and row[0] >= since]
    return (max(found) if found else None), False


def _note(notes: dict[_Key, _Value], key: _Key, value: _Value) -> None:
    """Keep what is known, up to a limit that no honest record reaches."""
    if key in notes or len(notes) < _MOST_NOTED:
        notes[key] = value
