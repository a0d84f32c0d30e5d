"""``--xsched``: XSched's own libraries in probe, matrix and fix."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest
from xsched.conftest import build_hal

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    Xdiag = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A directory with a HAL in it, which stands for libpreempt.so as well."""
    prefix = tmp_path / "xsched"
    build_hal(prefix)
    shutil.copy(prefix / "lib" / "libhalhip.so", prefix / "lib" / "libpreempt.so")
    return prefix


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
    assert done.returncode == 1, done.stderr
    pairs = [pair for trial in json.loads(done.stdout)["trials"] for pair in trial["pairs"]]
    assert pairs and {pair["before"]["cell"]["consumer"] for pair in pairs} == {"hal"}
    assert {pair["before"]["outcome"]["kind"] for pair in pairs} == {"exit"}
    assert "ok" in {pair["after"]["outcome"]["kind"] for pair in pairs}


def test_a_directory_without_it_is_wrong_use(xdiag: Xdiag, tmp_path: Path) -> None:
    done = xdiag("matrix", "--xsched", str(tmp_path))
    assert done.returncode == 2
    assert "no libhalhip.so" in done.stderr and done.stderr.count("\n") == 1


def test_a_cell_of_it_cannot_be_written_down(xdiag: Xdiag) -> None:
    done = xdiag("probe", "-p", "second-runtime", "-c", "hal", "--emit", "c", fake=False)
    assert done.returncode == 2
    assert "XSched" in done.stderr and done.stderr.count("\n") == 1


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
