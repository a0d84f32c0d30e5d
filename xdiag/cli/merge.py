"""``xdiag merge``: one matrix over many machines or runtime versions."""

from __future__ import annotations

from pathlib import Path

import click

from xdiag.cli import output
from xdiag.errors import FAULT_FOUND, NOTHING_WRONG, Usage

_FORMATS = ("table", "markdown", "json", "csv", "html")


@click.command("merge")
@click.argument("files", metavar="FILE.json...", nargs=-1, required=True)
@click.option(
    "--format",
    "form",
    type=click.Choice(_FORMATS),
    help="json can be merged again.  [default: by FILE's ending, else table]",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON; the same as --format json.")
@click.option(
    "--side-by-side",
    "beside",
    is_flag=True,
    help="A group of columns for each run, as of versions.",
)
@click.option("--output", "-o", "path", metavar="FILE", help="Write there, not to the terminal.")
def command(
    files: tuple[str, ...], form: str | None, as_json: bool, beside: bool, path: str | None
) -> int:
    """Make one matrix of many that xdiag matrix --format json wrote.

    Of many machines or runtime versions: a cell in which all agree is shown once, one in which they
    differ with who has seen what; --side-by-side shows what each has seen.  A merged matrix can be
    merged again, and a run that is given twice counts once; - reads one from standard input.

    Exits with 1 if a pattern that uses the library soundly fails without any fix in any of the
    runs.
    """
    from xdiag import merging
    from xdiag.render import merging as rendering
    from xdiag.render.text import count
    from xdiag.saved import open_saved

    if as_json and form not in (None, "json"):
        raise Usage(f"--json and --format {form} cannot both be")
    if files.count("-") > 1:
        raise Usage("standard input has one matrix; give files' names for the others")
    path = output.destination(path, files)
    suffix = Path(path or "").suffix.lower()
    by_ending = next((name for name, end in rendering.FORMATS.items() if end == suffix), "table")
    form = "json" if as_json else form or by_ending
    # One after the other: of a file that was read only what is merged of it is kept.
    parts = [merging.read(open_saved(file)) for file in files]
    if twice := merging.given_twice(parts):
        click.echo(f"xdiag: {count(len(twice), 'run')} given twice, counted once", err=True)
    merged = merging.merge(parts)
    if form == "table":
        output.show(lambda console: rendering.show(merged, console, beside=beside), path)
    else:
        output.write(rendering.render(merged, form, beside=beside), path)
    return FAULT_FOUND if merging.faulty(merged) else NOTHING_WRONG
