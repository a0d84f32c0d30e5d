"""``xdiag compare``: what changed between two matrices."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from xdiag.cli import output
from xdiag.errors import FAULT_FOUND, NOTHING_WRONG, Usage

if TYPE_CHECKING:
    from xdiag.model import Report

_ENDINGS = {".md": "markdown", ".json": "json"}


@click.command("compare")
@click.argument("before", metavar="BEFORE.json")
@click.argument("after", metavar="AFTER.json")
@click.option("--json", "as_json", is_flag=True, help="Print JSON; the same as --format json.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "markdown", "json"]),
    help="markdown is for a pull request.  [default: by FILE's ending, else table]",
)
@click.option("--output", "-o", "path", metavar="FILE", help="Write there, not to the terminal.")
def command(before: str, after: str, as_json: bool, form: str | None, path: str | None) -> int:
    """Tell what changed between two matrices that xdiag matrix --format json wrote.

    Before and after an upgrade of a driver, or a repair: which cells got worse or better, what is
    different in the runtimes and machines, which verdicts changed.  - reads one of the two from
    standard input.  Exits with 1 if a cell got worse.
    """
    from xdiag.comparison import compare
    from xdiag.render import comparison as rendering

    if as_json and form not in (None, "json"):
        raise Usage(f"--json and --format {form} cannot both be")
    if before == after == "-":
        raise Usage("standard input has one matrix; give a file's name for the other")
    path = output.destination(path)
    form = "json" if as_json else form or _ENDINGS.get(Path(path or "").suffix.lower(), "table")
    made = compare(_report(before), _report(after))
    if form == "table":
        output.show(lambda console: rendering.show(made, console), path)
    else:
        output.write(rendering.render(made, form), path)
    return FAULT_FOUND if made.worse else NOTHING_WRONG


def _report(path: str) -> Report:
    from xdiag.saved import open_saved, read_report

    saved = open_saved(path)
    if saved.merged:
        raise Usage(f"{saved.name} is a merged matrix; compare takes two of xdiag matrix")
    return read_report(saved)
