"""`xdiag runtimes add`: AMD's HIP runtime from the distribution's packages, without root.

The package is unpacked, with those of its dependencies that the system lacks, into a directory of
the user's cache.  It is put together aside and renamed when it is whole, under a lock, so that an
interrupted fetch leaves nothing that could be taken for a runtime.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import tempfile
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from xdiag.errors import CannotRun, Usage, XdiagError, near_matches
from xdiag.model import Record
from xdiag.runtimes import cache, entries, find
from xdiag.runtimes.apt import Apt, Failed, Planned, free_bytes, installed, unpack
from xdiag.runtimes.runtime_file import read_runtime, sha256

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Say = Callable[[str], None]

#: Debian's and Ubuntu's packages of the HIP runtime: libamdhip64-5, libamdhip64-6, ...
_PREFIX = "libamdhip64-"
_PACKAGE = re.compile(_PREFIX + r"([0-9]+)")
#: A second C library in the loader's path does not work with the first one's loader.
_OF_THE_SYSTEM = ("libc6", "libc6-i386")
_PARTIAL = ".partial-"
#: Bytes that package lists, packages and their contents take together, where most of what the
#: runtime depends on is there: asked for first, because apt copes badly with a full disk.
_ROOM = 200 << 20


class Added(Record, frozen=True):
    """What `add` has to show for it."""

    package: str
    version: str
    #: cache; system for a package that is installed system-wide.
    source: str
    #: False if it was there already.
    new: bool
    #: The runtime's file; empty for one of the system's that is not where it should be.
    runtime: str = ""
    #: The entry's directory, for one in the cache.
    path: str = ""
    packages: tuple[str, ...] = ()


def add(say: Say, package: str | None = None, *, again: bool = False) -> Added:
    """Fetch a HIP runtime into the user's cache, the newest unless ``package`` names one.

    Does nothing, and needs no network, where there is one; ``again`` fetches all the same.
    ``say`` is told of each thing that takes a while.
    Raises Usage for a package that is none, CannotRun where it cannot be done, with what to do.
    """
    if package is not None and not _PACKAGE.fullmatch(package):
        raise Usage(f"{package!r} is no package of the HIP runtime; one is called {_PREFIX}5")
    present = installed(_PREFIX)
    here = {name: version for name, version in present.items() if _PACKAGE.fullmatch(name)}
    if wanted := (package if package in here else None) or (not package and _newest(list(here))):
        return _of_the_system(wanted, here[wanted], say)
    folder = cache.folder("runtimes")
    try:
        with _lock(folder, say), _workplace(folder) as work:
            return _add(folder, work, package, again, say)
    except OSError as error:
        raise _explained(error, folder) from error


def _refuse_small_disk(folder: Path) -> None:
    free = free_bytes(folder)
    if free < _ROOM:
        raise CannotRun(
            f"{folder} has {free >> 20} MiB free, a runtime needs {_ROOM >> 20}: make room, or set"
            " XDG_CACHE_HOME to another disk"
        )


def _add(folder: Path, work: Path, package: str | None, again: bool, say: Say) -> Added:
    kept = [each for each in entries.every() if package in (None, each.package)]
    if kept and not again:
        return _already(max(kept, key=lambda each: find.version_key(each.version)), say)
    _refuse_small_disk(folder)
    say("Asking apt what it knows")
    apt = Apt(_fresh(work / "apt"), own_lists=False)
    chosen = _choose(apt, package)
    if chosen is None:
        # The lists are empty, as in a fresh container, or older than the package.
        apt, chosen = _with_own_lists(work, package, say)
    name, version = chosen
    destination = folder / entries.name_of(name, version)
    try:
        entry = _build(apt, work, name, version, say)
    except Failed as error:
        if not error.stale:
            raise
        # The system's lists name a version that the servers have replaced since.
        shutil.rmtree(work / "apt")
        apt, (name, version) = _with_own_lists(work, package or name, say)
        destination = folder / entries.name_of(name, version)
        entry = _build(apt, work, name, version, say)
    _replace(destination, entry, work)
    added = entries.read(destination)
    assert added is not None
    say(f"Added {name} {version} in {destination}")
    return _added(added, new=True)


def _build(apt: Apt, work: Path, name: str, version: str, say: Say) -> Path:
    """Fetch and unpack a package and what it needs; returns the finished entry's directory."""
    planned = apt.plan(name, version)
    _refuse_system_parts(name, planned)
    downloads, unpacked = _fresh(work / "downloads"), _fresh(work / "entry")
    packages = []
    for each in planned:
        say(f"Fetching {each.name} {each.version}")
        file = apt.download(each, downloads)
        unpack(file, unpacked)
        packages.append(entries.Package(each.name, each.version, sha256(file), file.stat().st_size))
        file.unlink()
    runtime = _runtime_in(unpacked, name)
    directories = sorted({path.parent for path in unpacked.rglob("*.so*") if path.is_file()})
    # The runtime's own directory first: plug-ins of others may lie in the rest.
    directories.sort(key=lambda path: path != runtime.parent)
    manifest = entries.Manifest(
        manifest_version=entries.MANIFEST_VERSION,
        package=name,
        version=version,
        runtime=str(runtime.relative_to(unpacked)),
        library_dirs=tuple(str(path.relative_to(unpacked)) for path in directories),
        packages=tuple(packages),
        fetched=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )
    text = msgspec.json.format(msgspec.json.encode(manifest))
    (unpacked / entries.MANIFEST).write_bytes(text + b"\n")
    return unpacked


def _choose(apt: Apt, package: str | None) -> tuple[str, str] | None:
    """The package to fetch, and its version; None if apt knows of none."""
    names = [package] if package else [n for n in apt.names(_PREFIX) if _PACKAGE.fullmatch(n)]
    versions = {name: apt.candidate(name) for name in names}
    newest = _newest([name for name, version in versions.items() if version])
    return (newest, versions[newest]) if newest else None


def _with_own_lists(work: Path, package: str | None, say: Say) -> tuple[Apt, tuple[str, str]]:
    """Apt on lists fetched for this once; raises CannotRun if they do not have the package."""
    say("Fetching package lists (the system's are of no use here)")
    apt = Apt(_fresh(work / "apt"), own_lists=True)
    trouble = apt.update()
    chosen = _choose(apt, package)
    if chosen is not None:
        return apt, chosen
    if trouble:
        raise CannotRun(f"cannot fetch package lists: {trouble}")
    known = [name for name in apt.names(_PREFIX) if _PACKAGE.fullmatch(name)]
    hint = near_matches(package, known) if package else ""
    raise CannotRun(
        f"this system's package sources have no {package or _PREFIX + 'N'}{hint or ''}"
        + ("" if hint else "; name a runtime of your own with --runtime PATH")
    )


def _refuse_system_parts(name: str, planned: tuple[Planned, ...]) -> None:
    for each in planned:
        if each.name in _OF_THE_SYSTEM:
            raise CannotRun(
                f"{name} needs a newer C library ({each.name} {each.version}) than this system's"
                f" {each.replaces}: upgrade the system, or add an older runtime"
            )


def _runtime_in(unpacked: Path, package: str) -> Path:
    """The runtime among unpacked files; raises CannotRun if there is none that can be used."""
    problem = "it holds no libamdhip64.so"
    for path in sorted(unpacked.rglob("libamdhip64.so*")):
        if path.is_file():
            try:
                read_runtime(path)
            except XdiagError as error:
                problem = str(error)
            else:
                return path
    raise CannotRun(f"{package} was fetched, but is of no use: {problem}")


# ---- answers ---------------------------------------------------------------------------------


def _of_the_system(package: str, version: str, say: Say) -> Added:
    say(f"{package} {version} is installed on this system: nothing to fetch")
    number = package.removeprefix(_PREFIX)
    runtime = find.loader_finds(f"libamdhip64.so.{number}")
    return Added(package, version, source="system", new=False, runtime=runtime)


def _already(entry: entries.Entry, say: Say) -> Added:
    say(f"{entry.package} {entry.version} is there already, in {entry.path}")
    return _added(entry, new=False)


def _added(entry: entries.Entry, *, new: bool) -> Added:
    return Added(
        package=entry.package,
        version=entry.version,
        source="cache",
        new=new,
        runtime=entry.runtime,
        path=entry.path,
        packages=tuple(f"{each.name} {each.version}" for each in entry.manifest.packages),
    )


def _newest(names: list[str]) -> str:
    """The package with the highest number; empty if there is none."""
    numbered = [(int(match[1]), name) for name in names if (match := _PACKAGE.fullmatch(name))]
    return max(numbered)[1] if numbered else ""


# ---- files -----------------------------------------------------------------------------------


@contextmanager
def _lock(folder: Path, say: Say) -> Iterator[None]:
    """Be the only one of this user who adds a runtime."""
    with open(folder / ".lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Another xdiag is adding a runtime: waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def _workplace(folder: Path) -> Iterator[Path]:
    """A private directory beside the entries, gone at the end; the lock has to be held."""
    for stale in folder.glob(_PARTIAL + "*"):
        shutil.rmtree(stale, ignore_errors=True)
    work = Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=folder))
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _fresh(path: Path) -> Path:
    """An empty directory at this path."""
    if path.exists():
        shutil.rmtree(path)
    path.mkdir()
    return path


def _replace(destination: Path, entry: Path, work: Path) -> None:
    """Put a finished entry in its place; what processes have mapped of an old one stays theirs."""
    entry.chmod(0o755)
    if destination.exists():
        destination.rename(work / "old")
    entry.rename(destination)


def _explained(error: OSError, folder: Path) -> CannotRun:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return CannotRun(
            f"no space left for {folder}: make room, or set XDG_CACHE_HOME to another disk"
        )
    reason = error.strerror or str(error)
    where = os.fsdecode(error.filename) if error.filename else str(folder)
    return CannotRun(f"cannot write to the cache: {where}: {reason}; set XDG_CACHE_HOME")
