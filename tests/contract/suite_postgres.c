#include "suite_postgres.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ledger/schema.h"
#include "suite.h"

#define URL "SUBPAY_TEST_POSTGRES"
#define POOLED_URL "SUBPAY_TEST_POSTGRES_POOLED"
#define SKIPPED 77

static struct place own; /* of this program; every test finds it fresh */

/* ---- tables to look at as SQLite shows them ---- */

static const char FLAT[] =
    "CREATE SCHEMA flat;"
    "CREATE FUNCTION flat.stamp(timestamptz) RETURNS text LANGUAGE sql IMMUTABLE AS $$"
    " SELECT to_char($1 AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') $$;"
    /* jsonb forgets the order in which the program writes. */
    "CREATE FUNCTION flat.detail(jsonb) RETURNS text LANGUAGE sql IMMUTABLE AS $$"
    " SELECT '{' || string_agg(to_json(d.key) || ':' || d.value::text, ',' ORDER BY"
    " array_position(ARRAY['alarm', 'outcome', 'user_id', 'payment_id', 'subscription_type',"
    " 'starts_at', 'duplicate_of', 'reason', 'refund_of', 'amount', 'cost', 'currency',"
    " 'expiration_date', 'ends_at', 'end_reason', 'notification', 'evidence', 'note'], "
    "d.key)) || '}' FROM jsonb_each($1) d WHERE $1 IS NOT NULL $$;"
    "CREATE FUNCTION flat.field(text, text) RETURNS text LANGUAGE sql IMMUTABLE AS $$"
    " SELECT $1::jsonb ->> $2 $$;"
    "CREATE OPERATOR flat.->> (LEFTARG = text, RIGHTARG = text, FUNCTION = flat.field);"
    "CREATE FUNCTION flat.instr(text, text) RETURNS integer LANGUAGE sql IMMUTABLE AS $$"
    " SELECT strpos($1, $2) $$;"
    "CREATE FUNCTION flat.joined(text, text, text DEFAULT ',') RETURNS text"
    " LANGUAGE sql IMMUTABLE AS $$ SELECT CASE WHEN $1 IS NULL THEN $2 WHEN $2 IS NULL THEN $1"
    " ELSE $1 || $3 || $2 END $$;"
    "CREATE FUNCTION flat.joined_2(text, text) RETURNS text LANGUAGE sql IMMUTABLE AS $$"
    " SELECT flat.joined($1, $2, ',') $$;"
    "CREATE AGGREGATE flat.group_concat(text) (SFUNC = flat.joined_2, STYPE = text);"
    "CREATE AGGREGATE flat.group_concat(text, text) (SFUNC = flat.joined, STYPE = text);"
    "CREATE TABLE flat.first_costs AS SELECT * FROM subscription_cost;"
    "DO $$ DECLARE t record; BEGIN"
    " FOR t IN SELECT table_name, string_agg(CASE data_type"
    "   WHEN 'uuid' THEN format('%1$I::text AS %1$I', column_name)"
    "   WHEN 'date' THEN format('%1$I::text AS %1$I', column_name)"
    "   WHEN 'timestamp with time zone' THEN format('flat.stamp(%1$I) AS %1$I', column_name)"
    "   WHEN 'jsonb' THEN format('flat.detail(%1$I) AS %1$I', column_name)"
    "   ELSE format('%I', column_name) END, ', ' ORDER BY ordinal_position) AS columns"
    "   FROM information_schema.columns WHERE table_schema = 'public' GROUP BY table_name"
    " LOOP EXECUTE format('CREATE VIEW flat.%I AS SELECT %s FROM public.%I', t.table_name,"
    "   t.columns, t.table_name);"
    " END LOOP; END $$;";

/* ---- databases ---- */

static const char *server(const char *variable)
{
    const char *url = getenv(variable);
    if (url && url[0] != '\0')
        return url;
    fprintf(stderr,
            "%s is not set: there is no server, so NOTHING IS TESTED HERE; tests/postgres.py "
            "starts one\n",
            variable);
    exit(SKIPPED);
}

/* The URL of another database of the same server. */
static void url_of(const char *url, const char *name, const char *options, char out[DB_URL_MAX])
{
    size_t end = strcspn(url, "?");
    const char *slash = memrchr(url, '/', end);
    int len =
        snprintf(out, DB_URL_MAX, "%.*s%s%s%s%s", (int)(slash + 1 - url), url, name, url + end,
                 options[0] == '\0' ? ""
                 : url[end] == '?'  ? "&"
                                    : "?",
                 options);
    assert_true(len > 0 && len < DB_URL_MAX);
}

static struct db *connect_to(const char *name, const char *options)
{
    char url[DB_URL_MAX], why[SCHEMA_WHY_MAX] = "";
    struct db_postgres_settings settings = {
        .url = url, .mode = DB_WRITE, .statement_ms = 120000, .patience_ms = 130000};
    struct db *db = NULL;
    if (name)
        url_of(server(URL), name, options, url);
    else
        snprintf(url, sizeof url, "%s", server(URL));
    if (db_open_postgres(&db, &settings, why, sizeof why) != ERR_OK) {
        fprintf(stderr, "%s: %s\n", URL, why);
        exit(1);
    }
    return db;
}

static void script(struct db *db, const char *sql)
{
    if (db_script(db, sql) != ERR_OK) {
        fprintf(stderr, "%s: %s\n", sql, db_why(db));
        exit(1);
    }
}

static void database_drop(void)
{
    char sql[256];
    db_close(own.tables);
    db_close(own.looks);
    struct db *db = connect_to(NULL, "");
    snprintf(sql, sizeof sql, "DROP DATABASE %s WITH (FORCE)", own.name);
    script(db, sql);
    db_close(db);
}

static void database_make(void)
{
    char sql[256], why[SCHEMA_WHY_MAX] = "";
    struct str report;
    snprintf(own.name, sizeof own.name, "subpay_test_%d", (int)getpid());
    snprintf(sql, sizeof sql, "CREATE DATABASE %s", own.name);
    struct db *db = connect_to(NULL, "");
    script(db, sql);
    db_close(db);
    own.tables = connect_to(own.name, "");
    own.looks = connect_to(own.name, "options=-csearch_path%3Dflat");
    atexit(database_drop);
    str_init(&report, 65536);
    if (schema_upgrade(own.tables, "head", &report, why, sizeof why) != ERR_OK) {
        fprintf(stderr, "migrations: %s\n", why);
        exit(1);
    }
    str_release(&report);
    script(own.tables, FLAT);
}

/* As the migrations left it; `replica`: without the trigger that protects events. */
static void database_reset(void)
{
    db_rollback(own.tables);
    script(own.tables,
           "SET LOCAL session_replication_role = replica;"
           "DO $$ DECLARE name text; BEGIN FOR name IN SELECT table_name "
           "FROM information_schema.tables WHERE table_schema = 'public' "
           "AND table_name <> 'schema_migrations' LOOP EXECUTE format('DELETE FROM %I', name); "
           "END LOOP; END $$;"
           "SELECT setval(pg_get_serial_sequence(t, 'seq'), 1, false) "
           "FROM (VALUES ('payments'), ('events')) AS x (t);"
           "INSERT INTO subscription_cost SELECT * FROM flat.first_costs;");
}

void place_make(struct place *p, bool pooled)
{
    (void)server(URL);
    const char *url = server(pooled ? POOLED_URL : URL);
    if (own.name[0] == '\0')
        database_make();
    else
        database_reset();
    *p = own;
    url_of(url, own.name, "", p->url);
}
