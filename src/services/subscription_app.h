/* subscription_app.h: the API as a step. HTTP loops put checked calls into its inbox (subscription_app_submit, any
 * thread); a step takes all that came, asks the store once for all of them, submits to the queue, and
 * replies when the queue has it durably. Waiting calls (?wait=) are looked at again after store changes. */
#ifndef SUBPAY_SERVICES_SUBSCRIPTION_APP_H
#define SUBPAY_SERVICES_SUBSCRIPTION_APP_H

#include "http/router.h"
#include "http/server.h"
#include "ledger/views.h"
#include "queue/queue.h"
#include "services/service.h"

#define APP_CALLS_MAX 8192    /* calls inside, waiting ones included: more get 503 */
#define APP_BATCH_MAX 512     /* new calls of one step */
#define APP_USER_WAITS_MAX 16 /* waiting calls of one user: more get 429 */
#define APP_QUEUE_CONFIRM_US                                                                       \
    (5 * US_PER_S)                        /* contract: 503 when the queue cannot confirm by then */
#define APP_WAIT_LOOK_US (20 * US_PER_MS) /* waiting calls are looked at no more often than this */

struct subscription_app_settings {
    const char *topic;
    int64_t store_courtesy_ms;
    /* Does anybody still wait for the answer of this call? NULL: always. A call that nobody waits
     * for is let go. */
    bool (*awaited)(const struct api_call *call);
};
typedef bool app_reply_fn(void *ctx, const struct api_call *call,
                          const struct http_response *response);
/* Handles are taken over. reply answers a call; the call is freed by the service afterwards. */
enum err subscription_app_open(struct service **out,
                               const struct subscription_app_settings *settings,
                               struct views *views, struct queue *queue, app_reply_fn *reply,
                               void *reply_ctx, struct metrics *metrics,
                               struct wake wake) MUST_CHECK;
/* Any thread; takes the call over when OK. ERR_BUSY: full. */
enum err subscription_app_submit(struct service *s, struct api_call *call) MUST_CHECK;
/* Any thread: payments look different now. */
void subscription_app_changed(struct service *s);

/* The routes of api/openapi.json, generated; handlers are handle_<operationId> in subscription_app*.c. */
extern const struct api_route API_ROUTES[];
extern const size_t API_ROUTE_COUNT;

#endif
