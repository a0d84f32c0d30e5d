"""Which of XSched's Python bindings a program's own files import, by what is in their source."""

from __future__ import annotations

import ast
import os
from typing import TYPE_CHECKING

from xdiag.discover import source
from xdiag.errors import XdiagError
from xdiag.model import Record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xdiag.discover.root import Root
    from xdiag.doctor.patient import Patient

#: The names by which a binding is imported: since June 2026, and before.
CURRENT, OLD = "xsched.hip", "xsched_hip"
#: Files that are read, and how far; imports that are kept.
_MOST_FILES, _MOST_OF_FILE, _MOST_IMPORTS = 200, 1 << 20, 64


class Import(Record, frozen=True):
    """A place where a binding is imported, or its name stands, as it is given to importlib."""

    #: CURRENT or OLD.
    module: str
    path: str
    line: int


def imports(patient: Patient) -> tuple[Import, ...] | None:
    """The imports of the script and of the modules beside it that it imports, the script's first.

    None where no script is known, whose imports could be told.  Which branch of a source is taken,
    and what installed packages import in their turn, is not looked at.
    """
    if not patient.script:
        return None
    folder = os.path.dirname(patient.script)
    theirs = {each.path for each in patient.xsched.bindings}
    found: list[Import] = []
    todo = {patient.script: None}
    for number in range(_MOST_FILES):
        if number == len(todo):
            break
        path = [*todo][number]
        tree = _parsed(path, patient.root)
        for module, line, base in _modules(tree, path, folder) if tree is not None else ():
            if module in (CURRENT, OLD):
                found.append(Import(module, path, line))
            for file in _files(module, base):
                if file not in theirs and patient.root.is_file(file):
                    todo.setdefault(file)
    return tuple(dict.fromkeys(found))[:_MOST_IMPORTS]


def _parsed(path: str, root: Root) -> ast.Module | None:
    try:
        return source.parsed(root.read(path, _MOST_OF_FILE))
    except (OSError, XdiagError):
        return None


def _modules(tree: ast.Module, path: str, folder: str) -> Iterator[tuple[str, int, str]]:
    """Names that are imported, the lines, and the directories in which they are looked for."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno, folder) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = folder
            if node.level:
                base = os.path.normpath(os.path.join(path, *[".."] * node.level))
            prefix = f"{node.module}." if node.module else ""
            yield node.module or "", node.lineno, base
            yield from ((prefix + alias.name, node.lineno, base) for alias in node.names)
        elif isinstance(node, ast.Constant) and node.value in (CURRENT, OLD):
            yield str(node.value), node.lineno, folder


def _files(module: str, base: str) -> Iterator[str]:
    """Files that would be run by an import of the module, if it lies in this directory."""
    parts = module.split(".")
    for number in range(1, len(parts) + 1) if module else ():
        path = os.path.join(base, *parts[:number])
        yield f"{path}.py"
        yield f"{path}/__init__.py"
