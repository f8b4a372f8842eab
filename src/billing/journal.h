/* journal.h: a line of the processing's journal (contract section 7, GET /transactions?after=SEQ).
 * The codec has no I/O; what it reads lives in the arena. Any thread. */
#ifndef SUBPAY_BILLING_JOURNAL_H
#define SUBPAY_BILLING_JOURNAL_H

#include "base/arena.h"
#include "billing/learn.h"
#include "billing/request.h"

struct json;

#define JOURNAL_LINES_MAX 10000             /* of a page */
#define JOURNAL_PAGE_MAX (16 * 1024 * 1024) /* bytes of a page; a longer one is no answer */
#define JOURNAL_ID_MAX 255   /* bytes of a transaction_id; a longer one is left out */
#define JOURNAL_URL_MAX 1023 /* bytes of an action_url; what is no web link is left out */

struct journal_entry {
    int64_t seq;
    enum learn_answer answer;
    const char *unclear; /* LEARN_UNCLEAR: which member is wrong, a static text; else NULL */
    bool voided;         /* an error whose reason is `voided` */
    struct request
        request;        /* from `request`; its payment_id is the key; refund_of: of every refund */
    struct money money; /* what was executed, or was to be */
    const char *body;   /* `request`, byte for byte as the journal has it */
    size_t body_len;
    const char *processing_id, *action_url; /* "" when there is none */
    int64_t expires_at_us;                  /* TIME_NEVER when there is none */
};

/* Lines of a page, ascending seq. `text` is borrowed by nobody afterwards. A line whose `answer` is not
 * what the contract says is LEARN_UNCLEAR: whose payment that is is known, and nobody else has to wait
 * for it. Any other line that cannot be understood ends the page before it. False (page untouched): that
 * is the first one, or they are in another order, why names it; then the page is no answer. */
struct journal_page {
    struct arena arena;
    struct journal_entry *entries;
    size_t count;
};
/* `request` alone: NULL, or which of its members is missing or not what the contract says, as
 * "request.user_id". Fills e->request and e->money. */
const char *journal_request_read(const struct json *request, struct journal_entry *e);
bool journal_page_parse(const char *text, size_t len, struct journal_page **out, char *why,
                        size_t why_cap);
void journal_page_free(struct journal_page *page); /* NULL is fine */

#endif
