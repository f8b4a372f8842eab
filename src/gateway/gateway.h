/* gateway.h: the external payment processing: submit now, answers are taken by a later step.
 *
 * Every call is about one payment whose id is the key: the same key asks for the same effect any number of
 * times. What a driver promises (struct promises) decides what the processor may do; it never does
 * more than that. An answer is definite only by rule 6 of the contract; all else is GATEWAY_NO_ANSWER.
 *
 * Owner: opened once per processor. The attempt passed to submit is borrowed until it returns. Threads: one
 * handle, one thread; `wake` may be called from any. Drivers: processing.c; later stripe.c. */
#ifndef SUBPAY_GATEWAY_GATEWAY_H
#define SUBPAY_GATEWAY_GATEWAY_H

#include "base/err.h"
#include "base/uuid.h"
#include "billing/journal.h"
#include "billing/request.h"
#include "billing/undecided.h"

#define GATEWAY_IN_FLIGHT_MAX 512
#define GATEWAY_ANSWER_MAX 65536 /* bytes of an answer; a longer one is no answer */
#define GATEWAY_URL_MAX 1023
#define GATEWAY_INSTANCE_MAX 80

struct gateway {
    const struct gateway_ops *ops;
};

enum gateway_verb { GATEWAY_SEND, GATEWAY_ASK, GATEWAY_VOID, GATEWAY_INSTANCE, GATEWAY_JOURNAL };
struct gateway_call {
    enum gateway_verb verb;
    int64_t after_seq;      /* JOURNAL: the page behind this line */
    struct uuid payment_id; /* the key */
    struct money money;     /* what the answer has to repeat */
    const char *body;       /* SEND and VOID: the stored bytes */
    size_t body_len;
    int64_t
        send_before_boot_us; /* SEND: checked again just before the bytes are written (rule 6) */
};
enum gateway_result {
    GATEWAY_SUCCESS,
    GATEWAY_DECLINE,
    GATEWAY_ERROR,   /* definite */
    GATEWAY_PENDING, /* to SEND and ASK, of a payment or a refund: rule 8 tells them apart */
    GATEWAY_NO_ANSWER,
    GATEWAY_NOT_SENT,    /* it is certain that nothing was written */
    GATEWAY_JOURNAL_IS,  /* the answer to GATEWAY_JOURNAL: a page; an empty one is the end */
    GATEWAY_NO_JOURNAL,  /* the processing has none (404, 501) */
    GATEWAY_INSTANCE_IS, /* the answer to GATEWAY_INSTANCE; "" when the processing has none */
};
struct gateway_answer {
    enum gateway_verb verb;
    struct uuid payment_id;
    enum gateway_result result;
    bool voided;      /* an error whose reason is `voided` */
    bool ask_only;    /* 409 or 422 to a SEND: never repeat it */
    bool unknown_key; /* 404 to a question: no answer, the request may be on its way */
    bool no_void;     /* 404, 405 or 501 to a void: it does not do that, whatever was promised */
    bool bad_line;    /* of a page of the journal the first line cannot be understood */
    int64_t retry_after_us; /* what the processing asked for, 0: nothing */
    char transaction_id[256];
    char action_url[GATEWAY_URL_MAX + 1]; /* PENDING */
    int64_t expires_at_us;                /* PENDING; TIME_NEVER: none given */
    char instance_id[GATEWAY_INSTANCE_MAX + 1];
    struct journal_page *page; /* JOURNAL_IS: owned by whoever took the answer; else NULL */
    char note[128];            /* for the operator: "HTTP 500", "timed out", … */
};

/* ERR_BUSY: GATEWAY_IN_FLIGHT_MAX calls are under way; ERR_INVALID: the driver does not promise that verb;
 * ERR_STOPPED. Then nothing was done. An answer comes for each call that was taken. */
enum err gateway_submit(struct gateway *g, const struct gateway_call *call) MUST_CHECK;
size_t gateway_take(struct gateway *g, struct gateway_answer *out, size_t max);
size_t gateway_in_flight(const struct gateway *g); /* submitted and not taken yet */
struct promises gateway_promises(const struct gateway *g);
charge_encode_fn *gateway_encode(const struct gateway *g);
void gateway_watch(struct gateway *g, void (*wake)(void *ctx), void *ctx);
void gateway_close(struct gateway *g); /* gives up what is in flight; NULL is fine */

struct gateway_ops {
    enum err (*submit)(struct gateway *, const struct gateway_call *);
    size_t (*take)(struct gateway *, struct gateway_answer *, size_t);
    size_t (*in_flight)(const struct gateway *);
    struct promises (*promises)(const struct gateway *);
    charge_encode_fn *(*encode)(const struct gateway *);
    void (*watch)(struct gateway *, void (*)(void *), void *);
    void (*close)(struct gateway *);
};

#endif
