"""Logs that belong to a report: what is told of them, and what ``xdiag explain`` makes of them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from xdiag.errors import XdiagError
from xdiag.explain.explanation import explain
from xdiag.explain.facts import LONGEST, Explanation, Line
from xdiag.model import Record
from xdiag.report.excerpt import Excerpt, excerpt

if TYPE_CHECKING:
    from collections.abc import Callable

#: The words that a line begins and ends with.
_ENDS = re.compile(r"\A\S*(?:\s|\Z)|\s\S*\Z")


class Log(Record, frozen=True):
    """One log: its path, what is told of it, what is wrong by it."""

    path: str
    excerpt: Excerpt
    #: What ``xdiag explain`` says of it; None where it could not say anything.
    explained: Explanation | None = None
    #: Why it could not.
    because: str = ""
    #: Likely causes, and those that are possible.
    causes: tuple[str, ...] = ()
    possible: tuple[str, ...] = ()
    fault: bool = False


def read(path: str) -> Log:
    """Read a log and have it explained; raises CannotRun or OSError where it cannot be read."""
    whole = excerpt(path)
    try:
        explained = whole_words(explain([path]))
    except XdiagError as error:
        return Log(path, whole, because=str(error))
    return Log(
        path,
        excerpt(path, sorted(_lines_of(explained))) if whole.note else whole,
        explained,
        causes=tuple(each.cause for each in explained.causes if each.likelihood == "likely"),
        possible=tuple(each.cause for each in explained.causes if each.likelihood != "likely"),
        fault=explained.fault,
    )


def renamed(explained: Explanation, path: str, name: str) -> Explanation:
    """The same of a source that is called ``name`` in the report."""
    made: Explanation = _changed(explained, lambda data: name if data == path else data)
    return made


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

    def whole(data: Any) -> Any:
        if isinstance(data, Line) and len(data.text) >= LONGEST:
            return msgspec.structs.replace(data, text=_ENDS.sub(" ... ", data.text).strip())
        return data

    made: Explanation = _changed(explained, whole)
    return made


def _changed(data: Any, change: Callable[[Any], Any]) -> Any:
    """Records and tuples with ``change`` made to each part, from the outside in."""
    data = change(data)
    if isinstance(data, msgspec.Struct):
        fields = {name: _changed(getattr(data, name), change) for name in data.__struct_fields__}
        return msgspec.structs.replace(data, **fields)
    if type(data) is tuple:
        return tuple(_changed(each, change) for each in data)
    return data
