"""What was measured on one runtime: every call with every kind of handle."""

from __future__ import annotations

import msgspec

from xdiag.model import Record

#: Seconds after which a question hangs, and those given to it when it is asked again to be sure: a
#: busy machine is slow, and that is no answer.
PATIENCE, SURE = 2.0, 8.0
#: How often each question is asked in each of the circumstances.
ROUNDS = 1
#: Answers that are no error code: the call did not return.
HANG = "hang"
EXIT = "exit"


class Circumstance(Record, frozen=True):
    """What was so around a question, that changes what lies in memory."""

    id: str
    title: str
    #: How many devices the software agent shows; 0 for as many GPUs as there are.
    devices: int = 0
    #: How many streams and events were made and destroyed before.
    past: int = 0
    #: Events were made after the handle.
    later: bool = False
    #: What freed memory is filled with: a byte; 0 for what was in it.
    fill: int = 0


class Entry(Record, frozen=True):
    """One call asked with one kind of handle, several times, each in a process of its own."""

    #: What came back, and how often: an error code; the signal that ended the process; "hang";
    #: "exit 1" where the runtime ended the process itself.
    answers: dict[str, int] = msgspec.field(default_factory=dict)
    #: Where answers differ: the ids of the circumstances in which each of them came.
    where: dict[str, tuple[str, ...]] = msgspec.field(default_factory=dict)
    #: Why it was not asked, or what came cannot be judged.
    unasked: str = ""
    #: The runtime does not export the call.
    absent: bool = False


class Subject(Record, frozen=True):
    """What was measured, and on what."""

    platform: str
    version: str
    soname: str
    build_id: str
    agent: str
    #: The package that the library file is of, empty where that is not known.
    package: str = ""
    device: str = ""


class Measured(Record, frozen=True):
    """One runtime's answers: a document of its own, and one of ``xdiag/api/measured``."""

    schema_version: int
    xdiag: str
    #: ISO 8601.
    started: str
    subject: Subject
    #: How often each question was asked in each circumstance, and after how many seconds without
    #: an answer it hung.
    rounds: int
    patience: float
    #: Call without its prefix -> kind of handle -> what came.
    calls: dict[str, dict[str, Entry]]
    circumstances: tuple[Circumstance, ...] = ()

    @property
    def label(self) -> str:
        """The version as tables name it: 5.2 for 5.2.21153."""
        return ".".join(self.subject.version.split(".")[:2])


class Document(Record, frozen=True):
    """What ``xdiag api --json`` writes: measurements of one runtime or several."""

    schema_version: int
    measured: tuple[Measured, ...]
