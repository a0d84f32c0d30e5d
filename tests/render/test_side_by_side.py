"""Runs beside each other: every label under its run and fix, nothing too wide."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from rich.cells import cell_len
from runs import cell, run_report

from xdiag.merging import Merged, merge, single
from xdiag.render import merging as rendering
from xdiag.render.side_by_side import short_names, side_by_side

FIXES = ("none", "primary-context-retain", "unify")


def over(*versions: str, **fields: str) -> Merged:
    """A run of each version; the code that each sees is its major number."""
    return merge(
        single(
            run_report(
                [
                    cell("same-thread", fix, kind="error", code=int(version.partition(".")[0]))
                    for fix in FIXES
                ],
                version=version,
                **fields,
            )
        )
        for version in versions
    )


def lines(merged: Merged, width: int) -> list[str]:
    return rendering.render(merged, "table", width, beside=True).splitlines()


def test_each_run_has_its_columns() -> None:
    (made,) = side_by_side(over("5.2.1", "6.4.3", "7.2.4"))
    assert [group.name for group in made.groups] == ["5.2.1", "6.4.3", "7.2.4"]
    for group, code in zip(made.groups, ("5", "6", "7"), strict=True):
        assert group.matrix.fixes == FIXES
        assert [group.matrix.label("same-thread", fix).text for fix in FIXES] == [code] * 3


def test_they_stand_beside_each_other_where_there_is_room() -> None:
    text = lines(over("5.2.1", "6.4.3", "7.2.4"), 200)
    heads = next(line for line in text if line.split() == ["5.2.1", "6.4.3", "7.2.4"])
    row = next(line for line in text if line.startswith("same-thread"))
    assert row.split()[1:] == ["5"] * 3 + ["6"] * 3 + ["7"] * 3
    for version, code in (("5.2.1", "5"), ("6.4.3", "6"), ("7.2.4", "7")):
        assert heads.index(version) == row.index(f"{code} ")


@pytest.mark.parametrize("width", [40, 60, 80, 100, 140])
def test_nothing_is_wider_than_the_terminal_and_nothing_is_lost(width: int) -> None:
    versions = ("5.2.1", "6.4.3", "7.2.4", "8.0.0")
    text = lines(over(*versions), width)
    assert max(map(cell_len, text)) <= width
    shown = [word for line in text if line.startswith("same-thread") for word in line.split()[1:]]
    assert sorted(shown) == sorted(version[0] for version in versions for _ in FIXES)
    heads = " ".join(text)
    assert all(version in heads for version in versions)


@pytest.mark.parametrize("width", range(30, 150, 3))
@pytest.mark.parametrize("count", [1, 3, 6])
def test_a_group_is_whole_or_has_rows_of_its_own(width: int, count: int) -> None:
    versions = ("5.2.1", "6.4.3", "7.2.4")
    fixes = ("none", "primary-context-retain", "unify", "preload", "path-order", "local")
    merged = merge(
        single(
            run_report([cell("same-thread", fix, kind="error", code=int(version[0]))
                        for fix in fixes[:count]], version=version)
        )
        for version in versions
    )  # fmt: skip
    rows = [line.split()[1:] for line in lines(merged, width) if line.startswith("same-thread")]
    for row in filter(None, rows):
        # Beside another group stand only whole ones.
        assert len(set(row)) == 1 or all(row.count(each) == count for each in row)
    assert sorted(mark for row in rows for mark in row) == sorted("567" * count)


def test_as_many_whole_groups_as_fit_stand_beside_each_other() -> None:
    rows = [
        line.split()[1:]
        for line in lines(over("5.2.1", "6.4.3", "7.2.4", "8.0.0"), 36)
        if line.startswith("same-thread")
    ]
    assert rows == [["5"] * 3 + ["6"] * 3, ["7"] * 3 + ["8"] * 3]


def test_runs_of_one_version_are_told_apart_by_more() -> None:
    merged = merge(
        single(run_report([cell()], version="6.4.3", system=system)) for system in ("A", "B")
    )
    assert len(set(short_names(merged).values())) == 2


def test_a_run_without_a_cell_has_none_there() -> None:
    merged = merge(
        [
            single(run_report([cell("same-thread"), cell("cross-thread")], version="5.2")),
            single(run_report([cell("cross-thread")], version="6.4")),
        ]
    )
    (made,) = side_by_side(merged)
    old, new = made.groups
    assert old.matrix.label("same-thread", "none").text == "ok"
    assert new.matrix.result("same-thread", "none") is None


def test_what_the_runs_make_of_the_hypotheses() -> None:
    from xdiag.model import Support, Verdict

    def with_mark(version: str, mark: Support) -> Merged:
        import msgspec

        verdicts = (Verdict("two-runtimes", "s", mark, "b"), Verdict("fork", "s", mark.OPEN, "b"))
        return single(msgspec.structs.replace(run_report([cell()], version=version),
                                              verdicts=verdicts))  # fmt: skip

    merged = merge([with_mark("5.2", Support.SUPPORTED), with_mark("7.2", Support.OPEN)])
    assert rendering.hypotheses(merged) == [
        ("two-runtimes", "supported: 5.2; open: 7.2"), ("fork", "open"),
    ]  # fmt: skip
    for form in ("table", "markdown", "html"):
        assert "supported: 5.2; open: 7.2" in rendering.render(merged, form, 120)


class _Table(HTMLParser):
    """The rows of the matrix: the texts of their cells, and how many columns each spans."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[tuple[str, int]]] = []
        self.inside = False
        self.ids: set[str] = set()
        self.targets: set[str] = set()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        told = dict(attributes)
        self.ids |= {told["id"]} if told.get("id") else set()
        if (told.get("href") or "").startswith("#"):
            self.targets.add(str(told["href"])[1:])
        if tag == "table":
            self.inside = told.get("class") == "matrix"
        elif self.inside and tag == "tr":
            self.rows.append([])
        elif self.inside and tag in ("td", "th"):
            self.rows[-1].append(("", int(told.get("colspan") or 1)))

    def handle_endtag(self, tag: str) -> None:
        self.inside &= tag != "table"

    def handle_data(self, data: str) -> None:
        if self.inside and self.rows and self.rows[-1]:
            text, span = self.rows[-1][-1]
            self.rows[-1][-1] = (text + data.strip(), span)


def test_the_page_has_a_group_of_columns_for_each_run() -> None:
    merged = over("5.2.1", "7.2.4")
    page = _Table()
    page.feed(rendering.render(merged, "html", beside=True))
    groups, heads, row = page.rows
    assert groups == [("", 1), ("5.2.1", 3), ("7.2.4", 3)]
    assert [text for text, _ in heads] == ["pattern", *FIXES, *FIXES]
    assert [text for text, _ in row] == ["same-thread", "5", "5", "5", "7", "7", "7"]
    assert page.targets <= page.ids  # every link leads somewhere
    assert any(target.startswith("to-") for target in page.targets)


def test_markdown_names_run_and_fix_over_each_column() -> None:
    text = rendering.render(over("5.2.1", "7.2.4"), "markdown", beside=True)
    heads = next(line for line in text.splitlines() if line.startswith("| pattern"))
    assert [each.strip() for each in heads.strip("|").split("|")][1:] == [
        f"{version} {fix}" for version in ("5.2.1", "7.2.4") for fix in FIXES
    ]
