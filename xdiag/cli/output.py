"""Where a command's result goes: a terminal, a pipe, or a file that appears whole or not at all."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from xdiag import whole_file
from xdiag.errors import CannotRun, Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rich.console import Console


def destination(path: str | None, read: Iterable[str] = ()) -> str | None:
    """Where ``-o`` leads: a file's path, None for standard output.

    Raises CannotRun now for what could not be written later, after the work is done; Usage for an
    empty name, and for one of the files that are read.
    """
    if path is None or path == "-":
        return None
    if not path:
        raise Usage("-o needs a file's name, or - for standard output")
    for each in read:
        with contextlib.suppress(OSError, ValueError):
            if os.path.isfile(path) and os.path.samefile(path, each):
                raise Usage(
                    f"-o {path} is a file that is read, and would be lost: name another one"
                )
    if _is_standard_output(path):
        return None
    if os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path)):
        # A pipe behind /dev/stderr has no path of its own to follow.
        if not os.access(path, os.W_OK):
            raise CannotRun(f"cannot write {path}: no permission")
        return path
    return whole_file.place(path)


def _is_standard_output(path: str) -> bool:
    """Whether it is what standard output leads to: /dev/stdout of a pipe has no path of its own."""
    if not path.startswith(("/dev/", "/proc/")):
        return False
    try:
        return os.path.samestat(os.stat(path), os.fstat(sys.stdout.fileno()))
    except (OSError, ValueError, AttributeError):
        return False


def show(draw: Callable[[Console], None], path: str | None) -> None:
    """Draw in colour on a terminal, as plain text into a pipe or file."""
    if path is None and sys.stdout.isatty():
        from rich.console import Console

        draw(Console())
        return
    from xdiag.render.terminal import printed

    write(printed(draw), path)


def tell(draw: Callable[[Console], None]) -> None:
    """Draw on standard error, what is said beside the result: in colour on a terminal."""
    if sys.stderr.isatty():
        from rich.console import Console

        draw(Console(stderr=True))
        return
    from xdiag.render.terminal import printed

    click.echo(printed(draw), err=True, nl=False)


def write(text: str, path: str | None) -> None:
    """Write to standard output, or to a file through a temporary one beside it."""
    if path is None:
        click.echo(text, nl=not text.endswith("\n"))
        return
    target = Path(path)
    if target.exists() and not target.is_file():
        # A pipe or a device (/dev/stdout) cannot be replaced, only written into.
        try:
            with target.open("w") as stream:
                stream.write(text)
        except OSError as error:
            raise CannotRun(f"cannot write {path}: {error.strerror}") from error
        return
    whole_file.write(text.encode("utf-8", "surrogateescape"), path)
