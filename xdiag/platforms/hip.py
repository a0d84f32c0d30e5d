"""AMD HIP."""

from __future__ import annotations

from xdiag.platforms import Platform

#: hipErrorContextIsDestroyed.  From a stream call of ROCm 5.x to 6.4 it says that the pointer is
#: not in this loaded copy's set of live streams, and nothing else (hip::isValid, hip_stream.cpp).
CONTEXT_IS_DESTROYED = 709

PLATFORM = Platform(
    id="hip",
    prefix="hip",
    refusal=CONTEXT_IS_DESTROYED,
    # hip_runtime_api.h: hipStreamLegacy (since 6.3), hipStreamPerThread.
    constants={"NULL": 0, "LEGACY": 1, "PER_THREAD": 2},
    library="libamdhip64.so",
    proof="hipInit",
)
