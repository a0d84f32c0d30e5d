"""The repair full-width-handle: XSched's old binding gets the argument types that it lacks.

For one start, by an import hook on PYTHONPATH (hook/sitecustomize.py), which writes nothing into
the user's tree; for good, as a diff against the binding that is installed.
"""

from __future__ import annotations

import ast
import difflib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from xdiag.discover import source as python_source
from xdiag.errors import CannotRun

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from xdiag.discover.xsched import Binding
    from xdiag.doctor.interpreter import Interpreter

_HOOK = Path(__file__).resolve().parent / "hook"
#: The repair that the hook is, by its id in the catalogue.
REPAIR = "full-width-handle"
#: The file, with mode 0600, that the hook adds a line to for each binding that it has seen to.
LOG = "XDIAG_HOOK_LOG"

_CALL = "HipQueueCreate"
_OPENERS = ("LoadLibrary", "CDLL", "PyDLL")
#: Accepts a pointer to anything, an int as a handle, and a c_void_p.
_TYPE = "c_void_p"


class Started(Protocol):
    """What has to be known of a command: command_line.Start and Patient both tell it."""

    program: str
    interpreter: Interpreter | None
    site: bool
    reads_environment: bool
    launcher: bool


def hook_folder() -> str:
    """The directory of our ``sitecustomize``, for PYTHONPATH.

    Raises CannotRun where PYTHONPATH cannot hold its path.
    """
    folder = str(_HOOK)
    if ":" in folder:
        raise CannotRun(
            f"{folder}: not a path that PYTHONPATH can hold, where ':' separates its entries;"
            " install xdiag in another directory"
        )
    return folder


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """``environ`` with the hook first on PYTHONPATH, and what is there already after it.

    Raises CannotRun where PYTHONPATH cannot hold the hook's path.
    """
    folder = hook_folder()
    earlier = environ.get("PYTHONPATH", "")
    # An empty entry among others is the working directory; an empty variable is none.
    others = [each for each in earlier.split(":") if each != folder] if earlier else []
    return {**environ, "PYTHONPATH": ":".join([folder, *others])}


def obstacles(start: Started) -> tuple[str, ...]:
    """Why the hook cannot reach the Python of a command, in sentences; none where it can.

    PYTHONSAFEPATH and -P are none: they leave out the script's directory, not PYTHONPATH.  What a
    launcher starts is not known; PYTHONPATH is inherited by it.
    """
    return tuple(_obstacles(start))


def _obstacles(start: Started) -> Iterator[str]:
    try:
        hook_folder()
    except CannotRun as error:
        yield str(error)
    if start.interpreter is None:
        if not start.launcher:
            yield (
                f"{start.program or 'the program'} is no Python interpreter; one that is embedded"
                " or frozen in it need not read PYTHONPATH"
            )
        return
    if not start.reads_environment:
        yield "Python is started with -I or -E, and does not read PYTHONPATH"
    if not start.site:
        yield "Python is started with -S, and does not import sitecustomize"


# ---- for good --------------------------------------------------------------------------------


def diff_folder(binding: Binding) -> str:
    """The directory in which the diff is applied: the one that is on Python's search path."""
    parts = _shown(binding).count("/") + 1
    return os.path.normpath(os.path.join(binding.path, *[".."] * parts))


def argtypes_diff(binding: Binding, source: str | bytes) -> str:
    """A unified diff of ``binding``, whose text is ``source``, that declares argument types.

    To be applied in ``diff_folder`` with ``git apply`` or ``patch -p1``.  Raises CannotRun, which
    says why, where the source is not understood or there is nothing to declare.
    """
    text = source.decode("utf-8", "surrogateescape") if isinstance(source, bytes) else source
    before = re.findall(r"[^\n]*\n|[^\n]+", text)
    after = _declared(binding, text, before)
    name = _shown(binding)
    diff = difflib.unified_diff(before, after, f"a/{name}", f"b/{name}")
    return "".join(_whole_line(line) for line in diff)


def _shown(binding: Binding) -> str:
    parts = binding.path.split("/")
    return "/".join(parts[-3:] if binding.kind == "current" else parts[-1:])


def _whole_line(line: str) -> str:
    """A diff's line; a file that ends without a newline says so, as diff(1) does."""
    return line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"


def _declared(binding: Binding, source: str, lines: list[str]) -> list[str]:
    if binding.full_width:
        raise CannotRun(f"{binding.path}: declares argument types that keep 64 bits already")
    tree = python_source.parsed(source)
    # Python ends a line at a carriage return too, and tools that apply diffs do not.
    if tree is None or re.search(r"\r(?!\n)", source):
        raise _not_understood(binding, "its source cannot be parsed")
    openings = _openings(binding, tree, _library(binding, tree))
    prefix = _prefix(binding, tree, openings[0].value)
    types = f"[{prefix}{_TYPE}, {prefix}{_TYPE}]"
    narrow = [each for each in ast.walk(tree) if _declares(each)]
    if narrow:
        return _replaced(binding, lines, narrow, types)
    declared = list(lines)
    for statement in sorted(openings, key=lambda each: -each.lineno):
        if len(statement.targets) != 1 or not _stands_alone(statement, lines):
            raise _not_understood(binding, f"line {statement.lineno} is not a plain assignment")
        target = ast.get_source_segment(source, statement.targets[0])
        _insert(declared, statement, f"{target}.{_CALL}.argtypes = {types}")
    return declared


def _insert(lines: list[str], statement: ast.Assign, new: str) -> None:
    """Put a line after a statement, indented and ended as it is."""
    place = statement.end_lineno or statement.lineno
    last = lines[place - 1]
    end = "\r\n" if last.endswith("\r\n") else "\n"
    new = lines[statement.lineno - 1][: statement.col_offset] + new
    if last.endswith("\n"):
        new += end
    else:
        lines[place - 1] += end
    lines.insert(place, new)


def _library(binding: Binding, tree: ast.Module) -> str:
    """What the object is called that HipQueueCreate is called of."""
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        library = _last_name(node.func.value)
        if node.func.attr == _CALL and library:
            if len(node.args) != 2 or node.keywords:
                raise _not_understood(binding, f"line {node.lineno} passes other than two values")
            return library
    raise _not_understood(binding, f"it does not call {_CALL} of a library")


def _openings(binding: Binding, tree: ast.Module, library: str) -> list[ast.Assign]:
    """The assignments that open the library."""
    found = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Call)
        and _last_name(node.value.func) in _OPENERS
        and any(_last_name(target) == library for target in node.targets)
    ]
    if not found:
        raise _not_understood(binding, f"nothing assigns an opened library to {library}")
    return found


def _last_name(node: ast.expr) -> str:
    """``c`` of ``a.b.c``; empty for what is neither a name nor an attribute."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _prefix(binding: Binding, tree: ast.Module, opener: ast.expr) -> str:
    """What ctypes' names are preceded by in this module: ``ctypes.``, or nothing."""
    while isinstance(opener, (ast.Attribute, ast.Call)):
        opener = opener.value if isinstance(opener, ast.Attribute) else opener.func
    root = opener.id if isinstance(opener, ast.Name) else ""
    if root not in (*_OPENERS, "cdll", "pydll"):
        return f"{root}." if root else ""
    imported = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "ctypes"
        for alias in node.names
        if alias.asname in (None, alias.name)
    }
    if imported.isdisjoint(("*", _TYPE)):
        raise _not_understood(binding, f"it does not import {_TYPE}")
    return ""


def _declares(node: ast.AST) -> bool:
    return isinstance(node, ast.Assign) and any(
        isinstance(each, ast.Attribute)
        and each.attr == "argtypes"
        and isinstance(each.value, ast.Attribute)
        and each.value.attr == _CALL
        for each in node.targets
    )


def _replaced(binding: Binding, lines: list[str], narrow: list[ast.AST], types: str) -> list[str]:
    """The lines with other types in the place of those that are too narrow."""
    statement = narrow[0]
    if len(narrow) != 1 or not isinstance(statement, ast.Assign):
        raise _not_understood(binding, "it declares argument types more than once")
    value = statement.value
    first, last = value.lineno - 1, (value.end_lineno or 0) - 1
    # Columns count bytes (ast.AST.col_offset).
    head = lines[first].encode("utf-8", "surrogatepass")[: value.col_offset]
    tail = lines[last].encode("utf-8", "surrogatepass")[value.end_col_offset :]
    changed = (head + types.encode() + tail).decode("utf-8", "surrogatepass")
    return [*lines[:first], changed, *lines[last + 1 :]]


def _stands_alone(statement: ast.Assign, lines: list[str]) -> bool:
    """Whether nothing else is on the statement's lines but space and a comment."""
    first = lines[statement.lineno - 1].encode("utf-8", "surrogatepass")
    last = lines[(statement.end_lineno or 0) - 1].encode("utf-8", "surrogatepass")
    after = last[statement.end_col_offset :].strip()
    return not first[: statement.col_offset].strip() and (not after or after.startswith(b"#"))


def _not_understood(binding: Binding, why: str) -> CannotRun:
    return CannotRun(f"{binding.path}: no diff can be made of it: {why}")
