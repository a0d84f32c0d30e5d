/* The runtime's own kernels, in C.
 *
 * Device-to-device copies, fills and stream memory operations are small kernels which the runtime
 * compiles for itself and dispatches like a user's. Their OpenCL source is a string inside
 * libamdhip64 (AMD's rocclr/device/blitcl.cpp), their arguments are set in
 * rocclr/device/rocm/rocblit.cpp (read at ROCm 5.7.1 and 6.2.2; the strings in the libraries of
 * 5.2.3, 6.4.3 and 7.2.4). They are told by name and argument sizes together, because ROCm 6 and 7
 * kept the names and changed the arguments.
 */
#include "agent.h"

#include <string.h>

static uint64_t u64(const uint8_t *arguments, size_t offset)
{
    uint64_t value;
    memcpy(&value, arguments + offset, sizeof value);
    return value;
}

static uint32_t u32(const uint8_t *arguments, size_t offset)
{
    uint32_t value;
    memcpy(&value, arguments + offset, sizeof value);
    return value;
}

static uint8_t *pointer(const uint8_t *arguments, size_t offset)
{
    return (uint8_t *)(uintptr_t)u64(arguments, offset);
}

/* uchar *src, *dst; ulong src_origin, dst_origin, size; uint remain
 * `size` counts words of 4 bytes, the last of which has only `remain` bytes. */
static void copy_words(const uint8_t *a, const struct work *work)
{
    (void)work;
    uint64_t words = u64(a, 32);
    if (words > 0)
        memmove(pointer(a, 8) + u64(a, 24), pointer(a, 0) + u64(a, 16),
                (words - 1) * 4 + u32(a, 40));
}

/* uint *src, *dst; ulong src_origin, dst_origin, size; uint alignment
 * Origins and size count units of `alignment` bytes. */
static void copy_units(const uint8_t *a, const struct work *work)
{
    (void)work;
    uint64_t unit = u32(a, 40);
    memmove(pointer(a, 8) + u64(a, 24) * unit, pointer(a, 0) + u64(a, 16) * unit,
            u64(a, 32) * unit);
}

/* uchar *src, *dst; ulong size; uint remainder, alignment; ulong end; uint chunk; in ROCm 7 also
 * uint workgroup_size
 * `size` is in bytes; the rest says how the work is dealt out. */
static void copy_bytes(const uint8_t *a, const struct work *work)
{
    (void)work;
    memmove(pointer(a, 8), pointer(a, 0), u64(a, 16));
}

/* void *src, *dst; ulong4 src_rect, dst_rect, size
 * A rect is row pitch, slice pitch, start; size is x, y, z and the unit in which all is counted.
 * OpenCL aligns an ulong4 to its 32 bytes. */
static void copy_rect(const uint8_t *a, const struct work *work)
{
    (void)work;
    enum { SRC = 32, DST = 64, SIZE = 96 };
    uint64_t unit = u64(a, SIZE + 24) != 0 ? u64(a, SIZE + 24) : 1;
    for (uint64_t z = 0; z < u64(a, SIZE + 16); z++)
        for (uint64_t y = 0; y < u64(a, SIZE + 8); y++) {
            uint64_t from = u64(a, SRC + 16) + y * u64(a, SRC) + z * u64(a, SRC + 8);
            uint64_t to = u64(a, DST + 16) + y * u64(a, DST) + z * u64(a, DST + 8);
            memmove(pointer(a, 8) + to * unit, pointer(a, 0) + from * unit, u64(a, SIZE) * unit);
        }
}

static void repeat(uint8_t *to, const uint8_t *pattern, size_t pattern_size, uint64_t times)
{
    if (pattern_size == 1)
        memset(to, *pattern, times);
    else
        for (uint64_t i = 0; i < times; i++)
            memcpy(to + i * pattern_size, pattern, pattern_size);
}

/* Four pointers of element size 1, 2, 4, 8, of which one is not null and so gives the unit. */
static uint8_t *sized_pointer(const uint8_t *a, unsigned count, size_t *unit)
{
    for (unsigned i = 0; i < count; i++)
        if (pointer(a, 8 * i) != NULL) {
            *unit = (size_t)1 << i;
            return pointer(a, 8 * i);
        }
    return NULL;
}

/* uchar*; ushort*; uint*; ulong*; uchar *pattern; uint pattern_size; ulong offset, size
 * pattern_size and offset count units, size counts patterns. */
static void fill(const uint8_t *a, const struct work *work)
{
    (void)work;
    size_t unit;
    uint8_t *to = sized_pointer(a, 4, &unit);
    if (to != NULL)
        repeat(to + u64(a, 48) * unit, pointer(a, 32), u32(a, 40) * unit, u64(a, 56));
}

/* As fill, then ulong offset, width, height, pitch: width in bytes, pitch in units. */
static void fill_rows(const uint8_t *a, const struct work *work)
{
    (void)work;
    size_t unit;
    uint8_t *to = sized_pointer(a, 4, &unit);
    size_t pattern_size = to != NULL ? u32(a, 40) * unit : 0;
    if (pattern_size == 0)
        return;
    for (uint64_t y = 0; y < u64(a, 64); y++)
        repeat(to + (u64(a, 48) + y * u64(a, 72)) * unit, pointer(a, 32), pattern_size,
               u64(a, 56) / pattern_size);
}

/* void *buffer; uchar *pattern; uint pattern_size, alignment; ulong end; uint chunk; in ROCm 7 also
 * uint workgroup_size
 * pattern_size counts units of `alignment`; the buffer is filled up to the address `end`. */
static void fill_up_to(const uint8_t *a, const struct work *work)
{
    (void)work;
    uint64_t pattern_size = (uint64_t)u32(a, 16) * u32(a, 20);
    uint64_t start = u64(a, 0), end = u64(a, 24);
    if (pattern_size > 0 && end > start)
        repeat(pointer(a, 0), pointer(a, 8), pattern_size,
               (end - start + pattern_size - 1) / pattern_size);
}

/* uint *narrow; ulong *wide; ulong value; before ROCm 6 also ulong size: one pointer is null. */
static void write_value(const uint8_t *a, const struct work *work)
{
    (void)work;
    if (pointer(a, 0) != NULL)
        __atomic_store_n((uint32_t *)(void *)pointer(a, 0), u32(a, 16), __ATOMIC_RELEASE);
    else if (pointer(a, 8) != NULL)
        __atomic_store_n((uint64_t *)(void *)pointer(a, 8), u64(a, 16), __ATOMIC_RELEASE);
}

/* uint *narrow; ulong *wide; ulong value, flags, mask. The flags are hipStreamWaitValueGte, Eq,
 * And, Nor (hip_runtime_api.h). */
static void wait_value(const uint8_t *a, const struct work *work)
{
    bool narrow = pointer(a, 0) != NULL;
    uint64_t all = narrow ? UINT32_MAX : UINT64_MAX;
    uint64_t value = u64(a, 16) & all, mask = u64(a, 32) & all;
    if (!narrow && pointer(a, 8) == NULL)
        return;
    while (!work_cancelled(work)) {
        uint64_t now =
            narrow ? __atomic_load_n((uint32_t *)(void *)pointer(a, 0), __ATOMIC_ACQUIRE)
                   : __atomic_load_n((uint64_t *)(void *)pointer(a, 8), __ATOMIC_ACQUIRE);
        uint64_t masked = now & mask;
        bool met = false;
        switch (u32(a, 24)) {
        case 0:
            met = masked >= value;
            break;
        case 1:
            met = masked == value;
            break;
        case 2:
            met = (masked & value) != 0;
            break;
        case 3:
            met = (~(now | value) & mask) != 0;
            break;
        }
        if (met)
            return;
        _Atomic uint32_t never = 0;
        futex_wait(&never, 0, 50000);
    }
}

static const struct {
    const char *kernel;
    struct signature signature;
    blit_function function;
} blits[] = {
    {"__amd_rocclr_copyBuffer", {6, {8, 8, 8, 8, 8, 4}}, copy_words},
    {"__amd_rocclr_copyBuffer", {7, {8, 8, 8, 4, 4, 8, 4}}, copy_bytes},
    {"__amd_rocclr_copyBuffer", {8, {8, 8, 8, 4, 4, 8, 4, 4}}, copy_bytes},
    {"__amd_rocclr_copyBufferAligned", {6, {8, 8, 8, 8, 8, 4}}, copy_units},
    {"__amd_rocclr_copyBufferRect", {5, {8, 8, 32, 32, 32}}, copy_rect},
    {"__amd_rocclr_copyBufferRectAligned", {5, {8, 8, 32, 32, 32}}, copy_rect},
    {"__amd_rocclr_fillBufferAligned", {8, {8, 8, 8, 8, 8, 4, 8, 8}}, fill},
    {"__amd_rocclr_fillBufferAligned", {6, {8, 8, 4, 4, 8, 4}}, fill_up_to},
    {"__amd_rocclr_fillBufferAligned", {7, {8, 8, 4, 4, 8, 4, 4}}, fill_up_to},
    {"__amd_rocclr_fillBufferAligned2D", {10, {8, 8, 8, 8, 8, 4, 8, 8, 8, 8}}, fill_rows},
    {"__amd_rocclr_streamOpsWrite", {4, {8, 8, 8, 8}}, write_value},
    {"__amd_rocclr_streamOpsWrite", {3, {8, 8, 8}}, write_value},
    {"__amd_rocclr_streamOpsWait", {5, {8, 8, 8, 8, 8}}, wait_value},
};

blit_function blit_find(const char *kernel, const struct signature *signature, bool *known_name)
{
    *known_name = false;
    for (size_t i = 0; i < sizeof blits / sizeof *blits; i++) {
        if (strcmp(blits[i].kernel, kernel) != 0)
            continue;
        *known_name = true;
        if (blits[i].signature.count == signature->count &&
            memcmp(blits[i].signature.sizes, signature->sizes, signature->count) == 0)
            return blits[i].function;
    }
    return NULL;
}
