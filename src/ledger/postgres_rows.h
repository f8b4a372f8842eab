/* postgres_rows.h: what the verbs that work on all rows of a batch at once share (postgres_append.c,
 * …).
 *
 * Such a verb locks the accounts, reads everything under the locks by further statements, decides
 * user by user as the other form does, and writes all of it by one statement per table, over arrays.
 * What is unusual it leaves to the row-by-row functions of sql_ledger.h, in the same transaction
 * and after its own writing; and when stored rows are damaged, to the whole verb in that form, which
 * knows whose they are. */
#ifndef SUBPAY_LEDGER_POSTGRES_ROWS_H
#define SUBPAY_LEDGER_POSTGRES_ROWS_H

#include "base/db_array.h"
#include "ledger/sql_ledger.h"

#define POSTGRES_CHUNK 1000 /* rows of one statement */

/* Rows to be, column by column; see unnest. */
#define SET_COLUMNS_MAX 12
struct set {
    struct db_array columns[SET_COLUMNS_MAX];
    size_t width;
};
void set_init(struct set *s, size_t width);
void set_release(struct set *s);
void set_clear(struct set *s);
size_t set_count(const struct set *s);
void set_bind(struct query *q, const struct set *s); /* its columns are the next parameters */
/* The elements that differ from what base/db_array.h has. */
void set_uuid(struct db_array *a, const struct uuid *id); /* nil adds null */
void set_seq(struct db_array *a, int64_t seq);            /* 0 adds null */
void set_reason(struct db_array *a, enum reason reason);
void set_money(struct db_array *amount, struct db_array *currency, const struct money *m);
/* The statement is of `s` and has to have changed as many rows. */
enum err set_run(struct verb *v, struct query *q, const struct set *s) MUST_CHECK;

/* Events of one actor, in their order. */
struct events {
    struct set set;
    struct str detail;
};
void events_init(struct events *e);
void events_release(struct events *e);
void events_move(struct events *e, const struct move *move);
void events_period(struct events *e, const struct stored_period *p, const char *user,
                   const char *to);
enum err events_write(struct verb *v, struct events *e, const char *actor) MUST_CHECK;

/* Stored rows may be the reason why the form over all rows at once failed. */
bool postgres_blames_rows(enum err err);

/* ---- in place of those of sql_ledger.h ---- */

enum err postgres_append(struct ledger *l, struct ledger_record *records, size_t count,
                         const struct ledger_position *from, const struct ledger_position *to);
enum err postgres_claim(struct ledger *l, const struct ledger_claim *claim, struct arena *arena,
                        struct ledger_claimed *out);
enum err postgres_settle(struct ledger *l, struct fact *facts, size_t count);
enum err postgres_untold(struct ledger *l, size_t max, int64_t lease_us, struct arena *arena,
                         struct telling **out, size_t *count);
enum err postgres_told(struct ledger *l, const struct told *told, size_t count);

#endif
