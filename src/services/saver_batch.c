/* A batch of the saver: what cannot be understood goes to <topic>.rejected first, then the rest is stored
 * together with the position. Any of it may be repeated after a crash. */
#include "services/saver_inside.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/crash.h"
#include "base/times.h"

static uint64_t saver_token(const struct saver *s, size_t item)
{
    return (uint64_t)s->serial << 32 | (uint32_t)item;
}

static void saver_reject(struct saver *s, const struct record *record, enum reject reject)
{
    s->rejects[s->reject_count++] = (struct saver_reject){.record = record, .reject = reject};
}

static enum reject saver_decode(const struct record *record, const struct saver_partition *p,
                                struct ledger_record *out)
{
    enum reject reject = request_decode(record, &out->request);

    out->recorded_at_us = record->timestamp_us;
    /* No time anywhere: the time of storing is right for what comes in now, a guess for what lay there. */
    if (reject == REJECT_NONE && out->request.requested_at_us == REQUEST_NO_TIME &&
        record->offset < p->no_time_before)
        reject = REJECT_NO_TIME;
    return reject;
}

enum err saver_batch_take(struct saver *s, const struct queue_batch *batch,
                          struct saver_partition *p)
{
    struct queue_log log;
    enum err err = queue_log(s->queue, s->topic, p->partition, &log);

    if (err == ERR_OK && !saver_log_is_same(&p->position, &log))
        err = ERR_BUSY; /* it is started again, and compared */
    if (err != ERR_OK)
        return err;
    s->good = arena_array(&s->arena, struct ledger_record, batch->count);
    s->good_from = arena_array(&s->arena, const struct record *, batch->count);
    s->rejects = arena_array(&s->arena, struct saver_reject, batch->count);
    if (s->good == NULL || s->good_from == NULL || s->rejects == NULL)
        return ERR_NO_MEMORY;
    s->serial++;
    s->partition = p->partition;
    s->good_count = s->reject_count = s->durable = s->under_way = 0;
    for (size_t i = 0; i < batch->count; i++) {
        const struct record *record = &batch->records[i];
        enum reject reject = saver_decode(record, p, &s->good[s->good_count]);
        if (reject == REJECT_NONE)
            s->good_from[s->good_count++] = record;
        else
            saver_reject(s, record, reject);
    }
    s->to = p->position;
    s->to.partitions = log.partitions;
    s->to.next = batch->next;
    (void)text_copy(s->to.log_id, sizeof s->to.log_id, log.log_id);
    s->to.checksum = queue_record_checksum(&batch->records[batch->count - 1]);
    p->next = log.next;
    s->phase = SAVER_REJECTING;
    atomic_store(&s->busy, true);
    return ERR_OK;
}

static void saver_batch_end(struct saver *s)
{
    s->phase = SAVER_READING;
    s->good = NULL;
    s->rejects = NULL;
    atomic_store(&s->busy, false);
}

/* The queue tells from any thread; a full inbox cannot be: at most SAVER_CONFIRMS_MAX are under way. What a former
 * batch left there only takes a place until the next step, and what is lost is published again. */
static void saver_confirmed(void *ctx, uint64_t token, enum queue_outcome outcome)
{
    struct saver *s = ctx;
    struct saver_confirm confirm = {token, outcome};

    if (inbox_push(&s->confirms, &confirm) != ERR_OK)
        return;
}

static enum err saver_publish_rejected(struct saver *s, const struct env *env, size_t item)
{
    const struct saver_reject *r = &s->rejects[item];
    char partition[16], offset[24], bytes[24], at[TIME_TEXT];
    /* Others may write what is larger than a record of ours: its beginning is kept, and how long it was. */
    bool cut = r->record->value_len > QUEUE_RECORD_MAX;

    (void)snprintf(partition, sizeof partition, "%" PRId32, r->record->partition);
    (void)snprintf(offset, sizeof offset, "%" PRId64, r->record->offset);
    (void)snprintf(bytes, sizeof bytes, "%zu", r->record->value_len);
    time_format(clock_wall_us(env->clock), at);
    const struct queue_header headers[] = {
        {"error", reject_text(r->reject)},
        {"topic", s->topic},
        {"partition", partition},
        {"offset", offset},
        {"at", at},
        {"cut_from_bytes", bytes},
    };
    const struct queue_message message = {
        .topic = s->rejected_topic,
        .key = r->record->key,
        .key_len = r->record->key_len,
        .value = r->record->value,
        .value_len = cut ? QUEUE_RECORD_MAX : r->record->value_len,
        .headers = headers,
        .header_count = sizeof headers / sizeof headers[0] - !cut,
        .timestamp_us = REQUEST_NO_TIME,
    };
    return queue_publish(s->queue, &message, saver_confirmed, s, saver_token(s, item));
}

static void saver_note_rejected(struct saver *s, const struct saver_reject *r)
{
    if (s->untold++ > 0)
        return;
    s->untold_partition = r->record->partition;
    s->untold_offset = r->record->offset;
    s->untold_reject = r->reject;
}

void saver_tell_rejected(struct saver *s, const struct env *env)
{
    int64_t now_us = clock_boot_us(env->clock);

    if (s->untold == 0 || now_us < s->tell_boot_us)
        return;
    log_event(
        env->log, LOG_WARN, SAVER_NAME, "records rejected", F_NUM("records", (int64_t)s->untold),
        F_NUM("partition", s->untold_partition), F_NUM("first_offset", s->untold_offset),
        F_STR("first_error", reject_text(s->untold_reject)), F_STR("kept_in", s->rejected_topic));
    s->untold = 0;
    s->tell_boot_us = now_us + SAVER_TELL_US;
}

static void saver_take_confirms(struct saver *s, const struct env *env)
{
    struct saver_confirm confirms[64];
    size_t count;

    while ((count = inbox_take(&s->confirms, confirms, 64)) > 0) {
        for (size_t i = 0; i < count; i++) {
            size_t item = (uint32_t)confirms[i].token;
            if (confirms[i].token >> 32 != s->serial || s->phase != SAVER_REJECTING)
                continue; /* of a batch that is over */
            struct saver_reject *r = &s->rejects[item];
            if (r->state != REJECT_UNDER_WAY)
                continue;
            s->under_way--;
            if (confirms[i].outcome == QUEUE_DURABLE) {
                CRASH_POINT("saver.reject.after");
                r->state = REJECT_DURABLE;
                s->durable++;
                metric_add(s->rejected, 1);
                saver_note_rejected(s, r);
                (void)trouble_note(&s->rejecting, env, SAVER_NAME, "writing rejected records",
                                   ERR_OK, NULL);
            } else {
                r->state = REJECT_TO_PUBLISH; /* at least once */
                (void)trouble_note(&s->rejecting, env, SAVER_NAME, "writing rejected records",
                                   ERR_IO, "the queue did not confirm");
            }
        }
    }
}

static bool saver_move_rejecting(struct saver *s, const struct env *env)
{
    saver_take_confirms(s, env);
    if (s->durable == s->reject_count) {
        saver_tell_rejected(s, env);
        s->phase = SAVER_APPENDING;
        return true;
    }
    if (trouble_waits(&s->rejecting, env))
        return false;
    for (size_t i = 0; i < s->reject_count && s->under_way < SAVER_CONFIRMS_MAX; i++) {
        struct saver_reject *r = &s->rejects[i];
        if (r->state != REJECT_TO_PUBLISH)
            continue;
        r->state = REJECT_UNDER_WAY;
        s->under_way++;
        enum err err = saver_publish_rejected(s, env, i);
        if (err != ERR_OK) {
            r->state = REJECT_TO_PUBLISH;
            s->under_way--;
            (void)trouble_note(&s->rejecting, env, SAVER_NAME, "writing rejected records", err,
                               queue_why(s->queue));
            break;
        }
    }
    return false; /* an inbox wakes us */
}

/* The refused of an append go where the others went, and what is left is stored by the next one. */
static void saver_set_refused_aside(struct saver *s)
{
    size_t kept = 0;

    for (size_t i = 0; i < s->good_count; i++) {
        if (s->good[i].verdict == APPEND_REFUSED) {
            saver_reject(s, s->good_from[i], s->good[i].reject);
            continue;
        }
        if (kept != i) {
            s->good[kept] = s->good[i];
            s->good_from[kept] = s->good_from[i];
        }
        kept++;
    }
    s->good_count = kept;
    s->phase = SAVER_REJECTING;
}

static void saver_stored(struct saver *s, struct saver_partition *p)
{
    int64_t repeated = 0;

    for (size_t i = 0; i < s->good_count; i++)
        repeated += s->good[i].verdict == APPEND_REPEATED;
    metric_add(s->stored, (int64_t)s->good_count - repeated);
    metric_add(s->repeated, repeated);
    p->position = s->to;
    metric_set(s->lag, p->next > p->position.next ? p->next - p->position.next : 0);
    saver_batch_end(s);
}

static bool saver_move_appending(struct saver *s, const struct env *env)
{
    struct saver_partition *p = saver_partition_of(s, s->partition);

    if (p == NULL) { /* revoked meanwhile: somebody else stores it */
        saver_batch_end(s);
        return true;
    }
    if (trouble_waits(&s->storing, env))
        return false;
    size_t good_count = s->good_count;
    enum err err = ledger_append(s->ledger, s->good, s->good_count, &p->position, &s->to);
    switch (err) {
    case ERR_OK:
        saver_stored(s, p);
        break;
    case ERR_REFUSED:
        saver_set_refused_aside(s);
        if (s->good_count == good_count) /* nobody was refused: not to be repeated at full speed */
            (void)trouble_note(&s->storing, env, SAVER_NAME, "storing", ERR_BUG,
                               ledger_why(s->ledger));
        return true;
    case ERR_MOVED: /* rewound, or another saver has the partition: look where the store is now */
        saver_batch_end(s);
        p->started = false;
        return true;
    default:
        (void)trouble_note(&s->storing, env, SAVER_NAME, "storing", err, ledger_why(s->ledger));
        return false;
    }
    (void)trouble_note(&s->storing, env, SAVER_NAME, "storing", ERR_OK, NULL);
    return true;
}

bool saver_batch_move(struct saver *s, const struct env *env)
{
    switch (s->phase) {
    case SAVER_REJECTING:
        return saver_move_rejecting(s, env);
    case SAVER_APPENDING:
        return saver_move_appending(s, env);
    case SAVER_READING:
        break;
    }
    return false;
}
