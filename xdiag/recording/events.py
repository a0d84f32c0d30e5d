"""The events of a record: processes that began and ended, objects, requests for a runtime."""

from __future__ import annotations

import ctypes
import os
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from xdiag.recording import layout
from xdiag.recording.facts import Object, Process, Request
from xdiag.recording.layout import Answer, EventKind, taken_from

if TYPE_CHECKING:
    from collections.abc import Iterable

    from xdiag.recording.clock import Clock
    from xdiag.recording.facts import AnswerWord, HowEnded

#: Events read; a framework's process has some 500.
MOST_EVENTS = 1 << 17
#: Processes read; what others do is left out.
_MOST_PROCESSES = 1 << 14
#: Copies of the runtime in one process; the writer knows 16 at a time.
_MOST_RUNTIMES = 256
#: Objects that forked processes have from their parents, in all.
_MOST_INHERITED = 1 << 18

_MARKER = layout.EVENT_MARKER.to_bytes(4, "little")
_HEAD = ctypes.sizeof(layout.Event)
#: kind -> (payload, fields that say how long the texts after it are).
_PAYLOADS: dict[int, tuple[type[ctypes.Structure] | None, tuple[str, ...]]] = {
    EventKind.PROCESS: (layout.ProcessPayload, ("exe_length", "command_length")),
    EventKind.OBJECT: (layout.ObjectPayload, ("path_length", "soname_length", "build_id_length")),
    EventKind.REQUEST: (layout.RequestPayload, ("name_length", "to_length", "why_length")),
    EventKind.CLOSE: (layout.ClosePayload, ()),
    EventKind.END: (None, ()),
}
_ANSWERS: dict[int, AnswerWord] = {
    Answer.AS_ASKED: "as asked",
    Answer.SAME_FILE: "same file",
    Answer.REDIRECTED: "redirected",
    Answer.OTHER_SONAME: "other SONAME",
    Answer.LACKS_VERSIONS: "lacks versions",
    Answer.FILE_REPLACED: "file replaced",
    Answer.UNREADABLE: "unreadable",
    Answer.OTHER_NAMESPACE: "other namespace",
}
#: LA_SER_... of link.h: how the loader came to a name.
_RULES = {
    0x01: "as asked",
    0x02: "LD_LIBRARY_PATH",
    0x04: "RPATH or RUNPATH",
    0x08: "ld.so.cache",
    0x40: "a default directory",
    0x80: "a directory trusted for set-user-id programs",
}


class RawEvent(NamedTuple):
    """An event as it was written: its head, its payload and the texts after that."""

    kind: int
    pid: int
    tid: int
    ticks: int
    payload: ctypes.Structure | None
    texts: tuple[bytes, ...]


@dataclass(frozen=True)
class Told:
    """All events that could be read, in the order in which they were written."""

    events: tuple[RawEvent, ...]
    #: Events that were not finished, or make no sense.
    torn: int
    #: Whether there were more than are read.
    cut: bool = False

    def pairs(self) -> list[tuple[int, int]]:
        """(ticks, nanoseconds) where a process has read both."""
        return [(event.ticks, told.nanoseconds) for event, told in self._begun()]

    def zero(self) -> int | None:
        """Nanoseconds of CLOCK_MONOTONIC when the first process began."""
        return min((told.nanoseconds for _, told in self._begun()), default=None)

    def wall_clock(self) -> float:
        """Seconds since 1970 when the first process began; 0 where that is not known."""
        first = min((told for _, told in self._begun()), key=lambda t: t.nanoseconds, default=None)
        return first.realtime / 1e9 if first is not None else 0.0

    def _begun(self) -> Iterable[tuple[RawEvent, layout.ProcessPayload]]:
        for event in self.events:
            if isinstance(event.payload, layout.ProcessPayload):
                yield event, event.payload


def read_events(data: bytes) -> Told:
    """The events in a record's part for them."""
    found: list[RawEvent] = []
    at = torn = 0
    while len(data) - at >= _HEAD:
        at = _next_marker(data, at)
        if at < 0:
            break
        if len(found) >= MOST_EVENTS:
            return Told(tuple(found), torn, cut=True)
        event, size = _event_at(data, at)
        if event is None:
            torn += 1
        else:
            found.append(event)
        at += size
    return Told(tuple(found), torn)


def _next_marker(data: bytes, at: int) -> int:
    """Where the next head may be; -1 if nowhere."""
    while (at := data.find(_MARKER, at)) >= 0:
        if at % 8 == 0:
            return at
        at += 1
    return -1


def _event_at(data: bytes, at: int) -> tuple[RawEvent | None, int]:
    """The event and how many bytes to go on; without an event where it cannot be one."""
    head = taken_from(layout.Event, data, at)
    if head is None or head.size < _HEAD or head.size % 8 or head.size > len(data) - at:
        return None, 8
    structure, lengths = _PAYLOADS.get(head.kind, (None, ()))
    if head.ready != 1 or head.kind not in _PAYLOADS:
        # Its size was written first, and says where the next one is, if another one is there.
        return None, head.size if _ends_well(data, at + head.size) else 8
    payload, texts, start, end = None, [], at + _HEAD, at + head.size
    if structure is not None:
        payload = taken_from(structure, data[start:end])
        if payload is None:
            return None, 8
        start += ctypes.sizeof(structure)
        for name in lengths:
            length = getattr(payload, name)
            if length > end - start:
                return None, 8
            texts.append(data[start : start + length])
            start += length
    return RawEvent(head.kind, head.pid, head.tid, head.ticks, payload, tuple(texts)), head.size


def _ends_well(data: bytes, at: int) -> bool:
    return data[at : at + 4] in (_MARKER, bytes(4), b"")


# ---- processes -------------------------------------------------------------------------------


@dataclass
class _Making:
    """A process while its events are gone through."""

    facts: Process
    ticks: int
    objects: dict[int, Object] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    #: Whether it has opened an object itself: numbers from there on are its own.
    has_own: bool = False
    runtimes: int = 0


class ProcessTable:
    """The processes of a record, and which of them a thread belonged to."""

    def __init__(self, told: Told, clock: Clock) -> None:
        self._clock = clock
        self._all: list[_Making] = []
        #: By number, in the order of beginning.
        self._by_pid: dict[int, list[_Making]] = {}
        self._inherited = 0
        #: Whether some processes, or objects that they have from their parents, are left out.
        self.cut = False
        for event in told.events:
            self._take(event)

    def index_of(self, pid: int, ticks: int) -> int:
        """Place of the process that had this number at a time; one is made up if none is known."""
        had = self._by_pid.get(pid)
        if not had:
            return self._begin(Process(index=len(self._all), pid=pid), 0).facts.index
        place = bisect_right([each.ticks for each in had], ticks)
        return had[max(0, place - 1)].facts.index

    def began(self) -> list[int]:
        """Ticks at which each process began."""
        return [each.ticks for each in self._all]

    def finished(self) -> tuple[Process, ...]:
        """All processes."""
        return tuple(
            replace(
                each.facts,
                objects=tuple(each.objects[number] for number in sorted(each.objects)),
                requests=tuple(each.requests),
            )
            for each in self._all
        )

    def _current(self, pid: int) -> _Making:
        had = self._by_pid.get(pid)
        return had[-1] if had else self._begin(Process(index=len(self._all), pid=pid), 0)

    def _begin(self, facts: Process, ticks: int) -> _Making:
        made = _Making(facts, ticks)
        self._all.append(made)
        self._by_pid.setdefault(facts.pid, []).append(made)
        return made

    def _take(self, event: RawEvent) -> None:
        payload = event.payload
        is_new = event.kind == EventKind.PROCESS or event.pid not in self._by_pid
        if is_new and len(self._all) >= _MOST_PROCESSES:
            self.cut = True
        elif isinstance(payload, layout.ProcessPayload):
            self._began(event, payload)
        elif isinstance(payload, layout.ObjectPayload):
            self._opened(event, payload)
        elif isinstance(payload, layout.RequestPayload):
            self._asked(event, payload)
        elif isinstance(payload, layout.ClosePayload):
            process, number = self._current(event.pid), payload.number
            if number in process.objects:
                closed = replace(process.objects[number], closed=self._clock.seconds(event.ticks))
                process.objects[number] = closed
        elif event.kind == EventKind.END:
            self._ended(self._current(event.pid), event.ticks, "exit")

    def _began(self, event: RawEvent, told: layout.ProcessPayload) -> None:
        before = self._by_pid.get(event.pid)
        if before and before[-1].facts.how_ended == "" and not told.forked:
            self._ended(before[-1], event.ticks, "exec")
        parents = self._by_pid.get(told.parent) if told.parent != event.pid else None
        parent = parents[-1] if parents else None
        exe, command = event.texts
        words = command.removesuffix(b"\0").split(b"\0") if command else ()
        process = self._begin(
            Process(
                index=len(self._all),
                pid=event.pid,
                parent=told.parent,
                parent_index=parent.facts.index if parent is not None else None,
                forked=bool(told.forked),
                exe=os.fsdecode(exe),
                command=tuple(map(os.fsdecode, words)),
                begun=self._clock.seconds(event.ticks),
            ),
            event.ticks,
        )
        if told.forked and parent is not None:
            self._inherited += len(parent.objects)
            if self._inherited > _MOST_INHERITED:
                self.cut = True
            else:
                process.objects = dict(parent.objects)
            process.facts = replace(
                process.facts, exe=parent.facts.exe, command=parent.facts.command
            )

    def _ended(self, process: _Making, ticks: int, how: HowEnded) -> None:
        process.facts = replace(process.facts, ended=self._clock.seconds(ticks), how_ended=how)

    def _opened(self, event: RawEvent, told: layout.ObjectPayload) -> None:
        process = self._current(event.pid)
        if not process.has_own:
            # The parent went on opening until the child was first heard of: those are not its own.
            process.has_own = True
            for number in [each for each in process.objects if each >= told.number]:
                del process.objects[number]
        process.runtimes += bool(told.is_runtime)
        if process.runtimes > _MOST_RUNTIMES:
            self.cut = True
            return
        path, soname, build_id = event.texts
        process.objects[told.number] = Object(
            number=told.number,
            path=os.fsdecode(path),
            soname=soname.decode(errors="backslashreplace"),
            build_id=build_id.decode(errors="backslashreplace"),
            device=told.device,
            inode=told.inode,
            namespace=told.link_map_list,
            base=told.base,
            end=told.end,
            is_runtime=bool(told.is_runtime),
            recorded=bool(told.recorded),
            opened=self._clock.seconds(event.ticks),
        )

    def _asked(self, event: RawEvent, told: layout.RequestPayload) -> None:
        process = self._current(event.pid)
        name, to, why = event.texts
        asked_by = process.objects.get(told.requester)
        process.requests.append(
            Request(
                time=self._clock.seconds(event.ticks),
                tid=event.tid,
                requester=told.requester,
                requester_path=asked_by.path if asked_by is not None else "",
                name=os.fsdecode(name),
                answer=_ANSWERS.get(told.answer, "unknown"),
                to=os.fsdecode(to),
                why=why.decode(errors="backslashreplace"),
                rule=_RULES.get(told.rule, ""),
            )
        )
