"""``xdiag fix``: which repair helps here, shown by the failing cells before and after."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import click

from xdiag.cli import output
from xdiag.cli.options import choose_target, target_options, xsched_option
from xdiag.errors import COULD_NOT_RUN, FAULT_FOUND, NOTHING_WRONG, CannotRun, Usage, near_matches

if TYPE_CHECKING:
    from xdiag.repair.repair import Situation

_PLACES = "shell", "slurm", "dockerfile"
_CAUSES = "two-runtimes", "truncated-handle"
#: The patch that is made for the binding at hand.
_ARGTYPES = "argtypes"


@click.command("fix")
@click.option(
    "--repair",
    "-r",
    "names",
    multiple=True,
    metavar="NAME",
    help="Try only these repairs.  [default: all for what is wrong here]",
)
@click.option(
    "--pattern",
    "-p",
    "globs",
    multiple=True,
    metavar="GLOB",
    help="Try them on these patterns.  [default: all that fail by the cause found]",
)
@click.option(
    "--cause",
    type=click.Choice(_CAUSES),
    multiple=True,
    help="Try the repairs for this cause, found here or not.",
)
@click.option(
    "--print",
    "place",
    type=click.Choice(_PLACES),
    help="Only print the lines of the chosen repair, to be put there.",
)
@click.option(
    "--patch",
    metavar="NAME",
    help="Only print a source patch: xsched (against its public source), or argtypes (against the"
    " binding that is installed here).",
)
@click.option("--list", "list_repairs", is_flag=True, help="List the repairs and try nothing.")
@click.option("--python", metavar="PATH", help="The interpreter, as for xdiag doctor.")
@click.option("--json", "as_json", is_flag=True, help="Print the trials as JSON.")
@click.option("--output", "-o", "path", metavar="FILE", help="Write there, not to the terminal.")
@xsched_option
@target_options
@click.argument("command_line", nargs=-1, type=click.UNPROCESSED, metavar="[-- COMMAND ...]")
@click.pass_obj
def command(
    arguments: tuple[str, ...],
    names: tuple[str, ...],
    globs: tuple[str, ...],
    cause: tuple[str, ...],
    place: str | None,
    patch: str | None,
    list_repairs: bool,
    python: str | None,
    as_json: bool,
    path: str | None,
    xsched: str | None,
    runtime: str | None,
    agent: str,
    kernel_cache: bool,
    command_line: tuple[str, ...],
) -> int:
    """Find the repair that helps here: run the failing cells before and after each candidate.

    What is wrong is foretold as by xdiag doctor, for the Python environment at hand or for a
    COMMAND about to be started.  The cells use the two runtimes that were found, each in a process
    of its own: every call of the driver uses the stream there or, with --xsched, XSched's HAL.
    COMMAND itself is not started (xdiag run does that, under the chosen repair).

    Exits with 0 if nothing is wrong here (whatever --cause makes fail in a cell), 1 if a fault was
    found, repaired or not, 3 if it could not be put to the test.
    """
    from xdiag.doctor.admission import admit
    from xdiag.render import repairs as rendering
    from xdiag.repair import verify
    from xdiag.repair.repair import Situation
    from xdiag.runtimes.xsched import usable

    path = output.destination(path)
    if place and patch:
        raise Usage("--print and --patch are two things: give one of them")
    if python and command_line:
        raise Usage("COMMAND says which Python is used; leave --python out")
    if as_json and (place or patch):
        raise Usage("--print and --patch print lines as they are; leave --json out")
    if list_repairs:
        if as_json:
            output.write(rendering.list_document(), path)
        else:
            output.show(rendering.show_list, path)
        return NOTHING_WRONG
    if patch is not None and patch != _ARGTYPES:
        output.write(_source_patch(patch, None), path)
        return NOTHING_WRONG
    situation = Situation(admit(command_line, python=python))
    if patch is not None:
        output.write(_source_patch(patch, situation), path)
        return NOTHING_WRONG
    if place is not None:
        return _print_lines(place, names, situation, path)
    trials = verify.put_to_the_test(
        situation,
        lambda keep: choose_target(runtime or keep, agent, kernel_cache),
        causes=cause,
        names=names,
        globs=globs,
        command=shlex.join(["xdiag", *arguments]),
        xsched=usable(xsched) if xsched is not None else None,
    )
    if trials is None:
        click.echo(
            "xdiag: nothing to repair: no second HIP runtime is foretold here, and no binding that"
            " cuts handles (--cause two-runtimes tries the repairs all the same)",
            err=True,
        )
        return NOTHING_WRONG
    if as_json:
        output.write(rendering.document(trials), path)
    else:
        output.show(lambda console: rendering.show(trials, console), path)
    if trials.target is None:
        return COULD_NOT_RUN
    # What was made to fail for --cause is no fault of what is here.
    return FAULT_FOUND if trials.causes else NOTHING_WRONG


def _print_lines(place: str, names: tuple[str, ...], situation: Situation, path: str | None) -> int:
    """Print what to put into a file; exit as the whole command does."""
    from xdiag.repair import choose
    from xdiag.repair.lines import PLACES

    choice = choose.named(names, situation) if names else choose.auto(situation)
    if not choice.repairs:
        raise CannotRun(f"no repair is chosen: {choice.because}")
    lines = [
        f"# xdiag: {' and '.join(choice.repairs)} ({choice.because})",
        *PLACES[place](choice.change),
    ]
    output.write("\n".join(lines) + "\n", path)
    return FAULT_FOUND if situation.causes else NOTHING_WRONG


def _source_patch(name: str, situation: Situation | None) -> str:
    """The unified diff called ``name``; raises Usage where there is none."""
    from xdiag.repair import full_width_handle, patches

    known = [each.id for each in patches.PATCHES]
    if situation is None or name != _ARGTYPES:
        for each in patches.PATCHES:
            if each.id == name:
                return each.text()
        known.append(_ARGTYPES)
        hint = near_matches(name, known) or f" (there are {', '.join(known)})"
        raise Usage(f"no patch {name!r}{hint}")
    binding = situation.old_binding
    if binding is None:
        raise CannotRun("no binding that cuts handles is installed for this Python")
    source = situation.patient.root.read(binding.path).decode()
    return full_width_handle.argtypes_diff(binding, source)
