#include "rules_undecided.h"

#include <string.h>

#include "base/clock.h"
#include "billing/decision.h"
#include "billing/learn.h"
#include "billing/undecided.h"

#define PAGE_MAX 16
#define TRIES_MAX 1000
#define ALMOST_ONE (1 - 1e-12)

/* 5 seconds, 6 hours */
static bool take_span_us(struct words *w, int64_t *out)
{
    static const struct {
        const char *unit;
        int64_t us;
    } UNITS[] = {{"milliseconds", US_PER_MS},
                 {"seconds", US_PER_S},
                 {"minutes", 60 * US_PER_S},
                 {"hours", 3600 * US_PER_S},
                 {"days", UNDECIDED_DAY_US}};
    int64_t n;
    if (!take_i64(w, 1000000, &n))
        return false;
    for (size_t i = 0; i < sizeof UNITS / sizeof UNITS[0]; i++)
        if (take_phrase(w, UNITS[i].unit)) {
            *out = n * UNITS[i].us;
            return true;
        }
    return false;
}

/* memory 24 hours|for ever|none [asks] [voids] */
static bool take_promises(struct words *w, struct promises *out)
{
    *out = (struct promises){0};
    if (!take_phrase(w, "memory"))
        return false;
    if (take_phrase(w, "for ever"))
        out->key_ttl_us = TIME_NEVER;
    else if (!take_phrase(w, "none") && !take_span_us(w, &out->key_ttl_us))
        return false;
    out->ask = take_phrase(w, "asks");
    out->voids = take_phrase(w, "voids");
    return true;
}

/* One of the words, in the order of an enum. */
static bool take_one(struct words *w, const char *const *texts, int count, int *out)
{
    const char *word = take(w);
    for (int i = 0; i < count; i++)
        if (strcmp(word, texts[i]) == 0) {
            *out = i;
            return true;
        }
    return false;
}
#define TAKE_ONE(w, texts, out) take_one(w, texts, (int)(sizeof(texts) / sizeof(texts)[0]), out)

/* ---- rule 6: what is next ---- */

static const char *const MOVES[] = {"send", "ask", "void", "rest"};

static void take_facts(struct words *w, struct undecided *u)
{
    u->first = take_phrase(w, "first");
    u->ask_only = take_phrase(w, "refused");
    u->pending = take_phrase(w, "pending");
    u->expired = take_phrase(w, "expired");
    u->superseded = take_phrase(w, "superseded");
    u->too_old = take_phrase(w, "known old");
    u->rewound = take_phrase(w, "rewound");
}

bool check_undecided(struct runner *r, struct words *w)
{
    struct undecided u = {0};
    struct promises p;
    int move;
    if (!take_phrase(w, "after") || !take_span_us(w, &u.age_us))
        return false;
    take_facts(w, &u);
    if (!take_promises(w, &p) || !take_phrase(w, "does") || !TAKE_ONE(w, MOVES, &move))
        return false;
    bool needs = take_phrase(w, "needs decision");
    struct undecided_step step = undecided_next(&u, &p);
    if ((int)step.move != move)
        fail_at(r, r->line, "the program says %s", MOVES[step.move]);
    if (step.needs_decision != needs)
        fail_at(r, r->line, "the program says that it %s a decision",
                step.needs_decision ? "needs" : "does not need");
    return at_end(w);
}

/* after SPAN facts memory … as old|young: what is stored with the payment when it is looked at. */
bool check_kept(struct runner *r, struct words *w)
{
    static const char *const AGES[] = {"young", "old"};
    struct undecided u = {0};
    struct promises p;
    int old;
    if (!take_phrase(w, "after") || !take_span_us(w, &u.age_us))
        return false;
    take_facts(w, &u);
    if (!take_promises(w, &p) || !take_phrase(w, "as") || !TAKE_ONE(w, AGES, &old))
        return false;
    if (undecided_next(&u, &p).too_old != (old != 0))
        fail_at(r, r->line, "the program says %s", AGES[!old]);
    return at_end(w);
}

/* store [minus] SPAN [machine SPAN] is SPAN|unknown */
bool check_aged(struct runner *r, struct words *w)
{
    struct undecided_sent sent = {0};
    struct undecided u = {0};
    int64_t want_us = 0;
    if (!take_phrase(w, "store"))
        return false;
    bool minus = take_phrase(w, "minus");
    if (!take_span_us(w, &sent.wall_us))
        return false;
    if (minus)
        sent.wall_us = -sent.wall_us;
    sent.same_boot = take_phrase(w, "machine");
    if ((sent.same_boot && !take_span_us(w, &sent.boot_us)) || !take_phrase(w, "is"))
        return false;
    bool unknown = take_phrase(w, "unknown");
    if (!unknown && !take_span_us(w, &want_us))
        return false;
    undecided_aged(&u, &sent);
    if (u.too_old != unknown || (!unknown && u.age_us != want_us))
        fail_at(r, r->line, "the program says %lld us, %s", (long long)u.age_us,
                u.too_old ? "unknown" : "known");
    return at_end(w);
}

bool check_pause(struct runner *r, struct words *w)
{
    struct undecided u = {0};
    int64_t tries, retry_us = 0, low_us, high_us;
    if (!take_phrase(w, "after") || !take_i64(w, TRIES_MAX, &tries) || !take_phrase(w, "tries"))
        return false;
    if (take_phrase(w, "pending")) {
        u.pending = true;
        if (!take_span_us(w, &u.pending_us))
            return false;
    }
    if (take_phrase(w, "retry after") && !take_span_us(w, &retry_us))
        return false;
    if (!take_phrase(w, "between") || !take_span_us(w, &low_us) || !take_phrase(w, "and") ||
        !take_span_us(w, &high_us))
        return false;
    int64_t low = undecided_pause_us(&u, (int32_t)tries, retry_us, 0);
    int64_t high = undecided_pause_us(&u, (int32_t)tries, retry_us, ALMOST_ONE);
    if (low != low_us || high > high_us || high < high_us - 1)
        fail_at(r, r->line, "the program says between %lld and %lld us", (long long)low,
                (long long)high);
    return at_end(w);
}

bool check_voided(struct runner *r, struct words *w)
{
    struct undecided u = {0};
    enum reason reason;
    take_facts(w, &u);
    if (!take_phrase(w, "ends") || !reason_parse(take(w), &reason))
        return false;
    if (undecided_void_reason(&u) != reason)
        fail_at(r, r->line, "the program says %s", reason_text(undecided_void_reason(&u)));
    return at_end(w);
}

/* ---- rule 8: while the payer is waited for ---- */

bool check_page(struct runner *r, struct words *w)
{
    enum subscription_type pending;
    struct undecided_waiting waiting[PAGE_MAX];
    size_t count = 0;
    int64_t want;
    if (!take_subscription(w, &pending) || !take_phrase(w, "waiting"))
        return false;
    bool none = take_phrase(w, "nothing");
    while (count < PAGE_MAX && payment_type_parse(peek(w), &waiting[count].payment_type)) {
        take(w);
        if (!take_subscription(w, &waiting[count++].subscription_type))
            return false;
    }
    if (none != (count == 0) || !take_phrase(w, "becomes") || !take_i64(w, PAGE_MAX, &want))
        return false;
    bool superseded = take_phrase(w, "superseded");
    size_t got = undecided_while_pending(pending, waiting, count);
    if (got != (size_t)want)
        fail_at(r, r->line, "the program says %zu", got);
    if ((got < count) != superseded)
        fail_at(r, r->line, "superseded: the program says otherwise");
    return at_end(w);
}

/* ---- rule 11: the journal ---- */

/* unknown | STATUS [PAYMENT_STATUS] */
static bool take_learn_payment(struct words *w, struct learn_payment *p)
{
    *p = (struct learn_payment){0};
    if (take_phrase(w, "unknown"))
        return true;
    p->known = true;
    if (!processing_status_parse(take(w), &p->processing_status))
        return false;
    if (p->processing_status == PROCESSING_PROCESSED ||
        p->processing_status == PROCESSING_COMPLETED)
        return payment_status_parse(take(w), &p->payment_status);
    return true;
}

bool check_learn(struct runner *r, struct words *w)
{
    static const char *const ANSWERS[] = {"success", "decline", "error", "pending", "unclear"};
    static const char *const LEARNS[] = {"nothing", "settle",    "page", "record",
                                         "adopt",   "ask_first", "alarm"};
    struct learn_payment p;
    int answer, move;
    if (!TAKE_ONE(w, ANSWERS, &answer) || !take_phrase(w, "of") || !take_learn_payment(w, &p))
        return false;
    p.other_in_flight = take_phrase(w, "beside another in flight");
    if (!take_phrase(w, "does") || !TAKE_ONE(w, LEARNS, &move))
        return false;
    bool make = take_phrase(w, "made first"), rewound = take_phrase(w, "rewound");
    struct learn_step step = learn_line(&p, (enum learn_answer)answer);
    if ((int)step.move != move)
        fail_at(r, r->line, "the program says %s", LEARNS[step.move]);
    if (step.make != make)
        fail_at(r, r->line, "made first: the program says otherwise");
    if (learn_rewound(&step) != rewound)
        fail_at(r, r->line, "rewound: the program says otherwise");
    return at_end(w);
}

/* ---- rule 10: a person ---- */

bool check_decides(struct runner *r, struct words *w)
{
    static const char *const VOIDS[] = {"untried", "unanswered", "done", "other"};
    static const char *const DECISIONS[] = {"refuse", "void", "record", "answer"};
    struct decision d = {0};
    struct promises p;
    int voiding = DECISION_VOID_NOT_TRIED, move;
    if (!payment_status_parse(take(w), &d.outcome) || !take_phrase(w, "of") ||
        !processing_status_parse(take(w), &d.processing_status))
        return false;
    d.needs_decision = take_phrase(w, "shown");
    if (take_phrase(w, "void") && !TAKE_ONE(w, VOIDS, &voiding))
        return false;
    d.voiding = (enum decision_void)voiding;
    if (!take_promises(w, &p) || !take_phrase(w, "does") || !TAKE_ONE(w, DECISIONS, &move))
        return false;
    enum decision_move got = decision_next(&d, &p);
    if ((int)got != move)
        fail_at(r, r->line, "the program says %s", DECISIONS[got]);
    return at_end(w);
}
