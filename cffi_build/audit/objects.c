/* The loaded objects, as the loader tells of them. */
#include "audit.h"

#include <elf.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A framework's process has hundreds; entries of closed objects are used again. */
enum { MOST_OBJECTS = 8192 };

const char *object_family = "libamdhip64";

static object objects[MOST_OBJECTS];
static object no_room;
static uint32_t objects_used, numbers;
static runtime runtimes[MAX_RUNTIMES];

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* libamdhip64.so.6, libamdhip64.so, libamdhip64-1a2b3c4d.so.6.3 (as auditwheel renames). */
bool is_of_family(const char *path_or_soname)
{
    const char *name = base_name(path_or_soname);
    size_t length = strlen(object_family);
    return strncmp(name, object_family, length) == 0 && strchr(".-_", name[length]) && name[length];
}

/* DT_SONAME of a loaded object.  The loader has relocated d_ptr of DT_STRTAB on every architecture
 * where l_ld is writable; where it has not, the value is an offset. */
static const char *soname_of(const struct link_map *map)
{
    const char *strings = NULL;
    int64_t offset = -1;
    for (const ElfW(Dyn) *d = map->l_ld; d && d->d_tag != DT_NULL; d++) {
        if (d->d_tag == DT_STRTAB)
            strings = (const char *)(d->d_un.d_ptr < map->l_addr ? d->d_un.d_ptr + map->l_addr
                                                                 : d->d_un.d_ptr);
        if (d->d_tag == DT_SONAME)
            offset = (int64_t)d->d_un.d_val;
    }
    return strings && offset >= 0 ? strings + offset : "";
}

/* From its file: the size in memory, and NT_GNU_BUILD_ID.  (Not from memory: only the loader knows
 * where an object begins that was not linked for address 0.) */
static void read_file(const char *path, uint64_t *size, char *build_id, size_t build_id_size)
{
    unsigned char page[4096];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t got = fd < 0 ? -1 : pread(fd, page, sizeof page, 0);
    if (fd >= 0)
        close(fd);
    const ElfW(Ehdr) *header = (const void *)page;
    if (got < (ssize_t)sizeof *header || memcmp(header->e_ident, ELFMAG, SELFMAG) != 0)
        return;
    for (unsigned i = 0; i < header->e_phnum; i++) {
        uint64_t place = header->e_phoff + i * sizeof(ElfW(Phdr));
        if (place > (size_t)got || (size_t)got - place < sizeof(ElfW(Phdr)))
            return;
        const ElfW(Phdr) *s = (const void *)(page + place);
        if (s->p_type == PT_LOAD && s->p_vaddr + s->p_memsz > *size)
            *size = s->p_vaddr + s->p_memsz;
        if (s->p_type != PT_NOTE || s->p_offset > (size_t)got)
            continue;
        uint64_t at = s->p_offset, end = s->p_offset + s->p_filesz;
        while (end <= (size_t)got && at + sizeof(ElfW(Nhdr)) <= end) {
            const ElfW(Nhdr) *note = (const void *)(page + at);
            uint64_t name = at + sizeof *note, value = name + ((note->n_namesz + 3u) & ~3u);
            uint64_t next = value + ((note->n_descsz + 3u) & ~3u);
            if (next > end)
                break;
            if (note->n_type == NT_GNU_BUILD_ID && note->n_namesz == 4 &&
                memcmp(page + name, "GNU", 4) == 0)
                for (uint64_t k = 0; k < note->n_descsz && 2 * k + 3 <= build_id_size; k++)
                    snprintf(build_id + 2 * k, 3, "%02x", page[value + k]);
            at = next;
        }
    }
}

/* What the loader calls it; a relative name made absolute, since the program may go elsewhere. */
static void path_of(const struct link_map *map, char *path, size_t size)
{
    char real[PATH_MAX];
    path[0] = 0;
    if (map->l_name && map->l_name[0]) {
        bool relative = map->l_name[0] != '/' && strchr(map->l_name, '/');
        snprintf(path, size, "%s", relative && realpath(map->l_name, real) ? real : map->l_name);
        return;
    }
    ssize_t got = readlink("/proc/self/exe", path, size - 1);
    path[got > 0 ? got : 0] = 0;
}

static void tell(const object *o, const char *path, const char *soname, const struct stat *st)
{
    char build_id[128] = "";
    uint64_t size = 0;
    read_file(path, &size, build_id, sizeof build_id);
    record_object told = {
        .number = o->number,
        .is_runtime = o->runtime != NULL,
        .link_map_list = o->list,
        .base = o->map->l_addr,
        .end = size ? o->map->l_addr + size : 0,
        .device = st->st_dev,
        .inode = st->st_ino,
        .recorded = o->runtime && o->runtime->slot >= 0,
        .path_length = (uint32_t)strlen(path),
        .soname_length = (uint32_t)strlen(soname),
        .build_id_length = (uint32_t)strlen(build_id),
    };
    record_event_of(EVENT_OBJECT,
                    (piece[]){{&told, sizeof told},
                              {path, told.path_length},
                              {soname, told.soname_length},
                              {build_id, told.build_id_length}},
                    4);
}

static object *free_entry(void)
{
    if (objects_used < MOST_OBJECTS)
        return &objects[objects_used++];
    for (uint32_t i = 0; i < MOST_OBJECTS; i++)
        if (!objects[i].map)
            return &objects[i];
    return NULL;
}

static runtime *free_runtime(void)
{
    for (int i = 0; i < MAX_RUNTIMES; i++)
        if (!runtimes[i].object)
            return &runtimes[i];
    return NULL;
}

object *object_opened(struct link_map *map, Lmid_t list, bool record_calls)
{
    object *o = free_entry();
    if (!o)
        return &no_room;
    *o = (object){.map = map, .list = list, .number = ++numbers};
    const char *soname = soname_of(map);
    /* By its SONAME where it has one: a link to XSched's shim goes by the runtime's name. */
    bool is_runtime = is_of_family(soname[0] ? soname : map->l_name ? map->l_name : "");
    if (!is_runtime && !record)
        return o;
    char path[PATH_SIZE];
    struct stat st;
    path_of(map, path, sizeof path);
    if (stat(path, &st) != 0)
        memset(&st, 0, sizeof st);
    runtime *r = is_runtime ? free_runtime() : NULL;
    if (r) {
        *r = (runtime){.object = o, .device = st.st_dev, .inode = st.st_ino, .slot = -1};
        snprintf(r->path, sizeof r->path, "%s", path);
        snprintf(r->soname, sizeof r->soname, "%s", soname);
        o->runtime = r;
        if (record && record_calls)
            r->slot = slot_take(o->number);
    }
    if (record)
        tell(o, path, soname, &st);
    return o;
}

void object_closed(object *o)
{
    if (!o->map)
        return;
    if (record) {
        record_close told = {.number = o->number};
        record_event_of(EVENT_CLOSE, (piece[]){{&told, sizeof told}}, 1);
    }
    if (o->runtime) {
        if (o->runtime->slot >= 0)
            slot_release(o->runtime->slot);
        o->runtime->object = NULL;
    }
    o->runtime = NULL;
    o->map = NULL;
}

object *object_of(uintptr_t cookie)
{
    object *o = (object *)cookie;
    return o >= objects && o < objects + MOST_OBJECTS ? o : &no_room;
}

const runtime *first_runtime(void)
{
    const runtime *first = NULL;
    for (int i = 0; i < MAX_RUNTIMES; i++) {
        const runtime *r = &runtimes[i];
        if (r->object && r->object->list == LM_ID_BASE &&
            (!first || r->object->number < first->object->number))
            first = r;
    }
    return first;
}
