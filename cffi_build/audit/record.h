/*
 * The record file: what lies where.  xdiag.recording creates and reads it (layout.py says the same
 * in Python, and a test holds the two against each other); the audit library maps it and writes.
 *
 * Made for a writer that may die at any instruction, and for many writers: all processes of a run
 * map one file.  Room is taken by atomic additions and never given back, except the blocks of
 * threads that are gone.  The file is sparse: what is not written to takes no room.
 *
 *     header (4096 bytes) | table: JSON, written by the creator | failures | events | blocks
 *
 * All numbers are little-endian, as the machine writes them; times are ticks (see header.clock).
 */
#ifndef XDIAG_RECORD_H
#define XDIAG_RECORD_H

#include <stdint.h>

#define RECORD_MAGIC "XDIAGREC"
enum { RECORD_VERSION = 1, RECORD_HEADER_SIZE = 4096 };

/* header.clock: what a tick is.  A time stamp counter's rate is found from pairs of (ticks,
 * nanoseconds of CLOCK_MONOTONIC) in events and blocks. */
enum { CLOCK_IS_UNKNOWN = 0, CLOCK_IS_TSC = 1, CLOCK_IS_NANOSECONDS = 2 };

typedef struct {
    /* Written once, by the creator. */
    char magic[8];
    uint32_t version;
    uint32_t call_count;        /* of the list in calls.h, the same for reader and writer */
    uint64_t file_size;
    uint64_t table_offset, table_size;
    uint64_t failures_offset;
    uint64_t failure_count;     /* entries */
    uint64_t events_offset, events_size;
    uint64_t blocks_offset;
    uint32_t block_count;
    uint32_t life_size;         /* calls kept per thread in each ring; powers of two */
    uint32_t recent_size;
    uint32_t refusal;           /* the code that says "not a live stream": 709 */
    /* Written by the writers. */
    _Alignas(64) uint32_t clock;
    _Alignas(64) uint64_t events_used;
    _Alignas(64) uint64_t failures_seen;    /* may exceed failure_count: only the first are kept */
    uint64_t refusals_seen;                 /* calls that returned `refusal` */
    _Alignas(64) uint32_t blocks_used;
    uint32_t threads_without_block;
    uint64_t events_lost;                   /* no room */
    uint64_t runtimes_not_wrapped;          /* more copies at a time than there are slots */
    uint64_t calls_overwritten;             /* in blocks that went on to another thread */
} record_header;

/* One call of one thread: a cache line. */
typedef struct {
    uint64_t begun;
    uint64_t ended;             /* 0: in flight, or the process died in it */
    uint64_t stream;            /* the stream passed, or made */
    uint64_t other;             /* the event, context or graph passed, or made */
    uint64_t extra;             /* device, flags, priority: the call's first number */
    uint64_t caller;            /* return address */
    uint16_t call;              /* index in the list */
    uint16_t object;            /* the runtime: number of its OBJECT event in this process */
    int32_t result;
    uint64_t position;          /* of the ring, from 1; written last: another value is a torn one */
} record_call;

/* The first calls that failed, whatever the rings have forgotten since. */
typedef struct {
    uint32_t ready;             /* written last */
    uint32_t pid, tid;
    uint32_t reserved;
    uint64_t nanoseconds;       /* CLOCK_MONOTONIC, at the end of the call */
    uint64_t reserved_too[5];
    record_call call;
} record_failure;

/* A thread's calls: those that make and end handles (life), and the rest (recent), each in a ring
 * that keeps the last.  A block is this head, life_size calls, recent_size calls. */
typedef struct {
    uint32_t pid, tid;
    uint64_t life_count;        /* calls so far; the ring holds the last of them */
    uint64_t recent_count;
    uint64_t ticks, nanoseconds;    /* read together, when the thread took the block */
    uint32_t takes;             /* how many threads have had this block */
    uint32_t reserved;
    uint64_t reserved_too[2];
} record_block;

/* Events, in a row: a head, and `size` - 32 bytes of payload, zero-filled up to a multiple of 8.
 * `ready` is written last; one without it was being written when its process died.  A reader that
 * meets a head without marker goes on 8 bytes further until it finds one. */
enum { EVENT_MARKER = 0x56454458 };     /* "XDEV" */
typedef struct {
    uint32_t marker;
    uint32_t size;              /* head included, a multiple of 8 */
    uint16_t kind;
    uint16_t ready;
    uint32_t pid, tid;
    uint32_t reserved;
    uint64_t ticks;
} record_event;

/* Payloads.  Texts follow their struct: `name: length` says how many bytes, in this order. */
enum {
    EVENT_PROCESS = 1,  /* a process began, or was forked (parent != 0 and exe empty) */
    EVENT_OBJECT = 2,   /* the loader has opened an object */
    EVENT_REQUEST = 3,  /* somebody asked the loader for a runtime; what it was answered */
    EVENT_CLOSE = 4,    /* the loader has closed an object */
    EVENT_END = 5       /* the process ended by itself (exit, or return from main) */
};

typedef struct {
    uint64_t nanoseconds;       /* CLOCK_MONOTONIC, read with the head's ticks */
    uint64_t realtime;          /* CLOCK_REALTIME, nanoseconds */
    uint32_t parent;            /* pid */
    uint32_t forked;            /* 1: a fork, which has the parent's objects and handles */
    uint32_t exe_length, command_length;    /* command: /proc/self/cmdline, NULs in it */
} record_process;               /* + exe, command */

typedef struct {
    uint32_t number;            /* of the object, in its process */
    uint32_t is_runtime;
    int64_t link_map_list;      /* 0: the one that the program started in (LM_ID_BASE) */
    uint64_t base, end;         /* addresses; end 0: unknown */
    uint64_t device, inode;
    uint32_t recorded;          /* 1: its calls are wrapped */
    uint32_t path_length, soname_length, build_id_length;
} record_object;                /* + path, soname, build id (hexadecimal) */

/* What became of a request. */
enum {
    ANSWER_AS_ASKED = 0,        /* nothing is loaded yet, or unify is off */
    ANSWER_SAME_FILE = 1,       /* it leads to the loaded copy anyway */
    ANSWER_REDIRECTED = 2,      /* answered with the loaded copy */
    ANSWER_OTHER_SONAME = 3,    /* not redirected: another major version */
    ANSWER_LACKS_VERSIONS = 4,  /* not redirected: the asker needs symbol versions it has not */
    ANSWER_FILE_REPLACED = 5,   /* not redirected: the loaded copy's path is another file by now */
    ANSWER_UNREADABLE = 6,      /* not redirected: the file asked for is no library */
    ANSWER_OTHER_NAMESPACE = 7  /* not redirected: asked from a namespace of its own */
};

typedef struct {
    uint32_t answer;            /* ANSWER_... */
    uint32_t requester;         /* number of the object that asked */
    uint32_t rule;              /* LA_SER_...: 1 the name as asked, else where it was searched */
    uint32_t name_length, to_length, why_length;
    uint64_t caller;            /* unused */
} record_request;               /* + name asked for, path answered, a sentence */

typedef struct {
    uint32_t number;
    uint32_t reserved;
} record_close;

_Static_assert(sizeof(record_header) <= RECORD_HEADER_SIZE, "the header is a page");
_Static_assert(sizeof(record_call) == 64, "a cache line");
_Static_assert(sizeof(record_failure) == 128, "two cache lines");
_Static_assert(sizeof(record_block) == 64, "a cache line");
_Static_assert(sizeof(record_event) == 32, "a multiple of 8");
_Static_assert(sizeof(record_process) == 32 && sizeof(record_object) == 64 &&
                   sizeof(record_request) == 32 && sizeof(record_close) == 8,
               "no padding that a reader would have to know");

#endif
