"""What `xdiag runtimes add` has put into the cache: one directory per runtime, with a manifest.

An entry without a readable manifest does not count: it is what an interrupted fetch leaves.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from xdiag.errors import CannotRun
from xdiag.model import Record
from xdiag.runtimes import cache

MANIFEST = "manifest.json"
#: Raised when an older xdiag would misread a manifest.
MANIFEST_VERSION = 1


class Package(Record, frozen=True):
    """One package that was fetched."""

    name: str
    version: str
    sha256: str
    size: int


class Manifest(Record, frozen=True):
    """What an entry holds; paths are relative to it."""

    manifest_version: int
    package: str
    version: str
    runtime: str
    library_dirs: tuple[str, ...]
    packages: tuple[Package, ...]
    #: When it was fetched, ISO 8601 in UTC.
    fetched: str


class Entry(Record, frozen=True):
    """A runtime in the cache; paths are absolute."""

    path: str
    package: str
    version: str
    runtime: str
    library_dirs: tuple[str, ...]
    manifest: Manifest


def name_of(package: str, version: str) -> str:
    """An entry's directory name.  A colon, as of an epoch, would end it in LD_LIBRARY_PATH."""
    return f"{package}_{version}".replace("%", "%25").replace(":", "%3a").replace("/", "%2f")


def every() -> tuple[Entry, ...]:
    """All entries of this user that are whole; never raises."""
    try:
        folders = sorted((cache.root() / "runtimes").iterdir())
    except (OSError, CannotRun):
        return ()
    found = (read(folder) for folder in folders if not folder.name.startswith("."))
    return tuple(entry for entry in found if entry is not None)


def read(folder: Path) -> Entry | None:
    """The entry in a directory; None if it is not whole."""
    try:
        manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    except (OSError, msgspec.DecodeError):
        return None
    if manifest.manifest_version != MANIFEST_VERSION or _leaves(manifest.runtime):
        return None
    runtime = folder / manifest.runtime
    if not runtime.is_file():
        return None
    return Entry(
        path=str(folder),
        package=manifest.package,
        version=manifest.version,
        runtime=str(runtime),
        library_dirs=tuple(str(folder / each) for each in manifest.library_dirs),
        manifest=manifest,
    )


def _leaves(relative: str) -> bool:
    """Whether a path leads out of the entry that it is in."""
    return os.path.isabs(relative) or ".." in Path(relative).parts
