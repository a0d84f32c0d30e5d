/*
 * The blocks that threads record their calls in.
 *
 * A thread has a block to itself, so the fast path (wrappers.c) takes no lock.  Blocks are handed
 * out by an atomic addition; when all are taken, those of threads that are gone go on to others.
 */
#include "audit.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* No generation is this: a thread that was just started has to look. */
#define NEVER UINT32_MAX
__thread thread_state thread_here = {.generation = NEVER};

/* Where calls go that there is no block for. */
static __thread record_block spare_block;
static __thread record_call spare_call;

_Atomic uint32_t *process_generation;

/* Fork is noticed by memory that the kernel wipes in the child (madvise(2), MADV_WIPEONFORK):
 * pthread_atfork of this library's own libc hears of nothing, and getpid is a system call. */
bool threads_begin(void)
{
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return false;
    if (madvise(page, 4096, MADV_WIPEONFORK) != 0) {
        munmap(page, 4096);
        return false;
    }
    process_generation = page;
    return true;
}

static record_block *block_at(uint32_t index)
{
    uint64_t size = sizeof(record_block) +
                    ((uint64_t)record->life_size + record->recent_size) * sizeof(record_call);
    return (record_block *)((char *)record + record->blocks_offset + index * size);
}

static bool is_gone(uint32_t pid, uint32_t tid)
{
    return syscall(SYS_tgkill, pid, tid, 0) != 0 && errno == ESRCH;
}

/* The owner is one word, so that taking over a block is one comparison and exchange. */
typedef union {
    struct {
        uint32_t pid, tid;
    } who;
    uint64_t word;
} owner;

static record_block *free_block(owner me)
{
    if (atomic_load((_Atomic uint32_t *)&record->blocks_used) < record->block_count) {
        uint32_t index = atomic_fetch_add((_Atomic uint32_t *)&record->blocks_used, 1);
        if (index < record->block_count) {
            record_block *b = block_at(index);
            atomic_store((_Atomic uint64_t *)&b->pid, me.word);
            return b;
        }
    }
    /* From another place each time, so that what ended last is kept longest. */
    static _Atomic uint32_t next;
    for (uint32_t i = 0; i < record->block_count; i++) {
        record_block *b = block_at(atomic_fetch_add(&next, 1) % record->block_count);
        owner was = {.word = atomic_load((_Atomic uint64_t *)&b->pid)};
        /* (A block of an earlier thread with this one's number counts as that of a living one: were
         * it taken, others that have just found it gone could not tell that it was.) */
        if (!is_gone(was.who.pid, was.who.tid))
            continue;
        if (!atomic_compare_exchange_strong((_Atomic uint64_t *)&b->pid, &was.word, me.word))
            continue;
        /* (The kernel has said that its thread is gone: nobody writes to it any more.) */
        atomic_fetch_add((_Atomic uint64_t *)&record->calls_overwritten,
                         b->life_count + b->recent_count);
        return b;
    }
    return NULL;
}

static void attach(thread_state *t)
{
    if (generation_now() == 0)
        record_fork_noticed();
    owner me = {.who = {generation_now(), (uint32_t)syscall(SYS_gettid)}};
    record_block *b = free_block(me);
    if (b) {
        b->life_count = b->recent_count = 0;
        b->nanoseconds = record_nanoseconds();
        b->ticks = record_ticks();
        b->takes++;
        t->block = b;
        t->life = (record_call *)(b + 1);
        t->recent = t->life + record->life_size;
        t->life_mask = record->life_size - 1;
        t->recent_mask = record->recent_size - 1;
    } else {
        atomic_fetch_add((_Atomic uint32_t *)&record->threads_without_block, 1);
        t->block = &spare_block;
        t->life = t->recent = &spare_call;
        t->life_mask = t->recent_mask = 0;
    }
    t->generation = me.who.pid;
}

void thread_attach(void)
{
    /* A signal's handler may make a call, and must not meet this half done. */
    sigset_t all, before;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    attach(&thread_here);
    sigprocmask(SIG_SETMASK, &before, NULL);
}

void call_failed(const record_call *call)
{
    if ((uint32_t)call->result == record->refusal)
        atomic_fetch_add((_Atomic uint64_t *)&record->refusals_seen, 1);
    uint64_t place = atomic_fetch_add((_Atomic uint64_t *)&record->failures_seen, 1);
    if (place >= record->failure_count)
        return;
    /* The call may have forked, and this be the child. */
    if (generation_now() == 0)
        record_fork_noticed();
    record_failure *f =
        (record_failure *)((char *)record + record->failures_offset) + place;
    f->pid = generation_now();
    f->tid = (uint32_t)syscall(SYS_gettid);
    f->nanoseconds = record_nanoseconds();
    f->call = *call;
    atomic_store_explicit((_Atomic uint32_t *)&f->ready, 1, memory_order_release);
}
