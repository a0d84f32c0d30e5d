"""What all who weigh share: the evidence, and what they have said of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from xdiag.explain import versions
from xdiag.explain.facts import Note

if TYPE_CHECKING:
    from xdiag.explain.evidence import Evidence, Found, Load
    from xdiag.explain.facts import Failure, Likelihood, Line

#: Copies told for one reason.
_MOST_COPIES = 4


class Reason(NamedTuple):
    """One reason for one cause."""

    cause: str
    likelihood: Likelihood
    because: str
    lines: tuple[Line, ...]
    #: What is so, where the cause's own statement says more, or less, than the text does.
    statement: str = ""


class Scales:
    """The evidence, and the reasons, notes and failures found in it."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        #: The versions that all lines allow; None where they say nothing, or contradict each other.
        self.version = versions.common(evidence.versions)
        self.reasons: list[Reason] = []
        self.notes: list[Note] = []
        self.failures: list[Failure] = []
        self.fault = evidence.stated_fault
        #: Causes that a refusal without a likely one leaves open.
        self.left_open: set[str] = set()
        #: Entry lines of the calls that are told.
        self.told: set[Line | None] = set()
        #: The only copy that a memory map shows; None where there is no map, or one with more.
        self.only_copy = _only_copy(evidence)

    def say(
        self, cause: str, likelihood: Likelihood, because: str, *lines: Line | None,
        statement: str = "",
    ) -> None:  # fmt: skip
        """A reason for a cause, with the lines that say so."""
        told = tuple(dict.fromkeys(line for line in lines if line is not None))
        self.reasons.append(Reason(cause, likelihood, because, told, statement))

    def note(self, sentence: str, *lines: Line) -> None:
        """Something to know that is no cause."""
        self.notes.append(Note(sentence, lines))

    def started(self, found: Found) -> list[Line]:
        """Lines of the runtime's initialisations in the process of a failure."""
        process = self.evidence.ledger.processes.get(found.key)
        return process.initialised if process is not None else []

    @property
    def is_unchecked(self) -> bool:
        """Whether it is HIP 7 or later, where a call that succeeds proves nothing of its handle."""
        return self.version is not None and self.version.low >= (7, 0)

    def destroyed_again(self, found: Found) -> list[Found]:
        """Events destroyed twice in the process of a failure, before it, without a return line."""
        return [
            other
            for act, other in self.evidence.again
            if act.succeeded is None
            and other.end is not None
            # A program's message may be of any process, and stand in another source.
            and (found.failure.kind != "AMD log" or other.key == found.key)
            and (
                other.failure.line.source != found.failure.line.source
                or other.failure.line.number < found.failure.line.number
            )
        ]

    def together(self, found: Found) -> list[Load]:
        """Copies that were loaded at a time in the process of a failure, as far as is known."""
        pid = found.failure.pid
        loads = [
            load
            for load in self.evidence.loads.values()
            if load.group in self.evidence.together
            and (pid is None or load.pid is None or load.pid == pid)
            # Without a pid, paths in the runtime's log may be of two processes.
            and not (load.kind == "log" and load.pid is None)
        ]
        return [load for load in loads if load.group == loads[0].group][:_MOST_COPIES]


def _only_copy(evidence: Evidence) -> Load | None:
    mapped = [load for load in evidence.loads.values() if load.kind == "maps"]
    return mapped[0] if len(mapped) == 1 and not evidence.together else None
