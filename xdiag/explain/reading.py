"""Reads one source: the places in it that matter, each in order, to who understands them.

What is looked for are some rare strings; what is not near one of them is never looked at.  Measured
on a log of the runtime's, a regular expression with a literal beginning takes 0.3 ms per MB,
``bytes.find`` of a long literal 0.25, of one byte 0.05: so each string is looked for in the way
that is quickest for it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from xdiag.explain import amd_log, versions
from xdiag.explain.facts import LONGEST, Line
from xdiag.explain.failing_calls import FailingCalls, kind_of
from xdiag.explain.mapped import Mapped
from xdiag.explain.messages import Messages

if TYPE_CHECKING:
    from xdiag.explain.amd_log import Thread
    from xdiag.explain.evidence import Evidence, Found
    from xdiag.explain.handles import Key, Kind
    from xdiag.explain.history import Teller
    from xdiag.explain.stream import Stream, Window

#: What is done with a line in which something stands: an error, a library, ...
_ERROR, _LIBRARY, _MADE, _ENDED, _ASKED_FOR = range(5)

#: Patterns that begin with a byte that is rare in a log of the runtime: it is looked for first,
#: with memchr(3), which is ten times as quick as a regular expression.
_RARE = (
    # An API log is full of hipErrorNotReady, and of hipGetLastError's entry lines.
    (b"E", re.compile(rb"E(?:rror(?!NotReady| \()|RRO(?:\]| @|R\*|R_CONTEXT_IS))"), _ERROR),
    (b"H", re.compile(rb"H(?:IP error|SA stack\.)"), _ERROR),
    (b"U", re.compile(rb"U reset(?<=GPU reset)"), _ERROR),
    (
        b"C",
        re.compile(
            rb"Create(?:(?<=StreamCreate|pEventCreate)\w{0,16}: Returned hipSuccess"
            rb"|(?<=HIPQueueCreate))"
        ),
        _MADE,
    ),
)
_ENDS = rb"(?:stroy(?<=StreamDestroy|pEventDestroy)|viceReset(?<=hipDeviceReset))(?: \(|: Returned)"
#: Most programs set no device but the first one, and do it all the time: those calls are passed by.
_ENDS_OR_OTHER_DEVICE = re.compile(
    rb"De(?:" + _ENDS + rb"|vice(?<=hipSetDevice)(?: \( [1-9]|: Returned hipE))"
)
_ENDS_OR_ANY_DEVICE = re.compile(
    rb"De(?:" + _ENDS + rb"|vice(?<=hipSetDevice)(?: \( \d|: Returned hipE))"
)
_LITERALS = (
    (b"context is destroyed", _ERROR),
    # As in: hipModuleLaunchKernel failed: 1 (invalid argument).
    (b"(invalid ", _ERROR),
    (b"Segmentation fault", _ERROR),
    (b"libamdhip64.so", _LIBRARY),
)
#: Bytes per rare byte, on average, below which it is not rare, and a regular expression quicker.
_RARE_IF = 1 << 10


class Reader:
    """Reads a source into the evidence."""

    def __init__(self, stream: Stream, evidence: Evidence, teller: Teller | None = None) -> None:
        self.stream = stream
        self.evidence = evidence
        self.name = stream.name
        self.formats: dict[str, None] = {}
        self._failing = FailingCalls(self)
        self._messages = Messages(self)
        self._mapped = Mapped(self)
        self._last_line = -1
        self._eras: set[str] = set()
        self._teller = teller
        asked_for = ((teller.text, _ASKED_FOR),) if teller is not None else ()
        self._literals = (*_LITERALS, *asked_for)

    def read(self) -> None:
        """Read all of it."""
        window = None
        for window in self.stream.windows():
            self._last_line = -1
            for hit in self._hits(window):
                self._take(window, hit >> 3, hit & 7)
        self._mapped.finish()
        if window is not None and "AMD log" in self.formats:
            self.evidence.unanswered += self.unanswered(window, window.end)
            self.evidence.forks += self._failing.forks(window, window.end)

    def unanswered(self, window: Window, place: int) -> list[Found]:
        """Calls of the runtime's log without a return line before a place."""
        return self._failing.unanswered(window, place) if "AMD log" in self.formats else []

    def key(self, thread: Thread) -> Key:
        """The process that a line belongs to: by its pid, or by the source if there is none."""
        return ("", thread.pid) if thread.pid is not None else (self.name, None)

    def line(self, window: Window, place: int) -> Line:
        """The line in which a place lies, as evidence."""
        begin, end = window.line_at(place)
        text = bytes(window.data[begin:end])
        if len(text) > LONGEST:
            # A very long line: what stands around the place.
            first = max(0, min(place - begin - LONGEST // 2, len(text) - LONGEST))
            text = text[first : first + LONGEST]
        return Line(self.name, window.line_number(place), as_text(text))

    def note_format(self, name: str) -> None:
        """Remember that a kind of text was recognised."""
        self.formats[name] = None

    # ---- what is where -------------------------------------------------------------------------

    def _hits(self, window: Window) -> list[int]:
        """Places with what is there, packed, in their order; of each kind one in a line."""
        hits: list[int] = []
        for byte, pattern, what in _RARE:
            hits += [place << 3 | what for place in _found(byte, pattern, window)]
        hits += [place << 3 | _ENDED for place in self._ends(window)]
        data, end = window.data, window.end
        for literal, what in self._literals:
            place = data.find(literal, window.begin, end)
            while place >= 0:
                hits.append(place << 3 | what)
                place = data.find(literal, window.next_line(place), end)
        hits.sort()
        return hits

    def _ends(self, window: Window) -> list[int]:
        """Where something is destroyed or reset, or a device is set that matters."""
        if not self.evidence.ledger.knows_devices:
            places = _matched(_ENDS_OR_OTHER_DEVICE, window, window.begin)
            if not any(window.data.startswith(b"Device (", place) for place in places):
                return places
        return _matched(_ENDS_OR_ANY_DEVICE, window, window.begin)

    def _take(self, window: Window, place: int, what: int) -> None:
        begin, end = window.line_at(place)
        if what == _ERROR:
            # Several words of one line say that it is one: it is looked at once.
            if begin == self._last_line:
                return
            self._last_line = begin
            self._error(window, place, begin, bytes(window.data[begin:end]))
        elif what == _LIBRARY:
            self._mapped.take(window, place, bytes(window.data[begin:end]))
        elif what == _ASKED_FOR:
            self._asked_for(window, place, begin, bytes(window.data[begin:end]))
        elif what == _MADE:
            self._made(window, place, bytes(window.data[begin:end]))
        else:
            self._ended(window, place, bytes(window.data[begin:end]))

    def _error(self, window: Window, place: int, begin: int, text: bytes) -> None:
        if b": Returned " in text:
            if self._failing.is_counted(text):
                return
            message = amd_log.message(text)
            returned = amd_log.returned(message.text)
            if returned is not None:
                self._note_era(message, window, place)
                if returned.error != "hipSuccess" and returned.error != "hipErrorNotReady":
                    line = self.line(window, place)
                    self._failing.take(window, begin, line, message, returned)
                return
        if b"Initializing HSA stack." in text:
            message = amd_log.message(text)
            if message.era:
                self._note_era(message, window, place)
                line = self.line(window, place)
                self.evidence.ledger.initialised(self.key(message.thread), line)
            return
        self._messages.take(window, place, begin, text)

    def _made(self, window: Window, place: int, text: bytes) -> None:
        message = amd_log.message(text)
        made = amd_log.made(message.text)
        if made is not None and _is_own(message):
            self._note_era(message, window, place)
            line = self.line(window, place)
            kind: Kind = "event" if made[0].startswith("hipEvent") else "stream"
            key = self.key(message.thread)
            self.evidence.ledger.made(key, message.thread, kind, made[1], line)
        elif b"HIPQueueCreate" in text:
            self.evidence.sign("old-binding", self.line(window, place))

    def _ended(self, window: Window, place: int, text: bytes) -> None:
        message = amd_log.message(text)
        if not _is_own(message):
            return
        ledger, key, thread = self.evidence.ledger, self.key(message.thread), message.thread
        returned = amd_log.returned(message.text)
        if returned is not None:
            succeeded = returned.error == "hipSuccess"
            call = amd_log.base_name(returned.call)
            if call == "hipSetDevice":
                ledger.device_refused(key, thread)
                return
            ledger.answered(key, thread, call, succeeded=succeeded)
            return
        entered = amd_log.entered(message.text)
        if entered is None:
            return
        call, arguments = entered
        self._note_era(message, window, place)
        if call == "hipSetDevice":
            if arguments and arguments[0].isdigit():
                ledger.device_set(key, thread, int(arguments[0][:4]))
        elif call == "hipDeviceReset":
            ledger.reset(key, thread, self.line(window, place))
        elif call in ("hipStreamDestroy", "hipEventDestroy"):
            self._destroyed(window, place, message, call, arguments)

    def _destroyed(
        self, window: Window, place: int, message: amd_log.Message, call: str,
        arguments: list[bytes],
    ) -> None:  # fmt: skip
        handle = amd_log.handle_of(call, arguments)
        if not handle:
            return
        key, kind = self.key(message.thread), kind_of(call)
        line = self.line(window, place)
        act = self.evidence.ledger.destroyed(key, message.thread, kind, handle, line)
        if act is not None and kind == "event":
            # 709 from hipEventDestroy has no return line: it may be the last word there is.
            self._failing.destroyed_again(window, place, line, message, act, handle)
        elif act is None and kind == "stream":
            self._failing.used_afterwards(window, place, message, handle)

    def _asked_for(self, window: Window, place: int, begin: int, text: bytes) -> None:
        if self._teller is not None and self._teller.concerns(text, place - begin):
            self._teller.take(text, self.line(window, place))

    def _note_era(self, message: amd_log.Message, window: Window, place: int) -> None:
        self.formats["AMD log"] = None
        if message.era and message.era not in self._eras:
            self._eras.add(message.era)
            self.evidence.version(versions.of_era(message.era), self.line(window, place))


def _is_own(message: amd_log.Message) -> bool:
    """Whether a line is the runtime's, or pasted without its beginning; a program may cite one."""
    return bool(message.era) or message.text.lstrip().startswith(b"hip")


def _found(byte: bytes, pattern: re.Pattern[bytes], window: Window) -> list[int]:
    """Where a pattern matches that begins with a byte: by looking for the byte while it is rare."""
    data, end = window.data, window.end
    places = []
    left = (end - window.begin) // _RARE_IF
    at = data.find(byte, window.begin, end)
    while at >= 0:
        after = at + 1
        if pattern.match(data, at, end):
            places.append(at)
            after = window.next_line(at)
        left -= 1
        if left < 0:
            return places + _matched(pattern, window, after)
        at = data.find(byte, after, end)
    return places


def _matched(pattern: re.Pattern[bytes], window: Window, begin: int) -> list[int]:
    """Where a pattern matches from a place on."""
    places = []
    match = pattern.search(window.data, begin, window.end)
    while match is not None:
        places.append(match.start())
        match = pattern.search(window.data, window.next_line(match.start()), window.end)
    return places


def as_text(data: bytes) -> str:
    """Bytes of a line as text: without colours, everything that is not UTF-8 as escapes."""
    plain = amd_log.COLOUR.sub(b"", data) if b"\x1b" in data else data
    return plain.rstrip(b"\r").decode(errors="backslashreplace")
