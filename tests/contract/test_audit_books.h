/* Books for the audit to look at, on the engine that SUBPAY_TEST_STORE names.
 *
 * Tests write SQL of SQLite with short words for ids: p: payments, r: refunds, s: subscriptions, u:
 * users. On PostgreSQL the words are ids, both ways, and what SQLite calls otherwise is said so. */
#ifndef SUBPAY_TESTS_CONTRACT_TEST_AUDIT_BOOKS_H
#define SUBPAY_TESTS_CONTRACT_TEST_AUDIT_BOOKS_H

#include "audit/audit.h"
#include "suite.h"

struct books {
    struct db *db;     /* to change them */
    struct db *reader; /* to audit them; on SQLite the same */
    struct place place;
};
/* Migrated, and nothing in them. */
void books_open(struct books *b);
void books_open_file(struct books *b, const char *path); /* SQLite: writer and reader apart */
void books_close(struct books *b);
void books_sql(struct books *b, const char *sql);

#define WORD_TEXT 48
/* The id of a word, or itself; NULL is NULL. */
const char *word_id(const char *word, char out[WORD_TEXT]);
/* Ids to words again. */
void report_words(struct audit_report *r);

#endif
