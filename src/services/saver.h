/* saver.h: queue → ledger. Reads batches, stores every request once, keeps the position in the ledger in the
 * same transaction; what cannot be understood is published to <topic>.rejected first, durably, and never
 * skipped. Stops with a message (unready) when the log is not the one that was read before. */
#ifndef SUBPAY_SERVICES_SAVER_H
#define SUBPAY_SERVICES_SAVER_H

#include "ledger/ledger.h"
#include "queue/queue.h"
#include "services/service.h"

#define SAVER_PARTITIONS_MAX 1024
#define SAVER_TRIM_EVERY_US (60 * US_PER_S)

struct saver_settings {
    const char *topic;
    int64_t batch_size;
    int64_t retention_us; /* embedded queue */
    /* --accept-partitions: a topic that has so many by now is read on; 0: as many as it had. Keys may be in other
     * partitions since, so the order of a user's records across the change is not kept. */
    int32_t accept_partitions;
};
enum err saver_open(struct service **out, const struct saver_settings *settings,
                    struct ledger *ledger, struct queue *queue, struct metrics *metrics,
                    struct wake wake) MUST_CHECK;

#endif
