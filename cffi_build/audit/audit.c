/*
 * The audit interface (man 7 rtld-audit): what the dynamic loader calls.
 *
 * This library and its libc live in a link-map list of their own: README.md says what follows from
 * that.
 */
#include "audit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

static audit_settings settings;

/* A copy: a program that shows a title of its own in ps (setproctitle) writes over its environment. */
static const char *setting(const char *name, char *copy, size_t size)
{
    const char *value = getenv(name);
    if (!value || !value[0] || strlen(value) >= size)
        return NULL;
    return strcpy(copy, value);
}

EXPORT unsigned la_version(unsigned offered)
{
    static char family[NAME_SIZE], keep[PATH_SIZE], path[PATH_SIZE];
    char number[NAME_SIZE];
    settings.family = setting("XDIAG_UNIFY", family, sizeof family);
    settings.keep = setting("XDIAG_KEEP", keep, sizeof keep);
    settings.record = setting("XDIAG_RECORD", path, sizeof path);
    const char *calls = setting("XDIAG_RECORD_CALLS", number, sizeof number);
    settings.calls = settings.record && !(calls && strcmp(calls, "0") == 0);
    if (settings.family)
        object_family = settings.family;
    const char *why = NULL;
    if (settings.record && !record_attach(settings.record, &why)) {
        fprintf(stderr, "xdiag: cannot record into %s: %s; process %d goes on without\n",
                settings.record, why, (int)getpid());
        settings.record = NULL;
        settings.calls = false;
    }
    if (record)
        record_process_begun();
    return offered < LAV_CURRENT ? offered : LAV_CURRENT;
}

EXPORT unsigned la_objopen(struct link_map *map, Lmid_t list, uintptr_t *cookie)
{
    object *o = object_opened(map, list, settings.calls);
    *cookie = (uintptr_t)o;
    if (!settings.calls)
        return 0;
    /* What is bound to a runtime is of interest, whoever binds it, but for the runtime itself. */
    return o->runtime ? LA_FLG_BINDTO : LA_FLG_BINDFROM;
}

EXPORT unsigned la_objclose(uintptr_t *cookie)
{
    object_closed(object_of(*cookie));
    return 0;
}

EXPORT char *la_objsearch(const char *name, uintptr_t *cookie, unsigned rule)
{
    return (char *)unify(name, object_of(*cookie), rule, &settings);
}

EXPORT uintptr_t la_symbind64(ElfW(Sym) *symbol, unsigned index, uintptr_t *from, uintptr_t *to,
                              unsigned *flags, const char *name)
{
    (void)index;
    (void)from;
    (void)flags;
    const object *o = object_of(*to);
    if (!o->runtime || !settings.calls)
        return symbol->st_value;
    return wrapper_for(o->runtime, name, symbol->st_value);
}
