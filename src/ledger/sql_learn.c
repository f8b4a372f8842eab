/* What the processing's journal, or its answer to a question about a new payment, tells the books
 * (rule 11): the steps are decided by billing/learn.h, and done here. */
#include <stdlib.h>
#include <string.h>

#include "base/db_array.h"
#include "ledger/sql_ledger.h"

struct line {
    bool known; /* settled by these books; else it is looked at under the lock of its user */
    bool after; /* about a payment that was claimed after the reading began */
};
struct learn {
    struct verb verb;
    const struct ledger_reading *reading; /* NULL: an answer to a question */
    const char *instance_id;
    const struct journal_entry *entries;
    size_t count;
    struct line *lines; /* of each entry */
    struct uuid *users; /* scratch */
    struct ledger_learned found;
};
/* One line and where its payment stands. */
struct lesson {
    const struct journal_entry *entry;
    struct standing p;
    bool known, other_in_flight, other_request;
};

static const char *answer_text(enum learn_answer answer)
{
    if (answer == LEARN_UNCLEAR)
        return "unclear";
    return answer == LEARN_PENDING ? "pending" : payment_status_text(learn_status(answer));
}

/* ---- read ---- */

static enum err user_in_flight(struct verb *v, const struct uuid *user_id, int64_t *out)
{
    struct query q;
    query_open(&q, v->db, "SELECT coalesce(in_flight, 0) FROM accounts WHERE user_id = ?1");
    query_bind_uuid(&q, user_id);
    *out = query_next(&q) ? query_i64(&q, 0) : 0;
    return query_close(&q);
}

static enum err lesson_read(struct learn *l, const struct journal_entry *e, struct lesson *out)
{
    const struct request *r = &e->request;
    char user[UUID_TEXT];
    *out = (struct lesson){.entry = e};
    enum err err = standing_read(&l->verb, &r->payment_id, &out->p, &out->known);
    if (err != ERR_OK)
        return err;
    uuid_format(&r->user_id, user);
    memcpy(l->verb.user, user, sizeof l->verb.user);
    if (!out->known) {
        int64_t in_flight;
        err = user_in_flight(&l->verb, &r->user_id, &in_flight);
        out->other_in_flight = in_flight != 0;
        return err;
    }
    out->other_in_flight = out->p.in_flight != 0 && out->p.in_flight != out->p.seq;
    out->other_request = strcmp(out->p.user, user) != 0 || out->p.payment_type != r->payment_type ||
                         out->p.subscription_type != r->subscription_type;
    return ERR_OK;
}

static struct learn_step lesson_step(const struct lesson *s)
{
    struct learn_payment payment = {
        .known = s->known,
        .processing_status = s->p.processing_status,
        .payment_status = s->p.payment_status,
        .other_in_flight = s->other_in_flight,
    };
    if (s->other_request)
        return (struct learn_step){.move = LEARN_ALARM};
    return learn_line(&payment, s->entry->answer);
}

/* ---- write ---- */

static enum err learn_alarm(struct learn *l, const struct lesson *s, const struct money *money)
{
    l->found.alarms++;
    return row_contradiction(&l->verb, &s->entry->request.payment_id, answer_text(s->entry->answer),
                             money);
}

static enum err learn_make(struct learn *l, struct lesson *s, bool ask_first)
{
    const struct journal_entry *e = s->entry;
    struct stored_request stored = {
        .request = &e->request,
        .requested_at_us = e->request.requested_at_us,
        .recorded_at_us = REQUEST_NO_TIME,
        .actor = "processor",
        .ask_first = ask_first,
    };
    if (e->request.payment_type == PAYMENT_TYPE_PAYMENT)
        stored.money = e->money;
    enum err err = row_next_seq(&l->verb, &stored.seq);
    if (err == ERR_OK)
        err = row_store(&l->verb, &stored);
    l->verb.changes |= LEDGER_CHANGE_PAYMENT | LEDGER_CHANGE_STORED;
    return err == ERR_OK ? standing_read(&l->verb, &e->request.payment_id, &s->p, &s->known) : err;
}

/* A refund in flight for the same payment was decided by a person in the books that are lost: it
 * gives way. */
static enum err refunding_free(struct learn *l, const struct standing *p)
{
    struct query q;
    query_open(&q, l->verb.db,
               "UPDATE payments SET refunding = NULL WHERE refunding = ?1 AND seq <> ?2 "
               "AND processing_status = 'in_processing'");
    query_bind_uuid(&q, &p->refund_of);
    query_bind_i64(&q, p->seq);
    return query_run(&q);
}

static enum err send_payment(struct learn *l, const struct standing *p, const char *status)
{
    struct query q;
    query_open(&q, l->verb.db,
               "UPDATE payments SET processing_status = ?2, amount = ?3, currency = ?4, "
               "refund_of = ?5, refunding = CASE WHEN NOT EXISTS (SELECT 1 FROM payments o "
               "WHERE o.refunding = ?5) THEN ?5 END, ask_first = 0 "
               "WHERE seq = ?1 AND processing_status = 'new'");
    query_bind_i64(&q, p->seq);
    query_bind_text(&q, status);
    row_bind_money(&q, &p->money);
    row_bind_uuid(&q, &p->refund_of);
    return query_run(&q);
}

static enum err send_attempt(struct learn *l, const struct lesson *s, bool pending)
{
    struct query q;
    query_open(&q, l->verb.db,
               "INSERT INTO attempts (seq, body, instance_id, first_sent_at, ask_only, "
               "pending_since) VALUES (?1, ?2, ?3, ?4, 1, ?5)");
    query_bind_i64(&q, s->p.seq);
    query_bind_text_n(&q, s->entry->body, s->entry->body_len);
    query_bind_text(&q, l->instance_id);
    query_bind_time(&q, l->verb.now_us); /* the journal does not say when */
    query_bind_time(&q, pending ? l->verb.now_us : TIME_NEVER);
    return query_run(&q);
}

/* It was sent, by books that are lost: attempt, money and target as the journal has them. The move
 * to in_processing is left out where another one is in flight: a user's intervals do not overlap
 * (I3). */
static enum err learn_send(struct learn *l, struct lesson *s, bool pending)
{
    struct standing *p = &s->p;
    bool moves = !s->other_in_flight;
    bool priced = money_equal(&p->money, &s->entry->money);
    struct move move = {
        .payment_id = &p->payment_id,
        .actor = "processor",
        .from = "new",
        .to = "in_processing",
    };
    enum err err = ERR_OK;
    p->money = s->entry->money;
    if (p->payment_type == PAYMENT_TYPE_REFUND) {
        p->refund_of = s->entry->request.refund_of;
        err = refunding_free(l, p);
    }
    if (err == ERR_OK)
        err = send_payment(l, p, moves ? "in_processing" : "new");
    if (err == ERR_OK)
        err = send_attempt(l, s, pending);
    if (err != ERR_OK || !moves)
        return err;
    move.refund_of = p->refund_of;
    if (!priced)
        move.money = p->money;
    p->processing_status = PROCESSING_IN_PROCESSING;
    return row_move(&l->verb, &move);
}

static struct outcome learn_outcome(const struct journal_entry *e)
{
    struct outcome o = {
        .status = learn_status(e->answer),
        .voided = e->voided,
        .processing_id = e->processing_id,
        .actor = "processor",
    };
    if (e->answer == LEARN_ERROR && !e->voided)
        o.reason = REASON_REFUSED;
    return o;
}

static enum err learn_settle(struct learn *l, struct lesson *s)
{
    struct outcome o = learn_outcome(s->entry);
    size_t waiting_duplicated = 0;
    if (!money_equal(&s->entry->money, &s->p.money))
        return learn_alarm(l, s, &s->entry->money);
    l->found.recorded++;
    return standing_settle(&l->verb, &s->p, &o, l->reading != NULL, &waiting_duplicated);
}

static enum err learn_record(struct learn *l, struct lesson *s)
{
    struct outcome o = learn_outcome(s->entry);
    enum err err = learn_send(l, s, false);
    if (o.voided)
        o.reason = undecided_void_reason(&s->p.undecided);
    if (err == ERR_OK)
        err = standing_ends(&l->verb, &s->p, &o);
    l->found.recorded++;
    return err == ERR_OK ? standing_account(&l->verb, &s->p) : err;
}

static enum err learn_adopt(struct learn *l, struct lesson *s)
{
    bool pending = s->entry->answer == LEARN_PENDING && /* a refund has no answer (rule 8) */
                   s->p.payment_type == PAYMENT_TYPE_PAYMENT;
    struct query q;
    enum err err = learn_send(l, s, pending);
    if (err == ERR_OK && pending)
        err = row_page(&l->verb, s->p.seq, s->entry->action_url, s->entry->expires_at_us);
    if (err != ERR_OK)
        return err;
    query_open(&q, l->verb.db,
               "UPDATE accounts SET version = version + 1, in_flight = ?2, due_at = ?3 "
               "WHERE user_id = ?1");
    query_bind_text(&q, s->p.user);
    query_bind_i64(&q, s->p.seq);
    query_bind_time(&q, l->verb.now_us);
    if ((err = query_run(&q)) != ERR_OK)
        return err;
    err = waiting_account(&l->verb, s->p.user, s->p.pending_seq);
    return err == ERR_OK ? waiting_note(&l->verb, s->p.user) : err;
}

static enum err learn_page(struct learn *l, struct lesson *s)
{
    struct query q;
    enum err err;
    if (s->p.payment_type == PAYMENT_TYPE_REFUND)
        return ERR_OK;
    query_open(&q, l->verb.db,
               "UPDATE attempts SET pending_since = coalesce(pending_since, ?2) WHERE seq = ?1");
    query_bind_i64(&q, s->p.seq);
    query_bind_time(&q, l->verb.now_us);
    if ((err = query_run(&q)) == ERR_OK)
        err = row_page(&l->verb, s->p.seq, s->entry->action_url, s->entry->expires_at_us);
    return err == ERR_OK ? waiting_note(&l->verb, s->p.user) : err;
}

static enum err learn_ask_first(struct learn *l, const struct lesson *s)
{
    struct query q;
    query_open(&q, l->verb.db,
               "UPDATE payments SET ask_first = greatest(ask_first, 1) WHERE seq = ?1");
    query_bind_i64(&q, s->p.seq);
    return query_run(&q);
}

static enum err lesson_do(struct learn *l, struct lesson *s, const struct learn_step *step)
{
    enum err err = step->make ? learn_make(l, s, step->move == LEARN_ASK_FIRST) : ERR_OK;
    if (err != ERR_OK)
        return err;
    switch (step->move) {
    case LEARN_NOTHING:
        return ERR_OK;
    case LEARN_SETTLE:
        return learn_settle(l, s);
    case LEARN_PAGE:
        return learn_page(l, s);
    case LEARN_RECORD:
        return learn_record(l, s);
    case LEARN_ADOPT:
        return learn_adopt(l, s);
    case LEARN_ASK_FIRST:
        return learn_ask_first(l, s);
    case LEARN_ALARM:
        return learn_alarm(l, s, NULL);
    }
    return ERR_BUG;
}

/* ---- the journal ---- */

/* Most lines are about payments that were settled by their own call: nothing to do, and as that is
 * final, it is seen without a lock.
 *
 * Claimed after the reading began: only a claim knows by which kernel's clock it sends (what the
 * journal taught has no boot_id), and an event that is behind the last one that could be seen when
 * the reading began was committed later, and what is sent is sent after that. */
#define LINE_COLUMNS                                                                               \
    "p.user_id, p.payment_type, p.subscription_type, p.processing_status, p.payment_status, "      \
    "t.boot_id <> '' AND NOT EXISTS (SELECT 1 FROM events e "                                      \
    "WHERE e.subject_id = CAST(p.id AS text) AND e.seq <= ?2 AND e.to_status = 'in_processing') "
#define LINE_FROM "payments p LEFT JOIN attempts t ON t.seq = p.seq "

static bool line_known(struct query *q, const struct journal_entry *e)
{
    const struct request *r = &e->request;
    const struct learn_payment payment = {
        .known = true,
        .processing_status = row_processing_status(q, 3),
        .payment_status = row_payment_status(q, 4),
    };
    struct uuid user_id = query_uuid(q, 0);
    return (payment.processing_status == PROCESSING_PROCESSED ||
            payment.processing_status == PROCESSING_COMPLETED) &&
           uuid_equal(&user_id, &r->user_id) && row_payment_type(q, 1) == r->payment_type &&
           row_subscription_type(q, 2) == r->subscription_type &&
           learn_line(&payment, e->answer).move == LEARN_NOTHING;
}

static void line_read(struct learn *l, struct query *q, size_t i)
{
    l->lines[i].known = line_known(q, &l->entries[i]);
    l->lines[i].after = query_i64(q, 5) != 0;
}

static enum err lines_by_array(struct learn *l)
{
    struct db_array ids;
    struct query q;
    db_array_init(&ids, l->count * UUID_TEXT + 8);
    for (size_t i = 0; i < l->count; i++)
        db_array_uuid(&ids, &l->entries[i].request.payment_id);
    query_open(&q, l->verb.db,
               "SELECT " LINE_COLUMNS ", u.n FROM " LINE_FROM
               "JOIN unnest(?1::uuid[]) WITH ORDINALITY AS u (id, n) ON p.id = u.id");
    query_bind_array(&q, &ids);
    query_bind_i64(&q, l->reading->began);
    while (query_next(&q))
        line_read(l, &q, (size_t)query_i64(&q, 6) - 1);
    db_array_release(&ids);
    return query_close(&q);
}

static enum err lines_one_by_one(struct learn *l)
{
    enum err err = ERR_OK;
    for (size_t i = 0; i < l->count && err == ERR_OK; i++) {
        struct query q;
        query_open(&q, l->verb.db, "SELECT " LINE_COLUMNS "FROM " LINE_FROM "WHERE p.id = ?1");
        query_bind_uuid(&q, &l->entries[i].request.payment_id);
        query_bind_i64(&q, l->reading->began);
        if (query_next(&q))
            line_read(l, &q, i);
        err = query_close(&q);
    }
    return err;
}

static enum err mark_stands(struct learn *l, bool *stands)
{
    struct query q;
    query_open(&q, l->verb.db, "SELECT 1 FROM rewound");
    *stands = query_next(&q);
    return query_close(&q);
}

/* What the processors are working on now is left to them: a reading that took it would hold up all. */
static enum err lines_sort_out(struct learn *l)
{
    bool stands = false;
    size_t taken = 0, users = 0;
    enum err err = db_is_postgres(l->verb.db) ? lines_by_array(l) : lines_one_by_one(l);
    if (err == ERR_OK)
        err = mark_stands(l, &stands);
    if (err != ERR_OK)
        return err;
    for (; taken < l->count && (stands || !l->lines[taken].after); taken++)
        if (!l->lines[taken].known)
            l->users[users++] = l->entries[taken].request.user_id;
    l->found.taken = taken;
    l->found.caught_up = taken < l->count;
    return verb_lock_users(&l->verb, l->users, sizeof *l->users, users);
}

static enum err learn_entry(struct learn *l, const struct journal_entry *e)
{
    struct lesson s;
    enum err err = lesson_read(l, e, &s);
    if (err != ERR_OK)
        return err;
    struct learn_step step = lesson_step(&s);
    if ((err = lesson_do(l, &s, &step)) != ERR_OK || !learn_rewound(&step))
        return err;
    l->found.rewound = true;
    return learning_rewound(&l->verb, s.p.user, step.move == LEARN_ASK_FIRST ? 0 : s.p.seq);
}

/* Locked until the end of the reading's step; where there is none yet, it is made. */
static enum err position_locked(struct learn *l, int64_t *seq, bool *found)
{
    struct query q;
    query_open(&q, l->verb.db,
               VERB_LOCKING(&l->verb, "SELECT seq FROM journal_positions WHERE instance_id = ?1",
                            "FOR UPDATE"));
    query_bind_text(&q, l->instance_id);
    *found = query_next(&q);
    *seq = *found ? query_i64(&q, 0) : 0;
    return query_close(&q);
}

static enum err position_read(struct learn *l, int64_t *seq)
{
    struct query q;
    bool found;
    enum err err = position_locked(l, seq, &found);
    if (err != ERR_OK || found || !db_is_postgres(l->verb.db))
        return err;
    query_open(&q, l->verb.db,
               "INSERT INTO journal_positions (instance_id, seq) VALUES (?1, 0) "
               "ON CONFLICT (instance_id) DO NOTHING");
    query_bind_text(&q, l->instance_id);
    err = query_run(&q);
    return err == ERR_OK ? position_locked(l, seq, &found) : err;
}

static enum err position_moves(struct learn *l, int64_t seq)
{
    struct query q;
    query_open(&q, l->verb.db,
               "INSERT INTO journal_positions (instance_id, seq) VALUES (?1, ?2) "
               "ON CONFLICT (instance_id) DO UPDATE SET seq = excluded.seq");
    query_bind_text(&q, l->instance_id);
    query_bind_i64(&q, seq);
    return query_run(&q);
}

static enum err learn_run(struct verb *v)
{
    struct learn *l = (struct learn *)v;
    int64_t seq;
    enum err err = position_read(l, &seq);
    if (err == ERR_OK && seq != l->reading->from)
        err = ERR_MOVED;
    if (err == ERR_OK)
        err = lines_sort_out(l);
    size_t taken = l->found.taken;
    for (size_t i = 0; i < taken && err == ERR_OK; i++)
        if (!l->lines[i].known)
            err = learn_entry(l, &l->entries[i]);
    if (err == ERR_OK && l->found.rewound) {
        l->found.caught_up = false;
        err = rewound_marks(v);
    }
    return err == ERR_OK && taken > 0 ? position_moves(l, l->entries[taken - 1].seq) : err;
}

enum err sql_learn(struct ledger *ledger, const struct ledger_reading *reading,
                   const struct journal_entry *entries, size_t count, struct ledger_learned *out)
{
    struct learn l = {.verb = {.run = learn_run, .l = (struct sql_ledger *)ledger},
                      .reading = reading,
                      .instance_id = reading->instance_id,
                      .entries = entries,
                      .count = count,
                      .lines = calloc(count, sizeof *l.lines),
                      .users = calloc(count, sizeof *l.users)};
    enum err err = l.lines && l.users ? verb_do(&l.verb) : ERR_NO_MEMORY;
    if (err == ERR_OK)
        *out = l.found;
    free(l.lines);
    free(l.users);
    return err;
}

enum err sql_reading(struct ledger *ledger, const char *instance_id, struct ledger_reading *out)
{
    struct sql_ledger *l = (struct sql_ledger *)ledger;
    struct query q;
    struct db *db;
    enum err err = sql_reader(l, &db);
    if (err != ERR_OK)
        return err;
    query_open(&q, db,
               "SELECT (SELECT seq FROM journal_positions WHERE instance_id = ?1), "
               "(SELECT max(seq) FROM events)");
    query_bind_text(&q, instance_id);
    struct ledger_reading found = {.instance_id = instance_id};
    if (query_next(&q)) {
        found.from = query_i64(&q, 0);
        found.began = query_i64(&q, 1);
    }
    err = sql_read_ends(l, db, query_close(&q));
    if (err == ERR_OK)
        *out = found;
    return err;
}

/* ---- the answer to a question about a new payment ---- */

static enum err asked_run(struct verb *v)
{
    struct learn *l = (struct learn *)v;
    struct journal_entry entry = *l->entries;
    struct lesson s;
    bool found;
    enum err err = verb_lock_payments(v, &entry.request.payment_id, 0, 1);
    if (err == ERR_OK)
        err = standing_read(v, &entry.request.payment_id, &s.p, &found);
    if (err != ERR_OK || !found)
        return err;
    if (!uuid_parse(s.p.user, strlen(s.p.user), &entry.request.user_id))
        return verb_fails(v, ERR_CORRUPT, "not a user's id");
    entry.request.payment_type = s.p.payment_type;
    entry.request.subscription_type = s.p.subscription_type;
    if ((err = lesson_read(l, &entry, &s)) != ERR_OK)
        return err;
    struct learn_step step = lesson_step(&s);
    if ((err = lesson_do(l, &s, &step)) != ERR_OK || !learn_rewound(&step))
        return err;
    l->found.rewound = true;
    if (step.move == LEARN_ASK_FIRST)
        return ERR_OK;
    if (s.p.learning) /* a reading ends later, and does this */
        return learning_rewound(v, s.p.user, s.p.seq);
    err = waiting_older(v, s.p.user, s.p.seq);
    return err == ERR_OK ? waiting_account(v, s.p.user, 0) : err;
}

enum err sql_asked(struct ledger *ledger, const char *instance_id,
                   const struct journal_entry *entry, struct ledger_learned *out)
{
    struct learn l = {.verb = {.run = asked_run, .l = (struct sql_ledger *)ledger},
                      .instance_id = instance_id,
                      .entries = entry,
                      .count = 1};
    enum err err = verb_do(&l.verb);
    if (err == ERR_OK)
        *out = l.found;
    return err;
}
