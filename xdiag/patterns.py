"""The catalogue of patterns: ownership stories, as data.

A story names its actors (``main`` is the main thread; others are started in the story), its
runtimes (``A`` is the one under test) and its objects.  ``use(A, s)`` stands for whatever the
consumer does with a stream.  To add a pattern, add an entry; the matrix, the trace, ``xdiag
patterns`` and docs/patterns.md follow.
"""

from __future__ import annotations

import msgspec

from xdiag import platforms
from xdiag.hypotheses import ABOUT_THREADS
from xdiag.model import Pattern, predictions
from xdiag.torch_patterns import TORCH_PATTERNS

_OPEN = ("main: A = open(first, local)", "main: A.Init(0)")
_STREAM = (*_OPEN, "main: s = A.StreamCreateWithFlags(0)")
_WORKER = ("main: worker = thread()",)
#: A handle that is worth cutting: memory of a thread that is not the main one comes from mmap, and
#: lies above 4 GiB.  The main thread's (brk) may lie below it where the program is no PIE, as
#: Debian's Python is, and then a cut handle is the whole one.
_HIGH_STREAM = (
    *_OPEN,
    "main: maker = thread()",
    "maker: s = A.StreamCreateWithFlags(0)",
    *_WORKER,
)


def _second(
    how: str,
    id: str,
    title: str,
    question: str,
    note: str = "",
    *,
    what: str = "copy",
    before: bool = False,
    environment: dict[str, str] | None = None,
) -> Pattern:
    """The case's own shape: made by main with one copy, used by a worker with another.

    ``before`` has the other one loaded before the one that makes the stream.
    """
    other = (f"main: B = open({what}, {how})", "main: B.Init(0)")
    loaded = (*other, *_STREAM) if before else (*_STREAM, *other)
    return Pattern(
        id=id,
        title=title,
        question=question,
        setup=(*loaded, *_WORKER),
        use=("worker: use(B, s)",),
        predicts=predictions(fails=f"two-runtimes context-bound {ABOUT_THREADS}"),
        environment=environment or {},
        note=note,
    )


#: How a library is found that is asked for by a name: here the search comes to the copy.
_COPY_FOUND_FIRST = {"LD_LIBRARY_PATH": "{copy_directory}"}


PATTERNS: tuple[Pattern, ...] = (
    Pattern(
        id="same-thread",
        title="one thread makes the stream and uses it",
        question="Does the runtime work at all here?",
        setup=_STREAM,
        use=("main: use(A, s)",),
        sound=True,
        predicts=predictions(
            works=f"context-bound {ABOUT_THREADS} two-runtimes destroyed-stream device-reset"
            " truncated-handle fork"
        ),
        answers=("yes", ""),
        note="The control: what fails here says nothing about ownership.",
    ),
    Pattern(
        id="cross-thread",
        title="the main thread makes the stream, a worker thread uses it",
        question="Can a thread use a stream that another thread made?",
        setup=(*_STREAM, *_WORKER),
        use=("worker: use(A, s)",),
        sound=True,
        predicts=predictions(
            fails=f"context-bound {ABOUT_THREADS}",
            works="two-runtimes destroyed-stream device-reset truncated-handle fork",
        ),
    ),
    Pattern(
        id="create-in-worker",
        title="a worker thread makes the stream, the main thread uses it",
        question="Does it matter that the main thread is the one that made the stream?",
        setup=(*_OPEN, *_WORKER, "worker: s = A.StreamCreateWithFlags(0)"),
        use=("main: use(A, s)",),
        sound=True,
        predicts=predictions(fails=ABOUT_THREADS, works="two-runtimes truncated-handle"),
        answers=("", ""),
    ),
    Pattern(
        id="creator-exited",
        title="the thread that made the stream has exited",
        question="Does a stream outlive the thread that made it?",
        setup=(*_OPEN, *_WORKER, "worker: s = A.StreamCreateWithFlags(0)", "worker: end()"),
        use=("main: use(A, s)",),
        sound=True,
        predicts=predictions(fails=ABOUT_THREADS, works="two-runtimes truncated-handle"),
        note="Only per-thread streams (handle 2) die with their thread.",
    ),
    Pattern(
        id="concurrent-use",
        title="two threads use one stream at the same moment",
        question="Can two threads use one stream at the same time?",
        setup=(*_STREAM, *_WORKER, "main: A.StreamSynchronize(s)"),
        use=("main & worker: use(A, s)",),
        sound=True,
        predicts=predictions(fails=ABOUT_THREADS, works="two-runtimes truncated-handle"),
    ),
    Pattern(
        id="destroyed-stream",
        title="the stream is destroyed before it is used",
        question="What does the runtime say of a stream that its owner has destroyed?",
        setup=(*_STREAM, "main: A.StreamDestroy(s)"),
        use=("main: use(A, s)",),
        predicts=predictions(fails="destroyed-stream"),
        answers=("", ""),
    ),
    Pattern(
        id="device-reset",
        title="the device is reset between making and using the stream",
        question="Does a stream survive a device reset?",
        setup=(*_STREAM, "main: A.DeviceReset()"),
        use=("main: use(A, s)",),
        predicts=predictions(fails="device-reset"),
        note="hipDeviceReset destroys the streams of the caller's current device, whoever made"
        " them.",
    ),
    Pattern(
        id="null-stream",
        title="the NULL stream, from a worker thread",
        question="Is the default stream accepted where a made stream is refused?",
        setup=(*_OPEN, *_WORKER),
        use=("worker: use(A, NULL)",),
        predicts={},
        answers=("it is accepted", ""),
        note="NULL is never looked up among the live streams, so it works with any copy. Some calls"
        " (hipStreamGetFlags, hipStreamDestroy) reject NULL as an argument.",
    ),
    Pattern(
        id="per-thread-stream",
        title="the per-thread stream (handle 2), from a worker thread",
        question="Is hipStreamPerThread accepted from a thread that did nothing before?",
        setup=(*_OPEN, *_WORKER),
        use=("worker: use(A, PER_THREAD)",),
        predicts={},
        note="The runtime replaces handle 2 by the calling thread's own stream.",
    ),
    Pattern(
        id="legacy-stream",
        title="the legacy stream (handle 1), from a worker thread",
        question="Does this version know hipStreamLegacy?",
        setup=(*_OPEN, *_WORKER),
        use=("worker: use(A, LEGACY)",),
        predicts={},
        note="Known from HIP 6.3 on; older versions look for handle 1 among the live streams.",
    ),
    Pattern(
        id="other-device-current",
        title="another device is current when the stream is used",
        question="Is a stream refused when the caller's current device is another one?",
        setup=(
            *_OPEN,
            "main: A.SetDevice(0)",
            "main: s = A.StreamCreateWithFlags(0)",
            "main: A.SetDevice(1)",
        ),
        use=("main: use(A, s)",),
        predicts=predictions(fails="context-bound"),
        answers=("no", "yes"),
        devices=2,
        note="The handle is accepted; hipEventRecord rejects an event of another device than the"
        " stream's.",
    ),
    Pattern(
        id="context-popped",
        title="the context that was current when the stream was made has been popped",
        question="Does a stream need the context that was current when it was made?",
        setup=(
            *_OPEN,
            "main: c = A.DevicePrimaryCtxRetain(0)",
            "main: A.CtxPushCurrent(c)",
            "main: s = A.StreamCreateWithFlags(0)",
            "main: popped = A.CtxPopCurrent()",
        ),
        use=("main: use(A, s)",),
        sound=True,
        predicts=predictions(fails="context-bound"),
        answers=("no", ""),
    ),
    Pattern(
        id="context-unset",
        title="no context is current when the stream is used",
        question="Does a stream need any context to be current?",
        setup=(*_STREAM, "main: A.CtxSetCurrent(NULL)"),
        use=("main: use(A, s)",),
        predicts={},
        platforms=("cuda",),
        note="The state in which a new thread begins, here without a thread. A HIP thread has its"
        " device's context, whatever is set.",
    ),
    Pattern(
        id="another-context",
        title="another context of the device is current when the stream is used",
        question="Is a stream refused where another context than its own is current?",
        setup=(*_STREAM, "main: c = A.CtxCreate(0, 0)"),
        use=("main: use(A, s)",),
        predicts={},
        answers=("no", "yes"),
        platforms=("cuda",),
        note="HIP has one context for each device.",
    ),
    Pattern(
        id="context-destroyed",
        title="the context that the stream was made in is destroyed before the use",
        question="What does the runtime say of a stream whose context was destroyed?",
        setup=(
            *_OPEN,
            "main: c = A.CtxCreate(0, 0)",
            "main: s = A.StreamCreateWithFlags(0)",
            "main: A.CtxDestroy(c)",
        ),
        use=("main: use(A, s)",),
        predicts={},
        answers=("", ""),
        platforms=("cuda",),
        note="hipCtxDestroy destroys nothing that a stream needs.",
    ),
    Pattern(
        id="foreign-context",
        title="the creator's context is made current in a second runtime",
        question="Does a second runtime accept a stream once it has been given the creator's"
        " context?",
        setup=(
            *_STREAM,
            "main: c = A.CtxGetCurrent()",
            "main: B = open(copy, local)",
            "main: B.Init(0)",
            "main: B.CtxSetCurrent(c) ?",
        ),
        use=("main: use(B, s)",),
        predicts=predictions(fails="two-runtimes", works="context-bound"),
        patience=2.0,
        note="hipCtxSetCurrent stores the pointer without looking at it, and so succeeds.",
    ),
    _second(
        "local",
        "second-runtime",
        "a second copy of the library, opened by its path",
        "Does a second copy of the library know the streams of the first?",
        "What XSched and many extensions do: dlopen of a full path with another inode.",
    ),
    _second(
        "deepbind",
        "second-runtime-deepbind",
        "a second copy, opened with RTLD_DEEPBIND",
        "Does RTLD_DEEPBIND, XSched's way of opening it, change that?",
        "Where the program is no PIE and uses `environ`, as Debian's Python does, the second copy"
        " does not even start: it sees an `environ` that was never set, and hipInit crashes.",
    ),
    _second(
        "global",
        "second-runtime-global",
        "a second copy, opened with RTLD_GLOBAL",
        "Does RTLD_GLOBAL merge the two copies?",
    ),
    _second(
        "namespace",
        "second-namespace",
        "a second copy in a link-map namespace of its own (dlmopen)",
        "Does a copy in another namespace know the streams of the first?",
    ),
    _second(
        "local",
        "second-runtime-by-name",
        "a second copy, found by the library's name without a version",
        "Is the loaded copy found when libamdhip64.so is asked for?",
        "The loader knows a loaded library by its SONAME (libamdhip64.so.6) and by the names that"
        " it was asked for before. The name without a version is neither, so that it searches:"
        " here LD_LIBRARY_PATH leads to the copy.",
        what="name",
        environment=_COPY_FOUND_FIRST,
    ),
    _second(
        "local",
        "library-loaded-first",
        "the copy that is to use the stream is loaded before the one that makes it",
        "Does it matter which of the two copies was loaded first?",
        "As where a plugin that brings its own runtime is imported before the framework.",
        before=True,
    ),
    _second(
        "local",
        "library-first-by-soname",
        "the using copy is loaded first, found by its SONAME",
        "Does asking by SONAME give one runtime if it is done before the other is loaded by path?",
        "The first to ask is given what LD_LIBRARY_PATH leads to. A path that is asked for later is"
        " compared by device and inode, and so loads another copy.",
        what="soname",
        before=True,
        environment=_COPY_FOUND_FIRST,
    ),
    Pattern(
        id="reopened-runtime",
        title="the same file opened again under another name",
        question="Is it opening the library twice that does it, or having two copies of it?",
        setup=(*_STREAM, "main: B = open(link, local)", *_WORKER),
        use=("worker: use(B, s)",),
        sound=True,
        predicts=predictions(fails=f"context-bound {ABOUT_THREADS}", works="two-runtimes"),
        answers=("", ""),
        note="The loader compares device and inode, so a symbolic link gives the first copy back.",
    ),
    Pattern(
        id="reopened-by-soname",
        title="the library asked for again by its SONAME, while another copy lies on the path",
        question="Is a loaded copy found by its SONAME before the library path is searched?",
        setup=(*_STREAM, "main: B = open(soname, local)", *_WORKER),
        use=("worker: use(B, s)",),
        sound=True,
        predicts=predictions(fails=f"context-bound {ABOUT_THREADS}", works="two-runtimes"),
        environment=_COPY_FOUND_FIRST,
        note="What a library that is linked against the runtime does: its DT_NEEDED is the SONAME.",
    ),
    Pattern(
        id="truncated-handle",
        title="the handle cut to 32 bits and sign-extended",
        question="What becomes of a handle that passes through a C int?",
        setup=(*_HIGH_STREAM, "main: t = low32_signed(s)"),
        use=("worker: use(A, t)",),
        predicts=predictions(fails=f"truncated-handle context-bound {ABOUT_THREADS}"),
        answers=("", ""),
        note="What ctypes does to a Python int when a function's argtypes are not declared."
        " Harmless for a handle below 2 GiB, as the main thread of a program that is no PIE may"
        " get.",
    ),
    Pattern(
        id="truncated-handle-zero",
        title="the handle cut to 32 bits and zero-extended",
        question="What becomes of a handle that passes through an unsigned int?",
        setup=(*_HIGH_STREAM, "main: t = low32(s)"),
        use=("worker: use(A, t)",),
        predicts=predictions(fails=f"truncated-handle context-bound {ABOUT_THREADS}"),
        answers=("", ""),
    ),
    Pattern(
        id="garbage-handle",
        title="a value that never was a stream",
        question="What does the runtime say of a value that never was a stream?",
        setup=(*_OPEN, *_WORKER, "main: g = same(0x5eeddeadbee0)"),
        use=("worker: use(A, g)",),
        predicts={},
        answers=("", ""),
        note="What comes back here is what any value outside the set of live streams gets.",
    ),
    Pattern(
        id="fork-before-init",
        title="a child forked before the runtime was initialised",
        question="Can a forked child use the runtime if the parent had not started it?",
        setup=(
            "main: A = open(first, local)",
            "main: child = fork()",
            "child: A.Init(0)",
            "child: s = A.StreamCreateWithFlags(0)",
        ),
        use=("child: use(A, s)",),
        sound=True,
        predicts=predictions(works="fork"),
    ),
    Pattern(
        id="fork-after-init",
        title="a child forked after the runtime was initialised",
        question="Can a forked child use its parent's stream?",
        setup=(*_STREAM, "main: child = fork()"),
        use=("child: use(A, s)",),
        predicts=predictions(fails="fork"),
        patience=1.0,
        note="The child inherits the set of live streams, so that handle checks pass, but not the"
        " threads that complete the work.",
    ),
    Pattern(
        id="event-destroyed-twice",
        title="an event destroyed twice",
        question="Is there a 709 that has nothing to do with streams?",
        setup=(*_OPEN, "main: e = A.EventCreateWithFlags(0)", "main: A.EventDestroy(e)"),
        use=("main: A.EventDestroy(e)",),
        predicts={},
        answers=("", "yes"),
        note="Newer versions say 709 of an event they do not know, and libraries that tear down"
        " twice meet it at exit; 5.2.3 reads the event that it has freed.",
    ),
    *TORCH_PATTERNS,
)


def told_on(platform: str) -> tuple[Pattern, ...]:
    """The patterns as a platform has them: what hypotheses expect there, what is sound there."""
    facts = platforms.get(platform)
    expected = facts.predicts
    return tuple(
        msgspec.structs.replace(
            pattern,
            predicts=pattern.predicts if expected is None else expected.get(pattern.id, {}),
            sound=pattern.sound and pattern.id not in facts.unsound,
        )
        for pattern in PATTERNS
        if platform in pattern.platforms
    )
