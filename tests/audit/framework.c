/* A small framework that brings a runtime of its own: linked against it and found by RPATH $ORIGIN,
 * or (BY_PATH) opened by its path. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#ifdef BY_PATH
void *framework_stream(void)
{
    char path[4096];
    Dl_info here;
    void *stream = NULL;
    dladdr((void *)framework_stream, &here);
    snprintf(path, sizeof path, "%.*s/" BY_PATH,
             (int)(strrchr(here.dli_fname, '/') - here.dli_fname), here.dli_fname);
    void *runtime = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    int (*init)(unsigned) = (int (*)(unsigned))dlsym(runtime, "hipInit");
    int (*make)(void **, unsigned) =
        (int (*)(void **, unsigned))dlsym(runtime, "hipStreamCreateWithFlags");
    return init && make && init(0) == 0 && make(&stream, 1) == 0 ? stream : NULL;
}
#else
int hipInit(unsigned flags);
int hipStreamCreateWithFlags(void **stream, unsigned flags);

void *framework_stream(void)
{
    void *stream = NULL;
    return hipInit(0) == 0 && hipStreamCreateWithFlags(&stream, 1) == 0 ? stream : NULL;
}
#endif
