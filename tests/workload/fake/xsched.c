/*
 * A stand-in for XSched's libraries: one file is libpreempt.so and libhal*.so both.
 *
 * FAKE_XSCHED=709 prints what XSched prints for a refused handle and exits as it does.  A handle
 * that was cut to 32 bits is refused.  FAKE_COMMANDS is how many commands a queue has seen more at
 * each question.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int create(uint64_t *hwq, void *stream)
{
    const char *fault = getenv("FAKE_XSCHED");
    if (fault != NULL && strcmp(fault, "709") == 0) {
        fprintf(stderr, "[XSCHED ERRO] hip error 709: context is destroyed @ hip_queue.cpp:32\n");
        exit(1);
    }
    if ((uint64_t)(uintptr_t)stream >> 32 == 0) return 2;
    *hwq = (uint64_t)(uintptr_t)stream;
    return 0;
}

int HipQueueCreate(uint64_t *hwq, void *stream) { return create(hwq, stream); }
int CudaQueueCreate(uint64_t *hwq, void *stream) { return create(hwq, stream); }

int XQueueCreate(uint64_t *xq, uint64_t hwq, int64_t level, int64_t flags)
{
    if (level != 1 || flags != 0) return 2;
    *xq = hwq;
    return 0;
}

/* The shim makes queues by itself where it is told to. */
int XQueueGet(uint64_t *xq, uint64_t hwq)
{
    const char *told = getenv("XSCHED_AUTO_XQUEUE");
    if (told == NULL || strcmp(told, "ON") != 0) return 3;
    *xq = hwq;
    return 0;
}

int XHintPriority(uint64_t xq, int32_t priority)
{
    return xq != 0 && (priority == 1 || priority == 2) ? 0 : 2;
}

int XQueueProfileHwCommandCount(uint64_t xq, int64_t *count)
{
    static int64_t seen;
    const char *step = getenv("FAKE_COMMANDS");
    (void)xq;
    seen += step != NULL ? atoll(step) : 0;
    *count = seen;
    return 0;
}
