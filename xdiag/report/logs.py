"""Logs that belong to a report: what is told of them, and what ``xdiag explain`` makes of them."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xdiag.report.excerpt import excerpt

if TYPE_CHECKING:
    from xdiag.report.excerpt import Excerpt


@dataclass(frozen=True)
class Log:
    """One log."""

    path: str
    excerpt: Excerpt
    #: What ``xdiag explain`` says of it: a record; None where it could not be asked.
    explained: Any = None
    #: Why it could not be asked.
    because: str = ""
    causes: tuple[str, ...] = ()
    fault: bool = False


def read(path: str) -> Log:
    """Read a log; raises OSError or ValueError where that cannot be done."""
    if importlib.util.find_spec("xdiag.explain") is None:
        return Log(path, excerpt(path), because="this xdiag explains records only, no logs")
    raise NotImplementedError
