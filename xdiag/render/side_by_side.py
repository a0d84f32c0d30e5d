"""Runs beside each other: one matrix per consumer with a group of columns for each run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from xdiag.render.matrix import Matrix, arranged, consumer_title, fix_title
from xdiag.render.styles import TERMINAL
from xdiag.render.terminal import show_pairs
from xdiag.render.text import printable
from xdiag.saved import names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from xdiag.merging import Merged

#: Columns between two groups, beyond what is between two columns of one.
_GAP = 2


@dataclass(frozen=True)
class Group:
    """The columns of one run."""

    name: str
    matrix: Matrix


@dataclass(frozen=True)
class SideBySide:
    """One consumer's matrix; all groups have the same patterns, in the same order."""

    consumer: str
    patterns: tuple[str, ...]
    groups: tuple[Group, ...]


def side_by_side(merged: Merged) -> list[SideBySide]:
    """The runs of a merged matrix beside each other, one entry per consumer."""
    shown = short_names(merged)
    made = []
    for every in arranged([row.seen[0].result for row in merged.rows]):
        rows = [row for row in merged.rows if row.consumer == every.consumer]
        groups = []
        for id, name in shown.items():
            seen = {
                (row.pattern, row.fix): each.result
                for row in rows
                for each in row.seen
                if id in each.runs
            }
            fixes = tuple(fix for fix in every.fixes if any(fix == key[1] for key in seen))
            if fixes:
                groups.append(Group(name, Matrix(every.consumer, every.patterns, fixes, seen)))
        made.append(SideBySide(every.consumer, every.patterns, tuple(groups)))
    return made


def short_names(merged: Merged) -> dict[str, str]:
    """What stands over each run's columns: its version, where no two have the same."""
    versions = {run.id: run.target.version for run in merged.runs}
    if all(versions.values()) and len(set(versions.values())) == len(versions):
        return versions
    return names(merged.runs)


def show(made: Sequence[SideBySide], console: Console) -> None:
    """Print them, as many whole groups beside each other as the console is wide."""
    fixes = dict.fromkeys(fix for one in made for group in one.groups for fix in group.matrix.fixes)
    numbers = {fix: str(place) for place, fix in enumerate(fixes, 1)}
    numbered = False
    for one in made:
        heads = _heads(one, console.width, numbers)
        numbered |= heads is numbers
        console.print()
        title = printable(f"{one.consumer}: {consumer_title(one.consumer)}")
        console.print(Text(title, style="bold"))
        for band in _bands(one, console.width, heads):
            console.print()
            console.print(_beside(one.patterns, band, heads))
    if numbered:
        console.print()
        pairs = [(f"{place} {fix}", fix_title(fix)) for fix, place in numbers.items()]
        show_pairs(console, pairs, style="")


def _heads(one: SideBySide, width: int, numbers: dict[str, str]) -> dict[str, str]:
    """The most telling heads with which all groups fit beside each other, else numbers."""
    fixes = [fix for group in one.groups for fix in group.matrix.fixes]
    ids = {fix: printable(fix) for fix in fixes}
    broken = {fix: printable(fix).replace("-", "-\n") for fix in fixes}
    return next((heads for heads in (ids, broken) if len(_bands(one, width, heads)) == 1), numbers)


def _bands(one: SideBySide, width: int, heads: dict[str, str]) -> list[list[Group]]:
    """The groups in rows of what fits whole; one that is too wide by itself has rows of its own.

    Columns of two versions are compared by their place: no row has a part of one beside another.
    """
    room = width - max(cell_len(printable(pattern)) for pattern in one.patterns) - _GAP
    bands: list[list[Group]] = []
    left = 0
    for group in one.groups:
        pieces = _pieces(group, room, heads)
        needed = _width(group, heads)
        if len(pieces) > 1:
            bands += [[piece] for piece in pieces]
            left = 0
        elif needed <= left:
            bands[-1].append(group)
            left -= needed + _GAP
        else:
            bands.append([group])
            left = room - needed - _GAP
    return bands


def _pieces(group: Group, room: int, heads: dict[str, str]) -> list[Group]:
    pieces: list[tuple[str, ...]] = [()]
    for fix in group.matrix.fixes:
        longer = (*pieces[-1], fix)
        if pieces[-1] and _width(_part(group, longer), heads) > room:
            pieces.append((fix,))
        else:
            pieces[-1] = longer
    return [_part(group, piece) for piece in pieces]


def _part(group: Group, fixes: tuple[str, ...]) -> Group:
    matrix = group.matrix
    return Group(group.name, Matrix(matrix.consumer, matrix.patterns, fixes, matrix.results))


def _width(group: Group, heads: dict[str, str]) -> int:
    """Columns that a group takes, its name above it included."""
    matrix = group.matrix
    columns = (
        max(
            *(cell_len(line) for line in heads[fix].split("\n")),
            *(cell_len(matrix.label(pattern, fix).text) for pattern in matrix.patterns),
        )
        for fix in matrix.fixes
    )
    return max(sum(columns) + 2 * len(matrix.fixes), cell_len(printable(group.name)) + 2)


def _beside(patterns: Sequence[str], groups: Sequence[Group], heads: dict[str, str]) -> Table:
    """A grid of tables of equal height: the patterns' names, then each group."""
    grid = Table.grid(padding=(0, _GAP, 0, 0))
    lines = max(heads[fix].count("\n") for group in groups for fix in group.matrix.fixes)
    named = _table(" ")
    named.add_column("\n" * lines, no_wrap=True)
    for pattern in patterns:
        named.add_row(Text(printable(pattern)))
    tables = [named]
    for group in groups:
        table = _table(printable(group.name))
        for fix in group.matrix.fixes:
            missing = lines - heads[fix].count("\n")
            table.add_column(Text("\n" * missing + heads[fix]), no_wrap=True)
        for pattern in patterns:
            marks = (group.matrix.label(pattern, fix) for fix in group.matrix.fixes)
            table.add_row(*(Text(mark.text, style=TERMINAL[mark.style]) for mark in marks))
        tables.append(table)
    for _ in tables:
        grid.add_column(no_wrap=True)
    grid.add_row(*tables)
    return grid


def _table(title: str) -> Table:
    return Table(
        box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False,
        title=Text(title, style="bold"), title_justify="left", min_width=cell_len(title),
    )  # fmt: skip
