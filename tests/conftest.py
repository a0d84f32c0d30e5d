"""What the tests share: the fake runtime, the real one, and engines on both."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from doctor.scenes import Image, bare_image
from support import build_fake, paths_beside

from xdiag.engine.messages import Paths
from xdiag.engine.run import Engine
from xdiag.errors import XdiagError
from xdiag.model import Cell, Result, Target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# A shell starts what it puts into the background with these two ignored, and what is ignored is
# inherited by every program that a test starts: none of them would hear Ctrl-C.
for _number in (signal.SIGINT, signal.SIGQUIT):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(
            _number, signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL
        )

#: Set by .ci/run: a missing real runtime is then a failure, not a reason to skip.
RUNTIME_REQUIRED = bool(os.environ.get("XDIAG_TEST_REQUIRE_RUNTIME"))


@pytest.fixture(scope="session")
def fake_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fake runtime, built once."""
    return build_fake(tmp_path_factory.mktemp("fake"))


@pytest.fixture(scope="session")
def fake_paths(fake_library: Path, tmp_path_factory: pytest.TempPathFactory) -> Paths:
    """The fake runtime, a copy of it and a link to it."""
    return paths_beside(fake_library, tmp_path_factory.mktemp("fake-paths"))


@pytest.fixture
def fake_target(fake_library: Path) -> Target:
    """The fake runtime as a target with two devices."""
    return Target(platform="hip", runtime=str(fake_library), agent="software", devices=2)


@pytest.fixture
def run_fake(
    fake_target: Target, fake_paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., dict[str, Result]]:
    """Run cells on the fake runtime: ``run_fake(cells, fault="hipStreamQuery=segv")``."""

    def run(cells: Iterable[Cell], fault: str = "", jobs: int = 2) -> dict[str, Result]:
        if fault:
            monkeypatch.setenv("FAKE_FAULT", fault)
        with Engine(fake_target, fake_paths, jobs=jobs) as engine:
            return {result.cell.id: result for result in engine.run(cells)}

    return run


@pytest.fixture(scope="session")
def real_target() -> Target:
    """AMD's real HIP runtime, over the software agent where there is no GPU."""
    from xdiag.runtimes.choose import choose

    try:
        return choose(os.environ.get("XDIAG_TEST_RUNTIME"), "auto")
    except XdiagError as error:
        if RUNTIME_REQUIRED:
            raise
        pytest.skip(f"no real runtime here: {error}")


@pytest.fixture(scope="session")
def real_paths(real_target: Target) -> Paths:
    """The real runtime, a copy of it and a link to it."""
    from xdiag.runtimes.copies import copies

    return copies(real_target)


@pytest.fixture(scope="session")
def _bare_image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bare-image")
    bare_image(folder)
    return folder


@pytest.fixture
def image(_bare_image: Path, tmp_path: Path) -> Image:
    """An unpacked image with a Python and nothing else, one for each test."""
    folder = tmp_path / "image"
    shutil.copytree(_bare_image, folder, symlinks=True)
    return Image(folder)
