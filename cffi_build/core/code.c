/*
 * Code of a program, made known to a runtime: what hipcc writes into a program's start-up.
 *
 * hipLaunchKernel and its like take the address of a host function, and know only those that were
 * registered (hip_fatbin.h, hip_platform.cpp: __hipRegisterFatBinary, __hipRegisterFunction).
 */
#include "core.h"

/* __CudaFatBinaryWrapper of hip_fatbin.h */
typedef struct {
    uint32_t magic;
    uint32_t version;
    const void *binary;
    void *unused;
} fat_binary;
enum { HIP_MAGIC = 0x48495046, HIP_VERSION = 1 };

/* What stands for the kernel and the variable in the program.  It is never called or read. */
static void host_kernel(void) {}
static uint64_t host_variable;

int32_t xd_register_code(int32_t index, const void *bundle, const char *kernel, const char *variable,
                         uint64_t size, uint64_t *function, uint64_t *symbol)
{
    static fat_binary wrappers[XD_MAX_RUNTIMES];
    void **(*register_binary)(const void *);
    void (*register_function)(void **, const void *, const char *, const char *, unsigned, void *,
                              void *, void *, void *, int *);
    void (*register_variable)(void **, void *, const char *, const char *, int, size_t, int, int);
    *(void **)&register_binary = xd_export(index, "__hipRegisterFatBinary");
    *(void **)&register_function = xd_export(index, "__hipRegisterFunction");
    *(void **)&register_variable = xd_export(index, "__hipRegisterVar");
    if (!register_binary || !register_function || !register_variable)
        return -1;
    wrappers[index] = (fat_binary){HIP_MAGIC, HIP_VERSION, bundle, NULL};
    void **modules = register_binary(&wrappers[index]);
    register_function(modules, (const void *)host_kernel, kernel, kernel, UINT32_MAX, NULL, NULL, NULL,
                      NULL, NULL);
    register_variable(modules, &host_variable, variable, variable, 0, size, 0, 0);
    *function = (uint64_t)(uintptr_t)host_kernel;
    *symbol = (uint64_t)(uintptr_t)&host_variable;
    return 0;
}
