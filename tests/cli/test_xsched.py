"""``--xsched``: XSched's own libraries in probe, matrix and fix."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from xsched.conftest import build_hal, install

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    Xdiag = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A directory with a HAL in it, which stands for libpreempt.so as well."""
    return install(tmp_path / "xsched")


def test_probe_calls_the_library_and_reads_its_last_line(xdiag: Xdiag, installed: Path) -> None:
    probe = ("probe", "-p", "second-runtime", "-c", "hal", "--xsched", str(installed))
    done = xdiag(*probe, "--json")
    assert done.returncode == 1, done.stderr
    outcome = json.loads(done.stdout)["results"][0]["outcome"]
    assert (outcome["kind"], outcome["code"]) == ("exit", 709)
    assert outcome["call"] == "hipStreamGetFlags"
    assert outcome["libraries"]["hal"]["path"] == str(installed / "lib" / "libhalhip.so")

    page = xdiag(*probe).stdout
    assert "HipQueueCreate(s)" in page and "libhalhip.so" in page
    assert "hipStreamGetFlags had returned 709" in " ".join(page.split())


def test_the_matrix_has_its_consumers_where_it_is(xdiag: Xdiag, installed: Path) -> None:
    cells = ("matrix", "-p", "second-runtime", "-f", "none,bind-loaded-runtime", "--format", "csv")
    with_it = xdiag(*cells, "--xsched", str(installed)).stdout
    assert "second-runtime,none,hal,exit" in with_it
    assert "second-runtime,bind-loaded-runtime,hal,ok" in with_it


def test_fix_tries_repairs_with_the_library(xdiag: Xdiag, installed: Path) -> None:
    done = xdiag("fix", "--cause", "two-runtimes", "-p", "second-runtime", "--xsched",
                 str(installed), "--json")  # fmt: skip
    told = json.loads(done.stdout)
    # Nothing is wrong where nothing was found: what fails was made to, for --cause.
    assert done.returncode == bool(told["causes"]), done.stderr
    assert told["because"].startswith("nothing is wrong here; ") is not bool(told["causes"])
    trials = {trial["repair"]: trial for trial in told["trials"]}
    assert trials["xsched-hip-lib"]["pairs"] and "pairs" not in trials["triton-libhip"]
    assert trials["triton-libhip"]["skipped"].startswith("only Triton reads what it sets, and XSc")
    pairs = [pair for trial in trials.values() for pair in trial.get("pairs", ())]
    assert pairs and {pair["before"]["cell"]["consumer"] for pair in pairs} == {"hal"}
    assert {pair["before"]["outcome"]["kind"] for pair in pairs} == {"exit"}
    assert "ok" in {pair["after"]["outcome"]["kind"] for pair in pairs}


def test_a_repair_that_xsched_takes_no_notice_of_is_not_tried_on_it(
    xdiag: Xdiag, installed: Path
) -> None:
    asked = ("fix", "--cause", "two-runtimes", "-p", "second-runtime", "-r", "triton-libhip")
    done = xdiag(*asked, "--xsched", str(installed))
    assert done.returncode == 2
    assert "triton-libhip sets what only Triton reads" in done.stderr
    assert done.stderr.count("\n") == 1
    assert "repaired 1 of the 1" in xdiag(*asked).stdout


def test_a_directory_without_it_is_wrong_use(xdiag: Xdiag, tmp_path: Path) -> None:
    done = xdiag("matrix", "--xsched", str(tmp_path))
    assert done.returncode == 2
    assert "no libhalhip.so" in done.stderr and done.stderr.count("\n") == 1


def _other_platform(folder: Path) -> None:
    install(folder, platform="cuda")


def _no_call(folder: Path) -> None:
    install(folder, "-DOTHER_PLATFORM")


def _missing_symbol(folder: Path) -> None:
    install(folder)
    build_hal(folder, "-DNEEDS_MORE")


def _two_versions(folder: Path) -> None:
    install(folder)
    build_hal(folder, "-DOLD_LINE")


def _no_library(folder: Path) -> None:
    (install(folder) / "lib" / "libhalhip.so").write_text("no library")


def _no_preempt(folder: Path) -> None:
    build_hal(folder)


@pytest.mark.parametrize(
    ("make", "kind", "says"),
    [
        (_other_platform, "skipped", "libhalcuda.so and no libhalhip.so: it was built for another"),
        (_no_call, "unsupported", "libhalhip.so has no HipQueueCreate"),
        (_missing_symbol, "skipped", "libhalhip.so cannot be opened: undefined symbol: _ZN6xsched"),
        (_two_versions, "skipped", "libpreempt.so of 1.2.0 or later: they do not belong together"),
        (_no_library, "skipped", "libhalhip.so: not an ELF file, no library"),
        (_no_preempt, "skipped", "this installation of XSched has no libpreempt.so"),
    ],
    ids=lambda each: each.__name__ if callable(each) else "",
)
def test_one_that_cannot_be_used_is_one_line_and_the_rest_is_run(
    xdiag: Xdiag, tmp_path: Path, make: Callable[[Path], None], kind: str, says: str
) -> None:
    make(tmp_path / "xsched")
    named = ("--xsched", str(tmp_path / "xsched"))
    story = ("-p", "same-thread", "-f", "none")
    matrix = xdiag("matrix", *story, "-c", "hal,replay", *named, "--format", "json")
    assert matrix.returncode == 0, matrix.stderr
    outcomes = {
        result["cell"]["consumer"]: result["outcome"]
        for result in json.loads(matrix.stdout)["results"]
    }
    assert outcomes["replay"]["kind"] == "ok"
    assert outcomes["hal"]["kind"] == kind
    assert says in outcomes["hal"]["reason"] and "\n" not in outcomes["hal"]["reason"]

    alone = xdiag("matrix", *story, "-c", "hal", *named)
    assert alone.returncode == 3, alone.stderr
    probe = xdiag("probe", "-p", "same-thread", "-c", "hal", *named)
    assert probe.returncode == 3, probe.stderr
    for done in (alone, probe):
        assert says.split(": ")[0] in " ".join(done.stdout.split())
        assert "Traceback" not in done.stdout + done.stderr


def test_fix_takes_none_that_cannot_be_used(xdiag: Xdiag, tmp_path: Path) -> None:
    _other_platform(tmp_path)
    done = xdiag("fix", "--cause", "two-runtimes", "--xsched", str(tmp_path))
    assert done.returncode == 2
    assert "built for another platform" in done.stderr and done.stderr.count("\n") == 1


def test_naming_one_for_what_does_not_call_it_is_wrong_use(xdiag: Xdiag, installed: Path) -> None:
    for command in (("probe", "-p", "same-thread"), ("matrix", "-c", "driver")):
        done = xdiag(*command, "--xsched", str(installed))
        assert done.returncode == 2
        assert "--xsched is for hal" in done.stderr and done.stderr.count("\n") == 1


def test_a_cell_of_it_cannot_be_written_down(xdiag: Xdiag) -> None:
    done = xdiag("probe", "-p", "second-runtime", "-c", "hal", "--emit", "c", fake=False)
    assert done.returncode == 2
    assert "XSched" in done.stderr and done.stderr.count("\n") == 1


def test_explain_reads_the_line_of_the_cuda_hal(xdiag: Xdiag, tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    log.write_text(
        "[XSCHED ERRO @ T 3239 @ 03:15:40.687172] cuda error 201: invalid device context @"
        " /src/platforms/cuda/hal/src/arch/arch.cpp:67\n"
    )
    done = xdiag("explain", str(log), "--json", fake=False)
    assert done.returncode == 1, done.stderr
    failure = json.loads(done.stdout)["failures"][0]
    assert (failure["platform"], failure["code"]) == ("cuda", 201)
    assert failure["call"] == "cuStreamGetCtx"


def test_explain_reads_the_line_of_builds_before_1_2(xdiag: Xdiag, tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    log.write_text(
        "[ERRO @ T3239 @ 03:15:40.687172] hip error 709: hipErrorContextIsDestroyed @"
        " /src/platforms/hip/hal/src/hip_queue.cpp:32\n"
    )
    done = xdiag("explain", str(log), "--json", fake=False)
    assert done.returncode == 1, done.stderr
    failure = json.loads(done.stdout)["failures"][0]
    assert (failure["kind"], failure["code"], failure["thread"]) == ("XSched", 709, "3239")
    assert failure["call"] == "hipStreamGetFlags"
