#include "migrations_bench.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ledger/schema_describe.h"

static struct bench *bench_new(bool postgres)
{
    struct bench *b = calloc(1, sizeof *b);
    assert_non_null(b);
    b->postgres = postgres;
    str_init(&b->report, 1 << 20);
    snprintf(b->dir, sizeof b->dir, "/tmp/subpay-test-XXXXXX");
    assert_non_null(mkdtemp(b->dir));
    assert_int_equal(migrations_open(&b->own, postgres, NULL, b->why, sizeof b->why), ERR_OK);
    return b;
}

int bench_sqlite(void **state)
{
    struct bench *b = bench_new(false);
    *state = b;
    return db_open(&b->db, "", DB_MEMORY, b->why, sizeof b->why) == ERR_OK ? 0 : -1;
}

/* Says what to do to the server itself, in the database of SUBPAY_TEST_POSTGRES. */
static void administer(const char *verb, const char *name)
{
    struct db_postgres_settings s = {.url = getenv("SUBPAY_TEST_POSTGRES"), .mode = DB_WRITE};
    char sql[128], why[400];
    struct db *db;
    if (db_open_postgres(&db, &s, why, sizeof why) != ERR_OK)
        fail_msg("%s", why);
    snprintf(sql, sizeof sql, "%s %s%s", verb, name,
             strncmp(verb, "DROP", 4) == 0 ? " WITH (FORCE)" : ""); /* a pooler keeps connections */
    if (db_script(db, sql) != ERR_OK)
        fail_msg("%s: %s", sql, db_why(db));
    db_close(db);
}

static const char *path_of(const char *url)
{
    const char *host = strstr(url, "://");
    assert_non_null(host);
    const char *path = strchr(host + 3, '/');
    if (!path)
        fail_msg("SUBPAY_TEST_POSTGRES: allowed is postgresql://…/DATABASE");
    return path;
}

void bench_url(const char *server, const char *database, char *out, size_t cap)
{
    const char *path = path_of(server), *options = strchr(path, '?');
    const char *name = strstr(database, "://") ? path_of(database) + 1 : database;
    snprintf(out, cap, "%.*s%.*s%s", (int)(path + 1 - server), server, (int)strcspn(name, "?"),
             name, options ? options : "");
}

/* One of this process alone; a test finds it empty. */
static char database[32], database_url[DB_URL_MAX];

int bench_group_setup(void **state)
{
    (void)state;
    if (!getenv("SUBPAY_TEST_POSTGRES"))
        return 0;
    snprintf(database, sizeof database, "subpay_test_%ld", (long)getpid());
    administer("CREATE DATABASE", database);
    bench_url(getenv("SUBPAY_TEST_POSTGRES"), database, database_url, sizeof database_url);
    return 0;
}

int bench_group_teardown(void **state)
{
    (void)state;
    if (*database)
        administer("DROP DATABASE", database);
    return 0;
}

int bench_postgres(void **state)
{
    struct bench *b = bench_new(true);
    *state = b;
    if (!*database)
        return 0;
    snprintf(b->url, sizeof b->url, "%s", database_url);
    b->db = bench_connect(b, DB_WRITE);
    bench_run(b, "DROP SCHEMA public CASCADE; CREATE SCHEMA public");
    return 0;
}

struct bench *bench_ready(void **state)
{
    struct bench *b = *state;
    if (!b->db) {
        fprintf(stderr, "SKIPPED: SUBPAY_TEST_POSTGRES is unset (tests/postgres.py sets it)\n");
        skip();
    }
    return b;
}

struct db *bench_connect(struct bench *b, enum db_mode mode)
{
    struct db_postgres_settings s = {.url = b->url, .mode = mode};
    struct db *db;
    if (db_open_postgres(&db, &s, b->why, sizeof b->why) != ERR_OK)
        fail_msg("%s", b->why);
    return db;
}

int bench_teardown(void **state)
{
    struct bench *b = *state;
    char path[512];
    const struct dirent *entry;
    db_close(b->db);
    DIR *dir = opendir(b->dir);
    while (dir && (entry = readdir(dir))) {
        snprintf(path, sizeof path, "%s/%s", b->dir, entry->d_name);
        if (entry->d_name[0] != '.' && remove(path) != 0)
            fprintf(stderr, "%s is left\n", path);
    }
    if (dir)
        closedir(dir);
    (void)rmdir(b->dir);
    migrations_close(b->own);
    str_release(&b->report);
    free(b);
    return 0;
}

enum err bench_up(struct bench *b, const struct migrations *m, const char *target)
{
    str_clear(&b->report);
    b->why[0] = '\0';
    return migrations_upgrade(m, b->db, target, &b->report, b->why, sizeof b->why);
}

enum err bench_down(struct bench *b, const struct migrations *m, const char *target, bool destroy)
{
    str_clear(&b->report);
    b->why[0] = '\0';
    return migrations_downgrade(m, b->db, target, destroy, &b->report, b->why, sizeof b->why);
}

const char *bench_differences(struct bench *b)
{
    str_clear(&b->report);
    if (migrations_differences(b->own, b->db, &b->report, b->why, sizeof b->why) != ERR_OK)
        fail_msg("%s", b->why);
    return b->report.data;
}

const char *bench_current(struct bench *b)
{
    str_clear(&b->report);
    assert_int_equal(migrations_current(b->own, b->db, &b->report), ERR_OK);
    return b->report.data;
}

void bench_run(struct bench *b, const char *sql)
{
    if (db_script(b->db, sql) != ERR_OK)
        fail_msg("%s: %s", sql, db_why(b->db));
}

int64_t bench_number(struct bench *b, const char *sql)
{
    struct query q;
    query_open(&q, b->db, sql);
    int64_t n = query_next(&q) ? query_i64(&q, 0) : -1;
    if (query_close(&q) != ERR_OK)
        fail_msg("%s: %s", sql, db_why(b->db));
    return n;
}

void bench_describe(struct bench *b, struct str *out)
{
    struct description live, wanted;
    struct arena arena;
    arena_init(&arena, SCHEMA_DESCRIPTION_MAX);
    if (schema_describe_both(b->db, migrations_declared(b->own), &arena, &live, &wanted, b->why,
                             sizeof b->why) != ERR_OK)
        fail_msg("%s", b->why);
    str_clear(out);
    for (size_t i = 0; i < live.count; i++)
        str_addf(out, "%s %s.%s %s\n", OBJECT_WORDS[live.list[i].kind], live.list[i].table,
                 live.list[i].name, live.list[i].text);
    assert_false(out->failed);
    arena_release(&arena);
}

void bench_file(struct bench *b, const char *name, const char *text)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", b->dir, name);
    if (!text) {
        assert_int_equal(remove(path), 0);
        return;
    }
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

struct migrations *bench_list(struct bench *b)
{
    struct migrations *m;
    if (migrations_open(&m, b->postgres, b->dir, b->why, sizeof b->why) != ERR_OK)
        fail_msg("%s", b->why);
    return m;
}
