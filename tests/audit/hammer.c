/*
 * Uses the audit library's parts from many threads at once, as an ordinary program: sanitizers do not
 * work in an LD_AUDIT library.  Meant to be compiled together with its sources (all but audit.c) and
 * a sanitizer: it fails when a result is wrong, the sanitizer when the way there was.
 *
 *   hammer RECORD PART LIBRARY...      PART: threads, reuse, forks, signals, objects, requests
 */
#include "audit.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define EXPECT(expression)                                                                         \
    do {                                                                                           \
        if (!(expression)) {                                                                       \
            fprintf(stderr, "hammer: line %d: not so: %s\n", __LINE__, #expression);               \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

enum { THREADS = 16, CALLS = 20000, OBJECT = 7 };

static int (*query)(void *);
static int (*create)(void **, unsigned);
static int (*launch)(void *, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,
                     void *, void **, void **);

/* ---------------------------------------------------------------------------- what is called */

static int fake_query(void *stream) { return (int)((uintptr_t)stream & 0xfff); }

static int fake_create(void **stream, unsigned flags)
{
    *stream = (void *)(uintptr_t)(0x5000 + flags);
    return 0;
}

static int fake_launch(void *f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                       unsigned bz, unsigned shared, void *stream, void **parameters, void **extra)
{
    EXPECT(f == (void *)1 && gx == 2 && gy == 3 && gz == 4 && bx == 5 && by == 6 && bz == 7);
    EXPECT(shared == 8 && stream == (void *)9 && parameters == (void *)10 && extra == (void *)11);
    return 0;
}

static void wrap(void)
{
    static runtime of = {.slot = -1};
    EXPECT(wrapper_for(&of, "hipStreamQuery", 1) == 1);
    of.slot = slot_take(OBJECT);
    query = (void *)wrapper_for(&of, "hipStreamQuery", (uintptr_t)fake_query);
    create = (void *)wrapper_for(&of, "hipStreamCreateWithFlags", (uintptr_t)fake_create);
    launch = (void *)wrapper_for(&of, "hipModuleLaunchKernel", (uintptr_t)fake_launch);
    EXPECT(query != fake_query && create != fake_create && launch != fake_launch);
    EXPECT(wrapper_for(&of, "hipStreamQuery", (uintptr_t)fake_query) == (uintptr_t)query);
    /* A second function of that name stays what it is, as does what is on no list. */
    EXPECT(wrapper_for(&of, "hipStreamQuery", 1) == 1);
    EXPECT(wrapper_for(&of, "hipStreamQueryAndMore", 2) == 2);
    EXPECT(wrapper_for(&of, "hip", 3) == 3 && wrapper_for(&of, "malloc", 4) == 4);
}

/* ------------------------------------------------------------------------------- what is there */

static record_block *block_at(uint32_t index)
{
    uint64_t size = sizeof(record_block) +
                    ((uint64_t)record->life_size + record->recent_size) * sizeof(record_call);
    return (record_block *)((char *)record + record->blocks_offset + index * size);
}

static void *handle(long thread, long call)
{
    return (void *)((uintptr_t)thread << 40 | (uintptr_t)call << 12);
}

/* A ring has the last calls of one thread, in order. */
static void check_block(const record_block *b, uint64_t calls)
{
    const record_call *recent = (const record_call *)(b + 1) + record->life_size;
    EXPECT(b->recent_count == calls);
    uint64_t first = calls > record->recent_size ? calls - record->recent_size + 1 : 1;
    uint64_t thread = recent[0].stream >> 40;
    for (uint64_t n = first; n <= calls; n++) {
        const record_call *c = &recent[(n - 1) & (record->recent_size - 1)];
        EXPECT(c->position == n && c->stream == (uint64_t)handle((long)thread, (long)n));
        EXPECT(c->object == OBJECT && c->ended >= c->begun && c->result == 0);
    }
}

/* -------------------------------------------------------------------------------------- threads */

static void *calls(void *number)
{
    void *stream;
    EXPECT(create(&stream, 1) == 0 && stream == (void *)0x5001);
    for (long i = 1; i <= CALLS; i++)
        EXPECT(query(handle((long)(intptr_t)number, i)) == 0);
    return NULL;
}

static void *calls_that_fail(void *number)
{
    for (long i = 1; i <= 200; i++)
        EXPECT(query((void *)(i << 12 | 709)) == 709);
    EXPECT(launch((void *)1, 2, 3, 4, 5, 6, 7, 8, (void *)9, (void *)10, (void *)11) == 0);
    return number;
}

static void in_threads(void *(*what)(void *), int count)
{
    pthread_t threads[THREADS];
    for (long i = 0; i < count; i++)
        EXPECT(pthread_create(&threads[i], NULL, what, (void *)(i + 1)) == 0);
    for (int i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
}

static void threads(void)
{
    in_threads(calls, THREADS);
    EXPECT(record->blocks_used == THREADS);
    for (uint32_t i = 0; i < THREADS; i++)
        check_block(block_at(i), CALLS);
    in_threads(calls_that_fail, THREADS);
    EXPECT(record->refusals_seen == 200 * THREADS && record->failures_seen == 200 * THREADS);
    EXPECT(record->threads_without_block == 0);
}

static pthread_barrier_t all_done;

/* None is gone before all are: that one is gone, the next knows of the kernel, the sanitizer does not. */
static void *calls_at_once(void *number)
{
    calls(number);
    pthread_barrier_wait(&all_done);
    return NULL;
}

/* The record has fewer blocks than there are threads in all, and than there are at a time. */
static void reuse(void)
{
    pthread_barrier_init(&all_done, NULL, THREADS);
    for (int round = 0; round < 20; round++) {
        in_threads(calls_that_fail, 4);
        usleep(2000);
    }
    EXPECT(record->threads_without_block == 0);
    EXPECT(record->failures_seen == 20 * 4 * 200);
    in_threads(calls_at_once, THREADS);
    EXPECT(record->threads_without_block == THREADS - record->block_count);
    uint64_t kept = 0, takes = 0;
    for (uint32_t i = 0; i < record->block_count; i++) {
        kept += block_at(i)->life_count + block_at(i)->recent_count;
        takes += block_at(i)->takes;
    }
    uint64_t without = record->threads_without_block;
    EXPECT(takes == 20 * 4 + THREADS - without);
    EXPECT(kept + record->calls_overwritten ==
           20 * 4 * 201 + (uint64_t)(CALLS + 1) * (THREADS - without));
}

/* ---------------------------------------------------------------------------------------- forks */

static _Atomic bool enough;

static void *calls_until_enough(void *number)
{
    for (long i = 1; !enough; i++)
        query(handle((long)(intptr_t)number, i));
    return NULL;
}

static void forks(void)
{
    pthread_t busy[2];
    for (long i = 0; i < 2; i++)
        pthread_create(&busy[i], NULL, calls_until_enough, (void *)(i + 1));
    query(handle(3, 1));
    for (int i = 0; i < 50; i++) {
        pid_t child = fork();
        if (child == 0) {
            for (long k = 1; k <= 10; k++)
                query(handle(10 + i, k));
            EXPECT(thread_here.generation == (uint32_t)getpid());
            EXPECT(thread_here.block->pid == (uint32_t)getpid());
            EXPECT(thread_here.block->recent_count == 10);
            _exit(0);
        }
        int status;
        EXPECT(waitpid(child, &status, 0) == child && status == 0);
    }
    enough = true;
    for (int i = 0; i < 2; i++)
        pthread_join(busy[i], NULL);
    EXPECT(thread_here.block->recent_count == 1);
    EXPECT(record->threads_without_block == 0);
}

/* -------------------------------------------------------------------------------------- signals */

static volatile sig_atomic_t handled;

static void on_alarm(int signal)
{
    (void)signal;
    handled++;
    query(handle(2, 1));
}

static void signals(void)
{
    struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
    struct itimerval often = {{0, 100}, {0, 100}};
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &often, NULL);
    for (long i = 1; i <= 1000000; i++)
        query(handle(1, i));
    setitimer(ITIMER_REAL, &(struct itimerval){{0, 0}, {0, 0}}, NULL);
    EXPECT(thread_here.block->recent_count == 1000000 + (uint64_t)handled);
    EXPECT(record->blocks_used == 1);
}

/* ------------------------------------------------------------------- what the loader tells of */

static ElfW(Dyn) no_dynamic[] = {{.d_tag = DT_NULL}};

static struct link_map map_of(const char *path)
{
    return (struct link_map){.l_name = (char *)path, .l_ld = no_dynamic, .l_addr = 0x10000};
}

static void objects(int count, char **paths)
{
    enum { MANY = 20000 };
    static object *opened[MANY];
    static struct link_map maps[MANY];
    EXPECT(!first_runtime());
    for (int i = 0; i < MANY; i++) {
        maps[i] = map_of(paths[i % count]);
        opened[i] = object_opened(&maps[i], i % 7 ? LM_ID_BASE : 3, true);
        EXPECT(object_of((uintptr_t)opened[i]) == opened[i]);
        if (i >= 100)
            object_closed(opened[i - 100]);
    }
    for (int i = MANY - 100; i < MANY; i++)
        object_closed(opened[i]);
    EXPECT(!first_runtime());
    EXPECT(record->events_lost > 0);
    EXPECT(object_of(0)->map == NULL && object_of(UINTPTR_MAX)->map == NULL);
}

static void requests(int count, char **paths)
{
    const audit_settings on = {.family = "libamdhip64"};
    struct link_map first = map_of(paths[0]), maps[2] = {map_of(paths[count - 2]),
                                                         map_of(paths[count - 1])};
    object *asks = object_opened(&maps[0], LM_ID_BASE, true);
    object *needs_versions = object_opened(&maps[1], LM_ID_BASE, true);
    EXPECT(strcmp(unify(paths[0], asks, 1, &on), paths[0]) == 0);
    object *loaded = object_opened(&first, LM_ID_BASE, true);
    EXPECT(first_runtime() == loaded->runtime);
    for (int round = 0; round < 200; round++)
        for (int i = 0; i < count; i++) {
            const char *answer = unify(paths[i], round % 2 ? needs_versions : asks, 1, &on);
            EXPECT(answer == paths[i] || strcmp(answer, paths[0]) == 0);
            EXPECT(strcmp(opened_as(paths[i]), answer) == 0);
        }
    EXPECT(unify("libamdhip64.so.5", asks, 1, &on) != paths[0]);
    char longest[3 * PATH_SIZE];
    memset(longest, 'x', sizeof longest);
    memcpy(longest, "$ORIGIN/", 8);
    strcpy(longest + sizeof longest - 20, "/libamdhip64.so.5");
    EXPECT(unify(longest, asks, 1, &on) == longest);
    EXPECT(unify(longest + 8, asks, 1, &on) == longest + 8);
    EXPECT(unify("/libamdhip64.so.5/", asks, 1, &on)[0] == '/');
    EXPECT(unify("", asks, 1, &on)[0] == 0);
}

int main(int argc, char **argv)
{
    const char *why = NULL;
    if (argc < 4)
        return 9;
    if (!record_attach(argv[1], &why)) {
        fprintf(stderr, "hammer: %s\n", why);
        return 1;
    }
    record_process_begun();
    wrap();
    if (strcmp(argv[2], "threads") == 0)
        threads();
    else if (strcmp(argv[2], "reuse") == 0)
        reuse();
    else if (strcmp(argv[2], "forks") == 0)
        forks();
    else if (strcmp(argv[2], "signals") == 0)
        signals();
    else if (strcmp(argv[2], "objects") == 0)
        objects(argc - 3, argv + 3);
    else if (strcmp(argv[2], "requests") == 0)
        requests(argc - 3, argv + 3);
    else
        return 9;
    return 0;
}
