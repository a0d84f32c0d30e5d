/*
 * A program whose driver calls are recorded: `calls STORY [NUMBER NUMBER]`.  Linked against a runtime
 * (BY_PLT), or finding each call in $RUNTIME with dlsym, or dlvsym (BY_DLVSYM: the version).
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define CALLS(CALL)                                                                                \
    CALL(hipInit, (unsigned))                                                                      \
    CALL(hipSetDevice, (int))                                                                      \
    CALL(hipGetLastError, (void))                                                                  \
    CALL(hipPeekAtLastError, (void))                                                               \
    CALL(hipDeviceSynchronize, (void))                                                             \
    CALL(hipStreamCreate, (void **))                                                               \
    CALL(hipStreamCreateWithFlags, (void **, unsigned))                                            \
    CALL(hipStreamQuery, (void *))                                                                 \
    CALL(hipStreamSynchronize, (void *))                                                           \
    CALL(hipStreamDestroy, (void *))                                                               \
    CALL(hipEventCreateWithFlags, (void **, unsigned))                                             \
    CALL(hipEventRecord, (void *, void *))

#ifdef BY_PLT
#define CALL(name, parameters) __attribute__((weak)) int name parameters;
CALLS(CALL)
static void find_calls(const char *library) { (void)library; }
#else
#define CALL(name, parameters) static int(*name) parameters;
CALLS(CALL)
#undef CALL
#ifdef BY_DLVSYM
#define FOUND(handle, name) dlvsym(handle, name, BY_DLVSYM)
#else
#define FOUND(handle, name) dlsym(handle, name)
#endif
static void *runtime;
static void find_calls(const char *library)
{
    runtime = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    if (!runtime) {
        fprintf(stderr, "%s\n", dlerror());
        exit(9);
    }
#define CALL(name, parameters) *(void **)&name = FOUND(runtime, #name);
    CALLS(CALL)
}
#endif

#define EXPECT(expression)                                                                         \
    do {                                                                                           \
        if (!(expression)) {                                                                       \
            fprintf(stderr, "calls: line %d: not so: %s\n", __LINE__, #expression);                \
            exit(8);                                                                               \
        }                                                                                          \
    } while (0)

static long first_number, second_number;

/* A handle that says whose call it is and the how-many-th; its low 12 bits are the answer. */
static void *numbered(long thread, long call)
{
    return (void *)((uintptr_t)thread << 40 | (uintptr_t)call << 12);
}

static void a_stream_s_life(void)
{
    void *stream, *event;
    EXPECT(hipInit(0) == 0);
    EXPECT(hipSetDevice(1) == 0);
    EXPECT(hipStreamCreateWithFlags(&stream, 1) == 0);
    EXPECT(hipStreamQuery(stream) == 0);
    EXPECT(hipEventCreateWithFlags(&event, 2) == 0);
    EXPECT(hipEventRecord(event, stream) == 0);
    EXPECT(hipStreamDestroy(stream) == 0);
    EXPECT(hipStreamQuery(stream) == 709);
    printf("%ju %ju %d\n", (uintmax_t)(uintptr_t)stream, (uintmax_t)(uintptr_t)event, getpid());
    fflush(stdout);
}

static void one_call(void)
{
    void *stream;
    EXPECT(hipStreamCreateWithFlags(&stream, 0) == 0);
    hipStreamSynchronize(stream);
}

static void *calls_of_a_thread(void *number)
{
    for (long i = 1; i <= second_number; i++)
        EXPECT(hipStreamQuery(numbered((long)(intptr_t)number, i)) == 0);
    return NULL;
}

static pthread_t started(long number)
{
    pthread_attr_t attributes;
    pthread_t thread;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 64 << 10);
    EXPECT(pthread_create(&thread, &attributes, calls_of_a_thread, (void *)(intptr_t)number) == 0);
    pthread_attr_destroy(&attributes);
    return thread;
}

/* One after the other, as a pool does that ends its threads. */
static void threads_in_turn(void)
{
    for (long i = 1; i <= first_number; i++) {
        pthread_join(started(i), NULL);
        /* It can be joined a moment before the kernel has let its number go. */
        usleep(500);
    }
}

static pthread_barrier_t all_there;

static void *calls_at_once(void *number)
{
    pthread_barrier_wait(&all_there);
    calls_of_a_thread(number);
    pthread_barrier_wait(&all_there);
    return NULL;
}

static void threads_at_once(void)
{
    pthread_t *threads = calloc((size_t)first_number, sizeof *threads);
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 64 << 10);
    pthread_barrier_init(&all_there, NULL, (unsigned)first_number);
    for (long i = 0; i < first_number; i++)
        EXPECT(pthread_create(&threads[i], &attributes, calls_at_once, (void *)(i + 1)) == 0);
    for (long i = 0; i < first_number; i++)
        pthread_join(threads[i], NULL);
    free(threads);
}

static volatile sig_atomic_t handled;

static void on_alarm(int signal)
{
    (void)signal;
    hipStreamQuery(numbered(2, ++handled));
}

static void calls_in_a_handler(void)
{
    struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
    struct itimerval often = {{0, 50}, {0, 50}};
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &often, NULL);
    for (long i = 1; i <= first_number; i++)
        hipStreamQuery(numbered(1, i));
    setitimer(ITIMER_REAL, &(struct itimerval){{0, 0}, {0, 0}}, NULL);
    printf("%d\n", (int)handled);
}

/* In a child that has little room: the handler's stack. */
static void call_on_a_small_stack(void)
{
    static char stack[8192];
    sigaltstack(&(stack_t){.ss_sp = stack, .ss_size = sizeof stack}, NULL);
    struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_ONSTACK};
    sigaction(SIGALRM, &action, NULL);
    hipStreamQuery(numbered(1, 1));
    int status;
    if (fork() == 0) {
        raise(SIGALRM);
        _exit(handled == 1 ? 0 : 1);
    }
    wait(&status);
    EXPECT(status == 0);
}

static void errno_stays(void)
{
    errno = ENOTTY;
    EXPECT(hipStreamQuery(numbered(1, 1)) == 0 && errno == ENOTTY);
    EXPECT(hipStreamQuery((void *)709) == 709 && errno == ENOTTY);
    EXPECT(hipStreamSynchronize(NULL) == 0 && errno == EXDEV);
}

static void calls_that_fail(void)
{
    for (long i = 0; i < first_number; i++)
        EXPECT(hipStreamQuery((void *)(i << 12 | 709)) == 709);
    EXPECT(hipStreamQuery((void *)400) == 400);
    EXPECT(hipStreamQuery((void *)600) == 600); /* not ready: an answer */
    EXPECT(hipGetLastError() == 709 && hipPeekAtLastError() == 709);
}

static void forks(void)
{
    int status;
    hipStreamQuery(numbered(1, 1));
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        hipStreamQuery(numbered(2, 1));
        hipStreamQuery(numbered(2, 2));
        if (fork() == 0) {
            hipStreamQuery(numbered(3, 1));
            _exit(0);
        }
        wait(&status);
        exit(3);
    }
    waitpid(child, &status, 0);
    hipStreamQuery(numbered(1, 2));
    EXPECT(WEXITSTATUS(status) == 3);
}

/* The call itself forks, and both come back from it. */
static void fork_in_a_call(void)
{
    void *child;
    if (hipStreamCreate(&child) == 709)
        _exit(0);
    waitpid((pid_t)(intptr_t)child, NULL, 0);
}

static _Atomic int cleaned;
static void clean(void *unused)
{
    (void)unused;
    cleaned++;
}

static void *waits_in_a_call(void *unused)
{
    pthread_cleanup_push(clean, NULL);
    hipDeviceSynchronize();
    pthread_cleanup_pop(0);
    return unused;
}

static void cancelled_in_a_call(void)
{
    pthread_t thread;
    void *result;
    pthread_create(&thread, NULL, waits_in_a_call, NULL);
    usleep(20000);
    pthread_cancel(thread);
    pthread_join(thread, &result);
    EXPECT(result == PTHREAD_CANCELED);
    EXPECT(cleaned == 1);
}

#ifndef BY_PLT
/* $COPIES: libraries, one after the other or all at a time. */
static void runtimes(int together)
{
    char *copies = strdup(getenv("COPIES"));
    for (char *each = strtok(copies, ":"); each; each = strtok(NULL, ":")) {
        void *library = dlopen(each, RTLD_NOW | RTLD_LOCAL);
        int (*query)(void *) = (int (*)(void *))dlsym(library, "hipStreamQuery");
        EXPECT(query(numbered(1, 1)) == 0);
        if (!together)
            EXPECT(dlclose(library) == 0);
    }
}
static void runtimes_in_turn(void) { runtimes(0); }
static void runtimes_at_once(void) { runtimes(1); }
#endif

static const struct {
    const char *name;
    void (*tell)(void);
} stories[] = {
    {"life", a_stream_s_life},       {"one-call", one_call},
    {"in-turn", threads_in_turn},    {"at-once", threads_at_once},
    {"handler", calls_in_a_handler}, {"small-stack", call_on_a_small_stack},
    {"errno", errno_stays},          {"failures", calls_that_fail},
    {"forks", forks},                {"fork-in-a-call", fork_in_a_call},
    {"cancelled", cancelled_in_a_call},
#ifndef BY_PLT
    {"runtimes-in-turn", runtimes_in_turn},
    {"runtimes-at-once", runtimes_at_once},
#endif
};

int main(int argc, char **argv)
{
    if (argc < 2)
        return 9;
    first_number = argc > 2 ? atol(argv[2]) : 0;
    second_number = argc > 3 ? atol(argv[3]) : 0;
    find_calls(getenv("RUNTIME"));
    for (size_t i = 0; i < sizeof stories / sizeof *stories; i++)
        if (strcmp(stories[i].name, argv[1]) == 0) {
            stories[i].tell();
            return 0;
        }
    return 9;
}
