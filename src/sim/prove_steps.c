/* The steps of the small world that are not a transaction of the books: what a processor does between two of them,
 * what the user asks, crashes, the backup. */
#include <string.h>

#include "sim/prove_inside.h"

static bool step_request(struct proof *p, unsigned variant)
{
    struct proof_state *s = &p->s;
    if (s->left == 0 || s->count == PROOF_KEYS_MAX)
        return false;
    bool stored = !p->bound->saver_lags && s->position == s->count;
    if ((variant & REQUEST_OLD) && !stored)
        return false;
    s->left--;
    s->key[s->count++] = (struct proof_key){.type = (variant & REQUEST_REFUND) != 0,
                                            .subscription = (variant & REQUEST_OTHER) != 0,
                                            .age = (variant & REQUEST_OLD) ? PROOF_AGE_MAX : 0,
                                            .logged = 1};
    return !stored || step_save(p);
}

/* All that may send are killed; what they had on its way is lost or not. They start again by reading the journal. */
static bool step_crash(struct proof *p)
{
    if (p->s.backup == BACKUP_TAKEN)
        return false; /* a processor that is down can do less, and the restore stops them all */
    p->s.ready = 0;
    return true;
}

/* Does the backup know that this request was sent? */
static bool claim_kept(const struct proof_book *saved)
{
    return saved->status > (unsigned)PROCESSING_NEW + 1;
}

/* The one assumption beside rule 6: of a payment whose claim the restored books have lost, no request and no void is on
 * its way any more. */
static bool restore_is_late(const struct proof *p)
{
    for (unsigned k = 0; k < p->s.count; k++) {
        const struct proof_key *key = &p->s.key[k];
        if ((key->fresh || key->late || key->voiding) && !claim_kept(&p->s.saved[k]))
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
    s->rewound = s->saved_rewound;
    s->saved_rewound = 0;
    s->ready = 0; /* the store was away */
    for (unsigned k = 0; k < s->count && !p->world->queue_kept; k++) {
        if (k >= s->saved_count)
            s->key[k].logged = 0;
        s->key[k].answered = 0; /* one process: it was stopped for this */
    }
    if (!p->world->journal) {
        s->asked_below = s->count;
        for (unsigned k = 0; k < s->count; k++)
            s->book[k].ask_first = book_is(&s->book[k], PROCESSING_NEW);
    }
    s->restores = (s->restores - 1u) & 63u;
    s->backup = s->restores > 0 ? BACKUP_POSSIBLE : BACKUP_NO_MORE;
    s->saved_position = s->saved_count = 0;
    return true;
}

static void backup_take(struct proof *p)
{
    struct proof_state *s = &p->s;
    memcpy(s->saved, s->book, sizeof s->saved);
    s->saved_position = s->position;
    s->saved_count = s->count;
    s->saved_rewound = s->rewound;
    s->backup = BACKUP_TAKEN;
}

bool proof_backs_up(const struct proof *p, enum proof_kind kind)
{
    if (p->s.backup != BACKUP_POSSIBLE || !p->s.ready)
        return false;
    switch (kind) {
    case STEP_ANSWER:
    case STEP_READ:
    case STEP_SAVE:
    case STEP_VOID_ARRIVES:
    case STEP_ARRIVES:
    case STEP_CLAIM:
    case STEP_NEXT:
    case STEP_PERSON:
    case STEP_REFUSED:
        return true;
    case STEP_REQUEST:
        /* One file has the queue, too. */
        return !p->world->queue_kept || !p->bound->saver_lags;
    case STEP_CLOCK:
        return p->s.count == 0 && p->s.position == 0; /* of empty books */
    default:
        return false;
    }
}

bool proof_of_a_key(enum proof_kind kind)
{
    switch (kind) {
    case STEP_READ:
    case STEP_SAVE:
    case STEP_CLAIM:
    case STEP_NEXT:
    case STEP_CLOCK:
    case STEP_REQUEST:
    case STEP_CRASH:
    case STEP_RESTORE:
        return false;
    default:
        return true;
    }
}

unsigned proof_variants(enum proof_kind kind)
{
    switch (kind) {
    case STEP_ARRIVES:
        return ARRIVES_ALL;
    case STEP_REQUEST:
        return REQUEST_ALL;
    case STEP_LOST:
        return LOST_COUNT;
    case STEP_READ:
    case STEP_VOID_ARRIVES:
    case STEP_PERSON:
    case STEP_PAYER:
        return 2;
    default:
        return 1;
    }
}

static bool step_do(struct proof *p, const struct proof_step *step)
{
    switch ((enum proof_kind)step->kind) {
    case STEP_ANSWER:
        return step_answer(p, step->who);
    case STEP_READ:
        return step_read(p, step->variant);
    case STEP_SAVE:
        return step_save(p);
    case STEP_VOID_ARRIVES:
        return step_void_arrives(p, step->who, step->variant);
    case STEP_ARRIVES:
        return step_arrives(p, step->who, step->variant);
    case STEP_CLAIM:
        return step_claim(p);
    case STEP_NEXT:
        return step_next(p);
    case STEP_CLOCK:
        return step_clock(p);
    case STEP_PERSON:
        return step_person(p, step->who, step->variant == 0);
    case STEP_PAYER:
        return step_payer(p, step->who, step->variant == 0);
    case STEP_REQUEST:
        return step_request(p, step->variant);
    case STEP_LOST:
        return step_lost(p, step->who, (enum proof_lost)step->variant);
    case STEP_REFUSED:
        return step_refused(p, step->who);
    case STEP_CRASH:
        return step_crash(p);
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
    if (p->broken == NULL && !p->untidied)
        proof_tidy(p);
    return true;
}

void proof_start(struct proof *p)
{
    memset(&p->s, 0, sizeof p->s);
    p->s.left = p->bound->requests;
    p->s.ready = 1;
    p->s.restores = p->bound->restores & 63u;
    p->s.backup = p->bound->restores > 0 ? BACKUP_POSSIBLE : BACKUP_NO_MORE;
    int64_t ttl_us = p->world->promises.key_ttl_us;
    p->tick_us = ttl_us == TIME_NEVER ? UNDECIDED_DAY_US
                 : ttl_us             ? ttl_us / 2
                                      : UNDECIDED_DAY_US / 2;
    p->limits = (struct decide_limits){.request_max_age_us =
                                           p->bound->age_half ? p->tick_us : p->tick_us / 2};
    if (p->world->promises.key_ttl_us == 0)
        p->limits.request_max_age_us = TIME_NEVER;
}
