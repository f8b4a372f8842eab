/* The audit (contract section 8): a right history is green; each invariant is broken on purpose,
 * in several ways, and exactly the broken ones are named. Breaks go around what protects the
 * store: checks and triggers off. */
#include "test_audit_books.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"

#define PAYMENT(seq, id, user, type, sub, amount)                                                  \
    "INSERT INTO accounts (user_id) VALUES ('" user "') ON CONFLICT DO NOTHING;"                   \
    "INSERT INTO payments (seq, id, user_id, payment_type, subscription_type, payment_date, "      \
    "stored_at, amount, currency) VALUES (" #seq ", '" id "', '" user "', '" type "', '" sub       \
    "', '2026-03-10T12:00:00.000000Z', '2026-03-10T12:00:01.000000Z', " amount ", "                \
    "CASE WHEN " amount " IS NULL THEN NULL ELSE 'RUB' END);"                                      \
    "INSERT INTO events (at, subject, subject_id, actor, to_status, payment_status, detail) "      \
    "VALUES ('2026-03-10T12:00:01.000000Z', 'payment', '" id "', 'saver', 'new', 'unknown', "      \
    "CASE WHEN " amount " IS NULL THEN NULL ELSE json_object('amount', " amount                    \
    ", 'currency', 'RUB') END);"
#define EVENT(id, actor, from, to, status, detail)                                                 \
    "INSERT INTO events (at, subject, subject_id, actor, from_status, to_status, "                 \
    "payment_status, detail) VALUES ('2026-03-10T12:00:02.000000Z', 'payment', '" id "', '" actor  \
    "', '" from "', '" to "', '" status "', " detail ");"
#define MOVE(id, from, to, status, sets, detail)                                                   \
    "UPDATE payments SET processing_status = '" to "', payment_status = '" status "'" sets         \
    " WHERE id = '" id "';" EVENT(id, "processor", from, to, status, detail)
#define SENT(id) MOVE(id, "new", "in_processing", "unknown", "", "NULL")
#define TOLD(id, status)                                                                           \
    MOVE(id, "processed", "completed", status, ", notification = 'delivered'",                     \
         "'{\"notification\":\"delivered\"}'")
#define DUPLICATE(id, of)                                                                          \
    MOVE(id, "new", "duplicated", "unknown", ", duplicate_of = '" of "'",                          \
         "'{\"duplicate_of\":\"" of "\"}'")
#define PERIOD_DETAIL(user, payment, sub, from, until, ends, reason)                               \
    "json_patch('{}', json_object('user_id', '" user "', 'payment_id', " payment                   \
    ", 'subscription_type', '" sub "', 'starts_at', '" from "', 'expiration_date', '" until        \
    "', 'ends_at', '" ends "', 'end_reason', " reason "))"
#define PERIOD_EVENT(id, actor, to, user, payment, sub, from, until, ends, reason)                 \
    "INSERT INTO events (at, subject, subject_id, actor, to_status, detail) VALUES ("              \
    "'2026-03-10T12:00:03.000000Z', 'subscription', '" id "', '" actor "', '" to                   \
    "', " PERIOD_DETAIL(user, payment, sub, from, until, ends, reason) ");"
#define PERIOD(id, actor, user, payment, sub, from, until)                                         \
    "INSERT INTO subscriptions (id, user_id, payment_id, subscription_type, starts_at, "           \
    "expiration_date, ends_at) VALUES ('" id "', '" user "', " payment ", '" sub "', '" from       \
    "', '" until "', '" until                                                                      \
    "');" PERIOD_EVENT(id, actor, "active", user, payment, sub, from, until, until, "NULL")
#define END(id, actor, user, payment, sub, from, until, ends, reason)                              \
    "UPDATE subscriptions SET ends_at = '" ends "', end_reason = '" reason "' WHERE id = '" id     \
    "';" PERIOD_EVENT(id, actor, "ended", user, payment, sub, from, until, ends, "'" reason "'")

#define MARCH "2026-03-10T12:00:03.000000Z"
#define LATER_IN_MARCH "2026-03-20T12:00:03.000000Z"
#define APRIL "2026-04-10T12:00:03.000000Z"
#define NEXT_YEAR "2027-03-10T12:00:03.000000Z"

/* u1 clicked twice; u2 paid and got it back; u3 was declined and tries again, with one more
 * waiting; u4 has a grant and wanted to pay; u5 undid a payment; u6's grant was taken back; u7
 * had nothing to refund. */
static const char HISTORY[] = PAYMENT(1, "p1", "u1", "payment", "month", "39900") SENT(
    "p1") PAYMENT(2, "p2", "u1", "payment", "month",
                  "39900") PERIOD("s1", "processor", "u1", "'p1'", "month", MARCH,
                                  APRIL) MOVE("p1", "in_processing", "processed", "accepted",
                                              ", expiration_date = '" APRIL "'",
                                              "'{\"expiration_date\":\"" APRIL
                                              "\"}'") DUPLICATE("p2", "p1") TOLD("p1", "accepted")

    PAYMENT(3, "p3", "u2", "payment", "year", "299900") SENT("p3")
        PERIOD("s2", "processor", "u2", "'p3'", "year",
               MARCH, NEXT_YEAR) MOVE("p3", "in_processing", "processed", "accepted",
                                      ", expiration_date = '" NEXT_YEAR "'",
                                      "'{\"expiration_date\":\"" NEXT_YEAR "\"}'")
            TOLD("p3", "accepted") PAYMENT(4, "r1", "u2", "refund", "year", "NULL") MOVE(
                "r1", "new",
                "in_processing",
                "unknown",
                ", refund_of = 'p3', refunding = 'p3', amount = 299900, currency = 'RUB'",
                "'{\"refund_of\":\"p3\",\"amount\":299900,\"currency\":\"RUB\"}'")
                MOVE("r1", "in_processing", "processed", "accepted", "",
                     "NULL") END("s2", "processor", "u2", "'p3'", "year", MARCH, NEXT_YEAR,
                                 LATER_IN_MARCH, "refund") TOLD("r1", "accepted")

                    PAYMENT(5, "p4", "u3", "payment", "month", "39900") SENT(
                        "p4") MOVE("p4", "in_processing", "processed", "decline", "",
                                   "NULL") TOLD("p4", "decline")
                        PAYMENT(6, "p5", "u3", "payment", "month", "39900") SENT(
                            "p5") PAYMENT(7, "p6", "u3", "payment", "year", "299900")

                            PERIOD("s3", "admin:u9", "u4", "NULL", "year", MARCH,
                                   NEXT_YEAR) PAYMENT(8, "p7", "u4", "payment", "month", "39900")
                                MOVE("p7", "new", "duplicated", "unknown", ", reason = 'granted'",
                                     "'{\"reason\":\"granted\"}'")

                                    PAYMENT(9, "p8", "u5", "payment", "month", "39900") PAYMENT(
                                        10,
                                        "r2", "u5",
                                        "refund", "month", "NULL") DUPLICATE("p8", "r2")
                                        MOVE("r2", "new", "processed", "error",
                                             ", reason = 'cancelled'",
                                             "'{\"reason\":\"cancelled\"}'")
                                            MOVE("r2", "processed", "completed", "error",
                                                 ", notification = 'not_to_be_told'",
                                                 "'{\"notification\":\"not_to_be_told\"}'")

                                                PERIOD("s4", "operator:root", "u6", "NULL", "month",
                                                       MARCH,
                                                       APRIL) END("s4", "admin:u9", "u6", "NULL",
                                                                  "month", MARCH, APRIL,
                                                                  LATER_IN_MARCH, "admin")

                                                    PAYMENT(11, "r3", "u7", "refund", "month",
                                                            "NULL")
                                                        MOVE("r3", "new", "processed", "error",
                                                             ", reason = 'nothing_to_refund'",
                                                             "'{\"reason\":\"nothing_to_refund\"}'")
    /* an alarm moves nothing, and neither does a price */
    "INSERT INTO events (at, subject, subject_id, actor, detail) VALUES ('" MARCH
    "', 'payment', 'p4', 'processor', '{\"alarm\":\"contradiction\"}');"
    "INSERT INTO events (at, subject, subject_id, actor, to_status) VALUES ('" MARCH
    "', 'price', 'month/2026-05-01', 'admin:u9', 'added');";

/* Everybody was alive at half past twelve, and owed nothing that was late. */
#define HEARTBEATS                                                                                 \
    "INSERT INTO heartbeats (service, at) VALUES ('saver', '2026-03-10T12:30:00.000000Z'), "       \
    "('processor', '2026-03-10T12:30:00.000000Z'), ('notifier', '2026-03-10T12:30:00.000000Z');"   \
    "UPDATE accounts SET in_flight = 6, due_at = '2026-03-10T12:25:00.000000Z' "                   \
    "WHERE user_id = 'u3';"                                                                        \
    "UPDATE accounts SET tell_due_at = '2026-03-10T12:25:00.000000Z' WHERE user_id = 'u7';"
#define ACCOUNT_MISSING "INSERT INTO accounts (user_id) VALUES ('u6') ON CONFLICT DO NOTHING;"

/* ---- the journal ---- */

#define LINE(n, k, p, user, type, refund, minor, res)                                              \
    {                                                                                              \
        .seq = (n), .key = (k), .payment_id = (p), .user_id = (user), .payment_type = (type),      \
        .subscription_type = "month", .refund_of = (refund), .result = (res),                      \
        .transaction_id = "t", .amount_minor = (minor), .currency = "RUB"                          \
    }
#define NO_LINE                                                                                    \
    {                                                                                              \
        .key = NULL                                                                                \
    }
#define LINES_RIGHT 6
static const struct journal_line RIGHT[LINES_RIGHT] = {
    LINE(1, "p1", "p1", "u1", "payment", NULL, 39900, "success"),
    LINE(2, "p3", "p3", "u2", "payment", NULL, 299900, "pending"), /* a change is a new line */
    LINE(3, "p3", "p3", "u2", "payment", NULL, 299900, "success"),
    LINE(4, "r1", "r1", "u2", "refund", "p3", 299900, "success"),
    LINE(5, "p4", "p4", "u3", "payment", NULL, 39900, "decline"),
    LINE(6, "p5", "p5", "u3", "payment", NULL, 39900, "pending"),
};

struct lines {
    struct journal_line more[2]; /* after the right ones; key NULL: none */
    bool late;                   /* these are written while the audit runs */
    int without;                 /* seq of a right one that is not there */
    const char *instance;        /* NULL: not known */
    enum err err;                /* instead of an end */
};

static enum err line_give(const struct journal_line *line, journal_each_fn *each, void *to)
{
    char ids[4][WORD_TEXT];
    struct journal_line named = *line;
    named.key = word_id(line->key, ids[0]);
    named.payment_id = word_id(line->payment_id, ids[1]);
    named.user_id = word_id(line->user_id, ids[2]);
    named.refund_of = word_id(line->refund_of, ids[3]);
    return each(to, &named);
}

static enum err lines_more(const struct lines *l, int64_t after, journal_each_fn *each, void *to)
{
    for (int i = 0; i < 2 && l->more[i].key != NULL; i++) {
        enum err err = l->more[i].seq > after ? line_give(&l->more[i], each, to) : ERR_OK;
        if (err != ERR_OK)
            return err;
    }
    return l->err;
}

static enum err lines_read(void *ctx, journal_each_fn *each, void *to)
{
    const struct lines *l = ctx;
    for (int i = 0; i < LINES_RIGHT; i++) {
        enum err err = RIGHT[i].seq != l->without ? line_give(&RIGHT[i], each, to) : ERR_OK;
        if (err != ERR_OK)
            return err;
    }
    return l->late ? ERR_OK : lines_more(l, 0, each, to);
}

static enum err lines_tail(void *ctx, int64_t after, journal_each_fn *each, void *to)
{
    const struct lines *l = ctx;
    assert_true(after >= LINES_RIGHT - 1);
    return l->late ? lines_more(l, after, each, to) : ERR_OK;
}

static const char *lines_instance(void *ctx)
{
    const struct lines *l = ctx;
    return l->instance;
}

static struct journal_source source_of(const struct lines *l)
{
    return (struct journal_source){
        .read = lines_read, .tail = lines_tail, .instance = lines_instance, .ctx = (void *)l};
}

/* ---- a store ---- */

static void history_fill(struct books *b)
{
    books_sql(b, ACCOUNT_MISSING "INSERT INTO accounts (user_id) VALUES ('u4');");
    books_sql(b, HISTORY);
    books_sql(b, HEARTBEATS);
}

static void history_open(struct books *b)
{
    books_open(b);
    history_fill(b);
}

static enum err nothing_queued(void *ctx, log_each_fn *each, void *to)
{
    (void)ctx, (void)each, (void)to;
    return ERR_OK;
}
static const struct log_source NO_RECORDS = {.read = nothing_queued};

static enum err audit_all_of(struct books *b, const struct journal_source *journal, int64_t users,
                             struct audit_report *out)
{
    const struct audit_inputs inputs = {.journal = journal,
                                        .log = store_is_postgres() ? &NO_RECORDS : NULL,
                                        .topic = "payments",
                                        .range_users = users};
    enum err err = audit_all(b->reader, &inputs, out);
    report_words(out);
    return err;
}

static void audit_by(struct books *b, const struct lines *lines, int64_t users,
                     struct audit_report *out)
{
    struct journal_source source = source_of(lines);
    enum err err = audit_all_of(b, lines != NULL ? &source : NULL, users, out);
    if (err != ERR_OK)
        fail_msg("%s: %s", err_text(err), db_why(b->reader));
}

static void audit(struct books *b, const struct lines *lines, struct audit_report *out)
{
    audit_by(b, lines, 0, out);
}

/* The ids of the broken ones, "I3 I10". */
static void broken_ids(const struct audit_report *r, char *out, size_t cap)
{
    out[0] = '\0';
    for (int i = 0; i < r->count; i++)
        if (r->invariants[i].broken > 0) {
            size_t len = strlen(out);
            snprintf(out + len, cap - len, "%s%s", len > 0 ? " " : "", r->invariants[i].id);
        }
}

static const struct audit_invariant *invariant(const struct audit_report *r, const char *id)
{
    for (int i = 0; i < r->count; i++)
        if (strcmp(r->invariants[i].id, id) == 0)
            return &r->invariants[i];
    fail_msg("no %s", id);
    return NULL;
}

/* ---- tests ---- */

static void test_right_history(void **state)
{
    (void)state;
    static const struct {
        const char *id;
        int64_t checked;
    } CHECKED[] = {{"I1", 0},     {"I2", 3},     {"I3", 4 + 5}, {"I4", 11},        {"I5", 2 + 4},
                   {"I6", 3 + 4}, {"I7", 5 + 3}, {"I8", 1 + 1}, {"I9", 2 + 0 + 1}, {"I10", 11 + 4}};
    struct books b;
    history_open(&b);
    struct audit_report r;
    struct lines lines = {.err = ERR_OK};
    for (int twice = 0; twice < 2; twice++) { /* nothing is left behind */
        audit(&b, &lines, &r);
        assert_int_equal(r.count, 10);
        for (size_t i = 0; i < 10; i++) {
            const struct audit_invariant *inv = &r.invariants[i];
            assert_string_equal(inv->id, CHECKED[i].id);
            if (inv->broken != 0)
                fail_msg("%s: %s", inv->id, inv->examples[0]);
            assert_true(inv->checked_at_all);
            assert_int_equal(inv->listed, 0);
            if (inv->checked != CHECKED[i].checked)
                fail_msg("%s: %lld checked", inv->id, (long long)inv->checked);
        }
        assert_int_equal(audit_exit_code(&r), 0);
    }
    books_close(&b);
}

static enum err nothing_read(void *ctx, journal_each_fn *each, void *to)
{
    (void)ctx, (void)each, (void)to;
    return ERR_OK;
}
static const struct journal_source NOTHING = {.read = nothing_read};

static void test_empty_store(void **state)
{
    (void)state;
    struct books b;
    books_open(&b);
    struct audit_report r;
    assert_int_equal(audit_all_of(&b, &NOTHING, 0, &r), ERR_OK);
    assert_int_equal(audit_exit_code(&r), 0);
    /* The journal knows what the books do not. */
    struct lines lines = {.err = ERR_OK};
    char named[64];
    audit(&b, &lines, &r);
    broken_ids(&r, named, sizeof named);
    assert_string_equal(named, "I6");
    assert_int_equal(invariant(&r, "I6")->broken, 3);
    books_close(&b);
}

#define DUPLICATED_PERIOD                                                                          \
    "DROP TRIGGER subscriptions_insert_no_overlap;" PERIOD("s9", "admin:u9", "u1", "NULL",         \
                                                           "month", LATER_IN_MARCH, NEXT_YEAR)
#define UNLOCK_EVENTS "DROP TRIGGER events_no_update; DROP TRIGGER events_no_delete;"
#define UNCHECKED "PRAGMA ignore_check_constraints=ON;"

/* A definite answer that is error, in the books. */
#define REFUSED(id, why)                                                                           \
    MOVE(id, "in_processing", "processed", "error", ", reason = '" why "'",                        \
         "'{\"reason\":\"" why "\"}'")                                                             \
    "UPDATE accounts SET in_flight = NULL, tell_due_at = due_at WHERE user_id = 'u3';"
#define DECIDED(id, status, actor, evidence)                                                       \
    "UPDATE payments SET processing_status = 'processed', payment_status = '" status               \
    "', reason = 'decided' WHERE id = '" id "';" EVENT(                                            \
        id, actor, "in_processing", "processed", status,                                           \
        "'{\"reason\":\"decided\",\"evidence\":\"" evidence                                        \
        "\"}'") "UPDATE accounts SET in_flight = NULL, tell_due_at = due_at WHERE user_id = 'u3';"
#define ATTEMPT(seq, instance)                                                                     \
    "INSERT INTO attempts (seq, body, instance_id, first_sent_at) VALUES (" #seq                   \
    ", '{}', '" instance "', '2026-03-10T12:00:02.000000Z');"

struct breaking {
    const char *sql; /* what is done to the store */
    struct journal_line line;
    const char *named;   /* the invariants that must be named, and no others */
    const char *example; /* how an offender of the first of them begins */
    struct journal_line line2;
    bool late;
    int without;          /* seq of a journal line that is not there */
    const char *instance; /* of the journal */
    const char *listed;   /* what the first of `named`, or I6, lists and does not judge */
};

/* What is usual is left out. */
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
static const struct breaking BREAKS[] = {
    /* I2 */
    {"", LINE(7, "p1", "p1", "u1", "payment", NULL, 39900, "success"), "I2", "p1 charged 2 times"},
    {"", LINE(7, "another-key", "p3", "u2", "payment", NULL, 299900, "success"), "I2 I6",
     "p3 charged 2 times"},
    {"", LINE(7, "r9", "r9", "u2", "refund", "p3", 299900, "success"), "I2 I6 I8",
     "p3 refunded 2 times"},
    /* I3: periods */
    {DUPLICATED_PERIOD, NO_LINE, "I3", "s1 overlaps s9 of user u1"},
    {"DROP TRIGGER subscriptions_update_no_overlap;" PERIOD("s9", "admin:u9", "u6", "NULL", "month",
                                                            LATER_IN_MARCH, APRIL)
         END("s4", "admin:u9", "u6", "NULL", "month", MARCH, APRIL, "2026-03-20T12:00:03.000001Z",
             "admin"),
     NO_LINE, "I3", "s4 overlaps s9 of user u6"},
    /* I3: two in flight, now and in the past */
    {SENT("p6"), NO_LINE, "I3 I9", "p6 user u3 has "},
    {SENT("p6") MOVE("p6", "in_processing", "processed", "decline", "",
                     "NULL") "UPDATE accounts SET tell_due_at = '2026-03-10T12:25:00.000000Z' "
                             "WHERE user_id = 'u3';",
     LINE(7, "p6", "p6", "u3", "payment", NULL, 299900, "decline"), "I3",
     "p6 user u3 has 2 payments"},
    /* I4: moves that are none, a path that does not begin, statuses that changed their mind */
    {EVENT("p1", "processor", "completed", "completed", "accepted", "NULL"), NO_LINE, "I4",
     "p1 event "},
    {UNLOCK_EVENTS "UPDATE events SET payment_status = 'error' WHERE subject_id = 'p4' "
                   "AND to_status = 'processed';",
     NO_LINE, "I4", "p4 event "},
    {UNLOCK_EVENTS "DELETE FROM events WHERE subject_id = 'r1' AND to_status = 'new';", NO_LINE,
     "I4", "r1 event "},
    {UNLOCK_EVENTS "DELETE FROM events WHERE subject_id = 'p4' AND to_status = 'in_processing';",
     NO_LINE, "I4", "p4 event "},
    {UNLOCK_EVENTS "UPDATE events SET to_status = 'in_processing' WHERE subject_id = 'p8' "
                   "AND to_status = 'duplicated';",
     NO_LINE, "I4 I10", "p8 is duplicated/unknown"},
    {UNCHECKED "UPDATE payments SET payment_status = 'accepted' WHERE id = 'p8';", NO_LINE,
     "I4 I5 I10", "p8 is duplicated/accepted"},
    {EVENT("nobody", "processor", "new", "duplicated", "unknown", "NULL"), NO_LINE, "I4 I10",
     "nobody event "},
    /* I5: a payment without a period, a period without a payment or a grant, an end without a cause */
    {UNLOCK_EVENTS
     "DELETE FROM events WHERE subject_id = 's1'; DELETE FROM subscriptions WHERE id = "
     "'s1';",
     NO_LINE, "I5", "p1 accepted, and has 0 periods"},
    {PERIOD("s9", "processor", "u3", "NULL", "month", MARCH, APRIL), NO_LINE, "I5",
     "s9 has neither"},
    {PERIOD("s9", "processor", "u3", "'p4'", "month", MARCH, APRIL), NO_LINE, "I5",
     "s9 period of payment p4"},
    {END("s1", "processor", "u1", "'p1'", "month", MARCH, APRIL, LATER_IN_MARCH, "refund"), NO_LINE,
     "I5", "s1 ends early without"},
    {END("s3", "processor", "u4", "NULL", "year", MARCH, NEXT_YEAR, APRIL, "admin"), NO_LINE, "I5",
     "s3 ends early without"},
    {"UPDATE subscriptions SET user_id = 'u5' WHERE id = 's1';" PERIOD_EVENT(
         "s1", "processor", "active", "u5", "'p1'", "month", MARCH, APRIL, APRIL, "NULL"),
     NO_LINE, "I5", "s1 period of payment p1"},
    /* I7: told without a record, and heard of a duplicated one */
    {UNCHECKED UNLOCK_EVENTS
     "UPDATE payments SET notification = NULL WHERE id = 'p1'; UPDATE events "
     "SET detail = NULL WHERE subject_id = 'p1' AND to_status = 'completed';",
     NO_LINE, "I7", "p1 completed, and its notification is not"},
    {UNCHECKED UNLOCK_EVENTS
     "UPDATE payments SET notification = 'perhaps' WHERE id = 'p1'; UPDATE events SET detail = "
     "'{\"notification\":\"perhaps\"}' WHERE subject_id = 'p1' AND to_status = 'completed';",
     NO_LINE, "I7", "p1 completed, and its notification is perhaps"},
    {"", LINE(7, "p2", "p2", "u1", "payment", NULL, 39900, "decline"), "I7",
     "p2 duplicated, and journal line 7"},
    {"", LINE(7, "p8", "p8", "u5", "payment", NULL, 39900, "error"), "I7",
     "p8 duplicated, and journal line 7"},
    /* I6: the journal knows what the books do not, or know otherwise */
    {"", LINE(7, "p99", "p99", "u1", "payment", NULL, 39900, "success"), "I6",
     "p99 journal line 7 executed it, and the books do not know it"},
    {"", LINE(7, "p5", "p5", "u1", "payment", NULL, 39900, "success"), "I6",
     "p5 journal line 7 executed it, and in the books it has another"},
    {"", LINE(7, "p5", "p5", "u3", "refund", "p3", 39900, "success"), "I2 I6 I8",
     "p3 refunded 2 times"},
    {"", LINE(7, "p5", "p5", "u3", "payment", NULL, 39901, "success"), "I6",
     "p5 journal line 7 executed it, and in the books it has another"},
    {"", LINE(7, "p4", "p4", "u3", "payment", NULL, 39900, "success"), "I6",
     "p4 journal line 7 executed it, and in the books it is completed/decline"},
    {"", LINE(7, "p6", "p6", "u3", "payment", NULL, 299900, "success"), "I6",
     "p6 journal line 7 executed it, and in the books it is new/unknown"},
    {"", LINE(7, "p2", "p2", "u1", "payment", NULL, 39900, "success"), "I6 I7",
     "p2 journal line 7 executed it, and in the books it is duplicated"},
    {"", LINE(7, "r3", "r3", "u7", "refund", "p1", 39900, "success"), "I6",
     "r3 journal line 7 executed it, and in the books it has another"},
    /* I6: the books know what the journal does not */
    {"", NO_LINE, "I6", "p4 is decline, and the journal has no decline of it", .without = 5},
    {"", NO_LINE, "I6", "p1 is accepted, and the journal has no success of it", .without = 1},
    {"", NO_LINE, "I6", "r1 is accepted, and the journal has no success of it", .without = 4},
    {REFUSED("p5", "refused"), NO_LINE, "I6", "p5 is error, and the journal has no error of it"},
    {REFUSED("p5", "superseded"), NO_LINE, "I6", "p5 is error, and the journal has no error"},
    {ATTEMPT(11, "") /* r3 was sent, and yet refused by a rule */, NO_LINE, "I6",
     "r3 is error, and the journal has no error of it"},
    /* I6: a person's decision, contradicted; and made by nobody, or without a reason why */
    {DECIDED("p5", "decline", "operator:root", "a call"),
     LINE(7, "p5", "p5", "u3", "payment", NULL, 39900, "success"), "I6",
     "p5 journal line 7 executed it, and a person decided that it is decline",
     .listed = "p5 was decided by a person: decline; journal line 7 says success"},
    {DECIDED("p5", "error", "processor", "a call"), NO_LINE, "I6",
     "p5 was decided, and no event names a person"},
    {DECIDED("p5", "error", "admin:u9", ""), NO_LINE, "I6",
     "p5 was decided, and no event names a person"},
    /* I8: more given back than was paid, or for nothing */
    {"UPDATE payments SET amount = 300000 WHERE id = 'r1';", NO_LINE, "I6 I8 I10",
     "r1 journal line 4 executed it, and in the books it has another"},
    {UNLOCK_EVENTS "UPDATE payments SET amount = 300000 WHERE id = 'r1'; UPDATE events SET detail ="
                   " json_set(detail, '$.amount', 300000) WHERE subject_id = 'r1' AND to_status ="
                   " 'in_processing';",
     LINE(7, "r1", "r1", "u2", "refund", "p3", 300000, "success"), "I2 I6 I8",
     "p3 refunded 2 times"},
    {UNLOCK_EVENTS "UPDATE payments SET amount = 300000 WHERE id = 'r1'; UPDATE events SET detail ="
                   " json_set(detail, '$.amount', 300000) WHERE subject_id = 'r1' AND to_status ="
                   " 'in_processing';",
     LINE(7, "r1", "r1", "u2", "refund", "p3", 300000, "success"), "I8",
     "p3 refunded 300000 RUB, paid 299900 RUB", .without = 4},
    {UNLOCK_EVENTS
     "UPDATE payments SET refund_of = 'p4', refunding = 'p4' WHERE id = 'r1'; UPDATE events SET "
     "detail = json_set(detail, '$.refund_of', 'p4') WHERE subject_id = 'r1' AND to_status = "
     "'in_processing'; UPDATE subscriptions SET ends_at = expiration_date, end_reason = NULL WHERE "
     "id = 's2'; DELETE FROM events WHERE subject_id = 's2' AND to_status = 'ended';",
     NO_LINE, "I8", "p4 refunded 299900 RUB, paid nothing: it is a payment, decline"},
    {"", LINE(7, "r1", "r1", "u2", "refund", "p1", 299900, "success"), "I8",
     "p1 the processing gave back 299900 RUB of 39900 RUB", .without = 4},
    {"", LINE(7, "r1", "r1", "u2", "refund", NULL, 299900, "success"), "I8",
     "- the processing gave back 299900 RUB of nothing", .without = 4},
    /* I9: late by the last heartbeat, or led to by no account */
    {"UPDATE accounts SET due_at = '2026-03-10T12:19:59.999999Z' WHERE user_id = 'u3';", NO_LINE,
     "I9", "p5 is in_processing, and the processor owes the next step since 2026-03-10T12:19:59"},
    {"UPDATE accounts SET in_flight = NULL WHERE user_id = 'u3';", NO_LINE, "I9",
     "p5 is in_processing, and the processor owes the next step since 2026-03-10T12:00:01"},
    {"UPDATE accounts SET due_at = NULL WHERE user_id = 'u3';", NO_LINE, "I9", "p5 is in_pro"},
    {PAYMENT(20, "p20", "u8", "payment", "month", "39900"), NO_LINE, "I9", "p20 is new, and"},
    {"UPDATE accounts SET tell_due_at = '2026-03-10T12:19:59.999999Z' WHERE user_id = 'u7';",
     NO_LINE, "I9", "r3 is processed, and the notifier owes the user a message since"},
    {"UPDATE accounts SET tell_due_at = NULL WHERE user_id = 'u7';", NO_LINE, "I9",
     "r3 is processed, and the notifier"},
    /* I10: books that no events tell, and events that no books show */
    {"UPDATE payments SET amount = 1 WHERE id = 'p4';", NO_LINE, "I10", "p4 is completed/decline"},
    {"UPDATE payments SET duplicate_of = 'p3' WHERE id = 'p2';", NO_LINE, "I10",
     "p2 is duplicated/unknown"},
    {"UPDATE payments SET reason = 'too_old' WHERE id = 'r3';", NO_LINE, "I10",
     "r3 is processed/error"},
    {"UPDATE subscriptions SET expiration_date = '" NEXT_YEAR "', ends_at = '" NEXT_YEAR
     "' WHERE id = 's1';",
     NO_LINE, "I10", "s1 "},
    {UNLOCK_EVENTS "DELETE FROM events WHERE subject_id = 's1';", NO_LINE, "I10",
     "s1 has no events"},
    {PERIOD_EVENT("s9", "processor", "active", "u1", "'p1'", "month", MARCH, APRIL, APRIL, "NULL"),
     NO_LINE, "I10", "s9 has events"},
    {UNLOCK_EVENTS "DELETE FROM events WHERE subject_id = 'p6';", NO_LINE, "I4 I10",
     "p6 is new/unknown, its events end in nothing"},
};

static void break_see(struct books *books, size_t i, const struct breaking *b, int64_t users)
{
    struct lines lines = {.more = {b->line, b->line2},
                          .late = b->late,
                          .without = b->without,
                          .instance = b->instance};
    struct audit_report r;
    char named[64], first[8] = "I6";
    audit_by(books, &lines, users, &r);
    broken_ids(&r, named, sizeof named);
    if (strcmp(named, b->named) != 0)
        fail_msg("break %zu: named %s, not %s\n%s", i, named, b->named, b->sql);
    assert_true(named[0] == '\0' || sscanf(named, "%7s", first) == 1);
    const struct audit_invariant *inv = invariant(&r, first);
    const char *example = b->example != NULL ? b->example : "";
    size_t len = strlen(example);
    int at = 0;
    if (users != 0) { /* ranges come in another order, and may not see the other user */
        len = strcspn(example, " ");
        while (at < inv->example_count - 1 && strncmp(inv->examples[at], example, len) != 0)
            at++;
    }
    if (strncmp(inv->examples[at], example, len) != 0)
        fail_msg("break %zu: %s", i, inv->examples[at]);
    if (b->listed != NULL && strcmp(inv->listings[0], b->listed) != 0)
        fail_msg("break %zu: listed %s", i, inv->listings[0]);
    assert_int_equal(audit_exit_code(&r), named[0] != '\0' ? 1 : 0);
}

static void break_check(size_t i, const struct breaking *b)
{
    struct books books;
    history_open(&books);
    books_sql(&books, "PRAGMA foreign_keys=OFF;");
    if (b->sql[0] != '\0')
        books_sql(&books, b->sql);
    break_see(&books, i, b, 0);
    if (store_is_postgres()) /* each user a range: nothing is lost between them */
        break_see(&books, i, b, 1);
    books_close(&books);
}

static void test_breaks(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof BREAKS / sizeof BREAKS[0]; i++)
        break_check(i, &BREAKS[i]);
}

/* What looks odd and is right. */
static const struct breaking RIGHTS[] = {
    /* answered while the audit ran: the books, or even the journal alone, may know of it */
    {"", LINE(7, "p5", "p5", "u3", "payment", NULL, 39900, "success"), "", NULL},
    {"", LINE(7, "p99", "p99", "u1", "payment", NULL, 39900, "success"), "", NULL, .late = true},
    {"", LINE(7, "p4", "p4", "u3", "payment", NULL, 39900, "decline"), "", NULL, .late = true,
     .without = 5},
    /* it waited for its payer, and the answer has another line */
    {"", LINE(7, "p2", "p2", "u1", "payment", NULL, 39900, "pending"), "", NULL},
    /* a person decided: nothing in the journal, the same in the journal */
    {DECIDED("p5", "decline", "operator:root", "a call"), NO_LINE, "", NULL,
     .listed = "p5 was decided by a person: decline"},
    {DECIDED("p5", "decline", "admin:u9", "a letter"),
     LINE(7, "p5", "p5", "u3", "payment", NULL, 39900, "decline"), "", NULL,
     .listed = "p5 was decided by a person: decline; journal line 7 says decline"},
    /* contradicted, and given back by hand at the processing */
    {DECIDED("p5", "decline", "operator:root", "a call"),
     LINE(7, "p5", "p5", "u3", "payment", NULL, 39900, "success"), "", NULL,
     .line2 = LINE(8, "by-hand", "by-hand", "u3", "refund", "p5", 39900, "success"),
     .listed = "p5 was decided by a person: decline; journal line 7 says success"},
    /* another instance was asked then */
    {ATTEMPT(5, "old"), NO_LINE, "", NULL, .without = 5, .instance = "new",
     .listed = "p4 was sent to another instance of the processing: old"},
    {ATTEMPT(5, "old"), LINE(7, "p4", "p4", "u3", "payment", NULL, 39900, "success"), "", NULL,
     .without = 5, .instance = "new",
     .listed = "p4 was sent to another instance of the processing: old"},
    /* sent for less than it had cost when it was stored: the later move counts */
    {"UPDATE payments SET amount = 5 WHERE id = 'p5';" UNLOCK_EVENTS
     "UPDATE events SET detail = json_object('amount', 5, 'currency', 'RUB') "
     "WHERE subject_id = 'p5' AND to_status = 'in_processing';",
     NO_LINE, "", NULL},
    /* on time, to the microsecond */
    {"UPDATE accounts SET due_at = '2026-03-10T12:20:00.000000Z' WHERE user_id = 'u3';", NO_LINE,
     "", NULL},
    {"UPDATE accounts SET due_at = '2026-03-10T13:00:00.000000Z' WHERE user_id = 'u3';", NO_LINE,
     "", NULL},
};

static void test_rights(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof RIGHTS / sizeof RIGHTS[0]; i++)
        break_check(i, &RIGHTS[i]);
}

/* A decision that an old instance contradicts is judged as far as it can be: the same instance. */
static void test_same_instance(void **state)
{
    (void)state;
    struct books b;
    history_open(&b);
    struct audit_report r;
    struct lines lines = {.without = 5, .instance = "same"};
    books_sql(&b, ATTEMPT(5, "same"));
    audit(&b, &lines, &r);
    assert_int_equal(invariant(&r, "I6")->broken, 1);
    assert_int_equal(invariant(&r, "I6")->listed, 0);
    books_close(&b);
}

/* Who never said that it is alive is not judged, and said so. */
static void test_no_heartbeat(void **state)
{
    (void)state;
    struct books b;
    history_open(&b);
    struct audit_report r;
    struct lines lines = {.err = ERR_OK};
    books_sql(&b,
              "DELETE FROM heartbeats WHERE service <> 'saver';"
              "UPDATE accounts SET due_at = '2020-01-01T00:00:00.000000Z' WHERE user_id = 'u3';");
    audit(&b, &lines, &r);
    const struct audit_invariant *i9 = invariant(&r, "I9");
    assert_int_equal(audit_exit_code(&r), 0);
    assert_int_equal(i9->checked, 0);
    assert_int_equal(i9->listed, 2);
    assert_string_equal(i9->listings[0], "notifier has left no heartbeat, and owes 1 next steps");
    assert_string_equal(i9->listings[1], "processor has left no heartbeat, and owes 2 next steps");
    books_close(&b);
}

/* ---- the queue ---- */

#define UA "aaaaaaaa-0000-4000-8000-000000000001"
#define UB "bbbbbbbb-0000-4000-8000-000000000002"
#define UC "cccccccc-0000-4000-8000-000000000003"
#define UU "dddddddd-0000-4000-8000-000000000004"
#define RECORD(topic, offset, id, sub)                                                             \
    "INSERT INTO queue_records (topic_id, offset, timestamp_us, key, value) VALUES (" #topic       \
    ", " #offset ", 1773144000000000, CAST('" UU "' AS BLOB), CAST('{\"payment_id\":\"" id         \
    "\",\"user_id\":\"" UU "\",\"payment_type\":\"payment\",\"subscription_type\":\"" sub          \
    "\",\"requested_at\":\"2026-03-10T12:00:00Z\"}' AS BLOB));"
#define GARBAGE(topic, offset)                                                                     \
    "INSERT INTO queue_records (topic_id, offset, timestamp_us, key, value) VALUES (" #topic       \
    ", " #offset ", 1773144000000000, NULL, CAST('what?' AS BLOB));"
#define REJECTED(offset, of)                                                                       \
    "UPDATE queue_records SET headers = '{\"error\":\"e\",\"topic\":\"payments\",\"partition\":"   \
    "\"0\",\"offset\":\"" #of "\",\"at\":\"2026\"}' WHERE topic_id = 2 AND offset = " #offset ";"

/* 0 is stored, 1 was rejected, 2 repeats 0, 3 has no price and was rejected, 4 is not taken yet. The
 * topic `other` is nobody's business. */
static const char QUEUE[] =
    "INSERT INTO queue_topics (id, topic, log_id, next) VALUES (1, 'payments', 'l1', 5), "
    "(2, 'payments.rejected', 'l2', 2), (3, 'other', 'l3', 1);"
    "INSERT INTO positions (topic, partition, partitions, next, log_id, checksum) "
    "VALUES ('payments', 0, 1, 4, 'l1', 0);" PAYMENT(
        30, UA, UU, "payment", "month",
        "39900") "UPDATE accounts SET due_at = '2026-03-10T12:25:00.000000Z' WHERE user_id = '" UU
                 "';" RECORD(1, 0, UA, "month") GARBAGE(1, 1) RECORD(1, 2, UA, "month")
                     RECORD(1, 3, UC, "month") RECORD(1, 4, UB, "year") GARBAGE(2, 0) REJECTED(0, 1)
                         RECORD(2, 1, UC, "month") REJECTED(1, 3) GARBAGE(3, 0);

/* The record that waits came in at 12:00; the saver was alive at half past. */
#define QUEUE_FRESH "UPDATE queue_records SET timestamp_us = 1773145260000000 WHERE offset = 4;"

static const struct breaking QUEUE_BREAKS[] = {
    {QUEUE_FRESH, NO_LINE, "", NULL},
    {"", NO_LINE, "I9", UB " record payments/0/4 waits for the saver"},
    {QUEUE_FRESH "UPDATE positions SET next = 5;", NO_LINE, "I1",
     UB " record payments/0/4 is not in payments, and was not rejected"},
    {QUEUE_FRESH "DELETE FROM queue_records WHERE topic_id = 2 AND offset = 0;", NO_LINE, "I1",
     "payments/0/1 record payments/0/1 cannot be understood, and was not rejected"},
    {QUEUE_FRESH "DELETE FROM queue_records WHERE topic_id = 2 AND offset = 1;", NO_LINE, "I1",
     UC " record payments/0/3 is not in payments"},
    {QUEUE_FRESH "DELETE FROM queue_records WHERE offset = 2;" RECORD(1, 2, UA, "year"), NO_LINE,
     "I1", UA " record payments/0/2 asks for another thing than the payment"},
    {QUEUE_FRESH "DELETE FROM queue_records WHERE offset = 2;" RECORD(1, 2, UA, "year")
         RECORD(2, 2, UA, "year") REJECTED(2, 2),
     NO_LINE, "", NULL},
    /* removed by the retention */
    {QUEUE_FRESH "DELETE FROM queue_records WHERE topic_id = 1 AND offset < 3;", NO_LINE, "", NULL},
    /* topic rewind: it was taken once */
    {QUEUE_FRESH "UPDATE positions SET next = 0;"
                 "DELETE FROM queue_records WHERE topic_id = 1 AND offset < 4;",
     NO_LINE, "", NULL},
};

static void test_queue(void **state)
{
    (void)state;
    if (store_is_postgres())
        skip();
    for (size_t i = 0; i < sizeof QUEUE_BREAKS / sizeof QUEUE_BREAKS[0]; i++) {
        struct breaking b = QUEUE_BREAKS[i];
        struct str sql;
        str_init(&sql, 65536);
        str_add(&sql, QUEUE);
        str_add(&sql, b.sql);
        assert_false(sql.failed);
        b.sql = sql.data;
        break_check(i, &b);
        str_release(&sql);
    }
}

static enum err told_read(void *ctx, enum err (*each)(void *, const char *, int64_t), void *to)
{
    const char *const *ids = ctx;
    enum err err = ERR_OK;
    for (int64_t i = 0; ids[i] != NULL && err == ERR_OK; i++)
        err = each(to, ids[i], i + 1);
    return err;
}

/* What clients were told is stored, or waits in the queue, or was rejected; and nothing else. */
static void test_accepted(void **state)
{
    (void)state;
    if (store_is_postgres())
        skip();
    static const char *const TOLD[] = {UA, UB, UC, "p1", UA, "p98", "p99", NULL};
    struct books b;
    history_open(&b);
    struct audit_report r;
    struct lines lines = {.err = ERR_OK};
    struct journal_source journal = source_of(&lines);
    struct accepted_source accepted = {.read = told_read, .ctx = (void *)TOLD};
    struct audit_inputs inputs = {.journal = &journal, .accepted = &accepted, .topic = "payments"};
    books_sql(&b, QUEUE);
    books_sql(&b, QUEUE_FRESH);
    assert_int_equal(audit_all(b.reader, &inputs, &r), ERR_OK);
    const struct audit_invariant *i1 = invariant(&r, "I1");
    assert_int_equal(i1->checked, 4 + 7);
    assert_int_equal(i1->broken, 2);
    assert_string_equal(i1->examples[0], "p98 was told to a client (line 6), and is neither in the "
                                         "queue nor in payments");
    books_sql(&b, "DELETE FROM positions;"); /* nothing was taken: all wait for the saver */
    assert_int_equal(audit_all(b.reader, &inputs, &r), ERR_OK);
    assert_int_equal(invariant(&r, "I1")->checked, 7);
    assert_int_equal(invariant(&r, "I1")->broken, 2);
    assert_int_equal(invariant(&r, "I9")->broken, 4);
    books_close(&b);
}

/* ---- a queue that is elsewhere, beside PostgreSQL ---- */

#define ASKS(id, sub)                                                                              \
    "{\"payment_id\":\"" id "\",\"user_id\":\"" UU "\",\"payment_type\":\"payment\","              \
    "\"subscription_type\":\"" sub "\",\"requested_at\":\"2026-03-10T12:00:00Z\"}"
#define MOMENT_US (INT64_C(1773144000) * US_PER_S)

struct elsewhere {
    int64_t waiting_at_us; /* of the record that is not taken yet; REQUEST_NO_TIME: it has none */
    const char *twice;     /* the record that repeats the first one */
    bool without_rejected;
    enum err err;
};

static enum err elsewhere_give(log_each_fn *each, void *to, int64_t offset, int64_t at_us,
                               const char *value, bool rejected)
{
    const struct record r = {.topic = rejected ? "payments.rejected" : "payments",
                             .partition = 1,
                             .offset = offset,
                             .timestamp_us = at_us,
                             .value = value,
                             .value_len = strlen(value)};
    return each(to, &r, rejected);
}

/* 0 is stored, 1 was rejected, 2 repeats 0, 3 has no price and was rejected, 4 is not taken yet. */
static enum err elsewhere_read(void *ctx, log_each_fn *each, void *to)
{
    const struct elsewhere *e = ctx;
    const char *const values[] = {ASKS(UA, "month"), "what?", e->twice, ASKS(UC, "month"),
                                  ASKS(UB, "year")};
    enum err err = e->err;
    for (int i = 0; i < 5 && err == ERR_OK; i++)
        err = elsewhere_give(each, to, i, i == 4 ? e->waiting_at_us : MOMENT_US, values[i], false);
    for (int i = 1; i < 4 && err == ERR_OK && !e->without_rejected; i += 2)
        err = elsewhere_give(each, to, 7 * i, MOMENT_US, values[i], true);
    return err;
}

static const char *elsewhere_why(void *ctx)
{
    (void)ctx;
    return "it is under water";
}

static void elsewhere_audit(struct books *b, const struct elsewhere *e, const char *named,
                            struct audit_report *r)
{
    struct lines lines = {.err = ERR_OK};
    const struct journal_source journal = source_of(&lines);
    const struct log_source log = {.read = elsewhere_read, .why = elsewhere_why, .ctx = (void *)e};
    const struct audit_inputs inputs = {.journal = &journal, .log = &log, .topic = "payments"};
    char broken[64];
    if (audit_all(b->reader, &inputs, r) != ERR_OK)
        fail_msg("%s", db_why(b->reader));
    broken_ids(r, broken, sizeof broken);
    assert_string_equal(broken, named);
}

#define POSITION                                                                                   \
    "INSERT INTO positions (topic, partition, partitions, next, log_id, checksum) VALUES "         \
    "('payments', 1, 2, 4, 'l1', 0), ('other', 1, 2, 4, 'l1', 0);" PAYMENT(                        \
        30, UA, UU, "payment", "month",                                                            \
        "39900") "UPDATE accounts SET due_at = '2026-03-10T12:25:00.000000Z' WHERE user_id = '" UU \
                 "';"

static void test_queue_elsewhere(void **state)
{
    (void)state;
    struct books b;
    struct audit_report r;
    const struct elsewhere right = {.waiting_at_us = MOMENT_US + 21 * 60 * US_PER_S,
                                    .twice = ASKS(UA, "month")};
    struct elsewhere e = right;
    if (!store_is_postgres())
        skip();
    history_open(&b);
    books_sql(&b, POSITION);
    elsewhere_audit(&b, &e, "", &r);
    assert_int_equal(invariant(&r, "I1")->checked, 4);
    assert_int_equal(audit_exit_code(&r), 0);
    e.waiting_at_us = REQUEST_NO_TIME; /* nobody knows how long it has waited */
    elsewhere_audit(&b, &e, "", &r);
    e.waiting_at_us = MOMENT_US + 19 * 60 * US_PER_S;
    elsewhere_audit(&b, &e, "I9", &r);
    assert_string_equal(invariant(&r, "I9")->examples[0],
                        UB " record payments/1/4 waits for the saver for more than ten minutes");
    e = right;
    e.twice = ASKS(UA, "year");
    elsewhere_audit(&b, &e, "I1", &r);
    assert_string_equal(invariant(&r, "I1")->examples[0],
                        UA " record payments/1/2 asks for another thing than the payment, and was "
                           "not rejected");
    e = right;
    e.without_rejected = true;
    elsewhere_audit(&b, &e, "I1", &r);
    assert_int_equal(invariant(&r, "I1")->broken, 2);
    assert_string_equal(
        invariant(&r, "I1")->examples[0],
        "payments/1/1 record payments/1/1 cannot be understood, and was not rejected");
    e = right;
    e.err = ERR_UNREACHABLE;
    elsewhere_audit(&b, &e, "", &r);
    assert_int_equal(audit_exit_code(&r), 3);
    assert_string_equal(invariant(&r, "I1")->why, "the queue cannot be read: it is under water");
    assert_false(invariant(&r, "I9")->checked_at_all);
    assert_true(invariant(&r, "I10")->checked_at_all);
    books_sql(&b, "UPDATE positions SET next = 5 WHERE topic = 'payments';");
    elsewhere_audit(&b, &right, "I1", &r);
    assert_string_equal(invariant(&r, "I1")->examples[0],
                        UB " record payments/1/4 is not in payments, and was not rejected");
    books_close(&b);
}

static void test_accepted_elsewhere(void **state)
{
    (void)state;
    char stored[WORD_TEXT], lost[WORD_TEXT];
    const char *const told[] = {UA, UB, UC, word_id("p1", stored), UA, word_id("p98", lost), NULL};
    const struct elsewhere e = {.waiting_at_us = MOMENT_US + 21 * 60 * US_PER_S,
                                .twice = ASKS(UA, "month")};
    const struct log_source log = {.read = elsewhere_read, .ctx = (void *)&e};
    const struct accepted_source accepted = {.read = told_read, .ctx = (void *)told};
    struct audit_inputs inputs = {.accepted = &accepted, .log = &log, .topic = "payments"};
    struct books b;
    struct audit_report r;
    if (!store_is_postgres())
        skip();
    history_open(&b);
    books_sql(&b, POSITION);
    assert_int_equal(audit_all(b.reader, &inputs, &r), ERR_OK);
    report_words(&r);
    assert_int_equal(invariant(&r, "I1")->checked, 4 + 6);
    assert_int_equal(invariant(&r, "I1")->broken, 1);
    assert_string_equal(invariant(&r, "I1")->examples[0],
                        "p98 was told to a client (line 6), and is neither in the queue nor in "
                        "payments");
    inputs.log = NULL; /* without the queue nobody can say */
    assert_int_equal(audit_all(b.reader, &inputs, &r), ERR_OK);
    assert_int_equal(invariant(&r, "I1")->broken, 0);
    assert_string_equal(invariant(&r, "I1")->why,
                        "the queue cannot be read: no queue is configured");
    books_close(&b);
}

static const char *why_of_lines(void *ctx)
{
    (void)ctx;
    return "it is on fire";
}

static void test_journal_unreadable(void **state)
{
    (void)state;
    struct books b;
    history_open(&b);
    struct audit_report r;
    struct str text;
    str_init(&text, 65536);
    audit(&b, NULL, &r);
    assert_int_equal(audit_exit_code(&r), 3);
    for (int i = 0; i < r.count; i++) {
        const char *id = r.invariants[i].id;
        bool needs = strcmp(id, "I2") == 0 || strcmp(id, "I6") == 0 || strcmp(id, "I7") == 0 ||
                     strcmp(id, "I8") == 0;
        assert_int_equal(r.invariants[i].checked_at_all, !needs);
    }
    assert_int_equal(invariant(&r, "I2")->checked, 0);
    assert_int_equal(invariant(&r, "I7")->checked, 5); /* its first half */

    struct lines lines = {.err = ERR_UNREACHABLE}; /* in the middle */
    struct journal_source source = source_of(&lines);
    source.why = why_of_lines;
    assert_int_equal(audit_all_of(&b, &source, 0, &r), ERR_OK);
    assert_int_equal(audit_exit_code(&r), 3);
    audit_print(&r, &text);
    assert_non_null(strstr(text.data,
                           "I2 not checked (0 checked): the journal cannot be read: it is on "
                           "fire\n"));
    assert_non_null(strstr(text.data, "I3 ok 9 checked\n"));

    struct lines twice = {.more = {RIGHT[0]}, .err = ERR_OK}; /* a seq twice is no journal */
    audit(&b, &twice, &r);
    assert_int_equal(audit_exit_code(&r), 3);
    struct lines tail = {.late = true, .err = ERR_UNREACHABLE}; /* it went away meanwhile */
    audit(&b, &tail, &r);
    assert_int_equal(audit_exit_code(&r), 3);
    assert_false(invariant(&r, "I6")->checked_at_all);

    books_sql(
        &b,
        "UPDATE payments SET amount = 1 WHERE id = 'p1';"); /* broken says more than not checked */
    audit(&b, NULL, &r);
    assert_int_equal(audit_exit_code(&r), 1);
    str_release(&text);
    books_close(&b);
}

static void test_report(void **state)
{
    (void)state;
    struct books b;
    history_open(&b);
    struct audit_report r;
    struct lines lines = {.err = ERR_OK};
    struct str text;
    str_init(&text, 65536);
    for (int i = 0; i < AUDIT_EXAMPLES_MAX + 2; i++) {
        char sql[2048];
        snprintf(sql, sizeof sql,
                 "INSERT INTO subscriptions (id, user_id, subscription_type, starts_at, "
                 "expiration_date, ends_at) VALUES ('s1%02d', 'u5', 'month', "
                 "'20%02d-01-01T00:00:00.000000Z', '20%02d-01-01T00:00:00.000000Z', "
                 "'20%02d-01-01T00:00:00.000000Z')",
                 i, i, i + 1, i + 1);
        books_sql(&b, sql);
    }
    audit(&b, &lines, &r);
    assert_int_equal(invariant(&r, "I5")->broken, AUDIT_EXAMPLES_MAX + 2);
    assert_int_equal(invariant(&r, "I5")->example_count, AUDIT_EXAMPLES_MAX);
    audit_print(&r, &text);
    assert_non_null(strstr(text.data, "I2 ok 3 checked\n"));
    assert_non_null(strstr(text.data, "I5 broken 18 checked, 12 broken: accepted payments"));
    assert_non_null(strstr(text.data, "\n   s100 has neither"));
    assert_non_null(strstr(text.data, "\n   and 2 more\n"));

    str_clear(&text);
    audit_print_json(&r, &text);
    struct json *doc = json_parse(text.data, text.len, NULL, 0);
    assert_non_null(doc);
    bool ok;
    int64_t n;
    assert_true(json_bool(json_member(doc, "ok"), &ok) && !ok);
    const struct json *all = json_member(doc, "invariants");
    assert_int_equal(json_size(all), 10);
    const struct json *i5 = json_at(all, 4);
    assert_string_equal(json_text(json_member(i5, "id")), "I5");
    assert_true(json_bool(json_member(i5, "ok"), &ok) && !ok);
    assert_true(json_i64(json_member(i5, "checked"), &n) && n == 18);
    assert_true(json_i64(json_member(i5, "broken"), &n) && n == 12);
    assert_int_equal(json_size(json_member(i5, "examples")), AUDIT_EXAMPLES_MAX);
    assert_true(json_bool(json_member(json_at(all, 1), "ok"), &ok) && ok);
    json_free(doc);
    str_release(&text);
    books_close(&b);
}

/* Beside a writer, on a connection that may not write; the books do not change under the audit's
 * feet. */
static void test_read_only(void **state)
{
    (void)state;
    char folder[] = "/tmp/test_audit_XXXXXX", path[64], removal[128];
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/store.db", folder);
    struct books b;
    books_open_file(&b, path);
    history_fill(&b);
    struct audit_report r;
    struct lines lines = {.err = ERR_OK};
    audit(&b, &lines, &r);
    assert_int_equal(audit_exit_code(&r), 0);
    assert_int_equal(db_begin(b.db),
                     ERR_OK); /* what is not committed is not seen, and not waited for */
    books_sql(&b, "UPDATE payments SET amount = 1 WHERE id = 'p1';");
    audit(&b, &lines, &r);
    assert_int_equal(audit_exit_code(&r), 0);
    assert_int_equal(db_commit(b.db), ERR_OK);
    audit(&b, &lines, &r);
    assert_int_equal(audit_exit_code(&r), 1);
    books_close(&b);
    snprintf(removal, sizeof removal, "rm -r %s", folder);
    assert_int_equal(system(removal), 0);
}

static void test_line_parse(void **state)
{
    (void)state;
    static const char GOOD[] =
        "{\"seq\":7,\"key\":\"k\",\"request\":{\"payment_id\":\"p\",\"user_id\":\"u\","
        "\"payment_type\":\"refund\",\"subscription_type\":\"year\",\"refund_of\":\"q\",\"amount\":"
        "1,"
        "\"currency\":\"EUR\"},\"answer\":{\"result\":\"error\",\"reason\":\"voided\","
        "\"transaction_id\":\"t\",\"amount\":2,\"currency\":\"RUB\"}}";
    struct journal_line line;
    struct json *doc = json_parse(GOOD, strlen(GOOD), NULL, 0);
    assert_true(journal_line_parse(doc, &line));
    assert_int_equal(line.seq, 7);
    assert_string_equal(line.key, "k");
    assert_string_equal(line.payment_id, "p");
    assert_string_equal(line.refund_of, "q");
    assert_string_equal(line.result, "error");
    assert_string_equal(line.reason, "voided");
    assert_int_equal(line.amount_minor, 2); /* of the answer */
    assert_string_equal(line.currency, "RUB");
    json_free(doc);

    static const char SHORT[] = "{\"seq\":7,\"key\":\"k\",\"request\":{\"amount\":5},\"answer\":"
                                "{\"result\":\"pending\"}}";
    doc = json_parse(SHORT, strlen(SHORT), NULL, 0);
    assert_true(journal_line_parse(doc, &line));
    assert_string_equal(line.payment_id, "k");
    assert_int_equal(line.amount_minor, 5);
    assert_null(line.refund_of);
    json_free(doc);

    static const char *const BAD[] = {
        "[]",
        "{}",
        "{\"seq\":\"7\",\"key\":\"k\",\"request\":{},\"answer\":{\"result\":\"error\"}}",
        "{\"seq\":7,\"request\":{},\"answer\":{\"result\":\"error\"}}",
        "{\"seq\":7,\"key\":\"k\",\"request\":\"{}\",\"answer\":{\"result\":\"error\"}}",
        "{\"seq\":7,\"key\":\"k\",\"request\":{},\"answer\":{}}",
        "{\"seq\":7,\"key\":\"k\",\"request\":{},\"answer\":null}",
    };
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        doc = json_parse(BAD[i], strlen(BAD[i]), NULL, 0);
        assert_non_null(doc);
        if (journal_line_parse(doc, &line))
            fail_msg("%s", BAD[i]);
        json_free(doc);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_right_history),   cmocka_unit_test(test_empty_store),
        cmocka_unit_test(test_breaks),          cmocka_unit_test(test_journal_unreadable),
        cmocka_unit_test(test_report),          cmocka_unit_test(test_read_only),
        cmocka_unit_test(test_line_parse),      cmocka_unit_test(test_rights),
        cmocka_unit_test(test_same_instance),   cmocka_unit_test(test_no_heartbeat),
        cmocka_unit_test(test_queue),           cmocka_unit_test(test_accepted),
        cmocka_unit_test(test_queue_elsewhere), cmocka_unit_test(test_accepted_elsewhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
