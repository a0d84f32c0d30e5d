"""Report formats: a frozen ``Report`` in, text out.

Nothing here probes anything, so a report that was saved on another machine renders alike.  To add
a format, add a module with a ``render(report)`` and an entry to ``FORMATS``.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xdiag.model import Report


@dataclass(frozen=True)
class Format:
    """A format by its name; ``module`` is imported only when the format is asked for."""

    name: str
    module: str
    suffix: str
    help: str


FORMATS: dict[str, Format] = {
    entry.name: entry
    for entry in (
        Format("table", "table", ".txt", "tables for a terminal"),
        Format("markdown", "markdown", ".md", "ready to paste into a bug report"),
        Format("json", "json_document", ".json", "the whole report, for programs"),
        Format("csv", "csv_rows", ".csv", "one row per cell, for a spreadsheet"),
        Format("html", "html_page", ".html", "one self-contained page with every trace"),
        Format("junit", "junit_suites", ".xml", "test suites, for a CI server"),
    )
}


def render(report: Report, format: str) -> str:
    """The report as text in ``format``, a key of ``FORMATS``; raises KeyError for another."""
    module = importlib.import_module(f"{__name__}.{FORMATS[format].module}")
    text: str = module.render(report)
    return text
