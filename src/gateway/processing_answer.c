/* What counts as an answer (contract, rules 6 and 8): everything that is not exactly right is none. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/json.h"
#include "base/times.h"
#include "gateway/processing.h"

static void answer_note(struct gateway_answer *out, const char *note)
{
    (void)text_copy(out->note, sizeof out->note, note);
}

/* Texts that are stored and shown: no control characters. */
static bool text_is_plain(const char *text)
{
    for (const unsigned char *p = (const unsigned char *)text; *p; p++)
        if (*p < 0x20 || *p == 0x7f)
            return false;
    return true;
}

/* A link that is shown to the payer. */
static bool url_is_web(const char *url)
{
    const char *host = NULL;
    if (strncasecmp(url, "http://", 7) == 0)
        host = url + 7;
    else if (strncasecmp(url, "https://", 8) == 0)
        host = url + 8;
    if (!host || strlen(url) > GATEWAY_URL_MAX)
        return false;
    if (*host == '\0' || strchr("/?#:@", *host))
        return false;
    for (const unsigned char *p = (const unsigned char *)url; *p; p++)
        if (*p <= 0x20 || *p >= 0x7f || strchr("\"<>\\^`{|}", *p))
            return false;
    return true;
}

/* Does the answer speak of the very payment that was asked about? */
static const char *answer_mismatch(const struct gateway_call *call, const struct json *doc)
{
    const char *id_text = json_text(json_member(doc, "payment_id"));
    const char *currency = json_text(json_member(doc, "currency"));
    struct uuid id;
    int64_t amount;
    if (!id_text || !uuid_parse(id_text, strlen(id_text), &id) ||
        !uuid_equal(&id, &call->payment_id))
        return "another payment_id in the answer";
    if (!json_i64(json_member(doc, "amount"), &amount) || amount != call->money.amount_minor)
        return "another amount in the answer";
    if (!currency || strcmp(currency, call->money.currency) != 0)
        return "another currency in the answer";
    return NULL;
}

static void read_pending(const struct gateway_call *call, const struct json *doc,
                         struct gateway_answer *out)
{
    const char *url = json_text(json_member(doc, "action_url"));
    const struct json *expires = json_member(doc, "expires_at");
    const char *expires_text = json_text(expires);
    int64_t expires_at_us = TIME_NEVER;
    if (call->verb == GATEWAY_VOID) {
        answer_note(out, "pending in answer to a void");
    } else if (!url || !url_is_web(url)) {
        answer_note(out, "pending without a usable action_url");
    } else if (expires && !json_is_null(expires) &&
               (!expires_text || !time_parse(expires_text, strlen(expires_text), &expires_at_us))) {
        answer_note(out, "pending with a bad expires_at");
    } else if (text_copy(out->action_url, sizeof out->action_url, url)) {
        out->expires_at_us = expires_at_us;
        out->result = GATEWAY_PENDING;
    }
}

static void read_transaction_id(const struct json *doc, struct gateway_answer *out)
{
    const char *id = json_text(json_member(doc, "transaction_id"));
    if (id && text_is_plain(id))
        (void)text_copy(out->transaction_id, sizeof out->transaction_id, id);
}

static void read_result(const struct gateway_call *call, const struct json *doc,
                        struct gateway_answer *out)
{
    const char *result = json_text(json_member(doc, "result"));
    const char *reason = json_text(json_member(doc, "reason"));
    const char *mismatch = answer_mismatch(call, doc);
    if (!result || mismatch) {
        answer_note(out, result ? mismatch : "no result in the answer");
        return;
    }
    if (strcmp(result, "success") == 0)
        out->result = GATEWAY_SUCCESS;
    else if (strcmp(result, "decline") == 0)
        out->result = GATEWAY_DECLINE;
    else if (strcmp(result, "error") == 0)
        out->result = GATEWAY_ERROR;
    else if (strcmp(result, "pending") == 0)
        read_pending(call, doc, out);
    else
        answer_note(out, "unknown result in the answer");
    if (out->result == GATEWAY_NO_ANSWER)
        return;
    out->voided = out->result == GATEWAY_ERROR && reason && strcmp(reason, "voided") == 0;
    read_transaction_id(doc, out);
}

static void read_instance(int status, const struct json *doc, struct gateway_answer *out)
{
    const char *id = json_text(json_member(doc, "instance_id"));
    if (status == 404 || status == 501)
        out->result = GATEWAY_INSTANCE_IS; /* it has none */
    else if (id && *id && text_is_plain(id) &&
             text_copy(out->instance_id, sizeof out->instance_id, id))
        out->result = GATEWAY_INSTANCE_IS;
    else if (out->note[0] == '\0')
        answer_note(out, "no instance_id in the answer");
}

/* Lines of another journal, or in another order, are no answer: they would move the position astray. */
static void read_journal(const struct gateway_call *call, int status, const char *body,
                         size_t body_len, struct gateway_answer *out)
{
    struct journal_page *page = NULL;
    if (status == 404 || status == 501) {
        out->result = GATEWAY_NO_JOURNAL;
        return;
    }
    if (status != 200)
        return;
    if (body_len > JOURNAL_PAGE_MAX) {
        answer_note(out, "the page is too long");
    } else if (!journal_page_parse(body, body_len, &page, out->note, sizeof out->note)) {
        out->bad_line = true;
        if (out->note[0] == '\0')
            answer_note(out, "the page is not a journal");
    } else if (page->count > 0 && page->entries[0].seq <= call->after_seq) {
        answer_note(out, "the page repeats what was read");
        journal_page_free(page);
    } else {
        out->page = page;
        out->result = GATEWAY_JOURNAL_IS;
    }
}

static void read_status(const struct gateway_call *call, int status, struct gateway_answer *out)
{
    if (status == 0)
        answer_note(out, "no answer");
    else if (status != 200)
        (void)snprintf(out->note, sizeof out->note, "HTTP %d", status);
    out->ask_only = call->verb == GATEWAY_SEND && (status == 409 || status == 422);
    out->unknown_key = call->verb == GATEWAY_ASK && status == 404;
    out->no_void = call->verb == GATEWAY_VOID && (status == 404 || status == 405 || status == 501);
}

void processing_read_answer(const struct gateway_call *call, int status, const char *body,
                            size_t body_len, struct gateway_answer *out)
{
    *out = (struct gateway_answer){
        .verb = call->verb,
        .payment_id = call->payment_id,
        .result = GATEWAY_NO_ANSWER,
        .expires_at_us = TIME_NEVER,
    };
    read_status(call, status, out);
    if (call->verb == GATEWAY_JOURNAL) {
        read_journal(call, status, body, body_len, out);
        return;
    }
    struct json *doc = NULL;
    if (status == 200 && body_len > GATEWAY_ANSWER_MAX)
        answer_note(out, "the answer is too long");
    else if (status == 200 && !(doc = json_parse(body, body_len, NULL, 0)))
        answer_note(out, "the answer is not JSON");
    if (call->verb == GATEWAY_INSTANCE)
        read_instance(status, doc, out);
    else if (doc)
        read_result(call, doc, out);
    json_free(doc);
}
