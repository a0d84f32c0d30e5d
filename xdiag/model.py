"""The nouns: Step, Pattern, Fix, Consumer, Hypothesis, Cell, Outcome, Verdict.

All are frozen records that survive a round trip through JSON, so that everything after the engine
works from a saved file as well.  Nothing here runs anything.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum
from typing import Literal

import msgspec

#: Version of every JSON document that xdiag writes; raised when a reader would misread it.
SCHEMA_VERSION = 1


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """What all records share: immutable, defaults left out of the JSON."""


# ---- what is asked ---------------------------------------------------------------------------


class Step(Record, frozen=True):
    """One thing done by one actor: a driver call, or one of ``ACTIONS``.

    Written as ``worker: flags = A.StreamGetFlags(s)``: actor, result, runtime, call, arguments.
    ``main & worker: ...`` is done by both at the same moment, ``x200`` after it makes the call 200
    times, ``?`` says that its failure is no matter and the story goes on.
    """

    actors: tuple[str, ...]
    verb: str
    args: tuple[str | int, ...] = ()
    runtime: str = ""
    result: str = ""
    repeat: int = 1
    tolerated: bool = False
    phase: Literal["setup", "fix", "use"] = "setup"
    #: One question among several: the ones after it are asked whatever it answers.
    independent: bool = False
    #: Asked only of a handle that nothing before it refused, because this call does not check.
    trusting: bool = False

    def __str__(self) -> str:
        """The step as a line of a pattern; ``parse_step`` reads it back."""
        text = f"{' & '.join(self.actors)}: "
        if self.result:
            text += f"{self.result} = "
        if self.runtime:
            text += f"{self.runtime}."
        text += f"{self.verb}({', '.join(_argument(a) for a in self.args)})"
        if self.repeat != 1:
            text += f" x{self.repeat}"
        return text + (" ?" if self.tolerated else "")


def _argument(value: str | int) -> str:
    """Large numbers are addresses and read better in hexadecimal."""
    return hex(value) if isinstance(value, int) and value > 0xFFFF else str(value)


#: What a step can be besides a driver call, with its meaning.
ACTIONS = {
    "open": "open a runtime: first, copy, link or loaded, or what the loader finds by its soname or"
    " by its name without a version; then local, global or deepbind; or a copy in a new namespace",
    "thread": "start a Python thread",
    "native_thread": "start a native pthread, which knows nothing of Python",
    "fork": "fork a child process",
    "end": "end the actor",
    "low32": "keep the low 32 bits of a handle, zero-extended",
    "low32_signed": "keep the low 32 bits of a handle, sign-extended as a C int is",
    "same": "the same value under another name",
    "equal": "go on only if two values are one",
    "use": "use a stream: what that means is the consumer's to say",
}

_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_STEP = re.compile(
    rf"(?P<actors>{_NAME}(?:\s*&\s*{_NAME})*)\s*:\s*"
    rf"(?:(?P<result>{_NAME})\s*=\s*)?"
    rf"(?:(?P<runtime>{_NAME})\.)?(?P<verb>{_NAME})\s*\((?P<args>[^()]*)\)"
    rf"(?:\s+x(?P<repeat>[1-9][0-9]*))?\s*(?P<tolerated>\?)?"
)
_INTEGER = re.compile(r"-?(0[xX][0-9a-fA-F]+|[0-9]+)")
_WORD = re.compile(_NAME)


def parse_step(line: str) -> Step:
    """Read a step from its line; raises ValueError naming the line if it is not one."""
    match = _STEP.fullmatch(line.strip())
    if match is None:
        raise ValueError(f"not a step: {line!r} (a step reads 'actor: result = A.Call(arg, ...)')")
    args: list[str | int] = []
    for text in filter(None, (part.strip() for part in match["args"].split(","))):
        if _INTEGER.fullmatch(text):
            args.append(int(text, 0) if "x" in text.lower() else int(text))
        elif _WORD.fullmatch(text):
            args.append(text)
        else:
            raise ValueError(f"not an argument: {text!r} in {line!r}")
    return Step(
        actors=tuple(actor.strip() for actor in match["actors"].split("&")),
        verb=match["verb"],
        args=tuple(args),
        runtime=match["runtime"] or "",
        result=match["result"] or "",
        repeat=int(match["repeat"] or 1),
        tolerated=match["tolerated"] is not None,
    )


class Prediction(str, Enum):
    """What a hypothesis expects of a pattern without any fix."""

    WORKS = "works"
    FAILS = "fails"


def predictions(fails: str = "", works: str = "") -> dict[str, Prediction]:
    """What hypotheses expect, by their ids: two lists of these, separated by spaces."""
    return {
        **dict.fromkeys(fails.split(), Prediction.FAILS),
        **dict.fromkeys(works.split(), Prediction.WORKS),
    }


class Pattern(Record, frozen=True):
    """An ownership story: who makes the stream, what happens, who uses it."""

    id: str
    title: str
    question: str
    setup: tuple[str, ...]
    use: tuple[str, ...]
    #: hypothesis id -> what it expects; a hypothesis that is not named says nothing.
    predicts: dict[str, Prediction]
    #: The question's answers when the handle is accepted and when it is refused; where one is
    #: empty, what was seen has to speak for itself.
    answers: tuple[str, str] = ("yes", "no")
    #: True for a story that uses the library as its documentation allows: if it fails, something
    #: is wrong with this machine.
    sound: bool = False
    devices: int = 1
    #: Variables that the process is started with; see ``Cell.environment``.
    environment: dict[str, str] = {}
    #: Seconds after which a silent cell is a hang, where the default is needlessly long.
    patience: float | None = None
    #: Platforms that the story can be told on.
    platforms: tuple[str, ...] = ("hip", "cuda")
    note: str = ""


class Story(Record, frozen=True):
    """A pattern's steps on their way to becoming a cell: what fixes rewrite."""

    setup: tuple[Step, ...]
    use: tuple[Step, ...]
    environment: dict[str, str] = {}


class NotApplicable(Record, frozen=True):
    """Why a fix cannot be applied to a pattern."""

    reason: str


class Fix(Record, frozen=True):
    """A named rewrite of a story; ``rewrite`` returns the new story or why it cannot."""

    id: str
    title: str
    does: str
    origin: str
    rewrite: Callable[[Story], Story | NotApplicable]
    #: Consumers it makes sense for; empty for all.
    consumers: tuple[str, ...] = ()


class Consumer(Record, frozen=True):
    """What "use a stream" means; ``expand`` turns one use step into the calls made."""

    id: str
    title: str
    does: str
    expand: Callable[[Step], tuple[Step, ...] | NotApplicable]
    #: Variables that the process is started with; see ``Cell.environment``.
    environment: dict[str, str] = {}


class Hypothesis(Record, frozen=True):
    """An explanation of the fault, what it would take to repair it, and what to do about it."""

    id: str
    statement: str
    #: Fixes that would repair the fault, if this were its cause.
    repaired_by: tuple[str, ...] = ()
    remedy: str = ""
    #: True where a repair leaves one loaded copy of the library: while two are loaded under a fix,
    #: the fix has not taken effect, and the cell is no test of this hypothesis.
    repaired_as_one: bool = False


# ---- what is run and what came of it ---------------------------------------------------------


class Cell(Record, frozen=True):
    """One experiment: a pattern under a fix, used by a consumer, ready to run."""

    id: str
    pattern: str
    fix: str
    consumer: str
    steps: tuple[Step, ...] = ()
    #: Variables that its process is started with, in braces what only the engine knows: {first} and
    #: {first_directory}, {copy_directory}, {audit}.  Lists of the loader come before what is there.
    environment: dict[str, str] = {}
    devices: int = 1
    timeout: float = 10.0
    #: Set where the fix cannot be applied; the cell is then not run.
    not_applicable: str = ""
    platform: str = "hip"


class StepRecord(Record, frozen=True):
    """What one actor did in one step, as it was seen."""

    step: int
    actor: str
    call: str
    #: done; unsupported (the runtime has no such call); failed (error says why); skipped (not
    #: asked: error says why); unfinished (in flight when the process ended); unreached.
    state: Literal["done", "unsupported", "failed", "skipped", "unfinished", "unreached"]
    phase: Literal["setup", "fix", "use"] = "setup"
    pid: int = 0
    tid: int = 0
    runtime: str = ""
    handle: int | None = None
    code: int | None = None
    name: str = ""
    #: The call returned an error, or could not be made; unfinished work (600) is none.
    failed: bool = False
    #: Names given by the step, and outputs of the call, in order.
    values: tuple[tuple[str, int], ...] = ()
    made: int = 0
    nanoseconds: int | None = None
    error: str = ""


class OutcomeKind(str, Enum):
    """How a cell ended."""

    OK = "ok"
    ERROR = "error"
    CRASH = "crash"
    EXIT = "exit"
    HANG = "hang"
    SKIPPED = "skipped"
    UNSUPPORTED = "unsupported"
    NOT_APPLICABLE = "n/a"


#: Outcomes in which the use of the stream failed.
FAULTS = (OutcomeKind.ERROR, OutcomeKind.CRASH, OutcomeKind.EXIT, OutcomeKind.HANG)


class Outcome(Record, frozen=True):
    """What came of a cell.

    ``step`` is the first step that failed; ``code`` and ``name`` are its error, if it returned
    one.  A process that dies after that is told by ``kind`` and ``signal`` or ``status``, with the
    call in flight in ``died_at``.
    """

    kind: OutcomeKind
    step: int | None = None
    call: str = ""
    code: int | None = None
    name: str = ""
    died_at: int | None = None
    signal: str = ""
    status: int | None = None
    message: str = ""
    reason: str = ""
    trace: tuple[StepRecord, ...] = ()
    #: Runtimes as they were loaded in the child, by the name that the steps give them.
    runtimes: dict[str, Identity] = {}
    seconds: float = 0.0
    #: Child processes used: more than one where a crash was stepped over to ask the rest.
    processes: int = 1
    #: XSched's libraries, as ``runtimes`` are told.
    libraries: dict[str, Identity] = {}


class Identity(Record, frozen=True):
    """One loaded copy of a library.  ``device`` and ``inode`` are what make it that copy."""

    path: str
    soname: str = ""
    build_id: str = ""
    device: int = 0
    inode: int = 0
    namespace: int = 0
    base: int = 0
    handle: int = 0


class Result(Record, frozen=True):
    """A cell and its outcome."""

    cell: Cell
    outcome: Outcome


class Support(str, Enum):
    """What the experiment says about a hypothesis."""

    SUPPORTED = "supported"
    REFUTED = "refuted"
    OPEN = "open"


class Evidence(Record, frozen=True):
    """One cell that bears on a hypothesis."""

    cell: str
    predicted: Prediction
    observed: str
    agrees: bool


class Verdict(Record, frozen=True):
    """A hypothesis weighed: the mark, the reason in one sentence, the cells that decide it."""

    hypothesis: str
    statement: str
    mark: Support
    because: str
    evidence: tuple[Evidence, ...] = ()


# ---- what it ran on --------------------------------------------------------------------------


class Loader(Record, frozen=True):
    """A dynamic loader that is not this machine's, with the C library that belongs to it."""

    path: str
    #: Directories of that C library and of what else is to be found before this machine's.
    library_path: tuple[str, ...]
    #: The C library's version, "2.44".
    libc: str = ""


class Target(Record, frozen=True):
    """The runtime under test and what executes below it."""

    platform: Literal["hip", "cuda"]
    runtime: str
    agent: Literal["hardware", "software"]
    version: str = ""
    soname: str = ""
    build_id: str = ""
    devices: int = 0
    device_name: str = ""
    #: Where the runtime came from: option, torch, rocm, system, cache.
    source: str = ""
    #: Directories for LD_LIBRARY_PATH, and variables, of every process that loads it.
    library_path: tuple[str, ...] = ()
    environment: dict[str, str] = {}
    #: Under which every process that loads it is started, where this machine's C library is too old
    #: for it; None where its own loader does.
    loader: Loader | None = None
    #: AMD's compiler, by the name that the runtime opens it by, where the cells' warm parent opens
    #: it once for all of them; empty where each cell opens it for itself.
    compiler: str = ""
    #: What else the reader has to know about this run, in sentences.
    notes: tuple[str, ...] = ()


class Host(Record, frozen=True):
    """Facts about the machine that a reader of a report needs."""

    system: str
    kernel: str
    libc: str
    python: str
    cpus: int
    container: str = ""


class Report(Record, frozen=True):
    """A whole run: what every output format is written from."""

    #: Always ``SCHEMA_VERSION`` when written; a reader refuses a newer one.
    schema_version: int
    xdiag: str
    command: str
    target: Target
    host: Host
    results: tuple[Result, ...]
    verdicts: tuple[Verdict, ...] = ()
    #: Cells that were planned; more than ``results`` where the run was interrupted.
    planned: int = 0
    seconds: float = 0.0
    started: str = ""
