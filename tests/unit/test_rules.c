/* Runs the text tables of tests/rules (see the README there) against billing/. A case that the
 * program decides otherwise, or a line that cannot be understood, fails with file:line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "rules_case.h"
#include "rules_undecided.h"

#define CASES_MIN 60 /* fewer means that a table was not read */

/* ---- rules of one line ---- */

static void expect_time(struct runner *r, const char *what, int64_t want_us, int64_t got_us)
{
    char text[TIME_TEXT];
    time_format(got_us, text);
    if (want_us != got_us)
        fail_at(r, r->line, "%s: the program says %s", what, text);
}

static bool check_lasts(struct runner *r, struct words *w)
{
    enum subscription_type type;
    int64_t from_us, until_us;
    if (!take_subscription(w, &type) || !take_phrase(w, "from") || !take_time(w, &from_us) ||
        !take_phrase(w, "until") || !take_time(w, &until_us))
        return false;
    expect_time(r, "until", until_us, period_expiration_us(from_us, type));
    return at_end(w);
}

static bool check_opens(struct runner *r, struct words *w)
{
    enum subscription_type type;
    int64_t settled_us, after_us = 0, from_us, until_us;
    if (!take_subscription(w, &type) || !take_phrase(w, "settled") || !take_time(w, &settled_us) ||
        !take_phrase(w, "after") || (!take_phrase(w, "nothing") && !take_time(w, &after_us)) ||
        !take_phrase(w, "from") || !take_time(w, &from_us) || !take_phrase(w, "until") ||
        !take_time(w, &until_us))
        return false;
    struct period p = period_after(settled_us, after_us, type);
    expect_time(r, "from", from_us, p.starts_at_us);
    expect_time(r, "until", until_us, p.expires_at_us);
    expect_time(r, "ends", until_us, p.ends_at_us);
    return at_end(w);
}

static bool check_shortens(struct runner *r, struct words *w)
{
    struct period p;
    int64_t at_us, until_us;
    if (!take_phrase(w, "from") || !take_time(w, &p.starts_at_us) || !take_phrase(w, "to") ||
        !take_time(w, &p.ends_at_us) || !take_phrase(w, "at") || !take_time(w, &at_us) ||
        !take_phrase(w, "until") || !take_time(w, &until_us))
        return false;
    p.expires_at_us = p.ends_at_us;
    expect_time(r, "until", until_us, period_end_early_us(&p, at_us));
    return at_end(w);
}

static bool check_settled(struct runner *r, struct words *w)
{
    enum payment_type settled, waiting[ITEMS_MAX];
    enum reason reason = REASON_NONE;
    size_t count = 0;
    int64_t want;
    if (!payment_type_parse(take(w), &settled))
        return false;
    if (!take_phrase(w, "waiting") &&
        (!reason_parse(take(w), &reason) || !take_phrase(w, "waiting")))
        return false;
    bool none = take_phrase(w, "nothing");
    while (count < ITEMS_MAX && payment_type_parse(peek(w), &waiting[count])) {
        take(w);
        count++;
    }
    if (none != (count == 0) || !take_phrase(w, "becomes") || !take_i64(w, ITEMS_MAX, &want))
        return false;
    size_t got = decide_waiting(settled, reason, waiting, count);
    if (got != (size_t)want)
        fail_at(r, r->line, "the program says %zu", got);
    return at_end(w);
}

static bool check_status(struct runner *r, struct words *w)
{
    enum processing_status processing;
    enum payment_status named;
    bool allowed[PAYMENT_STATUS_COUNT] = {false};
    if (!processing_status_parse(take(w), &processing) || !take_phrase(w, "may be") || at_end(w))
        return false;
    while (!at_end(w)) {
        if (!payment_status_parse(take(w), &named))
            return false;
        allowed[named] = true;
    }
    for (int i = 0; i < PAYMENT_STATUS_COUNT; i++)
        if (status_pair_legal(processing, (enum payment_status)i) != allowed[i])
            fail_at(r, r->line, "%s: the program says otherwise",
                    payment_status_text((enum payment_status)i));
    return true;
}

static bool check_moves(struct runner *r, struct words *w)
{
    enum processing_status from, to;
    bool allowed[PROCESSING_STATUS_COUNT] = {false};
    if (!processing_status_parse(take(w), &from) || !take_phrase(w, "to") || at_end(w))
        return false;
    if (!take_phrase(w, "nothing"))
        while (!at_end(w)) {
            if (!processing_status_parse(take(w), &to))
                return false;
            allowed[to] = true;
        }
    for (int i = 0; i < PROCESSING_STATUS_COUNT; i++)
        if (status_move_legal(from, (enum processing_status)i) != allowed[i])
            fail_at(r, r->line, "%s: the program says otherwise",
                    processing_status_text((enum processing_status)i));
    return at_end(w);
}

static const struct {
    const char *word;
    bool (*check)(struct runner *r, struct words *w);
} SINGLES[] = {
    {"lasts", check_lasts},         {"opens", check_opens},   {"shortens", check_shortens},
    {"settled", check_settled},     {"status", check_status}, {"moves", check_moves},
    {"undecided", check_undecided}, {"pause", check_pause},   {"voided", check_voided},
    {"page", check_page},           {"learns", check_learn},  {"decides", check_decides},
    {"kept", check_kept},           {"aged", check_aged},
};

/* ---- tables ---- */

static void line_run(struct runner *r, const char *line, size_t len)
{
    struct words w;
    bool good = words_split(&w, line, len);
    if (good && (w.count == 0 || w.word[0][0] == '#'))
        return;
    if (good && take_phrase(&w, "case")) {
        good = case_open(r, &w);
    } else if (good) {
        size_t i = 0, n = sizeof SINGLES / sizeof SINGLES[0];
        while (i < n && !take_phrase(&w, SINGLES[i].word))
            i++;
        if (i < n) {
            case_close(r);
            r->cases++;
            good = SINGLES[i].check(r, &w);
        } else {
            good = case_line(r, &w);
        }
    }
    if (!good)
        fail_at(r, r->line, "cannot be understood: %.*s", (int)len, line);
}

static void table_run(struct runner *r, const char *text)
{
    r->line = 0;
    while (*text != '\0') {
        size_t len = strcspn(text, "\n");
        r->line++;
        line_run(r, text, len);
        text += len + (text[len] == '\n');
    }
    case_close(r);
}

static char *file_read(const char *path)
{
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

static int is_table(const struct dirent *e)
{
    const char *dot = strrchr(e->d_name, '.');
    return dot != NULL && strcmp(dot, ".txt") == 0;
}

static void test_tables(void **state)
{
    (void)state;
    const char *root = getenv("SUBPAY_ROOT");
    char folder[1024], path[2048];
    snprintf(folder, sizeof folder, "%s/tests/rules", root != NULL ? root : ".");
    struct dirent **files;
    int count = scandir(folder, &files, is_table, alphasort), cases = 0, failures = 0;
    assert_true(count > 0);
    for (int i = 0; i < count; i++) {
        struct runner r = {.file = files[i]->d_name};
        snprintf(path, sizeof path, "%s/%s", folder, files[i]->d_name);
        char *text = file_read(path);
        table_run(&r, text);
        printf("%-28s %3d cases, %d failures\n", r.file, r.cases, r.failures);
        assert_true(r.cases > 0);
        cases += r.cases;
        failures += r.failures;
        free(text);
        free(files[i]);
    }
    free(files);
    printf("%-28s %3d cases, %d failures\n", "all tables", cases, failures);
    assert_int_equal(failures, 0);
    assert_true(cases >= CASES_MIN);
}

/* The runner itself must be able to fail: each text has exactly one fault. */
static void test_runner_fails(void **state)
{
    (void)state;
#define FACTS "case x\nnow 2026-03-10 12:00\nrequest A payment month at 2026-03-10 11:59\n"
    static const char *const FAULTS[] = {
        "nonsense\n",
        "now 2026-03-10\n", /* outside a case */
        "case nothing is expected\n",
        "lasts month from 2026-01-31 until 2026-03-03\n",
        "lasts month from 2026-02-30 until 2026-03-30\n", /* no such day */
        "lasts month from 2026-01-31 until 2026-02-28 more\n",
        "status new may be accepted unknown\n",
        "moves new to processed\n",
        "settled payment waiting payment becomes 0\n",
        "shortens from 2026-03-01 to 2026-04-01 at 2026-03-10 until 2026-04-01\n",
        "case x\nprice month 39900 RUB from 2026-01-01\npays month requested 2026-01-01 stored "
        "2026-01-01 39901 RUB\n",
        FACTS "expect A duplicate of B\n", /* there is no B */
        FACTS "expect A sent\nexpect A sent\n",
        FACTS "expect A sent for 39901 RUB\n",
        FACTS "expect A closed too_old\n",
        FACTS, /* A has no expectation */
        FACTS "expect A sent\nexpect B sent\n",
        "undecided after 5 minutes memory 24 hours asks voids does ask\n",
        "undecided after 5 minutes memory 24 hours asks voids does send needs decision\n",
        "undecided after 5 minutes memory a while asks voids does send\n",
        "kept after 5 minutes memory 24 hours as old\n",
        "aged store 5 hours machine 13 hours is 5 hours\n",
        "aged store minus 5 hours is 0 seconds\n",
        "pause after 0 tries between 500 milliseconds and 2 seconds\n",
        "voided pending expired ends superseded\n",
        "page month waiting payment month becomes 0 superseded\n",
        "page month waiting refund month becomes 0\n",
        "learns success of new does record\n",
        "learns success of unknown does record rewound\n",
        "learns decline of processed accepted does nothing\n",
        "decides error of in_processing shown memory 24 hours asks voids does record\n",
    };
    for (size_t i = 0; i < sizeof FAULTS / sizeof FAULTS[0]; i++) {
        struct runner r = {.file = "test", .quiet = true};
        table_run(&r, FAULTS[i]);
        if (r.failures == 0)
            fail_msg("not found: %s", FAULTS[i]);
    }
    struct runner good = {.file = "test"};
    table_run(&good, FACTS "expect A sent\n");
    assert_int_equal(good.failures, 0);
    assert_int_equal(good.cases, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tables),
        cmocka_unit_test(test_runner_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
