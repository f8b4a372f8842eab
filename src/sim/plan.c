/* What a simulated world is like, and what will happen in it beside the everyday faults: chosen by its seed. Many
 * have a processing that keeps all promises there are; most have a quiet store. */
#include <assert.h>

#include "sim/inside.h"

/* Half for sending, half for what is on its way (rule 6): a request that leaves before the half must arrive in it. */
#define SHORT_TTL_US (400 * US_PER_S)
#define SHORT_BACK_US (SHORT_TTL_US / 2 - SIM_WAY_US - 15 * US_PER_S)
#define LONG_BACK_US (1800 * US_PER_S) /* what is due waits as long, and a page as long again */
#define REFUSES_LATE 0.3
#define EARLY_US (60 * US_PER_S) /* what happens in a burst begins by then */
/* Longer than the processor's pause between two questions who the processing is: it notices that nobody listens. */
#define AWAY_MIN_US (12 * US_PER_S)
#define AWAY_MAX_US (20 * US_PER_S)

static_assert(SHORT_BACK_US > 0, "the clock may go back a little");

static const struct sim_plan KINDS[] = {
    {.name = "keeps all promises", .promises = {US_PER_DAY, true, true}, .journal = true},
    {.name = "forgets", .promises = {SHORT_TTL_US, true, true}, .journal = true},
    {.name = "forgets, no journal", .promises = {SHORT_TTL_US, true, true}},
    {.name = "no void", .promises = {SHORT_TTL_US, true, false}, .journal = true, .people = true},
    {.name = "no void, no journal", .promises = {SHORT_TTL_US, true, false}, .people = true},
    {.name = "no memory", .promises = {0, true, true}, .journal = true, .people = true},
    {.name = "refuses",
     .promises = {SHORT_TTL_US, true, true},
     .journal = true,
     .refuses = true,
     .people = true},
};
#define KIND_COUNT (int64_t)(sizeof KINDS / sizeof KINDS[0])

void world_plan(struct world *w)
{
    struct sim_plan *p = &w->plan;
    *p = KINDS[world_maybe(w, 0.4) ? 0 : world_between(w, 1, KIND_COUNT - 1)];
    if (p->refuses)
        w->settings.late = REFUSES_LATE; /* what was decided meanwhile may still arrive */
    p->backup_burst = p->restore_burst = -1;
    p->request_max_age_us = INT64_C(21600) * US_PER_S;
    if (p->promises.key_ttl_us == SHORT_TTL_US)
        p->request_max_age_us = SHORT_TTL_US / 2; /* rule 9 */
    p->back_us = p->promises.key_ttl_us == SHORT_TTL_US ? SHORT_BACK_US : LONG_BACK_US;
    if (world_maybe(w, 0.3)) {
        p->backup_burst = (int)world_between(w, 0, WORLD_BURSTS - 1);
        p->restore_burst = p->backup_burst;
        if (p->journal && world_maybe(w, 0.2))
            p->restore_burst = (int)world_between(w, p->backup_burst, WORLD_BURSTS - 1);
    } else {
        p->instances = world_maybe(w, 0.2);
    }
    if (world_maybe(w, 0.25))
        p->clock_steps = 3;
    world_tell(w, "the processing: %s", p->name);
}

/* Until then the world neither heals nor rests. */
static void busy_until(struct world *w, int64_t at_us)
{
    if (w->busy_us < at_us)
        w->busy_us = at_us;
    if (w->heal_us < at_us)
        w->heal_us = at_us;
}

/* ---- the store's clock ---- */

static void clock_steps(struct world *w, void *nothing)
{
    int64_t step_us;
    (void)nothing;
    if (w->closing)
        return;
    if (world_maybe(w, 0.5)) {
        step_us = -world_between(w, 1, w->plan.back_us);
        w->plan.back_us += step_us;
        w->wall_went_back_us -= step_us;
    } else {
        step_us = world_between(w, 1, world_maybe(w, 0.5) ? 60 * US_PER_S : 7200 * US_PER_S);
    }
    w->wall_offset_us += step_us;
    w->result->seen[SEEN_CLOCK_STEPS]++;
    world_tell(w, "the clock steps by %.3f s", (double)step_us / (double)US_PER_S);
}

/* ---- the processing is away ---- */

static void processing_back(struct world *w, void *nothing)
{
    (void)nothing;
    w->processing.state = SIM_UP;
    world_tell(w, "the processing is back");
}

static void processing_goes(struct world *w, void *nothing)
{
    static const char *const HOW[] = {"", "deaf", "silent", "gone"};
    (void)nothing;
    w->processing.state = (enum sim_state)world_between(w, SIM_DEAF, SIM_REFUSES);
    w->result->seen[SEEN_OUTAGES]++;
    world_tell(w, "the processing is %s", HOW[w->processing.state]);
}

static void outage_plan(struct world *w)
{
    bool forgets = w->plan.promises.key_ttl_us == SHORT_TTL_US;
    if (!world_maybe(w, forgets ? 0.3 : 0.05))
        return;
    int64_t from_us = world_between(w, US_PER_S, EARLY_US);
    int64_t length_us =
        world_between(w, 10 * US_PER_S, forgets ? SHORT_TTL_US * 3 / 2 : 2 * EARLY_US);
    world_later(w, from_us, processing_goes, NULL);
    world_later(w, from_us + length_us, processing_back, NULL);
    busy_until(w, w->now_us + from_us + length_us);
}

/* ---- the processing is replaced by another instance ---- */

static void instance_becomes(struct world *w, int instance)
{
    w->processing.current = instance;
    w->processing.replaced++;
    w->processing.state = SIM_UP;
    w->result->seen[SEEN_REPLACEMENTS]++;
    world_tell(w, "%s answers now", sim_journal(w)->instance_id);
}

static void instance_goes(struct world *w, void *nothing)
{
    (void)nothing;
    w->processing.replaced++;
    w->processing.state = SIM_REFUSES;
    network_breaks(w);
    world_tell(w, "the processing is replaced");
}

static void instance_changes(struct world *w, void *nothing)
{
    (void)nothing;
    if (!w->closing)
        instance_becomes(w, !w->processing.current);
}

/* The one that undecided payments were sent to comes back; where there are none, this one stays. */
static void instance_returns(struct world *w, void *nothing)
{
    (void)nothing;
    if (w->closing)
        return;
    int other = !w->processing.current;
    int64_t undecided =
        world_count(w,
                    "SELECT count(*) FROM payments p JOIN attempts t ON t.seq = p.seq"
                    " WHERE p.processing_status = 'in_processing' AND t.instance_id = ?1",
                    NULL, w->processing.journals[other].instance_id);
    instance_becomes(w, undecided > 0 ? other : w->processing.current);
}

static void instance_plan(struct world *w)
{
    if (!w->plan.instances || !world_maybe(w, 0.5))
        return;
    int64_t at_us = world_between(w, US_PER_S, EARLY_US);
    world_later(w, at_us, instance_goes, NULL);
    world_later(w, at_us += world_between(w, AWAY_MIN_US, AWAY_MAX_US), instance_changes, NULL);
    world_later(w, at_us += world_between(w, US_PER_S, EARLY_US), instance_goes, NULL);
    world_later(w, at_us += world_between(w, AWAY_MIN_US, AWAY_MAX_US), instance_returns, NULL);
    busy_until(w, w->now_us + at_us);
}

void world_plan_rest(struct world *w)
{
    if (w->plan.instances && world_maybe(w, 0.5))
        instance_becomes(w, !w->processing.current);
}

/* ---- a burst ---- */

static void restore_plan(struct world *w, int burst)
{
    int64_t at_us = 0;
    if (burst == w->plan.backup_burst) {
        world_later(w, at_us = world_between(w, 0, EARLY_US), world_backs_up, NULL);
        busy_until(w, w->now_us + at_us);
    }
    if (burst == w->plan.restore_burst) {
        world_later(w, at_us += world_between(w, 1, EARLY_US), world_restores, NULL);
        busy_until(w, w->now_us + at_us);
    }
}

void world_plan_burst(struct world *w, int burst)
{
    restore_plan(w, burst);
    if (world_maybe(w, 0.1))
        world_later(w, world_between(w, 0, EARLY_US), world_stranger_writes, NULL);
    for (int64_t n = world_between(w, 0, w->plan.clock_steps); n > 0; n--)
        world_later(w, world_between(w, 0, 2 * EARLY_US), clock_steps, NULL);
    if (!world_maybe(w, 0.5))
        instance_plan(w);
    else
        outage_plan(w);
}
