/* control.h: the embedded file's owner listens to the command line: DATA_DIR/control.sock (contract section 1).
 *
 * HTTP/1.1 over a unix socket (http_listen_unix), for commands that write, beside a running process:
 *   POST /topics/{topic}/records  body: up to CONTROL_BATCH_MAX frames (below); 200 {"published":N} once all are
 *                                 durable; on an error none is, unless the text says that it is not known
 *   POST /topics/{topic}/rewind   {"partition":0,"to":N} or {"partition":0,"to":"beginning"} → 200 {"to":N}
 *   PUT  /topics/{topic}          {"partitions":1} → 200 {}; idempotent
 *   POST /payments/{id}/decision  {"outcome","evidence","actor":"operator:<login>"} → 200 {"outcome"}; rule 10:
 *                                 404, 409 with the reason, 503 when it can be tried again
 *   POST /restored                {} → 200 {"marked":N}; rule 11, where the processing has no journal
 *   /prices…                      for `subpay price`, see control_prices.h
 * Errors are application/problem+json. A frame is two big-endian 32-bit lengths, of key and value (all ones: null),
 * and their bytes: so keys and values of any bytes travel as they are.
 *
 * HTTP comes in through control_on_request in a loop's thread; the step does the work and replies. */
#ifndef SUBPAY_SERVICES_CONTROL_H
#define SUBPAY_SERVICES_CONTROL_H

#include "http/server.h"
#include "ledger/ledger.h"
#include "queue/local.h"
#include "services/service.h"

#define CONTROL_SOCKET "control.sock"
#define CONTROL_OPEN_MAX 16   /* requests inside; more get 503 */
#define CONTROL_BATCH_MAX 512 /* records of one request */
#define CONTROL_BODY_MAX                                                                           \
    (QUEUE_RECORD_MAX + QUEUE_KEY_MAX + 4096) /* bytes; what the listener must let in */

/* Handles are taken over when OK; the queue is the local one, with a hub. The processor is borrowed and closed
 * before: what it was told to decide it then answers. */
enum err control_open(struct service **out, struct ledger *ledger, struct queue *queue,
                      struct service *processor, struct wake wake) MUST_CHECK;
http_on_request control_on_request; /* ctx = the service; any loop's thread */

/* The frames, for both ends. */
void control_frame_add(struct str *body, const struct queue_message *message);
/* Takes one off; false: the rest is not a frame. Key and value point into rest. */
bool control_frame_take(struct span *rest, struct queue_message *out);

#endif
