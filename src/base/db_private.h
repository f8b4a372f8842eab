/* db_private.h: what the front of the door (db.c, db_query.c) and the engines share. */
#ifndef SUBPAY_BASE_DB_PRIVATE_H
#define SUBPAY_BASE_DB_PRIVATE_H

#include "base/db.h"
#include "base/str.h"

#define DB_WHY_MAX 512

/* Of PostgreSQL's pg_type.dat; fixed for ever. */
enum {
    TYPE_BOOL = 16,
    TYPE_BYTEA = 17,
    TYPE_BIGINT = 20,
    TYPE_TEXT = 25,
    TYPE_TID = 27,
    TYPE_TIMESTAMPTZ = 1184,
    TYPE_UUID = 2950,
    TYPE_JSONB = 3802,
};

/* The first member of an engine's own. */
struct statement {
    const char *sql; /* the key: the address; NULL if it is not kept */
    bool in_use;
};

/* Open addressing by address; statements stay until the connection is closed. */
struct statements {
    struct statement **places;
    size_t cap, used;
};

/* NULL: the engine has no such thing, ERR_BUG. */
struct db_ops {
    void (*close)(struct db *db); /* after its statements are gone; frees db */
    enum err (*script)(struct db *db, const char *sql);
    void (*interrupt)(struct db *db);
    enum err (*backup)(struct db *db, const char *path);
    enum err (*begin)(struct db *db, int64_t *now_us); /* NULL: the time is not asked for */
    enum err (*commit)(struct db *db);
    void (*rollback)(struct db *db);
    bool (*in_transaction)(const struct db *db);
    int64_t (*changes)(const struct db *db);

    /* One statement; only blanks and comments may stand behind it. */
    enum err (*statement_make)(struct db *db, const char *sql, bool kept, struct statement **out);
    /* Texts are static, but one that was not must never run the statement that had its address
     * before. */
    bool (*statement_is)(const struct statement *s, const char *sql);
    void (*statement_free)(struct statement *s);

    enum err (*bind_i64)(struct query *q, int64_t value);
    enum err (*bind_text)(struct query *q, const char *text, size_t len); /* NULL binds null */
    enum err (*bind_blob)(struct query *q, const void *bytes, size_t len);
    enum err (*bind_binary)(struct query *q, const struct span *parts, size_t count);
    enum err (*next)(struct query *q, bool *row);
    enum err (*end)(struct query *q); /* as new, for the next use */
    bool (*is_null)(const struct query *q, int column);
    int64_t (*i64)(const struct query *q, int column);
    const char *(*text)(const struct query *q, int column); /* NULL for null */
    const void *(*blob)(const struct query *q, int column, size_t *len);
    int (*columns)(const struct query *q);
    const char *(*column_name)(const struct query *q, int column);
};

/* The first member of an engine's own. */
struct db {
    const struct db_ops *ops;
    enum db_mode mode;
    struct statements statements;
    char why[DB_WHY_MAX];
};

/* A value in the engine's own format, in parts. */
void query_bind_binary(struct query *q, const struct span *parts, size_t count);

/* All of it that is not the engine's. */
enum err db_init(struct db *db, const struct db_ops *ops, enum db_mode mode) MUST_CHECK;

enum err statements_init(struct statements *s) MUST_CHECK;
/* Asserts that none is in use. */
void statements_release(struct statements *s, const struct db_ops *ops);

extern const struct db_ops DB_SQLITE_OPS, DB_POSTGRES_OPS;

#endif
