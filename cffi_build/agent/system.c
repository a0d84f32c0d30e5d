/* Start, stop, and what there is to know about the system as a whole. */
#define _GNU_SOURCE
#include "agent.h"

#include <dlfcn.h>
#include <string.h>
#include <unistd.h>

/* How others recognise this library: dlsym("xdiag_agent_version"). */
EXPORT const char xdiag_agent_version[] = XDIAG_AGENT_VERSION;

static pthread_mutex_t start_lock = PTHREAD_MUTEX_INITIALIZER;
static enum { NOT_STARTED, STARTED, REFUSED } state;
static pid_t started_in; /* the process that called hsa_init */

/* Queue and watcher threads run this library's code until the process ends, so it must outlive
 * a dlclose of the HIP runtime that loaded it. */
static void pin_this_library(void)
{
    Dl_info self;
    if (dladdr((void *)(uintptr_t)xdiag_agent_version, &self) && self.dli_fname != NULL)
        (void)dlopen(self.dli_fname, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
}

bool driver_is_out_of_reach(void)
{
    return getpid() != started_in;
}

EXPORT hsa_status_t hsa_init(void)
{
    pthread_mutex_lock(&start_lock);
    if (state == NOT_STARTED) {
        state = knobs_read() ? STARTED : REFUSED; /* refused once and for all: one line, not many */
        if (state == STARTED) {
            pin_this_library();
            agents_start();
            started_in = getpid();
        }
    }
    hsa_status_t status = state == STARTED ? HSA_STATUS_SUCCESS : HSA_STATUS_ERROR;
    pthread_mutex_unlock(&start_lock);
    return status;
}

/* The state stays: HIP 5.2.3 never calls this, and a second copy of HIP in the process may
 * still be using the agent when the first one does. */
EXPORT hsa_status_t hsa_shut_down(void)
{
    return HSA_STATUS_SUCCESS;
}

EXPORT hsa_status_t hsa_system_get_info(uint32_t attribute, void *value)
{
    if (value == NULL)
        return HSA_STATUS_ERROR_INVALID_ARGUMENT;
    switch (attribute) {
    case HSA_SYSTEM_INFO_VERSION_MAJOR:
    case HSA_SYSTEM_INFO_VERSION_MINOR:
        *(uint16_t *)value = 1;
        return HSA_STATUS_SUCCESS;
    case HSA_SYSTEM_INFO_TIMESTAMP:
        *(uint64_t *)value = now_ns();
        return HSA_STATUS_SUCCESS;
    case HSA_SYSTEM_INFO_TIMESTAMP_FREQUENCY:
        *(uint64_t *)value = 1000000000;
        return HSA_STATUS_SUCCESS;
    case HSA_SYSTEM_INFO_SIGNAL_MAX_WAIT:
        *(uint64_t *)value = UINT64_MAX;
        return HSA_STATUS_SUCCESS;
    case HSA_SYSTEM_INFO_ENDIANNESS:
        *(uint32_t *)value = HSA_ENDIANNESS_LITTLE;
        return HSA_STATUS_SUCCESS;
    case HSA_SYSTEM_INFO_MACHINE_MODEL:
        *(uint32_t *)value = HSA_MACHINE_MODEL_LARGE;
        return HSA_STATUS_SUCCESS;
    case HSA_SYSTEM_INFO_EXTENSIONS:
        memset(value, 0, 128);
        return HSA_STATUS_SUCCESS;
    case HSA_AMD_SYSTEM_INFO_SVM_SUPPORTED:
    case HSA_AMD_SYSTEM_INFO_SVM_ACCESSIBLE_BY_DEFAULT:
    case HSA_AMD_SYSTEM_INFO_DMABUF_SUPPORTED:
    case HSA_AMD_SYSTEM_INFO_VIRTUAL_MEM_API_SUPPORTED:
        *(bool *)value = false;
        return HSA_STATUS_SUCCESS;
    default:
        return HSA_STATUS_ERROR_INVALID_ARGUMENT;
    }
}

EXPORT hsa_status_t hsa_system_extension_supported(uint16_t extension, uint16_t major,
                                                   uint16_t minor, bool *result)
{
    (void)minor;
    if (result == NULL)
        return HSA_STATUS_ERROR_INVALID_ARGUMENT;
    *result = extension == HSA_EXTENSION_AMD_LOADER && major == 1;
    return HSA_STATUS_SUCCESS;
}

EXPORT hsa_status_t hsa_system_get_major_extension_table(uint16_t extension, uint16_t major,
                                                         size_t table_length, void *table)
{
    if (table == NULL || table_length == 0)
        return HSA_STATUS_ERROR_INVALID_ARGUMENT;
    if (extension != HSA_EXTENSION_AMD_LOADER || major != 1)
        return HSA_STATUS_ERROR;
    return loader_extension_table(table_length, table);
}

EXPORT hsa_status_t hsa_status_string(hsa_status_t status, const char **text)
{
    static const struct {
        hsa_status_t status;
        const char *text;
    } names[] = {
#define NAME(name) {name, #name}
        NAME(HSA_STATUS_SUCCESS),
        NAME(HSA_STATUS_INFO_BREAK),
        NAME(HSA_STATUS_ERROR),
        NAME(HSA_STATUS_ERROR_INVALID_ARGUMENT),
        NAME(HSA_STATUS_ERROR_INVALID_QUEUE_CREATION),
        NAME(HSA_STATUS_ERROR_INVALID_ALLOCATION),
        NAME(HSA_STATUS_ERROR_INVALID_AGENT),
        NAME(HSA_STATUS_ERROR_INVALID_SIGNAL),
        NAME(HSA_STATUS_ERROR_INVALID_QUEUE),
        NAME(HSA_STATUS_ERROR_OUT_OF_RESOURCES),
        NAME(HSA_STATUS_ERROR_INVALID_PACKET_FORMAT),
        NAME(HSA_STATUS_ERROR_NOT_INITIALIZED),
        NAME(HSA_STATUS_ERROR_INVALID_ISA),
        NAME(HSA_STATUS_ERROR_INVALID_CODE_OBJECT),
        NAME(HSA_STATUS_ERROR_INVALID_EXECUTABLE),
        NAME(HSA_STATUS_ERROR_INVALID_SYMBOL_NAME),
        NAME(HSA_STATUS_ERROR_INVALID_EXECUTABLE_SYMBOL),
        NAME(HSA_STATUS_ERROR_INVALID_CODE_OBJECT_READER),
        NAME(HSA_STATUS_ERROR_INVALID_MEMORY_POOL),
#undef NAME
    };
    if (text == NULL)
        return HSA_STATUS_ERROR_INVALID_ARGUMENT;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (names[i].status == status) {
            *text = names[i].text;
            return HSA_STATUS_SUCCESS;
        }
    }
    *text = NULL;
    return HSA_STATUS_ERROR_INVALID_ARGUMENT;
}
