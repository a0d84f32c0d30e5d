"""Findings on a terminal: a line each, below it what was seen and what to do about it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from xdiag.findings import Status
from xdiag.render.hanging import Hanging
from xdiag.render.labels import finding_label
from xdiag.render.styles import TERMINAL
from xdiag.render.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console

    from xdiag.findings import Finding

#: What is wrong comes last: a terminal is read from below.
WORST_LAST = (Status.PASS, Status.SKIP, Status.ERR, Status.WARN, Status.FAIL)

#: Columns before a finding's own lines: the width of a status and the space after it.
_INDENT = 6
_REMEDY = "do: "


def show(findings: Iterable[Finding], console: Console, *, verbose: bool = False) -> None:
    """Print findings in the order given.

    A finding without fault has one line; its evidence is shown with ``verbose``.
    """
    for finding in findings:
        label = finding_label(finding)
        line = Table.grid(padding=(0, 2, 0, 0))
        line.add_column(no_wrap=True, width=_INDENT - 2)
        line.add_column(overflow="fold")
        head = Text.assemble(
            (printable(finding.check), "bold"),
            "  " * bool(finding.check),
            printable(finding.summary),
        )
        line.add_row(Text(label.text, style=TERMINAL[label.style]), head)
        console.print(line)
        if verbose or finding.status is not Status.PASS:
            for text in finding.evidence:
                # Spaces before a line belong to all lines that it is folded into.
                words = text.lstrip(" ")
                seen = Text(printable(words), style="dim", overflow="fold")
                _below(Hanging(seen), console, len(text) - len(words))
            _show_remedy(finding.remedy, console)


def tally(findings: Iterable[Finding]) -> str:
    """How many findings there are of each kind, the worst first: ``1 FAIL, 2 WARN, 8 PASS``."""
    counted = Counter(finding.status for finding in findings)
    kinds = [
        f"{counted[status]} {status.value}" for status in reversed(WORST_LAST) if counted[status]
    ]
    return ", ".join(kinds) or "nothing was looked at"


def _show_remedy(remedy: tuple[str, ...], console: Console) -> None:
    for number, text in enumerate(remedy):
        begin = Text(_REMEDY, style="bold") if number == 0 else Text(" " * len(_REMEDY))
        grid = Table.grid()
        grid.add_column(no_wrap=True)
        grid.add_column(overflow="fold")
        grid.add_row(begin, Hanging(Text(printable(text), overflow="fold")))
        _below(grid, console)


def _below(what: Hanging | Table, console: Console, more: int = 0) -> None:
    console.print(Padding(what, (0, 0, 0, _INDENT + more), expand=False))
