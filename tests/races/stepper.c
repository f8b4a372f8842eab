#include "stepper.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/db_array.h"
#include "ledger/postgres_ledger.h"

#define LOOK_NS (INT64_C(500) * 1000) /* before somebody who still moves is looked at */
#define STUCK_LOOKS 20000
#define CANCELLED_S 10

/* ---- what a statement does to others ---- */

static const char *const TABLES[] = {
    "accounts",          "payments", "attempts", "subscriptions", "events",  "positions",
    "journal_positions", "learning", "paged",    "restored",      "rewound", "heartbeats",
};

static bool begins(const char *sql, const char *word)
{
    return strncmp(sql, word, strlen(word)) == 0;
}

static struct effect effect_of(const char *sql)
{
    struct effect e = {.kind = EFFECT_WRITE};
    if (begins(sql, "COMMIT") || begins(sql, "ROLLBACK") || begins(sql, "LOCK"))
        return (struct effect){.kind = EFFECT_END};
    if (begins(sql, "SELECT") && !strstr(sql, "FOR UPDATE"))
        return (struct effect){.kind = EFFECT_READ};
    for (size_t i = 0; i < sizeof TABLES / sizeof *TABLES; i++)
        if (strstr(sql, TABLES[i]))
            e.tables |= 1u << i;
    return e;
}

bool effects_meet(struct effect a, struct effect b)
{
    if (a.kind == EFFECT_END || b.kind == EFFECT_END)
        return true;
    return a.kind == EFFECT_WRITE && b.kind == EFFECT_WRITE && (a.tables & b.tables) != 0;
}

/* ---- in the actors' threads ---- */

static void stop_before(void *ctx, const char *sql)
{
    struct actor *a = ctx;
    struct stepper *s = a->stepper;
    if (a->free || begins(sql, "BEGIN") || strstr(sql, "pg_notify"))
        return;
    pthread_mutex_lock(&s->lock);
    a->next = effect_of(sql);
    a->sql = sql;
    a->state = ACTOR_STOPPED;
    pthread_cond_broadcast(&s->changed);
    while (a->state == ACTOR_STOPPED)
        pthread_cond_wait(&s->changed, &s->lock);
    pthread_mutex_unlock(&s->lock);
}

bool actor_again(struct actor *a, enum err err)
{
    struct stepper *s = a->stepper;
    if (a->free || err == ERR_UNREACHABLE)
        return false;
    pthread_mutex_lock(&s->lock);
    a->state = ACTOR_LATER;
    s->again++;
    pthread_cond_broadcast(&s->changed);
    while (a->state == ACTOR_LATER)
        pthread_cond_wait(&s->changed, &s->lock);
    a->free = true;
    pthread_mutex_unlock(&s->lock);
    return true;
}

static void *actor_run(void *arg)
{
    struct actor *a = arg;
    a->act(a);
    pthread_mutex_lock(&a->stepper->lock);
    a->state = ACTOR_DONE;
    pthread_cond_broadcast(&a->stepper->changed);
    pthread_mutex_unlock(&a->stepper->lock);
    return NULL;
}

/* ---- looking ---- */

static int64_t ask(struct db *db, const char *sql, const int64_t *parameter)
{
    struct query q;
    query_open(&q, db, sql);
    if (parameter)
        query_bind_i64(&q, *parameter);
    int64_t answer = query_next(&q) ? query_i64(&q, 0) : 0;
    if (query_close(&q) != ERR_OK)
        fail_msg("%s: %s", sql, db_why(db));
    return answer;
}

static void inside_hold(struct stepper *s, struct actor *a)
{
    (void)ask(s->looks, "SELECT pg_advisory_lock(?1)", &a->backend);
}

static void inside_release(struct stepper *s, struct actor *a)
{
    (void)ask(s->looks, "SELECT pg_advisory_unlock(?1)", &a->backend);
}

/* Held up by somebody else (a vacuum), it moves. */
static enum actor_state look_at(struct stepper *s, struct actor *a)
{
    struct db_array actors;
    struct query q;
    db_array_init(&actors, 1024);
    for (int i = 0; i < s->count; i++)
        db_array_i64(&actors, s->actors[i].backend);
    query_open(&q, s->looks,
               "SELECT pg_backend_pid() = ANY (b.pids), b.pids && ?2::bigint[]::int[] "
               "FROM pg_blocking_pids(?1::int) AS b (pids)");
    query_bind_i64(&q, a->backend);
    query_bind_array(&q, &actors);
    db_array_release(&actors);
    bool inside = query_next(&q) && query_i64(&q, 0);
    bool waits = query_i64(&q, 1);
    if (query_close(&q) != ERR_OK)
        fail_msg("%s", db_why(s->looks));
    return inside ? ACTOR_INSIDE : waits ? ACTOR_WAITING : ACTOR_MOVING;
}

/* How many move, after a while that ends as soon as none does. */
static unsigned moving(struct stepper *s)
{
    struct timespec until;
    unsigned any;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += LOOK_NS;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_mutex_lock(&s->lock);
    for (int waited = 0;;) {
        any = 0;
        for (int i = 0; i < s->count; i++)
            any |= (s->actors[i].state == ACTOR_MOVING) << i;
        if (any == 0 || waited == ETIMEDOUT)
            break;
        waited = pthread_cond_timedwait(&s->changed, &s->lock, &until);
    }
    pthread_mutex_unlock(&s->lock);
    return any;
}

/* Those who still move wait for a lock, all of them and at the same time. */
static bool all_wait(struct stepper *s, unsigned who)
{
    enum actor_state found[ACTORS_MAX];
    bool still = true;
    for (int i = 0; i < s->count; i++)
        if ((who & 1u << i) && (found[i] = look_at(s, &s->actors[i])) == ACTOR_MOVING)
            return false;
    pthread_mutex_lock(&s->lock);
    for (int i = 0; i < s->count; i++)
        still &= !(who & 1u << i) || s->actors[i].state == ACTOR_MOVING;
    for (int i = 0; i < s->count && still; i++)
        if (who & 1u << i)
            s->actors[i].state = found[i];
    pthread_mutex_unlock(&s->lock);
    return still;
}

/* Whoever waited may have been freed by the last step. */
static void settle(struct stepper *s)
{
    unsigned who;
    pthread_mutex_lock(&s->lock);
    for (int i = 0; i < s->count; i++)
        if (s->actors[i].state == ACTOR_WAITING)
            s->actors[i].state = ACTOR_MOVING;
    pthread_mutex_unlock(&s->lock);
    for (int looks = 0; (who = moving(s)) != 0 && !all_wait(s, who); looks++)
        if (looks == STUCK_LOOKS)
            fail_msg("an actor neither stops nor waits for a lock");
}

/* ---- stepping ---- */

static void let_go(struct stepper *s, struct actor *a)
{
    pthread_mutex_lock(&s->lock);
    a->state = ACTOR_MOVING;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

void stepper_go(struct stepper *s, int actor)
{
    struct actor *a = &s->actors[actor];
    bool inside = a->state == ACTOR_INSIDE;
    assert_true(inside || a->state == ACTOR_STOPPED);
    let_go(s, a);
    if (inside)
        inside_release(s, a);
    settle(s);
    if (inside)
        inside_hold(s, a);
}

static unsigned in_state(const struct stepper *s, enum actor_state state)
{
    unsigned any = 0;
    for (int i = 0; i < s->count; i++)
        any |= (s->actors[i].state == state) << i;
    return any;
}

/* What the server would do, but always with the same one. */
static void deadlock_end(struct stepper *s, struct actor *a)
{
    struct timespec until;
    int waited = 0;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += CANCELLED_S;
    s->deadlocks++;
    let_go(s, a);
    (void)ask(s->looks, "SELECT pg_cancel_backend(?1::int)", &a->backend);
    pthread_mutex_lock(&s->lock);
    while (a->state == ACTOR_MOVING && waited != ETIMEDOUT)
        waited = pthread_cond_timedwait(&s->changed, &s->lock, &until);
    pthread_mutex_unlock(&s->lock);
    if (waited == ETIMEDOUT)
        fail_msg("a deadlock that cannot be ended");
}

unsigned stepper_ready(struct stepper *s)
{
    for (;;) {
        unsigned ready = in_state(s, ACTOR_STOPPED) | in_state(s, ACTOR_INSIDE);
        unsigned waits = in_state(s, ACTOR_WAITING), later = in_state(s, ACTOR_LATER);
        if (ready || (!waits && !later))
            return ready;
        if (waits)
            deadlock_end(s, &s->actors[31 - __builtin_clz(waits)]);
        else /* in turn */
            let_go(s, &s->actors[__builtin_ctz(later)]);
        settle(s);
    }
}

void stepper_start(struct stepper *s, int count)
{
    s->count = count;
    for (int i = 0; i < count; i++) {
        struct actor *a = &s->actors[i];
        str_clear(&a->said);
        arena_reset(&a->arena);
        a->handed_count = 0;
        a->free = false;
        a->state = ACTOR_MOVING;
        assert_int_equal(pthread_create(&a->thread, NULL, actor_run, a), 0);
    }
    settle(s);
}

void stepper_join(struct stepper *s)
{
    for (int i = 0; i < s->count; i++)
        pthread_join(s->actors[i].thread, NULL);
}

/* ---- opening ---- */

static const char STOPS[] =
    "CREATE SCHEMA stops;"
    "CREATE FUNCTION stops.stop() RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$ BEGIN"
    " PERFORM pg_advisory_lock_shared(pg_backend_pid());"
    " PERFORM pg_advisory_unlock_shared(pg_backend_pid());"
    " RETURN false; END $$;"
    "CREATE VIEW stops.restored AS SELECT * FROM public.restored"
    " UNION ALL SELECT '', 0, 0 WHERE stops.stop();"
    "DO $$ BEGIN"
    " EXECUTE format('ALTER DATABASE %I SET search_path = stops, public', current_database());"
    " EXECUTE format('ALTER DATABASE %I SET deadlock_timeout = ''10min''', current_database());"
    " EXECUTE format('ALTER DATABASE %I SET synchronous_commit = off', current_database());"
    "END $$;"
    "SET synchronous_commit = off";

static void actor_open(struct stepper *s, struct actor *a)
{
    assert_int_equal(store_ledger(s->store, &a->ledger), ERR_OK);
    a->db = ((struct postgres_ledger *)a->ledger)->db;
    a->stepper = s;
    arena_init(&a->arena, 64 * 1024 * 1024);
    str_init(&a->said, 65536);
    a->backend = ask(a->db, "SELECT pg_backend_pid()", NULL);
    db_hook(a->db, stop_before, a);
    inside_hold(s, a);
}

void stepper_open(struct stepper *s, struct store *store)
{
    pthread_condattr_t attributes;
    *s = (struct stepper){.store = store};
    store_sql(store, STOPS);
    assert_int_equal(
        db_script(((struct postgres_ledger *)store->ledger)->db, "SET synchronous_commit = off"),
        ERR_OK);
    assert_int_equal(postgres_connection(store->postgres, DB_WRITE, &s->looks), ERR_OK);
    pthread_mutex_init(&s->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&s->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    for (int i = 0; i < ACTORS_MAX; i++)
        actor_open(s, &s->actors[i]);
}

void stepper_close(struct stepper *s)
{
    for (int i = 0; i < ACTORS_MAX; i++) {
        struct actor *a = &s->actors[i];
        ledger_close(a->ledger);
        arena_release(&a->arena);
        str_release(&a->said);
    }
    db_close(s->looks);
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
}
