/* Code objects and executables: an ELF file is laid out in memory, its symbols get addresses, and
 * those kernels are picked out that blits.c can run. Nothing else in it is ever executed, so
 * relocations are not applied.
 */
#include "agent.h"

#include <elf.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct reader {
    const uint8_t *bytes;
    size_t size;
};

struct symbol {
    const char *name;
    uint64_t address;
    uint32_t size;
    bool kernel;
    bool constant;
    struct image *image;
    blit_function blit; /* of a kernel, or NULL */
};

/* One code object, loaded. */
struct image {
    struct image *next;
    struct agent *agent;
    uint8_t *memory;
    size_t size;
    char *names;
    struct symbol *symbols; /* sorted by name */
    size_t count;
};

struct executable {
    struct image *images;
};

/* The start of a kernel descriptor (LLVM's AMDGPUUsage, "Kernel Descriptor"; 64 bytes in all). */
struct kernel_descriptor {
    uint32_t group_segment_fixed_size;
    uint32_t private_segment_fixed_size;
    uint32_t kernarg_size;
    uint8_t between[44];
    uint16_t kernel_code_properties;
    uint8_t reserved[6];
};
_Static_assert(sizeof(struct kernel_descriptor) == 64, "a kernel descriptor has 64 bytes");
enum { USES_DYNAMIC_STACK = 1 << 11 };

/* -------------------------------------------------------------------------- code object readers */

EXPORT hsa_status_t hsa_code_object_reader_create_from_memory(const void *code_object, size_t size,
                                                              hsa_code_object_reader_t *handle)
{
    if (code_object == NULL || size == 0 || handle == NULL)
        return HSA_STATUS_ERROR_INVALID_ARGUMENT;
    struct reader *reader = malloc(sizeof *reader);
    if (reader == NULL)
        return HSA_STATUS_ERROR_OUT_OF_RESOURCES;
    *reader = (struct reader){code_object, size};
    handle->handle = (uint64_t)(uintptr_t)reader;
    return HSA_STATUS_SUCCESS;
}

EXPORT hsa_status_t hsa_code_object_reader_destroy(hsa_code_object_reader_t handle)
{
    if (handle.handle == 0)
        return HSA_STATUS_ERROR_INVALID_CODE_OBJECT_READER;
    free((void *)(uintptr_t)handle.handle);
    return HSA_STATUS_SUCCESS;
}

/* ------------------------------------------------------------------------------------------ ELF */

struct elf {
    const struct reader *file;
    const Elf64_Ehdr *header;
    const Elf64_Phdr *segments;
    const Elf64_Shdr *sections;
};

static const void *piece(const struct reader *file, uint64_t offset, uint64_t size)
{
    if (offset > file->size || size > file->size - offset)
        return NULL;
    return file->bytes + offset;
}

static bool elf_open(const struct reader *file, struct elf *elf)
{
    elf->file = file;
    elf->header = piece(file, 0, sizeof *elf->header);
    if (elf->header == NULL || memcmp(elf->header->e_ident, ELFMAG, SELFMAG) != 0 ||
        elf->header->e_ident[EI_CLASS] != ELFCLASS64)
        return false;
    elf->segments = piece(file, elf->header->e_phoff,
                          (uint64_t)elf->header->e_phnum * sizeof *elf->segments);
    elf->sections = piece(file, elf->header->e_shoff,
                          (uint64_t)elf->header->e_shnum * sizeof *elf->sections);
    return elf->segments != NULL && elf->sections != NULL;
}

static const Elf64_Shdr *elf_section(const struct elf *elf, uint32_t type)
{
    for (unsigned i = 0; i < elf->header->e_shnum; i++)
        if (elf->sections[i].sh_type == type)
            return &elf->sections[i];
    return NULL;
}

/* The content of the note named AMDGPU of type 32, the metadata. */
static const uint8_t *elf_metadata(const struct elf *elf, size_t *size)
{
    enum { NT_AMDGPU_METADATA = 32 };
    const Elf64_Shdr *section = elf_section(elf, SHT_NOTE);
    uint64_t left = section != NULL ? section->sh_size : 0;
    const uint8_t *at = section != NULL ? piece(elf->file, section->sh_offset, left) : NULL;
    while (at != NULL && left >= sizeof(Elf64_Nhdr)) {
        Elf64_Nhdr note;
        memcpy(&note, at, sizeof note);
        uint64_t name = ((uint64_t)note.n_namesz + 3) & ~(uint64_t)3;
        uint64_t whole = sizeof note + name + (((uint64_t)note.n_descsz + 3) & ~(uint64_t)3);
        if (whole > left)
            break;
        if (note.n_type == NT_AMDGPU_METADATA && note.n_namesz == sizeof "AMDGPU" &&
            memcmp(at + sizeof note, "AMDGPU", sizeof "AMDGPU") == 0) {
            *size = note.n_descsz;
            return at + sizeof note + name;
        }
        at += whole;
        left -= whole;
    }
    return NULL;
}

/* Copies the loadable segments to where they belong relative to each other. */
static bool lay_out(const struct elf *elf, struct image *image)
{
    uint64_t end = 0;
    for (unsigned i = 0; i < elf->header->e_phnum; i++) {
        const Elf64_Phdr *segment = &elf->segments[i];
        if (segment->p_type != PT_LOAD)
            continue;
        if (segment->p_memsz > (uint64_t)1 << 40 || segment->p_vaddr > (uint64_t)1 << 40 ||
            segment->p_filesz > segment->p_memsz ||
            piece(elf->file, segment->p_offset, segment->p_filesz) == NULL)
            return false;
        if (segment->p_vaddr + segment->p_memsz > end)
            end = segment->p_vaddr + segment->p_memsz;
    }
    if (end == 0)
        return false;
    image->memory = mmap(NULL, end, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (image->memory == MAP_FAILED) {
        image->memory = NULL;
        return false;
    }
    image->size = end;
    for (unsigned i = 0; i < elf->header->e_phnum; i++) {
        const Elf64_Phdr *segment = &elf->segments[i];
        if (segment->p_type == PT_LOAD)
            memcpy(image->memory + segment->p_vaddr, elf->file->bytes + segment->p_offset,
                   segment->p_filesz);
    }
    return true;
}

static bool ends_with_kd(const char *name)
{
    size_t length = strlen(name);
    return length > 3 && strcmp(name + length - 3, ".kd") == 0;
}

static blit_function find_blit(const struct elf *elf, const char *symbol)
{
    struct signature signature = {0, {0}};
    char kernel[128];
    size_t size, length = strlen(symbol) - strlen(".kd");
    const uint8_t *metadata = elf_metadata(elf, &size);
    if (length >= sizeof kernel || metadata == NULL)
        return NULL;
    memcpy(kernel, symbol, length);
    kernel[length] = '\0';

    bool known_name;
    blit_find(kernel, &signature, &known_name);
    if (!known_name || !metadata_signature(metadata, size, symbol, &signature))
        return NULL;
    blit_function blit = blit_find(kernel, &signature, &known_name);
    if (blit == NULL) {
        fprintf(stderr, "xdiag software agent: %s has arguments this agent does not know:", kernel);
        for (unsigned i = 0; i < signature.count; i++)
            fprintf(stderr, " %u", signature.sizes[i]);
        fprintf(stderr, "; its copies or fills will not be carried out\n");
    }
    return blit;
}

static int by_name(const void *left, const void *right)
{
    return strcmp(((const struct symbol *)left)->name, ((const struct symbol *)right)->name);
}

static bool read_symbols(const struct elf *elf, struct image *image)
{
    const Elf64_Shdr *table = elf_section(elf, SHT_DYNSYM);
    if (table == NULL)
        return true; /* nothing to be found by name */
    if (table->sh_link >= elf->header->e_shnum)
        return false;
    const Elf64_Shdr *strings = &elf->sections[table->sh_link];
    const Elf64_Sym *entries = piece(elf->file, table->sh_offset, table->sh_size);
    const char *names = piece(elf->file, strings->sh_offset, strings->sh_size);
    size_t count = table->sh_size / sizeof *entries;
    if (entries == NULL || names == NULL || strings->sh_size == 0)
        return false;

    /* The file belongs to the caller and may go away; the names are kept. */
    image->names = malloc(strings->sh_size + 1);
    image->symbols = calloc(count + 1, sizeof *image->symbols);
    if (image->names == NULL || image->symbols == NULL)
        return false;
    memcpy(image->names, names, strings->sh_size);
    image->names[strings->sh_size] = '\0';

    for (size_t i = 0; i < count; i++) {
        const Elf64_Sym *entry = &entries[i];
        bool inside = entry->st_shndx != SHN_UNDEF && entry->st_shndx < elf->header->e_shnum &&
                      entry->st_value <= image->size &&
                      entry->st_size <= image->size - entry->st_value;
        int type = ELF64_ST_TYPE(entry->st_info);
        if (!inside || entry->st_name >= strings->sh_size || type != STT_OBJECT)
            continue;
        struct symbol *symbol = &image->symbols[image->count];
        symbol->name = image->names + entry->st_name;
        symbol->address = (uint64_t)(uintptr_t)image->memory + entry->st_value;
        symbol->size = (uint32_t)entry->st_size;
        symbol->kernel = ends_with_kd(symbol->name) &&
                         entry->st_size >= sizeof(struct kernel_descriptor);
        symbol->constant = (elf->sections[entry->st_shndx].sh_flags & SHF_WRITE) == 0;
        symbol->image = image;
        symbol->blit = symbol->kernel ? find_blit(elf, symbol->name) : NULL;
        image->count++;
    }
    qsort(image->symbols, image->count, sizeof *image->symbols, by_name);
    return true;
}

static void image_free(struct image *image)
{
    struct range range;
    if (image->memory != NULL) {
        ranges_remove(ranges_code(), image->memory, &range);
        munmap(image->memory, image->size);
    }
    free(image->names);
    free(image->symbols);
    free(image);
}

blit_function loader_blit(uint64_t kernel_object)
{
    struct range range;
    if (!ranges_find(ranges_code(), (void *)(uintptr_t)kernel_object, &range))
        return NULL;
    const struct image *image = range.value;
    for (size_t i = 0; i < image->count; i++)
        if (image->symbols[i].blit != NULL && image->symbols[i].address == kernel_object)
            return image->symbols[i].blit;
    return NULL;
}

/* ---------------------------------------------------------------------------------- executables */

static struct executable *executable_from(hsa_executable_t handle)
{
    return (struct executable *)(uintptr_t)handle.handle;
}

EXPORT hsa_status_t hsa_executable_create_alt(int profile, int rounding_mode, const char *options,
                                              hsa_executable_t *handle)
{
    (void)profile, (void)rounding_mode, (void)options;
    if (handle == NULL)
        return HSA_STATUS_ERROR_INVALID_ARGUMENT;
    struct executable *executable = calloc(1, sizeof *executable);
    if (executable == NULL)
        return HSA_STATUS_ERROR_OUT_OF_RESOURCES;
    handle->handle = (uint64_t)(uintptr_t)executable;
    return HSA_STATUS_SUCCESS;
}

EXPORT hsa_status_t hsa_executable_destroy(hsa_executable_t handle)
{
    struct executable *executable = executable_from(handle);
    if (executable == NULL)
        return HSA_STATUS_ERROR_INVALID_EXECUTABLE;
    while (executable->images != NULL) {
        struct image *image = executable->images;
        executable->images = image->next;
        image_free(image);
    }
    free(executable);
    return HSA_STATUS_SUCCESS;
}

EXPORT hsa_status_t hsa_executable_load_agent_code_object(hsa_executable_t handle,
                                                          hsa_agent_t agent_handle,
                                                          hsa_code_object_reader_t reader,
                                                          const char *options,
                                                          hsa_loaded_code_object_t *loaded)
{
    (void)options;
    struct executable *executable = executable_from(handle);
    struct agent *agent = agent_from_handle(agent_handle);
    struct elf elf;
    if (executable == NULL)
        return HSA_STATUS_ERROR_INVALID_EXECUTABLE;
    if (agent == NULL)
        return HSA_STATUS_ERROR_INVALID_AGENT;
    if (reader.handle == 0)
        return HSA_STATUS_ERROR_INVALID_CODE_OBJECT_READER;
    if (!elf_open((const struct reader *)(uintptr_t)reader.handle, &elf))
        return HSA_STATUS_ERROR_INVALID_CODE_OBJECT;

    struct image *image = calloc(1, sizeof *image);
    if (image == NULL)
        return HSA_STATUS_ERROR_OUT_OF_RESOURCES;
    image->agent = agent;
    if (!lay_out(&elf, image) || !read_symbols(&elf, image)) {
        image_free(image);
        return HSA_STATUS_ERROR_INVALID_CODE_OBJECT;
    }
    if (!ranges_add(ranges_code(), image->memory, image->size, image)) {
        image_free(image);
        return HSA_STATUS_ERROR_OUT_OF_RESOURCES;
    }
    image->next = executable->images;
    executable->images = image;
    if (loaded != NULL)
        loaded->handle = (uint64_t)(uintptr_t)image;
    return HSA_STATUS_SUCCESS;
}

EXPORT hsa_status_t hsa_executable_freeze(hsa_executable_t handle, const char *options)
{
    (void)options;
    return executable_from(handle) != NULL ? HSA_STATUS_SUCCESS
                                           : HSA_STATUS_ERROR_INVALID_EXECUTABLE;
}

/* Only code that never runs would read the variable. */
EXPORT hsa_status_t hsa_executable_agent_global_variable_define(hsa_executable_t handle,
                                                                hsa_agent_t agent,
                                                                const char *name, void *address)
{
    (void)agent;
    if (executable_from(handle) == NULL)
        return HSA_STATUS_ERROR_INVALID_EXECUTABLE;
    return name != NULL && address != NULL ? HSA_STATUS_SUCCESS : HSA_STATUS_ERROR_INVALID_ARGUMENT;
}

/* -------------------------------------------------------------------------------------- symbols */

EXPORT hsa_status_t hsa_executable_get_symbol_by_name(hsa_executable_t handle, const char *name,
                                                      const hsa_agent_t *agent,
                                                      hsa_executable_symbol_t *found)
{
    struct executable *executable = executable_from(handle);
    if (executable == NULL)
        return HSA_STATUS_ERROR_INVALID_EXECUTABLE;
    if (name == NULL || found == NULL)
        return HSA_STATUS_ERROR_INVALID_ARGUMENT;
    struct symbol key = {.name = name};
    for (struct image *image = executable->images; image != NULL; image = image->next) {
        if (agent != NULL && agent_from_handle(*agent) != image->agent)
            continue;
        struct symbol *symbol = image->count == 0 ? NULL
                                                  : bsearch(&key, image->symbols, image->count,
                                                            sizeof key, by_name);
        if (symbol != NULL) {
            found->handle = (uint64_t)(uintptr_t)symbol;
            return HSA_STATUS_SUCCESS;
        }
    }
    return HSA_STATUS_ERROR_INVALID_SYMBOL_NAME;
}

EXPORT hsa_status_t hsa_executable_iterate_symbols(
    hsa_executable_t handle,
    hsa_status_t (*callback)(hsa_executable_t, hsa_executable_symbol_t, void *), void *data)
{
    struct executable *executable = executable_from(handle);
    if (executable == NULL)
        return HSA_STATUS_ERROR_INVALID_EXECUTABLE;
    if (callback == NULL)
        return HSA_STATUS_ERROR_INVALID_ARGUMENT;
    for (struct image *image = executable->images; image != NULL; image = image->next)
        for (size_t i = 0; i < image->count; i++) {
            hsa_executable_symbol_t symbol = {(uint64_t)(uintptr_t)&image->symbols[i]};
            hsa_status_t status = callback(handle, symbol, data);
            if (status != HSA_STATUS_SUCCESS)
                return status;
        }
    return HSA_STATUS_SUCCESS;
}

static hsa_status_t kernel_info(const struct symbol *symbol, uint32_t attribute, void *value)
{
    const struct kernel_descriptor *descriptor = (const void *)(uintptr_t)symbol->address;
    uint32_t *number = value;
    switch (attribute) {
    case HSA_EXECUTABLE_SYMBOL_INFO_KERNEL_OBJECT:
        *(uint64_t *)value = symbol->address;
        return HSA_STATUS_SUCCESS;
    case HSA_EXECUTABLE_SYMBOL_INFO_KERNEL_KERNARG_SEGMENT_SIZE:
        *number = descriptor->kernarg_size;
        return HSA_STATUS_SUCCESS;
    case HSA_EXECUTABLE_SYMBOL_INFO_KERNEL_KERNARG_SEGMENT_ALIGNMENT:
        *number = 16;
        return HSA_STATUS_SUCCESS;
    case HSA_EXECUTABLE_SYMBOL_INFO_KERNEL_GROUP_SEGMENT_SIZE:
        *number = descriptor->group_segment_fixed_size;
        return HSA_STATUS_SUCCESS;
    case HSA_EXECUTABLE_SYMBOL_INFO_KERNEL_PRIVATE_SEGMENT_SIZE:
        *number = descriptor->private_segment_fixed_size;
        return HSA_STATUS_SUCCESS;
    case HSA_EXECUTABLE_SYMBOL_INFO_KERNEL_DYNAMIC_CALLSTACK:
        *(bool *)value = (descriptor->kernel_code_properties & USES_DYNAMIC_STACK) != 0;
        return HSA_STATUS_SUCCESS;
    default:
        return HSA_STATUS_ERROR_INVALID_ARGUMENT;
    }
}

static hsa_status_t variable_info(const struct symbol *symbol, uint32_t attribute, void *value)
{
    switch (attribute) {
    case HSA_EXECUTABLE_SYMBOL_INFO_VARIABLE_ADDRESS:
        *(uint64_t *)value = symbol->address;
        return HSA_STATUS_SUCCESS;
    case HSA_EXECUTABLE_SYMBOL_INFO_VARIABLE_SIZE:
        *(uint32_t *)value = symbol->size;
        return HSA_STATUS_SUCCESS;
    case HSA_EXECUTABLE_SYMBOL_INFO_VARIABLE_ALIGNMENT:
        *(uint32_t *)value = 16;
        return HSA_STATUS_SUCCESS;
    case HSA_EXECUTABLE_SYMBOL_INFO_VARIABLE_IS_CONST:
        *(bool *)value = symbol->constant;
        return HSA_STATUS_SUCCESS;
    default:
        return HSA_STATUS_ERROR_INVALID_ARGUMENT;
    }
}

EXPORT hsa_status_t hsa_executable_symbol_get_info(hsa_executable_symbol_t handle,
                                                   uint32_t attribute, void *value)
{
    const struct symbol *symbol = (const struct symbol *)(uintptr_t)handle.handle;
    if (symbol == NULL)
        return HSA_STATUS_ERROR_INVALID_EXECUTABLE_SYMBOL;
    if (value == NULL)
        return HSA_STATUS_ERROR_INVALID_ARGUMENT;
    size_t length = strlen(symbol->name);
    switch (attribute) {
    case HSA_EXECUTABLE_SYMBOL_INFO_TYPE:
        *(uint32_t *)value = symbol->kernel ? HSA_SYMBOL_KIND_KERNEL : HSA_SYMBOL_KIND_VARIABLE;
        return HSA_STATUS_SUCCESS;
    case HSA_EXECUTABLE_SYMBOL_INFO_NAME_LENGTH:
        *(uint32_t *)value = (uint32_t)length;
        return HSA_STATUS_SUCCESS;
    case HSA_EXECUTABLE_SYMBOL_INFO_NAME: /* not terminated: the caller asked for the length */
        memcpy(value, symbol->name, length);
        return HSA_STATUS_SUCCESS;
    case HSA_EXECUTABLE_SYMBOL_INFO_AGENT:
        *(hsa_agent_t *)value = agent_handle(symbol->image->agent);
        return HSA_STATUS_SUCCESS;
    case HSA_EXECUTABLE_SYMBOL_INFO_IS_DEFINITION:
        *(bool *)value = true;
        return HSA_STATUS_SUCCESS;
    default:
        return symbol->kernel ? kernel_info(symbol, attribute, value)
                              : variable_info(symbol, attribute, value);
    }
}

/* --------------------------------------------------------------------- the AMD loader extension */

/* Device and host share one address space. */
static hsa_status_t query_host_address(const void *device_address, const void **host_address)
{
    if (device_address == NULL || host_address == NULL)
        return HSA_STATUS_ERROR_INVALID_ARGUMENT;
    *host_address = device_address;
    return HSA_STATUS_SUCCESS;
}

static hsa_status_t not_offered(void)
{
    return HSA_STATUS_ERROR;
}

/* The table is a row of function pointers, longer with each minor version; only the first,
 * query_host_address, is used by HIP (hsa_ven_amd_loader.h; rocdevice.cpp,
 * loaderQueryHostAddress, ROCm 5.7.1). */
hsa_status_t loader_extension_table(size_t length, void *table)
{
    void (**entries)(void) = table;
    for (size_t i = 0; i < length / sizeof *entries; i++)
        entries[i] = (void (*)(void))not_offered;
    if (length >= sizeof *entries)
        entries[0] = (void (*)(void))query_host_address;
    return HSA_STATUS_SUCCESS;
}
