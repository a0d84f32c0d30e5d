"""Runtimes on this machine's disk, found without loading or importing any of them."""

from __future__ import annotations

import os

from msgspec.structs import replace

from xdiag import platforms
from xdiag.discover import libraries, python_environment, rocm, torch
from xdiag.discover.distributions import Distributions
from xdiag.discover.libraries import LibraryFile, Place
from xdiag.discover.root import Root
from xdiag.errors import CannotRun, XdiagError
from xdiag.loader import cache
from xdiag.loader.cpu import this_cpu
from xdiag.model import Record
from xdiag.runtimes import entries
from xdiag.runtimes.runtime_file import read_runtime

#: One runtime on disk, to be chosen or not.
Candidate = LibraryFile
version_key = libraries.version_key


class Found(Record, frozen=True):
    """All runtimes on disk, and where they were looked for."""

    candidates: tuple[Candidate, ...]
    #: One sentence per place: what it was and what was there.
    looked: tuple[str, ...]

    def usable(self) -> tuple[Candidate, ...]:
        """Those without a problem, the newest first."""
        usable = (candidate for candidate in self.candidates if not candidate.problem)
        return tuple(sorted(usable, key=lambda each: version_key(each.version), reverse=True))


def find(platform: str = "hip") -> Found:
    """Look in every usual place: torch, ROCm, the dynamic loader's directories, xdiag's cache."""
    facts = platforms.get(platform)
    family = facts.library.removesuffix(".so")
    root = Root()
    system = libraries.in_system(os.environ, cache.paths(root, _loader_cache()))
    found = libraries.find(root, _places(root, system) if facts.packaged else (system,), (family,))
    # Not those that only bear the name: links that lead nowhere, XSched's shim.
    candidates = tuple(map(_stub, (each for each in found.of(family) if each.is_there)))
    return Found(candidates, found.looked)


def _places(root: Root, system: Place) -> tuple[Place, ...]:
    """Where a runtime is that packages bring along."""
    python = _python()
    wheels = rocm.wheels(python.search_path, Distributions(()), root)
    return (
        *libraries.in_torch(torch.find(python, root)),
        *libraries.in_rocm(rocm.installations(root, os.environ), wheels),
        system,
        Place("cache", "xdiag's cache"),
        *map(_in_cache, entries.every()),
    )


def _stub(candidate: Candidate) -> Candidate:
    """A candidate with the problem that it is none: a library to link against, without a driver."""
    # CUDA's toolkit has them in a directory of this name (CUDA C++ Best Practices, Deployment).
    if os.path.basename(os.path.dirname(candidate.real_path)) != "stubs" or candidate.problem:
        return candidate
    return replace(candidate, problem=f"{candidate.path}: a stub to link against, not the driver")


def from_option(path: str, platform: str = "hip") -> Candidate:
    """The runtime that the user named; raises Usage or CannotRun if it cannot be one.

    One that ``xdiag runtimes add`` has fetched, in whatever directory, is refused by its path as it
    is by its version.
    """
    path = os.path.abspath(path)
    facts = platforms.get(platform)
    held = entries.holding(path) if os.path.isfile(path) else None
    if isinstance(held, entries.Refused):
        raise CannotRun(f"{path} is not used: {held.reason}; {entries.mended_by(held.path)}")
    read_runtime(path, facts.proof)
    place = Place("option", path)
    if held is not None and os.path.samefile(held.runtime, path):
        place = Place("option", path, library_dirs=held.library_dirs, package=_package(held))
    candidate = libraries.library(path, place, Root(), facts.library.removesuffix(".so"))
    if candidate is None:
        raise XdiagError(f"{path}: vanished while it was looked at")
    return candidate


def loader_finds(name: str) -> str:
    """Where the dynamic loader's cache has the library called ``name``; empty if nowhere."""
    try:
        release = (os.confstr("CS_GNU_LIBC_VERSION") or "").split()[-1]
        major, minor = map(int, release.split(".")[:2])
    except (ValueError, IndexError):  # not glibc: such a loader has no cache
        return ""
    return cache.read(Root(), _loader_cache()).lookup(name, this_cpu(), (major, minor))


def _python() -> python_environment.PythonEnvironment:
    return python_environment.own()


def _in_cache(entry: entries.Entry) -> Place:
    return Place(
        "cache", "xdiag's cache", paths=(entry.runtime,), package=_package(entry),
        library_dirs=entry.library_dirs,
    )  # fmt: skip


def _package(entry: entries.Entry) -> str:
    return f"{entry.package} {entry.version}"


def _loader_cache() -> str:
    return cache.PATH
