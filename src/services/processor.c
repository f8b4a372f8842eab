#include "services/processor.h"

#include <assert.h>
#include <stdlib.h>

#include "services/heartbeat.h"
#include "services/processor_inside.h"

static struct processor *processor_of(struct service *service)
{
    return (struct processor *)service;
}

enum err processor_stored(struct processor *p, const struct env *env, const char *doing,
                          enum err err)
{
    (void)trouble_note(&p->storing, env, PROCESSOR_NAME, doing, err, ledger_why(p->ledger));
    if (err != ERR_OK &&
        clock_boot_us(env->clock) - p->storing.since_boot_us >= PROCESSOR_AWAY_US && p->link.read)
        link_read_again(p); /* it may come back as an older one */
    return err;
}

/* Undecided payments whose next question is due. */
static enum err processor_due(struct processor *p, const struct env *env, bool *used)
{
    int64_t now_us = clock_boot_us(env->clock);
    struct attempt *attempts = NULL;
    size_t count = 0, max = processor_room(p, false);

    if (now_us < p->due_boot_us || max == 0 || !link_sure(p, env))
        return ERR_OK;
    arena_reset(&p->arena);
    enum err err = ledger_due(p->ledger, max, p->settings.timeout_us + PROCESSOR_LEASE_SLACK_US,
                              &p->arena, &attempts, &count);
    *used = true;
    if (err != ERR_OK)
        return err;
    now_us = clock_boot_us(env->clock);
    for (size_t i = 0; i < count; i++)
        if (processor_flight_of(p, &attempts[i].payment_id) == NULL)
            processor_call(p, env, processor_flight(p, &attempts[i], now_us, false), &attempts[i]);
    p->due_full = count == max;
    p->due_boot_us = p->due_full ? now_us : now_us + SERVICE_IDLE_US;
    return ERR_OK;
}

/* While nothing may be sent, people still see who needs a decision. Not before the journal is read (ledger.h), unless
 * the one that was used is gone. */
static void processor_mark_due(struct processor *p, const struct env *env)
{
    int64_t now_us = clock_boot_us(env->clock);
    struct attempt *attempts = NULL;
    size_t count = 0, max = processor_room(p, false);

    if (now_us < p->mark_boot_us || max == 0 || (!p->link.read && !p->link.foreign))
        return;
    if (p->counts.undecided <= p->counts.needing_decision) {
        p->mark_boot_us = now_us + SERVICE_IDLE_US;
        return;
    }
    arena_reset(&p->arena);
    enum err err = ledger_due(p->ledger, max, p->settings.timeout_us + PROCESSOR_LEASE_SLACK_US,
                              &p->arena, &attempts, &count);
    if (processor_stored(p, env, "looking for what needs a decision", err) != ERR_OK)
        return;
    for (size_t i = 0; i < count; i++)
        if (processor_flight_of(p, &attempts[i].payment_id) == NULL)
            processor_mark(p, env, processor_flight(p, &attempts[i], now_us, false));
    p->mark_boot_us = count == max ? now_us : now_us + PROCESSOR_MARK_US;
}

/* One by one would cost a commit each: a full house lets some more go first. */
static bool processor_wants_claim(const struct processor *p, size_t room)
{
    return !p->claim_full || room >= p->settings.flights_max / 4;
}

static enum err processor_claim(struct processor *p, const struct env *env, bool *used)
{
    int64_t now_us = clock_boot_us(env->clock);
    size_t room = processor_room(p, true);
    struct ledger_claimed claimed = {0};
    const struct ledger_claim claim = {
        .limits = p->settings.limits,
        .users_max = room,
        .lease_us = p->settings.timeout_us + PROCESSOR_LEASE_SLACK_US,
        .encode = gateway_encode(p->gateway),
        .instance_id = p->link.instance_id,
        .boot_id = p->boot_id,
        .boot_us = now_us,
    };

    if (now_us < p->claim_boot_us || room == 0 || !processor_wants_claim(p, room))
        return ERR_OK;
    arena_reset(&p->arena);
    enum err err = ledger_claim(p->ledger, &claim, &p->arena, &claimed);
    *used = true;
    if (err != ERR_OK)
        return err;
    if (!uuid_is_nil(&claimed.rewound)) { /* another processor has seen it */
        link_rewound(p, env, &claimed.rewound);
        return ERR_OK;
    }
    now_us = clock_boot_us(env->clock);
    for (size_t i = 0; i < claimed.attempt_count; i++)
        processor_call(p, env, processor_flight(p, &claimed.attempts[i], now_us, true),
                       &claimed.attempts[i]);
    p->claim_full = claimed.users == claim.users_max;
    p->claim_boot_us = p->claim_full ? now_us : now_us + SERVICE_IDLE_US;
    return ERR_OK;
}

static void processor_new_work(struct processor *p, const struct env *env)
{
    if (trouble_waits(&p->storing, env))
        return;
    link_tend(p, env);
    decisions_take(p, env);
    processor_write(p, env);
    if (trouble_waits(&p->storing, env) || p->later_count > 0)
        return;
    enum processor_wait wait = link_waits(p);
    if (wait != WAIT_NOTHING && wait != WAIT_STORE) {
        processor_mark_due(p, env);
        processor_write(p, env);
        return;
    }
    if (processor_unwritten(p) > 0)
        return;        /* what is known comes first */
    bool used = false; /* what did not touch the store says nothing about it */
    enum err err = processor_due(p, env, &used);
    if (err == ERR_OK)
        err = processor_claim(p, env, &used);
    if (used)
        (void)processor_stored(p, env, "claiming", err);
    processor_write(p, env);
    if (err == ERR_OK && !p->due_full && !p->claim_full && link_sure(p, env))
        heartbeat(p->ledger, PROCESSOR_NAME, env, &p->heartbeat_boot_us);
}

static void processor_count(struct processor *p, const struct env *env)
{
    int64_t now_us = clock_boot_us(env->clock);
    enum processor_wait waits = link_waits(p);

    metric_set(p->silent, waits == WAIT_SILENT);
    metric_set(p->unreadable, p->link.bad_line ? p->link.position + 1 : 0);
    for (size_t i = 1; i < WAIT_COUNT; i++)
        metric_set(p->waits[i], waits == (enum processor_wait)i);
    if (now_us < p->counts_boot_us)
        return;
    p->counts_boot_us = now_us + SERVICE_IDLE_US;
    if (ledger_counts(p->ledger, &p->counts) != ERR_OK)
        return; /* the store's trouble is noted where something depends on it */
    metric_set(p->undecided, p->counts.undecided);
    metric_set(p->oldest_s, p->counts.undecided_oldest_us / US_PER_S);
    metric_set(p->needing_decision, p->counts.needing_decision);
    if (p->counts.alarms > metric_value(p->alarms))
        metric_add(p->alarms, p->counts.alarms - metric_value(p->alarms));
}

static void processor_say_ready(struct processor *p)
{
    const char *unready = NULL;

    if (p->link.foreign)
        unready = "processing: another instance answers while payments are undecided";
    else if (p->storing.count > 0)
        unready = "store: payments cannot be claimed or recorded";
    atomic_store(&p->unready, unready);
    atomic_store(&p->busy, p->calling_count + processor_unwritten(p) > 0 ||
                               atomic_load(&p->people_count) > 0);
}

/* When there is something to do that needs no answer and no wake-up. */
static int64_t processor_work_boot_us(const struct processor *p, const struct env *env)
{
    size_t room = processor_room(p, true);
    int64_t next_us = link_next_boot_us(p, env);

    if (link_waits(p) != WAIT_NOTHING) {
        bool marks = p->link.read || p->link.foreign;
        return marks && p->mark_boot_us < next_us ? p->mark_boot_us : next_us;
    }
    if (p->due_boot_us < next_us && processor_room(p, false) > 0 && link_sure(p, env))
        next_us = p->due_boot_us;
    if (p->claim_boot_us < next_us && room > 0 && processor_wants_claim(p, room))
        next_us = p->claim_boot_us;
    return next_us;
}

static int64_t processor_next_step(struct processor *p, const struct env *env)
{
    int64_t now_us = clock_boot_us(env->clock), next_us = now_us + SERVICE_IDLE_US;

    if (atomic_load(&p->draining)) {
        if (atomic_load(&p->busy) && p->drain_until_us < next_us)
            next_us = p->drain_until_us;
    } else if (!trouble_waits(&p->storing, env)) {
        int64_t work_us = processor_work_boot_us(p, env);
        if (work_us < next_us)
            next_us = work_us;
    }
    const struct trouble *waiting[] = {&p->storing, &p->looking, &p->calling, &p->reading};
    for (size_t i = 0; i < sizeof waiting / sizeof waiting[0]; i++)
        if (trouble_waits(waiting[i], env) && waiting[i]->until_boot_us < next_us)
            next_us = waiting[i]->until_boot_us;
    p->asked_boot_us = next_us;
    return next_us;
}

static void processor_end(struct processor *p, const struct env *env)
{
    if (p->drain_until_us == 0)
        p->drain_until_us = clock_boot_us(env->clock) + PROCESSOR_DRAIN_US;
    decisions_drop(p, false);
    decisions_take(p, env); /* those whose key is voided by now */
    if (clock_boot_us(env->clock) < p->drain_until_us)
        return;
    decisions_drop(p, true);
    if (p->calling_count > 0) {
        processor_cut(p, env);
        processor_write(p, env);
    }
    if (!p->link.read)
        processor_forget(p);
}

static int64_t processor_step(struct service *service, const struct env *env)
{
    struct processor *p = processor_of(service);
    bool woken = clock_boot_us(env->clock) < p->asked_boot_us;
    if (p->boot_id[0] == '\0')
        clock_boot_id(env->clock, p->boot_id);
    size_t answers = processor_take(p, env);

    /* Woken, and not by an answer: by somebody who knows that there is something to claim. */
    if (atomic_exchange(&p->stored, false) || (woken && answers == 0))
        p->claim_boot_us = 0;
    processor_write(p, env);
    if (atomic_load(&p->draining)) {
        processor_end(p, env);
    } else {
        processor_new_work(p, env);
        processor_count(p, env);
    }
    processor_say_ready(p);
    return processor_next_step(p, env);
}

static void processor_drain(struct service *service)
{
    struct processor *p = processor_of(service);

    atomic_store(&p->busy, true); /* until a step has looked */
    atomic_store(&p->draining, true);
}

static bool processor_drained(struct service *service)
{
    return !atomic_load(&processor_of(service)->busy);
}

static const char *processor_unready(struct service *service)
{
    return atomic_load(&processor_of(service)->unready);
}

static void processor_free(struct processor *p)
{
    link_release(&p->link);
    inbox_release(&p->asked);
    arena_release(&p->arena);
    for (size_t i = 0; p->flights != NULL && i < PROCESSOR_FLIGHTS_MAX; i++)
        free(p->flights[i].body);
    free(p->flights);
    free(p->facts);
    free(p->deferrals);
    free((void *)p->taken);
    free(p->answers);
    free(p);
}

static void processor_close(struct service *service)
{
    struct processor *p = processor_of(service);

    atomic_store(&p->draining, true);
    decisions_drop(p, true);
    gateway_watch(p->gateway, NULL, NULL);
    ledger_watch(p->ledger, NULL, NULL);
    gateway_close(p->gateway);
    ledger_close(p->ledger);
    processor_free(p);
}

static const struct service_ops PROCESSOR_OPS = {
    .name = PROCESSOR_NAME,
    .step = processor_step,
    .drain = processor_drain,
    .drained = processor_drained,
    .unready = processor_unready,
    .close = processor_close,
};

static void processor_changed(void *ctx, unsigned changes)
{
    struct processor *p = ctx;

    if (!(changes & LEDGER_CHANGE_STORED))
        return;
    atomic_store(&p->stored, true);
    if (p->wake.fn != NULL)
        p->wake.fn(p->wake.ctx);
}

static void processor_add_metrics(struct processor *p, struct metrics *m)
{
    static const char *const LABELS[] = {
        [GATEWAY_SUCCESS] = "result=\"success\"",     [GATEWAY_DECLINE] = "result=\"decline\"",
        [GATEWAY_ERROR] = "result=\"error\"",         [GATEWAY_PENDING] = "result=\"pending\"",
        [GATEWAY_NO_ANSWER] = "result=\"no_answer\"", [GATEWAY_NOT_SENT] = "result=\"not_sent\"",
    };
    static const char *const WAITS[WAIT_COUNT] = {
        [WAIT_STORE] = "reason=\"store\"",       [WAIT_SILENT] = "reason=\"silent\"",
        [WAIT_INSTANCE] = "reason=\"instance\"", [WAIT_JOURNAL] = "reason=\"journal\"",
        [WAIT_REWOUND] = "reason=\"rewound\"",   [WAIT_LINE] = "reason=\"journal_line\"",
    };

    for (size_t i = 0; i < sizeof LABELS / sizeof LABELS[0]; i++)
        p->calls[i] = metrics_add(m, METRIC_COUNTER, "subpay_processing_calls_total",
                                  "Calls of the processing by how they ended", LABELS[i]);
    p->silent = metrics_add(m, METRIC_GAUGE, "subpay_processing_silent",
                            "1 while the processing does not answer: nothing is sent", "");
    for (size_t i = 1; i < WAIT_COUNT; i++)
        p->waits[i] = metrics_add(m, METRIC_GAUGE, "subpay_processing_waits",
                                  "1 for the reason why nothing is sent now", WAITS[i]);
    p->undecided = metrics_add(m, METRIC_GAUGE, "subpay_payments_undecided",
                               "Payments in_processing without a definite answer", "");
    p->oldest_s = metrics_add(m, METRIC_GAUGE, "subpay_payments_undecided_oldest_seconds",
                              "Age of the oldest undecided payment", "");
    p->needing_decision = metrics_add(m, METRIC_GAUGE, "subpay_payments_needing_decision",
                                      "Payments that only a person can decide", "");
    p->unclear =
        metrics_add(m, METRIC_COUNTER, "subpay_journal_lines_unclear_total",
                    "Lines of the processing's journal whose answer cannot be understood", "");
    p->unreadable = metrics_add(
        m, METRIC_GAUGE, "subpay_journal_unreadable_from",
        "Where the processing's journal cannot be understood and is not read further; 0: nowhere",
        "");
    p->alarms = metrics_add(m, METRIC_COUNTER, "subpay_alarms_total",
                            "Answers that contradict what is recorded, and damage found", "");
}

enum err processor_open(struct service **out, const struct processor_settings *settings,
                        struct ledger *ledger, struct gateway *gateway, struct metrics *metrics,
                        struct wake wake)
{
    struct processor *p = calloc(1, sizeof *p);

    if (p == NULL)
        return ERR_NO_MEMORY;
    if (inbox_init(&p->asked, sizeof(struct person *), PROCESSOR_DECISIONS_MAX) != ERR_OK) {
        free(p);
        return ERR_NO_MEMORY;
    }
    p->asked.wake = wake.fn;
    p->asked.wake_ctx = wake.ctx;
    arena_init(&p->arena, PROCESSOR_ARENA_MAX);
    p->flights = calloc(PROCESSOR_FLIGHTS_MAX, sizeof *p->flights);
    p->facts = calloc(PROCESSOR_FLIGHTS_MAX, sizeof *p->facts);
    p->deferrals = calloc(PROCESSOR_FLIGHTS_MAX, sizeof *p->deferrals);
    p->taken = calloc(PROCESSOR_FLIGHTS_MAX, sizeof(struct flight *));
    p->answers = calloc(PROCESSOR_TAKE_MAX, sizeof *p->answers);
    if (p->flights == NULL || p->facts == NULL || p->deferrals == NULL || p->taken == NULL ||
        p->answers == NULL) {
        processor_free(p);
        return ERR_NO_MEMORY;
    }
    p->service.ops = &PROCESSOR_OPS;
    p->settings = *settings;
    if (p->settings.reconcile_us == 0)
        p->settings.reconcile_us = PROCESSOR_RECONCILE_US;
    if (p->settings.reconcile_calls == 0)
        p->settings.reconcile_calls = PROCESSOR_RECONCILE_CALLS;
    if (p->settings.flights_max == 0)
        p->settings.flights_max = PROCESSOR_FLIGHTS_MAX;
    assert(p->settings.flights_max >= PROCESSOR_FLIGHTS_MIN &&
           p->settings.flights_max <= PROCESSOR_FLIGHTS_MAX);
    p->ledger = ledger;
    p->gateway = gateway;
    p->promises = gateway_promises(gateway);
    p->wake = wake;
    p->free_count = p->settings.flights_max;
    processor_add_metrics(p, metrics);
    ledger_watch(ledger, processor_changed, p);
    if (wake.fn != NULL)
        gateway_watch(gateway, wake.fn, wake.ctx);
    *out = &p->service;
    return ERR_OK;
}
