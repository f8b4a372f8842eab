/* request.h: what a user asked for, as it travels through the queue and to the processing.
 *
 * Source: contract section 7. The codec reads the records of ours, of the standard console tools and of
 * the original service; what it cannot understand it names (enum reject), it never guesses. No I/O, no
 * clock; memory only for the JSON document of the call. Any thread. */
#ifndef SUBPAY_BILLING_REQUEST_H
#define SUBPAY_BILLING_REQUEST_H

#include "base/err.h"
#include "base/str.h"
#include "base/uuid.h"
#include "billing/money.h"
#include "billing/types.h"

#define REQUEST_METHOD_MAX 255     /* characters of payment_method */
#define REQUEST_ACTOR_MAX 80       /* "admin:" and a user_id, with room */
#define REQUEST_RECORD_MAX 1048576 /* bytes of a record's value */
#define REQUEST_NO_TIME INT64_MIN

struct request {
    struct uuid payment_id, user_id;
    enum payment_type payment_type;
    enum subscription_type subscription_type;
    int64_t requested_at_us; /* REQUEST_NO_TIME: neither value nor record has one */
    char payment_method[REQUEST_METHOD_MAX * 4 + 1]; /* "" when absent; opaque, never logged */
    struct uuid refund_of;             /* nil when absent; only with actor, only for a refund */
    char actor[REQUEST_ACTOR_MAX + 1]; /* who in support asked; "" for the user */
};

/* A record of the queue, borrowed. */
struct record {
    const char *topic;
    int32_t partition;
    int64_t offset;
    int64_t timestamp_us; /* REQUEST_NO_TIME when the record has none */
    const char *key;      /* NULL when there is none */
    size_t key_len;
    const char *value; /* NULL when there is none */
    size_t value_len;
};

/* REJECT_NONE and *out, or why not. Other members of the value are ignored. */
enum reject request_decode(const struct record *record, struct request *out) MUST_CHECK;
/* The value of a record as we write it; its key is the user_id. */
void request_encode(const struct request *r, struct str *out);
/* The id of a request with an Idempotency-Key (contract section 5). */
struct uuid request_id_of_key(const struct uuid *user_id, const char *idempotency_key,
                              enum payment_type type, enum subscription_type subscription);
/* A payment_method that is a card number: 13–19 digits, spaces and hyphens ignored, that pass Luhn. */
bool request_method_is_card(const char *payment_method);

/* What is sent to the processing: the request with its price. */
struct charge {
    struct uuid payment_id, user_id, refund_of; /* refund_of nil for a payment */
    enum payment_type payment_type;
    enum subscription_type subscription_type;
    int64_t requested_at_us;
    struct money money;
    const char *payment_method; /* "" when absent */
};

/* An opaque method in visible order: the default body, JSON of contract section 7. A gateway with another
 * format gives its own function of this type. */
typedef void charge_encode_fn(const struct charge *charge, struct str *out);
charge_encode_fn charge_encode_json;

#endif
