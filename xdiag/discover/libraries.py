"""GPU runtime libraries on disk: every file of them, under all its names.

Two files with the same bytes are two runtimes to the dynamic loader, and two names for one file
are one: device and inode decide (elf/dl-load.c, _dl_map_object_from_fd).  So a file is listed once,
with every name that leads to it.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from msgspec.structs import replace

from xdiag import platforms
from xdiag.discover import elf
from xdiag.discover.names import SHIM, SHIM_SONAME, as_text, family_of, version_in
from xdiag.loaded import FAMILIES, is_named
from xdiag.model import Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from xdiag.discover.elf import Elf
    from xdiag.discover.rocm import Installation, Wheel
    from xdiag.discover.root import Root
    from xdiag.discover.torch import Torch
    from xdiag.discover.tree import Tree

_PLATFORMS = tuple(map(platforms.get, platforms.names()))
#: Family -> the export without which a file is none of it, whatever its name.
_PROOFS = {each.library.removesuffix(".so"): each.proof for each in _PLATFORMS}
_TITLES = {each.proof: each.title for each in _PLATFORMS}
#: Bytes of a file that are compared with another's; a HIP runtime has 30 MB, comgr 150.
_MOST_COMPARED = 256 << 20
_BLOCK = 1 << 20


class LibraryFile(Record, frozen=True):
    """One file, which is one runtime once it is loaded."""

    #: The first name under which it was found.
    path: str
    real_path: str
    device: int
    inode: int
    #: Where it was found first: torch, rocm, package, system; cache or option in
    #: ``xdiag.runtimes``.
    source: str
    #: libamdhip64, ...; libshimhip for XSched's shim under the runtime's name.
    family: str = "libamdhip64"
    size: int = 0
    soname: str = ""
    build_id: str = ""
    #: As its file name, or the package that it is part of, tells.
    version: str = ""
    #: All names that lead to it, ``path`` first.
    names: tuple[str, ...] = ()
    #: Directories of its names and of the file itself, where the libraries that came with it are.
    library_dirs: tuple[str, ...] = ()
    needed: tuple[str, ...] = ()
    #: DT_RPATH and DT_RUNPATH, those that it has.
    rpath: tuple[str, ...] = ()
    #: Package that it is part of, where the place tells: of Python, or of xdiag's cache.
    package: str = ""
    #: Why it cannot be used, in one line.
    problem: str = ""

    @property
    def is_there(self) -> bool:
        """Whether there is a file: a link may lead nowhere."""
        return self.inode != 0


class Libraries(Record, frozen=True):
    """All runtime libraries on disk, and where they were looked for."""

    files: tuple[LibraryFile, ...]
    #: One sentence per place: what it was and what was there.
    looked: tuple[str, ...] = ()

    def of(self, family: str) -> tuple[LibraryFile, ...]:
        """The files of one family."""
        return tuple(each for each in self.files if each.family == family)


@dataclass(frozen=True)
class Place:
    """Somewhere libraries are: directories, or files by path."""

    source: Literal["torch", "rocm", "package", "system", "environment", "cache", "option"]
    words: str
    folders: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    #: What the place tells of the version of HIP in it.
    version: str = ""
    package: str = ""
    #: Directories that the library needs besides its own.
    library_dirs: tuple[str, ...] = ()


def find(
    root: Root, places: Iterable[Place], families: Sequence[str] = tuple(FAMILIES)
) -> Libraries:
    """The files of ``families`` in ``places``, in that order."""
    found: dict[object, LibraryFile] = {}
    looked: dict[str, int] = {}
    for place in places:
        looked.setdefault(place.words, 0)
        for path in _paths(place, families, root):
            file = library(path, place, root, _family(os.path.basename(path), families))
            if file is not None:
                looked[place.words] += file.is_there
                _add(found, file)
    sentences = (f"{words}: {_count(seen)}" for words, seen in looked.items())
    return Libraries(tuple(found.values()), tuple(sentences))


# ---- places ----------------------------------------------------------------------------------


def in_torch(torches: Sequence[Torch]) -> Iterator[Place]:
    """The library directory of each PyTorch."""
    if not torches:
        yield Place("torch", "torch (not installed)")
    for torch in torches:
        hip = re.match(r"[0-9.]+", torch.hip)
        folders = (torch.library_dir,) if torch.library_dir else ()
        yield Place("torch", f"torch ({torch.folder})", folders, version=hip[0] if hip else "",
                    package="torch")  # fmt: skip


def in_rocm(installations: Sequence[Installation], wheels: Sequence[Wheel]) -> Iterator[Place]:
    """AMD's Python packages of ROCm, then its installations."""
    for wheel in wheels:
        if wheel.library_dirs:
            words = f"the Python package {wheel.package}"
            yield Place("rocm", words, wheel.library_dirs, package=wheel.package)
    if not any(each.prefix == each.because for each in installations):
        yield Place("rocm", "/opt/rocm (absent)")
    for each in installations:
        yield Place("rocm", each.because, each.library_dirs)


def in_system(
    environ: Mapping[str, str], cached: Iterable[str], folders: Iterable[str] | None = None
) -> Place:
    """Where the dynamic loader looks: LD_LIBRARY_PATH, its cache, its directories.

    ``cached`` are paths that the cache lists; ``folders`` are the usual directories if not told.
    """
    # Colons or semicolons (ld.so(8)); an empty entry is the working directory, whichever that is.
    told = [each for each in re.split("[:;]", environ.get("LD_LIBRARY_PATH", "")) if each]
    return Place(
        "system",
        "the dynamic loader's directories",
        folders=(*told, *(usual_folders() if folders is None else folders)),
        paths=tuple(cached),
    )


def in_environment(environ: Mapping[str, str], cwd: str) -> Iterator[Place]:
    """Files that variables name: for the loader, or for one package that opens a runtime."""
    for name in ("LD_PRELOAD", "XSCHED_HIP_LIB", "TRITON_LIBHIP_PATH"):
        told = [each for each in re.split("[: ]", environ.get(name, "")) if "/" in each]
        if told:
            paths = tuple(os.path.join(cwd, each) for each in told)
            yield Place("environment", name, paths=paths)


def usual_folders() -> tuple[str, ...]:
    """The directories that loaders have built in, on Debian's systems and on Red Hat's."""
    triplet = f"{os.uname().machine}-linux-gnu"
    return (f"/usr/lib/{triplet}", f"/lib/{triplet}", "/usr/lib64", "/lib64", "/usr/lib", "/lib",
            "/usr/local/lib", f"/usr/local/lib/{triplet}")  # fmt: skip


def in_packages(tree: Tree) -> Iterator[Place]:
    """Python packages that bundle a runtime, wherever in them."""
    for folder in tree.folders:
        names = [name for name in folder.files if family_of(name)]
        if names:
            paths = tuple(f"{folder.path}/{name}" for name in sorted(names))
            package = folder.package.removesuffix(".libs")
            words = f"the Python package {as_text(package)}"
            yield Place("package", words, paths=paths, package=as_text(package))


def _paths(place: Place, families: Sequence[str], root: Root) -> Iterator[str]:
    """Paths of libraries there, the plainest name of a directory first."""
    listed: set[str] = set()
    told = iter(place.folders)
    for folder in told:
        try:
            real = root.real_path(folder)
        except OSError:
            continue
        # /lib is /usr/lib on most systems: one directory is listed once.
        if real in listed:
            continue
        listed.add(real)
        for name in root.names(folder):
            if _family(name, families):
                yield os.path.join(folder, name)
    for path in place.paths:
        if _family(os.path.basename(path), families):
            yield path


def _family(name: str, families: Sequence[str]) -> str:
    """Which of these families a file is of, by its name; empty if of none."""
    if not name.startswith(tuple(families)):
        return ""
    encoded = os.fsencode(name)
    return next((family for family in families if is_named(family, encoded)), "")


# ---- files -----------------------------------------------------------------------------------


def read(path: str, root: Root, proof: str = "") -> Elf:
    """What a library says of itself; raises BadElf where it is none.

    Besides what ``elf.read`` finds wrong: ``not-loadable`` for a program, and ``other-library``
    for a runtime that does not export ``proof``.
    """
    facts = elf.read(path, root)
    if not facts.dynamic or (facts.executable and not facts.soname):
        raise elf.BadElf(f"{path}: not a shared library", "not-loadable")
    if proof and not elf.exports(path, proof, root):
        raise elf.BadElf(
            f"{path}: a shared library but no {_TITLES[proof]} runtime: it does not export {proof}",
            "other-library",
        )
    return facts


def library(path: str, place: Place, root: Root, family: str = "") -> LibraryFile | None:
    """What is at this path; None for nothing at all.

    Nothing that can be shown, that is: a path has to be text to go into a report.  ``family`` is
    for a file whose name does not tell.
    """
    try:
        path = os.path.normpath(path) if os.path.isabs(path) else os.path.abspath(path)
        path.encode()
        root.lstat(path)
    except (OSError, ValueError):
        return None
    try:
        real = root.real_path(path)
        real.encode()
    except OSError:  # links in a circle: as with one that leads nowhere, the name is all there is
        real = path
    except ValueError:
        return None
    folder, name = os.path.split(path)
    family = family or family_of(name)
    named = version_in(os.path.basename(real))
    told = place.version if family in ("libamdhip64", "libhiprtc") else ""
    file = LibraryFile(
        path=path, real_path=real, device=0, inode=0, source=place.source, family=family,
        version=told or named, names=(path,), package=place.package,
        library_dirs=tuple(dict.fromkeys([*place.library_dirs, os.path.dirname(real), folder])),
    )  # fmt: skip
    try:
        status = root.stat(path)
    except OSError as error:
        return replace(file, problem=f"{path}: a link that leads nowhere ({error.strerror})")
    file = replace(file, device=status.st_dev, inode=status.st_ino, size=status.st_size)
    try:
        facts = read(path, root, _PROOFS.get(family, ""))
    except elf.BadElf as error:
        return replace(file, problem=str(error))
    return replace(
        file,
        family=SHIM if facts.soname == SHIM_SONAME else family,
        soname=as_text(facts.soname),
        build_id=facts.build_id,
        needed=tuple(map(as_text, facts.needed)),
        rpath=tuple(as_text(each) for each in (facts.rpath, facts.runpath) if each),
    )


def _add(found: dict[object, LibraryFile], new: LibraryFile) -> None:
    """Add a file, or its name to the one that is the same file."""
    key = (new.device, new.inode) if new.is_there else new.path
    old = found.setdefault(key, new)
    if old is not new:
        found[key] = replace(
            old,
            names=tuple(dict.fromkeys([*old.names, *new.names])),
            library_dirs=tuple(dict.fromkeys([*old.library_dirs, *new.library_dirs])),
            version=max(old.version, new.version, key=version_key),
            package=old.package or new.package,
        )


def version_key(version: str) -> tuple[int, ...]:
    """What versions are ordered by; an unknown one comes before all others."""
    return tuple(int(number) for number in re.findall(r"[0-9]+", version)[:3])


def _count(number: int) -> str:
    return {0: "none", 1: "one file"}.get(number, f"{number} files")


# ---- copies ----------------------------------------------------------------------------------


class Copies(Record, frozen=True):
    """Files with different inodes that are one library all the same."""

    files: tuple[LibraryFile, ...]
    #: What they have in common: all bytes, or only the linker's build id, as after ``patchelf``
    #: or ``strip``.
    same: Literal["bytes", "build id"]


def copies(files: Iterable[LibraryFile], root: Root) -> tuple[Copies, ...]:
    """Groups of copies among ``files``.

    Only files of one family and equal size, or equal build id, are opened.  Comparing two runtimes
    of 30 MB takes about 15 ms once they are in memory, and as long as reading them where not.
    """
    alike: dict[tuple[str, str, int], list[LibraryFile]] = {}
    for each in files:
        if each.is_there:
            key = (each.family, each.build_id, 0 if each.build_id else each.size)
            alike.setdefault(key, []).append(each)
    found = []
    for (_, build_id, _), group in alike.items():
        rest = group
        while len(rest) > 1:
            equal = [rest[0], *(each for each in rest[1:] if _same_bytes(rest[0], each, root))]
            if len(equal) == len(group):
                found.append(Copies(tuple(equal), "bytes"))
                rest = []
            elif build_id:
                found.append(Copies(tuple(group), "build id"))
                rest = []
            else:
                if len(equal) > 1:
                    found.append(Copies(tuple(equal), "bytes"))
                rest = [each for each in rest if each not in equal]
    return tuple(found)


def _same_bytes(one: LibraryFile, other: LibraryFile, root: Root) -> bool:
    if one.size != other.size or one.size > _MOST_COMPARED:
        return False
    try:
        with root.open(one.path) as first, root.open(other.path) as second:
            while True:
                block = first.read(_BLOCK)
                if block != second.read(_BLOCK):
                    return False
                if not block:
                    return True
    except OSError:
        return False
