/* watchers.h: who in this process is told after commits: every handle of a store hears of every
 * handle's. Any thread; nobody is told any more once watchers_leave has returned. */
#ifndef SUBPAY_LEDGER_WATCHERS_H
#define SUBPAY_LEDGER_WATCHERS_H

#include <pthread.h>

#include "base/err.h"

struct watcher {
    void (*fn)(void *ctx, unsigned changes); /* a mask of ledger_change; NULL: not interested */
    void *ctx;
    struct watcher *next;
};
struct watchers {
    pthread_mutex_t lock;
    struct watcher *first;
};

enum err watchers_init(struct watchers *w) MUST_CHECK;
void watchers_release(struct watchers *w); /* all have left */
void watchers_join(struct watchers *w, struct watcher *one);
void watchers_leave(struct watchers *w, struct watcher *one);
void watchers_set(struct watchers *w, struct watcher *one, void (*fn)(void *, unsigned), void *ctx);
void watchers_tell(struct watchers *w, unsigned changes);

#endif
