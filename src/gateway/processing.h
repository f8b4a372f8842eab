/* processing.h: the default gateway: HTTP and JSON of contract section 7. */
#ifndef SUBPAY_GATEWAY_PROCESSING_H
#define SUBPAY_GATEWAY_PROCESSING_H

#include "base/clock.h"
#include "base/config.h"
#include "gateway/gateway.h"

struct http_client;
struct processing_settings {
    const char *url;   /* base URL; slashes at its end do not count */
    const char *token; /* "" or the Bearer token */
    int64_t timeout_ms;
    struct promises promises;
};
/* The client is borrowed; its thread is the runner's. It may end before or after the gateway is closed. */
enum err processing_open(struct gateway **out, struct http_client *client,
                         const struct processing_settings *settings,
                         struct clock *clock) MUST_CHECK;

/* What the configured processing promises: by PROCESSING_KEY_TTL. */
struct promises processing_promises_of(const struct config *config);

/* Reads an answer by rule 6: pure, also for fuzzing. Status 0: there was none. Sets everything in *out; a page in it
 * is the caller's. */
void processing_read_answer(const struct gateway_call *call, int status, const char *body,
                            size_t body_len, struct gateway_answer *out);

#endif
