"""Which Python is examined: the one that was named, or the one that the user's command would be.

An interpreter is only found here; what belongs to it is read by ``discover.python_environment``.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

from xdiag.errors import CannotRun, Usage
from xdiag.model import Record

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from xdiag.discover.root import Root

_NAMES = ("python3", "python")
#: Where images keep an environment that no variable points at.
_USUAL = ("/opt/venv/bin", "/opt/conda/bin", "/usr/local/bin", "/usr/bin", "/bin")
#: Seconds that a launcher may take to say which interpreter it launches.
_PATIENCE = 10
_PYTHON = re.compile(r"(python|pypy)[0-9.]*")


class Interpreter(Record, frozen=True):
    """A Python interpreter, and why it is this one."""

    path: str
    because: str


def named(python: str, root: Root, environ: Mapping[str, str]) -> Interpreter:
    """The interpreter that the user named: a file, an environment's directory, a name on PATH.

    Raises Usage if there is none.
    """
    path = python
    if "/" not in python:
        found = next(_on_path((python,), root, environ), "")
        if not found and not root.is_dir(os.path.abspath(python)):
            raise Usage(f"no {python} on PATH{_inside(root)}")
        path = found or python
    if root.is_this_machine:
        path = os.path.abspath(path)
    if root.is_dir(path):
        inside = [f"{path}/bin/{name}" for name in _NAMES]
        path = next(filter(root.is_file, inside), "")
        if not path:
            raise Usage(f"{python}: a directory without bin/python{_inside(root)}")
    if not root.is_file(path):
        raise Usage(f"{python}: no such file{_inside(root)}")
    return _launched(path, f"--python {python}", root)


def of_command(
    command: Sequence[str], root: Root, environ: Mapping[str, str]
) -> tuple[str, Interpreter | None]:
    """The program that a command starts, and the interpreter if that is Python.

    A script's first line is followed, one ``env`` in it too.  Raises Usage for no such program.
    """
    program = command[0]
    if "/" not in program:
        found = next(_on_path((program,), root, environ), "")
        if not found:
            raise Usage(f"no program {program} on PATH{_inside(root)}")
        program = found
    elif root.is_this_machine:
        program = os.path.abspath(program)
    if not root.is_file(program):
        raise Usage(f"{program}: no such program{_inside(root)}")
    because = f"the command {program}"
    for _ in range(4):  # execve follows that many scripts (fs/exec.c, BINPRM_MAX_RECURSION)
        if _PYTHON.fullmatch(os.path.basename(program)):
            return program, _launched(program, because, root)
        words = _first_line(program, root)
        if not words:
            return program, None
        if os.path.basename(words[0]) == "env" and len(words) > 1:
            name = next((word for word in words[1:] if not word.startswith("-")), "")
            program = next(_on_path((name,), root, environ), "")
        else:
            program = words[0]
        if not program or not root.is_file(program):
            raise Usage(f"{because} is a script of {' '.join(words)}, which is not there")
    return program, None


def usual(root: Root, environ: Mapping[str, str]) -> Interpreter | None:
    """The interpreter of the active environment, else xdiag's own if torch is there, else PATH's.

    In an image, where nothing is active, the first at a usual place.
    """
    for variable in ("VIRTUAL_ENV", "CONDA_PREFIX"):
        if prefix := environ.get(variable):
            for name in _NAMES:
                path = f"{prefix}/bin/{name}"
                if root.is_file(path):
                    return _launched(path, f"{variable} points there", root)
    if root.is_this_machine and _own_has_torch():
        return Interpreter(sys.executable, "xdiag runs in it, and torch is there")
    path = next(_on_path(_NAMES, root, environ), "")
    if path:
        return _launched(path, "the first on PATH", root)
    for folder in _USUAL:
        for name in _NAMES:
            if root.is_file(f"{folder}/{name}"):
                return _launched(f"{folder}/{name}", "found in a usual place", root)
    return Interpreter(sys.executable, "xdiag runs in it") if root.is_this_machine else None


def _own_has_torch() -> bool:
    return any(os.path.isdir(os.path.join(folder, "torch")) for folder in sys.path if folder)


def _launched(path: str, because: str, root: Root) -> Interpreter:
    """The interpreter itself, where ``path`` is a script that starts it, as pyenv's shims are."""
    if not _first_line(path, root):
        return Interpreter(path, because)
    if not root.is_this_machine:
        raise CannotRun(f"{path} is a script that starts an interpreter; name that with --python")
    try:
        # Isolated and without site: no code of the environment is run.
        done = subprocess.run(
            [path, "-I", "-S", "-c", "import sys; print(sys.executable)"],
            capture_output=True, timeout=_PATIENCE, check=True, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        raise CannotRun(
            f"{path} is a script that does not start an interpreter ({error}); name one with"
            " --python"
        ) from error
    started = os.fsdecode(done.stdout).strip()
    return Interpreter(started, f"{because}; started by the script {path}")


def _first_line(path: str, root: Root) -> list[str]:
    """The words after ``#!``; empty for what is no script."""
    try:
        start = root.read(path, 512)
    except OSError:
        return []
    if not start.startswith(b"#!"):
        return []
    return os.fsdecode(start[2:].split(b"\n")[0]).split()


def _on_path(names: Sequence[str], root: Root, environ: Mapping[str, str]) -> Iterator[str]:
    for folder in environ.get("PATH", "").split(":"):
        for name in names:
            path = os.path.join(folder, name)
            if name and folder.startswith("/") and root.is_file(path) and _may_run(path, root):
                yield path


def _may_run(path: str, root: Root) -> bool:
    try:
        return bool(root.stat(path).st_mode & 0o111)
    except OSError:
        return False


def _inside(root: Root) -> str:
    return "" if root.is_this_machine else f" in {root.path}"
