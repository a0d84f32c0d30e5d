/* Exercises a HIP runtime (given as a path) over whatever HSA library it finds.
 *
 *     hip_smoke LIBAMDHIP64 [count | query | namespace | fork | close | twice COPY | all]
 *
 * count      prints the result of hipInit and the number of devices
 * query      prints what hipStreamQuery says right after a memset was queued
 * namespace  runs some checks on a runtime loaded by dlmopen
 * fork       uses the runtime, forks, and lets the child load signals and allocate
 * close      uses the runtime, dlcloses it and goes on
 * twice      uses two copies of the runtime, from two files, side by side
 * all        runs every check below; exits 0 if all passed (the default)
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

typedef void *stream;
typedef void *event;

enum { H2D = 1, D2H = 2, D2D = 3 }; /* hipMemcpyKind */

static void *library;
static Lmid_t namespace = LM_ID_BASE;

#define CALLS(call)                                                                  \
    call(hipInit, (unsigned))                                                        \
    call(hipGetDeviceCount, (int *))                                                 \
    call(hipSetDevice, (int))                                                        \
    call(hipGetDeviceProperties, (void *, int))                                      \
    call(hipDeviceSynchronize, (void))                                               \
    call(hipDeviceReset, (void))                                                     \
    call(hipDeviceCanAccessPeer, (int *, int, int))                                  \
    call(hipDeviceEnablePeerAccess, (int, unsigned))                                 \
    call(hipStreamCreate, (stream *))                                                \
    call(hipStreamCreateWithFlags, (stream *, unsigned))                             \
    call(hipStreamCreateWithPriority, (stream *, unsigned, int))                     \
    call(hipStreamGetFlags, (stream, unsigned *))                                    \
    call(hipStreamGetPriority, (stream, int *))                                      \
    call(hipStreamQuery, (stream))                                                   \
    call(hipStreamSynchronize, (stream))                                             \
    call(hipStreamWaitEvent, (stream, event, unsigned))                              \
    call(hipStreamAddCallback, (stream, void (*)(stream, int, void *), void *, unsigned)) \
    call(hipStreamBeginCapture, (stream, int))                                       \
    call(hipStreamEndCapture, (stream, void **))                                     \
    call(hipGraphDestroy, (void *))                                                  \
    call(hipStreamWriteValue32, (stream, void *, uint32_t, unsigned))                \
    call(hipStreamDestroy, (stream))                                                 \
    call(hipEventCreate, (event *))                                                  \
    call(hipEventRecord, (event, stream))                                            \
    call(hipEventSynchronize, (event))                                               \
    call(hipEventElapsedTime, (float *, event, event))                               \
    call(hipEventDestroy, (event))                                                   \
    call(hipMalloc, (void **, size_t))                                               \
    call(hipHostMalloc, (void **, size_t, unsigned))                                 \
    call(hipFree, (void *))                                                          \
    call(hipHostFree, (void *))                                                      \
    call(hipMemcpy, (void *, const void *, size_t, int))                             \
    call(hipMemcpyAsync, (void *, const void *, size_t, int, stream))                \
    call(hipMemcpy2DAsync, (void *, size_t, const void *, size_t, size_t, size_t, int, stream)) \
    call(hipMemcpyPeer, (void *, int, const void *, int, size_t))                    \
    call(hipMemsetAsync, (void *, int, size_t, stream))                              \
    call(hipMemsetD8Async, (void *, unsigned char, size_t, stream))                  \
    call(hipMemsetD16Async, (void *, unsigned short, size_t, stream))                \
    call(hipMemsetD32Async, (void *, int, size_t, stream))                           \
    call(hipMemset2DAsync, (void *, size_t, int, size_t, size_t, stream))

#define DECLARE(name, parameters) static int(*name) parameters;
CALLS(DECLARE)

static void load(const char *path)
{
    library = namespace == LM_ID_BASE ? dlopen(path, RTLD_NOW | RTLD_LOCAL)
                                      : dlmopen(namespace, path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        fprintf(stderr, "hip_smoke: %s\n", dlerror());
        exit(2);
    }
#define RESOLVE(name, parameters) \
    if ((*(void **)&name = dlsym(library, #name)) == NULL) \
        fprintf(stderr, "hip_smoke: no %s\n", #name), exit(2);
    CALLS(RESOLVE)
}

#define EXPECT(expression)                                                             \
    do {                                                                               \
        if (!(expression)) {                                                           \
            fprintf(stderr, "hip_smoke: line %d: not so: %s\n", __LINE__, #expression); \
            exit(1);                                                                   \
        }                                                                              \
    } while (0)
#define OK(call)                                                                        \
    do {                                                                                \
        int code_ = (call);                                                             \
        if (code_ != 0) {                                                               \
            fprintf(stderr, "hip_smoke: line %d: %s returned %d\n", __LINE__, #call, code_); \
            exit(1);                                                                    \
        }                                                                               \
    } while (0)

static void fill_pattern(uint8_t *bytes, size_t size, unsigned seed)
{
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)(i * 7 + (i >> 8) * 13 + seed);
}

static void streams(void)
{
    stream plain, flagged, urgent;
    unsigned flags = 99;
    int priority = 99;
    OK(hipStreamCreate(&plain));
    OK(hipStreamCreateWithFlags(&flagged, 1));
    OK(hipStreamCreateWithPriority(&urgent, 0, -1));
    OK(hipStreamGetFlags(plain, &flags));
    EXPECT(flags == 0);
    OK(hipStreamGetFlags(flagged, &flags));
    EXPECT(flags == 1);
    OK(hipStreamGetPriority(urgent, &priority));
    EXPECT(priority == -1);
    OK(hipStreamQuery(plain));
    OK(hipStreamSynchronize(flagged));
    OK(hipStreamDestroy(plain));
    OK(hipStreamDestroy(flagged));
    OK(hipStreamDestroy(urgent));
}

static void events(void)
{
    stream s, other;
    event start, end;
    void *device;
    float ms = -1;
    OK(hipStreamCreate(&s));
    OK(hipStreamCreate(&other));
    OK(hipEventCreate(&start));
    OK(hipEventCreate(&end));
    OK(hipMalloc(&device, 1 << 20));
    OK(hipEventRecord(start, s));
    OK(hipMemsetAsync(device, 1, 1 << 20, s));
    OK(hipEventRecord(end, s));
    OK(hipStreamWaitEvent(other, end, 0));
    OK(hipStreamSynchronize(other));
    OK(hipEventSynchronize(end));
    OK(hipEventElapsedTime(&ms, start, end));
    EXPECT(ms >= 0 && ms < 60000);
    OK(hipFree(device));
    OK(hipEventDestroy(start));
    OK(hipEventDestroy(end));
    OK(hipStreamDestroy(s));
    OK(hipStreamDestroy(other));
}

/* To the device, across the device and back: pageable and pinned, from one byte to megabytes. */
static void copies(void)
{
    static const size_t sizes[] = {1, 3, 4, 15, 16, 17, 255, 4096, 65537, 1000003, 9 << 20};
    stream s;
    OK(hipStreamCreate(&s));
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int pinned = 0; pinned < 2; pinned++) {
            size_t size = sizes[i];
            void *from, *to, *a, *b;
            if (pinned) {
                OK(hipHostMalloc(&from, size, 0));
                OK(hipHostMalloc(&to, size, 0));
            } else {
                from = malloc(size);
                to = malloc(size);
            }
            OK(hipMalloc(&a, size));
            OK(hipMalloc(&b, size));
            fill_pattern(from, size, (unsigned)i);
            memset(to, 0xEE, size);
            OK(hipMemcpyAsync(a, from, size, H2D, s));
            OK(hipMemcpyAsync(b, a, size, D2D, s));
            OK(hipMemcpyAsync(to, b, size, D2H, s));
            OK(hipStreamSynchronize(s));
            EXPECT(memcmp(from, to, size) == 0);
            memset(to, 0xEE, size);
            OK(hipMemcpy(to, a, size, D2H));
            EXPECT(memcmp(from, to, size) == 0);
            OK(hipFree(a));
            OK(hipFree(b));
            if (pinned) {
                OK(hipHostFree(from));
                OK(hipHostFree(to));
            } else {
                free(from);
                free(to);
            }
        }
    OK(hipStreamDestroy(s));
}

/* A copy inside a larger buffer, and of rows: the bytes around it stay. */
static void partial_copies(void)
{
    enum { WIDTH = 100, PITCH = 128, ROWS = 17, SIZE = PITCH * ROWS };
    stream s;
    uint8_t from[SIZE], to[SIZE], *a, *b;
    OK(hipStreamCreate(&s));
    OK(hipMalloc((void **)&a, SIZE));
    OK(hipMalloc((void **)&b, SIZE));
    fill_pattern(from, SIZE, 3);
    OK(hipMemcpy(a, from, SIZE, H2D));
    OK(hipMemsetAsync(b, 0, SIZE, s));
    OK(hipMemcpyAsync(b + 5, a + 9, 301, D2D, s));
    OK(hipMemcpyAsync(to, b, SIZE, D2H, s));
    OK(hipStreamSynchronize(s));
    for (int i = 0; i < SIZE; i++)
        EXPECT(to[i] == (i >= 5 && i < 306 ? from[i + 4] : 0));

    OK(hipMemsetAsync(b, 0, SIZE, s));
    OK(hipMemcpy2DAsync(b, PITCH, a, PITCH, WIDTH, ROWS, D2D, s));
    OK(hipMemcpyAsync(to, b, SIZE, D2H, s));
    OK(hipStreamSynchronize(s));
    for (int i = 0; i < SIZE; i++)
        EXPECT(to[i] == (i % PITCH < WIDTH ? from[i] : 0));
    OK(hipFree(a));
    OK(hipFree(b));
    OK(hipStreamDestroy(s));
}

static void fills(void)
{
    enum { COUNT = 4099 };
    stream s;
    static uint32_t words[COUNT];
    uint8_t *bytes = (uint8_t *)words;
    uint16_t *halves = (uint16_t *)words;
    void *device;
    OK(hipStreamCreate(&s));
    OK(hipMalloc(&device, sizeof words));
    OK(hipMemsetD32Async(device, 0x12345678, COUNT, s));
    OK(hipMemcpyAsync(words, device, sizeof words, D2H, s));
    OK(hipStreamSynchronize(s));
    for (int i = 0; i < COUNT; i++)
        EXPECT(words[i] == 0x12345678);

    OK(hipMemsetD16Async(device, 0xBEEF, 1001, s));
    OK(hipMemsetD8Async((uint8_t *)device + 4001, 0x5A, 333, s));
    OK(hipMemcpyAsync(words, device, sizeof words, D2H, s));
    OK(hipStreamSynchronize(s));
    for (int i = 0; i < 1001; i++)
        EXPECT(halves[i] == 0xBEEF);
    EXPECT(halves[1001] == 0x1234);
    for (int i = 4001; i < 4334; i++)
        EXPECT(bytes[i] == 0x5A);
    EXPECT(bytes[4000] == 0x78 && bytes[4334] == 0x34);

    OK(hipMemsetAsync(device, 0, sizeof words, s));
    OK(hipMemset2DAsync(device, 64, 0x77, 48, 9, s));
    OK(hipMemcpyAsync(words, device, sizeof words, D2H, s));
    OK(hipStreamSynchronize(s));
    for (int i = 0; i < 64 * 9; i++)
        EXPECT(bytes[i] == (i % 64 < 48 ? 0x77 : 0));
    EXPECT(bytes[64 * 9] == 0);

    OK(hipStreamWriteValue32(s, device, 0xCAFE, 0));
    OK(hipStreamSynchronize(s));
    OK(hipMemcpy(words, device, 8, D2H));
    EXPECT(words[0] == 0xCAFE && words[1] == 0x77777777);
    OK(hipFree(device));
    OK(hipStreamDestroy(s));
}

static void count_call(stream s, int status, void *argument)
{
    (void)s;
    if (status == 0)
        __atomic_fetch_add((int *)argument, 1, __ATOMIC_SEQ_CST);
}

static void callbacks(void)
{
    stream s;
    void *device;
    int called = 0;
    OK(hipStreamCreate(&s));
    OK(hipMalloc(&device, 4096));
    for (int i = 0; i < 20; i++) {
        OK(hipMemsetAsync(device, i, 4096, s));
        OK(hipStreamAddCallback(s, count_call, &called, 0));
    }
    OK(hipStreamSynchronize(s));
    for (int i = 0; i < 1000 && __atomic_load_n(&called, __ATOMIC_SEQ_CST) < 20; i++)
        usleep(1000);
    EXPECT(__atomic_load_n(&called, __ATOMIC_SEQ_CST) == 20);
    OK(hipFree(device));
    OK(hipStreamDestroy(s));
}

static void capture(void)
{
    stream s;
    void *device, *graph = NULL;
    OK(hipStreamCreate(&s));
    OK(hipMalloc(&device, 4096));
    OK(hipStreamBeginCapture(s, 0));
    OK(hipMemsetAsync(device, 1, 4096, s));
    OK(hipStreamEndCapture(s, &graph));
    EXPECT(graph != NULL);
    OK(hipGraphDestroy(graph));
    OK(hipFree(device));
    OK(hipStreamDestroy(s));
}

static void two_devices(void)
{
    uint8_t from[5000], to[5000];
    void *here, *there;
    stream s;
    int count, access = -1;
    OK(hipGetDeviceCount(&count));
    if (count < 2)
        return;
    fill_pattern(from, sizeof from, 9);
    OK(hipDeviceCanAccessPeer(&access, 0, 1));
    EXPECT(access == 1);
    OK(hipMalloc(&here, sizeof from));
    OK(hipSetDevice(1));
    OK(hipMalloc(&there, sizeof from));
    OK(hipStreamCreate(&s));
    OK(hipMemcpy(here, from, sizeof from, H2D));
    OK(hipMemcpyPeer(there, 1, here, 0, sizeof from));
    OK(hipDeviceSynchronize());
    OK(hipMemcpyAsync(to, there, sizeof to, D2H, s));
    OK(hipStreamSynchronize(s));
    EXPECT(memcmp(from, to, sizeof to) == 0);
    OK(hipStreamDestroy(s));
    OK(hipFree(there));
    OK(hipSetDevice(0));
    OK(hipFree(here));
}

enum { THREADS = 8, STREAMS = 8, ROUNDS = 25, BYTES = 20011 };

static void *hammer(void *argument)
{
    unsigned seed = (unsigned)(uintptr_t)argument;
    stream s[STREAMS];
    event done[STREAMS];
    uint8_t *from[STREAMS], *to[STREAMS];
    void *device[STREAMS];
    for (int i = 0; i < STREAMS; i++) {
        OK(hipStreamCreateWithFlags(&s[i], 1));
        OK(hipEventCreate(&done[i]));
        OK(hipHostMalloc((void **)&from[i], BYTES, 0));
        OK(hipHostMalloc((void **)&to[i], BYTES, 0));
        OK(hipMalloc(&device[i], 2 * BYTES));
    }
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < STREAMS; i++) {
            fill_pattern(from[i], BYTES, seed + (unsigned)(round * STREAMS + i));
            memset(to[i], 0, BYTES);
            OK(hipMemcpyAsync(device[i], from[i], BYTES, H2D, s[i]));
            OK(hipMemcpyAsync((uint8_t *)device[i] + BYTES, device[i], BYTES, D2D, s[i]));
            OK(hipMemcpyAsync(to[i], (uint8_t *)device[i] + BYTES, BYTES, D2H, s[i]));
            OK(hipEventRecord(done[i], s[i]));
        }
        for (int i = 0; i < STREAMS; i++) {
            if (i % 2 == 0)
                OK(hipEventSynchronize(done[i]));
            else
                OK(hipStreamSynchronize(s[i]));
            EXPECT(memcmp(from[i], to[i], BYTES) == 0);
        }
    }
    for (int i = 0; i < STREAMS; i++) {
        OK(hipFree(device[i]));
        OK(hipHostFree(from[i]));
        OK(hipHostFree(to[i]));
        OK(hipEventDestroy(done[i]));
        OK(hipStreamDestroy(s[i]));
    }
    return NULL;
}

static void threads(void)
{
    pthread_t thread[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++)
        EXPECT(pthread_create(&thread[i], NULL, hammer, (void *)(i * 31)) == 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
}

static void reset(void)
{
    OK(hipDeviceReset());
    streams();
}

static void properties(void)
{
    char name[65536] = ""; /* the structure begins with the name and grows with every version */
    OK(hipGetDeviceProperties(name, 0));
    EXPECT(strstr(name, "xdiag software agent") != NULL);
}

static void forked(void)
{
    stream s;
    void *memory;
    int status;
    OK(hipStreamCreate(&s));
    OK(hipMalloc(&memory, 4096));
    OK(hipMemsetAsync(memory, 1, 4096, s));
    OK(hipStreamSynchronize(s));
    pid_t child = fork();
    EXPECT(child >= 0);
    if (child == 0) {
        unsigned flags;
        OK(hipStreamGetFlags(s, &flags));
        OK(hipStreamQuery(s));
        OK(hipFree(memory));
        _exit(0);
    }
    EXPECT(waitpid(child, &status, 0) == child);
    EXPECT(status == 0);
    OK(hipStreamDestroy(s));
}

static void twice(const char *copy)
{
    stream mine, theirs;
    int (*first_sync)(stream) = hipStreamSynchronize;
    OK(hipStreamCreate(&mine));
    void *first = library;
    load(copy);
    EXPECT(library != first);
    OK(hipInit(0));
    OK(hipStreamCreate(&theirs));
    copies();
    OK(hipStreamSynchronize(theirs));
    OK(first_sync(mine));
    /* The sickness this project is about: a stream of one copy means nothing to the other. */
    printf("foreign stream: %d\n", hipStreamSynchronize(mine));
}

int main(int argc, char **argv)
{
    const char *mode = argc > 2 ? argv[2] : "all";
    int count = 0;
    if (argc < 2)
        return fprintf(stderr, "usage: hip_smoke LIBAMDHIP64 [check]\n"), 2;
    if (strcmp(mode, "namespace") == 0)
        namespace = LM_ID_NEWLM;
    load(argv[1]);
    int init = hipInit(0);
    int counted = hipGetDeviceCount(&count);
    if (strcmp(mode, "count") == 0)
        return printf("init %d count %d devices %d\n", init, counted, count), 0;
    OK(init);
    EXPECT(count > 0);
    if (strcmp(mode, "query") == 0) {
        stream s;
        void *device;
        OK(hipStreamCreate(&s));
        OK(hipMalloc(&device, 4096));
        OK(hipMemsetAsync(device, 1, 4096, s));
        printf("query %d", hipStreamQuery(s));
        OK(hipStreamSynchronize(s));
        return printf(" then %d\n", hipStreamQuery(s)), 0;
    }
    if (strcmp(mode, "namespace") == 0)
        return streams(), copies(), callbacks(), 0;
    if (strcmp(mode, "fork") == 0)
        return forked(), 0;
    if (strcmp(mode, "close") == 0)
        return streams(), copies(), callbacks(), dlclose(library), usleep(50000), 0;
    if (strcmp(mode, "twice") == 0)
        return twice(argc > 3 ? argv[3] : ""), 0;
    static const struct {
        const char *name;
        void (*run)(void);
    } checks[] = {
        {"properties", properties}, {"streams", streams},     {"events", events},
        {"copies", copies},         {"partial copies", partial_copies},
        {"fills", fills},           {"callbacks", callbacks}, {"capture", capture},
        {"two devices", two_devices}, {"threads", threads},   {"reset", reset},
    };
    for (size_t i = 0; i < sizeof checks / sizeof *checks; i++) {
        printf("%s\n", checks[i].name);
        fflush(stdout);
        checks[i].run();
    }
    return 0;
}
