"""Who asked the loader for a runtime, by which name, and which copy came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xdiag.model import Record
from xdiag.recording.facts import AnswerWord  # noqa: TC001 - msgspec reads the annotations

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xdiag.recording.facts import Object, Process, Request


#: Requests of one process that are followed.
_MOST_REQUESTS = 4096


class Route(Record, frozen=True):
    """One request, from the name that was asked for to the copy that came of it."""

    time: float
    requester_path: str
    #: As it was asked for, and the path that this led to; empty where nothing was found.
    name: str
    path: str
    answer: AnswerWord
    #: Where the loader found the path: "ld.so.cache"; empty where the name is a path itself.
    found_by: str = ""
    #: The path that was answered instead.
    to: str = ""
    #: Why it was not redirected.
    why: str = ""
    #: Number of the copy, 0 where it is not known or none was loaded.
    runtime: int = 0


def routes(process: Process) -> tuple[Route, ...]:
    """The requests of a process.

    The loader tells of the name first, and then of each path that it leads to; a name that is
    loaded already by its SONAME is not told of (dl-load.c, _dl_map_object).
    """
    #: (thread, requester) -> a name without a slash that no path was told for yet.
    open_names: dict[tuple[int, int], Request] = {}
    found: list[Route] = []
    copies = process.runtimes
    for request in process.requests[:_MOST_REQUESTS]:
        who = (request.tid, request.requester)
        if "/" not in request.name:
            found += _not_found(open_names.pop(who, None))
            open_names[who] = request
            continue
        asked = open_names.get(who)
        if request.answer != "unreadable":
            open_names.pop(who, None)
        found.append(
            Route(
                time=request.time,
                requester_path=request.requester_path,
                name=asked.name if asked is not None else request.name,
                path=request.name,
                answer=request.answer,
                found_by=request.rule if asked is not None else "",
                to=request.to,
                why=request.why,
                runtime=_copy(copies, request),
            )
        )
    for request in open_names.values():
        found += _not_found(request)
    return tuple(sorted(found, key=lambda route: route.time))


def _not_found(request: Request | None) -> Iterator[Route]:
    if request is not None:
        yield Route(request.time, request.requester_path, request.name, "", "as asked")


def _copy(copies: tuple[Object, ...], request: Request) -> int:
    """The copy that a request was answered with: the one of that path that was loaded then."""
    if request.answer == "unreadable":
        return 0
    path = request.to or request.name
    there = [each for each in copies if each.path == path]
    later = [each for each in there if each.opened >= request.time]
    before = [each for each in there if each.opened < request.time]
    open_still = [each for each in before if each.closed is None or each.closed > request.time]
    if open_still:
        return open_still[-1].number
    if later:
        return later[0].number
    if request.answer == "same file":
        # By another path, a link: the first copy of the program's own namespace (unify.c).
        own = [each for each in copies if not each.namespace]
        return own[0].number if own else 0
    return 0
