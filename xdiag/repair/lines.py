"""A change as lines to put into a Dockerfile, a Slurm script or a shell."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

#: Where xdiag is installed: a path below it is another one in an image.
_PACKAGE = Path(__file__).resolve().parent.parent

if TYPE_CHECKING:
    from collections.abc import Callable

    from xdiag.repair.repair import Change


def _shell(change: Change) -> list[str]:
    return [
        *(f"export {name}={shlex.quote(value)}" for name, value in change.set.items()),
        *(
            # An empty entry would be the working directory.
            f"export {name}={shlex.quote(value)}${{{name}:+:${name}}}"
            for name, value in change.in_front.items()
        ),
    ]


def _slurm(change: Change) -> list[str]:
    return [
        "# before srun; its tasks get them unless --export leaves them out",
        *_shell(change),
    ]


def _dockerfile(change: Change) -> list[str]:
    ours = [
        value
        for value in (*change.set.values(), *change.in_front.values())
        if value.startswith(f"{_PACKAGE}/")
    ]
    return [
        *(f"# {value} is part of xdiag as it is installed here:" for value in ours),
        *["# install xdiag in the image (RUN pip install ...) and put its path there"] * bool(ours),
        *(f"ENV {name}={_docker_quoted(value)}" for name, value in change.set.items()),
        *(
            f"ENV {name}={_docker_quoted(value, f'${{{name}:+:${name}}}')}"
            for name, value in change.in_front.items()
        ),
    ]


def _docker_quoted(value: str, behind: str = "") -> str:
    """In double quotes, in which Docker replaces variables and takes backslashes for escapes."""
    for special in '\\"$':
        value = value.replace(special, f"\\{special}")
    return f'"{value}{behind}"'


#: Where lines can be put -> how they are written there.  To add a place, add an entry.
PLACES: dict[str, Callable[[Change], list[str]]] = {
    "shell": _shell,
    "slurm": _slurm,
    "dockerfile": _dockerfile,
}
