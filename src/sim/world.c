#include "sim/world.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/inside.h"

#define WORLD_START_WALL_US                                                                        \
    INT64_C(1769774400000000) /* 2026-01-30T12:00:00Z: month ends are near */
#define WORLD_STEPS_MAX 2000000
#define WORLD_HEAL_US (90 * US_PER_S)       /* of a burst: from then on nothing fails any more */
#define WORLD_REST_US (2 * 3600 * US_PER_S) /* and by then everything is decided */
#define WORLD_LOOK_US (5 * US_PER_S)        /* is it at rest? */

const char *const WORLD_SEEN[SEEN_COUNT] = {
    [SEEN_RESTORES] = "restores",
    [SEEN_CLOCK_STEPS] = "clock steps",
    [SEEN_OUTAGES] = "outages",
    [SEEN_REPLACEMENTS] = "replacements",
    [SEEN_STRANGERS] = "strangers",
    [SEEN_REFUNDED] = "refunded",
    [SEEN_VOIDED] = "voided",
    [SEEN_SUPERSEDED] = "superseded",
    [SEEN_EXPIRED] = "expired",
    [SEEN_DECIDED] = "decided by people",
    [SEEN_CONTRADICTED] = "contradicted",
    [SEEN_LEARNED] = "learned",
};

int64_t world_true_wall_us(const struct world *w)
{
    return WORLD_START_WALL_US + w->now_us;
}

static int64_t world_wall(struct clock *clock)
{
    struct world *w = (struct world *)((char *)clock - offsetof(struct world, clock));
    return world_true_wall_us(w) + w->wall_offset_us;
}

static int64_t world_boot(struct clock *clock)
{
    struct world *w = (struct world *)((char *)clock - offsetof(struct world, clock));
    return w->now_us;
}

void world_defaults(struct world_settings *s, uint64_t seed)
{
    *s = (struct world_settings){.seed = seed,
                                 .users = 4,
                                 .requests = 30,
                                 .crash = 0.02,
                                 .lose = 0.1,
                                 .late = 0.1,
                                 .duplicate = 0.1};
}

static enum err world_open(struct world *w)
{
    random_seed(&w->random, w->settings.seed);
    w->clock = (struct clock){.wall_us = world_wall, .boot_us = world_boot};
    w->log = (struct log){.fd = w->settings.trace ? 1 : -1, .level = LOG_DEBUG, .clock = &w->clock};
    w->env = (struct env){&w->clock, &w->random.random, &w->log};
    w->processing.rules = (struct simulator_rules){
        .success = 0.5, .decline = 0.2, .error = 0.1, .pending = 0.2, .seed = w->settings.seed};
    w->events = calloc(SIM_EVENTS_MAX, sizeof *w->events);
    w->mailbox.delivered = calloc(SIM_MAILS_MAX, sizeof *w->mailbox.delivered);
    if (!w->events || !w->mailbox.delivered || sim_processing_init(&w->processing) != ERR_OK)
        return ERR_NO_MEMORY;
    world_plan(w);
    if (w->plan.people)
        people_come(w);
    for (int i = 0; i < w->settings.users; i++)
        w->users[i] = uuid_v7(clock_wall_us(&w->clock), &w->random.random);
    enum err err = world_store_open(w);
    if (err == ERR_OK)
        err = local_queue_hub_open(&w->hub, embedded_writer(w->embedded), &w->clock,
                                   &w->random.random);
    struct queue *queue = NULL;
    struct db *reader = NULL;
    if (err == ERR_OK)
        err = embedded_reader(w->embedded, &reader);
    if (err == ERR_OK)
        err = local_queue_open(&queue, w->hub, reader);
    if (err == ERR_OK)
        err = queue_create(queue, "payments", 1);
    if (err == ERR_OK)
        err = queue_create(queue, "payments.rejected", 1);
    queue_close(queue);
    if (reader)
        embedded_reader_close(w->embedded, reader);
    return err;
}

static void event_happens(struct world *w)
{
    struct event first = w->events[0], last = w->events[--w->event_count];
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= w->event_count)
            break;
        const struct event *left = &w->events[child], *right = left + 1;
        if (child + 1 < w->event_count &&
            (right->at_us < left->at_us ||
             (right->at_us == left->at_us && right->order < left->order)))
            child++;
        const struct event *small = &w->events[child];
        if (last.at_us < small->at_us || (last.at_us == small->at_us && last.order < small->order))
            break;
        w->events[at] = *small;
        at = child;
    }
    w->events[at] = last;
    w->now_us = first.at_us > w->now_us ? first.at_us : w->now_us;
    first.happen(w, first.what);
}

static void life_goes_on(struct world *w, enum sim_role role)
{
    struct sim_life *life = &w->lives[role];
    if (!life->service) {
        enum err err = world_open_life(w, role);
        if (err != ERR_OK && w->result->ok) {
            w->result->ok = false;
            snprintf(w->result->why, sizeof w->result->why, "%s cannot start: %s",
                     life->fuse.service, err_text(err));
        }
        return;
    }
    life->next_us = TIME_NEVER;
    int64_t next_us = service_step(life->service, &w->env);
    w->result->steps++;
    if (life->fuse.blown) {
        world_close_life(w, role);
        life->next_us = w->now_us + world_between(w, 0, 20 * US_PER_S);
        return;
    }
    if (next_us < life->next_us)
        life->next_us = next_us;
    int64_t soonest_us =
        w->now_us + world_between(w, 10, 20 * US_PER_MS); /* threads get their turn late */
    if (life->next_us < soonest_us)
        life->next_us = soonest_us;
}

/* The next thing that happens: an event or a step, whichever is due first; chance decides between equals. */
static void world_moves(struct world *w)
{
    int next = -1;
    for (int i = 0; i < SIM_ROLES; i++) {
        if (next < 0 || w->lives[i].next_us < w->lives[next].next_us ||
            (w->lives[i].next_us == w->lives[next].next_us && world_between(w, 0, 1)))
            next = i;
    }
    if (w->event_count && w->events[0].at_us <= w->lives[next].next_us) {
        event_happens(w);
        return;
    }
    if (w->lives[next].next_us > w->now_us)
        w->now_us = w->lives[next].next_us;
    life_goes_on(w, (enum sim_role)next);
}

static void burst(struct world *w, int number)
{
    int64_t start_us = w->now_us, look_us = start_us + WORLD_LOOK_US;
    w->healed = false;
    w->heal_us = start_us + WORLD_HEAL_US;
    world_plan_burst(w, number);
    world_make_asks(w, w->settings.requests / WORLD_BURSTS);
    while (w->result->ok) {
        world_moves(w);
        w->healed = w->healed || w->now_us > w->heal_us;
        if (w->now_us >= look_us) {
            look_us = w->now_us + WORLD_LOOK_US;
            if (world_at_rest(w))
                return;
        }
        if (w->result->steps > WORLD_STEPS_MAX || w->now_us - start_us > WORLD_REST_US)
            world_restless(w);
    }
}

static void world_close(struct world *w)
{
    w->healed = w->closing = true;
    for (int role = 0; role < SIM_ROLES; role++)
        world_close_life(w, (enum sim_role)role);
    while (w->event_count) /* frees what is still on its way */
        event_happens(w);
    if (w->hub)
        local_queue_hub_close(w->hub);
    world_store_close(w);
    free(w->events);
    free(w->mailbox.delivered);
    sim_processing_release(&w->processing);
}

void world_run(const struct world_settings *settings, struct world_result *out)
{
    memset(out, 0, sizeof *out);
    out->ok = true;
    struct world *w = calloc(1, sizeof *w);
    assert(w && settings->users <= SIM_USERS_MAX && settings->requests <= SIM_ASKS_MAX);
    w->settings = *settings;
    w->result = out;
    enum err err = world_open(w);
    if (err != ERR_OK) {
        out->ok = false;
        snprintf(out->why, sizeof out->why, "the world cannot be opened: %s", err_text(err));
    }
    for (int phase = 0; phase < WORLD_BURSTS && out->ok; phase++) {
        burst(w, phase);
        if (!out->ok)
            break;
        world_judge(w);
        world_plan_rest(w);
        /* What is on its way arrives. */
        for (int64_t until_us = w->now_us + SIM_WAY_US;
             w->event_count && w->events[0].at_us <= until_us;)
            event_happens(w);
        /* Days pass: subscriptions end, months have 28 to 31 of them. Nobody does anything meanwhile. */
        int64_t rest_us = world_between(w, w->plan.instances, 45) * US_PER_DAY;
        w->now_us += rest_us;
        for (int role = 0; role < SIM_ROLES; role++)
            w->lives[role].next_us = w->now_us;
    }
    world_close(w);
    free(w);
}
