/* The agents (one CPU, up to eight GPUs), their attributes and their single ISA.
 *
 * Which attributes a HIP runtime asks for, and which of them decide whether the device exists,
 * was found by failing each in turn under libamdhip64 5.2.3 (XDIAG_AGENT_FAIL_ATTRIBUTE); the
 * questions can be read in AMD's rocclr/device/rocm/rocdevice.cpp, Device::create and
 * Device::populateOCLDeviceConstants (ROCm 5.7.1).
 */
#include "agent.h"

#include <string.h>

static struct agent agents[1 + MAX_DEVICES];

/* Flushing the HDP cache is a store to a device register; these take the stores. */
static uint32_t hdp_registers[2];

/* What the runtime of ROCm 7.2 asks for; its header is newer than the ones hsa_values.def
 * is checked against. */
enum { SCRATCH_LIMIT_MAX = 0xA116 };

void agents_start(void)
{
    for (unsigned node = 0; node <= knobs.devices; node++) {
        agents[node].node = node;
        agents[node].device_type = node == 0 ? HSA_DEVICE_TYPE_CPU : HSA_DEVICE_TYPE_GPU;
        pools_start(&agents[node]);
    }
}

struct agent *agent_from_handle(hsa_agent_t handle)
{
    uintptr_t offset = (uintptr_t)handle.handle - (uintptr_t)agents;
    if (offset % sizeof *agents != 0 || offset / sizeof *agents > knobs.devices)
        return NULL;
    return &agents[offset / sizeof *agents];
}

struct pool *pool_from_handle(hsa_amd_memory_pool_t handle)
{
    for (unsigned node = 0; node <= knobs.devices; node++)
        for (unsigned i = 0; i < MAX_POOLS; i++)
            if ((uintptr_t)handle.handle == (uintptr_t)&agents[node].pools[i])
                return &agents[node].pools[i];
    return NULL;
}

EXPORT hsa_status_t hsa_iterate_agents(hsa_status_t (*callback)(hsa_agent_t, void *), void *data)
{
    if (callback == NULL)
        return HSA_STATUS_ERROR_INVALID_ARGUMENT;
    if (knobs.devices == 0)
        return HSA_STATUS_ERROR_NOT_INITIALIZED;
    for (unsigned node = 0; node <= knobs.devices; node++) {
        hsa_status_t status = callback(agent_handle(&agents[node]), data);
        if (status != HSA_STATUS_SUCCESS)
            return status;
    }
    return HSA_STATUS_SUCCESS;
}

/* gfx9 and older run 64 lanes to a wave, gfx10 and newer 32. Names are gfx + major + two digits. */
static uint32_t wavefront_size(void)
{
    return strlen(knobs.processor) <= strlen("gfx90a") ? 64 : 32;
}

/* The shape of an MI210, whatever the ISA: no decision of a HIP runtime's hangs on it. */
EXPORT hsa_status_t hsa_agent_get_info(hsa_agent_t handle, uint32_t attribute, void *value)
{
    struct agent *agent = agent_from_handle(handle);
    if (agent == NULL)
        return HSA_STATUS_ERROR_INVALID_AGENT;
    if (value == NULL)
        return HSA_STATUS_ERROR_INVALID_ARGUMENT;
    bool gpu = agent_is_gpu(agent);
    if (gpu && knobs.fails_an_attribute && attribute == knobs.fail_attribute)
        return HSA_STATUS_ERROR;

    uint32_t *number = value;
    char *text = value;
    switch (attribute) {
    /* char[64]; the caller's buffer, so nothing beyond it may be cleared */
    case HSA_AGENT_INFO_NAME:
        memset(text, 0, 64);
        strcpy(text, gpu ? knobs.processor : "CPU");
        break;
    case HSA_AGENT_INFO_VENDOR_NAME:
        memset(text, 0, 64);
        strcpy(text, gpu ? "AMD" : "CPU");
        break;
    case HSA_AMD_AGENT_INFO_PRODUCT_NAME:
        memset(text, 0, 64);
        strcpy(text, "xdiag software agent");
        break;
    case HSA_AMD_AGENT_INFO_UUID: /* "GPU-" and 16 hexadecimal digits, here "xdiag" and the node */
        snprintf(text, 21, "%s-7864696167%06x", gpu ? "GPU" : "CPU", agent->node);
        break;

    case HSA_AGENT_INFO_DEVICE:
        *number = agent->device_type;
        break;
    case HSA_AGENT_INFO_FEATURE:
        *number = gpu ? HSA_AGENT_FEATURE_KERNEL_DISPATCH : 0;
        break;
    case HSA_AGENT_INFO_MACHINE_MODEL:
        *number = HSA_MACHINE_MODEL_LARGE;
        break;
    case HSA_AGENT_INFO_PROFILE:
        *number = gpu ? HSA_PROFILE_BASE : HSA_PROFILE_FULL;
        break;
    case HSA_AGENT_INFO_DEFAULT_FLOAT_ROUNDING_MODE:
        *number = 2; /* near */
        break;
    case HSA_AGENT_INFO_NODE:
    case HSA_AMD_AGENT_INFO_DRIVER_NODE_ID:
        *number = agent->node;
        break;
    case HSA_AGENT_INFO_ISA:
        *(uint64_t *)value = handle.handle;
        break;
    case HSA_AGENT_INFO_EXTENSIONS: /* no bit set, above all not the one for images */
        memset(value, 0, 128);
        break;
    case HSA_AGENT_INFO_VERSION_MAJOR:
    case HSA_AGENT_INFO_VERSION_MINOR:
        *(uint16_t *)value = 1;
        break;
    case HSA_AGENT_INFO_FAST_F16_OPERATION:
        *(bool *)value = gpu;
        break;

    case HSA_AGENT_INFO_WAVEFRONT_SIZE:
        *number = wavefront_size();
        break;
    case HSA_AGENT_INFO_WORKGROUP_MAX_DIM:
        for (int i = 0; i < 3; i++)
            ((uint16_t *)value)[i] = 1024;
        break;
    case HSA_AGENT_INFO_WORKGROUP_MAX_SIZE:
        *number = 1024;
        break;
    case HSA_AGENT_INFO_GRID_MAX_DIM:
        *(hsa_dim3_t *)value = (hsa_dim3_t){UINT32_MAX, UINT32_MAX, UINT32_MAX};
        break;
    case HSA_AGENT_INFO_GRID_MAX_SIZE:
        *number = UINT32_MAX;
        break;
    case HSA_AGENT_INFO_FBARRIER_MAX_SIZE:
        *number = 32;
        break;
    case HSA_AGENT_INFO_QUEUES_MAX:
        *number = gpu ? 128 : 0;
        break;
    case HSA_AGENT_INFO_QUEUE_MIN_SIZE:
        *number = gpu ? 64 : 0;
        break;
    case HSA_AGENT_INFO_QUEUE_MAX_SIZE:
        *number = gpu ? 131072 : 0;
        break;
    case HSA_AGENT_INFO_QUEUE_TYPE:
        *number = HSA_QUEUE_TYPE_MULTI;
        break;
    case HSA_AGENT_INFO_CACHE_SIZE:
        number[0] = 16 << 10;
        number[1] = 8 << 20;
        number[2] = number[3] = 0;
        break;

    case HSA_AMD_AGENT_INFO_CHIP_ID:
        *number = gpu ? 0x740f : 0;
        break;
    case HSA_AMD_AGENT_INFO_CACHELINE_SIZE:
        *number = 64;
        break;
    case HSA_AMD_AGENT_INFO_COMPUTE_UNIT_COUNT:
    case HSA_AMD_AGENT_INFO_COOPERATIVE_COMPUTE_UNIT_COUNT:
        *number = 104;
        break;
    case HSA_AMD_AGENT_INFO_MAX_CLOCK_FREQUENCY:
        *number = 1700;
        break;
    case HSA_AMD_AGENT_INFO_MEMORY_MAX_FREQUENCY:
        *number = 1600;
        break;
    case HSA_AMD_AGENT_INFO_MEMORY_WIDTH:
        *number = 4096;
        break;
    case HSA_AMD_AGENT_INFO_MAX_ADDRESS_WATCH_POINTS:
        *number = 4;
        break;
    case HSA_AMD_AGENT_INFO_BDFID: /* bus 1, 2, ..., device 0, function 0 */
        *number = agent->node << 8;
        break;
    case HSA_AMD_AGENT_INFO_DOMAIN:
        *number = 0;
        break;
    case HSA_AMD_AGENT_INFO_MAX_WAVES_PER_CU:
        *number = 32;
        break;
    case HSA_AMD_AGENT_INFO_NUM_SIMDS_PER_CU:
        *number = 4;
        break;
    case HSA_AMD_AGENT_INFO_NUM_SHADER_ENGINES:
        *number = 8;
        break;
    case HSA_AMD_AGENT_INFO_NUM_SHADER_ARRAYS_PER_SE:
        *number = 1;
        break;
    case HSA_AMD_AGENT_INFO_HDP_FLUSH:
        *(hsa_amd_hdp_flush_t *)value =
            (hsa_amd_hdp_flush_t){&hdp_registers[0], &hdp_registers[1]};
        break;
    case HSA_AMD_AGENT_INFO_COOPERATIVE_QUEUES:
        *(bool *)value = gpu;
        break;
    case HSA_AMD_AGENT_INFO_SVM_DIRECT_HOST_ACCESS:
        *(bool *)value = false;
        break;
    case HSA_AMD_AGENT_INFO_ASIC_REVISION:
        *number = 1;
        break;

    /* Asked for by 5.7.1 and later. */
    case HSA_AMD_AGENT_INFO_MEMORY_AVAIL:
        *(uint64_t *)value = agent->pools[0].size - atomic_load(&agent->allocated);
        break;
    case HSA_AMD_AGENT_INFO_TIMESTAMP_FREQUENCY:
        *(uint64_t *)value = 1000000000;
        break;
    case HSA_AMD_AGENT_INFO_NUM_SDMA_ENG:
        *number = 2;
        break;
    case HSA_AMD_AGENT_INFO_NUM_SDMA_XGMI_ENG:
        *number = 0;
        break;
    case HSA_AMD_AGENT_INFO_NUM_XCC:
        *number = 1;
        break;
    case HSA_AMD_AGENT_INFO_MEMORY_PROPERTIES: /* no bit set: not an APU */
    case SCRATCH_LIMIT_MAX:
        *(uint64_t *)value = 0;
        break;
    default:
        return HSA_STATUS_ERROR_INVALID_ARGUMENT;
    }
    return HSA_STATUS_SUCCESS;
}

EXPORT hsa_status_t hsa_agent_extension_supported(uint16_t extension, hsa_agent_t agent,
                                                  uint16_t major, uint16_t minor, bool *result)
{
    (void)extension, (void)major, (void)minor;
    if (agent_from_handle(agent) == NULL)
        return HSA_STATUS_ERROR_INVALID_AGENT;
    if (result == NULL)
        return HSA_STATUS_ERROR_INVALID_ARGUMENT;
    *result = false;
    return HSA_STATUS_SUCCESS;
}

/* An ISA handle is the handle of its agent: a runtime accepts a GPU with exactly one ISA. */
EXPORT hsa_status_t hsa_agent_iterate_isas(hsa_agent_t handle,
                                           hsa_status_t (*callback)(hsa_isa_t, void *), void *data)
{
    struct agent *agent = agent_from_handle(handle);
    if (agent == NULL)
        return HSA_STATUS_ERROR_INVALID_AGENT;
    if (callback == NULL)
        return HSA_STATUS_ERROR_INVALID_ARGUMENT;
    return agent_is_gpu(agent) ? callback((hsa_isa_t){handle.handle}, data) : HSA_STATUS_SUCCESS;
}

EXPORT hsa_status_t hsa_isa_get_info_alt(hsa_isa_t isa, uint32_t attribute, void *value)
{
    if (agent_from_handle((hsa_agent_t){isa.handle}) == NULL)
        return HSA_STATUS_ERROR_INVALID_ISA;
    if (value == NULL)
        return HSA_STATUS_ERROR_INVALID_ARGUMENT;
    size_t length = strlen(knobs.isa) + 1;
    switch (attribute) {
    case HSA_ISA_INFO_NAME_LENGTH:
        *(uint32_t *)value = (uint32_t)length;
        return HSA_STATUS_SUCCESS;
    case HSA_ISA_INFO_NAME:
        memcpy(value, knobs.isa, length);
        return HSA_STATUS_SUCCESS;
    default:
        return HSA_STATUS_ERROR_INVALID_ARGUMENT;
    }
}
