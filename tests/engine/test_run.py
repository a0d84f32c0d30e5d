"""The engine on the fake runtime: traces, resources, interruption."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import psutil
import pytest
from support import build_fake, cells_for, paths_beside

from xdiag.engine.run import Engine
from xdiag.errors import CannotRun
from xdiag.model import OutcomeKind, Result, Target

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from xdiag.engine.messages import Paths


def test_a_trace_tells_who_did_what_where(run_fake: Callable[..., dict[str, Result]]) -> None:
    id = "second-runtime/none/replay"
    outcome = run_fake(cells_for(id))[id].outcome
    assert (outcome.kind, outcome.code, outcome.call) == (
        OutcomeKind.ERROR, 709, "hipStreamGetFlags",
    )  # fmt: skip
    by_call = {(record.call, record.runtime): record for record in outcome.trace}
    made, asked = by_call["hipStreamCreateWithFlags", "A"], by_call["hipStreamGetFlags", "B"]
    assert asked.handle == dict(made.values)["s"]
    assert asked.actor == "worker" and asked.tid != made.tid and asked.pid == made.pid
    assert asked.name == "hipErrorContextIsDestroyed"
    assert asked.failed and not made.failed
    assert asked.nanoseconds is not None and 0 < asked.nanoseconds < 10**9


def test_two_copies_differ_by_inode_and_nothing_else(
    run_fake: Callable[..., dict[str, Result]],
) -> None:
    id = "second-runtime/none/replay"
    runtimes = run_fake(cells_for(id))[id].outcome.runtimes
    first, second = runtimes["A"], runtimes["B"]
    assert first.inode != second.inode and first.base != second.base
    assert first.build_id == second.build_id != ""
    assert first.soname == second.soname == "libamdhip64.so.5"
    assert first.namespace == second.namespace == 0


@pytest.mark.parametrize("pattern", ["reopened-runtime", "second-runtime"])
def test_a_link_and_a_bound_runtime_are_the_first_copy(
    run_fake: Callable[..., dict[str, Result]], pattern: str
) -> None:
    fix = "none" if pattern == "reopened-runtime" else "bind-loaded-runtime"
    id = f"{pattern}/{fix}/replay"
    outcome = run_fake(cells_for(id))[id].outcome
    assert outcome.kind == OutcomeKind.OK
    assert outcome.runtimes["A"].handle == outcome.runtimes["B"].handle


def test_a_namespace_is_reported(run_fake: Callable[..., dict[str, Result]]) -> None:
    id = "second-namespace/none/replay"
    assert run_fake(cells_for(id))[id].outcome.runtimes["B"].namespace != 0


@pytest.mark.parametrize("actor", ["python", "native"])
def test_python_and_native_workers_do_the_same(
    run_fake: Callable[..., dict[str, Result]], actor: str
) -> None:
    id = "cross-thread/none/driver"
    outcome = run_fake(cells_for(id, actor=actor))[id].outcome
    assert outcome.kind == OutcomeKind.OK
    started = next(record for record in outcome.trace if "thread" in record.call)
    assert started.call == ("thread" if actor == "python" else "native_thread")


def test_both_at_once_are_both_told(run_fake: Callable[..., dict[str, Result]]) -> None:
    id = "concurrent-use/none/driver"
    outcome = run_fake(cells_for(id))[id].outcome
    assert outcome.kind == OutcomeKind.OK, outcome
    queries = [record for record in outcome.trace if record.call == "hipStreamQuery"]
    assert {record.actor for record in queries} == {"main", "worker"}
    assert len({record.tid for record in queries}) == 2
    assert all(record.made > 1 for record in queries)


def test_a_missing_call_is_unsupported_and_not_a_crash(tmp_path: Path, fake_target: Target) -> None:
    library = build_fake(tmp_path, "-DFAKE_WITHOUT_GETDEVICE")
    with Engine(fake_target, paths_beside(library, tmp_path)) as engine:
        (result,) = engine.run(cells_for("same-thread/none/driver"))
    states = {record.call: record.state for record in result.outcome.trace}
    assert states["hipStreamGetDevice"] == states["hipStreamAddCallback"] == "unsupported"
    assert result.outcome.kind == OutcomeKind.OK


def test_a_runtime_that_does_not_open_fails_the_set_up(
    fake_target: Target, fake_paths: Paths, tmp_path: Path
) -> None:
    from msgspec.structs import replace

    broken = tmp_path / "libamdhip64.so.5"
    broken.write_bytes(b"not a library")
    with Engine(fake_target, replace(fake_paths, first=str(broken))) as engine:
        (result,) = engine.run(cells_for("same-thread/none/driver"))
    assert result.outcome.kind == OutcomeKind.ERROR
    assert "invalid ELF header" in result.outcome.message or "too short" in result.outcome.message
    assert result.outcome.call == "open"


def test_cells_that_do_not_apply_or_need_more_devices_are_answered_with_a_reason(
    fake_target: Target, fake_paths: Paths
) -> None:
    from msgspec.structs import replace

    from xdiag.consumers import CONSUMERS
    from xdiag.engine.plan import plan
    from xdiag.fixes import FIXES
    from xdiag.patterns import PATTERNS

    cells = plan(PATTERNS, FIXES, CONSUMERS)
    with Engine(replace(fake_target, devices=1), fake_paths, jobs=4) as engine:
        results = {result.cell.id: result.outcome for result in engine.run(cells)}
    assert len(results) == len(cells) == len(PATTERNS) * len(FIXES) * len(CONSUMERS)
    skipped = results["other-device-current/none/driver"]
    assert (skipped.kind, skipped.reason) == (OutcomeKind.SKIPPED, "needs 2 devices, 1 found")
    absent = results["same-thread/native-thread/driver"]
    assert absent.kind == OutcomeKind.NOT_APPLICABLE and absent.reason


def test_descriptors_and_processes_do_not_grow(fake_target: Target, fake_paths: Paths) -> None:
    cells = cells_for("same-thread/none/replay", "second-runtime/none/driver") * 60
    me = psutil.Process()
    with Engine(fake_target, fake_paths, jobs=2) as engine:
        results = engine.run(cells)
        for _ in range(20):
            next(results)
        before = me.num_fds()
        highest = max(me.num_fds() for _ in results)
        assert highest <= before + 4  # at most the pipes of two cells
        (zygote,) = me.children()
        assert zygote.children() == []
    assert me.children() == []


def test_closing_in_the_middle_leaves_nothing(fake_target: Target, fake_paths: Paths) -> None:
    before = psutil.Process().num_fds()
    with Engine(fake_target, fake_paths, jobs=4) as engine:
        next(engine.run(cells_for()))
    assert psutil.Process().children(recursive=True) == []
    assert psutil.Process().num_fds() == before


def test_a_child_gets_the_targets_environment(fake_target: Target, fake_paths: Paths) -> None:
    from msgspec.structs import replace

    faulty = replace(fake_target, environment={"FAKE_FAULT": "hipInit=exit"})
    with Engine(faulty, fake_paths) as engine:
        (result,) = engine.run(cells_for("same-thread/none/driver"))
    assert (result.outcome.kind, result.outcome.status) == (OutcomeKind.EXIT, 1)
    assert "FAKE_FAULT" not in os.environ


def test_a_missing_interpreter_is_one_clear_line(
    fake_target: Target, fake_paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    with Engine(fake_target, fake_paths) as engine, pytest.raises(CannotRun, match="/nowhere"):
        list(engine.run(cells_for("same-thread/none/driver")))
