"""Which Python is examined: the one that was named, or the one that the user's command would be.

An interpreter is only found here; what belongs to it is read by ``discover.python_environment``.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

from msgspec.structs import replace

from xdiag.discover import python_environment
from xdiag.errors import CannotRun, Usage, XdiagError
from xdiag.model import Record

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from xdiag.discover.root import Root

_NAMES = ("python3", "python")
#: Where images keep an environment that no variable points at.
_USUAL = ("/opt/venv/bin", "/opt/conda/bin", "/venv/bin", "/app/.venv/bin", "/workspace/.venv/bin",
          "/usr/local/bin", "/usr/bin")  # fmt: skip
#: Directories each of whose entries may be an environment.
_PARENTS = ("/opt", "/opt/conda/envs", "/opt/venvs", "/root", "/app", "/workspace")
#: Seconds that a launcher may take to say which interpreter it launches.
_PATIENCE = 10
_PYTHON = re.compile(r"(python|pypy)[0-9.]*")


class Interpreter(Record, frozen=True):
    """A Python interpreter, and why it is this one."""

    path: str
    because: str
    #: Other interpreters here that have torch, where nobody said which is meant.
    others: tuple[str, ...] = ()
    #: Variables that should have led to one and do not, in sentences.
    notes: tuple[str, ...] = ()


def is_python(name: str) -> bool:
    """Whether a program is called as a Python interpreter is."""
    return _PYTHON.fullmatch(name) is not None


def named(python: str, root: Root, environ: Mapping[str, str]) -> Interpreter:
    """The interpreter that the user named: a file, an environment's directory, a name on PATH.

    Raises Usage if there is none.
    """
    path = python
    if "/" not in python:
        found = next(on_path((python,), root, environ), "")
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
    return launched(path, f"--python {python}", root)


def usual(root: Root, environ: Mapping[str, str]) -> Interpreter | None:
    """The interpreter that is meant where nobody says: the active environment's.

    Else xdiag's own if torch is there, else the first on PATH.  In an image, where nothing is
    active, the first that has torch, on PATH or in a usual place; else the first.  None where
    there is no Python.
    """
    notes: list[str] = []
    for variable in ("VIRTUAL_ENV", "CONDA_PREFIX"):
        if prefix := environ.get(variable):
            found = next(filter(root.is_file, (f"{prefix}/bin/{name}" for name in _NAMES)), "")
            if found:
                return launched(found, f"{variable} points there", root)
            notes.append(f"{variable}={prefix} has no bin/python.")
    chosen = _on_this_machine(root, environ) if root.is_this_machine else _in_image(root, environ)
    return replace(chosen, notes=tuple(notes)) if chosen is not None else None


def _on_this_machine(root: Root, environ: Mapping[str, str]) -> Interpreter:
    if _has_torch(sys.executable, root, environ):
        return Interpreter(sys.executable, "xdiag runs in it, and torch is there")
    path = next(on_path(_NAMES, root, environ), "")
    if path:
        return launched(path, "the first on PATH", root)
    return Interpreter(sys.executable, "xdiag runs in it")


def _in_image(root: Root, environ: Mapping[str, str]) -> Interpreter | None:
    every = _all_in(root, environ)
    with_torch = [path for path in every if _has_torch(path, root, environ)]
    if with_torch:
        chosen = launched(with_torch[0], "the first in the image that has torch", root)
        return replace(chosen, others=tuple(with_torch[1:]))
    return launched(every[0], "the first in the image; none has torch", root) if every else None


def _all_in(root: Root, environ: Mapping[str, str]) -> list[str]:
    """Interpreters of an image, each environment once."""
    folders = [*_USUAL]
    for parent in _PARENTS:
        folders += (f"{parent}/{name}/bin" for name in root.names(parent))
    paths = [*on_path(_NAMES, root, environ)]
    paths += (f"{folder}/{name}" for folder in dict.fromkeys(folders) for name in _NAMES)
    found: dict[str, str] = {}
    for path in paths:
        if root.is_file(path):
            found.setdefault(os.path.dirname(path), path)
    return list(found.values())


def _has_torch(python: str, root: Root, environ: Mapping[str, str]) -> bool:
    try:
        environment = python_environment.find(python, root, environ)
    except XdiagError:
        return False
    return bool(python_environment.packages("torch", environment, root))


def launched(path: str, because: str, root: Root) -> Interpreter:
    """The interpreter itself, where ``path`` is a script that starts it, as pyenv's shims are."""
    if not first_line(path, root):
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


def first_line(path: str, root: Root) -> list[str]:
    """The words after ``#!``; empty for what is no script."""
    try:
        start = root.read(path, 512)
    except OSError:
        return []
    if not start.startswith(b"#!"):
        return []
    return os.fsdecode(start[2:].split(b"\n")[0]).split()


def on_path(names: Sequence[str], root: Root, environ: Mapping[str, str]) -> Iterator[str]:
    """Programs of these names in PATH's directories, as a shell would find them."""
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
    return "" if root.is_this_machine else f" in {root.path} (paths count from there)"
