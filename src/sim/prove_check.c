/* The invariants of the contract (section 8) on a state of the small world, and on one where nothing more happens. */
#include "sim/prove_inside.h"

bool proof_refunded(const struct proof_state *s, unsigned charge)
{
    for (unsigned k = 0; k < s->count; k++)
        if (s->key[k].type == PAYMENT_TYPE_REFUND && s->key[k].succeeded &&
            s->key[k].refund_of == charge + 1)
            return true;
    return false;
}

/* I6, from the journal to the books: money that has moved is known, or will be read. */
static bool success_known(const struct proof *p, unsigned key)
{
    const struct proof_book *b = &p->s.book[key];
    if (b->payment == PAYMENT_ACCEPTED || book_is(b, PROCESSING_IN_PROCESSING) || b->unread ||
        b->person)
        return true;
    return !p->world->journal && (b->ask_first || (b->status == 0 && key < p->s.asked_below));
}

/* It was in flight when the books were saved, and another one was sent after it: it is only asked about, and gives
 * way to what is recorded. */
static bool overtaken(const struct proof *p, unsigned key)
{
    const struct proof_book *b = &p->s.book[key];
    return book_is(b, PROCESSING_IN_PROCESSING) &&
           (b->ask_only ||
            !undecided_may_send(b->sent_age * p->tick_us, &p->world->promises, false));
}

static const char *check_refund(const struct proof *p, unsigned key)
{
    const struct proof_book *b = &p->s.book[key];
    const struct proof_book *target = &p->s.book[b->refund_of - 1];
    if (target->payment != PAYMENT_ACCEPTED)
        return "I8: a refund of what was never paid";
    if (target->seq > b->seq)
        return "rule 5: a refund gives back a payment that is newer than itself";
    for (unsigned k = 0; k < p->s.count; k++)
        if (k != key && p->s.book[k].refund_of == b->refund_of && !overtaken(p, key) &&
            !overtaken(p, k))
            return "I8: two refunds of one payment are in flight or accepted";
    return NULL;
}

static const char *check_book(const struct proof *p, unsigned key)
{
    const struct proof_book *b = &p->s.book[key];
    const struct proof_key *k = &p->s.key[key];
    bool accepted = b->payment == PAYMENT_ACCEPTED;
    if (k->succeeded && !success_known(p, key))
        return "I6: money has moved and the books do not know";
    if (b->status == 0)
        return k->logged && key < p->s.position ? "I1: a record below the saver's position is lost"
                                                : NULL;
    if (book_is(b, PROCESSING_DUPLICATED) && k->record != RECORD_NONE)
        return "I7: a duplicated payment has an answer in the journal";
    if (accepted && !k->succeeded && !b->person)
        return "I6: accepted, and no money has moved";
    if ((accepted && k->type == PAYMENT_TYPE_PAYMENT) != (b->period != 0))
        return "I5: an accepted payment and its period do not go together";
    if (b->refund_of != 0)
        return check_refund(p, key);
    return NULL;
}

/* Nobody pays for a second period while one is paid for, and who has paid is subscribed. */
static const char *check_money(const struct proof *p)
{
    unsigned charged = 0, covered = 0;
    for (unsigned k = 0; k < p->s.count; k++) {
        if (p->s.key[k].type != PAYMENT_TYPE_PAYMENT)
            continue;
        charged += p->s.key[k].succeeded && !proof_refunded(&p->s, k);
        if (p->s.book[k].period == 0)
            continue;
        struct period q = book_period(p, k);
        bool covers = period_contains(&q, PROOF_NOW_US);
        covered += covers;
        if (!covers && !p->s.book[k].ended)
            return "rule 4: paid, not refunded, and not subscribed";
    }
    if (charged > 1)
        return "rule 3: charged for a second period while the first one is active and not refunded";
    return covered > 1 ? "I3: two periods overlap" : NULL;
}

void proof_check(struct proof *p)
{
    unsigned in_flight = 0;
    for (unsigned k = 0; k < p->s.count && p->broken == NULL; k++) {
        p->broken = check_book(p, k);
        in_flight += book_is(&p->s.book[k], PROCESSING_IN_PROCESSING);
    }
    if (p->broken == NULL && in_flight > 1)
        p->broken = "I3: two payments of a user are in processing";
    if (p->broken == NULL)
        p->broken = check_money(p);
}

static const char *leaf_book(const struct proof *p, unsigned key)
{
    const struct proof_book *b = &p->s.book[key];
    if (b->unread)
        return "rule 11: at the end a line of the journal is not read";
    if (b->status == 0)
        return p->s.key[key].logged ? "at the end a request is not stored" : NULL;
    if (book_is(b, PROCESSING_NEW))
        return book_in_flight(p) >= 0 ? NULL : "I9: at the end a request is not decided";
    if (!book_is(b, PROCESSING_IN_PROCESSING))
        return NULL;
    struct undecided u = book_undecided(p, key);
    if (p->world->promises.voids && p->world->promises.key_ttl_us != 0)
        return "I9: at the end a payment is undecided although its key can be voided";
    if (!undecided_next(&u, &p->world->promises).needs_decision)
        return "rule 6: at the end a payment is undecided and nobody is shown that";
    return NULL;
}

void proof_check_leaf(struct proof *p)
{
    for (unsigned k = 0; k < p->s.count && p->broken == NULL; k++)
        p->broken = leaf_book(p, k);
}
