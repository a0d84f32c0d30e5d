"""The command line: one file per command, found through the list below."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from typing import Any

import click

from xdiag import __version__
from xdiag.errors import COULD_NOT_RUN, INTERRUPTED, NOTHING_WRONG, XdiagError, near_matches

#: name -> (module, function, help line).  Modules are imported when their command is called, so
#: that ``xdiag --help`` stays quick.
COMMANDS = {
    "probe": ("xdiag.cli.probe", "Run one pattern and show every step."),
    "matrix": ("xdiag.cli.matrix", "Run patterns x fixes and print the compatibility matrix."),
    "doctor": ("xdiag.cli.doctor", "Tell whether a program has, or will have, two runtimes."),
    "inspect": ("xdiag.cli.inspect", "Show which runtimes a process has loaded, and who did it."),
    "run": ("xdiag.cli.run", "Start a program with one runtime, and record what it does."),
    "fix": ("xdiag.cli.fix", "Try each repair on the failing cells, and name the one to take."),
    "explain": ("xdiag.cli.explain", "Tell what a log or a record says: what failed, and why."),
    "report": ("xdiag.cli.report", "Write everything into one file for a bug report."),
    "compare": ("xdiag.cli.compare", "Tell what changed between two matrices."),
    "merge": ("xdiag.cli.merge", "Make one matrix of many machines or runtime versions."),
    "workload": ("xdiag.cli.workload", "Measure two models that share a GPU, by priority."),
    "api": ("xdiag.cli.api", "Show what each HIP call does with a bad handle, by version."),
    "patterns": ("xdiag.cli.patterns", "List the patterns, or show one."),
    "fixes": ("xdiag.cli.fixes", "List the fixes, or show one."),
    "runtimes": ("xdiag.cli.runtimes", "List the runtimes found here, or add one."),
}


class _LazyGroup(click.Group):
    """A group that knows its commands' names and help lines without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(COMMANDS[cmd_name][0]).command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            ctx.fail(f"no command {args[0]!r}{near_matches(args[0], list(COMMANDS))}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, help) for name, (_, help) in COMMANDS.items()])


@click.group(
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 nothing wrong found, 1 a fault was found, 2 wrong usage, 3 could not run,"
    " 130 interrupted.",
)
@click.version_option(__version__, "-V", "--version", message="xdiag %(version)s")
@click.option("--debug", is_flag=True, help="Show tracebacks of errors.")
def _xdiag(debug: bool) -> None:
    """Find out why a GPU stream handle is refused (HIP error 709, "context is destroyed").

    xdiag runs the same few driver calls by different owners, with and without each candidate fix,
    each in a process of its own, and weighs which explanation survives.
    """
    del debug


def main(args: list[str] | None = None) -> None:
    """Entry point of the ``xdiag`` command; never returns."""
    arguments = sys.argv[1:] if args is None else args
    wanted = _without_debug(arguments)
    sys.exit(_run(arguments, wanted, debug=wanted != arguments))


def _without_debug(arguments: list[str]) -> list[str]:
    """The line without ``--debug``, which is taken anywhere, as users put it where they are.

    But not from a command that is to be started: after ``--``, or without one after ``run``.
    """
    end = len(arguments)
    if "--" in arguments:
        end = arguments.index("--")
    elif "run" in arguments:
        end = arguments.index("run")
    return [a for a in arguments[:end] if a != "--debug"] + arguments[end:]


def _run(arguments: list[str], wanted: list[str], *, debug: bool) -> int:
    _open_closed_streams()
    try:
        result: Any = _xdiag.main(
            wanted, prog_name="xdiag", standalone_mode=False, obj=tuple(arguments)
        )
        sys.stdout.flush()
    except click.UsageError as error:
        if debug:
            raise
        where = error.ctx.command_path if error.ctx is not None else "xdiag"
        message = error.format_message().rstrip(".")
        click.echo(f"xdiag: {message} ({where} --help says more)", err=True)
        return error.exit_code
    except click.ClickException as error:
        if debug:
            raise
        click.echo(f"xdiag: {error.format_message()}", err=True)
        return error.exit_code
    except click.exceptions.Exit as exit_request:
        return exit_request.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("xdiag: interrupted", err=True)
        return INTERRUPTED
    except XdiagError as error:
        if debug:
            raise
        click.echo(f"xdiag: {error}", err=True)
        return error.exit_code
    except BrokenPipeError:
        # The reader went away (| head): nothing more can be said to it.
        _discard_output()
        return NOTHING_WRONG
    except OSError as error:
        if debug:
            raise
        # A full disk, a limit, a device that went away: the system's fault, and its words.
        what = f" {error.filename}" if error.filename else ""
        click.echo(f"xdiag: cannot go on:{what} {error.strerror or error}", err=True)
        _discard_output()
        return COULD_NOT_RUN
    except Exception as error:
        if debug:
            raise
        click.echo(
            f"xdiag: internal error: {type(error).__name__}: {error}"
            " (a bug; run again with --debug and report the traceback)",
            err=True,
        )
        return COULD_NOT_RUN
    return result if isinstance(result, int) else NOTHING_WRONG


def _open_closed_streams() -> None:
    """Give a program that was started with closed streams (``>&-``) something to write into."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - for the process's life


def _discard_output() -> None:
    """Keep the interpreter from flushing once more, at its exit, into what cannot take it."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
