"""XSched's libraries for this torch, and the environment under which its runs start.

Facts are from XSched's public source (github.com/XpuOS/xsched, 2026-07): the names of libraries and
links from platforms/CMakeLists.txt, variables from protocol/README.md, how a shim gets between from
examples/Linux/3_intra_process_sched/README.md.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from xdiag import platforms
from xdiag.discover import torch as torch_on_disk
from xdiag.discover.names import HIP, family_of
from xdiag.discover.root import Root
from xdiag.discover.xsched import HIP_LIB, PREEMPT, is_hal
from xdiag.errors import Usage
from xdiag.model import Record
from xdiag.runtimes import xsched as installation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from xdiag.engine.messages import XSchedFiles as Installed
    from xdiag.workload.arrangements import Arrangement
    from xdiag.workload.model import Subject

_NOT_NAMED = "no XSched: name its installation with --xsched DIR or XSCHED_ROOT"
#: The name by which CUDA's runtime opens the driver.
_CUDA_DRIVER = "libcuda.so.1"


class Unavailable(Exception):
    """Why there are no queues of XSched here, in one sentence."""


class XSchedFiles(Record, frozen=True):
    """What of XSched a run uses."""

    folder: str
    preempt: str
    hal: str
    #: The call that makes a hardware queue of a stream.
    create: str
    #: Its shim; empty where it was not built.
    shim: str = ""


def check(told: str | None) -> None:
    """Raise Usage where --xsched names no installation for any platform: before anything is run."""
    if told is None:
        return
    folder = os.path.abspath(told)
    if not os.path.isdir(folder):
        what = "it is no directory" if os.path.exists(folder) else "no such directory"
        raise Usage(f"--xsched {told}: {what}; name the prefix that XSched was installed to")
    here = Root("/")
    if not any(map(is_hal, (*here.names(os.path.join(folder, "lib")), *here.names(folder)))):
        raise Usage(
            f"--xsched {told}: neither it nor its lib directory has a libhal*.so that can be seen:"
            " it is no installation of XSched"
        )


def find(told: str | None, subject: Subject, environ: Mapping[str, str]) -> XSchedFiles:
    """XSched for this torch, from --xsched, else XSCHED_ROOT.

    Raises Usage where --xsched names a directory without it; Unavailable where nobody named one, it
    was built for another platform, or its libraries cannot be used here.
    """
    if not told and not environ.get("XSCHED_ROOT"):
        raise Unavailable(_NOT_NAMED)
    if subject.build == "cpu":
        raise Unavailable(f"torch {subject.torch} was built for CPUs only: it has no streams")
    its = platforms.get(subject.build).xsched
    files = installation.choose(told or None, subject.build, environ)
    if files is None:
        raise Unavailable(_NOT_NAMED)
    if problem := _unusable(files):
        raise Unavailable(problem)
    folder = os.path.dirname(files.hal)
    return XSchedFiles(
        folder=folder, preempt=files.preempt, hal=files.hal, create=its.create, shim=files.shim
    )


def _unusable(files: Installed) -> str:
    """Why an installation makes no queues for this torch, in one line; empty where it does."""
    if files.missing:
        # What is left off names an option that other commands have; here torch decides.
        return files.missing.partition(" (--platform")[0]
    if not files.preempt:
        return f"{os.path.dirname(files.hal)} has no {PREEMPT}, which makes the queues"
    return ""


def settings(
    arrangement: Arrangement,
    files: XSchedFiles,
    subject: Subject,
    environ: Mapping[str, str],
    *,
    repair: bool,
) -> dict[str, str]:
    """Variables that a run of this arrangement starts with, besides the user's own.

    What the user has set himself stays.  Raises Unavailable where the shim cannot get between.
    """
    # Priorities mean something to a scheduler only, and APP, the default, is none.
    wanted = {"XSCHED_SCHEDULER": "LCL", "XSCHED_POLICY": "HPF"}
    if repair and (own := own_runtime(subject)):
        wanted[HIP_LIB] = own
    if arrangement.queues == "shim":
        wanted["XSCHED_AUTO_XQUEUE"] = "ON"
    changed = {name: value for name, value in wanted.items() if not environ.get(name)}
    if arrangement.queues == "shim":
        name, value = _between(files, subject)
        before = environ.get(name, "")
        changed[name] = f"{value}:{before}" if before else value
    return changed


def own_runtime(subject: Subject) -> str:
    """The HIP runtime that came with torch; empty for a torch that uses the system's."""
    if subject.build != "hip":
        return ""
    found = torch_on_disk.read(subject.folder, Root("/"))
    names = [name for name in found.bundled if family_of(name) == HIP]
    return os.path.join(found.library_dir, names[0]) if names else ""


def _between(files: XSchedFiles, subject: Subject) -> tuple[str, str]:
    """The variable by which the shim gets between torch and the runtime, and what it adds.

    HIP: LD_PRELOAD, which also catches a torch that names its own libraries by RPATH.  CUDA's
    runtime opens the driver by its name with dlopen, where a preloaded library of another name
    counts for nothing: there the link by that name has to be found first.
    """
    if not files.shim:
        raise Unavailable(f"{files.folder} has no libshim{subject.build}.so")
    if subject.build == "hip":
        return "LD_PRELOAD", files.shim
    link = os.path.join(files.folder, _CUDA_DRIVER)
    if not os.path.exists(link) or not os.path.samefile(link, files.shim):
        raise Unavailable(f"{link} is no link to {files.shim}: build XSched with SHIM_SOFTLINK=ON")
    return "LD_LIBRARY_PATH", files.folder
