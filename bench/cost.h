/* cost.h: what something costs: seconds, and CPU seconds of this process and of a PostgreSQL server on
 * the same machine. */
#ifndef SUBPAY_BENCH_COST_H
#define SUBPAY_BENCH_COST_H

#include <stdbool.h>
#include <stdint.h>

struct cost {
    double seconds, client_s, server_s;
};
/* From now on the processes that there are of the server of this backend count; 0: of none. */
void cost_server(long backend);
struct cost cost_begin(void);
void cost_end(struct cost *sum, const struct cost *begun); /* adds what came since */

/* The next line of the input: how much is to be measured now; false: nothing more. */
#define COST_MAX 100000000
bool cost_asked(int64_t *count);

#endif
