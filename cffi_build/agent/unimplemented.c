/* Calls that need only be there: a runtime's library does not load without them.
 *
 * Arguments are not looked at, so none are declared: in the calling conventions of x86-64 and
 * AArch64 the caller puts them up and takes them down.
 */
#include "agent.h"

/* Nothing to do here, and saying so would make a runtime give up for no reason. */
#define SUCCEEDS(call)                                    \
    call(hsa_amd_agent_set_async_scratch_limit)           \
    call(hsa_amd_coherency_set_type)                      \
    call(hsa_amd_enable_logging)                          \
    call(hsa_amd_queue_cu_set_mask)                       \
    call(hsa_amd_queue_set_priority)                      \
    call(hsa_amd_register_system_event_handler)           \
    call(hsa_memory_deregister)                           \
    call(hsa_memory_register)

/* Things this agent does not have. */
#define FAILS(call)                                       \
    call(hsa_amd_ais_file_read)                           \
    call(hsa_amd_ais_file_write)                          \
    call(hsa_amd_image_create)                            \
    call(hsa_amd_interop_map_buffer)                      \
    call(hsa_amd_interop_unmap_buffer)                    \
    call(hsa_amd_ipc_memory_attach)                       \
    call(hsa_amd_ipc_memory_create)                       \
    call(hsa_amd_ipc_memory_detach)                       \
    call(hsa_amd_portable_close_dmabuf)                   \
    call(hsa_amd_portable_export_dmabuf)                  \
    call(hsa_amd_svm_attributes_get)                      \
    call(hsa_amd_svm_attributes_set)                      \
    call(hsa_amd_svm_prefetch_async)                      \
    call(hsa_amd_vmem_address_free)                       \
    call(hsa_amd_vmem_address_reserve)                    \
    call(hsa_amd_vmem_address_reserve_align)              \
    call(hsa_amd_vmem_export_shareable_handle)            \
    call(hsa_amd_vmem_get_access)                         \
    call(hsa_amd_vmem_get_alloc_properties_from_handle)   \
    call(hsa_amd_vmem_handle_create)                      \
    call(hsa_amd_vmem_handle_release)                     \
    call(hsa_amd_vmem_import_shareable_handle)            \
    call(hsa_amd_vmem_map)                                \
    call(hsa_amd_vmem_retain_alloc_handle)                \
    call(hsa_amd_vmem_set_access)                         \
    call(hsa_amd_vmem_unmap)                              \
    call(hsa_ext_image_create)                            \
    call(hsa_ext_image_create_with_layout)                \
    call(hsa_ext_image_data_get_info)                     \
    call(hsa_ext_image_destroy)                           \
    call(hsa_ext_image_export)                            \
    call(hsa_ext_image_import)                            \
    call(hsa_ext_sampler_create)                          \
    call(hsa_ext_sampler_create_v2)                       \
    call(hsa_ext_sampler_destroy)

#define DEFINE_SUCCESS(name)                              \
    EXPORT hsa_status_t name(void);                       \
    hsa_status_t name(void)                               \
    {                                                     \
        return HSA_STATUS_SUCCESS;                        \
    }
#define DEFINE_FAILURE(name)                              \
    EXPORT hsa_status_t name(void);                       \
    hsa_status_t name(void)                               \
    {                                                     \
        return HSA_STATUS_ERROR;                          \
    }

SUCCEEDS(DEFINE_SUCCESS)
FAILS(DEFINE_FAILURE)
