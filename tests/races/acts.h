/* acts.h: what actors do: a verb, prepared by the case, again while it has to be repeated; and what
 * came of it, in words. */
#ifndef SUBPAY_TESTS_RACES_ACTS_H
#define SUBPAY_TESTS_RACES_ACTS_H

#include "stepper.h"

void act_claim(struct actor *a);
void act_due(struct actor *a);
void act_append(struct actor *a);
void act_settle(struct actor *a);
void act_defer(struct actor *a);
void act_decide(struct actor *a);
void act_learn(struct actor *a);
void act_learned_all(struct actor *a); /* without and, if a mark stands, with it */
void act_asked_unknown(struct actor *a);
void act_mark_restored(struct actor *a);
void act_untold(struct actor *a);
void act_told(struct actor *a);
void act_rewind(struct actor *a);

void actor_says(struct actor *a, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Preparing: by the thread that steps. The next records of a partition, from where it is. */
void append_asks(struct actor *a, struct store *s, int partition, struct ledger_record record);
void settle_says(struct actor *a, struct fact fact);
void journal_says(struct actor *a, struct store *s, struct journal_entry line);

#endif
