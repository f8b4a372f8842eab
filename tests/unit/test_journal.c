/* billing/journal.h: pages of the processing's journal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/times.h"
#include "billing/journal.h"

#define KEY "bb000000-0000-7000-8000-000000000001"
#define USER "aa000000-0000-7000-8000-000000000002"
#define CHARGE "bb000000-0000-7000-8000-000000000003"
#define REQUEST                                                                                    \
    "{\"payment_id\":\"" KEY "\",\"user_id\":\"" USER "\",\"payment_type\":\"payment\","           \
    "\"subscription_type\":\"year\",\"requested_at\":\"2025-11-24T16:00:00.000000Z\","             \
    "\"amount\":299900,\"currency\":\"RUB\"}"
#define ANSWER(members)                                                                            \
    "{" members "\"payment_id\":\"" KEY "\",\"amount\":299900,\"currency\":\"RUB\"}"
#define LINE(seq, request, answer)                                                                 \
    "{\"seq\":" seq ",\"key\":\"" KEY "\",\"request\":" request ",\"answer\":" answer "}\n"
#define GOOD LINE("7", REQUEST, ANSWER("\"result\":\"success\",\"transaction_id\":\"t-1\","))

static struct journal_page *page_of(const char *text)
{
    struct journal_page *page = NULL;
    char why[200] = "";
    if (!journal_page_parse(text, strlen(text), &page, why, sizeof why))
        fail_msg("%s: %s", text, why);
    return page;
}

static void refused(const char *text, const char *why_part)
{
    struct journal_page *page = (struct journal_page *)why_part; /* untouched */
    char why[200] = "";
    assert_false(journal_page_parse(text, strlen(text), &page, why, sizeof why));
    assert_ptr_equal(page, why_part);
    if (!strstr(why, why_part))
        fail_msg("%s: \"%s\" does not say \"%s\"", text, why, why_part);
}

static void a_line(void **state)
{
    (void)state;
    struct journal_page *page = page_of(GOOD);
    assert_int_equal(page->count, 1);
    const struct journal_entry *e = &page->entries[0];
    char id[UUID_TEXT], at[TIME_TEXT];
    assert_int_equal(e->seq, 7);
    assert_int_equal(e->answer, LEARN_SUCCESS);
    assert_false(e->voided);
    uuid_format(&e->request.payment_id, id);
    assert_string_equal(id, KEY);
    uuid_format(&e->request.user_id, id);
    assert_string_equal(id, USER);
    assert_true(uuid_is_nil(&e->request.refund_of));
    assert_int_equal(e->request.payment_type, PAYMENT_TYPE_PAYMENT);
    assert_int_equal(e->request.subscription_type, SUBSCRIPTION_YEAR);
    time_format(e->request.requested_at_us, at);
    assert_string_equal(at, "2025-11-24T16:00:00.000000Z");
    assert_string_equal(e->request.payment_method, "");
    assert_string_equal(e->request.actor, "");
    assert_int_equal(e->money.amount_minor, 299900);
    assert_string_equal(e->money.currency, "RUB");
    assert_int_equal(e->body_len, strlen(REQUEST));
    assert_string_equal(e->body, REQUEST);
    assert_string_equal(e->processing_id, "t-1");
    assert_string_equal(e->action_url, "");
    assert_int_equal(e->expires_at_us, TIME_NEVER);
    journal_page_free(page);
}

static void pages(void **state)
{
    (void)state;
    struct journal_page *page = page_of("");
    assert_int_equal(page->count, 0);
    journal_page_free(page);
    page = page_of("\n \r\n");
    assert_int_equal(page->count, 0);
    journal_page_free(page);
    page = page_of(GOOD "\r\n" LINE("9", REQUEST, ANSWER("\"result\":\"decline\","))
                       LINE("10", REQUEST, ANSWER("\"result\":\"error\",")));
    assert_int_equal(page->count, 3);
    assert_int_equal(page->entries[1].answer, LEARN_DECLINE);
    assert_string_equal(page->entries[1].processing_id, "");
    assert_int_equal(page->entries[2].answer, LEARN_ERROR);
    assert_int_equal(page->entries[2].seq, 10);
    journal_page_free(page);
    char open[sizeof GOOD];
    snprintf(open, sizeof open, "%.*s", (int)(sizeof GOOD - 2), GOOD); /* without its newline */
    page = page_of(open);
    assert_int_equal(page->count, 1);
    journal_page_free(page);
    journal_page_free(NULL);
}

/* What was sent is kept as it is, whatever stands around it. */
static void the_body_is_kept_byte_for_byte(void **state)
{
    (void)state;
    static const char ODD[] =
        "{ \"payment_method\": \"}\\\"]{,\\\\\", \"x\": [1, {\"request\": 2}, "
        "\"]\"],\"payment_id\":\"" KEY "\",\"user_id\":\"" USER
        "\",\"payment_type\":\"payment\",\"subscription_type\":\"year\","
        "\"requested_at\":\"2025-11-24T16:00:00Z\",\"amount\":299900.0,\"currency\":\"RUB\" }";
    char line[2000];
    snprintf(line, sizeof line,
             "  { \"n\" : null , \"a\":[\"request\",{}], \"answer\": %s, \"key\":\"%s\", "
             "\"request\"  :  %s  , \"seq\" : 3 }  \n",
             ANSWER("\"result\":\"success\","), KEY, ODD);
    struct journal_page *page = page_of(line);
    assert_string_equal(page->entries[0].body, ODD);
    assert_int_equal(page->entries[0].body_len, strlen(ODD));
    assert_string_equal(page->entries[0].request.payment_method, "}\"]{,\\");
    journal_page_free(page);
}

static void answers(void **state)
{
    (void)state;
    struct journal_page *page =
        page_of(LINE("1", REQUEST,
                     ANSWER("\"result\":\"pending\",\"action_url\":\"https://p.example/1?a=b\","
                            "\"expires_at\":\"2025-11-24T16:15:00Z\","))
                    LINE("2", REQUEST, ANSWER("\"result\":\"error\",\"reason\":\"voided\","))
                        LINE("3", REQUEST,
                             ANSWER("\"result\":\"success\",\"reason\":\"voided\","
                                    "\"action_url\":\"https://p.example/1\","))
                            LINE("4", REQUEST,
                                 ANSWER("\"result\":\"pending\",\"action_url\":\"javascript:x\","
                                        "\"expires_at\":null,\"transaction_id\":\"a\\nb\","))
                                LINE("5", REQUEST, ANSWER("\"result\":\"pending\",")));
    assert_int_equal(page->count, 5);
    const struct journal_entry *e = page->entries;
    assert_int_equal(e[0].answer, LEARN_PENDING);
    assert_string_equal(e[0].action_url, "https://p.example/1?a=b");
    assert_int_equal(e[0].expires_at_us - e[0].request.requested_at_us, 900 * US_PER_S);
    assert_true(e[1].voided);
    assert_false(e[2].voided);
    assert_string_equal(e[2].action_url, "");
    assert_string_equal(e[3].action_url, "");
    assert_string_equal(e[3].processing_id, "");
    assert_int_equal(e[3].expires_at_us, TIME_NEVER);
    assert_string_equal(e[4].action_url, "");
    journal_page_free(page);
}

static void a_refund(void **state)
{
    (void)state;
    static const char REFUND[] =
        "{\"payment_id\":\"" KEY "\",\"user_id\":\"" USER "\",\"payment_type\":\"refund\","
        "\"subscription_type\":\"year\",\"requested_at\":\"2025-11-24T16:00:00Z\","
        "\"amount\":299900,\"currency\":\"RUB\"%s}";
    char request[600], line[1200], id[UUID_TEXT];
    snprintf(request, sizeof request, REFUND, ",\"refund_of\":\"" CHARGE "\"");
    snprintf(line, sizeof line, LINE("1", "%s", ANSWER("\"result\":\"success\",")), request);
    struct journal_page *page = page_of(line);
    assert_int_equal(page->entries[0].request.payment_type, PAYMENT_TYPE_REFUND);
    uuid_format(&page->entries[0].request.refund_of, id);
    assert_string_equal(id, CHARGE);
    journal_page_free(page);
    snprintf(request, sizeof request, REFUND, "");
    snprintf(line, sizeof line, LINE("1", "%s", ANSWER("\"result\":\"success\",")), request);
    refused(line, "refund_of");
}

/* The good line with one text in it replaced. */
static void refused_with(const char *text, const char *by, const char *why_part)
{
    char line[1500];
    const char *at = strstr(GOOD, text);
    assert_non_null(at);
    snprintf(line, sizeof line, "%.*s%s%s", (int)(at - GOOD), GOOD, by, at + strlen(text));
    refused(line, why_part);
}

static void what_is_not_what_the_contract_says_is_no_answer(void **state)
{
    (void)state;
    refused("<html>", "journal line behind 0");
    refused("[]", "not a JSON object");
    refused("{}", "seq");
    refused(GOOD GOOD, "not ascending");
    refused_with("\"seq\":7", "\"seq\":0", "seq");
    refused_with("\"seq\":7", "\"seq\":\"7\"", "seq");
    refused_with("\"key\":\"" KEY "\"", "\"key\":\"" USER "\"", "key");
    refused_with("\"key\":", "\"kee\":", "key");
    refused_with("\"request\":", "\"requ\":", "request");
    refused_with("\"request\":", "\"req\\u0075est\":", "request");
    refused_with("\"user_id\":\"" USER "\"", "\"user_id\":\"00000000-0000-0000-0000-000000000000\"",
                 "user_id");
    refused_with("\"payment\"", "\"gift\"", "payment_type");
    refused_with("\"year\"", "\"week\"", "subscription_type");
    refused_with("2025-11-24T16:00:00.000000Z", "yesterday", "requested_at");
    refused_with("2025-11-24T16:00:00.000000Z", "1969-11-24T16:00:00Z", "requested_at");
    refused_with("\"amount\":299900", "\"amount\":0", "request.amount");
    struct journal_page *page = NULL;
    char why[100];
    assert_false(journal_page_parse("\0", 1, &page, why, sizeof why));
}

static void unclear(const char *text, const char *member)
{
    struct journal_page *page = page_of(text);
    const struct journal_entry *e = &page->entries[0];
    assert_int_equal(e->answer, LEARN_UNCLEAR);
    assert_string_equal(e->unclear, member);
    assert_string_equal(e->action_url, "");
    assert_string_equal(e->processing_id, "");
    assert_int_equal(e->money.amount_minor, 299900);
    journal_page_free(page);
}

/* Whose it is can be read, so it is about one payment, and no reason to stop all. */
static void an_answer_that_is_none_is_unclear(void **state)
{
    (void)state;
    unclear("{\"seq\":7,\"key\":\"" KEY "\",\"request\":" REQUEST "}", "answer.result");
    unclear(LINE("7", REQUEST, "null"), "answer.result");
    unclear(LINE("7", REQUEST, ANSWER("\"result\":\"maybe\",\"transaction_id\":\"t-1\",")),
            "answer.result");
    unclear(LINE("1", REQUEST,
                 "{\"result\":\"success\",\"payment_id\":\"" KEY
                 "\",\"amount\":1,\"currency\":\"RUB\"}"),
            "answer.amount or currency");
    unclear(LINE("1", REQUEST,
                 "{\"result\":\"success\",\"payment_id\":\"" KEY
                 "\",\"amount\":299900,\"currency\":\"EUR\"}"),
            "answer.amount or currency");
    unclear(LINE("1", REQUEST,
                 "{\"result\":\"success\",\"payment_id\":\"" USER
                 "\",\"amount\":299900,\"currency\":\"RUB\"}"),
            "answer.payment_id");
    unclear(LINE("1", REQUEST, ANSWER("\"result\":\"pending\",\"expires_at\":\"soon\",")),
            "answer.expires_at");
}

static void a_page_ends_before_what_cannot_be_understood(void **state)
{
    static const char *const BAD[] = {"{", "{}", LINE("8", "{}", ANSWER("")), "\1"};
    (void)state;
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        char text[3000];
        snprintf(text, sizeof text, "%s%s\n%s", GOOD, BAD[i],
                 LINE("9", REQUEST, ANSWER("\"result\":\"success\",")));
        struct journal_page *page = page_of(text);
        assert_int_equal(page->count, 1);
        assert_int_equal(page->entries[0].seq, 7);
        journal_page_free(page);
    }
}

static void every_cut_of_a_line_is_refused(void **state)
{
    (void)state;
    for (size_t len = 1; len < sizeof GOOD - 2; len++) {
        struct journal_page *page = NULL;
        char why[200] = "";
        char *text = malloc(len); /* so that a sanitizer sees who reads beyond it */
        assert_non_null(text);
        memcpy(text, GOOD, len);
        assert_false(journal_page_parse(text, len, &page, why, sizeof why));
        assert_true(why[0] != '\0');
        free(text);
    }
}

static void a_page_has_its_maximum(void **state)
{
    (void)state;
    struct journal_page *page = NULL;
    char why[100] = "";
    char *text = malloc(JOURNAL_PAGE_MAX + 1);
    assert_non_null(text);
    memset(text, '\n', JOURNAL_PAGE_MAX + 1);
    assert_false(journal_page_parse(text, JOURNAL_PAGE_MAX + 1, &page, why, sizeof why));
    assert_non_null(strstr(why, "too long"));
    assert_false(journal_page_parse(text, JOURNAL_LINES_MAX + 1, &page, why, sizeof why));
    size_t len = 0;
    for (int i = 1; i <= JOURNAL_LINES_MAX; i++)
        len += (size_t)snprintf(text + len, 1000,
                                LINE("%d", REQUEST, ANSWER("\"result\":\"success\",")), i);
    if (!journal_page_parse(text, len, &page, why, sizeof why))
        fail_msg("%s", why);
    assert_int_equal(page->count, JOURNAL_LINES_MAX);
    assert_int_equal(page->entries[JOURNAL_LINES_MAX - 1].seq, JOURNAL_LINES_MAX);
    journal_page_free(page);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line),
        cmocka_unit_test(pages),
        cmocka_unit_test(the_body_is_kept_byte_for_byte),
        cmocka_unit_test(answers),
        cmocka_unit_test(a_refund),
        cmocka_unit_test(what_is_not_what_the_contract_says_is_no_answer),
        cmocka_unit_test(an_answer_that_is_none_is_unclear),
        cmocka_unit_test(a_page_ends_before_what_cannot_be_understood),
        cmocka_unit_test(every_cut_of_a_line_is_refused),
        cmocka_unit_test(a_page_has_its_maximum),
    };
    return cmocka_run_group_tests_name("journal", tests, NULL, NULL);
}
