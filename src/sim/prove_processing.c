/* What is outside: the processing with its memory of keys, the network, the payer, the clock. */
#include "sim/prove_inside.h"

bool record_definite(enum proof_record record)
{
    return record == RECORD_SUCCESS || record == RECORD_DECLINE || record == RECORD_VOIDED;
}

enum learn_answer record_answer(enum proof_record record)
{
    switch (record) {
    case RECORD_SUCCESS:
        return LEARN_SUCCESS;
    case RECORD_DECLINE:
        return LEARN_DECLINE;
    case RECORD_VOIDED:
        return LEARN_ERROR;
    case RECORD_NONE:
    case RECORD_PENDING:
        break;
    }
    return LEARN_PENDING;
}

/* A new line of the journal, new also to a backup. */
void record_set(struct proof *p, unsigned key, enum proof_record record)
{
    struct proof_key *k = &p->s.key[key];
    unsigned last = 0;
    if (record == RECORD_SUCCESS && k->succeeded)
        p->broken = k->type == PAYMENT_TYPE_PAYMENT ? "I2: one payment is charged twice"
                                                    : "I2: one refund is paid twice";
    k->record = record;
    k->succeeded |= record == RECORD_SUCCESS;
    if (!p->world->journal)
        return;
    for (unsigned i = 0; i < p->s.count; i++)
        if (p->s.key[i].line > last)
            last = p->s.key[i].line;
    k->line = (last + 1) & 7u;
    p->s.book[key].unread = 1;
    if (p->s.backup == BACKUP_TAKEN)
        p->s.saved[key].unread = 1;
}

/* Half of the memory is a tick. */
static bool remembered(const struct proof *p, const struct proof_key *k)
{
    int64_t ttl_us = p->world->promises.key_ttl_us;
    if (k->record == RECORD_NONE)
        return false;
    if (k->record == RECORD_VOIDED || ttl_us == TIME_NEVER)
        return true;
    return ttl_us != 0 && k->record_age < 2;
}

/* A refund of what it does not know, or beyond what is left of it, is refused. */
static bool refund_possible(const struct proof *p, unsigned key)
{
    unsigned charge = p->s.key[key].refund_of;
    return charge != 0 && p->s.key[charge - 1].succeeded && !proof_refunded(&p->s, charge - 1);
}

static bool execute(struct proof *p, unsigned key, unsigned outcome)
{
    static const enum proof_record OUTCOMES[] = {RECORD_SUCCESS, RECORD_DECLINE, RECORD_PENDING};
    struct proof_key *k = &p->s.key[key];
    enum proof_record record = OUTCOMES[outcome];
    if (k->type == PAYMENT_TYPE_REFUND && record == RECORD_PENDING)
        return false;
    if (k->type == PAYMENT_TYPE_REFUND && record == RECORD_SUCCESS && !refund_possible(p, key))
        record = RECORD_DECLINE;
    k->record_age = 0;
    record_set(p, key, record);
    return true;
}

static void answer_under_way(struct proof *p, unsigned key)
{
    if (p->s.key[key].record == RECORD_PENDING)
        book_page(p, key); /* only paces; an old one changes nothing */
    else
        p->s.key[key].answered = 1;
}

bool step_arrives(struct proof *p, unsigned key, unsigned variant)
{
    struct proof_key *k = &p->s.key[key];
    unsigned outcome = variant / ARRIVES_OUT;
    if ((variant & ARRIVES_LATE) ? k->late == 0 : k->fresh == 0)
        return false;
    if ((variant & ARRIVES_LOST) && p->s.losses == 0)
        return false;
    if (variant & ARRIVES_LATE)
        k->late = (k->late - 1u) & 3u;
    else
        k->fresh = (k->fresh - 1u) & 3u;
    if (remembered(p, k) ? outcome != 0 : !execute(p, key, outcome))
        return false;
    if (variant & ARRIVES_LOST)
        p->s.losses--;
    else
        answer_under_way(p, key);
    return true;
}

bool step_void_arrives(struct proof *p, unsigned key, bool lost)
{
    struct proof_key *k = &p->s.key[key];
    if (!k->voiding || (lost && p->s.losses == 0))
        return false;
    k->voiding = 0;
    if (!record_definite((enum proof_record)k->record))
        record_set(p, key, RECORD_VOIDED);
    if (lost)
        p->s.losses--;
    else
        k->answered = 1;
    return true;
}

bool step_payer(struct proof *p, unsigned key, bool pays)
{
    if (p->s.key[key].record != RECORD_PENDING || p->s.key[key].record_age > 0)
        return false;
    record_set(p, key, pays ? RECORD_SUCCESS : RECORD_DECLINE);
    return true;
}

/* A copy of a request is lost, refused, or delivered twice. */
bool step_wire(struct proof *p, unsigned key, bool late, enum proof_kind kind)
{
    struct proof_key *k = &p->s.key[key];
    if (late ? k->late == 0 : k->fresh == 0)
        return false;
    if (kind == STEP_REPEATED) {
        if (p->s.repeats == 0 || k->fresh + k->late >= PROOF_COPIES_MAX)
            return false;
        p->s.repeats--;
        if (late)
            k->late = (k->late + 1u) & 3u;
        else
            k->fresh = (k->fresh + 1u) & 3u;
        return true;
    }
    if (p->s.losses == 0)
        return false;
    p->s.losses--;
    if (late)
        k->late = (k->late - 1u) & 3u;
    else
        k->fresh = (k->fresh - 1u) & 3u;
    if (kind == STEP_REFUSED && book_is(&p->s.book[key], PROCESSING_IN_PROCESSING))
        p->s.book[key].ask_only = 1;
    return true;
}

static unsigned older(unsigned age)
{
    return age < PROOF_AGE_MAX ? age + 1 : PROOF_AGE_MAX;
}

static void book_ages(struct proof_book *b)
{
    if (b->status == (unsigned)PROCESSING_IN_PROCESSING + 1)
        b->sent_age = older(b->sent_age) & 3u;
    if (b->pending)
        b->pending_age = older(b->pending_age) & 3u;
    if (b->period)
        b->start_age = older(b->start_age) & 3u;
    if (b->ended)
        b->end_age = older(b->end_age) & 3u;
}

/* A tick passes. A request that was written in the last tick has arrived by now or never will (rule 6). */
bool step_clock(struct proof *p)
{
    for (unsigned i = 0; i < p->s.count; i++) {
        struct proof_key *k = &p->s.key[i];
        book_ages(&p->s.book[i]);
        if (p->s.backup == BACKUP_TAKEN)
            book_ages(&p->s.saved[i]);
        k->age = older(k->age) & 3u;
        if (k->record != RECORD_NONE)
            k->record_age = older(k->record_age) & 3u;
        k->late = k->fresh;
        k->fresh = 0;
    }
    for (int i = 0; i < PROOF_PROCESSORS; i++)
        if (p->s.processor[i].held)
            p->s.processor[i].held_age = older(p->s.processor[i].held_age) & 3u;
    return true;
}
