"""Strings from libraries and file systems, made safe to show."""

from __future__ import annotations

import re

# An underscore inside a word is no emphasis in GitHub's dialect, so call names stay as they are.
_MARKDOWN = re.compile(r"[\\`*\[\]<>|~&]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")


def printable(text: str) -> str:
    """``text`` on one line, every character that is not printable written as an escape.

    A terminal may obey such a character, some reorder the line, and XML forbids most of them.
    """
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else _escape(character) for character in text
    )


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def markdown(text: str) -> str:
    """``text`` as Markdown that shows exactly that text, in a table cell too."""
    return _MARKDOWN.sub(lambda match: "\\" + match[0], printable(text))


def cut(text: str, most: int) -> str:
    """``text``, or where it is longer its first ``most`` characters and dots."""
    return text if len(text) <= most else f"{text[:most]}..."


def fenced(text: str, language: str = "") -> str:
    """A code block; its fence is longer than any in ``text``."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


#: Smaller values are counts, flags and device numbers; larger ones are pointers.
_POINTERS_FROM = 0x10000


def number(value: int) -> str:
    """A value of a call: small ones in decimal, pointers in hexadecimal."""
    return str(value) if abs(value) < _POINTERS_FROM else hex(value & 0xFFFF_FFFF_FFFF_FFFF)


def count(number: int, noun: str) -> str:
    """``1 call``, ``2 calls``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
