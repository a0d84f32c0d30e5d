"""Helpers of the tests: the fake runtime, copies of a runtime, planned cells."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from xdiag.consumers import CONSUMERS
from xdiag.engine.messages import Paths
from xdiag.engine.plan import plan
from xdiag.fixes import FIXES
from xdiag.model import Cell
from xdiag.patterns import PATTERNS

HERE = Path(__file__).parent


def build_fake(folder: Path, *options: str) -> Path:
    """Compile the fake runtime into ``folder``."""
    library = folder / "libamdhip64.so.5"
    command = [
        "cc", "-shared", "-fPIC", "-O1", "-g", "-Wall", "-Wextra", "-Werror",
        "-Wno-array-bounds", "-Wno-stringop-overflow", "-Wl,-soname,libamdhip64.so.5",
        "-Wl,--build-id", *options, str(HERE / "fake" / "fake_hip.c"), "-o", str(library),
    ]  # fmt: skip
    subprocess.run(command, check=True)
    return library


def paths_beside(library: Path, folder: Path) -> Paths:
    """A copy of the library and links to both, as the patterns of a second runtime need."""
    name = "libamdhip64.so"
    copy = folder / "copy" / library.name
    copy.parent.mkdir(parents=True)
    shutil.copy(library, copy)
    (copy.parent / name).symlink_to(copy)
    first = folder / "first"
    first.mkdir()
    for each in (library.name, name):
        (first / each).symlink_to(library)
    return Paths(
        first=str(library),
        copy=str(copy),
        link=str(first / name),
        soname=library.name,
        name=name,
        first_directory=str(first),
        copy_directory=str(copy.parent),
    )


def cells_for(*ids: str, timeout: float | None = None, actor: str = "python") -> list[Cell]:
    """Planned cells with these ids (pattern/fix/consumer); all that apply without any."""
    planned = plan(PATTERNS, FIXES, CONSUMERS, timeout=timeout, actor=actor)
    if not ids:
        return [cell for cell in planned if not cell.not_applicable]
    by_id = {cell.id: cell for cell in planned}
    return [by_id[id] for id in ids]
