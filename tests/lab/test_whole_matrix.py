"""The default matrix on the real runtime: its size, its verdicts, and what it was obtained with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from support import cells_for

from xdiag import session
from xdiag.consumers import CONSUMERS
from xdiag.engine.plan import plan
from xdiag.engine.run import Engine
from xdiag.errors import CannotRun
from xdiag.fixes import FIXES
from xdiag.model import OutcomeKind, Report, Result, Support
from xdiag.patterns import PATTERNS
from xdiag.runtimes.choose import choose

if TYPE_CHECKING:
    from xdiag.engine.messages import Paths
    from xdiag.model import Target


@pytest.fixture(scope="module")
def report(real_target: Target) -> Report:
    """The whole default matrix."""
    cells = plan(PATTERNS, FIXES, CONSUMERS)
    return session.run(cells, real_target, command="xdiag matrix", jobs=2)


def test_at_least_200_cells_were_run_and_every_one_has_an_outcome(report: Report) -> None:
    assert len(report.results) == report.planned == len(PATTERNS) * len(FIXES) * len(CONSUMERS)
    run = [r for r in report.results if r.outcome.kind != OutcomeKind.NOT_APPLICABLE]
    assert len(run) >= 200
    for result in run:
        if result.outcome.kind != OutcomeKind.SKIPPED:
            assert len(result.outcome.trace) >= len(result.cell.steps)
    assert all(r.outcome.reason for r in report.results if r not in run)


def test_the_verdict_on_a_healthy_machine(report: Report) -> None:
    marks = {verdict.hypothesis: verdict.mark for verdict in report.verdicts}
    for refuted in ("thread-bound", "context-bound", "python-threads", "unshareable"):
        assert marks[refuted] == Support.REFUTED, refuted
    for supported in ("two-runtimes", "device-reset", "truncated-handle", "fork"):
        assert marks[supported] == Support.SUPPORTED, supported
    assert marks["destroyed-stream"] == Support.SUPPORTED
    assert not session.faulty(report)


def test_a_refutation_names_cells_that_contradict(report: Report) -> None:
    results = {result.cell.id: result for result in report.results}
    for verdict in report.verdicts:
        against = [e for e in verdict.evidence if not e.agrees]
        assert bool(against) == (verdict.mark == Support.REFUTED), verdict.hypothesis
        assert all(evidence.cell in results for evidence in verdict.evidence)


def test_every_copy_that_was_loaded_is_amds_own(report: Report, real_target: Target) -> None:
    loaded = [i for r in report.results for i in r.outcome.runtimes.values()]
    assert len(loaded) > 300
    assert {i.build_id for i in loaded} == {real_target.build_id}
    assert {i.soname for i in loaded} == {real_target.soname}


def test_no_hang_was_waited_for_longer_than_its_pattern_says(report: Report) -> None:
    for result in report.results:
        if result.outcome.kind == OutcomeKind.HANG:
            assert result.outcome.seconds < result.cell.timeout + 2


def test_the_warm_parent_never_opens_a_gpu_runtime(real_target: Target, real_paths: Paths) -> None:
    cells = cells_for("second-runtime/none/replay", "same-thread/none/driver")
    with Engine(real_target, real_paths) as engine:
        for _ in engine.run(cells):
            (zygote,) = psutil.Process().children()
            mapped = {Path(region.path).name for region in zygote.memory_maps()}
            assert any(name.startswith("_native") for name in mapped)
            assert not [n for n in mapped if n.startswith(("libamdhip64", "libhsa", "libamdocl"))]
            assert "/dev/kfd" not in {f.path for f in zygote.open_files()}
            assert zygote.num_threads() == 1


def _told(result: Result) -> list[tuple[str, str, int | None]]:
    """What each call said, but for one that reads freed memory on 5.2: it says what lies there."""
    freed = result.cell.pattern in ("destroyed-stream", "device-reset", "event-destroyed-twice")
    unchecked = ("hipEventRecord", "hipEventSynchronize", "hipEventDestroy")
    return [
        (record.call, record.state, record.code)
        for record in result.outcome.trace
        if not (freed and record.phase == "use" and record.call in unchecked)
    ]


def test_the_kernel_cache_changes_no_answer(
    report: Report, real_target: Target, real_paths: Paths
) -> None:
    if not real_target.compiler:
        pytest.skip("no kernel cache on this target")
    plain = choose(real_target.runtime, "software", kernel_cache=False)
    assert not plain.compiler
    cached = {result.cell.id: result for result in report.results}
    cells = [cell for cell in cells_for() if cell.fix == "none"]
    with Engine(plain, real_paths, jobs=2) as engine:
        for result in engine.run(cells):
            assert _told(result) == _told(cached[result.cell.id]), result.cell.id


@pytest.mark.parametrize("actor", ["python", "native"])
def test_native_workers_get_the_same_answers_as_python_workers(
    report: Report, real_target: Target, real_paths: Paths, actor: str
) -> None:
    cached = {result.cell.id: result for result in report.results}
    chosen = ("cross-thread", "second-runtime", "creator-exited", "truncated-handle")
    cells = cells_for(*(f"{p}/none/replay" for p in chosen), actor=actor)
    with Engine(real_target, real_paths, jobs=2) as engine:
        for result in engine.run(cells):
            codes = [record.code for record in result.outcome.trace]
            expected = [record.code for record in cached[result.cell.id].outcome.trace]
            assert codes == expected


def test_the_users_number_of_devices_stands(
    real_target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    if real_target.agent != "software":
        pytest.skip("a GPU answers here")
    monkeypatch.setenv("XDIAG_AGENT_DEVICES", "3")
    assert choose(real_target.runtime, "software").devices == 3
    monkeypatch.setenv("XDIAG_AGENT_DEVICES", "banana")
    with pytest.raises(CannotRun, match="banana"):
        choose(real_target.runtime, "software")
