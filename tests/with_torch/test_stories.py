"""Stories of torch's streams, over the real HIP runtime with a stand-in for ROCm's torch.

What torch itself does on a GPU is measured where there is one (docs/torch.md); here it is that the
stories are told, by whom, and with which copy of the runtime.
"""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from xsched.conftest import run_cells

from xdiag.consumers import CONSUMERS
from xdiag.engine.plan import plan
from xdiag.engine.run import Engine
from xdiag.fixes import FIXES
from xdiag.model import OutcomeKind
from xdiag.patterns import PATTERNS
from xdiag.render.labels import label
from xdiag.render.meaning import meaning
from xdiag.torch_patterns import TORCH_PATTERNS

if TYPE_CHECKING:
    from xdiag.engine.messages import Paths, XSchedFiles
    from xdiag.model import Outcome, Result, Target

#: What each consumer makes of each story, without a fix.  The software agent completes nothing in a
#: forked child, as AMD's user-mode driver does; the real runtime's copy follows any handle.
EXPECTED = {
    "torch-pool": ("ok", "ok", "ok"),
    "torch-priority": ("ok", "ok", "ok"),
    "torch-pool-filled": ("ok", "ok", "ok"),
    "torch-pool-wraps": ("ok", "-", "-"),
    "torch-pool-device": ("400", "400", "ok"),
    "torch-current": ("ok", "ok", "ok"),
    "torch-current-elsewhere": ("differ", "-", "-"),
    "torch-default": ("999", "-", "ok"),
    "torch-external": ("ok", "ok", "ok"),
    "torch-thread-pool": ("ok", "ok", "ok"),
    "torch-autograd": ("ok", "ok", "ok"),
    "torch-dataloader": ("hang", "hang", "failed"),
    "torch-fork": ("hang", "hang", "failed"),
    "torch-spawn": ("ok", "ok", "ok"),
    "torch-spawn-handle": ("709+SEGV", "709", "SEGV"),
    "torch-capture": ("401", "ok", "failed"),
    "torch-second-runtime": ("709", "709", "-"),
    "torch-foreign-stream": ("709", "709", "709"),
}
_COLUMNS = ("driver", "replay", "torch")


@pytest.fixture(scope="module")
def told(real_target: Target, real_paths: Paths, torch_site: Path) -> dict[str, dict[str, Result]]:
    """Every story of torch's without a fix: pattern -> consumer -> result."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(torch_site))
        fixes = [fix for fix in FIXES if fix.id == "none"]
        cells = plan(TORCH_PATTERNS, fixes, CONSUMERS)
        found: dict[str, dict[str, Result]] = {}
        with Engine(real_target, real_paths, jobs=2) as engine:
            for result in engine.run(cells):
                found.setdefault(result.cell.pattern, {})[result.cell.consumer] = result
    return found


def test_all_stories_are_told() -> None:
    assert set(EXPECTED) == {pattern.id for pattern in TORCH_PATTERNS}


@pytest.mark.parametrize("pattern", EXPECTED)
def test_what_consumers_make_of_a_story(told: dict[str, dict[str, Result]], pattern: str) -> None:
    seen = tuple(label(told[pattern][consumer]).text for consumer in _COLUMNS)
    assert seen == EXPECTED[pattern], told[pattern]


def _by_actor(outcome: Outcome) -> dict[str, set[tuple[int, int]]]:
    """Process and thread of each actor's steps, those that started others left out."""
    found: dict[str, set[tuple[int, int]]] = {}
    for record in outcome.trace:
        if record.tid:
            found.setdefault(record.actor, set()).add((record.pid, record.tid))
    return found


@pytest.mark.parametrize("pattern", ["torch-pool", "torch-thread-pool", "torch-autograd"])
def test_a_worker_is_a_thread_of_its_own(told: dict[str, dict[str, Result]], pattern: str) -> None:
    for consumer in _COLUMNS:
        actors = _by_actor(told[pattern][consumer].outcome)
        ((main_process, main_thread),) = actors["main"]
        ((process, thread),) = actors["worker"]
        assert process == main_process
        assert thread != main_thread


@pytest.mark.parametrize("pattern", ["torch-fork", "torch-spawn", "torch-dataloader"])
def test_a_worker_is_a_process_of_its_own(told: dict[str, dict[str, Result]], pattern: str) -> None:
    actors = _by_actor(told[pattern]["driver"].outcome)
    ((main_process, _),) = actors["main"]
    processes = {process for process, _ in actors["worker"]}
    assert len(processes) == 1
    assert processes != {main_process}


def test_xscheds_queue_has_a_thread_in_the_workers_process(
    told: dict[str, dict[str, Result]],
) -> None:
    actors = _by_actor(told["torch-spawn"]["replay"].outcome)
    ((worker_process, worker_thread),) = actors["worker"]
    ((process, thread),) = actors["queue"]
    assert process == worker_process
    assert thread != worker_thread


def test_the_runtime_is_the_one_that_torch_brings(
    told: dict[str, dict[str, Result]], torch_site: Path, real_target: Target
) -> None:
    bundled = os.stat(torch_site / "torch" / "lib" / "libamdhip64.so.5")
    for consumer in _COLUMNS:
        identity = told["torch-pool"][consumer].outcome.runtimes["T"]
        assert identity.inode == bundled.st_ino
        assert identity.inode != os.stat(real_target.runtime).st_ino


def test_what_two_streams_are_told_that_were_to_be_one(
    told: dict[str, dict[str, Result]], real_target: Target
) -> None:
    lines = meaning(told["torch-current-elsewhere"]["driver"], real_target)
    assert lines[0].startswith("The two values that were to be one are not: c is 0x0, s is 0x")
    assert "Here: no, it has the default stream (differ)." in lines[1]
    assert not any("XSched" in line or "context" in line for line in lines)


def test_the_pool_comes_round_to_the_same_stream(told: dict[str, dict[str, Result]]) -> None:
    trace = told["torch-pool-wraps"]["driver"].outcome.trace
    first, last = (dict(record.values) for record in trace[1:3])
    assert first["s"] == last["t"] != 0
    assert trace[2].made == 32


def test_a_stream_of_the_driver_that_torch_did_not_make_is_refused_where_it_is_another_copys(
    real_target: Target, real_paths: Paths, torch_site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Consumer torch on the plain stories: A is the machine's runtime, and torch brings its own."""
    monkeypatch.setenv("PYTHONPATH", str(torch_site))
    results = run_cells(real_target, real_paths, None, "cross-thread/none/torch")
    outcome = results["cross-thread/none/torch"].outcome
    assert (outcome.code, outcome.call) == (709, "torch.Tensor.copy_")
    assert len({identity.inode for identity in outcome.runtimes.values()}) == 2


@pytest.mark.parametrize(
    ("fix", "expected"),
    [
        ("bind-loaded-runtime", OutcomeKind.OK),
        ("unify", OutcomeKind.OK),
        ("recreate-stream", OutcomeKind.OK),
        ("primary-context-retain", OutcomeKind.ERROR),
        ("create-in-worker", OutcomeKind.ERROR),
        ("set-device", OutcomeKind.ERROR),
    ],
)
def test_what_repairs_the_case_with_torchs_stream(
    real_target: Target, real_paths: Paths, torch_site: Path, monkeypatch: pytest.MonkeyPatch,
    fix: str, expected: OutcomeKind,
) -> None:  # fmt: skip
    monkeypatch.setenv("PYTHONPATH", str(torch_site))
    id = f"torch-second-runtime/{fix}/replay"
    outcome = run_cells(real_target, real_paths, None, id)[id].outcome
    assert outcome.kind is expected
    assert outcome.code == (709 if expected is OutcomeKind.ERROR else None)


def test_the_real_hal_takes_and_refuses_the_same_streams_of_torchs(
    real_target: Target, real_paths: Paths, torch_site: Path, real_xsched: XSchedFiles,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("PYTHONPATH", str(torch_site))
    patterns = ("torch-pool", "torch-external", "torch-autograd", "torch-spawn",
                "torch-second-runtime", "torch-foreign-stream")  # fmt: skip
    ids = [f"{pattern}/none/{consumer}" for pattern in patterns
           for consumer in ("replay", "hal", "binding")]  # fmt: skip
    results = run_cells(real_target, real_paths, real_xsched, *ids)
    for pattern, consumer in itertools.product(patterns, ("hal", "binding")):
        replay, hal = (results[f"{pattern}/none/{each}"].outcome for each in ("replay", consumer))
        assert (hal.code, hal.code and hal.call) == (replay.code, replay.code and replay.call)
        assert (hal.kind is OutcomeKind.OK) == (replay.kind is OutcomeKind.OK), pattern


def test_a_result_that_differs_is_a_failure(
    real_target: Target, real_paths: Paths, torch_site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(torch_site))
    monkeypatch.setenv("STAND_IN_IS_WRONG", "1")
    id = "torch-pool/none/torch"
    outcome = run_cells(real_target, real_paths, None, id)[id].outcome
    assert outcome.kind is OutcomeKind.ERROR
    assert outcome.message == "the result differs from the processor's"


def test_a_native_thread_cannot_be_asked_for_torch(
    real_target: Target, real_paths: Paths, torch_site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(torch_site))
    id = "torch-pool/native-thread/torch"
    outcome = run_cells(real_target, real_paths, None, id)[id].outcome
    assert outcome.kind is OutcomeKind.SKIPPED
    assert outcome.reason == "worker is no thread of Python, and torch is Python"


def test_every_pattern_of_torchs_is_in_the_catalogue() -> None:
    assert {pattern.id for pattern in TORCH_PATTERNS} <= {pattern.id for pattern in PATTERNS}
