/* Is the simulated world at rest, and were its books right? The audit, and what only the outside can know. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "audit/audit.h"
#include "sim/inside.h"

static void world_wrong(struct world *w, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void world_wrong(struct world *w, const char *format, ...)
{
    if (!w->result->ok)
        return; /* the first is the one to look at */
    w->result->ok = false;
    va_list args;
    va_start(args, format);
    vsnprintf(w->result->why, sizeof w->result->why, format, args);
    va_end(args);
}

static int64_t count_of(struct world *w, const char *static_sql)
{
    struct db *db;
    int64_t count = -1;
    if (embedded_reader(w->embedded, &db) != ERR_OK)
        return -1;
    struct query q;
    query_open(&q, db, static_sql);
    if (query_next(&q))
        count = query_i64(&q, 0);
    if (query_close(&q) != ERR_OK)
        count = -1;
    embedded_reader_close(w->embedded, db);
    return count;
}

bool world_at_rest(struct world *w)
{
    return !world_asks_open(w) &&
           count_of(w, "SELECT next - coalesce((SELECT next FROM positions"
                       " WHERE topic = 'payments' AND partition = 0), 0)"
                       " FROM queue_topics WHERE topic = 'payments'") == 0 &&
           count_of(w, "SELECT count(*) FROM payments"
                       " WHERE processing_status NOT IN ('completed', 'duplicated')") == 0;
}

static enum err journal_read(void *ctx, enum err (*each)(void *, const struct journal_line *),
                             void *to)
{
    const struct sim_processing *p = ctx;
    enum err err = ERR_OK;
    for (size_t i = 0; i < p->count && err == ERR_OK; i++) {
        const struct sim_execution *e = &p->executions[i];
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

static void judge_audit(struct world *w)
{
    struct db *db;
    if (embedded_reader(w->embedded, &db) != ERR_OK) {
        world_wrong(w, "no connection for the audit");
        return;
    }
    struct audit_report report;
    struct journal_source journal = {.read = journal_read, .ctx = &w->processing};
    enum err err = audit_run(db, &journal, &report);
    if (err != ERR_OK)
        world_wrong(w, "the audit cannot run: %s", err_text(err));
    for (int i = 0; err == ERR_OK && i < report.count; i++) {
        const struct audit_invariant *v = &report.invariants[i];
        if (!v->checked_at_all)
            world_wrong(w, "%s was not checked: %s", v->id, v->why);
        else if (v->broken)
            world_wrong(w, "%s is broken %lld times: %s", v->id, (long long)v->broken,
                        v->example_count ? v->examples[0] : "");
    }
    embedded_reader_close(w->embedded, db);
}

static bool stored(struct world *w, const struct uuid *id)
{
    struct db *db;
    if (embedded_reader(w->embedded, &db) != ERR_OK)
        return false;
    struct query q;
    query_open(&q, db, "SELECT 1 FROM payments WHERE id = ?1");
    query_bind_uuid(&q, id);
    bool found = query_next(&q);
    bool ok = query_close(&q) == ERR_OK;
    embedded_reader_close(w->embedded, db);
    return found && ok;
}

static void judge_users(struct world *w)
{
    for (int i = 0; i < w->ask_count; i++) {
        char id[UUID_TEXT];
        uuid_format(&w->asks[i].payment_id, id);
        if (w->asks[i].accepted && !stored(w, &w->asks[i].payment_id))
            world_wrong(w, "lost: %s was answered 202 and is not in the books", id);
    }
}

/* What the processing did must be in the books, and the other way round (a first I6). */
static void judge_journal(struct world *w)
{
    int64_t accepted =
        count_of(w, "SELECT count(*) FROM payments WHERE payment_status = 'accepted'");
    int64_t successes = 0;
    for (size_t i = 0; i < w->processing.count; i++)
        successes += !strcmp(w->processing.executions[i].result, "success");
    if (accepted != successes)
        world_wrong(w, "%lld payments are accepted, the processing executed %lld",
                    (long long)accepted, (long long)successes);
    if (w->processing.other_bodies)
        world_wrong(w, "a key was sent with two different bodies");
}

static void judge_mail(struct world *w)
{
    size_t told = 0;
    for (size_t i = 0; i < w->mailbox.count; i++) {
        bool first = true;
        for (size_t k = 0; k < i && first; k++)
            first = !uuid_equal(&w->mailbox.delivered[k], &w->mailbox.delivered[i]);
        told += first;
    }
    int64_t delivered =
        count_of(w, "SELECT count(*) FROM payments WHERE notification = 'delivered'");
    if (delivered != (int64_t)told)
        world_wrong(w, "%lld payments are completed as delivered, %zu have a message",
                    (long long)delivered, told);
}

void world_judge(struct world *w)
{
    judge_audit(w);
    judge_users(w);
    judge_journal(w);
    judge_mail(w);
    /* Nobody grants anything here: a period that starts after its payment was settled is a second charge. */
    int64_t twice = count_of(w, "SELECT count(*) FROM subscriptions s JOIN events e"
                                " ON e.subject_id = s.payment_id AND e.to_status = 'processed'"
                                " WHERE s.starts_at > e.at");
    if (twice)
        world_wrong(w, "%lld payments were charged to users who were subscribed", (long long)twice);
    w->result->duplicated =
        count_of(w, "SELECT count(*) FROM payments WHERE processing_status = 'duplicated'");
}
