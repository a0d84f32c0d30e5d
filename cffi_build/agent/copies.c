/* Asynchronous copies: each waits for its signals, then runs on the copy thread. */
#include "agent.h"

#include <stdlib.h>
#include <string.h>

struct copy {
    struct watch watch; /* first */
    uint8_t *dst;
    const uint8_t *src;
    size_t width, height, depth;
    size_t dst_pitch, dst_slice, src_pitch, src_slice;
    struct signal *completion;
    unsigned count;
    struct signal *dependencies[];
};

/* A dependency is met when its value is zero (HSA specification, hsa_amd_memory_async_copy). */
static bool copy_ready(struct watch *watch)
{
    struct copy *copy = (struct copy *)watch;
    for (unsigned i = 0; i < copy->count; i++)
        if (signal_load(copy->dependencies[i]) != 0)
            return false;
    return true;
}

static bool copy_polled(struct watch *watch)
{
    struct copy *copy = (struct copy *)watch;
    for (unsigned i = 0; i < copy->count; i++)
        if (atomic_load(&copy->dependencies[i]->exposed))
            return true;
    return false;
}

static void unwatch(struct copy *copy)
{
    for (unsigned i = 0; i < copy->count; i++)
        atomic_fetch_sub(&copy->dependencies[i]->watches[WATCHER_COPIES], 1);
}

static bool copy_run(struct watch *watch)
{
    struct copy *copy = (struct copy *)watch;
    uint64_t start = now_ns();
    for (size_t z = 0; z < copy->depth; z++)
        for (size_t y = 0; y < copy->height; y++)
            memmove(copy->dst + z * copy->dst_slice + y * copy->dst_pitch,
                    copy->src + z * copy->src_slice + y * copy->src_pitch, copy->width);
    unwatch(copy);
    signal_complete(copy->completion, start, now_ns());
    free(copy);
    return false;
}

static hsa_status_t submit(const struct copy *work, uint32_t count, const hsa_signal_t *signals,
                           hsa_signal_t completion)
{
    if (count > 0 && signals == NULL)
        return HSA_STATUS_ERROR_INVALID_ARGUMENT;
    struct copy *copy = malloc(sizeof *copy + count * sizeof *copy->dependencies);
    if (copy == NULL)
        return HSA_STATUS_ERROR_OUT_OF_RESOURCES;
    *copy = *work;
    copy->watch = (struct watch){.ready = copy_ready, .run = copy_run, .polled = copy_polled};
    copy->completion = signal_from_handle(completion);
    copy->count = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (signals[i].handle == 0)
            continue;
        struct signal *dependency = signal_from_handle(signals[i]);
        atomic_fetch_add(&dependency->watches[WATCHER_COPIES], 1);
        copy->dependencies[copy->count++] = dependency;
    }
    if (!watcher_add(WATCHER_COPIES, &copy->watch)) {
        unwatch(copy);
        free(copy);
        return HSA_STATUS_ERROR_OUT_OF_RESOURCES;
    }
    return HSA_STATUS_SUCCESS;
}

EXPORT hsa_status_t hsa_amd_memory_async_copy(void *dst, hsa_agent_t dst_agent, const void *src,
                                              hsa_agent_t src_agent, size_t size,
                                              uint32_t num_dep_signals,
                                              const hsa_signal_t *dep_signals,
                                              hsa_signal_t completion_signal)
{
    (void)dst_agent, (void)src_agent;
    if (dst == NULL || src == NULL)
        return HSA_STATUS_ERROR_INVALID_ARGUMENT;
    struct copy work = {.dst = dst, .src = src, .width = size, .height = 1, .depth = 1};
    return submit(&work, num_dep_signals, dep_signals, completion_signal);
}

EXPORT hsa_status_t hsa_amd_memory_async_copy_on_engine(
    void *dst, hsa_agent_t dst_agent, const void *src, hsa_agent_t src_agent, size_t size,
    uint32_t num_dep_signals, const hsa_signal_t *dep_signals, hsa_signal_t completion_signal,
    int engine_id, bool force_copy_on_sdma)
{
    (void)engine_id, (void)force_copy_on_sdma;
    return hsa_amd_memory_async_copy(dst, dst_agent, src, src_agent, size, num_dep_signals,
                                     dep_signals, completion_signal);
}

EXPORT hsa_status_t hsa_amd_memory_async_copy_rect(
    const hsa_pitched_ptr_t *dst, const hsa_dim3_t *dst_offset, const hsa_pitched_ptr_t *src,
    const hsa_dim3_t *src_offset, const hsa_dim3_t *range, hsa_agent_t copy_agent, int direction,
    uint32_t num_dep_signals, const hsa_signal_t *dep_signals, hsa_signal_t completion_signal)
{
    (void)copy_agent, (void)direction;
    if (dst == NULL || dst_offset == NULL || src == NULL || src_offset == NULL || range == NULL)
        return HSA_STATUS_ERROR_INVALID_ARGUMENT;
    struct copy work = {
        .dst = (uint8_t *)dst->base + dst_offset->z * dst->slice + dst_offset->y * dst->pitch +
               dst_offset->x,
        .src = (const uint8_t *)src->base + src_offset->z * src->slice +
               src_offset->y * src->pitch + src_offset->x,
        .width = range->x,
        .height = range->y,
        .depth = range->z,
        .dst_pitch = dst->pitch,
        .dst_slice = dst->slice,
        .src_pitch = src->pitch,
        .src_slice = src->slice,
    };
    return submit(&work, num_dep_signals, dep_signals, completion_signal);
}

/* Two copy engines, both always free: what hsa_agent_get_info says (NUM_SDMA_ENG). */
EXPORT hsa_status_t hsa_amd_memory_copy_engine_status(hsa_agent_t dst_agent, hsa_agent_t src_agent,
                                                      uint32_t *engine_ids_mask)
{
    (void)dst_agent, (void)src_agent;
    if (engine_ids_mask == NULL)
        return HSA_STATUS_ERROR_INVALID_ARGUMENT;
    *engine_ids_mask = 3;
    return HSA_STATUS_SUCCESS;
}

EXPORT hsa_status_t hsa_amd_memory_get_preferred_copy_engine(hsa_agent_t dst_agent,
                                                             hsa_agent_t src_agent,
                                                             uint32_t *engine_ids_mask)
{
    return hsa_amd_memory_copy_engine_status(dst_agent, src_agent, engine_ids_mask);
}

EXPORT hsa_status_t hsa_memory_copy(void *dst, const void *src, size_t size)
{
    if (dst == NULL || src == NULL)
        return HSA_STATUS_ERROR_INVALID_ARGUMENT;
    memmove(dst, src, size);
    return HSA_STATUS_SUCCESS;
}
