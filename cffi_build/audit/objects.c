/* The loaded objects, as the loader tells of them: under its own lock (dl_load_lock), on whoever's
 * stack, so that large buffers are static. */
#include "audit.h"

#include <elf.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A framework's process has hundreds; entries of closed objects are used again. */
enum { MOST_OBJECTS = 8192, MOST_SEGMENTS = 512, MOST_NOTES = 64 };

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

/* A library's file, and its first page: most of the time everything of interest is in that. */
typedef struct {
    int fd;
    size_t got;
    unsigned char page[4096];
} beginning;

static bool read_part(const beginning *b, void *to, size_t size, uint64_t offset)
{
    if (offset > b->got || size > b->got - offset)
        return file_read(b->fd, to, size, offset);
    memcpy(to, b->page + offset, size);
    return true;
}

/* NT_GNU_BUILD_ID in hexadecimal; left empty where the notes have none. */
static void read_notes(const beginning *b, const ElfW(Phdr) *notes, char *build_id, size_t size)
{
    unsigned char value[64];
    uint64_t at = notes->p_offset, end = at + notes->p_filesz;
    for (int i = 0; i < MOST_NOTES && at < end; i++) {
        struct {
            ElfW(Nhdr) head;
            char name[4];
        } note;
        if (!read_part(b, &note, sizeof note, at))
            return;
        uint64_t place = at + sizeof note.head + ((note.head.n_namesz + 3ull) & ~3ull);
        if (note.head.n_type == NT_GNU_BUILD_ID && note.head.n_namesz == 4 &&
            memcmp(note.name, "GNU", 4) == 0 && note.head.n_descsz <= sizeof value &&
            2 * note.head.n_descsz < size && read_part(b, value, note.head.n_descsz, place)) {
            for (unsigned k = 0; k < note.head.n_descsz; k++)
                snprintf(build_id + 2 * k, 3, "%02x", value[k]);
            return;
        }
        at = place + ((note.head.n_descsz + 3ull) & ~3ull);
    }
}

/* From its file: the size in memory, and the build id.  (Not from memory: only the loader knows
 * where an object begins that was not linked for address 0.) */
static void read_file(const char *path, uint64_t *size, char *build_id, size_t build_id_size)
{
    static beginning b;
    b.fd = file_open(path);
    if (b.fd < 0)
        return;
    long got = syscall(SYS_pread64, b.fd, b.page, sizeof b.page, 0);
    b.got = got > 0 ? (size_t)got : 0;
    ElfW(Ehdr) header;
    if (b.got >= sizeof header && memcmp(b.page, ELFMAG, SELFMAG) == 0) {
        memcpy(&header, b.page, sizeof header);
        for (unsigned i = 0; i < header.e_phnum && i < MOST_SEGMENTS; i++) {
            ElfW(Phdr) s;
            if (!read_part(&b, &s, sizeof s, header.e_phoff + i * sizeof s))
                break;
            if (s.p_type == PT_LOAD && s.p_vaddr + s.p_memsz > *size)
                *size = s.p_vaddr + s.p_memsz;
            if (s.p_type == PT_NOTE && !build_id[0])
                read_notes(&b, &s, build_id, build_id_size);
        }
    }
    file_close(b.fd);
}

/* What the loader calls it; a relative name made absolute, since the program may go elsewhere. */
static void path_of(const struct link_map *map, char *path, size_t size)
{
    static char real[PATH_MAX];
    path[0] = 0;
    if (map->l_name && map->l_name[0]) {
        const char *name = opened_as(map->l_name);
        bool relative = name[0] != '/' && strchr(name, '/');
        snprintf(path, size, "%s", relative && realpath(name, real) ? real : name);
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
    static char path[PATH_SIZE];
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
        if (list != LM_ID_BASE)
            opened_elsewhere();
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
