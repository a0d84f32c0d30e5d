"""Platform cuda: how stories are told there, what a small fake shows of them, and the verdict."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from xdiag import hypotheses, native, platforms, session
from xdiag.consumers import CONSUMERS
from xdiag.engine.plan import plan
from xdiag.errors import CannotRun, Usage
from xdiag.fixes import FIXES
from xdiag.model import Cell, OutcomeKind, Report, Support
from xdiag.patterns import PATTERNS, told_on
from xdiag.render import meaning, render
from xdiag.runtimes import find
from xdiag.runtimes.choose import choose

#: The kernel driver's device; without it the tests of the real driver are skipped.
REAL = Path("/dev/nvidiactl")
CUDA = platforms.get("cuda")


@pytest.fixture(scope="session")
def report(fake_cuda: Path, tmp_path_factory: pytest.TempPathFactory) -> Report:
    """The whole matrix of the fake driver."""
    earlier = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))
    try:
        return session.run(cells(), choose(str(fake_cuda), platform="cuda"), command="", jobs=4)
    finally:
        del os.environ["XDG_CACHE_HOME"]
        if earlier is not None:
            os.environ["XDG_CACHE_HOME"] = earlier


def cells() -> list[Cell]:
    """All cells of the platform but those of torch, which would look for a real driver."""
    planned = plan(PATTERNS, FIXES, CONSUMERS, platform="cuda")
    return [cell for cell in planned if "XDIAG_IMPORT" not in cell.environment]


def steps_of(id: str) -> list[str]:
    """A cell's steps as lines."""
    return next([str(step) for step in cell.steps] for cell in cells() if cell.id == id)


def ends(report: Report) -> dict[str, str]:
    """Cell -> how it ended: ``ok``, a signal, or the call that failed with its code."""
    told = {}
    for result in report.results:
        outcome = result.outcome
        failed = f"{outcome.code} {outcome.call}" if outcome.code is not None else outcome.call
        crashed = outcome.kind is OutcomeKind.CRASH
        told[result.cell.id] = outcome.signal if crashed else failed or outcome.kind.value
    return told


# ---- how a story is told ----


def test_who_initialises_makes_the_primary_context_current() -> None:
    lines = steps_of("same-thread/none/driver")
    at = lines.index("main: A.Init(0)")
    assert lines[at + 1 : at + 4] == [
        "main: A_primary = A.DevicePrimaryCtxRetain(0)",
        "main: A.CtxSetCurrent(A_primary)",
        "main: s = A.StreamCreateWithFlags(0)",
    ]
    assert sum("Retain" in line for line in lines) == 1


def test_a_thread_that_makes_a_stream_is_given_a_context_first() -> None:
    lines = steps_of("create-in-worker/none/driver")
    at = lines.index("worker: s = A.StreamCreateWithFlags(0)")
    assert lines[at - 1] == "worker: A.CtxSetCurrent(A_primary)"


def test_only_stories_about_the_context_leave_a_user_without_one() -> None:
    given = "worker: A.CtxSetCurrent(A_primary)"
    assert given not in steps_of("cross-thread/none/driver")
    assert given in steps_of("reopened-runtime/none/driver") or (
        "worker: B.CtxSetCurrent(B_primary)" in steps_of("reopened-runtime/none/driver")
    )
    assert given in steps_of("truncated-handle/none/driver")


def test_device_calls_of_the_runtime_api_are_told_by_primary_contexts() -> None:
    assert "main: A.DevicePrimaryCtxReset(0)" in steps_of("device-reset/none/driver")
    fixed = steps_of("cross-thread/set-device/driver")
    assert "worker: A.CtxSetCurrent(A_primary)" in fixed
    verbs = {step.verb for cell in cells() for step in cell.steps}
    assert not verbs & {"SetDevice", "DeviceReset"}


def test_after_a_reset_a_new_stream_is_made_in_a_fresh_context() -> None:
    lines = steps_of("device-reset/recreate-stream/driver")
    assert lines[lines.index("main: A.DevicePrimaryCtxReset(0)") + 1].startswith("main: A_primary")


def test_every_call_of_a_cuda_cell_is_one_of_libcuda() -> None:
    for cell in cells():
        for step in cell.steps:
            if step.runtime:
                assert native.calls()[step.verb].symbols("cuda"), (cell.id, step)


def test_the_replay_has_xscheds_order() -> None:
    lines = steps_of("same-thread/none/replay")
    used = [line for line in lines if "Attribute" not in line][5:]
    assert used[:4] == [
        "main: context = A.StreamGetCtx(s)",
        "main: current = A.CtxGetCurrent()",
        "main: equal(current, context)",
        "main: device = A.CtxGetDevice()",
    ]
    assert used[-2:] == ["queue: A.StreamSynchronize(s)", "queue: end()"]


def test_the_loader_is_told_of_libcuda_by_the_unify_fix() -> None:
    by_id = {cell.id: cell for cell in cells()}
    assert by_id["second-runtime/unify/driver"].environment["XDIAG_UNIFY"] == "libcuda"


def test_predictions_name_patterns_and_hypotheses_that_are_there() -> None:
    assert CUDA.predicts is not None
    told = {pattern.id for pattern in PATTERNS if "cuda" in pattern.platforms}
    assert set(CUDA.predicts) <= told and CUDA.unsound <= told
    known = {hypothesis.id for hypothesis in hypotheses.of("cuda")}
    assert {id for expected in CUDA.predicts.values() for id in expected} <= known
    for id in known:
        predicted = {expected.get(id) for expected in CUDA.predicts.values()}
        assert {"works", "fails"} <= predicted, id


def test_hip_keeps_its_stories_and_hypotheses() -> None:
    assert hypotheses.of("hip") is hypotheses.HYPOTHESES
    assert [each.id for each in told_on("hip")] == [
        pattern.id for pattern in PATTERNS if "hip" in pattern.platforms
    ]
    lines = [str(step) for cell in plan(PATTERNS, FIXES, CONSUMERS)[:1] for step in cell.steps]
    assert lines[:3] == [
        "main: A = open(first, local)", "main: A.Init(0)", "main: s = A.StreamCreateWithFlags(0)",
    ]  # fmt: skip


# ---- errors ----


def test_one_number_has_a_name_on_each_platform() -> None:
    assert native.errors("cuda")[709] == ("CUDA_ERROR_CONTEXT_IS_DESTROYED", "context is destroyed")
    assert native.errors("hip")[709][0] == "hipErrorContextIsDestroyed"
    assert set(CUDA.refusals) <= set(native.errors("cuda"))
    names = [name for name, _ in native.errors("cuda").values()]
    assert len(names) == len(set(names)) > 80
    assert all(re.fullmatch(r"CUDA_(SUCCESS|ERROR_[A-Z0-9_]+)", name) for name in names)


def test_calls_are_shown_by_the_names_that_the_library_exports() -> None:
    calls = native.calls()
    assert calls["StreamCreateWithFlags"].shown("cuda") == "cuStreamCreate"
    assert calls["Malloc"].shown("cuda") == "cuMemAlloc_v2"
    assert calls["StreamCreateWithFlags"].shown("hip") == "hipStreamCreateWithFlags"


# ---- on the fake driver ----


def test_a_fresh_thread_has_no_context_and_is_mended_by_being_given_one(report: Report) -> None:
    told = ends(report)
    assert told["same-thread/none/driver"] == told["same-thread/none/replay"] == "ok"
    assert told["cross-thread/none/driver"] == "201 cuCtxGetDevice"
    assert told["cross-thread/none/replay"] == "equal"
    for fix in ("primary-context-retain", "set-current-context", "set-device"):
        for consumer in ("driver", "replay"):
            assert told[f"cross-thread/{fix}/{consumer}"] == "ok"
    assert told["cross-thread/native-thread/driver"] == "201 cuCtxGetDevice"


def test_another_context_is_refused_where_an_event_is_recorded(report: Report) -> None:
    told = ends(report)
    assert told["another-context/none/driver"] == "400 cuEventRecord"
    assert told["another-context/none/replay"] == "equal"
    assert told["context-unset/none/replay"] == "equal"
    assert told["context-unset/recreate-stream/driver"] == "ok"


def test_bad_handles_are_followed_and_a_reset_is_cudas_own_709(report: Report) -> None:
    told = ends(report)
    for pattern in ("destroyed-stream", "garbage-handle", "truncated-handle"):
        assert told[f"{pattern}/none/driver"] == told[f"{pattern}/none/replay"] == "SIGSEGV"
    reset = next(r for r in report.results if r.cell.id == "device-reset/none/driver")
    assert reset.outcome.code == 709
    assert told["fork-after-init/none/driver"] == "3 cuCtxGetCurrent"


def test_the_safe_questions_come_before_the_first_that_follows_the_handle(report: Report) -> None:
    result = next(r for r in report.results if r.cell.id == "garbage-handle/none/driver")
    used = [record for record in result.outcome.trace if record.phase == "use"]
    died = next(i for i, record in enumerate(used) if record.state == "unfinished")
    assert used[died].call == "cuStreamGetCtx"
    assert [record.call for record in used[:died]] == [
        "cuCtxGetCurrent", "cuCtxGetDevice", "cuEventCreate",
    ]  # fmt: skip


def test_the_verdict_is_cudas_own(report: Report) -> None:
    marks = {verdict.hypothesis: verdict.mark for verdict in report.verdicts}
    assert marks == {
        "cuda-thread-context": Support.SUPPORTED,
        "cuda-context": Support.SUPPORTED,
        "thread-bound": Support.REFUTED,
        "python-threads": Support.REFUTED,
        "unshareable": Support.REFUTED,
        "two-runtimes": marks["two-runtimes"],  # below
        "destroyed-stream": Support.SUPPORTED,
        "truncated-handle": Support.SUPPORTED,
        "fork": Support.SUPPORTED,
    }
    assert "context-bound" not in marks and not session.faulty(report)


def test_a_second_copy_that_does_not_start_tells_nothing(report: Report) -> None:
    told = ends(report)
    assert told["second-runtime/none/driver"] == "304 cuInit"
    assert told["second-runtime/bind-loaded-runtime/driver"] == "ok"
    wanted = [r for r in report.results if r.cell.pattern != "second-namespace"]
    verdicts = session.weigh(wanted, hypotheses.of("cuda"), told_on("cuda"), "cuda")
    two = next(verdict for verdict in verdicts if verdict.hypothesis == "two-runtimes")
    assert two.mark is Support.OPEN
    assert two.because == ("no cell came to the use of the stream: before it, 304 from cuInit")


def test_the_report_says_that_one_number_means_two_things(report: Report) -> None:
    page = render(report, "markdown")
    assert "CUDA checks contexts where HIP checks handles" in page
    assert re.search(r"platform\s*\|\s*CUDA ", page) and "Fake GPU" in page
    assert "software agent" not in page
    thread = next(r for r in report.results if r.cell.id == "cross-thread/none/driver")
    said = " ".join(meaning.meaning(thread, report.target))
    assert "the calling thread has no valid context current" in said
    compared = next(r for r in report.results if r.cell.id == "cross-thread/none/replay")
    said = " ".join(meaning.meaning(compared, report.target))
    assert "current is 0x0" in said and "not the stream's" in said


def test_a_cuda_report_survives_json(report: Report) -> None:
    import msgspec

    text = render(report, "json")
    assert msgspec.json.decode(text.encode(), type=Report).results == report.results


# ---- what cannot be run ----


def run(*arguments: str) -> tuple[int, str]:
    """Exit code and all output of xdiag."""
    done = subprocess.run(
        [sys.executable, "-m", "xdiag", *arguments],
        capture_output=True, text=True, timeout=100, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


@pytest.mark.skipif(REAL.exists(), reason="an NVIDIA GPU is here")
@pytest.mark.parametrize(
    "command", [("matrix",), ("probe", "-p", "cross-thread"), ("runtimes",)], ids=lambda c: c[0]
)
def test_without_a_driver_there_is_one_line(command: tuple[str, ...]) -> None:
    code, output = run(*command, "--platform", "cuda")
    assert code == 3
    (line,) = [each for each in output.splitlines() if each]
    assert line.startswith("xdiag: no CUDA driver on this machine: libcuda.so.1 comes with")
    assert "/dev/nvidiactl is absent" in line


def test_the_software_agent_does_not_serve_cuda() -> None:
    code, output = run("matrix", "--platform", "cuda", "--agent", "software")
    assert code == 2 and "does not serve CUDA" in output and output.count("\n") == 1


def test_no_gpu_is_said_in_cudas_words(fake_cuda: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_CUDA_INIT", "100")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(CannotRun, match=r"cuInit returned 100 \(CUDA_ERROR_NO_DEVICE\).*hide"):
        choose(str(fake_cuda), platform="cuda")


def test_a_stub_is_no_runtime(
    fake_cuda: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stubs = tmp_path / "stubs"
    stubs.mkdir()
    (stubs / "libcuda.so").write_bytes(fake_cuda.read_bytes())
    monkeypatch.setenv("LD_LIBRARY_PATH", f"{stubs}:{fake_cuda.parent}")
    found = find.find("cuda")
    problems = {each.path: each.problem for each in found.candidates}
    assert "a stub to link against" in problems[str(stubs / "libcuda.so")]
    assert str(fake_cuda) in [each.path for each in found.usable()]
    # One that lies elsewhere says so itself (cuda.h, CUDA_ERROR_STUB_LIBRARY).
    monkeypatch.setenv("FAKE_CUDA_INIT", "34")
    with pytest.raises(CannotRun, match="CUDA_ERROR_STUB_LIBRARY"):
        choose(str(fake_cuda), platform="cuda")


def test_a_library_that_is_none_of_cuda_is_refused(fake_library: Path) -> None:
    with pytest.raises(Usage, match="no CUDA runtime: it does not export cuInit"):
        choose(str(fake_library), platform="cuda")


def test_no_hip_and_another_gpu_is_told_and_not_switched_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    from xdiag.platforms import cuda
    from xdiag.runtimes import choose as choosing

    device = tmp_path / "nvidiactl"
    device.touch()
    monkeypatch.setattr(cuda, "PLATFORM", replace(cuda.PLATFORM, device=str(device)))
    monkeypatch.setattr(choosing.find, "find", lambda platform: find.Found((), ("nowhere",)))
    with pytest.raises(CannotRun, match=r"no HIP runtime.*`--platform cuda` tests CUDA"):
        choose()


def test_no_program_is_written_for_cuda() -> None:
    code, output = run("probe", "--platform", "cuda", "-p", "same-thread", "--emit", "c")
    assert code == 2 and "for HIP only" in output


# ---- on the real driver ----

real = pytest.mark.skipif(not REAL.exists(), reason=f"no NVIDIA GPU: {REAL} is absent")


@real
@pytest.mark.parametrize("consumer", ["driver", "replay"])
def test_real_a_thread_needs_the_context_and_nothing_else(consumer: str) -> None:
    ids = [f"{pattern}/{fix}/{consumer}" for pattern, fix in (
        ("same-thread", "none"), ("cross-thread", "none"),
        ("cross-thread", "primary-context-retain"), ("cross-thread", "native-thread"),
    )]  # fmt: skip
    wanted = [cell for cell in cells() if cell.id in ids]
    told = ends(session.run(wanted, choose(platform="cuda"), command="", jobs=2))
    refused = "201 cuCtxGetDevice" if consumer == "driver" else "equal"
    assert [told[id] for id in ids] == ["ok", refused, "ok", refused]


@real
def test_real_bad_handles_crash_and_a_reset_is_709() -> None:
    ids = ["destroyed-stream/none/replay", "garbage-handle/none/replay",
           "device-reset/none/driver", "second-runtime/none/replay"]  # fmt: skip
    wanted = [cell for cell in cells() if cell.id in ids]
    told = ends(session.run(wanted, choose(platform="cuda"), command="", jobs=2))
    assert told[ids[0]] == told[ids[1]] == "SIGSEGV"
    assert told[ids[3]] == "304 cuInit"


@real
def test_real_error_names_are_the_drivers_own() -> None:
    import ctypes

    driver = ctypes.CDLL(choose(platform="cuda").runtime)
    for code, (name, _) in native.errors("cuda").items():
        said = ctypes.c_char_p()
        if driver.cuGetErrorName(code, ctypes.byref(said)) == 0:
            assert said.value is not None and said.value.decode() == name
