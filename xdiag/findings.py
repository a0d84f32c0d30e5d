"""The noun Finding: a fact about an environment or a process, judged.

Findings come from ``xdiag.doctor`` and are shown by ``xdiag.render``; they survive a round trip
through JSON.  Nothing here looks at anything.
"""

from __future__ import annotations

from enum import Enum
from typing import Literal

from xdiag.model import Record


class Status(str, Enum):
    """What came of a check; each word has one meaning."""

    #: Looked at, and nothing wrong.
    PASS = "PASS"
    #: Nothing is broken by it now; it takes part in breaking things.
    WARN = "WARN"
    #: A fault, as it is or as it will be when the program starts.
    FAIL = "FAIL"
    #: Not looked at, for the reason given.
    SKIP = "SKIP"
    #: The check itself could not be carried out.
    ERR = "ERR"


class Finding(Record, frozen=True):
    """What one check found."""

    #: Id of the check: "forecast.agreement".
    check: str
    status: Status
    #: One sentence: what is so; for SKIP and ERR why nothing can be said.
    summary: str
    #: What was seen, a line each: paths, device and inode, versions, values.
    evidence: tuple[str, ...] = ()
    #: What to do about it, a line each; nothing where nothing is to be done.
    remedy: tuple[str, ...] = ()


def passed(summary: str, *evidence: str) -> Finding:
    """A finding without fault; the runner puts the check's id in."""
    return Finding("", Status.PASS, summary, evidence)


def warned(summary: str, *evidence: str, remedy: tuple[str, ...] = ()) -> Finding:
    """A finding that takes part in a fault."""
    return Finding("", Status.WARN, summary, evidence, remedy)


def failed(summary: str, *evidence: str, remedy: tuple[str, ...] = ()) -> Finding:
    """A finding that is a fault."""
    return Finding("", Status.FAIL, summary, evidence, remedy)


def skipped(reason: str) -> Finding:
    """Nothing was looked at."""
    return Finding("", Status.SKIP, reason)


class CheckFacts(Record, frozen=True):
    """What a reader has to know about a check: the catalogue in a document and in the docs."""

    id: str
    title: str
    probe: Literal["passive", "process", "gpu"]
    severity: Literal["fault", "risk", "note"]
    requires: tuple[str, ...] = ()

    @property
    def group(self) -> str:
        """The part of the id before the dot."""
        return self.id.partition(".")[0]
