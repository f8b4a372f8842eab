/* The default gateway against the simulator of the processing, over real HTTP. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "gateway/processing.h"
#include "simulator_stage.h"

struct desk {
    struct crowd crowd; /* its client is used */
    struct gateway *gateway;
};

static void on_answer(void *ctx)
{
    struct crowd *c = ctx;
    pthread_mutex_lock(&c->lock);
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->lock);
}

static void desk_open(struct desk *d, const char *url, int64_t timeout_ms)
{
    struct processing_settings settings = {
        .url = url,
        .token = "secret",
        .timeout_ms = timeout_ms,
        .promises = {.key_ttl_us = US_PER_DAY, .ask = true, .voids = true},
    };
    crowd_open(&d->crowd);
    assert_int_equal(processing_open(&d->gateway, d->crowd.client, &settings, clock_real()),
                     ERR_OK);
    gateway_watch(d->gateway, on_answer, &d->crowd);
}

static void desk_close(struct desk *d)
{
    gateway_close(d->gateway);
    crowd_close(&d->crowd);
}

static enum err desk_submit(struct desk *d, enum gateway_verb verb, int n, int64_t amount,
                            int64_t before_boot_us)
{
    const char *body = body_of(n, USER, NULL, amount);
    struct gateway_call gateway_call = {.verb = verb,
                                        .money = {amount, "RUB"},
                                        .body = body,
                                        .body_len = strlen(body),
                                        .send_before_boot_us = before_boot_us};
    assert_true(uuid_parse(key_of(n), UUID_TEXT - 1, &gateway_call.payment_id));
    return gateway_submit(d->gateway, &gateway_call);
}

static struct gateway_answer desk_wait(struct desk *d)
{
    struct gateway_answer answer;
    while (gateway_take(d->gateway, &answer, 1) == 0) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 10 * 1000 * 1000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        pthread_mutex_lock(&d->crowd.lock);
        (void)pthread_cond_timedwait(&d->crowd.changed, &d->crowd.lock, &until);
        pthread_mutex_unlock(&d->crowd.lock);
    }
    return answer;
}

static struct gateway_answer desk_call(struct desk *d, enum gateway_verb verb, int n,
                                       int64_t amount)
{
    assert_int_equal(desk_submit(d, verb, n, amount, INT64_MAX), ERR_OK);
    assert_int_equal(gateway_in_flight(d->gateway), 1);
    struct gateway_answer answer = desk_wait(d);
    assert_int_equal(gateway_in_flight(d->gateway), 0);
    assert_int_equal(answer.verb, verb);
    return answer;
}

static void the_gateway_speaks_with_it(void **state)
{
    struct stage *s = *state;
    struct desk d;
    char url[80];
    snprintf(url, sizeof url, "%s/", s->url); /* a slash at the end does not count */
    desk_open(&d, url, WAIT_MS);
    struct gateway_answer a = desk_call(&d, GATEWAY_INSTANCE, 1, 39900);
    assert_int_equal(a.result, GATEWAY_INSTANCE_IS);
    assert_string_equal(a.instance_id, member(get(s, "/instance"), "instance_id"));
    a = desk_call(&d, GATEWAY_ASK, 1, 39900);
    assert_int_equal(a.result, GATEWAY_NO_ANSWER);
    assert_true(a.unknown_key);
    a = desk_call(&d, GATEWAY_SEND, 1, 39900);
    assert_int_equal(a.result, GATEWAY_SUCCESS);
    assert_string_equal(a.transaction_id, member(ask(s, 1), "transaction_id"));
    assert_int_equal(desk_call(&d, GATEWAY_SEND, 1, 39900).result, GATEWAY_SUCCESS);
    assert_int_equal(desk_call(&d, GATEWAY_ASK, 1, 39900).result, GATEWAY_SUCCESS);
    assert_int_equal(desk_call(&d, GATEWAY_VOID, 1, 39900).result, GATEWAY_SUCCESS);
    a = desk_call(&d, GATEWAY_ASK, 1, 39901); /* what was asked for is not what was paid */
    assert_int_equal(a.result, GATEWAY_NO_ANSWER);
    a = desk_call(&d, GATEWAY_SEND, 1, 39901);
    assert_int_equal(a.result, GATEWAY_NO_ANSWER);
    assert_true(a.ask_only);
    a = desk_call(&d, GATEWAY_VOID, 2, 39900);
    assert_int_equal(a.result, GATEWAY_ERROR);
    assert_true(a.voided);
    assert_int_equal(desk_submit(&d, GATEWAY_SEND, 3, 39900, 1), ERR_OK);
    a = desk_wait(&d);
    assert_int_equal(a.result, GATEWAY_NOT_SENT);
    assert_int_equal(journal_lines(s), 2);
    stage_with(s, "pending=1", "0-0", "");
    desk_close(&d);
    desk_open(&d, s->url, WAIT_MS);
    a = desk_call(&d, GATEWAY_SEND, 4, 39900);
    assert_int_equal(a.result, GATEWAY_PENDING);
    assert_int_equal(strncmp(a.action_url, s->url, strlen(s->url)), 0);
    assert_true(a.expires_at_us < TIME_NEVER);
    desk_close(&d);
}

static struct gateway_answer desk_journal(struct desk *d, int64_t after)
{
    struct gateway_call call = {.verb = GATEWAY_JOURNAL, .after_seq = after};
    assert_int_equal(gateway_submit(d->gateway, &call), ERR_OK);
    return desk_wait(d);
}

static void the_gateway_reads_the_journal(void **state)
{
    struct stage *s = *state;
    struct desk d;
    desk_open(&d, s->url, WAIT_MS);
    struct gateway_answer a = desk_journal(&d, 0);
    assert_int_equal(a.result, GATEWAY_JOURNAL_IS);
    assert_int_equal(a.page->count, 0);
    journal_page_free(a.page);
    for (int n = 1; n <= 3; n++)
        assert_int_equal(desk_call(&d, GATEWAY_SEND, n, 39900).result, GATEWAY_SUCCESS);
    assert_true(desk_call(&d, GATEWAY_VOID, 4, 39900).voided);
    a = desk_journal(&d, 1);
    assert_int_equal(a.result, GATEWAY_JOURNAL_IS);
    assert_int_equal(a.page->count, 3);
    const struct journal_entry *e = a.page->entries;
    struct uuid key;
    assert_true(uuid_parse(key_of(2), UUID_TEXT - 1, &key));
    assert_true(uuid_equal(&e[0].request.payment_id, &key));
    assert_int_equal(e[0].seq, 2);
    assert_int_equal(e[0].answer, LEARN_SUCCESS);
    assert_int_equal(e[0].money.amount_minor, 39900);
    const char *body = body_of(2, USER, NULL, 39900);
    assert_int_equal(e[0].body_len, strlen(body));
    assert_memory_equal(e[0].body, body, e[0].body_len);
    assert_int_equal(e[2].answer, LEARN_ERROR);
    assert_true(e[2].voided);
    journal_page_free(a.page);
    struct gateway_call call = {.verb = GATEWAY_JOURNAL};
    assert_int_equal(gateway_submit(d.gateway, &call), ERR_OK);
    desk_close(&d); /* with a page that nobody takes */
    desk_open(&d, "http://127.0.0.1:1", WAIT_MS);
    assert_int_equal(desk_journal(&d, 0).result, GATEWAY_NOT_SENT);
    desk_close(&d);
}

static void the_gateway_hears_nothing(void **state)
{
    struct stage *s = *state;
    struct desk d;
    stage_with(s, "success=1", "0-0", "timeout=1");
    desk_open(&d, s->url, 100);
    struct gateway_answer a = desk_call(&d, GATEWAY_SEND, 1, 39900);
    assert_int_equal(a.result, GATEWAY_NO_ANSWER);
    assert_string_equal(a.note, "timed out");
    stage_with(s, "success=1", "0-0", "500=1");
    desk_close(&d);
    desk_open(&d, s->url, WAIT_MS);
    a = desk_call(&d, GATEWAY_SEND, 2, 39900);
    assert_int_equal(a.result, GATEWAY_NO_ANSWER);
    assert_string_equal(a.note, "HTTP 500");
    assert_false(a.ask_only);
    desk_close(&d);
    desk_open(&d, "http://127.0.0.1:1", WAIT_MS);
    assert_int_equal(desk_call(&d, GATEWAY_SEND, 3, 39900).result, GATEWAY_NOT_SENT);
    desk_close(&d);
}

/* Closed with calls under way, before and after its client. */
static void the_gateway_may_go_first(void **state)
{
    struct stage *s = *state;
    struct desk d;
    stage_with(s, "success=1", "60000-60000", "");
    for (int client_first = 0; client_first < 2; client_first++) {
        desk_open(&d, s->url, WAIT_MS);
        for (int n = 0; n < GATEWAY_IN_FLIGHT_MAX; n++)
            assert_int_equal(desk_submit(&d, GATEWAY_SEND, n, 39900, 0), ERR_OK);
        assert_int_equal(desk_submit(&d, GATEWAY_SEND, 999, 39900, 0), ERR_BUSY);
        if (client_first) {
            crowd_close(&d.crowd);
            gateway_close(d.gateway);
        } else {
            desk_close(&d);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define ON_STAGE(test) cmocka_unit_test_setup_teardown(test, stage_open, stage_close)
        ON_STAGE(the_gateway_speaks_with_it),
        ON_STAGE(the_gateway_reads_the_journal),
        ON_STAGE(the_gateway_hears_nothing),
        ON_STAGE(the_gateway_may_go_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
