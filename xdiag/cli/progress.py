"""How far a matrix has come, on standard error."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from xdiag.model import Cell, Result


@contextmanager
def progress(
    wanted: bool | None, cells: Sequence[Cell], known: int
) -> Iterator[Callable[[Result], None]]:
    """A function to call with each result; shows progress on standard error if it is wanted."""
    with progress_of(wanted, sum(not cell.not_applicable for cell in cells), known) as tell:
        yield tell


@contextmanager
def progress_of(
    wanted: bool | None, total: int, known: int = 0
) -> Iterator[Callable[[Result], None]]:
    """The same where only the number of cells is known before, or the most that there may be."""
    if not (sys.stderr.isatty() if wanted is None else wanted):
        yield lambda result: None
        return
    if sys.stderr.isatty():
        yield from _bar(total, known)
    else:
        yield _lines(total, known)


def _lines(total: int, known: int) -> Callable[[Result], None]:
    """Progress into a log: a line for every tenth of the cells."""
    done = known

    def tell(result: Result) -> None:
        nonlocal done
        if result.cell.not_applicable:
            return
        done += 1
        if done == total or done * 10 // total > (done - 1) * 10 // total:
            click.echo(f"xdiag: {done} of {total} cells", err=True)

    return tell


def _bar(total: int, known: int) -> Iterator[Callable[[Result], None]]:
    """Progress on a terminal: a bar that goes away, and the cell that was finished last."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[cell]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("cells", total=total, completed=known, cell="")

        def advance(result: Result) -> None:
            if not result.cell.not_applicable:
                progress.update(task, advance=1, cell=result.cell.id)

        yield advance
