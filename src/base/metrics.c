#include "base/metrics.h"

#include <assert.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

struct bucket {
    int64_t up_to_us;
    const char *le; /* the same in seconds, as the label says it */
};

static const struct bucket BUCKETS[] = {
    {1000, "0.001"},  {2500, "0.0025"}, {5000, "0.005"},  {10000, "0.01"},
    {25000, "0.025"}, {50000, "0.05"},  {100000, "0.1"},  {250000, "0.25"},
    {500000, "0.5"},  {1000000, "1"},   {2500000, "2.5"}, {5000000, "5"},
    {10000000, "10"}, {30000000, "30"}, {60000000, "60"}, {INT64_MAX, "+Inf"},
};
enum { BUCKET_COUNT = sizeof BUCKETS / sizeof BUCKETS[0] };

struct metric {
    enum metric_kind kind;
    const char *name, *help;
    char labels[METRICS_LABELS_MAX];
    _Atomic int64_t value;            /* of a histogram: microseconds in all */
    _Atomic int64_t in[BUCKET_COUNT]; /* observations in this bucket alone */
};

struct metrics {
    size_t count;
    struct metric series[METRICS_MAX];
};

struct metrics *metrics_open(void)
{
    return calloc(1, sizeof(struct metrics));
}

void metrics_close(struct metrics *m)
{
    free(m);
}

/* HELP and TYPE are written once per name, so its series have to stand together. */
static void check_new(const struct metrics *m, enum metric_kind kind, const char *name,
                      const char *labels)
{
    for (size_t i = 0; i < m->count; i++) {
        const struct metric *s = &m->series[i];
        if (strcmp(s->name, name) != 0)
            continue;
        assert(s->kind == kind && strcmp(s->labels, labels) != 0);
        assert(strcmp(m->series[m->count - 1].name, name) == 0);
    }
}

struct metric *metrics_add(struct metrics *m, enum metric_kind kind, const char *name,
                           const char *help, const char *labels)
{
    assert(m->count < METRICS_MAX);
    assert(!strpbrk(help, "\\\n") && !strchr(labels, '\n'));
    check_new(m, kind, name, labels);
    struct metric *s = &m->series[m->count];
    s->kind = kind;
    s->name = name;
    s->help = help;
    bool fits = text_copy(s->labels, sizeof s->labels, labels);
    assert(fits);
    m->count++;
    return s;
}

void metric_add(struct metric *metric, int64_t delta)
{
    if (!metric)
        return;
    assert(metric->kind == METRIC_GAUGE || (metric->kind == METRIC_COUNTER && delta >= 0));
    atomic_fetch_add_explicit(&metric->value, delta, memory_order_relaxed);
}

void metric_set(struct metric *metric, int64_t value)
{
    if (!metric)
        return;
    assert(metric->kind == METRIC_GAUGE);
    atomic_store_explicit(&metric->value, value, memory_order_relaxed);
}

void metric_observe_us(struct metric *metric, int64_t duration_us)
{
    if (!metric)
        return;
    assert(metric->kind == METRIC_HISTOGRAM);
    if (duration_us < 0)
        duration_us = 0; /* a wall clock stepped */
    size_t i = 0;
    while (duration_us > BUCKETS[i].up_to_us)
        i++;
    atomic_fetch_add_explicit(&metric->in[i], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&metric->value, duration_us, memory_order_relaxed);
}

int64_t metric_value(const struct metric *metric)
{
    if (!metric)
        return 0;
    if (metric->kind != METRIC_HISTOGRAM)
        return atomic_load_explicit(&metric->value, memory_order_relaxed);
    int64_t count = 0;
    for (size_t i = 0; i < BUCKET_COUNT; i++)
        count += atomic_load_explicit(&metric->in[i], memory_order_relaxed);
    return count;
}

static void render_histogram(const struct metric *s, struct str *out)
{
    int64_t count = 0;
    for (size_t i = 0; i < BUCKET_COUNT; i++) {
        count += atomic_load_explicit(&s->in[i], memory_order_relaxed);
        str_addf(out, "%s_bucket{%s%sle=\"%s\"} %" PRId64 "\n", s->name, s->labels,
                 s->labels[0] ? "," : "", BUCKETS[i].le, count);
    }
    const char *open = s->labels[0] ? "{" : "", *close = s->labels[0] ? "}" : "";
    int64_t sum_us = atomic_load_explicit(&s->value, memory_order_relaxed);
    str_addf(out, "%s_sum%s%s%s %" PRId64 ".%06" PRId64 "\n", s->name, open, s->labels, close,
             sum_us / US_PER_S, sum_us % US_PER_S);
    str_addf(out, "%s_count%s%s%s %" PRId64 "\n", s->name, open, s->labels, close, count);
}

void metrics_render(struct metrics *m, struct str *out)
{
    static const char *const KINDS[] = {"counter", "gauge", "histogram"};
    for (size_t i = 0; i < m->count; i++) {
        const struct metric *s = &m->series[i];
        if (i == 0 || strcmp(s->name, m->series[i - 1].name) != 0)
            str_addf(out, "# HELP %s %s\n# TYPE %s %s\n", s->name, s->help, s->name,
                     KINDS[s->kind]);
        if (s->kind == METRIC_HISTOGRAM)
            render_histogram(s, out);
        else
            str_addf(out, "%s%s%s%s %" PRId64 "\n", s->name, s->labels[0] ? "{" : "", s->labels,
                     s->labels[0] ? "}" : "", metric_value(s));
    }
}
