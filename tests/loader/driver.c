/* In every test's process: opens what XDIAG_OPENS asks for, each from within another object, and
   says what came of it and what is loaded at the end. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Where elf_writer.py puts the call. */
#define CALL 0x200

typedef void *call_from(void *(*function)(const char *, int), const char *name, int mode);

static int ends(const char *text, const char *end)
{
    size_t length = strlen(text), part = strlen(end);
    return length >= part && strcmp(text + length - part, end) == 0;
}

static int is_ours(const struct link_map *map)
{
    return !ends(map->l_name, "/libdriver.so") && !strstr(map->l_name, "linux-vdso")
           && strncmp(map->l_name, "/lib", 4) && strncmp(map->l_name, "/usr/", 5);
}

static struct link_map *number(unsigned wanted)
{
    unsigned count = 0;
    for (struct link_map *map = _r_debug.r_map; map; map = map->l_next)
        count += is_ours(map);
    wanted %= count;
    for (struct link_map *map = _r_debug.r_map; map; map = map->l_next)
        if (is_ours(map) && wanted-- == 0)
            return map;
    return NULL;
}

__attribute__((constructor)) static void run(void)
{
    char *line = getenv("XDIAG_OPENS"), *next;
    for (; line && *line; line = next) {
        unsigned caller, noload;
        int start = 0;
        next = strchr(line, '\n');
        *next++ = '\0';
        if (sscanf(line, "%u %u %n", &caller, &noload, &start) < 2)
            abort();
        call_from *call = (call_from *)(number(caller)->l_addr + CALL);
        struct link_map *map = call(dlopen, line + start, RTLD_NOW | (noload ? RTLD_NOLOAD : 0));
        const char *error = map ? NULL : dlerror();
        printf("%s %s\n", map ? "opened" : "refused", map ? map->l_name : error ? error : "");
    }
    for (struct link_map *map = _r_debug.r_map; map; map = map->l_next)
        printf("object %s\n", map->l_name);
    fflush(stdout);
}
