/* Append over all records at once. A record costs a row of payments and one of events; a user, however
 * many records there are, one touch of the account. */
#include <stdlib.h>
#include <string.h>

#include "ledger/postgres_rows.h"

#define APPEND_SCRATCH_MAX ((size_t)64 << 20)

/* One of the records. */
struct entry {
    size_t index; /* of the record */
    struct ledger_record *record;
    struct entry *first; /* of the batch with this id: itself, or an earlier one */
    bool known; /* of a first one: its id is taken, by a stored payment or by its record: */
    struct uuid user_id;
    enum payment_type payment_type;
    enum subscription_type subscription_type;
    struct stored_request stored; /* seq 0: it is not to be stored */
};
/* A user with records to be stored. */
struct owner {
    struct uuid id;
    int64_t first_seq;
    bool exists, in_flight;
    char place[PLACE_TEXT]; /* of one that exists */
};
struct batch {
    struct append *append;
    struct arena scratch;
    struct entry *entries; /* in the order of the records */
    struct entry **sorted; /* by id, or by user */
    struct owner *owners;  /* by id */
    size_t owner_count, fresh_count;
    struct set ids, accounts, payments;
    struct events events;
};

/* ---- which are new ---- */

static int by_id(const void *a, const void *b)
{
    const struct entry *x = *(struct entry *const *)a, *y = *(struct entry *const *)b;
    int order = uuid_compare(&x->record->request.payment_id, &y->record->request.payment_id);
    return order != 0 ? order : (x->index > y->index) - (x->index < y->index);
}

static int by_user(const void *a, const void *b)
{
    const struct entry *x = *(struct entry *const *)a, *y = *(struct entry *const *)b;
    int order = uuid_compare(&x->record->request.user_id, &y->record->request.user_id);
    return order != 0 ? order : (x->index > y->index) - (x->index < y->index);
}

static enum err batch_entries(struct batch *b)
{
    size_t count = b->append->count;
    b->entries = arena_array(&b->scratch, struct entry, count);
    b->sorted = arena_array(&b->scratch, struct entry *, count);
    b->owners = arena_array(&b->scratch, struct owner, count);
    if (!b->entries || !b->sorted || !b->owners)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < count; i++) {
        b->entries[i].index = i;
        b->entries[i].record = &b->append->records[i];
        b->sorted[i] = &b->entries[i];
        db_array_uuid(&b->ids.columns[0], &b->append->records[i].request.payment_id);
    }
    qsort(b->sorted, count, sizeof(struct entry *), by_id);
    for (size_t i = 0; i < count; i++) {
        struct entry *e = b->sorted[i], *before = i ? b->sorted[i - 1] : e;
        bool same = uuid_equal(&e->record->request.payment_id, &before->record->request.payment_id);
        e->first = same && i ? before->first : e;
    }
    return ERR_OK;
}

/* The ids that are stored. One that somebody else is storing right now is met by the unique index. One
 * look-up an id, also where the table was small when that was planned. */
static enum err batch_known(struct batch *b)
{
    struct query q;
    query_open(&q, b->append->verb.db,
               "SELECT u.n, p.user_id, p.payment_type, p.subscription_type "
               "FROM unnest(?1::uuid[]) WITH ORDINALITY AS u (id, n) CROSS JOIN LATERAL "
               "(SELECT user_id, payment_type, subscription_type FROM payments WHERE id = u.id "
               "OFFSET 0) p");
    set_bind(&q, &b->ids);
    while (query_next(&q)) {
        struct entry *e = b->entries[query_i64(&q, 0) - 1].first;
        e->known = true;
        e->user_id = query_uuid(&q, 1);
        e->payment_type = row_payment_type(&q, 2);
        e->subscription_type = row_subscription_type(&q, 3);
    }
    return query_close(&q);
}

static bool entry_repeats(const struct entry *first, const struct request *r)
{
    return uuid_equal(&first->user_id, &r->user_id) && first->payment_type == r->payment_type &&
           first->subscription_type == r->subscription_type;
}

/* In the order of the records, as one after the other would be. */
static enum err batch_verdicts(struct batch *b, bool *refused)
{
    for (size_t i = 0; i < b->append->count; i++) {
        struct entry *e = &b->entries[i], *first = e->first;
        const struct request *r = &e->record->request;
        enum err err = ERR_OK;
        if (first->known)
            append_repeats(e->record, entry_repeats(first, r));
        else
            err = append_priced(b->append, e->record, &e->stored);
        if (err != ERR_OK)
            return err;
        *refused |= e->record->verdict == APPEND_REFUSED;
        if (e->record->verdict != APPEND_STORED)
            continue;
        first->known = true;
        first->user_id = r->user_id;
        first->payment_type = r->payment_type;
        first->subscription_type = r->subscription_type;
        b->sorted[b->fresh_count++] = e;
    }
    return ERR_OK;
}

/* ---- the accounts ---- */

static int owner_order(const void *a, const void *b)
{
    return uuid_compare(&((const struct owner *)a)->id, &((const struct owner *)b)->id);
}

static struct owner *owner_of(const struct batch *b, const struct uuid *user_id)
{
    struct owner wanted = {.id = *user_id};
    return bsearch(&wanted, b->owners, b->owner_count, sizeof wanted, owner_order);
}

static void batch_owners(struct batch *b)
{
    qsort(b->sorted, b->fresh_count, sizeof(struct entry *), by_user);
    set_clear(&b->ids);
    for (size_t i = 0; i < b->fresh_count; i++) {
        const struct uuid *id = &b->sorted[i]->record->request.user_id;
        if (b->owner_count && uuid_equal(id, &b->owners[b->owner_count - 1].id))
            continue;
        b->owners[b->owner_count++].id = *id;
        db_array_uuid(&b->ids.columns[0], id);
    }
}

static enum err owners_lock(struct batch *b)
{
    struct query q;
    query_open(&q, b->append->verb.db,
               "SELECT user_id, in_flight IS NOT NULL, ctid FROM accounts "
               "WHERE user_id = ANY (?1) "
               "ORDER BY user_id FOR UPDATE");
    set_bind(&q, &b->ids);
    while (query_next(&q)) {
        struct uuid id = query_uuid(&q, 0);
        struct owner *o = owner_of(b, &id);
        if (o) {
            o->exists = true;
            o->in_flight = query_i64(&q, 1) != 0;
            row_place(&q, 2, o->place);
        }
    }
    return query_close(&q);
}

static void owners_collect(struct batch *b, bool exists)
{
    set_clear(&b->accounts);
    for (size_t i = 0; i < b->owner_count; i++) {
        const struct owner *o = &b->owners[i];
        if (o->exists != exists)
            continue;
        if (exists)
            db_array_place(&b->accounts.columns[0], o->place);
        else
            db_array_uuid(&b->accounts.columns[0], &o->id);
        db_array_i64(&b->accounts.columns[1], o->first_seq);
    }
}

static enum err owners_update(struct batch *b)
{
    struct verb *v = &b->append->verb;
    struct query q;
    owners_collect(b, true);
    if (set_count(&b->accounts) == 0)
        return ERR_OK;
    query_open(&q, v->db,
               "UPDATE accounts a SET version = version + 1, "
               "pending_seq = least(a.pending_seq, u.seq), due_at = CASE WHEN a.in_flight IS NULL "
               "THEN least(a.due_at, ?3::timestamptz) ELSE a.due_at END "
               "FROM unnest(?1::tid[], ?2::bigint[]) AS u (place, seq) "
               "WHERE a.ctid = u.place");
    set_bind(&q, &b->accounts);
    query_bind_time(&q, v->now_us);
    return set_run(v, &q, &b->accounts);
}

/* There was none when the others were locked. If there is one now, somebody else stores requests of
 * this user, and their order is not ours to say: again. */
static enum err owners_insert(struct batch *b)
{
    struct verb *v = &b->append->verb;
    struct query q;
    owners_collect(b, false);
    if (set_count(&b->accounts) == 0)
        return ERR_OK;
    query_open(&q, v->db,
               "INSERT INTO accounts (user_id, version, pending_seq, due_at) "
               "SELECT u.user_id, 1, u.seq, ?3::timestamptz "
               "FROM unnest(?1::uuid[], ?2::bigint[]) AS u (user_id, seq) "
               "ON CONFLICT (user_id) DO NOTHING");
    set_bind(&q, &b->accounts);
    query_bind_time(&q, v->now_us);
    enum err err = query_run(&q);
    return err == ERR_OK && db_changes(v->db) != (int64_t)set_count(&b->accounts) ? ERR_BUSY : err;
}

/* waiting_note, of all. */
static enum err owners_note(struct batch *b)
{
    struct verb *v = &b->append->verb;
    struct query q;
    set_clear(&b->ids);
    for (size_t i = 0; i < b->owner_count; i++)
        if (b->owners[i].in_flight)
            db_array_uuid(&b->ids.columns[0], &b->owners[i].id);
    if (set_count(&b->ids) == 0)
        return ERR_OK;
    query_open(&q, v->db,
               "INSERT INTO paged (user_id) SELECT a.user_id FROM accounts a "
               "JOIN attempts t ON t.seq = a.in_flight WHERE a.user_id = ANY (?1) "
               "AND t.pending_since IS NOT NULL ORDER BY a.user_id "
               "ON CONFLICT (user_id) DO NOTHING");
    set_bind(&q, &b->ids);
    return query_run(&q);
}

/* ---- the payments ---- */

enum {
    PAYMENT_ID,
    PAYMENT_USER,
    PAYMENT_KIND,
    PAYMENT_SUBSCRIPTION,
    PAYMENT_DATE,
    PAYMENT_RECORDED,
    PAYMENT_AMOUNT,
    PAYMENT_CURRENCY,
    PAYMENT_METHOD,
    PAYMENT_ACTOR,
    PAYMENT_REFUND_OF,
    PAYMENT_WIDTH
};

static void payment_add(struct set *s, const struct stored_request *stored)
{
    const struct request *r = stored->request;
    struct db_array *c = s->columns;
    db_array_uuid(&c[PAYMENT_ID], &r->payment_id);
    db_array_uuid(&c[PAYMENT_USER], &r->user_id);
    db_array_text(&c[PAYMENT_KIND], payment_type_text(r->payment_type));
    db_array_text(&c[PAYMENT_SUBSCRIPTION], subscription_type_text(r->subscription_type));
    db_array_time(&c[PAYMENT_DATE], row_calendar(stored->requested_at_us));
    db_array_time(&c[PAYMENT_RECORDED], row_calendar(stored->recorded_at_us));
    set_money(&c[PAYMENT_AMOUNT], &c[PAYMENT_CURRENCY], &stored->money);
    db_array_text(&c[PAYMENT_METHOD], r->payment_method[0] ? r->payment_method : NULL);
    db_array_text(&c[PAYMENT_ACTOR], r->actor[0] ? r->actor : NULL);
    set_uuid(&c[PAYMENT_REFUND_OF], &r->refund_of);
}

/* seq is given in the order of the rows, and the rows come back in it. */
static enum err payments_insert(struct batch *b, struct entry **chunk)
{
    struct verb *v = &b->append->verb;
    struct query q;
    size_t n = 0;
    query_open(&q, v->db,
               "INSERT INTO payments (id, user_id, payment_type, subscription_type, payment_date, "
               "recorded_at, amount, currency, payment_method, actor, refund_of, stored_at, "
               "ask_first) SELECT u.id, u.user_id, u.kind, u.subscription, u.date, u.recorded, "
               "u.amount, u.currency, u.method, u.actor, u.refund_of, ?12::timestamptz, ?13::int "
               "FROM unnest(?1::uuid[], ?2::uuid[], ?3::text[], ?4::text[], ?5::timestamptz[], "
               "?6::timestamptz[], ?7::bigint[], ?8::text[], ?9::text[], ?10::text[], ?11::uuid[]) "
               "WITH ORDINALITY AS u (id, user_id, kind, subscription, date, recorded, amount, "
               "currency, method, actor, refund_of, n) ORDER BY u.n RETURNING seq");
    set_bind(&q, &b->payments);
    query_bind_time(&q, v->now_us);
    query_bind_i64(&q, b->append->ask_first);
    while (query_next(&q) && n < set_count(&b->payments)) {
        struct owner *o = owner_of(b, &chunk[n]->record->request.user_id);
        chunk[n]->stored.seq = query_i64(&q, 0);
        if (o && o->first_seq == 0)
            o->first_seq = chunk[n]->stored.seq;
        n++;
    }
    enum err err = query_close(&q);
    if (err == ERR_CONFLICT) /* somebody else stores the same id: again, and it is known */
        return ERR_BUSY;
    if (err == ERR_OK && n != set_count(&b->payments))
        return verb_fails(v, ERR_BUG, "not all rows were stored");
    return err;
}

static enum err payments_store(struct batch *b, struct entry **chunk, size_t count)
{
    set_clear(&b->payments);
    for (size_t i = 0; i < count; i++) {
        const struct stored_request *s = &chunk[i]->stored;
        struct move move = store_move(s);
        payment_add(&b->payments, s);
        events_move(&b->events, &move);
    }
    enum err err = payments_insert(b, chunk);
    return err == ERR_OK ? events_write(&b->append->verb, &b->events, "saver") : err;
}

static int by_index(const void *a, const void *b)
{
    const struct entry *x = *(struct entry *const *)a, *y = *(struct entry *const *)b;
    return (x->index > y->index) - (x->index < y->index);
}

static enum err batch_store(struct batch *b)
{
    batch_owners(b);
    enum err err = owners_lock(b);
    qsort(b->sorted, b->fresh_count, sizeof(struct entry *), by_index);
    for (size_t i = 0; i < b->fresh_count && err == ERR_OK; i += POSTGRES_CHUNK) {
        size_t left = b->fresh_count - i;
        err = payments_store(b, b->sorted + i, left < POSTGRES_CHUNK ? left : POSTGRES_CHUNK);
    }
    if (err == ERR_OK)
        err = owners_update(b);
    if (err == ERR_OK)
        err = owners_insert(b);
    return err == ERR_OK ? owners_note(b) : err;
}

static enum err batch_run(struct batch *b)
{
    bool refused = false;
    enum err err = batch_entries(b);
    if (err == ERR_OK)
        err = batch_known(b);
    if (err == ERR_OK)
        err = batch_verdicts(b, &refused);
    return err == ERR_OK && !refused && b->fresh_count ? batch_store(b) : err;
}

static enum err append_all(struct append *a)
{
    struct batch b = {.append = a};
    if (a->count == 0)
        return ERR_OK;
    arena_init(&b.scratch, APPEND_SCRATCH_MAX);
    set_init(&b.ids, 1);
    set_init(&b.accounts, 2);
    set_init(&b.payments, PAYMENT_WIDTH);
    events_init(&b.events);
    enum err err = batch_run(&b);
    events_release(&b.events);
    set_release(&b.payments);
    set_release(&b.accounts);
    set_release(&b.ids);
    arena_release(&b.scratch);
    return err;
}

enum err postgres_append(struct ledger *l, struct ledger_record *records, size_t count,
                         const struct ledger_position *from, const struct ledger_position *to)
{
    return append_with(l, records, count, from, to, append_all);
}
