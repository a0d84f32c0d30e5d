"""Who may have opened a library that nobody needs: possibilities, and never more.

dlopen(3) leaves no trace of its caller.  What can be seen is which loaded files contain the
library's name, and what is known of XSched, which opens the runtime by a search of its own.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from xdiag.discover.xsched import HAL, HIP_LIB

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import BinaryIO

    from xdiag.process.facts import LoadedObject
    from xdiag.process.maps import Load

#: Bytes searched of one file, of all together, and seconds: a framework has gigabytes.
_MOST_OF_ONE, _MOST_OF_ALL, _SECONDS = 64 << 20, 256 << 20, 0.3
_CHUNK = 1 << 18
#: Possible openers told of one copy.
_MOST_TOLD = 8


class Names:
    """Which files contain the names of which families, searched within limits for all together."""

    def __init__(self, families: Iterable[str]) -> None:
        self._families = tuple(dict.fromkeys(families))
        self._longest = max(map(len, self._families), default=0)
        self._begun = time.monotonic()
        self._left = _MOST_OF_ALL
        self._buffer = bytearray(self._longest + _CHUNK)

    def within(self, file: BinaryIO, places: Iterable[tuple[int, int]]) -> tuple[set[str], bool]:
        """Families named in these places of a file (offset, size), and whether all was searched."""
        found: set[str] = set()
        budget = _MOST_OF_ONE
        for offset, size in places:
            end = offset + size
            # Behind what is kept of the chunk before, so that no name is cut in two.
            kept, view = 0, memoryview(self._buffer)
            while offset < end:
                if budget <= 0 or self._left <= 0 or time.monotonic() - self._begun > _SECONDS:
                    return found, False
                wanted = view[kept : kept + min(_CHUNK, end - offset)]
                count = os.preadv(file.fileno(), [wanted], offset)
                if count == 0:
                    break
                filled = kept + count
                for family in self._families:
                    if self._buffer.find(family.encode(), 0, filled) >= 0:
                        found.add(family)
                kept = min(self._longest, filled)
                self._buffer[:kept] = self._buffer[filled - kept : filled]
                offset += count
                budget -= count
                self._left -= count
        return found, True


def places_of_text(load: Load) -> list[tuple[int, int]]:
    """Where in a file its constant strings can be: offset and size of what is mapped read-only.

    Linkers put them between code and data, in a segment of their own, or (older ones, and some
    distributions) into the code's.  Of the parts behind the code that are read-only, the last may
    be data that was made so after relocation.
    """
    code = [place for place, each in enumerate(load.mappings) if each.executable]
    behind = [each for each in load.mappings[code[-1] + 1 :] if not each.writable]
    parts = behind if len(behind) > 1 else [*(load.mappings[place] for place in code), *behind]
    return [(each.offset, each.end - each.start) for each in parts]


def possibilities(
    copy: LoadedObject,
    named_by: Iterable[LoadedObject],
    environment: Mapping[str, str],
    *,
    python: bool,
    whole: bool,
) -> tuple[str, ...]:
    """Sentences on who may have opened a copy, the most telling first."""
    named_by = [each for each in named_by if each.family != copy.family]
    told = environment.get(HIP_LIB, "")
    found: list[str] = []
    hal = next((each for each in named_by if is_hal(each)), None)
    if hal is not None and told and told in (copy.name, copy.path):
        found.append(f"{hal.path}: {HIP_LIB} names this file, and XSched opens what it names")
    elif hal is not None:
        found.append(
            f"{hal.path}: XSched opens the runtime by a search of its own and does not look at what"
            " is loaded"
        )
    others = [each for each in named_by if each is not hal][:_MOST_TOLD]
    found += [f"{each.path}: it contains the name {copy.family}" for each in others]
    if python:
        found.append("Python code (ctypes): that leaves no trace in the memory map")
    if not whole:
        found.append("one of the loaded files that could not be searched for the name")
    return tuple(found)


def was_there_before(each: LoadedObject, copy: LoadedObject) -> bool:
    """Whether an object can have opened a copy: it was loaded then, as far as is known."""
    if each.namespace != copy.namespace or each.order is None or copy.order is None:
        return True
    return each.order < copy.order


def is_hal(each: LoadedObject) -> bool:
    """Whether an object is XSched's HIP library, which opens a runtime for itself."""
    return HAL in (each.soname, os.path.basename(each.path))
