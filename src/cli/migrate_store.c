#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/folder.h"
#include "cli/cli.h"
#include "cli/migrate.h"
#include "ledger/embedded.h"

#define WAIT_MS 100
#define WAITS_MAX 600 /* a minute for another migrator */
#define OWN_FOLDER "src/ledger/migrations"

/* ---- the list ---- */

static int list_fails(const struct migrate_list *l, const struct config *c, enum err err,
                      const char *why)
{
    if (*c->migrations_dir)
        return cli_usage("MIGRATIONS_DIR=%s: %s%s", c->migrations_dir, why,
                         err == ERR_NOT_FOUND ? ": allowed is a directory" : "");
    return cli_failed("%s%s%s", l->folder, *l->folder ? ": " : "", why);
}

bool migrate_list_open(struct migrate_list *l, const struct config *c, bool make, int *code)
{
    char why[MIGRATE_WHY_MAX] = "", declared[PATH_MAX];
    *l = (struct migrate_list){0};
    snprintf(l->folder, sizeof l->folder, "%s", c->migrations_dir);
    if (!*l->folder) {
        const char *engine = c->postgres ? "postgres" : "sqlite";
        snprintf(declared, sizeof declared, OWN_FOLDER "/%s/schema.sql", engine);
        if (access("meson.build", F_OK) == 0 && access(declared, F_OK) == 0)
            snprintf(l->folder, sizeof l->folder, OWN_FOLDER "/%s", engine);
    } else if (make) {
        (void)folder_make(l->folder); /* what is wrong with it is said when it is opened */
    }
    enum err err = migrations_open(&l->migrations, c->postgres, *l->folder ? l->folder : NULL, why,
                                   sizeof why);
    if (err != ERR_OK)
        *code = list_fails(l, c, err, why);
    return err == ERR_OK;
}

void migrate_list_close(struct migrate_list *l)
{
    migrations_close(l->migrations);
}

/* ---- the store ---- */

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

static bool open_postgres(struct migrate_store *s, const struct config *c, bool write, int *code)
{
    char why[MIGRATE_WHY_MAX] = "";
    struct db_postgres_settings settings = {.url = c->database_url,
                                            .mode = write ? DB_WRITE : DB_READ};
    enum err err = db_open_postgres(&s->db, &settings, why, sizeof why);
    if (err != ERR_OK)
        *code = err == ERR_INVALID ? cli_usage("DATABASE_URL: %s", why)
                                   : cli_failed("PostgreSQL: %s", why);
    return err == ERR_OK;
}

static bool open_file(struct migrate_store *s, const struct config *c, bool write, int *code)
{
    char path[PATH_MAX], why[MIGRATE_WHY_MAX] = "";
    embedded_path(c->data_dir, path, sizeof path);
    enum err err = write ? lock_waiting(&s->lock_fd, c->data_dir, why, sizeof why) : ERR_OK;
    if (err != ERR_OK) {
        *code = err == ERR_INVALID
                    ? cli_usage("DATA_DIR=%s: %s: allowed is a directory that this process may "
                                "write",
                                c->data_dir, why)
                    : cli_failed("DATA_DIR=%s: %s", c->data_dir, why);
        return false;
    }
    err = db_open(&s->db, path, write ? DB_WRITE : DB_READ, why, sizeof why);
    if (err == ERR_NOT_FOUND)
        err = db_open(&s->db, "", DB_MEMORY, why, sizeof why);
    if (err == ERR_OK)
        return true;
    *code = cli_failed("%s: %s", path, why);
    embedded_unlock(s->lock_fd);
    return false;
}

bool migrate_store_open(struct migrate_store *s, const struct config *c, bool write, int *code)
{
    *s = (struct migrate_store){.lock_fd = -1};
    return c->postgres ? open_postgres(s, c, write, code) : open_file(s, c, write, code);
}

void migrate_store_close(struct migrate_store *s)
{
    db_close(s->db);
    embedded_unlock(s->lock_fd);
}
