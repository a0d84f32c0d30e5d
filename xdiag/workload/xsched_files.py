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
from xdiag.discover.xsched import HIP_LIB, PREEMPT
from xdiag.errors import Usage
from xdiag.model import Record

if TYPE_CHECKING:
    from collections.abc import Mapping

    from xdiag.workload.arrangements import Arrangement
    from xdiag.workload.model import Subject

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


def find(told: str | None, subject: Subject, environ: Mapping[str, str]) -> XSchedFiles:
    """XSched for this torch, from --xsched, else XSCHED_ROOT.

    Raises Usage where the user named a directory without it, Unavailable where nobody named one.
    """
    prefix = told or environ.get("XSCHED_ROOT", "")
    if not prefix:
        raise Unavailable("no XSched: name its installation with --xsched DIR or XSCHED_ROOT")
    by = f"--xsched {told}" if told else f"XSCHED_ROOT={prefix}"
    if not os.path.isdir(prefix):
        raise Usage(f"{by}: no such directory")
    if subject.build == "cpu":
        raise Unavailable(f"torch {subject.torch} was built for CPUs only: it has no streams")
    its = platforms.get(subject.build).xsched
    names = (PREEMPT, its.hal)
    folders = [os.path.abspath(each) for each in (os.path.join(prefix, "lib"), prefix)]
    for folder in folders:
        paths = [os.path.join(folder, name) for name in names]
        if all(map(os.path.isfile, paths)):
            break
    else:
        raise Usage(f"{by}: there is no {' with '.join(names)} in {' or '.join(folders)}")
    shim = os.path.join(folder, its.shim)
    return XSchedFiles(
        folder=folder,
        preempt=paths[0],
        hal=paths[1],
        create=its.create,
        shim=shim if os.path.isfile(shim) else "",
    )


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
