/* What a library's file says of its name and its symbol versions (gabi; LSB, "Symbol Versioning").
 * The file is anybody's: every offset is held against its size. */
#include "audit.h"

#include <elf.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* More entries than any library has. */
enum { MOST_SEGMENTS = 512, MOST_DYNAMIC = 4096, MOST_VERSIONS = 65536 };

static const void *at(const elf_file *file, uint64_t offset, uint64_t size)
{
    return offset <= file->size && size <= file->size - offset ? file->bytes + offset : NULL;
}

/* Where in the file an address of the loaded library lies; beyond its size for none. */
static uint64_t offset_of(const elf_file *file, const ElfW(Ehdr) *header, uint64_t address)
{
    for (unsigned i = 0; i < header->e_phnum; i++) {
        const ElfW(Phdr) *s = at(file, header->e_phoff + i * sizeof *s, sizeof *s);
        if (s && s->p_type == PT_LOAD && address >= s->p_vaddr &&
            address - s->p_vaddr < s->p_filesz)
            return s->p_offset + (address - s->p_vaddr);
    }
    return UINT64_MAX;
}

/* A string of the dynamic string table, "" for what is not one. */
static const char *text(const elf_file *file, uint64_t place)
{
    if (place >= file->strings_size || !memchr(file->strings + place, 0, file->strings_size - place))
        return "";
    return file->strings + place;
}

static void read_dynamic(elf_file *file, const ElfW(Ehdr) *header, const ElfW(Phdr) *segment)
{
    uint64_t strings = 0, soname = UINT64_MAX, verdef = 0, verneed = 0;
    for (unsigned i = 0; i < MOST_DYNAMIC && i < segment->p_filesz / sizeof(ElfW(Dyn)); i++) {
        const ElfW(Dyn) *d = at(file, segment->p_offset + i * sizeof *d, sizeof *d);
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
    file->strings = at(file, offset_of(file, header, strings), file->strings_size);
    if (!file->strings)
        file->strings_size = 0;
    file->soname = soname == UINT64_MAX ? "" : text(file, soname);
    file->verdef = verdef ? at(file, offset_of(file, header, verdef), sizeof(ElfW(Verdef))) : NULL;
    file->verneed = verneed ? at(file, offset_of(file, header, verneed), sizeof(ElfW(Verneed))) : NULL;
}

bool elf_map(const char *path, elf_file *file)
{
    memset(file, 0, sizeof *file);
    file->soname = "";
    /* Not waiting for a FIFO's other end. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return false;
    struct stat st;
    void *bytes = MAP_FAILED;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (size_t)st.st_size >= sizeof(ElfW(Ehdr)))
        bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    if (bytes == MAP_FAILED)
        return false;
    file->bytes = bytes;
    file->size = (size_t)st.st_size;
    file->device = st.st_dev;
    file->inode = st.st_ino;
    const ElfW(Ehdr) *header = bytes;
    if (memcmp(header->e_ident, ELFMAG, SELFMAG) != 0 || header->e_ident[EI_CLASS] != ELFCLASS64 ||
        header->e_phnum > MOST_SEGMENTS) {
        elf_unmap(file);
        return false;
    }
    for (unsigned i = 0; i < header->e_phnum; i++) {
        const ElfW(Phdr) *s = at(file, header->e_phoff + i * sizeof *s, sizeof *s);
        if (s && s->p_type == PT_DYNAMIC)
            read_dynamic(file, header, s);
    }
    return true;
}

void elf_unmap(elf_file *file)
{
    munmap((void *)file->bytes, file->size);
    memset(file, 0, sizeof *file);
    file->soname = "";
}

bool elf_defines_version(const elf_file *file, const char *version)
{
    const unsigned char *entry = file->verdef;
    for (uint64_t i = 0; entry && i < file->verdef_count && i < MOST_VERSIONS; i++) {
        const ElfW(Verdef) *d = at(file, (uint64_t)(entry - file->bytes), sizeof *d);
        if (!d)
            return false;
        const ElfW(Verdaux) *name = at(file, (uint64_t)(entry - file->bytes) + d->vd_aux, sizeof *name);
        if (name && strcmp(text(file, name->vda_name), version) == 0)
            return true;
        if (!d->vd_next)
            return false;
        entry += d->vd_next;
    }
    return false;
}

const char *elf_missing_version(const elf_file *user, const char *soname, const elf_file *library)
{
    const unsigned char *entry = user->verneed;
    for (uint64_t i = 0; entry && i < user->verneed_count && i < MOST_VERSIONS; i++) {
        uint64_t place = (uint64_t)(entry - user->bytes);
        const ElfW(Verneed) *need = at(user, place, sizeof *need);
        if (!need)
            return NULL;
        if (strcmp(text(user, need->vn_file), soname) == 0) {
            uint64_t next = place + need->vn_aux;
            for (unsigned k = 0; k < need->vn_cnt; k++) {
                const ElfW(Vernaux) *version = at(user, next, sizeof *version);
                if (!version)
                    break;
                const char *name = text(user, version->vna_name);
                if (!(version->vna_flags & VER_FLG_WEAK) && !elf_defines_version(library, name))
                    return name;
                if (!version->vna_next)
                    break;
                next += version->vna_next;
            }
        }
        if (!need->vn_next)
            return NULL;
        entry += need->vn_next;
    }
    return NULL;
}
