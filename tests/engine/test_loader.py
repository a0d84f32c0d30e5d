"""Cells under another dynamic loader than the machine's: here the machine's own, named as one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from xdiag.consumers import CONSUMERS
from xdiag.discover import elf
from xdiag.discover.root import Root
from xdiag.engine.plan import plan
from xdiag.engine.run import Engine
from xdiag.fixes import FIXES
from xdiag.launch.interpreter import interpreter
from xdiag.model import Loader
from xdiag.patterns import PATTERNS

if TYPE_CHECKING:
    from xdiag.engine.messages import Paths
    from xdiag.model import Result, Target


def machines_loader() -> str:
    loader = elf.read("/bin/sh", Root()).interpreter
    if "ld-linux" not in loader:
        pytest.skip(f"needs the GNU C library's loader, /bin/sh has {loader or 'none'}")
    return loader


def under(target: Target) -> Target:
    """The target under a loader that has to be named."""
    loader = Loader(path=machines_loader(), library_path=("/nonexistent/libc",), libc="0")
    return msgspec.structs.replace(target, loader=loader)


def ran(target: Target, paths: Paths, patterns: tuple[str, ...], fixes: tuple[str, ...]) -> dict[
    str, Result
]:  # fmt: skip
    cells = plan(
        [each for each in PATTERNS if each.id in patterns],
        [each for each in FIXES if each.id in fixes],
        [each for each in CONSUMERS if each.id == "replay"],
    )
    with Engine(target, paths, jobs=2) as engine:
        return {result.cell.id: result for result in engine.run(cells)}


def test_the_library_path_goes_before_the_loaders_own() -> None:
    loader = Loader(path="/r/ld.so", library_path=("/r/libc", "/r/lib"), libc="2.44")
    assert interpreter(loader, {"LD_LIBRARY_PATH": "/a:/b"})[:-1] == [
        "/r/ld.so", "--library-path", "/a:/b:/r/libc:/r/lib",
    ]  # fmt: skip
    assert interpreter(loader, {})[2] == "/r/libc:/r/lib"
    assert len(interpreter(None, {"LD_LIBRARY_PATH": "/a"})) == 1


@pytest.mark.parametrize("fixes", [("none",), ("preload", "path-order", "unify")])
def test_cells_end_as_they_do_without(
    real_target: Target, real_paths: Paths, fixes: tuple[str, ...]
) -> None:
    patterns = ("cross-thread", "second-runtime", "second-runtime-by-name", "fork-before-init")
    plain = ran(real_target, real_paths, patterns, fixes)
    other = ran(under(real_target), real_paths, patterns, fixes)
    assert len(plain) == len(patterns) * len(fixes)
    for id, result in plain.items():
        assert _told(other[id]) == _told(result), id


def _told(result: Result) -> tuple[object, ...]:
    outcome = result.outcome
    loaded = tuple(Path(copy.path).name for copy in outcome.runtimes.values())
    return outcome.kind, outcome.code, outcome.call, outcome.reason, loaded


def test_a_loader_that_is_not_there_is_one_line(real_target: Target, real_paths: Paths) -> None:
    from xdiag.errors import CannotRun

    gone = msgspec.structs.replace(
        real_target, loader=Loader(path="/nonexistent/ld.so", library_path=())
    )
    with pytest.raises(CannotRun, match=r"^cannot start /nonexistent/ld\.so: No such file"):
        ran(gone, real_paths, ("same-thread",), ("none",))
