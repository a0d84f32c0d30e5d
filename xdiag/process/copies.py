"""From loads and the loader's lists to objects in order, and to copies with their importers."""

from __future__ import annotations

import bisect
import os
import re
from typing import TYPE_CHECKING, BinaryIO, Literal, Protocol

from msgspec.structs import replace

from xdiag.process import libraries, openers
from xdiag.process.dependencies import Dependencies
from xdiag.process.facts import Copy, LoadedObject, Route

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from xdiag.process.facts import ProcessFacts
    from xdiag.process.files import FileFacts
    from xdiag.process.link_map import LinkMap
    from xdiag.process.maps import Load

HSA, COMGR = "libhsa-runtime64", "libamd_comgr"
#: What the software agent exports and no other HSA runtime does (cffi_build/agent).
_AGENT_MARK = "xdiag_agent_version"
#: Where the cache before AMD's compiler lies (runtimes.agent.kernel_cache).
_CACHE_MARK = "/_lib/kernel-cache/"
MORE_THAN_LOOKED_AT = "more libraries are mapped than are looked at"
#: Copies of which the openers are looked for.
_MOST_OPENED = 64
_PYTHON = re.compile(r"python(\d|$)")


class Files(Protocol):
    """Access to the files of loads."""

    def open(self, load: Load) -> BinaryIO | None:
        """The file of a load, opened for reading; None where it cannot be reached."""
        ...

    def exports(self, load: Load, symbol: str) -> bool:
        """Whether the file of a load defines a symbol for others; False where it is unknown."""
        ...


def as_object(load: Load, file: FileFacts) -> tuple[LoadedObject, bool]:
    """One load as an object, and whether it only goes by a runtime's name."""
    found = file.elf
    problem = file.problem
    if found and not found.dynamic and not found.executable and not problem:
        problem = f"{file.path}: it has no dynamic section: no library"
    family, look_alike = libraries.family(found.soname if found else "", file.path)
    return LoadedObject(
        path=file.path,
        device=load.device,
        inode=load.inode,
        address=load.start,
        soname=found.soname if found else "",
        build_id=found.build_id if found else "",
        needed=found.needed if found else (),
        rpath=found.rpath if found else "",
        runpath=found.runpath if found else "",
        executable=found.executable if found else False,
        at_path=file.at_path,
        problem=problem,
        family=family,
    ), look_alike


def with_copies(
    facts: ProcessFacts,
    found: Sequence[tuple[LoadedObject, bool, Load]],
    linked: LinkMap | None,
    problem: str,
    files: Files,
) -> ProcessFacts:
    """``facts`` with objects, copies and what follows from them.

    ``found`` are objects, whether each only goes by a runtime's name, and their loads, by address.
    ``problem`` says why there is no link map, or what is wrong with it.
    """
    places = _places(found, linked) if linked is not None else {}
    entries = []
    for number, (each, looks_alike, load) in enumerate(found):
        namespace, order, name = places.get(number, (None, None, ""))
        entries.append(
            (replace(each, namespace=namespace, order=order, name=name), looks_alike, load)
        )
    entries.sort(key=lambda entry: _rank(entry[0]))
    objects = tuple(each for each, _, _ in entries)
    loads = {each: load for each, _, load in entries}
    ordered = bool(places)
    if (
        ordered
        and not problem
        and any(libraries.is_runtime(each.family) and each.order is None for each in objects)
    ):
        problem = (
            "a library is mapped and not on the loader's list: it is in a namespace that the C"
            " library does not tell of (glibc before 2.35), or was not mapped by the loader"
        )
    graph = Dependencies(
        objects, _program(objects, facts.program, ordered=ordered), facts.environment,
        ordered=ordered,
    )  # fmt: skip
    copies = [
        _copy(place, each, graph, files, loads[each])
        for place, each in enumerate(objects)
        if libraries.is_runtime(each.family)
    ]
    return replace(
        facts,
        objects=objects,
        copies=_with_openers(copies, facts, objects, loads, files),
        look_alikes=tuple(each.path for each, looks_alike, _ in entries if looks_alike),
        namespaces=len(linked.namespaces) if linked is not None else 0,
        link_map_problem=problem,
        agent=_agent(copies),
    )


def _places(
    found: Sequence[tuple[LoadedObject, bool, Load]], linked: LinkMap
) -> dict[int, tuple[int, int, str]]:
    """Namespace, place and name of each load that is on the loader's lists.

    Matched by the dynamic section, which lies in one of the object's own mappings.
    """
    ranges = sorted(
        (mapping.start, mapping.end, number)
        for number, (_, _, load) in enumerate(found)
        for mapping in load.mappings
    )
    starts = [start for start, _, _ in ranges]
    places: dict[int, tuple[int, int, str]] = {}
    for namespace, entries in enumerate(linked.namespaces):
        for order, entry in enumerate(entries):
            at = bisect.bisect_right(starts, entry.dynamic) - 1
            if at >= 0 and entry.dynamic < ranges[at][1]:
                # The loader itself is on the list of every namespace; the first one counts.
                places.setdefault(ranges[at][2], (namespace, order, entry.name))
    return places


def _rank(each: LoadedObject) -> tuple[bool, int, int, int]:
    return (each.order is None, each.namespace or 0, each.order or 0, each.address)


def _program(objects: Sequence[LoadedObject], path: str, *, ordered: bool) -> int | None:
    """Place of the main program."""
    if ordered and objects[0].namespace == 0 and objects[0].order == 0:
        return 0
    return next((place for place, each in enumerate(objects) if each.path == path), None)


def _copy(place: int, each: LoadedObject, graph: Dependencies, files: Files, load: Load) -> Copy:
    ours = (each.family == HSA and files.exports(load, _AGENT_MARK)) or (
        each.family == COMGR and _CACHE_MARK in each.path
    )
    return Copy(
        family=each.family,
        object=each,
        version=libraries.version(each.soname, each.path),
        routes=graph.routes(place),
        ours=ours,
    )


def _with_openers(
    copies: Sequence[Copy],
    facts: ProcessFacts,
    objects: Sequence[LoadedObject],
    loads: Mapping[LoadedObject, Load],
    files: Files,
) -> tuple[Copy, ...]:
    """The copies, those that nobody needs with who may have opened them."""
    unneeded = [copy for copy in copies if copy.routes == (Route("opened"),)][:_MOST_OPENED]
    if not unneeded:
        return tuple(copies)
    names = openers.Names(copy.family for copy in unneeded)
    named: list[tuple[LoadedObject, set[str]]] = []
    whole = True
    # Small files first: what opens a runtime by its name is rarely a large one.
    for each in sorted(objects, key=lambda each: loads[each].end - loads[each].start):
        if not any(openers.was_there_before(each, copy.object) for copy in unneeded):
            continue
        file = files.open(loads[each])
        if file is None:
            whole = False
            continue
        with file:
            found, searched = names.within(file, openers.places_of_text(loads[each]))
        whole = whole and searched
        if found:
            named.append((each, found))
    python = any(
        _PYTHON.match(os.path.basename(each)) or "libpython" in each
        for each in (facts.program, *(each.path for each in objects))
    )
    told = {
        copy.object.address: openers.possibilities(
            copy.object,
            [
                each
                for each, found in named
                if copy.family in found and openers.was_there_before(each, copy.object)
            ],
            facts.environment,
            python=python,
            whole=whole,
        )
        for copy in unneeded
    }
    return tuple(
        replace(copy, possible_openers=told.get(copy.object.address, ())) for copy in copies
    )


def _agent(copies: Iterable[Copy]) -> Literal["", "hardware", "software"]:
    """What executes below the runtime; AMD's HSA runtime works on nothing but a GPU."""
    below = [copy.ours for copy in copies if copy.family == HSA]
    if not below:
        return ""
    return "software" if all(below) else "hardware"
