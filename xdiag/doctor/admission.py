"""Who is to be examined: what the user names, made into a patient."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from xdiag.discover.root import Root
from xdiag.doctor import command_line, interpreter
from xdiag.doctor.patient import Patient
from xdiag.errors import CannotRun, Usage

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: Where programs are looked for in an image, which brings no PATH of its own.
_IMAGE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def working_directory() -> str:
    """The directory of this process; the root directory where that was removed.

    Programs start in a removed directory as in any other: what they name by an absolute path is
    there.
    """
    try:
        return os.getcwd()
    except OSError:
        return "/"


def admit(
    command: Sequence[str] = (),
    *,
    python: str | None = None,
    root: str | None = None,
    settings: Iterable[str] = (),
) -> Patient:
    """The patient that a command, an interpreter (``python``) or neither of them means.

    ``root`` is the directory of an unpacked image; ``settings`` are variables, NAME=VALUE, that the
    program will be started with.  Raises Usage or CannotRun for what cannot be examined.
    """
    tree = Root(root if root is not None else "/")
    # An image is started with its own environment, not with that of this shell.
    environ = dict(os.environ) if tree.is_this_machine else {"PATH": _IMAGE_PATH}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals or not name:
            raise Usage(f"--env {setting}: not of the form NAME=VALUE")
        environ[name] = value
    cwd = working_directory() if tree.is_this_machine else "/"
    patient = Patient(root=tree, environ=environ, cwd=cwd, command=tuple(command))
    if command:
        start = command_line.understood(command, tree, environ, cwd)
        patient.program, patient.interpreter = start.program, start.interpreter
        patient.environ = start.environ
        patient.script, patient.module, patient.site = start.script, start.module, start.site
        patient.reads_environment, patient.launcher = start.reads_environment, start.launcher
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
