/* Reads kernel argument sizes out of a code object's metadata note.
 *
 * The note (name "AMDGPU", type 32) is MessagePack: a map whose "amdhsa.kernels" is a list of maps
 * with ".symbol" and ".args", each of which has ".size" and ".value_kind" (LLVM's
 * AMDGPUUsage, code object V3 and later).
 */
#include "agent.h"

#include <string.h>

struct reader {
    const uint8_t *at, *end;
    bool broken;
};

enum kind { OTHER, UNSIGNED, STRING, ARRAY, MAP };

struct item {
    enum kind kind;
    uint64_t number; /* the value; the length; the count of elements or of pairs */
    const char *text;
};

static uint64_t big_endian(struct reader *reader, unsigned bytes)
{
    uint64_t value = 0;
    if ((size_t)(reader->end - reader->at) < bytes) {
        reader->broken = true;
        return 0;
    }
    while (bytes-- > 0)
        value = value << 8 | *reader->at++;
    return value;
}

static void advance(struct reader *reader, uint64_t bytes)
{
    if ((uint64_t)(reader->end - reader->at) < bytes)
        reader->broken = true;
    else
        reader->at += bytes;
}

/* Reads one item; of an array or a map only its head. */
static struct item next(struct reader *reader)
{
    struct item item = {OTHER, 0, NULL};
    uint8_t tag = (uint8_t)big_endian(reader, 1);
    if (tag <= 0x7f)
        item = (struct item){UNSIGNED, tag, NULL};
    else if (tag <= 0x8f)
        item = (struct item){MAP, tag & 0x0f, NULL};
    else if (tag <= 0x9f)
        item = (struct item){ARRAY, tag & 0x0f, NULL};
    else if (tag <= 0xbf)
        item = (struct item){STRING, tag & 0x1f, NULL};
    else if (tag >= 0xc4 && tag <= 0xc6) /* bin 8, 16, 32 */
        advance(reader, big_endian(reader, 1u << (tag - 0xc4)));
    else if (tag >= 0xc7 && tag <= 0xc9) /* ext 8, 16, 32: also a type byte */
        advance(reader, big_endian(reader, 1u << (tag - 0xc7)) + 1);
    else if (tag == 0xca) /* float */
        advance(reader, 4);
    else if (tag == 0xcb) /* double */
        advance(reader, 8);
    else if (tag >= 0xcc && tag <= 0xcf)
        item = (struct item){UNSIGNED, big_endian(reader, 1u << (tag - 0xcc)), NULL};
    else if (tag >= 0xd0 && tag <= 0xd3) /* signed: nothing here is */
        advance(reader, 1u << (tag - 0xd0));
    else if (tag >= 0xd4 && tag <= 0xd8) /* fixext */
        advance(reader, (1u << (tag - 0xd4)) + 1);
    else if (tag >= 0xd9 && tag <= 0xdb)
        item = (struct item){STRING, big_endian(reader, 1u << (tag - 0xd9)), NULL};
    else if (tag == 0xdc || tag == 0xdd)
        item = (struct item){ARRAY, big_endian(reader, tag == 0xdc ? 2 : 4), NULL};
    else if (tag == 0xde || tag == 0xdf)
        item = (struct item){MAP, big_endian(reader, tag == 0xde ? 2 : 4), NULL};
    /* what remains is nil, false, true and negative numbers: one byte each */
    if (item.kind == STRING) {
        item.text = (const char *)reader->at;
        advance(reader, item.number);
    }
    return item;
}

static void skip(struct reader *reader)
{
    for (uint64_t left = 1; left > 0 && !reader->broken; left--) {
        struct item item = next(reader);
        if (item.kind == ARRAY)
            left += item.number;
        else if (item.kind == MAP)
            left += 2 * item.number;
    }
}

static bool is(const struct item *item, const char *text)
{
    return item->kind == STRING && item->number == strlen(text) &&
           memcmp(item->text, text, item->number) == 0;
}

static bool starts_with(const struct item *item, const char *text)
{
    return item->kind == STRING && item->number >= strlen(text) &&
           memcmp(item->text, text, strlen(text)) == 0;
}

/* Moves to the value of a key in the map at `reader`. */
static bool lookup(struct reader *reader, const char *key)
{
    struct item map = next(reader);
    for (uint64_t i = 0; map.kind == MAP && i < map.number && !reader->broken; i++) {
        struct item name = next(reader);
        if (is(&name, key))
            return true;
        skip(reader);
    }
    return false;
}

static void read_arguments(struct reader reader, struct signature *signature)
{
    struct item list = next(&reader);
    signature->count = 0;
    for (uint64_t i = 0; list.kind == ARRAY && i < list.number && !reader.broken; i++) {
        struct reader size = reader, kind = reader;
        struct item bytes = {OTHER, 0, NULL}, what = {OTHER, 0, NULL};
        if (lookup(&size, ".size"))
            bytes = next(&size);
        if (lookup(&kind, ".value_kind"))
            what = next(&kind);
        if (!starts_with(&what, "hidden_") && signature->count < MAX_ARGUMENTS)
            signature->sizes[signature->count++] = (uint8_t)bytes.number;
        skip(&reader);
    }
}

bool metadata_signature(const uint8_t *note, size_t size, const char *symbol,
                        struct signature *signature)
{
    struct reader reader = {note, note + size, false};
    if (!lookup(&reader, "amdhsa.kernels"))
        return false;
    struct item kernels = next(&reader);
    for (uint64_t i = 0; kernels.kind == ARRAY && i < kernels.number && !reader.broken; i++) {
        struct reader named = reader, arguments = reader;
        struct item name = {OTHER, 0, NULL};
        if (lookup(&named, ".symbol"))
            name = next(&named);
        if (is(&name, symbol)) {
            signature->count = 0;
            if (lookup(&arguments, ".args"))
                read_arguments(arguments, signature);
            return !named.broken && !arguments.broken;
        }
        skip(&reader);
    }
    return false;
}
