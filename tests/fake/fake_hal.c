/*
 * A small fake of XSched's libhalhip.so, for what a real build will not do on demand.
 *
 * As the real one, it opens the runtime that XSCHED_HIP_LIB names at its first call, asks it about
 * the stream, and at an error prints one line and exits.  What it lacks, and how the line looks, is
 * up to the build: -DFOR_CUDA is libhalcuda.so, which compares contexts; -DOTHER_PLATFORM exports
 * the name of the other platform's HAL, -DOLD_LINE prints the line of builds before 1.2.0,
 * -DNO_NUMBER one without an error's number, -DNEEDS_MORE needs a symbol that no library has, as
 * libraries of two versions do.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#ifdef NEEDS_MORE
extern int _ZN6xsched7preempt17of_another_versionEv(void);
#endif
#if defined(FOR_CUDA) != defined(OTHER_PLATFORM)
#define CREATE CudaQueueCreate
#else
#define CREATE HipQueueCreate
#endif

#ifdef FOR_CUDA
#define VARIABLE "XSCHED_CUDA_LIB"
#define PLACE "/src/platforms/cuda/hal/src/arch/arch.cpp"
#else
#define VARIABLE "XSCHED_HIP_LIB"
#define PLACE "/src/platforms/hip/hal/src/hip_queue.cpp"
#endif

#ifdef OLD_LINE
#define LEAVE(text, ...) leave("[%s @ T77 @ 03:15:40.687172] " text "\n", "ERRO", __VA_ARGS__)
#else
#define LEAVE(text, ...) leave("[XSCHED %s @ T 77 @ 22:34:58.140774] " text "\n", "ERRO", __VA_ARGS__)
#endif

int32_t CREATE(uint64_t *queue, void *stream);

__attribute__((noreturn, format(printf, 1, 2))) static void leave(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    exit(1);
}

static void *symbol(const char *name)
{
    static void *runtime;
    const char *file = getenv(VARIABLE);
    if (!runtime && file)
        runtime = dlopen(file, RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
    void *found = runtime ? dlsym(runtime, name) : NULL;
    if (!found)
        LEAVE("Assertion failed: fail to get symbol %s @ %s:24", name, PLACE);
    return found;
}

#ifdef FOR_CUDA
static void ask(void *stream)
{
    int (*get_context)(void *, void **), (*get_current)(void **);
    void *of = NULL, *current = NULL;
    *(void **)&get_context = symbol("cuStreamGetCtx");
    *(void **)&get_current = symbol("cuCtxGetCurrent");
    int error = get_context(stream, &of);
    if (error)
        LEAVE("cuda error %d: as the fake says @ %s:67", error, PLACE);
    error = get_current(&current);
    if (error)
        LEAVE("cuda error %d: as the fake says @ %s:68", error, PLACE);
    if (of != current)
        LEAVE("Assertion failed: create CudaQueue failed: current context (%p) does not match "
              "stream context (%p) @ %s:69", current, of, PLACE);
}
#else
static void ask(void *stream)
{
    int (*get_flags)(void *, unsigned int *);
    unsigned int flags = 0;
    *(void **)&get_flags = symbol("hipStreamGetFlags");
    int error = get_flags(stream, &flags);
#ifdef NO_NUMBER
    if (error)
        LEAVE("fail %d @ /src/xsched/utils/symbol.h:12", error);
#else
    if (error)
        LEAVE("hip error %d: context is destroyed @ %s:32", error, PLACE);
#endif
}
#endif

int32_t CREATE(uint64_t *queue, void *stream)
{
#ifdef NEEDS_MORE
    _ZN6xsched7preempt17of_another_versionEv();
#endif
    if (!stream)
        return 5;
    ask(stream);
    *queue = (uint64_t)(uintptr_t)stream;
    return 0;
}
