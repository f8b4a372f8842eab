#include "fakes.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ledger/ledger_driver.h"

/* ---- the world ---- */

static int64_t fake_wall_us(struct clock *c)
{
    return ((struct fake_env *)c)->wall_us;
}

static int64_t fake_boot_us(struct clock *c)
{
    return ((struct fake_env *)c)->boot_us;
}

void fake_env_init(struct fake_env *e)
{
    *e = (struct fake_env){
        .clock = {.wall_us = fake_wall_us, .boot_us = fake_boot_us},
        .boot_us = 1000 * US_PER_S,
        .wall_us = FAKE_WALL_US,
        .log = {.fd = -1},
    };
    e->log.clock = &e->clock;
    random_seed(&e->random, 1);
    e->env = (struct env){&e->clock, &e->random.random, &e->log};
    e->metrics = metrics_open();
    assert(e->metrics != NULL);
}

void fake_env_release(struct fake_env *e)
{
    metrics_close(e->metrics);
}

void fake_env_pass(struct fake_env *e, int64_t us)
{
    e->boot_us += us;
    e->wall_us += us;
}

struct uuid fake_id(uint32_t n)
{
    return (struct uuid){{0x01, 0x98, 0, 0, 0, 0, 0x70, 0, 0x80, 0, 0, 0, (uint8_t)(n >> 24),
                          (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n}};
}

int64_t fake_metric(struct fake_env *e, const char *series)
{
    struct str text;
    char line[160];
    int64_t value = -1;

    str_init(&text, 1 << 20);
    metrics_render(e->metrics, &text);
    (void)snprintf(line, sizeof line, "\n%s ", series);
    const char *at = strstr(text.data, line);
    if (at != NULL)
        value = strtoll(at + strlen(line), NULL, 10);
    str_release(&text);
    return value;
}

/* ---- queue ---- */

static struct fake_queue *fake_queue_of(struct queue *q)
{
    return (struct fake_queue *)q;
}

static void copy_bytes(char *out, size_t cap, const char *bytes, size_t len)
{
    assert(len < cap);
    if (len > 0)
        memcpy(out, bytes, len);
    out[len] = '\0';
}

static enum err queue_fake_publish(struct queue *queue, const struct queue_message *m,
                                   queue_done_fn *done, void *ctx, uint64_t token)
{
    struct fake_queue *q = fake_queue_of(queue);

    if (q->publish_err != ERR_OK)
        return q->publish_err;
    assert(q->record_count < FAKE_MANY);
    struct fake_record *r = &q->records[q->record_count++];
    *r = (struct fake_record){.timestamp_us = m->timestamp_us, .no_key = m->key == NULL};
    copy_bytes(r->topic, sizeof r->topic, m->topic, strlen(m->topic));
    copy_bytes(r->key, sizeof r->key, m->key, m->key_len);
    copy_bytes(r->value, sizeof r->value, m->value, m->value_len);
    for (size_t i = 0; i < m->header_count; i++) {
        size_t len = strlen(r->headers);
        (void)snprintf(r->headers + len, sizeof r->headers - len, "%s=%s;", m->headers[i].name,
                       m->headers[i].value);
    }
    if (q->hold) {
        assert(q->held_count < FAKE_MANY);
        q->held[q->held_count++] = (struct fake_publication){done, ctx, token};
    } else {
        done(ctx, token, q->outcome);
    }
    return ERR_OK;
}

void fake_queue_confirm(struct fake_queue *q, enum queue_outcome outcome)
{
    size_t count = q->held_count;

    q->held_count = 0;
    for (size_t i = 0; i < count; i++)
        q->held[i].done(q->held[i].ctx, q->held[i].token, outcome);
}

size_t fake_queue_count(const struct fake_queue *q, const char *topic)
{
    size_t count = 0;

    for (size_t i = 0; i < q->record_count; i++)
        count += strcmp(q->records[i].topic, topic) == 0;
    return count;
}

const struct fake_record *fake_queue_at(const struct fake_queue *q, const char *topic, size_t n)
{
    for (size_t i = 0; i < q->record_count; i++)
        if (strcmp(q->records[i].topic, topic) == 0 && n-- == 0)
            return &q->records[i];
    return NULL;
}

void fake_queue_add(struct fake_queue *q, const char *topic, const char *key, const char *value,
                    int64_t timestamp_us)
{
    assert(q->record_count < FAKE_MANY);
    struct fake_record *r = &q->records[q->record_count++];

    *r = (struct fake_record){.timestamp_us = timestamp_us, .no_key = key == NULL};
    copy_bytes(r->topic, sizeof r->topic, topic, strlen(topic));
    copy_bytes(r->key, sizeof r->key, key, key != NULL ? strlen(key) : 0);
    copy_bytes(r->value, sizeof r->value, value, strlen(value));
}

static struct record record_of(const struct fake_record *r, int64_t offset)
{
    return (struct record){
        .topic = r->topic,
        .offset = offset,
        .timestamp_us = r->timestamp_us,
        .key = r->no_key ? NULL : r->key,
        .key_len = strlen(r->key),
        .value = r->value,
        .value_len = strlen(r->value),
    };
}

static enum err queue_fake_log(struct queue *queue, const char *topic, int32_t partition,
                               struct queue_log *out)
{
    struct fake_queue *q = fake_queue_of(queue);

    (void)partition;
    if (q->log_err != ERR_OK)
        return q->log_err;
    *out = (struct queue_log){
        .partitions = q->partitions,
        .first = q->first,
        .next = (int64_t)fake_queue_count(q, topic),
    };
    (void)text_copy(out->log_id, sizeof out->log_id, q->log_id);
    return ERR_OK;
}

static enum err queue_fake_checksum(struct queue *queue, const char *topic, int32_t partition,
                                    int64_t offset, uint64_t *out)
{
    struct fake_queue *q = fake_queue_of(queue);

    (void)partition;
    const struct fake_record *r =
        offset >= q->first ? fake_queue_at(q, topic, (size_t)offset) : NULL;
    if (r == NULL)
        return ERR_NOT_FOUND;
    struct record record = record_of(r, offset);
    *out = queue_record_checksum(&record);
    return ERR_OK;
}

static enum err queue_fake_subscribe(struct queue *queue, const char *topic)
{
    struct fake_queue *q = fake_queue_of(queue);

    (void)text_copy(q->subscribed, sizeof q->subscribed, topic);
    return ERR_OK;
}

static enum err queue_fake_read(struct queue *queue, size_t max, struct arena *arena,
                                struct queue_batch *out)
{
    struct fake_queue *q = fake_queue_of(queue);

    *out = (struct queue_batch){.event = QUEUE_NOTHING};
    if (!q->assigned || q->revoke) {
        out->event = q->revoke ? QUEUE_REVOKED : QUEUE_ASSIGNED;
        q->assigned = true;
        q->revoke = false;
        return ERR_OK;
    }
    size_t total = fake_queue_count(q, q->subscribed);
    if (q->read_from < 0 || (size_t)q->read_from >= total)
        return ERR_OK;
    size_t count = total - (size_t)q->read_from < max ? total - (size_t)q->read_from : max;
    out->records = arena_array(arena, struct record, count);
    assert(out->records != NULL);
    for (size_t i = 0; i < count; i++)
        out->records[i] = record_of(fake_queue_at(q, q->subscribed, (size_t)q->read_from + i),
                                    q->read_from + (int64_t)i);
    out->event = QUEUE_RECORDS;
    out->count = count;
    out->next = q->read_from = q->read_from + (int64_t)count;
    return ERR_OK;
}

static enum err queue_fake_start(struct queue *queue, int32_t partition, int64_t offset)
{
    struct fake_queue *q = fake_queue_of(queue);

    (void)partition;
    q->read_from = offset;
    q->starts++;
    return ERR_OK;
}

static enum err queue_fake_trim(struct queue *queue, const char *topic, int32_t partition,
                                int64_t taken, int64_t older_than_us, bool *more)
{
    struct fake_queue *q = fake_queue_of(queue);

    (void)partition;
    q->trims++;
    if (strstr(topic, ".rejected")) {
        q->trim_rejected_taken = taken;
        q->trim_rejected_older_than_us = older_than_us;
    } else {
        q->trim_taken = taken;
        q->trim_older_than_us = older_than_us;
    }
    *more = q->trim_more;
    return ERR_OK;
}

static enum err queue_fake_topics(struct queue *q, struct arena *a, struct queue_topic **t,
                                  size_t *n)
{
    (void)q;
    (void)a;
    (void)t;
    *n = 0;
    return ERR_OK;
}

static enum err queue_fake_create(struct queue *q, const char *topic, int32_t partitions)
{
    (void)q;
    (void)topic;
    (void)partitions;
    return ERR_OK;
}

static enum err queue_fake_check(struct queue *queue, const char *topic, struct queue_promise *out)
{
    struct fake_queue *q = fake_queue_of(queue);
    struct queue_log log;

    out->partitions = 1;
    out->keeps_us = TIME_NEVER;
    (void)text_copy(out->wrong, sizeof out->wrong, q->wrong ? q->wrong : "");
    return queue_fake_log(queue, topic, 0, &log);
}

static void queue_fake_watch(struct queue *q, void (*wake)(void *), void *ctx)
{
    (void)q;
    (void)wake;
    (void)ctx;
}

static const char *queue_fake_why(const struct queue *q)
{
    (void)q;
    return "told to fail";
}

static void queue_fake_close(struct queue *q)
{
    fake_queue_of(q)->closed = true;
}

static const struct queue_ops FAKE_QUEUE_OPS = {
    .publish = queue_fake_publish,
    .log = queue_fake_log,
    .checksum = queue_fake_checksum,
    .subscribe = queue_fake_subscribe,
    .read = queue_fake_read,
    .start = queue_fake_start,
    .trim = queue_fake_trim,
    .topics = queue_fake_topics,
    .create = queue_fake_create,
    .check = queue_fake_check,
    .watch = queue_fake_watch,
    .why = queue_fake_why,
    .close = queue_fake_close,
};

void fake_queue_init(struct fake_queue *q)
{
    memset(q, 0, sizeof *q);
    q->queue.ops = &FAKE_QUEUE_OPS;
    q->partitions = 1;
    q->read_from = -1;
    (void)text_copy(q->log_id, sizeof q->log_id, "log-1");
}

/* ---- ledger ---- */

static struct fake_ledger *fake_ledger_of(struct ledger *l)
{
    return (struct fake_ledger *)l;
}

static enum err ledger_fake_position(struct ledger *ledger, const char *topic, int32_t partition,
                                     struct ledger_position *out)
{
    struct fake_ledger *l = fake_ledger_of(ledger);

    (void)topic;
    (void)partition;
    if (l->position_err != ERR_OK)
        return l->position_err;
    if (!l->has_position)
        return ERR_NOT_FOUND;
    *out = l->position;
    return ERR_OK;
}

static bool is_stored(const struct fake_ledger *l, const struct uuid *id)
{
    for (size_t i = 0; i < l->stored_count; i++)
        if (uuid_equal(&l->stored[i].request.payment_id, id))
            return true;
    return false;
}

static enum err ledger_fake_append(struct ledger *ledger, struct ledger_record *records,
                                   size_t count, const struct ledger_position *from,
                                   const struct ledger_position *to)
{
    struct fake_ledger *l = fake_ledger_of(ledger);
    bool refused = false;

    l->append_calls++;
    if (l->append_err != ERR_OK)
        return l->append_err;
    if (from->next != (l->has_position ? l->position.next : 0))
        return ERR_MOVED;
    for (size_t i = 0; i < count; i++) {
        bool refuse = uuid_equal(&records[i].request.payment_id, &l->refused);
        records[i].verdict = refuse                                         ? APPEND_REFUSED
                             : is_stored(l, &records[i].request.payment_id) ? APPEND_REPEATED
                                                                            : APPEND_STORED;
        if (refuse)
            records[i].reject = REJECT_NO_PRICE;
        refused |= refuse;
    }
    if (refused)
        return ERR_REFUSED;
    for (size_t i = 0; i < count; i++)
        if (records[i].verdict == APPEND_STORED) {
            assert(l->stored_count < FAKE_MANY);
            l->stored[l->stored_count++] = records[i];
        }
    l->position = *to;
    l->has_position = true;
    return ERR_OK;
}

static enum err ledger_fake_rewind(struct ledger *ledger, const char *topic, int32_t partition,
                                   int64_t next)
{
    struct fake_ledger *l = fake_ledger_of(ledger);

    (void)topic;
    (void)partition;
    l->position.next = next;
    l->position.log_id[0] = '\0';
    l->position.checksum = 0;
    l->has_position = true;
    return ERR_OK;
}

struct attempt *fake_ledger_claim(struct fake_ledger *l, uint32_t n)
{
    struct attempt *a = &l->claims[l->claim_count++];

    *a = (struct attempt){.seq = n,
                          .payment_id = fake_id(n),
                          .user_id = fake_id(n + 500000),
                          .money = {39900, "RUB"},
                          .body = "{\"bytes\":1}",
                          .body_len = 11};
    return a;
}

struct attempt *fake_ledger_due(struct fake_ledger *l, uint32_t n)
{
    struct attempt *a = &l->dues[l->due_count++];

    *a = *fake_ledger_claim(l, n);
    l->claim_count--;
    return a;
}

static struct attempt *give(struct attempt *list, size_t *list_count, size_t max,
                            struct arena *arena, size_t *count)
{
    *count = *list_count < max ? *list_count : max;
    struct attempt *out = arena_array(arena, struct attempt, *count + 1);
    assert(out != NULL);
    memcpy(out, list, *count * sizeof *out);
    memmove(list, list + *count, (*list_count - *count) * sizeof *list);
    *list_count -= *count;
    return out;
}

static enum err ledger_fake_claim(struct ledger *ledger, const struct ledger_claim *claim,
                                  struct arena *arena, struct ledger_claimed *out)
{
    struct fake_ledger *l = fake_ledger_of(ledger);

    l->claim_calls++;
    l->last_claim = *claim;
    if (l->claim_err != ERR_OK)
        return l->claim_err;
    *out = (struct ledger_claimed){.rewound = l->mark};
    if (!uuid_is_nil(&l->mark))
        return ERR_OK;
    out->attempts = give(l->claims, &l->claim_count, claim->users_max, arena, &out->attempt_count);
    out->users = out->attempt_count;
    return ERR_OK;
}

static enum err ledger_fake_due(struct ledger *ledger, size_t max, int64_t lease_us,
                                struct arena *arena, struct attempt **out, size_t *count)
{
    struct fake_ledger *l = fake_ledger_of(ledger);

    (void)lease_us;
    l->due_calls++;
    if (l->due_err != ERR_OK)
        return l->due_err;
    *out = give(l->dues, &l->due_count, max, arena, count);
    return ERR_OK;
}

static enum err ledger_fake_settle(struct ledger *ledger, struct fact *facts, size_t count)
{
    struct fake_ledger *l = fake_ledger_of(ledger);

    l->settle_calls++;
    if (l->settle_err != ERR_OK)
        return l->settle_err;
    for (size_t i = 0; i < count; i++)
        if (uuid_equal(&facts[i].payment_id, &l->bad))
            return ERR_BUG;
    for (size_t i = 0; i < count; i++) {
        facts[i].verdict = l->verdict;
        facts[i].waiting_duplicated = 0;
        l->facts[l->fact_count++] = facts[i];
        if (facts[i].voided)
            facts[i].reason = REASON_NOT_ANSWERED; /* out */
    }
    return ERR_OK;
}

static enum err ledger_fake_defer(struct ledger *ledger, const struct deferral *deferrals,
                                  size_t count)
{
    struct fake_ledger *l = fake_ledger_of(ledger);

    if (l->defer_err != ERR_OK)
        return l->defer_err;
    memcpy(l->deferrals + l->deferral_count, deferrals, count * sizeof *deferrals);
    l->deferral_count += count;
    return ERR_OK;
}

static enum err ledger_fake_untold(struct ledger *ledger, size_t max, int64_t lease_us,
                                   struct arena *arena, struct telling **out, size_t *count)
{
    struct fake_ledger *l = fake_ledger_of(ledger);

    (void)lease_us;
    if (l->untold_err != ERR_OK)
        return l->untold_err;
    *count = l->telling_count < max ? l->telling_count : max;
    *out = arena_array(arena, struct telling, *count + 1);
    assert(*out != NULL);
    memcpy(*out, l->tellings, *count * sizeof **out);
    memmove(l->tellings, l->tellings + *count, (l->telling_count - *count) * sizeof *l->tellings);
    l->telling_count -= *count;
    return ERR_OK;
}

static enum err ledger_fake_told(struct ledger *ledger, const struct told *told, size_t count)
{
    struct fake_ledger *l = fake_ledger_of(ledger);

    if (l->told_err != ERR_OK)
        return l->told_err;
    memcpy(l->told + l->told_count, told, count * sizeof *told);
    l->told_count += count;
    return ERR_OK;
}

static enum err ledger_fake_counts(struct ledger *ledger, struct ledger_counts *out)
{
    *out = fake_ledger_of(ledger)->counts;
    return ERR_OK;
}

struct attempt *fake_ledger_known(struct fake_ledger *l, uint32_t n)
{
    struct attempt *a = &l->known[l->known_count++];

    *a = *fake_ledger_claim(l, n);
    l->claim_count--;
    a->needs_decision = true;
    return a;
}

static enum err ledger_fake_attempt(struct ledger *ledger, const struct uuid *payment_id,
                                    struct arena *arena, struct attempt **out)
{
    struct fake_ledger *l = fake_ledger_of(ledger);

    if (l->attempt_err != ERR_OK)
        return l->attempt_err;
    if (uuid_equal(&l->conflicts, payment_id))
        return ERR_CONFLICT;
    for (size_t i = 0; i < l->known_count; i++)
        if (uuid_equal(&l->known[i].payment_id, payment_id)) {
            *out = arena_new(arena, struct attempt);
            assert(*out != NULL);
            **out = l->known[i];
            return ERR_OK;
        }
    return ERR_NOT_FOUND;
}

static enum err ledger_fake_decide(struct ledger *ledger, struct ledger_decision *decision)
{
    struct fake_ledger *l = fake_ledger_of(ledger);

    if (l->decide_err != ERR_OK)
        return l->decide_err;
    decision->verdict = l->decision_verdict;
    (void)text_copy(l->evidence, sizeof l->evidence, decision->evidence);
    (void)text_copy(l->actor, sizeof l->actor, decision->actor);
    l->decisions[l->decision_count++] = *decision;
    return ERR_OK;
}

static enum err ledger_fake_reading(struct ledger *ledger, const char *instance_id,
                                    struct ledger_reading *out)
{
    const struct fake_ledger *l = fake_ledger_of(ledger);

    *out = (struct ledger_reading){instance_id, l->journal_position, l->event_seq};
    return ERR_OK;
}

static enum err ledger_fake_learn(struct ledger *ledger, const struct ledger_reading *reading,
                                  const struct journal_entry *entries, size_t count,
                                  struct ledger_learned *out)
{
    struct fake_ledger *l = fake_ledger_of(ledger);

    l->learn_calls++;
    if (l->learn_err != ERR_OK)
        return l->learn_err;
    if (l->learn_moved > 0) {
        l->journal_position = l->learn_moved;
        l->learn_moved = 0;
    }
    if (reading->from != l->journal_position)
        return ERR_MOVED;
    l->began = reading->began;
    if (count > l->longest_learn)
        l->longest_learn = count;
    size_t taken = 0;
    while (taken < count && entries[taken].seq != l->caught_up_at) {
        l->learned[l->learned_count++] = entries[taken].seq;
        l->journal_position = entries[taken++].seq;
    }
    *out = (struct ledger_learned){.rewound = l->learn_rewound,
                                   .recorded = l->learn_rewound,
                                   .taken = taken,
                                   .caught_up = taken < count};
    if (l->learn_rewound)
        l->mark = fake_id(1000000 + (uint32_t)l->learn_calls);
    l->learn_rewound = false;
    return ERR_OK;
}

static enum err ledger_fake_learned_all(struct ledger *ledger, const struct uuid *waited,
                                        struct uuid *stands)
{
    struct fake_ledger *l = fake_ledger_of(ledger);

    if (l->learned_all_err != ERR_OK)
        return l->learned_all_err;
    l->learned_all_calls++;
    if (uuid_equal(&l->mark, waited))
        l->mark = UUID_NIL;
    *stands = l->mark;
    return ERR_OK;
}

static enum err ledger_fake_asked(struct ledger *ledger, const char *instance_id,
                                  const struct journal_entry *entry, struct ledger_learned *out)
{
    struct fake_ledger *l = fake_ledger_of(ledger);

    (void)instance_id;
    if (l->asked_err != ERR_OK)
        return l->asked_err;
    copy_bytes(l->asked_body, sizeof l->asked_body, entry->body, entry->body_len);
    (void)text_copy(l->asked_url, sizeof l->asked_url, entry->action_url);
    l->asked[l->asked_count++] = *entry;
    *out = (struct ledger_learned){.rewound = true, .recorded = 1};
    return ERR_OK;
}

static enum err ledger_fake_asked_unknown(struct ledger *ledger, const struct uuid *payment_id)
{
    struct fake_ledger *l = fake_ledger_of(ledger);

    l->asked_unknown[l->asked_unknown_count++] = *payment_id;
    return ERR_OK;
}

static enum err ledger_fake_instance(struct ledger *ledger, char out[LEDGER_INSTANCE_MAX + 1])
{
    struct fake_ledger *l = fake_ledger_of(ledger);

    if (l->instance_err == ERR_OK)
        (void)text_copy(out, LEDGER_INSTANCE_MAX + 1, l->instance);
    return l->instance_err;
}

static enum err ledger_fake_mark_restored(struct ledger *ledger, int64_t *marked)
{
    struct fake_ledger *l = fake_ledger_of(ledger);

    l->mark_calls++;
    *marked = l->marked;
    return ERR_OK;
}

static enum err ledger_fake_heartbeat(struct ledger *ledger, const char *service)
{
    struct fake_ledger *l = fake_ledger_of(ledger);

    l->heartbeats++;
    (void)text_copy(l->heartbeat_of, sizeof l->heartbeat_of, service);
    return ERR_OK;
}

static enum err ledger_fake_recover(struct ledger *ledger)
{
    (void)ledger;
    return ERR_OK;
}

static void ledger_fake_watch(struct ledger *ledger, void (*fn)(void *, unsigned), void *ctx)
{
    struct fake_ledger *l = fake_ledger_of(ledger);

    l->watch = fn;
    l->watch_ctx = ctx;
}

static const char *ledger_fake_why(const struct ledger *ledger)
{
    (void)ledger;
    return "told to fail";
}

static void ledger_fake_close(struct ledger *ledger)
{
    fake_ledger_of(ledger)->closed = true;
}

static const struct ledger_ops FAKE_LEDGER_OPS = {
    .append = ledger_fake_append,
    .position = ledger_fake_position,
    .rewind = ledger_fake_rewind,
    .claim = ledger_fake_claim,
    .due = ledger_fake_due,
    .attempt = ledger_fake_attempt,
    .decide = ledger_fake_decide,
    .reading = ledger_fake_reading,
    .learn = ledger_fake_learn,
    .learned_all = ledger_fake_learned_all,
    .asked = ledger_fake_asked,
    .asked_unknown = ledger_fake_asked_unknown,
    .instance = ledger_fake_instance,
    .mark_restored = ledger_fake_mark_restored,
    .heartbeat = ledger_fake_heartbeat,
    .settle = ledger_fake_settle,
    .defer = ledger_fake_defer,
    .untold = ledger_fake_untold,
    .told = ledger_fake_told,
    .counts = ledger_fake_counts,
    .recover = ledger_fake_recover,
    .watch = ledger_fake_watch,
    .why = ledger_fake_why,
    .close = ledger_fake_close,
};

void fake_ledger_init(struct fake_ledger *l)
{
    memset(l, 0, sizeof *l);
    l->ledger.ops = &FAKE_LEDGER_OPS;
    l->refused = l->bad = l->conflicts = fake_id(UINT32_MAX);
}

/* ---- gateway ---- */

static struct fake_gateway *fake_gateway_of(struct gateway *g)
{
    return (struct fake_gateway *)g;
}

static enum err gateway_fake_submit(struct gateway *gateway, const struct gateway_call *call)
{
    struct fake_gateway *g = fake_gateway_of(gateway);

    if (g->submit_err != ERR_OK)
        return g->submit_err;
    if (g->in_flight == GATEWAY_IN_FLIGHT_MAX)
        return ERR_BUSY;
    g->in_flight++;
    if (g->in_flight > g->most_in_flight)
        g->most_in_flight = g->in_flight;
    if (call->verb == GATEWAY_INSTANCE) {
        g->instance_calls++;
        if (g->auto_instance != NULL)
            fake_gateway_instance(g, g->auto_instance);
        return ERR_OK;
    }
    if (call->verb == GATEWAY_JOURNAL) {
        g->journal_calls++;
        g->journal_after = call->after_seq;
        if (g->auto_journal)
            fake_gateway_page(g, 1, 0);
        return ERR_OK;
    }
    assert(g->call_count < FAKE_MANY);
    struct fake_call *c = &g->calls[g->call_count++];
    *c = (struct fake_call){.verb = call->verb,
                            .payment_id = call->payment_id,
                            .money = call->money,
                            .send_before_boot_us = call->send_before_boot_us};
    copy_bytes(c->body, sizeof c->body, call->body, call->body_len);
    return ERR_OK;
}

static size_t gateway_fake_take(struct gateway *gateway, struct gateway_answer *out, size_t max)
{
    struct fake_gateway *g = fake_gateway_of(gateway);
    size_t count = g->answer_count < max ? g->answer_count : max;

    memcpy(out, g->answers, count * sizeof *out);
    memmove(g->answers, g->answers + count, (g->answer_count - count) * sizeof *out);
    g->answer_count -= count;
    g->in_flight -= count < g->in_flight ? count : g->in_flight;
    return count;
}

static size_t gateway_fake_in_flight(const struct gateway *gateway)
{
    return ((const struct fake_gateway *)gateway)->in_flight;
}

static struct promises gateway_fake_promises(const struct gateway *gateway)
{
    return ((const struct fake_gateway *)gateway)->promises;
}

static charge_encode_fn *gateway_fake_encode(const struct gateway *gateway)
{
    (void)gateway;
    return charge_encode_json;
}

static void gateway_fake_watch(struct gateway *gateway, void (*wake)(void *), void *ctx)
{
    (void)gateway;
    (void)wake;
    (void)ctx;
}

static void gateway_fake_close(struct gateway *gateway)
{
    struct fake_gateway *g = fake_gateway_of(gateway);

    for (size_t i = 0; i < g->answer_count; i++)
        journal_page_free(g->answers[i].page);
    g->answer_count = 0;
    g->closed = true;
}

static const struct gateway_ops FAKE_GATEWAY_OPS = {
    .submit = gateway_fake_submit,
    .take = gateway_fake_take,
    .in_flight = gateway_fake_in_flight,
    .promises = gateway_fake_promises,
    .encode = gateway_fake_encode,
    .watch = gateway_fake_watch,
    .close = gateway_fake_close,
};

void fake_gateway_init(struct fake_gateway *g)
{
    memset(g, 0, sizeof *g);
    g->gateway.ops = &FAKE_GATEWAY_OPS;
    g->promises = (struct promises){.key_ttl_us = US_PER_DAY, .ask = true, .voids = true};
}

struct gateway_answer *fake_gateway_answer(struct fake_gateway *g, enum gateway_verb verb,
                                           uint32_t n, enum gateway_result result)
{
    assert(g->answer_count < FAKE_MANY);
    struct gateway_answer *a = &g->answers[g->answer_count++];

    *a = (struct gateway_answer){
        .verb = verb, .payment_id = fake_id(n), .result = result, .expires_at_us = TIME_NEVER};
    if (result == GATEWAY_PENDING)
        (void)text_copy(a->action_url, sizeof a->action_url, "http://processing.invalid/pay");
    (void)snprintf(a->transaction_id, sizeof a->transaction_id, "tx-%u", (unsigned)n);
    return a;
}

void fake_gateway_instance(struct fake_gateway *g, const char *instance_id)
{
    struct gateway_answer *a = fake_gateway_answer(g, GATEWAY_INSTANCE, 0, GATEWAY_INSTANCE_IS);

    a->payment_id = UUID_NIL;
    (void)text_copy(a->instance_id, sizeof a->instance_id, instance_id);
}

void fake_gateway_page(struct fake_gateway *g, int64_t first_seq, size_t count)
{
    struct gateway_answer *a = fake_gateway_answer(g, GATEWAY_JOURNAL, 0, GATEWAY_JOURNAL_IS);
    struct arena arena;

    arena_init(&arena, 64 * 1024 * 1024);
    a->payment_id = UUID_NIL;
    a->page = arena_new(&arena, struct journal_page);
    struct journal_entry *entries = arena_array(&arena, struct journal_entry, count);
    assert(a->page != NULL && entries != NULL);
    for (size_t i = 0; i < count; i++)
        entries[i] = (struct journal_entry){
            .seq = first_seq + (int64_t)i,
            .request = {.payment_id = fake_id(1), .user_id = fake_id(2)},
            .money = {39900, "RUB"},
            .body = "{}",
            .body_len = 2,
            .processing_id = "",
            .action_url = "",
            .expires_at_us = TIME_NEVER,
        };
    *a->page = (struct journal_page){.arena = arena, .entries = entries, .count = count};
}

/* ---- mailer ---- */

static struct fake_mailer *fake_mailer_of(struct mailer *m)
{
    return (struct fake_mailer *)m;
}

static enum err mailer_fake_send(struct mailer *mailer, const struct mail *mail)
{
    struct fake_mailer *m = fake_mailer_of(mailer);

    if (m->send_err != ERR_OK)
        return m->send_err;
    assert(m->mail_count < FAKE_MANY);
    struct fake_mail *out = &m->mails[m->mail_count++];
    out->payment_id = mail->payment_id;
    copy_bytes(out->to, sizeof out->to, mail->to, strlen(mail->to));
    copy_bytes(out->subject, sizeof out->subject, mail->subject, strlen(mail->subject));
    copy_bytes(out->text, sizeof out->text, mail->text, strlen(mail->text));
    return ERR_OK;
}

static size_t mailer_fake_take(struct mailer *mailer, struct mail_result *out, size_t max)
{
    struct fake_mailer *m = fake_mailer_of(mailer);
    size_t count = m->result_count < max ? m->result_count : max;

    memcpy(out, m->results, count * sizeof *out);
    memmove(m->results, m->results + count, (m->result_count - count) * sizeof *out);
    m->result_count -= count;
    return count;
}

static void mailer_fake_watch(struct mailer *mailer, void (*wake)(void *), void *ctx)
{
    (void)mailer;
    (void)wake;
    (void)ctx;
}

static void mailer_fake_close(struct mailer *mailer)
{
    fake_mailer_of(mailer)->closed = true;
}

static const struct mailer_ops FAKE_MAILER_OPS = {
    .send = mailer_fake_send,
    .take = mailer_fake_take,
    .watch = mailer_fake_watch,
    .close = mailer_fake_close,
};

void fake_mailer_init(struct fake_mailer *m)
{
    memset(m, 0, sizeof *m);
    m->mailer.ops = &FAKE_MAILER_OPS;
}

void fake_mailer_result(struct fake_mailer *m, uint32_t n, enum mail_outcome outcome)
{
    m->results[m->result_count++] =
        (struct mail_result){.payment_id = fake_id(n), .outcome = outcome, .note = "told so"};
}

/* ---- views ---- */

static struct fake_views *fake_views_of(struct views *v)
{
    return (struct fake_views *)v;
}

static enum err views_fake_payments(struct views *views, const struct uuid *ids, size_t count,
                                    int64_t patience_ms, struct arena *arena,
                                    struct payment_view **out)
{
    struct fake_views *v = fake_views_of(views);

    (void)patience_ms;
    v->calls++;
    if (v->err != ERR_OK)
        return v->err;
    for (size_t i = 0; i < count; i++) {
        out[i] = NULL;
        for (size_t p = 0; p < v->payment_count; p++)
            if (uuid_equal(&v->payments[p].payment_id, &ids[i])) {
                out[i] = arena_new(arena, struct payment_view);
                assert(out[i] != NULL);
                *out[i] = v->payments[p];
            }
    }
    return ERR_OK;
}

static enum err views_fake_payments_of(struct views *views, const struct uuid *user_id,
                                       int64_t before_seq, size_t limit, struct arena *arena,
                                       struct payment_view **out, size_t *count)
{
    struct fake_views *v = fake_views_of(views);

    if (v->err != ERR_OK)
        return v->err;
    *count = 0;
    *out = arena_array(arena, struct payment_view, limit);
    assert(*out != NULL);
    for (size_t p = v->payment_count; p-- > 0 && *count < limit;)
        if (uuid_equal(&v->payments[p].user_id, user_id) && v->payments[p].seq < before_seq)
            (*out)[(*count)++] = v->payments[p];
    return ERR_OK;
}

static enum err views_fake_subscribed(struct views *views, const struct uuid *users, size_t count,
                                      int64_t patience_ms, bool *out)
{
    struct fake_views *v = fake_views_of(views);

    (void)patience_ms;
    v->calls++;
    if (v->err != ERR_OK)
        return v->err;
    for (size_t i = 0; i < count; i++) {
        out[i] = false;
        for (size_t s = 0; s < v->subscriber_count; s++)
            out[i] = out[i] || uuid_equal(&v->subscribers[s], &users[i]);
    }
    return ERR_OK;
}

static enum err views_fake_subscriptions_of(struct views *views, const struct uuid *user_id,
                                            struct arena *arena, struct subscription_view **out,
                                            size_t *count)
{
    struct fake_views *v = fake_views_of(views);

    *count = 0;
    if (v->err != ERR_OK)
        return v->err;
    for (size_t s = 0; s < v->subscriber_count; s++)
        if (uuid_equal(&v->subscribers[s], user_id)) {
            *out = arena_new(arena, struct subscription_view);
            assert(*out != NULL);
            **out = (struct subscription_view){.subscription_id = fake_id(77),
                                               .user_id = *user_id,
                                               .subscription_type = SUBSCRIPTION_MONTH,
                                               .starts_at_us = FAKE_WALL_US,
                                               .expiration_us = FAKE_WALL_US + US_PER_DAY,
                                               .ends_at_us = FAKE_WALL_US + US_PER_DAY};
            *count = 1;
        }
    return ERR_OK;
}

static enum err views_fake_prices(struct views *views, struct date day, struct arena *arena,
                                  struct price **out, size_t *count)
{
    struct fake_views *v = fake_views_of(views);

    (void)day;
    v->calls++;
    if (v->err != ERR_OK)
        return v->err;
    *out = arena_array(arena, struct price, SUBSCRIPTION_TYPE_COUNT);
    assert(*out != NULL);
    memcpy(*out, v->prices, v->price_count * sizeof **out);
    *count = v->price_count;
    return ERR_OK;
}

static const char *views_fake_why(const struct views *views)
{
    (void)views;
    return "told to fail";
}

static void views_fake_close(struct views *views)
{
    fake_views_of(views)->closed = true;
}

static const struct views_ops FAKE_VIEWS_OPS = {
    .payments = views_fake_payments,
    .payments_of = views_fake_payments_of,
    .subscribed = views_fake_subscribed,
    .subscriptions_of = views_fake_subscriptions_of,
    .prices = views_fake_prices,
    .why = views_fake_why,
    .close = views_fake_close,
};

void fake_views_init(struct fake_views *v)
{
    static const struct date LONG_AGO = {2020, 1, 1};

    memset(v, 0, sizeof *v);
    v->views.ops = &FAKE_VIEWS_OPS;
    v->prices[0] = (struct price){SUBSCRIPTION_MONTH, {39900, "RUB"}, LONG_AGO};
    v->prices[1] = (struct price){SUBSCRIPTION_THREE_MONTHS, {99900, "RUB"}, LONG_AGO};
    v->prices[2] = (struct price){SUBSCRIPTION_YEAR, {299900, "RUB"}, LONG_AGO};
    v->price_count = 3;
}

struct payment_view *fake_views_payment(struct fake_views *v, const struct uuid *payment_id,
                                        const struct uuid *user_id)
{
    assert(v->payment_count < FAKE_MANY);
    struct payment_view *p = &v->payments[v->payment_count++];

    *p = (struct payment_view){.seq = (int64_t)v->payment_count,
                               .payment_id = *payment_id,
                               .user_id = *user_id,
                               .payment_date_us = FAKE_WALL_US,
                               .expiration_us = TIME_NEVER,
                               .money = {39900, "RUB"}};
    return p;
}
