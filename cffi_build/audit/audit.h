/* Shared between the audit library's own files. */
#ifndef XDIAG_AUDIT_H
#define XDIAG_AUDIT_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <link.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "record.h"

enum { PATH_SIZE = 4096, NAME_SIZE = 256, MAX_RUNTIMES = 16, SLOTS = 6 };

/* What LD_AUDIT's environment asks for (settings in audit.c). */
typedef struct {
    const char *family;     /* XDIAG_UNIFY: libamdhip64; NULL: no redirection */
    const char *keep;       /* XDIAG_KEEP: the copy to have where none is loaded yet; may be NULL */
    const char *record;     /* XDIAG_RECORD: the record file; NULL: no recording */
    bool calls;             /* XDIAG_RECORD_CALLS=0: loads are recorded, calls are not */
} audit_settings;

/* A loaded object.  Its address is the cookie that the loader hands back. */
typedef struct object {
    const struct link_map *map;     /* NULL: the entry is free */
    Lmid_t list;
    uint32_t number;                /* in the record; 0: an object that there was no room for */
    struct runtime *runtime;        /* NULL for all but runtimes */
} object;

/* A loaded copy of the family. */
typedef struct runtime {
    object *object;                 /* NULL: the entry is free */
    uint64_t device, inode;
    int slot;                       /* of the wrappers; -1: its calls are not recorded */
    char path[PATH_SIZE];
    char soname[NAME_SIZE];
} runtime;

/* objects.c */
extern const char *object_family;   /* what makes an object a runtime */
object *object_opened(struct link_map *map, Lmid_t list, bool record_calls);
void object_closed(object *o);
object *object_of(uintptr_t cookie);
/* The copy that was loaded first into the program's own namespace and is still there, or NULL. */
const runtime *first_runtime(void);
bool is_of_family(const char *path_or_soname);

/* elf_file.c: a library's file, mapped; all reading stays within it. */
typedef struct {
    const unsigned char *bytes;
    size_t size;
    const char *soname;             /* "" where it has none */
    const char *strings;
    size_t strings_size;
    uint64_t verdef, verneed;       /* offsets */
    uint64_t verdef_count, verneed_count;
    uint64_t device, inode;
    uint16_t machine;
} elf_file;
int file_open(const char *path);
void file_close(int fd);
bool file_read(int fd, void *to, size_t size, uint64_t offset);
bool elf_map(const char *path, elf_file *file);
/* The same of bytes in memory, which have to stay. */
bool elf_read(const void *bytes, size_t size, elf_file *file);
void elf_unmap(elf_file *file);
bool elf_defines_version(const elf_file *file, const char *version);
/* The first version that `user` needs of the family, whatever name it was linked against, and that
 * `library` does not define; NULL where there is none. */
const char *elf_missing_version(const elf_file *user, const elf_file *library);

/* unify.c: the name to go on with instead of `name`, which is `name` itself in most cases. */
const char *unify(const char *name, const object *requester, unsigned rule,
                  const audit_settings *settings);
/* The path of the file that the loader has opened, where it calls the object `name`. */
const char *opened_as(const char *name);
/* A runtime was opened in a namespace of its own: if a request was redirected for it, in vain. */
void opened_elsewhere(void);

/* events.c: the record file's slow part. */
typedef struct {
    const void *bytes;
    size_t size;
} piece;
extern record_header *record;       /* the mapped file; NULL: no recording */
bool record_attach(const char *path, const char **why);
/* The payload in the file; NULL where the event was not written. */
void *record_event_of(uint16_t kind, const piece *pieces, int count);
void record_process_begun(void);
/* The first thread of a forked process that has something to record says that there is one. */
void record_fork_noticed(void);
uint64_t record_ticks(void);
uint64_t record_nanoseconds(void);

/* threads.c: the record file's fast part. */
typedef struct {
    uint32_t generation;            /* of the process that the block belongs to */
    uint32_t life_mask, recent_mask;
    record_block *block;
    record_call *life, *recent;
} thread_state;
extern __thread thread_state thread_here;
extern _Atomic uint32_t *process_generation;    /* the pid; 0 in a process just forked */
static inline uint32_t generation_now(void)
{
    return atomic_load_explicit(process_generation, memory_order_relaxed);
}
bool threads_begin(void);
void thread_attach(void);
void call_failed(const record_call *call);

/* wrappers.c */
uintptr_t wrapper_for(const runtime *of, const char *symbol, uintptr_t target);
/* A slot for a copy that was just loaded, -1 where all are taken; and back. */
int slot_take(uint32_t object_number);
void slot_release(int slot);

#endif
