/* Is the simulated world at rest, and were its books right? The audit, and what only the outside can know. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "audit/audit.h"
#include "sim/inside.h"

void world_wrong(struct world *w, const char *format, ...)
{
    if (!w->result->ok)
        return; /* the first is the one to look at */
    w->result->ok = false;
    va_list args;
    va_start(args, format);
    vsnprintf(w->result->why, sizeof w->result->why, format, args);
    va_end(args);
}

int64_t world_count(struct world *w, const char *static_sql, const struct uuid *id,
                    const char *text)
{
    struct db *db;
    int64_t count = -1;
    if (world_books_open(w, &db) != ERR_OK)
        return -1;
    struct query q;
    query_open(&q, db, static_sql);
    if (id)
        query_bind_uuid(&q, id);
    if (text)
        query_bind_text(&q, text);
    if (query_next(&q))
        count = query_i64(&q, 0);
    if (query_close(&q) != ERR_OK)
        count = -1;
    world_books_close(w, db);
    return count;
}

static int64_t count_of(struct world *w, const char *static_sql)
{
    return world_count(w, static_sql, NULL, NULL);
}

static bool journal_is_read(struct world *w)
{
    const struct sim_journal *j = sim_journal(w);
    return !w->plan.journal || world_count(w,
                                           "SELECT coalesce(max(seq), 0) FROM journal_positions"
                                           " WHERE instance_id = ?1",
                                           NULL, j->instance_id) == (int64_t)j->count;
}

/* Who was wrong is known: nothing is on its way any more, and the journal is read to its end. Books that were restored
 * know again what they did. */
static bool everything_learned(struct world *w)
{
    if (!w->plan.people)
        return w->result->seen[SEEN_RESTORES] == 0 || journal_is_read(w);
    return w->now_us > w->heal_us + SIM_WAY_US && !sim_payers_open(w) && journal_is_read(w);
}

static int64_t untaken(struct world *w)
{
    return world_queued(w, "SELECT next FROM queue_topics WHERE topic = 'payments'", NULL) -
           count_of(w, "SELECT coalesce(max(next), 0) FROM positions"
                       " WHERE topic = 'payments' AND partition = 0");
}

static int64_t open_in(struct world *w, const char *processing_status)
{
    return world_count(w, "SELECT count(*) FROM payments WHERE processing_status = ?1", NULL,
                       processing_status);
}

bool world_at_rest(struct world *w)
{
    return w->now_us > w->busy_us && !world_asks_open(w) && untaken(w) == 0 &&
           count_of(w, "SELECT count(*) FROM payments"
                       " WHERE processing_status NOT IN ('completed', 'duplicated')") == 0 &&
           everything_learned(w);
}

void world_restless(struct world *w)
{
    world_wrong(w,
                "the world does not come to rest: asks %s, %lld records not taken, %lld payments "
                "new, %lld in processing, %lld not told, %s",
                world_asks_open(w) ? "open" : "answered", (long long)untaken(w),
                (long long)open_in(w, "new"), (long long)open_in(w, "in_processing"),
                (long long)open_in(w, "processed"),
                everything_learned(w) ? "all learned" : "not all learned");
}

/* ---- what people decided ---- */

static enum payment_status answer_of(const struct sim_execution *e)
{
    if (!strcmp(e->result, "success"))
        return PAYMENT_ACCEPTED;
    return !strcmp(e->result, "decline") ? PAYMENT_DECLINE : PAYMENT_ERROR;
}

/* One payment that a person decided, and what the processing says of it. True: it was charged, and refused. Where
 * another instance answers meanwhile, nobody hears of it. */
static bool judge_decided(struct world *w, const struct uuid *id, enum payment_status decided)
{
    const struct sim_execution *e = sim_answer(w, id);
    char text[UUID_TEXT];
    uuid_format(id, text);
    w->result->seen[SEEN_DECIDED]++;
    if (!e || answer_of(e) == decided)
        return false;
    w->result->seen[SEEN_CONTRADICTED]++;
    bool heard = sim_definite(sim_journal(w), id) == e;
    if (heard && w->plan.journal &&
        world_count(w,
                    "SELECT count(*) FROM events WHERE subject_id = ?1"
                    " AND to_status IS NULL",
                    id, NULL) == 0)
        world_wrong(w, "%s was decided %s, the processing says %s, and there is no alarm", text,
                    payment_status_text(decided), e->result);
    if (decided == PAYMENT_ACCEPTED || answer_of(e) != PAYMENT_ACCEPTED)
        return false;
    if (undecided_may_void(&w->plan.promises))
        world_wrong(w, "%s was decided %s and charged: its key was not voided", text,
                    payment_status_text(decided));
    return heard;
}

/* What people were told stands in the books: what was recorded first stays. Returns the charges against a refusal. */
static int64_t judge_people(struct world *w)
{
    int64_t refused = 0;
    for (int i = 0; i < w->decision_count; i++) {
        const struct sim_decision *d = &w->decisions[i];
        if (d->outcome != PAYMENT_UNKNOWN &&
            world_count(w,
                        "SELECT count(*) FROM payments WHERE id = ?1 AND payment_status = ?2"
                        " AND reason = 'decided'",
                        &d->payment_id, payment_status_text(d->outcome)) != 1) {
            char text[UUID_TEXT];
            uuid_format(&d->payment_id, text);
            world_wrong(w, "%s was decided %s by a person, and is not so in the books", text,
                        payment_status_text(d->outcome));
        }
    }
    struct db *db;
    struct query q;
    if (!w->plan.people || world_books_open(w, &db) != ERR_OK)
        return 0;
    w->result->seen[SEEN_DECIDED] = w->result->seen[SEEN_CONTRADICTED] = 0;
    query_open(&q, db, "SELECT id, payment_status FROM payments WHERE reason = 'decided'");
    while (query_next(&q)) {
        const struct uuid id = query_uuid(&q, 0);
        enum payment_status status = PAYMENT_UNKNOWN;
        (void)payment_status_parse(query_text(&q, 1), &status);
        refused += judge_decided(w, &id, status);
    }
    if (query_close(&q) != ERR_OK)
        world_wrong(w, "what people decided cannot be read");
    world_books_close(w, db);
    return refused;
}

/* ---- the audit ---- */

static enum err journal_read(void *ctx, enum err (*each)(void *, const struct journal_line *),
                             void *to)
{
    const struct sim_journal *j = sim_journal(ctx);
    enum err err = ERR_OK;
    for (size_t i = 0; i < j->count && err == ERR_OK; i++) {
        const struct sim_execution *e = &j->executions[i];
        struct journal_line line = {.seq = e->seq,
                                    .key = e->payment_id,
                                    .payment_id = e->payment_id,
                                    .user_id = e->user_id,
                                    .payment_type = e->payment_type,
                                    .subscription_type = e->subscription_type,
                                    .refund_of = e->refund_of[0] ? e->refund_of : NULL,
                                    .result = e->result,
                                    .reason = e->voided ? "voided" : NULL,
                                    .transaction_id = e->transaction_id,
                                    .currency = e->currency,
                                    .amount_minor = e->amount_minor};
        err = each(to, &line);
    }
    return err;
}

static const char *journal_instance(void *ctx)
{
    return sim_journal(ctx)->instance_id;
}

static enum err accepted_read(void *ctx, enum err (*each)(void *, const char *, int64_t), void *to)
{
    const struct world *w = ctx;
    enum err err = ERR_OK;
    for (int i = 0; i < w->ask_count && err == ERR_OK; i++) {
        char id[UUID_TEXT];
        uuid_format(&w->asks[i].payment_id, id);
        if (w->asks[i].accepted)
            err = each(to, id, i + 1);
    }
    return err;
}

static enum err queue_give(void *ctx, log_each_fn *each, void *to)
{
    struct world *w = ctx;
    struct db *db;
    struct query q;
    enum err err = embedded_reader(w->embedded, &db);
    if (err != ERR_OK)
        return err;
    query_open(&q, db,
               "SELECT t.topic, r.offset, r.timestamp_us, r.key, r.value FROM queue_topics t"
               " JOIN queue_records r ON r.topic_id = t.id ORDER BY t.id, r.offset");
    while (query_next(&q)) {
        struct record r = {.topic = query_text(&q, 0), .timestamp_us = query_i64(&q, 2)};
        r.offset = query_i64(&q, 1);
        r.key = query_blob(&q, 3, &r.key_len);
        r.value = query_blob(&q, 4, &r.value_len);
        if ((err = each(to, &r, strcmp(r.topic, "payments") != 0)) != ERR_OK)
            q.err = err;
    }
    err = query_close(&q);
    embedded_reader_close(w->embedded, db);
    return err;
}

/* A charge that a person's refusal contradicts is broken until it is given back (I6), and nothing else may be. */
static void judge_audit(struct world *w, int64_t refused)
{
    struct db *db;
    if (world_audit_open(w, &db) != ERR_OK) {
        world_wrong(w, "no connection for the audit");
        return;
    }
    struct audit_report report;
    struct log_source log = {.read = queue_give, .ctx = w};
    struct journal_source journal = {.read = journal_read, .ctx = w, .instance = journal_instance};
    struct accepted_source accepted = {.read = accepted_read, .ctx = w};
    struct audit_inputs inputs = {.journal = &journal, .accepted = &accepted, .topic = "payments"};
    if (w->postgres) /* else the audit finds it */
        inputs.log = &log;
    enum err err = audit_all(db, &inputs, &report);
    if (err != ERR_OK)
        world_wrong(w, "the audit cannot run: %s", err_text(err));
    for (int i = 0; err == ERR_OK && i < report.count; i++) {
        const struct audit_invariant *v = &report.invariants[i];
        int64_t expected = strcmp(v->id, "I6") ? 0 : refused;
        if (!v->checked_at_all)
            world_wrong(w, "%s was not checked: %s", v->id, v->why);
        else if (v->broken != expected)
            world_wrong(w, "%s is broken %lld times, not %lld: %s", v->id, (long long)v->broken,
                        (long long)expected, v->example_count ? v->examples[0] : "");
    }
    world_audit_close(w, db);
}

/* ---- what only the outside knows ---- */

/* Nobody who was promised something is forgotten, and who repeats with a key has asked once. */
static void judge_users(struct world *w)
{
    int64_t most = 0;
    for (int i = 0; i < w->ask_count; i++) {
        most += w->asks[i].key[0] ? 1 : w->asks[i].tries;
        char id[UUID_TEXT];
        uuid_format(&w->asks[i].payment_id, id);
        if (w->asks[i].accepted && world_count(w, "SELECT count(*) FROM payments WHERE id = ?1",
                                               &w->asks[i].payment_id, NULL) != 1)
            world_wrong(w, "lost: %s was answered 202 and is not in the books", id);
    }
    int64_t payments = count_of(w, "SELECT count(*) FROM payments");
    if (payments > most)
        world_wrong(w, "%lld payments were made of %lld requests", (long long)payments,
                    (long long)most);
}

/* What the processing did must be in the books, and the other way round (a first I6). */
static void judge_journal(struct world *w)
{
    int64_t accepted = count_of(w, "SELECT count(*) FROM payments WHERE payment_status = 'accepted'"
                                   " AND coalesce(reason, '') <> 'decided'");
    int64_t successes = 0;
    for (int instance = 0; instance < 2; instance++) {
        const struct sim_journal *j = &w->processing.journals[instance];
        for (size_t i = 0; i < j->count; i++)
            successes += !strcmp(j->executions[i].result, "success") &&
                         !(w->plan.people && world_count(w,
                                                         "SELECT count(*) FROM payments WHERE "
                                                         "id = ?1 AND reason = 'decided'",
                                                         &j->executions[i].key, NULL) > 0);
    }
    if (accepted != successes)
        world_wrong(w, "%lld payments are accepted, the processing executed %lld",
                    (long long)accepted, (long long)successes);
    if (w->processing.other_bodies)
        world_wrong(w, "a key was sent with two different bodies");
    if (!w->plan.people && count_of(w, "SELECT count(*) FROM events WHERE to_status IS NULL") != 0)
        world_wrong(w, "there is an alarm, and nobody contradicted anybody");
}

/* Who was told is in the books as told, unless a restore has lost that; and the other way round. */
static void judge_mail(struct world *w)
{
    const struct sim_mailbox *m = &w->mailbox;
    int64_t told = 0;
    for (size_t i = 0; i < m->count; i++) {
        bool first = true;
        for (size_t k = 0; k < i && first; k++)
            first = !uuid_equal(&m->delivered[k], &m->delivered[i]);
        if (!first)
            continue;
        bool in_books = world_count(w,
                                    "SELECT count(*) FROM payments WHERE id = ?1"
                                    " AND notification = 'delivered'",
                                    &m->delivered[i], NULL) == 1;
        if (!in_books && (i < m->forgotten_from || i >= m->forgotten_to)) {
            char id[UUID_TEXT];
            uuid_format(&m->delivered[i], id);
            world_wrong(w, "%s was told, and is not completed as delivered", id);
        }
        told += in_books;
    }
    int64_t delivered =
        count_of(w, "SELECT count(*) FROM payments WHERE notification = 'delivered'");
    if (delivered != told)
        world_wrong(w, "%lld payments are completed as delivered, %lld have a message",
                    (long long)delivered, (long long)told);
    if (count_of(w, "SELECT count(*) FROM payments WHERE reason IN ('superseded', 'cancelled')"
                    " AND notification <> 'not_to_be_told'") != 0)
        world_wrong(w, "somebody was told about a payment that a newer request has replaced");
}

static void count_seen(struct world *w)
{
    int64_t *seen = w->result->seen;
    w->result->duplicated =
        count_of(w, "SELECT count(*) FROM payments WHERE processing_status = 'duplicated'");
    seen[SEEN_REFUNDED] = count_of(w, "SELECT count(*) FROM payments"
                                      " WHERE payment_type = 'refund'"
                                      " AND payment_status = 'accepted'");
    seen[SEEN_VOIDED] = count_of(w, "SELECT count(*) FROM payments WHERE reason = 'not_answered'");
    seen[SEEN_SUPERSEDED] =
        count_of(w, "SELECT count(*) FROM payments WHERE reason = 'superseded'");
    seen[SEEN_EXPIRED] = count_of(w, "SELECT count(*) FROM payments WHERE reason = 'expired'");
    if (w->backup.lines && !w->plan.refuses)
        seen[SEEN_LEARNED] = count_of(w, "SELECT count(*) FROM attempts WHERE ask_only = 1");
}

void world_judge(struct world *w)
{
    judge_audit(w, judge_people(w));
    judge_users(w);
    judge_journal(w);
    judge_mail(w);
    judge_books(w);
    count_seen(w);
}
