"""The report as CSV: one row per cell, each row complete in itself."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

from xdiag.render import seen
from xdiag.render.matrix import matrices
from xdiag.render.text import printable

if TYPE_CHECKING:
    from xdiag.model import Report, Result, Target

COLUMNS = (
    "pattern",
    "fix",
    "consumer",
    "outcome",
    "code",
    "name",
    "failing_call",
    "died_in_call",
    "signal",
    "status",
    "reason",
    "message",
    "seconds",
    "processes",
    "runtime",
    "version",
    "agent",
)


def render(report: Report) -> str:
    """A row of column names and a row per result, in the catalogues' order."""
    written = io.StringIO()
    writer = csv.DictWriter(written, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for matrix in matrices(report):
        for result in matrix.ordered():
            row = _row(result, report.target)
            writer.writerow({column: printable(text) for column, text in row.items()})
    return written.getvalue()


def _row(result: Result, target: Target) -> dict[str, str]:
    cell, outcome = result.cell, result.outcome
    return {
        "pattern": cell.pattern,
        "fix": cell.fix,
        "consumer": cell.consumer,
        "outcome": outcome.kind.value,
        "code": _optional(outcome.code),
        "name": outcome.name,
        "failing_call": outcome.call,
        "died_in_call": seen.call_in_flight(result),
        "signal": outcome.signal,
        "status": _optional(outcome.status),
        "reason": outcome.reason,
        "message": outcome.message,
        "seconds": f"{outcome.seconds:.6f}",
        "processes": str(outcome.processes),
        "runtime": target.runtime,
        "version": target.version,
        "agent": target.agent,
    }


def _optional(value: int | None) -> str:
    return "" if value is None else str(value)
