"""Which runtimes need a newer C library than this machine has, and what they are run under instead.

Programs that were built for an older C library run on a newer one, not the other way round.  So a
runtime of xdiag's cache that comes with a C library uses it only where this machine's is too old:
xdiag's own Python then runs under the fetched loader too (launch/interpreter.py).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from xdiag.model import Loader
from xdiag.runtimes import entries
from xdiag.runtimes.find import version_key

if TYPE_CHECKING:
    from collections.abc import Iterable

    from xdiag.discover.libraries import LibraryFile


def loader_for(candidate: LibraryFile) -> Loader | None:
    """What has to load this runtime in the place of this machine's loader; None where that can."""
    entry = entry_of(candidate)
    if entry is None or not entry.loader:
        return None
    here = machines_libc()
    if not here or version_key(entry.needs_libc) <= version_key(here):
        return None
    return Loader(path=entry.loader, library_path=entry.libc_dirs, libc=entry.libc)


def loadable_first(candidates: Iterable[LibraryFile]) -> tuple[LibraryFile, ...]:
    """The same in the same order, but first those that this machine's own programs could load."""
    return tuple(sorted(candidates, key=lambda each: loader_for(each) is not None))


def entry_of(candidate: LibraryFile) -> entries.Entry | None:
    """The entry, in whatever directory, that this runtime is; None where it is none."""
    entry = entries.holding(candidate.real_path)
    if isinstance(entry, entries.Entry) and os.path.realpath(entry.runtime) == candidate.real_path:
        return entry
    return None


def machines_libc() -> str:
    """The version of this machine's C library, "2.36"; empty where it is not glibc."""
    try:
        name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
    except (ValueError, OSError):
        return ""
    return version if name == "glibc" else ""
