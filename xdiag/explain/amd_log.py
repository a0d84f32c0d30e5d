"""Lines of the runtime's own log (AMD_LOG_LEVEL), of every era.

An entry line is a call with its arguments, between colour codes or not; a return line has the
call's name and the error's, and no handle.  What stands between the level, file and line number and
the message differs (hipamd/rocclr, utils/debug.cpp):

- 5.x to 5.6: ``<us> us: <pid>: [tid:0x<hex>] ``
- 5.7 to 6.2: ``<us> us: [pid:<pid> tid:0x<hex>] ``
- 6.3 on: ``<us> us:  ``, with pid and tid only at level 4 and above; there the tid is written
  ``tid: 0x``, and may be a hash.

The list of calls with the places of their streams and events is the executor's (calls.h).
"""

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple

COLOUR = re.compile(rb"\x1b\[[0-9;]*m")
_PREFIX = re.compile(
    rb":(\d):[^:\n]{0,80}:\s{0,8}\d{1,7}\s{0,8}:\s{0,4}\d{1,20}d?\s{0,4}us:\s{0,8}"
    rb"(?:\[pid:\s?(\d{1,10})\s+tid:(\s?)0x([0-9a-fA-F]{1,16})\]"
    rb"|(\d{1,10})\s{0,4}:\s{0,4}\[tid:\s?0x([0-9a-fA-F]{1,16})\])?\s{0,8}"
)
_RETURN = re.compile(rb"(hip\w{1,80}): Returned (hip\w{1,80}|\d{1,5})\b ?:?([^\n]{0,200})")
_ENTRY = re.compile(rb"(hip\w{1,80}) \( (.*)")
_MADE = re.compile(
    rb"(hip\w{1,80}): Returned hipSuccess : (?:stream:|event:)?0x([0-9a-fA-F]{1,16})\b"
)
_HANDLE = re.compile(rb"(?:\w+:)?(?:0x([0-9a-fA-F]{1,16})|<null>|nullptr|\(nil\))$")

#: First and last version of each era, the last one excluded.
ERAS = {
    "5.x to 5.6": ((5, 0), (5, 7)),
    "5.7 to 6.2": ((5, 7), (6, 3)),
    "6.3 or later": ((6, 3), (99, 0)),
    "5.7 or later": ((5, 7), (99, 0)),
}


class Thread(NamedTuple):
    """Who wrote a line, as far as the line says."""

    pid: int | None = None
    tid: str = ""


class Message(NamedTuple):
    """A line taken apart."""

    thread: Thread
    text: bytes
    #: A key of ERAS; empty where there is no prefix.
    era: str


class Return(NamedTuple):
    """A return line: the call, the error's name (or number), and what it says besides."""

    call: str
    error: str
    extra: bytes


NO_ONE = Thread()


def message(line: bytes) -> Message:
    """A line without its prefix and colours; one that has no prefix is all message."""
    plain = COLOUR.sub(b"", line) if b"\x1b" in line else line
    match = _PREFIX.search(plain)
    if match is None:
        return Message(NO_ONE, plain, "")
    level, pid, space, tid, old_pid, old_tid = match.groups()
    text = plain[match.end() :]
    if old_pid:
        return Message(Thread(int(old_pid), old_tid.decode()), text, "5.x to 5.6")
    if pid:
        era = "6.3 or later" if space else "5.7 to 6.2" if int(level) < 4 else "5.7 or later"
        return Message(Thread(int(pid), tid.decode()), text, era)
    return Message(NO_ONE, text, "6.3 or later")


def returned(text: bytes) -> Return | None:
    """A message as a return line; None if it is none."""
    match = _RETURN.search(text)
    if match is None:
        return None
    return Return(match[1].decode(), match[2].decode(), match[3])


def made(text: bytes) -> tuple[str, int] | None:
    """The call and the handle that it made, of a successful return line; None for another."""
    match = _MADE.search(text)
    if match is None:
        return None
    return match[1].decode(), int(match[2], 16)


def entered(text: bytes) -> tuple[str, list[bytes]] | None:
    """The call and its arguments, of an entry line; None for another line."""
    match = _ENTRY.search(text)
    if match is None:
        return None
    end = match[2].rfind(b")")
    return match[1].decode(), _arguments(match[2][:end] if end >= 0 else match[2])


def base_name(call: str) -> str:
    """The call that users make: ``hipStreamSynchronize`` of ``hipStreamSynchronize_common``."""
    for ending in ("_common", "_spt"):
        call = call.removesuffix(ending)
    return call


def takes(call: str) -> tuple[int | None, int | None]:
    """Places of the stream and the event among a call's arguments; None where it takes none."""
    return _places().get(base_name(call), (None, None))


def handle_of(call: str, arguments: list[bytes]) -> int | None:
    """The handle that a call was given: its stream, or else its event; None where none is told.

    Before 7.x the kind stands before a handle; from 7.0 on only its place tells it.
    """
    stream, event = takes(call)
    for kind, place in ((b"stream:", stream), (b"event:", event)):
        named = next((each for each in arguments if each.startswith(kind)), None)
        if named is not None:
            return _number(named)
        if place is not None and place < len(arguments):
            return _number(arguments[place])
    return None


def _number(argument: bytes) -> int | None:
    match = _HANDLE.match(argument)
    if match is None:
        return None
    return int(match[1], 16) if match[1] else 0


def _arguments(text: bytes) -> list[bytes]:
    """Arguments between commas, of which those within braces (dim3) are none."""
    if b"{" not in text:
        return [each.strip() for each in text.split(b",")] if text.strip() else []
    parts, depth, begin = [], 0, 0
    for place, byte in enumerate(text):
        if byte == 0x7B:
            depth += 1
        elif byte == 0x7D:
            depth -= 1
        elif byte == 0x2C and depth <= 0:
            parts.append(text[begin:place].strip())
            begin = place + 1
    parts.append(text[begin:].strip())
    return parts


@cache
def _places() -> dict[str, tuple[int | None, int | None]]:
    from xdiag.native import calls

    found: dict[str, tuple[int | None, int | None]] = {}
    for call in calls().values():
        kinds = list(call.kinds)
        places = tuple(kinds.index(kind) if kind in kinds else None for kind in ("STREAM", "EVENT"))
        for name in call.hip:
            found[name] = (places[0], places[1])
    return found


@cache
def codes() -> dict[str, int]:
    """Error name -> number."""
    from xdiag.native import errors

    return {name: code for code, (name, _) in errors().items()}
