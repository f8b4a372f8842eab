/* The verbs together: long random lives with repeats, many handles over the writer's thread,
 * SIGKILL in the middle. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "suite.h"

/* ---- a random life ---- */

#define LIFE_USERS 7
#define LIFE_STEPS 3000

struct life {
    struct store *s;
    struct random_seeded dice;
    int payments;      /* ids 1..payments were asked for */
    int64_t successes; /* answers `accepted` given for a payment that was in flight */
};

static int roll(struct life *l, int sides)
{
    return (int)random_below(&l->dice.random, (uint64_t)sides);
}

static void life_append(struct life *l)
{
    struct ledger_record r[4];
    size_t count = 1 + (size_t)roll(l, 4);
    for (size_t i = 0; i < count; i++) {
        int n = ++l->payments;
        r[i] = asks(1 + n % LIFE_USERS, n, roll(l, 3) ? PAYMENT_TYPE_PAYMENT : PAYMENT_TYPE_REFUND,
                    roll(l, 4) ? SUBSCRIPTION_MONTH : SUBSCRIPTION_YEAR);
        if (roll(l, 20) == 0)
            r[i].request.requested_at_us = atomic_load(&l->s->clock.wall_us) - MAX_AGE_US - 1;
    }
    assert_int_equal(store_append(l->s, r, count), ERR_OK);
    if (roll(l, 4) == 0) { /* the queue delivers it once more */
        assert_int_equal(store_append(l->s, r, count), ERR_OK);
        for (size_t i = 0; i < count; i++)
            assert_int_equal(r[i].verdict, APPEND_REPEATED);
    }
}

static void life_answer(struct life *l, const struct uuid *id, const struct money *money)
{
    static const enum payment_status OUTCOMES[] = {PAYMENT_ACCEPTED, PAYMENT_ACCEPTED,
                                                   PAYMENT_DECLINE, PAYMENT_ERROR};
    struct fact f = {.payment_id = *id, .outcome = OUTCOMES[roll(l, 4)], .money = *money};
    f.reason = f.outcome == PAYMENT_ERROR ? REASON_REFUSED : REASON_NONE;
    assert_int_equal(settle_ok(l->s, f), SETTLE_DONE);
    if (roll(l, 2) == 0)
        assert_int_equal(settle_ok(l->s, f), SETTLE_REPEATED);
}

static void life_voided(struct life *l, const struct attempt *a)
{
    struct fact f = {
        .payment_id = a->payment_id, .outcome = PAYMENT_ERROR, .voided = true, .money = a->money};
    f = settled_ok(l->s, f);
    if (a->superseded && f.reason != REASON_SUPERSEDED)
        fail_msg("it was superseded");
    assert_int_equal(settle_ok(l->s, f), SETTLE_REPEATED);
}

static void life_defer(struct life *l, const struct attempt *a)
{
    struct deferral d = {.payment_id = a->payment_id,
                         .pause_us = (int64_t)roll(l, 100) * SECOND,
                         .no_answer = roll(l, 2) == 0,
                         .needs_decision = roll(l, 4) == 0,
                         .pending = roll(l, 2) == 0,
                         .expires_at_us = TIME_NEVER};
    if (roll(l, 2))
        d.expires_at_us = atomic_load(&l->s->clock.wall_us) + (int64_t)roll(l, 900) * SECOND;
    if (d.pending)
        snprintf(d.action_url, sizeof d.action_url, PAGE);
    defer_ok(l->s, d);
}

static void life_decide(struct life *l, const struct attempt *a)
{
    struct ledger_decision d = {.payment_id = a->payment_id,
                                .outcome = roll(l, 2) ? PAYMENT_ACCEPTED : PAYMENT_DECLINE,
                                .evidence = "seen",
                                .actor = "operator:life"};
    assert_int_equal(ledger_decide(l->s->ledger, &d), ERR_OK);
    assert_int_equal(d.verdict, a->needs_decision ? DECISION_RECORDED : DECISION_NOT_NEEDED);
}

/* Restored books: what the processing says of a payment that is new. */
static void life_asked(struct life *l, const struct attempt *a)
{
    static const enum learn_answer ANSWERS[] = {LEARN_SUCCESS, LEARN_DECLINE, LEARN_PENDING};
    struct ledger_learned out;
    struct journal_entry e = {
        .answer = ANSWERS[roll(l, 3)],
        .request = {.payment_id = a->payment_id, .refund_of = a->refund_of},
        .money = a->money,
        .body = a->body,
        .body_len = a->body_len,
        .processing_id = "",
        .action_url = "",
        .expires_at_us = TIME_NEVER,
    };
    if (roll(l, 3) == 0)
        life_defer(l, a);
    else if (roll(l, 2))
        assert_int_equal(ledger_asked_unknown(l->s->ledger, &a->payment_id), ERR_OK);
    else
        assert_int_equal(ledger_asked(l->s->ledger, INSTANCE, &e, &out), ERR_OK);
}

static void life_attempt(struct life *l, const struct attempt *a)
{
    int dice = roll(l, 12);
    if (a->ask_first)
        life_asked(l, a);
    else if (dice < 6)
        life_answer(l, &a->payment_id, &a->money);
    else if (dice < 8)
        life_voided(l, a);
    else if (dice < 9)
        life_decide(l, a);
    else
        life_defer(l, a);
}

/* Lines about payments that the books have, are to get, or never heard of. */
static void life_learn(struct life *l)
{
    static const enum learn_answer ANSWERS[] = {LEARN_SUCCESS, LEARN_DECLINE, LEARN_ERROR,
                                                LEARN_PENDING};
    struct journal_entry lines[3];
    size_t count = 1 + (size_t)roll(l, 3);
    for (size_t i = 0; i < count; i++) {
        int n = roll(l, 3) && l->payments > 20 ? l->payments - roll(l, 20) : ++l->payments;
        lines[i] = line_of(l->s, 1 + n % LIFE_USERS, n, ANSWERS[roll(l, 4)]);
    }
    (void)learn_lines(l->s, lines, count);
    if (roll(l, 3))
        learned_ok(l->s);
}

static void life_claim(struct life *l)
{
    struct ledger_claim claim = claim_default();
    claim.users_max = 1 + (size_t)roll(l, LIFE_USERS);
    struct ledger_claimed got = claim_as(l->s, &claim);
    for (size_t i = 0; i < got.attempt_count; i++)
        if (roll(l, 4)) /* else this processor died here */
            life_attempt(l, &got.attempts[i]);
}

static void life_due(struct life *l)
{
    struct attempt *due;
    size_t count;
    assert_int_equal(
        ledger_due(l->s->ledger, 1 + (size_t)roll(l, 5), LEASE_US, &l->s->arena, &due, &count),
        ERR_OK);
    for (size_t i = 0; i < count; i++)
        life_attempt(l, &due[i]);
}

static void life_tell(struct life *l)
{
    struct telling *out;
    size_t count;
    assert_int_equal(
        ledger_untold(l->s->ledger, 1 + (size_t)roll(l, 5), LEASE_US, &l->s->arena, &out, &count),
        ERR_OK);
    for (size_t i = 0; i < count; i++) {
        struct told t = {.payment_id = out[i].payment_id,
                         .again = roll(l, 5) == 0,
                         .pause_us = (int64_t)roll(l, 60) * SECOND,
                         .notification = NOTIFICATION_DELIVERED};
        if (roll(l, 5)) /* else this notifier died here */
            told_ok(l->s, t);
    }
}

static void life_seldom(struct life *l)
{
    int64_t marked;
    if (roll(l, 10))
        life_learn(l);
    else
        assert_int_equal(ledger_mark_restored(l->s->ledger, &marked), ERR_OK);
}

static void life_step(struct life *l)
{
    switch (roll(l, 7)) {
    case 0:
        life_append(l);
        break;
    case 1:
    case 2:
        life_claim(l);
        break;
    case 3:
        life_due(l);
        break;
    case 4:
        life_tell(l);
        break;
    case 5:
        if (roll(l, 3) == 0)
            life_seldom(l);
        break;
    default:
        store_advance(l->s, roll(l, 30) ? (int64_t)roll(l, 60) * SECOND : 20 * DAY);
        if (roll(l, 20) == 0)
            store_advance(l->s, -HOUR);
        if (roll(l, 20) == 0)
            assert_int_equal(ledger_recover(l->s->ledger), ERR_OK);
    }
}

/* Everything is decided and told at the end, whatever happened before. */
static void life_ends(struct life *l)
{
    for (int i = 0; i < 400; i++) {
        store_advance(l->s, 200 * SECOND);
        learned_ok(l->s);
        life_claim(l);
        life_due(l);
        life_tell(l);
    }
    assert_string_equal(store_text(l->s,
                                   "SELECT coalesce(group_concat(DISTINCT processing_status), '') "
                                   "FROM payments WHERE processing_status NOT IN ('completed', "
                                   "'duplicated')",
                                   NULL),
                        "");
}

static void random_lives_stay_sane(void **state)
{
    struct store *s = *state;
    struct life l = {.s = s};
    const char *seed = getenv("SUBPAY_TEST_SEED");
    random_seed(&l.dice, seed ? strtoull(seed, NULL, 10) : 20251124);
    for (int i = 0; i < LIFE_STEPS; i++) {
        life_step(&l);
        if (i % 150 == 0) {
            learned_ok(s);
            store_sane(s);
            arena_reset(&s->arena);
        }
    }
    life_ends(&l);
    assert_true(store_i64(s, "SELECT count(*) FROM subscriptions", NULL) > 10);
    assert_true(store_i64(s,
                          "SELECT count(*) FROM payments WHERE payment_type = 'refund' AND "
                          "payment_status = 'accepted'",
                          NULL) > 0);
}

/* ---- many handles ---- */

#define CREW_PAYMENTS 600
#define CREW_BATCH 20

struct crew {
    struct store *s;
    _Atomic bool stop;
    _Atomic int settled, told, failures;
    _Atomic unsigned heard;
};

static void crew_heard(void *ctx, unsigned changes)
{
    atomic_fetch_or(&((struct crew *)ctx)->heard, changes);
}

/* No cmocka assertions outside the main thread: they would jump across stacks. */
static bool crew_ok(struct crew *c, enum err err)
{
    if (err != ERR_OK)
        atomic_fetch_add(&c->failures, 1);
    return err == ERR_OK;
}

static void *crew_writer(void *arg)
{
    writer_run(embedded_writer(((struct crew *)arg)->s->embedded));
    return NULL;
}

static void *crew_saver(void *arg)
{
    struct crew *c = arg;
    struct ledger *l;
    struct ledger_position p = {.topic = TOPIC, .partitions = 1}, to;
    if (!crew_ok(c, store_ledger(c->s, &l)))
        return NULL;
    for (int at = 0; at < CREW_PAYMENTS; at += CREW_BATCH) {
        struct ledger_record r[CREW_BATCH];
        for (int i = 0; i < CREW_BATCH; i++)
            r[i] = pays(1 + at + i, 1 + at + i);
        to = p;
        to.next += CREW_BATCH;
        snprintf(to.log_id, sizeof to.log_id, "%s", LOG_ID);
        (void)crew_ok(c, ledger_append(l, r, CREW_BATCH, &p, &to));
        (void)crew_ok(c, ledger_position(l, TOPIC, 0, &p));
        if (p.next != to.next)
            atomic_fetch_add(&c->failures, 1);
    }
    ledger_close(l);
    return NULL;
}

static void *crew_processor(void *arg)
{
    struct crew *c = arg;
    struct ledger_claim claim = claim_default();
    struct ledger_counts counts;
    struct arena arena;
    struct ledger *l;
    claim.users_max = 16;
    arena_init(&arena, 4 * 1024 * 1024);
    if (!crew_ok(c, store_ledger(c->s, &l)))
        return NULL;
    ledger_watch(l, crew_heard, c);
    while (!atomic_load(&c->stop)) {
        struct ledger_claimed got;
        struct fact f[16];
        arena_reset(&arena);
        (void)crew_ok(c, ledger_counts(l, &counts));
        if (!crew_ok(c, ledger_claim(l, &claim, &arena, &got)))
            break;
        for (size_t i = 0; i < got.attempt_count; i++)
            f[i] = (struct fact){.payment_id = got.attempts[i].payment_id,
                                 .outcome = PAYMENT_ACCEPTED,
                                 .money = got.attempts[i].money};
        (void)crew_ok(c, ledger_settle(l, f, got.attempt_count));
        for (size_t i = 0; i < got.attempt_count; i++)
            atomic_fetch_add(&c->settled, f[i].verdict == SETTLE_DONE ? 1 : 1000000);
    }
    ledger_close(l);
    arena_release(&arena);
    return NULL;
}

static void *crew_notifier(void *arg)
{
    struct crew *c = arg;
    struct arena arena;
    struct ledger *l;
    arena_init(&arena, 4 * 1024 * 1024);
    if (!crew_ok(c, store_ledger(c->s, &l)))
        return NULL;
    while (!atomic_load(&c->stop)) {
        struct telling *out;
        struct told t[16];
        size_t count;
        arena_reset(&arena);
        if (!crew_ok(c, ledger_untold(l, 16, LEASE_US, &arena, &out, &count)))
            break;
        for (size_t i = 0; i < count; i++)
            t[i] = (struct told){.payment_id = out[i].payment_id,
                                 .notification = NOTIFICATION_DELIVERED};
        (void)crew_ok(c, ledger_told(l, t, count));
        atomic_fetch_add(&c->told, (int)count);
    }
    ledger_close(l);
    arena_release(&arena);
    return NULL;
}

static void *crew_reader(void *arg)
{
    struct crew *c = arg;
    struct views *v;
    struct arena arena;
    arena_init(&arena, 4 * 1024 * 1024);
    if (!crew_ok(c, store_views(c->s, &v)))
        return NULL;
    for (int n = 1; !atomic_load(&c->stop); n = n % CREW_PAYMENTS + 1) {
        struct uuid ids[2] = {payment(n), payment(n + 1)}, u = user(n);
        struct payment_view *out[2];
        bool subscribed;
        arena_reset(&arena);
        (void)crew_ok(c, views_payments(v, ids, 2, 100, &arena, out));
        (void)crew_ok(c, views_subscribed(v, &u, 1, 100, &subscribed));
        if (out[0] && out[0]->payment_status == PAYMENT_ACCEPTED && !subscribed)
            atomic_fetch_add(&c->failures, 1);
    }
    views_close(v);
    arena_release(&arena);
    return NULL;
}

static void handles_side_by_side(void **state)
{
    struct store *s = *state;
    struct crew c = {.s = s};
    pthread_t writer, saver, others[4];
    void *(*const ROLES[])(void *) = {crew_processor, crew_processor, crew_notifier, crew_reader};
    if (s->embedded)
        assert_int_equal(pthread_create(&writer, NULL, crew_writer, &c), 0);
    assert_int_equal(pthread_create(&saver, NULL, crew_saver, &c), 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&others[i], NULL, ROLES[i], &c), 0);
    pthread_join(saver, NULL);
    while (atomic_load(&c.told) < CREW_PAYMENTS && atomic_load(&c.failures) == 0)
        usleep(1000);
    atomic_store(&c.stop, true);
    for (int i = 0; i < 4; i++)
        pthread_join(others[i], NULL);
    if (s->embedded) {
        writer_stop(embedded_writer(s->embedded));
        pthread_join(writer, NULL);
    }
    assert_int_equal(c.failures, 0);
    assert_int_equal(c.settled, CREW_PAYMENTS);
    assert_int_equal(c.told, CREW_PAYMENTS);
    assert_int_equal(c.heard & 7, 7);
    store_reopen(s);
    assert_int_equal(
        store_i64(s, "SELECT count(*) FROM payments WHERE processing_status = 'completed'", NULL),
        CREW_PAYMENTS);
}

/* ---- SIGKILL ---- */

static enum err child_open(const struct store *parent, struct store *s)
{
    char why[256];
    if (!parent->place.name[0])
        return embedded_open(&s->embedded, parent->dir, clock_real(), &s->random.random, why,
                             sizeof why);
    const struct postgres_settings settings = {.url = parent->place.url, .notify = true};
    return postgres_open(&s->postgres, &settings, random_real(), why, sizeof why);
}

static void child_position(struct store *s, struct ledger_position *p)
{
    if (ledger_position(s->ledger, TOPIC, 0, p) == ERR_NOT_FOUND)
        *p = (struct ledger_position){.topic = TOPIC, .partitions = 1};
}

/* Works without end; says the number of each payment on the pipe after the verb that stored it
 * returned. */
static void child_life(const struct store *parent, int first, int pipe_fd)
{
    struct store s = {0};
    arena_init(&s.arena, 64 * 1024 * 1024);
    random_seed(&s.random, (uint64_t)first);
    if (child_open(parent, &s) != ERR_OK || store_ledger(&s, &s.ledger) != ERR_OK ||
        (s.embedded && ledger_recover(s.ledger) != ERR_OK))
        _exit(3);
    struct ledger_position p = {.topic = TOPIC, .partitions = 1}, to;
    child_position(&s, &p);
    for (int n = first;; n++) {
        enum err err;
        struct ledger_record r = pays(n, n);
        struct ledger_claim claim = claim_default();
        struct ledger_claimed got;
        do { /* a server may still do what a killed one has said last */
            to = p;
            to.next++;
            snprintf(to.log_id, sizeof to.log_id, "%s", LOG_ID);
            err = ledger_append(s.ledger, &r, 1, &p, &to);
            if (err == ERR_MOVED)
                child_position(&s, &p);
        } while (err == ERR_MOVED);
        if (err != ERR_OK)
            _exit(4);
        p = to;
        if (write(pipe_fd, &n, sizeof n) != sizeof n)
            _exit(5);
        arena_reset(&s.arena);
        if (ledger_claim(s.ledger, &claim, &s.arena, &got) != ERR_OK)
            _exit(6);
        for (size_t i = 0; i < got.attempt_count; i++) {
            struct fact f = {.payment_id = got.attempts[i].payment_id,
                             .outcome = PAYMENT_ACCEPTED,
                             .money = got.attempts[i].money};
            if (n % 3 && ledger_settle(s.ledger, &f, 1) != ERR_OK)
                _exit(7);
        }
    }
}

static int child_run(const struct store *parent, int first, int useconds)
{
    int fds[2], last = first - 1, n;
    assert_int_equal(pipe(fds), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        close(fds[0]);
        child_life(parent, first, fds[1]);
        _exit(9);
    }
    close(fds[1]);
    /* The first payment is stored: from then on the kill lands anywhere. */
    bool begun = read(fds[0], &n, sizeof n) == sizeof n;
    if (begun)
        last = n;
    usleep((useconds_t)useconds);
    kill(pid, SIGKILL);
    while (read(fds[0], &n, sizeof n) == sizeof n)
        last = n;
    close(fds[0]);
    int status;
    waitpid(pid, &status, 0);
    assert_true(begun && WIFSIGNALED(status));
    return last;
}

/* A server finishes what it was told to do. */
static void server_rests(struct store *s)
{
    while (s->place.name[0] && store_i64(s,
                                         "SELECT count(*) FROM pg_stat_activity WHERE state <> "
                                         "'idle' AND datname = current_database() "
                                         "AND pid <> pg_backend_pid()",
                                         NULL) > 0)
        usleep(1000);
}

static int64_t in_flight(struct store *s)
{
    return store_i64(s, "SELECT count(*) FROM accounts WHERE in_flight IS NOT NULL", NULL);
}

/* Twelve lives; more where none of them was cut off between claim and settle: a slow machine. */
static int children_live(struct store *s)
{
    int last = 0, lives = 0;
    do {
        store_close(s);
        do
            last = child_run(s, last + 2, 1000 + 3700 * (lives % 12)); /* +2: one may be unsaid */
        while (++lives % 12 != 0);
        atomic_store(&s->clock.wall_us, clock_wall_us(clock_real()));
        store_open(s);
        server_rests(s);
    } while (in_flight(s) == 0 && lives < 60);
    return last;
}

static void what_was_answered_survives_sigkill(void **state)
{
    struct store *s = *state;
    int last = children_live(s);
    store_sane(s);
    struct uuid id = payment(last);
    assert_int_equal(store_i64(s, "SELECT count(*) FROM payments WHERE id = ?1", text_of(s, &id)),
                     1);
    /* Each position is a payment: nothing was taken without being stored. */
    assert_int_equal(
        store_i64(s, "SELECT (SELECT next FROM positions) - count(*) FROM payments", NULL), 0);
    /* What the dead left is asked about: at once, where it is sure that they are dead. */
    int64_t flying = in_flight(s);
    assert_true(flying > 0);
    if (s->embedded)
        assert_int_equal(ledger_recover(s->ledger), ERR_OK);
    else
        store_advance(s, LEASE_US + SECOND);
    size_t due = 0, more;
    while ((more = due_count(s)) > 0)
        due += more;
    assert_int_equal(due, flying);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(random_lives_stay_sane, store_setup, store_teardown),
        cmocka_unit_test_setup_teardown(handles_side_by_side, store_setup_file, store_teardown),
        cmocka_unit_test_setup_teardown(what_was_answered_survives_sigkill, store_setup_file,
                                        store_teardown),
    };
    return cmocka_run_group_tests_name("ledger life", tests, NULL, NULL);
}
