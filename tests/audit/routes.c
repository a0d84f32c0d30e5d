/*
 * Makes a stream with the framework's runtime and asks another library that is opened by `ROUTE`
 * about it.  Prints the code, and whether the loader's handle is the framework's runtime.
 *
 *   routes ROUTE LIBRARY FRAMEWORK BUNDLED [ORDER]
 *
 * ORDER: without: the framework first.  library-first; fork: the library is opened in a child; chdir:
 * into / before; threads: 8 open it at once; again: opened and closed before; title: the environment
 * is overwritten before; cancelled: a thread opens it that was cancelled; replaced: BUNDLED.new is
 * moved to BUNDLED before; broken: BUNDLED.broken, which cannot be loaded, is opened first of all.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *route, *library, *bundled;
static void *framework;

static int is(const char *name) { return strcmp(route, name) == 0; }

static void *made_by_framework(const char *path)
{
    framework = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    void *(*make)(void) = framework ? (void *(*)(void))dlsym(framework, "framework_stream") : NULL;
    void *stream = make ? make() : NULL;
    if (!stream) {
        printf("no stream: %s\n", framework ? "the runtime made none" : dlerror());
        exit(2);
    }
    return stream;
}

static void *open_library(void)
{
    int mode = RTLD_NOW | RTLD_LOCAL;
    if (is("lazy"))
        mode = RTLD_LAZY;
    else if (is("deepbind"))
        mode = RTLD_NOW | RTLD_DEEPBIND;
    else if (is("global"))
        mode = RTLD_NOW | RTLD_GLOBAL;
    else if (is("noload"))
        mode = RTLD_NOW | RTLD_NOLOAD;
    void *handle = is("dlmopen") ? dlmopen(LM_ID_NEWLM, library, RTLD_NOW) : dlopen(library, mode);
    if (!handle) {
        printf("not opened: %s\n", is("noload") ? "RTLD_NOLOAD" : dlerror());
        exit(2);
    }
    return handle;
}

static const char *same_or_other(void *handle)
{
    void *first = dlopen(bundled, RTLD_NOW | RTLD_NOLOAD);
    return first == handle ? "same" : "other";
}

/* Returns the code; 0 where the library took the stream. */
static int ask(void *handle, void *stream)
{
    int result;
    unsigned flags;
    if (is("needed")) {
        int (*use)(void *) = (int (*)(void *))dlsym(handle, "user_flags");
        return use(stream);
    }
    int (*init)(unsigned) = (int (*)(unsigned))dlsym(handle, "hipInit");
    int (*get)(void *, unsigned *) =
        (int (*)(void *, unsigned *))dlsym(handle, "hipStreamGetFlags");
    if (is("dlvsym"))
        get = (int (*)(void *, unsigned *))dlvsym(handle, "hipStreamGetFlags", "hip_4.2");
    result = init && get ? init(0) : -1;
    return result ? result : get(stream, &flags);
}

static void *open_in_thread(void *barrier)
{
    pthread_barrier_wait(barrier);
    return open_library();
}

static void open_in_threads(void *expected)
{
    enum { THREADS = 8 };
    pthread_t threads[THREADS];
    pthread_barrier_t barrier;
    pthread_barrier_init(&barrier, NULL, THREADS);
    for (int i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, open_in_thread, &barrier);
    for (int i = 0; i < THREADS; i++) {
        void *handle;
        pthread_join(threads[i], &handle);
        if (expected && handle != expected) {
            printf("a thread has another handle\n");
            exit(2);
        }
    }
}

static void *open_when_cancelled(void *unused)
{
    (void)unused;
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
    pthread_cancel(pthread_self());
    void *handle = open_library();
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    return handle;
}

/* (Not `environ`: that would be copied into the program, and a runtime opened with RTLD_DEEPBIND
 * would not find it there.) */
static char **environment;

static void overwrite_environment(void)
{
    for (char **variable = environment; *variable; variable++)
        memset(*variable, 't', strlen(*variable));
}

static void prepare(const char *order)
{
    pthread_t thread;
    void *handle;
    char aside[4096];
    if (strcmp(order, "again") == 0)
        for (int i = 0; i < 3; i++)
            dlclose(open_library());
    else if (strcmp(order, "threads") == 0)
        open_in_threads(getenv("XDIAG_UNIFY") ? dlopen(bundled, RTLD_NOW | RTLD_NOLOAD) : NULL);
    else if (strcmp(order, "title") == 0)
        overwrite_environment();
    else if (strcmp(order, "cancelled") == 0) {
        pthread_create(&thread, NULL, open_when_cancelled, NULL);
        pthread_join(thread, &handle);
        if (handle == PTHREAD_CANCELED)
            printf("cancelled in dlopen ");
    } else if (strcmp(order, "replaced") == 0) {
        snprintf(aside, sizeof aside, "%s.new", bundled);
        if (rename(aside, bundled) != 0)
            exit(9);
    }
}

int main(int argc, char **argv, char **variables)
{
    if (argc < 5)
        return 9;
    environment = variables;
    route = argv[1];
    library = argv[2];
    bundled = argv[4];
    const char *order = argc > 5 ? argv[5] : "";
    void *handle = NULL;
    if (strcmp(order, "broken") == 0) {
        char broken[4096];
        snprintf(broken, sizeof broken, "%s.broken", bundled);
        if (dlopen(broken, RTLD_NOW))
            return 9;
    }
    if (strcmp(order, "library-first") == 0)
        handle = open_library();
    void *stream = made_by_framework(argv[3]);
    if (strcmp(order, "chdir") == 0 && chdir("/") != 0)
        return 9;
    if (is("shim")) {
        void *shim = dlopen("libxsched-shim.so", RTLD_NOW | RTLD_GLOBAL);
        int (*use)(const char *, void *) =
            (int (*)(const char *, void *))dlsym(shim, "shim_flags");
        int result = use ? use(library, stream) : -1;
        handle = dlopen(library, RTLD_NOW | RTLD_NOLOAD);
        printf("%d %s\n", result, same_or_other(handle));
        return 0;
    }
    if (strcmp(order, "fork") == 0) {
        fflush(stdout);
        pid_t child = fork();
        int status;
        if (child) {
            waitpid(child, &status, 0);
            return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        }
    }
    prepare(order);
    if (!handle)
        handle = open_library();
    printf("%d %s\n", ask(handle, stream), is("needed") ? "-" : same_or_other(handle));
    return 0;
}
