"""Consumers that need XSched's own libraries: the case's code itself, not what xdiag knows of it.

They are part of the default matrix where an installation was found (``xdiag.runtimes.xsched``).  A
step ``user: hal = xsched(hal, B)`` opens one of its libraries, and has it use runtime B, by
XSCHED_HIP_LIB or XSCHED_CUDA_LIB.  XSched ends the process at the first call that fails, so that
their failing cells end in an exit; the line that it prints says which call of the driver it was.

They are the same on every platform but for the names that ``Platform.xsched`` has.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from xdiag import platforms
from xdiag.model import Consumer, NotApplicable, Step
from xdiag.using import Use

if TYPE_CHECKING:
    from collections.abc import Iterable

#: BlockingSync | DisableTiming on both platforms, as XSched's event pool makes its events.
_EVENT = 3
#: kPreemptLevelBlock: launches are held back.  All that the HIP HAL can do (hip_queue.h), and what
#: the CUDA HAL can do on every GPU (cuda_queue.h of level 1).
_LEVEL = 1

#: What stories call XSched's libraries.
XSCHED_LIBRARIES = ("hal", "preempt", "shim")
#: Consumers that pass on half a handle, so that every story fails in them, whatever it tells.
CUTS_HANDLES = frozenset({"old-binding"})

#: Calls of the driver that XSched makes on the stream which it is to make a queue of, before it
#: returns; it ends the process at one that fails.  By the steps that have it make one, and by what
#: these are called.  Source: platforms/hip/hal/src/hip_queue.cpp, the constructor.
_MAKES = ("StreamGetFlags", "StreamSynchronize")
MAKES_CALLS = dict.fromkeys(("HipQueueCreate", "HIPQueueCreate", "binding", "old_binding"), _MAKES)

#: What a step can be besides a call and one of ``xdiag.model.ACTIONS``, with its meaning.
XSCHED_ACTIONS = {
    "xsched": "open a library of XSched: hal, preempt or shim; it will open the runtime that is"
    " named, and goes where that one is, or, for Python, into the program's own namespace",
    "binding": "the queue-making call of XSched's Python binding, given an int:"
    " xsched.hip.XSchedHip.HipQueueCreate, xsched.cuda.XSchedCuda.CudaQueueCreate",
    "old_binding": "xsched_hip.XSchedHIP.HIPQueueCreate of the binding before June 2026, likewise",
}


def _opened(use: Use, names: Iterable[str], where: str = "") -> list[Step]:
    """Steps that open libraries; preempt first, which the others need and look for elsewhere."""
    first = use.step.actors[0]
    more = f", {where}" if where else ""
    return [use.line(f"{first}: {name} = xsched({name}, {{R}}{more})") for name in names]


def _hal(xsched: platforms.XSched, step: Step) -> tuple[Step, ...] | NotApplicable:
    use = Use(step)
    return (*_opened(use, ("preempt", "hal")), use.line(f"hwq = hal.{xsched.create}({{s}})"))


def _xqueue(xsched: platforms.XSched, step: Step) -> tuple[Step, ...] | NotApplicable:
    """A queue's life.  Source: XpuOS/xsched, include/xsched/xqueue.h."""
    use = Use(step)
    if not use.alone:
        return NotApplicable(reason="XSched makes one queue of a stream, whoever asks for it")
    return (
        *_opened(use, ("preempt", "hal")),
        use.line(f"hwq = hal.{xsched.create}({{s}})"),
        use.line(f"event = {{R}}.EventCreateWithFlags({_EVENT})"),
        use.line(f"xqueue = hal.XQueueCreate(hwq, {_LEVEL}, 0)"),
        use.line("command = hal.HwCommandCreateCallback(event)"),
        use.line("hal.XQueueSubmit(xqueue, command)"),
        # Submitting takes the command away from its handle: XQueueWait would not find it.
        use.line("hal.XQueueWaitAll(xqueue)"),
        use.line("{R}.EventSynchronize(event)"),
        use.line("hal.XQueueSuspend(xqueue, 0)"),
        use.line("hal.XQueueResume(xqueue, 0)"),
        use.line("hal.XQueueDestroy(xqueue)"),
        use.line("hal.HwQueueDestroy(hwq)"),
    )


def _binding(xsched: platforms.XSched, step: Step) -> tuple[Step, ...] | NotApplicable:
    del xsched  # which module it is, the step's platform says
    use = Use(step)
    return (*_opened(use, ("preempt", "hal"), "python"), use.line("hwq = binding({s})"))


def _old_binding(xsched: platforms.XSched, step: Step) -> tuple[Step, ...] | NotApplicable:
    use = Use(step)
    if xsched.old_binding is None:
        return NotApplicable(
            reason="XSched has a Python binding for this platform since June 2026 only"
        )
    opened = _opened(use, ("preempt", "hal", "shim"), "python")
    return (*opened, use.line("hwq = old_binding({s})"))


def uses(xsched: platforms.XSched) -> dict[str, platforms.Expand]:
    """What these consumers do, by their ids, where XSched's names are these."""
    return {
        "hal": partial(_hal, xsched),
        "xqueue": partial(_xqueue, xsched),
        "binding": partial(_binding, xsched),
        "old-binding": partial(_old_binding, xsched),
    }


_ON_HIP = uses(platforms.get("hip").xsched)

XSCHED_CONSUMERS: tuple[Consumer, ...] = (
    Consumer(
        id="hal",
        title="XSched's call that makes a queue of a stream, in its own library",
        does="Calls HipQueueCreate of libhalhip.so or CudaQueueCreate of libhalcuda.so, which asks"
        " the runtime itself and exits at the first failure.",
        expand=_ON_HIP["hal"],
    ),
    Consumer(
        id="xqueue",
        title="a queue of XSched: made, used, suspended, resumed, destroyed",
        does="Submits a command that records an event, on the thread that XSched starts.",
        expand=_ON_HIP["xqueue"],
    ),
    Consumer(
        id="binding",
        title="XSched's Python binding, given the handle as an int",
        does="Calls xsched.hip.XSchedHip.HipQueueCreate or xsched.cuda.XSchedCuda.CudaQueueCreate,"
        " which pass 64 bits on.",
        expand=_ON_HIP["binding"],
    ),
    Consumer(
        id="old-binding",
        title="XSched's Python binding before June 2026, which cuts the handle to 32 bits",
        does="Calls xsched_hip.XSchedHIP.HIPQueueCreate, which declares no types: ctypes passes the"
        " low 32 bits on.",
        expand=_ON_HIP["old-binding"],
    ),
)
