"""The nouns of a record: processes, the objects loaded in them, requests, threads, calls.

Times are seconds since the run began, on one clock for all processes.
"""

from __future__ import annotations

from typing import Literal

from xdiag.model import Record

#: What became of a request for a runtime, as ``layout.Answer`` has it.
AnswerWord = Literal[
    "as asked",
    "same file",
    "redirected",
    "other SONAME",
    "lacks versions",
    "file replaced",
    "unreadable",
    "other namespace",
    "unknown",
]
#: How a process ended: by itself (exit, or return from main); by another program in its place;
#: empty: killed, crashed, left by _exit, or running still when the record was read.
HowEnded = Literal["exit", "exec", ""]


class Object(Record, frozen=True):
    """One load of one ELF file in one process."""

    #: Its number in the process, from 1, in the order of loading.
    number: int
    #: As the loader calls it (l_name); the program's own path for the program.
    path: str
    soname: str = ""
    build_id: str = ""
    device: int = 0
    inode: int = 0
    #: 0 for the namespace that the program started in; another number for one of dlmopen(3).
    namespace: int = 0
    #: Addresses from ``base`` up to ``end``; ``end`` 0 where it is not known.
    base: int = 0
    end: int = 0
    is_runtime: bool = False
    #: Whether its calls were recorded.
    recorded: bool = False
    opened: float = 0.0
    closed: float | None = None


class Request(Record, frozen=True):
    """Somebody asked the loader for a runtime."""

    time: float
    tid: int
    #: Number of the object that asked, and its path where that is known.
    requester: int
    name: str
    answer: AnswerWord
    requester_path: str = ""
    #: The path that was answered instead.
    to: str = ""
    #: Why it was not redirected.
    why: str = ""
    #: How the loader came to the name: "as asked", "LD_LIBRARY_PATH", "RPATH or RUNPATH", ...
    rule: str = ""


class Process(Record, frozen=True):
    """One program in one process: a number that execve(2) gives to another program is two."""

    #: Its place in ``Facts.processes``.
    index: int
    pid: int
    parent: int = 0
    #: Place of the parent in ``Facts.processes``; None where it was not recorded.
    parent_index: int | None = None
    #: Whether it was forked: it has its parent's objects and handles of that moment.
    forked: bool = False
    exe: str = ""
    command: tuple[str, ...] = ()
    #: None where the record does not say when it began.
    begun: float | None = None
    ended: float | None = None
    how_ended: HowEnded = ""
    #: With those that a forked process has from its parent, by number.
    objects: tuple[Object, ...] = ()
    requests: tuple[Request, ...] = ()

    @property
    def runtimes(self) -> tuple[Object, ...]:
        """The copies of the runtime, in the order of loading."""
        return tuple(each for each in self.objects if each.is_runtime)

    def object(self, number: int) -> Object | None:
        """The object with that number; None where the record does not know it."""
        return next((each for each in self.objects if each.number == number), None)


class Call(Record, frozen=True):
    """One call of one thread."""

    #: Place in ``Facts.processes``.
    process: int
    pid: int
    tid: int
    #: As programs write it: "hipStreamGetFlags".
    name: str
    #: Number of the runtime that was called, among the process's objects.
    runtime: int
    begun: float
    #: None: it had not returned when the process ended, or when the record was read.
    ended: float | None = None
    result: int = 0
    #: The result's name, empty where it is no error code.
    error: str = ""
    #: The stream passed or made; None where the call has none.
    stream: int | None = None
    #: The event, context or graph passed or made, likewise.
    event: int | None = None
    other: int | None = None
    #: The call's first number: device, flags, priority.
    extra: int = 0
    #: The address that it returns to, and the object that this lies in.
    caller: int = 0
    caller_path: str = ""
    #: Its number among its thread's calls of its kind, from 1.
    position: int = 0


class Thread(Record, frozen=True):
    """A thread that made calls."""

    #: Place in ``Facts.processes``.
    process: int
    pid: int
    tid: int
    #: When it made its first call.
    begun: float
    calls_seen: int
    #: Of them, those that the record has still.
    calls_kept: int
    #: Its last call, where that had not returned.
    in_flight: Call | None = None


class Lost(Record, frozen=True):
    """What the record does not have, or has no more; all zero if it is whole."""

    #: Calls that later ones of the same thread have overwritten.
    overwritten: int = 0
    #: Calls of threads whose place went on to other threads.
    overwritten_by_others: int = 0
    #: Entries that were being written when their process died, or that are damaged.
    torn: int = 0
    #: Threads that there was no place for: none of their calls is kept.
    threads: int = 0
    #: Events (loads, requests) that there was no room for, or that are damaged.
    events: int = 0
    #: Failed calls of which only the number is known, unless a ring has them.
    failures: int = 0
    #: Copies of the runtime whose calls were not recorded: more at a time than can be.
    runtimes: int = 0


class Facts(Record, frozen=True):
    """What a record says, but for the calls that did not fail."""

    path: str
    xdiag: str = ""
    command: tuple[str, ...] = ()
    #: Date and time, ISO 8601.
    started: str = ""
    platform: str = "hip"
    #: The code that says "not a live stream".
    refusal: int = 0
    #: Seconds since 1970 at time 0; 0 where that is not known.
    wall_clock: float = 0.0
    processes: tuple[Process, ...] = ()
    threads: tuple[Thread, ...] = ()
    #: The first calls that failed, by time, and how many there were.
    failures: tuple[Call, ...] = ()
    failures_seen: int = 0
    refusals_seen: int = 0
    lost: Lost = Lost()
    #: What else the reader has to know, in sentences.
    notes: tuple[str, ...] = ()

    @property
    def calls_seen(self) -> int:
        """All calls that were made, as far as threads had a place."""
        return sum(thread.calls_seen for thread in self.threads) + self.lost.overwritten_by_others

    @property
    def calls_kept(self) -> int:
        """Calls that the record has, but for failed ones that the rings have no more."""
        return sum(thread.calls_kept for thread in self.threads)
