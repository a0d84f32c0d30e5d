"""Which object an address lies in."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from xdiag.recording.facts import Object

#: Objects looked at for one address; those of one place, loaded one after the other, are several.
_MOST_TRIED = 16


class AddressMap:
    """The objects of a process by address."""

    def __init__(self, objects: Iterable[Object]) -> None:
        self._objects = sorted(objects, key=lambda each: (each.base, each.number))
        self._bases = [each.base for each in self._objects]

    def at(self, address: int) -> Object | None:
        """The object that an address lies in; of several, the one that was loaded last."""
        place = bisect_right(self._bases, address)
        near = self._objects[max(0, place - _MOST_TRIED) : place]
        here = [each for each in near if address < each.end]
        return max(here, key=lambda each: each.number, default=None)
