"""A page whose blocks are held to what their commands really print."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import xdiag

#: A block stands for one shell: ``$ COMMAND``, lines that it printed, ``...`` for those left out.
BLOCK = re.compile(r"^(?:<!-- (real) -->\n)?```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
#: What differs from run to run, from machine to machine and from one directory to another.
_VARYING = (
    (r"0x[0-9a-f]+", "0x.."),
    (r"\b[0-9a-f]{40}\b|\b[0-9a-f]{12}\b", "BUILD"),
    (r"\b(process|thread|T) ?\d+", r"\1 N"),
    (r"@ \d\d:\d\d:\d\d\.\d+", "@ TIME"),
    (r"\+\d+\.\d+ s", "+N s"),
    (r"\bin \d+\.\d s\b", "in N s"),
    (r"device [0-9a-f]+:[0-9a-f]+", "device N"),
    (r"inode \d+", "inode N"),
    (r"python3\.\d+", "python3"),
    (r"cpython-3\d+", "cpython-3"),
    # The table of steps: microseconds, and below it the threads that made them.
    (r"(?m) {2,}\d+\.\d$", ""),
    (r"(?m)^threads: .*$", "threads: N"),
    # Half of all handles have their 32nd bit set, and one in 64 has a low half that is small.
    (r"\((?:sign|zero)-extended\)", "(extended)"),
    (r"\s\(not\s+proved\s+by\s+the\s+record\)", ""),
    (r"─+", "─"),
)


@dataclass(frozen=True)
class Step:
    """A command of a block, and the runs of lines that its output has, in this order."""

    command: str
    body: str

    @property
    def pieces(self) -> list[str]:
        """The runs of lines between those left out."""
        pieces = re.split(r"^ *\.\.\.$", self.body, flags=re.MULTILINE)
        return [piece for piece in pieces if piece.strip()]


@dataclass(frozen=True)
class Block:
    """What is typed into one shell.  ``needs`` is "real" where that is a build of XSched."""

    needs: str
    steps: tuple[Step, ...]


def blocks(text: str) -> list[Block]:
    """The blocks of a page."""
    return [Block(match[1] or "", _steps(match[2])) for match in BLOCK.finditer(text)]


def _steps(body: str) -> tuple[Step, ...]:
    steps = []
    for part in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
        command, _, body = part.partition("\n")
        steps.append(Step(command, body))
    return tuple(steps)


def run(block: Block, folder: Path) -> list[str]:
    """What each command of the block prints on both streams, in the scene in ``folder``."""
    # What a user or a test run has set for HIP, XSched or xdiag is not in the page.
    kept = ("PATH", "HOME", "XDG_CACHE_HOME", "TMPDIR", "LANG")
    environ = {name: os.environ[name] for name in kept if name in os.environ}
    mark = "end of a command of the page"
    lines = [". ./env.sh", "export COLUMNS=110", "rm -f record"]
    for step in block.steps:
        lines += [step.command, f"echo {mark}"]
    done = subprocess.run(
        ["bash", "-c", "\n".join(lines)], cwd=folder, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=environ,
        text=True, timeout=100, check=True,
    )  # fmt: skip
    return done.stdout.split(f"{mark}\n")[:-1]


def shortened(text: str, folder: Path) -> str:
    """``text`` with the files of the scene named as from its directory."""
    ours = f"{Path(xdiag.__file__).parent}/"
    text = text.replace(f"{folder}/", "").replace(ours, ".../xdiag/")
    return re.sub(r"@ \S*/platforms/", "@ .../platforms/", text)


def plain(text: str) -> str:
    """``text`` without what varies, as words: how lines were broken does not matter."""
    for pattern, instead in _VARYING:
        text = re.sub(pattern, instead, text)
    return f" {' '.join(text.split())} "


def missing(step: Step, printed: str, folder: Path) -> str:
    """The first piece of the page that the output does not have at its place; else ""."""
    rest = plain(shortened(printed, folder))
    for piece in step.pieces:
        _, found, rest = rest.partition(plain(piece))
        if not found:
            return piece
        rest = f" {rest}"
    return ""
