"""Which installation of XSched its consumers use: the one that is named, or the first found."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from xdiag.discover import elf
from xdiag.discover.root import Root
from xdiag.discover.xsched import HAL, PREEMPT, SHIM, installations
from xdiag.engine.messages import XSchedFiles
from xdiag.errors import Usage

if TYPE_CHECKING:
    from collections.abc import Iterable

_HERE = Root("/")
#: What the HALs of all platforms begin with.
_HAL_STEM = "libhal"
#: Where an installation has its Python modules, below its prefix: the current one, and the one
#: before June 2026, which was installed among the headers (platforms/hip/CMakeLists.txt).
_CURRENT = ("lib/python", "python")
_OLD = ("include", "lib/python", "python")


def choose(named: str | None) -> XSchedFiles | None:
    """The installation in the directory ``named``, else the first that is found; None for none.

    A directory is one's prefix or has its libraries.  Raises Usage if one is named that has no
    library of XSched for HIP.
    """
    if named is not None:
        return _named(os.path.abspath(named))
    for each in installations(_HERE, os.environ):
        if HAL in each.libraries:
            return _files(each.folder)
    return None


def note(files: XSchedFiles) -> str:
    """A sentence for the head of a report: which library of XSched its consumers called."""
    try:
        build_id = elf.read(files.hal, _HERE).build_id
    except elf.BadElf:
        build_id = ""
    what = f"build id {build_id}" if build_id else "without a build id"
    return f"XSched's own library was called where a consumer says so: {files.hal}, {what}."


def present(files: XSchedFiles | None, consumer: str) -> bool:
    """Whether an installation has what this consumer of ``xdiag.xsched_consumers`` needs."""
    needs = {
        "hal": ("hal",),
        "xqueue": ("hal", "preempt"),
        "binding": ("hal", "binding"),
        "old-binding": ("hal", "shim", "old_binding"),
    }
    return files is not None and all(getattr(files, each) for each in needs[consumer])


def _named(folder: str) -> XSchedFiles:
    if not os.path.isdir(folder):
        raise Usage(f"--xsched {folder}: no such directory")
    for place in (os.path.join(folder, "lib"), folder):
        if os.path.isfile(os.path.join(place, HAL)):
            return _files(place)
    others = sorted({name for place in (os.path.join(folder, "lib"), folder)
                     for name in _names(place) if name.startswith(_HAL_STEM)})  # fmt: skip
    if others:
        raise Usage(f"{folder} has {' and '.join(others)} and no {HAL}: it was built for another"
                    " platform")  # fmt: skip
    raise Usage(f"{folder} has no {HAL}, and neither has its lib directory: it is no installation"
                " of XSched for HIP")  # fmt: skip


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _files(folder: str) -> XSchedFiles:
    """What there is beside and below a directory with libraries."""
    prefix = os.path.dirname(folder) if os.path.basename(folder) == "lib" else folder
    here = {name: os.path.join(folder, name) for name in (HAL, PREEMPT, SHIM)}
    hal, preempt, shim = (path if os.path.isfile(path) else "" for path in here.values())
    return XSchedFiles(
        hal=hal,
        preempt=preempt,
        shim=shim,
        binding=_first(prefix, _CURRENT, "xsched/hip/__init__.py"),
        old_binding=_first(prefix, _OLD, "xsched_hip.py"),
        missing="",
    )


def _first(prefix: str, below: Iterable[str], module: str) -> str:
    """The first directory with a module in it: of the installation, else of this Python's path."""
    places = [*(os.path.join(prefix, each) for each in below), *sys.path]
    for place in places:
        path = os.path.join(place, module)
        # An empty module, as a build leaves that no longer has the binding, is none.
        if os.path.isabs(path) and os.path.isfile(path) and os.path.getsize(path):
            return place
    return ""
