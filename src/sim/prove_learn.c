/* What the journal, and questions about payments that are new, tell the books (rule 11, billing/learn.h). */
#include "sim/prove_inside.h"

static struct learn_payment payment_of(const struct proof *p, const struct proof_book *b,
                                       unsigned key)
{
    int in_flight = book_in_flight(p);
    return (struct learn_payment){
        .known = b->status != 0,
        .processing_status = b->status ? (enum processing_status)(b->status - 1) : PROCESSING_NEW,
        .payment_status = (enum payment_status)b->payment,
        .other_in_flight = in_flight >= 0 && in_flight != (int)key,
    };
}

static void learn_make(struct proof *p, unsigned key)
{
    unsigned seq = 0;
    for (unsigned i = 0; i < p->s.count; i++)
        if (p->s.book[i].seq > seq)
            seq = p->s.book[i].seq;
    p->s.book[key].seq = seq + 1;
    book_move(p, key, PROCESSING_NEW, PAYMENT_UNKNOWN);
}

static void learn_adopt(struct proof *p, unsigned key)
{
    struct proof_book *b = &p->s.book[key];
    book_move(p, key, PROCESSING_IN_PROCESSING, PAYMENT_UNKNOWN);
    b->refund_of = p->s.key[key].refund_of;
    b->sent_age = p->s.key[key].record_age;
    b->ask_only = 1;
    book_page(p, key);
}

static void learn_alarm(struct proof *p, unsigned key)
{
    if (!p->s.book[key].person)
        p->broken = "I6: the processing contradicts the books, and no person decided";
}

/* Does what learn_line says of the key's last line. */
static struct learn_step learn_apply(struct proof *p, unsigned key, bool hold)
{
    enum proof_record record = (enum proof_record)p->s.key[key].record;
    struct learn_payment payment = payment_of(p, &p->s.book[key], key);
    struct learn_step step = learn_line(&payment, record_answer(record));
    if (step.make)
        learn_make(p, key);
    switch (step.move) {
    case LEARN_NOTHING:
        break;
    case LEARN_SETTLE:
        book_settle(p, key, record, hold);
        break;
    case LEARN_PAGE:
        book_page(p, key);
        break;
    case LEARN_RECORD:
        p->s.book[key].refund_of = p->s.key[key].refund_of;
        book_finish(p, key, learn_status(record_answer(record)));
        break;
    case LEARN_ADOPT:
        learn_adopt(p, key);
        break;
    case LEARN_ASK_FIRST:
        p->s.book[key].ask_first = 1;
        break;
    case LEARN_ALARM:
        learn_alarm(p, key);
        break;
    }
    return step;
}

/* The unread line with the lowest number above `line`. */
static bool next_line(const struct proof *p, unsigned line, unsigned *key)
{
    unsigned found = 0;
    for (unsigned k = 0; k < p->s.count; k++)
        if (p->s.book[k].unread && p->s.key[k].line > line &&
            (found == 0 || p->s.key[k].line < found)) {
            found = p->s.key[k].line;
            *key = k;
        }
    return found != 0;
}

static bool shows_rewound(const struct proof *p)
{
    unsigned k, line = 0;
    while (next_line(p, line, &k)) {
        struct learn_payment payment = payment_of(p, &p->s.book[k], k);
        struct learn_step step =
            learn_line(&payment, record_answer((enum proof_record)p->s.key[k].record));
        if (learn_rewound(&step))
            return true;
        line = p->s.key[k].line;
    }
    return false;
}

/* New requests that the latest recorded payment stands for. */
static void learn_older(struct proof *p, unsigned latest_seq)
{
    unsigned k, seq = 0;
    while (book_next_new(p, seq, &k)) {
        seq = p->s.book[k].seq;
        if (learn_stands_for(latest_seq, seq, p->s.book[k].ask_first))
            book_move(p, k, PROCESSING_DUPLICATED, PAYMENT_UNKNOWN);
    }
}

/* At start, after the store was away, and then every ten minutes. A reading that shows that the books were rewound leaves
 * a mark, which the next one takes away; between them everything may happen, also a crash. */
bool step_read(struct proof *p, bool early)
{
    if (early && !p->s.rewound)
        return false;
    p->s.ready = 1;
    if (!p->world->journal)
        return true;
    bool rewound = shows_rewound(p);
    unsigned k, line = 0, latest_seq = 0;
    int in_flight = book_in_flight(p);
    while (next_line(p, line, &k)) {
        line = p->s.key[k].line;
        struct learn_step step = learn_apply(p, k, rewound);
        if ((step.move == LEARN_RECORD || step.move == LEARN_ADOPT) &&
            p->s.book[k].seq > latest_seq)
            latest_seq = p->s.book[k].seq;
    }
    for (k = 0; k < p->s.count; k++)
        p->s.book[k].unread = 0;
    learn_older(p, latest_seq);
    if (rewound && in_flight >= 0 && in_flight == book_in_flight(p))
        p->s.book[in_flight].ask_only = 1; /* another one was sent after it: a person had decided */
    p->s.rewound = rewound || early;       /* it waits and reads again */
    return true;
}

/* An answer reaches a processor. About a payment that is new to the books it shows that they were rewound: this
 * processor reads the journal before it does anything else. */
void book_answer(struct proof *p, unsigned key)
{
    struct learn_payment payment = payment_of(p, &p->s.book[key], key);
    struct learn_step step =
        learn_line(&payment, record_answer((enum proof_record)p->s.key[key].record));
    if (!learn_rewound(&step))
        (void)learn_apply(p, key, false);
}

bool step_answer(struct proof *p, unsigned key)
{
    if (!p->s.ready || !p->s.key[key].answered)
        return false;
    p->s.key[key].answered = 0;
    book_answer(p, key);
    return true;
}

/* The oldest request that is to be asked about before it is decided; nothing of its user is in flight. */
bool book_ask_first(struct proof *p, unsigned key)
{
    if (!p->world->promises.ask)
        return false;
    if (p->s.key[key].record == RECORD_NONE) {
        p->s.book[key].ask_first = 0; /* 404 */
        return true;
    }
    struct learn_step step = learn_apply(p, key, true);
    if (step.move == LEARN_RECORD || step.move == LEARN_ADOPT)
        learn_older(p, p->s.book[key].seq);
    return true;
}

bool book_knows(const struct proof *p, const struct proof_book *b, unsigned key)
{
    enum proof_record record = (enum proof_record)p->s.key[key].record;
    struct learn_payment payment = payment_of(p, b, key);
    return record_definite(record) &&
           learn_line(&payment, record_answer(record)).move == LEARN_NOTHING;
}
