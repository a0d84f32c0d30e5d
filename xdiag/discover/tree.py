"""One bounded walk over the directories of an environment, for all who look through its files.

Each directory is listed once, wherever links lead; what is left out is told.  Sources, data and
environments that happen to lie below (``.git``, another ``pyvenv.cfg``) are no part of it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from xdiag.discover.names import as_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from xdiag.discover.root import Root

#: Directory entries seen in all: many times what a large environment has (torch with all of
#: Triton, vLLM and their dependencies: 60 000).  A project's own directory may hold any amount.
_MOST_ENTRIES = 400_000
#: Directories in directories.
_DEEPEST = 32
_LEFT_OUT = ("__pycache__", "node_modules")


@dataclass
class Folder:
    """One directory: where it is, and its files."""

    #: The directory of the search path that it is in, and its path; as seen from inside.
    site_dir: str
    path: str
    #: By which this process reaches it.
    outside: str
    #: Base names of all that are no directories; links to directories are among them.
    files: list[str] = field(default_factory=list)

    @property
    def package(self) -> str:
        """The top-level name in the site directory: a package, or what auditwheel made for it."""
        return self.path[len(self.site_dir) :].strip("/").partition("/")[0]


@dataclass
class Tree:
    """What the walk found."""

    folders: list[Folder]
    #: What was not looked at, in sentences.
    skipped: list[str]


def walk(site_dirs: Iterable[str], root: Root) -> Tree:
    """All directories below ``site_dirs``, which are listed once even if one is in another."""
    walker = _Walker(root)
    starts: dict[str, str] = {}
    for site_dir in site_dirs:
        try:
            real = root.real_path(site_dir)
        except OSError:
            continue
        if root.is_dir(real) and real != "/":
            starts.setdefault(real, site_dir)
    walker.starts = frozenset(starts)
    for real, site_dir in starts.items():
        walker.add(site_dir, real)
    return Tree(walker.folders, walker.skipped())


def beside(folder: str, root: Root) -> Tree:
    """A script's directory and the packages in it, which it would import; not all that is below.

    A script may lie in a home directory.
    """
    names = root.names(folder)
    packages = [
        f"{folder}/{name}" for name in names if root.is_file(f"{folder}/{name}/__init__.py")
    ]
    below = walk(packages, root)
    files = [name for name in names if not root.is_dir(f"{folder}/{name}")]
    try:
        own = Folder(folder, folder, root.outside(folder), files)
    except OSError:
        return below
    return Tree([own, *below.folders], below.skipped)


class _Walker:
    """A walk while it goes."""

    def __init__(self, root: Root) -> None:
        self.root = root
        self.folders: list[Folder] = []
        self.starts: frozenset[str] = frozenset()
        self.seen: set[str] = set()
        self.entries = 0
        self.unreadable: list[str] = []
        self.cut: list[str] = []

    def add(self, site_dir: str, real: str) -> None:
        """Walk one directory, depth first; ``real`` is it with all links followed."""
        outside = self.root.outside(real)
        #: path inside as it is shown, real path inside, path outside, depth
        todo = [(site_dir, real, outside, 0)]
        while todo:
            path, real, outside, depth = todo.pop()
            if real in self.seen:
                continue
            self.seen.add(real)
            if self.entries > _MOST_ENTRIES or depth > _DEEPEST:
                self.cut.append(path)
                continue
            try:
                listing = os.scandir(outside)
            except OSError as error:
                self.unreadable.append(path)
                self.root.note(path, error)
                continue
            folder = Folder(site_dir, path, outside)
            below: list[tuple[str, str, str, int]] = []
            links = []
            with listing:
                for entry in listing:
                    self.entries += 1
                    name = entry.name
                    if entry.is_dir(follow_symlinks=False):
                        if name[0] != "." and name not in _LEFT_OUT:
                            below.append(
                                (f"{path}/{name}", f"{real}/{name}", entry.path, depth + 1)
                            )
                        continue
                    folder.files.append(name)
                    if "." not in name and entry.is_symlink():
                        links.append(name)
            if depth and "pyvenv.cfg" in folder.files:
                continue
            self.folders.append(folder)
            below += self._linked(path, real, links, depth)
            # What is a site directory itself is walked as that.
            todo += (each for each in reversed(below) if each[1] not in self.starts)

    def _linked(
        self, path: str, real: str, links: list[str], depth: int
    ) -> Iterator[tuple[str, str, str, int]]:
        """Directories that links lead to, unless they are above or below what is walked anyway."""
        for name in links:
            try:
                target = self.root.real_path(f"{real}/{name}")
            except OSError:
                continue
            if any(f"{each}/".startswith(f"{target.rstrip('/')}/") for each in self.starts):
                continue
            if any(target.startswith(f"{each}/") for each in self.starts):
                continue
            if self.root.is_dir(target):
                yield f"{path}/{name}", target, self.root.outside(target), depth + 1

    def skipped(self) -> list[str]:
        """Sentences about what was left out."""
        told = []
        if self.cut:
            told.append(
                f"{_directories(self.cut)} left out: more than {_MOST_ENTRIES} files, or more than"
                f" {_DEEPEST} directories deep."
            )
        if self.unreadable:
            told.append(f"{_directories(self.unreadable)} cannot be read.")
        return told


def _directories(paths: list[str]) -> str:
    first = as_text(paths[0])
    return first if len(paths) == 1 else f"{first} and {len(paths) - 1} other directories"
