"""A long line goes on further in, and nothing of it is lost."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from xdiag.render.hanging import Hanging


def _shown(what: object, width: int, **options: object) -> list[str]:
    written = io.StringIO()
    Console(file=written, width=width).print(what, **options)  # type: ignore[arg-type]
    return [line.rstrip() for line in written.getvalue().splitlines()]


def test_what_fits_is_one_line() -> None:
    assert _shown(Hanging(Text("one line of text")), 30) == ["one line of text"]


def test_what_does_not_fit_goes_on_further_in() -> None:
    text = Text("+0.1 s  made: hipStreamCreate on A, thread 4711")
    assert _shown(Hanging(text), 26) == [
        "+0.1 s  made:", "  hipStreamCreate on A,", "  thread 4711",
    ]  # fmt: skip
    assert _shown(Padding(Hanging(text, 4), (0, 0, 0, 3)), 40) == [
        "   +0.1 s  made: hipStreamCreate on A,", "       thread 4711",
    ]  # fmt: skip


def test_a_word_that_is_wider_than_a_line_is_folded() -> None:
    assert _shown(Hanging(Text("A = /" + "x" * 60)), 30) == [
        "A =", "  /" + "x" * 27, "  " + "x" * 28, "  xxxxx",
    ]  # fmt: skip


def test_in_a_grid_it_takes_the_columns_that_are_left() -> None:
    grid = Table.grid()
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(Text("do: "), Hanging(Text("make every party open the copy that is loaded")))
    assert _shown(grid, 34) == [
        "do: make every party open the copy", "      that is loaded",
    ]  # fmt: skip


def test_a_console_that_folds_nothing_gets_one_line() -> None:
    text = "word " * 30 + "end"
    assert _shown(Hanging(Text(text)), 30, soft_wrap=True) == [text]


@given(st.text(st.sampled_from("ab/. "), max_size=200), st.integers(8, 60), st.integers(0, 6))
def test_nothing_is_lost_and_nothing_is_wider(text: str, width: int, indent: int) -> None:
    lines = _shown(Hanging(Text(text, overflow="fold"), indent), width)
    assert "".join("".join(lines).split()) == "".join(text.split())
    assert all(cell_len(line) <= width for line in lines)


@pytest.mark.parametrize("width", [22, 40, 80])
def test_styles_go_on(width: int) -> None:
    text = Text("bold " * 20, style="bold")
    segments = [*Console(width=width).render(Hanging(text))]
    assert all(each.style is not None and each.style.bold for each in segments if each.text.strip())
