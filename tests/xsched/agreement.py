"""What ``replay`` claims about XSched, held against XSched's own library, cell by cell."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from xdiag.consumers import CONSUMERS
from xdiag.engine.plan import plan
from xdiag.engine.run import Engine
from xdiag.fixes import FIXES
from xdiag.model import FAULTS, OutcomeKind
from xdiag.patterns import told_on
from xdiag.xsched_consumers import XSCHED_CONSUMERS
from xdiag.xsched_errors import COMPARED

if TYPE_CHECKING:
    from xdiag.engine.messages import Paths, XSchedFiles
    from xdiag.model import Outcome, Result, Target

    #: pattern/fix -> consumer -> result.
    Matrix = dict[str, dict[str, Result]]

_RAN = (OutcomeKind.OK, *FAULTS)
#: On CUDA these read freed memory: how they fail is not the same in each run (docs/platforms.md).
_FREED = ("destroyed-stream", "device-reset", "context-destroyed")
#: Two threads ask for a queue of one stream: the second is given the first's, unasked whether its
#: own context is the stream's (HwQueueManager::Add).  Which is first is chance.
_BOTH_AT_ONCE = "concurrent-use"


def whole_matrix(
    target: Target, paths: Paths, files: XSchedFiles, timeout: float | None = None
) -> Matrix:
    """Every pattern under every fix, with replay and what calls XSched's own libraries.

    Those of torch's streams are told in tests/with_torch.
    """
    consumers = [c for c in (*CONSUMERS, *XSCHED_CONSUMERS) if c.id in ("replay", "hal", "xqueue")]
    cells = plan(
        told_on(target.platform), FIXES, consumers, platform=target.platform, timeout=timeout
    )
    found: Matrix = {}
    jobs = len(os.sched_getaffinity(0))
    with Engine(target, msgspec.structs.replace(paths, xsched=files), jobs=jobs) as engine:
        for result in engine.run(
            cell
            for cell in cells
            if not cell.not_applicable and "XDIAG_IMPORT" not in cell.environment
        ):
            story = f"{result.cell.pattern}/{result.cell.fix}"
            found.setdefault(story, {})[result.cell.consumer] = result
    return found


def the_hal_agrees(matrix: Matrix) -> None:
    """Asserts that the HAL ends where replay fails, with the same number, and works elsewhere."""
    failed = 0
    for story, result, real in _pairs(matrix, "hal"):
        replayed = result.outcome
        at = replayed.step if replayed.step is not None else replayed.died_at
        if at is not None and result.cell.steps[at].phase != "use":
            assert (replayed.kind, replayed.code) == (real.kind, real.code), story
        elif not _in_constructor(result):
            assert real.kind is OutcomeKind.OK, (story, real.message or real.reason)
        elif result.cell.platform == "cuda" and result.cell.pattern in _FREED:
            assert real.kind in FAULTS, story
        elif result.cell.pattern == _BOTH_AT_ONCE and real.kind is OutcomeKind.OK:
            assert result.cell.platform == "cuda", story
        else:
            _same_end(story, replayed, real)
            failed += 1
    assert failed > 2


def the_queue_agrees(matrix: Matrix) -> None:
    """Asserts that a queue fails, hangs and works where replay does."""
    for story, result, real in _pairs(matrix, "xqueue"):
        replayed = result.outcome
        if result.cell.platform == "cuda" and result.cell.pattern in _FREED:
            # Measured: even under recreate-stream the queue's destruction once hung.
            continue
        assert (replayed.kind in FAULTS) == (real.kind in FAULTS), (story, real.message)
        assert (replayed.kind is OutcomeKind.HANG) == (real.kind is OutcomeKind.HANG), story


def _same_end(story: str, replayed: Outcome, real: Outcome) -> None:
    if replayed.kind is not OutcomeKind.ERROR:
        assert real.kind is replayed.kind, story
        return
    # With two copies of HIP 6.4.3, what XSched's exit() has them run crashes.
    assert real.kind in (OutcomeKind.EXIT, OutcomeKind.CRASH), story
    call = COMPARED if replayed.call == "equal" else replayed.call
    assert (real.code, real.call) == (replayed.code, call), (story, real.message)


def _pairs(matrix: Matrix, other: str) -> list[tuple[str, Result, Outcome]]:
    """Stories that both replay and another consumer have used the stream in."""
    pairs = []
    for story, results in matrix.items():
        if {"replay", other} <= set(results):
            replay, real = results["replay"], results[other]
            if replay.outcome.kind in _RAN or real.outcome.kind in _RAN:
                pairs.append((story, replay, real.outcome))
    assert len(pairs) > 50
    return pairs


def _in_constructor(replay: Result) -> bool:
    """Whether replay failed in a step of the queue's constructor, not on the queue's thread."""
    outcome = replay.outcome
    at = outcome.step if outcome.step is not None else outcome.died_at
    if outcome.kind not in FAULTS or at is None:
        return False
    step = replay.cell.steps[at]
    return step.phase == "use" and "queue" not in (*step.actors, step.result)
