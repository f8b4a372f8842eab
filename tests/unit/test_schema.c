/* schema: up, down, what is reported, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/db.h"
#include "base/embed.h"
#include "ledger/schema.h"

struct fixture {
    struct db *db;
    struct str report;
    char why[SCHEMA_WHY_MAX];
};

static int setup(void **state)
{
    static struct fixture f;
    memset(&f, 0, sizeof f);
    str_init(&f.report, 65536);
    *state = &f;
    return db_open(&f.db, "", DB_MEMORY, f.why, sizeof f.why) == ERR_OK ? 0 : -1;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    db_close(f->db);
    str_release(&f->report);
    return 0;
}

static enum err up(struct fixture *f, const char *target)
{
    str_clear(&f->report);
    return schema_upgrade(f->db, target, &f->report, f->why, sizeof f->why);
}

static enum err down(struct fixture *f, const char *target, bool destroy_data)
{
    str_clear(&f->report);
    return schema_downgrade(f->db, target, destroy_data, &f->report, f->why, sizeof f->why);
}

static const char *current(struct fixture *f)
{
    str_clear(&f->report);
    assert_int_equal(schema_current(f->db, &f->report), ERR_OK);
    return f->report.data;
}

static const char *differences(struct fixture *f)
{
    str_clear(&f->report);
    assert_int_equal(schema_differences(f->db, &f->report), ERR_OK);
    return f->report.data;
}

static int64_t number(struct fixture *f, const char *sql)
{
    struct query q;
    query_open(&q, f->db, sql);
    int64_t n = query_next(&q) ? query_i64(&q, 0) : -1;
    assert_int_equal(query_close(&q), ERR_OK);
    return n;
}

static void every_migration_has_a_number_and_a_way_back(void **state)
{
    struct migration m;
    (void)state;
    assert_true(schema_head() >= 1);
    assert_int_equal(SQLITE_MIGRATION_FILES_COUNT, 2 * schema_head());
    for (int n = 1; n <= schema_head(); n++) {
        assert_true(schema_migration(n, &m));
        assert_int_equal(m.number, n);
        assert_true(m.compatible_from >= 1 && m.compatible_from <= n);
        assert_true(strlen(m.up) > 0 && strlen(m.down) > 0);
    }
    assert_false(schema_migration(0, &m));
    assert_false(schema_migration(schema_head() + 1, &m));
}

static void up_and_again(void **state)
{
    struct fixture *f = *state;
    assert_string_equal(current(f), "");
    assert_int_equal(schema_check(f->db, f->why, sizeof f->why), ERR_VERSION);
    assert_int_equal(up(f, "head"), ERR_OK);
    assert_non_null(strstr(f->report.data, "upgraded to 0001_initial\n"));
    assert_non_null(strstr(current(f), "(head)\n"));
    assert_int_equal(up(f, "head"), ERR_OK);
    assert_string_equal(f->report.data, "");
    assert_int_equal(schema_check(f->db, f->why, sizeof f->why), ERR_OK);
    assert_string_equal(differences(f), "");
    assert_int_equal(number(f, "SELECT count(*) FROM schema_migrations WHERE applied_at LIKE "
                               "'2___-__-__T__:__:__.______Z'"),
                     schema_head());
    assert_int_equal(number(f, "SELECT count(*) FROM subscription_cost"), 3);
}

static void targets(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(up(f, "+9999"), ERR_NOT_FOUND);
    assert_int_equal(up(f, "+0"), ERR_NOT_FOUND);
    assert_int_equal(up(f, "nobody"), ERR_NOT_FOUND);
    assert_non_null(strstr(f->why, "nobody"));
    assert_int_equal(up(f, ""), ERR_NOT_FOUND);
    assert_string_equal(current(f), "");
    assert_int_equal(up(f, "+1"), ERR_OK);
    assert_non_null(strstr(current(f), "0001_initial"));
    assert_int_equal(down(f, "base", true), ERR_OK);
    static const char *const NAMES[] = {"1", "0001", "0001_initial", "initial"};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(up(f, NAMES[i]), ERR_OK);
        assert_non_null(strstr(current(f), "0001_initial"));
        assert_int_equal(down(f, "-1", true), ERR_OK);
        assert_string_equal(current(f), "");
    }
    assert_int_equal(down(f, "-1", true), ERR_NOT_FOUND);
    assert_int_equal(down(f, "nobody", true), ERR_NOT_FOUND);
}

static void rows_are_not_deleted_by_accident(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(up(f, "head"), ERR_OK);
    assert_int_equal(db_script(f->db, "INSERT INTO accounts (user_id) VALUES ('x')"), ERR_OK);
    assert_int_equal(down(f, "base", false), ERR_REFUSED);
    assert_non_null(strstr(f->why, "accounts (1)"));
    assert_non_null(strstr(f->why, "--destroy-data"));
    assert_int_equal(number(f, "SELECT count(*) FROM accounts"), 1);
    assert_non_null(strstr(current(f), "0001_initial")); /* each step is a transaction of its own */
    assert_int_equal(down(f, "base", true), ERR_OK);
    assert_int_equal(number(f, "SELECT count(*) FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%' "
                               "AND name <> 'schema_migrations'"),
                     0);
    assert_int_equal(up(f, "head"), ERR_OK);
    assert_string_equal(differences(f), "");
}

static void history_says_when(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(schema_history(f->db, &f->report), ERR_OK);
    assert_non_null(strstr(f->report.data, "0001_initial not applied"));
    assert_int_equal(up(f, "head"), ERR_OK);
    str_clear(&f->report);
    assert_int_equal(schema_history(f->db, &f->report), ERR_OK);
    assert_non_null(strstr(f->report.data, "0001_initial applied 2"));
}

static void a_newer_file_is_refused_unless_it_says_otherwise(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(up(f, "head"), ERR_OK);
    assert_int_equal(db_script(f->db, "INSERT INTO schema_migrations VALUES (9000, '9000_later', "
                                      "'2030-01-01T00:00:00.000000Z', 8999)"),
                     ERR_OK);
    assert_int_equal(up(f, "head"), ERR_VERSION);
    assert_non_null(strstr(f->why, "9000"));
    assert_int_equal(schema_check(f->db, f->why, sizeof f->why), ERR_VERSION);
    assert_int_equal(down(f, "base", true), ERR_VERSION);
    assert_non_null(strstr(current(f), "9000"));
    assert_int_equal(db_script(f->db, "UPDATE schema_migrations SET compatible_from = 1"), ERR_OK);
    assert_int_equal(up(f, "head"), ERR_OK);
    assert_string_equal(f->report.data, "");
    assert_int_equal(schema_check(f->db, f->why, sizeof f->why), ERR_OK);
}

static void differences_are_named(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(up(f, "head"), ERR_OK);
    assert_int_equal(db_script(f->db, "DROP INDEX payments_user; CREATE TABLE mine (x); "
                                      "DROP INDEX events_alarms; "
                                      "CREATE INDEX events_alarms ON events (at);"),
                     ERR_OK);
    const char *found = differences(f);
    assert_non_null(strstr(found, "missing index payments_user\n"));
    assert_non_null(strstr(found, "different index events_alarms\n"));
    assert_non_null(strstr(found, "unknown table mine\n"));
}

static void a_migration_that_fails_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(db_script(f->db, "CREATE TABLE events (x)"), ERR_OK);
    assert_true(up(f, "head") != ERR_OK);
    assert_non_null(strstr(f->why, "0001_initial"));
    assert_non_null(strstr(f->why, "events"));
    assert_int_equal(number(f, "SELECT count(*) FROM sqlite_schema"), 1);
    assert_false(db_in_transaction(f->db));
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(every_migration_has_a_number_and_a_way_back),
        T(up_and_again),
        T(targets),
        T(rows_are_not_deleted_by_accident),
        T(history_says_when),
        T(a_newer_file_is_refused_unless_it_says_otherwise),
        T(differences_are_named),
        T(a_migration_that_fails_leaves_nothing),
    };
    return cmocka_run_group_tests_name("schema", tests, NULL, NULL);
}
