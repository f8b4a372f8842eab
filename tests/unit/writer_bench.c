#include "writer_bench.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static int64_t step_us(struct clock *c)
{
    struct step_clock *s = (struct step_clock *)c;

    s->now_us += s->step_us;
    return s->now_us;
}

void *writer_thread(void *arg)
{
    writer_run(arg);
    return NULL;
}

int bench_open(void **state)
{
    const char *tmp = getenv("TMPDIR");
    struct bench *b = calloc(1, sizeof(*b));
    struct db *db;
    char why[100];

    if (!b)
        return -1;
    snprintf(b->folder, sizeof(b->folder), "%s/subpay-writer-XXXXXX", tmp ? tmp : "/tmp");
    if (!mkdtemp(b->folder))
        return -1;
    snprintf(b->file, sizeof(b->file), "%s/books.db", b->folder);
    b->clock.clock = (struct clock){.wall_us = step_us, .boot_us = step_us};
    sem_init(&b->gate, 0, 0);
    sem_init(&b->reached, 0, 0);
    sem_init(&b->told, 0, 0);
    *state = b;
    if (db_open(&db, b->file, DB_WRITE, why, sizeof(why)) != ERR_OK ||
        db_script(
            db,
            "CREATE TABLE t (id INTEGER PRIMARY KEY, x BLOB);"
            "CREATE TABLE late (id INTEGER REFERENCES t (id) DEFERRABLE INITIALLY DEFERRED);") !=
            ERR_OK)
        return -1;
    return writer_open(&b->writer, db, &b->clock.clock) == ERR_OK ? 0 : -1;
}

void thread_begin(struct bench *b)
{
    assert_int_equal(pthread_create(&b->thread, NULL, writer_thread, b->writer), 0);
    b->threaded = true;
}

static enum err note_thread(struct db *db, void *arg)
{
    (void)db;
    *(pthread_t *)arg = pthread_self();
    return ERR_OK;
}

void thread_start(struct bench *b)
{
    pthread_t seen;

    thread_begin(b);
    do
        assert_int_equal(writer_do(b->writer, note_thread, &seen), ERR_OK);
    while (!pthread_equal(seen, b->thread));
    writer_counts(b->writer, &b->closures, &b->commits);
}

void thread_stop(struct bench *b)
{
    writer_stop(b->writer);
    if (b->threaded)
        pthread_join(b->thread, NULL);
    b->threaded = false;
}

int bench_close(void **state)
{
    struct bench *b = *state;
    struct dirent *entry;
    DIR *dir;

    thread_stop(b);
    writer_close(b->writer);
    dir = opendir(b->folder);
    while ((entry = readdir(dir)) != NULL)
        (void)unlinkat(dirfd(dir), entry->d_name, 0);
    closedir(dir);
    (void)rmdir(b->folder);
    sem_destroy(&b->gate);
    sem_destroy(&b->reached);
    sem_destroy(&b->told);
    free(b);
    return 0;
}

int64_t stored(struct bench *b, const char *sql)
{
    struct db *db = NULL;
    struct query q;
    int64_t n = -1;
    char why[100];

    assert_int_equal(db_open(&db, b->file, DB_READ, why, sizeof(why)), ERR_OK);
    query_open(&q, db, sql);
    if (query_next(&q))
        n = query_i64(&q, 0);
    assert_int_equal(query_close(&q), ERR_OK);
    db_close(db);
    return n;
}

void assert_counts(struct bench *b, int closures, int commits)
{
    int64_t closures_seen, commits_seen;

    writer_counts(b->writer, &closures_seen, &commits_seen);
    assert_int_equal(closures_seen - b->closures, closures);
    assert_int_equal(commits_seen - b->commits, commits);
}
