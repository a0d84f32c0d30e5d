/* BLAKE2b with a 32-byte result and no key (RFC 7693), and a fourfold form of it for megabytes.
 *
 * The fourfold form deals a long run of bytes, block by block, to four BLAKE2b states that advance
 * side by side in vector registers, and hashes their four results.
 */
#include "comgr.h"

#include <string.h>

static const uint64_t initial[8] = {
    0x6a09e667f3bcc908, 0xbb67ae8584caa73b, 0x3c6ef372fe94f82b, 0xa54ff53a5f1d36f1,
    0x510e527fade682d1, 0x9b05688c2b3e6c1f, 0x1f83d9abfb41bd6b, 0x5be0cd19137e2179,
};

static const uint8_t order[12][16] = {
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
    {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
    {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4},
    {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
    {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13},
    {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
    {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11},
    {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
    {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5},
    {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0},
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
    {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
};

#define ROTATE(x, right) ((x) >> (right) | (x) << (64 - (right)))
#define MIX(a, b, c, d, x, y)         \
    do {                              \
        a += b + x;                   \
        d = ROTATE(d ^ a, 32);        \
        c += d;                       \
        b = ROTATE(b ^ c, 24);        \
        a += b + y;                   \
        d = ROTATE(d ^ a, 16);        \
        c += d;                       \
        b = ROTATE(b ^ c, 63);        \
    } while (0)
#define ROUNDS(v, m)                                                \
    for (int round = 0; round < 12; round++) {                      \
        const uint8_t *s = order[round];                            \
        MIX(v[0], v[4], v[8], v[12], m[s[0]], m[s[1]]);             \
        MIX(v[1], v[5], v[9], v[13], m[s[2]], m[s[3]]);             \
        MIX(v[2], v[6], v[10], v[14], m[s[4]], m[s[5]]);            \
        MIX(v[3], v[7], v[11], v[15], m[s[6]], m[s[7]]);            \
        MIX(v[0], v[5], v[10], v[15], m[s[8]], m[s[9]]);            \
        MIX(v[1], v[6], v[11], v[12], m[s[10]], m[s[11]]);          \
        MIX(v[2], v[7], v[8], v[13], m[s[12]], m[s[13]]);           \
        MIX(v[3], v[4], v[9], v[14], m[s[14]], m[s[15]]);           \
    }

static void compress(struct hash *hash, const uint8_t *block, bool last)
{
    uint64_t v[16], m[16];
    memcpy(m, block, sizeof m); /* little endian, as everything this library runs on */
    memcpy(v, hash->state, sizeof hash->state);
    memcpy(v + 8, initial, sizeof initial);
    v[12] ^= hash->length;
    if (last)
        v[14] = ~v[14];
    ROUNDS(v, m)
    for (int i = 0; i < 8; i++)
        hash->state[i] ^= v[i] ^ v[i + 8];
}

void hash_start(struct hash *hash)
{
    memset(hash, 0, sizeof *hash);
    memcpy(hash->state, initial, sizeof initial);
    hash->state[0] ^= 0x01010000 ^ HASH_BYTES;
}

void hash_add(struct hash *hash, const void *bytes, size_t size)
{
    const uint8_t *at = bytes;
    while (size > 0) {
        /* A full block is kept back until more comes: the last one is treated apart. */
        if (hash->used == sizeof hash->block) {
            hash->length += sizeof hash->block;
            compress(hash, hash->block, false);
            hash->used = 0;
        }
        while (hash->used == 0 && size > sizeof hash->block) {
            hash->length += sizeof hash->block;
            compress(hash, at, false);
            at += sizeof hash->block;
            size -= sizeof hash->block;
        }
        size_t room = sizeof hash->block - hash->used, taken = size < room ? size : room;
        memcpy(hash->block + hash->used, at, taken);
        hash->used += taken;
        at += taken;
        size -= taken;
    }
}

void hash_finish(struct hash *hash, uint8_t out[HASH_BYTES])
{
    hash->length += hash->used;
    memset(hash->block + hash->used, 0, sizeof hash->block - hash->used);
    compress(hash, hash->block, true);
    memcpy(out, hash->state, HASH_BYTES);
}

/* ------------------------------------------------------------------------------------- fourfold */

enum { LANES = 4, BLOCK = 128 };
typedef uint64_t lanes __attribute__((vector_size(8 * LANES)));

/* Hashes whole stripes of four blocks each, the last of which closes the four hashes. */
__attribute__((target_clones("default", "avx2"))) static void
hash_stripes(const uint8_t *bytes, size_t stripes, uint64_t out[8][LANES])
{
    lanes state[8], v[16], m[16];
    for (int i = 0; i < 8; i++)
        state[i] = (lanes){0} + initial[i];
    state[0] ^= (lanes){0} + (0x01010000 ^ HASH_BYTES);
    for (size_t stripe = 0; stripe < stripes; stripe++, bytes += LANES * BLOCK) {
        for (int i = 0; i < 16; i++)
            for (int lane = 0; lane < LANES; lane++) {
                uint64_t word;
                memcpy(&word, bytes + lane * BLOCK + 8 * i, sizeof word);
                m[i][lane] = word;
            }
        for (int i = 0; i < 8; i++) {
            v[i] = state[i];
            v[i + 8] = (lanes){0} + initial[i];
        }
        v[12] ^= (lanes){0} + (stripe + 1) * BLOCK;
        if (stripe + 1 == stripes)
            v[14] = ~v[14];
        ROUNDS(v, m)
        for (int i = 0; i < 8; i++)
            state[i] ^= v[i] ^ v[i + 8];
    }
    memcpy(out, state, sizeof state);
}

void hash_add_long(struct hash *hash, const void *bytes, size_t size)
{
    uint64_t four[8][LANES];
    size_t stripes = size / (LANES * BLOCK);
    if (stripes > 0) {
        hash_stripes(bytes, stripes, four);
        hash_add(hash, four, sizeof four);
    }
    hash_add(hash, (const uint8_t *)bytes + stripes * LANES * BLOCK,
             size - stripes * LANES * BLOCK);
}
