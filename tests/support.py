"""Helpers of the tests: the fake runtime, copies of a runtime, planned cells."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from elftools.elf.elffile import ELFFile
from elftools.elf.enums import ENUM_RELOC_TYPE_x64

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


def cells_for(
    *ids: str, timeout: float | None = None, actor: str = "python", torch: bool = False
) -> list[Cell]:
    """Planned cells with these ids (pattern/fix/consumer); all that apply without any.

    ``torch``: those that need it too, which run only where it is.
    """
    planned = plan(PATTERNS, FIXES, CONSUMERS, timeout=timeout, actor=actor)
    if not ids:
        return [
            cell
            for cell in planned
            if not cell.not_applicable and (torch or "XDIAG_IMPORT" not in cell.environment)
        ]
    by_id = {cell.id: cell for cell in planned}
    return [by_id[id] for id in ids]


def interpreter_hides_environ() -> bool:
    """Whether RTLD_DEEPBIND gives a library an `environ` that is not the one in use.

    A program that is no PIE and refers to `environ` has a copy of it (R_X86_64_COPY); a library
    that looks into its own scope first finds libc's, which stays NULL.
    """
    with Path(sys.executable).resolve().open("rb") as stream:
        elf = ELFFile(stream)
        symbols = elf.get_section_by_name(".dynsym")
        tables = filter(None, map(elf.get_section_by_name, (".rela.dyn", ".rela.plt")))
        copied = {
            symbols.get_symbol(entry["r_info_sym"]).name
            for table in tables
            for entry in table.iter_relocations()
            if entry["r_info_type"] == ENUM_RELOC_TYPE_x64["R_X86_64_COPY"]
        }
    return bool(copied & {"environ", "__environ", "_environ"})
