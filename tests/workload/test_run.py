"""Benches over the stand-in for torch: what the drivers do, and how runs end."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from xdiag.errors import CannotRun, Usage
from xdiag.workload import subject
from xdiag.workload.arrangements import ARRANGEMENTS, DRIVERS
from xdiag.workload.run import Bench

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from xdiag.workload.model import Settings
    from xdiag.workload.run import Measured

_BY_ID = {each.id: each for each in ARRANGEMENTS}
_PYTHON = [driver for driver in DRIVERS if driver.id == "python"]


@pytest.fixture
def measure(make_python: Callable[[str], Path], brief: Settings) -> Callable[..., Measured]:
    """Run arrangements under Python threads over the stand-in."""

    def run(
        *arrangements: str, build: str = "cuda", settings: Settings = brief,
        xsched: Path | None = None, repair: bool = True, drivers: list[str] | None = None,
        **environ: str,
    ) -> Measured:  # fmt: skip
        environment = {**os.environ, **environ}
        fault = environment.pop("FAKE_FAULT", "")
        found = subject.find(str(make_python(build)), "auto", environment)
        bench = Bench(
            found, settings, {**environment, "FAKE_FAULT": fault},
            xsched=str(xsched) if xsched else None, repair=repair,
        )  # fmt: skip
        wanted = [each for each in DRIVERS if each.id in drivers] if drivers else _PYTHON
        return bench.measure([_BY_ID[id] for id in arrangements], wanted, lambda *told: None)

    return run


def test_both_workers_run(measure: Callable[..., Measured]) -> None:
    (run,) = measure("baseline", FAKE_MILLISECONDS="2").runs
    assert (run.ending, run.said) == ("ok", "")
    assert len(run.latencies) == 10 and run.unserved == 0
    assert min(run.latencies) >= 2
    assert run.served_rate == pytest.approx(50, rel=0.2)
    assert run.batch_rate is not None and 20 < run.batch_rate <= 500


def test_a_worker_alone(measure: Callable[..., Measured]) -> None:
    high, low = measure("single-high", "single-low").runs
    assert len(high.latencies) == 10 and high.batch_rate is None
    assert low.latencies == () and low.served_rate is None
    assert low.batch_rate is not None and low.batch_rate > 50


def test_waiting_in_the_queue_counts(measure: Callable[..., Measured], brief: Settings) -> None:
    # One every 20 ms, 40 ms each: request number k waits for k others.
    settings = replace(brief, seconds=1.0)
    (run,) = measure("single-high", settings=settings, FAKE_MILLISECONDS="40").runs
    assert len(run.latencies) == 50 and run.unserved == 0
    assert all(40 + 20 * k <= each for k, each in enumerate(run.latencies))
    assert run.served_rate == pytest.approx(25, rel=0.2)


def test_what_is_never_served_has_waited_so_long_at_least(
    measure: Callable[..., Measured], brief: Settings
) -> None:
    # 200 ms each: in 0.2 s and a second more, six or seven of ten.
    (run,) = measure("single-high", settings=brief, FAKE_MILLISECONDS="200").runs
    assert 3 <= run.unserved <= 5
    assert len(run.latencies) == 10
    assert all(each >= 1000 for each in run.latencies[-run.unserved :])


@pytest.mark.parametrize(
    ("fault", "ending", "status", "said"),
    [
        ("exit", "exit", 1, "[ERRO] fake said no @ fake.cpp:67"),
        ("segv", "crash", 11, ""),
        ("raise", "exit", 1, "RuntimeError: CUDA error: fake"),
    ],
)
def test_one_that_fails_costs_itself(
    measure: Callable[..., Measured], fault: str, ending: str, status: int, said: str
) -> None:
    runs = measure("baseline", "single-high", FAKE_FAULT=fault).runs
    assert [(run.ending, run.status, run.said) for run in runs] == [(ending, status, said)] * 2
    assert not any(run.measured for run in runs)


def test_a_flood_is_no_failure(measure: Callable[..., Measured]) -> None:
    (run,) = measure("single-high", FAKE_FAULT="flood").runs
    assert run.ending == "ok"


def test_one_that_hangs_is_not_run_again(measure: Callable[..., Measured], brief: Settings) -> None:
    done = measure("single-high", settings=replace(brief, timeout=2, repeats=3), FAKE_FAULT="hang")
    assert [run.ending for run in done.runs] == ["hang"]
    (skip,) = done.skips
    assert (skip.what, skip.reason) == ("single-high under python, from run 2 on", "run 1 hung")


def test_rounds_go_to_and_fro(measure: Callable[..., Measured], brief: Settings) -> None:
    runs = measure("single-high", "single-low", settings=replace(brief, repeats=2)).runs
    assert [(run.repeat, run.arrangement) for run in runs] == [
        (0, "single-high"), (0, "single-low"), (1, "single-low"), (1, "single-high"),
    ]  # fmt: skip


def test_a_cpu_has_no_streams(measure: Callable[..., Measured]) -> None:
    done = measure("baseline", "priority", "xsched", "xsched-shim", build="cpu")
    assert [run.arrangement for run in done.runs] == ["baseline"]
    assert {skip.what: skip.reason for skip in done.skips} == dict.fromkeys(
        ("priority", "xsched", "xsched-shim"), "a CPU has no streams"
    )


# ---- XSched ------------------------------------------------------------------------------------


@pytest.mark.parametrize("build", ["hip", "cuda"])
def test_queues_are_made_and_count(
    measure: Callable[..., Measured], xsched: Path, build: str
) -> None:
    done = measure("xsched", build=build, xsched=xsched, FAKE_COMMANDS="1000")
    (run,) = done.runs
    assert (run.ending, run.said) == ("ok", "")
    assert run.queues is not None and run.queues.high and run.queues.low
    names = {path.rsplit("/")[-1] for path in run.libraries}
    assert {"libpreempt.so", f"libhal{build}.so"} <= names
    assert done.environment == {"XSCHED_SCHEDULER": "LCL", "XSCHED_POLICY": "HPF"}


def test_launches_that_pass_queues_by_are_seen(
    measure: Callable[..., Measured], xsched: Path
) -> None:
    (run,) = measure("xsched", xsched=xsched).runs
    assert run.queues is not None
    assert (run.queues.high, run.queues.low) == (0, 0)


@pytest.mark.parametrize(
    ("build", "variable"), [("hip", "LD_PRELOAD"), ("cuda", "LD_LIBRARY_PATH")]
)
def test_the_shim_gets_between(
    measure: Callable[..., Measured], xsched: Path, build: str, variable: str
) -> None:
    done = measure("xsched-shim", build=build, xsched=xsched, FAKE_COMMANDS="3")
    (run,) = done.runs
    assert (run.ending, run.said) == ("ok", "")
    assert run.queues is not None and run.queues.high
    assert done.environment[variable].startswith(str(xsched / "lib"))
    assert done.environment["XSCHED_AUTO_XQUEUE"] == "ON"
    if build == "hip":
        assert str(xsched / "lib" / "libshimhip.so") in run.libraries


def test_xscheds_exit_costs_its_own_runs(measure: Callable[..., Measured], xsched: Path) -> None:
    done = measure("baseline", "xsched", build="hip", xsched=xsched, FAKE_XSCHED="709")
    plain, refused = done.runs
    assert plain.ending == "ok"
    assert (refused.ending, refused.status) == ("exit", 1)
    assert "hip error 709: context is destroyed" in refused.said


def test_without_xsched_the_rest_runs(measure: Callable[..., Measured]) -> None:
    done = measure("baseline", "xsched", XSCHED_ROOT="")
    assert [run.ending for run in done.runs] == ["ok"]
    assert done.skips[0].reason.startswith("no XSched: name its installation with --xsched DIR")


def test_a_shim_without_its_link_is_skipped(
    measure: Callable[..., Measured], xsched: Path, tmp_path: Path
) -> None:
    for name in ("libpreempt.so", "libhalcuda.so", "libshimcuda.so"):
        (tmp_path / name).symlink_to(xsched / "lib" / name)
    done = measure("xsched-shim", xsched=tmp_path)
    assert done.runs == ()
    assert "SHIM_SOFTLINK=ON" in done.skips[0].reason


def test_a_directory_without_xsched_is_a_mistake(
    measure: Callable[..., Measured], tmp_path: Path
) -> None:
    with pytest.raises(Usage, match=r"it has no libhalcuda.so, and neither has its lib directory"):
        measure("xsched", xsched=tmp_path)
    with pytest.raises(Usage, match="no such directory"):
        measure("xsched", xsched=tmp_path / "missing")


def test_one_for_another_platform_is_the_reason_of_the_skip(
    measure: Callable[..., Measured], xsched: Path, tmp_path: Path
) -> None:
    for name in ("libpreempt.so", "libhalcuda.so"):
        (tmp_path / name).symlink_to(xsched / "lib" / name)
    done = measure("baseline", "xsched", build="hip", xsched=tmp_path)
    assert [run.ending for run in done.runs] == ["ok"]
    told = f"--xsched {tmp_path}: it has libhalcuda.so and no libhalhip.so: it was built for"
    assert done.skips[0].reason == f"{told} another platform than HIP"
    root = measure("xsched", build="hip", XSCHED_ROOT=str(tmp_path)).skips[0].reason
    assert root.startswith(f"XSCHED_ROOT={tmp_path}: it has libhalcuda.so and no libhalhip.so")


def test_one_without_its_queues_is_the_reason_of_the_skip(
    measure: Callable[..., Measured], xsched: Path, tmp_path: Path
) -> None:
    (tmp_path / "libhalcuda.so").symlink_to(xsched / "lib" / "libhalcuda.so")
    (skip,) = measure("xsched", xsched=tmp_path).skips
    assert skip.reason == f"{tmp_path} has no libpreempt.so, which makes the queues"


def test_on_a_cpu_what_is_wrong_with_xsched_is_said_besides(
    make_python: Callable[[str], Path], brief: Settings, xsched: Path, tmp_path: Path
) -> None:
    (tmp_path / "libhalcuda.so").symlink_to(xsched / "lib" / "libhalcuda.so")
    found = subject.find(str(make_python("hip")), "cpu", os.environ)
    bench = Bench(found, brief, os.environ, xsched=str(tmp_path))
    done = bench.measure([_BY_ID["xsched"]], _PYTHON, lambda *told: None)
    assert done.skips[0].reason.startswith("a CPU has no streams; --xsched ")
    assert done.skips[0].reason.endswith("built for another platform than HIP")


def test_hips_runtime_is_unified_unless_told_not_to(
    measure: Callable[..., Measured], make_python: Callable[[str], Path], xsched: Path
) -> None:
    site = next(make_python("hip").parents[1].glob("lib/python3*/site-packages"))
    runtime = site / "torch" / "lib" / "libamdhip64.so"
    runtime.parent.mkdir(exist_ok=True)
    runtime.touch()
    try:
        done = measure("xsched", build="hip", xsched=xsched)
        assert done.environment["XSCHED_HIP_LIB"] == str(runtime)
        done = measure("xsched", build="hip", xsched=xsched, repair=False)
        assert "XSCHED_HIP_LIB" not in done.environment
        done = measure("xsched", build="hip", xsched=xsched, XSCHED_HIP_LIB="/opt/other.so")
        assert "XSCHED_HIP_LIB" not in done.environment
    finally:
        runtime.unlink()


# ---- the C++ driver's building -----------------------------------------------------------------


def test_without_a_compiler_the_rest_runs(measure: Callable[..., Measured], tmp_path: Path) -> None:
    done = measure("single-high", drivers=["python", "cpp"], PATH=str(tmp_path), CXX="")
    assert [run.driver for run in done.runs] == ["python"]
    assert (done.skips[0].what, done.skips[0].reason) == (
        "cpp", "no C++ compiler: neither CXX is set nor c++, g++, clang++ on PATH",
    )  # fmt: skip


def test_a_compiler_that_fails_is_quoted(
    measure: Callable[..., Measured], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    # The stand-in has no headers.
    done = measure("single-high", drivers=["cpp"])
    assert done.runs == ()
    assert "cannot build the driver" in done.skips[0].reason
    assert "ATen/Parallel.h" in done.skips[0].reason
    assert not list(tmp_path.rglob("driver/*"))


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A shell script in the C++ driver's place."""
    path = tmp_path / "driver"
    monkeypatch.setattr("xdiag.workload.build.built", lambda *told: str(path))
    return path


def _write(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_what_a_driver_cannot_do_here_is_skipped_once(
    measure: Callable[..., Measured], brief: Settings, driver: Path
) -> None:
    _write(driver, "echo this torch tells no handle; exit 69")
    done = measure("baseline", settings=replace(brief, repeats=3), drivers=["cpp"])
    assert done.runs == ()
    (skip,) = done.skips
    assert (skip.what, skip.reason) == ("baseline under cpp", "this torch tells no handle")


@pytest.mark.parametrize(
    ("script", "said"),
    [("exit 0", "it ended without a result"), ("{}; echo {{ > $result", "its result is damaged: ")],
)
def test_a_driver_without_a_result_has_failed(
    measure: Callable[..., Measured], driver: Path, script: str, said: str
) -> None:
    find = 'while [ "$1" != --result ]; do shift; done; result=$2'
    _write(driver, script.format(find))
    (run,) = measure("baseline", drivers=["cpp"]).runs
    assert run.ending == "exit" and run.said.startswith(said)
    assert not run.measured


def test_results_of_a_driver_that_crashes_after_them_count(
    measure: Callable[..., Measured], driver: Path
) -> None:
    find = 'while [ "$1" != --result ]; do shift; done'
    _write(driver, f"{find}; echo '{{\"batch_rate\": 5}}' > $2; kill -SEGV $$")
    (run,) = measure("single-low", drivers=["cpp"]).runs
    assert (run.ending, run.status, run.batch_rate) == ("crash", 11, 5)


# ---- which torch -------------------------------------------------------------------------------


def test_the_subject_is_asked(make_python: Callable[[str], Path]) -> None:
    python = str(make_python("hip"))
    found = subject.find(python, "auto", os.environ)
    assert (found.python, found.torch, found.build, found.hip) == (python, "2.99.0", "hip", "6.4")
    assert (found.device, found.device_name, found.no_gpu) == ("gpu", "Fake GPU", "")


def test_without_a_gpu_it_is_the_cpu(make_python: Callable[[str], Path]) -> None:
    found = subject.find(str(make_python("cuda")), "auto", {**os.environ, "FAKE_FAULT": "gpu"})
    assert found.device == "cpu"
    assert found.no_gpu == "Found no NVIDIA driver on your system"
    assert found.device_name
    told = subject.find(str(make_python("cuda")), "cpu", os.environ)
    assert (told.device, told.no_gpu) == ("cpu", "as asked for")


@pytest.mark.parametrize(
    ("build", "device", "fault", "message"),
    [
        ("cpu", "hip", "", r"--device hip: torch 2.99.0 in .* was built for CPUs only; name"),
        ("cuda", "hip", "", r"--device hip: torch 2.99.0 in .* was built for CUDA; name"),
        ("hip", "cuda", "", r"--device cuda: torch 2.99.0 in .* was built for HIP; name"),
        ("cuda", "cuda", "gpu", r"--device cuda: torch 2.99.0 finds no GPU: Found no NVIDIA"),
        ("cuda", "auto", "import", r"cannot be imported in .*: ImportError: libfake.so"),
    ],
)
def test_the_wrong_torch_is_one_clear_line(
    make_python: Callable[[str], Path], build: str, device: str, fault: str, message: str
) -> None:
    with pytest.raises(CannotRun, match=message) as raised:
        subject.find(str(make_python(build)), device, {**os.environ, "FAKE_FAULT": fault})
    assert "\n" not in str(raised.value)
