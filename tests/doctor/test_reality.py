"""The forecast against what really happens: the foretold program is started, and its maps read."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from framework import Scene

from xdiag.model import Target


@pytest.fixture
def fake(tmp_path: Path, fake_library: Path) -> Scene:
    """A scene on the fake runtime."""
    return Scene(tmp_path, fake_library, {}, "RTLD_DEEPBIND")


def _file(path: Path) -> tuple[int, int]:
    return path.stat().st_dev, path.stat().st_ino


def test_two_runtimes_are_foretold_and_come_true(fake: Scene) -> None:
    fake.environ["XSCHED_HIP_LIB"] = str(fake.second)
    assert fake.foretold() == fake.mapped() == {_file(fake.bundled), _file(fake.second)}


@pytest.mark.parametrize("way", ["the path", "a symlink", "a hardlink"])
def test_one_runtime_is_foretold_and_comes_true(fake: Scene, way: str) -> None:
    fake.second.unlink()
    if way == "a symlink":
        fake.second.symlink_to(fake.bundled)
    elif way == "a hardlink":
        os.link(fake.bundled, fake.second)
    path = fake.bundled if way == "the path" else fake.second
    if way == "the path":
        shutil.copy(fake.bundled, fake.second)
    fake.environ["XSCHED_HIP_LIB"] = str(path)
    assert fake.foretold() == fake.mapped() == {_file(fake.bundled)}


@pytest.mark.parametrize("preload", [False, True])
def test_a_bare_name_finds_the_loaded_soname_else_the_library_path(
    fake: Scene, preload: bool
) -> None:
    fake.environ["XSCHED_HIP_LIB"] = str(fake.bundled)
    fake.environ["LD_LIBRARY_PATH"] += f":{fake.second.parent}"
    (fake.second.parent / "libamdhip64.so").symlink_to(fake.second.name)
    if preload:
        fake.environ["LD_PRELOAD"] = str(fake.second)
    fake.opener("libamdhip64.so.5")
    first = fake.second if preload else fake.bundled
    expected = {_file(first), _file(fake.bundled)}
    assert fake.foretold() == fake.mapped() == expected
    # Without its number the name matches no SONAME that is loaded.
    fake.opener("libamdhip64.so")
    assert fake.foretold() == fake.mapped() == {_file(fake.bundled), _file(fake.second)}


@pytest.mark.parametrize("split", [True, False])
def test_with_amds_own_runtime(tmp_path: Path, real_target: Target, split: bool) -> None:
    environ = {
        **real_target.environment,
        "LD_LIBRARY_PATH": ":".join(real_target.library_path),
    }
    # AMD's build is called libamdhip64.so.5.2.21153; its SONAME is what it is installed under.
    runtime = tmp_path / real_target.soname
    shutil.copy(real_target.runtime, runtime)
    # RTLD_DEEPBIND of a second copy crashes in a program that is no PIE: docs/why-709.md.
    scene = Scene(tmp_path, runtime, environ, "0")
    scene.environ["XSCHED_HIP_LIB"] = str(scene.second if split else scene.bundled)
    expected = {_file(scene.bundled), _file(scene.second)} if split else {_file(scene.bundled)}
    assert scene.foretold() == scene.mapped() == expected
