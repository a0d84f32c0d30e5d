"""Latencies as a picture: a line for each arrangement and driver, on a logarithmic axis."""

from __future__ import annotations

import importlib
import importlib.util
import io
import math
from typing import TYPE_CHECKING, Any

from xdiag.errors import CannotRun
from xdiag.model import Record
from xdiag.render.html_page import page
from xdiag.render.text import cut
from xdiag.render.workload import header

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xdiag.workload.model import Estimate, Report

#: Pixels.
_LEFT, _RIGHT, _TOP, _LINE, _BOTTOM, _WIDTH = 230, 30, 84, 26, 56, 960
#: Colour-blind safe (Okabe and Ito), and told apart by their shapes as well.
_COLOURS = {"P50": "#0072b2", "P90": "#e69f00", "P99": "#d55e00"}
_SHAPES = {"P50": "o", "P90": "s", "P99": "^"}
#: Pixels by which a line's percentiles lie apart, so that their intervals do not hide each other.
_LIFT = {"P50": -5, "P90": 0, "P99": 5}
#: Characters of a line above the picture.
_MOST = 130
_EXPLANATION = (
    "Latency of the high-priority worker, from a request's scheduled arrival: means over runs, with"
    " their 95 % intervals (Student's t)."
)
#: Steps of a decade.
_STEPS = (1, 2, 5)


class Mark(Record, frozen=True):
    """One percentile of a line, with its interval, in milliseconds."""

    name: str
    value: float
    low: float
    high: float


class Line(Record, frozen=True):
    """An arrangement under a driver."""

    label: str
    marks: tuple[Mark, ...]


def lines(report: Report) -> tuple[Line, ...]:
    """What has latencies.  Raises CannotRun where nothing has."""
    found = []
    for summary in report.summaries:
        named = (("P50", summary.p50), ("P90", summary.p90), ("P99", summary.p99))
        marks = tuple(_mark(name, each) for name, each in named if each is not None)
        if marks:
            bound = " (at least)" if summary.unserved else ""
            found.append(Line(f"{summary.arrangement}, {summary.driver}{bound}", marks))
    if not found:
        raise CannotRun("there is nothing to draw: no run has latencies")
    return tuple(found)


def _mark(name: str, estimate: Estimate) -> Mark:
    # An interval may reach below zero, which no latency and no logarithm does.
    low = estimate.value if estimate.low is None else max(estimate.low, estimate.value / 10)
    high = estimate.value if estimate.high is None else estimate.high
    return Mark(name, estimate.value, low, high)


def ticks(drawn: Sequence[Line]) -> list[float]:
    """1, 2 and 5 of each decade, from the last below all marks to the first above."""
    values = [value for line in drawn for mark in line.marks for value in (mark.low, mark.high)]
    least, most = max(min(values), 1e-6), max(*values, 1e-6)
    first, last = math.floor(math.log10(least)), math.ceil(math.log10(most))
    every = [step * 10.0**decade for decade in range(first, last + 1) for step in _STEPS]
    begin = max((place for place, each in enumerate(every) if each <= least), default=0)
    end = next((place for place, each in enumerate(every) if each >= most), len(every) - 1)
    return every[begin : max(end, begin + 1) + 1]


def svg(report: Report) -> str:
    """The picture as SVG.  Raises CannotRun where there is nothing to draw."""
    drawn = lines(report)
    axis = ticks(drawn)
    width = _WIDTH - _LEFT - _RIGHT
    reach = math.log10(axis[-1] / axis[0])

    def x(value: float) -> str:
        return f"{_LEFT + width * math.log10(max(value, axis[0]) / axis[0]) / reach:.1f}"

    return page(
        "workload.svg",
        axis=[(f"{each:g}", x(each)) for each in axis],
        bottom=_TOP + _LINE * len(drawn),
        colours=_COLOURS,
        explanation=_EXPLANATION,
        header=_title(report),
        height=_TOP + _LINE * len(drawn) + _BOTTOM,
        left=_LEFT,
        lines=[(line, _TOP + _LINE * place + _LINE // 2) for place, line in enumerate(drawn)],
        lift=_LIFT,
        shapes=_SHAPES,
        top=_TOP,
        width=_WIDTH,
        x=x,
    )


def _title(report: Report) -> list[str]:
    """What it ran on."""
    return [cut(line, _MOST) for line in header(report)[1:3]]


def can_draw_png() -> bool:
    """Whether matplotlib is here, which draws what no template can."""
    return importlib.util.find_spec("matplotlib") is not None


def png(report: Report) -> bytes:
    """The picture as PNG.  Raises CannotRun where there is nothing to draw, or no matplotlib."""
    if not can_draw_png():
        raise CannotRun("a PNG needs matplotlib, which is not here; write an .svg instead")
    drawn = lines(report)
    pyplot: Any = importlib.import_module("matplotlib.figure")
    figure = pyplot.Figure(figsize=(_WIDTH / 96, 1.6 + 0.3 * len(drawn)), layout="constrained")
    axes = figure.subplots()
    for name, colour in _COLOURS.items():
        marks = [
            (m, place) for place, line in enumerate(drawn) for m in line.marks if m.name == name
        ]
        axes.errorbar(
            [mark.value for mark, _ in marks],
            [place + _LIFT[name] / _LINE for _, place in marks],
            xerr=[[m.value - m.low for m, _ in marks], [m.high - m.value for m, _ in marks]],
            fmt=_SHAPES[name], color=colour, label=name, capsize=3, linestyle="none",
        )  # fmt: skip
    axes.set_xscale("log")
    axis = ticks(drawn)
    axes.set_xticks(axis, [f"{each:g}" for each in axis])
    axes.minorticks_off()
    axes.set_xlim(axis[0], axis[-1])
    axes.set_yticks(range(len(drawn)), [line.label for line in drawn])
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3)
    axes.set_xlabel("latency in ms (logarithmic)")
    axes.set_title("\n".join(_title(report)), fontsize="small", loc="left")
    figure.legend(loc="outside right upper")
    written = io.BytesIO()
    figure.savefig(written, format="png", dpi=150)
    return written.getvalue()
