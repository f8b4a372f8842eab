/* The transactions of the ledger, on the small world: what they read and write; billing/ decides. */
#include <string.h>

#include "billing/decision.h"
#include "sim/prove_inside.h"

static const struct money PRICES[] = {{39900, "RUB"}, {99900, "RUB"}};

static struct uuid id_of(unsigned key)
{
    return (struct uuid){{(uint8_t)(key + 1)}};
}

static int key_of(const struct uuid *id)
{
    return id->bytes[0] - 1;
}

static int64_t ago_us(const struct proof *p, unsigned age)
{
    return PROOF_NOW_US - (int64_t)age * p->tick_us;
}

static enum subscription_type subscription_of(const struct proof *p, unsigned key)
{
    return (enum subscription_type)p->s.key[key].subscription;
}

bool book_is(const struct proof_book *b, enum processing_status status)
{
    return b->status == (unsigned)status + 1;
}

int book_in_flight(const struct proof *p)
{
    for (unsigned k = 0; k < p->s.count; k++)
        if (book_is(&p->s.book[k], PROCESSING_IN_PROCESSING))
            return (int)k;
    return -1;
}

bool book_next_new(const struct proof *p, unsigned above_seq, unsigned *key)
{
    unsigned found = 0;
    for (unsigned k = 0; k < p->s.count; k++) {
        const struct proof_book *b = &p->s.book[k];
        if (book_is(b, PROCESSING_NEW) && b->seq > above_seq && (found == 0 || b->seq < found)) {
            found = b->seq;
            *key = k;
        }
    }
    return found != 0;
}

/* ---- periods ---- */

struct period book_period(const struct proof *p, unsigned key)
{
    const struct proof_book *b = &p->s.book[key];
    int64_t starts_at_us = ago_us(p, b->start_age);
    int64_t expires_at_us = period_expiration_us(starts_at_us, subscription_of(p, key));
    return (struct period){starts_at_us, expires_at_us,
                           b->ended ? ago_us(p, b->end_age) : expires_at_us};
}

static int last_period(const struct proof *p)
{
    int last = -1;
    for (unsigned k = 0; k < p->s.count; k++)
        if (p->s.book[k].period > (last < 0 ? 0u : p->s.book[last].period))
            last = (int)k;
    return last;
}

static void period_open(struct proof *p, unsigned key)
{
    struct proof_book *b = &p->s.book[key];
    int last = last_period(p);
    int64_t last_ends_us = last < 0 ? 0 : book_period(p, (unsigned)last).ends_at_us;
    struct period n = period_after(PROOF_NOW_US, last_ends_us, subscription_of(p, key));
    b->period = (last < 0 ? 0 : p->s.book[last].period) + 1;
    b->start_age = 0;
    if (n.starts_at_us < last_ends_us)
        p->broken = "I3: two periods overlap";
    else if (n.starts_at_us != PROOF_NOW_US)
        p->broken = "rule 4: paid, and the period does not start now although nothing is active";
    else if (n.ends_at_us <= n.starts_at_us)
        p->broken = "rule 4: paid, and the period is over when it starts";
}

static void period_end(struct proof *p, unsigned charge)
{
    struct proof_book *b = &p->s.book[charge];
    if (b->period == 0 || b->ended) {
        p->broken = b->ended ? "I8: a payment is refunded twice"
                             : "I5: a refund of a payment without a period is accepted";
        return;
    }
    struct period q = book_period(p, charge);
    int64_t ends_at_us = period_end_early_us(&q, PROOF_NOW_US);
    int64_t ago = (PROOF_NOW_US - ends_at_us) / p->tick_us;
    b->ended = 1;
    b->end_age = ago >= 0 && ago <= PROOF_AGE_MAX ? (unsigned)ago : 0;
    if (ends_at_us < q.starts_at_us || ends_at_us > q.ends_at_us)
        p->broken = "I3: a period ends before it starts";
    else if (ends_at_us > PROOF_NOW_US)
        p->broken = "rule 5: refunded, and still subscribed";
}

/* ---- moves ---- */

void book_move(struct proof *p, unsigned key, enum processing_status to,
               enum payment_status payment)
{
    struct proof_book *b = &p->s.book[key];
    if (b->status == 0 ? to != PROCESSING_NEW
                       : !status_move_legal((enum processing_status)(b->status - 1), to))
        p->broken = "I4: a move that is not legal";
    if (!status_pair_legal(to, payment))
        p->broken = "I4: two statuses that do not go together";
    b->status = (unsigned)to + 1;
    b->payment = (unsigned)payment;
    if (to != PROCESSING_IN_PROCESSING)
        b->sent_age = b->ask_only = b->pending = b->pending_age = 0;
    if (to != PROCESSING_NEW)
        b->ask_first = 0;
}

/* Ends a payment: its status, and what that does to periods. */
void book_finish(struct proof *p, unsigned key, enum payment_status outcome)
{
    struct proof_book *b = &p->s.book[key];
    book_move(p, key, PROCESSING_PROCESSED, outcome);
    if (outcome == PAYMENT_ACCEPTED && p->s.key[key].type == PAYMENT_TYPE_PAYMENT)
        period_open(p, key);
    else if (outcome == PAYMENT_ACCEPTED && b->refund_of == 0)
        p->broken = "I5: a refund of nothing is accepted";
    else if (outcome == PAYMENT_ACCEPTED)
        period_end(p, b->refund_of - 1u);
    else
        b->refund_of = 0;
}

/* Requests that wait behind `key`, by ascending seq; a request that is to be asked about first ends the list:
 * it may have been sent, so it is no duplicate of anything. */
static size_t waiting_list(const struct proof *p, unsigned key, unsigned *keys)
{
    size_t count = 0;
    unsigned k, seq = p->s.book[key].seq;
    while (book_next_new(p, seq, &k) && !p->s.book[k].ask_first) {
        keys[count++] = k;
        seq = p->s.book[k].seq;
    }
    return count;
}

static void waiting_duplicate(struct proof *p, const unsigned *keys, size_t count)
{
    for (size_t i = 0; i < count; i++)
        book_move(p, keys[i], PROCESSING_DUPLICATED, PAYMENT_UNKNOWN);
}

/* Rule 8: how many of those that wait become its duplicates at once. */
static size_t waiting_of_page(const struct proof *p, unsigned key, const unsigned *keys,
                              size_t count)
{
    struct undecided_waiting waiting[PROOF_KEYS_MAX];
    for (size_t i = 0; i < count; i++)
        waiting[i] = (struct undecided_waiting){(enum payment_type)p->s.key[keys[i]].type,
                                                subscription_of(p, keys[i])};
    return undecided_while_pending(subscription_of(p, key), waiting, count);
}

struct undecided book_undecided(const struct proof *p, unsigned key)
{
    const struct proof_book *b = &p->s.book[key];
    unsigned keys[PROOF_KEYS_MAX];
    struct undecided u = {
        .age_us = b->sent_age * p->tick_us,
        .ask_only = b->ask_only,
        .pending = b->pending,
        .pending_us = b->pending_age * p->tick_us,
        .expired = b->pending && b->pending_age > 0,
        .rewound = p->s.rewound,
    };
    if (b->pending) {
        size_t count = waiting_list(p, key, keys);
        u.superseded = waiting_of_page(p, key, keys, count) < count;
    }
    return u;
}

/* The processing said that it waits for the payer. */
void book_page(struct proof *p, unsigned key)
{
    struct proof_book *b = &p->s.book[key];
    if (!book_is(b, PROCESSING_IN_PROCESSING))
        return;
    if (!b->pending)
        b->pending_age = p->s.key[key].record_age > 0; /* expires_at is the processing's */
    b->pending = 1;
}

/* Rule 8, "at once": by a processor that has read the journal. The saver may be reading again what was sent. */
static bool page_duplicates(struct proof *p, unsigned key)
{
    unsigned keys[PROOF_KEYS_MAX];
    if (!p->s.book[key].pending)
        return false;
    size_t count = waiting_list(p, key, keys);
    count = waiting_of_page(p, key, keys, count);
    waiting_duplicate(p, keys, count);
    return count > 0;
}

/* A definite answer to a payment in flight. */
void book_settle(struct proof *p, unsigned key, enum proof_record record, bool hold)
{
    unsigned keys[PROOF_KEYS_MAX];
    enum payment_type types[PROOF_KEYS_MAX];
    struct undecided u = book_undecided(p, key);
    enum reason reason = record == RECORD_VOIDED ? undecided_void_reason(&u) : REASON_NONE;
    size_t count = hold || p->s.rewound ? 0 : waiting_list(p, key, keys);
    for (size_t i = 0; i < count; i++)
        types[i] = (enum payment_type)p->s.key[keys[i]].type;
    count = decide_waiting((enum payment_type)p->s.key[key].type, reason, types, count);
    book_finish(p, key, learn_status(record_answer(record)));
    waiting_duplicate(p, keys, count);
}

/* ---- saver ---- */

bool step_save(struct proof *p)
{
    unsigned k = p->s.position;
    while (k < p->s.count && !p->s.key[k].logged)
        k++;
    if (k >= p->s.count)
        return false;
    p->s.position = (uint8_t)(k + 1);
    if (p->s.book[k].status != 0)
        return true; /* a repeat */
    unsigned seq = 0;
    for (unsigned i = 0; i < p->s.count; i++)
        if (p->s.book[i].seq > seq)
            seq = p->s.book[i].seq;
    p->s.book[k].seq = seq + 1;
    book_move(p, k, PROCESSING_NEW, PAYMENT_UNKNOWN);
    p->s.book[k].ask_first = k < p->s.asked_below;
    return true;
}

/* ---- claim ---- */

static struct refund_target target_of(const struct proof *p, unsigned key)
{
    struct refund_target t = {
        .exists = p->s.book[key].payment == PAYMENT_ACCEPTED,
        .payment_id = id_of(key),
        .subscription_type = subscription_of(p, key),
        .money = PRICES[p->s.key[key].subscription],
    };
    for (unsigned k = 0; k < p->s.count; k++)
        if (p->s.book[k].refund_of == key + 1 && p->s.book[k].payment == PAYMENT_ACCEPTED) {
            t.refunded = true;
            t.refunded_by = id_of(k);
        }
    return t;
}

static struct decide_account account_of(const struct proof *p)
{
    struct decide_account a = {.now_us = PROOF_NOW_US};
    int last = last_period(p);
    if (last >= 0) {
        a.has_last_period = true;
        a.last_period = book_period(p, (unsigned)last);
        a.last_target = target_of(p, (unsigned)last);
    }
    for (unsigned k = 0; k < p->s.count; k++) {
        if (p->s.book[k].period == 0)
            continue;
        struct period q = book_period(p, k);
        if (period_contains(&q, PROOF_NOW_US)) {
            a.subscribed = true;
            a.subscribed_by = id_of(k);
        }
    }
    return a;
}

static void claim_send(struct proof *p, unsigned key, const struct verdict *v)
{
    struct proof_key *k = &p->s.key[key];
    int target = key_of(&v->refund_of);
    if (book_in_flight(p) >= 0)
        p->broken = "I3: two payments of a user are in processing";
    if ((k->type == PAYMENT_TYPE_REFUND) != (target >= 0))
        p->broken = "rule 5: a refund without a payment, or a payment with one";
    const struct money *price = &PRICES[p->s.key[target >= 0 ? target : (int)key].subscription];
    if (!money_equal(&v->money, price))
        p->broken = "I8: another amount than was paid";
    book_move(p, key, PROCESSING_IN_PROCESSING, PAYMENT_UNKNOWN);
    p->s.book[key].refund_of = k->refund_of = (unsigned)(target + 1) & 7u;
    k->fresh = undecided_may_send(0, &p->world->promises, true);
}

/* Rule 1: what a request stands behind was decided, and stands behind nothing itself. */
static void claim_duplicate(struct proof *p, unsigned key, const struct verdict *v)
{
    int other = key_of(&v->duplicate_of);
    if (other < 0 || other >= p->s.count || other == (int)key)
        p->broken = "rule 1: a duplicate of nothing";
    book_move(p, key, PROCESSING_DUPLICATED, PAYMENT_UNKNOWN);
}

static void claim_write(struct proof *p, const unsigned *keys, const struct verdict *verdicts,
                        size_t count)
{
    for (size_t i = 0; i < count; i++) {
        switch (verdicts[i].kind) {
        case VERDICT_SEND:
            claim_send(p, keys[i], &verdicts[i]);
            break;
        case VERDICT_DUPLICATE:
            claim_duplicate(p, keys[i], &verdicts[i]);
            break;
        case VERDICT_CLOSE:
            book_finish(p, keys[i], PAYMENT_ERROR);
            break;
        }
    }
    for (size_t i = 0; i < count; i++) {
        int other = key_of(&verdicts[i].duplicate_of);
        if (verdicts[i].kind == VERDICT_DUPLICATE && other >= 0 &&
            book_is(&p->s.book[other], PROCESSING_DUPLICATED))
            p->broken = "rule 1: a duplicate of a duplicate";
    }
}

bool step_claim(struct proof *p)
{
    struct decide_request requests[PROOF_KEYS_MAX];
    struct verdict verdicts[PROOF_KEYS_MAX];
    unsigned keys[PROOF_KEYS_MAX], k, seq = 0;
    size_t count = 0;
    if (!p->s.ready || p->s.rewound || book_in_flight(p) >= 0)
        return false;
    if (p->s.position < p->s.asked_below)
        return false; /* books without a journal: first the saver takes again what they have lost */
    while (book_next_new(p, seq, &k)) {
        int64_t asked_us = ago_us(p, p->s.key[k].age);
        if (p->s.book[k].ask_first)
            return book_ask_first(p, k);
        seq = p->s.book[k].seq;
        keys[count] = k;
        requests[count++] = (struct decide_request){
            .seq = seq,
            .payment_id = id_of(k),
            .payment_type = (enum payment_type)p->s.key[k].type,
            .subscription_type = subscription_of(p, k),
            .requested_at_us = asked_us,
            .stored_at_us = asked_us,
            .recorded_at_us = asked_us,
            .money = PRICES[p->s.key[k].subscription],
        };
    }
    if (count == 0)
        return false;
    struct decide_account account = account_of(p);
    decide_claim(&account, &p->limits, requests, count, verdicts);
    claim_write(p, keys, verdicts, count);
    return true;
}

/* ---- the payment in flight ---- */

/* The next question about it; any processor may ask at any time. */
bool step_next(struct proof *p)
{
    int k = book_in_flight(p);
    if (k < 0 || !p->s.ready)
        return false;
    if (!p->s.rewound && page_duplicates(p, (unsigned)k))
        return true;
    struct proof_key *key = &p->s.key[k];
    struct undecided u = book_undecided(p, (unsigned)k);
    switch (undecided_next(&u, &p->world->promises).move) {
    case UNDECIDED_SEND:
        key->fresh = 1;
        return true;
    case UNDECIDED_ASK:
        if (key->record == RECORD_NONE)
            return false; /* 404 is no answer */
        if (key->record == RECORD_PENDING)
            book_page(p, (unsigned)k);
        else
            book_settle(p, (unsigned)k, (enum proof_record)key->record, false);
        return true;
    case UNDECIDED_VOID:
        key->voiding = 1;
        return true;
    case UNDECIDED_REST:
        break;
    }
    return false;
}

/* ---- a person ---- */

/* The evidence is true: what it says of the key will stay true. */
static bool evidence_true(const struct proof *p, unsigned key, bool accepted)
{
    const struct proof_key *k = &p->s.key[key];
    bool waits = k->record == RECORD_PENDING && k->record_age == 0;
    return accepted ? k->succeeded : !k->succeeded && !waits && !k->fresh && !k->late;
}

bool step_person(struct proof *p, unsigned key, bool accepted)
{
    struct proof_book *b = &p->s.book[key];
    if (!book_is(b, PROCESSING_IN_PROCESSING) || !p->s.ready)
        return false; /* what waits would become its duplicates: not before the journal is read */
    struct undecided u = book_undecided(p, key);
    struct decision d = {
        .processing_status = PROCESSING_IN_PROCESSING,
        .needs_decision = undecided_next(&u, &p->world->promises).needs_decision,
        .outcome = accepted ? PAYMENT_ACCEPTED : PAYMENT_ERROR,
    };
    enum decision_move move = decision_next(&d, &p->world->promises);
    if (move == DECISION_VOID) { /* no evidence is needed: the void makes it true */
        enum proof_record record = (enum proof_record)p->s.key[key].record;
        if (record == RECORD_NONE || record == RECORD_PENDING)
            record_set(p, key, RECORD_VOIDED);
        d.voiding =
            p->s.key[key].record == RECORD_VOIDED ? DECISION_VOID_DONE : DECISION_VOID_OTHER;
        move = decision_next(&d, &p->world->promises);
    } else if (!evidence_true(p, key, accepted)) {
        return false;
    }
    if (move == DECISION_ANSWER) {
        book_settle(p, key, (enum proof_record)p->s.key[key].record, false);
        return true;
    }
    if (move != DECISION_RECORD)
        return false;
    unsigned keys[PROOF_KEYS_MAX];
    enum payment_type types[PROOF_KEYS_MAX];
    size_t count = p->s.rewound ? 0 : waiting_list(p, key, keys);
    for (size_t i = 0; i < count; i++)
        types[i] = (enum payment_type)p->s.key[keys[i]].type;
    count = decide_waiting((enum payment_type)p->s.key[key].type, REASON_DECIDED, types, count);
    book_finish(p, key, d.outcome);
    b->person = 1;
    waiting_duplicate(p, keys, count);
    return true;
}
