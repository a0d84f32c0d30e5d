"""Distributions that are installed for a Python: what pip and its like have recorded on disk.

By the PyPA's specification "Recording installed projects" (PEP 376, PEP 627) and, for
``.egg-info``, setuptools' older habit.  Name and version are in the directory's name, so that the
hundreds of an environment cost one listing each of its few directories.
"""

from __future__ import annotations

import csv
import os
import re
from typing import TYPE_CHECKING

from xdiag.discover.names import as_text
from xdiag.model import Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from xdiag.discover.root import Root

#: Bytes of a METADATA or PKG-INFO read for a name and version that the file's name does not tell.
_MOST_HEADERS = 64 << 10
#: "torch-2.9.0+rocm6.4.dist-info": in a version "-" is written "_", in a name too since 2021.
_DIST_INFO = re.compile(r"(?P<name>.+)-(?P<version>[^-]+)\.dist-info")
#: "cffi-1.15.1.egg-info", "PyYAML-6.0-py3.11.egg-info", "xdiag.egg-info".
_EGG_INFO = re.compile(
    r"(?P<name>[^-]+)(-(?P<version>[^-]+)(-py[0-9.]+)?(-[^-]+)?)?\.egg-info"
)  # fmt: skip
_SEPARATORS = re.compile(r"[-_.]+")


class Distribution(Record, frozen=True):
    """One installed distribution."""

    #: Normalised (PEP 503): lower case, words joined by single hyphens.
    name: str
    version: str
    #: Its dist-info or egg-info: a directory, or for some egg-info a file.
    info: str

    @property
    def folder(self) -> str:
        """The directory that it is installed in, and its RECORD's paths are relative to."""
        return os.path.dirname(self.info)


class Distributions(Record, frozen=True):
    """All of them, in the order of the search path: the first of a name is the one that counts."""

    found: tuple[Distribution, ...]
    #: What is damaged, in sentences.
    notes: tuple[str, ...] = ()

    def get(self, name: str) -> Distribution | None:
        """The one that is called ``name``, in any spelling; None where there is none."""
        wanted = normalised(name)
        return next((each for each in self.found if each.name == wanted), None)


def normalised(name: str) -> str:
    """A project's name as PEP 503 compares it."""
    return _SEPARATORS.sub("-", name).lower()


def find(folders: Iterable[str], root: Root) -> Distributions:
    """Distributions recorded in these directories, which are usually ``site_dirs``."""
    found: list[Distribution] = []
    notes: list[str] = []
    for folder in dict.fromkeys(folders):
        for name in root.names(folder):
            if name.endswith((".dist-info", ".egg-info")):
                _one(f"{folder}/{name}", name, root, found, notes)
            elif name.endswith(".egg") and root.is_dir(f"{folder}/{name}/EGG-INFO"):
                # An egg is a directory of its own on the search path, named as its egg-info.
                as_info = name.removesuffix(".egg") + ".egg-info"
                _one(f"{folder}/{name}/EGG-INFO", as_info, root, found, notes)
    return Distributions(tuple(found), tuple(notes))


def files(distribution: Distribution, root: Root) -> Iterator[str]:
    """Files of a distribution, absolute, as its RECORD lists them; nothing without a RECORD."""
    try:
        text = root.read(f"{distribution.info}/RECORD").decode(errors="surrogateescape")
    except OSError:
        return
    try:
        for row in csv.reader(text.splitlines()):
            if row and row[0]:
                yield os.path.normpath(os.path.join(distribution.folder, row[0]))
    except csv.Error:  # a field of more than 128 KiB: no RECORD that any installer wrote
        return


def _one(info: str, name: str, root: Root, found: list[Distribution], notes: list[str]) -> None:
    if name.startswith("~"):
        # pip renames what it removes, and back if it fails.
        notes.append(f"{as_text(info)} was left behind by an interrupted pip.")
        return
    is_dist_info = name.endswith(".dist-info")
    match = (_DIST_INFO if is_dist_info else _EGG_INFO).fullmatch(name)
    headers = "METADATA" if is_dist_info else "PKG-INFO"
    path = f"{info}/{headers}"
    if not root.is_file(path):
        if is_dist_info or not root.is_file(info):
            notes.append(f"{as_text(info)} has no {headers}: it does not count as installed.")
            return
        path = info  # a single file, as distutils wrote it
    if match is None or not match["version"]:
        told = _headers(path, root)
        project, version = told.get("name", ""), told.get("version", "")
    else:
        project, version = match["name"], match["version"].replace("_", "-")
    if not project:
        notes.append(f"{as_text(path)} is damaged: it names no project.")
        return
    found.append(Distribution(as_text(normalised(project)), as_text(version), as_text(info)))


def _headers(path: str, root: Root) -> dict[str, str]:
    """The header fields of a core metadata file."""
    try:
        text = root.read(path, _MOST_HEADERS).decode(errors="replace")
    except OSError:
        return {}
    told: dict[str, str] = {}
    for line in text.splitlines():
        key, colon, value = line.partition(": ")
        if not line:
            break
        if colon and key.isascii():
            told.setdefault(key.lower(), value.strip())
    return told
