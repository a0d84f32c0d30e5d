/* Tables and typed calls, all expanded from the one list in calls.h. */
#include "core.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "calls.h"
#include "hal_calls.h"

/* The driver's calls, then XSched's: one numbering. */
#define ALL_KINDS(KIND) XDIAG_KINDS(KIND) XDIAG_XSCHED_KINDS(KIND)
#define ALL_CALLS(CALL) XDIAG_CALLS(CALL) XDIAG_XSCHED_CALLS(CALL)

enum { IN = 0, OUT = 1, FIXED = 2 };

/* Argument kinds: an index, a C type and a table row each. */
#define KIND(name, type, direction) KIND_##name,
enum { ALL_KINDS(KIND) KIND_COUNT };
#undef KIND

/* An output's width is that of what its pointer points to; void ** and inputs are words. */
#define BITS(type) _Generic((type *)0, int32_t **: 32, uint32_t **: 32, int32_t *: 32, uint32_t *: 32, default: 64)
#define KIND(name, type, direction) {#name, direction, BITS(type)},
static const xd_kind kinds[] = {ALL_KINDS(KIND)};
#undef KIND

/* A word holds two of a dim3's three sizes; the third is 1. */
static inline __attribute__((always_inline)) void complete(int kind, void *value)
{
    if (kind == KIND_DIM3)
        ((xdiag_dim3 *)value)->z = 1;
}

/* A word becomes an argument of the kind's type: its low bytes do. */
#define KIND(name, type, direction)                                                                \
    static inline type argument_##name(uintptr_t word)                                             \
    {                                                                                              \
        type value;                                                                                \
        memset(&value, 0, sizeof value);                                                           \
        memcpy(&value, &word, sizeof value < sizeof word ? sizeof value : sizeof word);            \
        complete(KIND_##name, &value);                                                             \
        return value;                                                                              \
    }                                                                                              \
    typedef type type_##name;
ALL_KINDS(KIND)
#undef KIND

/* The calls' indices, and a table row each. */
#define CALL(name, ...) CALL_##name,
enum { ALL_CALLS(CALL) CALL_COUNT };
#undef CALL

#define CALL(name, ...) +1
enum { DRIVER_CALL_COUNT = 0 XDIAG_CALLS(CALL) };
#undef CALL

enum { RETURNS_DEVICE_OR_MINUS_ONE = 0, RETURNS_STATUS = 1 };

#define INDEX(place, kind) KIND_##kind
#define CALL(name, hip, cuda, result, ...)                                                         \
    {#name, hip, cuda, RETURNS_##result, COUNT(__VA_ARGS__), {COMMAS(INDEX, ##__VA_ARGS__)}},
static const xd_call calls[] = {ALL_CALLS(CALL)};
#undef CALL

#define ERROR(code, name, meaning) {code, #name, meaning},
static const xd_error hip_errors[] = {XDIAG_HIP_ERRORS(ERROR)};
static const xd_error cuda_errors[] = {XDIAG_CUDA_ERRORS(ERROR)};
static const xd_error xsched_errors[] = {XDIAG_XSCHED_RESULTS(ERROR)};
#undef ERROR

/* One typed call per entry. */
#define TYPE(place, kind) type_##kind
#define ARGUMENT(place, kind) argument_##kind(words[place])
#define CALL(name, hip, cuda, result, ...)                                                         \
    static int call_##name(void *symbol, const uintptr_t *words)                                   \
    {                                                                                              \
        (void)words;                                                                               \
        return ((int (*)(PARAMETERS(TYPE, ##__VA_ARGS__)))symbol)(                                 \
            COMMAS(ARGUMENT, ##__VA_ARGS__));                                                      \
    }
ALL_CALLS(CALL)
#undef CALL

#define CALL(name, ...) call_##name,
static int (*const typed_calls[])(void *, const uintptr_t *) = {ALL_CALLS(CALL)};
#undef CALL

/* hipDeviceProp_t is 792 bytes before HIP 6 and 1472 after; leave room for what comes. */
enum { BUFFER_SIZE = 16384 };

static _Atomic uint64_t callbacks;
static _Atomic uintptr_t callback_stream;

static void on_callback(void *stream, int status, void *user)
{
    (void)status;
    (void)user;
    atomic_store_explicit(&callback_stream, (uintptr_t)stream, memory_order_relaxed);
    atomic_fetch_add_explicit(&callbacks, 1, memory_order_relaxed);
}

static void on_host_function(void *user)
{
    on_callback(NULL, 0, user);
}

/* What XSched's LaunchCallback is given: an event, and how to record one. */
typedef struct {
    int (*record)(void *event, void *stream);
    void *event;
} launch;

enum { XSCHED_SUCCESS = 0, XSCHED_ERROR_HARDWARE = 1 };

static int on_launch(uint64_t queue, void *given)
{
    const launch *asked = given;
    /* A hardware queue's handle is its stream (XpuOS/xsched, handle.h of each platform's HAL). */
    int error = asked->record ? asked->record(asked->event, (void *)(uintptr_t)queue) : -1;
    return error ? XSCHED_ERROR_HARDWARE : XSCHED_SUCCESS;
}

/* Kept to the process's end: XSched launches when it likes. */
static void *launched(int32_t library, uint64_t event)
{
    launch *made = calloc(1, sizeof *made);
    if (made) {
        *(void **)&made->record = xd_symbol_behind(library, CALL_EventRecord);
        made->event = (void *)(uintptr_t)event;
    }
    return made;
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
            else if (call->kinds[i] == KIND_HOST_FUNCTION)
                words[i] = (uintptr_t)on_host_function;
            else if (call->kinds[i] == KIND_LAUNCH)
                words[i] = (uintptr_t)on_launch;
            else if (call->kinds[i] == KIND_LAUNCHED)
                words[i] = (uintptr_t)launched(request->runtime, request->args[i]);
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

int32_t xd_driver_call_count(void) { return DRIVER_CALL_COUNT; }

const xd_call *xd_call_at(int32_t index)
{
    return index >= 0 && index < CALL_COUNT ? &calls[index] : NULL;
}

int32_t xd_kind_count(void) { return KIND_COUNT; }

const xd_kind *xd_kind_at(int32_t index)
{
    return index >= 0 && index < KIND_COUNT ? &kinds[index] : NULL;
}

int32_t xd_error_count(int32_t platform)
{
    switch (platform) {
    case XD_XSCHED: return (int32_t)(sizeof xsched_errors / sizeof xsched_errors[0]);
    case XD_CUDA: return (int32_t)(sizeof cuda_errors / sizeof cuda_errors[0]);
    default: return (int32_t)(sizeof hip_errors / sizeof hip_errors[0]);
    }
}

const xd_error *xd_error_at(int32_t platform, int32_t index)
{
    if (index < 0 || index >= xd_error_count(platform))
        return NULL;
    switch (platform) {
    case XD_XSCHED: return &xsched_errors[index];
    case XD_CUDA: return &cuda_errors[index];
    default: return &hip_errors[index];
    }
}

int32_t xd_buffer_size(void) { return BUFFER_SIZE; }

uint64_t xd_callbacks_seen(void) { return atomic_load_explicit(&callbacks, memory_order_relaxed); }

uint64_t xd_callback_stream(void) { return atomic_load_explicit(&callback_stream, memory_order_relaxed); }
