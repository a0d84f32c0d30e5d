/* The cache directory: one file per key, written aside and renamed into place.
 *
 * A file is a magic line, the hash of the content, and the content. Readers see a whole file or
 * none; two writers of one key write the same bytes; whatever fails leaves the cache as it was.
 */
#define _GNU_SOURCE
#include "comgr.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char magic[16] = "xdiag comgr 1\n\n";
enum { HEADER_BYTES = sizeof magic + HASH_BYTES };

static const char *directory(void)
{
    const char *path = getenv("XDIAG_COMGR_CACHE");
    return path != NULL && *path != '\0' ? path : NULL;
}

/* What is read here is loaded as code, so nobody else may be able to write it. */
bool store_usable(void)
{
    struct stat status;
    const char *path = directory();
    if (path == NULL)
        return false;
    if (stat(path, &status) != 0)
        return mkdir(path, 0700) == 0;
    return S_ISDIR(status.st_mode) && status.st_uid == geteuid() && (status.st_mode & 022) == 0;
}

static void file_path(const uint8_t key[HASH_BYTES], char *path, size_t size)
{
    int length = snprintf(path, size, "%s/", directory());
    for (int i = 0; i < HASH_BYTES && length > 0 && (size_t)length < size; i++)
        length += snprintf(path + length, size - (size_t)length, "%02x", key[i]);
}

static void content_hash(const uint8_t *content, size_t size, uint8_t out[HASH_BYTES])
{
    struct hash hash;
    hash_start(&hash);
    hash_add(&hash, content, size);
    hash_finish(&hash, out);
}

static bool read_all(int file, uint8_t *bytes, size_t size)
{
    while (size > 0) {
        ssize_t got = read(file, bytes, size);
        if (got <= 0)
            return false;
        bytes += got;
        size -= (size_t)got;
    }
    return true;
}

static bool write_all(int file, const void *bytes, size_t size)
{
    const uint8_t *at = bytes;
    while (size > 0) {
        ssize_t put = write(file, at, size);
        if (put <= 0)
            return false;
        at += put;
        size -= (size_t)put;
    }
    return true;
}

bool store_read(const uint8_t key[HASH_BYTES], uint8_t **content, size_t *size)
{
    char path[4096];
    uint8_t header[HEADER_BYTES], hash[HASH_BYTES];
    struct stat status;
    file_path(key, path, sizeof path);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return false;
    *content = NULL;
    bool ok = fstat(file, &status) == 0 && status.st_size > HEADER_BYTES &&
              read_all(file, header, sizeof header) && memcmp(header, magic, sizeof magic) == 0;
    if (ok) {
        *size = (size_t)status.st_size - HEADER_BYTES;
        *content = malloc(*size);
        ok = *content != NULL && read_all(file, *content, *size);
    }
    close(file);
    if (ok) {
        content_hash(*content, *size, hash);
        ok = memcmp(hash, header + sizeof magic, HASH_BYTES) == 0;
    }
    if (!ok)
        free(*content);
    return ok;
}

void store_write(const uint8_t key[HASH_BYTES], const uint8_t *content, size_t size)
{
    static unsigned serial;
    char path[4096], aside[4096 + 64];
    uint8_t hash[HASH_BYTES];
    file_path(key, path, sizeof path);
    snprintf(aside, sizeof aside, "%s.%ld.%u", path, (long)getpid(),
             __atomic_fetch_add(&serial, 1, __ATOMIC_RELAXED));
    int file = open(aside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (file < 0)
        return;
    content_hash(content, size, hash);
    bool ok = write_all(file, magic, sizeof magic) && write_all(file, hash, sizeof hash) &&
              write_all(file, content, size);
    if (close(file) != 0 || !ok || rename(aside, path) != 0)
        unlink(aside);
}
