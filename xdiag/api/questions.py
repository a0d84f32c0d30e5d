"""The calls that take a stream, and what each is asked with besides the handle.

``{R}`` is the copy of the library that is asked, ``h`` the handle.  Steps of ``owner`` are done by
the owner of the stream, ``s``, before it goes bad.  Where arguments differ between versions there
are several ways to ask; the first that succeeds with a live stream is taken.

Layouts of structs are those of hip_runtime_api.h (hipMemcpy3DParms, hip_Memcpy2D, HIP_MEMCPY3D,
hipLaunchConfig_t, ...), as 64-bit words.
"""

from __future__ import annotations

from xdiag.model import Record


class Way(Record, frozen=True):
    """One way to ask a call: steps that make its other arguments, and the call itself."""

    ask: str
    prepare: tuple[str, ...] = ()
    owner: tuple[str, ...] = ()
    #: HIP versions, by their first number, whose structs and constants these are: from, up to.
    since: int = 0
    until: int = 99


class Question(Record, frozen=True):
    """One call that takes a stream."""

    call: str
    group: str
    ways: tuple[Way, ...]
    #: It only looks: whatever the handle is, nothing is waited for, enqueued, changed or ended.
    looks: bool = False


#: hipStreamCaptureModeRelaxed
_RELAXED = 2
#: hipMemcpyDeviceToDevice, hipMemcpyHostToDevice, hipMemcpyDeviceToHost
_WITHIN, _TO_DEVICE, _TO_HOST = 3, 1, 2
#: Bytes of the memory that calls work on, and of what a row of it has.
_SIZE, _ROW = 4096, 64
#: A dim3 of one by one by one, as an argument and as a struct's words.
_ONE = 0x100000001

_EVENT = "main: e = {R}.EventCreateWithFlags(0)"
_MEMORY = f"main: m = {{R}}.Malloc({_SIZE})"
_SOURCE = f"main: n = {{R}}.Malloc({_SIZE})"
_HOST = f"main: b = filled({_SIZE}, 0)"
_MANAGED = f"main: m = {{R}}.MallocManaged({_SIZE}, 1)"
#: A graph with something in it: one that is empty may not be looked at any further.
_GRAPH = (
    _MEMORY,
    "main: o = {R}.StreamCreateWithFlags(0)",
    f"main: {{R}}.StreamBeginCapture(o, {_RELAXED})",
    f"main: {{R}}.MemsetAsync(m, 90, {_SIZE}, o)",
    "main: g = {R}.StreamEndCapture(o)",
    "main: x = {R}.GraphInstantiateWithFlags(g, 0)",
)
_CAPTURE = f"main: A.StreamBeginCapture(s, {_RELAXED})"
_FUNCTION = (
    "main: code = code_object()",
    "main: name = text(nothing)",
    "main: module = {R}.ModuleLoadData(code)",
    "main: f = {R}.ModuleGetFunction(module, name)",
)
_HOST_FUNCTION = ("main: k = kernel({R})",)


def _looks(group: str, ask: str) -> Question:
    return Question(call=ask.partition("(")[0], group=group, ways=(Way(ask),), looks=True)


def _asked(group: str, ask: str, *prepare: str, owner: tuple[str, ...] = ()) -> Question:
    return _asked_in_ways(group, Way(ask, prepare, owner))


def _asked_in_ways(group: str, *ways: Way) -> Question:
    return Question(call=ways[0].ask.partition("(")[0], group=group, ways=ways)


def _words(*values: object) -> str:
    return ", ".join(str(value) for value in values)


#: hipMemcpy3DParms and hipMemcpy3DPeerParms from n to m: array, position, pitched pointer.
_FROM, _TO = ((0, 0, 0, 0, name, _ROW, _ROW, 1) for name in "nm")
_EXTENT = (_ROW, 1, 1)


def _drv_3d(memory: int) -> tuple[object, ...]:
    """HIP_MEMCPY3D since HIP 6, whose numbers are size_t; ``memory`` is the memory's type."""
    return (
        *(0, 0, 0, 0, memory, 0, "n", 0, _ROW, 1),
        *(0, 0, 0, 0, memory, 0, "m", 0, _ROW, 1),
        *_EXTENT,
    )


def _old_drv_3d(memory: int) -> tuple[object, ...]:
    """HIP_MEMCPY3D of HIP 5, whose numbers are unsigned int: two to a word."""
    pitches = 1 << 32 | _ROW
    return (0, 0, memory, 0, "n", 0, pitches, 0, 0, memory, 0, "m", 0, pitches, 1 << 32 | _ROW, 1)


def _param_2d(memory: int) -> tuple[object, ...]:
    """hip_Memcpy2D; ``memory`` is the memory's type."""
    return (*(0, 0, memory, 0, "n", 0, _ROW), *(0, 0, memory, 0, "m", 0, _ROW), _ROW, 1)


#: hipMemoryTypeDevice, and what it was before HIP 6.
_DEVICE, _OLD_DEVICE = 2, 1

_STREAM_CALLS = (
    _looks("stream", "StreamGetFlags(h)"),
    _looks("stream", "StreamGetPriority(h)"),
    _looks("stream", "StreamGetDevice(h)"),
    _looks("stream", "StreamGetId(h)"),
    _looks("stream", "GetStreamDeviceId(h)"),
    # It does more than look: where a capture is under way it says 900 of a live stream, and from
    # 6.4 on the capture is lost (measured: hipStreamEndCapture then says 901).
    _asked("stream", "StreamQuery(h)"),
    _asked("stream", "StreamSynchronize(h)"),
    _asked("stream", "StreamWaitEvent(h, e)", _EVENT, "main: {R}.EventRecord(e, NULL)"),
    _asked("stream", "StreamAddCallback(h)"),
    _asked("stream", "StreamAddCallback_spt(h)"),
    _asked("stream", "LaunchHostFunc(h)"),
    _asked("stream", "ExtStreamGetCUMask(h, 8, b)", _HOST),
    # hipLaunchAttributePriority
    _asked("stream", "StreamGetAttribute(h, 8, b)", _HOST),
    # hipLaunchAttributeSynchronizationPolicy, hipSyncPolicyAuto
    _asked("stream", "StreamSetAttribute(h, 3, b)", "main: b = words(1, 0, 0, 0, 0, 0, 0, 0)"),
    _asked("stream", "StreamCopyAttributes(h, o)", "main: o = {R}.StreamCreateWithFlags(0)"),
    _asked("stream", "StreamDestroy(h)"),
)
_CAPTURE_CALLS = (
    _looks("capture", "StreamIsCapturing(h)"),
    _looks("capture", "StreamGetCaptureInfo(h)"),
    _looks("capture", "StreamGetCaptureInfo_v2(h)"),
    _asked("capture", f"StreamBeginCapture(h, {_RELAXED})"),
    _asked(
        "capture",
        f"StreamBeginCaptureToGraph(h, g, NULL, NULL, 0, {_RELAXED})",
        "main: g = {R}.GraphCreate(0)",
    ),
    _asked("capture", "StreamUpdateCaptureDependencies(h, NULL, 0, 0)", owner=(_CAPTURE,)),
    _asked("capture", "StreamEndCapture(h)", owner=(_CAPTURE,)),
)
_EVENT_CALLS = (
    _asked("event", "EventRecord(e, h)", _EVENT),
    _asked("event", "EventRecordWithFlags(e, h, 0)", _EVENT),
)
_MEMORY_CALLS = (
    _asked("memory", f"MallocAsync({_SIZE}, h)"),
    _asked(
        "memory",
        f"MallocFromPoolAsync({_SIZE}, pool, h)",
        "main: pool = {R}.DeviceGetDefaultMemPool(0)",
    ),
    _asked_in_ways(
        "memory",
        Way("FreeAsync(m, h)", (f"main: m = {{R}}.MallocAsync({_SIZE}, NULL)",)),
        Way("FreeAsync(m, h)", (_MEMORY,)),
    ),
    _asked("memory", f"MemcpyAsync(m, n, {_SIZE}, {_WITHIN}, h)", _MEMORY, _SOURCE),
    _asked("memory", f"MemcpyWithStream(m, n, {_SIZE}, {_WITHIN}, h)", _MEMORY, _SOURCE),
    _asked("memory", f"MemcpyHtoDAsync(m, b, {_SIZE}, h)", _MEMORY, _HOST),
    _asked("memory", f"MemcpyDtoHAsync(b, m, {_SIZE}, h)", _MEMORY, _HOST),
    _asked("memory", f"MemcpyDtoDAsync(m, n, {_SIZE}, h)", _MEMORY, _SOURCE),
    _asked("memory", f"MemcpyPeerAsync(m, 0, n, 0, {_SIZE}, h)", _MEMORY, _SOURCE),
    _asked(
        "memory",
        f"Memcpy2DAsync(m, {_ROW}, n, {_ROW}, {_ROW}, 1, {_WITHIN}, h)",
        _MEMORY,
        _SOURCE,
    ),
    _asked_in_ways(
        "memory",
        *(
            Way(
                "MemcpyParam2DAsync(p, h)",
                (_MEMORY, _SOURCE, f"main: p = words({_words(*_param_2d(kind))})"),
                since=since,
                until=until,
            )
            for kind, since, until in ((_OLD_DEVICE, 0, 5), (_DEVICE, 6, 99))
        ),
    ),
    _asked(
        "memory",
        "Memcpy3DAsync(p, h)",
        _MEMORY,
        _SOURCE,
        f"main: p = words({_words(*_FROM, *_TO, *_EXTENT, _WITHIN)})",
    ),
    _asked_in_ways(
        "memory",
        *(
            Way(
                "DrvMemcpy3DAsync(p, h)",
                (_MEMORY, _SOURCE, f"main: p = words({_words(*words)})"),
                since=since,
                until=until,
            )
            for words, since, until in (
                (_old_drv_3d(_OLD_DEVICE), 0, 5),
                (_drv_3d(_DEVICE), 6, 99),
            )
        ),
    ),
    _asked(
        "memory",
        "Memcpy3DPeerAsync(p, h)",
        _MEMORY,
        _SOURCE,
        f"main: p = words({_words(*_FROM, 0, *_TO, 0, *_EXTENT)})",
    ),
    _asked(
        "memory",
        # No attributes: 7.2 says 801 to any.
        "MemcpyBatchAsync(to, from, sizes, 1, NULL, NULL, 0, failed, h)",
        _MEMORY,
        _SOURCE,
        "main: to = words(m)",
        "main: from = words(n)",
        f"main: sizes = words({_ROW})",
        "main: failed = words(0)",
    ),
    _asked(
        "memory",
        "Memcpy3DBatchAsync(1, p, failed, 0, h)",
        _MEMORY,
        _SOURCE,
        # hipMemcpy3DBatchOp: pointer, row, height and place of each; extent; in stream order.
        f"main: p = words({_words(1, 'n', _ROW, 1, 1, 1, 'm', _ROW, 1, 1, *_EXTENT, 1)})",
        "main: failed = words(0)",
    ),
    _asked(
        "memory",
        f"MemcpyToSymbolAsync(v, b, 8, 0, {_TO_DEVICE}, h)",
        _HOST,
        "main: v = variable({R})",
    ),
    _asked(
        "memory",
        f"MemcpyFromSymbolAsync(b, v, 8, 0, {_TO_HOST}, h)",
        _HOST,
        "main: v = variable({R})",
    ),
    _asked("memory", f"MemsetAsync(m, 90, {_SIZE}, h)", _MEMORY),
    _asked("memory", f"MemsetD8Async(m, 90, {_SIZE}, h)", _MEMORY),
    _asked("memory", f"MemsetD16Async(m, 90, {_SIZE // 2}, h)", _MEMORY),
    _asked("memory", f"MemsetD32Async(m, 90, {_SIZE // 4}, h)", _MEMORY),
    _asked("memory", f"Memset2DAsync(m, {_ROW}, 90, {_ROW}, 1, h)", _MEMORY),
    _asked("memory", f"MemsetD2D8Async(m, {_ROW}, 90, {_ROW}, 1, h)", _MEMORY),
    _asked("memory", f"MemsetD2D16Async(m, {_ROW}, 90, {_ROW // 2}, 1, h)", _MEMORY),
    _asked("memory", f"MemsetD2D32Async(m, {_ROW}, 90, {_ROW // 4}, 1, h)", _MEMORY),
    _asked_in_ways(
        "memory",
        *(Way(f"MemPrefetchAsync(m, {_SIZE}, 0, h)", (made,)) for made in (_MEMORY, _MANAGED)),
    ),
    _asked_in_ways(
        "memory",
        *(
            # hipMemLocation: device 0.
            Way(f"MemPrefetchAsync_v2(m, {_SIZE}, 1, 0, h)", (made,))
            for made in (_MEMORY, _MANAGED)
        ),
    ),
    _asked_in_ways(
        "memory",
        *(Way("StreamAttachMemAsync(h, m, 0, 4)", (made,)) for made in (_MANAGED, _MEMORY)),
    ),
    _asked("memory", "StreamWriteValue32(h, m, 7, 0)", _MEMORY),
    _asked("memory", "StreamWriteValue64(h, m, 7, 0)", _MEMORY),
    # What they wait for is so: at least 0.
    _asked("memory", "StreamWaitValue32(h, m, 0, 0, 0xffffffff)", _MEMORY),
    _asked("memory", "StreamWaitValue64(h, m, 0, 0, 0xffffffff)", _MEMORY),
    _asked(
        "memory",
        "StreamBatchMemOp(h, 1, p, 0)",
        _MEMORY,
        # hipStreamMemOpWriteValue32
        "main: p = words(2, m, 7, 0, 0, 0)",
    ),
)
#: hipLaunchParams and hipFunctionLaunchParams, for launches on several devices.
_LAUNCH_PARAMETERS = ("k", _ONE, _ONE, _ONE, 0, 0, "h")
_FUNCTION_PARAMETERS = ("f", _ONE, _ONE, _ONE, 0, "h", 0)
_LAUNCH_CALLS = (
    _asked("launch", f"LaunchKernel(k, {_ONE}, {_ONE}, 0, h)", *_HOST_FUNCTION),
    _asked("launch", f"ExtLaunchKernel(k, {_ONE}, {_ONE}, 0, h, NULL, NULL, 0)", *_HOST_FUNCTION),
    _asked("launch", f"LaunchCooperativeKernel(k, {_ONE}, {_ONE}, 0, h)", *_HOST_FUNCTION),
    _asked(
        "launch",
        "LaunchKernelExC(p, k)",
        *_HOST_FUNCTION,
        f"main: p = words({_words(_ONE, _ONE, _ONE, 0, 'h', 0, 0)})",
    ),
    _asked(
        "launch",
        "LaunchCooperativeKernelMultiDevice(p, 1, 0)",
        *_HOST_FUNCTION,
        f"main: p = words({_words(*_LAUNCH_PARAMETERS)})",
    ),
    _asked(
        "launch",
        "ExtLaunchMultiKernelMultiDevice(p, 1, 0)",
        *_HOST_FUNCTION,
        f"main: p = words({_words(*_LAUNCH_PARAMETERS)})",
    ),
    _asked("launch", "ModuleLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, h)", *_FUNCTION),
    _asked("launch", "ExtModuleLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, h, NULL, NULL, 0)", *_FUNCTION),
    _asked("launch", "HccModuleLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, h, NULL, NULL)", *_FUNCTION),
    _asked("launch", "ModuleLaunchCooperativeKernel(f, 1, 1, 1, 1, 1, 1, 0, h)", *_FUNCTION),
    _asked(
        "launch",
        "DrvLaunchKernelEx(p, f)",
        *_FUNCTION,
        f"main: p = words({_words(_ONE, _ONE, _ONE, 0, 'h', 0, 0)})",
    ),
    _asked(
        "launch",
        "ModuleLaunchCooperativeKernelMultiDevice(p, 1, 0)",
        *_FUNCTION,
        f"main: p = words({_words(*_FUNCTION_PARAMETERS)})",
    ),
    _asked("launch", f"ConfigureCall({_ONE}, {_ONE}, 0, h)"),
    _asked("launch", "GraphLaunch(x, h)", *_GRAPH),
    _asked("launch", "GraphUpload(x, h)", *_GRAPH),
)

QUESTIONS: tuple[Question, ...] = (
    *_STREAM_CALLS, *_CAPTURE_CALLS, *_EVENT_CALLS, *_MEMORY_CALLS, *_LAUNCH_CALLS,
)  # fmt: skip

#: Calls of hip_runtime_api.h that take a stream and are not asked, with the reason.
LEFT_OUT: dict[str, str] = {
    "hip..._spt": "the same calls for programs that are compiled with a default stream per thread:"
    " they replace 0 and go on as those without the ending do; one of them is asked",
    "hipMemset3DAsync": "takes structs by value, which a step cannot pass",
    "hipMemcpy2DToArrayAsync, hipMemcpy2DFromArrayAsync, hipMemcpyHtoAAsync,"
    " hipMemcpyAtoHAsync": "need an array, which is an image: the software agent has none",
    "hipMemMapArrayAsync": "needs a sparse array, which the software agent does not have",
    "hipSignalExternalSemaphoresAsync, hipWaitExternalSemaphoresAsync": "need a semaphore of"
    " another API, Vulkan or Direct3D",
    "hipGraphicsMapResources, hipGraphicsUnmapResources": "need a resource of OpenGL",
}
