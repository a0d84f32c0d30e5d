/*
 * Runtimes: opened by path, told apart by identity.
 *
 * Two runtimes with the same bytes are still two, each with its own set of live streams, as long
 * as they come from different inodes; so identity is read from the loaded copy, not from its name.
 */
#include "core.h"

#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "calls.h"

typedef struct {
    int32_t platform;
    int32_t how;
    int32_t flags;
    char path[XD_PATH_SIZE];
    /* Of a library that opens runtime `behind` for itself: the variable that tells it which. */
    int32_t behind;
    char variable[64];
    void *_Atomic handle;
    /* Looked up at the first use of a call; the same answer whoever asks first. */
    void *_Atomic symbols[MAX_CALLS];
} runtime;

static runtime runtimes[XD_MAX_RUNTIMES];

static char no_symbol; /* its address says "looked up, not there" */

void xd_fail(xd_request *request, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(request->error, sizeof request->error, format, args);
    va_end(args);
    request->status = XD_FAILED;
}

static runtime *runtime_at(int32_t index)
{
    return index >= 0 && index < XD_MAX_RUNTIMES ? &runtimes[index] : NULL;
}

int32_t xd_declare_runtime(int32_t index, int32_t platform, const char *path, int32_t how,
                           int32_t flags)
{
    runtime *r = runtime_at(index);
    if (!r || strlen(path) >= sizeof r->path)
        return -1;
    memset(r, 0, sizeof *r);
    r->platform = platform;
    r->how = how;
    r->flags = flags;
    strcpy(r->path, path);
    return 0;
}

int32_t xd_declare_library(int32_t index, int32_t platform, const char *path, int32_t how,
                           int32_t runtime, const char *variable)
{
    if (!runtime_at(runtime) || strlen(variable) >= sizeof runtimes[0].variable ||
        xd_declare_runtime(index, platform, path, how, RTLD_NOW | RTLD_LOCAL) != 0)
        return -1;
    runtimes[index].behind = runtime;
    strcpy(runtimes[index].variable, variable);
    return 0;
}

/* Open a library that opens a runtime for itself, and say which. */
static void open_library(runtime *r, xd_request *request)
{
    void *behind = atomic_load(&runtimes[r->behind].handle);
    struct link_map *map = NULL;
    Lmid_t list = LM_ID_BASE;
    if (!behind || dlinfo(behind, RTLD_DI_LINKMAP, &map) != 0 ||
        (r->how == XD_BY_NAMESPACE && dlinfo(behind, RTLD_DI_LMID, &list) != 0)) {
        xd_fail(request, "the runtime that it is to open is not open");
        return;
    }
    void *handle = dlmopen(list, r->path, r->flags);
    if (!handle) {
        xd_fail(request, "%s", dlerror());
        return;
    }
    /* The environment of the C library that it uses: another one in another namespace. */
    int (*set)(const char *, const char *, int) = NULL;
    *(void **)&set = dlsym(handle, "setenv");
    if (!set || set(r->variable, map->l_name, 1) != 0) {
        xd_fail(request, "%s cannot be set", r->variable);
        return;
    }
    atomic_store(&r->handle, handle);
    request->status = XD_DONE;
}

void xd_open(xd_request *request)
{
    runtime *r = runtime_at(request->runtime);
    if (!r || !r->path[0]) {
        xd_fail(request, "runtime %d was not declared", request->runtime);
        return;
    }
    if (r->variable[0]) {
        open_library(r, request);
        return;
    }
    void *handle = r->how == XD_BY_NAMESPACE ? dlmopen(LM_ID_NEWLM, r->path, r->flags)
                                             : dlopen(r->path, r->flags);
    if (!handle) {
        const char *why = dlerror();
        /* RTLD_NOLOAD of something that is not loaded leaves no message. */
        xd_fail(request, "%s", why ? why : "not loaded in this process");
        return;
    }
    atomic_store(&r->handle, handle);
    request->status = XD_DONE;
}

/* The first of the '|'-separated names that the runtime exports. */
static void *look_up(void *handle, const char *names, char *used, size_t used_size)
{
    while (*names) {
        size_t length = strcspn(names, "|");
        char name[128];
        if (length < sizeof name) {
            memcpy(name, names, length);
            name[length] = 0;
            void *symbol = dlsym(handle, name);
            if (symbol) {
                if (used)
                    snprintf(used, used_size, "%s", name);
                return symbol;
            }
        }
        names += length + (names[length] == '|');
    }
    return NULL;
}

static const char *names_of(const runtime *r, int32_t call)
{
    const xd_call *c = xd_call_at(call);
    return r->platform == XD_CUDA ? c->cuda : c->hip;
}

void *xd_symbol(int32_t index, int32_t call)
{
    runtime *r = runtime_at(index);
    void *handle = r ? atomic_load(&r->handle) : NULL;
    if (!handle || call < 0 || call >= xd_call_count() || call >= MAX_CALLS)
        return NULL;
    void *symbol = atomic_load(&r->symbols[call]);
    if (!symbol) {
        symbol = look_up(handle, names_of(r, call), NULL, 0);
        atomic_store(&r->symbols[call], symbol ? symbol : &no_symbol);
    }
    return symbol == &no_symbol ? NULL : symbol;
}

void *xd_symbol_behind(int32_t index, int32_t call)
{
    runtime *r = runtime_at(index);
    return r && r->variable[0] ? xd_symbol(r->behind, call) : NULL;
}

const char *xd_symbol_used(int32_t index, int32_t call)
{
    static _Thread_local char used[128];
    runtime *r = runtime_at(index);
    void *handle = r ? atomic_load(&r->handle) : NULL;
    if (!handle || call < 0 || call >= xd_call_count())
        return NULL;
    return look_up(handle, names_of(r, call), used, sizeof used) ? used : NULL;
}

void *xd_export(int32_t index, const char *name)
{
    runtime *r = runtime_at(index);
    void *handle = r ? atomic_load(&r->handle) : NULL;
    return handle ? dlsym(handle, name) : NULL;
}

/* DT_SONAME of a loaded object.  The loader has relocated d_ptr of DT_STRTAB on every
 * architecture where l_ld is writable; where it has not, the value is an offset. */
static void read_soname(const struct link_map *map, char *out, size_t size)
{
    const char *strings = NULL;
    ElfW(Xword) offset = 0;
    int found = 0;
    for (const ElfW(Dyn) *d = map->l_ld; d->d_tag != DT_NULL; d++) {
        if (d->d_tag == DT_STRTAB)
            strings = (const char *)(d->d_un.d_ptr < map->l_addr ? d->d_un.d_ptr + map->l_addr
                                                                 : d->d_un.d_ptr);
        if (d->d_tag == DT_SONAME) {
            offset = d->d_un.d_val;
            found = 1;
        }
    }
    snprintf(out, size, "%s", found && strings ? strings + offset : "");
}

/* NT_GNU_BUILD_ID from the program headers in memory: dl_iterate_phdr does not see other
 * namespaces (man 3 dl_iterate_phdr). */
static void read_build_id(const struct link_map *map, char *out, size_t size)
{
    out[0] = 0;
    const ElfW(Ehdr) *header = (const ElfW(Ehdr) *)map->l_addr;
    if (!header || memcmp(header->e_ident, ELFMAG, SELFMAG) != 0)
        return;
    const ElfW(Phdr) *segments = (const ElfW(Phdr) *)(map->l_addr + header->e_phoff);
    for (int i = 0; i < header->e_phnum; i++) {
        if (segments[i].p_type != PT_NOTE)
            continue;
        const char *at = (const char *)(map->l_addr + segments[i].p_vaddr);
        const char *end = at + segments[i].p_memsz;
        while (at + sizeof(ElfW(Nhdr)) <= end) {
            const ElfW(Nhdr) *note = (const ElfW(Nhdr) *)at;
            const unsigned char *name = (const unsigned char *)(note + 1);
            const unsigned char *value = name + ((note->n_namesz + 3u) & ~3u);
            const char *next = (const char *)value + ((note->n_descsz + 3u) & ~3u);
            if (next > end)
                break;
            if (note->n_type == NT_GNU_BUILD_ID && note->n_namesz == 4 &&
                memcmp(name, "GNU", 4) == 0) {
                size_t used = 0;
                for (ElfW(Word) k = 0; k < note->n_descsz && used + 3 <= size; k++)
                    used += (size_t)snprintf(out + used, size - used, "%02x", value[k]);
                return;
            }
            at = next;
        }
    }
}

int32_t xd_preload_compiler(const char *library)
{
    void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    void (*get_version)(size_t *, size_t *) = NULL;
    if (handle)
        *(void **)&get_version = dlsym(handle, "amd_comgr_get_version");
    if (!get_version)
        return -1;
    /* The kernel cache opens AMD's library at the first call that reaches it. */
    size_t major, minor;
    get_version(&major, &minor);
    return 0;
}

int32_t xd_identify(int32_t index, xd_identity *identity)
{
    runtime *r = runtime_at(index);
    void *handle = r ? atomic_load(&r->handle) : NULL;
    struct link_map *map = NULL;
    Lmid_t list = 0;
    if (!handle || dlinfo(handle, RTLD_DI_LINKMAP, &map) != 0 || !map)
        return -1;
    memset(identity, 0, sizeof *identity);
    snprintf(identity->path, sizeof identity->path, "%s", map->l_name);
    struct stat st;
    if (stat(map->l_name, &st) == 0) {
        identity->device = st.st_dev;
        identity->inode = st.st_ino;
    }
    if (dlinfo(handle, RTLD_DI_LMID, &list) == 0)
        identity->namespace_id = (int32_t)list;
    identity->base = map->l_addr;
    identity->handle = (uint64_t)(uintptr_t)handle;
    read_soname(map, identity->soname, sizeof identity->soname);
    read_build_id(map, identity->build_id, sizeof identity->build_id);
    return 0;
}
