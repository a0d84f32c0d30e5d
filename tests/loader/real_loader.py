"""The oracle: a process of the real loader, and what it said of itself."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

_PREFIX = re.compile(r"^ *\d+:\t", re.MULTILINE)
#: Lines of LD_DEBUG=libs and files that say what is looked for and where.
_SEARCH = (
    "find library=", " search path=", " search cache=", "  trying file=", "load auxiliary object=",
)  # fmt: skip
_FILE = re.compile(r"file=.*(needed by|dynamically loaded by) .*|file=.*;  generating link map")
_FATAL = re.compile(r"error while loading shared libraries: (.*)")
_PATHS = re.compile(r" search path=(?P<paths>.*)\t\t\((?P<what>.*?)(?: from file (?P<where>.*))?\)")
#: In every list of the loader, and no file.
VDSO = "linux-vdso.so.1"


@dataclass
class Seen:
    """What one process showed."""

    status: int
    #: Every search, line by line.
    trace: list[str]
    #: "opened PATH" or "refused REASON", for each dlopen.
    opens: list[str]
    #: l_name of every object, in the loader's order; empty if the program did not get that far.
    objects: list[str]
    #: What the program could not be started for.
    fatal: str = ""
    #: What each dlopen that loaded something brought along, itself first, in search order.
    closures: dict[str, list[str]] = field(default_factory=dict)
    #: Warnings about preloads.
    warnings: list[str] = field(default_factory=list)


def run(
    command: Sequence[str], environ: dict[str, str], cwd: str, root: Path | None = None
) -> Seen:
    """Start the program, in a root of its own if one is given, and listen to the loader."""
    done = _run(command, {**environ, "LD_DEBUG": "libs,files,scopes"}, cwd, root)
    lines = _PREFIX.sub("", done.stderr).split("\n")
    fatal = _FATAL.search(done.stderr)
    said = done.stdout.split("\n")[:-1]
    return Seen(
        status=done.returncode,
        trace=[line for line in lines if line.startswith(_SEARCH) or _FILE.fullmatch(line)],
        opens=[line for line in said if line.startswith(("opened ", "refused "))],
        objects=[line.removeprefix("object ") for line in said if line.startswith("object ")],
        # Before libc is there, ld.so knows few of the system's words (elf/dl-minimal.c).
        fatal=re.sub(r"Error (\d+)$", lambda number: os.strerror(int(number[1])), fatal[1])
        if fatal
        else "",
        closures=_closures(lines),
        warnings=re.findall(r"ERROR: ld\.so: (.*)\.$", done.stderr, re.MULTILINE),
    )


def listed(
    program: str, environ: dict[str, str], cwd: str, root: Path | None = None
) -> list[tuple[str, str]]:
    """What ldd tells: name and path of each object, "" for the path of one that is not found."""
    done = _run([program], {**environ, "LD_TRACE_LOADED_OBJECTS": "1"}, cwd, root)
    assert done.returncode == 0, done
    found = []
    for line in done.stdout.split("\n"):
        if match := re.fullmatch(r"\t(.*) => not found", line):
            found.append((match[1], ""))
        elif match := re.fullmatch(r"\t(?:(.*) => )?(.*) \(0x[0-9a-f]+\)", line):
            found.append((match[1] or match[2], match[2]))
    return [(name, path) for name, path in found if name != VDSO]


def _run(
    command: Sequence[str], environ: dict[str, str], cwd: str, root: Path | None
) -> subprocess.CompletedProcess[str]:
    def enter() -> None:
        os.chroot(root or "/")
        os.chdir(cwd)

    return subprocess.run(
        command, env=environ, cwd=None if root else cwd, capture_output=True, encoding="utf-8",
        errors="surrogateescape", timeout=20, preexec_fn=enter if root else None,
    )  # fmt: skip


def sources(trace: list[str]) -> dict[str, set[tuple[str, str]]]:
    """Directory -> the lists that it was searched in: ("RPATH", "/x/liba.so")."""
    found: dict[str, set[tuple[str, str]]] = {}
    for line in trace:
        if match := _PATHS.fullmatch(line):
            for directory in match["paths"].split(":"):
                found.setdefault(directory, set()).add((match["what"], match["where"] or ""))
    return found


def _closures(lines: list[str]) -> dict[str, list[str]]:
    """The local scope that each object has when it was just opened."""
    found: dict[str, list[str]] = {}
    opened = ""
    for line in lines:
        if line.startswith("object="):
            opened = line.removeprefix("object=").removesuffix(" [0]")
        elif line.startswith(" scope 1: "):
            found.setdefault(opened, line.removeprefix(" scope 1: ").split(" "))
    return found
