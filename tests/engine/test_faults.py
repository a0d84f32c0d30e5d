"""Whatever a runtime does to its process costs one cell, and the call in flight is named.

The faults come from the fake runtime (tests/fake): a real one does not produce them on demand.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import psutil
import pytest
from support import cells_for

from xdiag.model import OutcomeKind, Result

if TYPE_CHECKING:
    from collections.abc import Callable

    from xdiag.engine.run import Engine  # noqa: F401

Run = "Callable[..., dict[str, Result]]"
CROSS, SAME = "cross-thread/none/replay", "same-thread/none/replay"


def _own_zygotes() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


@pytest.mark.parametrize(
    ("fault", "kind", "signal", "status"),
    [
        ("segv", OutcomeKind.CRASH, "SIGSEGV", None),
        ("abort", OutcomeKind.CRASH, "SIGABRT", None),
        ("kill", OutcomeKind.CRASH, "SIGKILL", None),
        ("exit", OutcomeKind.EXIT, "", 1),
        ("exit0", OutcomeKind.EXIT, "", 0),
    ],
)
def test_a_violent_end_names_the_call(
    run_fake: Callable[..., dict[str, Result]],
    fault: str,
    kind: OutcomeKind,
    signal: str,
    status: int | None,
) -> None:
    result = run_fake(cells_for(CROSS), fault=f"hipStreamSynchronize={fault}")[CROSS]
    outcome = result.outcome
    assert (outcome.kind, outcome.signal, outcome.status) == (kind, signal, status)
    assert outcome.died_at is not None
    in_flight = next(record for record in outcome.trace if record.step == outcome.died_at)
    assert (in_flight.call, in_flight.actor) == ("hipStreamSynchronize", "worker")
    assert in_flight.state == "unfinished"
    later = [record for record in outcome.trace if record.step > outcome.died_at]
    assert later and all(record.state == "unreached" for record in later)


def test_the_last_line_before_an_exit_is_kept(run_fake: Callable[..., dict[str, Result]]) -> None:
    outcome = run_fake(cells_for(CROSS), fault="hipStreamGetFlags=exit")[CROSS].outcome
    assert outcome.message.endswith("context is destroyed @ hip_queue.cpp:32")


def test_a_hang_ends_at_its_time_and_takes_its_group_along(
    run_fake: Callable[..., dict[str, Result]],
) -> None:
    begun = time.monotonic()
    outcome = run_fake(cells_for(CROSS, timeout=0.5), fault="hipStreamSynchronize=hang")[
        CROSS
    ].outcome
    assert outcome.kind == OutcomeKind.HANG
    assert 0.5 <= outcome.seconds < 5
    assert time.monotonic() - begun < 10
    assert not _own_zygotes()


def test_a_stopped_process_is_a_hang(run_fake: Callable[..., dict[str, Result]]) -> None:
    outcome = run_fake(cells_for(CROSS, timeout=0.5), fault="hipStreamGetFlags=stop")[CROSS].outcome
    assert outcome.kind == OutcomeKind.HANG


def test_a_flood_of_output_costs_no_memory(run_fake: Callable[..., dict[str, Result]]) -> None:
    before = psutil.Process().memory_info().rss
    outcome = run_fake(cells_for(CROSS, timeout=1.0), fault="hipStreamGetFlags=flood")[
        CROSS
    ].outcome
    assert outcome.kind == OutcomeKind.HANG
    assert outcome.message == "all work and no play makes a dull log"
    assert psutil.Process().memory_info().rss - before < 16 << 20


def test_a_fork_bomb_is_stopped(run_fake: Callable[..., dict[str, Result]]) -> None:
    outcome = run_fake(cells_for(CROSS), fault="hipStreamGetFlags=spawn")[CROSS].outcome
    assert outcome.kind == OutcomeKind.CRASH
    assert "processes" in outcome.reason
    assert not _leftovers("hipStreamGetFlags=spawn")


def test_what_a_library_leaves_behind_is_killed(run_fake: Callable[..., dict[str, Result]]) -> None:
    outcome = run_fake(cells_for(CROSS), fault="hipStreamGetFlags=orphan")[CROSS].outcome
    assert outcome.kind == OutcomeKind.OK
    assert not _leftovers("hipStreamGetFlags=orphan")


def _leftovers(fault: str) -> list[psutil.Process]:
    """Processes with this fault in their environment, wherever they hang by now."""

    def has_it(process: psutil.Process) -> bool:
        try:
            return process.environ().get("FAKE_FAULT") == fault
        except psutil.Error:
            return False

    return [process for process in psutil.process_iter() if has_it(process)]


def test_corrupted_memory_costs_one_cell(run_fake: Callable[..., dict[str, Result]]) -> None:
    results = run_fake(cells_for(CROSS, SAME), fault="hipDeviceReset=scribble")
    assert results[CROSS].outcome.kind == OutcomeKind.OK
    wrecked = run_fake(cells_for("device-reset/none/replay", SAME))
    assert wrecked["device-reset/none/replay"].outcome.kind != OutcomeKind.OK
    assert wrecked[SAME].outcome.kind == OutcomeKind.OK


def test_a_cell_that_kills_its_parent_is_found_and_the_others_go_on(
    run_fake: Callable[..., dict[str, Result]],
) -> None:
    guilty = "device-reset/none/replay"
    results = run_fake(cells_for(SAME, guilty, CROSS), fault="hipDeviceReset=parent")
    assert results[guilty].outcome.kind == OutcomeKind.CRASH
    assert "killed the process that had forked it" in results[guilty].outcome.reason
    assert results[SAME].outcome.kind == results[CROSS].outcome.kind == OutcomeKind.OK


def test_a_crash_in_one_question_does_not_silence_the_others(
    run_fake: Callable[..., dict[str, Result]],
) -> None:
    id = "cross-thread/none/driver"
    outcome = run_fake(cells_for(id), fault="hipStreamQuery=segv")[id].outcome
    assert (outcome.kind, outcome.signal, outcome.processes) == (OutcomeKind.CRASH, "SIGSEGV", 2)
    states = {record.call: record.state for record in outcome.trace}
    assert states["hipStreamQuery"] == "unfinished"
    assert states["hipStreamDestroy"] == "done"


def test_a_refusal_before_a_crash_is_told_with_it(
    run_fake: Callable[..., dict[str, Result]],
) -> None:
    id = "destroyed-stream/none/driver"
    outcome = run_fake(cells_for(id), fault="hipEventRecord=segv")[id].outcome
    assert outcome.kind == OutcomeKind.CRASH
    assert (outcome.code, outcome.call) == (709, "hipStreamGetDevice")


def test_a_forked_actor_that_dies_is_told_like_a_crash(
    run_fake: Callable[..., dict[str, Result]],
) -> None:
    id = "fork-before-init/none/replay"
    outcome = run_fake(cells_for(id), fault="hipStreamGetFlags=segv")[id].outcome
    assert (outcome.kind, outcome.signal) == (OutcomeKind.CRASH, "SIGSEGV")
    dead = next(r for r in outcome.trace if r.step == outcome.died_at)
    assert (dead.actor, dead.call) == ("child", "hipStreamGetFlags")


def test_every_fault_in_one_run_leaves_the_rest_alone(
    run_fake: Callable[..., dict[str, Result]],
) -> None:
    results = run_fake(cells_for(timeout=2.0), fault="hipDeviceReset=abort", jobs=4)
    crashed = {id for id, r in results.items() if r.outcome.kind == OutcomeKind.CRASH}
    assert crashed and all(id.startswith("device-reset/") for id in crashed)
    assert len(results) == len(cells_for())
