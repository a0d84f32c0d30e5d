"""The file that leaves the machine: members, a manifest, everything masked on its way in.

The zip is the same bytes for the same members: in the order in which they were added, with one date
for all, made by one method at one level.
"""

from __future__ import annotations

import hashlib
import io
import re
import stat
import zipfile
from typing import TYPE_CHECKING

from xdiag import __version__
from xdiag.model import SCHEMA_VERSION, Record
from xdiag.render.json_document import record
from xdiag.render.text import count
from xdiag.report.records import rewritten

if TYPE_CHECKING:
    from xdiag.report.masking import Masker

MANIFEST, PAGE = "MANIFEST.json", "REPORT.md"
#: The earliest date that a zip can say (APPNOTE.TXT 4.4.6), which is nobody's.
_DATE = (1980, 1, 1, 0, 0, 0)
_LEVEL = 6
#: Bytes of one member, and characters of its name.
MOST_BYTES = 64 << 20
_LONGEST_NAME = 100
_NAME = re.compile(r"[^A-Za-z0-9._-]+")


class Member(Record, frozen=True):
    """One file of the bundle, as the manifest has it."""

    name: str
    what: str
    size: int
    sha256: str


class Missing(Record, frozen=True):
    """A part that is not in the bundle, and why; or one that is not whole."""

    part: str
    because: str


class Manifest(Record, frozen=True):
    """What is in the bundle and what is not: MANIFEST.json."""

    schema_version: int
    xdiag: str
    #: The only time in the bundle that is not that of an observation.
    made: str
    masked: bool
    #: How many different things of each kind were masked.
    replaced: dict[str, int]
    files: tuple[Member, ...]
    missing: tuple[Missing, ...]


class Bundle:
    """Files to be packed.  What is added is masked, its name too; there is no other way in."""

    def __init__(self, masker: Masker) -> None:
        self._masker = masker
        self._members: dict[str, bytes] = {}
        self._what: dict[str, str] = {}
        self._missing: dict[Missing, None] = {}

    def add(self, name: str, what: str, text: str) -> str:
        """Put a text in; the name that it has in the bundle."""
        name = self._free_name(name)
        masked = self._masker.text(text).encode("utf-8", "surrogateescape")
        if len(masked) > MOST_BYTES:
            self.leave_out(name, f"{len(masked) >> 20} MiB, more than {MOST_BYTES >> 20}")
            return name
        self._members[name] = masked
        self._what[name] = self._masker.text(what)
        return name

    def add_record(self, name: str, what: str, path: str) -> str:
        """Put a record in, each text in it masked; the name that it has in the bundle.

        Raises BadRecord for what is none, CannotRun for one that is too large.
        """
        name = self._free_name(name)
        self._members[name] = rewritten(path, self._masker.text)
        self._what[name] = self._masker.text(what)
        return name

    def leave_out(self, part: str, because: str) -> None:
        """Note what is not in the bundle, and why."""
        self._missing[Missing(self._masker.text(part), self._masker.text(because))] = None

    def data(self, name: str) -> bytes:
        """A member, as it will be packed."""
        return self._members[name]

    def text(self, name: str) -> str:
        """What a member says."""
        return self._members[name].decode("utf-8", "surrogateescape")

    @property
    def members(self) -> tuple[Member, ...]:
        """The members so far, in order."""
        return tuple(
            Member(name, self._what[name], len(data), hashlib.sha256(data).hexdigest())
            for name, data in self._members.items()
        )

    @property
    def missing(self) -> tuple[Missing, ...]:
        """What is not in it."""
        return tuple(self._missing)

    def replaced(self) -> str:
        """How many different things of each kind were masked: ``2 users, 1 host``."""
        return ", ".join(count(number, kind) for kind, number in self._masker.counts.items())

    def packed(self, made: str) -> bytes:
        """The zip; ``made`` is the time that the manifest says."""
        manifest = Manifest(
            schema_version=SCHEMA_VERSION,
            xdiag=__version__,
            made=made,
            masked=self._masker.on,
            replaced=self._masker.counts,
            files=self.members,
            missing=self.missing,
        )
        written = io.BytesIO()
        with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL) as archive:
            told = self._masker.text(record(manifest)).encode("utf-8", "surrogateescape")
            # The page comes first: it is what a reader wants to see.
            ordered = sorted(self._members.items(), key=lambda each: each[0] != PAGE)
            for name, data in (*ordered, (MANIFEST, told)):
                entry = zipfile.ZipInfo(name, _DATE)
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.create_system = 3  # Unix, wherever it is made
                entry.external_attr = (stat.S_IFREG | 0o644) << 16
                archive.writestr(entry, data, compresslevel=_LEVEL)
        return written.getvalue()

    def _free_name(self, wanted: str) -> str:
        """A name that every file system takes, masked, that no other member has."""
        parts = (_NAME.sub("-", part).strip("-.") for part in self._masker.text(wanted).split("/"))
        name = "/".join(part[-_LONGEST_NAME:] for part in parts if part) or "file"
        stem, dot, ending = name.rpartition(".")
        number, free = 2, name
        while free in self._members or free == MANIFEST:
            free = f"{stem}-{number}.{ending}" if dot else f"{name}-{number}"
            number += 1
        return free
