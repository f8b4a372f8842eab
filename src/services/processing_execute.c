/* What the simulator does with a key: one closure of the journal's writer a call, so that calls with the same key
 * come one after the other, and nobody hears of an effect before it is durable. */
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/times.h"
#include "services/processing_call.h"
#include "services/processing_journal.h"

#define ANSWER_MAX 4096
#define TYPE_JSON "application/json"
#define TYPE_LINES "application/x-ndjson"
#define TYPE_HTML "text/html; charset=utf-8"

static const char *outcome_text(enum simulator_outcome outcome)
{
    switch (outcome) {
    case SIM_SUCCESS:
        return "success";
    case SIM_DECLINE:
        return "decline";
    case SIM_ERROR:
        return "error";
    case SIM_PENDING:
        return "pending";
    }
    return "error";
}

static void put_uuid(struct str *out, const char *name, const struct uuid *id)
{
    char text[UUID_TEXT];
    uuid_format(id, text);
    json_put_text(out, name, text);
}

static void put_action(struct str *out, const struct sim_call *call, int64_t expires_at_us)
{
    char text[TIME_TEXT], key[UUID_TEXT], url[CALL_HOST_MAX + 64];
    uuid_format(&call->key, key);
    (void)snprintf(url, sizeof url, "http://%s/pay/%s", call->host, key);
    json_put_text(out, "action_url", url);
    time_format(expires_at_us, text);
    json_put_text(out, "expires_at", text);
}

/* The answer of an entry whose other fields are set. reason: NULL for none. */
static void answer_write(struct str *out, const struct sim_call *call, const struct journal_row *e,
                         const char *reason)
{
    json_open(out, '{');
    json_put_text(out, "result", e->result);
    put_uuid(out, "payment_id", &e->key);
    json_put_i64(out, "amount", e->money.amount_minor);
    json_put_text(out, "currency", e->money.currency);
    put_uuid(out, "transaction_id", &call->transaction_id);
    if (reason)
        json_put_text(out, "reason", reason);
    if (strcmp(e->result, "pending") == 0)
        put_action(out, call, e->expires_at_us);
    json_close(out, '}');
}

/* Adds the entry with its answer, which becomes the reply. */
static enum err entry_record(struct db *db, struct sim_call *call, struct journal_row *e,
                             const char *reason)
{
    struct str answer;
    str_init(&answer, ANSWER_MAX);
    answer_write(&answer, call, e, reason);
    e->answer = answer.data;
    enum err err = answer.failed ? ERR_NO_MEMORY : journal_append(db, e);
    if (err == ERR_OK) {
        call_text(call, 200, TYPE_JSON, e->answer);
        call->executed = true;
    }
    str_release(&answer);
    e->answer = NULL;
    return err;
}

static struct journal_row entry_fresh(const struct sim_call *call, const char *result)
{
    return (struct journal_row){
        .key = call->key,
        .user_id = call->transaction.user_id,
        .refund_of = call->transaction.refund_of,
        .money = call->transaction.money,
        .result = result,
        .executed_at_us = call->now_us,
        .expires_at_us = TIME_NEVER,
        .request = call->body,
        .request_len = call->body_len,
    };
}

static bool same_request(const struct sim_call *call, const struct journal_row *e)
{
    return call->body_len == e->request_len && memcmp(call->body, e->request, e->request_len) == 0;
}

/* Tells what is recorded, to whoever sent the same bytes. */
static void reply_recorded(struct sim_call *call, const struct journal_row *e)
{
    if (same_request(call, e))
        call_text(call, 200, TYPE_JSON, e->answer);
    else
        call_problem(call, 422, "the key was used with another body");
}

static bool pending(const struct journal_row *e)
{
    return strcmp(e->result, "pending") == 0;
}

/* An answer that changes is still about the same transaction. */
static void transaction_keep(struct sim_call *call, const struct journal_row *e)
{
    struct json *doc = json_parse(e->answer, strlen(e->answer), NULL, 0);
    const char *id = json_text(json_member(doc, "transaction_id"));
    if (id)
        (void)uuid_parse(id, strlen(id), &call->transaction_id);
    json_free(doc);
}

/* ---- execute, ask, void ---- */

/* After PROCESSING_KEY_TTL a key is as new, except that what was voided stays so. */
static bool remembered(const struct sim_call *call, const struct journal_row *e)
{
    return e->voided || call->rules->key_ttl_us == TIME_NEVER ||
           call->now_us - e->executed_at_us < call->rules->key_ttl_us;
}

static enum err execute_refund(struct db *db, struct sim_call *call)
{
    const struct call_transaction *t = &call->transaction;
    int64_t left_minor;
    enum err err = journal_left(db, &t->refund_of, &t->user_id, t->money.currency, &left_minor);
    if (err != ERR_OK)
        return err;
    bool allowed = t->money.amount_minor <= left_minor;
    /* A payer is not asked whether to take money back. */
    enum simulator_outcome outcome = call->outcome == SIM_PENDING ? SIM_SUCCESS : call->outcome;
    struct journal_row e = entry_fresh(call, outcome_text(allowed ? outcome : SIM_ERROR));
    return entry_record(db, call, &e, allowed ? NULL : "nothing_to_refund");
}

static enum err run_execute(struct db *db, struct sim_call *call)
{
    struct journal_row e;
    enum err err = journal_find(db, &call->key, &e, &call->texts);
    if (err == ERR_OK && remembered(call, &e)) {
        reply_recorded(call, &e);
        return ERR_OK;
    }
    if (err != ERR_OK && err != ERR_NOT_FOUND)
        return err;
    if (!uuid_is_nil(&call->transaction.refund_of))
        return execute_refund(db, call);
    e = entry_fresh(call, outcome_text(call->outcome));
    if (call->outcome == SIM_PENDING)
        e.expires_at_us = call->now_us + call->rules->pending_us;
    return entry_record(db, call, &e, NULL);
}

static enum err run_ask(struct db *db, struct sim_call *call)
{
    struct journal_row e;
    enum err err = journal_find(db, &call->key, &e, &call->texts);
    if (err == ERR_OK)
        call_text(call, 200, TYPE_JSON, e.answer);
    else if (err == ERR_NOT_FOUND)
        call_problem(call, 404, "this key was never executed");
    return err == ERR_NOT_FOUND ? ERR_OK : err;
}

static enum err run_void(struct db *db, struct sim_call *call)
{
    struct journal_row e;
    enum err err = journal_find(db, &call->key, &e, &call->texts);
    if (err != ERR_OK && err != ERR_NOT_FOUND)
        return err;
    if (err == ERR_OK && (!pending(&e) || !same_request(call, &e))) {
        reply_recorded(call, &e);
        return ERR_OK;
    }
    if (err == ERR_OK)
        transaction_keep(call, &e);
    else
        e = entry_fresh(call, "error");
    e.result = "error";
    e.voided = true;
    return entry_record(db, call, &e, "voided");
}

static enum err run_journal(struct db *db, struct sim_call *call)
{
    call_text(call, 200, TYPE_LINES, "");
    return journal_page(db, call->after, call->limit, SIMULATOR_PAGE_BYTES, &call->reply);
}

/* ---- the payer's page ---- */

static void page_open(struct sim_call *call, int status, const char *heading)
{
    call_text(call, status, TYPE_HTML, "");
    str_addf(&call->reply,
             "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\">"
             "<meta name=\"viewport\" content=\"width=device-width\">"
             "<title>%s</title>\n<h1>%s</h1>\n",
             heading, heading);
}

static void page_ended(struct sim_call *call, int status, const struct journal_row *e)
{
    page_open(call, status, "This payment has ended");
    str_addf(&call->reply, "<p>Result: %s</p>\n</html>\n", pending(e) ? "expired" : e->result);
}

static void page_ask(struct sim_call *call, const struct journal_row *e)
{
    page_open(call, 200, "Confirm your payment");
    str_addf(&call->reply,
             "<p>%lld.%02lld %s</p>\n<form method=\"post\">\n"
             "<button name=\"result\" value=\"success\">Pay</button>\n"
             "<button name=\"result\" value=\"decline\">Decline</button>\n</form>\n</html>\n",
             (long long)(e->money.amount_minor / 100), (long long)(e->money.amount_minor % 100),
             e->money.currency);
}

static enum err payer_ends(struct db *db, struct sim_call *call, struct journal_row *e)
{
    transaction_keep(call, e);
    e->result = call->payer_pays ? "success" : "decline";
    enum err err = entry_record(db, call, e, NULL);
    if (err != ERR_OK)
        return err;
    page_open(call, 200, call->payer_pays ? "Paid" : "Declined");
    str_add(&call->reply, "<p>You may close this page.</p>\n</html>\n");
    return ERR_OK;
}

static enum err run_payer(struct db *db, struct sim_call *call)
{
    struct journal_row e;
    bool ends = call->verb == CALL_PAYER_END;
    enum err err = journal_find(db, &call->key, &e, &call->texts);
    if (err != ERR_OK && err != ERR_NOT_FOUND)
        return err;
    if (err == ERR_NOT_FOUND || e.expires_at_us == TIME_NEVER)
        call_problem(call, 404, "no payment waits for its payer here");
    else if (!pending(&e) || call->now_us >= e.expires_at_us)
        page_ended(call, ends ? 409 : 200, &e);
    else if (ends)
        return payer_ends(db, call, &e);
    else
        page_ask(call, &e);
    return ERR_OK;
}

enum err call_run(struct db *db, void *arg)
{
    struct sim_call *call = arg;
    enum err err = ERR_BUG;
    switch (call->verb) {
    case CALL_EXECUTE:
        err = run_execute(db, call);
        break;
    case CALL_ASK:
        err = run_ask(db, call);
        break;
    case CALL_VOID:
        err = run_void(db, call);
        break;
    case CALL_JOURNAL:
        err = run_journal(db, call);
        break;
    case CALL_PAYER_LOOK:
    case CALL_PAYER_END:
        err = run_payer(db, call);
        break;
    case CALL_NONE:
    case CALL_LUCK:
    case CALL_INSTANCE:
        break;
    }
    return err == ERR_OK && call->reply.failed ? ERR_NO_MEMORY : err;
}
