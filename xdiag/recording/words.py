"""Words for what a record says: who called, on which copy, with what result, when."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from xdiag.discover.names import as_text

if TYPE_CHECKING:
    from xdiag.recording.facts import Call, Facts, Process

#: Files through which Python calls C: who called from there is not in the record.
_FOREIGN_FUNCTIONS = re.compile(r"lib(ffi|ffcall)\b.*|_ctypes\..*|_cffi_backend\..*")
_SPECIAL = {0: "NULL", 1: "hipStreamLegacy", 2: "hipStreamPerThread"}


def moment(seconds: float) -> str:
    """A time: ``+1.203456 s``."""
    return f"{seconds:+.6f} s"


def plural(number: int, noun: str) -> str:
    """``1 call``, ``2 calls``, ``2 processes``, ``2 copies``."""
    if number == 1:
        return f"1 {noun}"
    if noun.endswith("py"):
        return f"{number} {noun[:-1]}ies"
    return f"{number} {noun}{'es' if noun.endswith('s') else 's'}"


def letter(process: Process, number: int) -> str:
    """What a runtime of a process is called: A for the copy loaded first, then B, ..."""
    for place, each in enumerate(process.runtimes):
        if each.number == number:
            return chr(ord("A") + place) if place < 26 else f"copy {place + 1}"
    return f"object {number}"


def runtime_path(process: Process, number: int) -> str:
    """The file of a runtime; words for it where that is not known."""
    found = process.object(number)
    return as_text(found.path) if found is not None else "a copy whose loading was not recorded"


def named(process: Process, number: int) -> str:
    """A runtime with its file: ``A (/opt/rocm/lib/libamdhip64.so.6)``."""
    return f"{letter(process, number)} ({runtime_path(process, number)})"


def on(facts: Facts, call: Call) -> str:
    """A call and its copy: ``hipStreamGetFlags on B``."""
    return f"{call.name} on {letter(facts.processes[call.process], call.runtime)}"


def by(call: Call) -> str:
    """Who called: ``thread 4711 (main), called from libhalhip.so``."""
    main = " (main)" if call.tid == call.pid else ""
    return f"thread {call.tid}{main}, {called_from(call)}"


def called_from(call: Call) -> str:
    """The library that a call returns to."""
    if not call.caller_path:
        return "called from no library that is known"
    name = os.path.basename(as_text(call.caller_path))
    if _FOREIGN_FUNCTIONS.fullmatch(name):
        return f"called from Python through {name} (ctypes or cffi)"
    return f"called from {name}"


def outcome(call: Call) -> str:
    """What came of a call: ``returned 709 hipErrorContextIsDestroyed``."""
    if call.ended is None:
        return "did not return"
    name = f" {call.error}" if call.error and call.result else ""
    return f"returned {call.result}{name}"


def handle(value: int) -> str:
    """A handle, with its name if it has one."""
    return _SPECIAL.get(value, hex(value))


def process_named(process: Process) -> str:
    """``process 4711 (python3)``."""
    program = os.path.basename(as_text(process.exe))
    return f"process {process.pid} ({program})" if program else f"process {process.pid}"
