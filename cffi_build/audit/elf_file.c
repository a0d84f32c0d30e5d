/* What a library's file says of its name and its symbol versions (gabi; LSB, "Symbol Versioning").
 * The file is anybody's: every offset is held against its size. */
#include "audit.h"

#include <elf.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* More entries than any library has, of each kind; versions are compared all with all. */
enum { MOST_SEGMENTS = 512, MOST_DYNAMIC = 4096, MOST_VERSIONS = 2048 };

/* An offset that nothing has. */
#define NOWHERE UINT64_MAX

/* Part of the file, NULL where that ends before or the part is not where such a part can be. */
static const void *at(const elf_file *file, uint64_t offset, uint64_t size, uint64_t alignment)
{
    bool there = offset <= file->size && size <= file->size - offset && offset % alignment == 0;
    return there ? file->bytes + offset : NULL;
}

#define AT(file, offset, type) ((const type *)at(file, offset, sizeof(type), _Alignof(type)))

/* open and close, but not where a thread that was cancelled ends (pthreads(7), "Cancellation
 * points"): dlopen, which they are called in, is no such place, and holds the loader's lock. */
int file_open(const char *path)
{
    /* Not waiting for a FIFO's other end. */
    return (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
}

void file_close(int fd) { syscall(SYS_close, fd); }

bool file_read(int fd, void *to, size_t size, uint64_t offset)
{
    return syscall(SYS_pread64, fd, to, size, offset) == (long)size;
}

/* Where in the file an address of the loaded library lies; beyond its size for none. */
static uint64_t offset_of(const elf_file *file, const ElfW(Ehdr) *header, uint64_t address)
{
    for (unsigned i = 0; i < header->e_phnum; i++) {
        const ElfW(Phdr) *s = AT(file, header->e_phoff + i * sizeof *s, ElfW(Phdr));
        if (s && s->p_type == PT_LOAD && address >= s->p_vaddr &&
            address - s->p_vaddr < s->p_filesz)
            return s->p_offset + (address - s->p_vaddr);
    }
    return NOWHERE;
}

/* A string of the dynamic string table, "" for what is not one, or longer than names are. */
static const char *text(const elf_file *file, uint64_t place)
{
    if (place >= file->strings_size)
        return "";
    uint64_t left = file->strings_size - place;
    const char *string = file->strings + place;
    return memchr(string, 0, left < NAME_SIZE ? left : NAME_SIZE) ? string : "";
}

static const elf_file nothing = {.soname = "", .verdef = NOWHERE, .verneed = NOWHERE};

static void read_dynamic(elf_file *file, const ElfW(Ehdr) *header, const ElfW(Phdr) *segment)
{
    uint64_t strings = 0, soname = NOWHERE, verdef = 0, verneed = 0;
    for (unsigned i = 0; i < MOST_DYNAMIC && i < segment->p_filesz / sizeof(ElfW(Dyn)); i++) {
        const ElfW(Dyn) *d = AT(file, segment->p_offset + i * sizeof *d, ElfW(Dyn));
        if (!d || d->d_tag == DT_NULL)
            break;
        switch (d->d_tag) {
        case DT_STRTAB: strings = d->d_un.d_ptr; break;
        case DT_STRSZ: file->strings_size = d->d_un.d_val; break;
        case DT_SONAME: soname = d->d_un.d_val; break;
        case DT_VERDEF: verdef = d->d_un.d_ptr; break;
        case DT_VERDEFNUM: file->verdef_count = d->d_un.d_val; break;
        case DT_VERNEED: verneed = d->d_un.d_ptr; break;
        case DT_VERNEEDNUM: file->verneed_count = d->d_un.d_val; break;
        default: break;
        }
    }
    file->strings = at(file, offset_of(file, header, strings), file->strings_size, 1);
    if (!file->strings)
        file->strings_size = 0;
    file->soname = soname == NOWHERE ? "" : text(file, soname);
    file->verdef = verdef ? offset_of(file, header, verdef) : NOWHERE;
    file->verneed = verneed ? offset_of(file, header, verneed) : NOWHERE;
}

bool elf_read(const void *bytes, size_t size, elf_file *file)
{
    const ElfW(Ehdr) *header = bytes;
    *file = nothing;
    if (size < sizeof *header || memcmp(header->e_ident, ELFMAG, SELFMAG) != 0 ||
        header->e_ident[EI_CLASS] != ELFCLASS64 || header->e_phnum > MOST_SEGMENTS)
        return false;
    file->bytes = bytes;
    file->size = size;
    file->machine = header->e_machine;
    for (unsigned i = 0; i < header->e_phnum; i++) {
        const ElfW(Phdr) *s = AT(file, header->e_phoff + i * sizeof *s, ElfW(Phdr));
        if (s && s->p_type == PT_DYNAMIC) {
            read_dynamic(file, header, s);
            break;
        }
    }
    return true;
}

bool elf_map(const char *path, elf_file *file)
{
    *file = nothing;
    int fd = file_open(path);
    if (fd < 0)
        return false;
    struct stat st;
    void *bytes = MAP_FAILED;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0)
        bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    file_close(fd);
    if (bytes == MAP_FAILED)
        return false;
    if (!elf_read(bytes, (size_t)st.st_size, file)) {
        munmap(bytes, (size_t)st.st_size);
        return false;
    }
    file->device = st.st_dev;
    file->inode = st.st_ino;
    return true;
}

void elf_unmap(elf_file *file)
{
    munmap((void *)file->bytes, file->size);
    *file = nothing;
}

bool elf_defines_version(const elf_file *file, const char *version)
{
    uint64_t place = file->verdef;
    for (unsigned i = 0; i < file->verdef_count && i < MOST_VERSIONS; i++) {
        const ElfW(Verdef) *d = AT(file, place, ElfW(Verdef));
        if (!d)
            return false;
        const ElfW(Verdaux) *name = AT(file, place + d->vd_aux, ElfW(Verdaux));
        if (name && strcmp(text(file, name->vda_name), version) == 0)
            return true;
        if (!d->vd_next)
            return false;
        place += d->vd_next;
    }
    return false;
}

const char *elf_missing_version(const elf_file *user, const elf_file *library)
{
    uint64_t place = user->verneed;
    unsigned seen = 0;
    for (uint64_t i = 0; i < user->verneed_count && seen < MOST_VERSIONS; i++, seen++) {
        const ElfW(Verneed) *need = AT(user, place, ElfW(Verneed));
        if (!need)
            return NULL;
        bool of_library = is_of_family(text(user, need->vn_file));
        uint64_t next = place + need->vn_aux;
        for (unsigned k = 0; of_library && k < need->vn_cnt && seen < MOST_VERSIONS; k++, seen++) {
            const ElfW(Vernaux) *version = AT(user, next, ElfW(Vernaux));
            if (!version)
                break;
            const char *name = text(user, version->vna_name);
            if (!(version->vna_flags & VER_FLG_WEAK) && !elf_defines_version(library, name))
                return name;
            if (!version->vna_next)
                break;
            next += version->vna_next;
        }
        if (!need->vn_next)
            return NULL;
        place += need->vn_next;
    }
    return NULL;
}
