/* What the user is told: pure texts, by outcome and reason. */
#include "services/notifier.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "base/times.h"

/* Digits behind the point, where it is not two (ISO 4217). */
static int currency_digits(const char *currency)
{
    static const char NONE[] =
        "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF";
    static const char THREE[] = "BHD IQD JOD KWD LYD OMR TND";

    if (strstr(NONE, currency) != NULL)
        return 0;
    return strstr(THREE, currency) != NULL ? 3 : 2;
}

static void add_money(struct str *out, const struct money *m)
{
    int digits = currency_digits(m->currency);
    int64_t unit = digits == 3 ? 1000 : digits == 2 ? 100 : 1;

    str_addf(out, "%" PRId64, m->amount_minor / unit);
    if (digits > 0)
        str_addf(out, ".%0*" PRId64, digits, m->amount_minor % unit);
    str_addf(out, " %s", m->currency);
}

static void add_day(struct str *out, int64_t at_us)
{
    static const char *const MONTHS[] = {"January",   "February", "March",    "April",
                                         "May",       "June",     "July",     "August",
                                         "September", "October",  "November", "December"};
    struct date d = date_of(at_us);
    int64_t minute = (at_us - date_start_us(d)) / (60 * US_PER_S);

    str_addf(out, "%d %s %d, %02d:%02d UTC", d.day, MONTHS[d.month - 1], (int)d.year,
             (int)(minute / 60), (int)(minute % 60));
}

static const char *subscription_words(enum subscription_type type)
{
    switch (type) {
    case SUBSCRIPTION_MONTH:
        return "one month";
    case SUBSCRIPTION_THREE_MONTHS:
        return "three months";
    case SUBSCRIPTION_YEAR:
        return "one year";
    case SUBSCRIPTION_TYPE_COUNT:
        break;
    }
    return "some time";
}

static void write_accepted(const struct telling *t, struct str *subject, struct str *text)
{
    if (t->payment_type == PAYMENT_TYPE_REFUND) {
        str_add(subject, "Your refund is made");
        str_add(text, "We have refunded ");
        if (money_known(&t->money))
            add_money(text, &t->money);
        else
            str_add(text, "the full amount");
        str_addf(text, " for a subscription of %s.\nYour subscription has ended.\n",
                 subscription_words(t->subscription_type));
        return;
    }
    str_add(subject, "Your subscription is paid");
    str_add(text, "Thank you! We have received your payment");
    if (money_known(&t->money)) {
        str_add(text, " of ");
        add_money(text, &t->money);
    }
    str_addf(text, " for a subscription of %s.\n", subscription_words(t->subscription_type));
    if (t->expiration_us != TIME_NEVER) {
        str_add(text, "It is valid until ");
        add_day(text, t->expiration_us);
        str_add(text, ".\n");
    }
}

/* Why it did not happen, in words for the user. */
static const char *reason_words(enum reason reason)
{
    switch (reason) {
    case REASON_NOTHING_TO_REFUND:
        return "There is no paid subscription that could be refunded.";
    case REASON_OTHER_SUBSCRIPTION:
        return "Your last subscription is of another length than the one you asked a refund for.";
    case REASON_REFUND_WINDOW_OVER:
        return "The time in which a subscription can be refunded is over.";
    case REASON_NOT_ANSWERED:
        return "The payment service did not answer in time, and the request was withdrawn there.";
    case REASON_EXPIRED:
        return "It was not confirmed in time.";
    case REASON_TOO_OLD:
        return "The request waited too long before it could be handled.";
    case REASON_DECIDED:
        return "It was checked and closed by our support.";
    case REASON_REFUSED:
        return "The payment service refused it for a technical reason.";
    case REASON_NONE:
    case REASON_GRANTED:
    case REASON_CANCELLED:
    case REASON_SUPERSEDED:
    case REASON_COUNT:
        break;
    }
    return "The payment service could not carry it out.";
}

static void write_refused(const struct telling *t, struct str *subject, struct str *text)
{
    bool refund = t->payment_type == PAYMENT_TYPE_REFUND;
    const char *words = subscription_words(t->subscription_type);

    if (t->payment_status == PAYMENT_DECLINE) {
        str_add(subject, refund ? "Your refund was declined" : "Your payment was declined");
        str_addf(text,
                 refund ? "Your bank declined the refund for a subscription of %s.\n"
                        : "Your bank declined the payment for a subscription of %s.\n",
                 words);
    } else {
        str_add(subject,
                refund ? "Your refund could not be made" : "Your payment could not be made");
        str_addf(text,
                 refund ? "The refund for a subscription of %s could not be made.\n"
                        : "The payment for a subscription of %s could not be made.\n",
                 words);
        str_addf(text, "%s\n", reason_words(t->reason));
    }
    str_add(text, refund ? "No money was moved.\n" : "You have not been charged.\n");
}

void notifier_write(const struct telling *telling, struct str *subject, struct str *text)
{
    char id[UUID_TEXT];

    if (telling->payment_status == PAYMENT_ACCEPTED)
        write_accepted(telling, subject, text);
    else
        write_refused(telling, subject, text);
    uuid_format(&telling->payment_id, id);
    str_addf(text, "\nPayment: %s\n", id);
}
