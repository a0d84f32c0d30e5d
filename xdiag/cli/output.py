"""Where a command's result goes: a terminal, a pipe, or a file that appears whole or not at all."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from xdiag.errors import CannotRun

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console


def check_writable(path: str | None) -> None:
    """Raise CannotRun now if ``path`` could not be written later, after the work is done."""
    if path is None:
        return
    target = Path(path)
    folder = target.parent
    if target.is_dir():
        raise CannotRun(f"cannot write {path}: it is a directory")
    if not folder.is_dir():
        raise CannotRun(f"cannot write {path}: there is no directory {folder}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise CannotRun(f"cannot write {path}: no permission to write into {folder}")


def show(draw: Callable[[Console], None], path: str | None) -> None:
    """Draw in colour on a terminal, as plain text into a pipe or file."""
    if path is None and sys.stdout.isatty():
        from rich.console import Console

        draw(Console())
        return
    from xdiag.render.terminal import printed

    write(printed(draw), path)


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
    temporary = ""
    try:
        fd, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        with os.fdopen(fd, "w") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, target)
    except OSError as error:
        if temporary and os.path.exists(temporary):
            os.unlink(temporary)
        raise CannotRun(f"cannot write {path}: {error.strerror}") from error
