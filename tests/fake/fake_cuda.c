/*
 * A small fake of libcuda: a current context per thread, and handles that are followed unchecked.
 *
 * What it answers is what a real driver (580.159.04, docs/platforms.md) was seen to answer: a call
 * that needs a context says 201 in a thread that has none and 709 where the current one was
 * destroyed, a call that takes a stream crashes where it is none, and a forked child is told 3.
 * FAKE_CUDA_INIT is what cuInit returns.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { NOT_INITIALIZED = 3, NO_CONTEXT = 201, INVALID_HANDLE = 400, DESTROYED = 709, SECOND_COPY = 304, MAX = 64 };

typedef struct {
    int destroyed;
} context;
typedef struct {
    context *of;
} object;

static context primary;
static object *live[MAX];
static __thread context *current;
static __thread context *below; /* one level of the stack of contexts is enough here */
static pid_t initialised_in;

#define API __attribute__((visibility("default")))
#define ENTER                                                                                      \
    if (initialised_in != getpid())                                                                \
    return NOT_INITIALIZED
#define NEEDS_CONTEXT                                                                              \
    ENTER;                                                                                         \
    if (!current)                                                                                  \
        return NO_CONTEXT;                                                                         \
    if (current->destroyed)                                                                        \
    return DESTROYED

static int add(void **out)
{
    object *made = malloc(sizeof *made);
    made->of = current;
    for (int i = 0; i < MAX; i++) {
        object *none = NULL;
        if (__atomic_compare_exchange_n(&live[i], &none, made, 0, __ATOMIC_SEQ_CST,
                                        __ATOMIC_SEQ_CST)) {
            *out = made;
            return 0;
        }
    }
    return 2;
}

/* The context of a stream; a handle that is none brings the process down, as the driver does. */
static int follow(void *s, context **of)
{
    if (initialised_in != getpid())
        return NOT_INITIALIZED;
    *of = current;
    if ((uintptr_t)s <= 2)
        return current ? 0 : NO_CONTEXT;
    for (int i = 0; i < MAX; i++)
        if (__atomic_load_n(&live[i], __ATOMIC_SEQ_CST) == s) {
            *of = ((object *)s)->of;
            return (*of)->destroyed ? NO_CONTEXT : 0;
        }
    raise(SIGSEGV);
    return INVALID_HANDLE;
}

#define FOLLOW                                                                                     \
    context *of;                                                                                   \
    int status = follow(s, &of);                                                                   \
    if (status)                                                                                    \
    return status

API int cuInit(unsigned flags)
{
    const char *code = getenv("FAKE_CUDA_INIT");
    if (code || flags)
        return code ? atoi(code) : 1;
    /* A second copy in one process does not start; no copy in a forked child does that the parent
     * has started. */
    char *mark = NULL;
    const char *other = getenv("FAKE_CUDA_STARTED");
    if (other && !initialised_in && strtol(other, NULL, 10) == getpid())
        return SECOND_COPY;
    if (initialised_in && initialised_in != getpid())
        return NOT_INITIALIZED;
    initialised_in = getpid();
    if (asprintf(&mark, "%d", (int)getpid()) > 0)
        setenv("FAKE_CUDA_STARTED", mark, 1);
    free(mark);
    return 0;
}
API int cuDriverGetVersion(int *v) { *v = 13000; return 0; }
/* XSched asks for it before it writes its last line. */
API int cuGetErrorString(int code, const char **text) { *text = "as the fake says"; return code < 0; }
API int cuDeviceGetCount(int *n) { ENTER; *n = 1; return 0; }
API int cuDeviceGetName(char *name, int n, int d) { ENTER; strncpy(name, "Fake GPU", (size_t)n); return d ? 101 : 0; }
API int cuDeviceGetAttribute(int *v, int a, int d) { ENTER; *v = a; return d ? 101 : 0; }
API int cuDevicePrimaryCtxRetain(void **c, int d) { ENTER; primary.destroyed = 0; *c = &primary; return d ? 101 : 0; }
API int cuDevicePrimaryCtxReset_v2(int d) { ENTER; primary.destroyed = 1; memset(live, 0, sizeof live); return d ? 101 : 0; }
API int cuCtxGetCurrent(void **c) { ENTER; *c = current; return 0; }
API int cuCtxSetCurrent(void *c) { ENTER; current = c; return 0; }
API int cuCtxPushCurrent_v2(void *c) { ENTER; below = current; current = c; return 0; }
API int cuCtxPopCurrent_v2(void **c) { ENTER; *c = current; current = below; return 0; }
API int cuCtxCreate_v2(void **c, unsigned f, int d)
{
    ENTER;
    (void)f;
    below = current;
    *c = current = calloc(1, sizeof(context));
    return d ? 101 : 0;
}
API int cuCtxDestroy_v2(void *c) { ENTER; ((context *)c)->destroyed = 1; if (current == c) current = below; return 0; }
API int cuCtxGetDevice(int *d) { NEEDS_CONTEXT; *d = 0; return 0; }
API int cuStreamCreate(void **s, unsigned f) { NEEDS_CONTEXT; (void)f; return add(s); }
API int cuStreamGetCtx(void *s, void **c) { FOLLOW; *c = of; return 0; }
API int cuStreamGetFlags(void *s, unsigned *f) { FOLLOW; *f = 0; return 0; }
API int cuStreamQuery(void *s) { FOLLOW; return 0; }
API int cuStreamSynchronize(void *s) { FOLLOW; return 0; }
API int cuStreamDestroy_v2(void *s)
{
    FOLLOW;
    for (int i = 0; i < MAX; i++)
        if (live[i] == s)
            live[i] = NULL;
    return 0;
}
API int cuEventCreate(void **e, unsigned f) { NEEDS_CONTEXT; (void)f; return add(e); }
API int cuEventRecord(void *e, void *s) { FOLLOW; return ((object *)e)->of == of ? 0 : INVALID_HANDLE; }
API int cuEventSynchronize(void *e) { ENTER; return e ? 0 : INVALID_HANDLE; }
API int cuStreamWaitEvent(void *s, void *e, unsigned f) { FOLLOW; (void)e; (void)f; return 0; }
API int cuEventDestroy_v2(void *e) { ENTER; return e ? 0 : INVALID_HANDLE; }
API int cuMemAlloc_v2(void **p, size_t n) { NEEDS_CONTEXT; *p = malloc(n); return 0; }
API int cuMemsetD8Async(void *p, uint8_t v, size_t n, void *s) { FOLLOW; memset(p, v, n); return 0; }
API int cuMemcpyDtoDAsync_v2(void *d, const void *p, size_t n, void *s) { FOLLOW; memmove(d, p, n); return 0; }
