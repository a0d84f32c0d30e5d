"""``xdiag doctor``: does a program here have, or will it have, two GPU runtimes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from xdiag.cli import output
from xdiag.cli.options import pick
from xdiag.errors import NOTHING_WRONG, CannotRun, Usage

if TYPE_CHECKING:
    from xdiag.doctor.patient import Patient

#: Where programs are looked for in an image, which brings no PATH of its own.
_IMAGE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


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
    patient = _patient(python, root, settings, command_line)
    patient.debug = "--debug" in arguments
    result = examination.examine(patient, chosen, CHECKS, arguments)
    if as_json:
        output.write(rendering.document(result), path)
    else:
        output.show(lambda console: rendering.show(result, console, verbose=verbose), path)
    return examination.exit_code(result.findings)


def _patient(
    python: str | None,
    root: str | None,
    settings: tuple[str, ...],
    command_line: tuple[str, ...],
) -> Patient:
    from xdiag.discover.root import Root
    from xdiag.doctor import command_line as command_line_module
    from xdiag.doctor import interpreter
    from xdiag.doctor.patient import Patient

    if root is not None and not os.path.isdir(root):
        raise Usage(f"--root {root}: no such directory")
    tree = Root(root if root is not None else "/")
    # An image is started with its own environment, not with that of this shell.
    environ = dict(os.environ) if tree.is_this_machine else {"PATH": _IMAGE_PATH}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals or not name:
            raise Usage(f"--env {setting}: not of the form NAME=VALUE")
        environ[name] = value
    cwd = os.getcwd() if tree.is_this_machine else "/"
    patient = Patient(root=tree, environ=environ, cwd=cwd, command=command_line)
    if command_line:
        start = command_line_module.understood(command_line, tree, environ, cwd)
        patient.program, patient.interpreter = start.program, start.interpreter
        patient.environ = start.environ
        patient.script, patient.module, patient.site = start.script, start.module, start.site
        patient.launcher = start.launcher
    elif python is not None:
        patient.interpreter = interpreter.named(python, tree, environ)
    else:
        try:
            patient.interpreter = interpreter.usual(tree, environ)
        except CannotRun as error:
            patient.no_interpreter = str(error)
    # What cannot be an interpreter is told now, once, and not by every check.
    _ = patient.python
    return patient
