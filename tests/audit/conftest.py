"""Scenes with two copies of a runtime: the fake, and AMD's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from audit.scene import Scene
from xdiag.model import Target


@pytest.fixture(scope="session")
def fake_scene(fake_library: Path, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """On the fake runtime, which answers in no time."""
    return Scene(tmp_path_factory.mktemp("fake-scene"), fake_library, "libamdhip64.so.5")


@pytest.fixture(scope="session")
def real_scene(real_target: Target, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """On AMD's own."""
    if int(real_target.version.split(".")[0]) > 6:
        pytest.skip("HIP 7 takes a foreign handle without looking")
    environ = {**real_target.environment, "LD_LIBRARY_PATH": ":".join(real_target.library_path)}
    folder = tmp_path_factory.mktemp("real-scene")
    return Scene(folder, Path(real_target.runtime), real_target.soname, environ)
