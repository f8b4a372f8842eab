/* outcome.h: what came of a race, as a text that two runs can be compared by. */
#ifndef SUBPAY_TESTS_RACES_OUTCOME_H
#define SUBPAY_TESTS_RACES_OUTCOME_H

#include "stepper.h"

#define OUTCOME_MAX 6000

/* Fresh rows: only what the migrations left. */
void outcome_reset(struct store *s);
/* Ends what services would end (a reading of the journal, claims of what is due), looks at all that
 * can be recomputed, and writes down what the actors said, which payments claims handed out, and the
 * books. NULL, or what is wrong; the rest of what can be wrong fails the test by itself. */
const char *outcome_read(struct stepper *s, bool reads_journal, char out[OUTCOME_MAX]);

#endif
