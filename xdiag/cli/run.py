"""``xdiag run``: start a command with one runtime instead of two, and tell what it did with it."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from typing import TYPE_CHECKING

import click

from xdiag.errors import CannotRun, Usage, XdiagError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xdiag.doctor.patient import Patient
    from xdiag.launch.recorded import Recorded
    from xdiag.launch.supervise import Ending
    from xdiag.repair.choose import Choice
    from xdiag.repair.repair import Change, Situation


# What comes after the command's first word is the command's, with "--" before it or not.
@click.command("run", context_settings={"allow_interspersed_args": False})
@click.option(
    "--repair",
    default="auto",
    show_default=True,
    metavar="auto|none|NAME",
    help="How to make one runtime out of two: the least intrusive that is enough, not at all, or by"
    " name (several with commas; xdiag fix lists them).",
)
@click.option(
    "--record",
    "path",
    metavar="FILE",
    help="Keep the record of loads and calls, for xdiag explain.  [default: gone at the end]",
)
@click.option(
    "--calls/--no-calls",
    default=True,
    help="Record driver calls, some 20 ns each, or loads only.  [default: calls]",
)
@click.option("--allow-root", is_flag=True, help="As root, run what belongs to another user.")
@click.option("--verbose", "-v", is_flag=True, help="Say why each repair was taken or not.")
@click.option("--quiet", "-q", is_flag=True, help="Say nothing where nothing was wrong.")
@click.argument("command_line", nargs=-1, type=click.UNPROCESSED, metavar="-- COMMAND ...")
def command(
    repair: str,
    path: str | None,
    calls: bool,
    allow_root: bool,
    verbose: bool,
    quiet: bool,
    command_line: tuple[str, ...],
) -> int:
    """Run a command with its runtimes unified, record who did what, and explain a refused handle.

    The command has this terminal, environment and working directory, signals reach it, and xdiag
    exits as it does.  What xdiag has to say goes to standard error: the repair before the command
    starts, a report when it has ended.

    Exits as the command does; with 2 or 3 where it could not be started.
    """
    from xdiag.launch.program import environment
    from xdiag.launch.supervise import end_like, supervise
    from xdiag.repair.repair import Situation

    _check_named(command_line)
    situation = Situation(_admitted(command_line))
    _check_owners(situation.patient, allow_root=allow_root)
    choice = _chosen(repair, situation)
    environ = choice.change.applied(environment())
    with _recorded(path, command_line, situation, calls=calls) as record:
        if verbose or not (quiet or choice.nothing_to_say):
            _announce(choice, verbose=verbose)
        _warn_of_lost(situation, choice.change)
        if record is not None:
            environ = record.environment(environ, situation.reach)
            _warn_of_unseen(situation, environ)
        look = record.at_first_refusal(_say_refused) if record is not None else None
        with _hook_told(choice) as told:
            ending = supervise(command_line, {**environ, **told}, tick=look)
        if record is not None:
            _report(record, ending, situation, choice, quiet=quiet)
    return end_like(ending)


def _check_named(command_line: tuple[str, ...]) -> None:
    if not command_line:
        raise Usage("which command? xdiag run -- COMMAND ...")
    program = command_line[0]
    if not program:
        raise Usage("the command is empty: xdiag run -- COMMAND ...")
    if "/" in program and os.path.isdir(program):
        raise Usage(f"{program} is a directory, no command")


def _admitted(command_line: tuple[str, ...]) -> Patient:
    """The command as a patient; one whose Python cannot be made out is a program like any other."""
    from xdiag.discover.root import Root
    from xdiag.doctor.admission import admit, working_directory
    from xdiag.doctor.patient import Patient

    try:
        return admit(command_line)
    except CannotRun as error:
        _say(f"what the program will open cannot be foretold: {error}")
        cwd = working_directory()
        program = shutil.which(command_line[0]) or command_line[0]
        return Patient(
            root=Root("/"),
            environ=dict(os.environ),
            program=os.path.normpath(os.path.join(cwd, program)),
            command=command_line,
            cwd=cwd,
            launcher=True,
        )


def _check_owners(patient: Patient, *, allow_root: bool) -> None:
    """As root, start nothing that another user could have put there, unless told."""
    from xdiag.launch.code import files_of, imported_from
    from xdiag.launch.trust import check_ownership_of_tree

    if allow_root or os.geteuid() != 0:
        return
    interpreter = patient.interpreter.path if patient.interpreter is not None else ""
    started = [each for each in (patient.program, interpreter, patient.script) if each]
    # PATH and PYTHONPATH as they are, and as the command sets them for what it starts.
    for environ in (os.environ, patient.environ):
        started += files_of(patient.command, patient.root, environ, patient.cwd)
    if patient.interpreter is not None:
        started += imported_from(
            patient.module,
            has_script=bool(patient.script),
            environ=patient.environ,
            search_path=patient.search_path,
            cwd=patient.cwd,
        )
    elif os.environ.get("PYTHONPATH"):
        # A Python may be started by what is started.
        started += imported_from(
            "", has_script=True, environ=os.environ, search_path=(), cwd=patient.cwd
        )
    check_ownership_of_tree(dict.fromkeys(started), allow_root=allow_root)


def _chosen(repair: str, situation: Situation) -> Choice:
    from xdiag.repair import choose

    if repair == "none":
        return choose.Choice(because="as asked for")
    if repair == "auto":
        try:
            return choose.auto(situation)
        except XdiagError as error:
            return choose.Choice(because=f"what to repair cannot be told: {error}")
    names = [each.strip() for each in repair.split(",") if each.strip()]
    if not names:
        raise Usage(f"--repair {repair!r} names no repair: auto, none, or what xdiag fix lists")
    return choose.named(dict.fromkeys(names), situation)


def _announce(choice: Choice, *, verbose: bool) -> None:
    from xdiag.render.repairs import explained

    lines = explained(choice)
    for line in lines if verbose else lines[:1]:
        _say(line)


def _warn_of_lost(situation: Situation, change: Change) -> None:
    for name in _lost(situation, change):
        _say(f"the command sets or clears {name} itself: the repair does not reach the program")


def _warn_of_unseen(situation: Situation, environ: dict[str, str]) -> None:
    """Say so where the program will run without the audit library, for all that can be told."""
    from xdiag.repair.repair import Change

    if _lost(situation, Change(set={"LD_AUDIT": environ["LD_AUDIT"]})):
        _say("the command sets or clears LD_AUDIT itself: what the program does is not recorded")


def _lost(situation: Situation, change: Change) -> tuple[str, ...]:
    """Variables that the command takes away again; none where that cannot be told."""
    try:
        return situation.lost(change)
    except XdiagError:  # said before: what the program will open cannot be foretold
        return ()


@contextlib.contextmanager
def _recorded(
    path: str | None, command_line: tuple[str, ...], situation: Situation, *, calls: bool
) -> Iterator[Recorded | None]:
    """A record of the run; None, and a line that says why, where there can be none."""
    from xdiag.launch.recorded import Recorded

    reach = situation.reach
    for warning in reach.warnings:
        _say(warning)
    if not reach.works:
        _say(f"no record, and no redirection: {reach.because}")
        yield None
        return
    try:
        record = Recorded(path, command_line, calls=calls)
        if record.fewer_threads is not None:
            _say(
                f"there is little room for the record: it has places for {record.fewer_threads}"
                " threads that make calls at a time"
            )
        record.environment({}, reach)  # fails now where the audit library may not be used
    except (OSError, XdiagError) as error:
        if path is not None:
            raise
        _say(f"no record: {error}")
        yield None
        return
    with record:
        yield record


@contextlib.contextmanager
def _hook_told(choice: Choice) -> Iterator[dict[str, str]]:
    """Variables by which the import hook, where it is used, tells what it did; says it then."""
    import fcntl

    from xdiag.launch.recorded import HOOK
    from xdiag.launch.trust import private_folder
    from xdiag.repair import full_width_handle

    if full_width_handle.REPAIR not in choice.repairs:
        yield {}
        return
    with tempfile.NamedTemporaryFile("r", dir=private_folder(), prefix=HOOK) as log:
        fcntl.flock(log, fcntl.LOCK_EX)  # a later run removes what has no lock
        yield {full_width_handle.LOG: log.name}
        lines = log.read().splitlines()
    for line in lines or ["no binding was imported whose argument types had to be set"]:
        _say(line)


def _say_refused() -> None:
    _say('a call was refused with error 709 ("context is destroyed"); more when the program ends')


def _report(
    record: Recorded, ending: Ending, situation: Situation, choice: Choice, *, quiet: bool
) -> None:
    """Tell what the record says; what is wrong with it does not change how xdiag ends."""
    from xdiag.cli import output
    from xdiag.recording import diagnosis, read
    from xdiag.render import recording as rendering
    from xdiag.repair import advice

    if not record.is_in_place:
        _say(f"{record.path} was replaced or removed: what this run did is not known")
        return
    try:
        recording = read.read(record.path)
        diagnoses = diagnosis.diagnose(recording)
        if quiet and not any(each.fault for each in diagnoses):
            return
        diagnoses = advice.advised(diagnoses, situation, choice)
        how = f"status {ending.status}" if ending.signal is None else f"signal {ending.signal}"
        _say(f"the command ended with {how}; what it did with its runtimes:")
        output.tell(
            lambda console: rendering.show_report(recording, diagnoses, console, brief=True)
        )
    except XdiagError as error:
        _say(f"the record cannot be read: {error}")


def _say(line: str) -> None:
    click.echo(f"xdiag: {line}", err=True)
