"""AMD HIP."""

from __future__ import annotations

from xdiag.platforms import Platform, Startup, XSched

#: hipErrorContextIsDestroyed.  From a stream call of ROCm 5.x to 6.4 it says that the pointer is
#: not in this loaded copy's set of live streams, and nothing else (hip::isValid, hip_stream.cpp).
CONTEXT_IS_DESTROYED = 709
#: What hipGetStreamDeviceId returns for a handle that is no live stream (all versions, 7.x too).
NO_DEVICE = -1


def written_version(number: int) -> str:
    """A HIP version as people write it: major * 10^7 + minor * 10^5 + patch (hip_version.h)."""
    if number <= 0:
        return ""
    return f"{number // 10**7}.{number // 10**5 % 100}.{number % 10**5}"


PLATFORM = Platform(
    id="hip",
    title="HIP",
    prefix="hip",
    refusal=CONTEXT_IS_DESTROYED,
    refusals=(CONTEXT_IS_DESTROYED, NO_DEVICE),
    # hip_runtime_api.h: hipStreamLegacy (since 6.3), hipStreamPerThread.
    constants={"NULL": 0, "LEGACY": 1, "PER_THREAD": 2},
    library="libamdhip64.so",
    proof="hipInit",
    startup=Startup(
        init="hipInit",
        version="hipRuntimeGetVersion",
        count="hipGetDeviceCount",
        # The plain name is that of the old, smaller struct since HIP 6.0: newest first.  The
        # struct's first member is char name[256] in all versions.
        name=(("hipGetDevicePropertiesR0600", (0,)), ("hipGetDeviceProperties", (0,))),
        written=written_version,
    ),
    xsched=XSched(
        hal="libhalhip.so",
        shim="libshimhip.so",
        variable="XSCHED_HIP_LIB",
        create="HipQueueCreate",
        binding=("xsched.hip", "XSchedHip", "HipQueueCreate"),
        old_binding=("xsched_hip", "XSchedHIP", "HIPQueueCreate"),
    ),
    software=True,
    packaged=True,
    device="/dev/kfd",
    hiding=("HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL"),
)
