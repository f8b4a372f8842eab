/* metrics.h: counters, gauges and histograms with a fixed set of series, and Prometheus text 0.0.4.
 *
 * A registry is made once, filled at start (metrics_add), and read at any time; series never come
 * or go afterwards, so memory is bounded. Updates are relaxed atomics: any thread, no lock. */
#ifndef SUBPAY_BASE_METRICS_H
#define SUBPAY_BASE_METRICS_H

#include <stdint.h>

#include "base/str.h"

#define METRICS_MAX 256       /* series in a registry */
#define METRICS_LABELS_MAX 96 /* bytes of `a="b",c="d"` */

enum metric_kind { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };
struct metric;
struct metrics;

struct metrics *metrics_open(void); /* NULL: out of memory */
void metrics_close(struct metrics *m);
/* name and help are static; labels ("" or `service="saver"`) are copied. Series of one name are
 * added one after the other. Asserts that there is room: the set is fixed by the program. A
 * histogram counts seconds in fixed buckets from 1 ms to 60 s. Before the threads start, one
 * thread. */
struct metric *metrics_add(struct metrics *m, enum metric_kind kind, const char *name,
                           const char *help, const char *labels);
void metric_add(struct metric *metric,
                int64_t delta); /* counter: delta ≥ 0. NULL metric: nothing */
void metric_set(struct metric *metric, int64_t value);              /* gauge */
void metric_observe_us(struct metric *metric, int64_t duration_us); /* histogram */
int64_t metric_value(const struct metric *metric);
void metrics_render(struct metrics *m, struct str *out);

#endif
