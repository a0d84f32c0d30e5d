"""Runtimes on this machine's disk, found without loading or importing any of them."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from xdiag import platforms
from xdiag.errors import XdiagError
from xdiag.model import Record
from xdiag.runtimes import entries
from xdiag.runtimes.runtime_file import read_runtime

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: Where ``ldconfig`` is, for users whose PATH does not say.
_ADMIN_PATH = "/usr/sbin:/sbin:/usr/bin:/bin"
#: Where libraries usually are, where the loader's cache cannot be asked.
_USUAL = ("/lib64", "/usr/lib64", "/lib", "/usr/lib", "/usr/local/lib",
          f"/usr/lib/{os.uname().machine}-linux-gnu")  # fmt: skip
#: A number right after ".so.": the version that the file name tells.
_VERSION = re.compile(r"\.so\.([0-9]+(?:\.[0-9]+)*)")
#: A line of `ldconfig -p`: "\tlibm.so.6 (libc6,x86-64) => /lib/x86_64-linux-gnu/libm.so.6".
_LDCONFIG_LINE = re.compile(r"\s+(\S+) \([^)]*\) => (/.*)")


class Candidate(Record, frozen=True):
    """One runtime on disk."""

    path: str
    real_path: str
    device: int
    inode: int
    #: torch, rocm, system, cache; option for one that was named on the command line.
    source: str
    soname: str = ""
    build_id: str = ""
    #: As its file name, or the package that it is part of, tells.
    version: str = ""
    #: All names that lead to it, ``path`` first.
    names: tuple[str, ...] = ()
    #: Where the libraries that came with it are.
    library_dirs: tuple[str, ...] = ()
    needed: tuple[str, ...] = ()
    rpath: tuple[str, ...] = ()
    #: The Debian package and its version, for one that xdiag fetched.
    package: str = ""
    #: Why it cannot be used, in one line.
    problem: str = ""


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
    found: dict[tuple[int, int], Candidate] = {}
    looked = []
    for source, place, paths, version in _places(facts.library):
        seen = 0
        for path in paths:
            candidate = _candidate(path, source, facts.proof, version)
            if candidate is not None:
                seen += 1
                _add(found, candidate)
        looked.append(f"{place}: {_count(seen)}")
    cached = entries.every()
    for entry in cached:
        candidate = _candidate(
            entry.runtime, "cache", facts.proof, "", entry.library_dirs,
            f"{entry.package} {entry.version}",
        )  # fmt: skip
        if candidate is not None:
            _add(found, candidate)
    looked.append(f"xdiag's cache: {_count(len(cached))}")
    return Found(tuple(found.values()), tuple(looked))


def from_option(path: str, platform: str = "hip") -> Candidate:
    """The runtime that the user named; raises Usage or CannotRun if it cannot be one."""
    path = os.path.abspath(path)
    read_runtime(path, platforms.get(platform).proof)
    for entry in entries.every():
        if os.path.samefile(entry.runtime, path):
            dirs, package = entry.library_dirs, f"{entry.package} {entry.version}"
            break
    else:
        dirs, package = (), ""
    candidate = _candidate(path, "option", platforms.get(platform).proof, "", dirs, package)
    if candidate is None:
        raise XdiagError(f"{path}: vanished while it was looked at")
    return candidate


def version_key(version: str) -> tuple[int, ...]:
    """What versions are ordered by; an unknown one comes before all others."""
    return tuple(int(number) for number in re.findall(r"[0-9]+", version)[:3])


# ---- places ----------------------------------------------------------------------------------

#: (source, the place in words, paths of libraries there, version that the place tells)
_Place = tuple[str, str, list[str], str]


def _places(library: str) -> Iterator[_Place]:
    yield from _in_torch(library)
    yield from _in_rocm_wheels(library)
    yield from _in_rocm(library)
    yield "system", "the dynamic loader's directories", _loader_paths(library), ""


def _in_torch(library: str) -> Iterator[_Place]:
    """The copy inside the torch package, which is found but not imported."""
    try:
        spec = importlib.util.find_spec("torch")
    except (ImportError, ValueError, AttributeError):
        spec = None
    folders = list(spec.submodule_search_locations or []) if spec is not None else []
    if not folders:
        yield "torch", "torch (not installed)", [], ""
        return
    for folder in folders:
        paths = _libraries(os.path.join(folder, "lib"), library)
        yield "torch", f"torch ({folder})", paths, _torch_version(folder)


def _torch_version(folder: str) -> str:
    """The HIP version that this torch was built with, as its version.py says."""
    try:
        text = Path(folder, "version.py").read_text(errors="replace")
    except OSError:
        return ""
    match = re.search(r"^hip\b[^=\n]*=\s*['\"]([0-9.]+)", text, re.MULTILINE)
    return match[1] if match else ""


def _in_rocm_wheels(library: str) -> Iterator[_Place]:
    """AMD's own Python packages of ROCm: _rocm_sdk_core, _rocm_sdk_libraries_gfx94X, ..."""
    for folder in dict.fromkeys(sys.path):
        try:
            names = sorted(os.listdir(folder or "."))
        except OSError:
            continue
        for name in names:
            if name.startswith(("_rocm_sdk", "rocm_sdk")) and not name.endswith("-info"):
                paths = _libraries(os.path.join(folder, name, "lib"), library)
                if paths:
                    yield "rocm", f"the Python package {name}", paths, ""


def _in_rocm(library: str) -> Iterator[_Place]:
    """ROCm's own installations, and those that the environment points at."""
    for name in ("ROCM_PATH", "HIP_PATH"):
        if told := os.environ.get(name):
            yield "rocm", f"{name} ({told})", _in_prefix(told, library), ""
    prefixes = sorted(str(path) for path in Path("/opt").glob("rocm*"))
    if not prefixes:
        yield "rocm", "/opt/rocm (absent)", [], ""
    for prefix in prefixes:
        yield "rocm", prefix, _in_prefix(prefix, library), ""


def _in_prefix(prefix: str, library: str) -> list[str]:
    # Before ROCm 5.2 HIP was a directory of its own below the prefix.
    folders = ("lib", "lib64", "hip/lib")
    return [path for each in folders for path in _libraries(os.path.join(prefix, each), library)]


def _loader_paths(library: str) -> list[str]:
    """What the dynamic loader would find: LD_LIBRARY_PATH, then its cache."""
    folders = [each for each in os.environ.get("LD_LIBRARY_PATH", "").split(":") if each]
    paths = [path for each in folders for path in _libraries(each, library)]
    listed = _loader_cache()
    if listed is None:
        return paths + [path for each in _USUAL for path in _libraries(each, library)]
    return paths + [path for name, path in listed if _is_named(name, library)]


def loader_finds(name: str) -> str:
    """Where the dynamic loader's cache has the library called ``name``; empty if nowhere."""
    for known, path in _loader_cache() or []:
        if known == name:
            return path
    return ""


def _loader_cache() -> list[tuple[str, str]] | None:
    """(name, path) of what `ldconfig -p` lists; None where it cannot be asked."""
    program = shutil.which("ldconfig") or shutil.which("ldconfig", path=_ADMIN_PATH)
    if program is None:
        return None
    try:
        done = subprocess.run(
            [program, "-p"], capture_output=True, timeout=20, check=True, errors="surrogateescape",
            env={**os.environ, "LC_ALL": "C"}, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    matches = (_LDCONFIG_LINE.fullmatch(line) for line in done.stdout.splitlines())
    return [(match[1], match[2]) for match in matches if match]


def _libraries(folder: str, library: str) -> list[str]:
    """Files of the library in a directory, the plainest name first."""
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    return [os.path.join(folder, name) for name in sorted(names) if _is_named(name, library)]


def _is_named(name: str, library: str) -> bool:
    """Whether a file is the library by its name: libx.so or libx.so.5, but no libx.so.debug."""
    return re.fullmatch(re.escape(library) + r"(\.[0-9][0-9A-Za-z.+~-]*)?", name) is not None


# ---- candidates ------------------------------------------------------------------------------


def _candidate(
    path: str,
    source: str,
    proof: str,
    version: str,
    library_dirs: Iterable[str] = (),
    package: str = "",
) -> Candidate | None:
    """What is at this path; None if nothing is, as with a symlink that leads nowhere.

    Nothing that can be shown, that is: a path has to be text to go into a report.
    """
    path = os.path.abspath(path)
    real = os.path.realpath(path)
    try:
        (path + real).encode()
        status = os.stat(real)
    except (OSError, UnicodeEncodeError):
        return None
    named = _VERSION.search(os.path.basename(real))
    candidate = Candidate(
        path=path,
        real_path=real,
        device=status.st_dev,
        inode=status.st_ino,
        source=source,
        version=version or (named[1] if named else ""),
        names=(path,),
        library_dirs=tuple(dict.fromkeys([*library_dirs, *map(os.path.dirname, (real, path))])),
        package=package,
    )
    try:
        library = read_runtime(path, proof)
    except XdiagError as error:
        return msgspec.structs.replace(candidate, problem=str(error))
    return msgspec.structs.replace(
        candidate, soname=library.soname, build_id=library.build_id, needed=library.needed,
        rpath=tuple(filter(None, (library.rpath, library.runpath))),
    )  # fmt: skip


def _add(found: dict[tuple[int, int], Candidate], new: Candidate) -> None:
    """Add a candidate, or its name to the one that is the same file."""
    key = (new.device, new.inode)
    old = found.setdefault(key, new)
    if old is not new:
        found[key] = msgspec.structs.replace(
            old,
            names=tuple(dict.fromkeys([*old.names, *new.names])),
            library_dirs=tuple(dict.fromkeys([*old.library_dirs, *new.library_dirs])),
            version=max(old.version, new.version, key=version_key),
            package=old.package or new.package,
        )


def _count(number: int) -> str:
    return {0: "none", 1: "one file"}.get(number, f"{number} files")
