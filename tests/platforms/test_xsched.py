"""XSched on CUDA: its HAL over the fake driver, a fake one and, where it is here, the real one.

XDIAG_XSCHED_CUDA names an installation of the real one; without it that is skipped.  The real one
over the real driver: ``tests/xsched/test_real.py``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from xsched import agreement
from xsched.conftest import CUDA, build_hal, install, installed, run_cells

from xdiag import session
from xdiag.engine.plan import plan
from xdiag.fixes import FIXES
from xdiag.model import OutcomeKind
from xdiag.patterns import PATTERNS
from xdiag.render.labels import label
from xdiag.render.meaning import meaning
from xdiag.runtimes.choose import choose
from xdiag.runtimes.copies import copies
from xdiag.verdict import describe, reading
from xdiag.xsched_consumers import XSCHED_CONSUMERS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from xdiag.model import Prediction, Result, Target

    Run = Callable[..., dict[str, Result]]


@pytest.fixture
def target(fake_cuda: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Target:
    """The fake driver; copies of it go to a directory of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return choose(str(fake_cuda), platform="cuda")


@pytest.fixture
def run_with_hal(target: Target, tmp_path: Path) -> Run:
    """Run cells on the fake driver with a fake HAL: ``run("-DOLD_LINE", ids=[...])``."""

    def run(*options: str, ids: list[str]) -> dict[str, Result]:
        files = build_hal(tmp_path / "hal", *options, platform="cuda")
        return run_cells(target, copies(target), files, *ids)

    return run


def test_the_hal_opens_the_driver_of_the_step_and_takes_the_stream(run_with_hal: Run) -> None:
    ids = [
        "same-thread/none/hal",
        "cross-thread/set-device/hal",
        "per-thread-stream/set-device/hal",
    ]
    for id, result in run_with_hal(ids=ids).items():
        assert result.outcome.kind is OutcomeKind.OK, (id, result.outcome)
        assert result.outcome.libraries["hal"].path.endswith("libhalcuda.so")
        assert "CudaQueueCreate" in [record.call for record in result.outcome.trace]
        assert set(result.outcome.runtimes) == {"A"}


@pytest.mark.parametrize("option", ["-DNEW_LINE", "-DOLD_LINE"])
def test_where_contexts_differ_it_leaves_as_the_replay_does(
    run_with_hal: Run, target: Target, option: str
) -> None:
    ids = ["cross-thread/none/hal", "cross-thread/none/replay"]
    left, replayed = (run_with_hal(option, ids=ids)[id] for id in ids)
    outcome = left.outcome
    assert (outcome.kind, outcome.status, outcome.code) == (OutcomeKind.EXIT, 1, None)
    assert outcome.call == "cuCtxGetCurrent"
    assert label(left).text == "differ+exit 1" and label(replayed).text == "differ"
    assert label(left).style == "fault"
    assert describe(left) == "two contexts differ, then exit(1) in CudaQueueCreate"
    told = " ".join(meaning(left, target))
    assert "current in the thread is not the stream's. It said: Assertion failed" in told
    readings: set[Prediction | None] = {reading(each, "cuda") for each in (left, replayed)}
    assert len(readings) == 1 and None not in readings


def test_an_error_of_the_driver_is_named_in_cudas_words(run_with_hal: Run, target: Target) -> None:
    id = "context-destroyed/none/hal"
    result = run_with_hal(ids=[id])[id]
    outcome = result.outcome
    assert (outcome.kind, outcome.code, outcome.call) == (OutcomeKind.EXIT, 201, "cuStreamGetCtx")
    assert outcome.name == "CUDA_ERROR_INVALID_CONTEXT"
    told = " ".join(meaning(result, target))
    assert "cuStreamGetCtx had returned 201" in told and "On CUDA this says" in told
    assert "HIP" not in told


def test_an_error_at_a_line_that_is_not_known_is_told_without_its_call(
    run_with_hal: Run, target: Target
) -> None:
    id = "context-destroyed/none/hal"
    result = run_with_hal("-DOLD_LINE", ids=[id])[id]
    assert (result.outcome.code, result.outcome.call) == (201, "CudaQueueCreate")
    told = " ".join(meaning(result, target))
    assert "a call of the driver had returned 201" in told and "None" not in told


def test_a_bad_handle_crashes_in_the_driver(run_with_hal: Run) -> None:
    id = "garbage-handle/none/hal"
    outcome = run_with_hal(ids=[id])[id].outcome
    assert (outcome.kind, outcome.signal) == (OutcomeKind.CRASH, "SIGSEGV")


def test_a_hal_of_the_other_platform_under_this_name_is_one_line(run_with_hal: Run) -> None:
    ids = ["same-thread/none/hal", "same-thread/none/replay"]
    results = run_with_hal("-DOTHER_PLATFORM", ids=ids)
    outcome = results[ids[0]].outcome
    assert outcome.kind is OutcomeKind.UNSUPPORTED
    assert outcome.reason.endswith("libhalcuda.so has no CudaQueueCreate")
    assert results[ids[1]].outcome.kind is OutcomeKind.OK


def test_every_consumer_of_xsched_is_told_on_cuda_but_the_old_binding() -> None:
    planned = plan(PATTERNS, FIXES, XSCHED_CONSUMERS, platform="cuda")
    cells = {cell.consumer: cell for cell in planned if cell.id.startswith("same-thread/none/")}
    verbs = {id: [step.verb for step in cell.steps] for id, cell in cells.items()}
    assert "CudaQueueCreate" in verbs["hal"] and "binding" in verbs["binding"]
    assert verbs["xqueue"][-1] == "HwQueueDestroy"
    assert not any("HipQueueCreate" in each for each in verbs.values())
    assert "since June 2026 only" in cells["old-binding"].not_applicable


def test_the_report_survives_and_names_the_library(target: Target, tmp_path: Path) -> None:
    files = build_hal(tmp_path / "hal", platform="cuda")
    chosen = [each for each in XSCHED_CONSUMERS if each.id == "hal"]
    patterns = [each for each in PATTERNS if each.id in ("same-thread", "cross-thread")]
    cells = plan(patterns, FIXES, chosen, platform="cuda")
    report = session.run(cells, target, command="", jobs=2, xsched=files)
    assert any(files.hal in note for note in report.target.notes)
    assert not session.faulty(report)


def _xdiag(fake_cuda: Path, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "xdiag", *arguments, "--platform", "cuda", "--runtime",
         str(fake_cuda)],
        env={**os.environ, "XDG_CACHE_HOME": str(home), "XDG_STATE_HOME": str(home)},
        capture_output=True, text=True, timeout=100, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip


def test_the_commands_take_an_installation_for_cuda(fake_cuda: Path, tmp_path: Path) -> None:
    prefix = str(install(tmp_path / "xsched", platform="cuda"))
    probe = _xdiag(fake_cuda, tmp_path, "probe", "-p", "cross-thread", "-c", "hal", "--xsched",
                   prefix, "--json")  # fmt: skip
    assert probe.returncode == 1, probe.stderr
    assert json.loads(probe.stdout)["results"][0]["outcome"]["call"] == "cuCtxGetCurrent"
    matrix = _xdiag(fake_cuda, tmp_path, "matrix", "-p", "same-thread", "-f", "none", "--xsched",
                    prefix, "--format", "csv")  # fmt: skip
    assert matrix.returncode == 0, matrix.stderr
    assert "same-thread,none,hal,ok" in matrix.stdout


def test_one_built_for_hip_is_one_line_and_the_rest_is_run(fake_cuda: Path, tmp_path: Path) -> None:
    prefix = str(install(tmp_path / "xsched"))
    done = _xdiag(fake_cuda, tmp_path, "matrix", "-p", "same-thread", "-f", "none", "-c",
                  "hal,replay", "--xsched", prefix, "--format", "csv")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "same-thread,none,replay,ok" in done.stdout
    assert "same-thread,none,hal,skipped" in done.stdout
    assert "libhalhip.so and no libhalcuda.so: it was built for another platform" in done.stdout


# ---- the real HAL over the fake driver ----


@pytest.fixture(scope="module")
def matrix_of_the_real_hal(
    fake_cuda: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Result]]:
    """The real libhalcuda.so over the fake driver: pattern/fix -> consumer -> result."""
    files = installed(CUDA, platform="cuda")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        target = choose(str(fake_cuda), platform="cuda")
        return agreement.whole_matrix(target, copies(target), files)


def test_replay_and_the_real_hal_agree_cell_by_cell(
    matrix_of_the_real_hal: dict[str, dict[str, Result]],
) -> None:
    agreement.the_hal_agrees(matrix_of_the_real_hal)


def test_replay_and_the_real_queue_agree_on_what_works(
    matrix_of_the_real_hal: dict[str, dict[str, Result]],
) -> None:
    agreement.the_queue_agrees(matrix_of_the_real_hal)


def test_the_real_binding_for_cuda_passes_the_whole_handle(target: Target) -> None:
    files = installed(CUDA, platform="cuda")
    if not files.binding:
        pytest.skip("this build of XSched has no module xsched.cuda")
    works, cut = "create-in-worker/none/binding", "garbage-handle/none/binding"
    results = run_cells(target, copies(target), files, works, cut)
    assert results[works].outcome.kind is OutcomeKind.OK, results[works].outcome
    calls = [record.call for record in results[works].outcome.trace]
    assert "xsched.cuda.XSchedCuda.CudaQueueCreate" in calls
    assert results[cut].outcome.kind is OutcomeKind.CRASH
