#include "billing/types.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

#define TYPES_TEXT(name, text) [name] = text,
static const char *const PAYMENT_TYPE_TEXTS[] = {PAYMENT_TYPE_LIST(TYPES_TEXT)};
static const char *const SUBSCRIPTION_TYPE_TEXTS[] = {SUBSCRIPTION_TYPE_LIST(TYPES_TEXT)};
static const char *const PROCESSING_STATUS_TEXTS[] = {PROCESSING_STATUS_LIST(TYPES_TEXT)};
static const char *const PAYMENT_STATUS_TEXTS[] = {PAYMENT_STATUS_LIST(TYPES_TEXT)};
static const char *const REASON_TEXTS[] = {REASON_LIST(TYPES_TEXT)};
static const char *const NOTIFICATION_TEXTS[] = {NOTIFICATION_LIST(TYPES_TEXT)};
static const char *const REJECT_TEXTS[] = {REJECT_LIST(TYPES_TEXT)};

/* The texts are stored and sent: a new word needs a migration, so a count that changes wants a
 * look. */
static_assert(PAYMENT_TYPE_COUNT == 2 && SUBSCRIPTION_TYPE_COUNT == 3, "CHECKs of the schema");
static_assert(PROCESSING_STATUS_COUNT == 5 && PAYMENT_STATUS_COUNT == 4, "CHECKs of the schema");
static_assert(NOTIFICATION_COUNT == 3, "CHECKs of the schema");

static int word_find(const char *const *texts, int count, const char *text)
{
    if (text == NULL)
        return -1;
    for (int i = 0; i < count; i++)
        if (strcmp(texts[i], text) == 0)
            return i;
    return -1;
}

#define TYPES_WORDS(type, texts, count)                                                            \
    const char *type##_text(enum type v)                                                           \
    {                                                                                              \
        assert((int)v >= 0 && v < count);                                                          \
        return texts[v];                                                                           \
    }
#define TYPES_PARSER(type, texts, count)                                                           \
    bool type##_parse(const char *text, enum type *out)                                            \
    {                                                                                              \
        int found = word_find(texts, count, text);                                                 \
        if (found < 0)                                                                             \
            return false;                                                                          \
        *out = (enum type)found;                                                                   \
        return true;                                                                               \
    }

TYPES_WORDS(payment_type, PAYMENT_TYPE_TEXTS, PAYMENT_TYPE_COUNT)
TYPES_WORDS(subscription_type, SUBSCRIPTION_TYPE_TEXTS, SUBSCRIPTION_TYPE_COUNT)
TYPES_WORDS(processing_status, PROCESSING_STATUS_TEXTS, PROCESSING_STATUS_COUNT)
TYPES_WORDS(payment_status, PAYMENT_STATUS_TEXTS, PAYMENT_STATUS_COUNT)
TYPES_WORDS(reason, REASON_TEXTS, REASON_COUNT)
TYPES_WORDS(notification, NOTIFICATION_TEXTS, NOTIFICATION_COUNT)
TYPES_WORDS(reject, REJECT_TEXTS, REJECT_COUNT)

TYPES_PARSER(payment_type, PAYMENT_TYPE_TEXTS, PAYMENT_TYPE_COUNT)
TYPES_PARSER(subscription_type, SUBSCRIPTION_TYPE_TEXTS, SUBSCRIPTION_TYPE_COUNT)
TYPES_PARSER(processing_status, PROCESSING_STATUS_TEXTS, PROCESSING_STATUS_COUNT)
TYPES_PARSER(payment_status, PAYMENT_STATUS_TEXTS, PAYMENT_STATUS_COUNT)
TYPES_PARSER(reason, REASON_TEXTS, REASON_COUNT)
TYPES_PARSER(notification, NOTIFICATION_TEXTS, NOTIFICATION_COUNT)
