#include "ledger/watchers.h"

#include <assert.h>

enum err watchers_init(struct watchers *w)
{
    w->first = NULL;
    return pthread_mutex_init(&w->lock, NULL) == 0 ? ERR_OK : ERR_NO_MEMORY;
}

void watchers_release(struct watchers *w)
{
    assert(!w->first);
    pthread_mutex_destroy(&w->lock);
}

void watchers_join(struct watchers *w, struct watcher *one)
{
    pthread_mutex_lock(&w->lock);
    one->next = w->first;
    w->first = one;
    pthread_mutex_unlock(&w->lock);
}

void watchers_leave(struct watchers *w, struct watcher *one)
{
    pthread_mutex_lock(&w->lock);
    struct watcher **at = &w->first;
    while (*at != one)
        at = &(*at)->next;
    *at = one->next;
    pthread_mutex_unlock(&w->lock);
}

void watchers_set(struct watchers *w, struct watcher *one, void (*fn)(void *, unsigned), void *ctx)
{
    pthread_mutex_lock(&w->lock);
    one->fn = fn;
    one->ctx = ctx;
    pthread_mutex_unlock(&w->lock);
}

void watchers_tell(struct watchers *w, unsigned changes)
{
    pthread_mutex_lock(&w->lock);
    for (struct watcher *one = w->first; one; one = one->next)
        if (one->fn)
            one->fn(one->ctx, changes);
    pthread_mutex_unlock(&w->lock);
}
