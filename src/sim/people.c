/* The people of the simulated world (rule 10): they look at what shows needs_decision, and decide: what the processing
 * has on record, or, some of them, anything. */
#include <stdio.h>
#include <string.h>

#include "services/processor.h"
#include "sim/inside.h"

#define LOOK_MIN_US (3 * US_PER_S)
#define LOOK_MAX_US (20 * US_PER_S)
#define DECIDES 0.3 /* chance that one decides at a look, before the world has healed */
#define WRONG 0.3

static enum payment_status on_record(struct world *w, const struct uuid *id)
{
    const struct sim_execution *e = sim_definite(sim_journal(w), id);
    if (e && !strcmp(e->result, "success"))
        return PAYMENT_ACCEPTED;
    return e && !strcmp(e->result, "decline") ? PAYMENT_DECLINE : PAYMENT_ERROR;
}

static void person_is_told(void *ctx, uint64_t token, const struct decided_outcome *outcome)
{
    struct world *w = ctx;
    struct sim_decision *d = &w->decisions[token];
    d->at_us = w->now_us; /* a backup that was taken before may not have it */
    if (outcome->decided != DECIDED)
        d->outcome = PAYMENT_UNKNOWN; /* nothing was recorded */
    world_tell(w, "a person is told: %d %s", outcome->decided, outcome->why);
}

static void person_decides(struct world *w, struct service *processor, const struct uuid *id)
{
    static const enum payment_status ANY[] = {PAYMENT_ACCEPTED, PAYMENT_DECLINE, PAYMENT_ERROR};
    struct processor_decision decision = {.payment_id = *id, .outcome = on_record(w, id)};
    if (world_chance(w, WRONG))
        decision.outcome = ANY[world_between(w, 0, 2)];
    snprintf(decision.evidence, sizeof decision.evidence, "a call");
    snprintf(decision.actor, sizeof decision.actor, "operator:simulated");
    if (w->decision_count == SIM_DECISIONS_MAX)
        return;
    uint64_t token = (uint64_t)w->decision_count;
    w->decisions[token] = (struct sim_decision){*id, decision.outcome, w->now_us};
    if (processor_decide(processor, &decision, person_is_told, w, token) != ERR_OK)
        return;
    w->decision_count++;
    world_tell(w, "a person says %s", payment_status_text(decision.outcome));
}

static void people_look(struct world *w, void *nothing)
{
    struct uuid ids[PROCESSOR_DECISIONS_MAX];
    size_t count = 0;
    struct db *db;
    struct query q;
    (void)nothing;
    if (w->closing)
        return;
    world_later(w, world_between(w, LOOK_MIN_US, LOOK_MAX_US), people_look, NULL);
    const struct sim_life *life = &w->lives[world_between(w, SIM_PROCESSOR, SIM_PROCESSOR_2)];
    if (!life->service || life->fuse.blown || world_books_open(w, &db) != ERR_OK)
        return;
    query_open(&q, db,
               "SELECT id FROM payments WHERE needs_decision <> 0"
               " AND processing_status = 'in_processing' ORDER BY seq");
    while (count < PROCESSOR_DECISIONS_MAX && query_next(&q))
        ids[count++] = query_uuid(&q, 0);
    if (query_close(&q) != ERR_OK)
        count = 0;
    world_books_close(w, db);
    for (size_t i = 0; i < count; i++)
        if (w->healed || world_maybe(w, DECIDES))
            person_decides(w, life->service, &ids[i]);
}

void people_come(struct world *w)
{
    world_later(w, US_PER_S, people_look, NULL);
}
