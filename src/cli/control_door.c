#include "cli/control_door.h"

#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/json.h"
#include "cli/cli.h"
#include "cli/store.h"
#include "http/client.h"

#define DOOR_TRIES 50 /* a process that starts or ends gets five seconds */
#define DOOR_PAUSE_MS 100
#define DOOR_TIMEOUT_MS 120000 /* longer than any verb behind the socket takes */
#define DOOR_ANSWER_MAX 16384
#define PATH_BYTES 4096
#define LOGIN_BYTES 128

/* ---- one call ---- */

struct taking {
    struct control_reply *reply;
    bool again; /* nothing was sent: nobody listens (yet, or any more) */
};

static enum err err_of_status(int status)
{
    switch (status) {
    case 404:
        return ERR_NOT_FOUND;
    case 409:
        return ERR_CONFLICT;
    case 400:
    case 405:
    case 413:
    case 422:
        return ERR_INVALID;
    default:
        return status >= 200 && status < 300 ? ERR_OK : ERR_BUSY;
    }
}

static bool first_number(void *ctx, const char *name, const struct json *value)
{
    (void)name;
    return !json_i64(value, ctx);
}

static void answer_take(void *ctx, uint64_t token, const struct http_outcome *outcome)
{
    struct taking *t = ctx;
    struct control_reply *r = t->reply;
    (void)token;
    r->status = outcome->status;
    if (outcome->status == 0) {
        t->again = !outcome->maybe_sent;
        r->err = outcome->maybe_sent ? ERR_IO : ERR_UNREACHABLE;
        (void)snprintf(r->why, sizeof r->why, "%s", outcome->note ? outcome->note : "");
        return;
    }
    r->err = err_of_status(outcome->status);
    struct json *doc = json_parse(outcome->body, outcome->body_len, NULL, 0);
    const char *detail = json_text(json_member(doc, "detail"));
    if (r->err == ERR_OK && json_is_object(doc))
        json_each(doc, first_number, &r->number);
    else if (r->err != ERR_OK)
        (void)snprintf(r->why, sizeof r->why, "%s", detail ? detail : err_text(r->err));
    json_free(doc);
}

static enum err control_call(const struct config *config, const struct control_request *request,
                             struct control_reply *reply, bool *again)
{
    char path[PATH_BYTES], url[PATH_BYTES], type[64], actor[OPERATOR_MAX + 16];
    struct taking taking = {.reply = reply};
    int len = snprintf(path, sizeof path, "%s/%s", config->data_dir, CONTROL_SOCKET);
    int url_len = snprintf(url, sizeof url, "http://localhost%s", request->path);
    *reply = (struct control_reply){.err = ERR_BUG};
    if (len < 0 || (size_t)len >= sizeof path || url_len < 0 || (size_t)url_len >= sizeof url)
        return reply->err = ERR_INVALID;
    struct http_call_out call = {
        .method = request->method,
        .url = url,
        .unix_socket = path,
        .timeout_ms = DOOR_TIMEOUT_MS,
        .answer_max = DOOR_ANSWER_MAX,
    };
    size_t headers = 0;
    if (request->type) {
        (void)snprintf(type, sizeof type, "Content-Type: %s", request->type);
        call.headers[headers++] = type;
        call.body = request->body->data;
        call.body_len = request->body->len;
        if (request->body->failed)
            return reply->err = ERR_NO_MEMORY;
    }
    if (request->actor) {
        (void)snprintf(actor, sizeof actor, "Actor: %s", request->actor);
        call.headers[headers++] = actor;
    }
    enum err err = http_call_once(&call, answer_take, &taking);
    *again = err == ERR_OK && taking.again;
    if (err != ERR_OK)
        reply->err = err;
    return reply->err;
}

static void pause_a_little(void)
{
    const struct timespec pause = {.tv_nsec = DOOR_PAUSE_MS * INT64_C(1000000)};
    (void)nanosleep(&pause, NULL);
}

enum err control_reach(const struct config *config, const struct control_request *request,
                       enum err (*own)(void *ctx), void *ctx, bool *ours,
                       struct control_reply *reply)
{
    bool again = true;
    enum err err = ERR_UNREACHABLE;
    *ours = false;
    *reply = (struct control_reply){.err = ERR_UNREACHABLE};
    for (int i = 0; i < DOOR_TRIES && again; i++) {
        if (i > 0)
            pause_a_little();
        if (embedded_holder(config->data_dir) == 0) {
            err = own(ctx);
            *ours = err == ERR_OK;
            if (err != ERR_LOCKED)
                return err;
        }
        err = control_call(config, request, reply, &again);
    }
    if (again) {
        char note[128];
        (void)snprintf(note, sizeof note, "%.100s", reply->why);
        (void)snprintf(reply->why, sizeof reply->why,
                       "process %ld holds DATA_DIR=%.200s but does not listen on %s there: %s",
                       (long)embedded_holder(config->data_dir), config->data_dir, CONTROL_SOCKET,
                       note);
    }
    return err;
}

/* ---- the store itself ---- */

static enum err own_file(struct own_store *s, const struct config *config)
{
    char path[PATH_BYTES];
    embedded_path(config->data_dir, path, sizeof path);
    if (access(path, F_OK) != 0) {
        (void)snprintf(s->why, sizeof s->why,
                       "there is no subpay.db in it: `subpay run` or `subpay migrate upgrade` "
                       "makes it");
        return ERR_NOT_FOUND;
    }
    enum err err = embedded_open(&s->embedded, config->data_dir, clock_real(), random_real(),
                                 s->why, sizeof s->why);
    if (err != ERR_OK) {
        s->embedded = NULL;
        return err;
    }
    return embedded_ledger(s->embedded, &s->ledger);
}

static enum err own_postgres(struct own_store *s, const struct config *config)
{
    const struct postgres_settings settings = {.url = config->database_url, .notify = true};
    enum err err = postgres_open(&s->postgres, &settings, random_real(), s->why, sizeof s->why);
    if (err != ERR_OK) {
        s->postgres = NULL;
        return err;
    }
    return postgres_ledger(s->postgres, &s->ledger);
}

enum err own_store_open(struct own_store *s, const struct config *config)
{
    *s = (struct own_store){.embedded = NULL};
    enum err err = config->postgres ? own_postgres(s, config) : own_file(s, config);
    if (err != ERR_OK && s->why[0] == '\0')
        (void)snprintf(s->why, sizeof s->why, "%s", err_text(err));
    if (err != ERR_OK)
        own_store_close(s);
    return err;
}

void own_store_close(struct own_store *s)
{
    ledger_close(s->ledger);
    embedded_close(s->embedded);
    postgres_close(s->postgres);
    s->ledger = NULL;
    s->embedded = NULL;
    s->postgres = NULL;
}

/* ---- a command ---- */

struct owning {
    struct own_store store;
    const struct config *config;
    enum err err; /* of the last try to open it */
};

static enum err own_open(void *ctx)
{
    struct owning *o = ctx;
    return o->err = own_store_open(&o->store, o->config);
}

int store_command(const char *name, const struct config *config,
                  const struct control_request *request,
                  int (*alone)(void *ctx, struct own_store *store), void *ctx, int64_t *number)
{
    struct owning o = {.config = config};
    struct control_reply reply = {.err = ERR_UNREACHABLE};
    bool ours;
    enum err err = config->postgres ? own_open(&o)
                                    : control_reach(config, request, own_open, &o, &ours, &reply);
    if (config->postgres)
        ours = err == ERR_OK;
    if (ours) {
        int code = alone(ctx, &o.store);
        own_store_close(&o.store);
        return code;
    }
    *number = reply.number;
    if (err == ERR_OK)
        return CLI_DONE;
    if (o.err != ERR_OK && o.err != ERR_LOCKED)
        return store_refused(name, config, o.err, o.store.why);
    if (err == ERR_IO)
        return cli_failed("%s: not known whether it was done: %s", name, reply.why);
    return cli_failed("%s: %s", name, reply.why[0] != '\0' ? reply.why : err_text(err));
}

void operator_name(char out[OPERATOR_MAX])
{
    char login[LOGIN_BYTES] = "";
    const struct passwd *entry;
    if (getlogin_r(login, sizeof login) != 0 || login[0] == '\0') {
        entry = getpwuid(getuid());
        if (entry != NULL)
            (void)snprintf(login, sizeof login, "%s", entry->pw_name);
        else
            (void)snprintf(login, sizeof login, "%ld", (long)getuid());
    }
    (void)snprintf(out, OPERATOR_MAX, "operator:%s", login);
}
