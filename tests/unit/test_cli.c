#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli/cli.h"

/* What fn writes to standard error. */
static char complaint[4096];
static int saved_stderr = -1, captured = -1;

static void capture(void)
{
    saved_stderr = dup(STDERR_FILENO);
    captured = memfd_create("stderr", MFD_CLOEXEC);
    assert_true(saved_stderr >= 0 && captured >= 0);
    dup2(captured, STDERR_FILENO);
}

static const char *released(void)
{
    fflush(stderr);
    dup2(saved_stderr, STDERR_FILENO);
    ssize_t n = pread(captured, complaint, sizeof complaint - 1, 0);
    complaint[n > 0 ? n : 0] = '\0';
    close(saved_stderr);
    close(captured);
    return complaint;
}

struct arguments {
    const char *argv[8];
    const char *complaint; /* NULL: taken */
    const char *user;
    bool json;
    const char *key;
    const char *rest[2];
};

static const struct arguments ARGUMENTS[] = {
    {{"do"}, NULL, NULL, false, NULL, {0}},
    {{"do", "--user", "u"}, NULL, "u", false, NULL, {0}},
    {{"do", "--user=u", "--json"}, NULL, "u", true, NULL, {0}},
    {{"do", "--user=", "--json"}, NULL, "", true, NULL, {0}},
    {{"do", "--user=a=b"}, NULL, "a=b", false, NULL, {0}},
    {{"do", "--user", "--json"}, NULL, "--json", false, NULL, {0}},
    {{"do", "-K", ":"}, NULL, NULL, false, ":", {0}},
    {{"do", "-K:"}, NULL, NULL, false, ":", {0}},
    {{"do", "-K", "-"}, NULL, NULL, false, "-", {0}},
    {{"do", "a", "--json", "b"}, NULL, NULL, true, NULL, {"a", "b"}},
    {{"do", "-1", "-"}, NULL, NULL, false, NULL, {"-1", "-"}},
    {{"do", "--", "--json", "-K"}, NULL, NULL, false, NULL, {"--json", "-K"}},
    {{"do", "+1"}, NULL, NULL, false, NULL, {"+1", NULL}},
    {{"do", "--nope"},
     "subpay: do: --nope is unknown: allowed are --user, --json, -K\n",
     0,
     0,
     0,
     {0}},
    {{"do", "--use", "x"},
     "subpay: do: --use is unknown: allowed are --user, --json, -K\n",
     0,
     0,
     0,
     {0}},
    {{"do", "--username=x"},
     "subpay: do: --username=x is unknown: allowed are --user, --json, -K\n",
     0,
     0,
     0,
     {0}},
    {{"do", "-x"}, "subpay: do: -x is unknown: allowed are --user, --json, -K\n", 0, 0, 0, {0}},
    {{"do", "--user"}, "subpay: do: --user has no value: allowed is --user VALUE\n", 0, 0, 0, {0}},
    {{"do", "--json=1"}, "subpay: do: --json=1: allowed is --json without a value\n", 0, 0, 0, {0}},
    {{"do", "--json", "--json"},
     "subpay: do: --json is given twice: allowed is once\n",
     0,
     0,
     0,
     {0}},
    {{"do", "--user", "a", "--user=b"},
     "subpay: do: --user is given twice: allowed is once\n",
     0,
     0,
     0,
     {0}},
    {{"do", "--user", "a", "--user"},
     "subpay: do: --user is given twice: allowed is once\n",
     0,
     0,
     0,
     {0}},
    {{"do", "a", "b", "c\nd"},
     "subpay: do: unexpected argument c?d: allowed are 2 besides options (see subpay do --help)\n",
     0,
     0,
     0,
     {0}},
};

static void test_parse(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof ARGUMENTS / sizeof ARGUMENTS[0]; i++) {
        const struct arguments *a = &ARGUMENTS[i];
        struct cli_option options[] = {{.name = "--user", .takes_value = true},
                                       {.name = "--json"},
                                       {.name = "-K", .takes_value = true}};
        const char *rest[2] = {NULL, NULL};
        char *argv[9] = {0};
        int argc = 0, count = -1;
        for (; argc < 8 && a->argv[argc]; argc++)
            argv[argc] = (char *)(uintptr_t)a->argv[argc];
        capture();
        bool taken = cli_parse(argc, argv, options, 3, rest, 2, &count);
        const char *said = released();
        assert_string_equal(said, a->complaint ? a->complaint : "");
        assert_int_equal(taken, a->complaint == NULL);
        if (!taken)
            continue;
        assert_int_equal(count, (a->rest[0] != NULL) + (a->rest[1] != NULL));
        for (int r = 0; r < count; r++)
            assert_string_equal(rest[r], a->rest[r]);
        assert_int_equal(options[0].given, a->user != NULL);
        if (a->user)
            assert_string_equal(options[0].value, a->user);
        assert_int_equal(options[1].given, a->json);
        assert_int_equal(options[2].given, a->key != NULL);
        if (a->key)
            assert_string_equal(options[2].value, a->key);
    }
}

static void test_parse_without_positions(void **state)
{
    (void)state;
    char command[] = "do", argument[] = "a";
    char *argv[] = {command, argument};
    capture();
    bool taken = cli_parse(2, argv, NULL, 0, NULL, 0, NULL);
    assert_string_equal(released(), "subpay: do: unexpected argument a: allowed are options alone "
                                    "(see subpay do --help)\n");
    assert_false(taken);
}

static char folder[] = "/tmp/subpay-test-cli-XXXXXX";

static void in_folder(struct config *c)
{
    config_defaults(c);
    int n = snprintf(c->data_dir, sizeof c->data_dir, "%s/data", folder);
    assert_true(n > 0);
}

static const char *key_path(void)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/data/jwt.key", folder);
    return path;
}

static int remove_data(void **state)
{
    (void)state;
    char data[100];
    snprintf(data, sizeof data, "%s/data", folder);
    unlink(key_path());
    return rmdir(data) == 0 || errno == ENOENT ? 0
                                               : -1; /* fails when a file was left beside the key */
}

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    return rmdir(folder);
}

static void test_key_is_made_once(void **state)
{
    (void)state;
    struct config first, second;
    struct stat st;
    int code = -1;
    in_folder(&first);
    in_folder(&second);
    capture();
    bool found = cli_jwt_key(&first, false, &code);
    const char *said = released();
    assert_false(found);
    assert_int_equal(code, CLI_USAGE);
    assert_non_null(strstr(said, "JWT_SECRET_KEY is unset"));
    assert_non_null(strstr(said, key_path()));
    mode_t mask = umask(0);
    capture();
    bool made = cli_jwt_key(&first, true, &code);
    said = released();
    umask(mask);
    assert_true(made);
    assert_non_null(strstr(said, "subpay: made a new key in "));
    assert_non_null(strstr(said, key_path()));
    assert_true(cli_jwt_key(&second, false, &code));
    assert_int_equal(strlen(first.jwt_secret), 64);
    assert_int_equal(strspn(first.jwt_secret, "0123456789abcdef"), 64);
    assert_string_equal(first.jwt_secret, second.jwt_secret);
    assert_int_equal(stat(key_path(), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(stat(first.data_dir, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    in_folder(&second);
    capture();
    made = cli_jwt_key(&second, true, &code);
    assert_string_equal(released(), "");
    assert_true(made);
    assert_string_equal(first.jwt_secret, second.jwt_secret);
}

/* It is DATA_DIR that has to be changed, so it is DATA_DIR that is named. */
static void test_data_dir_is_named(void **state)
{
    static const struct {
        const char *data_dir, *wrong;
    } CASES[] = {
        {"/dev/null", "DATA_DIR=/dev/null: is not a directory: allowed is "},
        {"/dev/null/data", "DATA_DIR=/dev/null/data: is not a directory: allowed is "},
        {"/proc/nobody/data", "DATA_DIR=/proc/nobody/data: cannot be written: "},
        {NULL, ": is too long: "},
    };
    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct config c;
        int code = -1;
        config_defaults(&c);
        memset(c.data_dir, 'x', 300);
        c.data_dir[300] = '\0';
        if (CASES[i].data_dir)
            assert_true(text_copy(c.data_dir, sizeof c.data_dir, CASES[i].data_dir));
        capture();
        bool made = cli_jwt_key(&c, true, &code);
        const char *said = released();
        assert_false(made);
        assert_int_equal(code, CLI_USAGE);
        if (!strstr(said, CASES[i].wrong))
            fail_msg("%s", said);
        assert_int_equal(strncmp(said, "subpay: DATA_DIR=", 17), 0);
        assert_null(strstr(said, "jwt.key"));
    }
}

static void test_configured_key_wins(void **state)
{
    (void)state;
    struct config c;
    int code = -1;
    in_folder(&c);
    assert_true(text_copy(c.jwt_secret, sizeof c.jwt_secret, "configured"));
    assert_true(cli_jwt_key(&c, true, &code));
    assert_string_equal(c.jwt_secret, "configured");
    c.jwt_secret[0] = '\0';
    c.jwt_algorithm = JWT_RS256;
    assert_true(cli_jwt_key(&c, true, &code));
    assert_string_equal(c.jwt_secret, "");
    for (int what = 0; what < 3; what++) { /* nobody else makes a key */
        in_folder(&c);
        c.prod = what == 0;
        c.kafka = what == 1;
        c.postgres = what == 2;
        capture();
        bool made = cli_jwt_key(&c, true, &code);
        assert_non_null(strstr(released(), "JWT_SECRET_KEY is unset"));
        assert_false(made);
        assert_int_equal(code, CLI_USAGE);
    }
    assert_int_equal(access(c.data_dir, F_OK), -1);
}

static void test_bad_key_files(void **state)
{
    static const struct {
        const char *text;
        size_t len;
        mode_t mode;
        const char *wrong; /* NULL: taken */
    } CASES[] = {
        {"0123456789abcdef0123456789abcdef\n", 33, 0600, NULL},
        {"0123456789abcdef0123456789abcdef", 32, 0400, NULL},
        {"0123456789abcdef0123456789abcde\n", 32, 0600, "is too short"},
        {"", 0, 0600, "is too short"},
        {"0123456789abcdef0123456789abcdef", 32, 0640, "may be read or written by others"},
        {"0123456789abcdef0123456789abcdef", 32, 0602, "may be read or written by others"},
        {"0123456789abcdef\0"
         "123456789abcdef",
         32, 0600, "is not one text"},
    };
    (void)state;
    struct config c;
    int code;
    in_folder(&c);
    assert_int_equal(mkdir(c.data_dir, 0700), 0);
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        int fd = open(key_path(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        assert_true(fd >= 0 && write(fd, CASES[i].text, CASES[i].len) == (ssize_t)CASES[i].len);
        assert_int_equal(fchmod(fd, CASES[i].mode), 0);
        close(fd);
        in_folder(&c);
        code = -1;
        capture();
        bool taken = cli_jwt_key(&c, true, &code);
        const char *said = released();
        assert_int_equal(taken, CASES[i].wrong == NULL);
        if (taken) {
            assert_string_equal(c.jwt_secret, "0123456789abcdef0123456789abcdef");
        } else {
            assert_int_equal(code, CLI_USAGE);
            assert_non_null(strstr(said, key_path()));
            assert_non_null(strstr(said, CASES[i].wrong));
            assert_null(strstr(said, "0123456789"));
        }
        unlink(key_path());
    }
    assert_int_equal(mkdir(key_path(), 0700), 0);
    capture();
    bool taken = cli_jwt_key(&c, true, &code);
    assert_non_null(strstr(released(), "is not a file"));
    assert_false(taken);
    assert_int_equal(rmdir(key_path()), 0);
}

#define PROCESSES 16

/* All start at once on an empty folder; all must end with the same key. */
static void test_two_starts_agree(void **state)
{
    (void)state;
    for (int round = 0; round < 20; round++) {
        int go[2], keys[2];
        assert_true(pipe(go) == 0 && pipe(keys) == 0);
        for (int i = 0; i < PROCESSES; i++) {
            pid_t pid = fork();
            assert_true(pid >= 0);
            if (pid > 0)
                continue;
            struct config c;
            char byte;
            int code;
            close(go[1]);
            in_folder(&c);
            bool failed = read(go[0], &byte, 1) != 0 || !cli_jwt_key(&c, true, &code) ||
                          write(keys[1], c.jwt_secret, 64) != 64;
            _exit(failed);
        }
        close(go[0]);
        close(keys[1]);
        close(go[1]); /* the signal: end of file for all */
        char first[65] = "", next[65] = "";
        for (int i = 0; i < PROCESSES; i++) {
            assert_int_equal(read(keys[0], i == 0 ? first : next, 64), 64);
            if (i > 0)
                assert_string_equal(next, first);
        }
        close(keys[0]);
        for (int i = 0, status; i < PROCESSES; i++) {
            assert_true(wait(&status) > 0);
            assert_int_equal(status, 0);
        }
        assert_int_equal(remove_data(NULL), 0);
    }
}

static void test_finish(void **state)
{
    (void)state;
    int saved = dup(STDOUT_FILENO), full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    assert_true(saved >= 0 && full >= 0);
    fflush(stdout);
    dup2(full, STDOUT_FILENO);
    fputs("lost", stdout);
    capture();
    int code = cli_finish(CLI_DONE);
    const char *said = released();
    dup2(saved, STDOUT_FILENO);
    clearerr(stdout);
    close(saved);
    close(full);
    assert_int_equal(code, CLI_FAILED);
    assert_string_equal(said, "subpay: standard output: No space left on device\n");
    assert_int_equal(cli_finish(CLI_DONE), CLI_DONE);
    assert_int_equal(cli_finish(CLI_NOT_CHECKED), CLI_NOT_CHECKED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_parse_without_positions),
        cmocka_unit_test(test_data_dir_is_named),
        cmocka_unit_test_teardown(test_key_is_made_once, remove_data),
        cmocka_unit_test_teardown(test_configured_key_wins, remove_data),
        cmocka_unit_test_teardown(test_bad_key_files, remove_data),
        cmocka_unit_test_teardown(test_two_starts_agree, remove_data),
        cmocka_unit_test(test_finish),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
