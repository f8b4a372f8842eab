/* db.h: the door to a store: an SQLite file or a PostgreSQL database. The only door to either.
 *
 * SQL is static text, values are parameters written ?1, ?2, …; statements are prepared once per
 * connection, keyed by the text's address. What both engines speak is written once; where they
 * differ, db_is_postgres asks. A connection belongs to one thread at a time. In a transaction on
 * PostgreSQL the first error is the end of it: whatever follows answers that error until
 * db_rollback, and db_commit fails with it.
 *
 * SQLite: one connection that writes, any number that read. WAL, synchronous=FULL, foreign_keys on,
 * trusted_schema off, no mmap. Exactly one connection in the world writes and checkpoints (the
 * holder of the lock file); readers open mode=ro beside it. Errors: FULL → NO_SPACE, IOERR → IO,
 * NOMEM → NO_MEMORY, BUSY → BUSY, CONSTRAINT → CONFLICT, CORRUPT/NOTADB → CORRUPT, INTERRUPT →
 * STOPPED, CANTOPEN → IO, the rest → BUG. After FULL, IOERR and NOMEM SQLite may have rolled back:
 * ask db_in_transaction. A reader sees all that was committed, beside a running writer and after
 * one was killed: it then reads the log that was left (-wal), for which it must be able to write
 * -shm or to make it. A reader whose user may not write into the folder works only while a writer
 * runs (otherwise ERR_IO). Readers never checkpoint and never remove -wal; a writer that closes as
 * the last one does.
 *
 * PostgreSQL 15: no call waits longer than db_patience, whatever the server does (the resolver of
 * host names is the exception: use addresses or a local one). A connection that is lost or given up
 * answers ERR_UNREACHABLE, and ends a transaction that was open; the next call outside a
 * transaction connects again, at most as often as the back-off allows: until then ERR_UNREACHABLE,
 * at once. A COMMIT that answers ERR_UNREACHABLE may have happened. Errors by SQLSTATE: 23… →
 * CONFLICT; 40001, 40P01, 55P03, 57014, 53300 and a statement that a migration has outdated → BUSY;
 * 08…, 57P…, a lost connection and a standby that should write → UNREACHABLE; 53100 → NO_SPACE;
 * 53200 → NO_MEMORY; 58… → IO; XX001, XX002 → CORRUPT; 28…, 3D000 and 42501 → REFUSED; the rest →
 * BUG. */
#ifndef SUBPAY_BASE_DB_H
#define SUBPAY_BASE_DB_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/uuid.h"

struct db;
enum db_mode {
    DB_WRITE,  /* creates the file (0600) if need be */
    DB_READ,   /* mode=ro; ERR_NOT_FOUND when there is no file */
    DB_MEMORY, /* path is ignored: a private one in memory, for simulation and tests */
};

enum err db_open(struct db **out, const char *path, enum db_mode mode, char *why,
                 size_t why_cap) MUST_CHECK;

/* All times in ms; 0 takes the default, DB_NO_LIMIT means none. */
#define DB_NO_LIMIT (-1)
#define DB_URL_MAX 2048
struct db_postgres_settings {
    const char *url;      /* postgresql://… or postgres://…; copied */
    enum db_mode mode;    /* DB_WRITE, or DB_READ: its transactions are one snapshot, read only */
    int64_t connect_ms;   /* until a new connection is ready for use: 5,000 */
    int64_t patience_ms;  /* one round trip: 30,000; see db_patience */
    int64_t lock_ms;      /* lock_timeout: 5,000 */
    int64_t statement_ms; /* statement_timeout: 20,000 */
    int64_t idle_ms;      /* idle_in_transaction_session_timeout: 30,000 */
    /* Statements are planned once and go by keys, however small a table was when that was done and
     * however long an array may be: no scans where there is an index, no hash or merge joins. */
    bool by_keys;
    /* The boot time at which every round trip ends, those under way too, as if db_patience was over:
     * the process is about to end. Whoever has it may set it at any time. NULL: there is none. */
    const _Atomic int64_t *end_boot_us;
};
/* Connects. why never holds a password. */
enum err db_open_postgres(struct db **out, const struct db_postgres_settings *s, char *why,
                          size_t why_cap) MUST_CHECK;
bool db_is_postgres(const struct db *db);
/* Between us and the server is a pooler that may give every transaction another backend: nothing of
 * a session lasts (temporary tables, LISTEN, session locks). Transactions have their time limits
 * still; a single statement outside of one has only db_patience. */
bool db_pooled(const struct db *db);
/* What production needs of the server: version 15, not a standby, and fsync, full_page_writes and
 * synchronous_commit on. ERR_REFUSED: why names the setting, its value and what is allowed. */
enum err db_postgres_fit(struct db *db, char *why, size_t why_cap) MUST_CHECK;
/* Bounds every following round trip to PostgreSQL, connecting included: on expiry the connection is
 * given up, ERR_UNREACHABLE. 0: the default of the settings. Nothing to SQLite. */
void db_patience(struct db *db, int64_t ms);
/* For tests: called before each statement is sent to PostgreSQL, in the thread that sends; NULL
 * removes it. */
void db_hook(struct db *db, void (*fn)(void *ctx, const char *sql), void *ctx);

void db_close(struct db *db);          /* NULL is fine */
const char *db_why(const struct db *); /* what the engine said of the last failure */
/* Several statements from a trusted text (migrations, pragmas); ?N has no meaning there. On
 * PostgreSQL they are one transaction, unless one is open or the text says otherwise. */
enum err db_script(struct db *db, const char *sql) MUST_CHECK;
/* The handler of a long call on another thread, or of a signal, may ask it to end early:
 * ERR_STOPPED. PostgreSQL: the connection is given up. */
void db_interrupt(struct db *db);
/* SQLite only: a copy of one moment, 0600, complete and synced when `path` appears; best on a
 * reader, where no writer waits for it. ERR_CONFLICT when there is something at path already. */
enum err db_backup(struct db *db, const char *path) MUST_CHECK;

/* Transactions for connections without a writer thread (migrations, CLI, the writer itself). SQLite:
 * BEGIN IMMEDIATE; for a reader BEGIN: one snapshot. PostgreSQL: READ COMMITTED; for DB_READ
 * REPEATABLE READ READ ONLY, which may write to temporary tables, but not make them. */
enum err db_begin(struct db *db) MUST_CHECK;
/* PostgreSQL only: the same, and the server's clock, in one round trip. */
enum err db_begin_now(struct db *db, int64_t *now_us) MUST_CHECK;
enum err db_commit(struct db *db) MUST_CHECK; /* when it fails, it has rolled back */
void db_rollback(struct db *db); /* also after the engine has rolled back, or the connection went */
bool db_in_transaction(const struct db *db);
int64_t db_changes(const struct db *db); /* rows of the last INSERT, UPDATE or DELETE */

/* PostgreSQL only. Listens on a channel, also after reconnecting; through a pooler ERR_REFUSED. A
 * connection that waits should do nothing else. */
enum err db_listen(struct db *db, const char *static_channel) MUST_CHECK;
/* Blocks until something was notified, wake_fd (-1: none) can be read, or the time is over
 * (DB_NO_LIMIT: never); does not read wake_fd. *notified is also true after a reconnect, which may
 * have missed something. ERR_UNREACHABLE comes after the back-off or when woken, not at once. */
enum err db_wait_notification(struct db *db, int64_t timeout_ms, int wake_fd,
                              bool *notified) MUST_CHECK;

/* A statement in use. Errors stick: bind and read freely, look once at query_close.
 *     struct query q;
 *     query_open(&q, db, "SELECT seq FROM payments WHERE id = ?1");
 *     query_bind_uuid(&q, id);
 *     while (query_next(&q)) seq = query_i64(&q, 0);
 *     err = query_close(&q);
 * A failed step looks like "no more rows" until query_close says so: always look. The same text may
 * be open twice at a time.
 *
 * PostgreSQL infers the type of a parameter from where it stands, and one that stands in two places
 * needs the same type in both; the first query_next fetches all rows (LIMIT), and a statement whose
 * query_next was never called has not run. Values read alike on both engines: booleans as 1 and 0,
 * timestamptz in the stored form (contract section 6), bytea as bytes. */
#define DB_PARAMETERS_MAX 64
struct query {
    struct db *db;
    void *statement;
    int bound;  /* parameters so far; a bind sets the next one */
    bool ended; /* no more rows */
    enum err err;
};
void query_open(struct query *q, struct db *db, const char *static_sql);
void query_bind_i64(struct query *q, int64_t value);
void query_bind_text(struct query *q, const char *text); /* NULL binds null; copied */
void query_bind_text_n(struct query *q, const char *text, size_t len);
void query_bind_blob(struct query *q, const void *bytes, size_t len);
void query_bind_uuid(struct query *q, const struct uuid *id); /* lower-case; NULL binds null */
void query_bind_time(struct query *q, int64_t at_us);         /* as text; TIME_NEVER binds null */
void query_bind_null(struct query *q);
bool query_next(struct query *q);
bool query_is_null(const struct query *q, int column);
int64_t query_i64(const struct query *q, int column);
const char *query_text(const struct query *q, int column); /* until query_next; "" for null */
const void *query_blob(const struct query *q, int column, size_t *len);
/* After the first query_next, also when there was no row; SQLite knows them before. */
int query_columns(const struct query *q);
const char *query_column_name(const struct query *q, int column);
/* A stored id or time that does not parse makes the query fail with ERR_CORRUPT. */
struct uuid query_uuid(struct query *q, int column); /* nil for null */
int64_t query_time(struct query *q, int column);     /* TIME_NEVER for null */
enum err query_close(struct query *q) MUST_CHECK;
enum err query_run(struct query *q) MUST_CHECK; /* to the end, ignoring rows, and closed */

#endif
