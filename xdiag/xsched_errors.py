"""The line that XSched prints before it ends the process, and the driver's call that it tells of.

Its HIP_ASSERT, CUDA_ASSERT, XASSERT and XERRO print one line to stderr and call exit(1)
(XpuOS/xsched, utils/include/xsched/utils/log.h, hip_assert.h of platforms/hip/hal and cuda_assert.h
of platforms/cuda/hal).  Builds of
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
#: The HIP HAL's constructor of a queue: the line of a check -> the call that it checks.
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
#: All checks that a queue of level 1 comes to, by the end of the file's path and the line; all as
#: of the tree of July 2026 (bd494cb7a729).
_LINES = {
    "hip": {
        HAL_FILE: {**HAL_LINES, 41: "hipStreamSynchronize", 46: "hipCtxSetCurrent"},
        "hip_command.cpp": {
            24: "hipEventSynchronize",
            158: "hipMemcpyWithStream",
            171: "hipEventDestroy",
        },
        "hip_command.h": {203: "hipEventSynchronize"},
        "event_pool.h": {30: "hipEventCreateWithFlags"},
        # A launch callback failed.  That of the consumer xqueue makes this one call.
        "launch_worker.cpp": {250: "hipEventRecord"},
    },
    "cuda": {
        "arch/arch.cpp": {
            21: "cuDeviceGetAttribute",
            22: "cuDeviceGetAttribute",
            67: "cuStreamGetCtx",
            68: "cuCtxGetCurrent",
            72: "cuCtxGetDevice",
        },
        # Levels 2 and 3 have files of this name too, and other lines.
        "level1/cuda_queue.cpp": {
            20: "cuCtxGetCurrent",
            21: "cuStreamGetCtx",
            28: "cuCtxGetDevice",
            31: "cuDeviceGetAttribute",
            32: "cuDeviceGetAttribute",
            33: "cuDeviceGetAttribute",
            37: "cuStreamGetFlags",
            40: "cuStreamSynchronize",
            52: "cuStreamSynchronize",
            57: "cuCtxSetCurrent",
        },
        "common/cuda_command.cpp": {
            17: "cuCtxGetCurrent",
            31: "cuEventSynchronize",
            169: "cuEventDestroy_v2",
        },
        "common/cuda_command.h": {252: "cuEventSynchronize"},
        "common/event_pool.cpp": {8: "cuCtxGetCurrent", 14: "cuEventCreate"},
        "launch_worker.cpp": {250: "cuEventRecord"},
    },
}
#: What its CUDA HAL says where the context that is current is not the stream's, or an event pool's.
_OTHER_CONTEXT = re.compile(
    rb"current context \(\S{1,24}\) (does not match stream|mismatch event pool) context"
)
#: The call whose answer it holds against the stream's context there; it has not failed.
COMPARED = "cuCtxGetCurrent"
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


def last(output: str, platform: str = "hip") -> XSchedError | None:
    """What the last such line of a process's output says, None where there is none.

    ``platform`` is whose HAL it was, for lines that do not say so themselves.
    """
    for each in reversed(output.splitlines()):
        found = LINE.search(each.encode())
        if found is not None:
            return _read(found["text"], platform, new=found["new"] is not None)
    return None


def left_for_context(call: str, code: int | None, where: str) -> bool:
    """Whether an end in ``where``, with this call and code, was the comparison of two contexts."""
    return code is None and call == COMPARED != where


def call_at(platform: str, path: str, line: int) -> str:
    """The driver's call that XSched checks there; empty where that is not known."""
    for end, lines in _LINES[platform].items():
        if path == end or path.endswith(f"/{end}"):
            return lines.get(line, "")
    return ""


def _read(text: bytes, platform: str, *, new: bool) -> XSchedError:
    where, numbered = PLACE.search(text), _NUMBER.search(text)
    path = where["file"].decode(errors="replace") if where else ""
    file = path.rpartition("/")[2]
    line = int(where["line"]) if where else 0
    told = numbered[1].decode() if numbered else ""
    code = int(numbered[2]) if numbered else None
    # The CUDA HAL had other lines before 1.2.0; hip_queue.cpp has not changed since it was written.
    known = new or (told or platform) == "hip"
    call = call_at(told or platform, path, line) if known else ""
    if _OTHER_CONTEXT.search(text):
        call = COMPARED
    # Line 67 of a changed file, say: no call before hipStreamGetFlags takes the stream, and no call
    # of a context can return 709.
    refused = told == "hip" and file == HAL_FILE and code == _CONTEXT_IS_DESTROYED
    if refused and not call.startswith("hipStream"):
        call = HAL_REFUSED
    return XSchedError(
        text=text.decode(errors="replace").strip(),
        platform=told, code=code, file=file, line=line, call=call,
    )  # fmt: skip
