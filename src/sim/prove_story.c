/* The shortest story to what is broken, in readable lines: each step, and what it changed. */
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "sim/prove_inside.h"

static const char *const TYPES[] = {"payment", "refund"};
static const char *const SUBSCRIPTIONS[] = {"month", "three_months"};
static const char *const RECORDS[] = {"nothing", "pending", "success", "decline", "voided"};

static const char LATE_ANSWER[] = "; its answer is late or lost";
static const char *const LOST[LOST_COUNT] = {"requests of this tick", "late requests", "the answer",
                                             "the void"};

struct story {
    struct proof p;
    char name[PROOF_KEYS_MAX];
    char next_name;
    bool swapped; /* the subscription types, an odd number of times */
};

static void tell_step(const struct story *st, const struct proof_step *step)
{
    char name = step->who < PROOF_KEYS_MAX && st->name[step->who] ? st->name[step->who] : '?';
    switch ((enum proof_kind)step->kind) {
    case STEP_ANSWER:
        printf("a late answer about %c reaches a processor", name);
        break;
    case STEP_READ:
        printf("a processor reads the journal%s", step->variant ? ", without having waited" : "");
        break;
    case STEP_SAVE:
        printf("the saver takes the next record");
        break;
    case STEP_VOID_ARRIVES:
        printf("the void of %c arrives%s", name, step->variant ? LATE_ANSWER : "");
        break;
    case STEP_ARRIVES:
        printf("a%s request for %c arrives at the processing%s",
               step->variant & ARRIVES_LATE ? " late" : "", name,
               step->variant & ARRIVES_LATE_ANSWER ? LATE_ANSWER : "");
        break;
    case STEP_CLAIM:
        printf("a processor claims the user");
        break;
    case STEP_NEXT:
        printf("a processor does what is next about the payment in flight");
        break;
    case STEP_CLOCK:
        printf("half of the key's memory passes");
        break;
    case STEP_PERSON:
        printf("a person decides that %c %s", name, step->variant ? "failed" : "is accepted");
        break;
    case STEP_PAYER:
        printf("the payer %s %c", step->variant ? "declines" : "confirms", name);
        break;
    case STEP_REQUEST:
        printf("the user asks for a %s, %s: %c%s", TYPES[step->variant & REQUEST_REFUND],
               SUBSCRIPTIONS[((step->variant & REQUEST_OTHER) != 0) != st->swapped], st->next_name,
               step->variant & REQUEST_OLD ? ", long before it is stored" : "");
        break;
    case STEP_LOST:
        printf("lost: %s for %c", LOST[step->variant], name);
        break;
    case STEP_REFUSED:
        printf("a request for %c is answered 409", name);
        break;
    case STEP_CRASH:
        printf("all processors are killed and start again");
        break;
    case STEP_RESTORE:
        printf("the backup is restored");
        break;
    case STEP_KINDS:
        break;
    }
    printf("%s\n", step->backup ? "; a backup is taken" : "");
}

static void tell_status(const struct proof_book *b)
{
    if (b->status == 0) {
        printf("not known");
        return;
    }
    printf("%s", processing_status_text((enum processing_status)(b->status - 1)));
    if (b->payment != PAYMENT_UNKNOWN)
        printf("/%s", payment_status_text((enum payment_status)b->payment));
}

static void tell_key(char name, const struct proof_book *b, const struct proof_book *now,
                     const struct proof_key *k, const struct proof_key *then)
{
    if (b->status != now->status || b->payment != now->payment) {
        printf("         %c: ", name);
        tell_status(b);
        printf(" → ");
        tell_status(now);
        printf("\n");
    }
    if (k->record != then->record)
        printf("         the processing records for %c: %s\n", name, RECORDS[then->record]);
    if (!b->pending && now->pending)
        printf("         %c waits for its payer\n", name);
    if (then->fresh && !k->fresh)
        printf("         a request for %c is on its way\n", name);
    if (k->voiding != then->voiding && then->voiding)
        printf("         a void of %c is on its way\n", name);
}

static void tell_changes(const struct story *st, const struct proof_state *before)
{
    const struct proof_state *now = &st->p.s;
    for (unsigned k = 0; k < now->count && k < before->count; k++)
        tell_key(st->name[k], &before->book[k], &now->book[k], &before->key[k], &now->key[k]);
    bool sent = before->ready && !before->rewound, sends = now->ready && !now->rewound;
    if (sent != sends)
        printf("         %s\n", sends ? "it may send from now on" : "nobody may send");
}

/* Requests that are over leave the state; the others keep their names. */
static void names_follow(struct story *st)
{
    char name[PROOF_KEYS_MAX] = {0};
    for (unsigned k = 0; k < st->p.s.count; k++)
        name[k] = st->name[st->p.from[k]];
    memcpy(st->name, name, sizeof name);
}

void proof_tell(const struct proof_world *world, const struct proof_bound *bound,
                const struct proof_result *result)
{
    struct story st = {.p = {.world = world, .bound = bound, .untidied = true}, .next_name = 'A'};
    proof_start(&st.p);
    for (unsigned i = 0; i < result->story_len; i++) {
        const struct proof_step *step = &result->story[i];
        struct proof_state before = st.p.s;
        printf("    %3u. ", i + 1);
        tell_step(&st, step);
        if (step->kind == STEP_REQUEST)
            st.name[before.count] = st.next_name++;
        (void)proof_step(&st.p, step);
        tell_changes(&st, &before);
        if (st.p.broken == NULL) {
            proof_tidy(&st.p);
            names_follow(&st);
            st.swapped ^= st.p.swapped;
        }
    }
    printf("    %s\n", result->broken);
}
