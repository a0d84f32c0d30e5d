/* Memory pools: which kinds of memory each agent has, and who reaches what. */
#include "agent.h"

#include <sys/sysinfo.h>

enum {
    FINE = HSA_AMD_MEMORY_POOL_GLOBAL_FLAG_FINE_GRAINED,
    COARSE = HSA_AMD_MEMORY_POOL_GLOBAL_FLAG_COARSE_GRAINED,
    KERNARG = HSA_AMD_MEMORY_POOL_GLOBAL_FLAG_KERNARG_INIT,
    GRANULE = 4096,
    GROUP_BYTES = 64 << 10,
};

static uint64_t host_bytes(void)
{
    struct sysinfo info;
    return sysinfo(&info) == 0 ? (uint64_t)info.totalram * info.mem_unit : (uint64_t)16 << 30;
}

/* A runtime aborts on a pool that is both fine and coarse, and wants kernarg memory fine
 * (rocdevice.cpp, iterateCpuMemoryPoolCallback, ROCm 5.7.1). */
void pools_start(struct agent *agent)
{
    if (agent_is_gpu(agent)) {
        agent->pools[0] = (struct pool){agent, HSA_AMD_SEGMENT_GLOBAL, COARSE, knobs.memory_bytes};
        agent->pools[1] = (struct pool){agent, HSA_AMD_SEGMENT_GLOBAL, FINE, knobs.memory_bytes};
        agent->pools[2] = (struct pool){agent, HSA_AMD_SEGMENT_GROUP, 0, GROUP_BYTES};
    } else {
        uint64_t size = host_bytes();
        agent->pools[0] = (struct pool){agent, HSA_AMD_SEGMENT_GLOBAL, FINE, size};
        agent->pools[1] = (struct pool){agent, HSA_AMD_SEGMENT_GLOBAL, FINE | KERNARG, size};
        agent->pools[2] = (struct pool){agent, HSA_AMD_SEGMENT_GLOBAL, COARSE, size};
    }
}

EXPORT hsa_status_t hsa_amd_agent_iterate_memory_pools(
    hsa_agent_t handle, hsa_status_t (*callback)(hsa_amd_memory_pool_t, void *), void *data)
{
    struct agent *agent = agent_from_handle(handle);
    if (agent == NULL)
        return HSA_STATUS_ERROR_INVALID_AGENT;
    if (callback == NULL)
        return HSA_STATUS_ERROR_INVALID_ARGUMENT;
    for (unsigned i = 0; i < MAX_POOLS; i++) {
        hsa_amd_memory_pool_t pool = {(uint64_t)(uintptr_t)&agent->pools[i]};
        hsa_status_t status = callback(pool, data);
        if (status != HSA_STATUS_SUCCESS)
            return status;
    }
    return HSA_STATUS_SUCCESS;
}

EXPORT hsa_status_t hsa_amd_memory_pool_get_info(hsa_amd_memory_pool_t handle, uint32_t attribute,
                                                 void *value)
{
    struct pool *pool = pool_from_handle(handle);
    if (pool == NULL)
        return HSA_STATUS_ERROR_INVALID_MEMORY_POOL;
    if (value == NULL)
        return HSA_STATUS_ERROR_INVALID_ARGUMENT;
    bool global = pool->segment == HSA_AMD_SEGMENT_GLOBAL;
    switch (attribute) {
    case HSA_AMD_MEMORY_POOL_INFO_SEGMENT:
        *(uint32_t *)value = pool->segment;
        return HSA_STATUS_SUCCESS;
    case HSA_AMD_MEMORY_POOL_INFO_GLOBAL_FLAGS:
        *(uint32_t *)value = pool->flags;
        return HSA_STATUS_SUCCESS;
    case HSA_AMD_MEMORY_POOL_INFO_SIZE:
    case HSA_AMD_MEMORY_POOL_INFO_ALLOC_MAX_SIZE:
        *(size_t *)value = pool->size;
        return HSA_STATUS_SUCCESS;
    case HSA_AMD_MEMORY_POOL_INFO_RUNTIME_ALLOC_ALLOWED:
        *(bool *)value = global;
        return HSA_STATUS_SUCCESS;
    case HSA_AMD_MEMORY_POOL_INFO_RUNTIME_ALLOC_GRANULE:
    case HSA_AMD_MEMORY_POOL_INFO_RUNTIME_ALLOC_ALIGNMENT:
    case HSA_AMD_MEMORY_POOL_INFO_RUNTIME_ALLOC_REC_GRANULE:
        *(size_t *)value = GRANULE;
        return HSA_STATUS_SUCCESS;
    case HSA_AMD_MEMORY_POOL_INFO_ACCESSIBLE_BY_ALL:
        *(bool *)value = global && !agent_is_gpu(pool->owner);
        return HSA_STATUS_SUCCESS;
    case HSA_AMD_MEMORY_POOL_INFO_LOCATION:
        *(uint32_t *)value = agent_is_gpu(pool->owner);
        return HSA_STATUS_SUCCESS;
    default:
        return HSA_STATUS_ERROR_INVALID_ARGUMENT;
    }
}

/* The CPU never reaches GPU memory: with a large BAR the runtime would copy small pieces by
 * itself, and the paths this agent is here to exercise would be bypassed. */
static uint32_t access_by(const struct agent *agent, const struct pool *pool)
{
    if (agent == pool->owner)
        return HSA_AMD_MEMORY_POOL_ACCESS_ALLOWED_BY_DEFAULT;
    if (pool->segment == HSA_AMD_SEGMENT_GROUP || !agent_is_gpu(agent))
        return HSA_AMD_MEMORY_POOL_ACCESS_NEVER_ALLOWED;
    return agent_is_gpu(pool->owner) ? HSA_AMD_MEMORY_POOL_ACCESS_DISALLOWED_BY_DEFAULT
                                     : HSA_AMD_MEMORY_POOL_ACCESS_ALLOWED_BY_DEFAULT;
}

EXPORT hsa_status_t hsa_amd_agent_memory_pool_get_info(hsa_agent_t agent_handle,
                                                       hsa_amd_memory_pool_t pool_handle,
                                                       uint32_t attribute, void *value)
{
    struct agent *agent = agent_from_handle(agent_handle);
    struct pool *pool = pool_from_handle(pool_handle);
    if (agent == NULL)
        return HSA_STATUS_ERROR_INVALID_AGENT;
    if (pool == NULL)
        return HSA_STATUS_ERROR_INVALID_MEMORY_POOL;
    if (value == NULL)
        return HSA_STATUS_ERROR_INVALID_ARGUMENT;
    bool local = agent == pool->owner;
    switch (attribute) {
    case HSA_AMD_AGENT_MEMORY_POOL_INFO_ACCESS:
        *(uint32_t *)value = access_by(agent, pool);
        return HSA_STATUS_SUCCESS;
    case HSA_AMD_AGENT_MEMORY_POOL_INFO_NUM_LINK_HOPS:
        *(uint32_t *)value = local ? 0 : 1;
        return HSA_STATUS_SUCCESS;
    case HSA_AMD_AGENT_MEMORY_POOL_INFO_LINK_INFO:
        if (!local)
            *(hsa_amd_memory_pool_link_info_t *)value = (hsa_amd_memory_pool_link_info_t){
                .atomic_support_32bit = true,
                .atomic_support_64bit = true,
                .coherent_support = true,
                .link_type = HSA_AMD_LINK_INFO_TYPE_PCIE,
                .numa_distance = 20,
            };
        return HSA_STATUS_SUCCESS;
    default:
        return HSA_STATUS_ERROR_INVALID_ARGUMENT;
    }
}
