"""NVIDIA CUDA, by its driver API (libcuda).

Where HIP looks the handle up among its live streams, CUDA follows it: a bad handle is a
segmentation fault in every stream call (measured: docs/platforms.md).  What CUDA does check is the
calling thread's current context, which a thread does not have until it is given one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from xdiag import torch_consumer
from xdiag.hypotheses import ABOUT_THREADS, of_cause
from xdiag.model import NotApplicable, Step, Story, parse_step, predictions
from xdiag.platforms import Platform, Startup, XSched
from xdiag.using import Use, start_of_xscheds_queue
from xdiag.xsched_consumers import uses as xscheds_uses

if TYPE_CHECKING:
    from collections.abc import Iterator

#: cuda.h, enum CUresult.
NOT_INITIALIZED = 3
INVALID_CONTEXT = 201
INVALID_HANDLE = 400
CONTEXT_IS_DESTROYED = 709
#: CU_STREAM_CAPTURE_MODE_RELAXED: no other thread is disturbed by the capture.
_RELAXED = 2
#: CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR; _PCI_DOMAIN_ID, _BUS_ID, _DEVICE_ID.
_CAPABILITY = (75, 76)
_PCI = (50, 33, 34)
_MAKES_STREAM = ("StreamCreate", "StreamCreateWithFlags", "StreamCreateWithPriority")
#: Streams that cannot be captured or destroyed.
_DEFAULT_STREAMS = ("NULL", "LEGACY")
_NEVER_MADE = (*_DEFAULT_STREAMS, "PER_THREAD")


def written_version(number: int) -> str:
    """CUDA's version as people write it: 1000 * major + 10 * minor (cuDriverGetVersion)."""
    return f"{number // 1000}.{number % 1000 // 10}" if number > 0 else ""


# ---- stories -----------------------------------------------------------------------------------

#: Stories whose question is what becomes of a user without the stream's context.  In all others,
#: whoever uses a stream has made the primary context current first, as CUDA asks of it.
UNPREPARED = frozenset({
    "cross-thread", "concurrent-use", "null-stream", "per-thread-stream", "legacy-stream",
    "context-unset", "another-context", "other-device-current", "context-destroyed",
    "device-reset", "fork-after-init",
    "torch-pool", "torch-priority", "torch-pool-device", "torch-current", "torch-default",
    "torch-external", "torch-thread-pool", "torch-autograd", "torch-dataloader", "torch-fork",
    "torch-spawn", "torch-spawn-handle", "torch-capture", "torch-foreign-stream",
})  # fmt: skip
#: Of these, those in which torch has made a context current for the user all the same.
_PREPARED_BY_TORCH = frozenset({"torch-spawn"})


class _Retelling:
    """One pass over a story; see ``retold``."""

    def __init__(self, pattern: str) -> None:
        self._users_prepared = pattern not in UNPREPARED
        #: Who has a context current, in which copy of the library.
        self._current: set[tuple[str, str]] = set()

    def steps(self, steps: tuple[Step, ...]) -> tuple[Step, ...]:
        """The steps in CUDA's words, those of the setup or of the use."""
        return tuple(told for step in steps for told in self._step(step))

    def _step(self, step: Step) -> Iterator[Step]:
        places = {(actor, step.runtime) for actor in step.actors}
        if step.verb == "CtxSetCurrent" and step.args[0] == "NULL":
            self._current -= places
        elif step.verb in ("CtxSetCurrent", "CtxPushCurrent", "CtxCreate"):
            self._current |= places
        elif step.verb == "torch":
            # It allocates, and the runtime API makes the primary context current for that.
            self._current |= {(actor, step.result) for actor in step.actors}
        if step.verb == "use" and self._users_prepared:
            yield from self._opening(step, str(step.args[0]), 0, phase="setup")
        elif step.verb in _MAKES_STREAM and not places <= self._current:
            yield from self._opening(step, step.runtime, 0)
        if step.verb == "Init":
            yield step
            yield from self._opening(step, step.runtime, 0)
        elif step.verb == "SetDevice":
            self._current -= places
            yield from self._opening(step, step.runtime, step.args[0])
        elif step.verb == "DeviceReset":
            self._current -= places
            yield msgspec.structs.replace(step, verb="DevicePrimaryCtxReset", args=(0,))
        else:
            yield step

    def _opening(
        self, before: Step, runtime: str, device: str | int, phase: str = ""
    ) -> Iterator[Step]:
        """Steps that make the primary context current for those who have none."""
        without = [actor for actor in before.actors if (actor, runtime) not in self._current]
        if not without:
            return
        self._current |= {(actor, runtime) for actor in without}
        who, name = " & ".join(without), f"{runtime}_primary"
        for line in (
            f"{who}: {name} = {runtime}.DevicePrimaryCtxRetain({device})",
            f"{who}: {runtime}.CtxSetCurrent({name})",
        ):
            yield msgspec.structs.replace(parse_step(line), phase=phase or before.phase)


def retold(pattern: str, story: Story) -> Story:
    """A story in the words of the driver API, which has no implicit context.

    Who initialises the library or makes a stream makes the device's primary context current first,
    as the runtime API does (CUDA Driver API, Primary Context Management); so does who uses one,
    unless that is what the story is about.  SetDevice is told as the runtime API does it, and
    DeviceReset resets the primary context.
    """
    retelling = _Retelling(pattern)
    environment = dict(story.environment)
    if "XDIAG_UNIFY" in environment:
        environment["XDIAG_UNIFY"] = PLATFORM.library.removesuffix(".so")
    return Story(
        setup=retelling.steps(story.setup),
        use=retelling.steps(story.use),
        environment=environment,
    )


# ---- consumers -----------------------------------------------------------------------------------


def _driver(step: Step) -> tuple[Step, ...] | NotApplicable:
    """Every stream call in turn, the safe questions first.

    No call that takes a stream is safe for a bad handle (measured: docs/platforms.md).  Safe are
    those about the thread: they take no handle.
    """
    use = Use(step)
    handle = step.args[1]
    steps = [
        use.line("context = {R}.CtxGetCurrent()"),
        use.line("{R}.CtxGetDevice()", independent=True),
        # 709 where the current context is one that was reset; CtxGetDevice answers for it.
        use.line("asked = {R}.EventCreateWithFlags(0)", independent=True),
        use.line("{R}.StreamGetCtx({s})", independent=True),
        use.line("{R}.StreamGetId({s})", independent=True),
        use.line("{R}.StreamGetDevice({s})", independent=True),
        use.line("{R}.StreamGetFlags({s})", independent=True),
        use.line("{R}.StreamGetPriority({s})", independent=True),
        use.line("{R}.StreamQuery({s})", independent=True),
        use.line("{R}.StreamSynchronize({s})", independent=True),
        use.line("{R}.StreamIsCapturing({s})", independent=True),
        use.line("{R}.StreamGetCaptureInfo_v2({s})", independent=True),
        use.line("{R}.StreamAddCallback({s})", independent=True),
    ]
    if use.alone and handle not in _DEFAULT_STREAMS:
        steps += [
            use.line(f"{{R}}.StreamBeginCapture({{s}}, {_RELAXED})", independent=True),
            use.line("graph = {R}.StreamEndCapture({s})", independent=True, trusting=True),
        ]
    steps += [
        use.line("event = {R}.EventCreateWithFlags(0)"),
        use.line("{R}.StreamWaitEvent({s}, event)", independent=True),
        use.line("{R}.EventRecord(event, {s})", independent=True),
        use.line("{R}.EventSynchronize(event)", independent=True),
        use.line("memory = {R}.Malloc(4096)"),
        use.line("{R}.MemsetD8Async(memory, 90, 4096, {s})", independent=True, trusting=True),
        use.line("{R}.MemcpyDtoDAsync(memory, memory, 0, {s})", independent=True, trusting=True),
    ]
    if use.alone and handle not in _NEVER_MADE:
        # Last, since a stream can be destroyed only once.
        steps.append(use.line("{R}.StreamDestroy({s})", independent=True))
    return tuple(steps)


def _replay(step: Step) -> tuple[Step, ...] | NotApplicable:
    """XSched's CudaQueueCreate and its queue's start, call by call.

    Source: XpuOS/xsched at bd494cb7a729, platforms/cuda/hal/src/arch/arch.cpp (CudaQueueCreate)
    and level1/cuda_queue.cpp (the constructor, OnXQueueCreate on the queue's own thread); the
    queues of levels 2 and 3 begin with the same.  The real library exits the process at the first
    call that fails, and where the stream's context is not the current one; here it is the last
    step.
    """
    use = Use(step)
    if step.args[1] == "NULL":
        return NotApplicable(
            reason="XSched takes no default stream: CudaQueueCreate(NULL) returns 5 before any call"
        )
    lazily = "lazy" in step.args[2:]
    compare = [
        use.line("current = {R}.CtxGetCurrent()"),
        use.line("context = {R}.StreamGetCtx({s})"),
        use.line("{user}: equal(current, context)"),
    ]
    # In front of the class, and in its constructor again.
    create = [] if lazily else [use.line("context = {R}.StreamGetCtx({s})"), *compare[:1],
                                compare[2]]  # fmt: skip
    create.append(use.line("device = {R}.CtxGetDevice()"))
    create += [use.line(f"{{R}}.DeviceGetAttribute({each}, device)") for each in _CAPABILITY]
    if not lazily:
        create += compare
    create.append(use.line("device = {R}.CtxGetDevice()"))
    create += [use.line(f"{{R}}.DeviceGetAttribute({each}, device)") for each in _PCI]
    create += [use.line("{R}.StreamGetFlags({s})"), use.line("{R}.StreamSynchronize({s})")]
    if not use.alone:
        # Two constructors at once on one stream; a queue of each would need a thread of each.
        return tuple(create)
    return (*create, *start_of_xscheds_queue(use, lazily=lazily))


# ---- hypotheses ----------------------------------------------------------------------------------

_TWO = """second-runtime second-runtime-deepbind second-runtime-global second-namespace
    second-runtime-by-name library-loaded-first library-first-by-soname foreign-context"""
#: Pattern -> hypotheses that say that it fails, and that it works.
_EXPECTED = {
    "same-thread": (
        "",
        "cuda-thread-context cuda-context destroyed-stream truncated-handle two-runtimes"
        f" {ABOUT_THREADS}",
    ),
    "cross-thread": (f"cuda-thread-context {ABOUT_THREADS}", ""),
    "concurrent-use": (f"cuda-thread-context {ABOUT_THREADS}", ""),
    "create-in-worker": (ABOUT_THREADS, "cuda-thread-context two-runtimes"),
    "creator-exited": (ABOUT_THREADS, "cuda-thread-context cuda-context two-runtimes"),
    "null-stream": ("cuda-thread-context", ""),
    "per-thread-stream": ("cuda-thread-context", ""),
    "legacy-stream": ("cuda-thread-context", ""),
    "context-unset": ("cuda-thread-context", ""),
    "another-context": ("cuda-thread-context", ""),
    "other-device-current": ("cuda-thread-context", ""),
    "context-destroyed": ("cuda-context", ""),
    "device-reset": ("cuda-context", ""),
    "destroyed-stream": ("destroyed-stream", ""),
    "truncated-handle": ("truncated-handle", ""),
    "truncated-handle-zero": ("truncated-handle", ""),
    "reopened-runtime": (ABOUT_THREADS, "two-runtimes"),
    "reopened-by-soname": (ABOUT_THREADS, "two-runtimes"),
    "fork-before-init": ("", "fork"),
    "fork-after-init": ("fork", ""),
    **dict.fromkeys(
        ("torch-pool", "torch-priority", "torch-current", "torch-thread-pool", "torch-external"),
        (f"cuda-thread-context {ABOUT_THREADS}", ""),
    ),
    "torch-pool-filled": (ABOUT_THREADS, "cuda-thread-context cuda-context two-runtimes"),
    # Measured with torch 2.11: its thread has the device, and no context until it is used.
    "torch-autograd": ("cuda-thread-context thread-bound unshareable", ""),
    "torch-dataloader": ("fork", ""),
    "torch-fork": ("fork", ""),
    "torch-spawn": ("", "fork cuda-thread-context two-runtimes"),
    "torch-second-runtime": ("two-runtimes", ""),
    **dict.fromkeys(_TWO.split(), ("two-runtimes", "")),
}

# No old binding: platforms/cuda/python came in June 2026 (XpuOS/xsched, 1dd3139).
_XSCHED = XSched(
    hal="libhalcuda.so",
    shim="libshimcuda.so",
    variable="XSCHED_CUDA_LIB",
    create="CudaQueueCreate",
    binding=("xsched.cuda", "XSchedCuda", "CudaQueueCreate"),
)

PLATFORM = Platform(
    id="cuda",
    title="CUDA",
    prefix="cu",
    refusal=CONTEXT_IS_DESTROYED,
    refusals=(CONTEXT_IS_DESTROYED, INVALID_CONTEXT, INVALID_HANDLE, NOT_INITIALIZED),
    # cuda.h: CU_STREAM_LEGACY, CU_STREAM_PER_THREAD.
    constants={"NULL": 0, "LEGACY": 1, "PER_THREAD": 2},
    library="libcuda.so",
    proof="cuInit",
    startup=Startup(
        init="cuInit",
        version="cuDriverGetVersion",
        count="cuDeviceGetCount",
        name=(("cuDeviceGetName", (256, 0)),),
        written=written_version,
    ),
    xsched=_XSCHED,
    # cuda.h, the comments at the codes.
    says={
        NOT_INITIALIZED: "On CUDA this says that the driver was not initialised in this process:"
        " what a parent initialised is of no use to a forked child.",
        INVALID_CONTEXT: "On CUDA this says that the calling thread has no valid context current;"
        " a thread has none until it is given one.",
        INVALID_HANDLE: "On CUDA this says that the handle belongs to another context, or is none.",
        CONTEXT_IS_DESTROYED: "On CUDA this says that a context was destroyed or reset, or that"
        " something freed was taken for one of such a context; on HIP the same number says that the"
        " loaded copy does not know the handle, and what helps there does not help here.",
    },
    notes=(
        "CUDA checks contexts where HIP checks handles: its error 709 says that a context was"
        " destroyed, HIP's that the loaded copy does not know the handle. A bad handle is followed"
        " here, and crashes.",
    ),
    # No call that takes a stream is safe for a bad handle: after two crashes the rest is known, and
    # each takes seconds, in which the driver takes the process's context down (measured).
    processes=3,
    # Making a context takes 0.3 s, and more than 2 s where many processes do it at once (measured).
    patience=10.0,
    device="/dev/nvidiactl",
    hiding=("CUDA_VISIBLE_DEVICES",),
    hypotheses=(
        of_cause(
            "cuda-thread-context",
            "primary-context-retain",
            "set-current-context",
            "set-device",
        ),
        of_cause("cuda-context", "recreate-stream"),
        of_cause("thread-bound", "create-in-worker"),
        of_cause("python-threads", "native-thread"),
        of_cause("unshareable", "create-in-worker"),
        of_cause(
            "two-runtimes",
            "bind-loaded-runtime",
            "unify",
            "preload",
            "path-order",
            repaired_as_one=True,
        ),
        of_cause("destroyed-stream", "recreate-stream"),
        of_cause("truncated-handle", "full-width-handle"),
        of_cause("fork"),
    ),
    predicts={pattern: predictions(fails, works) for pattern, (fails, works) in _EXPECTED.items()},
    unsound=UNPREPARED - _PREPARED_BY_TORCH,
    # It works where others fail for want of a context: it makes the device's current by itself.
    unweighed=frozenset({"torch"}),
    retold=retold,
    uses={
        "driver": _driver,
        "replay": _replay,
        **xscheds_uses(_XSCHED),
        "torch": torch_consumer.work,
    },
)
