"""What REPORT.md is written from: plain data, masked already."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xdiag.doctor.examination import Examination
    from xdiag.model import Report, Target
    from xdiag.repair.verify import Trials
    from xdiag.report.bundle import Member, Missing
    from xdiag.report.environment import Variables
    from xdiag.report.versions import Versions
    from xdiag.runtimes.find import Found


@dataclass(frozen=True)
class Explained:
    """A record or log, and what ``xdiag explain`` says of it."""

    title: str
    text: str
    fault: bool
    #: Its sentences that name a cause.
    findings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Page:
    """The parts of the page; what is missing is None or empty."""

    xdiag: str
    made: str
    masked: bool
    fault: bool
    command: str
    examination: Examination | None = None
    versions: Versions | None = None
    variables: Variables | None = None
    found: Found | None = None
    target: Target | None = None
    #: The probes, or the whole matrix.
    report: Report | None = None
    trials: Trials | None = None
    explained: tuple[Explained, ...] = ()
    reproducer: str = ""
    reproduces: str = ""
    files: tuple[Member, ...] = ()
    missing: tuple[Missing, ...] = ()
    #: Whether the page comes alone, without the other files.
    alone: bool = False
