"""The report as one HTML page that needs no other file and no script."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jinja2

from xdiag.render import header, trace, verdicts
from xdiag.render.labels import label, legend
from xdiag.render.matrix import consumer_title, fix_title, matrices, not_run, pattern_title
from xdiag.render.meaning import meaning
from xdiag.render.styles import CSS
from xdiag.render.text import count, printable

if TYPE_CHECKING:
    from xdiag.model import Report, Result


def render(report: Report) -> str:
    """The page: header, matrices whose labels lead to the traces, legend, verdicts, traces."""
    made = matrices(report)
    ordered = [result for matrix in made for result in matrix.ordered()]
    # Ids of cells may hold any character in a report that came from elsewhere; numbers are safe.
    anchors = {
        id(result): f"c{place}" for place, result in enumerate(ordered) if result.outcome.trace
    }
    by_cell = {printable(result.cell.id): anchors.get(id(result), "") for result in ordered}

    def anchor(result: Result | None) -> str:
        return anchors.get(id(result), "")

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("xdiag.render"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
        # Every string is made printable on its way out, so that none can be forgotten.
        finalize=lambda value: printable(value) if type(value) is str else value,
    )
    environment.globals.update(
        anchor=anchor,
        consumer_title=consumer_title,
        count=count,
        css=CSS,
        deciding=verdicts.deciding,
        fix_title=fix_title,
        label=label,
        mark_styles=verdicts.MARK_STYLES,
        explanation=verdicts.EXPLANATION,
        meaning=meaning,
        pattern_title=pattern_title,
        relation=verdicts.relation,
        remedy=verdicts.remedy,
        trace=trace,
    )
    return environment.get_template("report.html").render(
        report=report,
        matrices=made,
        facts=header.facts(report),
        interruption=header.interruption(report),
        legend=legend(report.results, report.target, complete=all(m.complete() for m in made)),
        not_run=not_run(report),
        verdicts=verdicts.ordered(report),
        by_cell=by_cell,
        traced=[result for result in ordered if id(result) in anchors],
    )
