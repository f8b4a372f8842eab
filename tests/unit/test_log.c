#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/json.h"
#include "base/log.h"
#include "base/str.h"

#define AT_US INT64_C(1795502148123456) /* 2026-11-24T06:35:48.123456Z */

static int64_t fixed_us(struct clock *c)
{
    (void)c;
    return AT_US;
}

static struct clock fixed = {.wall_us = fixed_us, .boot_us = fixed_us};

struct sink {
    int ends[2];
    struct log log;
    char text[65536];
};

static int open_sink(void **state)
{
    struct sink *s = calloc(1, sizeof *s);
    if (!s || pipe2(s->ends, O_CLOEXEC | O_NONBLOCK) != 0)
        return -1;
    s->log = (struct log){.fd = s->ends[1], .level = LOG_INFO, .clock = &fixed};
    *state = s;
    return 0;
}

static int close_sink(void **state)
{
    struct sink *s = *state;
    close(s->ends[0]);
    close(s->ends[1]);
    free(s);
    return 0;
}

static const char *taken(struct sink *s)
{
    ssize_t n = read(s->ends[0], s->text, sizeof s->text - 1);
    s->text[n > 0 ? n : 0] = '\0';
    return s->text;
}

#define HEAD "2026-11-24T06:35:48.123Z "

static void test_text(void **state)
{
    struct sink *s = *state;
    log_event(&s->log, LOG_INFO, "saver", "stored", F_NUM("records", 12), F_NUM("next", 340));
    assert_string_equal(taken(s), HEAD "info  saver: stored records=12 next=340\n");
    log_event(&s->log, LOG_ERROR, "run", "stopped");
    assert_string_equal(taken(s), HEAD "error run: stopped\n");
    log_event(&s->log, LOG_WARN, "run", "odd", F_STR("plain", "a/b:c"), F_STR("empty", ""),
              F_STR("space", "a b"), F_STR("equals", "a=b"), F_STR("quote", "a\"b\\"),
              F_STR("none", NULL), F_NUM("low", INT64_MIN));
    assert_string_equal(taken(s),
                        HEAD "warn  run: odd plain=a/b:c empty=\"\" space=\"a b\" equals=\"a=b\" "
                             "quote=\"a\\\"b\\\\\" none=- low=-9223372036854775808\n");
}

static void test_json(void **state)
{
    struct sink *s = *state;
    s->log.json = true;
    log_event(&s->log, LOG_INFO, "saver", "stored", F_NUM("records", 12),
              F_STR("topic", "pay \"x\""), F_STR("none", NULL));
    assert_string_equal(taken(s), "{\"at\":\"2026-11-24T06:35:48.123Z\",\"level\":\"info\","
                                  "\"service\":\"saver\",\"message\":\"stored\",\"records\":12,"
                                  "\"topic\":\"pay \\\"x\\\"\",\"none\":null}\n");
}

static void test_level(void **state)
{
    struct sink *s = *state;
    log_event(&s->log, LOG_DEBUG, "run", "quiet");
    assert_string_equal(taken(s), "");
    s->log.level = LOG_ERROR;
    log_event(&s->log, LOG_WARN, "run", "quiet");
    log_event(&s->log, LOG_ERROR, "run", "loud");
    assert_string_equal(taken(s), HEAD "error run: loud\n");
    s->log.level = LOG_DEBUG;
    log_event(&s->log, LOG_DEBUG, "run", "all");
    assert_string_equal(taken(s), HEAD "debug run: all\n");
    s->log.fd = -1;
    log_event(&s->log, LOG_ERROR, "run", "nobody listens");
    assert_int_equal(log_dropped(&s->log), 0);
    assert_string_equal(log_level_text(LOG_WARN), "warn");
}

/* Nothing that a user sends can start a line or reach the terminal. */
static void test_no_control_characters(void **state)
{
    struct sink *s = *state;
    char all[256 + 3];
    size_t len = 0;
    for (int c = 1; c < 256; c++)
        all[len++] = (char)c;
    all[len++] = (char)0xC2; /* U+009B, valid UTF-8 */
    all[len++] = (char)0x9B;
    all[len] = '\0';
    for (int json = 0; json < 2; json++) {
        s->log.json = json;
        log_event(&s->log, LOG_INFO, "x", all, F_STR("a", all),
                  F_STR("b", "1\r\n2026 info  fake: line\x1b[2J"));
        const char *text = taken(s);
        size_t written = strlen(text);
        assert_true(written > 100 && text[written - 1] == '\n');
        assert_true(text_is_utf8(text, written));
        for (size_t i = 0; i + 1 < written; i++) {
            assert_true((unsigned char)text[i] >= 0x20 && text[i] != 0x7F);
            assert_false((unsigned char)text[i] == 0xC2 && (unsigned char)text[i + 1] < 0xA0);
        }
        if (json) {
            struct json *doc = json_parse(text, written, NULL, 0);
            assert_string_equal(json_text(json_member(doc, "b")),
                                "1\r\n2026 info  fake: line\x1b[2J");
            json_free(doc);
        }
    }
}

static void test_long_values_are_cut(void **state)
{
    struct sink *s = *state;
    char *big = malloc(100001);
    assert_non_null(big);
    for (int kind = 0; kind < 3; kind++)
        for (int json = 0; json < 2; json++) {
            memset(big, kind == 0 ? 'a' : kind == 1 ? 1 : (char)0xD0, 100000);
            if (kind == 2)
                for (int i = 1; i < 100000; i += 2)
                    big[i] = (char)0xB4; /* two bytes a letter */
            big[100000] = '\0';
            s->log.json = json;
            log_event(&s->log, LOG_INFO, "run", kind == 1 ? big : "m", F_STR("a", big),
                      F_STR("b", big), F_STR("c", big), F_STR("d", big), F_STR("e", big),
                      F_STR("f", big), F_STR("g", big), F_STR("h", big), F_STR("i", big),
                      F_STR("j", big));
            const char *text = taken(s);
            assert_true(strlen(text) > LOG_TEXT_MAX && strlen(text) <= LOG_LINE_MAX);
            assert_true(text[strlen(text) - 1] == '\n');
            assert_non_null(strstr(text, "..."));
            assert_null(strstr(text, "\xef\xbf\xbd")); /* no letter was cut in two */
            struct json *doc = json ? json_parse(text, strlen(text), NULL, 0) : NULL;
            assert_int_equal(json, doc != NULL);
            json_free(doc);
        }
    assert_int_equal(log_dropped(&s->log), 0);
    free(big);
}

static void test_full_pipe_drops_and_counts(void **state)
{
    struct sink *s = *state;
    /* a blocking pipe: had it blocked, the test would never end */
    assert_int_equal(fcntl(s->ends[1], F_SETFL, 0), 0);
    int64_t sent = 0;
    while (log_dropped(&s->log) < 3 && sent < 100000) {
        errno = 77;
        log_event(&s->log, LOG_INFO, "run", "filling up the pipe", F_NUM("n", sent++));
        assert_int_equal(errno, 77);
    }
    assert_int_equal(log_dropped(&s->log), 3);
    int64_t lines = 0;
    for (const char *p = taken(s); *p; p = taken(s))
        for (; *p; p++)
            lines += *p == '\n';
    assert_int_equal(lines, sent - 3);
    log_event(&s->log, LOG_INFO, "run", "room again");
    assert_string_equal(taken(s), HEAD "info  run: room again\n");
}

static void test_broken_sink(void **state)
{
    struct sink *s = *state;
    signal(SIGPIPE, SIG_IGN);
    close(s->ends[0]);
    log_event(&s->log, LOG_INFO, "run", "nobody reads");
    assert_int_equal(log_dropped(&s->log), 1);
    s->ends[0] = open("/dev/full", O_RDWR | O_CLOEXEC);
    s->log.fd = s->ends[0];
    log_event(&s->log, LOG_INFO, "run", "no space");
    assert_int_equal(log_dropped(&s->log), 2);
}

#define THREADS 4
#define LINES 2000

static void *write_lines(void *arg)
{
    struct log *log = arg;
    for (int i = 0; i < LINES; i++)
        log_event(log, LOG_INFO, "thread", "a line of a thread", F_NUM("n", i),
                  F_STR("text", "a b c"));
    return NULL;
}

static void test_threads_do_not_mix_lines(void **state)
{
    (void)state;
    char path[] = "/tmp/subpay-test-log-XXXXXX";
    int fd = mkostemp(path, O_APPEND | O_CLOEXEC);
    assert_true(fd >= 0);
    unlink(path);
    struct log log = {.fd = fd, .level = LOG_INFO, .clock = &fixed};
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, write_lines, &log), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    FILE *file = fdopen(fd, "r");
    assert_non_null(file);
    rewind(file);
    char line[256], expected[256];
    int count = 0, number = 0;
    while (fgets(line, sizeof line, file)) {
        count++;
        const char *n = strstr(line, " n=");
        assert_non_null(n);
        number = (int)strtol(n + 3, NULL, 10);
        snprintf(expected, sizeof expected,
                 HEAD "info  thread: a line of a thread n=%d text=\"a b c\"\n", number);
        assert_string_equal(line, expected);
    }
    fclose(file);
    assert_int_equal(count, THREADS * LINES);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, open_sink, close_sink)
    const struct CMUnitTest tests[] = {
        TEST(test_text),
        TEST(test_json),
        TEST(test_level),
        TEST(test_no_control_characters),
        TEST(test_long_values_are_cut),
        TEST(test_full_pipe_drops_and_counts),
        TEST(test_broken_sink),
        cmocka_unit_test(test_threads_do_not_mix_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
