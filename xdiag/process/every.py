"""Looks at every process that may be looked at, and keeps those with a runtime in them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from xdiag.model import Record
from xdiag.process.errors import NothingToSee, Refused, Vanished
from xdiag.process.look import loaded, look_at
from xdiag.process.proc import Proc

if TYPE_CHECKING:
    from xdiag.process.facts import ProcessFacts
    from xdiag.process.look import Known


class Every(Record, frozen=True):
    """The processes with a runtime, and how many others there were."""

    processes: tuple[ProcessFacts, ...]
    looked_at: int
    refused: int
    vanished: int


def look_at_every() -> Every:
    """All processes that /proc shows, but threads of the kernel, zombies and this one.

    One that ends meanwhile is no error; one that may not be read is counted.
    """
    known: Known = {}  # most processes have the same libraries
    found: list[ProcessFacts] = []
    looked_at = refused = vanished = 0
    for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdecimal()):
        if pid == os.getpid():
            continue
        try:
            with Proc(pid) as process:
                if loaded(process, known):
                    found.append(look_at(process, known))
                looked_at += 1
        except Refused:
            refused += 1
        except Vanished:
            vanished += 1
        except NothingToSee:
            continue
    return Every(tuple(found), looked_at, refused, vanished)
