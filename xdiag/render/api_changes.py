"""What changed between two versions of the runtime, and which questions are safe to ask."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from xdiag.api.changes import changes
from xdiag.api.readings import worst
from xdiag.api.safe import questions
from xdiag.model import SCHEMA_VERSION
from xdiag.render import json_document
from xdiag.render.api_table import Sheet, several, show_measured_on, words
from xdiag.render.markdown import table as markdown_table
from xdiag.render.terminal import printed
from xdiag.render.text import count
from xdiag.render.text import markdown as escaped

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console

    from xdiag.api.changes import Change
    from xdiag.api.measured_data import Measured
    from xdiag.api.safe import Safety

    #: What the safe questions are told of: versions, each with the measurements to go by for it.
    ByVersion = Mapping[str, tuple[Measured, ...]]

#: Kinds of handle that are named in one cell of a table.
_MOST_KINDS = 2
#: Columns that a call's name may take beside wide neighbours.
_NAME = 28
#: On a terminal of fewer columns a table would break words in the middle.
_NARROW = 60

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
    """Call, kinds of handle, before, after: kinds that changed alike in one row.

    Calls that only one of the versions has are left out: the summary names them.
    """
    merged: dict[tuple[str, str, str], list[str]] = {}
    for change in _answers(changed(sheet)):
        was = words(change.call, change.handle, change.before)
        now = words(change.call, change.handle, change.after)
        merged.setdefault((change.call, was, now), []).append(change.handle)
    return [
        (sheet.full_name(call), several(handles, sheet.handles), was, now)
        for (call, was, now), handles in merged.items()
    ]


def _answers(found: Sequence[Change]) -> list[Change]:
    """Changes of calls that both versions have."""
    return [each for each in found if not (each.before.absent or each.after.absent)]


def change_summary(sheet: Sheet) -> list[str]:
    """What changed in a few sentences."""
    found = changed(sheet)
    before, after = sheet.measured[0].label, sheet.measured[-1].label
    if not found:
        return [f"From {before} to {after} nothing changed in what was asked of both."]
    answers = _answers(found)
    sentences = [
        f"From {before} to {after}: {count(len(answers), 'answer')} of"
        f" {count(len({each.call for each in answers}), 'call')} changed."
    ]
    moves = Counter(
        tuple(worst(each.call, each.handle, entry).value for entry in (each.before, each.after))
        for each in answers
    )
    told = [f"{n} from {was} to {now}" for (was, now), n in moves.most_common() if was != now]
    if told:
        sentences.append(f"Of these {', '.join(told)}.")
    for title, calls in (
        ("New", [each.call for each in found if each.before.absent]),
        ("Gone", [each.call for each in found if each.after.absent]),
    ):
        if calls:
            named = ", ".join(sheet.full_name(call) for call in dict.fromkeys(calls))
            sentences.append(f"{title}: {named}.")
    return sentences


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
    parts = [escaped(" ".join(change_summary(sheet)))]
    if rows:
        parts.append(markdown_table(heads, rows))
    return "\n\n".join(parts)


def show_changes(sheet: Sheet, console: Console) -> None:
    """Print the changes."""
    heads = ("call", "handle", sheet.measured[0].label, sheet.measured[-1].label)
    rows = change_rows(sheet)
    if rows and console.width < _NARROW:
        _show_narrow(console, heads, rows)
    elif rows:
        # A call is named once, and long names give way to the kinds of handle.
        calls = [row[0] for row in rows]
        named = [
            (call if place == 0 or calls[place - 1] != call else "", *row[1:])
            for place, (call, row) in enumerate(zip(calls, rows, strict=True))
        ]
        _show(console, heads, named, width=_NAME)
        console.print()
    for sentence in change_summary(sheet):
        console.print(Text(sentence))
    console.print()
    show_measured_on(console, (sheet.measured[0], sheet.measured[-1]))


def _show_narrow(console: Console, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """The same without a table: a call, its kinds of handle, and what each version says below."""
    *_, before, after = heads
    named = ""
    for call, handles, was, now in rows:
        if call != named:
            console.print(Text(call, style="bold"))
            named = call
        for indent, line in ((2, handles), (4, f"{before}: {was}"), (4, f"{after}: {now}")):
            console.print(Padding(Text(line), (0, 0, 0, indent)))
    console.print()


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


def safe_data(sheet: Sheet, by_version: ByVersion) -> dict[str, object]:
    """The safe questions by version and of all together, as plain data."""
    return {
        "schema_version": SCHEMA_VERSION,
        "by_version": {label: questions(*each) for label, each in by_version.items()},
        "of_all": questions(*sheet.measured),
    }


def render_safe(
    sheet: Sheet, form: str, by_version: ByVersion | None = None, width: int | None = None
) -> str:
    """The safe questions as text: ``table``, ``markdown`` or ``json``.

    ``by_version`` says which versions they are told of; without it, each that was measured.
    """
    by_version = _each(sheet) if by_version is None else by_version
    if form == "json":
        return json_document.record(safe_data(sheet, by_version))
    if form == "markdown":
        return _safe_markdown(sheet, by_version) + "\n"
    return printed(lambda console: show_safe(sheet, console, by_version), width)


def _each(sheet: Sheet) -> dict[str, tuple[Measured, ...]]:
    return {each.label: (each,) for each in sheet.measured}


def _safe_sections(sheet: Sheet, by_version: ByVersion) -> list[tuple[str, tuple[Safety, ...]]]:
    sections = []
    for label, each in by_version.items():
        title = f"HIP {label}"
        if len(each) > 1:
            title += f", not measured: safe on {' and '.join(side.label for side in each)}"
        sections.append((title, questions(*each)))
    if len(by_version) > 1:
        labels = ", ".join(by_version)
        sections.append((f"where the version is not known: {labels}", questions(*sheet.measured)))
    return sections


def _safe_markdown(sheet: Sheet, by_version: ByVersion) -> str:
    parts = []
    for title, safeties in _safe_sections(sheet, by_version):
        parts += [
            f"### Safe questions: {title}",
            markdown_table(SAFE_HEADS, safe_rows(safeties, sheet.full_name(""))),
        ]
    return "\n\n".join(parts)


def show_safe(sheet: Sheet, console: Console, by_version: ByVersion | None = None) -> None:
    """Print the safe questions; see ``render_safe``."""
    for title, safeties in _safe_sections(sheet, by_version or _each(sheet)):
        console.print(Text(title, style="bold"))
        _show(console, SAFE_HEADS, safe_rows(safeties, sheet.full_name("")))
        console.print()
    show_measured_on(console, sheet.measured)


def _show(
    console: Console,
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    width: int | None = None,
) -> None:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 2, 0, 0))
    for place, head in enumerate(heads):
        first = place == 0
        table.add_column(
            head, overflow="fold", no_wrap=first and not width, max_width=width if first else None
        )
    for row in rows:
        table.add_row(*row)
    console.print(table)
