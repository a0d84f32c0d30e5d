"""Lines that, where they are wider than the terminal, go on below themselves, further in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.measure import Measurement
from rich.padding import Padding

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.text import Text

#: Below this width there is no room to give away.
_NARROW = 20


class Hanging:
    """A text whose second and later lines are ``indent`` columns further in than its first.

    So that where one item of a list ends and the next begins can be seen.
    """

    def __init__(self, text: Text, indent: int = 2) -> None:
        self.text = text
        self.indent = indent

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        text, width = self.text, options.max_width
        if options.no_wrap or text.cell_len <= width or width < _NARROW + self.indent:
            yield text
            return
        first = text.wrap(console, width, overflow="fold")[0]
        first.rstrip()
        yield first
        # What is left of it begins with a word: the spaces before it ended the first line.
        rest = text[len(first.plain) :] if first.plain else text
        spaces = len(rest.plain) - len(rest.plain.lstrip(" "))
        for line in rest[spaces:].wrap(console, width - self.indent, overflow="fold"):
            line.rstrip()
            yield Padding(line, (0, 0, 0, self.indent), expand=False)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement.get(console, options, self.text)
