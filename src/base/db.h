/* db.h: an SQLite file: one connection that writes, any number that read. The only door to SQLite.
 *
 * WAL, synchronous=FULL, foreign_keys on, trusted_schema off, no mmap. Exactly one connection in
 * the world writes and checkpoints (the holder of the lock file); readers open mode=ro beside it.
 * SQL is static text, values are parameters; statements are prepared once per connection, keyed by
 * the text's address. A connection belongs to one thread at a time. Errors: FULL → NO_SPACE, IOERR
 * → IO, NOMEM → NO_MEMORY, BUSY → BUSY, CONSTRAINT → CONFLICT, CORRUPT/NOTADB → CORRUPT, INTERRUPT
 * → STOPPED, CANTOPEN → IO, the rest → BUG. After FULL, IOERR and NOMEM SQLite may have rolled
 * back: ask db_in_transaction.
 *
 * A reader sees all that was committed, beside a running writer and after one was killed: it then
 * reads the log that was left (-wal), for which it must be able to write -shm or to make it. A
 * reader whose user may not write into the folder works only while a writer runs (otherwise
 * ERR_IO). Readers never checkpoint and never remove -wal; a writer that closes as the last one
 * does. */
#ifndef SUBPAY_BASE_DB_H
#define SUBPAY_BASE_DB_H

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
void db_close(struct db *db);          /* NULL is fine */
const char *db_why(const struct db *); /* what SQLite said of the last failure */
/* Several statements from a trusted text (migrations, pragmas). */
enum err db_script(struct db *db, const char *sql) MUST_CHECK;
/* The handler of a long call on another thread may ask it to end early: ERR_STOPPED. */
void db_interrupt(struct db *db);
/* A copy of one moment, 0600, complete and synced when `path` appears; best on a reader, where no
 * writer waits for it. ERR_CONFLICT when there is something at path already. */
enum err db_backup(struct db *db, const char *path) MUST_CHECK;

/* Transactions for connections without a writer thread (migrations, CLI, the writer itself). */
enum err db_begin(struct db *db) MUST_CHECK; /* BEGIN IMMEDIATE; for a reader BEGIN: one snapshot */
enum err db_commit(struct db *db) MUST_CHECK; /* when it fails, it has rolled back */
void db_rollback(struct db *db);              /* also after SQLite has rolled back by itself */
bool db_in_transaction(const struct db *db);
int64_t db_changes(const struct db *db); /* rows of the last INSERT, UPDATE or DELETE */

/* A statement in use. Errors stick: bind and read freely, look once at query_close.
 *     struct query q;
 *     query_open(&q, db, "SELECT seq FROM payments WHERE id = ?1");
 *     query_bind_uuid(&q, id);
 *     while (query_next(&q)) seq = query_i64(&q, 0);
 *     err = query_close(&q);
 * A failed step looks like "no more rows" until query_close says so: always look. The same text may
 * be open twice at a time. */
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
int query_columns(const struct query *q);
const char *query_column_name(const struct query *q, int column);
/* A stored id or time that does not parse makes the query fail with ERR_CORRUPT. */
struct uuid query_uuid(struct query *q, int column); /* nil for null */
int64_t query_time(struct query *q, int column);     /* TIME_NEVER for null */
enum err query_close(struct query *q) MUST_CHECK;
enum err query_run(struct query *q) MUST_CHECK; /* to the end, ignoring rows, and closed */

#endif
