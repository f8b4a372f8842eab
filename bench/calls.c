/* calls: libcurl's multi handle alone, posting payments to the simulator, so many at a time, each with a key of its
 * own and the body that the processor sends. The raw limit of processing. One JSON line.
 *   calls PORT CALLS AT_A_TIME */
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/random.h"
#include "billing/request.h"
#include "cost.h"

#define AT_A_TIME_MAX 512
#define BODY_MAX 1024
#define TIMEOUT_MS 30000

struct call {
    CURL *easy;
    struct curl_slist *headers;
    struct str body;
};
static char url[64];
static long started, done;

static void die(const char *what, const char *why)
{
    fprintf(stderr, "calls: %s: %s\n", what, why);
    exit(1);
}

static size_t ignore(char *bytes, size_t size, size_t count, void *ctx)
{
    (void)bytes, (void)ctx;
    return size * count;
}

static void call_start(CURLM *multi, struct call *c)
{
    int64_t wall_us = clock_wall_us(clock_real());
    char id[UUID_TEXT], key[sizeof "Idempotency-Key: " + UUID_TEXT];
    const struct charge charge = {.payment_id = uuid_v7(wall_us, random_real()),
                                  .user_id = uuid_v7(wall_us, random_real()),
                                  .requested_at_us = wall_us,
                                  .money = {.amount_minor = 29900, .currency = "RUB"},
                                  .payment_method = ""};
    str_clear(&c->body);
    charge_encode_json(&charge, &c->body);
    uuid_format(&charge.payment_id, id);
    (void)snprintf(key, sizeof key, "Idempotency-Key: %s", id);
    curl_slist_free_all(c->headers);
    c->headers = curl_slist_append(NULL, "Content-Type: application/json");
    c->headers = curl_slist_append(c->headers, "Accept: application/json");
    c->headers = curl_slist_append(c->headers, key);
    curl_easy_setopt(c->easy, CURLOPT_HTTPHEADER, c->headers);
    curl_easy_setopt(c->easy, CURLOPT_POSTFIELDS, c->body.data);
    curl_easy_setopt(c->easy, CURLOPT_POSTFIELDSIZE, (long)c->body.len);
    if (curl_multi_add_handle(multi, c->easy) != CURLM_OK)
        die("a call", "not taken");
    started++;
}

static void call_open(struct call *c)
{
    str_init(&c->body, BODY_MAX);
    c->easy = curl_easy_init();
    curl_easy_setopt(c->easy, CURLOPT_URL, url);
    curl_easy_setopt(c->easy, CURLOPT_POST, 1L);
    curl_easy_setopt(c->easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c->easy, CURLOPT_TIMEOUT_MS, (long)TIMEOUT_MS);
    curl_easy_setopt(c->easy, CURLOPT_WRITEFUNCTION, ignore);
    curl_easy_setopt(c->easy, CURLOPT_PRIVATE, c);
}

static void reap(CURLM *multi, long calls)
{
    CURLMsg *message;
    int left;
    while ((message = curl_multi_info_read(multi, &left)) != NULL) {
        CURL *easy = message->easy_handle;
        CURLcode code = message->data.result;
        struct call *c = NULL;
        long status = 0;
        curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
        curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&c);
        if (code != CURLE_OK || status != 200)
            die("an answer", code ? curl_easy_strerror(code) : "not 200");
        curl_multi_remove_handle(multi, easy);
        done++;
        if (started < calls)
            call_start(multi, c);
    }
}

int main(int argc, char **argv)
{
    static struct call at[AT_A_TIME_MAX];
    struct cost cost = {0};
    long port = argc == 4 ? strtol(argv[1], NULL, 10) : 0,
         calls = argc == 4 ? strtol(argv[2], NULL, 10) : 0,
         window = argc == 4 ? strtol(argv[3], NULL, 10) : 0;
    if (port < 1 || calls < 1 || window < 1 || window > AT_A_TIME_MAX) {
        fprintf(stderr, "calls PORT CALLS AT_A_TIME\n");
        return 2;
    }
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%ld/execute_transaction", port);
    CURLM *multi = curl_multi_init();
    curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, (long)AT_A_TIME_MAX);
    struct cost begun = cost_begin();
    for (long i = 0; i < window && started < calls; i++) {
        call_open(&at[i]);
        call_start(multi, &at[i]);
    }
    while (done < calls) {
        int running;
        curl_multi_perform(multi, &running);
        reap(multi, calls);
        curl_multi_poll(multi, NULL, 0, 1000, NULL);
    }
    cost_end(&cost, &begun);
    printf("{\"calls\": %ld, \"seconds\": %.3f, \"per_second\": %.0f, \"cpu_seconds\": %.3f}\n",
           calls, cost.seconds, (double)calls / cost.seconds, cost.client_s);
    curl_multi_cleanup(multi);
    return 0;
}
