/* The part of AMD's public HSA interface that a HIP runtime uses, restated.
 *
 * Written so that the agent builds without AMD's headers. The numbers come from hsa_values.def,
 * the layouts are held to hsa_layouts.def, and tests/agent/abi_check.c holds both lists to the
 * public headers themselves (hsa.h, hsa_ext_amd.h, amd_hsa_queue.h, amd_hsa_signal.h).
 */
#ifndef XDIAG_HSA_ABI_H
#define XDIAG_HSA_ABI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
#define VALUE(name, number) name = number,
#define NEWER_VALUE(name, number) name = number,
#include "hsa_values.def"
#undef VALUE
#undef NEWER_VALUE
};

typedef int hsa_status_t;
typedef int64_t hsa_signal_value_t;

/* Opaque handles: in this agent each holds the address of the object it names. */
#define HANDLE_TYPE(name) \
    typedef struct name { \
        uint64_t handle;  \
    } name##_t
HANDLE_TYPE(hsa_agent);
HANDLE_TYPE(hsa_signal);
HANDLE_TYPE(hsa_isa);
HANDLE_TYPE(hsa_executable);
HANDLE_TYPE(hsa_executable_symbol);
HANDLE_TYPE(hsa_code_object_reader);
HANDLE_TYPE(hsa_loaded_code_object);
HANDLE_TYPE(hsa_amd_memory_pool);
#undef HANDLE_TYPE

typedef struct hsa_dim3 {
    uint32_t x, y, z;
} hsa_dim3_t;

typedef struct hsa_pitched_ptr {
    void *base;
    size_t pitch;
    size_t slice;
} hsa_pitched_ptr_t;

typedef struct hsa_queue {
    uint32_t type;
    uint32_t features;
    void *base_address;
    hsa_signal_t doorbell_signal;
    uint32_t size;
    uint32_t reserved1;
    uint64_t id;
} hsa_queue_t;

typedef struct amd_queue {
    hsa_queue_t hsa_queue;
    uint32_t reserved1[4];
    uint64_t write_dispatch_id;
    uint32_t reserved2[16];
    uint64_t read_dispatch_id;
    uint32_t reserved3[11];
    uint32_t queue_properties;
    uint32_t reserved4[2];
    hsa_signal_t queue_inactive_signal;
    uint32_t reserved5[14];
} __attribute__((aligned(64))) amd_queue_t;

typedef struct amd_signal {
    int64_t kind;
    int64_t value;
    uint64_t event_mailbox_ptr;
    uint32_t event_id;
    uint32_t reserved1;
    uint64_t start_ts;
    uint64_t end_ts;
    amd_queue_t *queue_ptr;
    uint32_t reserved3[2];
} __attribute__((aligned(64))) amd_signal_t;

typedef struct hsa_kernel_dispatch_packet {
    uint16_t header;
    uint16_t setup;
    uint16_t workgroup_size[3];
    uint16_t reserved0;
    uint32_t grid_size[3];
    uint32_t private_segment_size;
    uint32_t group_segment_size;
    uint64_t kernel_object;
    void *kernarg_address;
    uint64_t reserved2;
    hsa_signal_t completion_signal;
} hsa_kernel_dispatch_packet_t;

typedef struct hsa_barrier_and_packet {
    uint16_t header;
    uint16_t reserved0;
    uint32_t reserved1;
    hsa_signal_t dep_signal[5];
    uint64_t reserved2;
    hsa_signal_t completion_signal;
} hsa_barrier_and_packet_t;

typedef struct hsa_amd_barrier_value_packet {
    uint16_t header;
    uint8_t amd_format;
    uint8_t reserved;
    uint32_t reserved0;
    hsa_signal_t signal;
    hsa_signal_value_t value;
    hsa_signal_value_t mask;
    uint32_t cond;
    uint32_t reserved1;
    uint64_t reserved2[2];
    hsa_signal_t completion_signal;
} hsa_amd_barrier_value_packet_t;

typedef struct hsa_amd_hdp_flush {
    uint32_t *mem_flush_register;
    uint32_t *reg_flush_register;
} hsa_amd_hdp_flush_t;

typedef struct hsa_amd_memory_pool_link_info {
    uint32_t min_latency;
    uint32_t max_latency;
    uint32_t min_bandwidth;
    uint32_t max_bandwidth;
    bool atomic_support_32bit;
    bool atomic_support_64bit;
    bool coherent_support;
    uint32_t link_type;
    uint32_t numa_distance;
} hsa_amd_memory_pool_link_info_t;

typedef struct hsa_amd_pointer_info {
    uint32_t size;
    uint32_t type;
    void *agentBaseAddress;
    void *hostBaseAddress;
    size_t sizeInBytes;
    void *userData;
    hsa_agent_t agentOwner;
    uint32_t global_flags;
} hsa_amd_pointer_info_t;

typedef struct hsa_amd_profiling_time {
    uint64_t start;
    uint64_t end;
} hsa_amd_profiling_dispatch_time_t, hsa_amd_profiling_async_copy_time_t;

typedef bool (*hsa_amd_signal_handler)(hsa_signal_value_t value, void *arg);

#define SIZE(type, bytes) _Static_assert(sizeof(type) == (bytes), "size of " #type);
#define OFFSET(type, member, bytes) \
    _Static_assert(offsetof(type, member) == (bytes), "offset of " #type "." #member);
#include "hsa_layouts.def"
#undef SIZE
#undef OFFSET

/* ------------------------------------------------------------- functions: system, agents, pools */

hsa_status_t hsa_init(void);
hsa_status_t hsa_shut_down(void);
hsa_status_t hsa_status_string(hsa_status_t status, const char **text);
hsa_status_t hsa_system_get_info(uint32_t attribute, void *value);
hsa_status_t hsa_system_extension_supported(uint16_t extension, uint16_t major, uint16_t minor,
                                            bool *result);
hsa_status_t hsa_system_get_major_extension_table(uint16_t extension, uint16_t major,
                                                  size_t table_length, void *table);

hsa_status_t hsa_iterate_agents(hsa_status_t (*callback)(hsa_agent_t, void *), void *data);
hsa_status_t hsa_agent_get_info(hsa_agent_t agent, uint32_t attribute, void *value);
hsa_status_t hsa_agent_extension_supported(uint16_t extension, hsa_agent_t agent, uint16_t major,
                                           uint16_t minor, bool *result);
hsa_status_t hsa_agent_iterate_isas(hsa_agent_t agent, hsa_status_t (*callback)(hsa_isa_t, void *),
                                    void *data);
hsa_status_t hsa_isa_get_info_alt(hsa_isa_t isa, uint32_t attribute, void *value);

hsa_status_t hsa_amd_agent_iterate_memory_pools(
    hsa_agent_t agent, hsa_status_t (*callback)(hsa_amd_memory_pool_t, void *), void *data);
hsa_status_t hsa_amd_memory_pool_get_info(hsa_amd_memory_pool_t pool, uint32_t attribute,
                                          void *value);
hsa_status_t hsa_amd_agent_memory_pool_get_info(hsa_agent_t agent, hsa_amd_memory_pool_t pool,
                                                uint32_t attribute, void *value);

/* -------------------------------------------------------------------- functions: memory, copies */

hsa_status_t hsa_amd_memory_pool_allocate(hsa_amd_memory_pool_t pool, size_t size, uint32_t flags,
                                          void **ptr);
hsa_status_t hsa_amd_memory_pool_free(void *ptr);
hsa_status_t hsa_amd_agents_allow_access(uint32_t num_agents, const hsa_agent_t *agents,
                                         const uint32_t *flags, const void *ptr);
hsa_status_t hsa_amd_memory_lock_to_pool(void *host_ptr, size_t size, hsa_agent_t *agents,
                                         int num_agents, hsa_amd_memory_pool_t pool, uint32_t flags,
                                         void **agent_ptr);
hsa_status_t hsa_amd_memory_unlock(void *host_ptr);
hsa_status_t hsa_amd_pointer_info(const void *ptr, hsa_amd_pointer_info_t *info,
                                  void *(*alloc)(size_t), uint32_t *num_agents_accessible,
                                  hsa_agent_t **accessible);
hsa_status_t hsa_memory_copy(void *dst, const void *src, size_t size);

hsa_status_t hsa_amd_memory_async_copy(void *dst, hsa_agent_t dst_agent, const void *src,
                                       hsa_agent_t src_agent, size_t size,
                                       uint32_t num_dep_signals, const hsa_signal_t *dep_signals,
                                       hsa_signal_t completion_signal);
hsa_status_t hsa_amd_memory_async_copy_on_engine(void *dst, hsa_agent_t dst_agent, const void *src,
                                                 hsa_agent_t src_agent, size_t size,
                                                 uint32_t num_dep_signals,
                                                 const hsa_signal_t *dep_signals,
                                                 hsa_signal_t completion_signal, int engine_id,
                                                 bool force_copy_on_sdma);
hsa_status_t hsa_amd_memory_async_copy_rect(const hsa_pitched_ptr_t *dst,
                                            const hsa_dim3_t *dst_offset,
                                            const hsa_pitched_ptr_t *src,
                                            const hsa_dim3_t *src_offset, const hsa_dim3_t *range,
                                            hsa_agent_t copy_agent, int direction,
                                            uint32_t num_dep_signals,
                                            const hsa_signal_t *dep_signals,
                                            hsa_signal_t completion_signal);
hsa_status_t hsa_amd_memory_copy_engine_status(hsa_agent_t dst_agent, hsa_agent_t src_agent,
                                               uint32_t *engine_ids_mask);
hsa_status_t hsa_amd_memory_get_preferred_copy_engine(hsa_agent_t dst_agent, hsa_agent_t src_agent,
                                                      uint32_t *engine_ids_mask);

/* ------------------------------------------------------------------- functions: signals, queues */

hsa_status_t hsa_signal_create(hsa_signal_value_t initial_value, uint32_t num_consumers,
                               const hsa_agent_t *consumers, hsa_signal_t *signal);
hsa_status_t hsa_amd_signal_create(hsa_signal_value_t initial_value, uint32_t num_consumers,
                                   const hsa_agent_t *consumers, uint64_t attributes,
                                   hsa_signal_t *signal);
hsa_status_t hsa_signal_destroy(hsa_signal_t signal);
hsa_signal_value_t hsa_signal_load_relaxed(hsa_signal_t signal);
void hsa_signal_silent_store_relaxed(hsa_signal_t signal, hsa_signal_value_t value);
void hsa_signal_store_relaxed(hsa_signal_t signal, hsa_signal_value_t value);
void hsa_signal_store_screlease(hsa_signal_t signal, hsa_signal_value_t value);
void hsa_signal_add_relaxed(hsa_signal_t signal, hsa_signal_value_t value);
void hsa_signal_subtract_relaxed(hsa_signal_t signal, hsa_signal_value_t value);
hsa_signal_value_t hsa_signal_wait_scacquire(hsa_signal_t signal, uint32_t condition,
                                             hsa_signal_value_t compare_value, uint64_t timeout,
                                             uint32_t wait_state);
hsa_status_t hsa_amd_signal_value_pointer(hsa_signal_t signal, volatile hsa_signal_value_t **ptr);
hsa_status_t hsa_amd_signal_async_handler(hsa_signal_t signal, uint32_t cond,
                                          hsa_signal_value_t value, hsa_amd_signal_handler handler,
                                          void *arg);

hsa_status_t hsa_queue_create(hsa_agent_t agent, uint32_t size, uint32_t type,
                              void (*callback)(hsa_status_t, hsa_queue_t *, void *), void *data,
                              uint32_t private_segment_size, uint32_t group_segment_size,
                              hsa_queue_t **queue);
hsa_status_t hsa_queue_destroy(hsa_queue_t *queue);
uint64_t hsa_queue_add_write_index_screlease(const hsa_queue_t *queue, uint64_t value);
uint64_t hsa_queue_load_read_index_relaxed(const hsa_queue_t *queue);
uint64_t hsa_queue_load_read_index_scacquire(const hsa_queue_t *queue);
uint64_t hsa_queue_load_write_index_relaxed(const hsa_queue_t *queue);

hsa_status_t hsa_amd_profiling_set_profiler_enabled(hsa_queue_t *queue, int enable);
hsa_status_t hsa_amd_profiling_async_copy_enable(bool enable);
hsa_status_t hsa_amd_profiling_get_dispatch_time(hsa_agent_t agent, hsa_signal_t signal,
                                                 hsa_amd_profiling_dispatch_time_t *time);
hsa_status_t hsa_amd_profiling_get_async_copy_time(hsa_signal_t signal,
                                                   hsa_amd_profiling_async_copy_time_t *time);

/* --------------------------------------------------------- functions: code objects, executables */

hsa_status_t hsa_code_object_reader_create_from_memory(const void *code_object, size_t size,
                                                       hsa_code_object_reader_t *reader);
hsa_status_t hsa_code_object_reader_destroy(hsa_code_object_reader_t reader);
hsa_status_t hsa_executable_create_alt(int profile, int rounding_mode, const char *options,
                                       hsa_executable_t *executable);
hsa_status_t hsa_executable_destroy(hsa_executable_t executable);
hsa_status_t hsa_executable_load_agent_code_object(hsa_executable_t executable, hsa_agent_t agent,
                                                   hsa_code_object_reader_t reader,
                                                   const char *options,
                                                   hsa_loaded_code_object_t *loaded);
hsa_status_t hsa_executable_freeze(hsa_executable_t executable, const char *options);
hsa_status_t hsa_executable_agent_global_variable_define(hsa_executable_t executable,
                                                         hsa_agent_t agent, const char *name,
                                                         void *address);
hsa_status_t hsa_executable_get_symbol_by_name(hsa_executable_t executable, const char *name,
                                               const hsa_agent_t *agent,
                                               hsa_executable_symbol_t *symbol);
hsa_status_t hsa_executable_iterate_symbols(
    hsa_executable_t executable,
    hsa_status_t (*callback)(hsa_executable_t, hsa_executable_symbol_t, void *), void *data);
hsa_status_t hsa_executable_symbol_get_info(hsa_executable_symbol_t symbol, uint32_t attribute,
                                            void *value);

#endif
