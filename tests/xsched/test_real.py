"""XSched's real libraries over the real runtime: what xdiag replays is what they do.

Nothing of XSched is part of xdiag: XDIAG_XSCHED (or XSCHED_ROOT) names an installation, and
XDIAG_XSCHED_OLD one of before June 2026.  Without them this is skipped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from xdiag.consumers import CONSUMERS
from xdiag.engine.plan import plan
from xdiag.engine.run import Engine
from xdiag.fixes import FIXES
from xdiag.model import FAULTS, OutcomeKind
from xdiag.patterns import PATTERNS
from xdiag.xsched_consumers import XSCHED_CONSUMERS
from xdiag.xsched_errors import HAL_LINES
from xsched.conftest import run_cells

if TYPE_CHECKING:
    from xdiag.engine.messages import Paths, XSchedFiles
    from xdiag.model import Outcome, Result, Target

_RAN = (OutcomeKind.OK, *FAULTS)


@pytest.fixture(scope="module")
def whole_matrix(
    real_target: Target, real_paths: Paths, real_xsched: XSchedFiles
) -> dict[str, dict[str, Result]]:
    """Every pattern under every fix: pattern/fix -> consumer -> result."""
    consumers = [c for c in (*CONSUMERS, *XSCHED_CONSUMERS) if c.id in ("replay", "hal", "xqueue")]
    cells = plan(PATTERNS, FIXES, consumers, timeout=2.0)
    paths = msgspec.structs.replace(real_paths, xsched=real_xsched)
    found: dict[str, dict[str, Result]] = {}
    with Engine(real_target, paths, jobs=2) as engine:
        for result in engine.run(cell for cell in cells if not cell.not_applicable):
            story = f"{result.cell.pattern}/{result.cell.fix}"
            found.setdefault(story, {})[result.cell.consumer] = result
    return found


def _pairs(
    matrix: dict[str, dict[str, Result]], other: str
) -> list[tuple[str, Outcome, Outcome, Result]]:
    """Stories that both replay and another consumer have used the stream in."""
    pairs = []
    for story, results in matrix.items():
        if {"replay", other} <= set(results):
            replay, real = results["replay"], results[other]
            if replay.outcome.kind in _RAN or real.outcome.kind in _RAN:
                pairs.append((story, replay.outcome, real.outcome, replay))
    assert len(pairs) > 50
    return pairs


def _in_constructor(replay: Result) -> bool:
    """Whether replay failed in a call of HipQueue's constructor, not on the queue's thread."""
    outcome = replay.outcome
    at = outcome.step if outcome.step is not None else outcome.died_at
    if outcome.kind not in FAULTS or at is None:
        return False
    step = replay.cell.steps[at]
    return f"hip{step.verb}" in HAL_LINES.values() and "queue" not in step.actors


def test_replay_and_the_hal_agree_cell_by_cell(whole_matrix: dict[str, dict[str, Result]]) -> None:
    failed = 0
    for story, replayed, real, result in _pairs(whole_matrix, "hal"):
        if (
            result.outcome.step is not None
            and result.cell.steps[result.outcome.step].phase != "use"
        ):
            assert (replayed.kind, replayed.code) == (real.kind, real.code), story
        elif replayed.kind is OutcomeKind.ERROR and _in_constructor(result):
            # With two copies of 6.4.3, what XSched's exit() has them run crashes.
            assert real.kind in (OutcomeKind.EXIT, OutcomeKind.CRASH), story
            assert (real.code, real.call) == (replayed.code, replayed.call), story
            failed += 1
        elif _in_constructor(result):
            assert real.kind is replayed.kind, story
            failed += 1
        else:
            assert real.kind is OutcomeKind.OK, (story, real.message or real.reason)
    assert failed > 2


def test_replay_and_the_queue_agree_on_what_works(
    whole_matrix: dict[str, dict[str, Result]],
) -> None:
    for story, replayed, real, _ in _pairs(whole_matrix, "xqueue"):
        assert (replayed.kind in FAULTS) == (real.kind in FAULTS), (story, real.message)
        assert (replayed.kind is OutcomeKind.HANG) == (real.kind is OutcomeKind.HANG), story


def test_repairs_of_the_case_help_the_real_hal(whole_matrix: dict[str, dict[str, Result]]) -> None:
    if whole_matrix["second-runtime/none"]["replay"].outcome.kind not in FAULTS:
        pytest.skip("this version of HIP lets a foreign stream pass")
    for consumer in ("hal", "xqueue"):

        def kind(fix: str, consumer: str = consumer) -> OutcomeKind:
            return whole_matrix[f"second-runtime/{fix}"][consumer].outcome.kind

        assert kind("none") in FAULTS
        assert kind("primary-context-retain") in FAULTS
        assert kind("bind-loaded-runtime") is OutcomeKind.OK
        assert kind("unify") is OutcomeKind.OK


def test_the_binding_passes_the_whole_handle(
    real_target: Target, real_paths: Paths, real_xsched: XSchedFiles
) -> None:
    if not real_xsched.binding:
        pytest.skip("this build of XSched has no module xsched.hip")
    ids = [
        f"{pattern}/none/{consumer}"
        for pattern in ("create-in-worker", "garbage-handle")
        for consumer in ("binding", "hal")
    ]
    results = run_cells(real_target, real_paths, real_xsched, *ids)
    works, _, passed_on, taken = (results[id].outcome for id in ids)
    assert works.kind is OutcomeKind.OK, works.reason
    assert passed_on.kind in FAULTS
    assert (passed_on.kind, passed_on.code) == (taken.kind, taken.code)


def test_the_old_binding_cuts_the_handle_that_its_own_library_takes(
    real_target: Target, real_paths: Paths, old_xsched: XSchedFiles
) -> None:
    # Made in a thread: such a handle lies above 4 GiB, whatever Python is built as.
    hal, cut = (f"create-in-worker/none/{each}" for each in ("hal", "old-binding"))
    results = run_cells(real_target, real_paths, old_xsched, hal, cut)
    assert results[hal].outcome.kind is OutcomeKind.OK, results[hal].outcome.reason
    outcome = results[cut].outcome
    if outcome.code is None:  # HIP 7 follows it
        assert outcome.kind is OutcomeKind.CRASH, outcome.reason
    else:
        assert (outcome.code, outcome.call) == (709, "hipStreamGetFlags")
