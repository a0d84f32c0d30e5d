"""``xdiag inspect``: which runtimes are loaded in a process, and who brought each of them."""

from __future__ import annotations

import os
import sys
import time
from functools import partial
from typing import TYPE_CHECKING

import click

from xdiag import cli
from xdiag.cli import output
from xdiag.errors import COULD_NOT_RUN, FAULT_FOUND, NOTHING_WRONG, CannotRun, Usage

if TYPE_CHECKING:
    from rich.console import Console

    from xdiag.doctor.runtimes_in_process import Inspection, Survey
    from xdiag.process.facts import LoadedObject
    from xdiag.process.proc import Proc
    from xdiag.process.watch import Change

#: Seconds between two looks, if nothing is said.
_INTERVAL = "1"


@click.command("inspect")
@click.argument("target", required=False, metavar="[PID | CORE]")
@click.option("--all", "every", is_flag=True, help="Look at every process that you may read.")
@click.option(
    "--watch",
    "interval",
    is_flag=False,
    flag_value=_INTERVAL,
    metavar="[SECONDS]",
    help="Go on looking, and print a line for each copy that comes or goes.  [default: every 1]",
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print JSON (one line a change, if watching)."
)
@click.option("--output", "-o", "path", metavar="FILE", help="Write there, not to the terminal.")
@click.option("--verbose", "-v", is_flag=True, help="Show what was seen where nothing is wrong.")
def command(
    target: str | None,
    every: bool,
    interval: str | None,
    as_json: bool,
    path: str | None,
    verbose: bool,
) -> int:
    """Show which GPU runtimes are loaded in a process, and who brought each of them.

    The process is named by its number, or by the core file that it left.  It is read, and neither
    stopped nor traced.  Exits with 1 if two HIP runtimes are loaded in it.
    """
    if interval is not None and target is None and not every:
        # "--watch 4711": the number belongs to the process.
        target, interval = interval, _INTERVAL
    if every and (target is not None or interval is not None):
        raise Usage("--all goes neither with a process nor with --watch")
    if not every and target is None:
        raise Usage("which process? give its number, a core file, or --all")
    if target is not None and not target:
        raise Usage("an empty name is neither the number of a process nor a core file")
    if interval is not None:
        if path is not None:
            raise Usage("--watch writes to standard output: redirect it (> FILE)")
        return _watch(_pid(target), _seconds(interval), as_json=as_json)
    path = output.destination(path)
    return _survey(as_json, path) if every else _inspect(str(target), as_json, path, verbose)


def _inspect(target: str, as_json: bool, path: str | None, verbose: bool) -> int:
    from xdiag.doctor.runtimes_in_process import inspect
    from xdiag.render import json_document

    pid = _number(target)
    if pid is None:
        from xdiag.process import core

        facts = core.look(target)
    else:
        from xdiag.process.look import look

        facts = look(pid)
    inspection = inspect(facts)
    if as_json:
        output.write(json_document.record(inspection), path)
    else:
        from xdiag.render import inspection as rendering

        output.show(lambda console: rendering.show(inspection, console, verbose=verbose), path)
    return FAULT_FOUND if inspection.fault else NOTHING_WRONG


def _survey(as_json: bool, path: str | None) -> int:
    from xdiag.doctor.runtimes_in_process import survey
    from xdiag.process.every import look_at_every
    from xdiag.render import json_document

    found = survey(look_at_every())
    if as_json:
        output.write(json_document.record(found), path)
    else:
        output.show(lambda console: _show_survey(console, found), path)
    if not found.looked_at and found.refused:
        return COULD_NOT_RUN
    return FAULT_FOUND if found.fault else NOTHING_WRONG


def _show_survey(console: Console, found: Survey) -> None:
    from rich.text import Text

    from xdiag.render import inspection as rendering
    from xdiag.render.text import count

    for each in found.inspections:
        rendering.brief(each, console)
        console.print()
    bad = sum(each.fault for each in found.inspections)
    told = [
        f"{_processes(found.looked_at)} looked at: {len(found.inspections)} with a GPU runtime,"
        f" {bad} with two HIP runtimes"
    ]
    if found.refused:
        told.append(f"{count(found.refused, 'more')} may not be read".replace("mores", "more"))
        if os.geteuid() != 0:
            told[-1] += " (root may: sudo xdiag inspect --all)"
    if found.vanished:
        told.append(f"{found.vanished} ended meanwhile")
    console.print(Text("; ".join(told), overflow="fold"))


def _processes(number: int) -> str:
    return "1 process" if number == 1 else f"{number} processes"


# ---- watching --------------------------------------------------------------------------------


def _watch(pid: int, seconds: float, *, as_json: bool) -> int:
    from xdiag.process.proc import Proc
    from xdiag.process.watch import watch

    two = False
    with Proc(pid) as process:
        for change in watch(process, seconds, _reader()):
            second = bool(change.appeared) and _has_two(change.loaded)
            two = two or second
            inspection = _inspection_of(process) if second else None
            try:
                _tell(pid, change, inspection, as_json=as_json)
            except BrokenPipeError:  # nobody reads on: click would exit with 1, which means a fault
                cli._discard_output()
                break
    return FAULT_FOUND if two else NOTHING_WRONG


def _reader() -> int | None:
    """Standard output, where it is a descriptor that can be asked whether somebody reads it."""
    try:
        return sys.stdout.fileno()
    except (OSError, ValueError):
        return None


def _tell(pid: int, change: Change, inspection: Inspection | None, *, as_json: bool) -> None:
    """Print a change; click.echo flushes, and whoever reads a pipe wants to know now."""
    if as_json:
        click.echo(_document(pid, change, inspection), nl=False)
        return
    for line in _lines(change):
        click.echo(line)
    if inspection is not None:
        output.show(partial(_show_faults, inspection), None)
        sys.stdout.flush()


def _has_two(loaded: tuple[LoadedObject, ...]) -> bool:
    from xdiag.discover.names import HIP

    return sum(each.family == HIP for each in loaded) > 1


def _inspection_of(process: Proc) -> Inspection | None:
    """A full look, while the second copy is there; None if the process was quicker."""
    from xdiag.doctor.runtimes_in_process import inspect
    from xdiag.process.look import look_at

    try:
        return inspect(look_at(process))
    except (CannotRun, OSError):
        return None


def _document(pid: int, change: Change, inspection: Inspection | None) -> str:
    from xdiag.doctor.runtimes_in_process import Sighting
    from xdiag.model import SCHEMA_VERSION
    from xdiag.render import json_document

    return json_document.record(Sighting(SCHEMA_VERSION, pid, change, inspection), indent=0)


def _lines(change: Change) -> list[str]:
    from xdiag.render.inspection import object_line
    from xdiag.render.text import printable

    clock = time.strftime("%H:%M:%S", time.localtime(change.at))
    said = {
        "start": [] if change.loaded else ["no GPU runtime is loaded yet"],
        "program": [f"another program runs in it: {change.program}"],
        "end": ["the process has ended"],
        "change": [],
    }[change.event]
    said += [f"- {object_line(each)}" for each in change.disappeared]
    said += [f"+ {object_line(each)}" for each in change.appeared]
    return [printable(f"{clock}  {text}") for text in said]


def _show_faults(inspection: Inspection, console: Console) -> None:
    from xdiag.findings import Status
    from xdiag.render import findings

    findings.show([f for f in inspection.findings if f.status is Status.FAIL], console)


# ---- arguments -------------------------------------------------------------------------------


def _number(target: str) -> int | None:
    """The number of a process; None for what is to be a path."""
    if not (target.isascii() and target.isdecimal()):
        return None
    # Longer ones are none (proc(5): at most 2^22), and converting very long ones takes long.
    if len(target) > 10:
        raise CannotRun(f"there is no process {target[:40]}: no number is as long")
    return int(target)


def _pid(target: str | None) -> int:
    pid = _number(target or "")
    if pid is None:
        raise Usage(f"--watch needs the number of a process, not {target!r}")
    return pid


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        raise Usage(f"--watch takes a number of seconds, not {text!r}") from None
    if not 0.001 <= seconds <= 86400:
        raise Usage("--watch: from 0.001 to 86400 seconds")
    return seconds
