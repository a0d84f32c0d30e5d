"""The kinds of handle that every call is asked with, each as the story that makes it."""

from __future__ import annotations

from xdiag.model import Record


class Handle(Record, frozen=True):
    """A kind of handle.  ``h`` is the handle, ``s`` the stream behind it, ``A`` its maker."""

    id: str
    title: str
    #: Steps that come first: they make the stream ``s``, where there is one.
    make: tuple[str, ...] = ()
    #: Steps before what the call is asked with is made, and steps after it, directly before it is
    #: asked; ``{R}`` is the runtime that is asked.
    then: tuple[str, ...] = ()
    last: tuple[str, ...] = ()
    #: The copy of the library that is asked.
    asked: str = "A"
    #: Whether the owner can do something with the stream before it goes bad.
    owned: bool = False
    #: Whether the stream is gone, so that a new one may have its address.
    gone: bool = False
    #: Valid by the API's documentation: success is right.
    documented: bool = False
    #: The control: a call that does not succeed with it is not judged.
    control: bool = False


_STREAM = "main: s = A.StreamCreateWithFlags(0)"
_OTHERS = tuple(f"main: o{n} = A.StreamCreateWithFlags(0)" for n in range(7))
#: See ``patterns``: memory of a thread that is not the main one lies above 4 GiB.
_HIGH_STREAM = ("main: maker = thread()", "maker: s = A.StreamCreateWithFlags(0)")

HANDLES: tuple[Handle, ...] = (
    Handle(
        id="live",
        title="a live stream of this copy of the library",
        make=(_STREAM,),
        last=("main: h = same(s)",),
        owned=True,
        documented=True,
        control=True,
    ),
    Handle(
        id="foreign",
        title="a live stream of another copy of the library",
        make=(_STREAM, "main: B = open(copy, local)", "main: B.Init(0)"),
        last=("main: h = same(s)",),
        asked="B",
        owned=True,
    ),
    Handle(
        id="destroyed",
        title="a stream that its owner has just destroyed",
        make=(_STREAM,),
        last=("main: h = same(s)", "main: A.StreamDestroy(s)"),
        owned=True,
        gone=True,
    ),
    Handle(
        id="reset",
        title="a stream of a device that was reset since",
        # Others are destroyed with it, whose addresses new streams are given first.
        make=(*_OTHERS, _STREAM),
        then=("main: A.DeviceReset()",),
        last=("main: h = same(s)",),
        owned=True,
        gone=True,
    ),
    Handle(
        id="truncated",
        title="a live stream's handle, cut to 32 bits",
        make=_HIGH_STREAM,
        last=("main: h = low32(s)",),
        owned=True,
    ),
    Handle(
        id="garbage",
        title="an address at which there is no memory",
        last=("main: h = same(0x5eeddeadbee0)",),
    ),
    Handle(
        id="zeros",
        title="the address of memory that is all zeros",
        last=("main: h = filled(4096, 0)",),
    ),
    Handle(
        id="event",
        title="an event of this copy of the library",
        last=("main: h = {R}.EventCreateWithFlags(0)",),
    ),
    Handle(
        id="context",
        title="a context of this copy of the library",
        last=("main: h = {R}.CtxGetCurrent()",),
    ),
    Handle(
        id="stale-per-thread",
        title="the stream behind handle 2 of a thread that has exited",
        make=(
            "main: worker = native_thread()",
            # The one or the other gives the callback the stream itself, by version.
            "worker: A.StreamAddCallback(PER_THREAD)",
            "worker: A.StreamAddCallback_spt(NULL) ?",
            "worker: A.StreamSynchronize(PER_THREAD)",
            "main: s = stream_of_callback()",
        ),
        last=("main: h = same(s)", "worker: end()"),
        gone=True,
    ),
    Handle(
        id="null",
        title="0, the default stream",
        last=("main: h = same(NULL)",),
        documented=True,
    ),
    Handle(
        id="legacy",
        title="1, hipStreamLegacy",
        last=("main: h = same(LEGACY)",),
        documented=True,
    ),
    Handle(
        id="per-thread",
        title="2, hipStreamPerThread",
        last=("main: h = same(PER_THREAD)",),
        documented=True,
    ),
)
#: The kinds that are no live stream of the copy that is asked.
BAD = tuple(handle.id for handle in HANDLES if not handle.documented)
CONTROL = next(handle.id for handle in HANDLES if handle.control)
