#include "sim/inside.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

static bool event_before(const struct event *a, const struct event *b)
{
    return a->at_us < b->at_us || (a->at_us == b->at_us && a->order < b->order);
}

void world_later(struct world *w, int64_t after_us, void (*happen)(struct world *, void *),
                 void *what)
{
    assert(w->event_count < SIM_EVENTS_MAX && after_us >= 0);
    size_t at = w->event_count++;
    struct event event = {w->now_us + after_us, w->event_order++, happen, what};
    while (at > 0 && event_before(&event, &w->events[(at - 1) / 2])) {
        w->events[at] = w->events[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    w->events[at] = event;
}

bool world_chance(struct world *w, double p)
{
    return !w->healed && random_unit(&w->random.random) < p;
}

bool world_maybe(struct world *w, double p)
{
    return random_unit(&w->random.random) < p;
}

int64_t world_between(struct world *w, int64_t low, int64_t high)
{
    return low + (int64_t)random_below(&w->random.random, (uint64_t)(high - low + 1));
}

void world_tell(struct world *w, const char *format, ...)
{
    if (!w->settings.trace)
        return;
    va_list args;
    va_start(args, format);
    printf("%12.6f  ", (double)w->now_us / (double)US_PER_S);
    vprintf(format, args);
    printf("\n");
    va_end(args);
}

bool fuse_blows(struct fuse *f, const char *where)
{
    if (f->blown)
        return true;
    if (!world_chance(f->world, f->world->settings.crash))
        return false;
    f->blown = true;
    f->world->result->crashes++;
    world_tell(f->world, "%s dies %s", f->service, where);
    return true;
}
