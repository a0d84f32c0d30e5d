"""Writes records as the audit library would, from Python: processes, loads, calls."""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass, field
from pathlib import Path

from xdiag.native import calls
from xdiag.recording import layout
from xdiag.recording.create import create
from xdiag.recording.layout import Answer, ClockKind, EventKind

#: Ticks of the synthetic time stamp counter per nanosecond, and where both clocks begin.
RATE, TICKS, NANOSECONDS, REALTIME = 2, 1_000_000_000, 500_000_000, 1_790_000_000_000_000_000


def ticks(milliseconds: float) -> int:
    """The counter at a time of the run."""
    return TICKS + round(milliseconds * 1_000_000 * RATE)


@dataclass
class Thread:
    """A thread of a process, which makes calls."""

    record: Written
    process: Process
    tid: int
    block: int
    life: int = 0
    recent: int = 0

    def call(
        self,
        name: str,
        runtime: int,
        at: float,
        *,
        stream: int = 0,
        event: int = 0,
        extra: int = 0,
        result: int = 0,
        took: float = 0.5,
        caller: int = 0x5000_0000,
        returned: bool = True,
        torn: bool = False,
        failure: bool = True,
    ) -> None:
        """Make a call, ``at`` milliseconds after the run began."""
        listed = calls()[name]
        is_life = "NEW_STREAM" in listed.kinds or name in (
            "StreamDestroy", "DeviceReset", "DevicePrimaryCtxReset", "CtxCreate", "CtxDestroy",
            "Init",
        )  # fmt: skip
        number = self.life if is_life else self.recent
        size = self.record.life_size if is_life else self.record.recent_size
        entry = layout.CallEntry(
            begun=ticks(at),
            ended=ticks(at + took) if returned else 0,
            stream=stream,
            other=event,
            extra=extra,
            caller=caller,
            call=listed.index,
            object=runtime,
            result=result,
            position=0 if torn else number + 1,
        )
        base = self.record.block_at(self.block) + ctypes.sizeof(layout.Block)
        ring = base if is_life else base + self.record.life_size * layout.CALL.size
        self.record.put(ring + number % size * layout.CALL.size, bytes(entry))
        if is_life:
            self.life += 1
        else:
            self.recent += 1
        self.record.write_block(self)
        failed = result < 0 if not listed.returns_status else result not in (0, 600)
        if failed and returned and failure:
            self.record.failure(self, entry, at + took)

    def make(self, runtime: int, stream: int, at: float, **more: object) -> None:
        """A stream."""
        self.call("StreamCreateWithFlags", runtime, at, stream=stream, **more)  # type: ignore[arg-type]

    def use(self, runtime: int, stream: int, at: float, result: int = 0, **more: object) -> None:
        """A call that is given a stream."""
        self.call("StreamGetFlags", runtime, at, stream=stream, result=result, **more)  # type: ignore[arg-type]


@dataclass
class Process:
    """A process of the record."""

    record: Written
    pid: int
    numbers: int = 0

    def opened(
        self,
        path: str,
        at: float = 1,
        *,
        runtime: bool = False,
        soname: str = "",
        base: int = 0,
        end: int = 0,
        namespace: int = 0,
        number: int = 0,
    ) -> int:
        """Load an object; its number."""
        self.numbers = number or self.numbers + 1
        texts = [path, soname or (os.path.basename(path) if runtime else ""), "ab" * 20]
        payload = layout.ObjectPayload(
            number=self.numbers, is_runtime=runtime, link_map_list=namespace, base=base, end=end,
            device=2049, inode=1000 + self.numbers, recorded=runtime,
        )  # fmt: skip
        self.record.event(self.pid, EventKind.OBJECT, at, payload,
                          path_length=texts[0], soname_length=texts[1],
                          build_id_length=texts[2])  # fmt: skip
        return self.numbers

    def runtime(self, path: str, at: float = 1, **more: object) -> int:
        """Load a copy of the runtime."""
        return self.opened(path, at, runtime=True, **more)  # type: ignore[arg-type]

    def asked(
        self, name: str, at: float, requester: int = 0, *, answer: Answer = Answer.AS_ASKED,
        rule: int = 1, to: str = "", why: str = "",
    ) -> None:  # fmt: skip
        """Ask for a runtime."""
        payload = layout.RequestPayload(answer=answer, requester=requester, rule=rule)
        self.record.event(
            self.pid, EventKind.REQUEST, at, payload, name_length=name, to_length=to, why_length=why
        )

    def closed(self, number: int, at: float) -> None:
        """Close an object."""
        self.record.event(self.pid, EventKind.CLOSE, at, layout.ClosePayload(number=number))

    def ended(self, at: float) -> None:
        """End by itself."""
        self.record.event(self.pid, EventKind.END, at, None)

    def thread(self, tid: int = 0, at: float = 2, block: int | None = None) -> Thread:
        """A thread that takes a block, a new one or one that others have had."""
        place = self.record.blocks if block is None else block
        made = Thread(self.record, self, tid or self.pid, place)
        self.record.take(made, at, new=block is None)
        return made

    def fork(self, pid: int, at: float) -> Process:
        """A child as it is first heard of."""
        child = self.record.process(pid, at, parent=self.pid, forked=True)
        child.numbers = self.numbers
        return child


@dataclass
class Written:
    """A record file that is being written."""

    path: Path
    life_size: int = 8
    recent_size: int = 16
    threads: int = 8
    header: layout.Header = field(init=False)
    blocks: int = 0
    taken: dict[int, tuple[int, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        create(
            self.path, command=["python3", "serve.py"], threads=self.threads, life=self.life_size,
            recent=self.recent_size, events=1 << 16, failures=8,
        ).close()  # fmt: skip
        self.header = layout.Header.from_buffer_copy(self.path.read_bytes()[:4096])
        self.set(clock=ClockKind.TSC)

    def put(self, at: int, data: bytes) -> None:
        with self.path.open("r+b") as file:
            file.seek(at)
            file.write(data)

    def set(self, **values: int) -> None:
        """Fields of the header."""
        for name, value in values.items():
            setattr(self.header, name, value)
        self.put(0, bytes(self.header))

    def event(
        self, pid: int, kind: int, at: float, payload: ctypes.Structure | None, *,
        tid: int = 0, ready: int = 1, **texts: str,
    ) -> int:  # fmt: skip
        """Write an event; its place in the file."""
        encoded = {name: os.fsencode(text) for name, text in texts.items()}
        for name, text in encoded.items():
            setattr(payload, name, len(text))
        body = (bytes(payload) if payload is not None else b"") + b"".join(encoded.values())
        body += bytes(-len(body) % 8)
        head = layout.Event(
            marker=layout.EVENT_MARKER, size=ctypes.sizeof(layout.Event) + len(body), kind=kind,
            ready=ready, pid=pid, tid=tid or pid, ticks=ticks(at),
        )  # fmt: skip
        place = self.header.events_offset + self.header.events_used
        self.put(place, bytes(head) + body)
        self.set(events_used=self.header.events_used + head.size)
        return place

    def process(
        self, pid: int, at: float = 0, *, parent: int = 1, forked: bool = False,
        exe: str = "/usr/bin/python3", command: str = "python3\0serve.py\0",
    ) -> Process:  # fmt: skip
        """A process that begins."""
        payload = layout.ProcessPayload(
            nanoseconds=NANOSECONDS + round(at * 1_000_000),
            realtime=REALTIME + round(at * 1_000_000), parent=parent, forked=forked,
        )  # fmt: skip
        texts = ("", "") if forked else (exe, command)
        self.event(pid, EventKind.PROCESS, at, payload,
                   exe_length=texts[0], command_length=texts[1])  # fmt: skip
        return Process(self, pid)

    def block_at(self, number: int) -> int:
        size = layout.block_size(self.life_size, self.recent_size)
        return int(self.header.blocks_offset) + number * size

    def take(self, thread: Thread, at: float, *, new: bool) -> None:
        """Give a block to a thread."""
        takes = self.taken.get(thread.block, (0, 0.0))[0] + 1
        self.taken[thread.block] = (takes, at)
        if new:
            self.blocks += 1
            self.set(blocks_used=self.blocks)
        self.write_block(thread)

    def write_block(self, thread: Thread) -> None:
        takes, at = self.taken[thread.block]
        block = layout.Block(
            pid=thread.process.pid, tid=thread.tid, life_count=thread.life,
            recent_count=thread.recent, ticks=ticks(at),
            nanoseconds=NANOSECONDS + round(at * 1_000_000), takes=takes,
        )  # fmt: skip
        self.put(self.block_at(thread.block), bytes(block))

    def failure(self, thread: Thread, entry: layout.CallEntry, at: float) -> None:
        """Note a failed call among the first ones."""
        number = self.header.failures_seen
        if number < self.header.failure_count:
            failure = layout.Failure(
                ready=1, pid=thread.process.pid, tid=thread.tid,
                nanoseconds=NANOSECONDS + round(at * 1_000_000), call=entry,
            )  # fmt: skip
            size = ctypes.sizeof(layout.Failure)
            self.put(self.header.failures_offset + number * size, bytes(failure))
        refused = entry.result == self.header.refusal
        self.set(
            failures_seen=number + 1, refusals_seen=self.header.refusals_seen + refused,
        )  # fmt: skip
