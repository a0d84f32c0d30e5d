"""Which package a file belongs to, asked of the package managers' own records on disk.

No package manager is run: dpkg's lists are text, rpm's database is SQLite on current systems
(rpm 4.16 and later), pip's RECORD and conda's conda-meta are text again.
"""

from __future__ import annotations

import json
import os
import sqlite3
import struct
from collections import defaultdict
from contextlib import closing
from typing import TYPE_CHECKING

from xdiag.discover.names import as_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from xdiag.discover.distributions import Distribution
    from xdiag.discover.root import Root

_DPKG = "/var/lib/dpkg"
#: Most lists of files have some KB, the largest in Debian 6 MB.
_USUAL_LIST, _MOST_LIST = 256 << 10, 16 << 20
#: 3000 packages have 5 MB of it, a few KB each.
_MOST_STATUS, _MOST_STANZA = 32 << 20, 64 << 10
_MOST_RECORD = 16 << 20
#: Where they are on Fedora since 36 and on openSUSE, and before.
_RPM = ("/usr/lib/sysimage/rpm/rpmdb.sqlite", "/var/lib/rpm/rpmdb.sqlite")
#: Directories that /usr took in (usrmerge); packages still record either name.
_MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libo32", "libx32")


def owners(
    paths: Iterable[str],
    root: Root,
    installed: Iterable[Distribution] = (),
    prefix: str = "",
    folders: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The owner of each path that has one: "dpkg libamdhip64-5 5.2.3-8", "pip torch 2.9.0".

    ``installed`` are the distributions of a Python, ``prefix`` its prefix, which may be conda's;
    ``folders`` are directories and what to call the owner of all that is in them.  A file in a
    package's directory that the package has not recorded, as one that it made later, is told as
    "pip rocm-sdk-devel 7.0, unrecorded".
    """
    #: Each name that a record may have for a path -> the paths that were asked for.
    wanted: dict[str, set[str]] = {}
    for path in paths:
        for name in _names(path, root):
            wanted.setdefault(name, set()).add(path)
    found: dict[str, str] = {}
    told = folders or {}
    for folder, owner in told.items():
        _note(found, wanted, {name: owner for name in wanted if name.startswith(f"{folder}/")})
    distributions = tuple(installed)
    managers: tuple[Callable[[list[str]], dict[str, str]], ...] = (
        lambda names: _conda(names, prefix, root),
        lambda names: _pip(names, distributions, root),
        lambda names: _dpkg(names, root),
        lambda names: _rpm(names, root),
    )
    for ask in managers:
        names = [name for name, asked in wanted.items() if not asked <= found.keys()]
        if names:
            _note(found, wanted, ask(names))
    return found


def _note(found: dict[str, str], wanted: Mapping[str, set[str]], told: Mapping[str, str]) -> None:
    for name, owner in told.items():
        for path in wanted[name]:
            found.setdefault(path, as_text(owner))


def _names(path: str, root: Root) -> Iterator[str]:
    """Names under which a package may have recorded the file at ``path``."""
    yield path
    try:
        real = root.real_path(path)
        # The name of a link, with the directory's links followed: both may be recorded.
        folder, base = os.path.split(path)
        spellings = (path, os.path.join(root.real_path(folder), base), real)
    except OSError:
        spellings = (path, path, path)
    for each in spellings:
        yield each
        first, _, rest = each.lstrip("/").partition("/")
        if first == "usr" and rest.partition("/")[0] in _MERGED:
            yield f"/{rest}"
        elif first in _MERGED:
            yield f"/usr{each}"


# ---- Python's ---------------------------------------------------------------------------------


def _conda(names: list[str], prefix: str, root: Root) -> dict[str, str]:
    """By conda-meta/NAME-VERSION-BUILD.json, which lists files relative to the prefix."""
    inside = {name[len(prefix) + 1 :]: name for name in names if name.startswith(f"{prefix}/")}
    if not prefix or not inside:
        return {}
    needles = {json.dumps(each).encode(): name for each, name in inside.items()}
    found: dict[str, str] = {}
    folder = f"{prefix}/conda-meta"
    for record in root.names(folder):
        parts = record.removesuffix(".json").rsplit("-", 2)
        if not record.endswith(".json") or len(parts) != 3:
            continue
        data = _read(f"{folder}/{record}", _MOST_RECORD, root)
        for needle, name in needles.items():
            if needle in data:
                found.setdefault(name, f"conda {parts[0]} {parts[1]}")
    return found


def _pip(names: list[str], installed: Sequence[Distribution], root: Root) -> dict[str, str]:
    """By RECORD, whose first column is a path relative to the directory installed in."""
    found: dict[str, str] = {}
    nearby: dict[str, str] = {}
    by_folder: dict[str, list[Distribution]] = defaultdict(list)
    for each in installed:
        by_folder[each.folder].append(each)
    for folder, here in by_folder.items():
        inside = {name[len(folder) + 1 :]: name for name in names if name.startswith(f"{folder}/")}
        if not inside:
            continue
        for distribution in here:
            data = b"\n" + _read(f"{distribution.info}/RECORD", _MOST_RECORD, root)
            owner = f"pip {distribution.name} {distribution.version}"
            for relative, name in inside.items():
                encoded = os.fsencode(relative)
                top = encoded.partition(b"/")[0]
                if b"\n%b," % encoded in data or b'\n"%b",' % encoded in data:
                    found.setdefault(name, owner)
                elif top != encoded and b"\n%b/" % top in data:
                    nearby.setdefault(name, f"{owner}, unrecorded")
    return {**nearby, **found}


# ---- the system's -----------------------------------------------------------------------------


def _dpkg(names: list[str], root: Root) -> dict[str, str]:
    """By /var/lib/dpkg/info/PACKAGE[:ARCHITECTURE].list, one path a line (deb-old(5), dpkg(1)).

    A system has thousands of these.  Each is looked through for the wanted files' plain names
    first, which costs 10 ms per name and 30 MB of lists; opening them costs 15 ms.
    """
    folder = f"{_DPKG}/info"
    lists = [name for name in root.names(folder) if name.endswith(".list")]
    if not lists:
        return {}
    stems = {b"/" + os.fsencode(os.path.basename(name).partition(".so")[0]) for name in names}
    lines = {b"\n%b\n" % os.fsencode(name): name for name in names}
    packages: dict[str, str] = {}
    directory = os.open(root.outside(folder), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for each in lists:
            try:
                fd = os.open(each, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
            except OSError:
                continue
            try:
                data = os.read(fd, _USUAL_LIST)
                if len(data) == _USUAL_LIST:
                    data += os.read(fd, _MOST_LIST)
            except OSError:
                continue
            finally:
                os.close(fd)
            if not any(stem in data for stem in stems):
                continue
            data = b"\n%b\n" % data
            for line, name in lines.items():
                if line in data:
                    packages.setdefault(name, each.removesuffix(".list"))
    finally:
        os.close(directory)
    if not packages:
        return {}
    status = _read(f"{_DPKG}/status", _MOST_STATUS, root)
    return {name: _dpkg_owner(package, status) for name, package in packages.items()}


def _dpkg_owner(package: str, status: bytes) -> str:
    """Name and version, by the stanza of the package for its architecture."""
    name, _, architecture = package.partition(":")
    version = ""
    place = -1
    while (place := status.find(b"Package: %b\n" % os.fsencode(name), place + 1)) >= 0:
        if place and status[place - 1 : place] != b"\n":
            continue
        end = status.find(b"\n\n", place, place + _MOST_STANZA)
        stanza = b"\n%b\n" % status[place : end if end >= 0 else place + _MOST_STANZA]
        if architecture and b"\nArchitecture: %b\n" % os.fsencode(architecture) not in stanza:
            continue
        version = os.fsdecode(stanza.partition(b"\nVersion: ")[2].partition(b"\n")[0])
        break
    return f"dpkg {name} {version}".strip()


def _rpm(names: list[str], root: Root) -> dict[str, str]:
    """By rpm's SQLite database: the table Basenames leads to packages' headers."""
    path = next((each for each in _RPM if root.is_file(each)), "")
    if not path:
        return {}
    found: dict[str, str] = {}
    try:
        # Nothing is written beside it, not even a lock; what is in its journal is not seen.
        uri = f"file:{_as_uri(root.outside(path))}?mode=ro&immutable=1"
        with closing(sqlite3.connect(uri, uri=True)) as database:
            # A hostile file may have views and indexes that never come to an end.
            steps = iter(range(_MOST_SQL_STEPS))
            database.set_progress_handler(lambda: next(steps, None) is None, 1000)
            for name in names:
                folder, base = os.path.split(name)
                rows = database.execute(
                    "SELECT p.blob, b.idx FROM Basenames AS b JOIN Packages AS p ON"
                    " p.hnum = b.hnum WHERE b.key = ? AND length(p.blob) < ? LIMIT 64",
                    (base, _MOST_LIST),
                )
                for blob, index in rows:
                    owner = _rpm_owner(blob, index, f"{folder}/")
                    if owner:
                        found.setdefault(name, owner)
    except (sqlite3.Error, UnicodeEncodeError):
        return found  # another format, or damaged: nothing can be said
    return found


#: Thousands of SQLite's virtual instructions; a look-up by index takes a few dozen instructions.
_MOST_SQL_STEPS = 20_000
# Tags of a header (rpm/include/rpm/rpmtag.h).
_NAME, _VERSION, _RELEASE = 1000, 1001, 1002
_DIRINDEXES, _DIRNAMES = 1116, 1118


def _rpm_owner(blob: object, index: object, folder: str) -> str:
    """Name and version-release of a header whose file number ``index`` is in ``folder``.

    A header is two counts, an index of (tag, type, offset, count), and a store of values, all
    big-endian (rpm's documentation, "Header format").
    """
    if not isinstance(blob, bytes) or not isinstance(index, int):
        return ""
    try:
        entries, _ = struct.unpack_from(">II", blob)
        store = 8 + entries * 16
        if store > len(blob):
            return ""
        places = {
            tag: store + offset for tag, _, offset, _ in struct.iter_unpack(">IIiI", blob[8:store])
        }
        (number,) = struct.unpack_from(">I", blob, places[_DIRINDEXES] + index * 4)
        if _string(blob, places[_DIRNAMES], number) != folder:
            return ""
        name, version, release = (
            _string(blob, places[tag], 0) for tag in (_NAME, _VERSION, _RELEASE)
        )
    except (struct.error, KeyError, IndexError, OverflowError):
        return ""
    return f"rpm {name} {version}-{release}"


def _string(blob: bytes, place: int, number: int) -> str:
    """A string of an array: each ends with a null."""
    for _ in range(number):
        place = blob.find(b"\0", place) + 1
        if not place:
            raise IndexError(number)
    return os.fsdecode(blob[place : blob.find(b"\0", place)])


def _as_uri(path: str) -> str:
    from urllib.parse import quote

    return quote(path)


def _read(path: str, most: int, root: Root) -> bytes:
    try:
        return root.read(path, most)
    except (OSError, ValueError):
        return b""
