"""The report for a terminal: header, a matrix per consumer, legend, verdicts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from xdiag.render import header, verdicts
from xdiag.render.hanging import Hanging
from xdiag.render.labels import Label, legend
from xdiag.render.matrix import Matrix, consumer_title, fix_title, matrices, not_run
from xdiag.render.styles import TERMINAL
from xdiag.render.terminal import printed, show_pairs
from xdiag.render.text import count, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from xdiag.model import Report, Result

#: Cells shown per verdict; the other formats show them all.
_DECIDING_SHOWN = 4


def render(report: Report, width: int | None = None) -> str:
    """The report as plain text of at most ``width`` columns; without one, the terminal's."""
    return printed(lambda console: show(report, console), width)


def show(report: Report, console: Console) -> None:
    """Print the report on a console, fitted to its width."""
    for line in header.summary(report):
        console.print(Hanging(Text(printable(line), style="dim", overflow="fold")))
    made = matrices(report)
    entries = legend(report.results, report.target, complete=all(m.complete() for m in made))
    show_matrices(made, entries, console, reasons=not_run(report))
    _show_verdicts(report, console)
    if interrupted := header.interruption(report):
        console.print(Text(f"\n{interrupted}", style="bold yellow"))


def show_matrices(
    made: Sequence[Matrix],
    entries: Sequence[tuple[Label, str]],
    console: Console,
    *,
    reasons: Sequence[tuple[str, Sequence[Result]]] = (),
) -> None:
    """Print matrices, fitted to the console's width, and the legend of their labels.

    ``reasons`` are those for which cells were not run, each with the cells.
    """
    numbers = {
        fix: str(place)
        for place, fix in enumerate(dict.fromkeys(fix for m in made for fix in m.fixes), 1)
    }
    layouts = [_layout(matrix, console.width, numbers) for matrix in made]
    for matrix, layout in zip(made, layouts, strict=True):
        title = printable(f"{matrix.consumer}: {consumer_title(matrix.consumer)}")
        console.print()
        console.print(Text(title, style="bold"))
        for band in layout.bands:
            console.print()
            console.print(_table(matrix, band, layout.heads))
    show_legend(entries, reasons, console)
    if any(layout.heads is numbers for layout in layouts):
        console.print()
        pairs = [(f"{place} {fix}", fix_title(fix)) for fix, place in numbers.items()]
        show_pairs(console, pairs, style="")


# ---- the matrix ----


@dataclass(frozen=True)
class _Layout:
    """How a matrix is fitted: what stands over each fix, and which fixes stand side by side."""

    heads: dict[str, str]
    bands: list[tuple[str, ...]]


def _layout(matrix: Matrix, width: int, numbers: dict[str, str]) -> _Layout:
    """The most telling heads that fit: ids, ids broken at hyphens, or numbers.

    What does not fit even under numbers is told in several bands, one below the other.
    """
    widest = {
        fix: max(cell_len(matrix.label(pattern, fix).text) for pattern in matrix.patterns)
        for fix in matrix.fixes
    }
    room = width - max(cell_len(printable(pattern)) for pattern in matrix.patterns)
    ids = {fix: printable(fix) for fix in matrix.fixes}
    broken = {fix: printable(fix).replace("-", "-\n") for fix in matrix.fixes}
    for heads in (ids, broken):
        if sum(_column(heads[fix], widest[fix]) for fix in matrix.fixes) <= room:
            return _Layout(heads, [matrix.fixes])
    bands: list[tuple[str, ...]] = []
    band: list[str] = []
    used = 0
    for fix in matrix.fixes:
        needed = _column(numbers[fix], widest[fix])
        if band and used + needed > room:
            bands.append(tuple(band))
            band, used = [], 0
        band.append(fix)
        used += needed
    bands.append(tuple(band))
    return _Layout(numbers, bands)


def _column(head: str, widest: int) -> int:
    """Columns that a head and its labels take, with the box's and the padding's space before."""
    return max(widest, *(cell_len(line) for line in head.split("\n"))) + 2


def _table(matrix: Matrix, fixes: Sequence[str], heads: dict[str, str]) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    table.add_column("", no_wrap=True)
    for fix in fixes:
        table.add_column(Text(heads[fix]), no_wrap=True, vertical="bottom")
    for pattern in matrix.patterns:
        marks = (matrix.label(pattern, fix) for fix in fixes)
        table.add_row(
            Text(printable(pattern)),
            *(Text(mark.text, style=TERMINAL[mark.style]) for mark in marks),
        )
    return table


def show_legend(
    entries: Sequence[tuple[Label, str]],
    reasons: Sequence[tuple[str, Sequence[Result]]],
    console: Console,
) -> None:
    """Print what labels mean, and the reasons for which cells were not run."""
    if not entries:
        return
    console.print()
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for mark, meaning in entries:
        grid.add_row(Text(mark.text, style=TERMINAL[mark.style]), Text(printable(meaning)))
    console.print(grid)
    if reasons:
        console.print("\nnot run:")
        show_pairs(console, [(count(len(results), "cell"), reason) for reason, results in reasons])


# ---- the verdicts ----


def _show_verdicts(report: Report, console: Console) -> None:
    if report.verdicts:
        console.print(Text(f"\n{verdicts.EXPLANATION}", style="dim"))
    for verdict in verdicts.ordered(report):
        console.print()
        mark = Text(verdict.mark.value, style=TERMINAL[verdicts.MARK_STYLES[verdict.mark]])
        claim = printable(f"{verdict.hypothesis}: {verdict.statement}")
        console.print(Text.assemble(mark, f"  {claim}"))
        lines = [f"because: {printable(verdict.because)}"]
        evidence = verdicts.deciding(verdict)
        lines += [printable(verdicts.sentence(one)) for one in evidence[:_DECIDING_SHOWN]]
        if len(evidence) > _DECIDING_SHOWN:
            lines.append(f"and {count(len(evidence) - _DECIDING_SHOWN, 'more cell')}")
        if remedy := verdicts.remedy(verdict):
            lines.append(f"remedy: {remedy}")
        for line in lines:
            console.print(Padding(Text(line, overflow="fold"), (0, 0, 0, 4), expand=False))
