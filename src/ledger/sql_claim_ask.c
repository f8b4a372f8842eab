/* The part of a claim about requests that are to be asked about before they are decided: the books
 * were restored (rule 11), and those that were lost may have sent them. */
#include "ledger/sql_claim.h"

/* Restored books (rule 11): was it sent by those that were lost? */
enum err claim_ask_find(struct claim *c, const struct desk *d, struct decide_request *r,
                        int64_t *asked, bool *found)
{
    struct query q;
    query_open(&q, c->verb.db,
               "SELECT " CLAIM_COLUMNS " FROM payments WHERE user_id = ?1 AND seq >= ?2 "
               "AND processing_status = 'new' AND ask_first > 0 ORDER BY seq LIMIT 1");
    query_bind_text(&q, d->due->id);
    query_bind_i64(&q, d->due->pending_seq);
    *found = query_next(&q);
    if (*found) {
        claim_request(&q, r);
        *asked = query_i64(&q, 10);
    }
    return query_close(&q);
}

/* What it would have given back; !exists: these books know of nothing that it could be. */
static enum err ask_target(struct claim *c, const struct desk *d, const struct decide_request *r,
                           struct refund_target *out)
{
    *out = d->account.last_target;
    return r->names_target ? claim_target(c, d, &r->named.payment_id, out) : ERR_OK;
}

static enum err ask_nothing(struct claim *c, const struct desk *d, const struct decide_request *r)
{
    struct query q;
    query_open(&q, c->verb.db, "UPDATE payments SET ask_first = 0 WHERE seq = ?1");
    query_bind_i64(&q, r->seq);
    enum err err = query_run(&q);
    c->verb.changes |= LEDGER_CHANGE_STORED; /* the next claim decides */
    return err == ERR_OK ? waiting_account(&c->verb, d->due->id, d->due->pending_seq) : err;
}

enum err claim_ask(struct claim *c, struct desk *d, const struct decide_request *r, int64_t asked)
{
    struct refund_target target = {.money = r->money};
    struct verdict sent;
    struct query q;
    struct attempt *a;
    enum err err = ERR_OK;
    if (r->payment_type == PAYMENT_TYPE_REFUND) {
        err = ask_target(c, d, r, &target);
        if (err == ERR_OK && !target.exists)
            return ask_nothing(c, d, r);
    }
    sent = (struct verdict){.refund_of = target.payment_id, .money = target.money};
    if (err == ERR_OK)
        err = claim_encode_row(c, d, r, &sent);
    if (err == ERR_OK)
        err = claim_attempt(c, d, r, &sent, &a);
    if (err != ERR_OK)
        return err;
    a->ask_only = a->ask_first = true;
    a->tries = (int32_t)(asked - 1);
    query_open(&q, c->verb.db,
               "UPDATE accounts SET version = version + 1, due_at = ?2 WHERE user_id = ?1");
    query_bind_text(&q, d->due->id);
    query_bind_time(&q, c->verb.now_us + c->asked->lease_us);
    return query_run(&q);
}
