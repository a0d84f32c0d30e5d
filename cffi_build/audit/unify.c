/*
 * One runtime out of two: what a request for a second copy is answered with.
 *
 * The loader asks for every name (dlopen's, DT_NEEDED's) before it searches, and for every path that
 * it tries.  A path that leads to another file of the family is answered with the path of the copy
 * that is loaded; the loader then finds by device and inode that it has it already (dl-load.c,
 * _dl_map_object_from_fd).
 */
#include "audit.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A link under another name is followed; a name without a slash is searched for first. */
static bool concerns(const char *name)
{
    if (is_of_family(name))
        return true;
    char target[PATH_SIZE], real[PATH_MAX];
    if (!strchr(name, '/') || readlink(name, target, sizeof target) < 0)
        return false;
    return realpath(name, real) && is_of_family(real);
}

static void tell(uint32_t answer, const char *name, const char *to, const object *requester,
                 unsigned rule, const char *why)
{
    record_request told = {
        .answer = answer,
        .requester = requester->number,
        .rule = rule,
        .name_length = (uint32_t)strlen(name),
        .to_length = (uint32_t)strlen(to),
        .why_length = (uint32_t)strlen(why),
    };
    record_event_of(EVENT_REQUEST,
                    (piece[]){{&told, sizeof told},
                              {name, told.name_length},
                              {to, told.to_length},
                              {why, told.why_length}},
                    4);
}

/* What the copy that is to be kept is: the loaded one, or the one that was named for it. */
typedef struct {
    const char *path;
    uint64_t device, inode;
    bool loaded;
} kept;

static bool find_kept(kept *k, const audit_settings *settings)
{
    const runtime *first = first_runtime();
    struct stat st;
    if (first) {
        *k = (kept){first->path, first->device, first->inode, true};
        return true;
    }
    if (!settings->keep || stat(settings->keep, &st) != 0)
        return false;
    *k = (kept){settings->keep, st.st_dev, st.st_ino, false};
    return true;
}

static bool is_still_there(const kept *k)
{
    struct stat st;
    return stat(k->path, &st) == 0 && st.st_dev == k->device && st.st_ino == k->inode;
}

/* Whether the kept copy can stand in for `file`, and if not, why: an ANSWER_... and a sentence. */
static uint32_t compare(const kept *k, const elf_file *file, const object *requester, char *why,
                        size_t size)
{
    elf_file have, user;
    if (!elf_map(k->path, &have)) {
        snprintf(why, size, "%s cannot be read", k->path);
        return ANSWER_UNREADABLE;
    }
    uint32_t answer = ANSWER_REDIRECTED;
    if (strcmp(have.soname, file->soname) != 0) {
        snprintf(why, size, "its SONAME is %s, that of the loaded copy is %s", file->soname,
                 have.soname);
        answer = ANSWER_OTHER_SONAME;
    } else if (requester->map && requester->map->l_name && requester->map->l_name[0] &&
               elf_map(requester->map->l_name, &user)) {
        const char *missing = elf_missing_version(&user, file->soname, &have);
        if (missing) {
            snprintf(why, size, "%s needs version %s, which the loaded copy lacks",
                     requester->map->l_name, missing);
            answer = ANSWER_LACKS_VERSIONS;
        }
        elf_unmap(&user);
    }
    elf_unmap(&have);
    return answer;
}

/* The answer has to outlive the call: the loader opens it afterwards.  It asks under its own lock
 * (dl_load_lock), so one is enough. */
static char answer_path[PATH_SIZE];

const char *unify(const char *name, const object *requester, unsigned rule,
                  const audit_settings *settings)
{
    if (!concerns(name))
        return name;
    if (!strchr(name, '/')) {
        /* The name itself; the paths that it leads to come next. */
        if (record)
            tell(ANSWER_AS_ASKED, name, "", requester, rule, "");
        return name;
    }
    elf_file file;
    kept k;
    char why[PATH_SIZE + NAME_SIZE] = "";
    if (!elf_map(name, &file)) {
        if (access(name, F_OK) == 0 && record)
            tell(ANSWER_UNREADABLE, name, "", requester, rule, "it is no library for this machine");
        return name;
    }
    uint32_t answer = ANSWER_AS_ASKED;
    if (!is_of_family(file.soname[0] ? file.soname : name)) {
        /* XSched's shim, or something else that only goes by the name. */
        elf_unmap(&file);
        return name;
    }
    if (find_kept(&k, settings)) {
        if (file.device == k.device && file.inode == k.inode)
            answer = ANSWER_SAME_FILE;
        else if (!settings->family)
            answer = ANSWER_AS_ASKED;
        else if (requester->list != LM_ID_BASE)
            answer = ANSWER_OTHER_NAMESPACE;
        else if (!is_still_there(&k)) {
            snprintf(why, sizeof why, "%s is another file now than when it was loaded", k.path);
            answer = ANSWER_FILE_REPLACED;
        } else
            answer = compare(&k, &file, requester, why, sizeof why);
    }
    elf_unmap(&file);
    const char *result = name;
    if (answer == ANSWER_REDIRECTED) {
        snprintf(answer_path, sizeof answer_path, "%s", k.path);
        result = answer_path;
    }
    if (record)
        tell(answer, name, answer == ANSWER_REDIRECTED ? result : "", requester, rule, why);
    return result;
}
