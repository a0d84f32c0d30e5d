"""What the writers share: templates, names that a language allows, lines that are not too long."""

from __future__ import annotations

import re
import textwrap
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

import jinja2

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

#: Columns of a line, at most.
WIDTH = 100

#: What a variable cannot be called: words of C and C++, and functions of the C library.
CXX_KEYWORDS = """
    alignas alignof and asm auto bitand bitor bool break case catch char class compl const
    constexpr continue decltype default delete do double else enum explicit export extern false
    float for friend goto if inline int long main mutable namespace new noexcept not nullptr
    operator or private protected public register requires restrict return short signed sizeof
    static struct switch template this throw true try typedef typeid typename typeof union
    unsigned using virtual void volatile while xor

    abort abs access atexit close dup exit exp fork free link malloc pause pipe raise read remove
    rename rewind signal sleep stdin stdout system unlink wait write
""".split()  # noqa: SIM905 - to be read, not to be counted

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
#: What is no program text in a template: its own tags, comments, strings.
_NO_TEXT = re.compile(
    r'\{%.*?%\}|\{\{.*?\}\}|/\*.*?\*/|(//|#) [^\n]*|"(?:\\.|[^"\\\n])*"', re.DOTALL
)


def render(template: str, **values: object) -> str:
    """A template of ``xdiag/emit/templates``, filled in."""
    text = _environment().get_template(template).render(values)
    # Parts that are left out leave the empty lines around them.
    return re.sub(r"\n{3,}", "\n\n", text)


@cache
def _environment() -> jinja2.Environment:
    """Programs, not pages: what the writers put in is made safe by them."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("xdiag.emit"),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )


def identifiers(template: str, reserved: Collection[str]) -> Callable[[str], str]:
    """A function that makes a story's name one that the program may use for itself.

    Names that the language reserves, or that the template uses, are given a mark; the same name
    asked for twice gives the same.
    """
    source = resources.files("xdiag.emit").joinpath(f"templates/{template}").read_text("utf-8")
    taken = {*reserved, *_WORD.findall(_NO_TEXT.sub(" ", source))}

    def identifier(name: str) -> str:
        while name in taken:
            name += "_"
        return name

    return identifier


def wrapped(line: str, indent: str = "      ") -> list[str]:
    """A line of program, broken after commas where it is too long; ``indent`` before what follows.

    A string in it is never broken.
    """
    if len(line) <= WIDTH:
        return [line]
    lines = [""]
    for piece in _pieces(line):
        if len(lines[-1]) + len(piece.rstrip()) <= WIDTH:
            lines[-1] += piece
        else:
            lines.append(indent + piece.lstrip())
    return [each.rstrip() for each in lines]


def _pieces(line: str) -> list[str]:
    """A line, cut after the commas of its outermost brackets; all commas where that is not enough.

    Commas in strings are none.
    """
    parts = re.findall(r'"(?:\\.|[^"\\])*"|[^"]', line)
    for deepest in (1, 9):
        pieces, depth = [""], 0
        for part in parts:
            depth += (part in ("(", "[", "{")) - (part in (")", "]", "}"))
            pieces[-1] += part
            if part == "," and depth <= deepest:
                pieces.append("")
        if all(len(piece) < WIDTH - 8 for piece in pieces):
            break
    return pieces


def paragraphs(texts: Iterable[str], width: int) -> list[str]:
    """Texts as lines of a comment; one that is indented is a command and stays as it is."""
    lines: list[str] = []
    for text in texts:
        if not text or text.startswith(" "):
            lines.append(text)
        else:
            lines += textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)
    return lines


def no_comment(line: str) -> str:
    """A line that neither ends the comment that it stands in nor begins another."""
    return line.replace("*/", "* /").replace("/*", "/ *")
