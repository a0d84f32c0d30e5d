"""Consumers that need XSched's own libraries: the case's code itself, not what xdiag knows of it.

They are part of the default matrix where an installation was found (``xdiag.runtimes.xsched``).  A
step ``user: hal = xsched(hal, B)`` opens one of its libraries, and has it use runtime B, by
XSCHED_HIP_LIB.  XSched ends the process at the first call that fails, so that their failing cells
end in an exit; the line that it prints says which call of the driver it was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xdiag.model import Consumer, NotApplicable, Step
from xdiag.using import Use

if TYPE_CHECKING:
    from collections.abc import Iterable

#: hipEventBlockingSync | hipEventDisableTiming, as XSched's event pool makes its events.
_EVENT = 3
#: kPreemptLevelBlock: launches are held back; all that the HIP HAL can do (hip_queue.h).
_LEVEL = 1

#: Consumers that pass on half a handle, so that every story fails in them, whatever it tells.
CUTS_HANDLES = frozenset({"old-binding"})

#: What a step can be besides a call and one of ``xdiag.model.ACTIONS``, with its meaning.
XSCHED_ACTIONS = {
    "xsched": "open a library of XSched: hal, preempt or shim; it will open the runtime that is"
    " named, and goes where that one is, or, for Python, into the program's own namespace",
    "binding": "xsched.hip.XSchedHip.HipQueueCreate of XSched's Python binding, given an int",
    "old_binding": "xsched_hip.XSchedHIP.HIPQueueCreate of the binding before June 2026, likewise",
}


def _opened(use: Use, names: Iterable[str], where: str = "") -> list[Step]:
    """Steps that open libraries; preempt first, which the others need and look for elsewhere."""
    first = use.step.actors[0]
    more = f", {where}" if where else ""
    return [use.line(f"{first}: {name} = xsched({name}, {{R}}{more})") for name in names]


def _hal(step: Step) -> tuple[Step, ...] | NotApplicable:
    use = Use(step)
    return (*_opened(use, ("preempt", "hal")), use.line("hwq = hal.HipQueueCreate({s})"))


def _xqueue(step: Step) -> tuple[Step, ...] | NotApplicable:
    """A queue's life.  Source: XpuOS/xsched, include/xsched/xqueue.h."""
    use = Use(step)
    if not use.alone:
        return NotApplicable(reason="XSched makes one queue of a stream, whoever asks for it")
    return (
        *_opened(use, ("preempt", "hal")),
        use.line("hwq = hal.HipQueueCreate({s})"),
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


def _binding(step: Step) -> tuple[Step, ...] | NotApplicable:
    use = Use(step)
    return (*_opened(use, ("preempt", "hal"), "python"), use.line("hwq = binding({s})"))


def _old_binding(step: Step) -> tuple[Step, ...] | NotApplicable:
    use = Use(step)
    opened = _opened(use, ("preempt", "hal", "shim"), "python")
    return (*opened, use.line("hwq = old_binding({s})"))


XSCHED_CONSUMERS: tuple[Consumer, ...] = (
    Consumer(
        id="hal",
        title="XSched's HipQueueCreate, in its own library",
        does="Calls libhalhip.so, which asks the runtime itself and exits at the first failure.",
        expand=_hal,
    ),
    Consumer(
        id="xqueue",
        title="a queue of XSched: made, used, suspended, resumed, destroyed",
        does="Submits a command that records an event, on the thread that XSched starts.",
        expand=_xqueue,
    ),
    Consumer(
        id="binding",
        title="XSched's Python binding, given the handle as an int",
        does="Calls xsched.hip.XSchedHip.HipQueueCreate, which passes 64 bits on.",
        expand=_binding,
    ),
    Consumer(
        id="old-binding",
        title="XSched's Python binding before June 2026, given the handle as an int",
        does="Calls xsched_hip.XSchedHIP.HIPQueueCreate, which declares no types: ctypes passes the"
        " low 32 bits on.",
        expand=_old_binding,
    ),
)
