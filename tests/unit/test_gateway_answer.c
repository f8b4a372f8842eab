/* Rule 6: what is an answer of the processing, and what only looks like one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "gateway/processing.h"

#define ID "3f2b1a00-0000-7000-8000-00000000abcd"
#define SAME "\"payment_id\":\"" ID "\",\"amount\":39900,\"currency\":\"RUB\""

static struct gateway_call call_of(enum gateway_verb verb)
{
    struct gateway_call call = {.verb = verb, .money = {39900, "RUB"}};
    assert_true(uuid_parse(ID, strlen(ID), &call.payment_id));
    return call;
}

static struct gateway_answer read_bytes(enum gateway_verb verb, int status, const char *body,
                                        size_t len)
{
    struct gateway_call call = call_of(verb);
    struct gateway_answer answer;
    char *copy = malloc(len ? len : 1); /* so that a look behind the end is seen */
    memcpy(copy, body, len);
    memset(&answer, 0xa5, sizeof answer);
    processing_read_answer(&call, status, copy, len, &answer);
    free(copy);
    assert_int_equal(answer.verb, verb);
    assert_true(uuid_equal(&answer.payment_id, &call.payment_id));
    assert_true(memchr(answer.note, 0, sizeof answer.note) != NULL);
    return answer;
}

static struct gateway_answer read_text(enum gateway_verb verb, int status, const char *body)
{
    return read_bytes(verb, status, body, strlen(body));
}

static void definite_answers(void **state)
{
    (void)state;
    const struct {
        const char *body;
        enum gateway_result result;
        bool voided;
    } cases[] = {
        {"{\"result\":\"success\"," SAME ",\"transaction_id\":\"t1\"}", GATEWAY_SUCCESS, false},
        {"{\"result\":\"decline\"," SAME "}", GATEWAY_DECLINE, false},
        {"{\"result\":\"error\"," SAME "}", GATEWAY_ERROR, false},
        {"{\"result\":\"error\"," SAME ",\"reason\":\"voided\"}", GATEWAY_ERROR, true},
        {"{\"result\":\"error\"," SAME ",\"reason\":\"other\"}", GATEWAY_ERROR, false},
        {"{\"result\":\"success\"," SAME ",\"reason\":\"voided\"}", GATEWAY_SUCCESS, false},
        {" {\"more\":[1,{}]," SAME ",\"result\":\"success\"}\n", GATEWAY_SUCCESS, false},
        {"{\"result\":\"success\",\"payment_id\":\"3F2B1A00-0000-7000-8000-00000000ABCD\","
         "\"amount\":39900.0,\"currency\":\"RUB\"}",
         GATEWAY_SUCCESS, false},
    };
    const enum gateway_verb verbs[] = {GATEWAY_SEND, GATEWAY_ASK, GATEWAY_VOID};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t v = 0; v < 3; v++) {
            struct gateway_answer a = read_text(verbs[v], 200, cases[i].body);
            assert_int_equal(a.result, cases[i].result);
            assert_int_equal(a.voided, cases[i].voided);
            assert_false(a.ask_only || a.unknown_key);
            assert_string_equal(a.note, "");
            assert_int_equal(a.expires_at_us, TIME_NEVER);
        }
    assert_string_equal(read_text(GATEWAY_SEND, 200, cases[0].body).transaction_id, "t1");
    assert_string_equal(read_text(GATEWAY_SEND, 200, cases[1].body).transaction_id, "");
}

static void odd_transaction_ids_do_not_undo_an_answer(void **state)
{
    (void)state;
    char body[1024], id[300];
    const char *ids[] = {"1", "null", "\"a\\nb\"", "\"\\u0007\"", "[]"};
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        snprintf(body, sizeof body, "{\"result\":\"success\"," SAME ",\"transaction_id\":%s}",
                 ids[i]);
        struct gateway_answer a = read_text(GATEWAY_SEND, 200, body);
        assert_int_equal(a.result, GATEWAY_SUCCESS);
        assert_string_equal(a.transaction_id, "");
    }
    for (size_t len = 255; len <= 256; len++) {
        memset(id, 'i', len);
        id[len] = '\0';
        snprintf(body, sizeof body, "{\"result\":\"success\"," SAME ",\"transaction_id\":\"%s\"}",
                 id);
        struct gateway_answer a = read_text(GATEWAY_SEND, 200, body);
        assert_int_equal(a.result, GATEWAY_SUCCESS);
        assert_int_equal(strlen(a.transaction_id), len == 255 ? 255 : 0);
    }
}

static void everything_else_is_no_answer(void **state)
{
    (void)state;
    const char *bodies[] = {
        "",
        " ",
        "success",
        "success!",
        "null",
        "true",
        "200",
        "\"success\"",
        "[]",
        "{}",
        "<html>success</html>",
        "{\"result\":\"success\"}",
        "{" SAME "}",
        "{\"result\":null," SAME "}",
        "{\"result\":true," SAME "}",
        "{\"result\":[\"success\"]," SAME "}",
        "{\"result\":\"Success\"," SAME "}",
        "{\"result\":\"success \"," SAME "}",
        "{\"result\":\"\"," SAME "}",
        "{\"result\":\"ok\"," SAME "}",
        "{\"Result\":\"success\"," SAME "}",
        "{\"result\":\"success\\u0000\"," SAME "}",
        "[{\"result\":\"success\"," SAME "}]",
        "{\"answer\":{\"result\":\"success\"," SAME "}}",
        /* twice, cut, more behind it, not UTF-8 */
        "{\"result\":\"success\",\"result\":\"success\"," SAME "}",
        "{\"result\":\"decline\",\"result\":\"success\"," SAME "}",
        "{\"result\":\"success\"," SAME ",\"amount\":39900}",
        "{\"result\":\"success\"," SAME,
        "{\"result\":\"success\"," SAME "}}",
        "{\"result\":\"success\"," SAME "}{}",
        "{\"result\":\"success\"," SAME ",}",
        "{'result':'success'," SAME "}",
        "{\"result\":\"success\"," SAME ",\"x\":\"\xff\"}",
        "{\"result\":\"success\"," SAME ",\"x\":\"\\ud800\"}",
        "\xef\xbb\xbf{\"result\":\"success\"," SAME "}",
        /* another payment */
        "{\"result\":\"success\",\"payment_id\":\"3f2b1a00-0000-7000-8000-00000000abce\","
        "\"amount\":39900,\"currency\":\"RUB\"}",
        "{\"result\":\"success\",\"payment_id\":\"\",\"amount\":39900,\"currency\":\"RUB\"}",
        "{\"result\":\"success\",\"payment_id\":\"" ID " \",\"amount\":39900,\"currency\":\"RUB\"}",
        "{\"result\":\"success\",\"payment_id\":\"{" ID "}\",\"amount\":1,\"currency\":\"RUB\"}",
        "{\"result\":\"success\",\"payment_id\":null,\"amount\":39900,\"currency\":\"RUB\"}",
        "{\"result\":\"success\",\"amount\":39900,\"currency\":\"RUB\"}",
        /* another amount */
        "{\"result\":\"success\",\"payment_id\":\"" ID "\",\"amount\":39901,\"currency\":\"RUB\"}",
        "{\"result\":\"success\",\"payment_id\":\"" ID "\",\"amount\":-39900,\"currency\":\"RUB\"}",
        "{\"result\":\"success\",\"payment_id\":\"" ID
        "\",\"amount\":\"39900\",\"currency\":\"RUB\"}",
        "{\"result\":\"success\",\"payment_id\":\"" ID
        "\",\"amount\":39900.5,\"currency\":\"RUB\"}",
        "{\"result\":\"success\",\"payment_id\":\"" ID
        "\",\"amount\":399e400,\"currency\":\"RUB\"}",
        "{\"result\":\"success\",\"payment_id\":\"" ID
        "\",\"amount\":18446744073709591516,\"currency\":\"RUB\"}",
        "{\"result\":\"success\",\"payment_id\":\"" ID "\",\"amount\":null,\"currency\":\"RUB\"}",
        "{\"result\":\"success\",\"payment_id\":\"" ID "\",\"currency\":\"RUB\"}",
        /* another currency */
        "{\"result\":\"success\",\"payment_id\":\"" ID "\",\"amount\":39900,\"currency\":\"USD\"}",
        "{\"result\":\"success\",\"payment_id\":\"" ID "\",\"amount\":39900,\"currency\":\"rub\"}",
        "{\"result\":\"success\",\"payment_id\":\"" ID "\",\"amount\":39900,\"currency\":\"RUBL\"}",
        "{\"result\":\"success\",\"payment_id\":\"" ID "\",\"amount\":39900,\"currency\":643}",
        "{\"result\":\"success\",\"payment_id\":\"" ID "\",\"amount\":39900}",
    };
    const enum gateway_verb verbs[] = {GATEWAY_SEND, GATEWAY_ASK, GATEWAY_VOID};
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++)
        for (size_t v = 0; v < 3; v++) {
            struct gateway_answer a = read_text(verbs[v], 200, bodies[i]);
            if (a.result != GATEWAY_NO_ANSWER)
                fail_msg("taken for an answer: %s", bodies[i]);
            assert_false(a.ask_only || a.unknown_key || a.voided);
            assert_true(a.note[0] != '\0');
            assert_string_equal(a.transaction_id, "");
        }
}

static void only_200_counts(void **state)
{
    (void)state;
    const char *good = "{\"result\":\"success\"," SAME "}";
    const enum gateway_verb verbs[] = {GATEWAY_SEND, GATEWAY_ASK, GATEWAY_VOID};
    for (int status = 0; status < 600; status = status ? status + 1 : 100)
        for (size_t v = 0; v < 3; v++) {
            struct gateway_answer a = read_text(verbs[v], status, good);
            assert_int_equal(a.result, status == 200 ? GATEWAY_SUCCESS : GATEWAY_NO_ANSWER);
            assert_int_equal(a.ask_only,
                             verbs[v] == GATEWAY_SEND && (status == 409 || status == 422));
            assert_int_equal(a.unknown_key, verbs[v] == GATEWAY_ASK && status == 404);
            assert_int_equal(a.no_void, verbs[v] == GATEWAY_VOID &&
                                            (status == 404 || status == 405 || status == 501));
        }
    assert_string_equal(read_text(GATEWAY_SEND, 500, good).note, "HTTP 500");
}

static void too_long_is_no_answer(void **state)
{
    (void)state;
    const char *good = "{\"result\":\"success\"," SAME "}";
    char *body = malloc(GATEWAY_ANSWER_MAX + 1);
    memset(body, ' ', GATEWAY_ANSWER_MAX + 1);
    memcpy(body, good, strlen(good));
    assert_int_equal(read_bytes(GATEWAY_SEND, 200, body, GATEWAY_ANSWER_MAX).result,
                     GATEWAY_SUCCESS);
    assert_int_equal(read_bytes(GATEWAY_SEND, 200, body, GATEWAY_ANSWER_MAX + 1).result,
                     GATEWAY_NO_ANSWER);
    free(body);
}

static struct gateway_answer read_pending(enum gateway_verb verb, const char *members)
{
    char body[4096];
    snprintf(body, sizeof body, "{\"result\":\"pending\"," SAME "%s}", members);
    return read_text(verb, 200, body);
}

static void pending_needs_a_link(void **state)
{
    (void)state;
    const char *good[] = {
        ",\"action_url\":\"https://pay.example/3ds?id=1&x=%20#y\"",
        ",\"action_url\":\"http://127.0.0.1:5001/pay/" ID "\"",
        ",\"action_url\":\"HTTPS://pay.example\"",
        ",\"action_url\":\"https://[::1]:8443/\"",
    };
    const char *bad[] = {
        "",
        ",\"action_url\":null",
        ",\"action_url\":1",
        ",\"action_url\":\"\"",
        ",\"action_url\":\"pay.example\"",
        ",\"action_url\":\"/pay\"",
        ",\"action_url\":\"//pay.example\"",
        ",\"action_url\":\"https:\"",
        ",\"action_url\":\"https://\"",
        ",\"action_url\":\"https:///pay\"",
        ",\"action_url\":\"https://@evil\"",
        ",\"action_url\":\"ftp://pay.example\"",
        ",\"action_url\":\"javascript:alert(1)\"",
        ",\"action_url\":\"data:text/html,x\"",
        ",\"action_url\":\" https://pay.example\"",
        ",\"action_url\":\"https://pay.example/a b\"",
        ",\"action_url\":\"https://pay.example/\\r\\nX: y\"",
        ",\"action_url\":\"https://pay.example/\\\"><script>\"",
        ",\"action_url\":\"https://pay.example/\xd0\xb0\"",
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct gateway_answer a = read_pending(GATEWAY_SEND, good[i]);
        assert_int_equal(a.result, GATEWAY_PENDING);
        assert_true(a.action_url[0] != '\0');
        assert_int_equal(a.expires_at_us, TIME_NEVER);
        assert_int_equal(read_pending(GATEWAY_ASK, good[i]).result, GATEWAY_PENDING);
        assert_int_equal(read_pending(GATEWAY_VOID, good[i]).result, GATEWAY_NO_ANSWER);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct gateway_answer a = read_pending(GATEWAY_SEND, bad[i]);
        if (a.result != GATEWAY_NO_ANSWER)
            fail_msg("taken for pending: %s", bad[i]);
        assert_string_equal(a.action_url, "");
    }
}

static void links_have_a_maximum(void **state)
{
    (void)state;
    char members[2048], url[GATEWAY_URL_MAX + 2];
    for (size_t len = GATEWAY_URL_MAX; len <= GATEWAY_URL_MAX + 1; len++) {
        memset(url, 'u', len);
        memcpy(url, "https://", 8);
        url[len] = '\0';
        snprintf(members, sizeof members, ",\"action_url\":\"%s\"", url);
        assert_int_equal(read_pending(GATEWAY_SEND, members).result,
                         len == GATEWAY_URL_MAX ? GATEWAY_PENDING : GATEWAY_NO_ANSWER);
    }
}

static void pending_may_expire(void **state)
{
    (void)state;
#define LINK ",\"action_url\":\"https://pay.example/\",\"expires_at\":"
    struct gateway_answer a = read_pending(GATEWAY_SEND, LINK "\"1970-01-01T00:01:00Z\"");
    assert_int_equal(a.result, GATEWAY_PENDING);
    assert_int_equal(a.expires_at_us, 60 * US_PER_S);
    a = read_pending(GATEWAY_SEND, LINK "null");
    assert_int_equal(a.result, GATEWAY_PENDING);
    assert_int_equal(a.expires_at_us, TIME_NEVER);
    const char *bad[] = {LINK "\"\"", LINK "\"soon\"", LINK "60", LINK "\"1970-13-01T00:00:00Z\""};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(read_pending(GATEWAY_SEND, bad[i]).result, GATEWAY_NO_ANSWER);
}

static void instances(void **state)
{
    (void)state;
    char body[256];
    struct gateway_answer a = read_text(GATEWAY_INSTANCE, 200, "{\"instance_id\":\"i-1\"}");
    assert_int_equal(a.result, GATEWAY_INSTANCE_IS);
    assert_string_equal(a.instance_id, "i-1");
    const int none[] = {404, 501};
    for (size_t i = 0; i < 2; i++) {
        a = read_text(GATEWAY_INSTANCE, none[i], "{\"instance_id\":\"i-1\"}");
        assert_int_equal(a.result, GATEWAY_INSTANCE_IS);
        assert_string_equal(a.instance_id, "");
    }
    snprintf(body, sizeof body, "{\"instance_id\":\"%0*d\"}", GATEWAY_INSTANCE_MAX, 1);
    assert_int_equal(read_text(GATEWAY_INSTANCE, 200, body).result, GATEWAY_INSTANCE_IS);
    snprintf(body, sizeof body, "{\"instance_id\":\"%0*d\"}", GATEWAY_INSTANCE_MAX + 1, 1);
    assert_int_equal(read_text(GATEWAY_INSTANCE, 200, body).result, GATEWAY_NO_ANSWER);
    const char *bad[] = {"",
                         "{}",
                         "[]",
                         "{\"instance_id\":\"\"}",
                         "{\"instance_id\":7}",
                         "{\"instance_id\":\"a\\nb\"}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(read_text(GATEWAY_INSTANCE, 200, bad[i]).result, GATEWAY_NO_ANSWER);
    const int other[] = {0, 301, 400, 401, 405, 500, 503};
    for (size_t i = 0; i < sizeof other / sizeof *other; i++)
        assert_int_equal(read_text(GATEWAY_INSTANCE, other[i], "{\"instance_id\":\"i\"}").result,
                         GATEWAY_NO_ANSWER);
}

/* Every answer that differs from a good one in one byte is either none or says the same. */
static void one_wrong_byte(void **state)
{
    (void)state;
    const char *good = "{\"result\":\"success\"," SAME ",\"transaction_id\":\"t1\"}";
    size_t len = strlen(good);
    char body[512];
    for (size_t at = 0; at < len; at++)
        for (int byte = 0; byte < 256; byte++) {
            memcpy(body, good, len);
            body[at] = (char)byte;
            struct gateway_answer a = read_bytes(GATEWAY_SEND, 200, body, len);
            assert_true(a.result == GATEWAY_NO_ANSWER || a.result == GATEWAY_SUCCESS);
        }
    for (size_t cut = 0; cut < len; cut++)
        assert_int_equal(read_bytes(GATEWAY_SEND, 200, good, cut).result, GATEWAY_NO_ANSWER);
}

#define LINE(seq, key, result)                                                                     \
    "{\"seq\":" seq ",\"key\":\"" key "\",\"request\":{\"payment_id\":\"" key                      \
    "\",\"user_id\":\"" ID "\",\"payment_type\":\"payment\",\"subscription_type\":\"month\","      \
    "\"requested_at\":\"2026-01-30T12:00:00.000000Z\",\"amount\":39900,\"currency\":\"RUB\"},"     \
    "\"answer\":{\"result\":\"" result "\",\"payment_id\":\"" key                                  \
    "\",\"amount\":39900,\"currency\":\"RUB\",\"transaction_id\":\"t" seq "\"}}\n"
#define OTHER "3f2b1a00-0000-7000-8000-00000000abce"

static struct gateway_answer read_page(int64_t after, int status, const char *body, size_t len)
{
    struct gateway_call call = {.verb = GATEWAY_JOURNAL, .after_seq = after};
    struct gateway_answer answer;
    memset(&answer, 0xa5, sizeof answer);
    processing_read_answer(&call, status, body, len, &answer);
    assert_int_equal(answer.verb, GATEWAY_JOURNAL);
    assert_int_equal(answer.page != NULL, answer.result == GATEWAY_JOURNAL_IS);
    return answer;
}

static void journals(void **state)
{
    (void)state;
    const char *page = LINE("7", ID, "success") LINE("9", OTHER, "decline");
    struct gateway_answer a = read_page(6, 200, page, strlen(page));
    assert_int_equal(a.result, GATEWAY_JOURNAL_IS);
    assert_int_equal(a.page->count, 2);
    assert_int_equal(a.page->entries[1].seq, 9);
    assert_int_equal(a.page->entries[0].answer, LEARN_SUCCESS);
    journal_page_free(a.page);
    a = read_page(7, 200, page, strlen(page)); /* it was read already */
    assert_int_equal(a.result, GATEWAY_NO_ANSWER);
    assert_string_not_equal(a.note, "");
    a = read_page(6, 200, "", 0);
    assert_int_equal(a.result, GATEWAY_JOURNAL_IS);
    assert_int_equal(a.page->count, 0);
    journal_page_free(a.page);
    const int none[] = {404, 501}, other[] = {0, 204, 301, 401, 405, 500, 503};
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(read_page(6, none[i], page, strlen(page)).result, GATEWAY_NO_JOURNAL);
    for (size_t i = 0; i < sizeof other / sizeof *other; i++)
        assert_int_equal(read_page(6, other[i], page, strlen(page)).result, GATEWAY_NO_ANSWER);
    const char *bad[] = {"{}",
                         "[]",
                         "<html>",
                         "{\"seq\":7}\n",
                         LINE("9", ID, "success") LINE("7", OTHER, "decline"),
                         "x\n" LINE("7", ID, "success")};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        a = read_page(6, 200, bad[i], strlen(bad[i]));
        assert_int_equal(a.result, GATEWAY_NO_ANSWER);
        assert_true(a.bad_line);
        assert_string_not_equal(a.note, "");
    }
    a = read_page(6, 200, LINE("7", ID, "maybe") "x\n", strlen(LINE("7", ID, "maybe") "x\n"));
    assert_int_equal(a.result, GATEWAY_JOURNAL_IS); /* up to what cannot be read */
    assert_int_equal(a.page->count, 1);
    assert_int_equal(a.page->entries[0].answer, LEARN_UNCLEAR);
    journal_page_free(a.page);
    for (size_t cut = 1; cut < strlen(page) - 1; cut++) { /* an answer that broke off */
        a = read_page(6, 200, page, cut);
        assert_true(a.result == GATEWAY_NO_ANSWER || a.page->count == 1);
        journal_page_free(a.page);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(definite_answers),
        cmocka_unit_test(odd_transaction_ids_do_not_undo_an_answer),
        cmocka_unit_test(everything_else_is_no_answer),
        cmocka_unit_test(only_200_counts),
        cmocka_unit_test(too_long_is_no_answer),
        cmocka_unit_test(pending_needs_a_link),
        cmocka_unit_test(links_have_a_maximum),
        cmocka_unit_test(pending_may_expire),
        cmocka_unit_test(instances),
        cmocka_unit_test(one_wrong_byte),
        cmocka_unit_test(journals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
