"""What the terminal's formats share: a list of terms, and print as text for pipes and files."""

from __future__ import annotations

import io
import shutil
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from xdiag.render.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: Columns where there is no terminal to ask and COLUMNS is not set.
_WIDTH = 120


def printed(show: Callable[[Console], None], width: int | None = None) -> str:
    """What ``show`` prints on a console of ``width`` columns: no colour, no spaces at line ends.

    Without a width, the terminal's.
    """
    columns = width or shutil.get_terminal_size((_WIDTH, 1)).columns
    written = io.StringIO()
    show(Console(file=written, width=columns, force_terminal=False, color_system=None))
    return "".join(f"{line.rstrip()}\n" for line in written.getvalue().splitlines())


def show_pairs(console: Console, pairs: Sequence[tuple[str, str]], style: str = "dim") -> None:
    """Print terms, in ``style``, each with its text beside it."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True, style=style)
    grid.add_column(overflow="fold")
    for term, text in pairs:
        grid.add_row(Text(printable(term)), Text(printable(text)))
    console.print(grid)
