"""The report as Markdown in GitHub's dialect, to be pasted into a bug report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tabulate import tabulate

from xdiag.model import FAULTS, Support
from xdiag.render import header, trace, verdicts
from xdiag.render.labels import legend
from xdiag.render.matrix import Matrix, consumer_title, fix_title, matrices, not_run, pattern_title
from xdiag.render.text import count
from xdiag.render.text import markdown as escaped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xdiag.model import Report, Result


def render(report: Report) -> str:
    """The report, with the trace of one fault: the most telling one."""
    made = matrices(report)
    parts = ["# xdiag report"]
    if interrupted := header.interruption(report):
        parts.append(f"**{interrupted}**")
    parts.append(table(("", ""), header.facts(report)))
    parts += [_matrix(matrix) for matrix in made]
    parts += _legend(report, made)
    parts += _verdicts(report)
    if (fault := _telling_fault(report, made)) is not None:
        parts += ["## A fault, step by step", trace.markdown(fault, report.target).rstrip()]
    return "\n\n".join(parts) + "\n"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A pipe table whose cells show exactly the texts given."""
    return tabulate(
        [[escaped(text) for text in row] for row in rows],
        [escaped(head) for head in heads],
        tablefmt="github",
        disable_numparse=True,
    )


def _matrix(matrix: Matrix) -> str:
    rows = [
        (pattern, *(matrix.label(pattern, fix).text for fix in matrix.fixes))
        for pattern in matrix.patterns
    ]
    title = escaped(f"{matrix.consumer}: {consumer_title(matrix.consumer)}")
    return f"## Consumer {title}\n\n{table(('pattern', *matrix.fixes), rows)}"


def _legend(report: Report, made: Sequence[Matrix]) -> list[str]:
    entries = legend(report.results, report.target, complete=all(m.complete() for m in made))
    if not entries:
        return []
    parts = [
        "## Legend",
        table(("label", "meaning"), [(mark.text, meaning) for mark, meaning in entries]),
    ]
    fixes = dict.fromkeys(fix for matrix in made for fix in matrix.fixes)
    patterns = dict.fromkeys(pattern for matrix in made for pattern in matrix.patterns)
    parts.append(table(("fix", "what it is"), [(fix, fix_title(fix)) for fix in fixes]))
    parts.append(table(("pattern", "what it is"), [(p, pattern_title(p)) for p in patterns]))
    if reasons := not_run(report):
        lines = [f"- {count(len(results), 'cell')}: {escaped(why)}" for why, results in reasons]
        parts.append("\n".join(["Not run:", "", *lines]))
    return parts


def _verdicts(report: Report) -> list[str]:
    if not report.verdicts:
        return []
    parts = ["## Verdicts", verdicts.EXPLANATION]
    for verdict in verdicts.ordered(report):
        lines = [
            f"### {verdict.mark.value}: {escaped(verdict.statement)}",
            "",
            f"- hypothesis: {escaped(verdict.hypothesis)}",
            f"- because: {escaped(verdict.because)}",
        ]
        if remedy := verdicts.remedy(verdict):
            lines.append(f"- remedy: {escaped(remedy)}")
        parts.append("\n".join(lines))
        cells = [
            (one.cell, one.predicted.value, one.observed, verdicts.relation(one))
            for one in verdicts.deciding(verdict)
        ]
        if cells:
            parts.append(table(("deciding cell", "expected that it", "saw", ""), cells))
    return parts


def _telling_fault(report: Report, made: Sequence[Matrix]) -> Result | None:
    """A fault that decides a supported verdict; else the first, if possible without a fix."""
    results = [result for matrix in made for result in matrix.ordered()]
    faults = {r.cell.id: r for r in results if r.outcome.kind in FAULTS}
    supported = [v for v in verdicts.ordered(report) if v.mark is Support.SUPPORTED]
    deciding = [one.cell for verdict in supported for one in verdicts.deciding(verdict)]
    unfixed = [id for id, result in faults.items() if result.cell.fix == "none"]
    wanted = next((id for id in (*deciding, *unfixed, *faults) if id in faults), None)
    return None if wanted is None else faults[wanted]
