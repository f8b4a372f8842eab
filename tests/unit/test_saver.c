/* The saver against a queue and a ledger that do what the test says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "fakes.h"
#include "services/saver.h"

#define TOPIC "payments"
#define REJECTED "payments.rejected"
#define NOW FAKE_WALL_US

struct bench {
    struct fake_env env;
    struct fake_queue queue;
    struct fake_ledger ledger;
    struct service *saver;
};

static struct bench *B;

static void open_saver(int32_t accept_partitions)
{
    const struct saver_settings settings = {.topic = TOPIC,
                                            .batch_size = 500,
                                            .retention_us = 30 * US_PER_DAY,
                                            .accept_partitions = accept_partitions};

    assert_int_equal(saver_open(&B->saver, &settings, &B->ledger.ledger, &B->queue.queue,
                                B->env.metrics, (struct wake){0}),
                     ERR_OK);
}

static int setup(void **state)
{
    B = test_malloc(sizeof *B);
    fake_env_init(&B->env);
    fake_queue_init(&B->queue);
    fake_ledger_init(&B->ledger);
    open_saver(0);
    *state = B;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    B->saver->ops->close(B->saver);
    assert_true(B->queue.closed);
    assert_true(B->ledger.closed);
    fake_env_release(&B->env);
    test_free(B);
    return 0;
}

static int64_t step(void)
{
    return service_step(B->saver, &B->env.env);
}

/* Steps as a runner would, for so long. */
static void live(int64_t us)
{
    int64_t end_us = B->env.boot_us + us;

    for (int i = 0; i < 10000; i++) {
        int64_t next_us = step();
        if (next_us > end_us) {
            fake_env_pass(&B->env, end_us - B->env.boot_us);
            return;
        }
        if (next_us > B->env.boot_us)
            fake_env_pass(&B->env, next_us - B->env.boot_us);
    }
    fail_msg("the saver spins");
}

static void add(uint32_t n, int64_t timestamp_us)
{
    char id[UUID_TEXT], user[UUID_TEXT], value[256];
    struct uuid payment = fake_id(n), of = fake_id(n + 1000);

    uuid_format(&payment, id);
    uuid_format(&of, user);
    (void)snprintf(value, sizeof value,
                   "{\"payment_id\":\"%s\",\"user_id\":\"%s\",\"payment_type\":\"payment\","
                   "\"subscription_type\":\"month\"}",
                   id, user);
    fake_queue_add(&B->queue, TOPIC, user, value, timestamp_us);
}

static bool stored(uint32_t n)
{
    struct uuid id = fake_id(n);

    for (size_t i = 0; i < B->ledger.stored_count; i++)
        if (uuid_equal(&B->ledger.stored[i].request.payment_id, &id))
            return true;
    return false;
}

static void test_stores_and_moves_the_position(void **state)
{
    (void)state;
    for (uint32_t n = 1; n <= 3; n++)
        add(n, NOW);
    live(US_PER_S);
    assert_int_equal(B->ledger.stored_count, 3);
    assert_int_equal(B->ledger.position.next, 3);
    assert_string_equal(B->ledger.position.log_id, "log-1");
    assert_int_equal(B->ledger.position.partitions, 1);
    uint64_t checksum = 0;
    assert_int_equal(queue_checksum(&B->queue.queue, TOPIC, 0, 2, &checksum), ERR_OK);
    assert_true(B->ledger.position.checksum == checksum);
    assert_int_equal(fake_metric(&B->env, "subpay_saver_records_total{result=\"stored\"}"), 3);
    assert_int_equal(fake_metric(&B->env, "subpay_queue_lag_records"), 0);
    assert_null(B->saver->ops->unready(B->saver));

    add(1, NOW); /* a repeat, and a new one */
    add(4, NOW);
    live(2 * US_PER_S);
    assert_int_equal(B->ledger.stored_count, 4);
    assert_int_equal(B->ledger.position.next, 5);
    assert_int_equal(fake_metric(&B->env, "subpay_saver_records_total{result=\"repeated\"}"), 1);
}

static void test_a_new_saver_goes_on_where_the_store_is(void **state)
{
    (void)state;
    add(1, NOW);
    live(US_PER_S);
    B->saver->ops->close(B->saver);
    metrics_close(B->env.metrics);
    B->env.metrics = metrics_open();
    B->queue.assigned = false;
    B->queue.read_from = -1;
    open_saver(0);
    add(2, NOW);
    live(US_PER_S);
    assert_int_equal(B->ledger.append_calls, 2);
    assert_int_equal(B->ledger.stored_count, 2);
}

static void test_rejected_records_are_durable_before_the_rest_is_stored(void **state)
{
    (void)state;
    B->queue.hold = true;
    add(1, NOW);
    fake_queue_add(&B->queue, TOPIC, "a key", "garbage", NOW);
    live(5 * US_PER_S);
    assert_int_equal(fake_queue_count(&B->queue, REJECTED), 1);
    assert_int_equal(B->ledger.append_calls, 0);
    const struct fake_record *r = fake_queue_at(&B->queue, REJECTED, 0);
    assert_string_equal(r->key, "a key");
    assert_string_equal(r->value, "garbage");
    assert_non_null(
        strstr(r->headers, "error=not_json;topic=payments;partition=0;offset=1;at=2025-"));

    /* Not known to be there: published again, and the position still waits. */
    fake_queue_confirm(&B->queue, QUEUE_UNKNOWN);
    live(5 * US_PER_S);
    assert_int_equal(fake_queue_count(&B->queue, REJECTED), 2);
    assert_int_equal(B->ledger.append_calls, 0);
    assert_non_null(B->saver->ops->unready(B->saver));

    fake_queue_confirm(&B->queue, QUEUE_DURABLE);
    live(US_PER_S);
    assert_int_equal(B->ledger.stored_count, 1);
    assert_int_equal(B->ledger.position.next, 2);
    assert_null(B->saver->ops->unready(B->saver));
}

/* One line at once, the rest together when its time has come. */
static void test_rejected_records_are_logged_now_and_then(void **state)
{
    (void)state;
    char text[4096] = "";
    B->env.log.fd = memfd_create("log", MFD_CLOEXEC);
    B->env.log.level = LOG_WARN;
    assert_true(B->env.log.fd >= 0);
    add(1, NOW);
    fake_queue_add(&B->queue, TOPIC, "a key", "garbage", NOW);
    live(US_PER_S);
    for (int i = 0; i < 5; i++)
        fake_queue_add(&B->queue, TOPIC, "a key", "{}", NOW);
    live(5 * US_PER_S);
    ssize_t len = pread(B->env.log.fd, text, sizeof text - 1, 0);
    assert_true(len > 0);
    assert_non_null(strstr(text,
                           "warn  saver: records rejected records=1 partition=0 first_offset=1 "
                           "first_error=not_json kept_in=payments.rejected"));
    assert_null(strstr(text, "records=5"));
    live(20 * US_PER_S);
    len = pread(B->env.log.fd, text, sizeof text - 1, 0);
    text[len > 0 ? len : 0] = '\0';
    assert_non_null(strstr(text, "records=5 partition=0 first_offset=2 first_error=no_"));
    close(B->env.log.fd);
    B->env.log.fd = -1;
}

static void test_a_queue_that_refuses_holds_the_position(void **state)
{
    (void)state;
    B->queue.publish_err = ERR_NOT_FOUND;
    fake_queue_add(&B->queue, TOPIC, "a key", "garbage", NOW);
    live(60 * US_PER_S);
    assert_int_equal(B->ledger.append_calls, 0);
    B->queue.publish_err = ERR_OK;
    live(6 * US_PER_S);
    assert_int_equal(B->ledger.position.next, 1);
    assert_int_equal(fake_queue_count(&B->queue, REJECTED), 1);
}

static void test_what_append_refuses_goes_to_the_rejected(void **state)
{
    (void)state;
    B->ledger.refused = fake_id(2);
    for (uint32_t n = 1; n <= 3; n++)
        add(n, NOW);
    live(US_PER_S);
    assert_int_equal(B->ledger.stored_count, 2);
    assert_false(stored(2));
    assert_int_equal(B->ledger.position.next, 3);
    assert_int_equal(fake_queue_count(&B->queue, REJECTED), 1);
    assert_non_null(strstr(fake_queue_at(&B->queue, REJECTED, 0)->headers, "error=no_price;"));
}

static void test_a_store_that_fails_gets_everything_later(void **state)
{
    (void)state;
    B->ledger.append_err = ERR_NO_SPACE;
    add(1, NOW);
    live(60 * US_PER_S);
    assert_int_equal(B->ledger.stored_count, 0);
    assert_in_range(B->ledger.append_calls, 5, 40); /* pauses grow */
    assert_non_null(strstr(B->saver->ops->unready(B->saver), "store"));
    B->ledger.append_err = ERR_OK;
    live(SERVICE_PAUSE_MAX_US + US_PER_S);
    assert_int_equal(B->ledger.stored_count, 1);
    assert_null(B->saver->ops->unready(B->saver));
}

static void test_a_rewind_is_followed(void **state)
{
    (void)state;
    for (uint32_t n = 1; n <= 3; n++)
        add(n, NOW);
    live(US_PER_S);
    assert_int_equal(ledger_rewind(&B->ledger.ledger, TOPIC, 0, 1), ERR_OK);
    live(10 * US_PER_S);
    assert_int_equal(B->ledger.stored_count, 3);
    assert_int_equal(B->ledger.position.next, 3);
    assert_string_equal(B->ledger.position.log_id, "log-1");
    assert_int_equal(fake_metric(&B->env, "subpay_saver_records_total{result=\"repeated\"}"), 2);
}

static void test_a_rewind_in_the_middle_is_noticed_by_append(void **state)
{
    (void)state;
    add(1, NOW);
    live(US_PER_S);
    assert_int_equal(ledger_rewind(&B->ledger.ledger, TOPIC, 0, 0), ERR_OK);
    add(2, NOW);
    live(3 * US_PER_S);
    assert_int_equal(B->ledger.position.next, 2);
    assert_int_equal(B->ledger.stored_count, 2);
}

static void reopen_with(int64_t next, const char *log_id, uint64_t checksum)
{
    B->ledger.has_position = true;
    B->ledger.position =
        (struct ledger_position){.partitions = 1, .next = next, .checksum = checksum};
    (void)text_copy(B->ledger.position.topic, sizeof B->ledger.position.topic, TOPIC);
    (void)text_copy(B->ledger.position.log_id, sizeof B->ledger.position.log_id, log_id);
}

static void assert_stopped(void)
{
    live(20 * US_PER_S);
    assert_int_equal(B->ledger.append_calls, 0);
    assert_non_null(strstr(B->saver->ops->unready(B->saver), "topic rewind"));
}

static void test_another_log_stops_it_until_a_rewind(void **state)
{
    (void)state;
    add(1, NOW);
    reopen_with(0, "log-0", 0);
    assert_stopped();
    assert_int_equal(ledger_rewind(&B->ledger.ledger, TOPIC, 0, 0), ERR_OK);
    live(10 * US_PER_S);
    assert_int_equal(B->ledger.stored_count, 1);
    assert_null(B->saver->ops->unready(B->saver));
}

static void test_another_last_record_stops_it(void **state)
{
    (void)state;
    add(1, NOW);
    add(2, NOW);
    reopen_with(1, "log-1", 12345);
    assert_stopped();
}

static void test_a_position_outside_the_log_stops_it(void **state)
{
    (void)state;
    add(1, NOW);
    reopen_with(5, "log-1", 0);
    assert_stopped();
}

static void test_records_that_are_gone_stop_it(void **state)
{
    (void)state;
    for (uint32_t n = 1; n <= 3; n++)
        add(n, NOW);
    B->queue.first = 2;
    reopen_with(1, "log-1", 0);
    assert_stopped();
}

static void test_another_number_of_partitions_stops_it(void **state)
{
    (void)state;
    add(1, NOW);
    B->queue.partitions = 2;
    reopen_with(0, "log-1", 0);
    live(20 * US_PER_S);
    assert_int_equal(B->ledger.append_calls, 0);
    assert_non_null(strstr(B->saver->ops->unready(B->saver), "--accept-partitions"));
}

static void test_another_number_of_partitions_can_be_accepted(void **state)
{
    (void)state;
    add(1, NOW);
    B->queue.partitions = 2;
    reopen_with(0, "log-1", 0);
    B->saver->ops->close(B->saver);
    metrics_close(B->env.metrics); /* each process has its own */
    B->env.metrics = metrics_open();
    open_saver(2);
    live(2 * US_PER_S);
    assert_int_equal(B->ledger.stored_count, 1);
    assert_int_equal(B->ledger.position.partitions, 2);
}

static void test_a_last_record_that_the_retention_took_is_no_reason_to_stop(void **state)
{
    (void)state;
    for (uint32_t n = 1; n <= 3; n++)
        add(n, NOW);
    B->queue.first = 2;
    reopen_with(2, "log-1", 12345);
    live(US_PER_S);
    assert_int_equal(B->ledger.stored_count, 1);
}

static void test_records_without_any_time_are_not_guessed_at(void **state)
{
    (void)state;
    add(1, REQUEST_NO_TIME); /* lay there before the first start */
    live(US_PER_S);
    assert_int_equal(B->ledger.stored_count, 0);
    assert_non_null(strstr(fake_queue_at(&B->queue, REJECTED, 0)->headers, "error=no_time;"));

    add(2, REQUEST_NO_TIME); /* came in just now: the time of storing is right */
    live(2 * US_PER_S);
    assert_true(stored(2));

    assert_int_equal(ledger_rewind(&B->ledger.ledger, TOPIC, 0, 1), ERR_OK);
    live(3 * US_PER_S);
    assert_int_equal(fake_queue_count(&B->queue, REJECTED), 2);
}

static void test_trims_what_was_taken_and_is_old(void **state)
{
    (void)state;
    add(1, NOW);
    live(3 * US_PER_S);
    int trims = B->queue.trims;
    live(2 * SAVER_TRIM_EVERY_US);
    assert_in_range(B->queue.trims - trims, 2, 4); /* both topics */
    assert_int_equal(B->queue.trim_taken, 1);
    assert_int_equal(B->queue.trim_rejected_taken, INT64_MAX); /* nobody of ours reads it */
    assert_in_range(B->env.wall_us - B->queue.trim_older_than_us, 30 * US_PER_DAY,
                    30 * US_PER_DAY + SAVER_TRIM_EVERY_US);
    /* No record is looked for in what was rejected after that has gone (I1). */
    assert_int_equal(B->queue.trim_older_than_us - B->queue.trim_rejected_older_than_us,
                     US_PER_DAY);
    B->queue.trim_more = true;
    live(SAVER_TRIM_EVERY_US + 2 * US_PER_S);
    assert_true(B->queue.trims - trims > 10); /* bite by bite */
}

static void test_a_partition_that_is_taken_away_is_left_alone(void **state)
{
    (void)state;
    live(US_PER_S);
    B->ledger.append_err = ERR_UNREACHABLE;
    add(1, NOW);
    live(US_PER_S);
    B->ledger.append_err = ERR_OK;
    B->queue.revoke = true;
    live(10 * US_PER_S);
    assert_int_equal(B->ledger.stored_count, 1); /* the batch in work was its own still */
    int starts = B->queue.starts;
    add(2, NOW);
    B->queue.read_from = -1; /* revoked: nothing is delivered until it is assigned again */
    live(5 * US_PER_S);
    assert_int_equal(B->queue.starts, starts);
    assert_int_equal(B->ledger.stored_count, 1);
}

static void test_the_lag_is_what_is_not_stored(void **state)
{
    (void)state;
    live(US_PER_S);
    B->ledger.append_err = ERR_UNREACHABLE;
    for (uint32_t n = 1; n <= 7; n++)
        add(n, NOW);
    live(3 * US_PER_S);
    assert_int_equal(fake_metric(&B->env, "subpay_queue_lag_records"), 7);
    add(8, NOW); /* while a batch is in work */
    live(3 * US_PER_S);
    assert_int_equal(fake_metric(&B->env, "subpay_queue_lag_records"), 8);
    B->ledger.append_err = ERR_OK;
    live(SERVICE_PAUSE_MAX_US + US_PER_S);
    assert_int_equal(fake_metric(&B->env, "subpay_queue_lag_records"), 0);
    assert_int_equal(B->ledger.stored_count, 8);
}

static void test_a_queue_that_cannot_be_read_is_named(void **state)
{
    (void)state;
    B->queue.log_err = ERR_IO;
    add(1, NOW);
    live(5 * US_PER_S);
    assert_int_equal(B->ledger.stored_count, 0);
    assert_non_null(strstr(B->saver->ops->unready(B->saver), "queue"));
    B->queue.log_err = ERR_OK;
    live(SERVICE_PAUSE_MAX_US + US_PER_S);
    assert_int_equal(B->ledger.stored_count, 1);
    assert_null(B->saver->ops->unready(B->saver));
}

static void test_drain_finishes_the_batch_and_takes_no_more(void **state)
{
    (void)state;
    B->queue.hold = true;
    fake_queue_add(&B->queue, TOPIC, "a key", "garbage", NOW);
    add(1, NOW);
    live(US_PER_S);
    B->saver->ops->drain(B->saver);
    assert_false(B->saver->ops->drained(B->saver));
    fake_queue_confirm(&B->queue, QUEUE_DURABLE);
    add(2, NOW);
    live(2 * US_PER_S);
    assert_true(B->saver->ops->drained(B->saver));
    assert_true(stored(1));
    assert_false(stored(2));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_stores_and_moves_the_position, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_new_saver_goes_on_where_the_store_is, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_rejected_records_are_durable_before_the_rest_is_stored,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_rejected_records_are_logged_now_and_then, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_a_queue_that_refuses_holds_the_position, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_what_append_refuses_goes_to_the_rejected, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_a_store_that_fails_gets_everything_later, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_a_rewind_is_followed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_rewind_in_the_middle_is_noticed_by_append, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_another_log_stops_it_until_a_rewind, setup, teardown),
        cmocka_unit_test_setup_teardown(test_another_last_record_stops_it, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_position_outside_the_log_stops_it, setup, teardown),
        cmocka_unit_test_setup_teardown(test_records_that_are_gone_stop_it, setup, teardown),
        cmocka_unit_test_setup_teardown(test_another_number_of_partitions_stops_it, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_another_number_of_partitions_can_be_accepted, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            test_a_last_record_that_the_retention_took_is_no_reason_to_stop, setup, teardown),
        cmocka_unit_test_setup_teardown(test_records_without_any_time_are_not_guessed_at, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_trims_what_was_taken_and_is_old, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_partition_that_is_taken_away_is_left_alone, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_the_lag_is_what_is_not_stored, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_queue_that_cannot_be_read_is_named, setup, teardown),
        cmocka_unit_test_setup_teardown(test_drain_finishes_the_batch_and_takes_no_more, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
