"""The trace of one cell: every step by every actor, what was loaded, and what it means."""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from xdiag import platforms
from xdiag.model import OutcomeKind
from xdiag.render import text
from xdiag.render.labels import label
from xdiag.render.matrix import fix_title, pattern_title
from xdiag.render.meaning import meaning

if TYPE_CHECKING:
    from rich.console import Console

    from xdiag.model import Identity, Outcome, Report, Result, Step, StepRecord, Target

HEADS = ("#", "actor", "thread", "call", "handle", "on", "result", "µs")

#: Below this width a terminal shows the handle under the call, and threads below the table.
_NARROW = 120


@dataclass(frozen=True)
class Row:
    """One line of a trace, as texts; ``style`` is a key of ``labels.STYLES``."""

    number: str
    actor: str
    thread: str
    call: str
    handle: str
    runtime: str
    result: str
    microseconds: str
    phase: str
    style: str

    def texts(self) -> tuple[str, ...]:
        """What stands under each of ``HEADS``."""
        return (
            self.number,
            self.actor,
            self.thread,
            self.call,
            self.handle,
            self.runtime,
            self.result,
            self.microseconds,
        )


def rows(result: Result) -> list[Row]:
    """The trace line by line; all texts are printable."""
    return [
        _row(record, _step(result, record), result.cell.platform) for record in result.outcome.trace
    ]


def phases(result: Result) -> list[tuple[str, list[Row]]]:
    """The trace in its stretches of set-up, fix and use."""
    return [
        (phase, list(members)) for phase, members in groupby(rows(result), key=lambda r: r.phase)
    ]


def _notes(result: Result) -> list[str]:
    """Why steps were not asked, once per reason."""
    reasons = (r.error for r in result.outcome.trace if r.state == "skipped" and r.error)
    return [f"not asked: {text.printable(reason)}" for reason in dict.fromkeys(reasons)]


def _loaded(outcome: Outcome) -> list[str]:
    """The runtimes that were loaded, one line each."""
    return [
        text.printable(f"{name} = {_identity(identity)}")
        for name, identity in (*outcome.runtimes.items(), *outcome.libraries.items())
    ]


def heading(result: Result) -> str:
    """The cell and its outcome in one line."""
    cell = result.cell
    fix = "" if cell.fix == "none" else f"; fix: {fix_title(cell.fix)}"
    return text.printable(f"{cell.id}: {label(result).text} ({pattern_title(cell.pattern)}{fix})")


def _step(result: Result, record: StepRecord) -> Step | None:
    steps = result.cell.steps
    return steps[record.step] if 0 <= record.step < len(steps) else None


def _row(record: StepRecord, step: Step | None, platform: str) -> Row:
    call, runtime = record.call, record.runtime
    if step is not None:
        # The arguments as the step is written, with how often it is made and whether it may fail.
        call += f"({str(step).rpartition('(')[2]}"
        if step.verb in ("open", "xsched", "torch"):
            runtime = step.result
    return Row(
        number=str(record.step),
        actor=text.printable(record.actor),
        thread=str(record.tid or ""),
        call=text.printable(call),
        handle="" if record.handle is None else hex(record.handle),
        runtime=text.printable(runtime),
        result=text.printable(_result(record)),
        microseconds="" if record.nanoseconds is None else f"{record.nanoseconds / 1000:.1f}",
        phase=record.phase,
        style=_style(record, platform),
    )


def _result(record: StepRecord) -> str:
    if record.state == "unsupported":
        return "no such call"
    if record.state == "skipped":
        return "not asked"
    if record.state == "unreached":
        return "not reached"
    if record.state != "done":
        word = "failed" if record.state == "failed" else "did not return"
        return f"{word}: {record.error}" if record.error else word
    told = "done" if record.code is None else f"{record.code} {record.name}".rstrip()
    values = ", ".join(
        f"{name} = {_value(record, value)}" if name else _value(record, value)
        for name, value in record.values
    )
    made = f" ({record.made} made)" if record.made > 1 else ""
    return f"{told}{made}" + (f": {values}" if values else "")


def _value(record: StepRecord, value: int) -> str:
    # A version is the one large number that nobody reads in hexadecimal.
    return str(value) if record.call.endswith("Version") else text.number(value)


def _style(record: StepRecord, platform: str) -> str:
    if record.state == "unfinished":
        return "fault"
    if record.state == "failed":
        return "error"
    if record.state != "done":
        return "absent"
    if record.code in platforms.get(platform).refusals:
        return "refused"
    return "error" if record.failed else "ok"


def _identity(identity: Identity) -> str:
    device = f"{os.major(identity.device):02x}:{os.minor(identity.device):02x}"
    build = f", build id {identity.build_id}" if identity.build_id else ""
    return (
        f"{identity.path}{build}, device {device} inode {identity.inode},"
        f" namespace {identity.namespace}"
    )


def facts(result: Result) -> list[str]:
    """What stands below a trace, before its meaning."""
    outcome = result.outcome
    variables = result.cell.environment.items()
    started = [text.printable(f"started with {name}={value}") for name, value in variables]
    lines = [*_loaded(outcome), *started, *_notes(result)]
    if outcome.message and outcome.kind is not OutcomeKind.OK:
        lines.append(f"message: {text.printable(outcome.message)}")
    if outcome.processes > 1:
        lines.append(
            f"{outcome.processes} processes: a call that ended one was left out in the next, so"
            " that the rest could be asked"
        )
    return lines


# ---- as text ----


def _phased(result: Result) -> list[tuple[str, ...]]:
    """Rows with the phase before them, where it begins."""
    table: list[tuple[str, ...]] = []
    for phase, members in phases(result):
        table += [(phase if row is members[0] else "", *row.texts()) for row in members]
    return table


def plain(result: Result, target: Target) -> str:
    """The trace as text without any mark-up."""
    from tabulate import tabulate

    parts = [heading(result)]
    if table := _phased(result):
        parts.append(tabulate(table, ("phase", *HEADS), tablefmt="simple", disable_numparse=True))
    if below := facts(result):
        parts.append("\n".join(below))
    parts.append("\n".join(meaning(result, target)))
    return "\n\n".join(parts) + "\n"


def markdown(result: Result, target: Target) -> str:
    """The trace as Markdown: a table, what was loaded, what it means."""
    from tabulate import tabulate

    parts = [f"### {text.markdown(heading(result))}"]
    table = [tuple(text.markdown(entry) for entry in row) for row in _phased(result)]
    if table:
        heads = ("phase", "\\#", *HEADS[1:])
        parts.append(tabulate(table, heads, tablefmt="github", disable_numparse=True))
    if below := facts(result):
        parts.append("\n".join(f"- {text.markdown(fact)}" for fact in below))
    parts.append("\n".join(text.markdown(line) for line in meaning(result, target)))
    return "\n\n".join(parts) + "\n"


# ---- on a terminal ----


def probe_text(report: Report, width: int | None = None) -> str:
    """What ``show_probe`` prints, as plain text."""
    from xdiag.render.terminal import printed

    return printed(lambda console: show_probe(report, console), width)


def show_probe(report: Report, console: Console) -> None:
    """Print what the report was made on, then the trace of each of its cells."""
    from rich.text import Text

    from xdiag.render.hanging import Hanging
    from xdiag.render.header import summary

    for line in summary(report):
        console.print(Hanging(Text(text.printable(line), style="dim", overflow="fold")))
    for result in report.results:
        console.print()
        show(result, report.target, console)


def show(result: Result, target: Target, console: Console) -> None:
    """Print the trace of one cell."""
    from rich.padding import Padding
    from rich.text import Text

    from xdiag.render.hanging import Hanging
    from xdiag.render.styles import TERMINAL

    console.print(Hanging(Text(heading(result), style=TERMINAL[label(result).style])))
    narrow = console.width < _NARROW
    if result.outcome.trace:
        console.print()
        console.print(_terminal_table(result, narrow=narrow))
    for line in (*(_threads(result) if narrow else ()), *facts(result)):
        console.print(Hanging(Text(line, style="dim", overflow="fold"), len("A = ")))
    console.print()
    for line in meaning(result, target):
        told = Hanging(Text(line, overflow="fold"))
        console.print(Padding(told, (0, 0, 0, 2), expand=False))


def _threads(result: Result) -> list[str]:
    """Who the actors were, where there is no column for it."""
    threads: dict[str, dict[int, None]] = {}
    for record in result.outcome.trace:
        if record.tid:
            threads.setdefault(record.actor, {})[record.tid] = None
    told = [f"{text.printable(actor)} {', '.join(map(str, ids))}" for actor, ids in threads.items()]
    return [f"threads: {'; '.join(told)}"] if told else []


def _terminal_table(result: Result, *, narrow: bool) -> object:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from xdiag.render.styles import TERMINAL

    heads = ("#", "actor", "call", "on", "result", "µs") if narrow else HEADS
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for head in heads:
        numeric = head in ("#", "µs")
        table.add_column(
            head, justify="right" if numeric else "left", overflow="fold", no_wrap=numeric
        )
    call_column = heads.index("call")
    for phase, members in phases(result):
        marks = [Text()] * len(heads)
        marks[call_column] = Text(f"[{phase}]", style="bold")
        table.add_row(*marks)
        for row in members:
            texts = row.texts()
            if narrow:
                # A driver call's arguments take too much room here; its handle stands below it.
                driver = row.runtime and not row.call.startswith("open(")
                call = row.call.partition("(")[0] if driver else row.call
                texts = (
                    row.number,
                    row.actor,
                    f"{call}\n{row.handle}".rstrip(),
                    row.runtime,
                    row.result,
                    row.microseconds,
                )
            styled = [Text(entry) for entry in texts]
            styled[heads.index("result")].stylize(TERMINAL[row.style])
            table.add_row(*styled)
        table.add_section()
    return table
