"""The catalogue of consumers: what "use a stream" means.

A consumer turns ``user: use(RUNTIME, HANDLE)`` into the calls that it makes.
"""

from __future__ import annotations

from xdiag.model import Consumer, NotApplicable, Step
from xdiag.torch_consumer import CONSUMER as TORCH_CONSUMER
from xdiag.using import Use, start_of_xscheds_queue

#: hipStreamCaptureModeRelaxed: no other thread is disturbed by the capture.
_RELAXED = 2
#: hipMemcpyDeviceToDevice
_DEVICE_TO_DEVICE = 3
#: Calls that tell a bad handle from a live stream and are never fooled by one, first those that
#: none brings down: what `xdiag api --safe` says where the version is not known.  The same order
#: for every version, so that cells can be compared; tests/api holds it against what was measured.
SAFE_QUESTIONS = (
    "StreamGetCaptureInfo_v2",
    "StreamGetId",
    "GetStreamDeviceId",
    "StreamGetDevice",
)


def _driver(step: Step) -> tuple[Step, ...] | NotApplicable:
    """Every stream call in turn, the safe questions first.

    The memory calls follow any handle on HIP 6.2 and older: they are asked only of a handle that
    nothing has refused.
    """
    use = Use(step)
    alone = use.alone
    steps = [
        *(use.line(f"{{R}}.{call}({{s}})", independent=True) for call in SAFE_QUESTIONS),
        use.line("{R}.StreamGetFlags({s})", independent=True),
        use.line("{R}.StreamGetPriority({s})", independent=True),
        use.line("{R}.StreamQuery({s})", independent=True),
        use.line("{R}.StreamSynchronize({s})", independent=True),
        use.line("event = {R}.EventCreateWithFlags(0)"),
        use.line("{R}.StreamWaitEvent({s}, event)", independent=True),
        use.line("{R}.StreamAddCallback({s})", independent=True),
        use.line("{R}.StreamIsCapturing({s})", independent=True),
        use.line("{R}.StreamGetCaptureInfo({s})", independent=True),
    ]
    if alone:
        # One capture per stream: two threads that capture one stream at once are told 900, rightly.
        steps += [
            use.line(f"{{R}}.StreamBeginCapture({{s}}, {_RELAXED})", independent=True),
            use.line("graph = {R}.StreamEndCapture({s})", independent=True, trusting=True),
        ]
    steps += [
        use.line("{R}.EventRecord(event, {s})", independent=True),
        use.line("{R}.EventSynchronize(event)", independent=True),
        use.line("memory = {R}.Malloc(4096)"),
        use.line("{R}.MemsetAsync(memory, 90, 4096, {s})", independent=True, trusting=True),
        use.line(
            f"{{R}}.MemcpyAsync(memory, memory, 0, {_DEVICE_TO_DEVICE}, {{s}})",
            independent=True,
            trusting=True,
        ),
    ]
    if alone:
        # Last, since a stream can be destroyed only once.
        steps.append(use.line("{R}.StreamDestroy({s})", independent=True))
    return tuple(steps)


def _replay(step: Step) -> tuple[Step, ...] | NotApplicable:
    """XSched's HipQueue constructor and its queue's start, call by call.

    Source: XpuOS/xsched, platforms/hip/hal/src/hip_queue.cpp (the constructor's order: 18, 23,
    27, 32, 35; OnXQueueCreate on the queue's own thread) and hip_command.cpp (LaunchWrapper).
    The real library exits the process at the first call that fails; here it is the last step.
    """
    use = Use(step)
    if step.args[1] == "NULL":
        return NotApplicable(
            reason="XSched takes no default stream: HipQueueCreate(NULL) returns 5 before any call"
        )
    alone = use.alone
    lazily = "lazy" in step.args[2:]
    take_context = use.line("context = {R}.CtxGetCurrent()")
    create = [
        use.line("device = {R}.CtxGetDevice()"),
        use.line("{R}.RuntimeGetVersion()"),
        use.line("{R}.GetDeviceProperties(device)"),
        use.line("{R}.StreamGetFlags({s})"),
        use.line("{R}.StreamSynchronize({s})"),
    ]
    if not lazily:
        create.insert(0, take_context)
    if not alone:
        # Two constructors at once on one stream; a queue of each would need a thread of each.
        return tuple(create)
    return (*create, *start_of_xscheds_queue(use, lazily=lazily))


CONSUMERS: tuple[Consumer, ...] = (
    Consumer(
        id="driver",
        title="every stream call of the driver API in turn",
        does="Asks each call by itself, so that the trace shows which calls check the handle.",
        expand=_driver,
    ),
    Consumer(
        id="replay",
        title="the call order of XSched's queue, without its exit",
        does="Stops at the call at which XSched's HAL would have ended the process.",
        expand=_replay,
    ),
    TORCH_CONSUMER,
)
