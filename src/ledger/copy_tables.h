/* copy_tables.h: what `subpay copy` knows of the tables; for copy.c alone. */
#ifndef SUBPAY_LEDGER_COPY_TABLES_H
#define SUBPAY_LEDGER_COPY_TABLES_H

#include <stdbool.h>
#include <stddef.h>

#define COPY_KEYS_MAX 2
#define COPY_PAGE 1000            /* rows */
#define COPY_JSON_COLUMN "detail" /* wherever a column is called so */

struct copy_table {
    const char *name;
    const char *read;   /* all rows of the file */
    const char *insert; /* ?1: a JSON array of rows */
    /* On both sides, by key: the rows after ?1 (and ?2), ?2 (?3) of them; without keys all. */
    const char *page;
    struct {
        const char *name; /* of the column; NULL: none */
        bool number;      /* else a UUID */
    } keys[COPY_KEYS_MAX];
};
extern const struct copy_table COPY_TABLES[]; /* in the order of copying and of comparing */
extern const size_t COPY_TABLE_COUNT;

/* Answers the name of a table that has rows. */
extern const char *const COPY_EMPTY[];
extern const size_t COPY_EMPTY_COUNT;
/* What is stored later gets numbers behind those that were copied. */
extern const char *const COPY_SEQUENCES[];
extern const size_t COPY_SEQUENCE_COUNT;
extern const char COPY_LOCK[];    /* nobody else writes */
extern const char COPY_ANALYZE[]; /* or the services would begin with plans for empty tables */

bool copy_table_known(const char *name); /* copied, or rightly not */

#endif
