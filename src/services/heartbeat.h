/* heartbeat.h: "I am alive and owe nothing that is overdue", once in a while (I9: what a service owes is judged by its
 * last one). Called at the end of a step that has done all that was ready. */
#ifndef SUBPAY_SERVICES_HEARTBEAT_H
#define SUBPAY_SERVICES_HEARTBEAT_H

#include "ledger/ledger.h"
#include "services/service.h"

#define HEARTBEAT_US (60 * US_PER_S)

/* *next_us: boot time of the next one, 0 at first. A store that does not take it is in trouble, which its user notes. */
static inline void heartbeat(struct ledger *ledger, const char *service, const struct env *env,
                             int64_t *next_us)
{
    int64_t now_us = clock_boot_us(env->clock);

    if (now_us >= *next_us && ledger_heartbeat(ledger, service) == ERR_OK)
        *next_us = now_us + HEARTBEAT_US;
}

#endif
