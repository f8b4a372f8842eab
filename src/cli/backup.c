/* subpay backup: a consistent copy of the embedded file, also while a process writes to it. */
#include <stdio.h>

#include "base/db.h"
#include "cli/cli.h"
#include "cli/control_door.h"

#define WHY_MAX 512
#define PATH_ROOM (CONFIG_TEXT + 16)

static int backup_make(struct db *db, const char *path)
{
    enum err err = db_backup(db, path);
    switch (err) {
    case ERR_OK:
        return CLI_DONE;
    case ERR_CONFLICT:
        return cli_failed("backup: PATH %s: there is something already, nothing was written", path);
    case ERR_INVALID:
        return cli_usage("PATH %s: allowed is the name of a new file", path);
    default:
        return cli_failed("backup: PATH %s: %s%s%s", path, err_text(err),
                          db_why(db)[0] != '\0' ? ": " : "", db_why(db));
    }
}

int cli_backup(int argc, char **argv)
{
    struct config config;
    char path[PATH_ROOM], why[WHY_MAX] = "";
    const char *to[1];
    int count = 0, code;
    struct db *db;
    if (!cli_parse(argc, argv, NULL, 0, to, 1, &count))
        return CLI_USAGE;
    if (count != 1)
        return cli_usage("backup: wants one PATH, the name of a new file");
    if (!cli_load(&config, CONFIG_FOR_STORE, &code))
        return code;
    if (config.postgres)
        return cli_usage("DATABASE_URL: backup copies the embedded file; allowed is to leave it "
                         "unset, and pg_dump for PostgreSQL");
    embedded_path(config.data_dir, path, sizeof path);
    enum err err = db_open(&db, path, DB_READ, why, sizeof why);
    if (err == ERR_NOT_FOUND)
        return cli_failed("backup: DATA_DIR=%s: there is no subpay.db in it", config.data_dir);
    if (err != ERR_OK)
        return cli_failed("backup: %s: %s", path, why);
    code = backup_make(db, to[0]);
    db_close(db);
    return code;
}
