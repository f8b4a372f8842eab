#include "outcome.h"

#include <stdio.h>
#include <string.h>

#define HANDED_MAX 64
#define CLAIMS_MAX 8

void outcome_reset(struct store *s)
{
    place_make(&s->place, false);
    s->next = s->line = 0;
    atomic_store(&s->clock.wall_us, START_US);
    arena_reset(&s->arena);
}

/* ---- what claims handed out ---- */

struct handed {
    struct uuid payments[HANDED_MAX];
    size_t count;
};

static bool hand(struct handed *h, const struct uuid *payment)
{
    for (size_t i = 0; i < h->count; i++)
        if (uuid_equal(&h->payments[i], payment))
            return false;
    assert_true(h->count < HANDED_MAX);
    h->payments[h->count++] = *payment;
    return true;
}

/* False: a payment was handed out twice, which nobody who sends can see. */
static bool hand_all(struct stepper *s, struct handed *h)
{
    bool once = true;
    for (int i = 0; i < s->count; i++)
        for (size_t k = 0; k < s->actors[i].handed_count; k++)
            once &= hand(h, &s->actors[i].handed[k]);
    return once;
}

/* As processors do until nothing is due any more: whoever was passed over is found now. */
static bool claim_rest(struct store *s, struct handed *h)
{
    bool once = true;
    for (int i = 0; i < CLAIMS_MAX; i++) {
        struct ledger_claimed got = claim_ok(s);
        for (size_t k = 0; k < got.attempt_count; k++)
            once &= got.attempts[k].ask_first || hand(h, &got.attempts[k].payment_id);
        if (got.users == 0)
            return once;
    }
    return once;
}

/* ---- the books ---- */

#define SHORT(column) "right(coalesce(" column ", '-'), 2)"
#define LAST(column) "right(" column ", 2)" /* null for null */
#define NUMBER(seq) SHORT("(SELECT x.id FROM payments x WHERE x.seq = " seq ")")

static const struct {
    const char *name, *sql;
} BOOKS[] = {
    {"payments",
     "SELECT string_agg(" SHORT("p.user_id") " || '/' || " SHORT(
         "p.id") " || ' ' || "
                 "p.processing_status || '/' || p.payment_status || coalesce(' ' || p.reason, '') "
                 "|| "
                 "coalesce(' ->' || " LAST("p.duplicate_of") ", '') || coalesce(' of ' || " LAST(
                     "p.refund_of") ", '') || coalesce(' ' || p.processing_id, '') || "
                                    "coalesce(' page ' || p.action_url, '') || CASE p.ask_first "
                                    "WHEN 0 THEN '' ELSE ' ask_first' "
                                    "END || CASE p.needs_decision WHEN 0 THEN '' ELSE ' "
                                    "needs_decision' END || "
                                    "coalesce(' sent' || t.tries || t.ask_only || t.too_old || "
                                    "coalesce(t.pending_since, ''), ''), "
                                    "', ' ORDER BY p.user_id, p.seq) FROM payments p LEFT JOIN "
                                    "attempts t ON t.seq = p.seq"},
    {"accounts", "SELECT string_agg(" SHORT("a.user_id") " || ' flight ' || " NUMBER("a.in_flight") " || ' new ' || " NUMBER(
                     "a.pending_seq") " || ' tell ' || " NUMBER("a.tell_seq") " || CASE WHEN "
                                                                              "a.due_at IS NULL "
                                                                              "THEN '' ELSE ' due' "
                                                                              "END || CASE WHEN "
                                                                              "a.tell_due_at IS "
                                                                              "NULL "
                                                                              "THEN '' ELSE ' "
                                                                              "tells' END || ' ' "
                                                                              "|| "
                                                                              "coalesce(a.active_"
                                                                              "until, '-') || ' ' "
                                                                              "|| " SHORT(
                                                                                  "a.period_"
                                                                                  "payment") ", ', "
                                                                                             "' "
                                                                                             "ORDER"
                                                                                             " BY "
                                                                                             "a."
                                                                                             "user_"
                                                                                             "id) "
                                                                                             "FROM "
                                                                                             "accou"
                                                                                             "nts "
                                                                                             "a"},
    {"events", "SELECT string_agg(CASE e.subject WHEN 'payment' THEN " SHORT(
                   "e.subject_id") " ELSE e.subject END || '>' || coalesce(e.to_status, 'alarm') "
                                   "|| coalesce('/' || "
                                   "e.payment_status, '') || ' ' || coalesce(e.detail, ''), ', ' "
                                   "ORDER BY coalesce(p.user_id, "
                                   "e.detail::jsonb ->> 'user_id', ''), e.seq) FROM events e LEFT "
                                   "JOIN payments p "
                                   "ON p.id = e.subject_id"},
    {"periods", "SELECT string_agg(" SHORT(
                    "s.user_id") " || ' ' || s.starts_at || ' ' || s.ends_at || ' ' "
                                 "|| " SHORT("s.payment_id") ", ', ' ORDER BY s.user_id, "
                                                             "s.starts_at, s.ends_at) "
                                                             "FROM subscriptions s"},
    {"positions", "SELECT string_agg(topic || partition || ':' || next || ' ' || checksum, ', ' "
                  "ORDER BY topic, partition) FROM positions"},
    {"journal", "SELECT string_agg(instance_id || ':' || seq, ', ' ORDER BY instance_id) "
                "FROM journal_positions"},
    {"paged", "SELECT string_agg(" SHORT("user_id") ", ', ' ORDER BY user_id) FROM paged"},
};

static void books_read(struct store *s, struct str *out)
{
    for (size_t i = 0; i < sizeof BOOKS / sizeof *BOOKS; i++)
        str_addf(out, " | %s: %s", BOOKS[i].name, store_text(s, BOOKS[i].sql, NULL));
}

const char *outcome_read(struct stepper *s, bool reads_journal, char text[OUTCOME_MAX])
{
    struct handed handed = {.count = 0};
    struct str out;
    if (!hand_all(s, &handed))
        return "two claims took the same payment";
    if (reads_journal)
        learned_ok(s->store);
    if (!claim_rest(s->store, &handed))
        return "a claim took a payment that another one had taken";
    const char *wrong = store_wrong(s->store);
    if (wrong)
        return wrong;
    store_sane(s->store);
    str_init(&out, OUTCOME_MAX - 1);
    for (int i = 0; i < s->count; i++)
        str_addf(&out, "%s[%s]", i ? " " : "", s->actors[i].said.data);
    books_read(s->store, &out);
    snprintf(text, OUTCOME_MAX, "%s", out.data);
    bool failed = out.failed;
    str_release(&out);
    return failed ? "the outcome does not fit" : NULL;
}
