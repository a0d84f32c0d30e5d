"""A report that ``xdiag report`` wrote (a zip), read where it is: nothing is unpacked to disk.

It comes from somebody else.  Members are read whole, by the sizes that were checked before, and
under the names that a report gives and no others; what else is in the file is not looked at.
"""

from __future__ import annotations

import os
import re
import zipfile
import zlib
from typing import TYPE_CHECKING

import msgspec

from xdiag.errors import CannotRun
from xdiag.explain.stream import ZIP, Stream
from xdiag.model import SCHEMA_VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator

#: The member that says what the others are.
MANIFEST = "MANIFEST.json"
#: Documents of xdiag's in a report that say what was found there.
_DOCUMENTS = ("doctor.json", "probes.json", "matrix.json")
#: What a user has put in, as a report names it (xdiag/report/bundle.py).
_GIVEN = re.compile(r"(?:records|logs)/[A-Za-z0-9._-]{1,120}")
#: What the manifest says of files that are made of another one: they would be told twice.
DERIVED = ("xdiag explain of it", "the same for programs")
#: Bytes of the file, of a member, and of all that are read; members in it.
_MOST_FILE, _MOST_MEMBER, _MOST_BYTES, _MOST_MEMBERS = 256 << 20, 64 << 20, 256 << 20, 4096
_MOST_MANIFEST = 4 << 20
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 1
#: What zipfile raises for files that are damaged, or made to be.
_DAMAGED = (
    zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError,
    RuntimeError, OverflowError, LookupError,
)  # fmt: skip


class _File(msgspec.Struct):
    name: str
    what: str = ""


class _Manifest(msgspec.Struct):
    schema_version: int
    xdiag: str
    files: tuple[_File, ...]


def is_zip(path: str) -> bool:
    """Whether a file is a zip by its first bytes; of a pipe nothing is taken away."""
    try:
        if not os.path.isfile(path):
            return False
        with open(path, "rb") as file:
            return file.read(len(ZIP)) == ZIP
    except (OSError, ValueError):
        return False


def streams(path: str) -> Iterator[Stream]:
    """What of a report is explained, one after the other: findings, cells, records, logs.

    Raises CannotRun for a zip that is no report, is damaged, or is larger than any report.
    """
    try:
        if os.path.getsize(path) > _MOST_FILE:
            raise CannotRun(f"{path}: larger than any report of xdiag's ({_MOST_FILE >> 20} MiB)")
        with zipfile.ZipFile(path) as archive:
            members = _members(path, archive)
            left = _MOST_BYTES
            for name in _told(path, archive, members):
                left -= members[name].file_size
                if left < 0:
                    raise CannotRun(f"{path}: more in it than is read ({_MOST_BYTES >> 20} MiB)")
                data = _data(path, archive, members[name], _MOST_MEMBER)
                yield Stream(os.path.join(path, name), data=data)
    except CannotRun:
        raise
    except _DAMAGED as error:
        raise CannotRun(f"{path}: a zip archive that cannot be read: {_words(error)}") from error


def _members(path: str, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    infos = archive.infolist()
    if len(infos) > _MOST_MEMBERS:
        raise CannotRun(f"{path}: {len(infos)} files in it, more than any report of xdiag's has")
    members: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        if info.filename in members:
            raise CannotRun(f"{path}: two files of one name in it, which no report of xdiag's has")
        members[info.filename] = info
    return members


def _told(
    path: str, archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo]
) -> Iterator[str]:
    """Names of the members that say something by themselves, in the manifest's order."""
    if MANIFEST not in members:
        raise CannotRun(
            f"{path}: a zip archive, and no report of xdiag's (it has no {MANIFEST}):"
            " unpack it, and give the files"
        )
    try:
        manifest = msgspec.json.decode(
            _data(path, archive, members[MANIFEST], _MOST_MANIFEST), type=_Manifest
        )
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CannotRun(f"{path}: its {MANIFEST} is none of xdiag's") from error
    if manifest.schema_version > SCHEMA_VERSION:
        raise CannotRun(f"{path}: written by a newer xdiag; update xdiag")
    for file in dict.fromkeys((file.name, file.what) for file in manifest.files):
        name, what = file
        given = _GIVEN.fullmatch(name) and what not in DERIVED
        # Somebody may have taken out what is not for others' eyes.
        if name in members and (given or name in _DOCUMENTS):
            yield name


def _data(path: str, archive: zipfile.ZipFile, info: zipfile.ZipInfo, most: int) -> bytes:
    """A member whole, within bounds that do not rest on what the file says of itself."""
    name = os.path.join(path, info.filename)
    if info.file_size > most:
        raise CannotRun(f"{name}: larger than is read ({most >> 20} MiB)")
    if info.compress_type not in _METHODS or info.flag_bits & _ENCRYPTED:
        raise CannotRun(f"{name}: packed in another way than a report of xdiag's is")
    with archive.open(info) as member:
        data = member.read(most + 1)
    if len(data) != info.file_size:
        raise CannotRun(f"{name}: not as long as the archive says")
    return data


def _words(error: BaseException) -> str:
    words = str(getattr(error, "strerror", None) or error) or type(error).__name__
    return " ".join(words.split())[:200]
