"""What the fixes of the environment do to AMD's real HIP 5.2.3, for each way of opening it twice.

The table follows from the loader's rules (ld.so(8), dlopen(3), rtld-audit(7)).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from msgspec.structs import replace
from support import cells_for, interpreter_hides_environ

from xdiag.engine.run import Engine
from xdiag.model import OutcomeKind, Result

if TYPE_CHECKING:
    from collections.abc import Mapping

    from xdiag.engine.messages import Paths
    from xdiag.model import Target

FIXES = ("none", "bind-loaded-runtime", "unify", "preload", "path-order")

#: Which of ``FIXES`` make one copy of two, and so the stream usable; x: refused.
TABLE = {
    "foreign-context":          "x one one x   x",
    "second-runtime":           "x one one x   x",
    "second-runtime-deepbind":  "x one one x   x",
    "second-runtime-global":    "x one one x   x",
    "second-namespace":         "x one x   x   x",
    "second-runtime-by-name":   "x one one x   one",
    "library-loaded-first":     "x one one x   x",
    "library-first-by-soname":  "x one one one one",
    "reopened-runtime":         "one",
    "reopened-by-soname":       "one",
}  # fmt: skip
CASES = [
    (pattern, fix, mark == "one")
    for pattern, marks in TABLE.items()
    for fix, mark in zip(FIXES, marks.split(), strict=False)
]


@pytest.fixture(scope="module")
def results(real_target: Target, real_paths: Paths) -> Mapping[str, Result]:
    """All cells of the table, for both consumers."""
    if not real_target.version.startswith("5.2") or real_target.agent != "software":
        pytest.skip("the table is for HIP 5.2 over the software agent")
    ids = [f"{p}/{f}/{c}" for p, f, _ in CASES for c in ("driver", "replay")]
    with Engine(real_target, real_paths, jobs=2) as engine:
        return {result.cell.id: result for result in engine.run(cells_for(*ids))}


@pytest.mark.parametrize("consumer", ["driver", "replay"])
@pytest.mark.parametrize(("pattern", "fix", "one"), CASES)
def test_which_fix_reaches_which_way_of_opening(
    results: Mapping[str, Result], consumer: str, pattern: str, fix: str, one: bool
) -> None:
    result = results[f"{pattern}/{fix}/{consumer}"]
    if pattern == "second-runtime-deepbind" and not one and interpreter_hides_environ():
        # The second copy does not live to refuse anything.
        assert result.outcome.kind == OutcomeKind.CRASH
        return
    outcome = result.outcome
    copies = {(i.device, i.inode, i.namespace) for i in outcome.runtimes.values()}
    assert len(outcome.runtimes) == 2
    if one:
        assert (outcome.kind, len(copies)) == (OutcomeKind.OK, 1)
        assert len({i.handle for i in outcome.runtimes.values()}) == 1
    else:
        assert (outcome.code, outcome.call, len(copies)) == (709, "hipStreamGetFlags", 2)


def test_every_fix_of_the_environment_is_in_the_table() -> None:
    planned = {
        (c.pattern, c.fix) for c in cells_for() if c.fix in ("unify", "preload", "path-order")
    }
    assert planned == {(p, f) for p, f, _ in CASES if f in ("unify", "preload", "path-order")}


#: What is done to streams of one copy, by every kind of actor.
_STORIES = (
    "same-thread", "cross-thread", "creator-exited", "concurrent-use", "device-reset",
    "null-stream", "per-thread-stream", "fork-before-init", "truncated-handle-zero",
)  # fmt: skip


@pytest.mark.parametrize(
    "variables",
    [{"LD_PRELOAD": "{first}"}, {"LD_AUDIT": "{audit}", "XDIAG_UNIFY": "libamdhip64"}],
    ids="-".join,
)
def test_a_runtime_that_was_mapped_before_the_fork_answers_like_any_other(
    real_target: Target, real_paths: Paths, variables: dict[str, str]
) -> None:
    cells = cells_for(
        *(f"{pattern}/none/replay" for pattern in _STORIES if pattern != "null-stream")
    )
    cells += cells_for("null-stream/none/driver")
    started = [replace(c, id=f"{c.id} started", environment=variables) for c in cells]
    with Engine(real_target, real_paths, jobs=2) as engine:
        told = {
            result.cell.id: [(r.call, r.state, r.code) for r in result.outcome.trace]
            for result in engine.run([*cells, *started])
        }
    for cell in cells:
        assert told[f"{cell.id} started"] == told[cell.id], cell.id


def test_what_is_preloaded_has_done_nothing_before_a_cell_begins(
    real_target: Target, real_paths: Paths
) -> None:
    (cell,) = cells_for("same-thread/none/replay")
    cells = [replace(cell, id=str(n), environment={"LD_PRELOAD": "{first}"}) for n in range(3)]
    with Engine(real_target, real_paths) as engine:
        results = engine.run(cells)
        next(results)
        (parent,) = psutil.Process().children()
        mapped = {Path(region.path).name for region in parent.memory_maps()}
        assert Path(real_paths.first).name in mapped
        # Its constructors start no thread and open nothing; a fork of it is a fork of Python.
        assert parent.num_threads() == 1
        open_files = {file.path for file in parent.open_files()}
        assert not {path for path in open_files if path.startswith("/dev/")}
        assert all(result.outcome.kind == OutcomeKind.OK for result in results)
