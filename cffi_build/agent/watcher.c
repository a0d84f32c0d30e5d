/* Two threads that wait for signals on behalf of others: one runs asynchronous handlers, one runs
 * asynchronous copies. Two, because a handler may take as long as the program's host callback
 * does, and copies must not wait for it.
 *
 * New watches arrive over a lock-free stack, so that a fork in the middle of anything leaves no
 * lock behind. In the child the threads are gone: watches pile up and never run, as nothing runs
 * on a device whose process has forked.
 */
#include "agent.h"

static struct watcher {
    const char *name;
    _Atomic(struct watch *) arrived;
    _Atomic uint32_t generation;
    atomic_bool started;
} watchers[WATCHERS] = {
    [WATCHER_HANDLERS] = {.name = "xdiag-handlers"},
    [WATCHER_COPIES] = {.name = "xdiag-copies"},
};

static const uint64_t POLL_NS = 1000000;

/* Moves what has arrived to the end of the list, oldest first. */
static void collect(struct watcher *watcher, struct watch **list)
{
    struct watch *newest = atomic_exchange(&watcher->arrived, NULL), *in_order = NULL;
    while (newest != NULL) {
        struct watch *next = newest->next;
        newest->next = in_order;
        in_order = newest;
        newest = next;
    }
    while (*list != NULL)
        list = &(*list)->next;
    *list = in_order;
}

static void *watcher_body(void *argument)
{
    struct watcher *watcher = argument;
    struct watch *list = NULL;
    thread_named(watcher->name);
    for (;;) {
        uint32_t generation = atomic_load(&watcher->generation);
        bool ran = false, polled = false;
        collect(watcher, &list);
        for (struct watch **link = &list; *link != NULL;) {
            struct watch *watch = *link, *next = watch->next;
            if (!watch->ready(watch)) {
                polled |= watch->polled(watch);
                link = &watch->next;
                continue;
            }
            ran = true;
            if (watch->run(watch))
                link = &watch->next;
            else
                *link = next;
        }
        if (!ran)
            futex_wait(&watcher->generation, generation, polled ? POLL_NS : FOREVER);
    }
    return NULL;
}

void watcher_kick(enum watcher_id id)
{
    atomic_fetch_add(&watchers[id].generation, 1);
    futex_wake_all(&watchers[id].generation);
}

bool watcher_add(enum watcher_id id, struct watch *watch)
{
    struct watcher *watcher = &watchers[id];
    bool no = false;
    if (atomic_compare_exchange_strong(&watcher->started, &no, true)) {
        if (!thread_start(NULL, watcher_body, watcher)) {
            atomic_store(&watcher->started, false);
            return false;
        }
    }
    struct watch *head = atomic_load(&watcher->arrived);
    do
        watch->next = head;
    while (!atomic_compare_exchange_weak(&watcher->arrived, &head, watch));
    watcher_kick(id);
    return true;
}
