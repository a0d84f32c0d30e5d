/* Tables and typed calls, all expanded from the one list in calls.h. */
#include "core.h"

#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "calls.h"

enum { IN = 0, OUT = 1, FIXED = 2 };

/* Argument kinds: an index, a C type and a table row each. */
#define KIND(name, type, direction) KIND_##name,
enum { XDIAG_KINDS(KIND) KIND_COUNT };
#undef KIND
#define KIND(name, type, direction) typedef type type_##name;
XDIAG_KINDS(KIND)
#undef KIND

/* An output's width is that of what its pointer points to; void ** and inputs are words. */
#define BITS(type) _Generic((type)0, int32_t *: 32, uint32_t *: 32, int32_t: 32, uint32_t: 32, default: 64)
#define KIND(name, type, direction) {#name, direction, BITS(type)},
static const xd_kind kinds[] = {XDIAG_KINDS(KIND)};
#undef KIND

/* The calls' indices. */
#define CALL0(name, ...) CALL_##name,
#define CALL1 CALL0
#define CALL2 CALL0
#define CALL3 CALL0
#define CALL4 CALL0
#define CALL5 CALL0
#define CALL6 CALL0
enum { XDIAG_CALLS(CALL0, CALL1, CALL2, CALL3, CALL4, CALL5, CALL6) CALL_COUNT };
#undef CALL0
#undef CALL1
#undef CALL2
#undef CALL3
#undef CALL4
#undef CALL5
#undef CALL6

enum { RETURNS_DEVICE_OR_MINUS_ONE = 0, RETURNS_STATUS = 1 };

#define ROW(name, hip, cuda, result, count, ...)                                                   \
    {#name, hip, cuda, RETURNS_##result, count, {__VA_ARGS__}},
#define CALL0(n, h, c, r) ROW(n, h, c, r, 0, 0)
#define CALL1(n, h, c, r, a) ROW(n, h, c, r, 1, KIND_##a)
#define CALL2(n, h, c, r, a, b) ROW(n, h, c, r, 2, KIND_##a, KIND_##b)
#define CALL3(n, h, c, r, a, b, d) ROW(n, h, c, r, 3, KIND_##a, KIND_##b, KIND_##d)
#define CALL4(n, h, c, r, a, b, d, e) ROW(n, h, c, r, 4, KIND_##a, KIND_##b, KIND_##d, KIND_##e)
#define CALL5(n, h, c, r, a, b, d, e, f)                                                           \
    ROW(n, h, c, r, 5, KIND_##a, KIND_##b, KIND_##d, KIND_##e, KIND_##f)
#define CALL6(n, h, c, r, a, b, d, e, f, g)                                                        \
    ROW(n, h, c, r, 6, KIND_##a, KIND_##b, KIND_##d, KIND_##e, KIND_##f, KIND_##g)
static const xd_call calls[] = {XDIAG_CALLS(CALL0, CALL1, CALL2, CALL3, CALL4, CALL5, CALL6)};
#undef CALL0
#undef CALL1
#undef CALL2
#undef CALL3
#undef CALL4
#undef CALL5
#undef CALL6

#define ERROR(code, name, meaning) {code, #name, meaning},
static const xd_error errors[] = {XDIAG_HIP_ERRORS(ERROR)};
#undef ERROR

/* One typed call per entry.  A word becomes an argument through the kind's type: a pointer kind
 * from the address, an integer kind by value. */
#define ARG(kind, i) ((type_##kind)words[i])
#define CALL0(n, h, c, r)                                                                          \
    static int call_##n(void *symbol, const uintptr_t *words)                                      \
    {                                                                                              \
        (void)words;                                                                               \
        return ((int (*)(void))symbol)();                                                          \
    }
#define TYPED(n, types, values)                                                                    \
    static int call_##n(void *symbol, const uintptr_t *words)                                      \
    {                                                                                              \
        return ((int(*) types)symbol) values;                                                      \
    }
#define CALL1(n, h, c, r, a) TYPED(n, (type_##a), (ARG(a, 0)))
#define CALL2(n, h, c, r, a, b) TYPED(n, (type_##a, type_##b), (ARG(a, 0), ARG(b, 1)))
#define CALL3(n, h, c, r, a, b, d)                                                                 \
    TYPED(n, (type_##a, type_##b, type_##d), (ARG(a, 0), ARG(b, 1), ARG(d, 2)))
#define CALL4(n, h, c, r, a, b, d, e)                                                              \
    TYPED(n, (type_##a, type_##b, type_##d, type_##e), (ARG(a, 0), ARG(b, 1), ARG(d, 2), ARG(e, 3)))
#define CALL5(n, h, c, r, a, b, d, e, f)                                                           \
    TYPED(n, (type_##a, type_##b, type_##d, type_##e, type_##f),                                   \
          (ARG(a, 0), ARG(b, 1), ARG(d, 2), ARG(e, 3), ARG(f, 4)))
#define CALL6(n, h, c, r, a, b, d, e, f, g)                                                        \
    TYPED(n, (type_##a, type_##b, type_##d, type_##e, type_##f, type_##g),                         \
          (ARG(a, 0), ARG(b, 1), ARG(d, 2), ARG(e, 3), ARG(f, 4), ARG(g, 5)))
XDIAG_CALLS(CALL0, CALL1, CALL2, CALL3, CALL4, CALL5, CALL6)
#undef CALL0
#undef CALL1
#undef CALL2
#undef CALL3
#undef CALL4
#undef CALL5
#undef CALL6

#define CALL0(n, ...) call_##n,
#define CALL1 CALL0
#define CALL2 CALL0
#define CALL3 CALL0
#define CALL4 CALL0
#define CALL5 CALL0
#define CALL6 CALL0
static int (*const typed_calls[])(void *, const uintptr_t *) = {
    XDIAG_CALLS(CALL0, CALL1, CALL2, CALL3, CALL4, CALL5, CALL6)};

/* hipDeviceProp_t is 792 bytes before HIP 6 and 1472 after; leave room for what comes. */
enum { BUFFER_SIZE = 16384 };

static _Atomic uint64_t callbacks;

static void on_callback(void *stream, int status, void *user)
{
    (void)stream;
    (void)status;
    (void)user;
    atomic_fetch_add_explicit(&callbacks, 1, memory_order_relaxed);
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void xd_make_call(xd_request *request)
{
    if (request->call < 0 || request->call >= CALL_COUNT) {
        xd_fail(request, "no call number %d", request->call);
        return;
    }
    const xd_call *call = &calls[request->call];
    void *symbol = xd_symbol(request->runtime, request->call);
    if (!symbol) {
        request->status = XD_UNSUPPORTED;
        return;
    }

    _Alignas(16) char buffer[BUFFER_SIZE];
    uintptr_t words[XD_MAX_ARGS] = {0};
    uint32_t times = request->repeat ? request->repeat : 1;
    request->status = XD_DONE;
    request->made = 0;
    request->started_ns = now_ns();
    do {
        memset(request->outs, 0, sizeof request->outs);
        for (int i = 0; i < call->count; i++) {
            if (call->kinds[i] == KIND_BUFFER)
                words[i] = (uintptr_t)buffer;
            else if (call->kinds[i] == KIND_CALLBACK)
                words[i] = (uintptr_t)on_callback;
            else if (kinds[call->kinds[i]].direction == OUT)
                words[i] = (uintptr_t)&request->outs[i];
            else
                words[i] = (uintptr_t)request->args[i];
        }
        request->result = typed_calls[request->call](symbol, words);
        request->made++;
    } while (request->made < times && (call->returns_status ? request->result == 0 : request->result >= 0));
    request->ended_ns = now_ns();
}

int32_t xd_call_count(void) { return CALL_COUNT; }

const xd_call *xd_call_at(int32_t index)
{
    return index >= 0 && index < CALL_COUNT ? &calls[index] : NULL;
}

int32_t xd_kind_count(void) { return KIND_COUNT; }

const xd_kind *xd_kind_at(int32_t index)
{
    return index >= 0 && index < KIND_COUNT ? &kinds[index] : NULL;
}

int32_t xd_error_count(void) { return (int32_t)(sizeof errors / sizeof errors[0]); }

const xd_error *xd_error_at(int32_t index)
{
    return index >= 0 && index < xd_error_count() ? &errors[index] : NULL;
}

int32_t xd_buffer_size(void) { return BUFFER_SIZE; }

uint64_t xd_callbacks_seen(void) { return atomic_load_explicit(&callbacks, memory_order_relaxed); }
