/*
 * Whose stream is this?  For a library that is given a hipStream_t by somebody else.
 *
 *     cc whose_stream.c -ldl -o whose_stream
 *     ./whose_stream /opt/rocm/lib/libamdhip64.so [a copy of that file, for a foreign handle]
 *
 * No HIP header is needed.  The explanation is docs/whose-stream.md of xdiag; what is here may be
 * copied freely.  Measured on HIP 5.2.3, 5.7.1, 6.4.3 and 7.2.4.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* [the question] */
enum {
    STREAM_CANNOT_TELL = -1, /* the runtime lacks the call, found no GPU, or answered otherwise */
    STREAM_NOT_MINE = 0,
    STREAM_MINE = 1,
    STREAM_OF_EVERY_COPY = 2, /* NULL, 1 and 2: constants, they mean a stream in each copy */
};

/* Is this handle in the set of live streams of the copy that dlopen() returned?  Never follows the
 * handle, makes no stream, and leaves hipGetLastError() of the calling thread as it was, unless an
 * error was waiting there. */
int stream_is_mine(void *libamdhip64, void *stream)
{
    int (*ask)(void *, int *, unsigned long long *, void **, const void **, size_t *);
    int (*peek)(void), (*take)(void);
    unsigned long long id;
    void *graph;
    const void *nodes;
    size_t count;
    int status, waiting, code;

    if ((uintptr_t)stream <= 2)
        return STREAM_OF_EVERY_COPY;
    *(void **)&ask = dlsym(libamdhip64, "hipStreamGetCaptureInfo_v2");
    *(void **)&peek = dlsym(libamdhip64, "hipPeekAtLastError");
    *(void **)&take = dlsym(libamdhip64, "hipGetLastError");
    if (!ask || !peek || !take)
        return STREAM_CANNOT_TELL;
    waiting = peek();
    code = ask(stream, &status, &id, &graph, &nodes, &count);
    if (code && !waiting)
        take();
    if (code == 0)
        return STREAM_MINE;
    /* hipErrorContextIsDestroyed; on 5.2 hipErrorInvalidValue, and the other arguments are good. */
    return code == 709 || code == 1 ? STREAM_NOT_MINE : STREAM_CANNOT_TELL;
}
/* [end] */

/* [the owner] */
enum { MOST_COPIES = 16 };
struct copies {
    void *copy[MOST_COPIES];
    int count;
};

static int look_at(struct dl_phdr_info *info, size_t size, void *data)
{
    struct copies *copies = data;
    const char *slash = strrchr(info->dlpi_name, '/');
    const char *name = slash ? slash + 1 : info->dlpi_name;
    void *copy;

    (void)size;
    if (strncmp(name, "libamdhip64", 11) != 0 || !strstr(name, ".so"))
        return 0;
    /* RTLD_NOLOAD: only what is loaded already, never a further copy. */
    copy = dlopen(info->dlpi_name, RTLD_LAZY | RTLD_NOLOAD);
    if (copy)
        copies->copy[copies->count++] = copy;
    return copies->count == MOST_COPIES;
}

/* The loaded copy of the runtime that knows this stream, for dlsym() and later dlclose(); NULL
 * where none does.  Loads nothing.  A copy that nobody has used so far is initialised by being
 * asked. */
void *owner_of_stream(void *stream)
{
    struct copies copies = {.count = 0};
    void *owner = NULL;
    int n;

    /* First all copies, then the questions: the loader is locked inside of dl_iterate_phdr(), and
     * a runtime that initialises itself there could wait for a thread that needs it. */
    dl_iterate_phdr(look_at, &copies);
    for (n = 0; n < copies.count; n++) {
        if (!owner && stream_is_mine(copies.copy[n], stream) == STREAM_MINE)
            owner = copies.copy[n];
        else
            dlclose(copies.copy[n]);
    }
    return owner;
}
/* [end] */

/* ---- what it answers, shown ---- */

static const char *words(int answer)
{
    switch (answer) {
    case STREAM_MINE: return "mine";
    case STREAM_NOT_MINE: return "not mine";
    case STREAM_OF_EVERY_COPY: return "of every copy";
    default: return "cannot tell";
    }
}

struct calls {
    int (*init)(unsigned), (*create)(void **, unsigned), (*destroy)(void *);
    int (*begin)(void *, int), (*end)(void *, void **), (*last)(void);
};

static struct calls calls_of(void *copy)
{
    struct calls calls;

    *(void **)&calls.init = dlsym(copy, "hipInit");
    *(void **)&calls.create = dlsym(copy, "hipStreamCreateWithFlags");
    *(void **)&calls.destroy = dlsym(copy, "hipStreamDestroy");
    *(void **)&calls.begin = dlsym(copy, "hipStreamBeginCapture");
    *(void **)&calls.end = dlsym(copy, "hipStreamEndCapture");
    *(void **)&calls.last = dlsym(copy, "hipGetLastError");
    return calls;
}

static void *opened(const char *path)
{
    void *copy = dlopen(path, RTLD_NOW | RTLD_LOCAL);

    if (!copy)
        fprintf(stderr, "%s\n", dlerror());
    return copy;
}

static void show(const char *kind, void *copy, void *stream)
{
    printf("%-22s %s\n", kind, words(stream_is_mine(copy, stream)));
}

int main(int argc, char **argv)
{
    static long long zeros[64];
    void *copy, *other, *live, *stream, *again, *cut, *graph, *foreign = NULL;
    struct calls calls, theirs;

    if (argc < 2 || argc > 3) {
        fprintf(stderr, "usage: %s LIBAMDHIP64 [COPY]\n", argv[0]);
        return 2;
    }
    if (!(copy = opened(argv[1])))
        return 3;
    calls = calls_of(copy);
    if (calls.init(0) || calls.create(&live, 0) || calls.create(&stream, 0)) {
        fprintf(stderr, "%s: no stream can be made here\n", argv[1]);
        return 3;
    }
    show("live", copy, live);
    if (calls.begin(live, 0)) {
        fprintf(stderr, "%s: no capture can begin here\n", argv[1]);
        return 3;
    }
    show("live, in a capture", copy, live);
    calls.end(live, &graph);
    calls.destroy(stream);
    show("destroyed", copy, stream);
    /* Memory that was freed is given out again: a new stream there is a live one like any other. */
    if (calls.create(&again, 0) == 0 && again == stream)
        show("destroyed, made anew", copy, stream);
    show("memory of zeros", copy, zeros);
    show("no memory at all", copy, (void *)0xdead0000dead0ull);
    cut = (void *)((uintptr_t)live & 0xffffffff);
    if (cut != live) /* a program that is no PIE has its heap low */
        show("cut to 32 bits", copy, cut);
    show("NULL", copy, NULL);
    show("hipStreamLegacy", copy, (void *)1);
    show("hipStreamPerThread", copy, (void *)2);
    if (argc == 3) {
        if (!(other = opened(argv[2])))
            return 3;
        if (other == copy) {
            fprintf(stderr, "%s is not a second copy: the loader gave the first one\n", argv[2]);
            return 3;
        }
        theirs = calls_of(other);
        if (theirs.init(0) || theirs.create(&foreign, 0)) {
            fprintf(stderr, "%s: no stream can be made here\n", argv[2]);
            return 3;
        }
        show("of another copy", copy, foreign);
        show("the same, asked there", other, foreign);
    }
    printf("%-22s %s\n", "owner of live", owner_of_stream(live) == copy ? "first" : "not found");
    if (foreign)
        printf("%-22s %s\n", "owner of foreign",
               owner_of_stream(foreign) == other ? "second" : "not found");
    printf("%-22s %s\n", "owner of zeros", owner_of_stream(zeros) ? "found" : "nobody");
    printf("%-22s %d\n", "hipGetLastError", calls.last());
    return 0;
}
