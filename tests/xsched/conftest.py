"""The fake HAL, built as a test needs it, and the real libraries, where they are."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
from support import HERE

from xdiag import platforms
from xdiag.consumers import CONSUMERS
from xdiag.engine.messages import Paths, XSchedFiles
from xdiag.engine.plan import plan
from xdiag.engine.run import Engine
from xdiag.fixes import FIXES
from xdiag.model import Result, Target
from xdiag.patterns import PATTERNS
from xdiag.runtimes import xsched
from xdiag.xsched_consumers import XSCHED_CONSUMERS

if TYPE_CHECKING:
    from collections.abc import Callable

#: Name a directory where XSched is installed for HIP, one of a build before June 2026, and one
#: where it is installed for CUDA.
REAL, OLD, CUDA = "XDIAG_XSCHED", "XDIAG_XSCHED_OLD", "XDIAG_XSCHED_CUDA"


def build_hal(folder: Path, *options: str, platform: str = "hip") -> XSchedFiles:
    """Compile the fake HAL into an installation in ``folder``; it stands for libpreempt.so too."""
    name = platforms.get(platform).xsched.hal
    library = folder / "lib" / name
    library.parent.mkdir(parents=True, exist_ok=True)
    its = ["-DFOR_CUDA"] if platform == "cuda" else []
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", f"-Wl,-soname,{name}", *its,
         "-Wl,--build-id", *options, str(HERE / "fake" / "fake_hal.c"), "-o", str(library)],
        check=True,
    )  # fmt: skip
    return XSchedFiles(platform=platform, hal=str(library), preempt=str(library), missing="")


def install(folder: Path, *options: str, platform: str = "hip") -> Path:
    """An installation as it lies on disk: the fake HAL, and a copy for libpreempt.so."""
    files = build_hal(folder, *options, platform=platform)
    shutil.copy(files.hal, folder / "lib" / "libpreempt.so")
    return folder


def run_cells(
    target: Target, paths: Paths, files: XSchedFiles | None, *ids: str
) -> dict[str, Result]:
    """Run the cells called ``ids``, pattern/fix/consumer, with these libraries."""
    if files is not None:
        paths = msgspec.structs.replace(paths, xsched=files)
    cells = plan(PATTERNS, FIXES, [*CONSUMERS, *XSCHED_CONSUMERS], platform=target.platform)
    known = {cell.id: cell for cell in cells}
    with Engine(target, paths, jobs=2) as engine:
        return {result.cell.id: result for result in engine.run(known[id] for id in ids)}


@pytest.fixture
def run_with_hal(
    fake_target: Target, fake_paths: Paths, tmp_path: Path
) -> Callable[..., dict[str, Result]]:
    """Run cells on the fake runtime with a fake HAL: ``run("-DOLD_LINE", ids=[...])``."""

    def run(*options: str, ids: list[str]) -> dict[str, Result]:
        return run_cells(fake_target, fake_paths, build_hal(tmp_path / "hal", *options), *ids)

    return run


def installed(*variables: str, platform: str = "hip") -> XSchedFiles:
    """The real build that the first of these variables names; skips where none does."""
    for name in variables:
        folder = os.environ.get(name)
        if folder:
            files = xsched.choose(folder, platform)
            assert files is not None and not files.missing, files
            return files
    pytest.skip(f"no build of XSched here: {' or '.join(variables)} names one")


@pytest.fixture(scope="session")
def real_xsched() -> XSchedFiles:
    """A real build of XSched."""
    return installed(REAL, "XSCHED_ROOT")


@pytest.fixture(scope="session")
def old_xsched() -> XSchedFiles:
    """A real build of XSched before June 2026, with the binding that declares no types."""
    return installed(OLD)
