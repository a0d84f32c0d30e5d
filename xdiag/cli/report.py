"""``xdiag report``: all that a maintainer wants to see in one file, without what is private."""

from __future__ import annotations

import datetime
import os
import sys
from typing import TYPE_CHECKING

import click

from xdiag.cli.options import choose_target, target_options
from xdiag.errors import COULD_NOT_RUN, FAULT_FOUND, NOTHING_WRONG, Usage, XdiagError

if TYPE_CHECKING:
    from xdiag.report.bundle import Bundle


@click.command("report")
@click.option(
    "--output",
    "-o",
    "path",
    metavar="FILE",
    help="A .zip, or a .md for the page alone.  [default: xdiag-report-<UTC time>.zip here]",
)
@click.option("--with-matrix", is_flag=True, help="Run the whole matrix, not a few probes.")
@click.option(
    "--record",
    "records",
    multiple=True,
    metavar="FILE",
    help="Put in a record (xdiag run --record), and what it says.",
)
@click.option(
    "--log", "logs", multiple=True, metavar="FILE", help="Put in a log, and what it says."
)
@click.option("--python", metavar="PATH", help="The interpreter, as for xdiag doctor.")
@click.option("--no-mask", is_flag=True, help="Leave private data in.  Asks first.")
@click.option("--yes", is_flag=True, help="Answer the question of --no-mask with yes.")
@target_options
@click.argument("command_line", nargs=-1, type=click.UNPROCESSED, metavar="[-- COMMAND ...]")
@click.pass_obj
def command(
    arguments: tuple[str, ...],
    path: str | None,
    with_matrix: bool,
    records: tuple[str, ...],
    logs: tuple[str, ...],
    python: str | None,
    no_mask: bool,
    yes: bool,
    runtime: str | None,
    agent: str,
    kernel_cache: bool,
    command_line: tuple[str, ...],
) -> int:
    """Write a report to attach to an issue: doctor, runtimes, probes, verdict, environment.

    User and host names, home directories, addresses, tokens and other secrets are replaced, equal
    ones by equal names (<user-1>, <secret-2>).  COMMAND is looked at and not started.

    Exits with 1 if a fault was found, 3 if the report could not be written, or had to be written
    without a log or record that it was to hold.
    """
    from xdiag import whole_file
    from xdiag.report.compose import compose
    from xdiag.report.gather import Wanted, gather

    if python and command_line:
        raise Usage("COMMAND says which Python is used; leave --python out")
    now = datetime.datetime.now(datetime.timezone.utc)
    path = path if path is not None else f"xdiag-report-{now:%Y%m%dT%H%M%SZ}.zip"
    alone = _is_page(path)
    if no_mask and not yes:
        _ask(path)
    target = whole_file.place(path)
    _check_files(records, "--record")
    _check_files(logs, "--log")
    _check_records(records)
    seen = gather(
        Wanted(
            choose_target=lambda keep: choose_target(runtime or keep, agent, kernel_cache),
            command=command_line,
            python=python,
            records=records,
            logs=logs,
            with_matrix=with_matrix,
            arguments=arguments,
        )
    )
    made = now.isoformat(timespec="seconds")
    composed = compose(seen, made, mask=not no_mask, alone=alone)
    data = composed.page() if alone else composed.zip()
    whole_file.write(data, target, private=True)
    _tell(path, len(data), composed.bundle, masked=not no_mask)
    if seen.fault:
        return FAULT_FOUND
    return COULD_NOT_RUN if seen.unread else NOTHING_WRONG


def _is_page(path: str) -> bool:
    ending = os.path.splitext(path)[1].lower()
    if ending not in (".zip", ".md"):
        raise Usage(f"-o {path}: a report is a .zip, or a .md for the page alone")
    return ending == ".md"


def _ask(path: str) -> None:
    if not sys.stdin.isatty():
        raise Usage("--no-mask writes private data as it is: say --yes if that is meant")
    question = f"Write names, addresses and secrets as they are into {path}?"
    if not click.confirm(question, default=False, err=True):
        raise click.Abort


def _check_files(paths: tuple[str, ...], option: str) -> None:
    """What is not there at all is an error now: a typing error must not cost a part of a report."""
    for path in paths:
        if not path or not os.path.exists(path):
            raise Usage(f"{option} {path}: no such file")
        if os.path.isdir(path):
            raise Usage(f"{option} {path}: it is a directory; give the files in it, one by one")
        if not os.path.isfile(path):
            raise Usage(f"{option} {path}: not a regular file; save what it says, and give that")


def _check_records(paths: tuple[str, ...]) -> None:
    """A file that is no record is meant as something else, as a rule as a log."""
    from xdiag.recording.read import read

    for path in paths:
        try:
            read(path).close()
        except XdiagError as error:  # noqa: PERF203 - the first one ends it
            raise Usage(f"--record: {error} (a log is given by --log)") from error


def _tell(path: str, size: int, made: Bundle, *, masked: bool) -> None:
    from xdiag.render.text import count, printable

    click.echo(printable(f"{path}: {count(len(made.members), 'file')}, {size / 1024:.0f} KiB"))
    for each in made.missing:
        click.echo(printable(f"  without {each.part}: {each.because}"))
    told = made.replaced()
    if masked and told:
        click.echo(printable(f"  masked: {told}"))
    click.echo(
        "  look through it before you give it away"
        if masked
        else "  private data is in it as it was"
    )
