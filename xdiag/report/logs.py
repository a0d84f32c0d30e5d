"""Logs that belong to a report: what is told of them, and what ``xdiag explain`` makes of them."""

from __future__ import annotations

import importlib.util
import re
from typing import TYPE_CHECKING, Any

import msgspec

from xdiag.model import Record
from xdiag.report.excerpt import Excerpt, excerpt

if TYPE_CHECKING:
    from xdiag.explain.facts import Explanation

#: The words that a line begins and ends with.
_ENDS = re.compile(r"\A\S*(?:\s|\Z)|\s\S*\Z")
_EXPLAINS = "xdiag.explain.explanation"


class Log(Record, frozen=True):
    """One log: its path, what is told of it, what is wrong by it."""

    path: str
    excerpt: Excerpt
    #: What ``xdiag explain`` says of it, an ``Explanation``; None where it could not be asked.
    explained: Any = None
    #: Why it could not be asked.
    because: str = ""
    causes: tuple[str, ...] = ()
    fault: bool = False


def read(path: str) -> Log:
    """Read a log and have it explained; raises CannotRun or OSError where it cannot be read."""
    excerpt(path)  # so that what cannot be read is told once
    if importlib.util.find_spec(_EXPLAINS) is None:
        return Log(path, excerpt(path), because="this xdiag explains records only, no logs")
    explained = whole_words(_explained(path))
    lines = sorted(_lines_of(explained))
    return Log(
        path,
        excerpt(path, lines),
        explained,
        causes=tuple(each.cause for each in explained.causes),
        fault=explained.fault,
    )


def _explained(path: str) -> Explanation:
    """What ``xdiag explain`` says of one source."""
    from xdiag.explain.explanation import explain

    return explain([path])


def _lines_of(explained: Explanation) -> set[int]:
    """Numbers of all lines that an explanation speaks of."""
    found: set[int] = set()

    def visit(data: Any) -> None:
        if isinstance(data, dict):
            if isinstance(data.get("number"), int) and "source" in data:
                found.add(data["number"])
            for value in data.values():
                visit(value)
        elif isinstance(data, list | tuple):
            for value in data:
                visit(value)

    visit(msgspec.to_builtins(explained))
    return found


def whole_words(explained: Explanation) -> Explanation:
    """An explanation without the words that its lines were cut in: half a name is no name."""
    from xdiag.explain.facts import LONGEST, Line

    def visit(data: Any) -> Any:
        if isinstance(data, Line) and len(data.text) >= LONGEST:
            return msgspec.structs.replace(data, text=_ENDS.sub(" ... ", data.text).strip())
        if isinstance(data, msgspec.Struct):
            changed = {}
            for field in data.__struct_fields__:
                before = getattr(data, field)
                after = visit(before)
                if after is not before:
                    changed[field] = after
            return msgspec.structs.replace(data, **changed) if changed else data
        if isinstance(data, tuple):
            after = tuple(map(visit, data))
            same = all(new is old for new, old in zip(after, data, strict=True))
            return data if same else after
        return data

    made: Explanation = visit(explained)
    return made
