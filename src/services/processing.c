/* The simulator as a step: calls come from the loops, go to the journal's writer, come back, wait for their
 * latency, and are answered. */
#include "services/processing.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crash.h"
#include "base/folder.h"
#include "base/inbox.h"
#include "base/json.h"
#include "ledger/embedded.h"
#include "services/processing_call.h"
#include "services/processing_journal.h"

#define TAKE_MAX 256 /* calls in one go */
#define ROUNDS_MAX 8 /* of taking in one step */
/* Keys whose calls are counted: in sets, so that a few keys that clash are still told apart (two that took turns to
 * forget each other's count would meet their first call's fault for ever); of a full set the one not called for the
 * longest time starts anew. */
#define COUNTS_SET 8
#define COUNTS_MAX (8192 * COUNTS_SET)
#define HELD_SLACK_US (10 * US_PER_S) /* the server waits longer than we hold */
#define SIMULATOR_WHY 256

struct call_count {
    uint64_t key_hash;
    uint32_t calls, used; /* used: the tick of the last call; 0: free */
};

struct simulator {
    struct service service;
    struct simulator_rules rules;
    int lock_fd; /* of DATA_DIR/processing.lock, -1: none */
    struct writer *journal;
    struct uuid instance_id;
    atomic_size_t open;  /* calls inside */
    atomic_bool failing; /* the journal's last write failed */
    atomic_bool draining;
    struct inbox arrived; /* struct sim_call *: loops → step */
    struct inbox written; /* struct sim_call *: writer → step */
    struct call_count *counts;
    uint32_t ticks;
    struct sim_call **later; /* a heap by due_boot_us: latency has not passed */
    size_t later_count;
    struct sim_call *held, **held_end; /* never answered; the oldest first */
    size_t held_count;
    bool said_failing;
    struct metric *executions, *replies, *faults;
};

static struct simulator *simulator_of(struct service *s)
{
    return (struct simulator *)(void *)s; /* its first member */
}

/* ---- arrival: in a loop's thread ---- */

static void refuse(const struct http_request *request)
{
    http_reply(request->server, request->token,
               &(struct http_response){.status = 503, .headers = {{"Retry-After", "1"}}});
}

void processing_on_request(void *ctx, const struct http_request *request)
{
    struct simulator *s = simulator_of(ctx);
    struct sim_call *call = NULL;
    bool room = atomic_fetch_add(&s->open, 1) < SIMULATOR_OPEN_MAX;
    if (room && !atomic_load(&s->draining))
        call = call_make(request);
    if (!call) {
        atomic_fetch_sub(&s->open, 1);
        refuse(request);
        return;
    }
    call->owner = &s->service;
    http_set_deadline(request, SIMULATOR_HELD_US + s->rules.latency_max_us + HELD_SLACK_US);
    enum err err = inbox_push(&s->arrived, &call);
    assert(err == ERR_OK); /* both inboxes have room for all that may be open */
    (void)err;
}

/* ---- the end of a call ---- */

static void call_close(struct simulator *s, struct sim_call *call)
{
    call_free(call);
    atomic_fetch_sub(&s->open, 1);
}

static void call_answer(struct simulator *s, struct sim_call *call)
{
    call_send(call);
    metric_add(s->replies, 1);
    call_close(s, call);
}

/* ---- calls whose latency has not passed: a heap, the next one first ---- */

static void later_swap(struct simulator *s, size_t a, size_t b)
{
    struct sim_call *call = s->later[a];
    s->later[a] = s->later[b];
    s->later[b] = call;
}

static void later_push(struct simulator *s, struct sim_call *call)
{
    assert(s->later_count < SIMULATOR_OPEN_MAX);
    size_t at = s->later_count++;
    s->later[at] = call;
    while (at > 0 && s->later[at]->due_boot_us < s->later[(at - 1) / 2]->due_boot_us) {
        later_swap(s, at, (at - 1) / 2);
        at = (at - 1) / 2;
    }
}

static struct sim_call *later_pop(struct simulator *s)
{
    struct sim_call *first = s->later[0];
    s->later[0] = s->later[--s->later_count];
    for (size_t at = 0;;) {
        size_t child = 2 * at + 1;
        if (child >= s->later_count)
            return first;
        if (child + 1 < s->later_count &&
            s->later[child + 1]->due_boot_us < s->later[child]->due_boot_us)
            child++;
        if (s->later[at]->due_boot_us <= s->later[child]->due_boot_us)
            return first;
        later_swap(s, at, child);
        at = child;
    }
}

/* ---- calls that get no answer ---- */

static void held_close_first(struct simulator *s)
{
    struct sim_call *call = s->held;
    s->held = call->next;
    if (!s->held)
        s->held_end = &s->held;
    s->held_count--;
    call->status = 0;
    call_answer(s, call);
}

static void held_add(struct simulator *s, struct sim_call *call, int64_t now_us)
{
    if (s->held_count == SIMULATOR_HELD_MAX)
        held_close_first(s);
    call->due_boot_us = now_us + SIMULATOR_HELD_US;
    call->next = NULL;
    *s->held_end = call;
    s->held_end = &call->next;
    s->held_count++;
}

/* ---- the life of a call ---- */

/* Its latency has passed. */
static void call_due(struct simulator *s, struct sim_call *call, int64_t now_us)
{
    switch (call->fault) {
    case FAULT_NONE:
        break;
    case FAULT_TIMEOUT:
        if (!atomic_load(&s->draining)) {
            held_add(s, call, now_us);
            return;
        }
        call->status = 0;
        break;
    case FAULT_DROP:
        call->status = 0;
        break;
    case FAULT_500:
        call_problem(call, 500, "a fault of the simulator");
        break;
    }
    call_answer(s, call);
}

/* What it asked for has happened, or will not. */
static void call_ready(struct simulator *s, struct sim_call *call, int64_t now_us)
{
    if (call->due_boot_us > now_us && !atomic_load(&s->draining))
        later_push(s, call);
    else
        call_due(s, call, now_us);
}

/* In the writer's thread. */
static void call_written(struct write *write, enum err err)
{
    struct sim_call *call = (struct sim_call *)write; /* its first member */
    struct simulator *s = simulator_of(call->owner);
    CRASH_POINT("processing.execute.after");
    atomic_store(&s->failing, err != ERR_OK);
    if (err != ERR_OK) {
        call->executed = false;
        call_problem(call, 503, err_text(err));
    }
    err = inbox_push(&s->written, &call);
    assert(err == ERR_OK);
    (void)err;
}

static int64_t calls_of(struct simulator *s, const struct uuid *key)
{
    uint64_t hash = hash_u64(0, key->bytes, sizeof key->bytes);
    struct call_count *set = &s->counts[hash % (COUNTS_MAX / COUNTS_SET) * COUNTS_SET];
    struct call_count *count = set;
    for (int i = 0; i < COUNTS_SET && count->key_hash != hash; i++)
        if (set[i].key_hash == hash || set[i].used < count->used)
            count = &set[i];
    if (count->key_hash != hash)
        *count = (struct call_count){.key_hash = hash};
    count->used = ++s->ticks;
    return ++count->calls;
}

static void call_submit(struct simulator *s, struct sim_call *call, const struct env *env)
{
    call->rules = &s->rules;
    call->now_us = clock_wall_us(env->clock);
    call->write = (struct write){.run = call_run, .done = call_written, .arg = call};
    if (call->verb == CALL_EXECUTE || call->verb == CALL_VOID) {
        call->outcome = simulator_outcome_of(&s->rules, &call->key);
        call->transaction_id = uuid_v7(call->now_us, env->random);
    }
    enum err err = writer_submit(s->journal, &call->write);
    if (err != ERR_OK) {
        call_problem(call, 503, err_text(err));
        call_ready(s, call, clock_boot_us(env->clock));
    }
}

static void reply_instance(struct simulator *s, struct sim_call *call)
{
    char id[UUID_TEXT];
    uuid_format(&s->instance_id, id);
    call_text(call, 200, "application/json", "");
    json_open(&call->reply, '{');
    json_put_text(&call->reply, "instance_id", id);
    json_close(&call->reply, '}');
}

static void reply_luck(struct simulator *s, struct sim_call *call, const struct env *env)
{
    bool luck = random_unit(env->random) < s->rules.success;
    call_text(call, luck ? 200 : 404, "text/plain; charset=utf-8", luck ? "success!" : "error!");
}

static bool has_latency(const struct sim_call *call)
{
    return call_may_fault(call) || call->verb == CALL_ASK;
}

static void call_start(struct simulator *s, struct sim_call *call, const struct env *env)
{
    int64_t now_us = clock_boot_us(env->clock);
    bool executes = true;
    call_read(call);
    call->due_boot_us = now_us;
    if (call_may_fault(call)) {
        int64_t n = calls_of(s, &call->key);
        call->fault = simulator_fault_of(&s->rules, &call->key, n, &executes);
        call->due_boot_us += simulator_latency_us(&s->rules, &call->key, n);
        metric_add(s->faults, call->fault != FAULT_NONE);
    } else if (has_latency(call)) {
        call->due_boot_us += simulator_latency_us(&s->rules, &call->key, 0);
    }
    if (call->verb == CALL_INSTANCE)
        reply_instance(s, call);
    else if (call->verb == CALL_LUCK)
        reply_luck(s, call, env);
    if (executes && call_needs_journal(call))
        call_submit(s, call, env);
    else
        call_ready(s, call, now_us);
}

/* ---- the step ---- */

static bool take_written(struct simulator *s, const struct env *env)
{
    struct sim_call *calls[TAKE_MAX];
    size_t count = inbox_take(&s->written, calls, TAKE_MAX);
    int64_t now_us = clock_boot_us(env->clock);
    for (size_t i = 0; i < count; i++) {
        metric_add(s->executions, calls[i]->executed);
        call_ready(s, calls[i], now_us);
    }
    return count > 0;
}

static bool take_arrived(struct simulator *s, const struct env *env)
{
    struct sim_call *calls[TAKE_MAX];
    size_t count = inbox_take(&s->arrived, calls, TAKE_MAX);
    for (size_t i = 0; i < count; i++)
        call_start(s, calls[i], env);
    return count > 0;
}

static void release_due(struct simulator *s, int64_t now_us)
{
    bool all = atomic_load(&s->draining);
    while (s->later_count > 0 && (all || s->later[0]->due_boot_us <= now_us))
        call_due(s, later_pop(s), now_us);
    while (s->held && (all || s->held->due_boot_us <= now_us))
        held_close_first(s);
}

/* Said once when it starts and once when it ends. */
static void say_failing(struct simulator *s, const struct env *env)
{
    bool failing = atomic_load(&s->failing);
    if (failing == s->said_failing)
        return;
    s->said_failing = failing;
    if (failing)
        log_event(env->log, LOG_ERROR, "processing", "the journal cannot be written");
    else
        log_event(env->log, LOG_INFO, "processing", "the journal is written again");
}

static int64_t processing_step(struct service *service, const struct env *env)
{
    struct simulator *s = simulator_of(service);
    bool more = true;
    for (int round = 0; more && round < ROUNDS_MAX; round++) {
        more = take_arrived(s, env);
        more = take_written(s, env) || more;
    }
    int64_t now_us = clock_boot_us(env->clock);
    release_due(s, now_us);
    say_failing(s, env);
    if (more)
        return now_us;
    int64_t next_us = now_us + SERVICE_IDLE_US;
    if (s->later_count > 0 && s->later[0]->due_boot_us < next_us)
        next_us = s->later[0]->due_boot_us;
    if (s->held && s->held->due_boot_us < next_us)
        next_us = s->held->due_boot_us;
    return next_us;
}

static void processing_drain(struct service *service)
{
    atomic_store(&simulator_of(service)->draining, true);
}

static bool processing_drained(struct service *service)
{
    return atomic_load(&simulator_of(service)->open) == 0;
}

static const char *processing_unready(struct service *service)
{
    return atomic_load(&simulator_of(service)->failing) ? "journal" : NULL;
}

/* ---- birth and end ---- */

static void free_all(struct inbox *inbox)
{
    struct sim_call *call;
    while (inbox->items && inbox_take(inbox, &call, 1) == 1)
        call_free(call);
    inbox_release(inbox);
}

/* Who still waits for an answer gets it from the server's end. */
static void processing_close(struct service *service)
{
    struct simulator *s = simulator_of(service);
    writer_close(s->journal);
    free_all(&s->arrived);
    free_all(&s->written);
    while (s->later_count > 0)
        call_free(s->later[--s->later_count]);
    while (s->held) {
        struct sim_call *next = s->held->next;
        call_free(s->held);
        s->held = next;
    }
    embedded_unlock(s->lock_fd);
    free(s->later);
    free(s->counts);
    free(s);
}

static const struct service_ops PROCESSING_OPS = {
    .name = "processing",
    .step = processing_step,
    .drain = processing_drain,
    .drained = processing_drained,
    .unready = processing_unready,
    .close = processing_close,
};

struct writer *processing_service_writer(struct service *s)
{
    return simulator_of(s)->journal;
}

static enum err journal_open(struct simulator *s, const char *data_dir, struct clock *clock,
                             struct random *random, char *why, size_t why_cap)
{
    char path[CONFIG_TEXT + 32];
    struct uuid fresh = uuid_v7(clock_wall_us(clock), random);
    struct db *db;
    char said[SIMULATOR_WHY] = "";
    enum err err = embedded_lock_simulator(&s->lock_fd, data_dir, said, sizeof said);
    if (err != ERR_OK) {
        (void)snprintf(why, why_cap, "DATA_DIR=%s: %s", data_dir, said[0] ? said : err_text(err));
        return err;
    }
    (void)snprintf(path, sizeof path, "%s/processing.db", data_dir);
    err = db_open(&db, path, DB_WRITE, why, why_cap);
    if (err != ERR_OK)
        return err;
    err = journal_create(db, &fresh, &s->instance_id);
    if (err != ERR_OK && why_cap > 0)
        (void)snprintf(why, why_cap, "%s: %s", path, db_why(db));
    if (err == ERR_OK)
        err = writer_open(&s->journal, db, clock);
    if (err != ERR_OK)
        db_close(db);
    return err;
}

static enum err inboxes_open(struct simulator *s, struct wake wake)
{
    enum err err = inbox_init(&s->arrived, sizeof(struct sim_call *), SIMULATOR_OPEN_MAX);
    if (err == ERR_OK)
        err = inbox_init(&s->written, sizeof(struct sim_call *), SIMULATOR_OPEN_MAX);
    s->arrived.wake = s->written.wake = wake.fn;
    s->arrived.wake_ctx = s->written.wake_ctx = wake.ctx;
    s->later = calloc(SIMULATOR_OPEN_MAX, sizeof(struct sim_call *));
    s->counts = calloc(COUNTS_MAX, sizeof *s->counts);
    return err == ERR_OK && (!s->later || !s->counts) ? ERR_NO_MEMORY : err;
}

static void metrics_fill(struct simulator *s, struct metrics *metrics)
{
    if (!metrics)
        return;
    s->replies = metrics_add(metrics, METRIC_COUNTER, "subpay_simulator_replies_total",
                             "Calls that the simulator has ended, answered or not.", "");
    s->executions = metrics_add(metrics, METRIC_COUNTER, "subpay_simulator_executions_total",
                                "Rows that the simulator added to its journal.", "");
    s->faults = metrics_add(metrics, METRIC_COUNTER, "subpay_simulator_faults_total",
                            "Faults that befell calls of the simulator.", "");
}

enum err processing_service_open(struct service **out, const struct config *config,
                                 struct clock *clock, struct random *random,
                                 struct metrics *metrics, struct wake wake, char *why,
                                 size_t why_cap)
{
    struct simulator *s = calloc(1, sizeof *s);
    if (!s)
        return ERR_NO_MEMORY;
    s->service.ops = &PROCESSING_OPS;
    s->lock_fd = -1;
    s->held_end = &s->held;
    enum err err = simulator_rules_parse(config, &s->rules, why, why_cap);
    if (err == ERR_OK)
        err = inboxes_open(s, wake);
    if (err == ERR_OK)
        err = journal_open(s, config->data_dir, clock, random, why, why_cap);
    if (err != ERR_OK) {
        processing_close(&s->service);
        return err;
    }
    metrics_fill(s, metrics);
    *out = &s->service;
    return ERR_OK;
}
