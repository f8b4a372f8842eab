/* notifier.h: ledger → mailer. Tells users the outcome, then completes the payment; at least once, with one
 * Message-ID per payment. `superseded` and `cancelled` are completed without a message. */
#ifndef SUBPAY_SERVICES_NOTIFIER_H
#define SUBPAY_SERVICES_NOTIFIER_H

#include "ledger/ledger.h"
#include "mailer/mailer.h"
#include "services/service.h"

#define NOTIFIER_LEASE_US (60 * US_PER_S)

enum err notifier_open(struct service **out, struct ledger *ledger, struct mailer *mailer,
                       struct metrics *metrics, struct wake wake) MUST_CHECK;
/* Subject and text of a message: pure. */
struct str;
void notifier_write(const struct telling *telling, struct str *subject, struct str *text);

#endif
