"""Messages of programs: XSched's, Python's tracebacks, what packages print, the kernel's.

A line that merely mentions an error, a line of source code among others, is no failure.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from xdiag.explain import amd_log
from xdiag.explain.evidence import MOST_FAILURES, MOST_LINES, Crash, Found
from xdiag.explain.facts import Failure
from xdiag.platforms.hip import CONTEXT_IS_DESTROYED
from xdiag.xsched_errors import HAL_FILE, HAL_LINES, HAL_REFUSED, LINE, PLACE, call_at

if TYPE_CHECKING:
    from typing import Literal

    from xdiag.explain.facts import Line
    from xdiag.explain.reading import Reader
    from xdiag.explain.stream import Window

#: Bytes before a line in which its traceback is looked for.
_TRACEBACK_WITHIN = 1 << 15
#: Bytes after the word of a signal in which gdb's frames are looked for.
_FRAMES_WITHIN = 1 << 13

_NO_SYMBOL = re.compile(rb"fail to get symbol (hip\w{1,80})")
_NUMBERED = re.compile(
    rb"(?i)\b(hip|cuda) error:? (\d{1,4})\b"
    rb"(?=[\s.,;)\]'\"]*$|\s{0,2}[:(@,\[]|\s(?:at|in|from|on|during|when|while)\b)"
)
_TEXTUAL = re.compile(rb"\b(HIP|CUDA) error: (?=([A-Za-z][^\n\"']{0,200}))")
_CALL = re.compile(rb"\b(hip[A-Z]\w{2,60}|cu(?:da)?[A-Z]\w{2,60})\b")
_NAME = re.compile(rb"\b(hipError[A-Z]\w{2,60}|cudaError[A-Z]\w{2,60}|CUDA_ERROR_[A-Z_]{3,60})\b")
_IN_BRACES = re.compile(rb"\bhipError_t\((\d{1,4})\)")
_FAILED_WITH = re.compile(
    rb"(?:failed|returned|error code|status|code)"
    rb"(?: with)?(?: error)?(?: code)?[ :=(]{1,3}(\d{1,4})\b"
)
_SAYS_FAILED = re.compile(
    rb"(?i)fail|error[:\s]|exception|return|abort|fatal|assert|status|\bgot\b|raise"
)
#: A line that is an error's name and nothing else.
_BARE_NAME = re.compile(
    rb"\s{0,8}(?:hipError_t\s{0,4}[:=]?\s{1,4})?hipError[A-Z]\w{2,60}[.!]?\s{0,8}\r?$"
)
#: What is told of a time that is over.
_PAST = re.compile(
    rb"(?i)\bin the past\b|\b(?:have|has) had\b|\b(?:since|now|been|was|were) fixed\b"
    rb"|\bfixed (?:since|now|in)\b"
)
_FRAME = re.compile(rb'^\s*File "[^"\n]{1,512}", line \d+')
_PID = re.compile(rb"\bpid[=: ]{1,2}(\d{1,10})\b")
#: Packages that open a runtime for themselves, and how tracebacks and messages name them.
_PARTIES = re.compile(
    rb"\b(mori|sglang|vattn_asm|aiter|triton)(?=[/._:\s])|\b(libhalhip|xsched)", re.IGNORECASE
)
#: What stands in every line that is understood here: most errors are none of a GPU's.
_CONCERNS = re.compile(rb"(?i)hip|cuda|erro\b|context is|gpu reset|more than once|segmentation")
#: A frame of gdb's that is a call of the API, and the handle that it was given.
_FRAME_OF_CALL = re.compile(
    rb"^#\d{1,4}\s+(?:0x[0-9a-f]{1,16} in )?(?P<call>hip[A-Z]\w{2,60}) \((?P<args>.*)\)",
    re.MULTILINE,
)
_GIVEN = re.compile(rb"\b(?:stream|hStream|event|hEvent)=(0x[0-9a-f]{1,16})\b")
_RESET = re.compile(rb"(?i)amdgpu.{0,80}GPU reset|GPU reset.{0,40}(?:begin|succeeded|failed)")
#: What comes before it, and bytes in which it is looked for.
_HUNG = re.compile(rb"amdgpu[^\n]{0,80}(?:ring \S{1,40} timeout|page fault)")
_HUNG_WITHIN = 1 << 13
#: What hipGetErrorString says, and what torch makes of it.
_TEXTS = {
    b"context is destroyed": 709,
    b"invalid argument": 1,
    b"invalid resource handle": 400,
    b"invalid device context": 201,
    b"an illegal memory access was encountered": 700,
    b"unspecified launch failure": 719,
    b"out of memory": 2,
    b"invalid device ordinal": 101,
    b"no ROCm-capable device is detected": 100,
    b"operation not supported": 801,
    b"initialization error": 3,
    b"invalid device function": 98,
    b"named symbol not found": 500,
}


class _Told(NamedTuple):
    platform: Literal["hip", "cuda"]
    code: int | None
    name: str
    call: str


class Messages:
    """The messages of one source."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._evidence = reader.evidence

    def take(self, window: Window, place: int, begin: int, text: bytes) -> None:
        """A line in which an error is named."""
        if not _CONCERNS.search(text):
            return
        if b"GPU reset" in text and _RESET.search(text):
            self._reader.note_format("dmesg")
            self._hung(window, begin)
            self._evidence.sign("gpu-reset", self._reader.line(window, place))
            return
        if b"registered more than once" in text:
            self._reader.note_format("message")
            self._evidence.sign("duplicate-llvm", self._reader.line(window, place))
            return
        xsched = LINE.search(text)
        if xsched is not None and self._xsched(window, place, begin, xsched):
            return
        if b"Segmentation fault" in text:
            self._crash(window, place, text)
            return
        if _is_source_code(window, begin, text) or _PAST.search(text):
            return
        told = self._told(window, begin, text)
        if told is None:
            return
        line = self._reader.line(window, place)
        pid = _PID.search(text)
        failure = Failure(
            kind="message",
            platform=told.platform,
            line=line,
            call=told.call,
            code=told.code,
            name=told.name,
            pid=int(pid[1]) if pid is not None else None,
        )
        parties = self._parties(window, begin, place)
        self._reader.note_format("Python traceback" if _in_traceback(window, begin) else "message")
        self._add(failure, parties)

    def _hung(self, window: Window, begin: int) -> None:
        """The kernel's line before a reset that says what hung."""
        least = max(0, begin - _HUNG_WITHIN)
        found = [match.start() for match in _HUNG.finditer(window.data, least, begin)]
        if found:
            self._evidence.sign("gpu-reset", self._reader.line(window, found[-1]))

    def _add(self, failure: Failure, parties: dict[str, Line]) -> None:
        name = ("message", failure.platform, failure.call, failure.code, failure.name, failure.kind,
                failure.pid)  # fmt: skip
        found = self._evidence.failures.get(name)
        if found is not None:
            found.count += 1
            if len(found.more) < MOST_LINES:
                found.more.append(failure.line)
            for party, line in parties.items():
                found.parties.setdefault(party, line)
        elif len(self._evidence.failures) < MOST_FAILURES:
            key = ("", failure.pid) if failure.pid is not None else (self._reader.name, None)
            self._evidence.failures[name] = Found(failure, key, parties=parties)
        else:
            self._evidence.more_failures += 1

    # ---- XSched --------------------------------------------------------------------------------

    def _xsched(self, window: Window, place: int, begin: int, match: re.Match[bytes]) -> bool:
        text = match["text"]
        numbered = _NUMBERED.search(text)
        line = self._reader.line(window, place)
        if numbered is None:
            if b"does not match stream context" in text:
                self._reader.note_format("XSched")
                self._evidence.sign("cuda-thread-context", line)
                return True
            symbol = _NO_SYMBOL.search(text)
            if symbol is not None:
                self._no_symbol(window, place, begin, line, match, symbol[1].decode())
                return True
            if match["new"]:
                self._reader.note_format("XSched")
                self._evidence.sign("xsched-error", line)
                return True
            return False
        self._reader.note_format("XSched")
        platform: Literal["hip", "cuda"] = "hip" if numbered[1].lower() == b"hip" else "cuda"
        code = int(numbered[2])
        call, notes = "", []
        where = PLACE.search(text)
        if platform == "hip" and where is not None and where["file"].endswith(HAL_FILE.encode()):
            call = HAL_LINES.get(int(where["line"]), "")
            if code == CONTEXT_IS_DESTROYED:
                if not call or not call.startswith("hipStream"):
                    notes.append(
                        f"line {int(where['line'])} is not where upstream's hip_queue.cpp asks for"
                        " a stream (32): the file was changed; no call before"
                        " hipStreamGetFlags takes the stream, and no context call can give 709"
                    )
                call = call if call.startswith("hipStream") else HAL_REFUSED
        elif platform == "cuda" and where is not None and match["new"]:
            file = where["file"].decode(errors="replace")
            call = call_at(platform, file, int(where["line"]))
        names = {code: name for name, code in amd_log.codes().items()}
        if not match["new"]:
            self._evidence.sign("old-xsched", line)
        self._add(
            Failure(
                kind="XSched",
                platform=platform,
                line=line,
                call=call,
                code=code,
                name=names.get(code, "") if platform == "hip" else _cuda_name(code),
                thread=match["tid"].decode() if match["tid"] else "",
                notes=tuple(notes),
            ),
            {"xsched": line} | self._parties(window, begin, place),
        )
        return True

    def _no_symbol(
        self, window: Window, place: int, begin: int, line: Line, match: re.Match[bytes], call: str
    ) -> None:
        """XSched has looked for a call in a library that it has not found: it ends the process."""
        self._reader.note_format("XSched")
        self._evidence.sign("runtime-not-found", line)
        thread = match["tid"].decode() if match["tid"] else ""
        self._add(
            Failure("XSched", "hip", line, call, name="fail to get symbol", thread=thread),
            {"xsched": line} | self._parties(window, begin, place),
        )

    # ---- what others write -----------------------------------------------------------------------

    def _told(self, window: Window, begin: int, text: bytes) -> _Told | None:
        """Which error a line tells of; None where it tells of none."""
        call = _call_in(text)
        numbered = _NUMBERED.search(text)
        if numbered is not None:
            return _told(numbered[1].lower() == b"hip", int(numbered[2]), call)
        # torch's words for CUDA stand before HIP's own, in builds for HIP.
        textuals = list(_TEXTUAL.finditer(text))
        if textuals:
            textual = next((each for each in textuals if each[1] == b"HIP"), textuals[0])
            said = textual[2].strip()
            code = next((code for words, code in _TEXTS.items() if said.startswith(words)), None)
            is_hip = textual[1] == b"HIP"
            if code is None:
                return _Told("hip" if is_hip else "cuda", None, said.decode(errors="replace"), call)
            return _told(is_hip, code, call)
        braces = _IN_BRACES.search(text)
        if braces is not None:
            return _told(True, int(braces[1]), call)
        name = _NAME.search(text)
        if name is not None:
            is_hip = name[1].startswith(b"hip")
            rest = _NAME.sub(b"", text)
            says = _SAYS_FAILED.search(rest) or b"(709)" in text or _BARE_NAME.match(text)
            if not says:
                return None
            written = name[1].decode()
            if is_hip:
                known = amd_log.codes().get(written)
                return _Told("hip", known, written, call) if known else None
            is_destroyed = written.replace("_", "").lower().endswith("contextisdestroyed")
            return _Told("cuda", CONTEXT_IS_DESTROYED if is_destroyed else None, written, call)
        failed = _FAILED_WITH.search(text)
        if failed is not None and call.startswith("hip"):
            code = int(failed[1])
            return _told(True, code, call) if code else None
        if b"context is destroyed" in text:
            platform = _platform_of(window, begin, text)
            if platform:
                return _told(platform == "hip", CONTEXT_IS_DESTROYED, call)
            self._reader.note_format("message")
            self._evidence.sign("no-platform", self._reader.line(window, begin))
        return None

    def _parties(self, window: Window, begin: int, place: int) -> dict[str, Line]:
        """Packages that the traceback before a line goes through, or that the line names."""
        first = _traceback_begins(window, begin)
        _, end = window.line_at(place)
        found: dict[str, Line] = {}
        for match in _PARTIES.finditer(window.data, first if first >= 0 else begin, end):
            party = bytes(match[0]).decode().lower()
            if party not in found:
                found[party] = self._reader.line(window, match.start())
        return found

    def _crash(self, window: Window, place: int, text: bytes) -> None:
        line = self._reader.line(window, place)
        kind: Literal["gdb", "message"] = "gdb" if b"signal SIGSEGV" in text else "message"
        pid = _PID.search(text)
        self._reader.note_format(kind)
        if len(self._evidence.crashes) >= MOST_FAILURES:
            return
        crash = Crash(line, "SIGSEGV", kind, int(pid[1]) if pid is not None else None)
        if kind == "message":
            crash.unanswered = self._reader.unanswered(window, window.line_at(place)[0])
        self._evidence.crashes.append(crash)
        frame = _FRAME_OF_CALL.search(window.data, place, min(window.size, place + _FRAMES_WITHIN))
        if kind == "gdb" and frame is not None:
            crash.call = frame["call"].decode()
            crash.frame = self._reader.line(window, frame.start())
            # The stream before the event: an event lives as long as nobody destroys it.
            given = {bytes(m[0]).split(b"=")[0]: m[1] for m in _GIVEN.finditer(frame["args"])}
            handle = next((given[k] for k in (b"stream", b"hStream", b"event", b"hEvent")
                           if k in given), None)  # fmt: skip
            crash.handle = int(handle, 16) if handle is not None else None


def _told(is_hip: bool, code: int, call: str) -> _Told | None:
    if not code or code == 600:
        return None
    if not is_hip:
        return _Told("cuda", code, _cuda_name(code), call)
    names = {number: name for name, number in amd_log.codes().items()}
    return _Told("hip", code, names.get(code, ""), call)


def _cuda_name(code: int) -> str:
    return "cudaErrorContextIsDestroyed" if code == CONTEXT_IS_DESTROYED else ""


def _call_in(text: bytes) -> str:
    """The call that a message names; an error's or a type's name is none."""
    for match in _CALL.finditer(text):
        name: str = match[1].decode()
        if not name.startswith(("hipError", "cudaError", "hipSuccess")):
            return name
    return ""


def _platform_of(window: Window, begin: int, text: bytes) -> str:
    """The platform that a line, or what stands near it, is of; empty where nothing says."""
    near = bytes(window.data[max(0, begin - 2048) : begin]) + text
    hip = re.search(rb"(?i)\bhip|rocm|amdhip|\bamd\b", near) is not None
    cuda = re.search(rb"(?i)cuda|nvidia|\bcu[A-Z]\w+\(", near) is not None
    return "" if hip == cuda else "hip" if hip else "cuda"


def _traceback_begins(window: Window, begin: int) -> int:
    """Where the traceback begins that a line ends; -1 where it ends none."""
    least = max(0, begin - _TRACEBACK_WITHIN)
    return window.data.rfind(b"Traceback (most recent call last)", least, begin)


def _in_traceback(window: Window, begin: int) -> bool:
    return _traceback_begins(window, begin) >= 0


def _is_source_code(window: Window, begin: int, text: bytes) -> bool:
    """Whether a line is source that a traceback shows: it follows the line of its frame."""
    if not text.startswith((b" ", b"\t")) or begin < 2:
        return False
    before, end = window.line_at(begin - 1)
    return _FRAME.match(bytes(window.data[before:end])) is not None
