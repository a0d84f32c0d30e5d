"""The report as JSON, as it is read back by ``msgspec.json.decode(text, type=Report)``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec

from xdiag.render.text import printable

if TYPE_CHECKING:
    from xdiag.model import Report


def render(report: Report) -> str:
    """The whole report, indented."""
    return record(report)


def record(data: Any, *, indent: int = 2) -> str:
    """Records, or plain data with records in it, as JSON; on one line with ``indent`` 0."""
    try:
        written = msgspec.json.encode(data)
    except UnicodeEncodeError:
        # A file name that is not UTF-8 is a string with surrogates, which JSON has no way to say.
        written = msgspec.json.encode(_sayable(msgspec.to_builtins(data)))
    return (msgspec.json.format(written, indent=indent) if indent else written).decode() + "\n"


def document(data: dict[str, Any]) -> str:
    """Plain data, such as the catalogues', as JSON in the same dress."""
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def _sayable(data: Any) -> Any:
    if isinstance(data, str):
        return data if data.isascii() or _is_unicode(data) else printable(data)
    if isinstance(data, dict):
        return {_sayable(key): _sayable(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [_sayable(value) for value in data]
    return data


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)
