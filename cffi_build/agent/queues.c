/* AQL queues: one thread each, which takes packets in order and retires them.
 *
 * A barrier packet waits for its signals. A kernel dispatch runs the kernel if it is one of those
 * in blits.c and otherwise does nothing, for as long as XDIAG_AGENT_DISPATCH_US says.
 */
#include "agent.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PACKET_BYTES = 64 };

struct work {
    amd_queue_t abi; /* first: a runtime holds the address of its hsa_queue_t */
    struct agent *agent;
    struct signal *doorbell;
    void (*on_error)(hsa_status_t, hsa_queue_t *, void *);
    void *on_error_data;
    pthread_t thread;
    pid_t process; /* where the thread lives: not in a forked child */
    atomic_bool stop;
    _Atomic(struct signal *) sleeps_on; /* where to look for the thread when it must stop */
};

/* A packet as read from the ring; all formats share the header and the completion signal. */
union packet {
    struct {
        uint16_t header;
        uint16_t setup; /* vendor packets: the format, in the low byte */
        uint8_t body[52];
        hsa_signal_t completion_signal;
    } any;
    hsa_kernel_dispatch_packet_t dispatch;
    hsa_barrier_and_packet_t barrier;
    hsa_amd_barrier_value_packet_t barrier_value;
};
_Static_assert(sizeof(union packet) == PACKET_BYTES, "an AQL packet has 64 bytes");

/* The first word of a packet holds header and setup; a producer writes it last, in one store. */
static uint32_t *packet_word(const struct work *queue, uint64_t index)
{
    uint8_t *ring = queue->abi.hsa_queue.base_address;
    return (uint32_t *)(void *)(ring + index % queue->abi.hsa_queue.size * PACKET_BYTES);
}

static unsigned packet_type(uint32_t word)
{
    return word & ((1u << HSA_PACKET_HEADER_WIDTH_TYPE) - 1);
}

/* ------------------------------------------------------------------------------------- sleeping */

bool work_cancelled(const struct work *queue)
{
    return atomic_load(&queue->stop);
}

/* Sleeps until `done` or until the queue is destroyed; false in the latter case. */
static bool wait_until(struct work *queue, struct signal *signal, uint64_t longest,
                       bool (*done)(struct work *, struct signal *, const void *), const void *data)
{
    if (done(queue, signal, data))
        return true;
    bool stopped, met;
    do {
        atomic_store(&queue->sleeps_on, signal);
        uint32_t generation = signal_sleep_begin(signal);
        stopped = work_cancelled(queue);
        met = done(queue, signal, data);
        if (!stopped && !met)
            signal_sleep(signal, generation, longest);
        signal_sleep_end(signal);
    } while (!stopped && !met);
    atomic_store(&queue->sleeps_on, NULL);
    return met;
}

static void stop_thread(struct work *queue)
{
    atomic_store(&queue->stop, true);
    /* The thread names its signal before it looks at `stop`, so one of the two sees the other. */
    struct signal *signal = atomic_load(&queue->sleeps_on);
    if (signal != NULL)
        signal_nudge(signal);
    pthread_join(queue->thread, NULL);
}

/* -------------------------------------------------------------------------------------- packets */

/* Slots should start as INVALID packets. Writing that into a ring of a megabyte would touch all its
 * pages and make the first stream a millisecond dearer, so they start as zero, which is no packet
 * either: a vendor packet has type 0 but a format, or a command, in the rest of the word. */
static bool packet_arrived(struct work *queue, struct signal *doorbell, const void *index)
{
    (void)doorbell;
    uint32_t word = __atomic_load_n(packet_word(queue, *(const uint64_t *)index), __ATOMIC_ACQUIRE);
    return word != 0 && packet_type(word) != HSA_PACKET_TYPE_INVALID;
}

static bool is_zero(struct work *queue, struct signal *signal, const void *unused)
{
    (void)queue, (void)unused;
    return signal_load(signal) == 0;
}

static bool value_condition(struct work *queue, struct signal *signal, const void *data)
{
    (void)queue;
    const hsa_amd_barrier_value_packet_t *packet = data;
    return condition_holds(packet->cond, signal_load(signal) & packet->mask, packet->value);
}

static bool wait_for_all(struct work *queue, const hsa_barrier_and_packet_t *packet)
{
    for (int i = 0; i < 5; i++) {
        struct signal *signal = signal_from_handle(packet->dep_signal[i]);
        if (signal != NULL && !wait_until(queue, signal, FOREVER, is_zero, NULL))
            return false;
    }
    return true;
}

static bool any_is_zero(struct work *queue, struct signal *unused, const void *data)
{
    (void)queue, (void)unused;
    const hsa_barrier_and_packet_t *packet = data;
    bool any = false;
    for (int i = 0; i < 5; i++) {
        struct signal *signal = signal_from_handle(packet->dep_signal[i]);
        any |= signal != NULL;
        if (signal != NULL && signal_load(signal) == 0)
            return true;
    }
    return !any;
}

/* A sleeper sleeps on one signal, so the others are looked at from time to time. No HIP runtime
 * is known to send this packet. */
static bool wait_for_any(struct work *queue, const hsa_barrier_and_packet_t *packet)
{
    struct signal *first = NULL;
    for (int i = 4; i >= 0; i--)
        if (packet->dep_signal[i].handle != 0)
            first = signal_from_handle(packet->dep_signal[i]);
    return first == NULL || wait_until(queue, first, 200000, any_is_zero, packet);
}

static bool wait_for_value(struct work *queue, const hsa_amd_barrier_value_packet_t *packet)
{
    struct signal *signal = signal_from_handle(packet->signal);
    return signal == NULL || wait_until(queue, signal, FOREVER, value_condition, packet);
}

/* Sleeps once and not longer than this; a doorbell or a destroy wakes early. */
static void nap(struct work *queue, uint64_t ns)
{
    atomic_store(&queue->sleeps_on, queue->doorbell);
    uint32_t generation = signal_sleep_begin(queue->doorbell);
    if (!work_cancelled(queue))
        signal_sleep(queue->doorbell, generation, ns);
    signal_sleep_end(queue->doorbell);
    atomic_store(&queue->sleeps_on, NULL);
}

static bool run_dispatch(struct work *queue, const hsa_kernel_dispatch_packet_t *packet,
                         uint64_t start)
{
    blit_function blit = loader_blit(packet->kernel_object);
    if (blit != NULL && packet->kernarg_address != NULL)
        blit(packet->kernarg_address, queue);
    uint64_t passed;
    while ((passed = now_ns() - start) < knobs.dispatch_ns && !work_cancelled(queue))
        nap(queue, knobs.dispatch_ns - passed);
    return !work_cancelled(queue);
}

/* False if the queue was destroyed meanwhile, and the packet with it. */
static bool run_packet(struct work *queue, const union packet *packet, uint64_t start)
{
    switch (packet_type(packet->any.header)) {
    case HSA_PACKET_TYPE_KERNEL_DISPATCH:
        return run_dispatch(queue, &packet->dispatch, start);
    case HSA_PACKET_TYPE_BARRIER_AND:
        return wait_for_all(queue, &packet->barrier);
    case HSA_PACKET_TYPE_BARRIER_OR:
        return wait_for_any(queue, &packet->barrier);
    case HSA_PACKET_TYPE_VENDOR_SPECIFIC:
        /* The other vendor format carries commands for hardware counters: done at once. */
        return packet->barrier_value.amd_format != HSA_AMD_PACKET_TYPE_BARRIER_VALUE ||
               wait_for_value(queue, &packet->barrier_value);
    case HSA_PACKET_TYPE_AGENT_DISPATCH:
        return true;
    default:
        if (queue->on_error != NULL)
            queue->on_error(HSA_STATUS_ERROR_INVALID_PACKET_FORMAT, &queue->abi.hsa_queue,
                            queue->on_error_data);
        return true;
    }
}

static void *queue_body(void *argument)
{
    struct work *queue = argument;
    thread_named("xdiag-queue");
    for (uint64_t index = 0;; index++) {
        if (!wait_until(queue, queue->doorbell, FOREVER, packet_arrived, &index))
            return NULL;
        uint64_t start = now_ns();
        uint32_t *word = packet_word(queue, index);
        union packet packet;
        memcpy(&packet, word, sizeof packet);
        if (work_cancelled(queue) || !run_packet(queue, &packet, start))
            return NULL;
        __atomic_store_n(word, HSA_PACKET_TYPE_INVALID, __ATOMIC_RELAXED);
        __atomic_store_n(&queue->abi.read_dispatch_id, index + 1, __ATOMIC_RELEASE);
        signal_complete(signal_from_handle(packet.any.completion_signal), start, now_ns());
    }
}

/* ----------------------------------------------------------------------------- the public calls */

static struct work *work_from(const hsa_queue_t *queue)
{
    return (struct work *)(uintptr_t)queue;
}

static size_t ring_bytes(const struct work *queue)
{
    return (size_t)queue->abi.hsa_queue.size * PACKET_BYTES;
}

static void queue_free(struct work *queue)
{
    if (queue->doorbell != NULL)
        signal_delete(queue->doorbell);
    if (queue->abi.hsa_queue.base_address != NULL)
        munmap(queue->abi.hsa_queue.base_address, ring_bytes(queue));
    free(queue);
}

EXPORT hsa_status_t hsa_queue_create(hsa_agent_t agent_handle, uint32_t size, uint32_t type,
                                     void (*callback)(hsa_status_t, hsa_queue_t *, void *),
                                     void *data, uint32_t private_segment_size,
                                     uint32_t group_segment_size, hsa_queue_t **out)
{
    static _Atomic uint64_t next_id;
    (void)private_segment_size, (void)group_segment_size;
    struct agent *agent = agent_from_handle(agent_handle);
    if (agent == NULL)
        return HSA_STATUS_ERROR_INVALID_AGENT;
    if (!agent_is_gpu(agent))
        return HSA_STATUS_ERROR_INVALID_QUEUE_CREATION;
    if (out == NULL || size == 0 || (size & (size - 1)) != 0)
        return HSA_STATUS_ERROR_INVALID_ARGUMENT;
    if (driver_is_out_of_reach())
        return HSA_STATUS_ERROR_OUT_OF_RESOURCES;

    void *memory;
    if (posix_memalign(&memory, _Alignof(struct work), sizeof(struct work)) != 0)
        return HSA_STATUS_ERROR_OUT_OF_RESOURCES;
    struct work *queue = memset(memory, 0, sizeof(struct work));
    hsa_queue_t *shared = &queue->abi.hsa_queue;
    shared->size = size;
    void *ring = mmap(NULL, ring_bytes(queue), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                      -1, 0);
    shared->base_address = ring != MAP_FAILED ? ring : NULL;
    queue->doorbell = signal_new(AMD_SIGNAL_KIND_DOORBELL, -1);
    if (shared->base_address == NULL || queue->doorbell == NULL) {
        queue_free(queue);
        return HSA_STATUS_ERROR_OUT_OF_RESOURCES;
    }
    shared->type = type;
    shared->features = HSA_QUEUE_FEATURE_KERNEL_DISPATCH;
    shared->doorbell_signal = signal_handle(queue->doorbell);
    shared->id = atomic_fetch_add(&next_id, 1);
    queue->doorbell->abi.queue_ptr = &queue->abi;
    queue->agent = agent;
    queue->on_error = callback;
    queue->on_error_data = data;
    queue->process = getpid();
    if (!thread_start(&queue->thread, queue_body, queue)) {
        queue_free(queue);
        return HSA_STATUS_ERROR_OUT_OF_RESOURCES;
    }
    *out = shared;
    return HSA_STATUS_SUCCESS;
}

/* Packets still in the ring are dropped, as the interface says. */
EXPORT hsa_status_t hsa_queue_destroy(hsa_queue_t *handle)
{
    if (handle == NULL)
        return HSA_STATUS_ERROR_INVALID_ARGUMENT;
    struct work *queue = work_from(handle);
    /* In a forked child there is no such thread to wait for. */
    if (queue->process == getpid())
        stop_thread(queue);
    queue_free(queue);
    return HSA_STATUS_SUCCESS;
}

EXPORT uint64_t hsa_queue_add_write_index_screlease(const hsa_queue_t *queue, uint64_t value)
{
    return __atomic_fetch_add(&work_from(queue)->abi.write_dispatch_id, value, __ATOMIC_RELEASE);
}

EXPORT uint64_t hsa_queue_load_write_index_relaxed(const hsa_queue_t *queue)
{
    return __atomic_load_n(&work_from(queue)->abi.write_dispatch_id, __ATOMIC_RELAXED);
}

EXPORT uint64_t hsa_queue_load_read_index_relaxed(const hsa_queue_t *queue)
{
    return __atomic_load_n(&work_from(queue)->abi.read_dispatch_id, __ATOMIC_RELAXED);
}

EXPORT uint64_t hsa_queue_load_read_index_scacquire(const hsa_queue_t *queue)
{
    return __atomic_load_n(&work_from(queue)->abi.read_dispatch_id, __ATOMIC_ACQUIRE);
}

/* Times are always taken, so there is nothing to switch on. */
EXPORT hsa_status_t hsa_amd_profiling_set_profiler_enabled(hsa_queue_t *queue, int enable)
{
    (void)enable;
    return queue != NULL ? HSA_STATUS_SUCCESS : HSA_STATUS_ERROR_INVALID_QUEUE;
}

EXPORT hsa_status_t hsa_amd_profiling_async_copy_enable(bool enable)
{
    (void)enable;
    return HSA_STATUS_SUCCESS;
}
