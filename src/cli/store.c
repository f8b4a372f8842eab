#include "cli/store.h"

#include <stdio.h>

#include "cli/cli.h"
#include "ledger/embedded.h"
#include "ledger/schema.h"

#define WHY_MAX 512
#define PATH_ROOM (CONFIG_TEXT + 16)

/* What is a matter of configuration, which no repeat and no other program can mend. */
static bool is_usage(enum err err)
{
    return err == ERR_VERSION || err == ERR_INVALID || err == ERR_REFUSED;
}

int store_refused(const char *command, const struct config *config, enum err err, const char *why)
{
    const char *said = why[0] != '\0' ? why : err_text(err);
    if (config->postgres)
        return is_usage(err) ? cli_usage("DATABASE_URL: %s", said)
                             : cli_failed("%s: DATABASE_URL: %s", command, said);
    return is_usage(err) ? cli_usage("DATA_DIR=%s: %s", config->data_dir, said)
                         : cli_failed("%s: DATA_DIR=%s: %s", command, config->data_dir, said);
}

static enum err file_open(struct db **out, const struct config *config, char *why, size_t why_cap)
{
    char path[PATH_ROOM];
    embedded_path(config->data_dir, path, sizeof path);
    enum err err = db_open(out, path, DB_READ, why, why_cap);
    if (err == ERR_NOT_FOUND)
        (void)snprintf(why, why_cap, "there is no subpay.db in it");
    return err;
}

static enum err postgres_open_reader(struct db **out, const struct config *config,
                                     int64_t statement_ms, char *why, size_t why_cap)
{
    const struct db_postgres_settings settings = {.url = config->database_url,
                                                  .mode = DB_READ,
                                                  .statement_ms = statement_ms,
                                                  .patience_ms = statement_ms,
                                                  .idle_ms = statement_ms};
    return db_open_postgres(out, &settings, why, why_cap);
}

bool store_reader(const char *command, const struct config *config, int64_t statement_ms,
                  struct db **out, int *code)
{
    char why[WHY_MAX] = "";
    struct db *db = NULL;
    enum err err = config->postgres
                       ? postgres_open_reader(&db, config, statement_ms, why, sizeof why)
                       : file_open(&db, config, why, sizeof why);
    if (err == ERR_OK && (err = schema_check(db, why, sizeof why)) != ERR_OK)
        db_close(db);
    if (err != ERR_OK) {
        *code = store_refused(command, config, err, why);
        return false;
    }
    *out = db;
    return true;
}
