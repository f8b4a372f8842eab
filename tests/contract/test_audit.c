/* The audit (contract section 8): a right history is green; each invariant is broken on purpose,
 * in several ways, and exactly the broken ones are named. Breaks go around what protects the
 * store: checks and triggers off. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "audit/audit.h"
#include "base/embed.h"
#include "base/json.h"

/* Ids are short words here: to the audit they are texts. p: payments, r: refunds, s:
 * subscriptions. */
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

#define ACCOUNT_MISSING "INSERT INTO accounts (user_id) VALUES ('u6') ON CONFLICT DO NOTHING;"

/* ---- the journal ---- */

#define LINE(n, k, p, type, refund, res)                                                           \
    {                                                                                              \
        .seq = (n), .key = (k), .payment_id = (p), .user_id = "u", .payment_type = (type),         \
        .subscription_type = "month", .refund_of = (refund), .result = (res),                      \
        .transaction_id = "t", .amount_minor = 39900, .currency = "RUB"                            \
    }
#define NO_LINE                                                                                    \
    {                                                                                              \
        .key = NULL                                                                                \
    }
#define LINES_RIGHT 6
static const struct journal_line RIGHT[LINES_RIGHT] = {
    LINE(1, "p1", "p1", "payment", NULL, "success"),
    LINE(2, "p3", "p3", "payment", NULL, "pending"), /* a changed answer is a new line */
    LINE(3, "p3", "p3", "payment", NULL, "success"),
    LINE(4, "r1", "r1", "refund", "p3", "success"),
    LINE(5, "p4", "p4", "payment", NULL, "decline"),
    LINE(6, "p5", "p5", "payment", NULL, "pending"),
};

struct lines {
    struct journal_line more[2]; /* after the right ones; key NULL: none */
    enum err err;                /* instead of an end */
};

static enum err lines_read(void *ctx, enum err (*each)(void *, const struct journal_line *),
                           void *to)
{
    const struct lines *l = ctx;
    for (int i = 0; i < LINES_RIGHT; i++) {
        enum err err = each(to, &RIGHT[i]);
        if (err != ERR_OK)
            return err;
    }
    for (int i = 0; i < 2 && l->more[i].key != NULL; i++) {
        enum err err = each(to, &l->more[i]);
        if (err != ERR_OK)
            return err;
    }
    return l->err;
}

/* ---- a store ---- */

static char *migration_text(void)
{
    char path[1024];
    const char *root = getenv("SUBPAY_ROOT");
    snprintf(path, sizeof path, "%s/src/ledger/migrations/sqlite/0001_initial.up.sql",
             root != NULL ? root : ".");
    struct str s;
    char buffer[4096];
    size_t n;
    str_init(&s, 1024 * 1024);
    FILE *f = fopen(path, "re");
    assert_non_null(f);
    while ((n = fread(buffer, 1, sizeof buffer, f)) > 0)
        str_add_bytes(&s, buffer, n);
    fclose(f);
    assert_false(s.failed);
    return s.data;
}

static void script(struct db *db, const char *sql)
{
    if (db_script(db, sql) != ERR_OK)
        fail_msg("%s", db_why(db));
}

static struct db *store_open(const char *path, enum db_mode mode)
{
    char why[256];
    struct db *db;
    char *migration = migration_text();
    if (db_open(&db, path, mode, why, sizeof why) != ERR_OK)
        fail_msg("%s", why);
    script(db, migration);
    script(db, ACCOUNT_MISSING "INSERT INTO accounts (user_id) VALUES ('u4');");
    script(db, HISTORY);
    free(migration);
    return db;
}

static void audit(struct db *db, const struct lines *lines, struct audit_report *out)
{
    struct journal_source source = {.read = lines_read, .ctx = (void *)lines};
    enum err err = audit_run(db, lines != NULL ? &source : NULL, out);
    if (err != ERR_OK)
        fail_msg("%s: %s", err_text(err), db_why(db));
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
    } CHECKED[] = {{"I2", 3},     {"I3", 4 + 5}, {"I4", 11},
                   {"I5", 2 + 4}, {"I7", 5 + 3}, {"I10", 11 + 4}};
    struct db *db = store_open("", DB_MEMORY);
    struct audit_report r;
    struct lines lines = {.err = ERR_OK};
    for (int twice = 0; twice < 2; twice++) { /* nothing is left behind */
        audit(db, &lines, &r);
        assert_int_equal(r.count, 6);
        for (size_t i = 0; i < 6; i++) {
            const struct audit_invariant *inv = &r.invariants[i];
            assert_string_equal(inv->id, CHECKED[i].id);
            if (inv->broken != 0)
                fail_msg("%s: %s", inv->id, inv->examples[0]);
            assert_true(inv->checked_at_all);
            if (inv->checked != CHECKED[i].checked)
                fail_msg("%s: %lld checked", inv->id, (long long)inv->checked);
        }
        assert_int_equal(audit_exit_code(&r), 0);
    }
    db_close(db);
}

static void test_empty_store(void **state)
{
    (void)state;
    char why[256];
    struct db *db;
    char *migration = migration_text();
    assert_int_equal(db_open(&db, "", DB_MEMORY, why, sizeof why), ERR_OK);
    script(db, migration);
    free(migration);
    struct audit_report r;
    struct lines none = {.err = ERR_OK};
    struct journal_source source = {.read = lines_read, .ctx = &none};
    assert_int_equal(audit_run(db, &source, &r), ERR_OK);
    assert_int_equal(audit_exit_code(&r),
                     0); /* what the journal knows and the books do not is I6's */
    db_close(db);
}

#define DUPLICATED_PERIOD                                                                          \
    "DROP TRIGGER subscriptions_insert_no_overlap;" PERIOD("s9", "admin:u9", "u1", "NULL",         \
                                                           "month", LATER_IN_MARCH, NEXT_YEAR)
#define UNLOCK_EVENTS "DROP TRIGGER events_no_update; DROP TRIGGER events_no_delete;"
#define UNCHECKED "PRAGMA ignore_check_constraints=ON;"

struct breaking {
    const char *sql; /* what is done to the store */
    struct journal_line line;
    const char *named;   /* the invariants that must be named, and no others */
    const char *example; /* how an offender of the first of them begins */
};

static const struct breaking BREAKS[] = {
    /* I2 */
    {"", LINE(7, "p1", "p1", "payment", NULL, "success"), "I2", "p1 charged 2 times"},
    {"", LINE(7, "another-key", "p3", "payment", NULL, "success"), "I2", "p3 charged 2 times"},
    {"", LINE(7, "r9", "r9", "refund", "p3", "success"), "I2", "p3 refunded 2 times"},
    /* I3: periods */
    {DUPLICATED_PERIOD, NO_LINE, "I3", "s1 overlaps s9 of user u1"},
    {"DROP TRIGGER subscriptions_update_no_overlap;" PERIOD("s9", "admin:u9", "u6", "NULL", "month",
                                                            LATER_IN_MARCH, APRIL)
         END("s4", "admin:u9", "u6", "NULL", "month", MARCH, APRIL, "2026-03-20T12:00:03.000001Z",
             "admin"),
     NO_LINE, "I3", "s4 overlaps s9 of user u6"},
    /* I3: two in flight, now and in the past */
    {SENT("p6"), NO_LINE, "I3", "p6 user u3 has "},
    {SENT("p6") MOVE("p6", "in_processing", "processed", "decline", "", "NULL"), NO_LINE, "I3",
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
    {"", LINE(7, "p2", "p2", "payment", NULL, "success"), "I7",
     "p2 duplicated, and journal line 7"},
    {"", LINE(7, "p8", "p8", "payment", NULL, "error"), "I7", "p8 duplicated, and journal line 7"},
    /* I10: books that no events tell, and events that no books show */
    {"UPDATE payments SET amount = 1 WHERE id = 'p1';", NO_LINE, "I10", "p1 is completed/accepted"},
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

static void test_breaks(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof BREAKS / sizeof BREAKS[0]; i++) {
        const struct breaking *b = &BREAKS[i];
        struct db *db = store_open("", DB_MEMORY);
        struct lines lines = {.more = {b->line}, .err = ERR_OK};
        struct audit_report r;
        char named[64], first[8];
        script(db, "PRAGMA foreign_keys=OFF;");
        script(db, b->sql);
        audit(db, &lines, &r);
        broken_ids(&r, named, sizeof named);
        if (strcmp(named, b->named) != 0)
            fail_msg("break %zu: named %s, not %s\n%s", i, named, b->named, b->sql);
        assert_int_equal(sscanf(named, "%7s", first), 1);
        const struct audit_invariant *inv = invariant(&r, first);
        if (strncmp(inv->examples[0], b->example, strlen(b->example)) != 0)
            fail_msg("break %zu: %s", i, inv->examples[0]);
        assert_int_equal(audit_exit_code(&r), 1);
        db_close(db);
    }
}

static const char *why_of_lines(void *ctx)
{
    (void)ctx;
    return "it is on fire";
}

static void test_journal_unreadable(void **state)
{
    (void)state;
    struct db *db = store_open("", DB_MEMORY);
    struct audit_report r;
    struct str text;
    str_init(&text, 65536);
    audit(db, NULL, &r);
    assert_int_equal(audit_exit_code(&r), 3);
    for (int i = 0; i < r.count; i++) {
        bool needs = strcmp(r.invariants[i].id, "I2") == 0 || strcmp(r.invariants[i].id, "I7") == 0;
        assert_int_equal(r.invariants[i].checked_at_all, !needs);
    }
    assert_int_equal(invariant(&r, "I2")->checked, 0);
    assert_int_equal(invariant(&r, "I7")->checked, 5); /* its first half */

    struct lines lines = {.err = ERR_UNREACHABLE}; /* in the middle */
    struct journal_source source = {.read = lines_read, .why = why_of_lines, .ctx = &lines};
    assert_int_equal(audit_run(db, &source, &r), ERR_OK);
    assert_int_equal(audit_exit_code(&r), 3);
    audit_print(&r, &text);
    assert_non_null(strstr(text.data,
                           "I2 not checked (0 checked): the journal cannot be read: it is on "
                           "fire\n"));
    assert_non_null(strstr(text.data, "I3 ok 9 checked\n"));

    struct lines twice = {.more = {RIGHT[0]}, .err = ERR_OK}; /* a seq twice is no journal */
    audit(db, &twice, &r);
    assert_int_equal(audit_exit_code(&r), 3);

    script(
        db,
        "UPDATE payments SET amount = 1 WHERE id = 'p1';"); /* broken says more than not checked */
    audit(db, NULL, &r);
    assert_int_equal(audit_exit_code(&r), 1);
    str_release(&text);
    db_close(db);
}

static void test_report(void **state)
{
    (void)state;
    struct db *db = store_open("", DB_MEMORY);
    struct audit_report r;
    struct lines lines = {.err = ERR_OK};
    struct str text;
    str_init(&text, 65536);
    for (int i = 0; i < AUDIT_EXAMPLES_MAX + 2; i++) {
        char sql[2048];
        snprintf(sql, sizeof sql,
                 "INSERT INTO subscriptions (id, user_id, subscription_type, starts_at, "
                 "expiration_date, ends_at) VALUES ('s1%02d', 'u5', 'month', '20%02d', '20%02d', "
                 "'20%02d')",
                 i, i, i + 1, i + 1);
        script(db, sql);
    }
    audit(db, &lines, &r);
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
    assert_int_equal(json_size(all), 6);
    const struct json *i5 = json_at(all, 3);
    assert_string_equal(json_text(json_member(i5, "id")), "I5");
    assert_true(json_bool(json_member(i5, "ok"), &ok) && !ok);
    assert_true(json_i64(json_member(i5, "checked"), &n) && n == 18);
    assert_true(json_i64(json_member(i5, "broken"), &n) && n == 12);
    assert_int_equal(json_size(json_member(i5, "examples")), AUDIT_EXAMPLES_MAX);
    assert_true(json_bool(json_member(json_at(all, 0), "ok"), &ok) && ok);
    json_free(doc);
    str_release(&text);
    db_close(db);
}

/* Beside a writer, on a connection that may not write; the books do not change under the audit's
 * feet. */
static void test_read_only(void **state)
{
    (void)state;
    char folder[] = "/tmp/test_audit_XXXXXX", path[64], why[256], removal[128];
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/store.db", folder);
    struct db *writer = store_open(path, DB_WRITE), *reader;
    assert_int_equal(db_open(&reader, path, DB_READ, why, sizeof why), ERR_OK);
    struct audit_report r;
    struct lines lines = {.err = ERR_OK};
    audit(reader, &lines, &r);
    assert_int_equal(audit_exit_code(&r), 0);
    assert_int_equal(db_begin(writer),
                     ERR_OK); /* what is not committed is not seen, and not waited for */
    script(writer, "UPDATE payments SET amount = 1 WHERE id = 'p1';");
    audit(reader, &lines, &r);
    assert_int_equal(audit_exit_code(&r), 0);
    assert_int_equal(db_commit(writer), ERR_OK);
    audit(reader, &lines, &r);
    assert_int_equal(audit_exit_code(&r), 1);
    db_close(reader);
    db_close(writer);
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
        cmocka_unit_test(test_right_history), cmocka_unit_test(test_empty_store),
        cmocka_unit_test(test_breaks),        cmocka_unit_test(test_journal_unreadable),
        cmocka_unit_test(test_report),        cmocka_unit_test(test_read_only),
        cmocka_unit_test(test_line_parse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
