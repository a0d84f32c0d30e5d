"""XSched's real libraries over the real runtime: what xdiag replays is what they do.

Nothing of XSched is part of xdiag: XDIAG_XSCHED (or XSCHED_ROOT) names an installation,
XDIAG_XSCHED_OLD one of before June 2026, XDIAG_XSCHED_CUDA one for CUDA.  Without them, and for
CUDA without a GPU of NVIDIA's, this is skipped.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from xdiag.model import FAULTS, OutcomeKind
from xdiag.runtimes.choose import choose
from xdiag.runtimes.copies import copies
from xsched import agreement
from xsched.conftest import CUDA, installed, run_cells

if TYPE_CHECKING:
    from xdiag.engine.messages import Paths, XSchedFiles
    from xdiag.model import Result, Target

#: The kernel driver's device.
_NVIDIA = Path("/dev/nvidiactl")


@pytest.fixture(scope="module")
def whole_matrix(
    real_target: Target, real_paths: Paths, real_xsched: XSchedFiles
) -> dict[str, dict[str, Result]]:
    """Every pattern under every fix on HIP: pattern/fix -> consumer -> result."""
    return agreement.whole_matrix(real_target, real_paths, real_xsched, timeout=2.0)


@pytest.fixture(scope="module")
def cuda_matrix() -> dict[str, dict[str, Result]]:
    """Likewise on the real CUDA driver."""
    if not _NVIDIA.exists():
        pytest.skip(f"no NVIDIA GPU: {_NVIDIA} is absent")
    files = installed(CUDA, platform="cuda")
    target = choose(platform="cuda")
    return agreement.whole_matrix(target, copies(target), files)


def test_replay_and_the_hal_agree_cell_by_cell(whole_matrix: dict[str, dict[str, Result]]) -> None:
    agreement.the_hal_agrees(whole_matrix)


def test_replay_and_the_queue_agree_on_what_works(
    whole_matrix: dict[str, dict[str, Result]],
) -> None:
    agreement.the_queue_agrees(whole_matrix)


def test_on_cuda_replay_and_the_hal_agree_cell_by_cell(
    cuda_matrix: dict[str, dict[str, Result]],
) -> None:
    agreement.the_hal_agrees(cuda_matrix)


def test_on_cuda_replay_and_the_queue_agree_on_what_works(
    cuda_matrix: dict[str, dict[str, Result]],
) -> None:
    agreement.the_queue_agrees(cuda_matrix)


def test_on_cuda_a_thread_without_the_context_is_what_xsched_leaves_at(
    cuda_matrix: dict[str, dict[str, Result]],
) -> None:
    outcome = cuda_matrix["cross-thread/none"]["hal"].outcome
    assert (outcome.kind, outcome.code, outcome.call) == (OutcomeKind.EXIT, None, "cuCtxGetCurrent")
    assert "does not match stream context" in outcome.message
    for fix in ("primary-context-retain", "set-device", "create-in-worker"):
        for consumer in ("hal", "xqueue"):
            mended = cuda_matrix[f"cross-thread/{fix}"][consumer].outcome
            assert mended.kind is OutcomeKind.OK, (fix, consumer, mended.message)


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
