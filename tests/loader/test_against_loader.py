"""Thousands of generated trees: what is foretold is what the loader of this machine then does."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from loader.compared import Place, compare
from loader.trees import Tree, rooted_trees, trees

#: Each is a process of its own; how many are compared is asserted.
CASES, IN_ROOTS, SECURE = 2050, 250, 150


def generated(cases: int) -> settings:
    """Settings for so many cases, none of which may be flaky for being slow."""
    return settings(
        max_examples=cases, deadline=None, database=None,
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )  # fmt: skip


@pytest.fixture
def fresh(tmp_path: Path) -> Callable[[], Path]:
    """Makes an empty directory, the one before gone."""
    numbers = itertools.count()

    def make() -> Path:
        number = next(numbers)
        if number:
            shutil.rmtree(tmp_path / str(number - 1))
        folder = tmp_path / str(number)
        folder.mkdir()
        return folder

    return make


@pytest.mark.timeout(300)
def test_two_thousand_trees(fresh: Callable[[], Path], driver: str) -> None:
    compared = []

    @generated(CASES)
    @given(trees())
    def each(tree: Tree) -> None:
        compared.append(compare(tree, Place.here(fresh(), driver)))

    each()
    assert sum(compared) >= 2000


def test_in_roots_of_their_own(
    small_root: Path, in_small_root: str, fresh: Callable[[], Path]
) -> None:
    """With caches that ldconfig made, of all three formats, and files of preloads."""
    compared = []

    @generated(IN_ROOTS)
    @given(rooted_trees())
    def each(tree: Tree) -> None:
        top = small_root / "t"
        shutil.rmtree(top, ignore_errors=True)
        top.mkdir()
        compared.append(compare(tree, Place(top, "/t", in_small_root, small_root)))

    each()
    assert sum(compared) >= IN_ROOTS * 0.9


def test_with_the_rights_of_another_group(fresh: Callable[[], Path], driver: str) -> None:
    """AT_SECURE: no LD_LIBRARY_PATH, no preloads by path, no $ORIGIN outside of system places."""
    if os.geteuid() != 0 or os.statvfs(fresh()).f_flag & os.ST_NOSUID:
        pytest.skip("only root can give a file to another group, where that counts")
    compared = []

    @generated(SECURE)
    @given(trees())
    def each(tree: Tree) -> None:
        compared.append(compare(tree, Place.here(fresh(), driver), secure=True))

    each()
    assert sum(compared) >= SECURE * 0.9
