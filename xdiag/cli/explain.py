"""``xdiag explain``: what a record says, and who owns a handle."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from xdiag.cli import output
from xdiag.errors import FAULT_FOUND, NOTHING_WRONG, Usage

if TYPE_CHECKING:
    from rich.console import Console


@click.command("explain")
@click.argument("file", metavar="FILE")
@click.option(
    "--handle",
    "handle",
    metavar="0x...",
    help="Tell the whole history of one handle, whether anything failed or not.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--output", "-o", "path", metavar="FILE", help="Write there, not to the terminal.")
def command(file: str, handle: str | None, as_json: bool, path: str | None) -> int:
    """Tell what a record says: who owns a refused handle, and what became of it.

    FILE was made by xdiag run --record FILE; it may be of another machine, and of a run that
    crashed.  Exits with 1 if something is wrong in it.
    """
    from xdiag.recording.provenance import diagnose, story
    from xdiag.recording.read import read
    from xdiag.render import json_document
    from xdiag.render import recording as rendering

    value = _handle(handle)
    path = output.destination(path)
    with read(file) as recording:
        diagnoses = diagnose(recording)
        told = story(recording, value) if value is not None else None
        if as_json:
            document = rendering.document(recording, diagnoses, told)
            output.write(json_document.record(document), path)
        else:

            def draw(console: Console) -> None:
                if told is not None:
                    rendering.show_story(told, console)
                else:
                    rendering.show_report(recording, diagnoses, console, brief=False)

            output.show(draw, path)
    return FAULT_FOUND if any(each.fault for each in diagnoses) else NOTHING_WRONG


def _handle(text: str | None) -> int | None:
    """A handle as people copy it: hexadecimal with 0x, or decimal."""
    if text is None:
        return None
    try:
        value = int(text, 16 if text.lower().startswith("0x") else 10) if len(text) <= 20 else -1
    except ValueError:
        value = -1
    if not 0 <= value < 1 << 64:
        raise Usage(f"--handle takes an address such as 0x7f3e12345678, not {text[:40]!r}")
    return value
