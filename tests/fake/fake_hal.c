/*
 * A small fake of XSched's libhalhip.so, for what a real build will not do on demand.
 *
 * As the real one, it opens the runtime that XSCHED_HIP_LIB names at its first call, asks it about
 * the stream, and at an error prints one line and exits.  What it lacks, and how the line looks, is
 * up to the build: -DOTHER_PLATFORM exports the name of a CUDA HAL, -DOLD_LINE prints the line of
 * older builds, -DNO_NUMBER one without an error's number, -DNEEDS_MORE needs a symbol that no
 * library has, as libraries of two versions do.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#ifdef NEEDS_MORE
extern int of_another_version(void);
#endif
#ifdef OTHER_PLATFORM
#define CREATE CudaQueueCreate
#else
#define CREATE HipQueueCreate
#endif

#if defined(OLD_LINE)
#define LINE "[ERRO @ T77 @ 03:15:40.687172] hip error %d: context is destroyed @ /src/hip_queue.cpp:32\n"
#elif defined(NO_NUMBER)
#define LINE "[XSCHED ERRO @ T 77 @ 22:34:58.140774] fail %d @ /src/xsched/utils/symbol.h:12\n"
#else
#define LINE                                                                                       \
    "[XSCHED ERRO @ T 77 @ 22:34:58.140774] hip error %d: context is destroyed @ "                 \
    "/src/platforms/hip/hal/src/hip_queue.cpp:32\n"
#endif

int32_t CREATE(uint64_t *queue, void *stream);

int32_t CREATE(uint64_t *queue, void *stream)
{
    static int (*get_flags)(void *, unsigned int *);
    unsigned int flags = 0;
#ifdef NEEDS_MORE
    of_another_version();
#endif
    if (!stream)
        return 5;
    if (!get_flags) {
        const char *file = getenv("XSCHED_HIP_LIB");
        void *runtime = file ? dlopen(file, RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND) : NULL;
        if (runtime)
            *(void **)&get_flags = dlsym(runtime, "hipStreamGetFlags");
    }
    int error = get_flags ? get_flags(stream, &flags) : -1;
    if (error) {
        fprintf(stderr, LINE, error);
        exit(1);
    }
    *queue = (uint64_t)(uintptr_t)stream;
    return 0;
}
