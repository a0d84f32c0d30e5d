/* amd_comgr_do_action, answered from the cache where the same question was answered before.
 *
 * The key is everything the answer depends on: AMD's library and its LLVM, the action, the
 * language, the ISA, the options, whether a log is wanted, and every input object with kind, name
 * and bytes. The answer is the list of output objects, which are made
 * again by AMD's own calls. Anything out of the ordinary goes to AMD's library and is not kept.
 */
#include "comgr.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern char **environ;

/* Data kinds are small numbers with gaps (amd_comgr.h); new ones are appended. */
enum { KINDS = 0x40 };

#define COUNT REAL(amd_comgr_action_data_count, comgr_set, int, size_t *)
#define GET REAL(amd_comgr_action_data_get_data, comgr_set, int, size_t, comgr_data *)
#define RELEASE REAL(amd_comgr_release_data, comgr_data)
#define BYTES REAL(amd_comgr_get_data, comgr_data, size_t *, char *)
#define NAME REAL(amd_comgr_get_data_name, comgr_data, size_t *, char *)
#define DO_ACTION REAL(amd_comgr_do_action, int, comgr_info, comgr_set, comgr_set)

/* ------------------------------------------------------------------- what was said to an action */

/* Some settings of an action can be made but not read back, and reading a name that was never set
 * crashes comgr 2.4 (strlen of NULL). So the calls that set them leave a note here. */
enum { ISA_SET = 1, UNREADABLE = 2 };

struct note {
    struct note *next;
    uint64_t handle;
    unsigned flags;
};

static pthread_mutex_t notes_lock = PTHREAD_MUTEX_INITIALIZER;
static struct note *notes;

static struct note **find_note(comgr_info info)
{
    struct note **link = &notes;
    while (*link != NULL && (*link)->handle != info.handle)
        link = &(*link)->next;
    return link;
}

static void add_note(comgr_info info, unsigned flag)
{
    pthread_mutex_lock(&notes_lock);
    struct note **link = find_note(info);
    if (*link == NULL && (*link = calloc(1, sizeof **link)) != NULL)
        (*link)->handle = info.handle;
    if (*link != NULL) /* without memory for it there is no ISA_SET either: not cached */
        (*link)->flags |= flag;
    pthread_mutex_unlock(&notes_lock);
}

static void drop_notes(comgr_info info)
{
    pthread_mutex_lock(&notes_lock);
    struct note **link = find_note(info), *note = *link;
    if (note != NULL)
        *link = note->next;
    pthread_mutex_unlock(&notes_lock);
    free(note);
}

static bool is_readable(comgr_info info)
{
    pthread_mutex_lock(&notes_lock);
    struct note *note = *find_note(info);
    bool readable = note != NULL && note->flags == ISA_SET;
    pthread_mutex_unlock(&notes_lock);
    return readable;
}

/* An exported function that takes a note and passes the call on. */
#define NOTED(name, flag, parameters, types, arguments)  \
    EXPORT comgr_status name parameters;                 \
    comgr_status name parameters                         \
    {                                                    \
        add_note(info, flag);                            \
        return ((comgr_status(*) types)comgr_real(INDEX_##name)) arguments; \
    }

NOTED(amd_comgr_action_info_set_isa_name, ISA_SET, (comgr_info info, const char *isa),
      (comgr_info, const char *), (info, isa))
NOTED(amd_comgr_action_info_set_working_directory_path, UNREADABLE,
      (comgr_info info, const char *path), (comgr_info, const char *), (info, path))
NOTED(amd_comgr_action_info_set_options, UNREADABLE, (comgr_info info, const char *options),
      (comgr_info, const char *), (info, options))
NOTED(amd_comgr_action_info_set_device_lib_linking, UNREADABLE, (comgr_info info, bool on),
      (comgr_info, bool), (info, on))
NOTED(amd_comgr_action_info_set_vfs, UNREADABLE, (comgr_info info, bool on), (comgr_info, bool),
      (info, on))
NOTED(amd_comgr_action_info_set_bundle_entry_ids, UNREADABLE,
      (comgr_info info, const char **ids, size_t count), (comgr_info, const char **, size_t),
      (info, ids, count))

EXPORT comgr_status amd_comgr_destroy_action_info(comgr_info info);
comgr_status amd_comgr_destroy_action_info(comgr_info info)
{
    drop_notes(info);
    return REAL(amd_comgr_destroy_action_info, comgr_info)(info);
}

/* comgr's own switches (AMD_COMGR_SAVE_TEMPS, AMD_COMGR_REDIRECT_LOGS) ask for the real run. */
static bool environment_speaks_to_comgr(void)
{
    for (char **variable = environ; variable != NULL && *variable != NULL; variable++)
        if (strncmp(*variable, "AMD_COMGR_", 10) == 0)
            return true;
    return false;
}

/* ----------------------------------------------------------------------------- a growing buffer */

struct buffer {
    uint8_t *bytes;
    size_t size, capacity;
    bool failed;
};

static uint8_t *buffer_extend(struct buffer *buffer, size_t size)
{
    if (!buffer->failed && buffer->capacity - buffer->size < size) {
        size_t capacity = 2 * buffer->size + size + 256;
        uint8_t *grown = realloc(buffer->bytes, capacity);
        if (grown == NULL)
            buffer->failed = true;
        else {
            buffer->bytes = grown;
            buffer->capacity = capacity;
        }
    }
    if (buffer->failed)
        return NULL;
    buffer->size += size;
    return buffer->bytes + buffer->size - size;
}

static void buffer_number(struct buffer *buffer, uint64_t number)
{
    uint8_t *at = buffer_extend(buffer, sizeof number);
    if (at != NULL)
        memcpy(at, &number, sizeof number);
}

/* Appends what one of comgr's two-step getters gives: first the size, then the bytes. */
#define APPEND(buffer, ok, getter, ...)                                           \
    do {                                                                          \
        size_t size_ = 0;                                                         \
        (ok) = (ok) && getter(__VA_ARGS__, &size_, NULL) == COMGR_SUCCESS;        \
        buffer_number(buffer, size_);                                             \
        uint8_t *at_ = (ok) ? buffer_extend(buffer, size_) : NULL;                \
        (ok) = at_ != NULL && (size_ == 0 ||                                      \
                               getter(__VA_ARGS__, &size_, (char *)at_) == COMGR_SUCCESS); \
    } while (0)

/* Calls `visit` for every object of a set until it returns false. */
static bool visit_set(comgr_set set, bool (*visit)(void *, int, comgr_data), void *argument)
{
    bool ok = true;
    for (int kind = 1; ok && kind < KINDS; kind++) {
        size_t count = 0;
        if (COUNT(set, kind, &count) != COMGR_SUCCESS)
            continue; /* not a kind of this version */
        for (size_t i = 0; ok && i < count; i++) {
            comgr_data data;
            ok = GET(set, kind, i, &data) == COMGR_SUCCESS;
            if (ok) {
                ok = visit(argument, kind, data);
                RELEASE(data);
            }
        }
    }
    return ok;
}

/* One object: kind, name, bytes. */
static bool append_object(void *argument, int kind, comgr_data data)
{
    struct buffer *buffer = argument;
    bool ok = true;
    buffer_number(buffer, (uint64_t)kind);
    APPEND(buffer, ok, NAME, data);
    APPEND(buffer, ok, BYTES, data);
    return ok && !buffer->failed;
}

static bool add_object_size(void *argument, int kind, comgr_data data)
{
    size_t size = 0;
    (void)kind;
    bool ok = BYTES(data, &size, NULL) == COMGR_SUCCESS;
    *(size_t *)argument += size;
    return ok;
}

static bool refuse(void *argument, int kind, comgr_data data)
{
    (void)argument, (void)kind, (void)data;
    return false;
}

static bool set_is_empty(comgr_set set)
{
    return visit_set(set, refuse, NULL);
}

/* -------------------------------------------------------------------------------------- the key */

static bool append_info(struct buffer *buffer, comgr_info info)
{
    int language = 0;
    bool logging = false, ok = true;
    size_t options = 0;
    if (REAL(amd_comgr_action_info_get_language, comgr_info, int *)(info, &language) ||
        REAL(amd_comgr_action_info_get_logging, comgr_info, bool *)(info, &logging) ||
        REAL(amd_comgr_action_info_get_option_list_count, comgr_info, size_t *)(info, &options))
        return false;
    buffer_number(buffer, (uint64_t)language);
    buffer_number(buffer, logging);
    APPEND(buffer, ok, REAL(amd_comgr_action_info_get_isa_name, comgr_info, size_t *, char *),
           info);
    buffer_number(buffer, options);
    for (size_t i = 0; ok && i < options; i++)
        APPEND(buffer, ok,
               REAL(amd_comgr_action_info_get_option_list_item, comgr_info, size_t, size_t *,
                    char *), info, i);
    return ok && !buffer->failed;
}

struct keying {
    struct hash hash;
    struct buffer buffer; /* emptied into the hash again and again */
};

static void add_to_hash(void *keying, const void *bytes, size_t size)
{
    hash_add(&((struct keying *)keying)->hash, bytes, size);
}

static void pour(struct keying *keying)
{
    uint64_t size = keying->buffer.size;
    hash_add(&keying->hash, &size, sizeof size);
    hash_add_long(&keying->hash, keying->buffer.bytes, keying->buffer.size);
    keying->buffer.size = 0;
}

static bool hash_object(void *argument, int kind, comgr_data data)
{
    struct keying *keying = argument;
    bool ok = append_object(&keying->buffer, kind, data);
    pour(keying);
    return ok;
}

static bool make_key(int kind, comgr_info info, comgr_set input, uint8_t key[HASH_BYTES])
{
    struct keying keying = {.buffer = {NULL, 0, 0, false}};
    hash_start(&keying.hash);
    buffer_number(&keying.buffer, (uint64_t)kind);
    bool ok = comgr_identity(add_to_hash, &keying) && append_info(&keying.buffer, info);
    if (ok)
        pour(&keying);
    ok = ok && visit_set(input, hash_object, &keying);
    if (ok)
        hash_finish(&keying.hash, key);
    free(keying.buffer.bytes);
    return ok;
}

/* ----------------------------------------------------------------------------------- the answer */

static bool take_number(const uint8_t **at, const uint8_t *end, uint64_t *number)
{
    if ((size_t)(end - *at) < sizeof *number)
        return false;
    memcpy(number, *at, sizeof *number);
    *at += sizeof *number;
    return true;
}

static bool take_bytes(const uint8_t **at, const uint8_t *end, const uint8_t **bytes,
                       uint64_t *size)
{
    if (!take_number(at, end, size) || (uint64_t)(end - *at) < *size)
        return false;
    *bytes = *at;
    *at += *size;
    return true;
}

/* An empty log is common. amd_comgr_set_data refuses to set nothing, and an object that was never
 * set does not answer amd_comgr_get_data; a slice of no bytes of some file gives what is wanted. */
static bool set_bytes(comgr_data data, const uint8_t *bytes, size_t size)
{
    if (size > 0)
        return REAL(amd_comgr_set_data, comgr_data, size_t, const char *)(
                   data, size, (const char *)bytes) == COMGR_SUCCESS;
    int file = open("/dev/null", O_RDONLY | O_CLOEXEC);
    bool ok = file >= 0 && REAL(amd_comgr_set_data_from_file_slice, comgr_data, int, uint64_t,
                                uint64_t)(data, file, 0, 0) == COMGR_SUCCESS;
    if (file >= 0)
        close(file);
    return ok;
}

static bool add_object(comgr_set result, int kind, const char *name, const uint8_t *bytes,
                       size_t size)
{
    comgr_data data;
    if (REAL(amd_comgr_create_data, int, comgr_data *)(kind, &data) != COMGR_SUCCESS)
        return false;
    bool ok =
        set_bytes(data, bytes, size) &&
        REAL(amd_comgr_set_data_name, comgr_data, const char *)(data, name) == COMGR_SUCCESS &&
        REAL(amd_comgr_data_set_add, comgr_set, comgr_data)(result, data) == COMGR_SUCCESS;
    RELEASE(data);
    return ok;
}

static bool restore(comgr_set result, const uint8_t *content, size_t size)
{
    const uint8_t *at = content, *end = content + size, *name, *bytes;
    uint64_t kind, name_size, bytes_size;
    bool ok = true;
    while (ok && at < end)
        ok = take_number(&at, end, &kind) && take_bytes(&at, end, &name, &name_size) &&
             take_bytes(&at, end, &bytes, &bytes_size) && name_size > 0 &&
             name[name_size - 1] == '\0' &&
             add_object(result, (int)kind, (const char *)name, bytes, bytes_size);
    if (!ok)
        REAL(amd_comgr_data_set_remove, comgr_set, int)(result, COMGR_KIND_ALL);
    return ok;
}

/* Two actions only add megabytes which the library carries (2.7 MB of precompiled headers, 3.2 MB
 * of device libraries) in 2 to 4 ms. Reading them from a file and hashing them would take longer.
 * What is compiled is some 20 KB. By size, and not by the time taken: that would hang on the load. */
static const size_t largest_kept = 1 << 20;

static void keep(const uint8_t key[HASH_BYTES], comgr_set result)
{
    struct buffer buffer = {NULL, 0, 0, false};
    size_t bytes = 0;
    if (visit_set(result, add_object_size, &bytes) && bytes <= largest_kept &&
        visit_set(result, append_object, &buffer) && buffer.size > 0)
        store_write(key, buffer.bytes, buffer.size);
    free(buffer.bytes);
}

EXPORT comgr_status amd_comgr_do_action(int kind, comgr_info info, comgr_set input,
                                        comgr_set result);
comgr_status amd_comgr_do_action(int kind, comgr_info info, comgr_set input, comgr_set result)
{
    uint8_t key[HASH_BYTES], *content;
    size_t size;
    if (!store_usable() || environment_speaks_to_comgr() || !is_readable(info) ||
        !set_is_empty(result) || !make_key(kind, info, input, key))
        return DO_ACTION(kind, info, input, result);

    if (store_read(key, &content, &size)) {
        bool ok = restore(result, content, size);
        free(content);
        if (ok)
            return COMGR_SUCCESS;
    }

    comgr_status status = DO_ACTION(kind, info, input, result);
    if (status == COMGR_SUCCESS)
        keep(key, result);
    return status;
}
