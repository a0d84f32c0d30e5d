"""The nouns: what was read, what failed, what may be the cause; all survive JSON."""

from __future__ import annotations

from typing import Literal

from xdiag.causes import Discriminator  # noqa: TC001 - msgspec reads the annotations
from xdiag.model import Record

#: Characters kept of a line.
LONGEST = 300

Likelihood = Literal["likely", "possible"]


class Line(Record, frozen=True):
    """A line of a source; ``number`` counts from 1."""

    source: str
    number: int
    text: str

    @property
    def place(self) -> str:
        """``amd.log:17``."""
        return f"{self.source}:{self.number}"


class Step(Record, frozen=True):
    """Something that happened to a handle."""

    #: made, reset, destroyed, accepted, refused.
    what: str
    line: Line


class Failure(Record, frozen=True):
    """A call that failed, or a process that died, as a text tells it."""

    #: What kind of text said so: "AMD log", "XSched", "message", "gdb", "dmesg".
    kind: str
    platform: Literal["hip", "cuda"]
    line: Line
    #: As the text has them; empty or None where it does not say.
    call: str = ""
    code: int | None = None
    name: str = ""
    signal: str = ""
    pid: int | None = None
    thread: str = ""
    handle: int | None = None
    #: The line that names the handle, and whether it certainly belongs to this failure.
    entry: Line | None = None
    certain: bool = True
    #: How often: failures that are alike are one.
    count: int = 1
    #: What the text has of the handle, in the order in which it happened.
    history: tuple[Step, ...] = ()
    #: What the reader has to know about this one, in sentences.
    notes: tuple[str, ...] = ()
    #: Whether it is the refusal of a handle.
    refusal: bool = False


class Candidate(Record, frozen=True):
    """A cause that the text supports."""

    #: An id of ``xdiag.causes``.
    cause: str
    likelihood: Likelihood
    #: What is so, if this is it, and why the text says so; a sentence each.
    statement: str
    because: str
    lines: tuple[Line, ...] = ()
    decide: tuple[Discriminator, ...] = ()
    remedy: tuple[str, ...] = ()
    references: tuple[str, ...] = ()


class Note(Record, frozen=True):
    """Something to know that is no cause."""

    sentence: str
    lines: tuple[Line, ...] = ()


class Loaded(Record, frozen=True):
    """A copy of the runtime that a text shows loaded in a process."""

    path: str
    line: Line
    pid: int | None = None
    #: As the text tells it: who asked for it, device and inode.
    told: str = ""


class Source(Record, frozen=True):
    """A file, or standard input, and what was recognised in it."""

    path: str
    bytes: int = 0
    lines: int = 0
    #: Kinds of text that were recognised.
    formats: tuple[str, ...] = ()
    compressed: str = ""
    #: What went wrong while it was read; what came before is used.
    problem: str = ""


class Explanation(Record, frozen=True, omit_defaults=False):
    """What the sources say: what ``xdiag explain --json`` writes of logs, with every key."""

    #: Always ``SCHEMA_VERSION`` when written; a reader refuses a newer one.
    schema_version: int
    xdiag: str
    sources: tuple[Source, ...]
    #: Whether a fault is seen.
    fault: bool = False
    failures: tuple[Failure, ...] = ()
    #: Likely ones first.
    causes: tuple[Candidate, ...] = ()
    #: Ids of causes that nothing in the text speaks for, and nothing excludes.
    not_excluded: tuple[str, ...] = ()
    loaded: tuple[Loaded, ...] = ()
    notes: tuple[Note, ...] = ()
    #: Of the handle that was asked for.
    handle: int | None = None
    history: tuple[Step, ...] = ()
    #: Steps of it that are left out.
    more: int = 0
