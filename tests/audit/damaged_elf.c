/*
 * Reads libraries that are damaged in many ways, to be compiled with elf_file.c and a sanitizer.
 *
 *   damaged_elf SEED SECONDS LIBRARY...
 */
#include "audit.h"

#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

const char *object_family = "libamdhip64";
bool is_of_family(const char *name) { return strncmp(name, object_family, 11) == 0; }

static uint64_t state;
static uint64_t any(uint64_t below)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return below ? state % below : state;
}

typedef struct {
    unsigned char *bytes;
    size_t size;
    /* What is read: headers, the dynamic section, version tables; most damage is done there. */
    struct {
        uint64_t offset, size;
    } parts[64];
    int part_count;
} library;

static void add_part(library *l, uint64_t offset, uint64_t size)
{
    if (l->part_count < 64 && size && offset <= l->size && size <= l->size - offset) {
        l->parts[l->part_count].offset = offset;
        l->parts[l->part_count++].size = size;
    }
}

static library load(const char *path)
{
    library l = {0};
    FILE *file = fopen(path, "rb");
    if (!file)
        exit(9);
    fseek(file, 0, SEEK_END);
    l.size = (size_t)ftell(file);
    rewind(file);
    l.bytes = malloc(l.size);
    if (fread(l.bytes, 1, l.size, file) != l.size)
        exit(9);
    fclose(file);
    const ElfW(Ehdr) *header = (const void *)l.bytes;
    const ElfW(Shdr) *sections = (const void *)(l.bytes + header->e_shoff);
    add_part(&l, 0, sizeof *header);
    add_part(&l, header->e_phoff, header->e_phnum * sizeof(ElfW(Phdr)));
    for (int i = 0; i < header->e_shnum; i++)
        if (sections[i].sh_type == SHT_DYNAMIC || sections[i].sh_type == SHT_GNU_verdef ||
            sections[i].sh_type == SHT_GNU_verneed || sections[i].sh_type == SHT_STRTAB)
            add_part(&l, sections[i].sh_offset, sections[i].sh_size);
    return l;
}

static uint64_t value(const library *l)
{
    switch (any(8)) {
    case 0: return 0;
    case 1: return UINT64_MAX >> any(64);
    case 2: return l->size - any(16);
    case 3: return l->size + any(16);
    case 4: return any(l->size);
    case 5: return any(64);
    case 6: return 0 - any(l->size);
    default: return any(0);
    }
}

/* As it is in memory that ends where the file does, so that the sanitizer sees what is read beyond. */
static unsigned char *damaged(const library *l, size_t *size)
{
    *size = any(4) ? l->size : any(l->size + 1);
    unsigned char *copy = malloc(*size ? *size : 1);
    memcpy(copy, l->bytes, *size);
    for (uint64_t i = any(6); i; i--) {
        const uint64_t part = any((uint64_t)l->part_count);
        uint64_t place = l->parts[part].offset + any(l->parts[part].size);
        size_t width = (size_t)1 << any(4);
        if (any(4))
            place &= ~(uint64_t)(width - 1);
        uint64_t to = value(l);
        if (place <= *size && width <= *size - place)
            memcpy(copy + place, &to, width);
    }
    return copy;
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
    library libraries[16];
    int count = argc - 3;
    if (count < 1 || count > 16)
        return 9;
    state = strtoull(argv[1], NULL, 0) | 1;
    for (int i = 0; i < count; i++)
        libraries[i] = load(argv[i + 3]);
    unsigned long read = 0, understood = 0, named = 0, defining = 0, missing = 0;
    double begun = seconds(), slowest = 0, last = begun;
    while (last - begun < atof(argv[2])) {
        size_t sizes[2];
        unsigned char *bytes[2];
        elf_file files[2];
        bool good = true;
        for (int k = 0; k < 2; k++) {
            bytes[k] = damaged(&libraries[any((uint64_t)count)], &sizes[k]);
            good &= elf_read(bytes[k], sizes[k], &files[k]);
        }
        read += 2;
        if (good) {
            understood++;
            named += strlen(files[0].soname) > 0;
            defining += elf_defines_version(&files[0], "hip_4.2");
            const char *version = elf_missing_version(&files[0], &files[1]);
            missing += version && strlen(version) > 0;
        }
        free(bytes[0]);
        free(bytes[1]);
        double now = seconds();
        slowest = now - last > slowest ? now - last : slowest;
        last = now;
    }
    for (int i = 0; i < count; i++)
        free(libraries[i].bytes);
    printf("%lu %lu %lu %lu %lu %.3f\n", read, understood, named, defining, missing, slowest);
    return 0;
}
