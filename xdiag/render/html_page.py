"""The report as one HTML page that needs no other file and no script.

The page is read on a telephone, printed, and read aloud: see ``tests/render/test_html.py`` for what
it is held to.  A trace is hidden until a link leads to it (``:target``), which every browser knows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jinja2

from xdiag.render import header, trace, verdicts
from xdiag.render.labels import label, legend
from xdiag.render.matrix import consumer_title, fix_title, matrices, not_run, pattern_title
from xdiag.render.meaning import meaning
from xdiag.render.styles import CSS
from xdiag.render.text import count, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xdiag.model import Report, Result
    from xdiag.render.matrix import Matrix


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

    return page(
        "report.html",
        anchor=anchor,
        by_cell=by_cell,
        deciding=verdicts.deciding,
        explanation=verdicts.EXPLANATION,
        facts=header.facts(report),
        interruption=header.interruption(report),
        label=label,
        legend=legend(report.results, report.target, complete=all(m.complete() for m in made)),
        mark_styles=verdicts.MARK_STYLES,
        matrices=made,
        meaning=meaning,
        not_run=not_run(report),
        relation=verdicts.relation,
        remedy=verdicts.remedy,
        report=report,
        summary=header.summary(report),
        title=f"xdiag report: {report.target.runtime}",
        trace=trace,
        traced=[result for result in ordered if id(result) in anchors],
        verdicts=verdicts.ordered(report),
        **named(made),
    )


def page(template: str, **context: Any) -> str:
    """A page from its template; every text in it is escaped and made printable."""
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
        consumer_title=consumer_title,
        count=count,
        css=CSS,
        fix_title=fix_title,
        pattern_title=pattern_title,
    )
    return environment.get_template(template).render(context)


def named(made: Sequence[Matrix]) -> dict[str, list[str]]:
    """The patterns and fixes of matrices, for a list of what they are."""
    return {
        "patterns": list(dict.fromkeys(pattern for m in made for pattern in m.patterns)),
        "fixes": list(dict.fromkeys(fix for m in made for fix in m.fixes)),
    }
