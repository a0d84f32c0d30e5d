"""Both drivers over the real torch, on the CPU: the interpreter is named by the environment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from xdiag.workload import subject
from xdiag.workload.arrangements import ARRANGEMENTS, DRIVERS
from xdiag.workload.model import Settings
from xdiag.workload.run import Bench

# torch's headers take a C++ compiler half a minute, the first time.
pytestmark = pytest.mark.timeout(600)


def test_every_driver_runs_on_the_cpu(torch_python: str, brief: Settings) -> None:
    found = subject.find(torch_python, "cpu", os.environ)
    assert found.device == "cpu" and found.no_gpu
    bench = Bench(found, brief, os.environ)
    alone = [each for each in ARRANGEMENTS if not each.needs_gpu]
    done = bench.measure(alone, DRIVERS, lambda *told: None)
    assert done.skips == ()
    assert len(done.runs) == len(alone) * len(DRIVERS)
    for run in done.runs:
        assert (run.ending, run.said) == ("ok", "")
        if run.arrangement != "single-low":
            assert len(run.latencies) == 10 and run.unserved == 0
            assert all(0 < each < 1000 for each in run.latencies)
        if run.arrangement != "single-high":
            assert run.batch_rate is not None and run.batch_rate > 1


def test_the_network_is_a_resnet18(torch_python: str) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(subject.CHILD)!r})\n"
        "from xdiag_network import network\nimport torch\n"
        "made = network(64)\n"
        "print(sum(each.numel() for each in made.parameters()))\n"
        "print(tuple(made(torch.zeros(2, 3, 224, 224)).shape))\n"
        "print(bool(made(torch.zeros(1, 3, 64, 64)).isfinite().all()))\n"
    )
    done = subprocess.run(
        [torch_python, "-c", code], capture_output=True, text=True, check=True,
        env=subject.child_environment(os.environ),
    )  # fmt: skip
    assert done.stdout.split("\n")[:3] == ["11689512", "(2, 1000)", "True"]


def test_the_script_computes_what_the_modules_do(torch_python: str, tmp_path: Path) -> None:
    saved = tmp_path / "network.pt"
    command = [torch_python, str(subject.CHILD / "save_network.py"), str(saved), "8", "32"]
    environ = subject.child_environment(os.environ)
    subprocess.run(command, check=True, env=environ)
    code = (
        f"import sys; sys.path.insert(0, {str(subject.CHILD)!r})\n"
        "from xdiag_network import network\nimport torch\n"
        "images = torch.rand(3, 3, 32, 32)\n"
        f"script = torch.jit.load({str(saved)!r})\n"
        "print(torch.allclose(script(images), network(8)(images), atol=1e-5))\n"
    )
    done = subprocess.run(
        [torch_python, "-c", code], capture_output=True, text=True, check=True, env=environ
    )
    assert done.stdout == "True\n"


def test_hip_asked_of_another_torch_is_one_line(torch_python: str) -> None:
    if subject.find(torch_python, "cpu", os.environ).build == "hip":
        pytest.skip("this torch was built for HIP")
    done = subprocess.run(
        [sys.executable, "-m", "xdiag", "workload", "--python", torch_python, "--device", "hip"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1
    assert "was built for" in done.stderr
