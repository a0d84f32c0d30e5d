"""What is gathered while sources are read: failures, copies that are loaded, versions, signs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from msgspec.structs import replace

from xdiag.explain.facts import Line  # noqa: TC001 - msgspec reads the annotations
from xdiag.explain.handles import Ledger
from xdiag.model import Record

if TYPE_CHECKING:
    from xdiag.explain.facts import Failure, Likelihood, Note
    from xdiag.explain.handles import Act, Key, Kind, Life
    from xdiag.explain.versions import Range

#: Failures that are told apart, lines of one sign, copies of the runtime.
MOST_FAILURES, MOST_LINES, MOST_LOADS = 128, 8, 256


@dataclass
class Found:
    """A failure with what the log had of its handle at that moment."""

    failure: Failure
    key: Key
    #: What the call takes: its stream, or else its event.
    kind: Kind = "stream"
    life: Life | None = None
    #: The call that destroyed it, or that reset its device; of one that was refused nothing came.
    end: Act | None = None
    reset: Act | None = None
    #: The stream of whose handle this one is the low half.
    whole: Life | None = None
    elsewhere: tuple[Key, Life] | None = None
    accepted_before: Line | None = None
    accepted_after: Line | None = None
    #: Whether the handle certainly belongs to the failure, or nothing contradicts it.
    firm: bool = True
    #: Where a handle that is no stream's may come from a thread's own stream.
    count: int = 1
    #: Other lines with the same failure.
    more: list[Line] = field(default_factory=list)
    #: Packages in whose traceback it happened, with the line that says so.
    parties: dict[str, Line] = field(default_factory=dict)

    def settle(self) -> None:
        """Drop what turned out to be nothing: return lines may stand after the failure."""
        if self.end is not None and self.end.succeeded is False:
            self.end = None
        if self.reset is not None and self.reset.succeeded is False:
            self.reset = None
        if self.life is not None and not self.life.made_at and self.end is None:
            self.life = None

    @property
    def wrong_kind(self) -> bool:
        """Whether the handle was made as a stream and is given as an event, or the reverse."""
        return self.life is not None and bool(self.life.made_at) and self.life.kind != self.kind


class Load(Record, frozen=True):
    """A copy of the runtime that a text shows in a process."""

    #: The process, as far as it is known: loads of one group are one process's.
    group: str
    path: str
    line: Line
    pid: int | None
    #: maps, LD_DEBUG, gdb, log.
    kind: str
    told: str = ""
    #: Closed again.
    closed: bool = False


@dataclass
class Crash:
    """A process that a signal killed."""

    line: Line
    signal: str
    kind: Literal["gdb", "dmesg", "message"]
    pid: int | None = None
    thread: str = ""
    #: The address that could not be reached, where it is told.
    address: int | None = None
    #: The innermost call into the runtime, with its handle and its line.
    call: str = ""
    handle: int | None = None
    frame: Line | None = None
    path: bytes = b""
    #: Calls of the runtime's log, in the same source, that have no return line before it.
    unanswered: list[Found] = field(default_factory=list)


class Evidence:
    """All of it, from all sources."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.failures: dict[object, Found] = {}
        #: Calls that have no return line where a source ends.
        self.unanswered: list[Found] = []
        #: Calls that do not return in a process which was given another one's stream, and that.
        self.forks: list[tuple[Found, Found]] = []
        #: Events that are destroyed again: the call, and what the log has of the event.
        self.again: list[tuple[Act, Found]] = []
        #: Failures beyond MOST_FAILURES.
        self.more_failures = 0
        #: Errors that are nothing to do with a handle: (call, error) -> how often; and the first.
        self.others: Counter[tuple[str, str]] = Counter()
        self.first_other: dict[tuple[str, str], Line] = {}
        #: Path, namespace -> load, in one group (a process, or a paste) each.
        self.loads: dict[tuple[str, str, str], Load] = {}
        #: Groups in which two copies were loaded at a time, and one after the other was closed.
        self.together: set[str] = set()
        self.in_turn: set[str] = set()
        self.crashes: list[Crash] = []
        #: Version -> the line that tells it.
        self.versions: dict[Range, Line] = {}
        self.signs: dict[str, list[Line]] = {}
        self.formats: dict[str, None] = {}
        self.notes: list[Note] = []
        #: What documents of xdiag state themselves: causes, and whether there is a fault.
        self.stated: list[tuple[str, Likelihood, str, Line]] = []
        self.stated_fault = False

    def sign(self, name: str, line: Line) -> None:
        """Remember a line that shows something."""
        lines = self.signs.setdefault(name, [])
        if len(lines) < MOST_LINES and line not in lines:
            lines.append(line)

    def version(self, told: Range | None, line: Line) -> None:
        """Remember what a line says of the runtime's version."""
        if told is not None and len(self.versions) < MOST_LINES:
            self.versions.setdefault(told, line)

    def other(self, call: str, error: str, line: Line, count: int = 1) -> None:
        """Count an error that is none of a handle."""
        key = (call, error)
        if key in self.others or len(self.others) < MOST_FAILURES:
            self.others[key] += count
            self.first_other.setdefault(key, line)

    def load(self, load: Load, namespace: str = "") -> None:
        """Remember a copy that is loaded; one that is known is not another one."""
        key = (load.group, load.path, namespace)
        known = self.loads.get(key)
        if known is not None and not known.closed:
            if load.told and not known.told:
                self.loads[key] = load
            return
        if known is None and len(self.loads) >= MOST_LOADS:
            return
        if any(each.group == load.group and not each.closed for each in self.loads.values()):
            self.together.add(load.group)
        elif any(each.group == load.group for each in self.loads.values()):
            self.in_turn.add(load.group)
        self.loads[key] = load

    def close(self, group: str, path: str, namespace: str = "") -> None:
        """A copy is closed again."""
        load = self.loads.get((group, path, namespace))
        if load is not None:
            self.loads[group, path, namespace] = replace(load, closed=True)
