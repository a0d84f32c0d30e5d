"""``xdiag matrix``: patterns x fixes x consumers, each cell an experiment."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from xdiag.cli import output
from xdiag.cli.options import (
    choose_consumers,
    choose_target,
    pick,
    platform_option,
    run_options,
    targets_options,
    xsched_option,
)
from xdiag.errors import (
    COULD_NOT_RUN,
    FAULT_FOUND,
    INTERRUPTED,
    NOTHING_WRONG,
    CannotRun,
    Usage,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from xdiag.engine.messages import XSchedFiles
    from xdiag.model import Cell, Report, Result, Target


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


_CONSUMERS = (
    "Only these consumers: driver, replay, torch, and, of XSched's own, hal, xqueue, binding and"
    " old-binding."
)


@click.command("matrix")
@click.option("--patterns", "-p", multiple=True, metavar="GLOB", help="Only these patterns.")
@click.option("--fixes", "-f", multiple=True, metavar="GLOB", help="Only these fixes.")
@click.option("--consumer", "-c", multiple=True, metavar="GLOB", help=_CONSUMERS)
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
@platform_option
@xsched_option
@run_options
@targets_options
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
    platform: str,
    xsched: str | None,
    actor: str,
    timeout: float | None,
    runtimes: tuple[str, ...],
    agent: str,
    kernel_cache: bool,
) -> int:
    """Run patterns x fixes and print the compatibility matrix and the verdict.

    Every cell runs in a process of its own.  Results are kept in a journal as they come; after
    Ctrl-C what is finished is printed, and --resume goes on from the journal.

    With several --runtime, each is run in turn and the matrix has a group of columns for each; its
    JSON is what xdiag merge writes.  A journal of each is kept then, FILE with its version behind.

    Exits with 1 if a pattern that uses the library soundly fails without any fix, with 3 if no cell
    could be run here.
    """
    import msgspec

    from xdiag import session
    from xdiag.cli.progress import progress as progress_of
    from xdiag.engine.plan import plan
    from xdiag.fixes import FIXES
    from xdiag.journal import default_path, is_default, read
    from xdiag.patterns import PATTERNS
    from xdiag.runtimes import torch_here

    if journal and resume:
        raise Usage("--resume FILE already names the journal; leave --journal out")
    consumers, files = choose_consumers(consumer, xsched, platform)
    there = [each for each in PATTERNS if platform in each.platforms]
    told_here = torch_here.tellable(there, platform)
    chosen = (
        # One of another platform is a row of dashes, and one of torch's without torch a row of
        # reasons: for those who ask for it by name.
        pick(PATTERNS if patterns else told_here, patterns, "pattern"),
        pick(FIXES, fixes, "fix"),
        consumers,
    )
    path = output.destination(path)
    form = form or _format_of(path)
    named = resume or journal
    if path and named and os.path.realpath(named) == path:
        raise Usage("the output and the journal cannot be one file")
    if resume and len(runtimes) < 2:
        read(Path(resume))  # says what is wrong with it before a runtime is started for nothing

    targets = [choose_target(each, agent, kernel_cache, platform) for each in runtimes or (None,)]
    if not (patterns or consumer) and (told := torch_here.left_out(platform)):
        targets = [msgspec.structs.replace(each, notes=(*each.notes, told)) for each in targets]
    _check_named_once(targets)
    kept = Path(named or default_path())
    runs = []
    for target in targets:
        cells = plan(*chosen, platform=target.platform, actor=actor, timeout=timeout)
        journal_of = _journal_of(kept, target, several=len(targets) > 1)
        known = _known(journal_of, cells, target) if resume else []
        runs.append(_Run(target, cells, journal_of, known))
    if resume and not any(run.journal.exists() for run in runs):
        raise Usage(_no_journal(kept, targets))

    reports = []
    with progress_of(
        progress, [cell for run in runs for cell in run.cells], sum(len(run.known) for run in runs)
    ) as show:
        for run in runs:
            command_line = _command_line(arguments)
            reports.append(_run(run, command_line, jobs, show, files, resumed=bool(resume)))
            if len(reports[-1].results) < reports[-1].planned:
                break

    finished = sum(len(report.results) for report in reports)
    planned = sum(len(run.cells) for run in runs)
    go_on = _command_line(arguments, resuming=str(kept))
    try:
        _print(reports, form, path)
    except (OSError, CannotRun) as error:
        raise CannotRun(f"{error}; the results are kept, print them with: {go_on}") from error
    if finished < planned:
        click.echo(
            f"xdiag: interrupted after {finished} of {planned} cells; go on with: {go_on}",
            err=True,
        )
        return INTERRUPTED
    if not journal and (not resume or is_default(kept)):
        for run in runs:
            run.journal.unlink(missing_ok=True)
    if session.told_nothing(reports):
        return COULD_NOT_RUN
    return FAULT_FOUND if any(map(session.faulty, reports)) else NOTHING_WRONG


@dataclass(frozen=True)
class _Run:
    """What is to be run on one runtime."""

    target: Target
    cells: list[Cell]
    journal: Path
    known: list[Result]


def _run(
    run: _Run,
    command_line: str,
    jobs: int,
    show: Callable[[Result], None],
    xsched: XSchedFiles | None,
    *,
    resumed: bool,
) -> Report:
    from xdiag import __version__, session
    from xdiag.journal import Header, Journal
    from xdiag.model import SCHEMA_VERSION

    header = Header(schema_version=SCHEMA_VERSION, xdiag=__version__, target=run.target)
    with Journal(run.journal, header, resumed=resumed and run.journal.exists()) as record:

        def keep(result: Result) -> None:
            record.add(result)
            show(result)

        return session.run(
            run.cells,
            run.target,
            command=command_line,
            jobs=jobs,
            known=run.known,
            xsched=xsched,
            on_result=keep,
        )


def _known(journal: Path, cells: list[Cell], target: Target) -> list[Result]:
    """What an earlier run has kept of these cells; none where it did not come to this runtime."""
    from xdiag.journal import read, still_valid

    if not journal.exists():
        return []
    header, results = read(journal)
    return still_valid(results, cells, header, target)


def _journal_of(kept: Path, target: Target, *, several: bool) -> Path:
    return kept.with_name(f"{kept.name}.{target.version}") if several else kept


def _no_journal(kept: Path, targets: Sequence[Target]) -> str:
    """That no run on any of these has kept a journal of this name, and what is called like it."""
    from xdiag.errors import near_matches

    names: list[str] = []
    with suppress(OSError):
        names = [path.name for path in kept.parent.iterdir()]
    ends = [f".{target.version}" for target in targets]
    known = [name.removesuffix(end) for name in names for end in ends if name.endswith(end)]
    told = " or ".join(f"{kept.name}{end}" for end in ends)
    return (
        f"cannot read the journal {kept}: there is no {told} in {kept.parent}"
        f"{near_matches(kept.name, known)}"
    )


def _check_named_once(targets: Sequence[Target]) -> None:
    """Raises Usage where two are one runtime, or could not be told apart."""
    seen: dict[str, str] = {}
    for target in targets:
        if target.version in seen:
            other = seen[target.version]
            raise Usage(
                f"{target.runtime} is given twice"
                if other == target.runtime
                else f"{other} and {target.runtime} are both version {target.version}: run each by"
                " itself and put them together with xdiag merge"
            )
        seen[target.version] = target.runtime


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


def _print(reports: Sequence[Report], form: str, path: str | None) -> None:
    from xdiag.render import render, table

    if len(reports) > 1:
        _print_beside(reports, form, path)
    elif form == "table":
        output.show(lambda console: table.show(reports[0], console), path)
    else:
        output.write(render(reports[0], form), path)


def _print_beside(reports: Sequence[Report], form: str, path: str | None) -> None:
    """Print one matrix with a group of columns for each report."""
    from xdiag import merging
    from xdiag.render import junit_suites
    from xdiag.render import merging as rendering

    if form == "junit":
        output.write(junit_suites.render_all(reports), path)
        return
    merged = merging.merge(map(merging.single, reports))
    if form == "table":
        output.show(lambda console: rendering.show(merged, console, beside=True), path)
    else:
        output.write(rendering.render(merged, form, beside=True), path)
