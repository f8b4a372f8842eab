#include "base/inbox.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum err inbox_init(struct inbox *in, size_t item_size, size_t cap)
{
    assert(item_size > 0 && cap > 0);
    *in = (struct inbox){.item_size = item_size, .cap = cap};
    in->items = calloc(cap, item_size);
    if (!in->items)
        return ERR_NO_MEMORY;
    if (pthread_mutex_init(&in->lock, NULL) != 0) {
        free(in->items);
        in->items = NULL;
        return ERR_NO_MEMORY;
    }
    return ERR_OK;
}

void inbox_release(struct inbox *in)
{
    if (!in->items)
        return;
    pthread_mutex_destroy(&in->lock);
    free(in->items);
    in->items = NULL;
}

enum err inbox_push(struct inbox *in, const void *item)
{
    bool was_empty;
    size_t at;

    pthread_mutex_lock(&in->lock);
    if (in->count == in->cap) {
        pthread_mutex_unlock(&in->lock);
        return ERR_BUSY;
    }
    at = (in->head + in->count) % in->cap;
    memcpy(in->items + at * in->item_size, item, in->item_size);
    was_empty = in->count++ == 0;
    pthread_mutex_unlock(&in->lock);
    if (was_empty && in->wake)
        in->wake(in->wake_ctx);
    return ERR_OK;
}

size_t inbox_take(struct inbox *in, void *items, size_t max)
{
    unsigned char *out = items;
    size_t taken = 0;

    pthread_mutex_lock(&in->lock);
    while (taken < max && in->count) {
        size_t run = in->cap - in->head; /* up to the ring's end */

        if (run > in->count)
            run = in->count;
        if (run > max - taken)
            run = max - taken;
        memcpy(out + taken * in->item_size, in->items + in->head * in->item_size,
               run * in->item_size);
        in->head = (in->head + run) % in->cap;
        in->count -= run;
        taken += run;
    }
    pthread_mutex_unlock(&in->lock);
    return taken;
}

size_t inbox_count(struct inbox *in)
{
    size_t count;

    pthread_mutex_lock(&in->lock);
    count = in->count;
    pthread_mutex_unlock(&in->lock);
    return count;
}
