/* hsa_amd_signal_async_handler: calls back when a signal meets a condition. */
#include "agent.h"

#include <stdlib.h>

struct handler {
    struct watch watch; /* first */
    struct signal *signal;
    uint32_t condition;
    hsa_signal_value_t compare;
    hsa_signal_value_t seen;
    hsa_amd_signal_handler call;
    void *argument;
};

static bool handler_ready(struct watch *watch)
{
    struct handler *handler = (struct handler *)watch;
    handler->seen = signal_load(handler->signal);
    return condition_holds(handler->condition, handler->seen, handler->compare);
}

static bool handler_run(struct watch *watch)
{
    struct handler *handler = (struct handler *)watch;
    struct signal *signal = handler->signal;
    if (handler->call(handler->seen, handler->argument))
        return true;
    atomic_fetch_sub(&signal->watches[WATCHER_HANDLERS], 1);
    free(handler);
    return false;
}

static bool handler_polled(struct watch *watch)
{
    return atomic_load(&((struct handler *)watch)->signal->exposed);
}

EXPORT hsa_status_t hsa_amd_signal_async_handler(hsa_signal_t handle, uint32_t cond,
                                                 hsa_signal_value_t value,
                                                 hsa_amd_signal_handler call, void *arg)
{
    if (handle.handle == 0)
        return HSA_STATUS_ERROR_INVALID_SIGNAL;
    struct handler *handler = call == NULL ? NULL : malloc(sizeof *handler);
    if (call == NULL)
        return HSA_STATUS_ERROR_INVALID_ARGUMENT;
    if (handler == NULL)
        return HSA_STATUS_ERROR_OUT_OF_RESOURCES;
    *handler = (struct handler){
        .watch = {.ready = handler_ready, .run = handler_run, .polled = handler_polled},
        .signal = signal_from_handle(handle),
        .condition = cond,
        .compare = value,
        .call = call,
        .argument = arg,
    };
    /* Counted before it is added: a change from now on kicks the watcher. */
    atomic_fetch_add(&handler->signal->watches[WATCHER_HANDLERS], 1);
    if (!watcher_add(WATCHER_HANDLERS, &handler->watch)) {
        atomic_fetch_sub(&handler->signal->watches[WATCHER_HANDLERS], 1);
        free(handler);
        return HSA_STATUS_ERROR_OUT_OF_RESOURCES;
    }
    return HSA_STATUS_SUCCESS;
}
