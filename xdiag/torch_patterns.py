"""Stories about PyTorch's streams: entries of the catalogue in ``xdiag.patterns``.

torch hands out streams from a pool: 32 for each priority and device, all made when the first is
asked for, and given out in turn (c10/cuda/CUDAStream.cpp, which ROCm's torch has as HIPStream).
Which stream is current is each thread's own affair.
"""

from __future__ import annotations

from functools import partial

from xdiag.hypotheses import ABOUT_THREADS
from xdiag.model import Pattern, predictions
from xdiag.torch_consumer import ENVIRONMENT

_TORCH = ("main: T = torch()",)
_POOL = (*_TORCH, "main: s = torch_stream(0)")
_WORKER = ("main: worker = thread()",)
_USE = ("worker: use(T, s)",)
#: How many streams torch makes at a time (kStreamsPerPool).
_POOL_SIZE = 32

#: Of a stream that one thread makes and another uses, with one runtime.
_CROSSED = predictions(
    f"context-bound {ABOUT_THREADS}", "two-runtimes destroyed-stream device-reset"
)

#: An entry: a worker thread uses the stream, and nobody expects anything, unless it says otherwise.
_pattern = partial(Pattern, use=_USE, predicts={}, environment=ENVIRONMENT)


TORCH_PATTERNS: tuple[Pattern, ...] = (
    _pattern(
        "torch-pool",
        "the main thread takes a stream from torch's pool, a worker thread uses it",
        "Can a thread use a stream that another thread took from torch's pool?",
        (*_POOL, *_WORKER),
        sound=True,
        predicts=_CROSSED,
        note="The case's shape, with one runtime.",
    ),
    _pattern(
        "torch-priority",
        "a stream of high priority from torch's pool, used by a worker thread",
        "Does the priority of a stream of torch's make a difference?",
        (*_TORCH, "main: s = torch_stream(-1)", *_WORKER),
        sound=True,
        predicts=_CROSSED,
        note="What the case gave its two workers, in the place of two queues.",
    ),
    _pattern(
        "torch-pool-filled",
        "a worker thread asks for the first stream and ends; the main thread gets the next one",
        "Does a pool outlive the thread that asked for its first stream?",
        (
            *_WORKER,
            "worker: W = torch()",
            "worker: w = torch_stream(0)",
            "worker: end()",
            *_TORCH,
            "main: s = torch_stream(0)",
        ),
        use=("main: use(T, s)",),
        sound=True,
        predicts=predictions(ABOUT_THREADS, "two-runtimes"),
        note="The pool is lazy: whoever asks first makes all of its streams, so that the main"
        " thread's was made by the thread that is gone.",
    ),
    _pattern(
        "torch-pool-wraps",
        f"{_POOL_SIZE} more streams are taken from the pool",
        f"Are {_POOL_SIZE + 1} streams of torch's as many streams?",
        (*_POOL, f"main: t = torch_stream(0) x{_POOL_SIZE}"),
        use=("main: equal(t, s)",),
        answers=("no: the last is the first again", "yes"),
        note="Two users of torch's pool may have one stream and not know it; two queues of XSched"
        " that were made of them are one.",
    ),
    _pattern(
        "torch-pool-device",
        "a stream from the pool of another device than the current one",
        "Does each device have a pool of its own?",
        (*_TORCH, "main: s = torch_stream(0, 1)", *_WORKER),
        predicts=predictions("context-bound"),
        devices=2,
    ),
    _pattern(
        "torch-current",
        "a worker thread makes the main thread's stream its current one, asks for it, and uses it",
        "Is torch's current stream the stream that was made current?",
        (
            *_POOL,
            *_WORKER,
            "worker: torch_make_current(s)",
            "worker: c = torch_current()",
            "worker: equal(c, s)",
        ),
        sound=True,
        predicts=_CROSSED,
    ),
    _pattern(
        "torch-current-elsewhere",
        "the main thread makes a stream current; a worker thread asks which one is",
        "Does a worker thread have the stream that the main thread made current?",
        (*_POOL, "main: torch_make_current(s)", *_WORKER, "worker: c = torch_current()"),
        use=("worker: equal(c, s)",),
        answers=("yes", "no, it has the default stream"),
        note="A thread that is to work on the same stream has to be given it.",
    ),
    _pattern(
        "torch-default",
        "torch's default stream, from a worker thread",
        "Is torch's default stream the NULL stream?",
        (*_TORCH, "main: s = torch_default()", "main: equal(s, NULL)", *_WORKER),
        use=("worker: use(T, NULL)",),
        answers=("yes", ""),
        note="What current_stream().cuda_stream is until another one is made current: 0, which"
        " XSched takes for no stream.",
    ),
    _pattern(
        "torch-external",
        "a stream of the driver's, wrapped in torch's ExternalStream",
        "Can torch use a stream that it did not make?",
        (
            *_TORCH,
            "main: d = T.StreamCreateWithFlags(0)",
            "main: s = torch_external(d)",
            *_WORKER,
        ),
        sound=True,
        predicts=_CROSSED,
    ),
    _pattern(
        "torch-thread-pool",
        "a stream of torch's pool, used in a thread of a ThreadPoolExecutor",
        "Is a thread of a pool another case than a thread?",
        (*_POOL, "main: worker = thread_pool()"),
        sound=True,
        predicts=_CROSSED,
    ),
    _pattern(
        "torch-autograd",
        "a stream of torch's pool, used in autograd's own thread",
        "Can the thread that runs backward functions use the stream?",
        (*_POOL, "main: worker = torch_autograd()"),
        sound=True,
        predicts=predictions("thread-bound unshareable context-bound", "two-runtimes"),
        note="A native thread of torch's, one for each device; it enters Python for functions that"
        " are written in it.",
    ),
    _pattern(
        "torch-dataloader",
        "a stream of torch's pool, used in a worker process of a DataLoader",
        "Can a DataLoader's worker use a stream of its parent's?",
        (*_POOL, "main: worker = torch_dataloader()"),
        predicts=predictions("fork"),
        patience=1.0,
        note="Workers are forked by default. torch does not start a second time in a forked"
        " process, and what its parent had started is of no use there.",
    ),
    _pattern(
        "torch-fork",
        "a stream of torch's pool, used in a process that multiprocessing forked",
        "Can a forked child use its parent's stream, and torch in it?",
        (*_POOL, "main: worker = process(fork)"),
        predicts=predictions("fork"),
        patience=1.0,
    ),
    _pattern(
        "torch-spawn",
        "a spawned process that starts torch for itself",
        "Can a spawned child use torch, whatever its parent did?",
        (
            *_POOL,
            "main: worker = process(spawn)",
            "worker: T = torch()",
            "worker: s = torch_stream(0)",
        ),
        sound=True,
        predicts=predictions("", "fork two-runtimes"),
        patience=60.0,
        note="The way out of fork: set_start_method('spawn').",
    ),
    _pattern(
        "torch-spawn-handle",
        "a spawned process is given its parent's handle",
        "Does a handle mean anything in another process?",
        (*_POOL, "main: worker = process(spawn)", "worker: T = torch()"),
        answers=("", "no"),
        patience=60.0,
    ),
    _pattern(
        "torch-capture",
        "a stream of torch's pool is used while the main thread captures a graph on it",
        "Can a stream be used while it is captured?",
        (*_POOL, "main: torch_begin_capture(s)", *_WORKER),
        answers=("", "no"),
        note="What is refused here is the work, not the handle; the capture is lost.",
    ),
    _pattern(
        "torch-second-runtime",
        "a stream of torch's pool, used with a second copy of the runtime",
        "Does a second copy of the library know the streams of torch's?",
        (*_POOL, "main: B = open(copy, local)", "main: B.Init(0)", *_WORKER),
        use=("worker: use(B, s)",),
        predicts=predictions(f"two-runtimes context-bound {ABOUT_THREADS}"),
        note="The case itself: torch's bundled runtime makes the stream, the one that XSched opens"
        " uses it.",
    ),
    _pattern(
        "torch-foreign-stream",
        "a stream that a second copy of the runtime made, given to torch",
        "Does torch accept a stream of another copy of the runtime?",
        (
            *_TORCH,
            "main: B = open(copy, local)",
            "main: B.Init(0)",
            "main: d = B.StreamCreateWithFlags(0)",
            "main: s = torch_external(d)",
            *_WORKER,
        ),
        predicts=predictions(f"two-runtimes {ABOUT_THREADS}"),
        note="The case the other way round.",
    ),
)
