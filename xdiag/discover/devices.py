"""The GPU as the file tree shows it: device nodes, who may open them, which GPUs the kernel has.

Sources: the amdgpu kernel driver's documentation for /dev/kfd and /dev/dri; the topology that it
shows below /sys/class/kfd (kfd_topology.c); AMD's installation guide for the groups.
"""

from __future__ import annotations

import grp
import os
import stat
from typing import TYPE_CHECKING

from xdiag.model import Record

if TYPE_CHECKING:
    from xdiag.discover.root import Root

KFD = "/dev/kfd"
_DRI = "/dev/dri"
_TOPOLOGY = "/sys/class/kfd/kfd/topology/nodes"
#: The topology's nodes without SIMDs are processors.
_MOST_NODES = 256


class Node(Record, frozen=True):
    """A device node."""

    path: str
    #: As ls shows it: "crw-rw----".
    mode: str
    owner: int
    group: int
    #: The group's name here; empty where the number has none.
    group_name: str
    #: Whether this process may open it for reading and writing.
    may_open: bool


class Gpu(Record, frozen=True):
    """A GPU that the kernel's driver shows."""

    #: Its number in the topology.
    node: int
    #: "gfx90a", from gfx_target_version (90010).
    target: str
    name: str = ""


class Devices(Record, frozen=True):
    """What there is of AMD's GPUs."""

    #: None without the compute driver.
    kfd: Node | None
    render_nodes: tuple[Node, ...]
    gpus: tuple[Gpu, ...]
    #: Loaded kernel module, and its version where it is AMD's packaged one.
    driver: str = ""


def find(root: Root) -> Devices:
    """Look at /dev and /sys; never raises."""
    names = [name for name in root.names(_DRI) if name.startswith("renderD")]
    nodes = (_node(f"{_DRI}/{name}", root) for name in names)
    return Devices(
        kfd=_node(KFD, root),
        render_nodes=tuple(node for node in nodes if node is not None),
        gpus=tuple(_gpus(root)),
        driver=_driver(root),
    )


def _node(path: str, root: Root) -> Node | None:
    try:
        status = root.stat(path)
    except OSError:
        return None
    try:
        group_name = grp.getgrgid(status.st_gid).gr_name
    except KeyError:
        group_name = ""
    return Node(
        path=path,
        mode=stat.filemode(status.st_mode),
        owner=status.st_uid,
        group=status.st_gid,
        group_name=group_name,
        may_open=os.access(root.outside(path), os.R_OK | os.W_OK),
    )


def _gpus(root: Root) -> list[Gpu]:
    found = []
    numbers = sorted(int(name) for name in root.names(_TOPOLOGY) if name.isdecimal())
    for number in numbers[:_MOST_NODES]:
        text = root.text(f"{_TOPOLOGY}/{number}/properties")
        properties = dict(line.split(None, 1) for line in text.splitlines() if " " in line)
        if properties.get("simd_count", "0") in ("", "0"):
            continue
        name = root.text(f"{_TOPOLOGY}/{number}/name").strip()
        found.append(Gpu(number, _target(properties.get("gfx_target_version", "")), name))
    return found


def _target(version: str) -> str:
    """gfx_target_version is major * 10000 + minor * 100 + stepping; 90010 is gfx90a."""
    if not version.isdecimal() or version == "0":
        return ""
    number = int(version)
    return f"gfx{number // 10000}{number // 100 % 100:x}{number % 100:x}"


def _driver(root: Root) -> str:
    if not root.is_dir("/sys/module/amdgpu"):
        return ""
    version = root.text("/sys/module/amdgpu/version").strip()
    return f"amdgpu {version}" if version else "amdgpu"
