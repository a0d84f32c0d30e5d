/* The way to AMD's library.
 *
 * Each exported name is one indirect jump through a slot. A slot first leads to a stub that opens
 * AMD's library (XDIAG_COMGR_REAL), looks the function up, fills the slot and goes on; arguments
 * are never looked at.
 */
#define _GNU_SOURCE
#include "comgr.h"

#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef __x86_64__
#error "the trampolines are written for x86-64"
#endif

static const char *const names[FUNCTIONS] = {
#define FORWARDED(name) #name,
#define OBSERVED FORWARDED
#include "comgr_functions.def"
#undef FORWARDED
#undef OBSERVED
};

/* Slot and stub of every function; the exported jump of those without a C function here. */
#define JUMP(name)                      \
    ".globl " #name "\n"                \
    ".type " #name ", @function\n"      \
    #name ":\n"                         \
    "    jmp *slot_" #name "(%rip)\n"   \
    ".size " #name ", . - " #name "\n"
#define STUB(name)                      \
    "stub_" #name ":\n"                 \
    "    pushq $(slot_" #name " - comgr_slots) / 8\n" \
    "    jmp comgr_first_call\n"
#define SLOT(name)                      \
    "slot_" #name ":\n"                 \
    "    .quad stub_" #name "\n"

__asm__(
    ".text\n"
    /* In: the index on the stack, below the caller's return address. Keeps the arguments. */
    "comgr_first_call:\n"
    "    pushq %rdi\n    pushq %rsi\n    pushq %rdx\n    pushq %rcx\n    pushq %r8\n    pushq %r9\n"
    "    movq 48(%rsp), %rdi\n"
    "    call comgr_real\n"
    "    popq %r9\n    popq %r8\n    popq %rcx\n    popq %rdx\n    popq %rsi\n    popq %rdi\n"
    "    addq $8, %rsp\n"
    "    jmp *%rax\n"
#define FORWARDED(name) STUB(name) JUMP(name)
#define OBSERVED(name) STUB(name)
#include "comgr_functions.def"
#undef FORWARDED
#undef OBSERVED
    ".data\n"
    ".balign 8\n"
    "comgr_slots:\n"
#define FORWARDED(name) SLOT(name)
#define OBSERVED FORWARDED
#include "comgr_functions.def"
#undef FORWARDED
#undef OBSERVED
    ".previous\n"
    ".text\n");

extern void *comgr_slots[FUNCTIONS];

static pthread_once_t once = PTHREAD_ONCE_INIT;
static void *library;
static void *real[FUNCTIONS];

static comgr_status missing(void)
{
    return COMGR_ERROR;
}

static void open_library(void)
{
    const char *path = getenv("XDIAG_COMGR_REAL");
    if (path == NULL || *path != '/')
        fprintf(stderr, "xdiag comgr cache: XDIAG_COMGR_REAL is not the absolute path of AMD's "
                        "libamd_comgr\n");
    else if ((library = dlopen(path, RTLD_LAZY | RTLD_LOCAL)) == NULL)
        fprintf(stderr, "xdiag comgr cache: %s\n", dlerror());
    for (unsigned i = 0; i < FUNCTIONS; i++) {
        void *found = library != NULL ? dlsym(library, names[i]) : NULL;
        real[i] = found != NULL ? found : (void *)(uintptr_t)missing;
        __atomic_store_n(&comgr_slots[i], real[i], __ATOMIC_RELEASE);
    }
}

__attribute__((visibility("hidden"), used)) void *comgr_real(unsigned index)
{
    pthread_once(&once, open_library);
    return real[index];
}

/* ------------------------------------------------------------------------------------- identity */

struct search {
    void (*add)(void *, const void *, size_t);
    void *argument;
    bool complete;
    ElfW(Addr) real_base;
};

static bool add_build_id(const struct dl_phdr_info *object, struct search *search)
{
    for (int i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &object->dlpi_phdr[i];
        if (segment->p_type != PT_NOTE)
            continue;
        const uint8_t *at = (const uint8_t *)(object->dlpi_addr + segment->p_vaddr);
        const uint8_t *end = at + segment->p_memsz;
        while ((size_t)(end - at) >= sizeof(ElfW(Nhdr))) {
            const ElfW(Nhdr) *note = (const void *)at;
            size_t name = (note->n_namesz + 3u) & ~(size_t)3;
            size_t data = (note->n_descsz + 3u) & ~(size_t)3;
            if ((size_t)(end - at) - sizeof *note < name + data)
                break;
            if (note->n_type == NT_GNU_BUILD_ID && note->n_namesz == sizeof "GNU" &&
                memcmp(note + 1, "GNU", sizeof "GNU") == 0) {
                search->add(search->argument, (const uint8_t *)(note + 1) + name, note->n_descsz);
                return true;
            }
            at += sizeof *note + name + data;
        }
    }
    return false;
}

static int visit(struct dl_phdr_info *object, size_t size, void *data)
{
    (void)size;
    struct search *search = data;
    const char *slash = strrchr(object->dlpi_name, '/');
    const char *name = slash != NULL ? slash + 1 : object->dlpi_name;
    bool compiler = strncmp(name, "libLLVM", 7) == 0 || strncmp(name, "libclang", 8) == 0 ||
                    strncmp(name, "liblld", 6) == 0;
    if ((compiler || object->dlpi_addr == search->real_base) && !add_build_id(object, search))
        search->complete = false;
    return 0;
}

bool comgr_identity(void (*add)(void *, const void *, size_t), void *argument)
{
    struct link_map *map;
    comgr_real(INDEX_amd_comgr_do_action);
    if (library == NULL || dlinfo(library, RTLD_DI_LINKMAP, &map) != 0)
        return false;
    struct search search = {add, argument, true, map->l_addr};
    dl_iterate_phdr(visit, &search);
    return search.complete;
}
