#include "test_audit_books.h"

#include <ctype.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ID_FORMAT "%c0000000-0000-4000-8000-%012ld"
#define ID_LEN (UUID_TEXT - 1)
static const char WORDS[] = "uprs", KINDS[] = "abcd"; /* in the order in which the words sort */

/* ---- words ---- */

/* The length of the word at `text`, 0: there is none. */
static size_t word_len(const char *text)
{
    if (*text == '\0' || strchr(WORDS, *text) == NULL || !isdigit((unsigned char)text[1]))
        return 0;
    return 1 + strspn(text + 1, "0123456789");
}

static void id_print(const char *word, char out[WORD_TEXT])
{
    snprintf(out, WORD_TEXT, ID_FORMAT, KINDS[strchr(WORDS, *word) - WORDS],
             strtol(word + 1, NULL, 10));
}

const char *word_id(const char *word, char out[WORD_TEXT])
{
    if (word == NULL || !store_is_postgres() || word_len(word) == 0 || word[word_len(word)] != '\0')
        return word;
    id_print(word, out);
    return out;
}

static void text_words(char *text)
{
    for (char *at = text; (at = strstr(at, "0000000-0000-4000-8000-")) != NULL;) {
        char *start = at - (at > text), word[WORD_TEXT];
        const char *kind = strchr(KINDS, *start);
        if (kind == NULL || strlen(start) < ID_LEN) {
            at++;
            continue;
        }
        int len = snprintf(word, sizeof word, "%c%ld", WORDS[kind - KINDS],
                           strtol(start + ID_LEN - 12, NULL, 10));
        memcpy(start, word, (size_t)len);
        memmove(start + len, start + ID_LEN, strlen(start + ID_LEN) + 1);
        at = start + len;
    }
}

void report_words(struct audit_report *r)
{
    for (int i = 0; i < r->count && store_is_postgres(); i++) {
        struct audit_invariant *inv = &r->invariants[i];
        for (int k = 0; k < inv->example_count; k++)
            text_words(inv->examples[k]);
        for (int k = 0; k < inv->listing_count; k++)
            text_words(inv->listings[k]);
    }
}

/* ---- SQL ---- */

static const struct {
    const char *sqlite, *postgres;
} SAID[] = {
    {"json_object(", "jsonb_build_object("},
    {"DROP TRIGGER subscriptions_insert_no_overlap;",
     "ALTER TABLE subscriptions DROP CONSTRAINT IF EXISTS subscriptions_no_overlap;"},
    {"DROP TRIGGER subscriptions_update_no_overlap;",
     "ALTER TABLE subscriptions DROP CONSTRAINT IF EXISTS subscriptions_no_overlap;"},
    {"DROP TRIGGER events_no_update; DROP TRIGGER events_no_delete;",
     "DROP TRIGGER IF EXISTS events_no_change ON events;"},
    {"PRAGMA ignore_check_constraints=ON;",
     "DO $$ DECLARE c record; BEGIN FOR c IN SELECT conname FROM pg_constraint WHERE contype = 'c' "
     "AND conrelid = 'payments'::regclass LOOP EXECUTE 'ALTER TABLE payments DROP CONSTRAINT ' || "
     "c.conname; END LOOP; END $$;"},
    {"PRAGMA foreign_keys=OFF;", "SELECT 1;"},
};

static const char FUNCTIONS[] =
    "CREATE OR REPLACE FUNCTION json_patch(text, jsonb) RETURNS jsonb LANGUAGE sql AS $$"
    " SELECT jsonb_strip_nulls($2) $$;"
    "CREATE OR REPLACE FUNCTION json_set(jsonb, text, integer) RETURNS jsonb LANGUAGE sql AS $$"
    " SELECT jsonb_set($1, ARRAY[substr($2, 3)], to_jsonb($3)) $$;"
    "CREATE OR REPLACE FUNCTION json_set(jsonb, text, text) RETURNS jsonb LANGUAGE sql AS $$"
    " SELECT jsonb_set($1, ARRAY[substr($2, 3)], to_jsonb($3)) $$;";

/* What stands at `at` in SQLite's words; its length there, 0: nothing that has to be said otherwise. */
static size_t said(const char *at, struct str *out)
{
    size_t len = *at == '\'' || *at == '"' ? word_len(at + 1) : 0;
    if (len > 0 && at[len + 1] == *at) {
        char id[WORD_TEXT];
        id_print(at + 1, id);
        str_addf(out, "%c%s%c", *at, id, *at);
        return len + 2;
    }
    for (size_t i = 0; i < sizeof SAID / sizeof SAID[0]; i++)
        if (strncmp(at, SAID[i].sqlite, strlen(SAID[i].sqlite)) == 0) {
            str_add(out, SAID[i].postgres);
            return strlen(SAID[i].sqlite);
        }
    return 0;
}

void books_sql(struct books *b, const char *sql)
{
    struct str s;
    str_init(&s, 1024 * 1024);
    while (*sql != '\0') {
        size_t len = store_is_postgres() ? said(sql, &s) : 0;
        if (len == 0)
            str_add_bytes(&s, sql, 1);
        sql += len > 0 ? len : 1;
    }
    assert_false(s.failed);
    if (db_script(b->db, s.data) != ERR_OK)
        fail_msg("%s\n%s", db_why(b->db), s.data);
    str_release(&s);
}

/* ---- books ---- */

/* All migrations of SQLite, in order. */
static char *sqlite_migrations(void)
{
    char pattern[1024], buffer[4096];
    const char *root = getenv("SUBPAY_ROOT");
    snprintf(pattern, sizeof pattern, "%s/src/ledger/migrations/sqlite/*.up.sql",
             root != NULL ? root : ".");
    struct str s;
    size_t n;
    glob_t files;
    str_init(&s, 1024 * 1024);
    assert_int_equal(glob(pattern, 0, NULL, &files), 0);
    for (size_t i = 0; i < files.gl_pathc; i++) {
        FILE *f = fopen(files.gl_pathv[i], "re");
        assert_non_null(f);
        while ((n = fread(buffer, 1, sizeof buffer, f)) > 0)
            str_add_bytes(&s, buffer, n);
        fclose(f);
    }
    globfree(&files);
    assert_false(s.failed);
    return s.data;
}

static void postgres_open_books(struct books *b)
{
    char why[256];
    const struct db_postgres_settings reading = {.url = b->place.url, .mode = DB_READ};
    place_make(&b->place, false);
    b->db = b->place.tables;
    if (db_open_postgres(&b->reader, &reading, why, sizeof why) != ERR_OK)
        fail_msg("%s", why);
    assert_int_equal(db_script(b->db, FUNCTIONS), ERR_OK);
}

static void sqlite_open_books(struct books *b, const char *path, enum db_mode mode)
{
    char why[256];
    if (db_open(&b->db, path, mode, why, sizeof why) != ERR_OK)
        fail_msg("%s", why);
    b->reader = b->db;
    char *migrations = sqlite_migrations();
    books_sql(b, migrations);
    free(migrations);
    if (mode == DB_WRITE && db_open(&b->reader, path, DB_READ, why, sizeof why) != ERR_OK)
        fail_msg("%s", why);
}

void books_open_file(struct books *b, const char *path)
{
    memset(b, 0, sizeof *b);
    if (store_is_postgres())
        postgres_open_books(b);
    else
        sqlite_open_books(b, path, DB_WRITE);
}

void books_open(struct books *b)
{
    memset(b, 0, sizeof *b);
    if (store_is_postgres())
        postgres_open_books(b);
    else
        sqlite_open_books(b, "", DB_MEMORY);
}

void books_close(struct books *b)
{
    db_close(b->reader);
    if (!store_is_postgres() && b->db != b->reader)
        db_close(b->db);
}
