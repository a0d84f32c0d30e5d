/* Signals: 64-bit values that threads, packets and handlers wait for.
 *
 * Whoever changes a value may find that the waiter has already destroyed the signal (it saw the
 * new value and went on). So signals come from slabs that are never given back to the system:
 * a late look at `sleepers` then touches a free or a reused signal, at worst waking someone who
 * looks again and sleeps on.
 */
#include "agent.h"

#include <string.h>
#include <sys/mman.h>

enum { SIGNALS_PER_SLAB = 512 };

/* How often to look at a value that can change without a call into this library. */
static const uint64_t POLL_NS = 1000000;

static pthread_mutex_t free_lock = PTHREAD_MUTEX_INITIALIZER;
static struct signal *free_signals;

static bool add_slab(void)
{
    struct signal *slab = mmap(NULL, SIGNALS_PER_SLAB * sizeof *slab, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (slab == MAP_FAILED)
        return false;
    for (int i = SIGNALS_PER_SLAB - 1; i >= 0; i--) {
        slab[i].next_free = free_signals;
        free_signals = &slab[i];
    }
    return true;
}

struct signal *signal_new(int64_t kind, hsa_signal_value_t value)
{
    struct signal *signal = NULL;
    pthread_mutex_lock(&free_lock);
    if (free_signals != NULL || add_slab()) {
        signal = free_signals;
        free_signals = signal->next_free;
    }
    pthread_mutex_unlock(&free_lock);
    if (signal == NULL)
        return NULL;
    /* sleepers, generation and watches stay as they are: late visitors may still count there. */
    signal->abi.kind = kind;
    signal->abi.queue_ptr = NULL;
    __atomic_store_n(&signal->abi.start_ts, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&signal->abi.end_ts, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&signal->abi.value, value, __ATOMIC_SEQ_CST);
    atomic_store(&signal->exposed, false);
    return signal;
}

void signal_delete(struct signal *signal)
{
    pthread_mutex_lock(&free_lock);
    signal->next_free = free_signals;
    free_signals = signal;
    pthread_mutex_unlock(&free_lock);
}

/* ------------------------------------------------------------------------------ changing values */

static void value_changed(struct signal *signal)
{
    /* Either this sees the sleeper, or the sleeper saw the new value: both sides are seq_cst. */
    if (atomic_load(&signal->sleepers) != 0)
        signal_nudge(signal);
    for (int id = 0; id < WATCHERS; id++)
        if (atomic_load(&signal->watches[id]) != 0)
            watcher_kick((enum watcher_id)id);
}

hsa_signal_value_t signal_load(struct signal *signal)
{
    return __atomic_load_n(&signal->abi.value, __ATOMIC_SEQ_CST);
}

void signal_store(struct signal *signal, hsa_signal_value_t value)
{
    __atomic_store_n(&signal->abi.value, value, __ATOMIC_SEQ_CST);
    value_changed(signal);
}

void signal_add(struct signal *signal, hsa_signal_value_t value)
{
    __atomic_fetch_add(&signal->abi.value, value, __ATOMIC_SEQ_CST);
    value_changed(signal);
}

void signal_complete(struct signal *signal, uint64_t start_ns, uint64_t end_ns)
{
    if (signal == NULL)
        return;
    __atomic_store_n(&signal->abi.start_ts, start_ns, __ATOMIC_RELAXED);
    __atomic_store_n(&signal->abi.end_ts, end_ns, __ATOMIC_RELAXED);
    signal_add(signal, -1);
}

/* ------------------------------------------------------------------------------------- sleeping */

uint32_t signal_sleep_begin(struct signal *signal)
{
    atomic_fetch_add(&signal->sleepers, 1);
    return atomic_load(&signal->generation);
}

void signal_sleep(struct signal *signal, uint32_t generation, uint64_t ns)
{
    if (atomic_load(&signal->exposed) && ns > POLL_NS)
        ns = POLL_NS;
    futex_wait(&signal->generation, generation, ns);
}

void signal_sleep_end(struct signal *signal)
{
    atomic_fetch_sub(&signal->sleepers, 1);
}

void signal_nudge(struct signal *signal)
{
    atomic_fetch_add(&signal->generation, 1);
    futex_wake_all(&signal->generation);
}

bool condition_holds(uint32_t condition, hsa_signal_value_t value, hsa_signal_value_t compare)
{
    switch (condition) {
    case HSA_SIGNAL_CONDITION_EQ:
        return value == compare;
    case HSA_SIGNAL_CONDITION_NE:
        return value != compare;
    case HSA_SIGNAL_CONDITION_LT:
        return value < compare;
    default:
        return value >= compare;
    }
}

/* ----------------------------------------------------------------------------- the public calls */

EXPORT hsa_status_t hsa_signal_create(hsa_signal_value_t initial_value, uint32_t num_consumers,
                                      const hsa_agent_t *consumers, hsa_signal_t *signal)
{
    if (signal == NULL || (num_consumers > 0 && consumers == NULL))
        return HSA_STATUS_ERROR_INVALID_ARGUMENT;
    struct signal *created = signal_new(AMD_SIGNAL_KIND_USER, initial_value);
    if (created == NULL)
        return HSA_STATUS_ERROR_OUT_OF_RESOURCES;
    *signal = signal_handle(created);
    return HSA_STATUS_SUCCESS;
}

EXPORT hsa_status_t hsa_amd_signal_create(hsa_signal_value_t initial_value, uint32_t num_consumers,
                                          const hsa_agent_t *consumers, uint64_t attributes,
                                          hsa_signal_t *signal)
{
    (void)attributes;
    return hsa_signal_create(initial_value, num_consumers, consumers, signal);
}

EXPORT hsa_status_t hsa_signal_destroy(hsa_signal_t handle)
{
    if (handle.handle == 0)
        return HSA_STATUS_ERROR_INVALID_ARGUMENT;
    signal_delete(signal_from_handle(handle));
    return HSA_STATUS_SUCCESS;
}

EXPORT hsa_signal_value_t hsa_signal_load_relaxed(hsa_signal_t handle)
{
    return signal_load(signal_from_handle(handle));
}

/* Silent means that nobody who sleeps is woken. */
EXPORT void hsa_signal_silent_store_relaxed(hsa_signal_t handle, hsa_signal_value_t value)
{
    __atomic_store_n(&signal_from_handle(handle)->abi.value, value, __ATOMIC_SEQ_CST);
}

EXPORT void hsa_signal_store_relaxed(hsa_signal_t handle, hsa_signal_value_t value)
{
    signal_store(signal_from_handle(handle), value);
}

EXPORT void hsa_signal_store_screlease(hsa_signal_t handle, hsa_signal_value_t value)
{
    signal_store(signal_from_handle(handle), value);
}

EXPORT void hsa_signal_add_relaxed(hsa_signal_t handle, hsa_signal_value_t value)
{
    signal_add(signal_from_handle(handle), value);
}

EXPORT void hsa_signal_subtract_relaxed(hsa_signal_t handle, hsa_signal_value_t value)
{
    signal_add(signal_from_handle(handle), -value);
}

EXPORT hsa_status_t hsa_amd_signal_value_pointer(hsa_signal_t handle,
                                                 volatile hsa_signal_value_t **ptr)
{
    if (handle.handle == 0)
        return HSA_STATUS_ERROR_INVALID_SIGNAL;
    if (ptr == NULL)
        return HSA_STATUS_ERROR_INVALID_ARGUMENT;
    struct signal *signal = signal_from_handle(handle);
    atomic_store(&signal->exposed, true);
    signal_nudge(signal); /* whoever sleeps on it must begin to look by itself */
    *ptr = &signal->abi.value;
    return HSA_STATUS_SUCCESS;
}

/* Waits asleep even where the caller asks to wait actively: the thread that will change the value
 * is on a CPU too, and on a small machine it is the caller's spinning that would keep it off. */
EXPORT hsa_signal_value_t hsa_signal_wait_scacquire(hsa_signal_t handle, uint32_t condition,
                                                    hsa_signal_value_t compare_value,
                                                    uint64_t timeout, uint32_t wait_state)
{
    (void)wait_state;
    struct signal *signal = signal_from_handle(handle);
    hsa_signal_value_t value = signal_load(signal);
    if (condition_holds(condition, value, compare_value) || timeout == 0)
        return value;

    uint64_t start = now_ns();
    for (;;) {
        uint64_t passed = now_ns() - start;
        uint64_t left = timeout == FOREVER ? FOREVER : timeout > passed ? timeout - passed : 0;
        uint32_t generation = signal_sleep_begin(signal);
        value = signal_load(signal);
        bool finished = condition_holds(condition, value, compare_value) || left == 0;
        if (!finished)
            signal_sleep(signal, generation, left);
        signal_sleep_end(signal);
        if (finished)
            return value;
    }
}

static hsa_status_t copy_times(hsa_signal_t handle, struct hsa_amd_profiling_time *time)
{
    if (handle.handle == 0)
        return HSA_STATUS_ERROR_INVALID_SIGNAL;
    if (time == NULL)
        return HSA_STATUS_ERROR_INVALID_ARGUMENT;
    struct signal *signal = signal_from_handle(handle);
    time->start = __atomic_load_n(&signal->abi.start_ts, __ATOMIC_RELAXED);
    time->end = __atomic_load_n(&signal->abi.end_ts, __ATOMIC_RELAXED);
    return HSA_STATUS_SUCCESS;
}

EXPORT hsa_status_t hsa_amd_profiling_get_dispatch_time(hsa_agent_t agent, hsa_signal_t signal,
                                                        hsa_amd_profiling_dispatch_time_t *time)
{
    (void)agent;
    return copy_times(signal, time);
}

EXPORT hsa_status_t hsa_amd_profiling_get_async_copy_time(hsa_signal_t signal,
                                                          hsa_amd_profiling_async_copy_time_t *time)
{
    return copy_times(signal, time);
}
