"""A Python with a stand-in for torch, XSched's stand-in, and the real torch where one is named."""

from __future__ import annotations

import os
import shutil
import subprocess
import venv
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from xdiag.workload.model import Network, Settings

if TYPE_CHECKING:
    from collections.abc import Callable

FAKE = Path(__file__).parent / "fake"


@pytest.fixture(scope="session")
def make_python(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Make an environment whose torch was built for ``cpu``, ``cuda`` or ``hip``."""
    made: dict[str, Path] = {}

    def make(build: str) -> Path:
        if build not in made:
            folder = tmp_path_factory.mktemp(f"torch-{build}")
            venv.EnvBuilder(with_pip=False, symlinks=True).create(folder)
            site = next(folder.glob("lib/python3*/site-packages"))
            shutil.copytree(FAKE / "torch", site / "torch")
            if build != "cpu":
                with (site / "torch" / "version.py").open("a") as file:
                    file.write(f"{build} = '6.4'\n")
            made[build] = folder / "bin" / "python3"
        return made[build]

    return make


@pytest.fixture(scope="session")
def xsched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installation of XSched's stand-in for HIP and CUDA, with its shims and links."""
    folder = tmp_path_factory.mktemp("xsched")
    lib = folder / "lib"
    lib.mkdir()
    built = lib / "libpreempt.so"
    command = ["cc", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", str(FAKE / "xsched.c")]
    subprocess.run([*command, "-o", str(built)], check=True)
    for name in ("libhalhip.so", "libhalcuda.so", "libshimhip.so", "libshimcuda.so"):
        shutil.copy(built, lib / name)
    (lib / "libcuda.so.1").symlink_to("libshimcuda.so")
    return folder


@pytest.fixture
def brief() -> Settings:
    """Settings of a run that is over at once."""
    return Settings(
        network=Network("tiny", 8, 32), rate=50, arrivals="uniform", seconds=0.2, repeats=1,
        batch_high=1, batch_low=2, warmup=2, warm_seconds=0, seed=0, timeout=20,
    )  # fmt: skip


@pytest.fixture(scope="session")
def torch_python() -> str:
    """An interpreter that has the real torch."""
    python = os.environ.get("XDIAG_TEST_TORCH_PYTHON", "")
    if not python:
        pytest.skip("needs a Python with torch: XDIAG_TEST_TORCH_PYTHON=.../bin/python")
    return python
