/* Allocations from the pools, locked host memory, and what a pointer is.
 *
 * Host and "device" share one address space here: every allocation is anonymous memory, mapped
 * when first touched.
 */
#include "agent.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static size_t round_up_to_page(size_t size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return (size + page - 1) / page * page;
}

EXPORT hsa_status_t hsa_amd_memory_pool_allocate(hsa_amd_memory_pool_t handle, size_t size,
                                                 uint32_t flags, void **ptr)
{
    (void)flags;
    struct pool *pool = pool_from_handle(handle);
    if (pool == NULL)
        return HSA_STATUS_ERROR_INVALID_MEMORY_POOL;
    if (ptr == NULL || size == 0 || pool->segment != HSA_AMD_SEGMENT_GLOBAL)
        return HSA_STATUS_ERROR_INVALID_ARGUMENT;
    if (size > pool->size)
        return HSA_STATUS_ERROR_INVALID_ALLOCATION;
    if (driver_is_out_of_reach())
        return HSA_STATUS_ERROR_OUT_OF_RESOURCES;

    size_t bytes = round_up_to_page(size);
    _Atomic uint64_t *allocated = &pool->owner->allocated;
    if (atomic_fetch_add(allocated, bytes) + bytes <= pool->size) {
        void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory != MAP_FAILED) {
            if (ranges_add(ranges_allocations(), memory, bytes, pool)) {
                *ptr = memory;
                return HSA_STATUS_SUCCESS;
            }
            munmap(memory, bytes);
        }
    }
    atomic_fetch_sub(allocated, bytes);
    return HSA_STATUS_ERROR_OUT_OF_RESOURCES;
}

EXPORT hsa_status_t hsa_amd_memory_pool_free(void *ptr)
{
    struct range range;
    if (ptr == NULL)
        return HSA_STATUS_SUCCESS;
    if (!ranges_remove(ranges_allocations(), ptr, &range))
        return HSA_STATUS_ERROR_INVALID_ALLOCATION;
    atomic_fetch_sub(&((struct pool *)range.value)->owner->allocated, range.end - range.start);
    munmap(ptr, range.end - range.start);
    return HSA_STATUS_SUCCESS;
}

/* Every agent reaches all memory; what can be wrong is the pointer. */
EXPORT hsa_status_t hsa_amd_agents_allow_access(uint32_t num_agents, const hsa_agent_t *agents,
                                                const uint32_t *flags, const void *ptr)
{
    struct range range;
    if (num_agents == 0 || agents == NULL || flags != NULL || ptr == NULL)
        return HSA_STATUS_ERROR_INVALID_ARGUMENT;
    return ranges_find(ranges_allocations(), ptr, &range) ? HSA_STATUS_SUCCESS
                                                          : HSA_STATUS_ERROR_INVALID_ALLOCATION;
}

/* --------------------------------------------------------------------------- locked host memory */

/* The same memory may be locked several times, in overlapping pieces, by several threads. */
struct lock {
    struct lock *next;
    uintptr_t start, end;
    struct agent *agent;
};

static pthread_mutex_t locks_lock = PTHREAD_MUTEX_INITIALIZER;
static struct lock *locks;

EXPORT hsa_status_t hsa_amd_memory_lock_to_pool(void *host_ptr, size_t size, hsa_agent_t *agents,
                                                int num_agents, hsa_amd_memory_pool_t pool_handle,
                                                uint32_t flags, void **agent_ptr)
{
    (void)agents, (void)num_agents, (void)flags;
    struct pool *pool = pool_from_handle(pool_handle);
    if (host_ptr == NULL || size == 0 || agent_ptr == NULL)
        return HSA_STATUS_ERROR_INVALID_ARGUMENT;
    if (driver_is_out_of_reach())
        return HSA_STATUS_ERROR_OUT_OF_RESOURCES;
    struct lock *lock = malloc(sizeof *lock);
    if (lock == NULL)
        return HSA_STATUS_ERROR_OUT_OF_RESOURCES;
    *lock = (struct lock){
        .start = (uintptr_t)host_ptr,
        .end = (uintptr_t)host_ptr + size,
        .agent = pool != NULL ? pool->owner : NULL,
    };
    pthread_mutex_lock(&locks_lock);
    lock->next = locks;
    locks = lock;
    pthread_mutex_unlock(&locks_lock);
    *agent_ptr = host_ptr;
    return HSA_STATUS_SUCCESS;
}

EXPORT hsa_status_t hsa_amd_memory_unlock(void *host_ptr)
{
    pthread_mutex_lock(&locks_lock);
    struct lock **link = &locks;
    while (*link != NULL && (*link)->start != (uintptr_t)host_ptr)
        link = &(*link)->next;
    struct lock *found = *link;
    if (found != NULL)
        *link = found->next;
    pthread_mutex_unlock(&locks_lock);
    free(found);
    return found != NULL ? HSA_STATUS_SUCCESS : HSA_STATUS_ERROR_INVALID_ARGUMENT;
}

static bool find_lock(uintptr_t address, struct lock *out)
{
    pthread_mutex_lock(&locks_lock);
    struct lock *lock = locks;
    while (lock != NULL && (address < lock->start || address >= lock->end))
        lock = lock->next;
    if (lock != NULL)
        *out = *lock;
    pthread_mutex_unlock(&locks_lock);
    return lock != NULL;
}

/* ------------------------------------------------------------------------ what is this pointer? */

EXPORT hsa_status_t hsa_amd_pointer_info(const void *ptr, hsa_amd_pointer_info_t *info,
                                         void *(*alloc)(size_t), uint32_t *num_agents_accessible,
                                         hsa_agent_t **accessible)
{
    if (ptr == NULL || info == NULL || info->size == 0)
        return HSA_STATUS_ERROR_INVALID_ARGUMENT;

    hsa_amd_pointer_info_t answer = {.size = info->size, .type = HSA_EXT_POINTER_TYPE_UNKNOWN};
    struct range range;
    struct lock lock;
    struct agent *owner = NULL;
    if (ranges_find(ranges_allocations(), ptr, &range)) {
        struct pool *pool = range.value;
        owner = pool->owner;
        answer.type = HSA_EXT_POINTER_TYPE_HSA;
        answer.agentBaseAddress = (void *)range.start;
        answer.hostBaseAddress = agent_is_gpu(owner) ? NULL : (void *)range.start;
        answer.sizeInBytes = range.end - range.start;
        answer.global_flags = pool->flags;
    } else if (find_lock((uintptr_t)ptr, &lock)) {
        owner = lock.agent;
        answer.type = HSA_EXT_POINTER_TYPE_LOCKED;
        answer.agentBaseAddress = answer.hostBaseAddress = (void *)lock.start;
        answer.sizeInBytes = lock.end - lock.start;
        answer.global_flags = HSA_AMD_MEMORY_POOL_GLOBAL_FLAG_FINE_GRAINED;
    }
    if (owner != NULL)
        answer.agentOwner = agent_handle(owner);

    /* `size` is what the caller was compiled with; newer headers append members. */
    memcpy(info, &answer, info->size < sizeof answer ? info->size : sizeof answer);
    if (info->size > sizeof answer)
        memset((uint8_t *)info + sizeof answer, 0, info->size - sizeof answer);

    if (num_agents_accessible != NULL && accessible != NULL && alloc != NULL) {
        *num_agents_accessible = owner != NULL;
        *accessible = alloc(sizeof **accessible);
        if (*accessible == NULL)
            return HSA_STATUS_ERROR_OUT_OF_RESOURCES;
        **accessible = answer.agentOwner;
    }
    return HSA_STATUS_SUCCESS;
}
