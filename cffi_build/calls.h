/*
 * The one list of driver calls and error codes.
 *
 * Everything that knows a driver call is expanded from here: the typed call and its dispatch
 * (core/calls.c), the recorder's wrappers (audit/wrappers.c), the names and argument kinds that
 * Python sees (xdiag/native.py), and the error names.  Adding a call is adding one line.
 *
 *   CALL(Name, hip symbols, cuda symbols, RESULT, argument kinds...)
 *
 * Name     the platform's name without its prefix; patterns use it ("StreamGetFlags").
 * symbols  what to look up, in order, separated by '|'; "" where the platform has no such call.
 * RESULT   STATUS: an error code of the platform.  DEVICE_OR_MINUS_ONE: a device ordinal, -1 for a
 *          handle that is not valid.
 * kinds    see XDIAG_KINDS.  A kind that a pattern writes out is an input; the others are filled
 *          in by the executor.
 *
 * hipGetDeviceProperties: since HIP 6.0 the header maps this name to ...R0600, with a larger
 * struct (hip_runtime_api.h, "hipGetDevicePropertiesR0600"); code that looks symbols up by name
 * has to ask for the new one first.
 *
 * hipExtModuleLaunchKernel, hipHccModuleLaunchKernel: C++ functions before HIP 6 (hip_ext.h).
 */
#ifndef XDIAG_CALLS_H
#define XDIAG_CALLS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "each_argument.h"

/* HIP's and CUDA's dim3: three words, passed by value. */
typedef struct {
    uint32_t x, y, z;
} xdiag_dim3;

/* KIND(name, C type, how the executor treats it): IN is written out in a pattern, OUT is stored
 * for the pattern to name, FIXED is supplied by the executor. */
#define XDIAG_KINDS(KIND)                                                                          \
    KIND(STREAM, void *, IN)                                                                       \
    KIND(EVENT, void *, IN)                                                                        \
    KIND(CONTEXT, void *, IN)                                                                      \
    KIND(GRAPH, void *, IN)                                                                        \
    KIND(FUNCTION, void *, IN)                                                                     \
    KIND(POINTER, void *, IN)                                                                      \
    KIND(DEVICE, int, IN)                                                                          \
    KIND(U8, uint8_t, IN)                                                                          \
    KIND(I32, int32_t, IN)                                                                         \
    KIND(U32, uint32_t, IN)                                                                        \
    KIND(SIZE, size_t, IN)                                                                         \
    KIND(NEW_STREAM, void **, OUT)                                                                 \
    KIND(NEW_EVENT, void **, OUT)                                                                  \
    KIND(NEW_CONTEXT, void **, OUT)                                                                \
    KIND(NEW_GRAPH, void **, OUT)                                                                  \
    KIND(NEW_POINTER, void **, OUT)                                                                \
    KIND(OUT_DEVICE, int *, OUT)                                                                   \
    KIND(OUT_I32, int32_t *, OUT)                                                                  \
    KIND(OUT_U32, uint32_t *, OUT)                                                                 \
    KIND(OUT_U64, uint64_t *, OUT)                                                                 \
    KIND(OUT_SIZE, size_t *, OUT)                                                                  \
    KIND(OUT_POINTER, void **, OUT)                                                                \
    KIND(BUFFER, void *, FIXED)                                                                    \
    KIND(CALLBACK, void *, FIXED)                                                                  \
    KIND(HOST_FUNCTION, void *, FIXED)                                                             \
    KIND(DIM3, xdiag_dim3, IN)                                                                     \
    KIND(NONE, void *, FIXED)                                                                      \
    KIND(ZERO, uint32_t, FIXED)

/* clang-format off */
#define XDIAG_CALLS(CALL)                                                                                                \
    /* start-up and version */                                                                                           \
    CALL(Init, "hipInit", "cuInit", STATUS, U32)                                                                         \
    CALL(DriverGetVersion, "hipDriverGetVersion", "cuDriverGetVersion", STATUS, OUT_I32)                                 \
    CALL(RuntimeGetVersion, "hipRuntimeGetVersion", "", STATUS, OUT_I32)                                                 \
    CALL(GetLastError, "hipGetLastError", "", STATUS)                                                                    \
    CALL(PeekAtLastError, "hipPeekAtLastError", "", STATUS)                                                              \
    /* devices */                                                                                                        \
    CALL(GetDeviceCount, "hipGetDeviceCount", "cuDeviceGetCount", STATUS, OUT_I32)                                       \
    CALL(GetDevice, "hipGetDevice", "", STATUS, OUT_DEVICE)                                                              \
    CALL(SetDevice, "hipSetDevice", "", STATUS, DEVICE)                                                                  \
    CALL(DeviceGet, "hipDeviceGet", "cuDeviceGet", STATUS, OUT_DEVICE, I32)                                              \
    CALL(GetDeviceProperties, "hipGetDevicePropertiesR0600|hipGetDeviceProperties", "", STATUS, BUFFER, DEVICE)          \
    CALL(DeviceSynchronize, "hipDeviceSynchronize", "cuCtxSynchronize", STATUS)                                          \
    CALL(DeviceReset, "hipDeviceReset", "", STATUS)                                                                      \
    /* contexts */                                                                                                       \
    CALL(CtxGetCurrent, "hipCtxGetCurrent", "cuCtxGetCurrent", STATUS, NEW_CONTEXT)                                      \
    CALL(CtxSetCurrent, "hipCtxSetCurrent", "cuCtxSetCurrent", STATUS, CONTEXT)                                          \
    CALL(DeviceGetAttribute, "", "cuDeviceGetAttribute", STATUS, OUT_I32, I32, DEVICE)                                  \
    CALL(CtxGetDevice, "hipCtxGetDevice", "cuCtxGetDevice", STATUS, OUT_DEVICE)                                          \
    CALL(CtxPushCurrent, "hipCtxPushCurrent", "cuCtxPushCurrent_v2", STATUS, CONTEXT)                                    \
    CALL(CtxPopCurrent, "hipCtxPopCurrent", "cuCtxPopCurrent_v2", STATUS, NEW_CONTEXT)                                   \
    CALL(CtxCreate, "hipCtxCreate", "cuCtxCreate_v2", STATUS, NEW_CONTEXT, U32, DEVICE)                                  \
    CALL(CtxDestroy, "hipCtxDestroy", "cuCtxDestroy_v2", STATUS, CONTEXT)                                                \
    CALL(DevicePrimaryCtxRetain, "hipDevicePrimaryCtxRetain", "cuDevicePrimaryCtxRetain", STATUS, NEW_CONTEXT, DEVICE)   \
    CALL(DevicePrimaryCtxRelease, "hipDevicePrimaryCtxRelease", "cuDevicePrimaryCtxRelease_v2", STATUS, DEVICE)          \
    CALL(DevicePrimaryCtxReset, "hipDevicePrimaryCtxReset", "cuDevicePrimaryCtxReset_v2", STATUS, DEVICE)                \
    CALL(CtxGetId, "", "cuCtxGetId", STATUS, CONTEXT, OUT_U64)                                                           \
    CALL(DevicePrimaryCtxGetState, "hipDevicePrimaryCtxGetState", "cuDevicePrimaryCtxGetState", STATUS, DEVICE, OUT_U32, OUT_I32) \
    /* streams */                                                                                                        \
    CALL(StreamCreate, "hipStreamCreate", "", STATUS, NEW_STREAM)                                                        \
    CALL(StreamCreateWithFlags, "hipStreamCreateWithFlags", "cuStreamCreate", STATUS, NEW_STREAM, U32)                   \
    CALL(StreamCreateWithPriority, "hipStreamCreateWithPriority", "cuStreamCreateWithPriority", STATUS, NEW_STREAM, U32, I32) \
    CALL(ExtStreamCreateWithCUMask, "hipExtStreamCreateWithCUMask", "", STATUS, NEW_STREAM, U32, POINTER)                \
    CALL(StreamDestroy, "hipStreamDestroy", "cuStreamDestroy_v2", STATUS, STREAM)                                        \
    CALL(StreamGetFlags, "hipStreamGetFlags", "cuStreamGetFlags", STATUS, STREAM, OUT_U32)                               \
    CALL(StreamGetPriority, "hipStreamGetPriority", "cuStreamGetPriority", STATUS, STREAM, OUT_I32)                      \
    CALL(StreamGetDevice, "hipStreamGetDevice", "cuStreamGetDevice", STATUS, STREAM, OUT_DEVICE)                         \
    CALL(StreamGetId, "hipStreamGetId", "cuStreamGetId", STATUS, STREAM, OUT_U64)                                        \
    CALL(StreamGetCtx, "", "cuStreamGetCtx", STATUS, STREAM, NEW_CONTEXT)                                                \
    CALL(GetStreamDeviceId, "hipGetStreamDeviceId", "", DEVICE_OR_MINUS_ONE, STREAM)                                     \
    CALL(StreamQuery, "hipStreamQuery", "cuStreamQuery", STATUS, STREAM)                                                 \
    CALL(StreamSynchronize, "hipStreamSynchronize", "cuStreamSynchronize", STATUS, STREAM)                               \
    CALL(StreamWaitEvent, "hipStreamWaitEvent", "cuStreamWaitEvent", STATUS, STREAM, EVENT, ZERO)                        \
    CALL(StreamAddCallback, "hipStreamAddCallback", "cuStreamAddCallback", STATUS, STREAM, CALLBACK, NONE, ZERO)         \
    /* for programs compiled with a default stream per thread: 0 is theirs */                                            \
    CALL(StreamAddCallback_spt, "hipStreamAddCallback_spt", "", STATUS, STREAM, CALLBACK, NONE, ZERO)                    \
    CALL(ExtStreamGetCUMask, "hipExtStreamGetCUMask", "", STATUS, STREAM, U32, POINTER)                                  \
    CALL(StreamGetAttribute, "hipStreamGetAttribute", "cuStreamGetAttribute", STATUS, STREAM, I32, POINTER)              \
    CALL(StreamSetAttribute, "hipStreamSetAttribute", "cuStreamSetAttribute", STATUS, STREAM, I32, POINTER)              \
    CALL(StreamCopyAttributes, "hipStreamCopyAttributes", "cuStreamCopyAttributes", STATUS, STREAM, STREAM)              \
    /* capture */                                                                                                        \
    CALL(StreamIsCapturing, "hipStreamIsCapturing", "cuStreamIsCapturing", STATUS, STREAM, OUT_I32)                      \
    CALL(StreamGetCaptureInfo, "hipStreamGetCaptureInfo", "cuStreamGetCaptureInfo", STATUS, STREAM, OUT_I32, OUT_U64)    \
    CALL(StreamGetCaptureInfo_v2, "hipStreamGetCaptureInfo_v2", "cuStreamGetCaptureInfo_v2", STATUS, STREAM, OUT_I32, OUT_U64, OUT_POINTER, OUT_POINTER, OUT_SIZE) \
    CALL(StreamBeginCapture, "hipStreamBeginCapture", "cuStreamBeginCapture_v2", STATUS, STREAM, I32)                    \
    CALL(StreamEndCapture, "hipStreamEndCapture", "cuStreamEndCapture", STATUS, STREAM, NEW_GRAPH)                       \
    CALL(StreamBeginCaptureToGraph, "hipStreamBeginCaptureToGraph", "cuStreamBeginCaptureToGraph", STATUS, STREAM, GRAPH, POINTER, POINTER, SIZE, I32) \
    CALL(StreamUpdateCaptureDependencies, "hipStreamUpdateCaptureDependencies", "cuStreamUpdateCaptureDependencies", STATUS, STREAM, POINTER, SIZE, U32) \
    CALL(GraphCreate, "hipGraphCreate", "cuGraphCreate", STATUS, NEW_GRAPH, U32)                                         \
    CALL(GraphInstantiateWithFlags, "hipGraphInstantiateWithFlags", "cuGraphInstantiateWithFlags", STATUS, NEW_GRAPH, GRAPH, SIZE) \
    CALL(GraphDestroy, "hipGraphDestroy", "cuGraphDestroy", STATUS, GRAPH)                                               \
    /* events */                                                                                                         \
    CALL(EventCreate, "hipEventCreate", "", STATUS, NEW_EVENT)                                                           \
    CALL(EventCreateWithFlags, "hipEventCreateWithFlags", "cuEventCreate", STATUS, NEW_EVENT, U32)                       \
    CALL(EventRecord, "hipEventRecord", "cuEventRecord", STATUS, EVENT, STREAM)                                          \
    CALL(EventRecordWithFlags, "hipEventRecordWithFlags", "cuEventRecordWithFlags", STATUS, EVENT, STREAM, U32)          \
    CALL(EventQuery, "hipEventQuery", "cuEventQuery", STATUS, EVENT)                                                     \
    CALL(EventSynchronize, "hipEventSynchronize", "cuEventSynchronize", STATUS, EVENT)                                   \
    CALL(EventDestroy, "hipEventDestroy", "cuEventDestroy_v2", STATUS, EVENT)                                            \
    /* memory */                                                                                                         \
    CALL(Malloc, "hipMalloc", "cuMemAlloc_v2", STATUS, NEW_POINTER, SIZE)                                                \
    CALL(Free, "hipFree", "cuMemFree_v2", STATUS, POINTER)                                                               \
    CALL(MallocAsync, "hipMallocAsync", "cuMemAllocAsync", STATUS, NEW_POINTER, SIZE, STREAM)                            \
    CALL(DeviceGetDefaultMemPool, "hipDeviceGetDefaultMemPool", "cuDeviceGetDefaultMemPool", STATUS, NEW_POINTER, DEVICE) \
    CALL(MallocFromPoolAsync, "hipMallocFromPoolAsync", "cuMemAllocFromPoolAsync", STATUS, NEW_POINTER, SIZE, POINTER, STREAM) \
    CALL(MallocManaged, "hipMallocManaged", "cuMemAllocManaged", STATUS, NEW_POINTER, SIZE, U32)                         \
    CALL(FreeAsync, "hipFreeAsync", "cuMemFreeAsync", STATUS, POINTER, STREAM)                                           \
    CALL(MemcpyAsync, "hipMemcpyAsync", "", STATUS, POINTER, POINTER, SIZE, I32, STREAM)                                 \
    CALL(MemcpyWithStream, "hipMemcpyWithStream", "", STATUS, POINTER, POINTER, SIZE, I32, STREAM)                       \
    CALL(MemcpyHtoDAsync, "hipMemcpyHtoDAsync", "cuMemcpyHtoDAsync_v2", STATUS, POINTER, POINTER, SIZE, STREAM)          \
    CALL(MemcpyDtoHAsync, "hipMemcpyDtoHAsync", "cuMemcpyDtoHAsync_v2", STATUS, POINTER, POINTER, SIZE, STREAM)          \
    CALL(MemcpyDtoDAsync, "hipMemcpyDtoDAsync", "cuMemcpyDtoDAsync_v2", STATUS, POINTER, POINTER, SIZE, STREAM)          \
    CALL(MemcpyPeerAsync, "hipMemcpyPeerAsync", "", STATUS, POINTER, I32, POINTER, I32, SIZE, STREAM)                    \
    CALL(Memcpy2DAsync, "hipMemcpy2DAsync", "", STATUS, POINTER, SIZE, POINTER, SIZE, SIZE, SIZE, I32, STREAM)           \
    CALL(MemcpyParam2DAsync, "hipMemcpyParam2DAsync", "cuMemcpy2DAsync_v2", STATUS, POINTER, STREAM)                     \
    CALL(Memcpy3DAsync, "hipMemcpy3DAsync", "", STATUS, POINTER, STREAM)                                                 \
    CALL(DrvMemcpy3DAsync, "hipDrvMemcpy3DAsync", "cuMemcpy3DAsync_v2", STATUS, POINTER, STREAM)                         \
    CALL(Memcpy3DPeerAsync, "hipMemcpy3DPeerAsync", "", STATUS, POINTER, STREAM)                                         \
    CALL(MemcpyBatchAsync, "hipMemcpyBatchAsync", "", STATUS, POINTER, POINTER, POINTER, SIZE, POINTER, POINTER, SIZE, POINTER, STREAM) \
    CALL(Memcpy3DBatchAsync, "hipMemcpy3DBatchAsync", "", STATUS, SIZE, POINTER, POINTER, SIZE, STREAM)                  \
    CALL(MemcpyToSymbolAsync, "hipMemcpyToSymbolAsync", "", STATUS, POINTER, POINTER, SIZE, SIZE, I32, STREAM)           \
    CALL(MemcpyFromSymbolAsync, "hipMemcpyFromSymbolAsync", "", STATUS, POINTER, POINTER, SIZE, SIZE, I32, STREAM)       \
    CALL(MemsetAsync, "hipMemsetAsync", "", STATUS, POINTER, I32, SIZE, STREAM)                                          \
    CALL(MemsetD8Async, "hipMemsetD8Async", "cuMemsetD8Async", STATUS, POINTER, U8, SIZE, STREAM)                        \
    CALL(MemsetD16Async, "hipMemsetD16Async", "cuMemsetD16Async", STATUS, POINTER, U32, SIZE, STREAM)                    \
    CALL(MemsetD32Async, "hipMemsetD32Async", "cuMemsetD32Async", STATUS, POINTER, I32, SIZE, STREAM)                    \
    CALL(Memset2DAsync, "hipMemset2DAsync", "", STATUS, POINTER, SIZE, I32, SIZE, SIZE, STREAM)                          \
    CALL(MemsetD2D8Async, "hipMemsetD2D8Async", "cuMemsetD2D8Async_v2", STATUS, POINTER, SIZE, U8, SIZE, SIZE, STREAM)   \
    CALL(MemsetD2D16Async, "hipMemsetD2D16Async", "cuMemsetD2D16Async_v2", STATUS, POINTER, SIZE, U32, SIZE, SIZE, STREAM) \
    CALL(MemsetD2D32Async, "hipMemsetD2D32Async", "cuMemsetD2D32Async_v2", STATUS, POINTER, SIZE, U32, SIZE, SIZE, STREAM) \
    CALL(MemPrefetchAsync, "hipMemPrefetchAsync", "cuMemPrefetchAsync", STATUS, POINTER, SIZE, DEVICE, STREAM)           \
    /* hipMemLocation, by value: two ints in one word */                                                                 \
    CALL(MemPrefetchAsync_v2, "hipMemPrefetchAsync_v2", "", STATUS, POINTER, SIZE, SIZE, U32, STREAM)                    \
    CALL(StreamWriteValue32, "hipStreamWriteValue32", "cuStreamWriteValue32_v2", STATUS, STREAM, POINTER, U32, U32)      \
    CALL(StreamWaitValue32, "hipStreamWaitValue32", "", STATUS, STREAM, POINTER, U32, U32, U32)                          \
    CALL(StreamWriteValue64, "hipStreamWriteValue64", "cuStreamWriteValue64_v2", STATUS, STREAM, POINTER, SIZE, U32)     \
    CALL(StreamWaitValue64, "hipStreamWaitValue64", "", STATUS, STREAM, POINTER, SIZE, U32, SIZE)                        \
    CALL(StreamBatchMemOp, "hipStreamBatchMemOp", "cuStreamBatchMemOp_v2", STATUS, STREAM, U32, POINTER, U32)            \
    CALL(StreamAttachMemAsync, "hipStreamAttachMemAsync", "cuStreamAttachMemAsync", STATUS, STREAM, POINTER, SIZE, U32)  \
    /* modules: code, and the functions in it */                                                                        \
    CALL(ModuleLoadData, "hipModuleLoadData", "cuModuleLoadData", STATUS, NEW_POINTER, POINTER)                          \
    CALL(ModuleGetFunction, "hipModuleGetFunction", "cuModuleGetFunction", STATUS, NEW_POINTER, POINTER, POINTER)        \
    /* launches */                                                                                                       \
    CALL(LaunchKernel, "hipLaunchKernel", "", STATUS, FUNCTION, DIM3, DIM3, NONE, SIZE, STREAM)                          \
    CALL(ExtLaunchKernel, "hipExtLaunchKernel", "", STATUS, FUNCTION, DIM3, DIM3, NONE, SIZE, STREAM, EVENT, EVENT, I32) \
    CALL(LaunchCooperativeKernel, "hipLaunchCooperativeKernel", "", STATUS, FUNCTION, DIM3, DIM3, NONE, U32, STREAM)     \
    CALL(ModuleLaunchKernel, "hipModuleLaunchKernel", "cuLaunchKernel", STATUS, FUNCTION, U32, U32, U32, U32, U32, U32, U32, STREAM, NONE, NONE) \
    CALL(ExtModuleLaunchKernel, "_Z24hipExtModuleLaunchKernelP18ihipModuleSymbol_tjjjjjjmP12ihipStream_tPPvS4_P11ihipEvent_tS6_j|hipExtModuleLaunchKernel", "", STATUS, FUNCTION, U32, U32, U32, U32, U32, U32, SIZE, STREAM, NONE, NONE, EVENT, EVENT, U32) \
    CALL(ModuleLaunchCooperativeKernel, "hipModuleLaunchCooperativeKernel", "cuLaunchCooperativeKernel", STATUS, FUNCTION, U32, U32, U32, U32, U32, U32, U32, STREAM, NONE) \
    CALL(HccModuleLaunchKernel, "_Z24hipHccModuleLaunchKernelP18ihipModuleSymbol_tjjjjjjmP12ihipStream_tPPvS4_P11ihipEvent_tS6_|hipHccModuleLaunchKernel", "", STATUS, FUNCTION, U32, U32, U32, U32, U32, U32, SIZE, STREAM, NONE, NONE, EVENT, EVENT) \
    CALL(LaunchKernelExC, "hipLaunchKernelExC", "", STATUS, POINTER, FUNCTION, NONE)                                     \
    CALL(DrvLaunchKernelEx, "hipDrvLaunchKernelEx", "cuLaunchKernelEx", STATUS, POINTER, FUNCTION, NONE, NONE)           \
    CALL(LaunchCooperativeKernelMultiDevice, "hipLaunchCooperativeKernelMultiDevice", "", STATUS, POINTER, I32, U32)     \
    CALL(ExtLaunchMultiKernelMultiDevice, "hipExtLaunchMultiKernelMultiDevice", "", STATUS, POINTER, I32, U32)           \
    CALL(ModuleLaunchCooperativeKernelMultiDevice, "hipModuleLaunchCooperativeKernelMultiDevice", "cuLaunchCooperativeKernelMultiDevice", STATUS, POINTER, U32, U32) \
    CALL(ConfigureCall, "hipConfigureCall", "", STATUS, DIM3, DIM3, SIZE, STREAM)                                        \
    CALL(GraphUpload, "hipGraphUpload", "cuGraphUpload", STATUS, GRAPH, STREAM)                                          \
    CALL(GraphLaunch, "hipGraphLaunch", "cuGraphLaunch", STATUS, GRAPH, STREAM)                                          \
    CALL(LaunchHostFunc, "hipLaunchHostFunc", "cuLaunchHostFunc", STATUS, STREAM, HOST_FUNCTION, NONE)
/* clang-format on */

/* ERROR(code, name, what it means) for HIP; hip_runtime_api.h, enum hipError_t. */
#define XDIAG_HIP_ERRORS(ERROR)                                                                    \
    ERROR(0, hipSuccess, "no error")                                                               \
    ERROR(1, hipErrorInvalidValue, "invalid argument")                                             \
    ERROR(2, hipErrorOutOfMemory, "out of memory")                                                 \
    ERROR(3, hipErrorNotInitialized, "initialization error")                                       \
    ERROR(4, hipErrorDeinitialized, "driver shutting down")                                        \
    ERROR(5, hipErrorProfilerDisabled, "profiler disabled")                                        \
    ERROR(6, hipErrorProfilerNotInitialized, "profiler not initialized")                           \
    ERROR(7, hipErrorProfilerAlreadyStarted, "profiler already started")                           \
    ERROR(8, hipErrorProfilerAlreadyStopped, "profiler already stopped")                           \
    ERROR(9, hipErrorInvalidConfiguration, "invalid configuration")                                \
    ERROR(12, hipErrorInvalidPitchValue, "invalid pitch")                                          \
    ERROR(13, hipErrorInvalidSymbol, "invalid device symbol")                                      \
    ERROR(17, hipErrorInvalidDevicePointer, "invalid device pointer")                              \
    ERROR(21, hipErrorInvalidMemcpyDirection, "invalid copy direction")                            \
    ERROR(35, hipErrorInsufficientDriver, "driver is older than the runtime")                      \
    ERROR(52, hipErrorMissingConfiguration, "call was not configured")                             \
    ERROR(53, hipErrorPriorLaunchFailure, "an earlier launch failed")                              \
    ERROR(98, hipErrorInvalidDeviceFunction, "invalid device function")                            \
    ERROR(100, hipErrorNoDevice, "no device found")                                                \
    ERROR(101, hipErrorInvalidDevice, "invalid device ordinal")                                    \
    ERROR(200, hipErrorInvalidImage, "invalid device image")                                       \
    ERROR(201, hipErrorInvalidContext, "invalid device context")                                   \
    ERROR(202, hipErrorContextAlreadyCurrent, "context is already current")                        \
    ERROR(205, hipErrorMapFailed, "mapping failed")                                                \
    ERROR(206, hipErrorUnmapFailed, "unmapping failed")                                            \
    ERROR(207, hipErrorArrayIsMapped, "array is mapped")                                           \
    ERROR(208, hipErrorAlreadyMapped, "already mapped")                                            \
    ERROR(209, hipErrorNoBinaryForGpu, "no code for this device")                                  \
    ERROR(210, hipErrorAlreadyAcquired, "already acquired")                                        \
    ERROR(211, hipErrorNotMapped, "not mapped")                                                    \
    ERROR(212, hipErrorNotMappedAsArray, "not mapped as an array")                                 \
    ERROR(213, hipErrorNotMappedAsPointer, "not mapped as a pointer")                              \
    ERROR(214, hipErrorECCNotCorrectable, "uncorrectable memory error")                            \
    ERROR(215, hipErrorUnsupportedLimit, "limit is not supported")                                 \
    ERROR(216, hipErrorContextAlreadyInUse, "context is in use by another thread")                 \
    ERROR(217, hipErrorPeerAccessUnsupported, "peer access is not supported")                      \
    ERROR(218, hipErrorInvalidKernelFile, "invalid kernel file")                                   \
    ERROR(219, hipErrorInvalidGraphicsContext, "invalid graphics context")                         \
    ERROR(300, hipErrorInvalidSource, "invalid source")                                            \
    ERROR(301, hipErrorFileNotFound, "file not found")                                             \
    ERROR(302, hipErrorSharedObjectSymbolNotFound, "symbol of a shared object not found")          \
    ERROR(303, hipErrorSharedObjectInitFailed, "shared object failed to initialise")               \
    ERROR(304, hipErrorOperatingSystem, "operating system call failed")                            \
    ERROR(400, hipErrorInvalidHandle, "invalid resource handle")                                   \
    ERROR(401, hipErrorIllegalState, "operation not allowed in this state")                        \
    ERROR(500, hipErrorNotFound, "named symbol not found")                                         \
    ERROR(600, hipErrorNotReady, "device not ready")                                               \
    ERROR(700, hipErrorIllegalAddress, "illegal memory access")                                    \
    ERROR(701, hipErrorLaunchOutOfResources, "too many resources for a launch")                    \
    ERROR(702, hipErrorLaunchTimeOut, "launch timed out")                                          \
    ERROR(704, hipErrorPeerAccessAlreadyEnabled, "peer access is already enabled")                 \
    ERROR(705, hipErrorPeerAccessNotEnabled, "peer access is not enabled")                         \
    ERROR(708, hipErrorSetOnActiveProcess, "not possible while the process is active")             \
    ERROR(709, hipErrorContextIsDestroyed, "context is destroyed")                                 \
    ERROR(710, hipErrorAssert, "device-side assert")                                               \
    ERROR(712, hipErrorHostMemoryAlreadyRegistered, "host memory is already registered")           \
    ERROR(713, hipErrorHostMemoryNotRegistered, "host memory is not registered")                   \
    ERROR(719, hipErrorLaunchFailure, "launch failed")                                             \
    ERROR(720, hipErrorCooperativeLaunchTooLarge, "cooperative launch is too large")               \
    ERROR(801, hipErrorNotSupported, "operation not supported")                                    \
    ERROR(900, hipErrorStreamCaptureUnsupported, "not permitted while a stream is capturing")      \
    ERROR(901, hipErrorStreamCaptureInvalidated, "capture failed earlier")                         \
    ERROR(902, hipErrorStreamCaptureMerge, "captures would be merged")                             \
    ERROR(903, hipErrorStreamCaptureUnmatched, "capture was not begun on this stream")             \
    ERROR(904, hipErrorStreamCaptureUnjoined, "a forked stream was not joined to the capture")     \
    ERROR(905, hipErrorStreamCaptureIsolation, "dependency would cross the capture's boundary")    \
    ERROR(906, hipErrorStreamCaptureImplicit, "would depend on the capturing legacy stream")       \
    ERROR(907, hipErrorCapturedEvent, "event was last recorded in a capturing stream")             \
    ERROR(908, hipErrorStreamCaptureWrongThread, "capture was begun by another thread")            \
    ERROR(910, hipErrorGraphExecUpdateFailure, "graph update failed")                              \
    ERROR(999, hipErrorUnknown, "unknown error")                                                   \
    ERROR(1052, hipErrorRuntimeMemory, "runtime memory call failed")                               \
    ERROR(1053, hipErrorRuntimeOther, "runtime call other than memory failed")                     \
    ERROR(1054, hipErrorTbd, "not decided yet")

/* The same for CUDA; cuda.h (CUDA 12.9), enum CUresult. */
#define XDIAG_CUDA_ERRORS(ERROR)                                                                   \
    ERROR(0, CUDA_SUCCESS, "no error")                                                             \
    ERROR(1, CUDA_ERROR_INVALID_VALUE, "invalid argument")                                         \
    ERROR(2, CUDA_ERROR_OUT_OF_MEMORY, "out of memory")                                            \
    ERROR(3, CUDA_ERROR_NOT_INITIALIZED, "initialization error")                                   \
    ERROR(4, CUDA_ERROR_DEINITIALIZED, "driver shutting down")                                     \
    ERROR(5, CUDA_ERROR_PROFILER_DISABLED, "profiler disabled")                                    \
    ERROR(6, CUDA_ERROR_PROFILER_NOT_INITIALIZED, "profiler not initialized")                      \
    ERROR(7, CUDA_ERROR_PROFILER_ALREADY_STARTED, "profiler already started")                      \
    ERROR(8, CUDA_ERROR_PROFILER_ALREADY_STOPPED, "profiler already stopped")                      \
    ERROR(34, CUDA_ERROR_STUB_LIBRARY, "the library is a stub for linking, not the driver")        \
    ERROR(46, CUDA_ERROR_DEVICE_UNAVAILABLE, "device is not available")                            \
    ERROR(100, CUDA_ERROR_NO_DEVICE, "no device found")                                            \
    ERROR(101, CUDA_ERROR_INVALID_DEVICE, "invalid device ordinal")                                \
    ERROR(102, CUDA_ERROR_DEVICE_NOT_LICENSED, "device is not licensed")                           \
    ERROR(200, CUDA_ERROR_INVALID_IMAGE, "invalid device image")                                   \
    ERROR(201, CUDA_ERROR_INVALID_CONTEXT, "invalid device context")                               \
    ERROR(202, CUDA_ERROR_CONTEXT_ALREADY_CURRENT, "context is already current")                   \
    ERROR(205, CUDA_ERROR_MAP_FAILED, "mapping failed")                                            \
    ERROR(206, CUDA_ERROR_UNMAP_FAILED, "unmapping failed")                                        \
    ERROR(207, CUDA_ERROR_ARRAY_IS_MAPPED, "array is mapped")                                      \
    ERROR(208, CUDA_ERROR_ALREADY_MAPPED, "already mapped")                                        \
    ERROR(209, CUDA_ERROR_NO_BINARY_FOR_GPU, "no code for this device")                            \
    ERROR(210, CUDA_ERROR_ALREADY_ACQUIRED, "already acquired")                                    \
    ERROR(211, CUDA_ERROR_NOT_MAPPED, "not mapped")                                                \
    ERROR(212, CUDA_ERROR_NOT_MAPPED_AS_ARRAY, "not mapped as an array")                           \
    ERROR(213, CUDA_ERROR_NOT_MAPPED_AS_POINTER, "not mapped as a pointer")                        \
    ERROR(214, CUDA_ERROR_ECC_UNCORRECTABLE, "uncorrectable memory error")                         \
    ERROR(215, CUDA_ERROR_UNSUPPORTED_LIMIT, "limit is not supported")                             \
    ERROR(216, CUDA_ERROR_CONTEXT_ALREADY_IN_USE, "context is in use by another thread")           \
    ERROR(217, CUDA_ERROR_PEER_ACCESS_UNSUPPORTED, "peer access is not supported")                 \
    ERROR(218, CUDA_ERROR_INVALID_PTX, "invalid PTX")                                              \
    ERROR(219, CUDA_ERROR_INVALID_GRAPHICS_CONTEXT, "invalid graphics context")                    \
    ERROR(220, CUDA_ERROR_NVLINK_UNCORRECTABLE, "uncorrectable NVLink error")                      \
    ERROR(221, CUDA_ERROR_JIT_COMPILER_NOT_FOUND, "no compiler for PTX found")                     \
    ERROR(222, CUDA_ERROR_UNSUPPORTED_PTX_VERSION, "PTX of an unsupported version")                \
    ERROR(223, CUDA_ERROR_JIT_COMPILATION_DISABLED, "compilation of PTX is disabled")              \
    ERROR(224, CUDA_ERROR_UNSUPPORTED_EXEC_AFFINITY, "execution affinity is not supported")        \
    ERROR(225, CUDA_ERROR_UNSUPPORTED_DEVSIDE_SYNC, "no device-side synchronisation")              \
    ERROR(226, CUDA_ERROR_CONTAINED, "contained error")                                            \
    ERROR(300, CUDA_ERROR_INVALID_SOURCE, "invalid source")                                        \
    ERROR(301, CUDA_ERROR_FILE_NOT_FOUND, "file not found")                                        \
    ERROR(302, CUDA_ERROR_SHARED_OBJECT_SYMBOL_NOT_FOUND, "symbol of a shared object not found")   \
    ERROR(303, CUDA_ERROR_SHARED_OBJECT_INIT_FAILED, "shared object failed to initialise")         \
    ERROR(304, CUDA_ERROR_OPERATING_SYSTEM, "operating system call failed")                        \
    ERROR(400, CUDA_ERROR_INVALID_HANDLE, "invalid resource handle")                               \
    ERROR(401, CUDA_ERROR_ILLEGAL_STATE, "operation not allowed in this state")                    \
    ERROR(402, CUDA_ERROR_LOSSY_QUERY, "query lost information")                                   \
    ERROR(500, CUDA_ERROR_NOT_FOUND, "named symbol not found")                                     \
    ERROR(600, CUDA_ERROR_NOT_READY, "device not ready")                                           \
    ERROR(700, CUDA_ERROR_ILLEGAL_ADDRESS, "illegal memory access")                                \
    ERROR(701, CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, "too many resources for a launch")              \
    ERROR(702, CUDA_ERROR_LAUNCH_TIMEOUT, "launch timed out")                                      \
    ERROR(703, CUDA_ERROR_LAUNCH_INCOMPATIBLE_TEXTURING, "launch with incompatible texturing")     \
    ERROR(704, CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED, "peer access is already enabled")           \
    ERROR(705, CUDA_ERROR_PEER_ACCESS_NOT_ENABLED, "peer access is not enabled")                   \
    ERROR(708, CUDA_ERROR_PRIMARY_CONTEXT_ACTIVE, "primary context is active already")             \
    ERROR(709, CUDA_ERROR_CONTEXT_IS_DESTROYED, "context is destroyed")                            \
    ERROR(710, CUDA_ERROR_ASSERT, "device-side assert")                                            \
    ERROR(711, CUDA_ERROR_TOO_MANY_PEERS, "too many peers")                                        \
    ERROR(712, CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED, "host memory is already registered")     \
    ERROR(713, CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED, "host memory is not registered")             \
    ERROR(714, CUDA_ERROR_HARDWARE_STACK_ERROR, "hardware stack error")                            \
    ERROR(715, CUDA_ERROR_ILLEGAL_INSTRUCTION, "illegal instruction")                              \
    ERROR(716, CUDA_ERROR_MISALIGNED_ADDRESS, "misaligned address")                                \
    ERROR(717, CUDA_ERROR_INVALID_ADDRESS_SPACE, "invalid address space")                          \
    ERROR(718, CUDA_ERROR_INVALID_PC, "invalid program counter")                                   \
    ERROR(719, CUDA_ERROR_LAUNCH_FAILED, "launch failed")                                          \
    ERROR(720, CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE, "cooperative launch is too large")         \
    ERROR(721, CUDA_ERROR_TENSOR_MEMORY_LEAK, "tensor memory leak")                                \
    ERROR(800, CUDA_ERROR_NOT_PERMITTED, "not permitted")                                          \
    ERROR(801, CUDA_ERROR_NOT_SUPPORTED, "operation not supported")                                \
    ERROR(802, CUDA_ERROR_SYSTEM_NOT_READY, "system is not ready")                                 \
    ERROR(803, CUDA_ERROR_SYSTEM_DRIVER_MISMATCH, "driver and library do not fit each other")      \
    ERROR(804, CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE, "no forward compatibility on this device")\
    ERROR(805, CUDA_ERROR_MPS_CONNECTION_FAILED, "no connection to the MPS server")                \
    ERROR(806, CUDA_ERROR_MPS_RPC_FAILURE, "MPS remote call failed")                               \
    ERROR(807, CUDA_ERROR_MPS_SERVER_NOT_READY, "MPS server is not ready")                         \
    ERROR(808, CUDA_ERROR_MPS_MAX_CLIENTS_REACHED, "MPS has too many clients")                     \
    ERROR(809, CUDA_ERROR_MPS_MAX_CONNECTIONS_REACHED, "MPS has too many connections")             \
    ERROR(810, CUDA_ERROR_MPS_CLIENT_TERMINATED, "MPS client was terminated")                      \
    ERROR(811, CUDA_ERROR_CDP_NOT_SUPPORTED, "dynamic parallelism is not supported")               \
    ERROR(812, CUDA_ERROR_CDP_VERSION_MISMATCH, "dynamic parallelism of another version")          \
    ERROR(900, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "not permitted while a stream is capturing") \
    ERROR(901, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, "capture failed earlier")                    \
    ERROR(902, CUDA_ERROR_STREAM_CAPTURE_MERGE, "captures would be merged")                        \
    ERROR(903, CUDA_ERROR_STREAM_CAPTURE_UNMATCHED, "capture was not begun on this stream")        \
    ERROR(904, CUDA_ERROR_STREAM_CAPTURE_UNJOINED, "a forked stream was not joined")               \
    ERROR(905, CUDA_ERROR_STREAM_CAPTURE_ISOLATION, "dependency would leave the capture")          \
    ERROR(906, CUDA_ERROR_STREAM_CAPTURE_IMPLICIT, "would depend on the capturing legacy stream")  \
    ERROR(907, CUDA_ERROR_CAPTURED_EVENT, "event was last recorded in a capturing stream")         \
    ERROR(908, CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD, "capture was begun by another thread")      \
    ERROR(909, CUDA_ERROR_TIMEOUT, "timed out")                                                    \
    ERROR(910, CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE, "graph update failed")                        \
    ERROR(911, CUDA_ERROR_EXTERNAL_DEVICE, "error of an external device")                          \
    ERROR(912, CUDA_ERROR_INVALID_CLUSTER_SIZE, "invalid cluster size")                            \
    ERROR(913, CUDA_ERROR_FUNCTION_NOT_LOADED, "function is not loaded")                           \
    ERROR(914, CUDA_ERROR_INVALID_RESOURCE_TYPE, "invalid resource type")                          \
    ERROR(915, CUDA_ERROR_INVALID_RESOURCE_CONFIGURATION, "invalid resource configuration")        \
    ERROR(916, CUDA_ERROR_KEY_ROTATION, "key rotation")                                            \
    ERROR(999, CUDA_ERROR_UNKNOWN, "unknown error")

#endif
