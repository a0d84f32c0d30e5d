"""The variables that a cell's process is started with.

The dynamic loader reads LD_AUDIT, LD_PRELOAD and LD_LIBRARY_PATH when a process is executed, and
never again (ld.so(8)), so a cell that asks for variables needs a warm parent executed with them.
A cell names what only this machine knows by placeholders, ``{first}``, and is otherwise plain data.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xdiag.errors import CannotRun
from xdiag.launch import audit_library

if TYPE_CHECKING:
    from collections.abc import Mapping

    from xdiag.engine.messages import Paths
    from xdiag.model import Target

#: Variables that are lists, and what the loader splits each at (ld.so(8)).  A cell writes ``:``
#: between entries; its own come before those that are there.
SEPARATORS = {"LD_AUDIT": ":", "LD_PRELOAD": ": ", "LD_LIBRARY_PATH": ":;"}
#: Of these the loader maps every entry at start, or passes over it with a warning.
_MAPPED = ("LD_AUDIT", "LD_PRELOAD")
#: What our audit library obeys.  That xdiag itself was started under it is no part of a cell.
_AUDIT_SETTINGS = ("XDIAG_UNIFY", "XDIAG_RECORD", "XDIAG_KEEP")
#: Names a Python module that the process imports before it forks its first cell.
IMPORT = "XDIAG_IMPORT"

#: What a placeholder may name.
PLACEHOLDERS = ("audit", "first", "first_directory", "copy_directory")
_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")


@dataclass(frozen=True)
class StartEnvironment:
    """All variables of a process, and the files that are mapped in it if the loader obeyed."""

    variables: dict[str, str]
    mapped: tuple[str, ...] = ()


def start_environment(asked: Mapping[str, str], target: Target, paths: Paths) -> StartEnvironment:
    """What a process is started with for cells that ask for these variables.

    Raises CannotRun, with the reason in one line, where a variable cannot say what it is to say.
    """
    variables = _common(target)
    mapped = []
    for name, value in asked.items():
        if name not in SEPARATORS:
            variables[name] = _filled(value, paths)
            continue
        entries = [_filled(entry, paths) for entry in value.split(":")]
        for entry in entries:
            if set(entry) & set(SEPARATORS[name]):
                raise CannotRun(f"{entry} cannot be in {name}: the loader would cut it in two")
        variables[name] = _joined(name, entries, variables.get(name, ""))
        if name in _MAPPED:
            mapped += entries
    return StartEnvironment(variables, tuple(mapped))


def _common(target: Target) -> dict[str, str]:
    """The variables of every cell: the user's and the target's."""
    variables = {**os.environ, **target.environment}
    for name in (*_AUDIT_SETTINGS, IMPORT):
        variables.pop(name, None)
    if target.library_path:
        name = "LD_LIBRARY_PATH"
        variables[name] = _joined(name, target.library_path, os.environ.get(name, ""))
    return variables


def _joined(name: str, entries: list[str] | tuple[str, ...], there: str) -> str:
    """Entries in front of what a list has already; one that it has is not put in twice."""
    # Two of an audit library would both be asked.
    rest = re.split(f"[{SEPARATORS[name]}]", there) if there else []
    return ":".join([*entries, *(entry for entry in rest if entry not in entries)])


def _filled(value: str, paths: Paths) -> str:
    def known(match: re.Match[str]) -> str:
        if match[1] not in PLACEHOLDERS:
            raise ValueError(f"no placeholder is called {match[0]}")
        return audit_library.path() if match[1] == "audit" else str(getattr(paths, match[1]))

    return _PLACEHOLDER.sub(known, value)
