/* subpay copy FROM TO: the books of an embedded file into an empty PostgreSQL (contract section 3). */
#include "ledger/copy.h"

#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "cli/cli.h"
#include "cli/store.h"
#include "ledger/embedded.h"
#include "ledger/schema.h"

#define WHY_MAX 512
#define PATH_ROOM (CONFIG_TEXT + 16)
#define FILE_NAME "subpay.db"
#define LOOK_MS 200

struct copy_call {
    const char *from_typed, *to_url, *topic;
    bool drain;
    char path[PATH_ROOM];   /* of the file */
    char folder[PATH_ROOM]; /* whose lock guards it; "": it is a copy, which nobody writes to */
    struct db *from, *to;
    int lock; /* -1: not held */
    char said[WHY_MAX];
};

/* ---- FROM and TO ---- */

static bool from_find(struct copy_call *c)
{
    struct stat is;
    char text[PATH_ROOM];
    if (!text_copy(c->path, CONFIG_TEXT, c->from_typed) || stat(c->path, &is) != 0)
        return false;
    if (S_ISDIR(is.st_mode)) {
        (void)text_copy(c->folder, sizeof c->folder, c->path);
        embedded_path(c->folder, c->path, sizeof c->path);
        return c->path[0] != '\0' && stat(c->path, &is) == 0 && S_ISREG(is.st_mode);
    }
    (void)text_copy(text, sizeof text, c->path);
    if (strcmp(basename(text), FILE_NAME) == 0) {
        (void)text_copy(text, sizeof text, c->path);
        (void)text_copy(c->folder, sizeof c->folder, dirname(text));
    }
    return S_ISREG(is.st_mode);
}

static int from_open(struct copy_call *c)
{
    char why[WHY_MAX] = "";
    if (!from_find(c))
        return cli_usage(
            "FROM %.200s: allowed is a DATA_DIR with a %s in it, or the path of such a "
            "file",
            strstr(c->from_typed, "://") ? "(a URL)" : c->from_typed, FILE_NAME);
    enum err err = db_open(&c->from, c->path, DB_READ, why, sizeof why);
    if (err != ERR_OK) {
        c->from = NULL;
        return cli_failed("copy: FROM %s: %s", c->from_typed, why);
    }
    err = schema_check(c->from, why, sizeof why);
    return err == ERR_OK ? CLI_DONE : cli_usage("FROM %s: %s", c->from_typed, why);
}

/* TO may hold a password: it is not shown. */
static int to_open(struct copy_call *c)
{
    const struct db_postgres_settings settings = {.url = c->to_url,
                                                  .mode = DB_WRITE,
                                                  .statement_ms = STORE_LONG_MS,
                                                  .patience_ms = STORE_LONG_MS,
                                                  .idle_ms = STORE_LONG_MS};
    char why[WHY_MAX] = "";
    enum err err = db_open_postgres(&c->to, &settings, why, sizeof why);
    if (err != ERR_OK)
        c->to = NULL;
    if (err == ERR_OK)
        err = db_postgres_fit(c->to, why, sizeof why);
    if (err == ERR_OK)
        err = schema_check(c->to, why, sizeof why);
    if (err == ERR_VERSION)
        return cli_usage("TO: %s (with DATABASE_URL set to it)", why);
    if (err == ERR_INVALID || err == ERR_REFUSED)
        return cli_usage("TO: %s: allowed is a URL postgresql://…, of an empty database", why);
    return err == ERR_OK ? CLI_DONE
                         : cli_failed("copy: TO: %s", why[0] != '\0' ? why : err_text(err));
}

/* ---- nothing may be owed ---- */

static bool owes(const struct copy_owed *o)
{
    return o->unread != 0 || o->in_processing != 0;
}

static void owed_say(const struct copy_owed *o, char *out, size_t cap)
{
    int len = snprintf(out, cap,
                       "%lld records of the queue are unread, %lld payments are in "
                       "processing",
                       (long long)o->unread, (long long)o->in_processing);
    if (o->needing_decision != 0 && len > 0 && (size_t)len < cap)
        (void)snprintf(out + len, cap - (size_t)len,
                       " (%lld of them wait for `subpay decide` or a late answer)",
                       (long long)o->needing_decision);
}

static int owed_read(struct copy_call *c, struct copy_owed *out)
{
    enum err err = copy_owes(c->from, c->topic, out);
    return err == ERR_OK ? CLI_DONE
                         : cli_failed("copy: FROM %s: %s", c->from_typed, db_why(c->from));
}

/* With nobody who writes. */
static int still_owed(struct copy_call *c)
{
    struct copy_owed owed;
    char what[WHY_MAX];
    int code = owed_read(c, &owed);
    if (code != CLI_DONE || !owes(&owed))
        return code;
    owed_say(&owed, what, sizeof what);
    return cli_failed("copy: FROM %s: %s, and no process works on it: start `subpay run` on it, "
                      "keep new requests away, and copy with --drain beside it",
                      c->from_typed, what);
}

/* Once for every news. */
static void waiting_note(struct copy_call *c, const struct copy_owed *owed)
{
    char what[WHY_MAX], line[WHY_MAX];
    owed_say(owed, what, sizeof what);
    if (owes(owed))
        (void)snprintf(line, sizeof line, "waiting: %.300s", what);
    else
        (void)snprintf(line, sizeof line,
                       "drained: now end process %ld (SIGTERM); it is copied when that has ended",
                       (long)embedded_holder(c->folder));
    if (strcmp(line, c->said) == 0)
        return;
    cli_note("%s", line);
    (void)text_copy(c->said, sizeof c->said, line);
}

/* Until the file is ours, and nothing is owed. */
static int file_take(struct copy_call *c)
{
    char why[WHY_MAX] = "";
    if (c->folder[0] == '\0')
        return still_owed(c);
    for (;;) {
        struct copy_owed owed;
        int code;
        enum err err = embedded_lock(&c->lock, c->folder, false, why, sizeof why);
        if (err == ERR_OK)
            return still_owed(c);
        c->lock = -1;
        if (err != ERR_LOCKED)
            return cli_failed("copy: FROM %s: %s", c->from_typed, why);
        if (!c->drain)
            return cli_failed("copy: FROM %s: %s; allowed is to end it first, or --drain, which "
                              "waits until nothing is owed and it has ended",
                              c->from_typed, why);
        if ((code = owed_read(c, &owed)) != CLI_DONE)
            return code;
        waiting_note(c, &owed);
        (void)nanosleep(&(struct timespec){.tv_nsec = LOOK_MS * 1000000L}, NULL);
    }
}

/* ---- the command ---- */

static int books_copy(struct copy_call *c)
{
    struct copy_counts counts = {0};
    char why[WHY_MAX] = "";
    bool maybe;
    enum err err = copy_books(c->from, c->to, &counts, &maybe, why, sizeof why);
    if (maybe)
        return cli_failed(
            "copy: not known whether it was done: %s; copy again: it is refused as not "
            "empty when it was",
            why);
    if (err != ERR_OK)
        return cli_failed("copy: nothing was copied: %s", why);
    printf("copied and compared: %lld users, %lld payments, %lld periods, %lld events\n"
           "%s is as it was: keep it as a backup, and start nothing on it any more\n",
           (long long)counts.users, (long long)counts.payments, (long long)counts.periods,
           (long long)counts.events, c->path);
    return CLI_DONE;
}

static int copy_do(struct copy_call *c)
{
    int code = from_open(c);
    if (code == CLI_DONE)
        code = to_open(c);
    if (code == CLI_DONE)
        code = file_take(c);
    if (code == CLI_DONE)
        code = books_copy(c);
    db_close(c->to);
    db_close(c->from);
    embedded_unlock(c->lock);
    return code;
}

int cli_copy(int argc, char **argv)
{
    struct cli_option options[] = {{.name = "--drain"}};
    struct config config;
    const char *typed[2];
    int count = 0, code;
    if (!cli_parse(argc, argv, options, 1, typed, 2, &count))
        return CLI_USAGE;
    if (count != 2)
        return cli_usage("copy: wants FROM, a DATA_DIR or its %s, and TO, a URL postgresql://…",
                         FILE_NAME);
    if (!cli_load(&config, CONFIG_FOR_STORE, &code))
        return code;
    struct copy_call call = {.from_typed = typed[0],
                             .to_url = typed[1],
                             .topic = config.topic,
                             .drain = options[0].given,
                             .lock = -1};
    return copy_do(&call);
}
