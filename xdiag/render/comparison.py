"""What changed between two matrices: for a terminal, for a pull request, for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.padding import Padding
from rich.text import Text

from xdiag.render import json_document, seen
from xdiag.render.labels import Label, label
from xdiag.render.markdown import table as markdown_table
from xdiag.render.styles import TERMINAL
from xdiag.render.terminal import printed, show_pairs
from xdiag.render.text import count, cut, printable
from xdiag.render.text import markdown as escaped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from xdiag.comparison import Change, Comparison, VerdictChange
    from xdiag.model import Result
    from xdiag.saved import Run

#: Rows that a section of Markdown has at most: a comment on GitHub holds 65,536 characters.
_MOST_ROWS = 60
#: Cells of only one run that are named; JSON names them all.
_MOST_NAMES = 12
#: Characters of a value in Markdown, and on a terminal: a library path may be long.
_MOST_CHARACTERS, _MOST_ON_TERMINAL = 200, 2000

_SECTIONS = (
    ("worse", "got worse"),
    ("better", "got better"),
    ("otherwise", "changed otherwise"),
)


def render(made: Comparison, form: str, width: int | None = None) -> str:
    """The comparison as text: ``table``, ``markdown`` or ``json``."""
    if form == "json":
        return json_document.record(made)
    if form == "markdown":
        return markdown(made)
    return printed(lambda console: show(made, console), width)


def summary(made: Comparison) -> str:
    """What changed in one sentence."""
    if made.identical:
        if made.before.id == made.after.id:
            return f"both are one and the same run ({count(made.alike, 'cell')})"
        return (
            f"nothing differs: {count(made.alike, 'cell')} with the same outcome, on the same"
            f" runtime and machine ({_version(made.after)})"
        )
    parts = [
        f"{count(len(made.worse), 'cell')} got worse",
        f"{len(made.better)} got better",
        f"{len(made.otherwise)} changed otherwise",
        f"{made.alike} alike",
    ]
    parts += [
        f"{len(cells)} only {side}"
        for side, cells in (("before", made.only_before), ("after", made.only_after))
        if cells
    ]
    return ", ".join(parts)


# ---- what a section says ----


def _marks(change: Change) -> tuple[Label, Label]:
    return label(change.before), label(change.after)


def _how_it_ended(result: Result) -> str:
    """The call that failed, and the one that never returned."""
    failed, died = result.outcome.call, seen.call_in_flight(result)
    ended = f"died in {died}" if died and died != failed else ""
    return ", ".join(filter(None, (failed, ended)))


def _details(change: Change) -> str:
    """What the two labels do not tell, in one line."""
    parts = []
    was, now = _how_it_ended(change.before), _how_it_ended(change.after)
    if was != now:
        parts.append(f"{was or 'no call'} -> {now or 'no call'}" if was and now else was or now)
    elif now:
        parts.append(now)
    parts += [f"{a.call} ({a.actor}): {a.before} -> {a.after}" for a in change.answers]
    if change.copies is not None:
        parts.append(f"loaded copies: {change.copies[0] or 'none'} -> {change.copies[1] or 'none'}")
    reasons = [r.outcome.reason for r in (change.before, change.after) if r.outcome.reason]
    parts += dict.fromkeys(reasons)
    if change.asked_differently:
        parts.append("not the same steps or variables")
    return cut("; ".join(parts), _MOST_ON_TERMINAL)


def _cell(change: Change) -> str:
    return f"{change.pattern}/{change.fix}/{change.consumer}"


def _sound(change: Change) -> str:
    return "sound story" if change.sound else ""


def _version(run: Run) -> str:
    """The runtime's version and what executes below it."""
    target = run.target
    agent = "software agent" if target.agent == "software" else target.device_name or "hardware"
    return f"{target.platform.upper()} {target.version or 'of unknown version'}, {agent}"


def run_facts(run: Run) -> str:
    """A run in one line."""
    target = run.target
    cells = f"{run.results} of {run.planned} cells" if run.results < run.planned else ""
    parts = (
        _version(run),
        target.build_id and f"build id {target.build_id[:12]}",
        run.host.system,
        f"xdiag {run.xdiag}",
        run.started,
        cells or count(run.results, "cell"),
    )
    return ", ".join(cut(part, _MOST_CHARACTERS) for part in parts if part)


def _hypothesis(change: VerdictChange) -> str:
    return cut(change.hypothesis, _MOST_CHARACTERS)


def _mark(verdict: str) -> str:
    return verdict or "(not weighed)"


def _names(cells: Sequence[str]) -> str:
    shown = ", ".join(cells[:_MOST_NAMES])
    more = len(cells) - _MOST_NAMES
    return f"{shown} and {more} more" if more > 0 else shown


# ---- on a terminal ----


def show(made: Comparison, console: Console) -> None:
    """Print the comparison; one line where nothing differs."""
    for caution in made.cautions:
        # First of all: nothing below may be read without it.
        line = Text.assemble(("caution  ", TERMINAL["warn"]), printable(caution))
        console.print(Text("", overflow="fold").append_text(line))
    if made.identical:
        console.print(Text(summary(made)))
        return
    show_pairs(console, [("before", run_facts(made.before)), ("after", run_facts(made.after))])
    if made.differences:
        console.print(Text("\nruntime and machine", style="bold"))
        console.print()
        _show_differences(made, console)
    for how, told in _SECTIONS:
        changes = getattr(made, how)
        if changes:
            console.print(Text(f"\n{count(len(changes), 'cell')} {told}", style="bold"))
            console.print()
            _show_changes(changes, console)
    for side, cells in (("before", made.only_before), ("after", made.only_after)):
        if cells:
            console.print(Text(f"\n{count(len(cells), 'cell')} only {side}", style="bold"))
            names = Text(printable(_names(cells)), overflow="fold")
            console.print(Padding(names, (0, 0, 0, 2), expand=False))
    if made.verdicts:
        console.print(Text("\nverdicts", style="bold"))
        console.print()
        pairs = [(_hypothesis(v), f"{_mark(v.before)} -> {_mark(v.after)}") for v in made.verdicts]
        show_pairs(console, pairs, style="")
    console.print(Text(f"\n{summary(made)}"))


def _show_differences(made: Comparison, console: Console) -> None:
    for difference in made.differences:
        console.print(Text(printable(difference.what)))
        for sign, value in (("-", difference.before), ("+", difference.after)):
            shown = printable(cut(value, _MOST_ON_TERMINAL)) or "(none)"
            line = Text(f"{sign} {shown}", overflow="fold")
            console.print(Padding(line, (0, 0, 0, 2), expand=False))


def _show_changes(changes: Sequence[Change], console: Console) -> None:
    for change in changes:
        was, now = _marks(change)
        head = Text(overflow="fold")
        head.append(printable(_cell(change)))
        head.append("  ")
        head.append(was.text, TERMINAL[was.style])
        head.append(" -> ")
        head.append(now.text, TERMINAL[now.style])
        if change.sound:
            head.append(f"  ({_sound(change)})")
        console.print(head)
        if details := _details(change):
            line = Text(printable(details), style="dim", overflow="fold")
            console.print(Padding(line, (0, 0, 0, 4), expand=False))


# ---- as Markdown ----


def markdown(made: Comparison) -> str:
    """For a pull request: what got worse first, what did not change in a number."""
    parts = [f"## xdiag compare: {escaped(summary(made))}"]
    parts += [f"> **Caution:** {escaped(caution)}" for caution in made.cautions]
    if made.identical:
        return "\n\n".join(parts) + "\n"
    parts.append(
        markdown_table(
            ("", "run"), [("before", run_facts(made.before)), ("after", run_facts(made.after))]
        )
    )
    for how, told in _SECTIONS:
        if changes := getattr(made, how):
            parts.append(f"### {count(len(changes), 'cell')} {told}")
            parts.append(
                _limited(
                    ("cell", "before", "after", "", "details"),
                    [
                        (_cell(c), *(mark.text for mark in _marks(c)), _sound(c), _details(c))
                        for c in changes
                    ],
                )
            )
    if made.verdicts:
        parts.append("### Verdicts")
        rows = [(_hypothesis(v), _mark(v.before), _mark(v.after)) for v in made.verdicts]
        parts.append(_limited(("hypothesis", "before", "after"), rows))
    for side, cells in (("before", made.only_before), ("after", made.only_after)):
        if cells:
            parts.append(f"### {count(len(cells), 'cell')} only {side}")
            parts.append(escaped(cut(_names(cells), 10 * _MOST_CHARACTERS)))
    if made.differences:
        parts.append("### Runtime and machine")
        facts = [(d.what, d.before or "(none)", d.after or "(none)") for d in made.differences]
        parts.append(_limited(("", "before", "after"), facts))
    return "\n\n".join(parts) + "\n"


def _limited(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    shown = [[cut(text, _MOST_CHARACTERS) for text in row] for row in rows[:_MOST_ROWS]]
    made = markdown_table(heads, shown)
    more = len(rows) - _MOST_ROWS
    return f"{made}\n\nand {more} more (--json has them all)" if more > 0 else made
