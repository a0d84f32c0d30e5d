"""``xdiag matrix``: patterns x fixes x consumers, each cell an experiment."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from xdiag.cli import output
from xdiag.cli.options import choose_target, pick, run_options, target_options
from xdiag.errors import FAULT_FOUND, INTERRUPTED, NOTHING_WRONG, CannotRun, Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from xdiag.model import Cell, Report, Result


def _jobs() -> int:
    return len(os.sched_getaffinity(0))


def _format(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    from xdiag.errors import near_matches
    from xdiag.render import FORMATS

    del context, parameter
    if value is not None and value not in FORMATS:
        raise click.BadParameter(
            f"{value!r} is none of {', '.join(FORMATS)}{near_matches(value, list(FORMATS))}"
        )
    return value


@click.command("matrix")
@click.option("--patterns", "-p", multiple=True, metavar="GLOB", help="Only these patterns.")
@click.option("--fixes", "-f", multiple=True, metavar="GLOB", help="Only these fixes.")
@click.option("--consumer", "-c", multiple=True, metavar="GLOB", help="Only these consumers.")
@click.option(
    "--format",
    "form",
    callback=_format,
    metavar="FORMAT",
    help="table, markdown, json, csv, html or junit.  [default: by FILE's ending, else table]",
)
@click.option("--output", "-o", "path", metavar="FILE", help="Write there, not to the terminal.")
@click.option(
    "--jobs",
    "-j",
    type=click.IntRange(1, 64),
    default=_jobs,
    metavar="N",
    help="Cells to run at a time.  [default: one per processor]",
)
@click.option(
    "--progress/--no-progress", default=None, help="Show live progress.  [default: on a terminal]"
)
@click.option("--journal", metavar="FILE", help="Keep results there as they come (JSON lines).")
@click.option("--resume", metavar="FILE", help="Go on with the run that wrote this journal.")
@run_options
@target_options
@click.pass_obj
def command(
    arguments: tuple[str, ...],
    patterns: tuple[str, ...],
    fixes: tuple[str, ...],
    consumer: tuple[str, ...],
    form: str | None,
    path: str | None,
    jobs: int,
    progress: bool | None,
    journal: str | None,
    resume: str | None,
    actor: str,
    timeout: float | None,
    runtime: str | None,
    agent: str,
    kernel_cache: bool,
) -> int:
    """Run patterns x fixes and print the compatibility matrix and the verdict.

    Every cell runs in a process of its own.  Results are kept in a journal as they come; after
    Ctrl-C what is finished is printed, and --resume goes on from the journal.

    Exits with 1 if a pattern that uses the library soundly fails without any fix.
    """
    from xdiag import __version__, session
    from xdiag.consumers import CONSUMERS
    from xdiag.engine.plan import plan
    from xdiag.fixes import FIXES
    from xdiag.journal import Header, Journal, default_path, read, still_valid
    from xdiag.model import SCHEMA_VERSION
    from xdiag.patterns import PATTERNS

    if journal and resume:
        raise Usage("--resume FILE already names the journal; leave --journal out")
    chosen = (
        pick(PATTERNS, patterns, "pattern"),
        pick(FIXES, fixes, "fix"),
        pick(CONSUMERS, consumer, "consumer"),
    )
    path = output.destination(path)
    form = form or _format_of(path)
    named = resume or journal
    if path and named and os.path.realpath(named) == path:
        raise Usage("the output and the journal cannot be one file")
    earlier = read(Path(resume)) if resume else None

    target = choose_target(runtime, agent, kernel_cache)
    cells = plan(*chosen, platform=target.platform, actor=actor, timeout=timeout)
    known: list[Result] = []
    if earlier is not None:
        known = still_valid(earlier[1], cells, earlier[0], target)

    kept = Path(named or default_path())
    header = Header(schema_version=SCHEMA_VERSION, xdiag=__version__, target=target)
    with (
        Journal(kept, header, resumed=resume is not None) as record,
        _progress(progress, cells, len(known)) as show,
    ):

        def keep(result: Result) -> None:
            record.add(result)
            show(result)

        report = session.run(
            cells, target, command=_command_line(arguments), jobs=jobs, known=known, on_result=keep
        )

    interrupted = len(report.results) < report.planned
    go_on = _command_line(arguments, resuming=str(kept))
    try:
        _print(report, form, path)
    except (OSError, CannotRun) as error:
        raise CannotRun(f"{error}; the results are kept, print them with: {go_on}") from error
    if interrupted:
        click.echo(
            f"xdiag: interrupted after {len(report.results)} of {report.planned} cells;"
            f" go on with: {go_on}",
            err=True,
        )
        return INTERRUPTED
    if not (journal or resume):
        kept.unlink(missing_ok=True)
    return FAULT_FOUND if session.faulty(report) else NOTHING_WRONG


def _format_of(path: str | None) -> str:
    """The format that a file's ending asks for; the table for none or an unknown one."""
    from xdiag.render import FORMATS

    suffix = Path(path).suffix.lower() if path else ""
    return next((name for name, entry in FORMATS.items() if entry.suffix == suffix), "table")


def _command_line(arguments: Sequence[str], resuming: str = "") -> str:
    """The command as it was typed; with ``resuming``, the one that goes on from that journal."""
    import shlex

    if resuming:
        named = [i for i, a in enumerate(arguments) if a in ("--journal", "--resume")]
        dropped = {place for i in named for place in (i, i + 1)}
        arguments = [
            a
            for i, a in enumerate(arguments)
            if i not in dropped and not a.startswith(("--journal=", "--resume="))
        ]
        arguments = [*arguments, "--resume", resuming]
    return shlex.join(["xdiag", *arguments])


def _print(report: Report, form: str, path: str | None) -> None:
    from xdiag.render import render, table

    if form == "table":
        output.show(lambda console: table.show(report, console), path)
    else:
        output.write(render(report, form), path)


@contextmanager
def _progress(
    wanted: bool | None, cells: list[Cell], known: int
) -> Iterator[Callable[[Result], None]]:
    """A function to call with each result; shows progress on standard error if it is wanted."""
    if not (sys.stderr.isatty() if wanted is None else wanted):
        yield lambda result: None
        return
    total = sum(not cell.not_applicable for cell in cells)
    if sys.stderr.isatty():
        yield from _bar(total, known)
    else:
        yield _lines(total, known)


def _lines(total: int, known: int) -> Callable[[Result], None]:
    """Progress into a log: a line for every tenth of the cells."""
    done = known

    def tell(result: Result) -> None:
        nonlocal done
        if result.cell.not_applicable:
            return
        done += 1
        if done == total or done * 10 // total > (done - 1) * 10 // total:
            click.echo(f"xdiag: {done} of {total} cells", err=True)

    return tell


def _bar(total: int, known: int) -> Iterator[Callable[[Result], None]]:
    """Progress on a terminal: a bar that goes away, and the cell that was finished last."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[cell]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("cells", total=total, completed=known, cell="")

        def advance(result: Result) -> None:
            if not result.cell.not_applicable:
                progress.update(task, advance=1, cell=result.cell.id)

        yield advance
