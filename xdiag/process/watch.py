"""Watches which copies of a runtime come into a process and go.

Once in an interval the memory map is read, which the process does not notice.  A copy that comes
and goes between two looks is not seen.
"""

from __future__ import annotations

import os
import select
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Literal

from xdiag.model import Record
from xdiag.process.errors import NothingToSee, Vanished
from xdiag.process.facts import LoadedObject  # noqa: TC001 - msgspec reads it at run time
from xdiag.process.look import loaded

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xdiag.process.look import Known
    from xdiag.process.proc import Proc


class Change(Record, frozen=True):
    """What was seen at one look: the first, a change, or the end."""

    #: start: the first look; change; program: another program runs in the process (execve(2));
    #: end.
    event: Literal["start", "change", "program", "end"]
    #: Seconds since 1970.
    at: float
    appeared: tuple[LoadedObject, ...] = ()
    disappeared: tuple[LoadedObject, ...] = ()
    #: All that is loaded now.
    loaded: tuple[LoadedObject, ...] = ()
    program: str = ""


def watch(process: Proc, seconds: float, reader: int | None = None) -> Iterator[Change]:
    """The first look at a process, then every change, then its end.

    Ends early when nobody reads on from the pipe ``reader``, a descriptor.  ``process`` stands for
    one process: another one that gets its number is never watched.
    """
    known: Known = {}
    before: tuple[LoadedObject, ...] = ()
    program = ""
    end = _end_of(process)
    try:
        first = True
        while True:
            try:
                now = loaded(process, known)
                runs = process.link(f"{process.below}exe")
            except (Vanished, NothingToSee, FileNotFoundError, ProcessLookupError):
                break
            event: Literal["start", "change", "program"] = "change"
            if first:
                event = "start"
            elif runs != program:
                event = "program"
            appeared = tuple(each for each in now if each not in before)
            disappeared = tuple(each for each in before if each not in now)
            if appeared or disappeared or event != "change":
                yield Change(event, time.time(), appeared, disappeared, now, runs)
            first, before, program = False, now, runs
            if _ended_within(seconds, end, process):
                break
            if reader is not None and _is_deserted(reader):
                return
    finally:
        if end is not None:
            os.close(end)
    yield Change("end", time.time(), program=program)


def _end_of(process: Proc) -> int | None:
    """A descriptor that becomes readable when the process ends; None where there is none.

    pidfd_open(2), Linux 5.3.
    """
    with suppress(OSError, AttributeError):
        end = os.pidfd_open(process.leader)
        if process.is_there():  # so its number cannot have gone to another one
            return end
        os.close(end)
    return None


def _is_deserted(pipe: int) -> bool:
    """Whether the pipe's reader has gone away, as ``head`` does: poll(2), POLLERR."""
    poll = select.poll()
    poll.register(pipe, 0)
    return bool(poll.poll(0))


def _ended_within(seconds: float, end: int | None, process: Proc) -> bool:
    if end is not None:
        return bool(select.select([end], [], [], seconds)[0])
    time.sleep(seconds)
    try:
        return process.stat_fields()[0] in "ZX" and not process.below
    except (Vanished, OSError):
        return True
