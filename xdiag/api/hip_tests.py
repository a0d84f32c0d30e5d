"""What AMD's own test-suite, hip-tests, expects of handles that are no stream of the program's own.

Facts read from the suite's public source, nothing of its text: which call, which kind of handle,
which code, in which test.  A suite changes with the runtime, so each expectation says in the suite
of which version it was found; the suites, and what of them was read, are ``SUITES``.

The suite has no case for a foreign handle, a truncated one, or the stream of a thread that has
exited: those are the table's alone.
"""

from __future__ import annotations

from xdiag.model import Record


class Suite(Record, frozen=True):
    """The state of hip-tests that is held against one version of the runtime."""

    #: The version that it is held against, as tables name it.
    version: str
    source: str
    commit: str


class Expectation(Record, frozen=True):
    """One call with one kind of handle, and the codes that the suite takes for right."""

    call: str
    handle: str
    #: Empty: any code but 0.
    codes: tuple[int, ...]
    test: str
    #: Under catch/unit.
    file: str
    #: Versions whose suite checks it on AMD's runtime.
    stated: tuple[str, ...] = ()
    #: Versions whose suite has it but does not check it on AMD's runtime, and why.
    off: tuple[str, ...] = ()
    reason: str = ""
    #: The version whose suite no longer has it; the file was read and the case is not in it.
    gone: str = ""
    #: What else is going on in the test, where the table's question is another one.
    story: str = ""


class Explanation(Record, frozen=True):
    """Why a runtime does otherwise than the suite of its time expects."""

    calls: tuple[str, ...]
    handles: tuple[str, ...]
    versions: tuple[str, ...]
    why: str
    #: File and commit of the runtime's public source.
    source: str


SUITES = (
    Suite(
        version="5.2",
        source="ROCm/hip-tests, tag rocm-5.4.0: the oldest that is public as a suite of its own",
        commit="752f3295baddeb122aa8dc18d254cb9df6fd619d",
    ),
    Suite(
        version="5.7",
        source="ROCm/hip-tests, tag rocm-5.7.1",
        commit="9cf8b321af4b705102bc2ff00501d694064ff71c",
    ),
    Suite(
        version="6.4",
        source="ROCm/hip-tests, branch amd-staging of October 2024: the last public state before"
        " ROCm 6.4 that was read",
        commit="87c8a0417c6f4ef2c7d905b71eb42e02a0c4ef4a",
    ),
    Suite(
        version="7.2",
        source="ROCm/rocm-systems, projects/hip-tests, states of 2025 and 2026: file by file, as"
        " listed below",
        commit="",
    ),
)
#: The commits at which files of the newest suite were read, by file.
READ_AT = {
    "callback/hipGetStreamDeviceId.cc": "ec17ccc5e578",
    "executionControl/hipLaunchCooperativeKernel.cc": "2dc057f8ef28",
    "graph/hipGraphLaunch_old.cc": "40ac732dfe60",
    "graph/hipLaunchHostFunc.cc": "613317894e06",
    "graph/hipStreamBeginCapture.cc": "03f4303568aa",
    "graph/hipStreamEndCapture.cc": "15f49ce3fae5",
    "graph/hipStreamGetCaptureInfo.cc": "40ac732dfe60",
    "graph/hipStreamGetCaptureInfo_v2.cc": "40ac732dfe60",
    "graph/hipStreamIsCapturing.cc": "40ac732dfe60",
    "memory/hipFreeAsync.cc": "40ac732dfe60",
    "memory/hipMallocAsync.cc": "2a1b672ca62c",
    "memory/hipMallocFromPoolAsync.cc": "01a416b861b8",
    "memory/hipMemPrefetchAsync.cc": "07e24a2c68fb",
    "memory/hipMemcpyAsync.cc": "40ac732dfe60",
    "memory/hipMemcpyAsync_derivatives.cc": "338ea0e72f4b",
    "memory/hipMemcpyPeerAsync.cc": "338ea0e72f4b",
    "memory/hipStreamAttachMemAsync.cc": "2c488996b8b0",
    "module/hip_module_launch_kernel_common.hh": "198a51b24872",
    "stream/hipStreamBatchMemOp.cc": "31faa4e96807",
    "stream/hipStreamCopyAttributes.cc": "3c5edbc6e518",
    "stream/hipStreamDestroy.cc": "18441d7cd36d",
    "stream/hipStreamGetDevice.cc": "18441d7cd36d",
    "stream/hipStreamGetFlags.cc": "40ac732dfe60",
    "stream/hipStreamGetId.cc": "18441d7cd36d",
    "stream/hipStreamGetPriority.cc": "40ac732dfe60",
    "stream/hipStreamLegacy_Ext.cc": "18441d7cd36d",
    "stream/hipStreamQuery.cc": "18441d7cd36d",
    "stream/hipStreamSetGetAttributes.cc": "40ac732dfe60",
    "stream/hipStreamSynchronize.cc": "18441d7cd36d",
    "stream/hipStreamValue.cc": "0093acba29d7",
    "stream/hipStreamWaitEvent.cc": "18441d7cd36d",
    "streamperthread/hipStreamPerThread_Basic.cc": "18441d7cd36d",
}

_ALL = ("5.2", "5.7", "6.4", "7.2")
_UNTIL_6 = ("5.2", "5.7", "6.4")
_FROM_5_7 = ("5.7", "6.4", "7.2")
_5_7_AND_6 = ("5.7", "6.4")
_5_7, _6, _7 = ("5.7",), ("6.4",), ("7.2",)
#: hipErrorContextIsDestroyed; hipErrorInvalidHandle and hipErrorInvalidResourceHandle are one
#: number; the last three are of captures: unsupported, illegal state, implicit.
_DESTROYED, _INVALID, _HANDLE = (709,), (1,), (400,)
_UNSUPPORTED, _ILLEGAL, _IMPLICIT = (900,), (401,), (906,)
_OK, _ANY_ERROR = (0,), ()
_NVIDIA_ONLY = "for NVIDIA only; AMD's defect report {}"
_SWITCHED_OFF = "the test is switched off in hipTestMain/config"
#: Not the table's question; tests/versions asks it.
CAPTURED = "another stream is being captured"


def _stream(
    call: str,
    handle: str,
    codes: tuple[int, ...],
    case: str,
    stated: tuple[str, ...],
    gone: str = "",
) -> Expectation:
    """An expectation of the file that is named after the call, in stream/."""
    return Expectation(
        call=call,
        handle=handle,
        codes=codes,
        test=f"Unit_hip{call}_{case}",
        file=f"stream/hip{call}.cc",
        stated=stated,
        gone=gone,
    )


def _per_thread(call: str, codes: tuple[int, ...]) -> Expectation:
    return Expectation(
        call=call,
        handle="per-thread",
        codes=codes,
        test=f"Unit_hipStreamPerThread_{call}",
        file="streamperthread/hipStreamPerThread_Basic.cc",
        stated=_ALL,
    )


def _capture(
    call: str,
    handle: str,
    codes: tuple[int, ...],
    case: str = "Negative_Parameters",
    *,
    stated: tuple[str, ...] = (),
    off: tuple[str, ...] = (),
    reason: str = "",
    gone: str = "",
    story: str = "",
) -> Expectation:
    """An expectation of the file that is named after the call, in graph/."""
    return Expectation(
        call=call,
        handle=handle,
        codes=codes,
        test=f"Unit_hip{call}_{case}",
        file=f"graph/hip{call}.cc",
        stated=stated,
        off=off,
        reason=reason,
        gone=gone,
        story=story,
    )


def _memory(
    call: str,
    handle: str,
    codes: tuple[int, ...],
    file: str = "",
    case: str = "Negative_Parameters",
    *,
    stated: tuple[str, ...] = (),
    off: tuple[str, ...] = (),
    reason: str = "",
    gone: str = "",
) -> Expectation:
    """An expectation of a file in memory/; without a name, of that named after the call."""
    return Expectation(
        call=call,
        handle=handle,
        codes=codes,
        test=f"Unit_hip{call}_{case}",
        file=f"memory/{file or 'hip' + call}.cc",
        stated=stated,
        off=off,
        reason=reason,
        gone=gone,
    )


def _legacy(call: str, test: str, codes: tuple[int, ...] = _OK) -> Expectation:
    """An expectation of the newer file about hipStreamLegacy."""
    return Expectation(
        call=call,
        handle="legacy",
        codes=codes,
        test=f"Unit_hipStreamLegacy_{test}",
        file="stream/hipStreamLegacy_Ext.cc",
        stated=_7,
    )


_DEFECT_216 = _NVIDIA_ONLY.format("EXSWHTEC-216")
_DEFECT_235 = _NVIDIA_ONLY.format("EXSWHTEC-235")
_DEFECT_160 = _NVIDIA_ONLY.format("EXSWHTEC-160")

EXPECTATIONS: tuple[Expectation, ...] = (
    # ---- streams ----
    _stream("StreamDestroy", "destroyed", _DESTROYED, "Negative_DoubleDestroy", _UNTIL_6, "7.2"),
    _stream("StreamDestroy", "null", _HANDLE, "Negative_NullStream", _ALL),
    _stream("StreamQuery", "destroyed", _DESTROYED, "WithDestroyedStream", _UNTIL_6, "7.2"),
    _stream("StreamQuery", "garbage", _DESTROYED, "WithUninitializedStream", _UNTIL_6, "7.2"),
    _stream("StreamQuery", "null", _OK, "WithNoWork", _ALL),
    _stream("StreamSynchronize", "garbage", _DESTROYED, "UninitializedStream", _5_7_AND_6, "7.2"),
    _stream("StreamSynchronize", "null", _OK, "FinishWork", _ALL),
    _stream("StreamSynchronize", "per-thread", _OK, "FinishWork", _ALL),
    Expectation(
        call="StreamWaitEvent",
        handle="garbage",
        codes=_DESTROYED,
        test="Unit_hipStreamWaitEvent_UninitializedStream_Negative",
        file="stream/hipStreamWaitEvent.cc",
        off=_5_7,
        reason=_SWITCHED_OFF,
        gone="6.4",
    ),
    _stream("StreamWaitEvent", "garbage", _HANDLE, "UninitializedStream_Negative", _6, "7.2"),
    _stream("StreamGetFlags", "null", _INVALID, "Negative", _ALL),
    _stream("StreamGetPriority", "null", _OK, "nullptr_priority", _ALL),
    _stream("StreamGetDevice", "null", _OK, "Usecase", _FROM_5_7),
    _stream("StreamGetDevice", "per-thread", _OK, "Usecase", _FROM_5_7),
    _stream("StreamGetId", "null", _OK, "Basic", _7),
    _stream("StreamGetId", "legacy", _OK, "Basic", _7),
    _stream("StreamGetId", "per-thread", _OK, "Basic", _7),
    _stream("StreamCopyAttributes", "garbage", _HANDLE, "Negative", _7),
    Expectation(
        call="StreamGetAttribute",
        handle="garbage",
        codes=_HANDLE,
        test="Unit_hipStreamGetAttribute_Negative",
        file="stream/hipStreamSetGetAttributes.cc",
        stated=_7,
    ),
    Expectation(
        call="StreamSetAttribute",
        handle="garbage",
        codes=_HANDLE,
        test="Unit_hipStreamSetAttribute_Negative",
        file="stream/hipStreamSetGetAttributes.cc",
        stated=_7,
    ),
    _stream("StreamBatchMemOp", "garbage", _DESTROYED, "Negative_Tests", _7),
    *(
        Expectation(
            call=f"Stream{what}Value{bits}",
            handle="garbage",
            codes=_DESTROYED,
            test="Unit_hipStreamValue_Negative_UninitializedStream",
            file="stream/hipStreamValue.cc",
            stated=_FROM_5_7,
        )
        for what in ("Write", "Wait")
        for bits in (32, 64)
    ),
    _stream("StreamAddCallback", "null", _OK, "WithDefaultStream", _UNTIL_6),
    # The number of the device, which is the first one here.
    *(
        Expectation(
            call="GetStreamDeviceId",
            handle=handle,
            codes=_OK,
            test=f"Unit_hipGetStreamDeviceId_{case}",
            file="callback/hipGetStreamDeviceId.cc",
            stated=_FROM_5_7,
        )
        for handle, case in (
            ("null", "Negative_Parameters"),
            ("per-thread", "Positive_Multithreaded_Basic"),
        )
    ),
    # ---- the thread's own stream ----
    _per_thread("StreamQuery", _OK),
    _per_thread("StreamGetPriority", _OK),
    _per_thread("StreamGetFlags", _OK),
    _per_thread("StreamDestroy", _ANY_ERROR),
    _per_thread("MemcpyAsync", _OK),
    # ---- captures ----
    _capture("StreamBeginCapture", "null", _UNSUPPORTED, stated=_ALL),
    _capture(
        "StreamBeginCapture",
        "destroyed",
        _DESTROYED,
        off=_5_7,
        reason=_DEFECT_216,
        stated=_6,
        gone="7.2",
    ),
    _capture("StreamBeginCapture", "per-thread", _OK, "Positive_Basic", stated=_FROM_5_7),
    _capture("StreamEndCapture", "null", _ILLEGAL, stated=_ALL),
    _capture("StreamEndCapture", "destroyed", _DESTROYED, stated=_ALL),
    _capture(
        "StreamIsCapturing",
        "destroyed",
        _DESTROYED,
        off=_5_7_AND_6,
        reason=_DEFECT_216,
        gone="7.2",
    ),
    _capture("StreamIsCapturing", "per-thread", _OK, "Positive_Basic", stated=_FROM_5_7),
    _capture("StreamIsCapturing", "null", _IMPLICIT, stated=_FROM_5_7, story=CAPTURED),
    *(
        _capture(call, "destroyed", _DESTROYED, off=_5_7, reason=_DEFECT_216, stated=_6, gone="7.2")
        for call in ("StreamGetCaptureInfo", "StreamGetCaptureInfo_v2")
    ),
    *(
        Expectation(
            call=call,
            handle=handle,
            codes=codes,
            test=f"Unit_hipStreamGetCaptureInfo_{case}_CaptureInfo",
            file=file,
            stated=stated,
            story=story,
        )
        for handle, case, file, stated in (
            ("null", "Nullstream", "graph/hipStreamGetCaptureInfo_old.cc", _5_7_AND_6),
            ("legacy", "hipStreamLegacy", "stream/hipStreamLegacy.cc", _6),
        )
        for codes, story in ((_OK, ""), (_IMPLICIT, CAPTURED))
        for call in ("StreamGetCaptureInfo", "StreamGetCaptureInfo_v2")
    ),
    _capture("LaunchHostFunc", "destroyed", _DESTROYED, stated=_5_7_AND_6, gone="7.2"),
    Expectation(
        call="GraphLaunch",
        handle="destroyed",
        codes=_ANY_ERROR,
        test="Unit_hipGraphLaunch_Negative",
        file="graph/hipGraphLaunch_old.cc",
        stated=_UNTIL_6,
        gone="7.2",
    ),
    Expectation(
        call="GraphLaunch",
        handle="null",
        codes=_OK,
        test="Unit_hipGraphLaunch_Functional_MultipleLaunch",
        file="graph/hipGraphLaunch_old.cc",
        stated=("6.4", "7.2"),
    ),
    Expectation(
        call="GraphLaunch",
        handle="per-thread",
        codes=_OK,
        test="Unit_hipGraphLaunch_Functional_hipStreamPerThread",
        file="graph/hipGraphLaunch_old.cc",
        stated=("6.4", "7.2"),
    ),
    # ---- memory ----
    _memory("MemcpyAsync", "destroyed", _DESTROYED, off=_6, reason=_SWITCHED_OFF, gone="7.2"),
    *(
        _memory(
            call,
            "destroyed",
            _DESTROYED,
            "hipMemcpyAsync_derivatives",
            off=_6,
            reason=_SWITCHED_OFF,
            gone="7.2",
        )
        for call in ("MemcpyHtoDAsync", "MemcpyDtoHAsync", "MemcpyDtoDAsync")
    ),
    *(
        _memory(
            call,
            handle,
            _OK,
            "hipMemcpyAsync_derivatives",
            "Positive_Basic",
            stated=("6.4", "7.2"),
        )
        for call in ("MemcpyHtoDAsync", "MemcpyDtoHAsync", "MemcpyDtoDAsync")
        for handle in ("null", "per-thread")
    ),
    _memory("MemcpyPeerAsync", "destroyed", _DESTROYED, stated=_5_7_AND_6, gone="7.2"),
    _memory("Memcpy2DAsync", "destroyed", _DESTROYED, off=_6, reason=_DEFECT_235),
    _memory("MemcpyParam2DAsync", "destroyed", _DESTROYED, off=_6, reason=_DEFECT_235),
    *(
        _memory(call, "destroyed", _DESTROYED, off=_5_7_AND_6, reason=_DEFECT_235)
        for call in ("Memcpy3DAsync", "DrvMemcpy3DAsync")
    ),
    _memory("MemPrefetchAsync", "destroyed", _DESTROYED, stated=_5_7_AND_6, gone="7.2"),
    _memory(
        "StreamAttachMemAsync",
        "destroyed",
        _DESTROYED,
        off=_5_7,
        reason=_SWITCHED_OFF,
        stated=_6,
        gone="7.2",
    ),
    _memory("MallocAsync", "garbage", _HANDLE, stated=_6, gone="7.2"),
    _memory("MallocFromPoolAsync", "garbage", _HANDLE, stated=_6, gone="7.2"),
    _memory("FreeAsync", "garbage", _HANDLE, off=_6, reason=_SWITCHED_OFF, gone="7.2"),
    _memory("MallocFromPoolAsync", "null", _OK, case="NullStream", stated=_7),
    _memory("MallocFromPoolAsync", "per-thread", _OK, case="hipStreamPerThread", stated=_7),
    # ---- 1, the legacy stream ----
    *(
        Expectation(
            call=call,
            handle="legacy",
            codes=_OK,
            test=f"Unit_hip{case}",
            file="stream/hipStreamLegacy.cc",
            stated=_6,
        )
        for call, case in (
            ("MemcpyWithStream", "MemcpyAsync_H2H-H2D-D2H-H2PinMem"),
            ("MemPrefetchAsync", "MemPrefetchAsync_Basic"),
            ("MallocAsync", "MemPoolApi_Basic"),
            ("FreeAsync", "MemPoolApi_Basic"),
        )
    ),
    _legacy("StreamSynchronize", "WithBlockingStream"),
    _legacy("MemcpyAsync", "H2H_H2D_D2D_D2H_Default"),
    _legacy("MemcpyPeerAsync", "MultiDeviceMultiOperation"),
    _legacy("StreamBeginCapture", "NegetiveCase", _UNSUPPORTED),
    # ---- launches ----
    Expectation(
        call="LaunchCooperativeKernel",
        handle="destroyed",
        codes=_DESTROYED,
        test="Unit_hipLaunchCooperativeKernel_Negative_Parameters",
        file="executionControl/hipLaunchCooperativeKernel.cc",
        off=_6,
        reason=_SWITCHED_OFF,
        gone="7.2",
    ),
    *(
        Expectation(
            call=call,
            handle="destroyed",
            codes=_DESTROYED,
            test=f"Unit_hip{call}_Negative_Parameters",
            file="module/hip_module_launch_kernel_common.hh",
            off=_6,
            reason=_DEFECT_160,
            gone="7.2",
        )
        for call in ("ModuleLaunchKernel", "ExtModuleLaunchKernel")
    ),
)

EXPLANATIONS: tuple[Explanation, ...] = (
    Explanation(
        calls=("StreamEndCapture",),
        handles=("null", "destroyed"),
        versions=("5.2",),
        why="5.2.3 asks for the graph's place, for NULL and for a live stream in one condition and"
        " has one answer for all, hipErrorInvalidValue. The suite that expects a code for each of"
        " them is of 5.4, the oldest that there is.",
        source="ROCm/hipamd, tag rocm-5.2.3 (02187ecfc8a1), src/hip_graph.cpp, hipStreamEndCapture",
    ),
)
