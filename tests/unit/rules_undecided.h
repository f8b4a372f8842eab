/* rules_undecided.h: rules of one line about payments that are undecided, about the journal, and about people. */
#ifndef SUBPAY_TESTS_RULES_UNDECIDED_H
#define SUBPAY_TESTS_RULES_UNDECIDED_H

#include "rules_case.h"

/* Each takes the words behind the first one; false: the line cannot be understood. */
bool check_undecided(struct runner *r, struct words *w);
bool check_kept(struct runner *r, struct words *w);
bool check_aged(struct runner *r, struct words *w);
bool check_pause(struct runner *r, struct words *w);
bool check_voided(struct runner *r, struct words *w);
bool check_page(struct runner *r, struct words *w);
bool check_learn(struct runner *r, struct words *w);
bool check_decides(struct runner *r, struct words *w);

#endif
