"""What is loaded in a process, judged: ``inspect`` makes findings of its facts."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from msgspec.structs import replace

from xdiag import __version__
from xdiag.discover.names import HIP
from xdiag.discover.names import identity as identity_of
from xdiag.discover.xsched import HIP_LIB
from xdiag.findings import CheckFacts, Finding, Status, failed, passed, skipped, warned
from xdiag.loaded import FAMILIES
from xdiag.model import SCHEMA_VERSION, Record
from xdiag.process.facts import ProcessFacts  # noqa: TC001 - msgspec reads it at run time
from xdiag.process.openers import is_hal
from xdiag.process.watch import Change  # noqa: TC001 - msgspec reads it at run time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from xdiag.process.every import Every
    from xdiag.process.facts import Copy, LoadedObject, Route

_ORDINALS = ("first", "second", "third", "fourth", "fifth")
_NUMBERS = ("no", "one", "two", "three", "four", "five")
#: Routes shown of one copy; ``ProcessFacts`` has the rest.
_ROUTES_SHOWN = 3


class Inspection(Record, frozen=True):
    """A process and what is to be said of it: what ``xdiag inspect --json`` writes."""

    #: Always ``SCHEMA_VERSION`` when written; a reader refuses a newer one.
    schema_version: int
    xdiag: str
    process: ProcessFacts
    findings: tuple[Finding, ...]

    @property
    def fault(self) -> bool:
        """Whether anything is wrong."""
        return any(finding.status is Status.FAIL for finding in self.findings)


class Survey(Record, frozen=True):
    """All processes with a runtime in them: what ``xdiag inspect --all --json`` writes."""

    schema_version: int
    xdiag: str
    inspections: tuple[Inspection, ...]
    #: Processes looked at; those that may not be; those that ended meanwhile.
    looked_at: int
    refused: int
    vanished: int

    @property
    def fault(self) -> bool:
        """Whether anything is wrong in any of them."""
        return any(inspection.fault for inspection in self.inspections)


class Sighting(Record, frozen=True):
    """One change in a watched process: a line of what ``xdiag inspect --watch --json`` writes."""

    schema_version: int
    pid: int
    change: Change
    #: A full look, where a second HIP runtime has come.
    inspection: Inspection | None = None


def survey(found: Every) -> Survey:
    """Judge every process."""
    return Survey(
        SCHEMA_VERSION, __version__, tuple(map(inspect, found.processes)), found.looked_at,
        found.refused, found.vanished,
    )  # fmt: skip


def inspect(facts: ProcessFacts) -> Inspection:
    """Judge a process."""
    findings = tuple(
        replace(judge(facts), check=check.id) for check, judge in zip(CHECKS, _JUDGES, strict=True)
    )
    return Inspection(SCHEMA_VERSION, __version__, facts, findings)


# ---- one runtime -----------------------------------------------------------------------------


def _one_runtime(facts: ProcessFacts) -> Finding:
    copies = [copy for copy in facts.copies if copy.family == HIP]
    aside = [
        f"not counted: {path}: it goes by a runtime's name, and its SONAME is another's"
        for path in facts.look_alikes
    ]
    if not copies:
        return passed("no HIP runtime is loaded" + ("" if facts.core else " now"), *aside)
    if len(copies) == 1:
        (copy,) = copies
        return passed(
            f"one HIP runtime is loaded: {copy.object.path}", *_told_of(copy, facts), *aside
        )
    named = _letters(copies)
    evidence = [line for letter, copy in named for line in _told_of(copy, facts, letter)]
    evidence += _alike(copies)
    evidence += _meaning(copies)
    return failed(
        f"{_count(len(copies))} copies of {HIP} are loaded: "
        + " and ".join(
            f"{letter} = {copy.object.path} ({_brought_by(copy)})" for letter, copy in named
        ),
        *evidence,
        *aside,
        remedy=tuple(_remedy(named, facts)),
    )


def _letters(copies: Sequence[Copy]) -> list[tuple[str, Copy]]:
    """A name for each copy: A, B, ..., and numbers where the alphabet ends."""
    return [
        (chr(ord("A") + place) if place < 26 else str(place + 1), copy)
        for place, copy in enumerate(copies)
    ]


def _told_of(copy: Copy, facts: ProcessFacts, name: str = "") -> list[str]:
    """A copy in a line, and below it how it came in; called by its path without a name."""
    each = copy.object
    parts = [identity(each)] if not facts.core else []
    if each.soname:
        parts.append(f"SONAME {each.soname}")
    if copy.version:
        parts.append(f"version {copy.version}")
    if each.build_id:
        parts.append(f"build id {each.build_id[:12]}")
    parts.append(f"at {each.address:#x}")
    if each.namespace:
        parts.append(f"in namespace {each.namespace} (dlmopen)")
    place = _place(copy, facts)
    if place:
        parts.append(place)
    lines = [f"{name or each.path}: {', '.join(parts)}"]
    if each.name and each.name != each.path:
        lines.append(f"  asked for as {each.name}")
    lines += [f"  {route_told(route)}" for route in copy.routes[:_ROUTES_SHOWN]]
    if len(copy.routes) > _ROUTES_SHOWN:
        lines.append(f"  and needed by {len(copy.routes) - _ROUTES_SHOWN} more")
    lines += [f"  possible opener: {each}" for each in copy.possible_openers]
    return lines


def identity(each: LoadedObject) -> str:
    """``device 8:1 inode 123``: what makes a file that file."""
    return identity_of(each.device, each.inode)


def route_told(route: Route) -> str:
    """A way into the process, in words: from the one who was first to the one who needs it."""
    names = [os.path.basename(path) for path in route.chain]
    if not names:
        return {
            "linked": "it is the program itself",
            "preloaded": "preloaded (LD_PRELOAD)",
            "opened": "opened at run time (dlopen): nothing that is loaded needs it",
        }[route.how]
    start = {
        "linked": "needed from the start: ",
        "preloaded": "needed by what LD_PRELOAD names: ",
        "opened": "needed by what was opened at run time: ",
    }[route.how]
    sure = "" if route.certain else " (or another file of that name is meant)"
    return start + " -> ".join(names) + sure


def _brought_by(copy: Copy) -> str:
    direct = [os.path.basename(route.chain[-1]) for route in copy.routes if route.chain]
    if not direct:
        return (
            "preloaded"
            if copy.routes[:1] and copy.routes[0].how == "preloaded"
            else ("opened at run time")
        )
    more = f" and {len(direct) - 1} more" if len(direct) > 1 else ""
    return f"needed by {direct[0]}{more}"


def _place(copy: Copy, facts: ProcessFacts) -> str:
    """Its place among the copies of its family, where all are in the loader's first namespace."""
    family = [each for each in facts.copies if each.family == copy.family]
    if len(family) < 2 or any(each.object.namespace != 0 for each in family):
        return ""
    place = sorted(each.object.order or 0 for each in family).index(copy.object.order or 0)
    return f"loaded {_ORDINALS[place]}" if place < len(_ORDINALS) else ""


def _alike(copies: Sequence[Copy]) -> Iterable[str]:
    files = {(copy.object.device, copy.object.inode, copy.object.path) for copy in copies}
    if len(files) < len(copies):
        yield "a file that is named twice was loaded twice, in two namespaces (dlmopen)"
    builds = {copy.object.build_id for copy in copies}
    if len(files) > 1 and len(builds) == 1 and "" not in builds:
        yield (
            "all have the same build id: they are copies of one build, and to the loader as"
            " different as any two files"
        )
    majors = sorted({copy.major for copy in copies if copy.major is not None})
    if len(majors) > 1:
        yield f"they are of different major versions: {', '.join(map(str, majors))}"


def _meaning(copies: Sequence[Copy]) -> Iterable[str]:
    """What follows, by version: each copy knows only the streams that it made."""
    majors = {copy.major for copy in copies}
    yield "each copy knows only the streams that it made itself"
    if any(major is None or major <= 6 for major in majors):
        yield "HIP up to 6.4 refuses the other copy's with error 709"
    if any(major is None or major >= 7 for major in majors):
        yield (
            "HIP 7 takes them in most calls without a check: they seem to succeed, and work is"
            " silently unordered, or the process crashes"
        )


def _remedy(named: Sequence[tuple[str, Copy]], facts: ProcessFacts) -> Iterable[str]:
    """Who has to change, and how."""
    keep = _to_keep([copy for _, copy in named], facts)
    kept, file = next(letter for letter, copy in named if copy is keep), keep.object
    yield f"keep {kept} ({_brought_by(keep)}); whoever uses another one has to use {kept}:"
    if file.at_path == "gone":
        yield f"{kept}: its file is gone from {file.path}: install it again first"
    xsched = any(map(is_hal, facts.objects))
    for letter, other in named:
        if other is keep:
            continue
        each = other.object
        if other.major != keep.major and None not in (other.major, keep.major):
            yield (
                f"{letter}: {_who_brought(letter, other)} needs a build for HIP {keep.major};"
                f" HIP {other.major} and {keep.major} cannot stand in for each other"
            )
        elif (each.device, each.inode, each.path) == (file.device, file.inode, file.path):
            yield f"{letter}: whoever calls dlmopen has to open it with dlopen"
        elif any(route.how == "preloaded" and not route.chain for route in other.routes):
            yield f"{letter}: take {each.path} out of LD_PRELOAD"
        elif any(route.chain for route in other.routes):
            yield (
                f"{letter}: let {_who_brought(letter, other)} find {file.path}: by its RPATH"
                f" (patchelf --set-rpath {os.path.dirname(file.path)}), or by LD_LIBRARY_PATH where"
                " it has no RPATH"
            )
        elif xsched:
            yield f"{letter}: if XSched opened it, start the program with {HIP_LIB}={file.path}"
            yield f"{letter}: if another did, that one has to open {file.path}"
        else:
            yield (
                f"{letter}: whoever opens it (dlopen, ctypes.CDLL) has to open {file.path},"
                f" or find it by RTLD_NOLOAD with {file.soname or 'its SONAME'}"
            )


def _who_brought(letter: str, copy: Copy) -> str:
    direct = [route.chain[-1] for route in copy.routes if route.chain]
    return direct[0] if direct else f"whoever opens {letter}"


def _to_keep(copies: Sequence[Copy], facts: ProcessFacts) -> Copy:
    """The framework's copy, else one that others are linked to, else the first one loaded."""
    torch = {each.path for each in facts.of_family("torch")}

    def rank(copy: Copy) -> tuple[bool, bool, bool, int]:
        chained = [path for route in copy.routes for path in route.chain]
        order = copy.object.order
        return (
            not torch.intersection(chained),
            not chained,
            bool(copy.object.namespace),
            1 << 30 if order is None else order,
        )

    return min(copies, key=rank)


# ---- the rest --------------------------------------------------------------------------------


def _support_libraries(facts: ProcessFacts) -> Finding:
    counted = [copy for copy in facts.copies if copy.family != HIP]
    # The cache is meant to stand before AMD's compiler.
    counted = [copy for copy in counted if not (copy.ours and copy.family == "libamd_comgr")]
    by_family = {
        family: [copy for copy in counted if copy.family == family]
        for family in FAMILIES
        if family != HIP
    }
    several = {family: copies for family, copies in by_family.items() if len(copies) > 1}
    if not several:
        loaded = [family for family, copies in by_family.items() if copies]
        told = f"one copy each of {', '.join(loaded)}" if loaded else "none is loaded"
        return passed(
            f"GPU libraries besides the HIP runtime: {told}",
            *(line for copy in counted for line in _told_of(copy, facts)),
        )
    evidence: list[str] = []
    for family, copies in several.items():
        evidence += [line for copy in copies for line in _told_of(copy, facts)]
        evidence.append(FAMILIES[family])
    hip = sum(copy.family == HIP for copy in facts.copies)
    remedy = "each HIP runtime may have brought its own: first see to process.one-runtime"
    return warned(
        " and ".join(
            f"{_count(len(copies))} copies of {family}" for family, copies in several.items()
        )
        + " are loaded",
        *evidence,
        remedy=(remedy if hip > 1 else "let all that need it find the same file",),
    )


def _replaced_files(facts: ProcessFacts) -> Finding:
    watched = [each for each in facts.objects if each.family in FAMILIES or each.family == "xsched"]
    words = {
        "gone": "nothing is there now",
        "other": "another file is there now",
        "changed": "another build is there now",
    }
    touched = [each for each in watched if each.at_path in words]
    others = sum(each.at_path in words for each in facts.objects) - len(touched)
    also = (f"so are {others} other libraries of the process",) if others else ()
    if not touched:
        if others:
            return passed(f"the runtime's files are in their places; {others} other files are not")
        return passed("all files of the runtime are in their places")
    if facts.core:
        return warned(
            "the runtime's files are not those that the process had loaded",
            *(f"{each.path}: {words[each.at_path]}" for each in touched),
            *(each.problem for each in touched if each.problem),
            remedy=("read the core where it was made, with the files of then",),
        )
    return warned(
        "files of the runtime were removed or replaced after they were loaded",
        *(f"{each.path}: loaded {identity(each)}; {words[each.at_path]}" for each in touched),
        "whoever opens one by another name (a link) from now on gets another file: a second copy",
        *also,
        remedy=("restart the process",),
    )


def _readable_files(facts: ProcessFacts) -> Finding:
    unread = [each for each in facts.objects if each.problem and each.at_path != "changed"]
    ours = [each for each in unread if each.family in FAMILIES]
    evidence = [f"{each.path}: {each.problem}" for each in unread]
    if ours:
        return warned(
            f"what {_count(len(ours), 'file')} loaded as a runtime says of itself cannot be read:"
            f" {', '.join(os.path.basename(each.path) for each in ours)}",
            *evidence,
            remedy=("if the file was overwritten while it was loaded: restart the process",),
        )
    if unread:
        return passed(
            f"{_count(len(unread), 'loaded file')} cannot be read; by the names, no runtime",
            *evidence,
        )
    return passed("every loaded file could be read")


def _load_order(facts: ProcessFacts) -> Finding:
    listed = sum(each.order is not None for each in facts.objects)
    if facts.link_map_problem:
        return skipped(
            "the order of loading, and namespaces of dlmopen, are not known for certain:"
            f" {facts.link_map_problem}"
        )
    return passed(
        f"the loader's list was read: {listed} libraries in {_count(facts.namespaces, 'namespace')}"
    )


def _count(number: int, noun: str = "") -> str:
    word = _NUMBERS[number] if number < len(_NUMBERS) else str(number)
    if not noun:
        return word
    return f"{word} {noun}" if number == 1 else f"{word} {noun}s"


#: What is asked of a process, and who answers; in the order shown.
CHECKS = (
    CheckFacts("process.load-order", "the loader's own list", "passive", "note"),
    CheckFacts("process.readable-files", "files that are loaded and cannot be read", "passive",
               "risk"),
    CheckFacts("process.replaced-files", "loaded files that are not at their paths any more",
               "passive", "risk"),
    CheckFacts("process.support-libraries", "copies of the GPU libraries besides the HIP runtime",
               "passive", "risk"),
    CheckFacts("process.one-runtime", "copies of the HIP runtime", "passive", "fault"),
)  # fmt: skip
_JUDGES: tuple[Callable[[ProcessFacts], Finding], ...] = (
    _load_order, _readable_files, _replaced_files, _support_libraries, _one_runtime,
)  # fmt: skip
