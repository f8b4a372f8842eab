/* local.h: the embedded queue: a log in tables of the embedded file, one partition (0) per topic.
 *
 * Publishing goes through the group commit of the file (first in the group), reading through a connection of
 * its own. Tables queue_topics, queue_records, made by the ledger's first migration.
 *
 * One hub per file that is open for writing holds what its handles share: the writer, the bound on what waits
 * for a commit, and who wants to hear of commits. It is opened after the writer, and closed after the
 * writer's thread has ended and all its handles are closed. */
#ifndef SUBPAY_QUEUE_LOCAL_H
#define SUBPAY_QUEUE_LOCAL_H

#include "base/clock.h"
#include "base/db.h"
#include "base/random.h"
#include "base/writer.h"
#include "queue/queue.h"

#define LOCAL_QUEUE_HANDLES_MAX 16  /* of one hub */
#define LOCAL_QUEUE_TOPICS_MAX 1024 /* of one file */
#define LOCAL_QUEUE_WAITING_BYTES_MAX                                                              \
    (64 * 1048576)                               /* of one hub, not committed yet; more: ERR_BUSY */
#define LOCAL_QUEUE_TRIM_MAX 1000                /* records removed by one queue_trim */
#define LOCAL_QUEUE_TRIM_BYTES_MAX (4 * 1048576) /* about; at least one record */

struct local_queue_hub;
/* All borrowed; random makes the identity of new topics. */
enum err local_queue_hub_open(struct local_queue_hub **out, struct writer *writer,
                              struct clock *clock, struct random *random) MUST_CHECK;
void local_queue_hub_close(struct local_queue_hub *hub); /* NULL is fine */

/* hub NULL: reading only, beside the process that writes: publish, create and trim are ERR_LOCKED, and
 * nothing wakes the reader. The reader connection is borrowed (in memory: the writer's own). A handle may be
 * closed while publications wait: they are finished, `done` is not called any more. Neither `done` nor
 * `wake` may close the handle. */
enum err local_queue_open(struct queue **out, struct local_queue_hub *hub,
                          struct db *reader) MUST_CHECK;

/* All messages of one topic (without headers) in one commit, all or none; blocks until they are durable, as a
 * verb of the ledger does. ERR_IO, ERR_CORRUPT: not known whether they are there; any other error: they are not. */
enum err local_queue_append(struct queue *q, const struct queue_message *messages,
                            size_t count) MUST_CHECK;

#endif
