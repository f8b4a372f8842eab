/* db_sqlite.c: connections to SQLite files, and their copies. */
#include "base/db_sqlite.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/str.h"

#define BUSY_TIMEOUT_MS 5000
#define BACKUP_PAGES 256 /* between two looks at db_interrupt */

/* Only for files. The writer alone checkpoints: a reader can't, and must not try when it closes. */
#define PRAGMAS                                                                                    \
    "PRAGMA mmap_size=0; PRAGMA cell_size_check=ON; PRAGMA cache_size=-1024; "                     \
    "PRAGMA journal_size_limit=16777216; "
static const char PRAGMAS_WRITE[] =
    PRAGMAS "PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=1000;";
static const char PRAGMAS_READ[] = PRAGMAS "PRAGMA query_only=ON; PRAGMA wal_autocheckpoint=0;";

/* --- errors ---------------------------------------------------------------------------------- */

static enum err err_of(int rc)
{
    switch (rc & 0xff) {
    case SQLITE_OK:
    case SQLITE_ROW:
    case SQLITE_DONE:
        return ERR_OK;
    case SQLITE_FULL:
        return ERR_NO_SPACE;
    case SQLITE_IOERR:
        return rc == SQLITE_IOERR_NOMEM ? ERR_NO_MEMORY : ERR_IO;
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
        return ERR_IO;
    case SQLITE_READONLY: /* the plain one: a reader wrote; the others: the files changed */
        return rc == SQLITE_READONLY ? ERR_BUG : ERR_IO;
    case SQLITE_NOMEM:
        return ERR_NO_MEMORY;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_PROTOCOL:
        return ERR_BUSY;
    case SQLITE_CONSTRAINT:
        return ERR_CONFLICT;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return ERR_CORRUPT;
    case SQLITE_INTERRUPT:
        return ERR_STOPPED;
    default:
        return ERR_BUG;
    }
}

enum err sqlite_failed(struct db_sqlite *db, int rc)
{
    enum err err = err_of(rc);

    if (err != ERR_OK)
        snprintf(db->db.why, sizeof(db->db.why), "%s (SQLite %d)", sqlite3_errmsg(db->handle), rc);
    return err;
}

/* --- opening --------------------------------------------------------------------------------- */

/* file:PATH?mode=… with everything escaped that has a meaning in a URI. "./" keeps a relative path
 * from being ":memory:", and a second slash at the start from being an authority. */
static bool uri_make(struct str *uri, const char *path, const char *mode)
{
    str_add(uri, *path == '/' ? "file:" : "file:./");
    for (const char *p = path; *p; p++) {
        bool plain = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ||
                     (*p >= '0' && *p <= '9') || strchr("._-", *p) ||
                     (*p == '/' && (p == path || p[-1] != '/'));

        if (plain)
            str_add_bytes(uri, p, 1);
        else
            str_addf(uri, "%%%02X", (unsigned char)*p);
    }
    str_addf(uri, "?mode=%s", mode);
    return !uri->failed;
}

static enum err sync_folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    char folder[PATH_MAX] = ".";
    int fd, rc;

    if (slash && !text_copy_n(folder, sizeof(folder), path, (size_t)(slash - path) + 1))
        return ERR_IO;
    fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return ERR_IO;
    rc = fsync(fd);
    close(fd);
    return rc == 0 ? ERR_OK : ERR_IO;
}

/* SQLite gives -wal and -shm the mode of the file, so the file is made before it looks. One that
 * exists is not opened here: closing it would drop the locks that this process may hold on it. */
static enum err file_create(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0)
        return errno == EEXIST                      ? ERR_CONFLICT
               : errno == ENOSPC || errno == EDQUOT ? ERR_NO_SPACE
                                                    : ERR_IO;
    close(fd);
    return sync_folder_of(path);
}

static int open_handle(struct db_sqlite *db, const char *path, const char *uri_mode, int flags)
{
    struct str uri;
    int rc = SQLITE_NOMEM;

    str_init(&uri, 3 * PATH_MAX + 64);
    if (uri_make(&uri, path, uri_mode))
        rc = sqlite3_open_v2(uri.data, &db->handle,
                             flags | SQLITE_OPEN_URI | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE,
                             NULL);
    str_release(&uri);
    return rc;
}

static enum err script(struct db_sqlite *db, const char *sql)
{
    return sqlite_failed(db, sqlite3_exec(db->handle, sql, NULL, NULL, NULL));
}

/* Without SQL, so that a database in memory costs no parser. */
static int set_switches(struct db_sqlite *db)
{
    static const struct {
        int name, on;
    } SWITCHES[] = {
        {SQLITE_DBCONFIG_ENABLE_FKEY, 1}, {SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0},
        {SQLITE_DBCONFIG_DEFENSIVE, 1},   {SQLITE_DBCONFIG_DQS_DDL, 0},
        {SQLITE_DBCONFIG_DQS_DML, 0},
    };

    for (size_t i = 0; i < sizeof(SWITCHES) / sizeof(*SWITCHES); i++) {
        int rc = sqlite3_db_config(db->handle, SWITCHES[i].name, SWITCHES[i].on, NULL);

        if (rc != SQLITE_OK)
            return rc;
    }
    return SQLITE_OK;
}

/* Some file systems cannot: SQLite then answers with the mode that it keeps. */
static enum err set_wal(struct db_sqlite *db)
{
    struct query q;
    bool wal = false;
    enum err err;

    query_open(&q, &db->db, "PRAGMA journal_mode=WAL");
    if (query_next(&q))
        wal = strcmp(query_text(&q, 0), "wal") == 0;
    err = query_close(&q);
    if (err == ERR_OK && !wal) {
        (void)text_copy(db->db.why, sizeof(db->db.why), "the file system does not support WAL");
        err = ERR_IO;
    }
    return err;
}

/* The first look into the file: a broken one, or one that cannot be read, is noticed here. */
static enum err look_inside(struct db_sqlite *db)
{
    struct query q;

    query_open(&q, &db->db, "SELECT count(*) FROM sqlite_schema");
    return query_run(&q);
}

static enum err open_write(struct db_sqlite *db, const char *path)
{
    enum err err = file_create(path);

    if (err != ERR_OK && err != ERR_CONFLICT) {
        snprintf(db->db.why, sizeof(db->db.why), "%s", strerror(errno));
        return err;
    }
    err = sqlite_failed(db, open_handle(db, path, "rw", SQLITE_OPEN_READWRITE));
    if (err == ERR_OK)
        err = sqlite_failed(db, sqlite3_busy_timeout(db->handle, BUSY_TIMEOUT_MS));
    if (err == ERR_OK)
        err = script(db, PRAGMAS_WRITE);
    if (err == ERR_OK)
        err = set_wal(db);
    if (err == ERR_OK)
        err = look_inside(db);
    return err;
}

static enum err open_read(struct db_sqlite *db, const char *path)
{
    struct stat st;
    int rc = open_handle(db, path, "ro", SQLITE_OPEN_READONLY);
    enum err err = sqlite_failed(db, rc);

    if ((rc & 0xff) == SQLITE_CANTOPEN && stat(path, &st) != 0 && errno == ENOENT)
        return ERR_NOT_FOUND;
    if (err == ERR_OK)
        err = sqlite_failed(db, sqlite3_busy_timeout(db->handle, BUSY_TIMEOUT_MS));
    if (err == ERR_OK)
        err = sqlite_failed(
            db, sqlite3_db_config(db->handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL));
    if (err == ERR_OK)
        err = script(db, PRAGMAS_READ);
    if (err == ERR_OK)
        err = look_inside(db);
    return err;
}

static enum err open_memory(struct db_sqlite *db)
{
    return sqlite_failed(db, sqlite3_open_v2(":memory:", &db->handle,
                                             SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE |
                                                 SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE,
                                             NULL));
}

enum err db_open(struct db **out, const char *path, enum db_mode mode, char *why, size_t why_cap)
{
    struct db_sqlite *db = calloc(1, sizeof(*db));
    enum err err = db ? db_init(&db->db, &DB_SQLITE_OPS, mode) : ERR_NO_MEMORY;

    if (err != ERR_OK)
        goto failed;
    if (mode == DB_MEMORY)
        err = open_memory(db);
    else if (*path == '\0' || strlen(path) >= PATH_MAX)
        err = ERR_INVALID;
    else
        err = mode == DB_WRITE ? open_write(db, path) : open_read(db, path);
    if (err == ERR_OK)
        err = sqlite_failed(db, set_switches(db));
    if (err == ERR_OK)
        err = sqlite_failed(db, sqlite_functions_add(db->handle));
    if (err != ERR_OK)
        goto failed;
    *out = &db->db;
    return ERR_OK;
failed:
    if (why_cap)
        snprintf(why, why_cap, "%s", db && *db->db.why ? db->db.why : err_text(err));
    if (db)
        db_close(&db->db);
    return err;
}

static void close_sqlite(struct db *db)
{
    int rc = sqlite3_close(sqlite_of(db)->handle);

    assert(rc == SQLITE_OK); /* otherwise a query is still open */
    (void)rc;
    free(sqlite_of(db));
}

/* --- whole database -------------------------------------------------------------------------- */

static enum err script_sqlite(struct db *db, const char *sql)
{
    return script(sqlite_of(db), sql);
}

static void interrupt(struct db *db)
{
    atomic_store(&sqlite_of(db)->interrupted, true);
    sqlite3_interrupt(sqlite_of(db)->handle);
}

/* In parts, so that it can be interrupted; within a transaction of the source, so that all parts
 * are of one moment and a writer does not make it begin again. */
static enum err copy_pages(struct db_sqlite *db, sqlite3 *to)
{
    sqlite3_backup *backup = sqlite3_backup_init(to, "main", db->handle, "main");
    int rc = backup ? SQLITE_OK : sqlite3_errcode(to);

    while (backup && rc == SQLITE_OK && !atomic_load(&db->interrupted))
        rc = sqlite3_backup_step(backup, BACKUP_PAGES);
    if (backup)
        sqlite3_backup_finish(backup);
    if (rc == SQLITE_DONE)
        return ERR_OK;
    if (rc == SQLITE_OK)
        return ERR_STOPPED;
    snprintf(db->db.why, sizeof(db->db.why), "%s (SQLite %d)", sqlite3_errstr(rc), rc);
    return err_of(rc);
}

static enum err backup_into(struct db_sqlite *db, const char *path)
{
    struct db_sqlite to = {0};
    enum err err = err_of(open_handle(&to, path, "rw", SQLITE_OPEN_READWRITE));

    /* What is half done is thrown away, so it needs no journal; the end of it is synchronous. */
    if (err == ERR_OK)
        err = script(&to, "PRAGMA journal_mode=OFF; PRAGMA synchronous=FULL;");
    if (err == ERR_OK)
        err = copy_pages(db, to.handle);
    sqlite3_close(to.handle);
    return err;
}

static enum err backup(struct db *base, const char *path)
{
    struct db_sqlite *db = sqlite_of(base);
    char partial[PATH_MAX];
    int len = snprintf(partial, sizeof(partial), "%s.partial", path);
    bool own = !db_in_transaction(base);
    enum err err;

    if (*path == '\0' || len < 0 || (size_t)len >= sizeof(partial))
        return ERR_INVALID;
    if (access(path, F_OK) == 0)
        return ERR_CONFLICT;
    atomic_store(&db->interrupted, false);
    (void)unlink(partial); /* of one that was killed */
    err = file_create(partial);
    if (err != ERR_OK)
        return err == ERR_CONFLICT ? ERR_IO : err;
    if (own)
        err = script(db, "BEGIN");
    if (err == ERR_OK)
        err = look_inside(db); /* the snapshot is taken by the first read */
    if (err == ERR_OK)
        err = backup_into(db, partial);
    if (own)
        db_rollback(base);
    /* Not by link(2): there are file systems without it. */
    if (err == ERR_OK && renameat2(AT_FDCWD, partial, AT_FDCWD, path, RENAME_NOREPLACE) != 0)
        err = errno == EEXIST ? ERR_CONFLICT : ERR_IO;
    if (err == ERR_OK)
        return sync_folder_of(path);
    (void)unlink(partial);
    return err;
}

/* --- transactions ---------------------------------------------------------------------------- */

static enum err begin(struct db *db, int64_t *now_us)
{
    struct query q;

    assert(!now_us); /* the clock of a file is the caller's */
    (void)now_us;
    query_open(&q, db, db->mode == DB_READ ? "BEGIN" : "BEGIN IMMEDIATE");
    return query_run(&q);
}

static enum err commit(struct db *db)
{
    struct query q;
    enum err err;

    query_open(&q, db, "COMMIT");
    err = query_run(&q);
    if (err != ERR_OK)
        db_rollback(db);
    return err;
}

static void rollback(struct db *db)
{
    char why[sizeof(db->why)];
    struct query q;

    if (!db_in_transaction(db))
        return;
    memcpy(why, db->why, sizeof(why));
    query_open(&q, db, "ROLLBACK");
    if (query_run(&q) == ERR_OK || !db_in_transaction(db))
        memcpy(db->why, why, sizeof(why)); /* the reason why, not this */
}

static bool in_transaction(const struct db *db)
{
    return !sqlite3_get_autocommit(sqlite_of(db)->handle);
}

static int64_t changes(const struct db *db)
{
    return sqlite3_changes64(sqlite_of(db)->handle);
}

const struct db_ops DB_SQLITE_OPS = {
    .close = close_sqlite,
    .script = script_sqlite,
    .interrupt = interrupt,
    .backup = backup,
    .begin = begin,
    .commit = commit,
    .rollback = rollback,
    .in_transaction = in_transaction,
    .changes = changes,
    .statement_make = sqlite_statement_make,
    .statement_is = sqlite_statement_is,
    .statement_free = sqlite_statement_free,
    .bind_i64 = sqlite_bind_i64,
    .bind_text = sqlite_bind_text,
    .bind_blob = sqlite_bind_blob,
    .next = sqlite_next,
    .end = sqlite_end,
    .is_null = sqlite_is_null,
    .i64 = sqlite_i64,
    .text = sqlite_text,
    .blob = sqlite_blob,
    .columns = sqlite_columns,
    .column_name = sqlite_column_name,
};
