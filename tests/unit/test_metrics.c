#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/metrics.h"

static void test_counters_and_gauges(void **state)
{
    (void)state;
    struct metrics *m = metrics_open();
    assert_non_null(m);
    struct metric *a = metrics_add(m, METRIC_COUNTER, "a_total", "How many a.", "code=\"200\"");
    struct metric *b =
        metrics_add(m, METRIC_COUNTER, "a_total", "How many a.", "code=\"500\",m=\"x\"");
    struct metric *g = metrics_add(m, METRIC_GAUGE, "g", "A level.", "");
    metric_add(a, 3);
    metric_add(a, 0);
    metric_add(b, 1);
    metric_set(g, 7);
    metric_add(g, -9);
    assert_int_equal(metric_value(a), 3);
    assert_int_equal(metric_value(g), -2);
    struct str out;
    str_init(&out, 10000);
    metrics_render(m, &out);
    assert_string_equal(out.data, "# HELP a_total How many a.\n"
                                  "# TYPE a_total counter\n"
                                  "a_total{code=\"200\"} 3\n"
                                  "a_total{code=\"500\",m=\"x\"} 1\n"
                                  "# HELP g A level.\n"
                                  "# TYPE g gauge\n"
                                  "g -2\n");
    str_release(&out);
    metrics_close(m);
}

static void test_histogram(void **state)
{
    (void)state;
    struct metrics *m = metrics_open();
    struct metric *h =
        metrics_add(m, METRIC_HISTOGRAM, "d_seconds", "How long.", "service=\"saver\"");
    struct metric *p = metrics_add(m, METRIC_HISTOGRAM, "p_seconds", "How long.", "");
    metric_observe_us(h, 0);
    metric_observe_us(h, -5); /* a clock that stepped */
    metric_observe_us(h, 1000);
    metric_observe_us(h, 1001);
    metric_observe_us(h, 60 * INT64_C(1000000));
    metric_observe_us(h, 3600 * INT64_C(1000000));
    metric_observe_us(p, 5);
    assert_int_equal(metric_value(h), 6);
    struct str out;
    str_init(&out, 10000);
    metrics_render(m, &out);
    const char *expected = "# HELP d_seconds How long.\n"
                           "# TYPE d_seconds histogram\n"
                           "d_seconds_bucket{service=\"saver\",le=\"0.001\"} 3\n"
                           "d_seconds_bucket{service=\"saver\",le=\"0.0025\"} 4\n"
                           "d_seconds_bucket{service=\"saver\",le=\"0.005\"} 4\n";
    assert_memory_equal(out.data, expected, strlen(expected));
    assert_non_null(strstr(out.data, "d_seconds_bucket{service=\"saver\",le=\"30\"} 4\n"
                                     "d_seconds_bucket{service=\"saver\",le=\"60\"} 5\n"
                                     "d_seconds_bucket{service=\"saver\",le=\"+Inf\"} 6\n"
                                     "d_seconds_sum{service=\"saver\"} 3660.002001\n"
                                     "d_seconds_count{service=\"saver\"} 6\n"
                                     "# HELP p_seconds How long.\n"
                                     "# TYPE p_seconds histogram\n"
                                     "p_seconds_bucket{le=\"0.001\"} 1\n"));
    assert_non_null(strstr(out.data, "p_seconds_sum 0.000005\np_seconds_count 1\n"));
    str_release(&out);
    metrics_close(m);
}

static void test_nobody_counts(void **state)
{
    (void)state;
    metric_add(NULL, 1);
    metric_set(NULL, 1);
    metric_observe_us(NULL, 1);
    assert_int_equal(metric_value(NULL), 0);
    metrics_close(NULL);
}

static void test_full_registry(void **state)
{
    (void)state;
    struct metrics *m = metrics_open();
    char labels[METRICS_LABELS_MAX];
    for (int i = 0; i < METRICS_MAX; i++) {
        snprintf(labels, sizeof labels, "n=\"%d\"", i);
        metric_add(metrics_add(m, METRIC_COUNTER, "x_total", "X.", labels), i);
    }
    struct str out;
    str_init(&out, 1 << 20);
    metrics_render(m, &out);
    assert_false(out.failed);
    int lines = 0;
    for (const char *p = out.data; *p; p++)
        lines += *p == '\n';
    assert_int_equal(lines, METRICS_MAX + 2);
    assert_non_null(strstr(out.data, "\nx_total{n=\"255\"} 255\n"));
    str_release(&out);
    metrics_close(m);
}

#define THREADS 4
#define ROUNDS 50000

static void *count(void *arg)
{
    struct metric **all = arg;
    for (int i = 0; i < ROUNDS; i++) {
        metric_add(all[0], 1);
        metric_add(all[1], i % 2 ? 1 : -1);
        metric_observe_us(all[2], 10);
    }
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    struct metrics *m = metrics_open();
    struct metric *all[] = {metrics_add(m, METRIC_COUNTER, "c_total", "C.", ""),
                            metrics_add(m, METRIC_GAUGE, "g", "G.", ""),
                            metrics_add(m, METRIC_HISTOGRAM, "h_seconds", "H.", "")};
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, count, all), 0);
    struct str out;
    str_init(&out, 10000);
    for (int i = 0; i < 100; i++) { /* read beside the writers */
        str_clear(&out);
        metrics_render(m, &out);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(metric_value(all[0]), THREADS * ROUNDS);
    assert_int_equal(metric_value(all[1]), 0);
    assert_int_equal(metric_value(all[2]), THREADS * ROUNDS);
    str_clear(&out);
    metrics_render(m, &out);
    assert_non_null(strstr(out.data, "h_seconds_sum 2.000000\n"));
    str_release(&out);
    metrics_close(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counters_and_gauges),
        cmocka_unit_test(test_histogram),
        cmocka_unit_test(test_nobody_counts),
        cmocka_unit_test(test_full_registry),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
