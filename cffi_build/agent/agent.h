/* What the modules of the software agent share. */
#ifndef XDIAG_AGENT_H
#define XDIAG_AGENT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "hsa_abi.h"

#define EXPORT __attribute__((visibility("default")))

#define XDIAG_AGENT_VERSION "1.0"

/* ------------------------------------------------------------------------- knobs.c: environment */

struct knobs {
    unsigned devices;         /* XDIAG_AGENT_DEVICES */
    char isa[96];             /* XDIAG_AGENT_ISA */
    char processor[32];       /* the gfx name inside it */
    uint64_t dispatch_ns;     /* XDIAG_AGENT_DISPATCH_US */
    uint64_t memory_bytes;    /* XDIAG_AGENT_MEMORY_MB */
    bool fails_an_attribute;  /* XDIAG_AGENT_FAIL_ATTRIBUTE is set */
    uint32_t fail_attribute;
};

extern struct knobs knobs;

/* Reads the environment; on a bad value prints one line to stderr and returns false. */
bool knobs_read(void);

/* ------------------------------------------------------------------------- system.c: the start */

/* True in a child forked after hsa_init.  AMD's user-mode driver notices (libhsakmt,
 * is_forked_child and CHECK_KFD_OPEN in openclose.c and libhsakmt.h) and fails every call that
 * needs the kernel driver: so do queues and memory here. */
bool driver_is_out_of_reach(void);

/* ------------------------------------------------------------------ agents.c, pools.c: the cast */

enum { MAX_DEVICES = 8, MAX_POOLS = 3 };

struct agent;

struct pool {
    struct agent *owner;
    uint32_t segment;
    uint32_t flags;
    uint64_t size;
};

struct agent {
    uint32_t device_type;
    unsigned node; /* 0 is the CPU, 1.. are the GPUs */
    struct pool pools[MAX_POOLS];
    _Atomic uint64_t allocated; /* bytes, all pools together */
};

/* Fills the agents from the knobs; called once, before any other call can see them. */
void agents_start(void);

/* NULL if the handle names no agent (or pool) of ours. */
struct agent *agent_from_handle(hsa_agent_t handle);
struct pool *pool_from_handle(hsa_amd_memory_pool_t handle);

static inline hsa_agent_t agent_handle(struct agent *agent)
{
    return (hsa_agent_t){(uint64_t)(uintptr_t)agent};
}

static inline bool agent_is_gpu(const struct agent *agent)
{
    return agent->device_type == HSA_DEVICE_TYPE_GPU;
}

void pools_start(struct agent *agent);

/* ------------------------------------------------------------------------- ranges.c: who owns p */

struct range {
    uintptr_t start;
    uintptr_t end;
    void *value;
};

struct ranges;

struct ranges *ranges_allocations(void); /* pool memory: value is a struct allocation */
struct ranges *ranges_code(void);        /* loaded code: value is a struct image */

bool ranges_add(struct ranges *ranges, const void *start, size_t size, void *value);
bool ranges_find(struct ranges *ranges, const void *address, struct range *found);
/* Removes the range that starts exactly at `start`. */
bool ranges_remove(struct ranges *ranges, const void *start, struct range *removed);

/* --------------------------------------------------------------------- signals.c: values, waits */

enum watcher_id { WATCHER_HANDLERS, WATCHER_COPIES, WATCHERS };

struct signal {
    amd_signal_t abi; /* first: the handle is the address of both */
    _Atomic uint32_t generation;        /* the futex word; moves when a sleeper must look again */
    _Atomic uint32_t sleepers;          /* threads inside signal_sleep */
    _Atomic uint32_t watches[WATCHERS]; /* watches that depend on the value */
    atomic_bool exposed;                /* its address was handed out: stores may be silent */
    struct signal *next_free;
};

struct signal *signal_new(int64_t kind, hsa_signal_value_t value);
void signal_delete(struct signal *signal);

static inline struct signal *signal_from_handle(hsa_signal_t handle)
{
    return (struct signal *)(uintptr_t)handle.handle;
}

static inline hsa_signal_t signal_handle(struct signal *signal)
{
    return (hsa_signal_t){(uint64_t)(uintptr_t)signal};
}

hsa_signal_value_t signal_load(struct signal *signal);
void signal_store(struct signal *signal, hsa_signal_value_t value);
void signal_add(struct signal *signal, hsa_signal_value_t value);

/* Records when the work behind a completion signal ran, and takes one off the signal. */
void signal_complete(struct signal *signal, uint64_t start_ns, uint64_t end_ns);

bool condition_holds(uint32_t condition, hsa_signal_value_t value, hsa_signal_value_t compare);

/* A sleep in three parts, so that no change between looking and sleeping is lost:
 *     generation = signal_sleep_begin(s);
 *     if (the value is not yet right) signal_sleep(s, generation, ns);
 *     signal_sleep_end(s);
 * Wakes early for any reason; callers loop. */
#define FOREVER UINT64_MAX
uint32_t signal_sleep_begin(struct signal *signal);
void signal_sleep(struct signal *signal, uint32_t generation, uint64_t ns);
void signal_sleep_end(struct signal *signal);
/* Makes every sleeper look again although the value did not change. */
void signal_nudge(struct signal *signal);

/* ----------------------------------------------------- watcher.c: threads that wait for signals */

/* One thing to be done when signals allow it. Owned by the watcher until `run` returned false. */
struct watch {
    struct watch *next;
    bool (*ready)(struct watch *watch);
    bool (*run)(struct watch *watch); /* false: finished, and the watch has been freed */
    bool (*polled)(struct watch *watch);
};

/* False if the watcher's thread could not be started; the watch still belongs to the caller. */
bool watcher_add(enum watcher_id id, struct watch *watch);
void watcher_kick(enum watcher_id id);

/* --------------------------------------------------------------------------- threads.c: helpers */

/* Starts a thread that takes none of the program's signals; a NULL `thread` detaches it. */
bool thread_start(pthread_t *thread, void *(*body)(void *), void *argument);
/* What the calling thread is called in /proc. */
void thread_named(const char *name);
uint64_t now_ns(void);
void futex_wait(_Atomic uint32_t *word, uint32_t expected, uint64_t ns);
void futex_wake_all(_Atomic uint32_t *word);

/* ---------------------------------------------------------------- loader.c, metadata.c, blits.c */

enum { MAX_ARGUMENTS = 16 };

/* The sizes of a kernel's visible arguments, in order. Two kernels of the runtime's own keep
 * their name over versions but not their arguments: the sizes tell which is meant. */
struct signature {
    unsigned count;
    uint8_t sizes[MAX_ARGUMENTS];
};

/* Finds `symbol` ("name.kd") in a code object's metadata note. */
bool metadata_signature(const uint8_t *note, size_t size, const char *symbol,
                        struct signature *signature);

struct work; /* a queue that runs a kernel; see queues.c */
bool work_cancelled(const struct work *work);

typedef void (*blit_function)(const uint8_t *arguments, const struct work *work);

/* The C form of one of the runtime's own kernels, or NULL. `known_name` tells a kernel that has a
 * familiar name but unfamiliar arguments from a user's kernel. */
blit_function blit_find(const char *kernel, const struct signature *signature, bool *known_name);

/* The C form of the kernel whose descriptor lies at this address, or NULL: nothing to run. */
blit_function loader_blit(uint64_t kernel_object);

hsa_status_t loader_extension_table(size_t length, void *table);

#endif
