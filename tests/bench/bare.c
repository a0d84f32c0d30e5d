/*
 * The steps of same-thread/none/replay as a bare C program: what a cell costs without a harness.
 *
 *   bare LIBRARY            does the steps once
 *   bare LIBRARY COUNT      forks and executes itself COUNT times; prints each run's wall time, ns
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void *library, *context, *stream;

static void *symbol(const char *name)
{
    void *found = dlsym(library, name);
    if (!found) {
        fprintf(stderr, "bare: no %s\n", name);
        exit(2);
    }
    return found;
}

#define CALL(name, types, ...)                                                                     \
    do {                                                                                           \
        int code = ((int(*) types)symbol(#name))(__VA_ARGS__);                                     \
        if (code) {                                                                                \
            fprintf(stderr, "bare: %s: %d\n", #name, code);                                        \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

static void *queue(void *unused)
{
    void *event;
    CALL(hipCtxSetCurrent, (void *), context);
    CALL(hipEventCreateWithFlags, (void **, unsigned), &event, 3);
    CALL(hipEventRecord, (void *, void *), event, stream);
    CALL(hipEventSynchronize, (void *), event);
    CALL(hipStreamSynchronize, (void *), stream);
    return unused;
}

static void steps(const char *path)
{
    static char properties[16384];
    int device, version;
    unsigned flags;
    pthread_t thread;
    library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        fprintf(stderr, "bare: %s\n", dlerror());
        exit(2);
    }
    CALL(hipInit, (unsigned), 0);
    CALL(hipStreamCreateWithFlags, (void **, unsigned), &stream, 0);
    CALL(hipCtxGetCurrent, (void **), &context);
    CALL(hipCtxGetDevice, (int *), &device);
    CALL(hipRuntimeGetVersion, (int *), &version);
    CALL(hipGetDeviceProperties, (void *, int), properties, device);
    CALL(hipStreamGetFlags, (void *, unsigned *), stream, &flags);
    CALL(hipStreamSynchronize, (void *), stream);
    pthread_create(&thread, NULL, queue, NULL);
    pthread_join(thread, NULL);
    /* As a cell ends: without the library's exit handlers. */
    _exit(0);
}

static int64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int main(int count, char **arguments)
{
    if (count == 2)
        steps(arguments[1]);
    if (count != 3)
        return 2;
    for (int i = atoi(arguments[2]); i > 0; i--) {
        int64_t begun = now();
        int status;
        pid_t child = fork();
        if (child == 0) {
            execl("/proc/self/exe", arguments[0], arguments[1], (char *)NULL);
            _exit(127);
        }
        if (waitpid(child, &status, 0) != child || status != 0)
            return 1;
        printf("%lld\n", (long long)(now() - begun));
    }
    return 0;
}
