"""Who needs whom: DT_NEEDED of loaded objects, resolved among the objects that are loaded.

The loader takes, for a needed name, the first object of the namespace that has it as its SONAME or
was asked for by it; only then does it search (glibc, elf/dl-load.c, _dl_map_object; search order:
ld.so(8)).  What it decided cannot be read from a link map, so it is decided here once more.
"""

from __future__ import annotations

import os
from collections import defaultdict, deque
from typing import TYPE_CHECKING, Literal

from xdiag.process.facts import Route

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from xdiag.process.facts import LoadedObject

#: Routes told of one object: of dozens the first few say all.
MOST_ROUTES = 16
#: Needs followed, of all objects together; hundreds of libraries have a few thousand.
_MOST_NEEDS = 1 << 16


class Dependencies:
    """The graph of a process's objects, by their places in ``objects``.

    ``objects`` are in the order of loading if ``ordered``.  ``program`` is the place of the main
    program, None if it is not known.
    """

    def __init__(
        self,
        objects: Sequence[LoadedObject],
        program: int | None,
        environment: Mapping[str, str],
        *,
        ordered: bool,
    ) -> None:
        self._objects = objects
        self._program = program
        self._ordered = ordered
        self._library_path = _directories(environment.get("LD_LIBRARY_PATH", "").replace(";", ":"))
        preload = environment.get("LD_PRELOAD", "").replace(":", " ").split()
        self._preloaded = {place for each in preload for place in self._named(each)}
        self._by_name: dict[tuple[int | None, str], list[int]] = defaultdict(list)
        self._sonames: dict[tuple[int | None, str], list[int]] = defaultdict(list)
        for place, each in enumerate(objects):
            names = {os.path.basename(each.path), os.path.basename(each.name), each.name} - {""}
            for name in names:
                self._by_name[each.namespace, name].append(place)
            if each.soname:
                self._sonames[each.namespace, each.soname].append(place)
        #: Who an object needs, and who needs it: place -> (place of the other, certain).
        self._needs: dict[int, list[tuple[int, bool]]] = defaultdict(list)
        self._needed_by: dict[int, list[tuple[int, bool]]] = defaultdict(list)
        left = _MOST_NEEDS
        for place, each in enumerate(objects):
            for name in each.needed[:left]:
                chosen, certain = self._resolve(each, name)
                for other in chosen:
                    left -= 1
                    if other != place:
                        self._needs[place].append((other, certain))
                        self._needed_by[other].append((place, certain))
        self._above = self._shortest_ways()

    def routes(self, place: int) -> tuple[Route, ...]:
        """How an object came in: a route for each that needs it directly, shortest first."""
        if place == self._program:
            return (Route("linked"),)
        direct = dict.fromkeys(self._needed_by[place])
        if not direct:
            return (Route(self._how(place)),)
        found = [self._route(needer, certain) for needer, certain in direct]
        found.sort(key=lambda route: (route.how != "linked", not route.certain, len(route.chain)))
        return tuple(found[:MOST_ROUTES])

    def _resolve(self, needer: LoadedObject, name: str) -> tuple[list[int], bool]:
        """Places of what a needed name means, and whether it can mean nothing else."""
        of_soname = self._sonames[needer.namespace, name]
        if of_soname and (self._ordered or len(of_soname) == 1):
            return of_soname[:1], True
        candidates = of_soname or self._by_name[needer.namespace, name]
        if len(candidates) <= 1:
            return list(candidates), True
        searched = self._searched(needer)
        found = [
            place for place in candidates
            if {os.path.dirname(self._objects[place].path),
                os.path.dirname(self._objects[place].name)} & searched
        ]  # fmt: skip
        if len(found) == 1:
            return found, not of_soname
        return found or list(candidates), False

    def _searched(self, needer: LoadedObject) -> set[str]:
        """Directories that the loader searches for what an object needs, before its defaults."""
        places = [needer.runpath or needer.rpath]
        if not needer.runpath and self._program is not None:
            places.append(self._objects[self._program].rpath)
        found = set(self._library_path)
        for origin in {os.path.dirname(needer.path), os.path.dirname(needer.name)} - {""}:
            for each in places:
                found.update(_directories(each, origin))
        return found

    def _named(self, asked_for: str) -> list[int]:
        """Places of what the loader was asked for by a path or a bare name: the first, if any."""
        known = [
            place
            for place, each in enumerate(self._objects)
            if asked_for in (each.name, each.path)
            or (
                ("/" not in asked_for or not each.name)
                and os.path.basename(asked_for)
                in (os.path.basename(each.name), os.path.basename(each.path), each.soname)
            )
        ]
        return known[:1]

    def _how(self, place: int) -> Literal["preloaded", "opened"]:
        return "preloaded" if place in self._preloaded else "opened"

    def _shortest_ways(self) -> dict[int, tuple[int | None, bool]]:
        """For each object the one above it on the shortest way from the top; None at the top.

        At the top is the program, and for what it does not need whatever nobody needs; in a circle
        that nobody needs, any one.
        """
        above: dict[int, tuple[int | None, bool]] = {}
        everyone = range(len(self._objects))
        tops = [place for place in everyone if not self._needed_by[place]]
        first = [] if self._program is None else [self._program]
        begins: list[list[int]] = [first, tops, *([place] for place in everyone)]
        for begin in begins:
            queue = deque(place for place in begin if place not in above)
            above.update((place, (None, True)) for place in queue)
            while queue:
                place = queue.popleft()
                for other, certain in self._needs[place]:
                    if other not in above:
                        above[other] = (place, certain)
                        queue.append(other)
        return above

    def _route(self, needer: int, certain: bool) -> Route:
        chain: list[str] = []
        step: int | None = needer
        top = needer
        while step is not None and len(chain) < len(self._objects):
            chain.append(self._objects[step].path)
            top = step
            step, sure = self._above[step]
            certain = certain and sure
        chain.reverse()
        if top == self._program:
            return Route("linked", tuple(chain), certain)
        return Route(self._how(top), tuple(chain), certain)


def _directories(path: str, origin: str = "") -> Iterable[str]:
    """The directories of a search path; $ORIGIN is filled in, other tokens stay as they are."""
    for each in path.split(":"):
        if not each:
            continue
        for token in ("${ORIGIN}", "$ORIGIN"):
            each = each.replace(token, origin)
        yield os.path.normpath(each)
