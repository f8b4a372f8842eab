/* Handing things from many threads to one. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/inbox.h"

#define PRODUCERS 4
#define ITEMS 20000

struct item {
    int producer, number;
    char more[5]; /* an odd size */
};

static void count_wakes(void *ctx)
{
    (*(int *)ctx)++;
}

static void keeps_order_and_its_limit(void **state)
{
    struct inbox in;
    int wakes = 0, out[8], next = 0, expected = 0;

    (void)state;
    assert_int_equal(inbox_init(&in, sizeof(int), 5), ERR_OK);
    in.wake = count_wakes;
    in.wake_ctx = &wakes;
    for (int round = 0; round < 50; round++) {
        size_t max = (size_t)(round % 8) + 1;

        while (inbox_push(&in, &next) == ERR_OK)
            next++;
        assert_int_equal(inbox_count(&in), 5);
        for (size_t left = 5; left;) {
            size_t got = inbox_take(&in, out, max);

            assert_int_equal(got, left < max ? left : max);
            for (size_t i = 0; i < got; i++)
                assert_int_equal(out[i], expected++);
            left -= got;
            if (left == 3) /* leave some: the ring's begin moves */
                break;
        }
    }
    while (inbox_take(&in, out, 8))
        ;
    wakes = 0;
    assert_int_equal(inbox_push(&in, &next), ERR_OK);
    assert_int_equal(inbox_push(&in, &next), ERR_OK);
    assert_int_equal(wakes, 1); /* only the first found it empty */
    assert_int_equal(inbox_take(&in, out, 1), 1);
    assert_int_equal(inbox_push(&in, &next), ERR_OK);
    assert_int_equal(wakes, 1);
    inbox_release(&in);
}

struct producer {
    struct inbox *in;
    int number;
};

static void *produce(void *arg)
{
    struct producer *p = arg;

    for (int i = 0; i < ITEMS; i++) {
        struct item item = {.producer = p->number, .number = i};

        while (inbox_push(p->in, &item) == ERR_BUSY)
            sched_yield();
    }
    return NULL;
}

static void wake_eventfd(void *ctx)
{
    uint64_t one = 1;

    assert_int_equal(write(*(int *)ctx, &one, sizeof(one)), sizeof(one));
}

/* The consumer sleeps on the eventfd alone: a lost wake-up is a test that never ends. */
static void loses_nothing_between_threads(void **state)
{
    int seen[PRODUCERS] = {0}, fd = eventfd(0, EFD_CLOEXEC);
    struct producer producers[PRODUCERS];
    pthread_t threads[PRODUCERS];
    struct inbox in;

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(inbox_init(&in, sizeof(struct item), 64), ERR_OK);
    in.wake = wake_eventfd;
    in.wake_ctx = &fd;
    for (int i = 0; i < PRODUCERS; i++) {
        producers[i] = (struct producer){&in, i};
        assert_int_equal(pthread_create(&threads[i], NULL, produce, &producers[i]), 0);
    }
    for (int total = 0; total < PRODUCERS * ITEMS;) {
        struct item items[16];
        uint64_t ticks;
        size_t got;

        assert_int_equal(read(fd, &ticks, sizeof(ticks)), sizeof(ticks));
        while ((got = inbox_take(&in, items, 16)) > 0) {
            for (size_t i = 0; i < got; i++)
                assert_int_equal(items[i].number, seen[items[i].producer]++);
            total += (int)got;
        }
    }
    for (int i = 0; i < PRODUCERS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(inbox_count(&in), 0);
    inbox_release(&in);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_order_and_its_limit),
        cmocka_unit_test(loses_nothing_between_threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
