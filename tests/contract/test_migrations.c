/* migrations.h on both engines: up, down, what is reported, what is refused, and what is declared. */
#include "migrations_bench.h"

#include <stdio.h>
#include <string.h>

#include "ledger/schema_describe.h"

static void up_and_again(void **state)
{
    struct bench *b = bench_ready(state);
    assert_string_equal(bench_current(b), "");
    assert_int_equal(schema_check(b->db, b->why, sizeof b->why), ERR_VERSION);
    assert_non_null(strstr(b->why, "subpay migrate upgrade"));
    assert_int_equal(bench_up(b, b->own, "head"), ERR_OK);
    assert_non_null(strstr(b->report.data, "upgraded to 0001_initial\n"));
    assert_non_null(strstr(bench_current(b), "(head)\n"));
    assert_int_equal(bench_up(b, b->own, "head"), ERR_OK);
    assert_string_equal(b->report.data, "");
    assert_int_equal(schema_check(b->db, b->why, sizeof b->why), ERR_OK);
    assert_int_equal(bench_number(b, "SELECT count(*) FROM schema_migrations"),
                     migrations_head(b->own));
    assert_int_equal(bench_number(b, "SELECT count(*) FROM subscription_cost"), 3);
}

static void the_migrations_make_what_is_declared(void **state)
{
    struct bench *b = bench_ready(state);
    assert_int_equal(bench_up(b, b->own, "head"), ERR_OK);
    assert_string_equal(bench_differences(b), "");
}

/* … and the rows that a new database begins with. */
static void the_declared_rows_are_those_of_the_migrations(void **state)
{
    static const char ROWS[] =
        "SELECT count(*) FROM subscription_cost WHERE currency = 'RUB' AND "
        "CAST(starting_date AS text) = '2020-01-01' AND ((subscription_type = 'month' AND cost = "
        "39900) OR (subscription_type = 'three_months' AND cost = 99900) OR "
        "(subscription_type = 'year' AND cost = 299900))";
    struct bench *b = bench_ready(state);
    assert_int_equal(bench_up(b, b->own, "head"), ERR_OK);
    assert_int_equal(bench_number(b, ROWS), 3);
    assert_int_equal(bench_down(b, b->own, "base", true), ERR_OK);
    bench_run(b, migrations_declared(b->own));
    assert_int_equal(bench_number(b, ROWS), 3);
    assert_int_equal(bench_number(b, "SELECT count(*) FROM subscription_cost"), 3);
}

static void every_step_has_a_way_back(void **state)
{
    struct bench *b = bench_ready(state);
    struct str before, after;
    str_init(&before, 1 << 20);
    str_init(&after, 1 << 20);
    for (int n = 1; n <= migrations_head(b->own); n++) {
        bench_describe(b, &before);
        assert_int_equal(bench_up(b, b->own, "+1"), ERR_OK);
        bench_describe(b, &after);
        assert_string_not_equal(before.data, after.data);
        assert_int_equal(bench_down(b, b->own, "-1", true), ERR_OK);
        bench_describe(b, &after);
        assert_string_equal(before.data, after.data);
        assert_int_equal(bench_up(b, b->own, "+1"), ERR_OK);
    }
    str_release(&before);
    str_release(&after);
}

static void targets(void **state)
{
    struct bench *b = bench_ready(state);
    static const char *const WRONG[] = {"+9999", "+0", "nobody", "", "0", "1000"};
    for (size_t i = 0; i < sizeof WRONG / sizeof WRONG[0]; i++) {
        assert_int_equal(bench_up(b, b->own, WRONG[i]), ERR_NOT_FOUND);
        assert_non_null(strstr(b->why, WRONG[i]));
    }
    assert_string_equal(bench_current(b), "");
    static const char *const NAMES[] = {"1", "0001", "0001_initial", "initial", "+1"};
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++) {
        assert_int_equal(bench_up(b, b->own, NAMES[i]), ERR_OK);
        assert_non_null(strstr(bench_current(b), "0001_initial"));
        assert_int_equal(bench_down(b, b->own, i == 0 ? "base" : "-1", true), ERR_OK);
        assert_string_equal(bench_current(b), "");
    }
    assert_int_equal(bench_down(b, b->own, "-1", true), ERR_NOT_FOUND);
    assert_int_equal(bench_down(b, b->own, "nobody", true), ERR_NOT_FOUND);
    assert_int_equal(bench_up(b, b->own, "+1"), ERR_OK);
    assert_int_equal(bench_down(b, b->own, "2", true), ERR_NOT_FOUND);
}

static void rows_are_not_deleted_by_accident(void **state)
{
    struct bench *b = bench_ready(state);
    assert_int_equal(bench_up(b, b->own, "head"), ERR_OK);
    bench_run(b, "INSERT INTO accounts (user_id) VALUES ('0190c0de-0000-7000-8000-000000000001')");
    assert_int_equal(bench_down(b, b->own, "base", false), ERR_REFUSED);
    assert_non_null(strstr(b->why, "accounts (1)"));
    assert_non_null(strstr(b->why, "--destroy-data"));
    assert_int_equal(bench_number(b, "SELECT count(*) FROM accounts"), 1);
    assert_non_null(strstr(bench_current(b), "0001_initial")); /* each step is its own */
    assert_int_equal(bench_down(b, b->own, "base", true), ERR_OK);
    assert_int_equal(bench_number(b, "SELECT count(*) FROM schema_migrations"), 0);
    assert_int_equal(bench_up(b, b->own, "head"), ERR_OK);
    assert_string_equal(bench_differences(b), "");
}

static void history_says_when(void **state)
{
    struct bench *b = bench_ready(state);
    assert_int_equal(migrations_history(b->own, b->db, &b->report), ERR_OK);
    assert_non_null(strstr(b->report.data, "0001_initial not applied\n"));
    assert_int_equal(bench_up(b, b->own, "+1"), ERR_OK);
    str_clear(&b->report);
    assert_int_equal(migrations_history(b->own, b->db, &b->report), ERR_OK);
    const char *at = strstr(b->report.data, "0001_initial applied 2");
    assert_non_null(at);
    assert_int_equal(strcspn(at, "\n"), strlen("0001_initial applied 2026-11-24T10:00:00.000000Z"));
    assert_non_null(strstr(b->report.data, " not applied (head)\n"));
}

static void a_newer_database_is_refused_unless_it_says_otherwise(void **state)
{
    struct bench *b = bench_ready(state);
    assert_int_equal(bench_up(b, b->own, "head"), ERR_OK);
    bench_run(b, "INSERT INTO schema_migrations VALUES (900, '0900_later', "
                 "'2030-01-01T00:00:00.000000Z', 899)");
    assert_int_equal(bench_up(b, b->own, "head"), ERR_VERSION);
    assert_non_null(strstr(b->why, "revision 900"));
    assert_int_equal(schema_check(b->db, b->why, sizeof b->why), ERR_VERSION);
    assert_int_equal(bench_down(b, b->own, "base", true), ERR_VERSION);
    assert_string_equal(bench_current(b), "0900_later (newer than this program)\n");
    bench_run(b, "UPDATE schema_migrations SET compatible_from = 1");
    assert_int_equal(bench_up(b, b->own, "head"), ERR_OK);
    assert_string_equal(b->report.data, "");
    assert_int_equal(schema_check(b->db, b->why, sizeof b->why), ERR_OK);
}

static void differences_are_named(void **state)
{
    struct bench *b = bench_ready(state);
    assert_int_equal(bench_up(b, b->own, "head"), ERR_OK);
    bench_run(b, "DROP INDEX payments_user; CREATE TABLE mine (x integer); "
                 "DROP INDEX events_alarms; CREATE INDEX events_alarms ON events (at); "
                 "CREATE VIEW seen AS SELECT 1 AS x; "
                 "ALTER TABLE paged ADD COLUMN note text; "
                 "DROP TABLE heartbeats; ALTER TABLE attempts DROP COLUMN note; "
                 "ALTER TABLE attempts ADD COLUMN note integer;");
    const char *found = bench_differences(b);
    assert_non_null(strstr(found, "missing index payments_user\n"));
    assert_non_null(strstr(found, "different index events_alarms\n"));
    assert_non_null(strstr(found, "unknown table mine\n"));
    assert_null(strstr(found, "mine.x"));
    assert_non_null(strstr(found, "unknown object seen\n"));
    assert_non_null(strstr(found, "unknown column paged.note\n"));
    assert_non_null(strstr(found, "missing table heartbeats\n"));
    assert_null(strstr(found, "heartbeats.at"));
    assert_non_null(strstr(found, "different column attempts.note\n"));
}

static void constraints_and_triggers_are_compared(void **state)
{
    struct bench *b = bench_ready(state);
    assert_int_equal(bench_up(b, b->own, "head"), ERR_OK);
    if (b->postgres) {
        bench_run(b, "ALTER TABLE payments DROP CONSTRAINT payments_payment_type_check; "
                     "ALTER TABLE subscriptions DROP CONSTRAINT subscriptions_no_overlap; "
                     "ALTER TABLE events DISABLE TRIGGER events_no_change; "
                     "CREATE OR REPLACE FUNCTION events_only_added() RETURNS trigger "
                     "LANGUAGE plpgsql AS $$BEGIN RETURN NULL; END$$;"
                     "ALTER TABLE accounts SET UNLOGGED; "
                     "ALTER TABLE payments ALTER COLUMN currency SET NOT NULL;");
        const char *found = bench_differences(b);
        assert_non_null(strstr(found, "different column payments.payment_type\n"));
        assert_non_null(
            strstr(found, "missing constraint subscriptions.subscriptions_no_overlap\n"));
        assert_non_null(strstr(found, "different trigger events_no_change\n"));
        assert_non_null(strstr(found, "different function events_only_added\n"));
        assert_non_null(strstr(found, "different table accounts\n"));
        assert_non_null(strstr(found, "different column payments.currency\n"));
    } else {
        bench_run(b, "DROP TRIGGER events_no_update; DROP TABLE paged; DROP TABLE positions; "
                     "CREATE TABLE positions (topic TEXT NOT NULL, partition INTEGER NOT NULL, "
                     "partitions INTEGER NOT NULL, next INTEGER NULL CHECK (next > 0), "
                     "log_id TEXT NOT NULL, checksum INTEGER NOT NULL) STRICT;");
        const char *found = bench_differences(b);
        assert_non_null(strstr(found, "missing trigger events_no_update\n"));
        assert_non_null(strstr(found, "different table positions\n")); /* WITHOUT ROWID */
        assert_non_null(strstr(found, "different column positions.next\n"));
        assert_non_null(
            strstr(found, "missing constraint positions.PRIMARY KEY (topic, partition)\n"));
    }
}

static void a_migration_that_fails_leaves_nothing(void **state)
{
    struct bench *b = bench_ready(state);
    bench_run(b, "CREATE TABLE events (x integer)");
    assert_true(bench_up(b, b->own, "head") != ERR_OK);
    assert_non_null(strstr(b->why, "0001_initial"));
    assert_non_null(strstr(b->why, "events"));
    assert_string_equal(bench_current(b), "");
    assert_false(db_in_transaction(b->db));
    bench_run(b, "DROP TABLE events");
    assert_int_equal(bench_up(b, b->own, "head"), ERR_OK);
}

/* ---- drafts ---- */

/* Writes the next revision of dir from a draft, and applies it. */
static void draft_and_upgrade(struct bench *b, const char *message)
{
    struct migrations *m = bench_list(b);
    char paths[2][MIGRATION_PATH_MAX];
    struct str up, down;
    str_init(&up, MIGRATION_FILE_MAX);
    str_init(&down, MIGRATION_FILE_MAX);
    if (migrations_draft(m, b->db, &up, &down, b->why, sizeof b->why) != ERR_OK ||
        migrations_write(m, b->dir, message, up.data, down.data, paths, b->why, sizeof b->why) !=
            ERR_OK)
        fail_msg("%s", b->why);
    assert_true(up.len > 0 && down.len > 0);
    migrations_close(m);
    m = bench_list(b);
    if (bench_up(b, m, "head") != ERR_OK)
        fail_msg("%s\n%s", b->why, up.data);
    migrations_close(m);
    str_release(&up);
    str_release(&down);
}

static void nothing_to_draft(struct bench *b, const struct migrations *m)
{
    struct str up, down;
    str_init(&up, MIGRATION_FILE_MAX);
    str_init(&down, MIGRATION_FILE_MAX);
    assert_int_equal(migrations_draft(m, b->db, &up, &down, b->why, sizeof b->why), ERR_OK);
    assert_string_equal(up.data, "");
    assert_string_equal(down.data, "");
}

static void tables_are_drafted_for_an_empty_database(void **state)
{
    struct bench *b = bench_ready(state);
    struct str before, after;
    char paths[2][MIGRATION_PATH_MAX];
    struct migrations *m = bench_list(b);
    assert_int_equal(migrations_head(m), 0);
    assert_int_equal(bench_up(b, m, "head"), ERR_OK); /* an empty list is fine */
    assert_int_equal(
        migrations_write(m, b->dir, "initial", NULL, NULL, paths, b->why, sizeof b->why), ERR_OK);
    migrations_close(m);
    m = bench_list(b);
    assert_int_equal(bench_up(b, m, "head"), ERR_OK);
    assert_string_equal(b->report.data, "upgraded to 0001_initial\n");
    migrations_close(m);
    str_init(&before, 1 << 20);
    str_init(&after, 1 << 20);
    bench_describe(b, &before);
    draft_and_upgrade(b, "create_tables");
    assert_string_equal(b->report.data, "upgraded to 0002_create_tables\n");
    assert_string_equal(bench_differences(b), "");
    assert_int_equal(bench_number(b, "SELECT count(*) FROM subscription_cost"), 3);
    m = bench_list(b);
    nothing_to_draft(b, m);
    assert_int_equal(migrations_check(m, b->db, b->why, sizeof b->why), ERR_OK);
    /* A program whose own migrations are others sees that it is what it needs. */
    assert_int_equal(schema_check(b->db, b->why, sizeof b->why), ERR_OK);
    assert_int_equal(bench_up(b, b->own, "head"), ERR_OK);
    assert_string_equal(b->report.data, "");
    /* … and there is a way back, but for the rows. */
    assert_int_equal(bench_down(b, m, "-1", false), ERR_REFUSED);
    assert_int_equal(bench_down(b, m, "-1", true), ERR_OK);
    bench_describe(b, &after);
    assert_string_equal(before.data, after.data);
    migrations_close(m);
    str_release(&before);
    str_release(&after);
}

static void nothing_is_drafted_for_a_current_database(void **state)
{
    struct bench *b = bench_ready(state);
    struct str up, down;
    str_init(&up, 1024);
    str_init(&down, 1024);
    assert_int_equal(migrations_draft(b->own, b->db, &up, &down, b->why, sizeof b->why),
                     ERR_VERSION);
    assert_non_null(strstr(b->why, "upgrade first"));
    assert_int_equal(bench_up(b, b->own, "head"), ERR_OK);
    nothing_to_draft(b, b->own);
}

/* A draft mends whatever can be added and dropped, and its way back makes it as it was. */
static void a_draft_and_its_way_back(void **state)
{
    struct bench *b = bench_ready(state);
    struct str before, after;
    bench_file(b, "0001_old.up.sql", migrations_declared(b->own));
    bench_file(b, "0001_old.down.sql", "");
    struct migrations *m = bench_list(b);
    assert_int_equal(bench_up(b, m, "head"), ERR_OK);
    migrations_close(m);
    bench_run(b, "CREATE TABLE mine (x integer NOT NULL PRIMARY KEY, y text DEFAULT 'a;--b' "
                 "CHECK (y <> ''), CHECK (x > 0 OR y = 'z')); CREATE INDEX mine_y ON mine (y); "
                 "CREATE TABLE \"Odd \"\"name\" (\"a b\" text); "
                 "DROP INDEX payments_user; DROP INDEX events_alarms; "
                 "CREATE INDEX events_alarms ON events (at); "
                 "ALTER TABLE paged ADD COLUMN note text; "
                 "ALTER TABLE attempts DROP COLUMN note; DROP TABLE heartbeats;");
    bench_run(b, b->postgres
                     ? "CREATE FUNCTION odd() RETURNS trigger LANGUAGE plpgsql AS "
                       "$x$BEGIN RETURN NULL; END;$x$; DROP TRIGGER events_no_change ON events; "
                       "CREATE TRIGGER odd AFTER INSERT ON mine EXECUTE FUNCTION odd(); "
                       "CREATE TRIGGER odd AFTER INSERT ON paged EXECUTE FUNCTION odd();"
                     : "DROP TRIGGER events_no_update; CREATE TRIGGER odd AFTER INSERT ON mine "
                       "BEGIN SELECT CASE WHEN NEW.x THEN 1 END; DELETE FROM mine; END; "
                       "CREATE TRIGGER odd2 AFTER INSERT ON paged BEGIN SELECT 1; END;");
    str_init(&before, 1 << 20);
    str_init(&after, 1 << 20);
    bench_describe(b, &before);
    draft_and_upgrade(b, "Mend it: now");
    assert_string_equal(b->report.data, "upgraded to 0002_mend_it_now\n");
    assert_string_equal(bench_differences(b), "");
    m = bench_list(b);
    if (bench_down(b, m, "-1", false) != ERR_OK)
        fail_msg("%s", b->why);
    bench_describe(b, &after);
    assert_string_equal(before.data, after.data);
    migrations_close(m);
    str_release(&before);
    str_release(&after);
}

static void what_cannot_be_drafted_stops_an_upgrade(void **state)
{
    struct bench *b = bench_ready(state);
    char paths[2][MIGRATION_PATH_MAX];
    struct str up, down;
    bench_file(b, "0001_old.up.sql", migrations_declared(b->own));
    bench_file(b, "0001_old.down.sql", "");
    struct migrations *m = bench_list(b);
    assert_int_equal(bench_up(b, m, "head"), ERR_OK);
    bench_run(b, "DROP TABLE paged; CREATE TABLE paged (user_id integer NOT NULL PRIMARY KEY)");
    str_init(&up, 65536);
    str_init(&down, 65536);
    assert_int_equal(migrations_draft(m, b->db, &up, &down, b->why, sizeof b->why), ERR_OK);
    assert_non_null(strstr(up.data, "-- changed: column paged.user_id is "));
    assert_non_null(strstr(down.data, "-- changed: column paged.user_id is "));
    assert_null(strstr(up.data, "\n\n"));
    assert_int_equal(
        migrations_write(m, b->dir, "x", up.data, down.data, paths, b->why, sizeof b->why), ERR_OK);
    migrations_close(m);
    m = bench_list(b);
    assert_int_equal(bench_up(b, m, "head"), ERR_INVALID);
    assert_non_null(strstr(b->why, "0002_x.up.sql, line 2: "));
    assert_string_equal(bench_current(b), "0001_old (of other migrations)\n");
    migrations_close(m);
    bench_file(b, "0002_x.up.sql", "DROP TABLE paged;"); /* edited */
    m = bench_list(b);
    assert_int_equal(bench_up(b, m, "head"), ERR_OK);
    assert_int_equal(bench_down(b, m, "-1", true), ERR_INVALID); /* the other one is not */
    assert_non_null(strstr(b->why, "0002_x.down.sql, line 2: "));
    migrations_close(m);
    str_release(&up);
    str_release(&down);
}

static void a_database_of_other_migrations(void **state)
{
    struct bench *b = bench_ready(state);
    bench_file(b, "0001_other.up.sql", "CREATE TABLE other (x integer);");
    bench_file(b, "0001_other.down.sql", "DROP TABLE other;");
    struct migrations *m = bench_list(b);
    assert_int_equal(bench_up(b, m, "head"), ERR_OK);
    assert_int_equal(schema_check(b->db, b->why, sizeof b->why), ERR_VERSION);
    assert_non_null(strstr(b->why, "MIGRATIONS_DIR"));
    assert_int_equal(bench_up(b, b->own, "head"), ERR_VERSION);
    assert_int_equal(bench_down(b, b->own, "base", true), ERR_VERSION);
    str_clear(&b->report);
    assert_int_equal(migrations_history(b->own, b->db, &b->report), ERR_OK);
    assert_non_null(strstr(b->report.data, "0001_initial not applied (0001_other is)\n"));
    assert_int_equal(bench_number(b, "SELECT count(*) FROM other"), 0);
    migrations_close(m);
}

static void compatible_from_is_the_files_word(void **state)
{
    struct bench *b = bench_ready(state);
    bench_file(b, "0001_a.up.sql", "-- nothing yet\n");
    bench_file(b, "0001_a.down.sql", "");
    bench_file(b, "0002_b.up.sql", "CREATE TABLE b (x integer);\n");
    bench_file(b, "0002_b.down.sql", "DROP TABLE b;");
    bench_file(b, "0003_c.up.sql", "-- c\n-- compatible_from: 2\nCREATE TABLE c (x integer);\n");
    bench_file(b, "0003_c.down.sql", "DROP TABLE c;");
    bench_file(b, "0004_d.up.sql", "-- nothing\n");
    bench_file(b, "0004_d.down.sql", "-- nothing\n");
    struct migrations *m = bench_list(b);
    assert_int_equal(bench_up(b, m, "head"), ERR_OK);
    assert_int_equal(bench_number(b,
                                  "SELECT sum(compatible_from * CASE number WHEN 1 THEN 1000 WHEN "
                                  "2 THEN 100 WHEN 3 THEN 10 ELSE 1 END) FROM schema_migrations"),
                     1222);
    migrations_close(m);
}

/* ---- the engines against each other ---- */

static void list_columns(void **state, bool postgres, struct str *out)
{
    void *own = NULL;
    struct description live, wanted;
    struct arena arena;
    (void)state;
    assert_int_equal(postgres ? bench_postgres(&own) : bench_sqlite(&own), 0);
    struct bench *b = own;
    arena_init(&arena, SCHEMA_DESCRIPTION_MAX);
    assert_int_equal(bench_up(b, b->own, "head"), ERR_OK);
    assert_int_equal(schema_describe_both(b->db, migrations_declared(b->own), &arena, &live,
                                          &wanted, b->why, sizeof b->why),
                     ERR_OK);
    const char **lines = arena_array(&arena, const char *, live.count);
    size_t count = 0;
    for (size_t i = 0; i < live.count; i++) {
        const struct object *o = &live.list[i];
        char line[160];
        if (o->kind != OBJECT_COLUMN || strcmp(o->table, "queue_topics") == 0 ||
            strcmp(o->table, "queue_records") == 0)
            continue;
        snprintf(line, sizeof line, "%s.%s", o->table, o->name);
        lines[count++] = arena_text(&arena, line, strlen(line));
    }
    for (size_t i = 0; i < count; i++) /* in order, whatever the place */
        for (size_t k = i + 1; k < count; k++)
            if (strcmp(lines[k], lines[i]) < 0) {
                const char *swap = lines[i];
                lines[i] = lines[k];
                lines[k] = swap;
            }
    for (size_t i = 0; i < count; i++)
        str_addf(out, "%s\n", lines[i]);
    arena_release(&arena);
    bench_teardown(&own);
}

static void both_engines_have_the_same_tables_and_columns(void **state)
{
    struct str sqlite, postgres;
    (void)bench_ready(state);
    str_init(&sqlite, 65536);
    str_init(&postgres, 65536);
    list_columns(state, false, &sqlite);
    list_columns(state, true, &postgres);
    assert_non_null(strstr(sqlite.data, "payments.needs_decision\n"));
    assert_string_equal(sqlite.data, postgres.data);
    str_release(&sqlite);
    str_release(&postgres);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BOTH(up_and_again),
        ON_BOTH(the_migrations_make_what_is_declared),
        ON_BOTH(the_declared_rows_are_those_of_the_migrations),
        ON_BOTH(every_step_has_a_way_back),
        ON_BOTH(targets),
        ON_BOTH(rows_are_not_deleted_by_accident),
        ON_BOTH(history_says_when),
        ON_BOTH(a_newer_database_is_refused_unless_it_says_otherwise),
        ON_BOTH(differences_are_named),
        ON_BOTH(constraints_and_triggers_are_compared),
        ON_BOTH(a_migration_that_fails_leaves_nothing),
        ON_BOTH(tables_are_drafted_for_an_empty_database),
        ON_BOTH(nothing_is_drafted_for_a_current_database),
        ON_BOTH(a_draft_and_its_way_back),
        ON_BOTH(what_cannot_be_drafted_stops_an_upgrade),
        ON_BOTH(a_database_of_other_migrations),
        ON_BOTH(compatible_from_is_the_files_word),
        cmocka_unit_test_setup_teardown(both_engines_have_the_same_tables_and_columns,
                                        bench_postgres, bench_teardown),
    };
    return cmocka_run_group_tests_name("migrations", tests, bench_group_setup,
                                       bench_group_teardown);
}
