"""What changed between two versions of the runtime, and which questions are safe to ask."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from xdiag.api.changes import changes
from xdiag.api.safe import questions
from xdiag.model import SCHEMA_VERSION
from xdiag.render import json_document
from xdiag.render.api_table import Sheet, show_measured_on, words
from xdiag.render.markdown import table as markdown_table
from xdiag.render.terminal import printed
from xdiag.render.text import count
from xdiag.render.text import markdown as escaped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from xdiag.api.changes import Change
    from xdiag.api.measured_data import Measured
    from xdiag.api.safe import Safety


#: Kinds of handle that are named in one cell of a table.
_MOST_KINDS = 2

# ---- changes ----


def changed(sheet: Sheet) -> tuple[Change, ...]:
    """What changed from the first to the last version of the sheet, in what it shows."""
    before, after = sheet.measured[0], sheet.measured[-1]
    return tuple(
        change
        for change in changes(before, after)
        if change.call in sheet.calls and change.handle in sheet.handles
    )


def change_rows(sheet: Sheet) -> list[tuple[str, str, str, str]]:
    """Call, kinds of handle, before, after: kinds that changed alike in one row."""
    merged: dict[tuple[str, str, str], list[str]] = {}
    for change in changed(sheet):
        was = words(change.call, change.handle, change.before)
        now = words(change.call, change.handle, change.after)
        merged.setdefault((change.call, was, now), []).append(change.handle)
    return [
        (sheet.full_name(call), ", ".join(handles), was, now)
        for (call, was, now), handles in merged.items()
    ]


def change_summary(sheet: Sheet) -> str:
    """What changed in one sentence."""
    found = changed(sheet)
    before, after = sheet.measured[0].label, sheet.measured[-1].label
    if not found:
        return f"From {before} to {after} nothing changed in what was asked of both."
    calls = len({change.call for change in found})
    gone = len({change.call for change in found if change.after.absent})
    new = len({change.call for change in found if change.before.absent})
    return (
        f"From {before} to {after}: {count(len(found), 'answer')} of {count(calls, 'call')} changed"
        f" ({new} new, {gone} gone)."
    )


def render_changes(sheet: Sheet, form: str, width: int | None = None) -> str:
    """The changes as text: ``table``, ``markdown`` or ``json``."""
    if form == "json":
        return json_document.record(
            {
                "schema_version": SCHEMA_VERSION,
                "before": sheet.measured[0].subject,
                "after": sheet.measured[-1].subject,
                "changes": changed(sheet),
            }
        )
    if form == "markdown":
        return changes_markdown(sheet) + "\n"
    return printed(lambda console: show_changes(sheet, console), width)


def changes_markdown(sheet: Sheet) -> str:
    """The changes as a sentence and a table."""
    rows = change_rows(sheet)
    heads = ("call", "handle", sheet.measured[0].label, sheet.measured[-1].label)
    parts = [escaped(change_summary(sheet))]
    if rows:
        parts.append(markdown_table(heads, rows))
    return "\n\n".join(parts)


def show_changes(sheet: Sheet, console: Console) -> None:
    """Print the changes."""
    heads = ("call", "handle", sheet.measured[0].label, sheet.measured[-1].label)
    rows = change_rows(sheet)
    if rows:
        _show(console, heads, rows)
        console.print()
    console.print(Text(change_summary(sheet)))
    show_measured_on(console, (sheet.measured[0], sheet.measured[-1]))


# ---- safe questions ----


def safe_rows(safeties: Sequence[Safety], prefix: str) -> list[tuple[str, ...]]:
    """A row per call: what harms it, what fools it, what it refuses, where it is absent."""
    return [
        (
            f"{prefix}{each.call}",
            _few(each.harmed_by),
            _few(each.fooled_by),
            _few(each.refuses),
            ", ".join(each.absent_in),
        )
        for each in safeties
    ]


def _few(handles: Sequence[str]) -> str:
    """Kinds of handle, or where they are many how many they are; a dash for none."""
    if len(handles) > _MOST_KINDS:
        return f"{len(handles)} kinds"
    return ", ".join(handles) or "-"


SAFE_HEADS = (
    "ask in this order",
    "crashes or hangs with",
    "fooled by",
    "refuses, though valid",
    "not in",
)


def safe_data(measured: Sequence[Measured]) -> dict[str, object]:
    """The safe questions by version and of all together, as plain data."""
    return {
        "schema_version": SCHEMA_VERSION,
        "by_version": {each.label: questions(each) for each in measured},
        "of_all": questions(*measured),
    }


def render_safe(sheet: Sheet, form: str, width: int | None = None) -> str:
    """The safe questions as text: ``table``, ``markdown`` or ``json``."""
    if form == "json":
        return json_document.record(safe_data(sheet.measured))
    if form == "markdown":
        return safe_markdown(sheet) + "\n"
    return printed(lambda console: show_safe(sheet, console), width)


def _safe_sections(sheet: Sheet) -> list[tuple[str, tuple[Safety, ...]]]:
    sections = [(f"HIP {each.label}", questions(each)) for each in sheet.measured]
    if len(sheet.measured) > 1:
        labels = ", ".join(each.label for each in sheet.measured)
        sections.append((f"where the version is not known: {labels}", questions(*sheet.measured)))
    return sections


def safe_markdown(sheet: Sheet) -> str:
    """The safe questions as tables."""
    parts = []
    for title, safeties in _safe_sections(sheet):
        parts += [
            f"### Safe questions: {title}",
            markdown_table(SAFE_HEADS, safe_rows(safeties, sheet.full_name(""))),
        ]
    return "\n\n".join(parts)


def show_safe(sheet: Sheet, console: Console) -> None:
    """Print the safe questions."""
    for title, safeties in _safe_sections(sheet):
        console.print(Text(title, style="bold"))
        _show(console, SAFE_HEADS, safe_rows(safeties, sheet.full_name("")))
        console.print()
    show_measured_on(console, sheet.measured)


def _show(console: Console, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 2, 0, 0))
    for place, head in enumerate(heads):
        table.add_column(head, overflow="fold", no_wrap=place == 0)
    for row in rows:
        table.add_row(*row)
    console.print(table)
