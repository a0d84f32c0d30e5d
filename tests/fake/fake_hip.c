/*
 * A small fake of libamdhip64, for faults that a real runtime will not produce on demand.
 *
 * It keeps a set of live streams and refuses others with 709, as HIP 5 and 6 do.  FAKE_FAULT names
 * a call and what happens in it, for example "hipStreamGetFlags=segv"; FAKE_SYMBOLS is up to the
 * build (-DFAKE_WITHOUT_GETDEVICE leaves a call out).
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { MAX = 64 };
static void *live[MAX];
static void *live_events[MAX];

/* The tables are used by several threads at once; a lock would stay locked in a forked child. */
static int is_live(void **set, void *handle)
{
    for (int i = 0; i < MAX; i++)
        if (handle && __atomic_load_n(&set[i], __ATOMIC_SEQ_CST) == handle)
            return 1;
    return 0;
}

static void *add(void **set)
{
    /* Above 4 GiB, as a real handle is. */
    void *handle = malloc(64);
    for (int i = 0; handle && i < MAX; i++) {
        void *none = NULL;
        if (__atomic_compare_exchange_n(&set[i], &none, handle, 0, __ATOMIC_SEQ_CST,
                                        __ATOMIC_SEQ_CST))
            return handle;
    }
    free(handle);
    return NULL;
}

static int drop(void **set, void *handle)
{
    for (int i = 0; handle && i < MAX; i++) {
        void *expected = handle;
        if (__atomic_compare_exchange_n(&set[i], &expected, NULL, 0, __ATOMIC_SEQ_CST,
                                        __ATOMIC_SEQ_CST))
            return 0;
    }
    return 709;
}

static void hang(void)
{
    for (;;)
        pause();
}

static void fault(const char *call)
{
    const char *wanted = getenv("FAKE_FAULT");
    size_t n = strlen(call);
    if (!wanted || strncmp(wanted, call, n) != 0 || wanted[n] != '=')
        return;
    const char *what = wanted + n + 1;
    if (!strcmp(what, "segv"))
        *(volatile int *)8 = 1;
    if (!strcmp(what, "abort"))
        abort();
    if (!strcmp(what, "kill"))
        kill(getpid(), SIGKILL);
    if (!strcmp(what, "hang"))
        hang();
    if (!strcmp(what, "stop"))
        kill(getpid(), SIGSTOP);
    if (!strcmp(what, "exit0"))
        exit(0);
    if (!strcmp(what, "exit")) {
        fprintf(stderr, "[XSCHED ERRO @ T 1 @ 00:00:00.000000] hip error 709: context is destroyed"
                        " @ hip_queue.cpp:32\n");
        exit(1);
    }
    if (!strcmp(what, "flood"))
        for (;;)
            if (write(2, "all work and no play makes a dull log\n", 38) < 0)
                _exit(9);
    if (!strcmp(what, "spawn")) {
        /* Bounded, so that a guard that fails cannot take the machine down. */
        for (int i = 0; i < 300; i++)
            if (fork() == 0)
                hang();
        hang();
    }
    if (!strcmp(what, "orphan")) {
        if (fork() == 0)
            hang();
    }
    if (!strcmp(what, "parent"))
        kill(getppid(), SIGKILL);
    if (!strcmp(what, "scribble")) {
        /* Whatever is writable of ours: memory corruption that costs nobody else anything. */
        memset(live, 0xA5, sizeof live);
        memset(live_events, 0xA5, sizeof live_events);
        memset((void *)((uintptr_t)malloc(16) - 4096), 0xA5, 8192);
        free(malloc(100));
    }
}

#define API __attribute__((visibility("default")))
#define ENTER fault(__func__)
#define STREAM_CHECK                                                                               \
    ENTER;                                                                                         \
    if (s && s != (void *)2 && !is_live(live, s))                                                  \
    return 709

API int hipInit(unsigned flags) { ENTER; return flags ? 1 : 0; }
#ifndef FAKE_VERSION
#define FAKE_VERSION 50221153
#endif
API int hipRuntimeGetVersion(int *v) { ENTER; *v = FAKE_VERSION; return 0; }
API int hipDriverGetVersion(int *v) { ENTER; *v = FAKE_VERSION; return 0; }
API int hipGetDeviceCount(int *n) { ENTER; *n = 2; return 0; }
API int hipGetDevice(int *d) { ENTER; *d = 0; return 0; }
API int hipSetDevice(int d) { ENTER; return d > 1 ? 101 : 0; }
API int hipGetDeviceProperties(void *p, int d) { ENTER; memset(p, 0, 792); strcpy(p, "fake"); return d > 1; }
API int hipDeviceReset(void) { ENTER; memset(live, 0, sizeof live); return 0; }
API int hipCtxGetCurrent(void **c) { ENTER; *c = live; return 0; }
API int hipCtxSetCurrent(void *c) { ENTER; (void)c; return 0; }
API int hipCtxGetDevice(int *d) { ENTER; *d = 0; return 0; }
API int hipCtxPushCurrent(void *c) { ENTER; return c ? 0 : 201; }
API int hipCtxPopCurrent(void **c) { ENTER; *c = live; return 0; }
API int hipDevicePrimaryCtxRetain(void **c, int d) { ENTER; *c = live; return d > 1; }
API int hipStreamCreateWithFlags(void **s, unsigned f) { ENTER; (void)f; *s = add(live); return *s ? 0 : 2; }
API int hipStreamDestroy(void *s) { STREAM_CHECK; return s > (void *)2 ? drop(live, s) : 400; }
API int hipStreamGetFlags(void *s, unsigned *f) { STREAM_CHECK; *f = 0; return s ? 0 : 1; }
API int hipStreamGetPriority(void *s, int *p) { STREAM_CHECK; *p = 0; return 0; }
#ifndef FAKE_WITHOUT_GETDEVICE
API int hipStreamGetDevice(void *s, int *d) { STREAM_CHECK; *d = 0; return 0; }
#endif
API int hipGetStreamDeviceId(void *s) { ENTER; return !s || s == (void *)2 || is_live(live, s) ? 0 : -1; }
API int hipStreamQuery(void *s) { STREAM_CHECK; return 0; }
API int hipStreamSynchronize(void *s) { STREAM_CHECK; return 0; }
API int hipStreamWaitEvent(void *s, void *e, unsigned f) { STREAM_CHECK; (void)f; return is_live(live_events, e) ? 0 : 400; }
API int hipStreamIsCapturing(void *s, int *c) { STREAM_CHECK; *c = 0; return 0; }
API int hipEventCreateWithFlags(void **e, unsigned f) { ENTER; (void)f; *e = add(live_events); return *e ? 0 : 2; }
API int hipEventRecord(void *e, void *s) { STREAM_CHECK; return is_live(live_events, e) ? 0 : 400; }
API int hipEventSynchronize(void *e) { ENTER; return is_live(live_events, e) ? 0 : 400; }
API int hipEventDestroy(void *e) { ENTER; return drop(live_events, e); }
API int hipMalloc(void **p, size_t n) { ENTER; *p = malloc(n); return *p ? 0 : 2; }
API int hipMemsetAsync(void *p, int v, size_t n, void *s) { STREAM_CHECK; memset(p, v, n); return 0; }
API int hipMemcpyAsync(void *d, const void *p, size_t n, int k, void *s) { STREAM_CHECK; (void)k; memmove(d, p, n); return 0; }
