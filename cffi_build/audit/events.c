/* The record file: attaching to it, and its events. */
#include "audit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#if defined __x86_64__
#include <cpuid.h>
#include <x86intrin.h>
#endif

#include "calls.h"

#define CALL(name, ...) CALL_##name,
enum { XDIAG_CALLS(CALL) CALL_COUNT };
#undef CALL

record_header *record;
static bool ticks_are_tsc;

static uint64_t clock_ns(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t record_nanoseconds(void) { return clock_ns(CLOCK_MONOTONIC); }

/* A time stamp counter that runs at one rate whatever the processor does (Intel SDM 17.17.1,
 * AMD APM 3, CPUID 8000_0007h EDX bit 8) costs half of what the clock does. */
static bool has_steady_tsc(void)
{
#if defined __x86_64__
    unsigned a, b, c, d;
    return __get_cpuid(0x80000007, &a, &b, &c, &d) && (d & 1u << 8);
#else
    return false;
#endif
}

uint64_t record_ticks(void)
{
#if defined __x86_64__
    if (ticks_are_tsc)
        return __rdtsc();
#endif
    return record_nanoseconds();
}

/* Whether the file is one that we may write into, and is laid out as we know it. */
static const char *refused(const struct stat *st, const record_header *h)
{
    if (!S_ISREG(st->st_mode))
        return "it is no regular file";
    if (st->st_uid != geteuid() || (st->st_mode & 077))
        return "others may write to it, or it is not this user's";
    uint64_t size = (uint64_t)st->st_size;
    if (size < RECORD_HEADER_SIZE || memcmp(h->magic, RECORD_MAGIC, sizeof h->magic) != 0)
        return "it is no record file";
    if (h->version != RECORD_VERSION || h->call_count != CALL_COUNT)
        return "it was made by another version of xdiag";
    bool powers = h->life_size && !(h->life_size & (h->life_size - 1)) && h->recent_size &&
                  !(h->recent_size & (h->recent_size - 1));
    uint64_t block = sizeof(record_block) +
                     ((uint64_t)h->life_size + h->recent_size) * sizeof(record_call);
    if (h->file_size != size || !powers || h->failure_count > size / sizeof(record_failure) ||
        h->block_count > size / block || h->events_offset > size ||
        h->events_size > size - h->events_offset || h->failures_offset > size ||
        h->failure_count * sizeof(record_failure) > size - h->failures_offset ||
        h->blocks_offset > size || h->block_count * block > size - h->blocks_offset ||
        (h->events_offset | h->failures_offset | h->blocks_offset) % 64)
        return "its parts do not fit into it";
    return NULL;
}

bool record_attach(const char *path, const char **why)
{
    int fd = open(path, O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0) {
        *why = strerror(errno);
        if (fd >= 0)
            close(fd);
        return false;
    }
    void *file = MAP_FAILED;
    *why = "it is too small";
    if (st.st_size >= RECORD_HEADER_SIZE) {
        file = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        *why = file == MAP_FAILED ? strerror(errno) : refused(&st, file);
    }
    close(fd);
    if (file != MAP_FAILED && *why)
        munmap(file, (size_t)st.st_size);
    if (*why)
        return false;
    record_header *h = file;
    ticks_are_tsc = has_steady_tsc();
    h->clock = ticks_are_tsc ? CLOCK_IS_TSC : CLOCK_IS_NANOSECONDS;
    if (!threads_begin()) {
        *why = "the kernel cannot wipe memory on fork (Linux 4.14 and newer can)";
        munmap(file, (size_t)st.st_size);
        return false;
    }
    record = h;
    return true;
}

void *record_event_of(uint16_t kind, const piece *pieces, int count)
{
    if (!record)
        return NULL;
    if (generation_now() == 0)
        record_fork_noticed();
    uint64_t size = sizeof(record_event);
    for (int i = 0; i < count; i++)
        size += pieces[i].size;
    size = (size + 7) & ~7ull;
    uint64_t place = atomic_fetch_add((_Atomic uint64_t *)&record->events_used, size);
    if (size > record->events_size || place > record->events_size - size) {
        atomic_fetch_add((_Atomic uint64_t *)&record->events_lost, 1);
        return NULL;
    }
    unsigned char *to = (unsigned char *)record + record->events_offset + place;
    record_event *event = (record_event *)to;
    event->size = (uint32_t)size;
    event->marker = EVENT_MARKER;
    event->kind = kind;
    event->pid = generation_now();
    event->tid = (uint32_t)syscall(SYS_gettid);
    event->ticks = record_ticks();
    to += sizeof *event;
    for (int i = 0; i < count; i++) {
        memcpy(to, pieces[i].bytes, pieces[i].size);
        to += pieces[i].size;
    }
    atomic_store_explicit((_Atomic uint16_t *)&event->ready, 1, memory_order_release);
    return event + 1;
}

static void tell_process(const char *exe, uint64_t exe_length, const char *command, uint64_t length,
                         bool forked)
{
    record_process told = {
        .nanoseconds = record_nanoseconds(),
        .realtime = clock_ns(CLOCK_REALTIME),
        .parent = (uint32_t)getppid(),
        .forked = forked,
        .exe_length = (uint32_t)exe_length,
        .command_length = (uint32_t)length,
    };
    record_event_of(EVENT_PROCESS,
                    (piece[]){{&told, sizeof told}, {exe, exe_length}, {command, length}}, 3);
}

void record_process_begun(void)
{
    atomic_store(process_generation, (uint32_t)getpid());
    char exe[PATH_SIZE], command[PATH_SIZE];
    ssize_t exe_length = readlink("/proc/self/exe", exe, sizeof exe);
    long length = 0;
    int fd = file_open("/proc/self/cmdline");
    if (fd >= 0) {
        length = syscall(SYS_read, fd, command, sizeof command);
        file_close(fd);
    }
    tell_process(exe, exe_length > 0 ? (uint64_t)exe_length : 0, command,
                 length > 0 ? (uint64_t)length : 0, false);
}

void record_fork_noticed(void)
{
    uint32_t none = 0;
    if (atomic_compare_exchange_strong(process_generation, &none, (uint32_t)getpid()))
        tell_process("", 0, "", 0, true);
}

__attribute__((destructor)) static void process_ends(void)
{
    if (record)
        record_event_of(EVENT_END, NULL, 0);
}
