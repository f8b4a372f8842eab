/* The reader of SQL, the lists of migrations and their files, without a database. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "ledger/migrations.h"
#include "ledger/schema_text.h"

/* ---- SQL ---- */

static void plain(const char *sql, const char *expected)
{
    struct str out;
    str_init(&out, 4096);
    schema_text_plain(sql, strlen(sql), &out);
    assert_string_equal(out.data, expected);
    str_release(&out);
}

static void texts_that_mean_the_same_are_the_same(void **state)
{
    (void)state;
    plain("", "");
    plain("  a -- b\n /* c */ d", "a d");
    plain("CHECK ( a IN ('x' ,'y') )\n", "CHECK (a IN ('x', 'y'))");
    plain("f(a,b)  >=  1", "f(a, b) >= 1");
    plain("\"accounts\" (\"a b\", \"A\")", "accounts (\"a b\", \"A\")");
    plain("'it''s -- no comment' /* a */x", "'it''s -- no comment' x");
    plain("$$a -- b$$ $x$ c $$ d $x$", "$$a -- b$$ $x$ c $$ d $x$");
    plain("'open", "'open");
    plain("NEW.x<>$1", "NEW.x<>$1");
}

static void names_are_quoted_where_they_have_to_be(void **state)
{
    struct str out;
    (void)state;
    str_init(&out, 4096);
    schema_text_name("plain_1", &out);
    schema_text_name("Not", &out);
    schema_text_name("a\"b", &out);
    schema_text_name("1a", &out);
    schema_text_name("", &out);
    assert_string_equal(out.data, "plain_1\"Not\"\"a\"\"b\"\"1a\"\"\"");
    str_release(&out);
}

static void statements_are_split_with_their_comments(void **state)
{
    static const char SQL[] =
        "-- about a\nCREATE TABLE a (x text DEFAULT ';'); -- more of a\n\n"
        "create unique index i ON a (x);\n"
        "CREATE TRIGGER t BEFORE UPDATE ON a\nBEGIN\n SELECT CASE WHEN 1 THEN ';' END;\n END;\n"
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN a; END;$$;\n"
        "CREATE EXTENSION IF NOT EXISTS \"e\";CREATE TEMP TABLE IF NOT EXISTS b (x);\n"
        "INSERT INTO a VALUES ('b;');\nDROP TABLE a; -- the end";
    static const struct {
        enum object_kind kind;
        const char *name;
    } EXPECTED[] = {{OBJECT_TABLE, "a"},    {OBJECT_INDEX, "i"},     {OBJECT_TRIGGER, "t"},
                    {OBJECT_FUNCTION, "f"}, {OBJECT_EXTENSION, "e"}, {OBJECT_TABLE, "b"},
                    {OBJECT_TABLE, "a"},    {OBJECT_OTHER, ""}};
    struct schema_statement *list;
    struct arena arena;
    size_t count, len = 0;
    (void)state;
    arena_init(&arena, 1 << 20);
    assert_int_equal(schema_text_split(SQL, &arena, &list, &count), ERR_OK);
    assert_int_equal(count, sizeof EXPECTED / sizeof EXPECTED[0]);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(list[i].kind, EXPECTED[i].kind);
        assert_string_equal(list[i].name, EXPECTED[i].name);
        assert_int_equal(list[i].rows, i == 6);
        assert_ptr_equal(list[i].text, SQL + len); /* nothing is lost in between */
        len += list[i].len;
    }
    assert_int_equal(len, strlen(SQL));
    assert_int_equal(strncmp(list[1].text, "\ncreate", 7), 0);
    assert_int_equal(schema_text_split("CREATE TABLE a (x)", &arena, &list, &count), ERR_INVALID);
    assert_int_equal(schema_text_split(" -- nothing\n", &arena, &list, &count), ERR_OK);
    assert_int_equal(count, 0);
    arena_release(&arena);
}

/* ---- lists ---- */

struct fixture {
    char dir[64];
    char why[600];
};

static int setup(void **state)
{
    static struct fixture f;
    memset(&f, 0, sizeof f);
    snprintf(f.dir, sizeof f.dir, "/tmp/subpay-test-XXXXXX");
    *state = &f;
    return mkdtemp(f.dir) && chdir(f.dir) == 0 ? 0 : -1;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    char command[128];
    snprintf(command, sizeof command, "rm -r %s", f->dir);
    return chdir("/") == 0 && system(command) == 0 ? 0 : -1;
}

static void put(const char *name, const char *text, size_t len)
{
    FILE *file = fopen(name, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, len, file), len);
    assert_int_equal(fclose(file), 0);
}

static void put_both(const char *name, const char *up)
{
    char path[128];
    snprintf(path, sizeof path, "%s.up.sql", name);
    put(path, up, strlen(up));
    snprintf(path, sizeof path, "%s.down.sql", name);
    put(path, "", 0);
}

static void both_engines_have_the_same_migrations(void **state)
{
    struct migrations *sqlite, *postgres;
    char why[400];
    (void)state;
    assert_int_equal(migrations_open(&sqlite, false, NULL, why, sizeof why), ERR_OK);
    assert_int_equal(migrations_open(&postgres, true, NULL, why, sizeof why), ERR_OK);
    assert_true(migrations_head(sqlite) >= 3);
    assert_int_equal(migrations_head(sqlite), migrations_head(postgres));
    for (int n = 1; n <= migrations_head(sqlite); n++) {
        const struct migration *a = migrations_get(sqlite, n), *b = migrations_get(postgres, n);
        assert_int_equal(a->number, n);
        assert_string_equal(a->name, b->name);
        assert_int_equal(a->compatible_from, b->compatible_from);
        assert_true(a->compatible_from >= 1 && a->compatible_from <= n);
        assert_true(*a->up && *a->down && *b->up && *b->down);
    }
    assert_null(migrations_get(sqlite, 0));
    assert_null(migrations_get(sqlite, migrations_head(sqlite) + 1));
    migrations_close(sqlite);
    migrations_close(postgres);
}

/* What stands in the folders is what is built in: nobody has forgotten the list of the build. */
static void every_file_is_built_in(void **state)
{
    static const char *const ENGINES[] = {"sqlite", "postgres"};
    const char *root = getenv("SUBPAY_ROOT");
    char path[512], why[400];
    (void)state;
    assert_non_null(root);
    for (int i = 0; i < 2; i++) {
        struct migrations *own, *folder;
        snprintf(path, sizeof path, "%s/src/ledger/migrations/%s", root, ENGINES[i]);
        assert_int_equal(migrations_open(&own, i == 1, NULL, why, sizeof why), ERR_OK);
        assert_int_equal(migrations_open(&folder, i == 1, path, why, sizeof why), ERR_OK);
        assert_int_equal(migrations_head(folder), migrations_head(own));
        for (int n = 1; n <= migrations_head(own); n++) {
            assert_string_equal(migrations_get(folder, n)->up, migrations_get(own, n)->up);
            assert_string_equal(migrations_get(folder, n)->down, migrations_get(own, n)->down);
        }
        assert_string_equal(migrations_declared(folder), migrations_declared(own));
        migrations_close(own);
        migrations_close(folder);
    }
}

static void a_folder_is_a_list(void **state)
{
    struct fixture *f = *state;
    struct migrations *m, *own;
    assert_int_equal(migrations_open(&own, false, NULL, f->why, sizeof f->why), ERR_OK);
    assert_int_equal(migrations_open(&m, false, ".", f->why, sizeof f->why), ERR_OK);
    assert_int_equal(migrations_head(m), 0);
    assert_string_equal(migrations_declared(m), migrations_declared(own));
    migrations_close(m);
    put_both("0002_two", "SELECT 2;\n-- compatible_from: 1\n");
    put_both("0001_one", "SELECT 1;");
    put("README.md", "x", 1);
    put("schema.sql", "CREATE TABLE x (y);", 19);
    assert_int_equal(migrations_open(&m, false, f->dir, f->why, sizeof f->why), ERR_OK);
    assert_int_equal(migrations_head(m), 2);
    assert_string_equal(migrations_get(m, 1)->name, "0001_one");
    assert_string_equal(migrations_get(m, 1)->up, "SELECT 1;");
    assert_int_equal(migrations_get(m, 2)->compatible_from, 1);
    assert_string_equal(migrations_declared(m), "CREATE TABLE x (y);");
    migrations_close(m);
    migrations_close(own);
}

static void refused(struct fixture *f, const char *word)
{
    struct migrations *m;
    assert_int_equal(migrations_open(&m, true, ".", f->why, sizeof f->why), ERR_INVALID);
    if (!strstr(f->why, word))
        fail_msg("%s, not %s", f->why, word);
}

static void a_folder_is_checked(void **state)
{
    struct fixture *f = *state;
    struct migrations *m;
    assert_int_equal(migrations_open(&m, true, "./none", f->why, sizeof f->why), ERR_NOT_FOUND);
    put_both("0001_one", "SELECT 1;");
    put_both("0003_three", "SELECT 1;");
    refused(f, "there is no 0002_*");
    put_both("0002_two", "SELECT 1;");
    put_both("0002_other", "SELECT 1;");
    refused(f, "0002_");
    assert_int_equal(remove("0002_other.up.sql") + remove("0002_other.down.sql"), 0);
    assert_int_equal(remove("0002_two.down.sql"), 0);
    refused(f, "0002_two.down.sql is missing");
    put("0002_two.down.sql", "a\0b", 3);
    refused(f, "0002_two.down.sql: there is a NUL in it");
    put("0002_two.down.sql", "", 0);
    assert_int_equal(migrations_open(&m, true, ".", f->why, sizeof f->why), ERR_OK);
    migrations_close(m);
    assert_int_equal(truncate("0002_two.up.sql", MIGRATION_FILE_MAX + 1), 0);
    refused(f, "1 MiB");
    put_both("0002_two", "");
    assert_int_equal(mkdir("0004_four.up.sql", 0700), 0);
    refused(f, "0004_four.up.sql");
    assert_int_equal(rmdir("0004_four.up.sql"), 0);
    static const char *const NAMES[] = {"0000_zero.up.sql", "4_four.up.sql",    "0004four.up.sql",
                                        "0004_.up.sql",     "0004_Four.up.sql", "0004_four.sql",
                                        "+004_four.up.sql", "four.sql"};
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++) {
        put(NAMES[i], "", 0);
        refused(f, NAMES[i]);
        assert_int_equal(remove(NAMES[i]), 0);
    }
}

static void written(struct fixture *f, const char *message, const char *name)
{
    struct migrations *m;
    char paths[2][MIGRATION_PATH_MAX], expected[200];
    assert_int_equal(migrations_open(&m, false, f->dir, f->why, sizeof f->why), ERR_OK);
    if (migrations_write(m, f->dir, message, "SELECT 1;\n", NULL, paths, f->why, sizeof f->why) !=
        ERR_OK)
        fail_msg("%s", f->why);
    snprintf(expected, sizeof expected, "%s/%s.up.sql", f->dir, name);
    assert_string_equal(paths[0], expected);
    snprintf(expected, sizeof expected, "%s/%s.down.sql", f->dir, name);
    assert_string_equal(paths[1], expected);
    migrations_close(m);
}

static void a_message_becomes_a_name_and_a_comment(void **state)
{
    struct fixture *f = *state;
    struct migrations *m;
    char paths[2][MIGRATION_PATH_MAX], longest[202];
    written(f, "initial", "0001_initial");
    written(f, "Add the refunds' reason -- \n; now!", "0002_add_the_refunds_reason_now");
    written(f, "таблицы", "0003_revision");
    written(f, "../../etc/passwd", "0004_etc_passwd");
    written(f, "a234567890 a234567890 a234567890 a234567890",
            "0005_a234567890_a234567890_a234567890_a234567");
    assert_int_equal(migrations_open(&m, false, f->dir, f->why, sizeof f->why), ERR_OK);
    assert_string_equal(migrations_get(m, 2)->up,
                        "-- 0002: Add the refunds' reason --  ; now!\nSELECT 1;\n");
    assert_string_equal(migrations_get(m, 2)->down,
                        "-- 0002: Add the refunds' reason --  ; now!\n");
    memset(longest, 'a', 201);
    longest[201] = '\0';
    const char *const wrong[] = {"", longest, "\xff"};
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(
            migrations_write(m, f->dir, wrong[i], NULL, NULL, paths, f->why, sizeof f->why),
            ERR_INVALID);
    put("0006_x.down.sql", "mine", 4); /* somebody else's is never overwritten, and nothing stays */
    assert_int_equal(migrations_write(m, f->dir, "x", NULL, NULL, paths, f->why, sizeof f->why),
                     ERR_CONFLICT);
    assert_int_equal(access("0006_x.up.sql", F_OK), -1);
    migrations_close(m);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_that_mean_the_same_are_the_same),
        cmocka_unit_test(names_are_quoted_where_they_have_to_be),
        cmocka_unit_test(statements_are_split_with_their_comments),
        cmocka_unit_test(both_engines_have_the_same_migrations),
        cmocka_unit_test(every_file_is_built_in),
        T(a_folder_is_a_list),
        T(a_folder_is_checked),
        T(a_message_becomes_a_name_and_a_comment),
    };
    return cmocka_run_group_tests_name("schema", tests, NULL, NULL);
}
