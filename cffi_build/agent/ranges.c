/* Which of our objects an address belongs to: sorted, disjoint address ranges. */
#include "agent.h"

#include <stdlib.h>
#include <string.h>

struct ranges {
    pthread_mutex_t lock;
    struct range *items;
    size_t count, capacity;
};

static struct ranges allocations = {.lock = PTHREAD_MUTEX_INITIALIZER};
static struct ranges code = {.lock = PTHREAD_MUTEX_INITIALIZER};

struct ranges *ranges_allocations(void)
{
    return &allocations;
}

struct ranges *ranges_code(void)
{
    return &code;
}

/* The number of ranges that start at or below the address. */
static size_t count_up_to(const struct ranges *ranges, uintptr_t address)
{
    size_t low = 0, high = ranges->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (ranges->items[middle].start <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

bool ranges_add(struct ranges *ranges, const void *start, size_t size, void *value)
{
    bool ok = true;
    pthread_mutex_lock(&ranges->lock);
    if (ranges->count == ranges->capacity) {
        size_t capacity = ranges->capacity == 0 ? 64 : 2 * ranges->capacity;
        struct range *grown = realloc(ranges->items, capacity * sizeof *grown);
        ok = grown != NULL;
        if (ok) {
            ranges->items = grown;
            ranges->capacity = capacity;
        }
    }
    if (ok) {
        size_t at = count_up_to(ranges, (uintptr_t)start);
        memmove(ranges->items + at + 1, ranges->items + at,
                (ranges->count - at) * sizeof *ranges->items);
        ranges->items[at] = (struct range){(uintptr_t)start, (uintptr_t)start + size, value};
        ranges->count++;
    }
    pthread_mutex_unlock(&ranges->lock);
    return ok;
}

bool ranges_find(struct ranges *ranges, const void *address, struct range *found)
{
    pthread_mutex_lock(&ranges->lock);
    size_t below = count_up_to(ranges, (uintptr_t)address);
    bool ok = below > 0 && (uintptr_t)address < ranges->items[below - 1].end;
    if (ok)
        *found = ranges->items[below - 1];
    pthread_mutex_unlock(&ranges->lock);
    return ok;
}

bool ranges_remove(struct ranges *ranges, const void *start, struct range *removed)
{
    pthread_mutex_lock(&ranges->lock);
    size_t below = count_up_to(ranges, (uintptr_t)start);
    bool ok = below > 0 && ranges->items[below - 1].start == (uintptr_t)start;
    if (ok) {
        *removed = ranges->items[below - 1];
        ranges->count--;
        memmove(ranges->items + below - 1, ranges->items + below,
                (ranges->count - below + 1) * sizeof *ranges->items);
    }
    pthread_mutex_unlock(&ranges->lock);
    return ok;
}
