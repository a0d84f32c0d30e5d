"""Package files to an entry of the cache: unpacked, cut down to libraries, described.

Only shared libraries are kept.  What else their packages hold (headers, character sets, lists of
devices) they look for under /usr, where an entry is not; it would be dead weight here.
"""

from __future__ import annotations

import os
import re
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import msgspec

from xdiag.discover import elf
from xdiag.discover.elf import BadElf
from xdiag.discover.libraries import version_key
from xdiag.discover.root import Root
from xdiag.errors import CannotRun, XdiagError
from xdiag.runtimes import apt, entries
from xdiag.runtimes.runtime_file import read_runtime, sha256

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

#: The source of the C library's packages in Debian, and where their files go in an entry.
_LIBC_SOURCE = "glibc"
_LIBC = "libc"
_LIBRARY = re.compile(r".+\.so(?:\.[0-9.]+)?")
_LOADER = re.compile(r"ld(?:-linux.*|64)\.so\.[0-9]+")
#: Converters of character sets, which iconv looks for in the system's directory.
_CONVERTERS = "gconv"
_NEED = re.compile(r"GLIBC_([0-9]+(?:\.[0-9]+)+)")


def assemble(
    planned: Sequence[apt.Planned],
    files: Mapping[str, Path],
    into: Path,
    suite: str,
    say: Callable[[str], None],
) -> None:
    """Make an entry in the empty directory ``into``; the last package is the runtime's.

    With a ``suite`` the packages are a system of their own, with a C library.  The package files
    are removed on the way, for the disk's sake.  Raises CannotRun if there is no runtime in them.
    """
    packages, libc = [], ""
    for each in planned:
        file = files[each.name]
        say(f"Unpacking {each.name} {each.version}")
        place = into
        if suite and apt.source_of(file) == _LIBC_SOURCE:
            place, libc = into / _LIBC, entries.upstream(each.version)
            place.mkdir(exist_ok=True)
        apt.unpack(file, place)
        packages.append(entries.Package(each.name, each.version, sha256(file), file.stat().st_size))
        file.unlink()
    prune(into)
    main = planned[-1]
    runtime = _runtime_in(into, main.name)
    libraries = [path for path in _files(into) if not path.is_symlink()]
    own = [path for path in libraries if libc and path.is_relative_to(into / _LIBC)]
    others = [path for path in libraries if path not in set(own)]
    loader = _loader_among(own, main.name) if suite else None
    manifest = entries.Manifest(
        manifest_version=entries.MANIFEST_VERSION,
        package=main.name,
        version=main.version,
        runtime=_relative(runtime, into),
        # The runtime's own directory first: plug-ins of others may lie in the rest.
        library_dirs=_directories(others, into, runtime),
        packages=tuple(packages),
        fetched=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        suite=suite,
        loader=_relative(loader, into) if loader else "",
        libc=libc,
        libc_dirs=_directories(own, into, loader) if loader else (),
        needs_libc=needed_libc(others),
        files=tuple(entries.file_of(into, path) for path in _files(into)),
    )
    text = msgspec.json.format(msgspec.json.encode(manifest))
    (into / entries.MANIFEST).write_bytes(text + b"\n")


def prune(top: Path) -> None:
    """Remove what is no shared library, and links that lead out of ``top`` or nowhere."""
    real_top = os.path.realpath(top)
    for folder, directories, names in os.walk(top, topdown=False):
        for name in (*names, *directories):
            path = os.path.join(folder, name)
            if os.path.islink(path):
                target = os.path.realpath(path)
                kept = os.path.isfile(target) and target.startswith(real_top + os.sep)
            else:
                kept = os.path.isfile(path) and os.path.basename(folder) != _CONVERTERS
            if os.path.isdir(path) and not os.path.islink(path):
                if not os.listdir(path):
                    os.rmdir(path)
            elif not kept or not _LIBRARY.fullmatch(name):
                os.unlink(path)


def needed_libc(libraries: Sequence[Path]) -> str:
    """The newest version of the C library that one of these asks for; empty if none does."""
    found: dict[str, tuple[int, ...]] = {"": ()}
    for path in libraries:
        try:
            asked = elf.version_needs(str(path), Root())
        except BadElf:  # a linker script
            continue
        versions = (match[1] for each in asked if (match := _NEED.fullmatch(each)))
        found |= {version: version_key(version) for version in versions}
    return max(found, key=lambda each: found[each])


def _files(top: Path) -> list[Path]:
    return sorted(path for path in top.rglob("*") if path.is_symlink() or path.is_file())


def _directories(files: Sequence[Path], top: Path, first: Path) -> tuple[str, ...]:
    found = sorted({path.parent for path in files}, key=lambda each: (each != first.parent, each))
    return tuple(_relative(each, top) for each in found)


def _relative(path: Path, top: Path) -> str:
    return str(path.relative_to(top))


def _loader_among(files: Sequence[Path], package: str) -> Path:
    """The dynamic loader; raises CannotRun if there is none, and so no C library."""
    for path in files:
        if _LOADER.fullmatch(path.name):
            return path
    raise CannotRun(f"{package} was fetched, but no C library with a dynamic loader came with it")


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
