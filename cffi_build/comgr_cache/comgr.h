/* The part of AMD's amd_comgr.h used here, and what the modules of the cache share. */
#ifndef XDIAG_COMGR_H
#define XDIAG_COMGR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EXPORT __attribute__((visibility("default")))

/* amd_comgr.h: amd_comgr_status_t, amd_comgr_data_kind_t */
enum { COMGR_SUCCESS = 0, COMGR_ERROR = 1, COMGR_KIND_ALL = 0 };

typedef int comgr_status;
typedef struct comgr_data {
    uint64_t handle;
} comgr_data;
typedef struct comgr_set {
    uint64_t handle;
} comgr_set;
typedef struct comgr_info {
    uint64_t handle;
} comgr_info;

/* ------------------------------------------------------------------------------------ forward.c */

enum function {
#define FORWARDED(name) INDEX_##name,
#define OBSERVED FORWARDED
#include "comgr_functions.def"
#undef FORWARDED
#undef OBSERVED
    FUNCTIONS
};

/* AMD's function. Opens AMD's library on first use; never NULL. */
void *comgr_real(unsigned index);

/* Calls AMD's function as a function of the given type. */
#define REAL(name, ...) ((comgr_status(*)(__VA_ARGS__))comgr_real(INDEX_##name))

/* What the compiler's output depends on apart from its input: the build ids of AMD's library and
 * of the LLVM it is linked to. False if one of them has none. */
bool comgr_identity(void (*add)(void *, const void *, size_t), void *argument);

/* --------------------------------------------------------------------------------------- hash.c */

enum { HASH_BYTES = 32 };

struct hash {
    uint64_t state[8];
    uint64_t length;
    uint8_t block[128];
    size_t used;
};

void hash_start(struct hash *hash);
void hash_add(struct hash *hash, const void *bytes, size_t size);
/* The same for long runs, faster, with another result. The caller adds the size as well. */
void hash_add_long(struct hash *hash, const void *bytes, size_t size);
void hash_finish(struct hash *hash, uint8_t out[HASH_BYTES]);

/* -------------------------------------------------------------------------------------- store.c */

/* One file per key under XDIAG_COMGR_CACHE. The content read is malloc'ed, and checked. */
bool store_usable(void);
bool store_read(const uint8_t key[HASH_BYTES], uint8_t **content, size_t *size);
void store_write(const uint8_t key[HASH_BYTES], const uint8_t *content, size_t size);

#endif
