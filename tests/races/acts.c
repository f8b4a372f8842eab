#include "acts.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void actor_says(struct actor *a, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (a->said.len)
        str_add(&a->said, "; ");
    str_addv(&a->said, format, args);
    va_end(args);
}

static bool went_well(struct actor *a, const char *verb, enum err err)
{
    if (err != ERR_OK)
        actor_says(a, "%s: %s (%s)", verb, err_text(err), ledger_why(a->ledger));
    return err == ERR_OK;
}

/* What is passed over may be claimed later: outcome.c does so, and looks at what was handed out. */
void act_claim(struct actor *a)
{
    struct ledger_claim claim = claim_default();
    struct ledger_claimed got = {0};
    enum err err = ACTOR_TRY(a, ledger_claim(a->ledger, &claim, &a->arena, &got));
    if (!went_well(a, "claim", err))
        return;
    for (size_t i = 0; i < got.attempt_count && a->handed_count < ACTOR_HANDED_MAX; i++)
        if (!got.attempts[i].ask_first)
            a->handed[a->handed_count++] = got.attempts[i].payment_id;
}

void act_due(struct actor *a)
{
    struct attempt *out;
    size_t count = 0;
    enum err err = ACTOR_TRY(a, ledger_due(a->ledger, 10, LEASE_US, &a->arena, &out, &count));
    (void)went_well(a, "due", err);
}

static const char *append_word(const struct ledger_record *r)
{
    switch (r->verdict) {
    case APPEND_STORED:
        return "stored";
    case APPEND_REPEATED:
        return "repeated";
    case APPEND_REFUSED:
        break;
    }
    return "refused";
}

void act_append(struct actor *a)
{
    enum err err = ACTOR_TRY(a, ledger_append(a->ledger, a->records, a->count, &a->from, &a->to));
    actor_says(a, "append: %s", err_text(err));
    for (size_t i = 0; i < a->count && (err == ERR_OK || err == ERR_REFUSED); i++)
        actor_says(a, "%s", append_word(&a->records[i]));
}

void act_settle(struct actor *a)
{
    enum err err = ACTOR_TRY(a, ledger_settle(a->ledger, a->facts, a->count));
    for (size_t i = 0; i < a->count && went_well(a, "settle", err); i++)
        actor_says(a, "settle: verdict %d, %zu duplicated", a->facts[i].verdict,
                   a->facts[i].waiting_duplicated);
}

void act_defer(struct actor *a)
{
    (void)went_well(a, "defer", ACTOR_TRY(a, ledger_defer(a->ledger, &a->deferral, 1)));
}

void act_decide(struct actor *a)
{
    if (went_well(a, "decide", ACTOR_TRY(a, ledger_decide(a->ledger, &a->decision))))
        actor_says(a, "decide: verdict %d", a->decision.verdict);
}

void act_learn(struct actor *a)
{
    const struct ledger_reading reading = {.instance_id = INSTANCE, .from = a->journal};
    struct ledger_learned out = {0};
    enum err err = ACTOR_TRY(a, ledger_learn(a->ledger, &reading, a->lines, a->count, &out));
    if (err == ERR_MOVED)
        actor_says(a, "learn: moved");
    else if (went_well(a, "learn", err))
        actor_says(a, "learn: %zu recorded, %zu alarms%s", out.recorded, out.alarms,
                   out.rewound ? ", rewound" : "");
}

void act_learned_all(struct actor *a)
{
    struct uuid waited = UUID_NIL, stands = UUID_NIL;
    enum err err = ACTOR_TRY(a, ledger_learned_all(a->ledger, &waited, &stands));
    if (err == ERR_OK && !uuid_is_nil(&stands)) {
        waited = stands;
        err = ACTOR_TRY(a, ledger_learned_all(a->ledger, &waited, &stands));
    }
    (void)went_well(a, "learned_all", err);
}

void act_asked_unknown(struct actor *a)
{
    enum err err = ACTOR_TRY(a, ledger_asked_unknown(a->ledger, &a->payment));
    (void)went_well(a, "asked_unknown", err);
}

void act_mark_restored(struct actor *a)
{
    int64_t marked = 0;
    if (went_well(a, "mark_restored", ACTOR_TRY(a, ledger_mark_restored(a->ledger, &marked))))
        actor_says(a, "%lld marked", (long long)marked);
}

/* What is passed over is told later. */
void act_untold(struct actor *a)
{
    struct telling *out;
    size_t count = 0;
    enum err err = ACTOR_TRY(a, ledger_untold(a->ledger, 10, LEASE_US, &a->arena, &out, &count));
    (void)went_well(a, "untold", err);
}

void act_told(struct actor *a)
{
    (void)went_well(a, "told", ACTOR_TRY(a, ledger_told(a->ledger, &a->told, 1)));
}

void act_rewind(struct actor *a)
{
    (void)went_well(a, "rewind", ACTOR_TRY(a, ledger_rewind(a->ledger, TOPIC, 0, 0)));
}

/* ---- preparing ---- */

void append_asks(struct actor *a, struct store *s, int partition, struct ledger_record record)
{
    if (a->count == 0) {
        a->from = (struct ledger_position){.topic = TOPIC, .partition = partition, .partitions = 1};
        a->from.next = partition == 0 ? s->next : 0;
        snprintf(a->from.log_id, sizeof a->from.log_id, "%s", a->from.next ? LOG_ID : "");
        a->to = a->from;
        snprintf(a->to.log_id, sizeof a->to.log_id, "%s", LOG_ID);
    }
    assert_true(a->count < ACTOR_BATCH_MAX);
    a->records[a->count++] = record;
    a->to.next++;
    a->to.checksum = (uint64_t)a->to.next;
}

void settle_says(struct actor *a, struct fact fact)
{
    assert_true(a->count < ACTOR_BATCH_MAX);
    a->facts[a->count++] = fact;
}

void journal_says(struct actor *a, struct store *s, struct journal_entry line)
{
    assert_true(a->count < ACTOR_BATCH_MAX);
    a->journal = journal_position(s);
    a->lines[a->count++] = line;
}
