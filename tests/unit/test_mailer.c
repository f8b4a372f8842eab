/* Messages and the folder they go to. */
#include "mailer/mailer.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/str.h"
#include "base/times.h"

#define ID "3f2b1a00-0000-7000-8000-00000000abcd"

static struct mail mail_of(const char *subject, const char *text)
{
    struct mail mail = {.to = "user@users.invalid", .subject = subject, .text = text};
    const char *at = "2026-11-24T06:35:48Z";
    assert_true(uuid_parse(ID, strlen(ID), &mail.payment_id));
    assert_true(time_parse(at, strlen(at), &mail.date_us));
    return mail;
}

/* The formatted message, owned by the caller. */
static struct str format(const struct mail *mail)
{
    struct str out;
    str_init(&out, MAIL_MESSAGE_MAX);
    assert_int_equal(mail_format(mail, "shop@pay.example", &out), ERR_OK);
    return out;
}

static void looks_like_mail(void **state)
{
    (void)state;
    struct mail mail = mail_of("Your subscription", "Hello,\n\nit is paid.\n");
    struct str out = format(&mail);
    assert_string_equal(out.data, "Date: Tue, 24 Nov 2026 06:35:48 +0000\r\n"
                                  "From: shop@pay.example\r\n"
                                  "To: user@users.invalid\r\n"
                                  "Subject: Your subscription\r\n"
                                  "Message-ID: <" ID "@pay.example>\r\n"
                                  "Auto-Submitted: auto-generated\r\n"
                                  "MIME-Version: 1.0\r\n"
                                  "Content-Type: text/plain; charset=utf-8\r\n"
                                  "Content-Transfer-Encoding: 7bit\r\n"
                                  "\r\n"
                                  "Hello,\r\n\r\nit is paid.\r\n");
    str_release(&out);
}

static void knows_the_weekdays(void **state)
{
    (void)state;
    const struct {
        int64_t at_us;
        const char *line;
    } cases[] = {
        {0, "Date: Thu, 1 Jan 1970 00:00:00 +0000\r\n"},
        {INT64_C(951782399) * US_PER_S + 999999, "Date: Mon, 28 Feb 2000 23:59:59 +0000\r\n"},
        {INT64_C(951782400) * US_PER_S, "Date: Tue, 29 Feb 2000 00:00:00 +0000\r\n"},
        {INT64_C(4102444800) * US_PER_S, "Date: Fri, 1 Jan 2100 00:00:00 +0000\r\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct mail mail = mail_of("s", "t\n");
        mail.date_us = cases[i].at_us;
        struct str out = format(&mail);
        assert_int_equal(strncmp(out.data, cases[i].line, strlen(cases[i].line)), 0);
        str_release(&out);
    }
}

static void lines_end_properly(void **state)
{
    (void)state;
    struct mail mail = mail_of("s", "one\ntwo");
    struct str out = format(&mail);
    for (size_t i = 0; i < out.len; i++) {
        if (out.data[i] == '\n')
            assert_true(i > 0 && out.data[i - 1] == '\r');
        if (out.data[i] == '\r')
            assert_int_equal(out.data[i + 1], '\n');
    }
    assert_non_null(strstr(out.data, "\r\n\r\none\r\ntwo\r\n"));
    str_release(&out);
}

static void subjects_beyond_ascii(void **state)
{
    (void)state;
    struct mail mail = mail_of("Оплата", "Оплачено.\n");
    struct str out = format(&mail);
    assert_non_null(strstr(out.data, "Subject: =?UTF-8?B?0J7Qv9C70LDRgtCw?=\r\n"));
    assert_non_null(strstr(out.data, "Content-Transfer-Encoding: 8bit\r\n"));
    assert_non_null(strstr(out.data, "\r\n\r\nОплачено.\r\n"));
    str_release(&out);
    /* Longer than one word: no word over 75 characters, no character cut in two. */
    char subject[MAIL_SUBJECT_MAX + 1] = "x";
    while (strlen(subject) + 3 < sizeof subject)
        memcpy(subject + strlen(subject), "\xe2\x82\xac", 4);
    mail.subject = subject;
    out = format(&mail);
    int words = 0;
    for (char *word = strstr(out.data, "=?UTF-8?B?"); word; words++) {
        char *end = strstr(word + 10, "?=");
        assert_non_null(end);
        assert_true(end + 2 - word <= 75);
        char *next = strstr(end, "=?UTF-8?B?");
        if (next)
            assert_memory_equal(end, "?=\r\n =?", 7);
        /* 45 bytes of text begin with x and 14 characters, or hold 15 of them */
        assert_int_equal((end - word - 10) % 4, 0);
        word = next;
    }
    assert_true(words >= 4);
    str_release(&out);
}

static void a_subject_that_looks_encoded_is_encoded(void **state)
{
    (void)state;
    struct mail mail = mail_of("=?UTF-8?B?eA==?=", "t\n");
    struct str out = format(&mail);
    assert_null(strstr(out.data, "Subject: =?UTF-8?B?eA==?="));
    str_release(&out);
}

static void long_lines_are_quoted(void **state)
{
    (void)state;
    char text[2200];
    memset(text, 'a', 1200);
    snprintf(text + 1200, sizeof text - 1200, "=\xc3\xa9 \nend \n");
    struct mail mail = mail_of("s", text);
    struct str out = format(&mail);
    assert_non_null(strstr(out.data, "Content-Transfer-Encoding: quoted-printable\r\n"));
    assert_non_null(strstr(out.data, "end=20\r\n"));
    char *body = strstr(out.data, "\r\n\r\n") + 4;
    for (char *line = body; *line;) {
        char *end = strstr(line, "\r\n");
        assert_true(end - line <= 76);
        line = end + 2;
    }
    /* Decoded it is the text again. */
    struct str decoded;
    str_init(&decoded, 4096);
    for (char *p = body; *p;) {
        unsigned byte;
        if (strncmp(p, "=\r\n", 3) == 0) {
            p += 3;
        } else if (*p == '=' && sscanf(p + 1, "%2X", &byte) == 1) {
            char c = (char)byte;
            str_add_bytes(&decoded, &c, 1);
            p += 3;
        } else {
            if (*p != '\r')
                str_add_bytes(&decoded, p, 1);
            p++;
        }
    }
    assert_string_equal(decoded.data, text);
    str_release(&decoded);
    str_release(&out);
}

static void headers_cannot_be_smuggled(void **state)
{
    (void)state;
    const char *bad_to[] = {
        "",       "a",           "@b",        "a@",           "a@b@c",      "a b@c",
        "a@b c",  "a@b\r\nX: y", "a\n@b",     "<a@b>",        "A <a@b>",    "a@b,c@d",
        "a@b;",   ".a@b",        "a.@b",      "a..b@c",       "a@b..c",     "a@.b",
        "a@b.",   "\"a\"@b",     "a@[1.2.3]", "\xd0\xb0@b.c", "a@\xd0\xb0", "a@b_c",
        "a\x7f@b"};
    const char *bad_subject[] = {"a\r\nBcc: x@y", "a\nb", "a\rb", "a\tb", "\x1b[0m", "\xff"};
    struct str out;
    str_init(&out, MAIL_MESSAGE_MAX);
    for (size_t i = 0; i < sizeof bad_to / sizeof *bad_to; i++) {
        struct mail mail = mail_of("s", "t\n");
        mail.to = bad_to[i];
        assert_false(mail_address_valid(bad_to[i]));
        assert_int_equal(mail_format(&mail, "a@b", &out), ERR_INVALID);
        mail.to = "a@b";
        assert_int_equal(mail_format(&mail, bad_to[i], &out), ERR_INVALID);
    }
    for (size_t i = 0; i < sizeof bad_subject / sizeof *bad_subject; i++) {
        struct mail mail = mail_of(bad_subject[i], "t\n");
        assert_int_equal(mail_format(&mail, "a@b", &out), ERR_INVALID);
    }
    struct mail mail = mail_of("s", "bare\rreturn\n");
    assert_int_equal(mail_format(&mail, "a@b", &out), ERR_INVALID);
    mail.text = "not \xff UTF-8\n";
    assert_int_equal(mail_format(&mail, "a@b", &out), ERR_INVALID);
    assert_int_equal(out.len, 0);
    str_release(&out);
    assert_true(mail_address_valid("first.last+tag@sub-domain.example.com"));
    assert_true(mail_address_valid("a@localhost"));
}

/* ---- the folder ---- */

struct folder {
    char base[64], mail[80];
    struct mailer *mailer;
    int wakes;
};

static void on_wake(void *ctx)
{
    ((struct folder *)ctx)->wakes++;
}

static int folder_open(void **state)
{
    struct folder *f = calloc(1, sizeof *f);
    snprintf(f->base, sizeof f->base, "/tmp/subpay-mailer-XXXXXX");
    assert_non_null(mkdtemp(f->base));
    snprintf(f->mail, sizeof f->mail, "%s/mail", f->base);
    assert_int_equal(directory_mailer_open(&f->mailer, f->mail, ""), ERR_OK);
    mailer_watch(f->mailer, on_wake, f);
    *state = f;
    return 0;
}

static int folder_count(const char *path, bool remove_all)
{
    DIR *dir = opendir(path);
    struct dirent *entry;
    int count = 0;
    while (dir && (entry = readdir(dir)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        count++;
        if (remove_all)
            unlinkat(dirfd(dir), entry->d_name, 0);
    }
    if (dir)
        closedir(dir);
    return count;
}

static int folder_close(void **state)
{
    struct folder *f = *state;
    mailer_close(f->mailer);
    chmod(f->mail, 0700);
    folder_count(f->mail, true);
    rmdir(f->mail);
    rmdir(f->base);
    free(f);
    return 0;
}

static void hands_over(void **state)
{
    struct folder *f = *state;
    struct mail mail = mail_of("Paid", "Thank you.\n");
    struct mail_result results[4];
    struct stat st;
    char path[160], text[4096];
    assert_int_equal(mailer_take(f->mailer, results, 4), 0);
    assert_int_equal(mailer_send(f->mailer, &mail), ERR_OK);
    assert_int_equal(f->wakes, 1);
    assert_int_equal(mailer_take(f->mailer, results, 4), 1);
    assert_int_equal(results[0].outcome, MAIL_HANDED_OVER);
    assert_true(uuid_equal(&results[0].payment_id, &mail.payment_id));
    assert_int_equal(mailer_take(f->mailer, results, 4), 0);
    assert_int_equal(stat(f->mail, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    snprintf(path, sizeof path, "%s/" ID ".eml", f->mail);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    FILE *file = fopen(path, "r");
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    assert_non_null(strstr(text, "From: subpay@subpay.invalid\r\n"));
    assert_non_null(strstr(text, "Message-ID: <" ID "@subpay.invalid>\r\n"));
    assert_non_null(strstr(text, "\r\n\r\nThank you.\r\n"));
}

static void a_repeat_leaves_one_file(void **state)
{
    struct folder *f = *state;
    struct mail mail = mail_of("Paid", "Thank you.\n");
    struct mail_result results[4];
    for (int i = 0; i < 3; i++)
        assert_int_equal(mailer_send(f->mailer, &mail), ERR_OK);
    assert_int_equal(mailer_take(f->mailer, results, 4), 3);
    assert_int_equal(folder_count(f->mail, false), 1);
}

static void has_a_maximum(void **state)
{
    struct folder *f = *state;
    struct mail_result results[MAIL_BATCH_MAX];
    struct mail mail = mail_of("Paid", "Thank you.\n");
    for (int i = 0; i < MAIL_BATCH_MAX; i++) {
        mail.payment_id.bytes[0] = (uint8_t)i;
        assert_int_equal(mailer_send(f->mailer, &mail), ERR_OK);
    }
    assert_int_equal(mailer_send(f->mailer, &mail), ERR_BUSY);
    assert_int_equal(mailer_take(f->mailer, results, 100), 100);
    assert_int_equal(mailer_send(f->mailer, &mail), ERR_OK);
    assert_int_equal(mailer_take(f->mailer, results, MAIL_BATCH_MAX), MAIL_BATCH_MAX - 99);
    for (int i = 0; i < MAIL_BATCH_MAX - 99; i++)
        assert_int_equal(results[i].outcome, MAIL_HANDED_OVER);
    assert_int_equal(folder_count(f->mail, false), MAIL_BATCH_MAX);
}

static void trouble_is_worth_a_repeat(void **state)
{
    struct folder *f = *state;
    struct mail_result results[1];
    struct mail mail = mail_of("Paid", "Thank you.\n");
    char path[160];
    snprintf(path, sizeof path, "%s/." ID ".tmp", f->mail);
    assert_int_equal(mkdir(path, 0700), 0); /* stands where the message would be written */
    assert_int_equal(mailer_send(f->mailer, &mail), ERR_OK);
    assert_int_equal(mailer_take(f->mailer, results, 1), 1);
    assert_int_equal(results[0].outcome, MAIL_TRY_AGAIN);
    assert_true(results[0].note[0] != '\0');
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(mailer_send(f->mailer, &mail), ERR_OK);
    assert_int_equal(mailer_take(f->mailer, results, 1), 1);
    assert_int_equal(results[0].outcome, MAIL_HANDED_OVER);
}

static void the_front_refuses(void **state)
{
    struct folder *f = *state;
    struct mail mail = mail_of("Paid", "Thank you.\n");
    char *large = calloc(1, MAIL_BODY_MAX + 2);
    memset(large, 'a', MAIL_BODY_MAX + 1);
    mail.text = large;
    assert_int_equal(mailer_send(f->mailer, &mail), ERR_INVALID);
    mail.text = "t\n";
    large[MAIL_SUBJECT_MAX + 1] = '\0';
    mail.subject = large;
    assert_int_equal(mailer_send(f->mailer, &mail), ERR_INVALID);
    mail.subject = "s\r\nX: y";
    assert_int_equal(mailer_send(f->mailer, &mail), ERR_INVALID);
    mail.subject = "s";
    mail.to = "a@b\r\nX: y";
    assert_int_equal(mailer_send(f->mailer, &mail), ERR_INVALID);
    assert_int_equal(folder_count(f->mail, false), 0);
    free(large);
    struct mailer *other;
    assert_int_equal(directory_mailer_open(&other, f->mail, "Shop <a@b>\r\nX: y"), ERR_INVALID);
    assert_int_equal(directory_mailer_open(&other, "/dev/null/mail", "a@b"), ERR_IO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, folder_open, folder_close)
        cmocka_unit_test(looks_like_mail),
        cmocka_unit_test(knows_the_weekdays),
        cmocka_unit_test(lines_end_properly),
        cmocka_unit_test(subjects_beyond_ascii),
        cmocka_unit_test(a_subject_that_looks_encoded_is_encoded),
        cmocka_unit_test(long_lines_are_quoted),
        cmocka_unit_test(headers_cannot_be_smuggled),
        IN_FOLDER(hands_over),
        IN_FOLDER(a_repeat_leaves_one_file),
        IN_FOLDER(has_a_maximum),
        IN_FOLDER(trouble_is_worth_a_repeat),
        IN_FOLDER(the_front_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
