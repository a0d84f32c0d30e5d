"""Facts about this machine that a reader of a report needs."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from xdiag.model import Host

#: What a container's first process is told about, or leaves behind, and the kind it stands for.
_MARKS = (("/.dockerenv", "docker"), ("/run/.containerenv", "podman"))
#: Words in /proc/1/cgroup, from the particular to the general.
_CGROUP_WORDS = ("kubepods", "docker", "libpod", "lxc", "containerd", "garden")


def host() -> Host:
    """What this machine is.  Never raises: an unknown fact is an empty string."""
    return Host(
        system=_system(),
        kernel=f"{platform.release()} {platform.machine()}",
        libc=_libc(),
        python=f"{platform.python_implementation()} {platform.python_version()}",
        cpus=len(os.sched_getaffinity(0)),
        container=_container(),
    )


def _system() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "")
    except OSError:
        return platform.system()


def _libc() -> str:
    try:
        return os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (ValueError, OSError):  # not the GNU C library
        return " ".join(filter(None, platform.libc_ver()))


def _container(top: Path = Path("/")) -> str:
    """The kind of container, empty outside of one; ``top`` is the root of the file system."""
    if os.environ.get("KUBERNETES_SERVICE_HOST"):
        return "kubernetes"
    for mark, kind in _MARKS:
        if (top / mark.lstrip("/")).exists():
            return kind
    for place in ("run/systemd/container", "run/host/container-manager"):
        told = _read(top / place).strip()
        if told:
            return told
    groups = _read(top / "proc/1/cgroup")
    for word in _CGROUP_WORDS:
        if word in groups:
            return "kubernetes" if word == "kubepods" else word
    return ""


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
