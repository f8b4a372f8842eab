/* processing_call.h: one call of the simulator from request to reply. Private to processing*.c.
 *
 * processing_call.c copies a request (loop's thread) and reads it (step); processing_execute.c does what it asks
 * in a closure of the journal's writer; processing.c moves it from one to the next. A call is with one thread
 * at a time. */
#ifndef SUBPAY_SERVICES_PROCESSING_CALL_H
#define SUBPAY_SERVICES_PROCESSING_CALL_H

#include "base/str.h"
#include "base/uuid.h"
#include "base/writer.h"
#include "billing/money.h"
#include "http/server.h"
#include "services/processing.h"

#define CALL_HOST_MAX 255
#define CALL_PATH_MAX 256
#define CALL_QUERY_MAX 256
#define CALL_REPLY_MAX (SIMULATOR_PAGE_BYTES + 4 * HTTP_BODY_MAX_BYTES) /* bytes */
#define CALL_TEXTS_MAX (4 * HTTP_BODY_MAX_BYTES) /* bytes of a row of the journal */

enum call_verb {
    CALL_NONE, /* answered while it was read */
    CALL_LUCK, /* GET /execute_transaction */
    CALL_INSTANCE,
    CALL_EXECUTE,
    CALL_ASK,
    CALL_VOID,
    CALL_JOURNAL,
    CALL_PAYER_LOOK, /* the payer's page */
    CALL_PAYER_END,  /* one of its buttons */
};

/* What the body of a transaction says. */
struct call_transaction {
    struct uuid payment_id, user_id, refund_of; /* refund_of: nil for a payment */
    struct money money;
};

struct sim_call {
    struct write write; /* first: the writer gives it back */
    struct service *owner;
    struct sim_call *next; /* of the held ones */

    /* as it came */
    struct http_server *server;
    uint64_t token;
    enum http_method method;
    char path[CALL_PATH_MAX], query[CALL_QUERY_MAX], host[CALL_HOST_MAX + 1];
    char idempotency_key[UUID_TEXT]; /* "" when it is missing, repeated or longer */
    char *body;                      /* owned; a NUL stands behind it */
    size_t body_len;

    /* as it was read */
    enum call_verb verb;
    struct uuid key;
    struct call_transaction transaction; /* EXECUTE, VOID */
    int64_t after, limit;                /* JOURNAL */
    bool payer_pays;                     /* PAYER_END */

    /* what a step decided for the closure */
    const struct simulator_rules *rules;
    enum simulator_outcome outcome;
    struct uuid transaction_id; /* of an execution */
    int64_t now_us;             /* wall */
    struct str texts;           /* of the row that was found */

    /* what becomes of it */
    enum simulator_fault fault;
    int64_t due_boot_us;     /* when its latency has passed */
    bool executed;           /* the closure added a row */
    int status;              /* 0: closed without an answer */
    const char *reply_type;  /* content type */
    const char *reply_allow; /* of a 405 */
    struct str reply;
};

/* NULL: no memory. */
struct sim_call *call_make(const struct http_request *request);
void call_free(struct sim_call *call);

/* Finds out what is asked for; what is not acceptable is answered (CALL_NONE). */
void call_read(struct sim_call *call);
bool call_needs_journal(const struct sim_call *call);
bool call_may_fault(const struct sim_call *call);

/* Replaces what the reply was. */
void call_problem(struct sim_call *call, int status, const char *detail);
void call_text(struct sim_call *call, int status, const char *content_type, const char *text);
void call_send(const struct sim_call *call); /* any thread; once */

/* A closure of the writer (arg: the call); leaves the reply in the call. */
enum err call_run(struct db *db, void *arg);

#endif
