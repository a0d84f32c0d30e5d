"""Calls that the runtime's log shows failing: the entry line and the handle that belong to each.

A return line names no handle.  The entry line of the same thread and call that was written last
before it does.  Logs of 6.3 and later tell no thread below level 4: there the last entry line of
the call that has no return line yet is taken, which may be another thread's.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from xdiag.explain import amd_log, versions
from xdiag.explain.evidence import MOST_FAILURES, MOST_LINES, Found
from xdiag.explain.facts import Failure
from xdiag.explain.handles import LAST_SPECIAL
from xdiag.platforms.hip import CONTEXT_IS_DESTROYED

if TYPE_CHECKING:
    from xdiag.explain.amd_log import Message, Return, Thread
    from xdiag.explain.facts import Line
    from xdiag.explain.handles import Key
    from xdiag.explain.reading import Reader
    from xdiag.explain.stream import Window

#: Entry lines looked at for one return line, and bytes in which they are looked for.
_MOST_ENTRIES, _MOST_BYTES = 512, 1 << 19
#: Uses of a handle looked at on each side of a failure, and the bytes in which a return is.
_MOST_USES, _RETURNS_WITHIN = 24, 1 << 16
#: Failures of one source of which the entry is looked for; the others are counted.
_MOST_PAIRED = 4096
_QUICK = re.compile(rb"(hip\w{1,80}): Returned (hip\w{1,80})")
#: Errors after which the device, or the process, is done with.
SEVERE = {214, 700, 702, 710, 719}


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
        entry = self._entry(window, place, call, message.thread, returned.error)
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
        if life is not None and call == "hipStreamDestroy" and entry is not None:
            life.revoke(entry.line)
        # Made again, it is another stream; ended since, it fails for another reason; and half a
        # handle may have become that of a stream.
        whole = ledger.whole_of(key, handle) if life is None and handle is not None else None
        now: tuple[object, ...] = (whole.made_at,) if whole is not None else ()
        if life is not None:
            now = (life.made_at, life.ended, ledger.reset_since(key, life))
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
                "the log has no thread ids (6.3 and later print them at AMD_LOG_LEVEL=4):"
                " the entry line is the last one of that call, and may be another thread's"
            )
        found = Found(
            failure=Failure(
                kind="AMD log",
                platform="hip",
                line=line,
                call=call,
                code=code,
                name=next((n for n, c in amd_log.codes().items() if c == code), ""),
                pid=thread.pid,
                thread=f"0x{thread.tid}" if thread.tid else "",
                handle=handle,
                entry=entry.line if entry is not None else None,
                certain=entry.certain if entry is not None else True,
                notes=tuple(notes),
            ),
            key=key,
            life=life,
            firm=entry.firm if entry is not None else False,
        )
        if handle is not None and handle > LAST_SPECIAL:
            self._look_up(found, window, place, handle)
        self._evidence.failures[name] = found
        return found

    def _look_up(self, found: Found, window: Window, place: int, handle: int) -> None:
        ledger, life = self._evidence.ledger, found.life
        if life is not None:
            found.ended = life.ended
            found.reset = ledger.reset_since(found.key, life)
        else:
            found.whole = ledger.whole_of(found.key, handle)
            found.elsewhere = ledger.elsewhere(found.key, handle)
        thread = found.failure.pid
        found.accepted_before = self._accepted(window, place, handle, thread, back=True)
        found.accepted_after = self._accepted(window, place, handle, thread, back=False)

    # ---- which entry line ------------------------------------------------------------------

    def _entry(
        self, window: Window, place: int, call: str, thread: Thread, error: str
    ) -> _Entry | None:
        if not thread.tid:
            return self._entry_by_name(window, place, call)
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

    def _entry_by_name(self, window: Window, place: int, call: str) -> _Entry | None:
        """The last entry without a return of its own; firm where no other one has none either."""
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
        begin, message = self._line(window, open_[0])
        told = self._told(window, begin, message, certain=False, firm=True)
        handles = set()
        for other in open_:
            entered = amd_log.entered(self._line(window, other)[1].text)
            handles.add(amd_log.handle_of(*entered) if entered is not None else None)
        return told._replace(firm=len(handles) == 1) if told is not None else None

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
