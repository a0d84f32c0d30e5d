"""A stand-in for ROCm's torch, with AMD's runtime bundled, on the import path of the cells."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from runtimes.conftest import compile_library
from xsched.conftest import real_xsched

#: Fixtures of others that tests here ask for.
__all__ = ["real_xsched"]

if TYPE_CHECKING:
    from xdiag.model import Target

STAND_IN = Path(__file__).parent / "stand_in"
VERSION = "__version__ = '2.8.0+stand.in'\nhip = {hip!r}\ncuda = {cuda!r}\n"


def build(site: Path, runtime: str, *, hip: str | None = "5.2", cuda: str | None = None) -> Path:
    """Lay the stand-in out in ``site``, with a copy of the runtime; returns that copy."""
    package = site / "torch"
    shutil.copytree(STAND_IN / "torch", package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "version.py").write_text(VERSION.format(hip=hip, cuda=cuda))
    bundled = package / "lib" / "libamdhip64.so.5"
    bundled.parent.mkdir()
    shutil.copy(runtime, bundled)
    compile_library(
        package / "lib" / "libc10_hip.so", "int c10;",
        "-Wl,--no-as-needed", str(bundled), "-Wl,--disable-new-dtags", "-Wl,-rpath,$ORIGIN",
        "-Wl,--allow-shlib-undefined",
    )  # fmt: skip
    return bundled


@pytest.fixture(scope="session")
def torch_site(real_target: Target, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory with the stand-in, and the runtime under test bundled."""
    site = tmp_path_factory.mktemp("site")
    build(site, real_target.runtime)
    return site
