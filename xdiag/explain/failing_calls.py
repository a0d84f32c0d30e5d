"""Calls that the runtime's log shows failing: the entry line and the handle that belong to each.

A return line names no handle.  The entry line of the same thread and call that was written last
before it does.  Logs of 6.3 and later tell no thread below level 4: there the last entry line of
the call that has no return line yet is taken, which may be another thread's; where the log shows
that another one of these was given a bad handle, that one.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from xdiag.explain import amd_log, versions
from xdiag.explain.evidence import MOST_FAILURES, MOST_LINES, Found
from xdiag.explain.facts import Failure
from xdiag.explain.handles import LAST_SPECIAL, is_sign_extended
from xdiag.platforms.hip import CONTEXT_IS_DESTROYED

if TYPE_CHECKING:
    from xdiag.explain.amd_log import Message, Return, Thread
    from xdiag.explain.facts import Line
    from xdiag.explain.handles import Act, Key, Kind
    from xdiag.explain.reading import Reader
    from xdiag.explain.stream import Window

#: Entry lines looked at for one return line, and bytes in which they are looked for.
_MOST_ENTRIES, _MOST_BYTES = 512, 1 << 19
#: Uses of a handle looked at on each side of a failure, and the bytes in which a return is.
_MOST_USES, _RETURNS_WITHIN = 24, 1 << 16
#: Failures of one source of which the entry is looked for; the others are counted.
_MOST_PAIRED = 4096
#: Bytes before a place, and lines in them, in which calls without a return line are looked for.
_UNANSWERED_WITHIN, _MOST_LOOKED_AT = 1 << 16, 1024
#: Bytes after a destruction in which uses of what it destroyed are looked for; streams of other
#: processes that are looked for in a process.
_USED_WITHIN, _MOST_OF_OTHERS = 1 << 16, 32
_QUICK = re.compile(rb"(hip\w{1,80}): Returned (hip\w{1,80})")
#: Errors after which the device, or the process, is done with.
SEVERE = {214, 700, 702, 710, 719}


def kind_of(call: str) -> Kind:
    """What the handle is that a call is given: its stream, or else its event."""
    stream, event = amd_log.takes(call)
    return "event" if stream is None and event is not None else "stream"


class _Entry(NamedTuple):
    place: int
    line: Line
    handle: int | None
    #: Whether it certainly belongs to the return line, and whether nothing contradicts it.
    certain: bool
    firm: bool


class FailingCalls:
    """The failing calls of one source."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._evidence = reader.evidence
        self._paired = 0
        #: Calls and errors, as they are written, that are only counted.
        self._known: dict[tuple[bytes, bytes], tuple[str, str]] = {}
        #: The last failure of each thread: its call, code, the line of its entry, and its group.
        self._last: dict[Thread, tuple[str, int, int | None, Found | None, Line]] = {}

    def is_counted(self, text: bytes) -> bool:
        """Whether a return line's error is one that was seen to be none of a handle's: it counts.

        Some programs ask for the attributes of every pointer; most of their lines are such.
        """
        match = _QUICK.search(text)
        key = self._known.get((match[1], match[2])) if match is not None else None
        if key is None:
            return False
        self._evidence.others[key] += 1
        return True

    def take(
        self, window: Window, place: int, line: Line, message: Message, returned: Return
    ) -> None:
        """A return line with an error, which begins at a place of the window."""
        call = amd_log.base_name(returned.call)
        code = amd_log.codes().get(returned.error)
        if code is None and returned.error.isdigit():
            code = int(returned.error)
        bears_on_handle = code == CONTEXT_IS_DESTROYED or (
            code is not None and versions.has_codes_of_its_own(call, code)
        )
        if code is None or not (bears_on_handle or code in SEVERE):
            self._evidence.other(call, returned.error, line)
            if (call, returned.error) in self._evidence.others:
                raw = (returned.call.encode(), returned.error.encode())
                self._known[raw] = (call, returned.error)
            return
        self._paired += 1
        key = self._reader.key(message.thread)
        if self._paired > _MOST_PAIRED:
            self._evidence.more_failures += 1
            return
        entry = self._entry(window, place, call, key, message.thread, returned.error)
        last = self._last.get(message.thread)
        number = entry.line.number if entry is not None else None
        if last is not None and last[:3] == (call, code, number) and (
            number is not None or 0 < line.number - last[4].number <= 2
        ):  # fmt: skip
            # A second return line of the same call.
            if last[3] is not None and len(last[3].more) < MOST_LINES:
                last[3].more.append(line)
            return
        found = self._group(window, place, line, message.thread, key, call, code, entry)
        self._last[message.thread] = (call, code, number, found, line)
        if len(self._last) > MOST_FAILURES:
            del self._last[next(iter(self._last))]

    def _group(
        self, window: Window, place: int, line: Line, thread: Thread, key: Key, call: str,
        code: int, entry: _Entry | None,
    ) -> Found | None:  # fmt: skip
        handle = entry.handle if entry is not None else None
        ledger = self._evidence.ledger
        life = ledger.life(key, handle) if handle is not None else None
        # Made again, it is another stream; ended since, it fails for another reason; and half a
        # handle may have become that of a stream.
        whole = None
        if life is None and handle is not None:
            whole = ledger.whole_of(key, handle, kind_of(call))
        now: tuple[object, ...] = (whole.made_at,) if whole is not None else ()
        if life is not None:
            end, reset = life.ended, ledger.reset_since(key, life)
            now = (life.made_at, end and end.at, reset and reset.at)
        name = ("amd", key, call, code, handle, now)
        found = self._evidence.failures.get(name)
        if found is not None:
            found.count += 1
            return found
        if len(self._evidence.failures) >= MOST_FAILURES:
            self._evidence.more_failures += 1
            return None
        notes = []
        if entry is None:
            notes.append(
                "its entry line is not in the log, so that the handle is not known"
                if amd_log.takes(call) != (None, None)
                else "the call takes no handle: it reports what an earlier one left"
            )
        elif not entry.certain:
            notes.append(
                "the log has no thread ids (6.3 and later print them at AMD_LOG_LEVEL=4): the entry"
                " line is one of the calls of that name that have no return line yet, and may be"
                " another thread's"
                if not entry.firm
                else "the log has no thread ids (6.3 and later print them at AMD_LOG_LEVEL=4):"
                " the entry line is the last one of that call, and may be another thread's"
            )
        failure = Failure(
            kind="AMD log",
            platform="hip",
            line=line,
            call=call,
            code=code,
            name=next((n for n, c in amd_log.codes().items() if c == code), ""),
            entry=entry.line if entry is not None else None,
            certain=entry.certain if entry is not None else True,
            notes=tuple(notes),
        )
        firm = entry.firm if entry is not None else False
        found = self._with_history(window, place, failure, thread, key, handle, firm=firm)
        self._evidence.failures[name] = found
        return found

    def _with_history(
        self, window: Window, place: int, failure: Failure, thread: Thread, key: Key,
        handle: int | None, *, firm: bool,
    ) -> Found:  # fmt: skip
        """A failure with what the log has of its handle so far."""
        ledger = self._evidence.ledger
        told = replace(
            failure, pid=thread.pid, thread=f"0x{thread.tid}" if thread.tid else "", handle=handle
        )
        found = Found(told, key, firm=firm, kind=kind_of(failure.call))
        if handle is None or handle <= LAST_SPECIAL:
            return found
        found.life = ledger.life(key, handle)
        if found.life is not None:
            end = found.life.ended
            # A destruction is not what destroyed its stream before.
            found.end = end if end is None or end.line != failure.entry else None
            found.reset = ledger.reset_since(key, found.life)
        else:
            found.whole = ledger.whole_of(key, handle, found.kind)
            found.elsewhere = ledger.elsewhere(key, handle)
        found.accepted_before = self._accepted(window, place, handle, thread.pid, back=True)
        found.accepted_after = self._accepted(window, place, handle, thread.pid, back=False)
        return found

    # ---- calls that do not return, and calls that should not succeed ---------------------------

    def unanswered(self, window: Window, place: int) -> list[Found]:
        """Calls before a place that have no return line there: in them a process may have died."""
        return [
            self._with_history(
                window,
                begin,
                Failure("AMD log", "hip", line, entered[0], entry=line, certain=alone),
                message.thread,
                self._reader.key(message.thread),
                amd_log.handle_of(*entered),
                firm=alone,
            )
            for begin, message, entered, alone in self._open(window, place)
            for line in (self._reader.line(window, begin),)
        ]

    def _open(
        self, window: Window, place: int
    ) -> list[tuple[int, Message, tuple[str, list[bytes]], bool]]:
        """Entry lines that nothing of their thread follows; without thread ids, no return line."""
        open_: list[tuple[int, Message, tuple[str, list[bytes]], bool]] = []
        heard: set[Thread] = set()
        answers: Counter[str] = Counter()
        at, least = place, max(0, place - _UNANSWERED_WITHIN)
        for _ in range(_MOST_LOOKED_AT):
            if at <= least or len(open_) > MOST_LINES:
                break
            begin, end = window.line_at(at - 1)
            at = begin
            text = bytes(window.data[begin : min(end, place)])
            message = amd_log.message(text) if b"hip" in text else None
            if message is None or not message.era:
                continue
            thread, returned = message.thread, amd_log.returned(message.text)
            entered = amd_log.entered(message.text) if returned is None else None
            if thread.tid:
                if thread not in heard and (returned is not None or entered is not None):
                    heard.add(thread)
                    if entered is not None:
                        open_.append((begin, message, entered, True))
            elif returned is not None:
                answers[amd_log.base_name(returned.call)] += 1
            elif entered is not None and answers[entered[0]]:
                answers[entered[0]] -= 1
            elif entered is not None:
                open_.append((begin, message, entered, False))
        unsure = sum(1 for each in open_ if not each[3])
        return [(*each[:3], each[3] or unsure == 1) for each in open_]

    def destroyed_again(
        self, window: Window, place: int, line: Line, message: Message, act: Act, handle: int
    ) -> None:
        """An event that was destroyed is destroyed again."""
        if len(self._evidence.again) < MOST_FAILURES:
            failure = Failure("AMD log", "hip", line, "hipEventDestroy", entry=line)
            key = self._reader.key(message.thread)
            found = self._with_history(
                window, place, failure, message.thread, key, handle, firm=True
            )
            self._evidence.again.append((act, found))

    def used_afterwards(self, window: Window, place: int, message: Message, handle: int) -> None:
        """On HIP 7, which checks in few calls: the first success with a destroyed stream."""
        version = versions.common(self._evidence.versions)
        if version is None or version.low < (7, 0):
            return
        if not self._succeeded(window, place, "hipStreamDestroy", message.thread):
            return
        data, text, most = (
            window.data,
            f"{handle:#x}".encode(),
            min(window.size, place + _USED_WITHIN),
        )
        at = window.next_line(place)
        for _ in range(_MOST_USES):
            at = data.find(text, at, most)
            if at < 0:
                return
            begin, other = self._line(window, at)
            at = window.next_line(at)
            if other.thread.pid != message.thread.pid or not other.era:
                continue
            made, entered = amd_log.made(other.text), amd_log.entered(other.text)
            if made is not None and made[1] == handle:
                return
            if entered is None or amd_log.handle_of(*entered) != handle:
                continue
            call = entered[0]
            if kind_of(call) == "stream" and versions.ranges_of(call, versions.FOLLOWED):
                if self._succeeded(window, begin, call, other.thread):
                    self._took_destroyed(window, begin, other, call, handle)
                return

    def _took_destroyed(
        self, window: Window, begin: int, message: Message, call: str, handle: int
    ) -> None:
        line = self._reader.line(window, begin)
        key = self._reader.key(message.thread)
        failure = Failure("AMD log", "hip", line, call, 0, "hipSuccess", entry=line,
                          certain=bool(message.thread.tid))  # fmt: skip
        found = self._with_history(window, begin, failure, message.thread, key, handle, firm=False)
        name = ("took", key, call, handle)
        if name not in self._evidence.failures and len(self._evidence.failures) < MOST_FAILURES:
            self._evidence.failures[name] = found

    def forks(self, window: Window, place: int) -> list[tuple[Found, Found]]:
        """Processes that wait, and were given a stream which another process has made.

        Each as the call that does not return, and the use of the stream that was accepted.
        """
        told = []
        ledger = self._evidence.ledger
        for open_ in self.unanswered(window, place):
            process = ledger.processes.get(open_.key)
            if open_.failure.pid is None or (process is not None and process.initialised):
                continue
            for key, life in ledger.made_elsewhere(open_.key, _MOST_OF_OTHERS):
                accepted = self._accepted(window, place, life.handle, open_.failure.pid, back=True)
                if accepted is not None:
                    used = Found(open_.failure, open_.key, elsewhere=(key, life))
                    used.accepted_before = accepted
                    told.append((open_, used))
                    break
        return told

    # ---- which entry line ------------------------------------------------------------------

    def _entry(
        self, window: Window, place: int, call: str, key: Key, thread: Thread, error: str
    ) -> _Entry | None:
        if not thread.tid:
            return self._entry_by_name(window, place, call, key)
        data, least = window.data, max(0, place - _MOST_BYTES)
        entry_text, return_text = f"{call} (".encode(), f"{call}: Returned".encode()
        at = place
        for _ in range(_MOST_ENTRIES):
            at = data.rfind(entry_text, least, at)
            if at < 0:
                return None
            begin, message = self._line(window, at)
            if message.thread != thread:
                continue
            if self._is_answered(window, at, place, return_text, thread, error):
                return None
            return self._told(window, begin, message, certain=True, firm=True)
        return None

    def _is_answered(
        self, window: Window, at: int, place: int, text: bytes, thread: Thread, error: str
    ) -> bool:
        """Whether another return line, of another result, belongs to the entry."""
        for _ in range(_MOST_ENTRIES):
            at = window.data.find(text, at, place)
            if at < 0:
                return False
            _, message = self._line(window, at)
            if message.thread == thread:
                returned = amd_log.returned(message.text)
                return returned is not None and returned.error != error
            at += 1
        return False

    def _entry_by_name(self, window: Window, place: int, call: str, key: Key) -> _Entry | None:
        """An entry without a return of its own; firm where no other one has none either.

        The last one, unless the log shows that another one was given a bad handle.
        """
        data, least = window.data, max(0, place - _MOST_BYTES)
        entry_text, return_text = f"{call} (".encode(), f"{call}: Returned".encode()
        open_: list[int] = []
        answered, at = 0, place
        for _ in range(_MOST_ENTRIES):
            entry = data.rfind(entry_text, least, at)
            answer = data.rfind(return_text, least, at)
            at = max(entry, answer)
            if at < 0:
                break
            if at == answer:
                answered += 1
            elif answered:
                answered -= 1
            else:
                open_.append(at)
                if len(open_) > MOST_LINES:
                    break
        if not open_:
            return None
        entries = []
        for other in open_:
            begin, message = self._line(window, other)
            told = self._told(window, begin, message, certain=False, firm=True)
            if told is not None:
                entries.append(told)
        if not entries:
            return None
        chosen = next(
            (each for each in entries if self._is_bad(key, each.handle, call)), entries[0]
        )
        return chosen._replace(firm=len({each.handle for each in entries}) == 1)

    def _is_bad(self, key: Key, handle: int | None, call: str) -> bool:
        if handle is None or handle <= LAST_SPECIAL:
            return False
        ledger = self._evidence.ledger
        life = ledger.life(key, handle)
        if life is None:
            whole = ledger.whole_of(key, handle, kind_of(call))
            return whole is not None or is_sign_extended(handle)
        return life.ended is not None or ledger.reset_since(key, life) is not None

    def _told(
        self, window: Window, begin: int, message: Message, *, certain: bool, firm: bool
    ) -> _Entry | None:
        entered = amd_log.entered(message.text)
        if entered is None:
            return None
        line = self._reader.line(window, begin)
        return _Entry(begin, line, amd_log.handle_of(*entered), certain, firm)

    def _line(self, window: Window, place: int) -> tuple[int, Message]:
        begin, end = window.line_at(place)
        return begin, amd_log.message(bytes(window.data[begin:end]))

    # ---- other uses of a handle ------------------------------------------------------------

    def _accepted(
        self, window: Window, place: int, handle: int, pid: int | None, *, back: bool
    ) -> Line | None:
        """The nearest call beside a failure that took the handle, checked it, and succeeded."""
        data, text = window.data, f"{handle:#x}".encode()
        least, most = max(0, place - _MOST_BYTES), min(window.size, place + _MOST_BYTES)
        at = place
        for _ in range(_MOST_USES):
            at = data.rfind(text, least, at) if back else data.find(text, at + 1, most)
            if at < 0:
                return None
            begin, message = self._line(window, at)
            entered = amd_log.entered(message.text)
            if (
                entered is None
                or entered[0] not in versions.PROOF
                or message.thread.pid != pid
                or amd_log.handle_of(*entered) != handle
            ):
                continue
            if self._succeeded(window, at, entered[0], message.thread):
                return self._reader.line(window, begin)
        return None

    def _succeeded(self, window: Window, at: int, call: str, thread: Thread) -> bool:
        text = f"{call}: Returned ".encode()
        most = min(window.size, at + _RETURNS_WITHIN)
        for _ in range(MOST_LINES):
            at = window.data.find(text, at, most)
            if at < 0:
                return False
            _, message = self._line(window, at)
            if message.thread == thread:
                returned = amd_log.returned(message.text)
                return returned is not None and returned.error in ("hipSuccess", "hipErrorNotReady")
            at += 1
        return False
