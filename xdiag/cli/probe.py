"""``xdiag probe``: one pattern, step by step."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

import click

from xdiag.cli import output
from xdiag.cli.options import (
    choose_target,
    choose_xsched,
    pick_one,
    platform_option,
    run_options,
    target_options,
    xsched_option,
)
from xdiag.errors import (
    COULD_NOT_RUN,
    FAULT_FOUND,
    INTERRUPTED,
    NOTHING_WRONG,
    WRONG_USAGE,
    Usage,
)

if TYPE_CHECKING:
    from xdiag.model import Cell, Result, Target


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
    help="What using the stream means: driver or replay; torch, which does its own work on it; or"
    " hal, xqueue, binding or old-binding, which call XSched's own libraries.",
)
@click.option(
    "--emit",
    "language",
    type=click.Choice(["c", "python", "hip-tests"]),
    help="Write the pattern's steps down as a program that needs no xdiag, and run nothing.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option("--output", "-o", "path", metavar="FILE", help="Write there, not to the terminal.")
@platform_option
@xsched_option
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
    platform: str,
    xsched: str | None,
    actor: str,
    timeout: float | None,
    runtime: str | None,
    agent: str,
    kernel_cache: bool,
) -> int:
    """Run one pattern and show every step: who called what on which runtime, and what came back.

    Exits with 0 if the stream could be used, 1 if not, 2 if the fix does not apply to the pattern,
    3 if the pattern cannot be run here.

    With --emit no pattern is run: the program for a bug report is written to -o FILE, and 2 says
    that there is none for this fix or in this language.  With --runtime its head says what that
    runtime needs.
    """
    from xdiag import session
    from xdiag.consumers import CONSUMERS
    from xdiag.engine.plan import plan
    from xdiag.fixes import FIXES
    from xdiag.patterns import PATTERNS
    from xdiag.render import render
    from xdiag.render.trace import show_probe
    from xdiag.xsched_consumers import XSCHED_CONSUMERS

    chosen = (
        [pick_one(PATTERNS, pattern, "pattern")],
        [pick_one(FIXES, fix, "fix")],
        [pick_one((*CONSUMERS, *XSCHED_CONSUMERS), consumer, "consumer")],
    )
    path = output.destination(path)
    if language is not None:
        if as_json:
            raise Usage("--emit writes a program and runs nothing: there is no report for --json")
        if platform != "hip":
            raise Usage(f"--emit writes programs for HIP only, not for {platform}")
        options = f"--actor {actor}" if actor != "python" else ""
        for_runtime = choose_target(runtime, agent, kernel_cache) if runtime is not None else None
        _emit(plan(*chosen, actor=actor)[0], language, path, options, for_runtime)
        return NOTHING_WRONG
    files = choose_xsched(xsched, platform, chosen[2])
    target = choose_target(runtime, agent, kernel_cache, platform)
    cells = plan(*chosen, platform=target.platform, actor=actor, timeout=timeout)
    report = session.run(cells, target, command=shlex.join(["xdiag", *arguments]), xsched=files)
    if not report.results:
        return INTERRUPTED
    if as_json:
        output.write(render(report, "json"), path)
    else:
        output.show(lambda console: show_probe(report, console), path)
    return _exit_code(report.results[0])


def _emit(cell: Cell, language: str, path: str | None, options: str, target: Target | None) -> None:
    """Write the cell down as a program.  Raises Usage, with the reason, where it cannot be.

    What the program cannot say, where things lie on this machine, is said beside it.
    """
    from xdiag import emit

    name = os.path.basename(path) if path is not None else ""
    output.write(emit.write(cell, language, name=name, options=options, target=target), path)
    if target is not None and target.loader is not None:
        loader = target.loader
        libraries = ":".join([*target.library_path, *loader.library_path])
        settings = {**target.environment, "LOADER": loader.path, "LIBRARIES": libraries}
        told = [
            f"HIP {target.version} needs glibc {loader.libc}, which is newer than this machine's;"
            " for the command at the head of the program:",
            f"  FIRST={shlex.quote(target.runtime)}",
            *(f"  export {each}={shlex.quote(value)}" for each, value in settings.items()),
        ]
        click.echo("\n".join(told), err=True)


def _exit_code(result: Result) -> int:
    from xdiag.model import FAULTS, OutcomeKind

    kind = result.outcome.kind
    if kind == OutcomeKind.OK:
        return NOTHING_WRONG
    if kind == OutcomeKind.NOT_APPLICABLE and result.cell.fix != "none":
        return WRONG_USAGE
    return FAULT_FOUND if kind in FAULTS else COULD_NOT_RUN
