"""One matrix over many runs: what all have seen, and who has seen what where they differ."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.padding import Padding
from rich.text import Text

from xdiag.model import FAULTS
from xdiag.render import html_page, json_document, seen, side_by_side, table
from xdiag.render.header import STANDS_IN
from xdiag.render.labels import Label, label, legend
from xdiag.render.markdown import table as markdown_table
from xdiag.render.matrix import Matrix, arranged, consumer_title
from xdiag.render.styles import TERMINAL
from xdiag.render.terminal import printed, show_pairs
from xdiag.render.text import count, cut, printable
from xdiag.render.text import markdown as escaped
from xdiag.saved import names

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console

    from xdiag.merging import Merged, Row, Seen
    from xdiag.model import Result
    from xdiag.saved import Run

#: In the matrix, where the runs do not agree.
DIFFERS = Label("differs", "warn")

#: Characters of a fact that are shown, and that a row of CSV repeats.
_MOST_CHARACTERS = 500

#: Formats and the endings of the files that they are written to.
FORMATS = {"table": ".txt", "markdown": ".md", "json": ".json", "csv": ".csv", "html": ".html"}


def render(merged: Merged, form: str, width: int | None = None, *, beside: bool = False) -> str:
    """The merged matrix as text in ``form``, a key of ``FORMATS``.

    ``beside`` has a group of columns for each run in the place of one that says where they differ.
    """
    if form == "json":
        return json_document.record(merged)
    if form == "markdown":
        return markdown(merged, beside=beside)
    if form == "csv":
        return rows_as_csv(merged)
    if form == "html":
        return html(merged, beside=beside)
    return printed(lambda console: show(merged, console, beside=beside), width)


# ---- what is said ----


def summary(merged: Merged) -> str:
    """How many runs and cells, how many cells differ, and how many only one of the runs has."""
    text = f"{count(len(merged.runs), 'run')}, {count(len(merged.rows), 'cell')}:"
    if len(merged.runs) == 1:
        return f"{text} nothing to agree or differ with"
    text += f" {len(merged.agreeing)} agree, {len(merged.differing)} differ"
    return f"{text}, {len(merged.alone)} in one run only" if merged.alone else text


def cautions(merged: Merged) -> list[str]:
    """What a reader has to know before the rest, in sentences."""
    software = [run for run in merged.runs if run.target.agent == "software"]
    said = []
    if software and len(software) < len(merged.runs):
        said.append(
            f"{len(software)} of {count(len(merged.runs), 'run')} on the software agent, the others"
            f" on hardware. {STANDS_IN} Where they differ, it may be the agent's doing."
        )
    elif software:
        said.append(STANDS_IN)
    short = sum(run.results < run.planned for run in merged.runs)
    if short:
        said.append(f"{count(short, 'run')} interrupted: fewer cells than were planned.")
    if asked := sum(row.asked_differently for row in merged.rows):
        said.append(
            f"Steps or variables are not the same in all runs in {count(asked, 'cell')}: those are"
            " not the same experiment."
        )
    return said


def run_facts(run: Run) -> tuple[str, ...]:
    """What is told of a run beside its name; ``RUN_HEADS`` stand over it."""
    target = run.target
    cells = f"{run.results} of {run.planned}" if run.results < run.planned else str(run.results)
    facts = (
        target.runtime,
        target.build_id[:12],
        target.agent,
        run.host.system,
        run.xdiag,
        run.started,
        cells,
    )
    return tuple(cut(fact, _MOST_CHARACTERS) for fact in facts)


RUN_HEADS = ("runtime", "build id", "agent", "system", "xdiag", "started", "cells")


@dataclass(frozen=True)
class Told:
    """What some runs have seen in a cell, as texts."""

    mark: Label
    #: The call that failed, and the one that never returned; empty where none did.
    call: str
    runs: tuple[str, ...]


@dataclass(frozen=True)
class Difference:
    """A cell in which runs differ, as texts."""

    cell: str
    told: tuple[Told, ...]
    lacking: tuple[str, ...]
    asked_differently: bool


def differences(merged: Merged) -> list[Difference]:
    """The cells that differ, each with who has seen what."""
    named = names(merged.runs)
    return [
        Difference(
            cell=_cell(row),
            told=tuple(_told(each, named) for each in row.seen),
            lacking=tuple(named[id] for id in merged.lacking(row)),
            asked_differently=row.asked_differently,
        )
        for row in merged.differing
    ]


def _told(each: Seen, named: dict[str, str]) -> Told:
    failed, died = each.result.outcome.call, seen.call_in_flight(each.result)
    calls = [failed, f"died in {died}" if died and died != failed else ""]
    return Told(
        mark=label(each.result),
        call=", ".join(filter(None, calls)),
        runs=tuple(named[id] for id in each.runs),
    )


def hypotheses(merged: Merged) -> list[tuple[str, str]]:
    """Each hypothesis, and how the runs mark it: all alike, or who how."""
    shown = side_by_side.short_names(merged)
    found: dict[str, dict[str, list[str]]] = {}
    for run in merged.runs:
        for hypothesis, mark in run.marks.items():
            found.setdefault(hypothesis, {}).setdefault(mark.value, []).append(shown[run.id])
    return [
        (
            hypothesis,
            next(iter(marks))
            if len(marks) == 1
            else "; ".join(f"{mark}: {', '.join(who)}" for mark, who in marks.items()),
        )
        for hypothesis, marks in found.items()
    ]


def not_run(merged: Merged) -> list[tuple[str, list[Result]]]:
    """The reasons for which cells were not run and in which runs, with the cells.

    The commonest come first.  A reason is that of the first of the runs that did not run a cell.
    """
    shown = side_by_side.short_names(merged)
    reasons: dict[str, list[Result]] = {}
    for row in merged.rows:
        for each in row.seen:
            outcome = each.result.outcome
            if not outcome.reason or outcome.kind in FAULTS:
                continue
            who = ", ".join(shown[id] for id in each.runs)
            told = f"{who}: {outcome.reason}" if len(merged.runs) > 1 else outcome.reason
            reasons.setdefault(told, []).append(each.result)
    return sorted(reasons.items(), key=lambda item: (-len(item[1]), item[0]))


def _cell(row: Row) -> str:
    return f"{row.pattern}/{row.fix}/{row.consumer}"


def partial(merged: Merged) -> list[tuple[tuple[str, ...], list[str]]]:
    """Cells that do not differ and that not all runs have: by the runs that lack them."""
    named = names(merged.runs)
    found: dict[tuple[str, ...], list[str]] = {}
    for row in merged.rows:
        if row.agrees and (lacking := merged.lacking(row)):
            found.setdefault(tuple(named[id] for id in lacking), []).append(_cell(row))
    return list(found.items())


@dataclass(frozen=True)
class _MergedMatrix(Matrix):
    """A matrix whose differing places say so."""

    differing: frozenset[tuple[str, str]] = frozenset()

    def label(self, pattern: str, fix: str) -> Label:
        return DIFFERS if (pattern, fix) in self.differing else super().label(pattern, fix)


def _matrices(merged: Merged) -> list[Matrix]:
    differing = {(row.consumer, row.pattern, row.fix) for row in merged.differing}
    return [
        _MergedMatrix(
            consumer=made.consumer,
            patterns=made.patterns,
            fixes=made.fixes,
            results=made.results,
            differing=frozenset(
                (pattern, fix) for who, pattern, fix in differing if who == made.consumer
            ),
        )
        for made in arranged([row.seen[0].result for row in merged.rows])
    ]


def _legend(
    merged: Merged, made: Sequence[Matrix], *, beside: bool = False
) -> list[tuple[Label, str]]:
    if not merged.runs:
        return []
    shown = [each.result for row in merged.rows if beside or row.agrees for each in row.seen]
    # The newest runtime's, whose remarks hold for a label that older ones share.
    entries = legend(shown, merged.runs[-1].target, complete=all(m.complete() for m in made))
    if merged.differing and not beside:
        entries.append(
            (DIFFERS, "the runs have not seen the same: who has seen what is told below")
        )
    return entries


# ---- on a terminal ----


def show(merged: Merged, console: Console, *, beside: bool = False) -> None:
    """Print the runs, the matrices, and where they differ who has seen what."""
    console.print(Text(summary(merged), style="bold"))
    for caution in cautions(merged):
        console.print(Text.assemble(("caution  ", TERMINAL["warn"]), printable(caution)))
    named = names(merged.runs)
    for run in merged.runs:
        console.print(Text(f"\n{printable(named[run.id])}", overflow="fold"))
        facts = zip(RUN_HEADS, run_facts(run), strict=True)
        line = ", ".join(f"{head} {fact}" for head, fact in facts if fact)
        _below(line, console, style="dim")
    made = _matrices(merged)
    entries = _legend(merged, made, beside=beside)
    if beside:
        side_by_side.show(side_by_side.side_by_side(merged), console)
        table.show_legend(entries, not_run(merged), console)
    else:
        table.show_matrices(made, entries, console, reasons=not_run(merged))
    if weighed := hypotheses(merged):
        console.print(Text("\nwhat the runs make of each explanation", style="bold"))
        console.print()
        show_pairs(console, weighed, style="")
    told = [] if beside else differences(merged)
    if told:
        console.print(Text(f"\n{count(len(told), 'cell')} differ", style="bold"))
    for difference in told:
        console.print()
        console.print(Text(printable(difference.cell), overflow="fold"))
        for each in difference.told:
            seen_as = Text(overflow="fold")
            seen_as.append(each.mark.text, TERMINAL[each.mark.style])
            seen_as.append(printable(f"  {each.call}" if each.call else ""), "dim")
            console.print(Padding(seen_as, (0, 0, 0, 2), expand=False))
            for name in each.runs:
                _below(name, console, indent=6)
        for name in difference.lacking:
            _below(f"not in: {name}", console, style="dim")
        if difference.asked_differently:
            _below("not the same steps or variables in all of them", console, style="dim")
    if lacking := partial(merged):
        console.print(Text("\nnot in every run", style="bold"))
        console.print()
        pairs = [(count(len(cells), "cell"), _not_in(who)) for who, cells in lacking]
        show_pairs(console, pairs, style="")


def _not_in(runs: Iterable[str]) -> str:
    return f"not in: {'; '.join(runs)}"


def _below(text: str, console: Console, *, indent: int = 2, style: str = "") -> None:
    line = Text(printable(text), style=style, overflow="fold")
    console.print(Padding(line, (0, 0, 0, indent), expand=False))


# ---- as Markdown ----


def markdown(merged: Merged, *, beside: bool = False) -> str:
    """The merged matrix in GitHub's dialect."""
    named = names(merged.runs)
    made = _matrices(merged)
    parts = ["# xdiag: runs side by side" if beside else "# xdiag merge", escaped(summary(merged))]
    parts += [f"> **Caution:** {escaped(caution)}" for caution in cautions(merged)]
    rows = [(named[run.id], *run_facts(run)) for run in merged.runs]
    parts.append(markdown_table(("run", *RUN_HEADS), rows))
    for consumer, columns, cells in _columns(merged, made, beside=beside):
        title = escaped(f"{consumer}: {consumer_title(consumer)}")
        parts.append(f"## Consumer {title}\n\n{markdown_table(('pattern', *columns), cells)}")
    if entries := _legend(merged, made, beside=beside):
        meanings = [(mark.text, meaning) for mark, meaning in entries]
        parts += ["## Legend", markdown_table(("label", "meaning"), meanings)]
    if reasons := not_run(merged):
        items = [f"- {count(len(cells), 'cell')}: {escaped(why)}" for why, cells in reasons]
        parts.append("\n".join(["Not run:", "", *items]))
    if weighed := hypotheses(merged):
        parts.append("## What the runs make of each explanation")
        parts.append(markdown_table(("hypothesis", "mark"), weighed))
    if told := [] if beside else differences(merged):
        lines = [
            (difference.cell, each.mark.text, each.call, "; ".join(each.runs))
            for difference in told
            for each in difference.told
        ]
        parts.append(f"## {count(len(told), 'cell')} differ")
        parts.append(markdown_table(("cell", "seen", "call", "by"), lines))
    if lacking := partial(merged):
        items = [f"- {count(len(cells), 'cell')} {escaped(_not_in(who))}" for who, cells in lacking]
        parts += ["## Not in every run", "\n".join(items)]
    return "\n\n".join(parts) + "\n"


def _columns(
    merged: Merged, made: Sequence[Matrix], *, beside: bool
) -> list[tuple[str, list[str], list[tuple[str, ...]]]]:
    """Per consumer the heads of the columns, and a row per pattern."""
    tables = (
        [(one.consumer, [(group.name, group.matrix) for group in one.groups])
         for one in side_by_side.side_by_side(merged)]
        if beside
        else [(matrix.consumer, [("", matrix)]) for matrix in made]
    )  # fmt: skip
    return [
        (
            consumer,
            [f"{name} {fix}".strip() for name, matrix in groups for fix in matrix.fixes],
            [
                (pattern, *(m.label(pattern, fix).text for _, m in groups for fix in m.fixes))
                for pattern in groups[0][1].patterns
            ],
        )
        for consumer, groups in tables
    ]


# ---- as CSV ----

COLUMNS = (
    "pattern",
    "fix",
    "consumer",
    "agrees",
    "label",
    "outcome",
    "code",
    "name",
    "failing_call",
    "died_in_call",
    "signal",
    "status",
    "run",
    "run_id",
    "platform",
    "version",
    "agent",
    "device",
    "system",
    "runtime",
    "build_id",
    "started",
)


def rows_as_csv(merged: Merged) -> str:
    """A row per cell and run."""
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow(COLUMNS)
    named = names(merged.runs)
    runs = {run.id: run for run in merged.runs}
    for row in merged.rows:
        for each in row.seen:
            for id in each.runs:
                texts = _csv_row(row, each, runs[id], named[id])
                writer.writerow([printable(cut(text, _MOST_CHARACTERS)) for text in texts])
    return written.getvalue()


def _csv_row(row: Row, each: Seen, run: Run, name: str) -> tuple[str, ...]:
    outcome, target = each.result.outcome, run.target
    return (
        row.pattern,
        row.fix,
        row.consumer,
        "yes" if row.agrees else "no",
        label(each.result).text,
        outcome.kind.value,
        "" if outcome.code is None else str(outcome.code),
        outcome.name,
        outcome.call,
        seen.call_in_flight(each.result),
        outcome.signal,
        "" if outcome.status is None else str(outcome.status),
        name,
        run.id,
        target.platform,
        target.version,
        target.agent,
        target.device_name,
        run.host.system,
        target.runtime,
        target.build_id,
        run.started,
    )


# ---- as a page ----


def html(merged: Merged, *, beside: bool = False) -> str:
    """One page without other files or scripts; a place that differs leads to who has seen what."""
    named = names(merged.runs)
    made = _matrices(merged)
    told = differences(merged)
    # Names of cells may hold any character; numbers are safe.
    anchors = {difference.cell: f"d{place}" for place, difference in enumerate(told)}
    return html_page.page(
        "merged.html",
        anchors=anchors,
        cautions=cautions(merged),
        differences=told,
        hypotheses=hypotheses(merged),
        heading="xdiag: runs side by side" if beside else "xdiag merge",
        heads=RUN_HEADS,
        legend=_legend(merged, made, beside=beside),
        matrices=made,
        not_run=not_run(merged),
        groups={
            one.consumer: one.groups
            for one in (side_by_side.side_by_side(merged) if beside else ())
        },
        partial=[(cells, _not_in(who)) for who, cells in partial(merged)],
        runs=[(named[run.id], run_facts(run)) for run in merged.runs],
        summary=summary(merged),
        title=f"xdiag: a matrix over {count(len(merged.runs), 'run')}",
        **html_page.named(made),
    )
