"""Devices: nodes and topology as files show them, and what is said of them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from msgspec.structs import replace

from xdiag.discover import devices
from xdiag.discover.devices import Devices, Gpu, Node
from xdiag.discover.root import Root
from xdiag.doctor.catalogue import CHECKS
from xdiag.doctor.patient import Patient
from xdiag.findings import Finding, Status
from xdiag.model import Target

LOOK = {check.id: check.look for check in CHECKS}
KFD = Node("/dev/kfd", "crw-rw----", 0, 44, "render", may_open=True)
RENDER = replace(KFD, path="/dev/dri/renderD128")
ONE = Devices(kfd=KFD, render_nodes=(RENDER,), gpus=(Gpu(1, "gfx90a"),), driver="amdgpu")


def _say(id: str, found: Devices, **environ: str) -> Finding:
    patient = Patient(root=Root(), environ=environ)
    patient.__dict__["devices"] = found
    return LOOK[f"devices.{id}"](patient)


def test_nodes_and_gpus_are_read_off_the_tree(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root makes device nodes")
    (tmp_path / "dev/dri").mkdir(parents=True)
    try:
        os.mknod(tmp_path / "dev/kfd", stat.S_IFCHR | 0o660, os.makedev(1, 3))
    except OSError as error:
        pytest.skip(f"no device node can be made here: {error}")
    os.chmod(tmp_path / "dev/kfd", 0o660)
    os.mknod(tmp_path / "dev/dri/renderD128", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    os.mknod(tmp_path / "dev/dri/card0", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    for number, properties in enumerate(
        ("simd_count 0\n", "simd_count 440\ngfx_target_version 90010\n",
         "simd_count 64\ngfx_target_version 110000\n", "damaged")
    ):  # fmt: skip
        node = tmp_path / f"sys/class/kfd/kfd/topology/nodes/{number}"
        node.mkdir(parents=True)
        (node / "properties").write_text(properties)
    (tmp_path / "sys/module/amdgpu").mkdir(parents=True)
    found = devices.find(Root(tmp_path))
    assert found.kfd is not None
    assert found.kfd.mode == "crw-rw----"
    assert [node.path for node in found.render_nodes] == ["/dev/dri/renderD128"]
    assert [(gpu.node, gpu.target) for gpu in found.gpus] == [(1, "gfx90a"), (2, "gfx1100")]
    assert found.driver == "amdgpu"


def test_a_machine_without_the_driver() -> None:
    nothing = Devices(None, (), ())
    assert _say("driver", nothing).status is Status.WARN
    assert _say("permission", nothing).status is Status.SKIP
    assert _say("answer", nothing).status is Status.SKIP


def test_who_may_open_the_nodes() -> None:
    assert _say("permission", ONE).status is Status.PASS
    closed = replace(ONE, kfd=replace(KFD, may_open=False))
    told = _say("permission", closed)
    assert told.status is Status.FAIL
    assert "/dev/kfd" in told.summary
    assert any("--group-add 44" in each for each in told.remedy)
    assert any("usermod -aG render" in each for each in told.remedy)
    one_closed = replace(ONE, render_nodes=(RENDER, replace(RENDER, may_open=False)))
    assert _say("permission", one_closed).status is Status.PASS
    assert _say("permission", replace(ONE, render_nodes=())).status is Status.WARN


@pytest.mark.parametrize(
    ("name", "value", "hides"),
    [
        # As AMD's 5.2.3 takes them; measured with a device each.
        ("HIP_VISIBLE_DEVICES", "", False), ("HIP_VISIBLE_DEVICES", "-1", True),
        ("HIP_VISIBLE_DEVICES", "0,-1,1", False), ("HIP_VISIBLE_DEVICES", "7", True),
        ("CUDA_VISIBLE_DEVICES", "abc", True), ("CUDA_VISIBLE_DEVICES", "0", False),
        # As ROCr's source has them.
        ("ROCR_VISIBLE_DEVICES", "", True), ("ROCR_VISIBLE_DEVICES", "GPU-1234", False),
        ("ROCR_VISIBLE_DEVICES", "0", False),
    ],
)  # fmt: skip
def test_variables_that_hide_every_gpu(name: str, value: str, hides: bool) -> None:
    told = _say("visible", ONE, **{name: value})
    assert (told.status is Status.WARN) is hides
    assert f"{name}={value}" in told.evidence


@pytest.mark.parametrize("value", ["", "-1", "0,-1,1", "7", "abc", "1", " "])
def test_amds_runtime_takes_hip_visible_devices_so(
    real_target: Target, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rule in the check, against the runtime itself."""
    from xdiag.runtimes import probe

    monkeypatch.setenv("HIP_VISIBLE_DEVICES", value)
    shown = probe.ask(
        real_target.runtime, library_path=real_target.library_path,
        environment=real_target.environment,
    )  # fmt: skip
    there = replace(ONE, gpus=(Gpu(1, "gfx90a"), Gpu(2, "gfx90a")))
    told = _say("visible", there, HIP_VISIBLE_DEVICES=value)
    assert (shown.devices == 0) is (told.status is Status.WARN)


def test_the_runtime_is_asked_and_says_no_without_a_gpu(
    real_target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    if real_target.agent != "software":
        pytest.skip("there is a GPU here")
    told = _say("answer", ONE)
    assert told.status is Status.FAIL
    assert "finds no GPU" in told.summary
    # And over the agent it shows devices: the same question, another answer.
    monkeypatch.setenv("LD_LIBRARY_PATH", ":".join(real_target.library_path))
    for name, value in real_target.environment.items():
        monkeypatch.setenv(name, value)
    told = _say("answer", ONE)
    assert told.status is Status.PASS
    assert "2 device(s)" in told.summary
    assert any("libhsa-runtime64" in each for each in told.evidence)
