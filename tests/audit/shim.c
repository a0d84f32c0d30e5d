/* As XSched's shim does it: dlsym is ours, the real one comes from dlvsym. */
#define _GNU_SOURCE
#include <dlfcn.h>

typedef void *(*dlsym_function)(void *, const char *);

void *dlsym(void *handle, const char *name)
{
    static dlsym_function real;
    if (!real)
        real = (dlsym_function)dlvsym(RTLD_NEXT, "dlsym", "GLIBC_2.2.5");
    return real(handle, name);
}

int shim_flags(const char *library, void *stream)
{
    unsigned flags;
    void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
    int (*init)(unsigned) = (int (*)(unsigned))dlsym(handle, "hipInit");
    int (*get)(void *, unsigned *) =
        (int (*)(void *, unsigned *))dlsym(handle, "hipStreamGetFlags");
    int result = init ? init(0) : -1;
    return result ? result : get(stream, &flags);
}
