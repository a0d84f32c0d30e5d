/*
 * The calls of XSched's libraries, beside the driver's in calls.h and in the same form.
 *
 * Each library of an installation is opened as an object of its own, and answers those of them that
 * it or a library it needs exports: libhalhip.so answers all, since it needs libpreempt.so.
 * Source: XpuOS/xsched, include/xsched/xqueue.h and hal.h of platforms/hip/hal and platforms/cuda/hal;
 * a queue's, command's or hardware queue's handle is a uint64_t (types.h), and what is returned is an
 * XResult, 0 for success.
 *
 * A HAL is one platform's: HipQueueCreate has no CUDA name, CudaQueueCreate no HIP name.
 */
#ifndef XDIAG_HAL_CALLS_H
#define XDIAG_HAL_CALLS_H

/* Kinds of arguments besides XDIAG_KINDS: a launch callback, and what it is given, which is written
 * out as the event that it records. */
#define XDIAG_XSCHED_KINDS(KIND)                                                                   \
    KIND(LAUNCH, void *, FIXED)                                                                    \
    KIND(LAUNCHED, void *, IN)

/* clang-format off */
#define XDIAG_XSCHED_CALLS(CALL)                                                                                         \
    CALL(HipQueueCreate, "HipQueueCreate", "", STATUS, OUT_U64, STREAM)                                                  \
    CALL(CudaQueueCreate, "", "CudaQueueCreate", STATUS, OUT_U64, STREAM)                                                \
    CALL(HwQueueDestroy, "HwQueueDestroy", "HwQueueDestroy", STATUS, SIZE)                                               \
    CALL(HwCommandCreateCallback, "HwCommandCreateCallback", "HwCommandCreateCallback", STATUS, OUT_U64, LAUNCH, LAUNCHED) \
    CALL(HwCommandDestroy, "HwCommandDestroy", "HwCommandDestroy", STATUS, SIZE)                                         \
    /* hardware queue, level, flags */                                                                                   \
    CALL(XQueueCreate, "XQueueCreate", "XQueueCreate", STATUS, OUT_U64, SIZE, SIZE, SIZE)                                \
    CALL(XQueueSubmit, "XQueueSubmit", "XQueueSubmit", STATUS, SIZE, SIZE)                                               \
    CALL(XQueueWait, "XQueueWait", "XQueueWait", STATUS, SIZE, SIZE)                                                     \
    CALL(XQueueWaitAll, "XQueueWaitAll", "XQueueWaitAll", STATUS, SIZE)                                                  \
    CALL(XQueueSuspend, "XQueueSuspend", "XQueueSuspend", STATUS, SIZE, SIZE)                                            \
    CALL(XQueueResume, "XQueueResume", "XQueueResume", STATUS, SIZE, SIZE)                                               \
    CALL(XQueueDestroy, "XQueueDestroy", "XQueueDestroy", STATUS, SIZE)
/* clang-format on */

/* RESULT(code, name, what it means); types.h, XResult. */
#define XDIAG_XSCHED_RESULTS(RESULT)                                                               \
    RESULT(0, kXSchedSuccess, "no error")                                                          \
    RESULT(1, kXSchedErrorHardware, "the hardware refused")                                        \
    RESULT(2, kXSchedErrorInvalidValue, "invalid argument")                                        \
    RESULT(3, kXSchedErrorNotFound, "not found")                                                   \
    RESULT(4, kXSchedErrorNotAllowed, "not allowed")                                               \
    RESULT(5, kXSchedErrorNotSupported, "not supported")                                           \
    RESULT(6, kXSchedErrorBadResponse, "bad response")                                             \
    RESULT(999, kXSchedErrorUnknown, "unknown error")

#endif
