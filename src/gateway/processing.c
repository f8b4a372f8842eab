#include "gateway/processing.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/inbox.h"
#include "http/client.h"

#define PROCESSING_PATH_MAX 64 /* bytes behind the base URL */

/* Lives until it is closed and the last call has come back: the client's thread may still hold calls when the
 * owner has gone. */
struct processing {
    struct gateway gateway;
    struct http_client *client;
    struct promises promises;
    int64_t timeout_ms;
    char *url, *authorization; /* "Authorization: Bearer …", or NULL */
    size_t in_flight;          /* the owner's thread */
    struct inbox answers;      /* struct processing_call *: client's thread → owner's */
    pthread_mutex_t lock;      /* over the rest, and the push behind it */
    size_t calls;              /* that the client has */
    bool closed;
};

struct processing_call {
    struct processing *processing;
    struct gateway_call call; /* without its body */
    struct gateway_answer answer;
};

static struct processing *processing_of(const struct gateway *g)
{
    return (struct processing *)(void *)g; /* its first member */
}

/* With an answer that nobody takes. */
static void call_free(struct processing_call *call)
{
    journal_page_free(call->answer.page);
    free(call);
}

static void processing_free(struct processing *p)
{
    struct processing_call *left;
    while (inbox_take(&p->answers, &left, 1) == 1)
        call_free(left);
    inbox_release(&p->answers);
    pthread_mutex_destroy(&p->lock);
    free(p->url);
    free(p->authorization);
    free(p);
}

/* In the client's thread. The push is under the lock, so that nobody is woken after processing_close. */
static void processing_done(void *ctx, uint64_t token, const struct http_outcome *outcome)
{
    (void)token;
    struct processing_call *call = ctx;
    struct processing *p = call->processing;
    struct gateway_answer *answer = &call->answer;
    processing_read_answer(&call->call, outcome->status, outcome->body, outcome->body_len, answer);
    answer->retry_after_us = outcome->retry_after_us;
    if (outcome->status == 0) {
        if (!outcome->maybe_sent)
            answer->result = GATEWAY_NOT_SENT;
        (void)snprintf(answer->note, sizeof answer->note, "%s", outcome->note);
    }
    pthread_mutex_lock(&p->lock);
    p->calls--;
    bool closed = p->closed, last = p->closed && p->calls == 0;
    if (!closed) {
        enum err err = inbox_push(&p->answers, &call);
        assert(err == ERR_OK); /* it has room for all that may be in flight */
        (void)err;
    }
    pthread_mutex_unlock(&p->lock);
    if (closed)
        call_free(call);
    if (last)
        processing_free(p);
}

static bool call_path(const struct gateway_call *call, char out[PROCESSING_PATH_MAX])
{
    char id[UUID_TEXT];
    int len = 0;
    uuid_format(&call->payment_id, id);
    switch (call->verb) {
    case GATEWAY_SEND:
        len = snprintf(out, PROCESSING_PATH_MAX, "/execute_transaction");
        break;
    case GATEWAY_ASK:
        len = snprintf(out, PROCESSING_PATH_MAX, "/transactions/%s", id);
        break;
    case GATEWAY_VOID:
        len = snprintf(out, PROCESSING_PATH_MAX, "/transactions/%s/void", id);
        break;
    case GATEWAY_INSTANCE:
        len = snprintf(out, PROCESSING_PATH_MAX, "/instance");
        break;
    case GATEWAY_JOURNAL:
        len = snprintf(out, PROCESSING_PATH_MAX, "/transactions?after=%lld",
                       (long long)call->after_seq);
        break;
    }
    return len > 0 && len < PROCESSING_PATH_MAX;
}

/* The last moment to write it; 0: no bound. */
static int64_t last_boot_us(const struct gateway_call *call)
{
    return call->send_before_boot_us > 1 ? call->send_before_boot_us - 1
                                         : call->send_before_boot_us;
}

static enum err call_hand_over(struct processing *p, const struct gateway_call *call,
                               struct processing_call *kept)
{
    char path[PROCESSING_PATH_MAX], url[HTTP_CLIENT_URL_MAX + 1], id[UUID_TEXT];
    char key[sizeof "Idempotency-Key: " + UUID_TEXT];
    bool posts = call->verb == GATEWAY_SEND || call->verb == GATEWAY_VOID;
    uuid_format(&call->payment_id, id);
    (void)snprintf(key, sizeof key, "Idempotency-Key: %s", id);
    if (!call_path(call, path))
        return ERR_BUG;
    int len = snprintf(url, sizeof url, "%s%s", p->url, path);
    if (len < 0 || (size_t)len >= sizeof url)
        return ERR_INVALID;
    struct http_call_out out = {
        .method = posts ? "POST" : "GET",
        .url = url,
        .headers = {"Accept: application/json"},
        .body = posts ? call->body : NULL,
        .body_len = posts ? call->body_len : 0,
        .timeout_ms = p->timeout_ms,
        .answer_max = call->verb == GATEWAY_JOURNAL ? JOURNAL_PAGE_MAX : GATEWAY_ANSWER_MAX,
        .not_after_boot_us = call->verb == GATEWAY_SEND ? last_boot_us(call) : 0,
    };
    size_t headers = 1;
    if (p->authorization)
        out.headers[headers++] = p->authorization;
    if (posts)
        out.headers[headers++] = "Content-Type: application/json";
    if (call->verb == GATEWAY_SEND)
        out.headers[headers++] = key;
    return http_client_submit(p->client, &out, processing_done, kept, 0);
}

static enum err processing_submit(struct gateway *g, const struct gateway_call *call)
{
    struct processing *p = processing_of(g);
    struct processing_call *kept = calloc(1, sizeof *kept);
    if (!kept)
        return ERR_NO_MEMORY;
    kept->processing = p;
    kept->call = *call;
    kept->call.body = NULL;
    kept->call.body_len = 0;
    pthread_mutex_lock(&p->lock);
    p->calls++;
    pthread_mutex_unlock(&p->lock);
    enum err err = call_hand_over(p, call, kept);
    if (err != ERR_OK) {
        pthread_mutex_lock(&p->lock);
        p->calls--;
        pthread_mutex_unlock(&p->lock);
        free(kept);
        return err;
    }
    p->in_flight++;
    return ERR_OK;
}

static size_t processing_take(struct gateway *g, struct gateway_answer *out, size_t max)
{
    struct processing *p = processing_of(g);
    struct processing_call *call;
    size_t count = 0;
    while (count < max && inbox_take(&p->answers, &call, 1) == 1) {
        out[count++] = call->answer;
        free(call);
    }
    p->in_flight -= count;
    return count;
}

static size_t processing_in_flight(const struct gateway *g)
{
    return processing_of(g)->in_flight;
}

static struct promises processing_promises(const struct gateway *g)
{
    return processing_of(g)->promises;
}

static charge_encode_fn *processing_encode(const struct gateway *g)
{
    (void)g;
    return charge_encode_json;
}

static void processing_watch(struct gateway *g, void (*wake)(void *), void *ctx)
{
    struct processing *p = processing_of(g);
    pthread_mutex_lock(&p->lock);
    p->answers.wake = wake;
    p->answers.wake_ctx = ctx;
    pthread_mutex_unlock(&p->lock);
}

static void processing_close(struct gateway *g)
{
    struct processing *p = processing_of(g);
    pthread_mutex_lock(&p->lock);
    p->closed = true;
    bool last = p->calls == 0;
    pthread_mutex_unlock(&p->lock);
    if (last)
        processing_free(p);
}

static const struct gateway_ops PROCESSING_OPS = {
    .submit = processing_submit,
    .take = processing_take,
    .in_flight = processing_in_flight,
    .promises = processing_promises,
    .encode = processing_encode,
    .watch = processing_watch,
    .close = processing_close,
};

static bool processing_texts(struct processing *p, const struct processing_settings *settings)
{
    size_t url_len = strlen(settings->url);
    while (url_len > 0 && settings->url[url_len - 1] == '/')
        url_len--;
    p->url = strndup(settings->url, url_len);
    bool token = settings->token && settings->token[0];
    if (token && asprintf(&p->authorization, "Authorization: Bearer %s", settings->token) < 0)
        p->authorization = NULL;
    return p->url && (!token || p->authorization);
}

enum err processing_open(struct gateway **out, struct http_client *client,
                         const struct processing_settings *settings, struct clock *clock)
{
    (void)clock; /* the client's clock decides when it is too late to send */
    bool bad_token = settings->token && strpbrk(settings->token, "\r\n");
    if (settings->timeout_ms <= 0 || bad_token ||
        strlen(settings->url) + PROCESSING_PATH_MAX > HTTP_CLIENT_URL_MAX)
        return ERR_INVALID;
    struct processing *p = calloc(1, sizeof *p);
    if (!p)
        return ERR_NO_MEMORY;
    enum err err = inbox_init(&p->answers, sizeof(struct processing_call *), GATEWAY_IN_FLIGHT_MAX);
    if (err != ERR_OK) {
        free(p);
        return err;
    }
    pthread_mutex_init(&p->lock, NULL);
    p->gateway.ops = &PROCESSING_OPS;
    p->client = client;
    p->promises = settings->promises;
    p->timeout_ms = settings->timeout_ms;
    if (!processing_texts(p, settings)) {
        processing_free(p);
        return ERR_NO_MEMORY;
    }
    *out = &p->gateway;
    return ERR_OK;
}

struct promises processing_promises_of(const struct config *c)
{
    struct promises p = {.ask = true, .voids = c->key_ttl != KEY_TTL_NONE};

    switch (c->key_ttl) {
    case KEY_TTL_SECONDS:
        p.key_ttl_us = c->key_ttl_s * US_PER_S;
        break;
    case KEY_TTL_FOR_EVER:
        p.key_ttl_us = TIME_NEVER;
        break;
    case KEY_TTL_NONE:
        p.key_ttl_us = 0;
        break;
    }
    return p;
}
