"""``xdiag probe``: one pattern, step by step."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

import click

from xdiag.cli import output
from xdiag.cli.options import choose_target, pick_one, run_options, target_options
from xdiag.errors import (
    COULD_NOT_RUN,
    FAULT_FOUND,
    INTERRUPTED,
    NOTHING_WRONG,
    WRONG_USAGE,
    Usage,
)

if TYPE_CHECKING:
    from xdiag.model import Cell, Result


@click.command("probe")
@click.option(
    "--pattern",
    "-p",
    required=True,
    metavar="PATTERN",
    help="The pattern to run (xdiag patterns lists them).",
)
@click.option(
    "--fix",
    "-f",
    default="none",
    show_default=True,
    metavar="FIX",
    help="The fix to run it under (xdiag fixes lists them).",
)
@click.option(
    "--consumer",
    "-c",
    default="driver",
    show_default=True,
    metavar="CONSUMER",
    help="What using the stream means: driver or replay.",
)
@click.option(
    "--emit",
    "language",
    type=click.Choice(["c", "python", "hip-tests"]),
    help="Write the pattern's steps down as a program that needs no xdiag, and run nothing.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option("--output", "-o", "path", metavar="FILE", help="Write there, not to the terminal.")
@run_options
@target_options
@click.pass_obj
def command(
    arguments: tuple[str, ...],
    pattern: str,
    fix: str,
    consumer: str,
    language: str | None,
    as_json: bool,
    path: str | None,
    actor: str,
    timeout: float | None,
    runtime: str | None,
    agent: str,
    kernel_cache: bool,
) -> int:
    """Run one pattern and show every step: who called what on which runtime, and what came back.

    Exits with 0 if the stream could be used, 1 if not, 2 if the fix does not apply to the pattern,
    3 if the pattern cannot be run here.

    With --emit nothing is run: the program for a bug report is written to -o FILE, and 2 says that
    there is none for this fix or in this language.
    """
    from xdiag import session
    from xdiag.consumers import CONSUMERS
    from xdiag.engine.plan import plan
    from xdiag.fixes import FIXES
    from xdiag.patterns import PATTERNS
    from xdiag.render import render
    from xdiag.render.trace import show_probe

    chosen = (
        [pick_one(PATTERNS, pattern, "pattern")],
        [pick_one(FIXES, fix, "fix")],
        [pick_one(CONSUMERS, consumer, "consumer")],
    )
    path = output.destination(path)
    if language is not None:
        if as_json:
            raise Usage("--emit writes a program and runs nothing: there is no report for --json")
        options = f"--actor {actor}" if actor != "python" else ""
        _emit(plan(*chosen, actor=actor)[0], language, path, options)
        return NOTHING_WRONG
    target = choose_target(runtime, agent, kernel_cache)
    cells = plan(*chosen, platform=target.platform, actor=actor, timeout=timeout)
    report = session.run(cells, target, command=shlex.join(["xdiag", *arguments]))
    if not report.results:
        return INTERRUPTED
    if as_json:
        output.write(render(report, "json"), path)
    else:
        output.show(lambda console: show_probe(report, console), path)
    return _exit_code(report.results[0])


def _emit(cell: Cell, language: str, path: str | None, options: str) -> None:
    """Write the cell down as a program.  Raises Usage, with the reason, where it cannot be."""
    from xdiag import emit

    name = os.path.basename(path) if path is not None else ""
    output.write(emit.write(cell, language, name=name, options=options), path)


def _exit_code(result: Result) -> int:
    from xdiag.model import FAULTS, OutcomeKind

    kind = result.outcome.kind
    if kind == OutcomeKind.OK:
        return NOTHING_WRONG
    if kind == OutcomeKind.NOT_APPLICABLE and result.cell.fix != "none":
        return WRONG_USAGE
    return FAULT_FOUND if kind in FAULTS else COULD_NOT_RUN
