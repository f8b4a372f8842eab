#include <stdio.h>

#include "cli/cli.h"
#include "cli/migrate.h"

static int write_files(const struct migrate_list *l, const char *message, const struct str *up,
                       const struct str *down)
{
    char paths[2][MIGRATION_PATH_MAX], why[MIGRATE_WHY_MAX] = "";
    enum err err = migrations_write(l->migrations, l->folder, message, up->data, down->data, paths,
                                    why, sizeof why);
    if (err != ERR_OK)
        return err == ERR_INVALID ? cli_usage("migrate revision: %s", why) : cli_failed("%s", why);
    printf("%s\n%s\n", paths[0], paths[1]);
    return CLI_DONE;
}

static int draft(const struct migrate_list *l, const struct config *c, struct str *up,
                 struct str *down)
{
    struct migrate_store store;
    char why[MIGRATE_WHY_MAX] = "";
    int code;
    if (!migrate_store_open(&store, c, false, &code))
        return code;
    enum err err = migrations_draft(l->migrations, store.db, up, down, why, sizeof why);
    migrate_store_close(&store);
    return err == ERR_OK ? CLI_DONE : migrate_fails(err, why);
}

int migrate_revision(const struct migrate_list *l, const struct config *c, const char *message,
                     bool autogenerate)
{
    struct str up, down;
    if (!*l->folder)
        return cli_usage("MIGRATIONS_DIR is unset: allowed is the directory for migrations, or to "
                         "work in a checkout of subpay");
    str_init(&up, MIGRATION_FILE_MAX);
    str_init(&down, MIGRATION_FILE_MAX);
    int code = autogenerate ? draft(l, c, &up, &down) : CLI_DONE;
    if (code == CLI_DONE && autogenerate && up.len == 0 && down.len == 0)
        cli_note("no differences: the database is what is declared, nothing is written");
    else if (code == CLI_DONE)
        code = write_files(l, message, &up, &down);
    str_release(&up);
    str_release(&down);
    return code;
}
