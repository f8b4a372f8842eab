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

/* Rule 8: the processing knows the key, so nothing has to be repeated to be sure of that. */
static enum undecided_move move_pending(const struct undecided *u, const struct promises *p)
{
    if ((u->expired || u->superseded) && undecided_may_void(p))
        return UNDECIDED_VOID;
    if (p->ask)
        return UNDECIDED_ASK;
    if (!u->ask_only && undecided_may_send(u->age_us, p, u->first))
        return UNDECIDED_SEND;
    return UNDECIDED_REST;
}

static enum undecided_move move_unanswered(const struct undecided *u, const struct promises *p)
{
    bool in_time = undecided_may_send(u->age_us, p, u->first);
    if (in_time && !u->ask_only)
        return UNDECIDED_SEND;
    if (in_time && p->ask)
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
    return u->pending || !undecided_may_send(u->age_us, p, u->first);
}

struct undecided_step undecided_next(const struct undecided *u, const struct promises *p)
{
    return (struct undecided_step){
        .move = u->pending ? move_pending(u, p) : move_unanswered(u, p),
        .needs_decision = needs_decision(u, p),
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
