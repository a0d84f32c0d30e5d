"""XSched's queues through its C interface, with handles at full width.

The calls are those of XSched's example 3 (examples/Linux/3_intra_process_sched, XpuOS/xsched,
2026-07), the signatures those of include/xsched/{xqueue,hint}.h and of each platform's hal.h.
"""

from __future__ import annotations

import ctypes

#: kPreemptLevelBlock: the only level that every GPU has.
_LEVEL = 1
#: Priorities of that example; bigger is more urgent.
PRIORITIES = {"high": 2, "low": 1}


class Queues:
    """The libraries, opened; raises OSError where that fails."""

    def __init__(self, preempt: str, hal: str, create: str) -> None:
        # This one first: the other needs it, and looks where XSched was installed at first.
        self._preempt = ctypes.CDLL(preempt)
        self._hal = ctypes.CDLL(hal)
        handle, out = ctypes.c_uint64, ctypes.POINTER(ctypes.c_uint64)
        self._create = getattr(self._hal, create)
        self._create.argtypes = [out, ctypes.c_void_p]
        self._preempt.XQueueCreate.argtypes = [out, handle, ctypes.c_int64, ctypes.c_int64]
        self._preempt.XQueueGet.argtypes = [out, handle]
        self._preempt.XHintPriority.argtypes = [handle, ctypes.c_int32]
        self._preempt.XQueueProfileHwCommandCount.argtypes = [
            handle, ctypes.POINTER(ctypes.c_int64)
        ]  # fmt: skip

    def make(self, stream: int, worker: str) -> int:
        """A queue for a stream; raises RuntimeError with XSched's result where it refuses."""
        hardware, queue = ctypes.c_uint64(), ctypes.c_uint64()
        _check(self._create.__name__, self._create(ctypes.byref(hardware), stream))
        made = self._preempt.XQueueCreate(ctypes.byref(queue), hardware, _LEVEL, 0)
        _check("XQueueCreate", made)
        return self._hinted(queue.value, worker)

    def get(self, stream: int, worker: str) -> int:
        """The queue that the shim has made; a stream's handle is its hardware queue's, too."""
        queue = ctypes.c_uint64()
        _check("XQueueGet", self._preempt.XQueueGet(ctypes.byref(queue), stream))
        return self._hinted(queue.value, worker)

    def commands(self, queue: int) -> int:
        """How many commands went through a queue."""
        count = ctypes.c_int64()
        asked = self._preempt.XQueueProfileHwCommandCount(queue, ctypes.byref(count))
        _check("XQueueProfileHwCommandCount", asked)
        return count.value

    def _hinted(self, queue: int, worker: str) -> int:
        _check("XHintPriority", self._preempt.XHintPriority(queue, PRIORITIES[worker]))
        return queue


def _check(call: str, result: int) -> None:
    if result != 0:
        raise RuntimeError(f"{call} returned {result}")
