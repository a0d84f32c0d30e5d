"""A measured workload: what it ran on, a table, what follows from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from xdiag.render import json_document
from xdiag.render.markdown import table as markdown_table
from xdiag.render.styles import TERMINAL
from xdiag.render.text import count, cut, printable
from xdiag.render.text import markdown as escaped
from xdiag.workload.arrangements import ARRANGEMENTS
from xdiag.workload.conclusions import answer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console

    from xdiag.workload.model import Estimate, Report, Run, Statement, Summary

HEADS = ("arrangement", "driver", "P50 ms", "P90 ms", "P99 ms", "results/s", "batches/s", "runs")
EXPLANATION = (
    "Latency counts from a request's scheduled arrival; +- is the 95 % interval of the mean over"
    " runs (Student's t)."
)
_QUESTIONS = {
    "threads": "Python threads against pthreads",
    "executor": "The model as Python modules against TorchScript, both in Python threads",
    "mixed": "Python threads with modules against pthreads with TorchScript: both differ at once",
    "sharing": "What sharing the device costs, and what gives it back",
}
#: Characters of a program's last line.
_MOST_SAID = 240


def document(report: Report) -> str:
    """The report as JSON; ``workload.model.read`` reads it back."""
    return json_document.record(report)


def show(report: Report, console: Console) -> None:
    """Print what it ran on, the table, notes and statements."""
    for line in header(report):
        console.print(Text(printable(line)), soft_wrap=False)
    if report.summaries:
        table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
        for place, head in enumerate(HEADS):
            table.add_column(head, justify="left" if place < 2 else "right", no_wrap=place < 2)
        for summary in report.summaries:
            style = TERMINAL["fail"] if summary.failures else ""
            cells = row(summary, report.settings.rate)
            table.add_row(*(Text(printable(each)) for each in cells), style=style)
        console.print(table)
        console.print(Text(EXPLANATION))
    for line in notes(report):
        console.print(Text(printable(line)))
    for title, statements in questions(report):
        console.print()
        console.print(Text(title, style="bold"))
        for statement in statements:
            console.print(Text(f"  {printable(statement.text)}"))
    if told := answer(report.statements, report.subject.device):
        console.print()
        console.print(Text(printable(told), style="bold"))


def markdown(report: Report) -> str:
    """The same as Markdown."""
    lines = ["# Workload", "", *(f"- {escaped(line)}" for line in header(report)), ""]
    if report.summaries:
        rows = [row(summary, report.settings.rate) for summary in report.summaries]
        lines += [markdown_table(HEADS, rows), "", escaped(EXPLANATION), ""]
    found = [f"- {escaped(line)}" for line in notes(report)]
    lines += [*found, ""] if found else []
    for title, statements in questions(report):
        lines += [f"## {title}", "", *(f"- {escaped(each.text)}" for each in statements), ""]
    if told := answer(report.statements, report.subject.device):
        lines += [f"**{escaped(told)}**", ""]
    return "\n".join(lines).rstrip() + "\n"


def header(report: Report) -> list[str]:
    """What it ran on, and what was asked, in lines."""
    subject, settings = report.subject, report.settings
    made_for = {
        "cpu": "for CPUs only",
        "cuda": f"for CUDA {subject.cuda}",
        "hip": f"for HIP {subject.hip}",
    }[subject.build]
    lines = [f"xdiag {report.xdiag} workload, {report.started}"]
    if subject.device == "gpu":
        driver = f", driver {subject.driver}" if subject.driver else ""
        lines.append(f"on the GPU {subject.device_name}{driver}")
    else:
        lines.append(f"on a CPU ({subject.device_name}), not a GPU: {subject.no_gpu}")
        lines.append("with a CPU's network: this says nothing about a GPU's scheduling")
    lines.append(
        f"torch {subject.torch} (built {made_for}), Python {subject.python_version},"
        f" {count(subject.processors, 'processor')}: {subject.python} ({subject.because})"
    )
    network = settings.network
    lines.append(
        f"network {network.name}: ResNet-18, {network.width} channels, {network.size} x"
        f" {network.size} pixels; batches of {settings.batch_high} (high) and"
        f" {settings.batch_low} (low)"
    )
    lines.append(
        f"{settings.rate:g} requests/s, {settings.arrivals}; {settings.seconds:g} s a run after"
        f" {settings.warm_seconds:g} s of warm-up; {count(settings.repeats, 'run')} of each"
    )
    lines += [f"set for XSched: {name}={value}" for name, value in report.environment.items()]
    if report.interrupted:
        lines.append("interrupted: what was finished is below")
    return lines


def row(summary: Summary, rate: float) -> tuple[str, ...]:
    """A summary's cells."""
    at_least = ">= " if summary.unserved else ""
    served = ""
    if summary.served_rate is not None:
        served = f"{figure(summary.served_rate)} of {rate:g}"
    percentiles = (summary.p50, summary.p90, summary.p99)
    whole = summary.measured == summary.runs
    return (
        summary.arrangement,
        summary.driver,
        *(f"{at_least}{figure(each)}" if each is not None else "" for each in percentiles),
        served,
        figure(summary.batch_rate) if summary.batch_rate is not None else "",
        str(summary.runs) if whole else f"{summary.measured} of {summary.runs}",
    )


def figure(estimate: Estimate) -> str:
    """A mean with half the width of its interval: ``1.38 +-0.05``."""
    text = _digits(estimate.value)
    if estimate.high is None:
        return text
    return f"{text} +-{_digits(estimate.high - estimate.value)}"


def _digits(value: float) -> str:
    """Three digits that count, and all before the point."""
    decimals = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:.{decimals}f}"


def notes(report: Report) -> Iterator[str]:
    """What is not in the table: failures, requests left unserved, queues passed by, skips."""
    for summary in report.summaries:
        place = f"{summary.arrangement} under {summary.driver}"
        for failure, times in summary.failures.items():
            yield f"{place}: {count(times, 'run')} {cut(failure, _MOST_SAID)}"
        if summary.unserved:
            yield (
                f"{place}: {count(summary.unserved, 'request')} never served; each has waited so"
                " long at least"
            )
    yield from _queues(report.runs)
    reasons: dict[str, list[str]] = {}
    for skip in report.skips:
        reasons.setdefault(skip.reason, []).append(skip.what)
    for reason, skipped in reasons.items():
        yield f"skipped: {', '.join(skipped)}: {reason}"


def _queues(runs: Sequence[Run]) -> Iterator[str]:
    """Whether the launches went through XSched's queues."""
    made = {each.id for each in ARRANGEMENTS if each.queues}
    places = dict.fromkeys((r.arrangement, r.driver) for r in runs if r.arrangement in made)
    for place in places:
        found = [r.queues for r in runs if (r.arrangement, r.driver) == place and r.queues]
        if not found:
            continue
        high = sum(each.high or 0 for each in found)
        low = sum(each.low or 0 for each in found)
        said = f"{place[0]} under {place[1]}: {high} + {low} commands went through XSched's queues"
        if not high and not low:
            said += (
                ", so that it scheduled nothing: launches pass by, they reach queues by its shim"
            )
        yield said


def questions(report: Report) -> Iterator[tuple[str, list[Statement]]]:
    """The statements by what they are about."""
    for about, title in _QUESTIONS.items():
        found = [each for each in report.statements if each.about == about]
        if found:
            yield title, found
