#include "billing/undecided.h"

#define DOUBLINGS_MAX 9 /* 2^9 s is more than the longest pause */

int64_t undecided_send_until_us(const struct promises *p, bool first)
{
    if (p->key_ttl_us == 0)
        return first ? UNDECIDED_DAY_US : 0;
    return p->key_ttl_us == TIME_NEVER ? UNDECIDED_DAY_US : p->key_ttl_us / 2;
}

bool undecided_may_send(int64_t age_us, const struct promises *p, bool first)
{
    return age_us < undecided_send_until_us(p, first);
}

bool undecided_may_void(const struct promises *p)
{
    return p->voids && p->key_ttl_us != 0;
}

void undecided_aged(struct undecided *u, const struct undecided_sent *sent)
{
    u->age_us = sent->wall_us > 0 ? sent->wall_us : 0;
    if (sent->same_boot && sent->boot_us > u->age_us)
        u->age_us = sent->boot_us;
    if (!sent->same_boot && sent->wall_us < -UNDECIDED_SKEW_US)
        u->too_old = true;
}

static bool in_time(const struct undecided *u, const struct promises *p)
{
    return !u->too_old && undecided_may_send(u->age_us, p, u->first);
}

/* Rule 8: the processing knows the key, so nothing has to be repeated to be sure of that. */
static enum undecided_move move_pending(const struct undecided *u, const struct promises *p)
{
    if ((u->expired || u->superseded) && undecided_may_void(p))
        return UNDECIDED_VOID;
    if (p->ask)
        return UNDECIDED_ASK;
    return !u->ask_only && in_time(u, p) ? UNDECIDED_SEND : UNDECIDED_REST;
}

static enum undecided_move move_unanswered(const struct undecided *u, const struct promises *p)
{
    if (in_time(u, p) && !u->ask_only)
        return UNDECIDED_SEND;
    if (in_time(u, p) && p->ask)
        return UNDECIDED_ASK; /* after 409 or 422: it may still be answered under its own key */
    if (undecided_may_void(p))
        return UNDECIDED_VOID;
    return p->ask ? UNDECIDED_ASK : UNDECIDED_REST;
}

static bool needs_decision(const struct undecided *u, const struct promises *p)
{
    if (u->pending && !u->expired)
        return false;
    if (u->ask_only || u->age_us >= UNDECIDED_DAY_US)
        return true;
    if (undecided_may_void(p))
        return false;
    return u->pending || !in_time(u, p);
}

/* Rule 11: nothing is sent and nothing is voided before the journal is read again. */
static enum undecided_move move_rewound(const struct promises *p)
{
    return p->ask ? UNDECIDED_ASK : UNDECIDED_REST;
}

struct undecided_step undecided_next(const struct undecided *u, const struct promises *p)
{
    return (struct undecided_step){
        .move = u->rewound   ? move_rewound(p)
                : u->pending ? move_pending(u, p)
                             : move_unanswered(u, p),
        .needs_decision = needs_decision(u, p),
        .too_old = u->too_old || !undecided_may_send(u->age_us, p, false),
    };
}

int64_t undecided_pause_us(const struct undecided *u, int32_t tries, int64_t retry_after_us,
                           double chance)
{
    int64_t pause_us = UNDECIDED_PAUSE_MAX_US;
    if (u->pending && u->pending_us < UNDECIDED_PENDING_US) {
        pause_us = UNDECIDED_PENDING_PAUSE_US;
    } else {
        if (tries < DOUBLINGS_MAX)
            pause_us = UNDECIDED_PAUSE_MIN_US << (tries > 0 ? tries : 0);
        if (pause_us > UNDECIDED_PAUSE_MAX_US)
            pause_us = UNDECIDED_PAUSE_MAX_US;
        pause_us = pause_us / 2 + (int64_t)((double)(pause_us / 2) * chance);
    }
    if (pause_us < retry_after_us)
        pause_us = retry_after_us;
    return pause_us < UNDECIDED_PAUSE_MAX_US ? pause_us : UNDECIDED_PAUSE_MAX_US;
}

enum reason undecided_void_reason(const struct undecided *u)
{
    if (u->pending && u->superseded)
        return REASON_SUPERSEDED;
    return u->pending && u->expired ? REASON_EXPIRED : REASON_NOT_ANSWERED;
}

size_t undecided_while_pending(enum subscription_type pending,
                               const struct undecided_waiting *waiting, size_t count)
{
    size_t n = 0;
    while (n < count && waiting[n].payment_type == PAYMENT_TYPE_PAYMENT &&
           waiting[n].subscription_type == pending)
        n++;
    return n;
}
