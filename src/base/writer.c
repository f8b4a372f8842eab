#include "base/writer.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stddef.h>
#include <stdlib.h>

#include "base/crash.h"

struct write_list {
    struct write *head, *tail;
};

/* Who uses the connection: the writer's thread from writer_run to its end; before, any caller's
 * thread for one closure at a time. Everything is under the lock but the connection itself. */
struct writer {
    struct db *db;
    struct clock *clock;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* something waits, stopped, or the connection is free */
    struct write_list first, rest;
    size_t waiting;
    bool running, stopped;
    bool in_use, in_closure; /* the connection, by `user` */
    pthread_t user;
    int64_t closures, commits;
};

/* What is committed together. */
struct group {
    struct write *writes[WRITER_OPS_MAX];
    int count;
    enum err broken; /* all of it was rolled back: nothing more may join */
};

static void list_push(struct write_list *list, struct write *write)
{
    write->next = NULL;
    if (list->tail)
        list->tail->next = write;
    else
        list->head = write;
    list->tail = write;
}

static struct write *list_pop(struct write_list *list)
{
    struct write *write = list->head;

    if (!write)
        return NULL;
    list->head = write->next;
    if (!list->head)
        list->tail = NULL;
    return write;
}

enum err writer_open(struct writer **out, struct db *db, struct clock *clock)
{
    struct writer *w = calloc(1, sizeof(*w));

    if (!w)
        return ERR_NO_MEMORY;
    w->db = db;
    w->clock = clock;
    if (pthread_mutex_init(&w->lock, NULL) != 0)
        goto no_lock;
    if (pthread_cond_init(&w->changed, NULL) != 0)
        goto no_cond;
    *out = w;
    return ERR_OK;
no_cond:
    pthread_mutex_destroy(&w->lock);
no_lock:
    free(w);
    return ERR_NO_MEMORY;
}

void writer_close(struct writer *w)
{
    if (!w)
        return;
    assert(!w->running && !w->in_use && w->waiting == 0);
    db_close(w->db);
    pthread_cond_destroy(&w->changed);
    pthread_mutex_destroy(&w->lock);
    free(w);
}

/* --- one transaction ------------------------------------------------------------------------- */

static enum err run_sql(struct db *db, const char *static_sql)
{
    struct query q;

    query_open(&q, db, static_sql);
    return query_run(&q);
}

/* SQLite gave the whole transaction up, whatever the closure says of it. */
static void group_break(struct group *g, enum err err)
{
    g->broken = err_retriable(err) ? err : ERR_IO;
}

/* The closure failed alone: what it did is taken back, the others keep theirs. */
static void undo_last(struct writer *w, struct group *g, bool savepoint)
{
    enum err err = ERR_OK;

    if (!savepoint) {
        db_rollback(w->db); /* it was the only one in the transaction */
        return;
    }
    err = run_sql(w->db, "ROLLBACK TO closure");
    if (err == ERR_OK)
        err = run_sql(w->db, "RELEASE closure");
    if (err != ERR_OK) {
        db_rollback(w->db);
        group_break(g, err);
    }
}

/* The first of a transaction needs no savepoint: with it everything may go. */
static void group_run(struct writer *w, struct group *g, struct write *write)
{
    bool savepoint = db_in_transaction(w->db);
    enum err err = savepoint ? run_sql(w->db, "SAVEPOINT closure") : db_begin(w->db);
    bool begun = err == ERR_OK;

    if (begun)
        err = write->run(w->db, write->arg);
    if (err == ERR_OK && savepoint && db_in_transaction(w->db))
        err = run_sql(w->db, "RELEASE closure");
    if ((begun || savepoint) && !db_in_transaction(w->db))
        group_break(g, err);
    else if (begun && err != ERR_OK)
        undo_last(w, g, savepoint);
    write->err = err;
    g->writes[g->count++] = write;
}

/* After it every write knows its end. Returns whether there was something to commit. */
static bool group_end(struct writer *w, struct group *g)
{
    enum err err = g->broken;
    bool commit = err == ERR_OK && db_in_transaction(w->db);

    CRASH_POINT("writer.commit.before");
    if (commit)
        err = db_commit(w->db);
    CRASH_POINT("writer.commit.after");
    for (int i = 0; i < g->count && err != ERR_OK; i++)
        if (g->writes[i]->err == ERR_OK)
            g->writes[i]->err = err;
    return commit && err == ERR_OK;
}

static void group_tell(const struct group *g)
{
    for (int i = 0; i < g->count; i++)
        if (g->writes[i]->done)
            g->writes[i]->done(g->writes[i], g->writes[i]->err);
}

/* --- the writer's thread --------------------------------------------------------------------- */

/* The next closure, and the right to run it; NULL when none waits. */
static struct write *take_next(struct writer *w)
{
    struct write *write;

    pthread_mutex_lock(&w->lock);
    write = list_pop(&w->first);
    if (!write)
        write = list_pop(&w->rest);
    if (write) {
        w->waiting--;
        w->closures++;
    }
    w->in_closure = write != NULL;
    pthread_mutex_unlock(&w->lock);
    return write;
}

/* What arrives while the group runs still joins it, within the limits. */
static void run_group(struct writer *w)
{
    int64_t begun_us = clock_boot_us(w->clock);
    struct group g = {.count = 0};
    struct write *write;
    bool committed;

    do {
        write = take_next(w);
        if (write)
            group_run(w, &g, write);
    } while (write && g.broken == ERR_OK && g.count < WRITER_OPS_MAX &&
             clock_boot_us(w->clock) - begun_us < WRITER_BUDGET_US);
    committed = group_end(w, &g);
    pthread_mutex_lock(&w->lock);
    w->in_closure = false;
    w->commits += committed;
    pthread_mutex_unlock(&w->lock);
    group_tell(&g);
}

void writer_run(struct writer *w)
{
    pthread_mutex_lock(&w->lock);
    assert(!w->running);
    w->running = true;
    while (w->in_use) /* by the last caller that works in its own thread */
        pthread_cond_wait(&w->changed, &w->lock);
    w->in_use = true;
    w->user = pthread_self();
    for (;;) {
        while (w->waiting == 0 && !w->stopped)
            pthread_cond_wait(&w->changed, &w->lock);
        if (w->waiting == 0)
            break;
        pthread_mutex_unlock(&w->lock);
        run_group(w);
        pthread_mutex_lock(&w->lock);
    }
    w->in_use = false;
    w->running = false;
    pthread_mutex_unlock(&w->lock);
}

void writer_stop(struct writer *w)
{
    pthread_mutex_lock(&w->lock);
    w->stopped = true;
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
}

/* --- callers --------------------------------------------------------------------------------- */

/* With the lock held, which is given back. Without the thread: the caller's is as good. */
static enum err run_here(struct writer *w, struct write *write)
{
    struct group g = {.count = 0};
    bool committed;

    w->in_use = w->in_closure = true;
    w->user = pthread_self();
    w->closures++;
    pthread_mutex_unlock(&w->lock);
    group_run(w, &g, write);
    committed = group_end(w, &g);
    pthread_mutex_lock(&w->lock);
    w->in_use = w->in_closure = false;
    w->commits += committed;
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
    group_tell(&g);
    return ERR_OK;
}

static enum err submit(struct writer *w, struct write *write, bool blocking)
{
    enum err err = ERR_OK;

    pthread_mutex_lock(&w->lock);
    if (w->in_use && pthread_equal(w->user, pthread_self()))
        assert(!w->in_closure && !blocking); /* it would wait for itself */
    while (!w->running && !w->stopped && w->in_use)
        pthread_cond_wait(&w->changed, &w->lock);
    if (!w->running && !w->stopped)
        return run_here(w, write);
    if (w->stopped)
        err = ERR_STOPPED;
    else if (w->waiting == WRITER_QUEUE_MAX)
        err = ERR_BUSY;
    if (err == ERR_OK) {
        list_push(write->first ? &w->first : &w->rest, write);
        if (w->waiting++ == 0)
            pthread_cond_broadcast(&w->changed);
    }
    pthread_mutex_unlock(&w->lock);
    return err;
}

enum err writer_submit(struct writer *w, struct write *write)
{
    return submit(w, write, false);
}

/* A caller that waits on its own stack. A semaphore, because it may go as soon as sem_wait
 * returns. */
struct call {
    struct write write;
    sem_t finished;
};

static void call_done(struct write *write, enum err err)
{
    struct call *call = (struct call *)write;

    (void)err; /* stays in write */
    sem_post(&call->finished);
}

enum err writer_do(struct writer *w, enum err (*run)(struct db *, void *), void *arg)
{
    struct call call = {.write = {.run = run, .done = call_done, .arg = arg}};
    enum err err;

    if (sem_init(&call.finished, 0, 0) != 0)
        return ERR_NO_MEMORY;
    err = submit(w, &call.write, true);
    if (err == ERR_OK) {
        while (sem_wait(&call.finished) != 0)
            assert(errno == EINTR);
        err = call.write.err;
    }
    sem_destroy(&call.finished);
    return err;
}

void writer_counts(struct writer *w, int64_t *closures, int64_t *commits)
{
    pthread_mutex_lock(&w->lock);
    *closures = w->closures;
    *commits = w->commits;
    pthread_mutex_unlock(&w->lock);
}

struct db *writer_db(struct writer *w)
{
    pthread_mutex_lock(&w->lock);
    assert(!w->running);
    pthread_mutex_unlock(&w->lock);
    return w->db;
}
