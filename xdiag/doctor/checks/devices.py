"""Checks of the GPU: is it there, may it be opened, does the runtime find it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from xdiag.doctor.check import Check
from xdiag.findings import failed, passed, skipped, warned

if TYPE_CHECKING:
    from xdiag.discover.devices import Node
    from xdiag.doctor.patient import Patient
    from xdiag.findings import Finding

_IMAGE = "an image has no devices"
#: Variables that choose among GPUs: HIP's own (either may stand for the other), and HSA's.
_HIP_CHOOSES = ("HIP_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES")
_HSA_CHOOSES = "ROCR_VISIBLE_DEVICES"


def _driver(patient: Patient) -> Finding:
    if not patient.root.is_this_machine:
        return skipped(_IMAGE)
    found = patient.devices
    if found.kfd is None:
        return warned(
            "no AMD GPU can be computed on: there is no /dev/kfd",
            f"kernel module: {found.driver or 'amdgpu is not loaded'}",
            remedy=(
                "in a container: start it with --device /dev/kfd --device /dev/dri",
                "on the machine itself: load the driver (modprobe amdgpu)",
                "without a GPU: xdiag probe and xdiag matrix use the software agent",
            ),
        )
    gpus = (f"GPU {gpu.node}: {gpu.target} {gpu.name}".rstrip() for gpu in found.gpus)
    return passed(
        f"the compute driver is there, with {len(found.gpus)} GPU(s)",
        f"kernel module: {found.driver or 'not visible'}",
        _shown(found.kfd),
        *gpus,
    )


def _permission(patient: Patient) -> Finding:
    found = patient.devices
    if found.kfd is None:
        return skipped("there is no /dev/kfd")
    nodes = [found.kfd, *found.render_nodes]
    closed = [node for node in nodes if not node.may_open]
    mine = ", ".join(str(group) for group in sorted({os.getegid(), *os.getgroups()}))
    evidence = (*map(_shown, nodes), f"this process: uid {os.geteuid()}, groups {mine}")
    if found.kfd in closed or (found.render_nodes and len(closed) == len(found.render_nodes)):
        groups = sorted({node.group for node in closed})
        names = sorted({node.group_name for node in closed if node.group_name}) or ["render"]
        return failed(
            f"this user may not open {', '.join(node.path for node in closed)}",
            *evidence,
            remedy=(
                f"on the machine: sudo usermod -aG {','.join(names)} $USER, then log in again",
                "in a container: " + " ".join(f"--group-add {group}" for group in groups),
            ),
        )
    if not found.render_nodes:
        return warned(
            "/dev/kfd is there, no render node is: the runtime will find no GPU",
            *evidence,
            remedy=("in a container: start it with --device /dev/dri as well",),
        )
    return passed("this user may open the compute driver and a render node", *evidence)


def _visible(patient: Patient) -> Finding:
    names = (*_HIP_CHOOSES, _HSA_CHOOSES)
    told = {name: patient.environ[name] for name in names if name in patient.environ}
    evidence = tuple(f"{name}={value}" for name, value in told.items())
    count = len(patient.devices.gpus) if patient.root.is_this_machine else 0
    hiding = [name for name, value in told.items() if _hides_all(name, value, count)]
    if hiding:
        return warned(
            f"{' and '.join(hiding)} hides every GPU",
            *evidence,
            remedy=tuple(f"unset {name}" for name in hiding),
        )
    if told:
        return passed("variables choose among the GPUs; none hides all of them", *evidence)
    return passed("no variable hides a GPU")


def _hides_all(name: str, value: str, count: int) -> bool:
    """Whether a value leaves no GPU; ``count`` is how many there are, 0 if that is unknown.

    Both lists end at the first entry that is no GPU.  HIP takes an empty value for none given
    (measured on 5.2.3); HSA takes it for an empty list (ROCr, core/util/flag.h).
    """
    if name != _HSA_CHOOSES and not value:
        return False
    first = value.split(",")[0].strip()
    if first.startswith("GPU-"):
        return False
    return not first.isdecimal() or bool(count and int(first) >= count)


def _container(patient: Patient) -> Finding:
    from xdiag.runtimes.host import host

    if not patient.root.is_this_machine:
        return skipped(_IMAGE)
    kind = host().container
    if not kind:
        return passed("no sign of a container")
    return passed(
        f"in a container ({kind}): its libraries need not be those of the machine",
        "the kernel driver is the machine's, the runtime above it the container's",
    )


def _answer(patient: Patient) -> Finding:
    """Ask the runtime that torch brings, or else the first usable one, in a process of its own."""
    from xdiag.runtimes import find, own_libc, probe

    if patient.devices.kfd is None:
        return skipped("there is no /dev/kfd")
    candidates = own_libc.loadable_first(find.find().usable())
    if not candidates:
        return skipped("there is no usable runtime to ask")
    chosen = next((each for each in candidates if each.source == "torch"), candidates[0])
    answer = probe.ask(chosen.real_path, loader=own_libc.loader_for(chosen))
    evidence = [f"asked: {chosen.real_path}"]
    evidence += [f"HSA runtime below it: {path}" for path in answer.hsa]
    if answer.problem:
        return failed(
            f"the HIP runtime finds no GPU: {answer.problem}",
            *evidence,
            remedy=("AMD_LOG_LEVEL=4 with any HIP program says why a device is refused",),
        )
    return passed(
        f"HIP {answer.version} shows {answer.devices} device(s), the first is"
        f" {answer.device_name or 'without a name'}",
        *evidence,
    )


def _shown(node: Node) -> str:
    group = f"{node.group} ({node.group_name})" if node.group_name else str(node.group)
    may = "may be opened" if node.may_open else "may not be opened"
    return f"{node.path}: {node.mode}, group {group}, {may}"


CHECKS = (
    Check("devices.driver", "the compute driver and its GPUs", _driver, severity="risk"),
    Check(
        "devices.permission", "who may open the device nodes", _permission, severity="fault",
        requires=("devices.driver",),
    ),
    Check("devices.visible", "variables that hide GPUs", _visible, severity="risk"),
    Check("devices.container", "whether this is a container", _container),
    Check(
        "devices.answer", "whether the runtime finds a GPU", _answer, probe="gpu",
        severity="fault", requires=("devices.permission",),
    ),
)  # fmt: skip
