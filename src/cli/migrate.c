/* subpay migrate: the schema of the embedded file. upgrade and downgrade hold the file's lock while
 * they work; the others read beside a running process. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/config.h"
#include "base/db.h"
#include "base/str.h"
#include "cli/cli.h"
#include "ledger/embedded.h"
#include "ledger/schema.h"

#define WHY_MAX 512
#define PATH_ROOM (CONFIG_TEXT + 16)
#define REPORT_MAX 65536
#define WAIT_MS 100
#define WAITS_MAX 600 /* a minute for another migrator */

struct migrate_call {
    const char *verb;
    const char *target; /* NULL: the default of the verb */
    bool destroy_data;
};

/* given "": nothing was. */
static int migrate_usage(const char *given)
{
    return cli_usage("migrate%s%s: allowed are upgrade [head|+N|REVISION], "
                     "downgrade -N|REVISION|base [--destroy-data], current, history, check",
                     *given ? " " : " wants a command", given);
}

/* "-1" is a target here, which is why this is not left to cli_parse. */
static bool migrate_parse(int argc, char **argv, struct migrate_call *out)
{
    *out = (struct migrate_call){.verb = argc > 1 ? argv[1] : ""};
    for (int i = 2; i < argc; i++) {
        if (strcmp(argv[i], "--destroy-data") == 0 && strcmp(out->verb, "downgrade") == 0)
            out->destroy_data = true;
        else if (!out->target && strncmp(argv[i], "--", 2) != 0)
            out->target = argv[i];
        else
            return false;
    }
    return true;
}

static int migrate_fails(enum err err, const char *why)
{
    if (err == ERR_NOT_FOUND)
        return cli_usage("%s; allowed are those of `subpay migrate history`", why);
    return cli_failed("%s", why);
}

/* ---- writing ---- */

static enum err lock_waiting(int *fd, const char *data_dir, char *why, size_t why_cap)
{
    enum err err = embedded_lock(fd, data_dir, true, why, why_cap);
    for (int i = 0; err == ERR_LOCKED && i < WAITS_MAX; i++) {
        if (embedded_holder(data_dir) != 0 && !embedded_holder_migrates(data_dir))
            break;
        (void)nanosleep(&(struct timespec){.tv_nsec = WAIT_MS * 1000000L}, NULL);
        err = embedded_lock(fd, data_dir, true, why, why_cap);
    }
    return err;
}

static enum err migrate_locked(const struct migrate_call *call, const char *data_dir,
                               struct str *report, char *why, size_t why_cap)
{
    char path[PATH_ROOM];
    struct db *db;
    embedded_path(data_dir, path, sizeof path);
    enum err err = db_open(&db, path, DB_WRITE, why, why_cap);
    if (err != ERR_OK)
        return err;
    if (strcmp(call->verb, "upgrade") == 0)
        err = schema_upgrade(db, call->target ? call->target : "head", report, why, why_cap);
    else
        err = schema_downgrade(db, call->target, call->destroy_data, report, why, why_cap);
    db_close(db);
    return err;
}

static int migrate_write(const struct migrate_call *call, const char *data_dir)
{
    char why[WHY_MAX] = "";
    struct str report;
    int fd;
    enum err err = lock_waiting(&fd, data_dir, why, sizeof why);
    if (err != ERR_OK)
        return err == ERR_INVALID ? cli_usage("DATA_DIR=%s: %s: allowed is a directory that this "
                                              "process may write",
                                              data_dir, why)
                                  : cli_failed("DATA_DIR=%s: %s", data_dir, why);
    str_init(&report, REPORT_MAX);
    err = migrate_locked(call, data_dir, &report, why, sizeof why);
    embedded_unlock(fd);
    fputs(report.data, stdout);
    str_release(&report);
    return err == ERR_OK ? CLI_DONE : migrate_fails(err, why);
}

/* ---- reading ---- */

static int check_report(struct db *db)
{
    char why[WHY_MAX] = "";
    struct str report;
    str_init(&report, REPORT_MAX);
    enum err err = schema_check(db, why, sizeof why);
    if (err == ERR_OK) {
        err = schema_differences(db, &report);
        snprintf(why, sizeof why, "%s",
                 err == ERR_OK ? "the database differs from the declared schema" : db_why(db));
    }
    bool same = err == ERR_OK && report.len == 0;
    fputs(report.data, stdout);
    str_release(&report);
    return same ? CLI_DONE : cli_failed("%s", why);
}

static int migrate_report(const struct migrate_call *call, struct db *db)
{
    struct str report;
    if (strcmp(call->verb, "check") == 0)
        return check_report(db);
    str_init(&report, REPORT_MAX);
    enum err err = strcmp(call->verb, "current") == 0 ? schema_current(db, &report)
                                                      : schema_history(db, &report);
    fputs(report.data, stdout);
    if (err == ERR_OK && report.len == 0)
        cli_note("no revision: the database is empty, `subpay migrate upgrade` makes the tables");
    str_release(&report);
    return err == ERR_OK ? CLI_DONE : cli_failed("%s", db_why(db));
}

static int migrate_read(const struct migrate_call *call, const char *data_dir)
{
    char path[PATH_ROOM], why[WHY_MAX] = "";
    struct db *db;
    embedded_path(data_dir, path, sizeof path);
    enum err err = db_open(&db, path, DB_READ, why, sizeof why);
    if (err == ERR_NOT_FOUND) /* no file is an empty database */
        err = db_open(&db, "", DB_MEMORY, why, sizeof why);
    if (err != ERR_OK)
        return cli_failed("%s: %s", path, why);
    int code = migrate_report(call, db);
    db_close(db);
    return code;
}

int cli_migrate(int argc, char **argv)
{
    struct config config;
    struct migrate_call call;
    int code;
    if (!migrate_parse(argc, argv, &call))
        return migrate_usage(argv[argc - 1]);
    bool upgrade = strcmp(call.verb, "upgrade") == 0;
    bool downgrade = strcmp(call.verb, "downgrade") == 0;
    bool reads = strcmp(call.verb, "current") == 0 || strcmp(call.verb, "history") == 0 ||
                 strcmp(call.verb, "check") == 0;
    if ((!upgrade && !downgrade && !reads) || (reads && call.target))
        return migrate_usage(call.verb);
    if (downgrade && !call.target)
        return cli_usage("migrate downgrade: a target is missing, allowed are -N, REVISION, base");
    if (!cli_load(&config, CONFIG_FOR_STORE, &code))
        return code;
    if (config.postgres)
        return cli_usage("DATABASE_URL: this program has no PostgreSQL store; unset it, or allowed "
                         "is the embedded file");
    return reads ? migrate_read(&call, config.data_dir) : migrate_write(&call, config.data_dir);
}
