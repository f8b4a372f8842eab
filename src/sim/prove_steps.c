/* The steps of the small world that are not a transaction of the books: what a processor does between two of them,
 * what the user asks, crashes, the backup. */
#include <string.h>

#include "sim/prove_inside.h"

/* A request is about to be written: looked at once more on a clock that counts sleep. */
static bool step_write(struct proof *p, struct proof_processor *who)
{
    if (who->held == 0)
        return false;
    struct proof_key *k = &p->s.key[who->held - 1];
    bool first = p->world->promises.key_ttl_us == 0; /* then it is held after a claim only */
    if (undecided_may_send(who->held_age * p->tick_us, &p->world->promises, first)) {
        if (k->fresh + k->late >= PROOF_COPIES_MAX)
            return false;
        k->fresh = (k->fresh + 1u) & 3u;
    }
    who->held = who->held_age = 0;
    return true;
}

/* The next question about the payment in flight; any processor may ask at any time. */
static bool step_next(struct proof *p, struct proof_processor *who)
{
    int k = book_in_flight(p);
    if (k < 0 || !who->ready || who->held)
        return false;
    struct proof_key *key = &p->s.key[k];
    struct undecided u = book_undecided(p, (unsigned)k);
    switch (undecided_next(&u, &p->world->promises).move) {
    case UNDECIDED_SEND:
        who->held = (uint8_t)((k + 1) & 7);
        who->held_age = p->s.book[k].sent_age;
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

static bool step_request(struct proof *p, unsigned variant)
{
    struct proof_state *s = &p->s;
    if (s->left == 0 || s->count == PROOF_KEYS_MAX)
        return false;
    s->left--;
    s->key[s->count++] =
        (struct proof_key){.type = variant & 1u, .subscription = (variant >> 1) & 1u, .logged = 1};
    return true;
}

static bool step_crash(struct proof *p, struct proof_processor *who, bool answers_too)
{
    bool answers = false;
    if (p->s.crashes == 0)
        return false;
    for (unsigned k = 0; k < p->s.count; k++) {
        answers |= p->s.key[k].answered;
        if (answers_too)
            p->s.key[k].answered = 0;
    }
    if (answers_too ? !answers : !who->ready && !who->held)
        return false;
    *who = (struct proof_processor){0};
    p->s.crashes--;
    return true;
}

/* Does the backup know that this request was sent? */
static bool claim_kept(const struct proof_book *saved)
{
    return saved->status > (unsigned)PROCESSING_NEW + 1;
}

/* The one assumption beside rule 6: of a payment whose claim the restored books have lost, no request is on its way
 * any more. */
static bool restore_is_late(const struct proof *p)
{
    for (unsigned k = 0; k < p->s.count; k++) {
        const struct proof_key *key = &p->s.key[k];
        bool under_way = key->fresh + key->late > 0;
        for (int i = 0; p->world->queue_kept && i < PROOF_PROCESSORS; i++)
            under_way |= p->s.processor[i].held == k + 1;
        if (under_way && !claim_kept(&p->s.saved[k]))
            return false;
    }
    return true;
}

static bool step_restore(struct proof *p)
{
    struct proof_state *s = &p->s;
    if (s->backup != BACKUP_TAKEN || (!p->world->hasty && !restore_is_late(p)))
        return false;
    memcpy(s->book, s->saved, sizeof s->book);
    memset(s->saved, 0, sizeof s->saved);
    s->position = s->saved_position;
    for (int i = 0; i < PROOF_PROCESSORS; i++)
        s->processor[i].ready = 0;
    for (unsigned k = 0; k < s->count && !p->world->queue_kept; k++) {
        if (k >= s->saved_count)
            s->key[k].logged = 0;
        s->key[k].answered = 0; /* one process: it was stopped for this */
    }
    for (int i = 0; !p->world->queue_kept && i < PROOF_PROCESSORS; i++)
        s->processor[i] = (struct proof_processor){0};
    if (!p->world->journal) {
        s->asked_below = s->count;
        for (unsigned k = 0; k < s->count; k++)
            s->book[k].ask_first = book_is(&s->book[k], PROCESSING_NEW);
    }
    s->backup = BACKUP_NO_MORE;
    s->saved_position = s->saved_count = 0;
    return true;
}

static void backup_take(struct proof *p)
{
    struct proof_state *s = &p->s;
    memcpy(s->saved, s->book, sizeof s->saved);
    s->saved_position = s->position;
    s->saved_count = s->count;
    s->backup = BACKUP_TAKEN;
}

bool proof_backs_up(const struct proof *p, enum proof_kind kind)
{
    if (p->s.backup != BACKUP_POSSIBLE)
        return false;
    switch (kind) {
    case STEP_ANSWER:
    case STEP_READ:
    case STEP_SAVE:
    case STEP_ARRIVES:
    case STEP_CLAIM:
    case STEP_NEXT:
    case STEP_PERSON:
    case STEP_REFUSED:
        return true;
    case STEP_REQUEST:
        return !p->world->queue_kept; /* then the queue is in the file, too */
    default:
        return false;
    }
}

unsigned proof_who_count(enum proof_kind kind, const struct proof_state *s)
{
    switch (kind) {
    case STEP_READ:
    case STEP_WRITE:
    case STEP_CLAIM:
    case STEP_NEXT:
    case STEP_CRASH:
        return memcmp(&s->processor[0], &s->processor[1], sizeof s->processor[0]) == 0
                   ? 1
                   : PROOF_PROCESSORS;
    case STEP_SAVE:
    case STEP_CLOCK:
    case STEP_REQUEST:
    case STEP_RESTORE:
        return 1;
    default:
        return s->count;
    }
}

unsigned proof_variants(enum proof_kind kind)
{
    switch (kind) {
    case STEP_ARRIVES:
        return ARRIVES_ALL;
    case STEP_REQUEST:
        return 4;
    case STEP_VOID_ARRIVES:
    case STEP_PERSON:
    case STEP_PAYER:
    case STEP_LOST:
    case STEP_REFUSED:
    case STEP_REPEATED:
    case STEP_CRASH:
        return 2;
    default:
        return 1;
    }
}

static bool step_do(struct proof *p, const struct proof_step *step)
{
    struct proof_processor *who = &p->s.processor[step->who < PROOF_PROCESSORS ? step->who : 0];
    switch ((enum proof_kind)step->kind) {
    case STEP_ANSWER:
        return step_answer(p, step->who);
    case STEP_READ:
        return step_read(p, who);
    case STEP_SAVE:
        return step_save(p);
    case STEP_VOID_ARRIVES:
        return step_void_arrives(p, step->who, step->variant);
    case STEP_ARRIVES:
        return step_arrives(p, step->who, step->variant);
    case STEP_WRITE:
        return step_write(p, who);
    case STEP_CLAIM:
        return step_claim(p, who);
    case STEP_NEXT:
        return step_next(p, who);
    case STEP_CLOCK:
        return step_clock(p);
    case STEP_PERSON:
        return step_person(p, step->who, step->variant == 0);
    case STEP_PAYER:
        return step_payer(p, step->who, step->variant == 0);
    case STEP_REQUEST:
        return step_request(p, step->variant);
    case STEP_LOST:
    case STEP_REFUSED:
    case STEP_REPEATED:
        return step_wire(p, step->who, step->variant, (enum proof_kind)step->kind);
    case STEP_CRASH:
        return step_crash(p, who, step->variant);
    case STEP_RESTORE:
        return step_restore(p);
    case STEP_KINDS:
        break;
    }
    return false;
}

bool proof_step(struct proof *p, const struct proof_step *step)
{
    p->broken = NULL;
    if (!step_do(p, step))
        return false;
    if (step->backup)
        backup_take(p);
    if (p->broken == NULL)
        proof_check(p);
    if (p->broken == NULL)
        proof_tidy(p);
    return true;
}

void proof_start(struct proof *p, const struct proof_bound *bound)
{
    memset(&p->s, 0, sizeof p->s);
    p->s.left = bound->requests;
    p->s.crashes = bound->crashes;
    p->s.losses = bound->losses;
    p->s.repeats = p->world->promises.key_ttl_us == 0 ? 0 : bound->repeats;
    p->s.backup = bound->restores > 0 ? BACKUP_POSSIBLE : BACKUP_NO_MORE;
    p->tick_us = undecided_send_until_us(&p->world->promises, false);
    if (p->tick_us == 0)
        p->tick_us = UNDECIDED_DAY_US / 2;
    p->limits = (struct decide_limits){
        .request_max_age_us = p->world->promises.key_ttl_us == 0 ? TIME_NEVER : p->tick_us};
}
