/* rules_case.h: one case of tests/rules: facts about a user, requests, and what is expected of
 * each. */
#ifndef SUBPAY_TESTS_RULES_CASE_H
#define SUBPAY_TESTS_RULES_CASE_H

#include "billing/decide.h"
#include "billing/price.h"
#include "rules_words.h"

#define ITEMS_MAX 16 /* of each kind in one case */

struct expectation {
    int line; /* 0: missing */
    struct verdict verdict;
};
struct scenario {
    int line; /* of its title; 0: none is open */
    int checks;
    struct decide_account account;
    struct decide_limits limits;
    struct refund_target paid[ITEMS_MAX];
    size_t paid_count;
    struct {
        struct period period;
        struct refund_target target; /* !exists: a grant */
    } covers[ITEMS_MAX];
    size_t cover_count;
    struct decide_request requests[ITEMS_MAX];
    struct expectation expected[ITEMS_MAX];
    size_t request_count;
    struct price prices[ITEMS_MAX];
    size_t price_count;
};

struct runner {
    const char *file;
    int line, cases, failures;
    bool quiet; /* the tests of the runner itself */
    struct scenario scenario;
};

/* A failure of the table at that line. */
void fail_at(struct runner *r, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
bool case_open(struct runner *r, struct words *w); /* "case" was taken; closes the one before */
bool case_line(struct runner *r, struct words *w); /* a fact or an expectation */
void case_close(struct runner *r);                 /* decides, compares, counts */

#endif
