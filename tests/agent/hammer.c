/* Uses the software agent from many threads at once, with no HIP runtime in between.
 *
 * Meant to be compiled together with the agent's own sources and a sanitizer: it fails when a
 * result is wrong, the sanitizer when the way there was.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hsa_abi.h"

enum { THREADS = 8, QUEUES = 8, QUEUE_SIZE = 64, BYTES = 4096 };

#define EXPECT(expression)                                                           \
    do {                                                                             \
        if (!(expression)) {                                                         \
            fprintf(stderr, "hammer: line %d: not so: %s\n", __LINE__, #expression); \
            abort();                                                                 \
        }                                                                            \
    } while (0)
#define OK(call) EXPECT((call) == HSA_STATUS_SUCCESS)

static hsa_agent_t gpu, cpu;
static hsa_amd_memory_pool_t device_pool, host_pool;
static int rounds = 60;

/* -------------------------------------------------------------------------------------- finding */

static hsa_status_t take_agent(hsa_agent_t agent, void *data)
{
    uint32_t type;
    (void)data;
    OK(hsa_agent_get_info(agent, HSA_AGENT_INFO_DEVICE, &type));
    if (type == HSA_DEVICE_TYPE_CPU)
        cpu = agent;
    else if (gpu.handle == 0)
        gpu = agent;
    return HSA_STATUS_SUCCESS;
}

static hsa_status_t take_pool(hsa_amd_memory_pool_t pool, void *data)
{
    hsa_amd_memory_pool_t *first = data;
    if (first->handle == 0)
        *first = pool;
    return HSA_STATUS_SUCCESS;
}

/* ----------------------------------------------------------------------------------- submitting */

static hsa_signal_t new_signal(hsa_signal_value_t value)
{
    hsa_signal_t signal;
    OK(hsa_signal_create(value, 0, NULL, &signal));
    return signal;
}

static void wait_zero(hsa_signal_t signal)
{
    EXPECT(hsa_signal_wait_scacquire(signal, HSA_SIGNAL_CONDITION_LT, 1, UINT64_MAX,
                                     HSA_WAIT_STATE_BLOCKED) == 0);
}

static void on_queue_error(hsa_status_t status, hsa_queue_t *queue, void *data)
{
    (void)status, (void)queue, (void)data;
    abort();
}

static hsa_queue_t *new_queue(void)
{
    hsa_queue_t *queue;
    OK(hsa_queue_create(gpu, QUEUE_SIZE, HSA_QUEUE_TYPE_MULTI, on_queue_error, NULL, UINT32_MAX,
                        UINT32_MAX, &queue));
    return queue;
}

/* As a runtime does it: take a slot, write the packet, its first word last, ring the doorbell. */
static void submit(hsa_queue_t *queue, const void *packet, uint32_t first_word)
{
    uint64_t index = hsa_queue_add_write_index_screlease(queue, 1);
    while (index - hsa_queue_load_read_index_scacquire(queue) >= queue->size)
        usleep(50);
    uint8_t *slot = (uint8_t *)queue->base_address + index % queue->size * 64;
    memcpy(slot + 4, (const uint8_t *)packet + 4, 60);
    __atomic_store_n((uint32_t *)(void *)slot, first_word, __ATOMIC_RELEASE);
    hsa_signal_store_screlease(queue->doorbell_signal, (hsa_signal_value_t)index);
}

static void submit_dispatch(hsa_queue_t *queue, hsa_signal_t completion)
{
    hsa_kernel_dispatch_packet_t packet = {.completion_signal = completion};
    submit(queue, &packet, HSA_PACKET_TYPE_KERNEL_DISPATCH | 1 << 16);
}

static void submit_barrier(hsa_queue_t *queue, unsigned type, const hsa_signal_t *dependencies,
                           unsigned count, hsa_signal_t completion)
{
    hsa_barrier_and_packet_t packet = {.completion_signal = completion};
    for (unsigned i = 0; i < count; i++)
        packet.dep_signal[i] = dependencies[i];
    submit(queue, &packet, type | 1 << HSA_PACKET_HEADER_BARRIER);
}

static void submit_value_barrier(hsa_queue_t *queue, hsa_signal_t signal, uint32_t condition,
                                 hsa_signal_value_t value, hsa_signal_t completion)
{
    hsa_amd_barrier_value_packet_t packet = {
        .signal = signal, .value = value, .mask = -1, .cond = condition,
        .completion_signal = completion};
    submit(queue, &packet,
           HSA_PACKET_TYPE_VENDOR_SPECIFIC | HSA_AMD_PACKET_TYPE_BARRIER_VALUE << 16);
}

/* ---------------------------------------------------------------------- many queues, one thread */

struct lane {
    hsa_queue_t *queue;
    hsa_signal_t gate, passed, ran, copied;
    uint8_t *from, *device, *to;
    atomic_int handled;
};

static bool on_copied(hsa_signal_value_t value, void *argument)
{
    struct lane *lane = argument;
    EXPECT(value < 1);
    atomic_fetch_add(&lane->handled, 1);
    return false;
}

static void lane_open(struct lane *lane)
{
    lane->queue = new_queue();
    lane->gate = new_signal(0);
    lane->passed = new_signal(0);
    lane->ran = new_signal(0);
    lane->copied = new_signal(0);
    OK(hsa_amd_memory_pool_allocate(host_pool, BYTES, 0, (void **)&lane->from));
    OK(hsa_amd_memory_pool_allocate(device_pool, BYTES, 0, (void **)&lane->device));
    OK(hsa_amd_memory_pool_allocate(host_pool, BYTES, 0, (void **)&lane->to));
    OK(hsa_amd_agents_allow_access(1, &gpu, NULL, lane->from));
    atomic_init(&lane->handled, 0);
}

static void lane_close(struct lane *lane)
{
    OK(hsa_queue_destroy(lane->queue));
    OK(hsa_signal_destroy(lane->gate));
    OK(hsa_signal_destroy(lane->passed));
    OK(hsa_signal_destroy(lane->ran));
    OK(hsa_signal_destroy(lane->copied));
    OK(hsa_amd_memory_pool_free(lane->from));
    OK(hsa_amd_memory_pool_free(lane->device));
    OK(hsa_amd_memory_pool_free(lane->to));
}

/* gate -> barrier -> dispatch -> copy in -> copy out -> handler */
static void lane_start(struct lane *lane, int round)
{
    memset(lane->from, round, BYTES);
    memset(lane->to, ~round, BYTES);
    hsa_signal_store_relaxed(lane->gate, 1);
    hsa_signal_silent_store_relaxed(lane->passed, 1);
    hsa_signal_silent_store_relaxed(lane->ran, 1);
    hsa_signal_silent_store_relaxed(lane->copied, 2);
    submit_barrier(lane->queue, HSA_PACKET_TYPE_BARRIER_AND, &lane->gate, 1, lane->passed);
    submit_dispatch(lane->queue, lane->ran);
    OK(hsa_amd_memory_async_copy(lane->device, gpu, lane->from, cpu, BYTES, 1, &lane->ran,
                                 lane->copied));
    OK(hsa_amd_signal_async_handler(lane->copied, HSA_SIGNAL_CONDITION_LT, 1, on_copied, lane));
}

static void lane_finish(struct lane *lane, int round)
{
    hsa_amd_profiling_dispatch_time_t time;
    wait_zero(lane->ran);
    EXPECT(hsa_signal_load_relaxed(lane->passed) == 0);
    OK(hsa_amd_profiling_get_dispatch_time(gpu, lane->ran, &time));
    EXPECT(time.start > 0 && time.end >= time.start);
    EXPECT(hsa_signal_wait_scacquire(lane->copied, HSA_SIGNAL_CONDITION_LT, 2, UINT64_MAX,
                                     HSA_WAIT_STATE_ACTIVE) == 1);
    OK(hsa_amd_memory_async_copy(lane->to, cpu, lane->device, gpu, BYTES, 0, NULL, lane->copied));
    wait_zero(lane->copied);
    EXPECT(memcmp(lane->from, lane->to, BYTES) == 0);
    while (atomic_load(&lane->handled) <= round)
        usleep(50);
    EXPECT(atomic_load(&lane->handled) == round + 1);
}

static void *many_queues(void *unused)
{
    static _Thread_local struct lane lanes[QUEUES];
    (void)unused;
    for (int i = 0; i < QUEUES; i++)
        lane_open(&lanes[i]);
    for (int round = 0; round < rounds; round++) {
        for (int i = 0; i < QUEUES; i++)
            lane_start(&lanes[i], round);
        for (int i = QUEUES - 1; i >= 0; i--)
            hsa_signal_subtract_relaxed(lanes[i].gate, 1);
        for (int i = 0; i < QUEUES; i++)
            lane_finish(&lanes[i], round);
    }
    for (int i = 0; i < QUEUES; i++)
        lane_close(&lanes[i]);
    return NULL;
}

/* ---------------------------------------------------------------------- many threads, one queue */

static hsa_queue_t *shared_queue;

static void *one_queue(void *unused)
{
    (void)unused;
    for (int round = 0; round < rounds; round++) {
        hsa_signal_t all = new_signal(20);
        for (int i = 0; i < 20; i++)
            submit_dispatch(shared_queue, all);
        wait_zero(all);
        OK(hsa_signal_destroy(all));
    }
    return NULL;
}

/* ---------------------------------------------------------------- coming and going, odd packets */

static void *churn(void *unused)
{
    (void)unused;
    for (int round = 0; round < rounds; round++) {
        hsa_queue_t *queue = new_queue();
        hsa_signal_t never = new_signal(1), soon = new_signal(1), both[] = {never, soon};
        hsa_signal_t done = new_signal(3);
        submit_barrier(queue, HSA_PACKET_TYPE_BARRIER_OR, both, 2, done);
        submit_value_barrier(queue, soon, HSA_SIGNAL_CONDITION_EQ, -7, done);
        submit_barrier(queue, HSA_PACKET_TYPE_BARRIER_AND, NULL, 0, done);
        hsa_signal_store_screlease(soon, 0);
        hsa_signal_add_relaxed(soon, -7);
        EXPECT(hsa_signal_wait_scacquire(soon, HSA_SIGNAL_CONDITION_GTE, 1, 1000,
                                         HSA_WAIT_STATE_BLOCKED) == -7);
        /* The OR barrier may have slept through the moment at zero; then `never` lets it pass. */
        hsa_signal_store_relaxed(never, 0);
        wait_zero(done);

        /* Destroyed while its thread waits for something that does not come. */
        hsa_signal_store_relaxed(never, 1);
        hsa_signal_store_relaxed(done, 1);
        submit_barrier(queue, HSA_PACKET_TYPE_BARRIER_AND, &never, 1, done);
        if (round % 2)
            usleep(200);
        OK(hsa_queue_destroy(queue));
        EXPECT(hsa_signal_load_relaxed(done) == 1);

        char host[256];
        void *locked;
        hsa_amd_pointer_info_t info = {.size = sizeof info};
        OK(hsa_amd_memory_lock_to_pool(host, sizeof host, &gpu, 1, host_pool, 0, &locked));
        OK(hsa_amd_pointer_info(host + 10, &info, NULL, NULL, NULL));
        EXPECT(locked == host && info.type == HSA_EXT_POINTER_TYPE_LOCKED &&
               info.hostBaseAddress == host && info.sizeInBytes == sizeof host);
        OK(hsa_amd_memory_unlock(host));
        EXPECT(hsa_amd_memory_unlock(host) != HSA_STATUS_SUCCESS);
        OK(hsa_signal_destroy(never));
        OK(hsa_signal_destroy(soon));
        OK(hsa_signal_destroy(done));
    }
    return NULL;
}

static void run_threads(void *(*body)(void *))
{
    pthread_t thread[THREADS];
    for (int i = 0; i < THREADS; i++)
        EXPECT(pthread_create(&thread[i], NULL, body, NULL) == 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
}

/* --------------------------------------------------------------------------------- after a fork */

/* The agent's threads do not exist in a child; nothing there may crash. */
static void forked_child(hsa_queue_t *inherited)
{
    hsa_signal_t signal = new_signal(1);
    void *memory;
    submit_dispatch(inherited, signal);
    EXPECT(hsa_signal_wait_scacquire(signal, HSA_SIGNAL_CONDITION_LT, 1, 20000000,
                                     HSA_WAIT_STATE_BLOCKED) == 1);
    /* AMD's user-mode driver refuses what needs the kernel's in a forked child. */
    hsa_queue_t *queue;
    EXPECT(hsa_amd_memory_pool_allocate(device_pool, BYTES, 0, &memory) ==
           HSA_STATUS_ERROR_OUT_OF_RESOURCES);
    EXPECT(hsa_queue_create(gpu, 64, HSA_QUEUE_TYPE_MULTI, NULL, NULL, 0, 0, &queue) ==
           HSA_STATUS_ERROR_OUT_OF_RESOURCES);
    OK(hsa_init());
    OK(hsa_queue_destroy(inherited));
    OK(hsa_signal_destroy(signal));
    _exit(0);
}

static void fork_check(void)
{
    hsa_queue_t *queue = new_queue();
    int status;
    pid_t child = fork();
    EXPECT(child >= 0);
    if (child == 0)
        forked_child(queue);
    EXPECT(waitpid(child, &status, 0) == child && status == 0);
    hsa_signal_t signal = new_signal(1);
    submit_dispatch(queue, signal);
    wait_zero(signal);
    OK(hsa_signal_destroy(signal));
    OK(hsa_queue_destroy(queue));
}

int main(int argc, char **argv)
{
    hsa_amd_pointer_info_t info = {.size = sizeof info};
    uint64_t memory;
    if (argc > 1)
        rounds = atoi(argv[1]);
    OK(hsa_init());
    OK(hsa_iterate_agents(take_agent, NULL));
    OK(hsa_amd_agent_iterate_memory_pools(gpu, take_pool, &device_pool));
    OK(hsa_amd_agent_iterate_memory_pools(cpu, take_pool, &host_pool));
    EXPECT(hsa_amd_memory_pool_free(&memory) != HSA_STATUS_SUCCESS);
    OK(hsa_amd_pointer_info(&memory, &info, NULL, NULL, NULL));
    EXPECT(info.type == HSA_EXT_POINTER_TYPE_UNKNOWN);

    run_threads(many_queues);
    shared_queue = new_queue();
    run_threads(one_queue);
    OK(hsa_queue_destroy(shared_queue));
    run_threads(churn);
    fork_check();

    /* Everything was given back. */
    OK(hsa_agent_get_info(gpu, HSA_AMD_AGENT_INFO_MEMORY_AVAIL, &memory));
    EXPECT(memory == (uint64_t)16384 << 20);
    puts("hammered");
    return 0;
}
