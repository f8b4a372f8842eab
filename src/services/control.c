#include "services/control.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/inbox.h"
#include "base/json.h"
#include "http/problem.h"
#include "services/control_prices.h"
#include "services/processor.h"

#define CONTROL_NAME "control"
#define CONTROL_REPLY_US (60 * US_PER_S) /* a verb may wait that long for the disk */
#define CONTROL_ANSWER_MAX 4096
#define FRAME_HEAD 8
#define FRAME_NULL UINT32_MAX

#define CONTROL_DECISION_US (120 * US_PER_S) /* … and for the processing */

enum control_verb {
    CONTROL_RECORDS,
    CONTROL_REWIND,
    CONTROL_CREATE,
    CONTROL_PRICE,
    CONTROL_RESTORED,
    CONTROL_DECISION,
};

/* From the loop to the step, and with a decision on to the processor: one block of memory. */
struct control_call {
    struct control *control;
    struct http_server *server;
    uint64_t token;
    enum control_verb verb;
    char topic[QUEUE_TOPIC_MAX + 1];
    struct control_price price;
    struct uuid payment_id;
    size_t body_len;
    char body[];
};

struct control {
    struct service service;
    struct ledger *ledger;
    struct queue *queue;
    struct service *processor; /* borrowed */
    struct inbox inbox;        /* struct control_call *: loops → step */
    atomic_bool draining;
    atomic_size_t open; /* calls inside */
    struct queue_message messages[CONTROL_BATCH_MAX];
};

static struct control *control_of(struct service *service)
{
    return (struct control *)service;
}

/* ---- frames ---- */

static void frame_add_length(struct str *body, const char *bytes, size_t len)
{
    uint32_t n = bytes ? (uint32_t)len : FRAME_NULL;
    unsigned char head[4] = {(unsigned char)(n >> 24), (unsigned char)(n >> 16),
                             (unsigned char)(n >> 8), (unsigned char)n};
    str_add_bytes(body, head, sizeof head);
}

void control_frame_add(struct str *body, const struct queue_message *message)
{
    assert(message->key_len <= QUEUE_KEY_MAX && message->value_len <= QUEUE_RECORD_MAX);
    frame_add_length(body, message->key, message->key_len);
    frame_add_length(body, message->value, message->value_len);
    if (message->key_len > 0)
        str_add_bytes(body, message->key, message->key_len);
    if (message->value_len > 0)
        str_add_bytes(body, message->value, message->value_len);
}

static uint32_t frame_length(const char *at)
{
    const unsigned char *p = (const unsigned char *)at;
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static bool frame_part(struct span *rest, uint32_t length, const char **bytes, size_t *len)
{
    *bytes = NULL;
    *len = 0;
    if (length == FRAME_NULL)
        return true;
    if (length > rest->len)
        return false;
    *bytes = rest->data;
    *len = length;
    rest->data += length;
    rest->len -= length;
    return true;
}

bool control_frame_take(struct span *rest, struct queue_message *out)
{
    if (rest->len < FRAME_HEAD)
        return false;
    uint32_t key_len = frame_length(rest->data), value_len = frame_length(rest->data + 4);
    rest->data += FRAME_HEAD;
    rest->len -= FRAME_HEAD;
    *out = (struct queue_message){.timestamp_us = REQUEST_NO_TIME};
    return frame_part(rest, key_len, &out->key, &out->key_len) &&
           frame_part(rest, value_len, &out->value, &out->value_len);
}

/* ---- replies ---- */

static void reply_text(struct http_server *server, uint64_t token, int status, const char *type,
                       const struct str *body)
{
    const struct http_response response = {
        .status = status, .content_type = type, .body = body->data, .body_len = body->len};
    (void)http_reply(server, token, &response); /* a client that left has no use for it */
}

static void reply_problem(struct http_server *server, uint64_t token, int status,
                          const char *detail)
{
    struct str body;
    str_init(&body, CONTROL_ANSWER_MAX);
    problem_format(&body, status, detail, NULL, 0);
    reply_text(server, token, status, "application/problem+json", &body);
    str_release(&body);
}

/* 200 with one number, or {} when name is NULL. */
static void reply_number(const struct control_call *call, const char *name, int64_t number)
{
    struct str body;
    str_init(&body, CONTROL_ANSWER_MAX);
    json_open(&body, '{');
    if (name)
        json_put_i64(&body, name, number);
    json_close(&body, '}');
    reply_text(call->server, call->token, 200, "application/json", &body);
    str_release(&body);
}

static int status_of(enum err err)
{
    switch (err) {
    case ERR_NOT_FOUND:
        return 404;
    case ERR_CONFLICT:
        return 409;
    case ERR_INVALID:
        return 422;
    default:
        return err_retriable(err) || err == ERR_STOPPED ? 503 : 500;
    }
}

static void reply_error(const struct control_call *call, enum err err, const char *why)
{
    char detail[512];
    (void)snprintf(detail, sizeof detail, "%s%s%s", err_text(err), why && *why ? ": " : "",
                   why ? why : "");
    reply_problem(call->server, call->token, status_of(err), detail);
}

static void reply_refused(const struct control_call *call, int status, const char *detail)
{
    reply_problem(call->server, call->token, status, detail);
}

/* ---- from the loop's thread ---- */

/* "/topics/T", "/topics/T/records" or "/topics/T/rewind": T, which needs no decoding, and what is behind it. */
static bool path_split(const char *path, char *topic, size_t cap, const char **rest)
{
    static const char prefix[] = "/topics/";
    if (strncmp(path, prefix, sizeof prefix - 1) != 0)
        return false;
    path += sizeof prefix - 1;
    size_t len = strcspn(path, "/");
    *rest = path + len;
    return text_copy_n(topic, cap, path, len) && queue_topic_valid(topic);
}

/* The status of a request that has no verb here, or 0. */
static int topic_verb(const struct http_request *r, struct control_call *call)
{
    const char *rest = NULL;
    if (!path_split(r->path, call->topic, sizeof call->topic, &rest))
        return 404;
    bool records = strcmp(rest, "/records") == 0, rewind = strcmp(rest, "/rewind") == 0;
    if (!records && !rewind && *rest)
        return 404;
    call->verb = records ? CONTROL_RECORDS : rewind ? CONTROL_REWIND : CONTROL_CREATE;
    enum http_method wanted = call->verb == CONTROL_CREATE ? HTTP_PUT : HTTP_POST;
    return r->method == wanted ? 0 : 405;
}

/* "/payments/{id}/decision" */
static bool decision_path(const char *path, struct uuid *payment_id)
{
    static const char prefix[] = "/payments/", suffix[] = "/decision";
    size_t len = strlen(path), id_len = UUID_TEXT - 1;
    return len == sizeof prefix - 1 + id_len + sizeof suffix - 1 &&
           strncmp(path, prefix, sizeof prefix - 1) == 0 &&
           uuid_parse(path + sizeof prefix - 1, id_len, payment_id) && !uuid_is_nil(payment_id) &&
           strcmp(path + sizeof prefix - 1 + id_len, suffix) == 0;
}

static int call_verb(const struct http_request *r, struct control_call *call, const char **why)
{
    if (control_price_path(r->path)) {
        call->verb = CONTROL_PRICE;
        return control_price_read(r, &call->price, why);
    }
    bool restored = strcmp(r->path, "/restored") == 0;
    if (!restored && !decision_path(r->path, &call->payment_id))
        return topic_verb(r, call);
    call->verb = restored ? CONTROL_RESTORED : CONTROL_DECISION;
    return r->method == HTTP_POST ? 0 : 405;
}

static struct control_call *call_make(struct control *c, const struct http_request *r, int *status,
                                      const char **why)
{
    struct control_call *call = calloc(1, sizeof *call + r->body_len + 1);
    if (!call) {
        *status = 503;
        return NULL;
    }
    call->control = c;
    call->server = r->server;
    call->token = r->token;
    call->body_len = r->body_len;
    if (r->body_len > 0)
        memcpy(call->body, r->body, r->body_len);
    *status = call_verb(r, call, why);
    if (*status == 0)
        return call;
    free(call);
    return NULL;
}

void control_on_request(void *ctx, const struct http_request *request)
{
    struct control *c = control_of(ctx);
    if (request->body_len > CONTROL_BODY_MAX) {
        reply_problem(request->server, request->token, 413, "the body is too large");
        return;
    }
    int status = 0;
    const char *why = NULL;
    struct control_call *call = call_make(c, request, &status, &why);
    if (!call) {
        reply_problem(request->server, request->token, status,
                      why             ? why
                      : status == 404 ? "there is no such route"
                      : status == 405 ? "this route takes another method"
                                      : err_text(ERR_NO_MEMORY));
        return;
    }
    http_set_deadline(request,
                      call->verb == CONTROL_DECISION ? CONTROL_DECISION_US : CONTROL_REPLY_US);
    atomic_fetch_add(&c->open, 1);
    bool refused = atomic_load(&c->draining);
    if (refused || inbox_push(&c->inbox, &call) != ERR_OK) {
        atomic_fetch_sub(&c->open, 1);
        reply_refused(call, 503, refused ? "shutting down" : "too many requests at once");
        free(call);
    }
}

/* ---- the step ---- */

static void call_append(struct control *c, const struct control_call *call)
{
    struct span rest = {call->body, call->body_len};
    size_t count = 0;
    while (rest.len > 0) {
        if (count == CONTROL_BATCH_MAX) {
            reply_refused(call, 413, "too many records in one request");
            return;
        }
        if (!control_frame_take(&rest, &c->messages[count])) {
            reply_refused(call, 400, "the body is not made of frames");
            return;
        }
        c->messages[count++].topic = call->topic;
    }
    enum err err = local_queue_append(c->queue, c->messages, count);
    if (err == ERR_OK)
        reply_number(call, "published", (int64_t)count);
    else if (err == ERR_IO || err == ERR_CORRUPT)
        reply_error(call, err, "not known whether the records are in the queue");
    else
        reply_error(call, err, queue_why(c->queue));
}

/* Within the log and its end: a position outside it would stop the saver. */
static bool rewind_target(const struct json *to, const struct queue_log *log, int64_t *next)
{
    const char *text = json_text(to);
    if (text && strcmp(text, "beginning") == 0) {
        *next = log->first;
        return true;
    }
    return json_i64(to, next) && *next >= log->first && *next <= log->next;
}

static void call_rewind(struct control *c, const struct control_call *call, const struct json *body)
{
    int64_t partition = 0, next = 0;
    struct queue_log log = {0};
    if (!json_i64(json_member(body, "partition"), &partition) || partition < 0 ||
        partition > INT32_MAX || !json_member(body, "to")) {
        reply_refused(call, 422, "wants partition and to");
        return;
    }
    enum err err = queue_log(c->queue, call->topic, (int32_t)partition, &log);
    if (err != ERR_OK) {
        reply_error(call, err, queue_why(c->queue));
        return;
    }
    if (!rewind_target(json_member(body, "to"), &log, &next)) {
        char detail[160];
        (void)snprintf(detail, sizeof detail,
                       "to: the log begins at %lld and its next record will be %lld",
                       (long long)log.first, (long long)log.next);
        reply_refused(call, 422, detail);
        return;
    }
    err = ledger_rewind(c->ledger, call->topic, (int32_t)partition, next);
    if (err == ERR_OK)
        reply_number(call, "to", next);
    else
        reply_error(call, err, ledger_why(c->ledger));
}

static void call_create(struct control *c, const struct control_call *call, const struct json *body)
{
    int64_t partitions = 1;
    const struct json *asked = json_member(body, "partitions");
    if (asked && (!json_i64(asked, &partitions) || partitions < 1 || partitions > INT32_MAX)) {
        reply_refused(call, 422, "partitions: a positive number");
        return;
    }
    enum err err = queue_create(c->queue, call->topic, (int32_t)partitions);
    if (err == ERR_OK)
        reply_number(call, NULL, 0);
    else
        reply_error(call, err, queue_why(c->queue));
}

static void call_price(struct control *c, const struct control_call *call)
{
    char why[256] = "";
    int status = control_price_do(c->ledger, &call->price, why, sizeof why);
    if (status >= 300) {
        reply_refused(call, status, why);
        return;
    }
    struct str body;
    str_init(&body, CONTROL_ANSWER_MAX);
    if (status == 201)
        control_price_write(&call->price, &body);
    reply_text(call->server, call->token, status, status == 201 ? "application/json" : NULL, &body);
    str_release(&body);
}

static void call_restored(struct control *c, const struct control_call *call)
{
    int64_t marked = 0;
    enum err err = ledger_mark_restored(c->ledger, &marked);
    if (err == ERR_OK)
        reply_number(call, "marked", marked);
    else
        reply_error(call, err, ledger_why(c->ledger));
}

static void call_end(struct control_call *call)
{
    struct control *c = call->control;
    free(call);
    atomic_fetch_sub(&c->open, 1);
}

/* ---- a person decides ---- */

static void reply_decided(const struct control_call *call, enum payment_status outcome)
{
    struct str body;
    str_init(&body, CONTROL_ANSWER_MAX);
    json_open(&body, '{');
    json_put_text(&body, "outcome", payment_status_text(outcome));
    json_close(&body, '}');
    reply_text(call->server, call->token, 200, "application/json", &body);
    str_release(&body);
}

/* In the processor's thread. */
static void call_decided(void *ctx, uint64_t token, const struct decided_outcome *o)
{
    static const struct {
        int status;
        const char *text;
    } REFUSALS[] = {
        [DECIDED_ANSWERED] = {409, "the processing has answered; that was recorded instead"},
        [DECIDED_NOT_NEEDED] = {409, "it does not show needs_decision"},
        [DECIDED_UNANSWERED] = {409, "its key cannot be voided now; nothing was changed"},
        [DECIDED_UNKNOWN] = {404, "there is no such payment"},
        [DECIDED_LATER] = {503, "nothing was changed; try again"},
    };
    struct control_call *call = ctx;
    char detail[320];
    (void)token;
    if (o->decided == DECIDED) {
        reply_decided(call, o->outcome);
    } else {
        const char *why = o->decided == DECIDED_ANSWERED ? payment_status_text(o->outcome) : o->why;
        (void)snprintf(detail, sizeof detail, "%s%s%s", REFUSALS[o->decided].text,
                       why[0] != '\0' ? ": " : "", why);
        reply_refused(call, REFUSALS[o->decided].status, detail);
    }
    call_end(call);
}

static bool decision_read(const struct json *body, struct processor_decision *out)
{
    const char *outcome = json_text(json_member(body, "outcome"));
    const char *evidence = json_text(json_member(body, "evidence"));
    const char *actor = json_text(json_member(body, "actor"));
    return outcome && evidence && actor && payment_status_parse(outcome, &out->outcome) &&
           text_copy(out->evidence, sizeof out->evidence, evidence) &&
           text_copy(out->actor, sizeof out->actor, actor) && strncmp(actor, "operator:", 9) == 0 &&
           actor[9] != '\0';
}

/* True: the call goes on to the processor, which ends it. */
static bool call_decide(struct control *c, struct control_call *call, const struct json *body)
{
    struct processor_decision decision = {.payment_id = call->payment_id};
    enum err err = decision_read(body, &decision) ? ERR_OK : ERR_INVALID;
    if (err == ERR_OK)
        err = processor_decide(c->processor, &decision, call_decided, call, 0);
    if (err == ERR_INVALID)
        reply_refused(call, 422,
                      "wants outcome (accepted, decline or error), evidence (a text) and actor "
                      "(operator:<login>)");
    else if (err != ERR_OK)
        reply_error(call, err, NULL);
    return err == ERR_OK;
}

/* False: somebody else ends the call. */
static bool call_handle(struct control *c, struct control_call *call)
{
    char why[128] = "";
    bool passed_on = false;
    if (call->verb == CONTROL_RECORDS || call->verb == CONTROL_PRICE) {
        if (call->verb == CONTROL_RECORDS)
            call_append(c, call);
        else
            call_price(c, call);
        return true;
    }
    struct json *body = json_parse(call->body, call->body_len, why, sizeof why);
    if (!body || !json_is_object(body))
        reply_refused(call, 400, body ? "not a JSON object" : why);
    else if (call->verb == CONTROL_REWIND)
        call_rewind(c, call, body);
    else if (call->verb == CONTROL_CREATE)
        call_create(c, call, body);
    else if (call->verb == CONTROL_RESTORED)
        call_restored(c, call);
    else
        passed_on = call_decide(c, call, body);
    json_free(body);
    return !passed_on;
}

static int64_t control_step(struct service *service, const struct env *env)
{
    struct control *c = control_of(service);
    struct control_call *call = NULL;
    while (inbox_take(&c->inbox, &call, 1) == 1) {
        if (call_handle(c, call))
            call_end(call);
    }
    return clock_boot_us(env->clock) + SERVICE_IDLE_US;
}

static void control_drain(struct service *service)
{
    atomic_store(&control_of(service)->draining, true);
}

static bool control_drained(struct service *service)
{
    return atomic_load(&control_of(service)->open) == 0;
}

static const char *control_unready(struct service *service)
{
    (void)service;
    return NULL;
}

static void control_close(struct service *service)
{
    struct control *c = control_of(service);
    struct control_call *call = NULL;
    while (inbox_take(&c->inbox, &call, 1) == 1) {
        reply_refused(call, 503, "shut down");
        free(call);
    }
    inbox_release(&c->inbox);
    queue_close(c->queue);
    ledger_close(c->ledger);
    free(c);
}

static const struct service_ops CONTROL_OPS = {
    .name = CONTROL_NAME,
    .step = control_step,
    .drain = control_drain,
    .drained = control_drained,
    .unready = control_unready,
    .close = control_close,
};

enum err control_open(struct service **out, struct ledger *ledger, struct queue *queue,
                      struct service *processor, struct wake wake)
{
    struct control *c = calloc(1, sizeof *c);
    if (!c)
        return ERR_NO_MEMORY;
    enum err err = inbox_init(&c->inbox, sizeof(struct control_call *), CONTROL_OPEN_MAX);
    if (err != ERR_OK) {
        free(c);
        return err;
    }
    c->inbox.wake = wake.fn;
    c->inbox.wake_ctx = wake.ctx;
    c->service.ops = &CONTROL_OPS;
    c->ledger = ledger;
    c->queue = queue;
    c->processor = processor;
    *out = &c->service;
    return ERR_OK;
}
