"""Without torch, with one that is broken or built for something else, and without a device."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from with_torch.conftest import VERSION

if TYPE_CHECKING:
    from xdiag.model import Target

#: Names a Python of this version in whose environment a real torch is, of any build.
REAL = "XDIAG_TEST_TORCH_PYTHON"


def _xdiag(
    target: Target, *arguments: str, site: Path | None = None, **more: str
) -> subprocess.CompletedProcess[str]:
    variables = {**os.environ, **more}
    variables.pop("PYTHONPATH", None)
    if site is not None:
        variables["PYTHONPATH"] = str(site)
    command = [sys.executable, "-m", "xdiag", *arguments, "--runtime", target.runtime]
    return subprocess.run(command, capture_output=True, text=True, env=variables, check=False)


def _reasons(target: Target, site: Path | None = None, **more: str) -> set[str]:
    """Why a cell of torch's is not run; the cell beside it is."""
    ran = _xdiag(
        target, "matrix", "-p", "same-thread,torch-pool", "-f", "none", "-c", "driver,torch",
        "--format", "json", site=site, **more,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    outcomes = {
        result["cell"]["id"]: result["outcome"] for result in json.loads(ran.stdout)["results"]
    }
    assert outcomes.pop("same-thread/none/driver")["kind"] == "ok"
    assert len(outcomes) == 3
    assert {outcome["kind"] for outcome in outcomes.values()} == {"skipped"}
    return {outcome["reason"] for outcome in outcomes.values()}


def _package(folder: Path, source: str) -> Path:
    (folder / "torch").mkdir()
    (folder / "torch" / "__init__.py").write_text(source)
    return folder


def test_without_torch(real_target: Target) -> None:
    assert _reasons(real_target) == {
        f"torch is not installed in xdiag's Python ({sys.executable}): install xdiag into the"
        " environment that has torch"
    }


def test_without_torch_the_whole_matrix_leaves_it_out_and_says_so(
    real_target: Target, tmp_path: Path
) -> None:
    ran = _xdiag(real_target, "matrix", "-f", "none", "-o", str(tmp_path / "m.json"))
    assert ran.returncode == 0, ran.stderr
    report = json.loads((tmp_path / "m.json").read_text())
    assert not any("torch" in result["cell"]["id"] for result in report["results"])
    told = [note for note in report["target"]["notes"] if "torch is not installed" in note]
    assert len(told) == 1


def test_with_torch_of_another_build_the_whole_matrix_leaves_it_out_and_says_so(
    real_target: Target, tmp_path: Path
) -> None:
    package = _package(tmp_path, "raise SystemExit('it is not imported')") / "torch"
    (package / "version.py").write_text(VERSION.format(hip=None, cuda="13.0"))
    file = tmp_path / "m.json"
    ran = _xdiag(real_target, "matrix", "-f", "none", "-o", str(file), site=tmp_path)
    assert ran.returncode == 0, ran.stderr
    report = json.loads(file.read_text())
    assert not any("torch" in result["cell"]["id"] for result in report["results"])
    (told,) = [note for note in report["target"]["notes"] if "were left out" in note]
    assert told.endswith(
        "torch 2.8.0+stand.in was built for CUDA 13.0, and HIP was asked for: install the one for"
        " HIP, or ask with --platform cuda."
    )


def test_with_torch_the_whole_matrix_has_it(
    real_target: Target, torch_site: Path, tmp_path: Path
) -> None:
    file = str(tmp_path / "m.json")
    ran = _xdiag(real_target, "matrix", "-f", "none", "-o", file, site=torch_site)
    assert ran.returncode == 0, ran.stderr
    report = json.loads((tmp_path / "m.json").read_text())
    assert {result["cell"]["consumer"] for result in report["results"]} >= {"driver", "torch"}
    notes = report["target"]["notes"]
    assert any("2.8.0+stand.in" in note for note in notes)
    # The machine's runtime and torch's are two here, and that is not for other stories to explain.
    assert any("torch uses another copy of the runtime" in note for note in notes)
    marks = {verdict["hypothesis"]: verdict["mark"] for verdict in report["verdicts"]}
    assert marks["thread-bound"] == "refuted"
    assert marks["two-runtimes"] == "open"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (
            "raise ImportError('libcudart.so.13: cannot open shared object file')",
            "torch cannot be imported: libcudart.so.13: cannot open shared object file",
        ),
        ("import no_such_thing", "torch cannot be imported: No module named 'no_such_thing'"),
        ("import os; os.kill(os.getpid(), 11)", "importing torch ends it: SIGSEGV"),
        ("raise SystemExit(4)", "importing torch ends it: it exited with status 4"),
    ],
)
def test_a_torch_that_cannot_be_imported(
    real_target: Target, tmp_path: Path, source: str, expected: str
) -> None:
    assert _reasons(real_target, _package(tmp_path, source)) == {expected}


@pytest.mark.parametrize(
    ("cuda", "expected"),
    [
        (
            "13.0",
            "torch 2.8.0+stand.in was built for CUDA 13.0, and HIP was asked for: install the one"
            " for HIP, or ask with --platform cuda",
        ),
        (
            None,
            "torch 2.8.0+stand.in was built without GPU support, and HIP was asked for: install the"
            " one for HIP",
        ),
    ],
)
def test_a_torch_of_another_build(
    real_target: Target, torch_site: Path, tmp_path: Path, cuda: str | None, expected: str
) -> None:
    import shutil

    shutil.copytree(torch_site / "torch", tmp_path / "torch")
    (tmp_path / "torch" / "version.py").write_text(VERSION.format(hip=None, cuda=cuda))
    assert _reasons(real_target, tmp_path) == {expected}


def test_a_torch_that_sees_no_device(real_target: Target, torch_site: Path) -> None:
    assert _reasons(real_target, torch_site, STAND_IN_SEES_NOTHING="1") == {
        "torch 2.8.0+stand.in finds no GPU: No HIP GPUs are available"
    }


def test_a_probe_says_it_in_its_exit_code(real_target: Target) -> None:
    ran = _xdiag(real_target, "probe", "-p", "torch-pool", "-c", "torch")
    assert ran.returncode == 3
    assert "torch is not installed" in ran.stdout
    assert "Traceback" not in ran.stdout + ran.stderr


def test_a_real_torch_of_another_build(real_target: Target) -> None:
    python = os.environ.get(REAL)
    if not python:
        pytest.skip(f"no torch to try: {REAL} names a Python that has one")
    asked = "import sys, torch; print(*sys.version_info[:2], torch.version.hip, torch.__path__[0])"
    told = subprocess.run([python, "-c", asked], capture_output=True, text=True, check=True)
    major, minor, hip, folder = told.stdout.split(maxsplit=3)
    if (int(major), int(minor)) != sys.version_info[:2]:
        pytest.skip(f"that Python is {major}.{minor}, and torch is compiled for it")
    if hip != "None":
        pytest.skip("that torch is built for HIP")
    (reason,) = _reasons(real_target, Path(folder.strip()).parent)
    assert reason.startswith("torch ")
    assert "and HIP was asked for: install the one for HIP" in reason
