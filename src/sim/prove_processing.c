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

static bool answer_comes(struct proof *p, unsigned key, bool late)
{
    bool definite = record_definite((enum proof_record)p->s.key[key].record);
    if (late)
        p->s.key[key].answered = definite && p->bound->late_answers;
    else if (!p->s.ready)
        return false;
    else if (definite)
        book_answer(p, key);
    else
        book_page(p, key); /* an old one changes nothing */
    return true;
}

/* Any number of copies is under way, so that one arrives does not mean that no other will; where no key is remembered
 * there is one copy. */
bool step_arrives(struct proof *p, unsigned key, unsigned variant)
{
    struct proof_key *k = &p->s.key[key];
    unsigned outcome = variant / ARRIVES_OUT;
    if ((variant & ARRIVES_LATE) ? !k->late : !k->fresh)
        return false;
    if (p->world->promises.key_ttl_us == 0)
        k->late = k->fresh = 0;
    if (!remembered(p, k)) {
        if (!execute(p, key, outcome))
            return false;
    } else if (outcome != 0) {
        return false;
    }
    return answer_comes(p, key, variant & ARRIVES_LATE_ANSWER);
}

bool step_void_arrives(struct proof *p, unsigned key, bool late_answer)
{
    struct proof_key *k = &p->s.key[key];
    if (!k->voiding)
        return false;
    if (!record_definite((enum proof_record)k->record))
        record_set(p, key, RECORD_VOIDED);
    k->voiding = 0;
    return answer_comes(p, key, late_answer);
}

bool step_payer(struct proof *p, unsigned key, bool pays)
{
    if (p->s.key[key].record != RECORD_PENDING || p->s.key[key].record_age > 0)
        return false;
    record_set(p, key, pays ? RECORD_SUCCESS : RECORD_DECLINE);
    return true;
}

/* Copies, an answer, or a void are lost; with a processor that is killed, or alone. */
bool step_lost(struct proof *p, unsigned key, enum proof_lost what)
{
    struct proof_key *k = &p->s.key[key];
    struct proof_key before = *k;
    switch (what) {
    case LOST_FRESH:
        k->fresh = 0;
        return before.fresh;
    case LOST_LATE:
        k->late = 0;
        return before.late;
    case LOST_ANSWER:
        k->answered = 0;
        return before.answered;
    case LOST_VOID:
        k->voiding = 0;
        return before.voiding;
    case LOST_COUNT:
        break;
    }
    return false;
}

bool step_refused(struct proof *p, unsigned key)
{
    if ((!p->s.key[key].fresh && !p->s.key[key].late) ||
        !book_is(&p->s.book[key], PROCESSING_IN_PROCESSING))
        return false;
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
        b->pending_age = 1;
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
    return true;
}
