/*
 * What programs call instead of the runtime while they are recorded: a function per call of the list
 * in calls.h and per loaded copy, with the call's own types, that notes the call, makes it, and notes
 * what came back.
 */
#include "audit.h"

#include <stdatomic.h>
#include <string.h>

#include "calls.h"

#define KIND(name, type, direction) KIND_##name,
enum { XDIAG_KINDS(KIND) KIND_COUNT };
#undef KIND

/* An argument as a word: its bytes. */
#define KIND(name, type, direction)                                                                \
    typedef type type_##name;                                                                      \
    static inline uint64_t word_##name(type value)                                                 \
    {                                                                                              \
        uint64_t word = 0;                                                                         \
        memcpy(&word, &value, sizeof value < sizeof word ? sizeof value : sizeof word);            \
        return word;                                                                               \
    }
XDIAG_KINDS(KIND)
#undef KIND

#define CALL(name, ...) CALL_##name,
enum { XDIAG_CALLS(CALL) CALL_COUNT };
#undef CALL

enum { RETURNS_DEVICE_OR_MINUS_ONE, RETURNS_STATUS };

/* Unfinished work (hipErrorNotReady) is an answer. */
enum { NOT_READY = 600 };

typedef struct {
    bool taken;
    uint16_t object;            /* number in the record; 0: beyond what a call has room for */
    void *_Atomic targets[CALL_COUNT];
} slot;
static slot slots[SLOTS];

/* Kept long: what makes a handle or ends one. */
static inline __attribute__((always_inline)) bool is_of_life(int call, bool makes_stream)
{
    return makes_stream || call == CALL_StreamDestroy || call == CALL_DeviceReset ||
           call == CALL_DevicePrimaryCtxReset || call == CALL_CtxCreate || call == CALL_CtxDestroy ||
           call == CALL_Init;
}

/* They repeat what another call returned, and fail in nothing. */
static inline __attribute__((always_inline)) bool is_repeated(int call)
{
    return call == CALL_GetLastError || call == CALL_PeekAtLastError;
}

static inline __attribute__((always_inline)) void note_input(record_call *r, int kind, uint64_t word)
{
    if (kind == KIND_STREAM)
        r->stream = word;
    else if (kind == KIND_EVENT || kind == KIND_CONTEXT || kind == KIND_GRAPH)
        r->other = word;
    else if ((kind == KIND_DEVICE || kind == KIND_U32 || kind == KIND_I32) && !r->extra)
        r->extra = word;
}

static inline __attribute__((always_inline)) void note_output(record_call *r, int kind, uint64_t word)
{
    if (!word)
        return;
    if (kind == KIND_NEW_STREAM)
        r->stream = *(uint64_t *)word;
    else if (kind == KIND_NEW_EVENT || kind == KIND_NEW_CONTEXT || kind == KIND_NEW_GRAPH)
        r->other = *(uint64_t *)word;
    else if (kind == KIND_OUT_DEVICE)
        r->extra = *(uint32_t *)word;
}

/* The count before; in one instruction, which no signal comes into.  No other thread counts here. */
static inline __attribute__((always_inline)) uint64_t count_up(uint64_t *count)
{
#if defined __x86_64__
    uint64_t before = 1;
    __asm__ volatile("xaddq %0, %1" : "+r"(before), "+m"(*count) : : "cc");
    return before;
#else
    return __atomic_fetch_add(count, 1, __ATOMIC_RELAXED);
#endif
}

static inline __attribute__((always_inline)) record_call *begin(int call, const slot *s, bool life,
                                                                void *caller)
{
    thread_state *t = &thread_here;
    if (__builtin_expect(t->generation != generation_now(), 0))
        thread_attach();
    /* Counted before it is written: a signal's handler that makes a call has the next place. */
    uint64_t place = count_up(life ? &t->block->life_count : &t->block->recent_count);
    record_call *r = life ? &t->life[place & t->life_mask] : &t->recent[place & t->recent_mask];
    r->position = 0;
    atomic_signal_fence(memory_order_seq_cst);
    r->ended = 0;
    r->stream = r->other = r->extra = 0;
    r->caller = (uint64_t)caller;
    r->call = (uint16_t)call;
    r->object = s->object;
    r->result = 0;
    r->begun = record_ticks();
    atomic_signal_fence(memory_order_seq_cst);
    r->position = place + 1;
    return r;
}

#define PARAMETER(place, kind) type_##kind a##place
#define VALUE(place, kind) a##place
#define NOTE_INPUT(place, kind) note_input(r, KIND_##kind, word_##kind(a##place));
#define NOTE_OUTPUT(place, kind) note_output(r, KIND_##kind, word_##kind(a##place));
#define MAKES_STREAM(place, kind) || KIND_##kind == KIND_NEW_STREAM

#define WRAPPER(number, name, returns, ...)                                                        \
    static int wrapper_##number##_##name(PARAMETERS(PARAMETER, ##__VA_ARGS__))                     \
    {                                                                                              \
        slot *s = &slots[number];                                                                  \
        const bool life = is_of_life(CALL_##name, false EACH(MAKES_STREAM, ##__VA_ARGS__));        \
        record_call *r = begin(CALL_##name, s, life, __builtin_return_address(0));                 \
        EACH(NOTE_INPUT, ##__VA_ARGS__)                                                            \
        int (*target)(PARAMETERS(PARAMETER, ##__VA_ARGS__)) =                                      \
            atomic_load_explicit(&s->targets[CALL_##name], memory_order_relaxed);                  \
        int result = target(COMMAS(VALUE, ##__VA_ARGS__));                                         \
        r->result = result;                                                                        \
        const bool status = RETURNS_##returns == RETURNS_STATUS;                                   \
        if (status ? result == 0 : result >= 0) {                                                  \
            EACH(NOTE_OUTPUT, ##__VA_ARGS__)                                                       \
        }                                                                                          \
        r->ended = record_ticks();                                                                 \
        if (__builtin_expect(status ? result != 0 && result != NOT_READY : result < 0, 0) &&       \
            !is_repeated(CALL_##name))                                                             \
            call_failed(r);                                                                        \
        return result;                                                                             \
    }

#define CALL(name, hip, cuda, returns, ...) WRAPPER(0, name, returns, ##__VA_ARGS__)
XDIAG_CALLS(CALL)
#undef CALL
#define CALL(name, hip, cuda, returns, ...) WRAPPER(1, name, returns, ##__VA_ARGS__)
XDIAG_CALLS(CALL)
#undef CALL
#define CALL(name, hip, cuda, returns, ...) WRAPPER(2, name, returns, ##__VA_ARGS__)
XDIAG_CALLS(CALL)
#undef CALL
#define CALL(name, hip, cuda, returns, ...) WRAPPER(3, name, returns, ##__VA_ARGS__)
XDIAG_CALLS(CALL)
#undef CALL
#define CALL(name, hip, cuda, returns, ...) WRAPPER(4, name, returns, ##__VA_ARGS__)
XDIAG_CALLS(CALL)
#undef CALL
#define CALL(name, hip, cuda, returns, ...) WRAPPER(5, name, returns, ##__VA_ARGS__)
XDIAG_CALLS(CALL)
#undef CALL

/* A symbol per entry; of a call that goes by several, each. */
typedef struct {
    const char *hip;
    void *wrappers[SLOTS];
} entry;
#define CALL(name, hip, cuda, returns, ...)                                                        \
    {hip,                                                                                          \
     {(void *)wrapper_0_##name, (void *)wrapper_1_##name, (void *)wrapper_2_##name,                \
      (void *)wrapper_3_##name, (void *)wrapper_4_##name, (void *)wrapper_5_##name}},
static const entry entries[] = {XDIAG_CALLS(CALL)};
#undef CALL

static bool is_one_of(const char *symbol, const char *names)
{
    size_t length = strlen(symbol);
    for (const char *at = names; (at = strstr(at, symbol)); at += length)
        if ((at == names || at[-1] == '|') && (at[length] == 0 || at[length] == '|'))
            return true;
    return false;
}

uintptr_t wrapper_for(const runtime *of, const char *symbol, uintptr_t target)
{
    if (of->slot < 0 || strncmp(symbol, "hip", 3) != 0)
        return target;
    for (int call = 0; call < CALL_COUNT; call++) {
        if (!is_one_of(symbol, entries[call].hip))
            continue;
        /* One target per call: a second symbol of the same call stays as it is. */
        void *none = NULL;
        if (atomic_compare_exchange_strong(&slots[of->slot].targets[call], &none, (void *)target) ||
            none == (void *)target)
            return (uintptr_t)entries[call].wrappers[of->slot];
        return target;
    }
    return target;
}

int slot_take(uint32_t object_number)
{
    for (int i = 0; i < SLOTS; i++) {
        if (slots[i].taken)
            continue;
        for (int call = 0; call < CALL_COUNT; call++)
            atomic_store(&slots[i].targets[call], NULL);
        slots[i].taken = true;
        slots[i].object = object_number <= UINT16_MAX ? (uint16_t)object_number : 0;
        return i;
    }
    atomic_fetch_add((_Atomic uint64_t *)&record->runtimes_not_wrapped, 1);
    return -1;
}

/* Its targets and its number stay until another copy has the slot: the program's last calls, from
 * destructors and threads that run on, come after the loader has said that the copy is closed. */
void slot_release(int number) { slots[number].taken = false; }
