"""The line that XSched prints before it ends the process, and the driver's call that it tells of.

Its HIP_ASSERT, XASSERT and XERRO print one line to stderr and call exit(1) (XpuOS/xsched,
utils/include/xsched/utils/log.h, platforms/hip/hal/include/xsched/hip/hal/hip_assert.h).  Builds of
1.2.0 and later begin it with [XSCHED ERRO @ T 1234 @ time], those before with [ERRO @ T1234 @ time]
(seen on a build of May 2026), and some of users' logs with [ERRO] alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

#: One line of XSched's, of the newer builds or of the older.
LINE = re.compile(
    rb"\[(?P<new>XSCHED )?ERRO(?: @ T ?(?P<tid>\d{1,10}) @ [\d:.]{1,24})?\]\s{0,4}(?P<text>.*)"
)
#: Where in its source it was printed.
PLACE = re.compile(rb" @ (?P<file>[^\s:]{1,512}):(?P<line>\d{1,7})\s*$")
_NUMBER = re.compile(rb"^(hip|cuda) error (\d{1,4})\b")
#: The HAL's constructor of a queue: the line of a check -> the call that it checks.
HAL_FILE = "hip_queue.cpp"
HAL_LINES = {
    18: "hipCtxGetCurrent",
    23: "hipCtxGetDevice",
    27: "hipGetDeviceProperties",
    32: "hipStreamGetFlags",
    35: "hipStreamSynchronize",
}
#: The first of them that takes the stream, and so the first that can be refused.
HAL_REFUSED = "hipStreamGetFlags"
#: What a queue's own thread checks, by file and line, all as of the tree of July 2026.
_WORKER_LINES = {
    ("hip_queue.cpp", 41): "hipStreamSynchronize",
    ("hip_queue.cpp", 46): "hipCtxSetCurrent",
    ("hip_command.cpp", 24): "hipEventSynchronize",
    ("hip_command.cpp", 158): "hipMemcpyWithStream",
    ("hip_command.cpp", 171): "hipEventDestroy",
    ("hip_command.h", 203): "hipEventSynchronize",
    ("event_pool.h", 30): "hipEventCreateWithFlags",
    # A launch callback failed.  That of the consumer xqueue makes this one call.
    ("launch_worker.cpp", 250): "hipEventRecord",
}
#: hipErrorContextIsDestroyed
_CONTEXT_IS_DESTROYED = 709


@dataclass(frozen=True)
class XSchedError:
    """What such a line says."""

    #: The message with its place, without what stands before it.
    text: str
    #: "hip" or "cuda" and the number, where a call of the driver failed.
    platform: str = ""
    code: int | None = None
    file: str = ""
    line: int = 0
    #: The driver's call that is checked there; empty where the source is not the known one.
    call: str = ""


def last(output: str) -> XSchedError | None:
    """What the last such line of a process's output says, None where there is none."""
    for each in reversed(output.splitlines()):
        found = LINE.search(each.encode())
        if found is not None:
            return _read(found["text"])
    return None


def _read(text: bytes) -> XSchedError:
    where, numbered = PLACE.search(text), _NUMBER.search(text)
    file = where["file"].decode().rpartition("/")[2] if where else ""
    line = int(where["line"]) if where else 0
    platform = numbered[1].decode() if numbered else ""
    code = int(numbered[2]) if numbered else None
    call = HAL_LINES.get(line, "") if file == HAL_FILE else ""
    call = call or _WORKER_LINES.get((file, line), "")
    # Line 67 of a changed file, say: no call before hipStreamGetFlags takes the stream, and no call
    # of a context can return 709.
    if file == HAL_FILE and code == _CONTEXT_IS_DESTROYED and not call.startswith("hipStream"):
        call = HAL_REFUSED
    return XSchedError(
        text=text.decode(errors="replace").strip(),
        platform=platform, code=code, file=file, line=line,
        call="" if platform == "cuda" else call,
    )  # fmt: skip
