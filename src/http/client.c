#include "http/client.h"

#include <assert.h>
#include <curl/curl.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/crash.h"
#include "base/inbox.h"
#include "base/str.h"

#define CLIENT_POOL_MAX 64 /* easy handles kept for the next calls */
#define CLIENT_TAKE 64
#define CLIENT_IDLE_CONNECTION_S 30 /* well below the other side's own limit */
#define CLIENT_POLL_FAILED_MS 10

/* A call on its way: what was asked (copied behind the struct), its handle, and what has come so far. */
struct flight {
    struct clock *clock;
    http_client_done *done;
    void *ctx;
    uint64_t token;
    struct http_call_out call;
    struct flight *previous, *next; /* of those in the multi handle */
    CURL *easy;
    struct curl_slist *headers;
    struct str answer;
    int folder_fd;        /* of a unix socket with a long path; -1: none */
    bool written;         /* the bytes went out, or were about to */
    const char *refusal;  /* why our own callbacks ended it; NULL: they did not */
    unsigned char text[]; /* copies of everything that `call` points to */
};

struct http_client {
    CURLM *multi;
    struct clock *clock;
    struct inbox inbox; /* struct flight *: any thread → client's thread */
    atomic_size_t inside;
    pthread_mutex_t
        lock; /* over `stopping` and the push behind it: nothing arrives after the end */
    bool stopping;
    struct flight *flights; /* in the multi handle */
    CURL *pool[CLIENT_POOL_MAX];
    size_t pooled;
};

static void curl_start(void)
{
    CURLcode code = curl_global_init(CURL_GLOBAL_DEFAULT);
    assert(code == CURLE_OK);
    (void)code;
}

static void curl_start_once(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, curl_start);
}

/* ---- a flight ---- */

static bool method_is_safe(const char *method)
{
    return strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0;
}

static bool call_fits(const struct http_call_out *call)
{
    return strlen(call->url) <= HTTP_CLIENT_URL_MAX && call->body_len <= HTTP_CLIENT_BODY_MAX &&
           (!call->unix_socket || strlen(call->unix_socket) < PATH_MAX);
}

static const char *text_keep(unsigned char **at, const char *text)
{
    if (!text)
        return NULL;
    size_t len = strlen(text) + 1;
    char *copy = (char *)*at;
    memcpy(copy, text, len);
    *at += len;
    return copy;
}

static size_t text_size(const char *text)
{
    return text ? strlen(text) + 1 : 0;
}

static struct flight *flight_make(const struct http_call_out *call, struct clock *clock)
{
    size_t size = text_size(call->method) + text_size(call->url) + text_size(call->unix_socket);
    for (size_t i = 0; i < HTTP_CLIENT_HEADERS_MAX && call->headers[i]; i++)
        size += text_size(call->headers[i]);
    struct flight *f = calloc(1, sizeof *f + size + call->body_len);
    if (!f)
        return NULL;
    unsigned char *at = f->text;
    f->call = *call;
    f->call.method = text_keep(&at, call->method);
    f->call.url = text_keep(&at, call->url);
    f->call.unix_socket = text_keep(&at, call->unix_socket);
    for (size_t i = 0; i < HTTP_CLIENT_HEADERS_MAX && call->headers[i]; i++)
        f->call.headers[i] = text_keep(&at, call->headers[i]);
    if (call->body) {
        memcpy(at, call->body, call->body_len);
        f->call.body = (const char *)at;
    }
    f->clock = clock;
    f->folder_fd = -1;
    str_init(&f->answer, call->answer_max);
    return f;
}

static void flight_free(struct flight *f)
{
    curl_slist_free_all(f->headers);
    str_release(&f->answer);
    if (f->folder_fd >= 0)
        close(f->folder_fd);
    free(f);
}

static bool flight_too_late(const struct flight *f)
{
    return f->call.not_after_boot_us != 0 && clock_boot_us(f->clock) > f->call.not_after_boot_us;
}

/* The connection stands; behind this the request is written. libcurl comes here again when it would repeat the
 * request on a fresh connection. */
static int on_connected(void *ctx, char *remote, char *local, int remote_port, int local_port)
{
    (void)remote, (void)local, (void)remote_port, (void)local_port;
    struct flight *f = ctx;
    if (f->written && !method_is_safe(f->call.method)) {
        f->refusal = "the connection broke after the request was written";
        return CURL_PREREQFUNC_ABORT;
    }
    if (flight_too_late(f)) {
        f->refusal = "too late to be sent";
        return CURL_PREREQFUNC_ABORT;
    }
    CRASH_POINT("client.send.before");
    f->written = true;
    return CURL_PREREQFUNC_OK;
}

static size_t on_bytes(char *bytes, size_t size, size_t count, void *ctx)
{
    struct flight *f = ctx;
    str_add_bytes(&f->answer, bytes, size * count);
    if (!f->answer.failed)
        return size * count;
    f->refusal = "the answer is too long";
    return 0; /* ends the call */
}

static bool set_long(CURL *easy, CURLoption option, long value)
{
    return curl_easy_setopt(easy, option, value) == CURLE_OK;
}

static bool set_pointer(CURL *easy, CURLoption option, const void *value)
{
    return curl_easy_setopt(easy, option, value) == CURLE_OK;
}

/* A path that does not fit into a socket's name is reached through its folder. */
static bool set_unix_socket(struct flight *f)
{
    const char *path = f->call.unix_socket;
    if (strlen(path) < sizeof((struct sockaddr_un *)0)->sun_path)
        return set_pointer(f->easy, CURLOPT_UNIX_SOCKET_PATH, path);
    const char *slash = strrchr(path, '/');
    char folder[PATH_MAX], name[sizeof((struct sockaddr_un *)0)->sun_path];
    if (!slash || !text_copy_n(folder, sizeof folder, path, (size_t)(slash - path) + 1))
        return false;
    f->folder_fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (f->folder_fd < 0)
        return false;
    int len = snprintf(name, sizeof name, "/proc/self/fd/%d/%s", f->folder_fd, slash + 1);
    return len > 0 && (size_t)len < sizeof name &&
           set_pointer(f->easy, CURLOPT_UNIX_SOCKET_PATH, name);
}

static bool set_headers(struct flight *f)
{
    /* Without "Expect:" libcurl asks before a larger body and waits a second for the answer. */
    struct curl_slist *list = curl_slist_append(NULL, "Expect:");
    bool good = list != NULL;
    for (size_t i = 0; good && i < HTTP_CLIENT_HEADERS_MAX && f->call.headers[i]; i++)
        good = curl_slist_append(list, f->call.headers[i]) != NULL;
    if (good && !f->call.body && !method_is_safe(f->call.method))
        good = curl_slist_append(list, "Content-Type:") != NULL;
    f->headers = list;
    return good && set_pointer(f->easy, CURLOPT_HTTPHEADER, list);
}

static bool set_method(struct flight *f)
{
    const char *method = f->call.method;
    if (strcmp(method, "GET") == 0)
        return set_long(f->easy, CURLOPT_HTTPGET, 1);
    if (strcmp(method, "HEAD") == 0)
        return set_long(f->easy, CURLOPT_NOBODY, 1);
    bool good = true;
    if (f->call.body || strcmp(method, "POST") == 0)
        good = set_long(f->easy, CURLOPT_POST, 1) &&
               set_pointer(f->easy, CURLOPT_POSTFIELDS, f->call.body ? f->call.body : "") &&
               curl_easy_setopt(f->easy, CURLOPT_POSTFIELDSIZE_LARGE,
                                (curl_off_t)f->call.body_len) == CURLE_OK;
    if (strcmp(method, "POST") != 0)
        good = good && set_pointer(f->easy, CURLOPT_CUSTOMREQUEST, method);
    return good;
}

/* Everything about how we speak to others, for one call. QUICK_EXIT: a resolver that hangs is left to its
 * own thread, it must not stop the calls of everybody else. */
static bool flight_set(struct flight *f)
{
    CURL *e = f->easy;
    return set_pointer(e, CURLOPT_URL, f->call.url) && set_pointer(e, CURLOPT_PRIVATE, f) &&
           set_pointer(e, CURLOPT_PROTOCOLS_STR, "http,https") &&
           set_pointer(e, CURLOPT_PROXY, "") && set_pointer(e, CURLOPT_NOPROXY, "*") &&
           set_pointer(e, CURLOPT_USERAGENT, "subpay") && set_long(e, CURLOPT_NOSIGNAL, 1) &&
           set_long(e, CURLOPT_FOLLOWLOCATION, 0) && set_long(e, CURLOPT_QUICK_EXIT, 1) &&
           set_long(e, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1) &&
           set_long(e, CURLOPT_MAXAGE_CONN, CLIENT_IDLE_CONNECTION_S) &&
           set_long(e, CURLOPT_TIMEOUT_MS, (long)f->call.timeout_ms) &&
           set_pointer(e, CURLOPT_WRITEDATA, f) &&
           curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_bytes) == CURLE_OK &&
           set_pointer(e, CURLOPT_PREREQDATA, f) &&
           curl_easy_setopt(e, CURLOPT_PREREQFUNCTION, on_connected) == CURLE_OK &&
           set_headers(f) && set_method(f) && (!f->call.unix_socket || set_unix_socket(f));
}

static const char *flight_note(const struct flight *f, CURLcode code)
{
    if (f->refusal)
        return f->refusal;
    switch (code) {
    case CURLE_COULDNT_RESOLVE_HOST:
        return "the host's name could not be resolved";
    case CURLE_COULDNT_CONNECT:
        return "could not connect";
    case CURLE_OPERATION_TIMEDOUT:
        return f->written ? "timed out" : "timed out before it was sent";
    case CURLE_GOT_NOTHING:
    case CURLE_RECV_ERROR:
        return "the connection broke without an answer";
    case CURLE_PARTIAL_FILE:
        return "the connection broke in the answer";
    default:
        return curl_easy_strerror(code);
    }
}

static int64_t flight_retry_after_us(const struct flight *f)
{
    curl_off_t seconds = 0;
    if (curl_easy_getinfo(f->easy, CURLINFO_RETRY_AFTER, &seconds) != CURLE_OK || seconds <= 0)
        return 0;
    if (seconds > HTTP_CLIENT_RETRY_AFTER_MAX_S)
        seconds = HTTP_CLIENT_RETRY_AFTER_MAX_S;
    return (int64_t)seconds * US_PER_S;
}

/* Tells the caller how it ended. */
static void flight_tell(struct flight *f, CURLcode code)
{
    struct http_outcome outcome = {.maybe_sent = f->written, .body = "", .note = ""};
    long status = 0;
    if (code == CURLE_OK &&
        curl_easy_getinfo(f->easy, CURLINFO_RESPONSE_CODE, &status) == CURLE_OK && status > 0) {
        outcome.status = (int)status;
        outcome.body = f->answer.data;
        outcome.body_len = f->answer.len;
        outcome.retry_after_us = flight_retry_after_us(f);
    } else {
        outcome.note = flight_note(f, code == CURLE_OK ? CURLE_GOT_NOTHING : code);
    }
    CRASH_POINT("client.answer.after");
    f->done(f->ctx, f->token, &outcome);
}

/* ---- the client ---- */

static void client_wake(void *ctx)
{
    struct http_client *c = ctx;
    (void)curl_multi_wakeup(c->multi);
}

static bool client_set(struct http_client *c)
{
    return curl_multi_setopt(c->multi, CURLMOPT_MAXCONNECTS, (long)HTTP_CLIENT_CONNECTIONS_MAX) ==
               CURLM_OK &&
           curl_multi_setopt(c->multi, CURLMOPT_MAX_HOST_CONNECTIONS,
                             (long)HTTP_CLIENT_CONNECTIONS_MAX) == CURLM_OK &&
           curl_multi_setopt(c->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS,
                             (long)HTTP_CLIENT_CONNECTIONS_MAX) == CURLM_OK;
}

enum err http_client_open(struct http_client **out, struct clock *clock)
{
    curl_start_once();
    struct http_client *c = calloc(1, sizeof *c);
    if (!c)
        return ERR_NO_MEMORY;
    enum err err = inbox_init(&c->inbox, sizeof(struct flight *), HTTP_CLIENT_CALLS_MAX);
    if (err != ERR_OK) {
        free(c);
        return err;
    }
    c->clock = clock;
    c->inbox.wake = client_wake;
    c->inbox.wake_ctx = c;
    pthread_mutex_init(&c->lock, NULL);
    c->multi = curl_multi_init();
    if (!c->multi || !client_set(c)) {
        http_client_close(c);
        return ERR_NO_MEMORY;
    }
    *out = c;
    return ERR_OK;
}

static CURL *pool_take(struct http_client *c)
{
    return c->pooled > 0 ? c->pool[--c->pooled] : curl_easy_init();
}

static void pool_give(struct http_client *c, CURL *easy)
{
    if (c->pooled == CLIENT_POOL_MAX) {
        curl_easy_cleanup(easy);
        return;
    }
    curl_easy_reset(easy);
    c->pool[c->pooled++] = easy;
}

/* The end of a flight that the client took: told, given back, forgotten. */
static void client_end(struct http_client *c, struct flight *f, CURLcode code)
{
    flight_tell(f, code);
    if (f->easy) {
        curl_easy_setopt(f->easy, CURLOPT_HTTPHEADER, NULL);
        pool_give(c, f->easy);
    }
    flight_free(f);
    atomic_fetch_sub(&c->inside, 1);
}

static void client_refuse(struct http_client *c, struct flight *f, const char *why)
{
    f->refusal = why;
    client_end(c, f, CURLE_ABORTED_BY_CALLBACK);
}

static void client_start(struct http_client *c, struct flight *f)
{
    if (flight_too_late(f)) {
        client_refuse(c, f, "too late to be sent");
        return;
    }
    f->easy = pool_take(c);
    if (!f->easy || !flight_set(f) || curl_multi_add_handle(c->multi, f->easy) != CURLM_OK) {
        client_refuse(c, f, "could not be prepared");
        return;
    }
    f->next = c->flights;
    if (f->next)
        f->next->previous = f;
    c->flights = f;
}

static void client_unlink(struct http_client *c, struct flight *f)
{
    if (f->previous)
        f->previous->next = f->next;
    else
        c->flights = f->next;
    if (f->next)
        f->next->previous = f->previous;
    curl_multi_remove_handle(c->multi, f->easy);
}

static void client_take(struct http_client *c, bool refuse)
{
    struct flight *taken[CLIENT_TAKE];
    size_t count;
    while ((count = inbox_take(&c->inbox, taken, CLIENT_TAKE)) > 0) {
        for (size_t i = 0; i < count; i++) {
            if (refuse)
                client_refuse(c, taken[i], "stopped");
            else
                client_start(c, taken[i]);
        }
    }
}

static void client_reap(struct http_client *c)
{
    CURLMsg *message;
    int left;
    while ((message = curl_multi_info_read(c->multi, &left)) != NULL) {
        if (message->msg != CURLMSG_DONE)
            continue;
        CURLcode code = message->data.result;
        char *private = NULL;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &private);
        struct flight *f = (struct flight *)(void *)private;
        client_unlink(c, f); /* the message is gone with it */
        client_end(c, f, code);
    }
}

static bool client_stopping(struct http_client *c)
{
    pthread_mutex_lock(&c->lock);
    bool stopping = c->stopping;
    pthread_mutex_unlock(&c->lock);
    return stopping;
}

static void client_end_all(struct http_client *c)
{
    client_take(c, true);
    while (c->flights) {
        struct flight *f = c->flights;
        client_unlink(c, f);
        client_refuse(c, f, "stopped");
    }
}

void http_client_run(struct http_client *c)
{
    while (!client_stopping(c)) {
        int running;
        client_take(c, false);
        CURLMcode code = curl_multi_perform(c->multi, &running);
        client_reap(c);
        /* With nothing in flight only a wake-up ends this. */
        if (code == CURLM_OK)
            code = curl_multi_poll(c->multi, NULL, 0, INT_MAX, NULL);
        if (code != CURLM_OK) /* out of memory: not in a tight loop */
            (void)poll(NULL, 0, CLIENT_POLL_FAILED_MS);
    }
    client_end_all(c);
}

void http_client_stop(struct http_client *c)
{
    pthread_mutex_lock(&c->lock);
    c->stopping = true;
    pthread_mutex_unlock(&c->lock);
    (void)curl_multi_wakeup(c->multi);
}

void http_client_close(struct http_client *c)
{
    if (!c)
        return;
    if (c->multi) {
        http_client_stop(c);
        client_end_all(c);
    }
    assert(atomic_load(&c->inside) == 0);
    while (c->pooled > 0)
        curl_easy_cleanup(c->pool[--c->pooled]);
    if (c->multi)
        curl_multi_cleanup(c->multi);
    inbox_release(&c->inbox);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

static enum err client_push(struct http_client *c, struct flight *f)
{
    pthread_mutex_lock(&c->lock);
    enum err err = c->stopping ? ERR_STOPPED : inbox_push(&c->inbox, &f);
    pthread_mutex_unlock(&c->lock);
    return err;
}

enum err http_client_submit(struct http_client *c, const struct http_call_out *call,
                            http_client_done *done, void *ctx, uint64_t token)
{
    assert(call->timeout_ms > 0);
    if (!call_fits(call))
        return ERR_INVALID;
    if (atomic_fetch_add(&c->inside, 1) >= HTTP_CLIENT_CALLS_MAX) {
        atomic_fetch_sub(&c->inside, 1);
        return ERR_BUSY;
    }
    struct flight *f = flight_make(call, c->clock);
    enum err err = ERR_NO_MEMORY;
    if (f) {
        f->done = done;
        f->ctx = ctx;
        f->token = token;
        err = client_push(c, f);
    }
    if (err != ERR_OK) {
        if (f)
            flight_free(f);
        atomic_fetch_sub(&c->inside, 1);
    }
    return err;
}

enum err http_call_once(const struct http_call_out *call, http_client_done *done, void *ctx)
{
    assert(call->timeout_ms > 0);
    if (!call_fits(call))
        return ERR_INVALID;
    curl_start_once();
    struct flight *f = flight_make(call, clock_real());
    if (!f)
        return ERR_NO_MEMORY;
    f->done = done;
    f->ctx = ctx;
    f->easy = curl_easy_init();
    enum err err = f->easy ? ERR_OK : ERR_NO_MEMORY;
    if (err == ERR_OK && flight_too_late(f))
        f->refusal = "too late to be sent";
    else if (err == ERR_OK && !flight_set(f))
        f->refusal = "could not be prepared";
    if (err == ERR_OK)
        flight_tell(f, f->refusal ? CURLE_ABORTED_BY_CALLBACK : curl_easy_perform(f->easy));
    if (f->easy)
        curl_easy_cleanup(f->easy);
    flight_free(f);
    return err;
}
