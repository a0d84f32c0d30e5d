"""``xdiag doctor``: does a program here have, or will it have, two GPU runtimes."""

from __future__ import annotations

import os

import click

from xdiag.cli import output
from xdiag.cli.options import pick
from xdiag.errors import NOTHING_WRONG, Usage


@click.command("doctor")
@click.option(
    "--python",
    metavar="PATH",
    help="The interpreter, or its environment's directory.  [default: the active environment's,"
    " else the first on PATH]",
)
@click.option(
    "--root",
    metavar="DIR",
    help="Look into an unpacked image instead of this machine; nothing in it is run.",
)
@click.option(
    "--env",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="A variable that the program will be started with (NAME= for an empty one).",
)
@click.option("--only", multiple=True, metavar="GLOB", help="Only these checks.")
@click.option("--skip", multiple=True, metavar="GLOB", help="All but these checks.")
@click.option("--list-checks", is_flag=True, help="List the checks and look at nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@click.option("--output", "-o", "path", metavar="FILE", help="Write there, not to the terminal.")
@click.option("--verbose", "-v", is_flag=True, help="Show the evidence of what passed, too.")
@click.argument("command_line", nargs=-1, type=click.UNPROCESSED, metavar="[-- COMMAND ...]")
@click.pass_obj
def command(
    arguments: tuple[str, ...],
    python: str | None,
    root: str | None,
    settings: tuple[str, ...],
    only: tuple[str, ...],
    skip: tuple[str, ...],
    list_checks: bool,
    as_json: bool,
    path: str | None,
    verbose: bool,
    command_line: tuple[str, ...],
) -> int:
    """Tell whether a program has, or will have, two GPU runtimes: who brings each, and why.

    Reads files: of this machine or of an image (--root), for the Python environment that the
    program uses, and for a COMMAND about to be started.  No program under examination is started
    and no GPU library is loaded into xdiag.

    Exits with 1 if a check failed, 3 if one could not be carried out.
    """
    from xdiag.doctor import examination
    from xdiag.doctor.admission import admit
    from xdiag.doctor.catalogue import CHECKS
    from xdiag.render import doctor as rendering

    if any(not glob.strip(" ,") for glob in (*only, *skip)):
        raise Usage("--only and --skip need the name of a check (xdiag doctor --list-checks)")
    chosen = pick(CHECKS, only, "check")
    dropped = {check.id for check in pick(CHECKS, skip, "check")} if skip else set()
    chosen = [check for check in chosen if check.id not in dropped]
    if not chosen:
        raise Usage("--only and --skip leave no check")
    path = output.destination(path)
    if list_checks:
        listed = examination.catalogue(chosen)
        if as_json:
            output.write(rendering.checks_document(listed), path)
        else:
            output.show(lambda console: rendering.show_checks(listed, console), path)
        return NOTHING_WRONG
    if python and command_line:
        raise Usage("COMMAND says which Python is used; leave --python out")
    if root is not None and not os.path.isdir(root):
        raise Usage(f"--root {root}: no such directory")
    patient = admit(command_line, python=python, root=root, settings=settings)
    patient.debug = "--debug" in arguments
    result = examination.examine(patient, chosen, CHECKS, arguments)
    if as_json:
        output.write(rendering.document(result), path)
    else:
        output.show(lambda console: rendering.show(result, console, verbose=verbose), path)
    return examination.exit_code(result.findings)
