"""The fake HAL, built as a test needs it, and the real libraries, where they are."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
from support import HERE

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

#: Names a directory where XSched is installed, and one of a build before June 2026.
REAL, OLD = "XDIAG_XSCHED", "XDIAG_XSCHED_OLD"


def build_hal(folder: Path, *options: str) -> XSchedFiles:
    """Compile the fake HAL into an installation in ``folder``; it stands for libpreempt.so too."""
    library = folder / "lib" / "libhalhip.so"
    library.parent.mkdir(parents=True)
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", "-Wl,-soname,libhalhip.so",
         "-Wl,--build-id", *options, str(HERE / "fake" / "fake_hal.c"), "-o", str(library)],
        check=True,
    )  # fmt: skip
    return XSchedFiles(hal=str(library), preempt=str(library), missing="")


def run_cells(
    target: Target, paths: Paths, files: XSchedFiles | None, *ids: str
) -> dict[str, Result]:
    """Run the cells called ``ids``, pattern/fix/consumer, with these libraries."""
    if files is not None:
        paths = msgspec.structs.replace(paths, xsched=files)
    cells = plan(PATTERNS, FIXES, [*CONSUMERS, *XSCHED_CONSUMERS])
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


def _installed(variable: str, *others: str) -> XSchedFiles:
    for name in (variable, *others):
        folder = os.environ.get(name)
        if folder:
            files = xsched.choose(folder)
            assert files is not None
            return files
    pytest.skip(f"no build of XSched here: {' or '.join((variable, *others))} names one")


@pytest.fixture(scope="session")
def real_xsched() -> XSchedFiles:
    """A real build of XSched."""
    return _installed(REAL, "XSCHED_ROOT")


@pytest.fixture(scope="session")
def old_xsched() -> XSchedFiles:
    """A real build of XSched before June 2026, with the binding that declares no types."""
    return _installed(OLD)
