/* types.h: the words of the trade: types, statuses and reasons, each with the one text that is stored,
 * sent and shown. Source: contract section 2. Pure. */
#ifndef SUBPAY_BILLING_TYPES_H
#define SUBPAY_BILLING_TYPES_H

#include <stdbool.h>
#include <stdint.h>

#define PAYMENT_TYPE_LIST(X) X(PAYMENT_TYPE_PAYMENT, "payment") X(PAYMENT_TYPE_REFUND, "refund")
#define SUBSCRIPTION_TYPE_LIST(X)                                                                  \
    X(SUBSCRIPTION_MONTH, "month")                                                                 \
    X(SUBSCRIPTION_THREE_MONTHS, "three_months")                                                   \
    X(SUBSCRIPTION_YEAR, "year")
#define PROCESSING_STATUS_LIST(X)                                                                  \
    X(PROCESSING_NEW, "new")                                                                       \
    X(PROCESSING_IN_PROCESSING, "in_processing")                                                   \
    X(PROCESSING_PROCESSED, "processed")                                                           \
    X(PROCESSING_COMPLETED, "completed")                                                           \
    X(PROCESSING_DUPLICATED, "duplicated")
#define PAYMENT_STATUS_LIST(X)                                                                     \
    X(PAYMENT_UNKNOWN, "unknown")                                                                  \
    X(PAYMENT_ACCEPTED, "accepted")                                                                \
    X(PAYMENT_DECLINE, "decline")                                                                  \
    X(PAYMENT_ERROR, "error")
/* Why a payment ended without, or against, a call. REASON_NONE is stored as null. */
#define REASON_LIST(X)                                                                             \
    X(REASON_NONE, "")                                                                             \
    X(REASON_GRANTED, "granted")                       /* rule 3: subscribed by a grant */         \
    X(REASON_NOTHING_TO_REFUND, "nothing_to_refund")   /* rule 5 */                                \
    X(REASON_CANCELLED, "cancelled")                   /* rule 5: undone before it was sent */     \
    X(REASON_OTHER_SUBSCRIPTION, "other_subscription") /* rule 5 */                                \
    X(REASON_REFUND_WINDOW_OVER, "refund_window_over") /* rule 5 */                                \
    X(REASON_NOT_ANSWERED, "not_answered")             /* rule 6: voided */                        \
    X(REASON_SUPERSEDED, "superseded")                 /* rule 8 */                                \
    X(REASON_EXPIRED, "expired")                       /* rule 8 */                                \
    X(REASON_TOO_OLD, "too_old")                       /* rule 9 */                                \
    X(REASON_DECIDED, "decided")                       /* rule 10 */                               \
    X(REASON_REFUSED, "refused")                       /* the processing answered error */
/* How the user was told; stored with completed. */
#define NOTIFICATION_LIST(X)                                                                       \
    X(NOTIFICATION_DELIVERED, "delivered")                                                         \
    X(NOTIFICATION_UNREACHABLE, "unreachable")                                                     \
    X(NOTIFICATION_NOT_TO_BE_TOLD, "not_to_be_told") /* superseded, cancelled */
/* Why a record went to <topic>.rejected; the `error` header. */
#define REJECT_LIST(X)                                                                             \
    X(REJECT_NONE, "")                                                                             \
    X(REJECT_NOT_JSON, "not_json")                                                                 \
    X(REJECT_NO_USER, "no_user_id")                                                                \
    X(REJECT_USER_DISAGREES, "user_id_disagrees")                                                  \
    X(REJECT_NO_SUBSCRIPTION, "no_subscription_type")                                              \
    X(REJECT_SUBSCRIPTION_DISAGREES, "subscription_type_disagrees")                                \
    X(REJECT_NO_PAYMENT_TYPE, "no_payment_type")                                                   \
    X(REJECT_BAD_TIME, "bad_requested_at")                                                         \
    X(REJECT_BAD_PAYMENT_METHOD, "bad_payment_method")                                             \
    X(REJECT_BAD_REFUND_OF, "bad_refund_of")                                                       \
    X(REJECT_BAD_ACTOR, "bad_actor")                                                               \
    X(REJECT_TOO_LARGE, "too_large")                                                               \
    X(REJECT_NO_TIME, "no_time")                                                                   \
    X(REJECT_NO_PRICE, "no_price")                                                                 \
    X(REJECT_ID_CONFLICT, "id_conflict")

#define TYPES_ENUM(name, text) name,
enum payment_type { PAYMENT_TYPE_LIST(TYPES_ENUM) PAYMENT_TYPE_COUNT };
enum subscription_type { SUBSCRIPTION_TYPE_LIST(TYPES_ENUM) SUBSCRIPTION_TYPE_COUNT };
enum processing_status { PROCESSING_STATUS_LIST(TYPES_ENUM) PROCESSING_STATUS_COUNT };
enum payment_status { PAYMENT_STATUS_LIST(TYPES_ENUM) PAYMENT_STATUS_COUNT };
enum reason { REASON_LIST(TYPES_ENUM) REASON_COUNT };
enum notification { NOTIFICATION_LIST(TYPES_ENUM) NOTIFICATION_COUNT };
enum reject { REJECT_LIST(TYPES_ENUM) REJECT_COUNT };
#undef TYPES_ENUM

const char *payment_type_text(enum payment_type v);
const char *subscription_type_text(enum subscription_type v);
const char *processing_status_text(enum processing_status v);
const char *payment_status_text(enum payment_status v);
const char *reason_text(enum reason v);
const char *notification_text(enum notification v);
const char *reject_text(enum reject v);
/* Exact texts only; false leaves *out alone. */
bool payment_type_parse(const char *text, enum payment_type *out);
bool subscription_type_parse(const char *text, enum subscription_type *out);
bool processing_status_parse(const char *text, enum processing_status *out);
bool payment_status_parse(const char *text, enum payment_status *out);
bool reason_parse(const char *text, enum reason *out);
bool notification_parse(const char *text, enum notification *out);

#endif
