"""What `xdiag runtimes add` has put into the cache: one directory per runtime, with a manifest.

An entry counts as long as it is what was fetched.  Each look at it holds the sizes and times of its
files against the manifest, which costs a few stats; ``damage`` reads them and holds their hashes
against it, ``damage_of_main`` only those of the files that matter most.  One that differs is
refused, with the reason, and is never used.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

import msgspec

from xdiag.discover.libraries import version_key
from xdiag.errors import CannotRun
from xdiag.model import Record
from xdiag.runtimes import cache
from xdiag.runtimes.runtime_file import sha256

if TYPE_CHECKING:
    from collections.abc import Sequence

MANIFEST = "manifest.json"
#: The file of the C library itself, by the name that all programs know it by.
_LIBC = "libc.so.6"
#: Raised when an older xdiag would misread a manifest.  Version 1 says nothing of single files and
#: has no C library of its own; it is still read.
MANIFEST_VERSION = 2

#: A Debian version's upstream part, as far as it is numbers: after the epoch, before the revision.
_UPSTREAM = re.compile(r"(?:[0-9]+:)?([0-9]+(?:\.[0-9]+)*)")


class Package(Record, frozen=True):
    """One package that was fetched."""

    name: str
    version: str
    sha256: str
    size: int


class File(Record, frozen=True):
    """One file of an entry, or one symbolic link, by its path in the entry."""

    path: str
    #: Bytes.
    size: int = 0
    #: When it was last modified, in nanoseconds since 1970: as its package has it.
    modified: int = 0
    sha256: str = ""
    #: What a symbolic link says; empty for a file.
    link: str = ""


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
    #: The archive's suite that it is from, by code name; empty for the machine's own sources.
    suite: str = ""
    #: The dynamic loader, for an entry that has a C library of its own.
    loader: str = ""
    libc: str = ""
    libc_dirs: tuple[str, ...] = ()
    needs_libc: str = ""
    files: tuple[File, ...] = ()


class Entry(Record, frozen=True):
    """A runtime in the cache; paths are absolute."""

    path: str
    package: str
    #: The Debian version.
    version: str
    runtime: str
    #: For LD_LIBRARY_PATH: all libraries but those of the C library.
    library_dirs: tuple[str, ...]
    manifest: Manifest
    #: The entry's own dynamic loader, by which a program runs on the entry's own C library; empty
    #: where it has none and the machine's is meant.
    loader: str = ""
    #: The version of that C library, such as 2.41; empty where there is none.
    libc: str = ""
    #: Directories of that C library's files, which work with no loader but the entry's own.
    libc_dirs: tuple[str, ...] = ()
    #: The newest GLIBC_ symbol version that a library in ``library_dirs`` asks for, such as 2.38: a
    #: loader of an older C library refuses them.  Empty where it is not known.
    needs_libc: str = ""

    @property
    def hip(self) -> str:
        """The version that people know: 5.7.1 of 5.7.1-6."""
        return upstream(self.version)

    @property
    def size(self) -> int:
        """Bytes on disk, as far as the manifest tells; 0 for one of version 1."""
        return sum(each.size for each in self.manifest.files)


class Refused(Record, frozen=True):
    """A directory among the entries that is not used."""

    path: str
    reason: str


def name_of(package: str, version: str) -> str:
    """An entry's directory name.  A colon, as of an epoch, would end it in LD_LIBRARY_PATH."""
    return f"{package}_{version}".replace("%", "%25").replace(":", "%3a").replace("/", "%2f")


def named(name: str) -> tuple[str, str]:
    """The package and the version of a directory that ``name_of`` has named."""
    package, _, version = unquote(name).partition("_")
    return package, version


def upstream(version: str) -> str:
    """The upstream part of a Debian version, as far as it is numbers; all of one that has none."""
    match = _UPSTREAM.match(version)
    return match[1] if match else version


def means(text: str, package: str, version: str) -> bool:
    """Whether ``text`` names a package of this version: 7, 7.2, 7.2.4, 7.2.4-1 or the package."""
    return text in (package, version) or f"{upstream(version)}.".startswith(f"{text}.")


def every() -> tuple[Entry, ...]:
    """All entries of this user that are whole; never raises."""
    found = map(_look, _folders())
    return tuple(each for each in found if isinstance(each, Entry))


def refused() -> tuple[Refused, ...]:
    """All directories among the entries that are not used, and why; never raises."""
    found = map(_look, _folders())
    return tuple(each for each in found if isinstance(each, Refused))


def by_version(text: str) -> Entry | None:
    """The entry of this HIP version (7, 7.2, 7.2.4), Debian version or package; the newest."""
    found = [each for each in every() if means(text, each.package, each.version)]
    return max(found, key=lambda each: version_key(each.version), default=None)


def read(folder: Path) -> Entry | None:
    """The entry in a directory; None if it is not whole, or not what was fetched any more."""
    found = _look(folder)
    return found if isinstance(found, Entry) else None


def holding(path: str) -> Entry | Refused | None:
    """What holds a file, in this user's cache or in any other directory; None if nothing does.

    The directory that a file is in tells it, not what the file is: one beside a fetched runtime is
    held by the entry too.
    """
    ours = {os.path.realpath(each) for each in _folders()}
    places = dict.fromkeys(
        (*Path(os.path.abspath(path)).parents, *Path(os.path.realpath(path)).parents)
    )
    for folder in places:
        # Elsewhere a file of this name may be anything.
        if os.path.realpath(folder) in ours or _has_manifest(folder):
            return _look(folder)
    return None


def mended_by(folder: str) -> str:
    """What mends a refused entry, as an addition to a sentence."""
    place = Path(folder)
    version = named(place.name)[1]
    try:
        ours = os.path.realpath(place.parent) == os.path.realpath(cache.root() / "runtimes")
    except CannotRun:
        ours = False
    if ours and version:
        return f"mended by: xdiag runtimes add {version}"
    return "fetch it anew, with xdiag runtimes add, or copy it again with its times (cp -a)"


def damage(entry: Entry) -> str:
    """Read every file of an entry: how the first differs from what was fetched; empty if none does.

    An entry of version 1 has no hashes of single files: nothing is found wrong with it.
    """
    return _damage(Path(entry.path), entry.manifest.files)


def damage_of_main(entry: Entry) -> str:
    """What ``damage`` says of the runtime itself, the C library and its loader.

    These are read before each use: 20 to 50 ms for a runtime of 14 to 27 MB (SHA-256, one core).
    """
    folder = Path(entry.path)
    wanted = {os.path.realpath(each) for each in (entry.runtime, entry.loader) if each}
    wanted |= {os.path.realpath(os.path.join(each, _LIBC)) for each in entry.libc_dirs}
    return _damage(
        folder,
        [each for each in entry.manifest.files
         if not each.link and os.path.realpath(folder / each.path) in wanted],
    )  # fmt: skip


def mend_times(folder: Path) -> bool:
    """Whether a refused entry holds what was fetched, and only its files' times differed.

    They are set right then, as after a copy of the cache: it counts again, with nothing fetched.
    """
    try:
        manifest = _manifest(folder)
    except ValueError:
        return False
    if _damage(folder, manifest.files):
        return False
    try:
        for each in manifest.files:
            if not each.link:
                os.utime(folder / each.path, ns=(each.modified, each.modified))
    except OSError:
        return False
    return read(folder) is not None


def file_of(folder: Path, path: Path) -> File:
    """What the manifest has to say of a file or link; raises OSError if it cannot be read."""
    relative = str(path.relative_to(folder))
    if path.is_symlink():
        return File(relative, link=os.readlink(path))
    status = path.stat()
    return File(relative, status.st_size, status.st_mtime_ns, sha256(path))


def _folders() -> list[Path]:
    try:
        folders = sorted((cache.root() / "runtimes").iterdir())
    except (OSError, CannotRun):
        return []
    return [each for each in folders if not each.name.startswith(".")]


def _look(folder: Path) -> Entry | Refused:
    try:
        manifest = _manifest(folder)
        _refuse_other(folder, manifest)
    except ValueError as error:
        return Refused(str(folder), str(error))
    return Entry(
        path=str(folder),
        package=manifest.package,
        version=manifest.version,
        runtime=str(folder / manifest.runtime),
        library_dirs=tuple(str(folder / each) for each in manifest.library_dirs),
        manifest=manifest,
        loader=str(folder / manifest.loader) if manifest.loader else "",
        libc=manifest.libc,
        libc_dirs=tuple(str(folder / each) for each in manifest.libc_dirs),
        needs_libc=manifest.needs_libc,
    )


def _has_manifest(folder: Path) -> bool:
    """Whether a directory has a manifest of xdiag's, and not only a file of that name."""
    path = folder / MANIFEST
    try:
        # Not a pipe, which would be waited for.
        return path.is_file() and bool(msgspec.json.decode(path.read_bytes(), type=Manifest))
    except (OSError, ValueError, RecursionError):
        return False


def _manifest(folder: Path) -> Manifest:
    """The manifest in a directory; raises ValueError, with what is wrong, if it is of no use."""
    try:
        manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    except OSError:
        raise ValueError("it has no manifest, as if a fetch had been interrupted") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise ValueError("its manifest is damaged") from None
    if not 1 <= manifest.manifest_version <= MANIFEST_VERSION:
        raise ValueError("another version of xdiag has fetched it")
    paths = (manifest.runtime, manifest.loader, *manifest.library_dirs, *manifest.libc_dirs)
    if any(map(_leaves, (*paths, *(each.path for each in manifest.files)))):
        raise ValueError("its manifest is damaged: it names files elsewhere")
    return manifest


def _refuse_other(folder: Path, manifest: Manifest) -> None:
    """Raises ValueError if what is there differs at a glance from what was fetched."""
    if not (folder / manifest.runtime).is_file():
        raise ValueError(f"{manifest.runtime} is missing")
    for each in manifest.files:
        if problem := _differs(folder / each.path, each):
            raise ValueError(f"{each.path} {problem}")
    if manifest.files:
        _refuse_strangers(folder, manifest)


def _refuse_strangers(folder: Path, manifest: Manifest) -> None:
    """Raises ValueError for a file that was not fetched: a library's plug-in, or another library.

    A directory on the loader's path is looked at, the others hold nothing that is mapped.
    """
    known = {each.path for each in manifest.files}
    for directory in (*manifest.library_dirs, *manifest.libc_dirs):
        try:
            with os.scandir(folder / directory) as inside:
                names = [each.name for each in inside if not each.is_dir(follow_symlinks=False)]
        except OSError as error:
            raise ValueError(f"{directory} cannot be read: {error.strerror}") from None
        for name in names:
            if os.path.join(directory, name) not in known:
                raise ValueError(f"{directory}/{name} was not fetched")


def _differs(path: Path, file: File) -> str:
    """How a file differs from what was fetched, as far as its inode tells; empty if it does not."""
    try:
        status = path.lstat()
        if file.link:
            same = stat.S_ISLNK(status.st_mode) and os.readlink(path) == file.link
            return "" if same else "is another link than was fetched"
    except OSError:
        return "is missing"
    if not stat.S_ISREG(status.st_mode) or status.st_size != file.size:
        return "has another size than was fetched"
    return "" if status.st_mtime_ns == file.modified else "has changed since it was fetched"


def _damage(folder: Path, files: Sequence[File]) -> str:
    for each in files:
        path = folder / each.path
        if each.link:
            problem = _differs(path, each)
        else:
            try:
                same = not path.is_symlink() and sha256(path) == each.sha256
            except OSError as error:
                return f"{each.path}: {error.strerror or error}"
            problem = "" if same else "is not what was fetched"
        if problem:
            return f"{each.path} {problem}"
    return ""


def _leaves(relative: str) -> bool:
    """Whether a path leads out of the entry that it is in."""
    return os.path.isabs(relative) or ".." in Path(relative).parts
