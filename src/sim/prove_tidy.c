/* The canonical form of a state: what can make no difference any more is zero or gone, so that states that differ in
 * nothing else are one. A request that is over, for the books and for their backup, and about which nothing is on
 * its way, is taken out: nothing refers to it. */
#include <string.h>

#include "sim/prove_inside.h"

static bool book_over(const struct proof_book *b)
{
    return b->status > (unsigned)PROCESSING_IN_PROCESSING + 1;
}

static bool book_paid(const struct proof_book *b)
{
    return b->payment == PAYMENT_ACCEPTED;
}

/* Nothing about it is on its way. */
static bool quiet(const struct proof_state *s, unsigned key)
{
    const struct proof_key *k = &s->key[key];
    return k->fresh + k->late + k->voiding + k->answered == 0 && (key < s->position || !k->logged);
}

/* Could these books send it, now or later? */
static bool may_be_sent(const struct proof *p, const struct proof_book *b, unsigned key)
{
    if (b->status == (unsigned)PROCESSING_IN_PROCESSING + 1)
        return !b->ask_only &&
               undecided_may_send(b->sent_age * p->tick_us, &p->world->promises, false);
    return !book_over(b) && (b->status != 0 || p->s.key[key].logged);
}

/* Could these books decide it, before they have read what became of it? */
static bool may_be_claimed(const struct proof_book *b)
{
    return b->status <= (unsigned)PROCESSING_NEW + 1;
}

/* A book that is over without money and has read all lines: how it ended does not matter. */
static void over_tidy(struct proof_book *b)
{
    if (book_over(b) && !book_paid(b) && !b->unread)
        *b = (struct proof_book){.status = (unsigned)PROCESSING_PROCESSED + 1,
                                 .payment = PAYMENT_ERROR};
}

/* Copies of a request whose key is known, and will be remembered as long as they live, do not execute: their answers
 * tell what the journal tells, or what the books know. */
static void wire_still(struct proof *p, unsigned key)
{
    struct proof_key *k = &p->s.key[key];
    int64_t ttl_us = p->world->promises.key_ttl_us;
    bool definite = record_definite((enum proof_record)k->record);
    if (k->record == RECORD_NONE || ttl_us == 0)
        return;
    if (definite)
        k->voiding = 0;
    bool for_ever = k->record == RECORD_VOIDED || ttl_us == TIME_NEVER;
    if (for_ever || k->record_age < 2)
        k->late = 0;
    if (for_ever || k->record_age < 1)
        k->fresh = 0;
}

static void key_still(struct proof *p, unsigned key)
{
    struct proof_state *s = &p->s;
    bool knows = book_knows(p, &s->book[key], key);
    if (s->backup == BACKUP_TAKEN && s->saved[key].unread && book_knows(p, &s->saved[key], key))
        s->saved[key].unread = 0;
    if (knows)
        s->book[key].unread = s->key[key].answered = 0;
    if (knows || (p->world->journal && !p->bound->late_answers))
        wire_still(p, key);
}

/* After a day it is neither sent nor kept from people for any other reason. */
static void attempt_tidy(const struct proof *p, struct proof_book *b)
{
    if (!b->pending && b->sent_age * p->tick_us >= UNDECIDED_DAY_US)
        b->ask_only = 0;
}

static void key_tidy(struct proof *p, unsigned key)
{
    struct proof_state *s = &p->s;
    struct proof_key *k = &s->key[key];
    bool saved = s->backup == BACKUP_TAKEN;
    int64_t ttl_us = p->world->promises.key_ttl_us;
    bool sendable = may_be_sent(p, &s->book[key], key) ||
                    (saved && may_be_sent(p, &s->saved[key], key)) || k->fresh || k->late;
    bool claimable = may_be_claimed(&s->book[key]) || (saved && may_be_claimed(&s->saved[key]));
    if (quiet(s, key)) {
        over_tidy(&s->book[key]);
        if (saved)
            over_tidy(&s->saved[key]);
    }
    attempt_tidy(p, &s->book[key]);
    attempt_tidy(p, &s->saved[key]);
    if (!claimable)
        k->age = 0;
    else if (k->age * p->tick_us > p->limits.request_max_age_us)
        k->age = PROOF_AGE_MAX; /* too old is too old */
    if (!claimable && k->type == PAYMENT_TYPE_REFUND)
        k->subscription = 0;
    if (k->record == RECORD_VOIDED ||
        (k->record != RECORD_PENDING && (!sendable || ttl_us == 0 || ttl_us == TIME_NEVER)))
        k->record_age = 0;
    if (!s->book[key].unread && !(saved && s->saved[key].unread))
        k->line = 0;
}

/* A payment that was given back, and a later period exists: nobody looks at it again. */
static int refund_over(const struct proof *p, unsigned key)
{
    const struct proof_state *s = &p->s;
    const struct proof_book *b = &s->book[key];
    bool later = false;
    int refund = -1;
    if (b->period == 0 || !b->ended || b->unread || !quiet(s, key))
        return -1;
    for (unsigned k = 0; k < s->count; k++) {
        later |= s->book[k].period > b->period;
        if (s->book[k].refund_of == key + 1 && book_paid(&s->book[k]) && !s->book[k].unread &&
            quiet(s, k))
            refund = (int)k;
    }
    return later ? refund : -1;
}

static void gone_find(const struct proof *p, bool *gone)
{
    const struct proof_state *s = &p->s;
    bool saved = s->backup == BACKUP_TAKEN;
    for (unsigned k = 0; k < s->count; k++) {
        const struct proof_book *b = &s->book[k], *old = &s->saved[k];
        if (!quiet(s, k) || b->unread || book_paid(b))
            continue;
        if (b->status == 0
                ? !s->key[k].logged && s->key[k].record == RECORD_NONE && !saved
                : book_over(b) && (!saved || (book_over(old) && !book_paid(old) && !old->unread)))
            gone[k] = true;
    }
    for (unsigned k = 0; k < s->count && !saved; k++) {
        int refund = refund_over(p, k);
        if (refund >= 0)
            gone[k] = gone[refund] = true;
    }
}

static unsigned renamed(const uint8_t *to, unsigned key_plus_1)
{
    return key_plus_1 == 0 ? 0 : to[key_plus_1 - 1];
}

static uint8_t below(const bool *gone, unsigned limit)
{
    uint8_t n = 0;
    for (unsigned k = 0; k < limit; k++)
        n += !gone[k];
    return n;
}

static void keys_take_out(struct proof *p, const bool *gone)
{
    struct proof_state *s = &p->s;
    uint8_t to[PROOF_KEYS_MAX] = {0}; /* new key + 1 */
    unsigned n = 0;
    s->position = below(gone, s->position);
    s->saved_position = below(gone, s->saved_position);
    s->saved_count = below(gone, s->saved_count);
    s->asked_below = below(gone, s->asked_below);
    for (unsigned k = 0; k < s->count; k++) {
        if (gone[k])
            continue;
        s->book[n] = s->book[k];
        s->saved[n] = s->saved[k];
        s->key[n] = s->key[k];
        p->from[n] = (uint8_t)k;
        to[k] = (uint8_t)++n;
    }
    for (unsigned k = n; k < s->count; k++) {
        s->book[k] = s->saved[k] = (struct proof_book){0};
        s->key[k] = (struct proof_key){0};
    }
    s->count = (uint8_t)n;
    for (unsigned k = 0; k < n; k++) {
        s->book[k].refund_of = renamed(to, s->book[k].refund_of) & 7u;
        s->saved[k].refund_of = renamed(to, s->saved[k].refund_of) & 7u;
        s->key[k].refund_of = renamed(to, s->key[k].refund_of) & 7u;
    }
}

/* Ranks without gaps: of a number with bits of those that are in use below it. */
static unsigned rank_of(unsigned used, unsigned number)
{
    return number == 0 ? 0 : (unsigned)__builtin_popcount(used & ((2u << number) - 1)) & 7u;
}

static void books_rank(struct proof_book *books, unsigned count)
{
    unsigned seqs = 0, periods = 0;
    for (unsigned k = 0; k < count; k++) {
        seqs |= books[k].seq ? 1u << books[k].seq : 0;
        periods |= books[k].period ? 1u << books[k].period : 0;
    }
    for (unsigned k = 0; k < count; k++) {
        books[k].seq = rank_of(seqs, books[k].seq) & 7u;
        books[k].period = rank_of(periods, books[k].period) & 7u;
    }
}

static void lines_rank(struct proof_state *s)
{
    unsigned lines = 0;
    for (unsigned k = 0; k < s->count; k++)
        lines |= s->key[k].line ? 1u << s->key[k].line : 0;
    for (unsigned k = 0; k < s->count; k++)
        s->key[k].line = rank_of(lines, s->key[k].line) & 7u;
}

/* The two subscription types are alike: the first request whose type matters is about the first one. */
static void subscriptions_swap(struct proof *p)
{
    bool saved = p->s.backup == BACKUP_TAKEN, matters[PROOF_KEYS_MAX] = {false};
    p->swapped = false;
    for (unsigned k = p->s.count; k-- > 0;) {
        matters[k] = p->s.key[k].type == PAYMENT_TYPE_PAYMENT || may_be_claimed(&p->s.book[k]) ||
                     (saved && may_be_claimed(&p->s.saved[k]));
        if (matters[k])
            p->swapped = p->s.key[k].subscription == 1;
    }
    for (unsigned k = 0; p->swapped && k < p->s.count; k++)
        p->s.key[k].subscription ^= matters[k];
}

void proof_tidy(struct proof *p)
{
    struct proof_state *s = &p->s;
    bool gone[PROOF_KEYS_MAX] = {false}, any = false;
    for (unsigned k = 0; k < PROOF_KEYS_MAX; k++)
        p->from[k] = (uint8_t)k;
    for (unsigned k = 0; k < s->count; k++) {
        key_still(p, k);
        key_tidy(p, k);
    }
    gone_find(p, gone);
    for (unsigned k = 0; k < s->count; k++)
        any |= gone[k];
    if (any)
        keys_take_out(p, gone);
    books_rank(s->book, s->count);
    books_rank(s->saved, s->count);
    lines_rank(s);
    subscriptions_swap(p);
}
