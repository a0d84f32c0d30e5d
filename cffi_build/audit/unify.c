/*
 * One runtime out of two: what a request for a second copy is answered with.
 *
 * The loader asks for every name (dlopen's, DT_NEEDED's) before it searches, and for every path that
 * it tries.  A path that leads to another file of the family is answered with the path of the copy
 * that is loaded; the loader then finds by device and inode that it has it already (dl-load.c,
 * _dl_map_object_from_fd).
 *
 * It asks under its own lock (dl_load_lock), on whoever's stack: large buffers are static.
 */
#include "audit.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* More links to links than anybody makes. */
enum { MOST_LINKS = 8 };

/* A link under another name is followed, a link at a time: realpath asks for every directory, of
 * every path that the loader tries.  A name without a slash is searched for first. */
static bool concerns(const char *name)
{
    if (is_of_family(name))
        return true;
    if (!strchr(name, '/'))
        return false;
    static char here[PATH_SIZE], target[PATH_SIZE];
    for (int i = 0; i < MOST_LINKS; i++) {
        ssize_t got = readlink(i ? here : name, target, sizeof target - 1);
        if (got <= 0)
            return false;
        target[got] = 0;
        if (is_of_family(target))
            return true;
        if (!i)
            snprintf(here, sizeof here, "%s", name);
        char *place = target[0] == '/' ? here : strrchr(here, '/') + 1;
        snprintf(place, sizeof here - (size_t)(place - here), "%s", target);
    }
    return false;
}

/* $ORIGIN, with which a name may begin (ld.so(8), "Dynamic string tokens"). */
static const char *expanded(const char *name, const object *requester, char *path, size_t size)
{
    static const char *const tokens[] = {"$ORIGIN/", "${ORIGIN}/"};
    for (int i = 0; i < 2; i++) {
        size_t token = strlen(tokens[i]);
        if (strncmp(name, tokens[i], token) != 0 || !requester->map)
            continue;
        if (!requester->map->l_name[0]) {
            ssize_t got = readlink("/proc/self/exe", path, size - 1);
            path[got > 0 ? got : 0] = 0;
        } else
            snprintf(path, size, "%s", requester->map->l_name);
        char *slash = strrchr(path, '/');
        if (!slash)
            return name;
        snprintf(slash + 1, size - (size_t)(slash + 1 - path), "%s", name + token);
        return path;
    }
    return name;
}

/* The file that needs what it asks for; "" where that is not known. */
static const char *file_of(const object *requester)
{
    if (!requester->map || !requester->map->l_name)
        return "";
    return requester->map->l_name[0] ? requester->map->l_name : "/proc/self/exe";
}

/* What the last request was answered with, and how it was told of.  The answer has to outlive the
 * call: the loader opens it afterwards. */
static char asked_path[PATH_SIZE], answer_path[PATH_SIZE];
static record_request *redirect_told;

static void *tell(uint32_t answer, const char *name, const char *to, const object *requester,
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
    return record_event_of(EVENT_REQUEST,
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
    if (have.machine != file->machine) {
        snprintf(why, size, "it is no library for this machine");
        answer = ANSWER_UNREADABLE;
    } else if (strcmp(have.soname, file->soname) != 0) {
        snprintf(why, size, "its SONAME is %s, that of the loaded copy is %s", file->soname,
                 have.soname);
        answer = ANSWER_OTHER_SONAME;
    } else if (elf_map(file_of(requester), &user)) {
        const char *missing = elf_missing_version(&user, &have);
        if (missing) {
            snprintf(why, size, "%s needs version %s, which the loaded copy lacks",
                     file_of(requester), missing);
            answer = ANSWER_LACKS_VERSIONS;
        }
        elf_unmap(&user);
    }
    elf_unmap(&have);
    return answer;
}

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
    static char why[PATH_SIZE + NAME_SIZE], whole[PATH_SIZE];
    why[0] = 0;
    asked_path[0] = 0;
    redirect_told = NULL;
    const char *path = expanded(name, requester, whole, sizeof whole);
    if (!elf_map(path, &file)) {
        if (access(path, F_OK) == 0 && record)
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
            answer = k.loaded ? ANSWER_SAME_FILE : ANSWER_AS_ASKED;
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
        snprintf(asked_path, sizeof asked_path, "%s", name);
        snprintf(answer_path, sizeof answer_path, "%s", k.path);
        result = answer_path;
    }
    void *told = NULL;
    if (record)
        told = tell(answer, name, answer == ANSWER_REDIRECTED ? result : "", requester, rule, why);
    if (answer == ANSWER_REDIRECTED)
        redirect_told = told;
    return result;
}

/* For a name that it has searched for, the loader opens the answer, and calls it what it asked. */
const char *opened_as(const char *name)
{
    return asked_path[0] && strcmp(name, asked_path) == 0 ? answer_path : name;
}

void opened_elsewhere(void)
{
    if (redirect_told)
        __atomic_store_n(&redirect_told->answer, ANSWER_OTHER_NAMESPACE, __ATOMIC_RELAXED);
    redirect_told = NULL;
}
