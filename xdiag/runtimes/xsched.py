"""Which installation of XSched its consumers use: the one that is named, or the first found."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from xdiag import platforms
from xdiag.discover import elf
from xdiag.discover.root import Root
from xdiag.discover.xsched import PREEMPT, installations, is_hal, of_two_versions
from xdiag.engine.messages import XSchedFiles
from xdiag.errors import Usage

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_HERE = Root("/")
#: The variable that names an installation's prefix.
_ROOT = "XSCHED_ROOT"
#: Where an installation has its Python modules, below its prefix: the current one, and the one
#: before June 2026, which was installed among the headers (platforms/hip/CMakeLists.txt).
_CURRENT = ("lib/python", "python")
_OLD = ("include", "lib/python", "python")
#: What consumers of ``xdiag.xsched_consumers`` need, by the fields of XSchedFiles.
_NEEDS = {
    "hal": ("hal",),
    "xqueue": ("hal", "preempt"),
    "binding": ("hal", "binding"),
    "old-binding": ("hal", "shim", "old_binding"),
}


def choose(
    named: str | None, platform: str = "hip", environ: Mapping[str, str] = os.environ
) -> XSchedFiles | None:
    """The installation in the directory ``named``, else XSCHED_ROOT's, else the first found.

    A directory is one's prefix or has its libraries.  None where there is none and nobody named
    one.  What cannot be used has ``missing``, which says why in one line: it was built for another
    platform, its library cannot be loaded on this machine, or XSCHED_ROOT leads to none.  Raises
    Usage if ``named`` is no directory of XSched's at all.
    """
    if named is not None:
        return _in(named, f"--xsched {named}", platform)
    if root := environ.get(_ROOT):
        try:
            return _in(root, f"{_ROOT}={root}", platform)
        except Usage as error:
            return XSchedFiles(platform=platform, missing=str(error))
    found = installations(_HERE, environ, platform=platform)
    for each in found:
        if platforms.get(platform).xsched.hal in each.libraries:
            return _files(each.folder, platform)
    for each in found:
        if each.others:
            return _of_another(each.folder, each.others, platform)
    return None


def usable(named: str) -> XSchedFiles:
    """The installation for HIP in the directory ``named``; raises Usage where it cannot be used."""
    files = _in(named, f"--xsched {named}", "hip")
    if files.missing:
        raise Usage(files.missing)
    return files


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
    return files is not None and all(getattr(files, each) for each in _NEEDS[consumer])


def calls_none(consumers: Iterable[str]) -> bool:
    """Whether none of these consumers, by their ids, calls XSched's own libraries."""
    return not set(consumers) & set(_NEEDS)


def _in(folder: str, by: str, platform: str) -> XSchedFiles:
    """What is in a directory that somebody named; ``by`` is how he did.  Raises Usage."""
    hal = platforms.get(platform).xsched.hal
    title = platforms.get(platform).title
    folder = os.path.abspath(folder)
    if not os.path.isdir(folder):
        what = "it is no directory" if os.path.exists(folder) else "no such directory"
        raise Usage(f"{by}: {what}; name the prefix that XSched was installed to")
    places = [os.path.join(folder, "lib"), folder]
    listed = {
        place: _names(place, by) for place in places if place == folder or os.path.isdir(place)
    }
    for place, names in listed.items():
        if hal in names:
            return _files(place, platform)
    others = sorted({each for names in listed.values() for each in names if is_hal(each)})
    if others:
        return _of_another(by, others, platform)
    raise Usage(f"{by}: it has no {hal}, and neither has its lib directory: it is no installation"
                f" of XSched for {title}")  # fmt: skip


def _of_another(by: str, hals: Sequence[str], platform: str) -> XSchedFiles:
    """What there is of an installation that has the HALs of other platforms only: a reason."""
    facts = platforms.get(platform)
    return XSchedFiles(
        platform=platform,
        missing=f"{by}: it has {' and '.join(hals)} and no {facts.xsched.hal}: it was built for"
        f" another platform than {facts.title}{_for_which(hals)}",
    )


def _for_which(hals: Iterable[str]) -> str:
    """How to have an installation with these used, where a platform of xdiag's has them."""
    found = [name for name in platforms.names() if platforms.get(name).xsched.hal in hals]
    return f" (--platform {found[0]} uses it)" if found else ""


def _names(folder: str, by: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError as error:
        raise Usage(f"{by}: {folder} cannot be read: {error.strerror}") from error


def _files(folder: str, platform: str) -> XSchedFiles:
    """What there is beside and below a directory with libraries."""
    names = platforms.get(platform).xsched
    prefix = os.path.dirname(folder) if os.path.basename(folder) == "lib" else folder
    here = {name: os.path.join(folder, name) for name in (names.hal, PREEMPT, names.shim)}
    for path in filter(os.path.lexists, (here[names.hal], here[PREEMPT])):
        if problem := _problem(path):
            return XSchedFiles(platform=platform, missing=problem)
    if mixed := of_two_versions(here[names.hal], here[PREEMPT], _HERE):
        return XSchedFiles(platform=platform, missing=mixed)
    hal, preempt, shim = (path if os.path.isfile(path) else "" for path in here.values())
    return XSchedFiles(
        platform=platform,
        hal=hal,
        preempt=preempt,
        shim=shim,
        binding=_first(prefix, _CURRENT, f"{names.binding[0].replace('.', '/')}/__init__.py"),
        old_binding=_first(prefix, _OLD, f"{names.old_binding[0]}.py") if names.old_binding else "",
        missing="",
    )


def _problem(path: str) -> str:
    """Why a library cannot be loaded on this machine; empty where nothing speaks against it."""
    try:
        elf.read(path, _HERE)
    except elf.BadElf as error:
        return str(error)
    return ""


def _first(prefix: str, below: Iterable[str], module: str) -> str:
    """The first directory with a module in it: of the installation, else of this Python's path."""
    places = [*(os.path.join(prefix, each) for each in below), *sys.path]
    for place in places:
        path = os.path.join(place, module)
        # An empty module, as a build leaves that no longer has the binding, is none.
        if os.path.isabs(path) and os.path.isfile(path) and os.path.getsize(path):
            return place
    return ""
