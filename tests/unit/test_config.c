#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/config.h"
#include "config_cases.h"

static void write_file(const char *path, const char *bytes, size_t len)
{
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, len, f), len);
    assert_int_equal(fclose(f), 0);
}

static void put_env(const char *text)
{
    unlink(".env");
    if (text)
        write_file(".env", text, strlen(text));
}

static enum err load(struct config *c, int purpose, const char *const *environment,
                     const char *file, char *why, size_t why_cap)
{
    char *strings[7] = {0};
    for (int i = 0; i < 6 && environment[i]; i++)
        strings[i] = (char *)(uintptr_t)environment[i];
    put_env(file);
    why[0] = '\0';
    return config_load(c, (enum config_for)purpose, strings, ".env", why, why_cap);
}

static void squeeze(char *text)
{
    char *to = text;
    for (const char *from = text; *from; from++)
        if (*from != ' ' || from[1] != ' ')
            *to++ = *from;
    *to = '\0';
}

static void test_good(void **state)
{
    (void)state;
    for (size_t i = 0; i < GOOD_COUNT; i++) {
        struct config c;
        char why[2048];
        enum err err =
            load(&c, GOOD[i].purpose, GOOD[i].environment, GOOD[i].file, why, sizeof why);
        if (err != ERR_OK)
            print_error("case %zu (%s): %s\n", i, GOOD[i].shows, why);
        assert_int_equal(err, ERR_OK);
        struct str out;
        str_init(&out, 1 << 20);
        str_add(&out, "\n");
        config_print(&c, &out);
        assert_false(out.failed);
        squeeze(out.data);
        char line[2048];
        snprintf(line, sizeof line, "\n%s", GOOD[i].shows);
        if (!strstr(out.data, line))
            print_error("case %zu: no line %s in%s", i, GOOD[i].shows, out.data);
        assert_non_null(strstr(out.data, line));
        assert_null(strstr(out.data, S32));
        str_release(&out);
    }
}

static void test_bad(void **state)
{
    (void)state;
    for (size_t i = 0; i < BAD_COUNT; i++) {
        struct config c;
        char why[2048];
        enum err err = load(&c, BAD[i].purpose, BAD[i].environment, BAD[i].file, why, sizeof why);
        if (err != ERR_INVALID)
            print_error("case %zu was accepted, expected: %s\n", i, BAD[i].why);
        assert_int_equal(err, ERR_INVALID);
        assert_string_equal(why, BAD[i].why);
        assert_null(strchr(why, '\n'));
        assert_null(strstr(why, "hunter2"));
    }
}

static void test_values(void **state)
{
    (void)state;
    static const char *const ENVIRONMENT[] = {"RATE_LIMIT_ADDRESS=10:20",
                                              "OPS_LISTEN=:0",
                                              "JWT_SECRET_KEY_FILE=key",
                                              "LOG_LEVEL=error",
                                              "PROCESSING_SEED=9223372036854775807",
                                              "LOG_FORMAT=json"};
    struct config c, defaults;
    char why[256];
    assert_int_equal(
        load(&c, CONFIG_FOR_RUN, ENVIRONMENT, "PROCESSING_KEY_TTL=86401", why, sizeof why), ERR_OK);
    config_defaults(&defaults);
    assert_false(c.prod || c.kafka || c.postgres || defaults.log_json || defaults.ops_listen_given);
    assert_true(c.ops_listen_given && c.log_json && c.log_level == 0 && defaults.log_level == 2);
    assert_int_equal(c.rate_address.per_second, 10);
    assert_int_equal(c.rate_address.burst, 20);
    assert_int_equal(c.rate_user.per_second, 0);
    assert_string_equal(c.jwt_secret, S32);
    assert_true(c.processing_seed == INT64_MAX);
    assert_true(c.key_ttl == KEY_TTL_SECONDS && c.key_ttl_s == 86401);
    assert_true(defaults.key_ttl_s == 86400 && defaults.request_max_age_s == 21600);
    assert_string_equal(defaults.processing_outcomes, "success=0.9,decline=0.08,error=0.02");
    assert_string_equal(defaults.topic, "payments");
    assert_int_equal(defaults.jwt_algorithm, JWT_HS256);
}

static void test_database_url_is_composed(void **state)
{
    static const struct {
        const char *environment[6];
        const char *url;
    } CASES[] = {
        {{"POSTGRES_HOST=db"}, "postgresql://db:5432/"},
        {{"POSTGRES_HOST=db", "POSTGRES_PORT=6432", "POSTGRES_DB=pay", "POSTGRES_USER=app",
          "POSTGRES_PASSWORD=p@ss:w/rd %\xd0\xb4"},
         "postgresql://app:p%40ss%3Aw%2Frd%20%25%D0%B4@db:6432/pay"},
        {{"POSTGRES_HOST=::1", "POSTGRES_USER=a b"}, "postgresql://a%20b@[::1]:5432/"},
        {{"POSTGRES_HOST=/run/postgresql", "POSTGRES_DB=d"},
         "postgresql://%2Frun%2Fpostgresql:5432/d"},
        {{"POSTGRES_HOST=db", "DATABASE_URL=postgresql://other/x"}, "postgresql://other/x"},
        {{"POSTGRES_DB=d", "POSTGRES_USER=u", "DATABASE_URL=postgresql://other/x"},
         "postgresql://other/x"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct config c;
        char why[2048];
        enum err err = load(&c, CONFIG_FOR_SHOW, CASES[i].environment, NULL, why, sizeof why);
        assert_int_equal(err, ERR_OK);
        assert_string_equal(c.database_url, CASES[i].url);
        assert_true(c.postgres && !c.kafka);
    }
}

static void test_long_values(void **state)
{
    (void)state;
    char text[3000], why[2048], name[2048];
    struct config c;
    memset(text, 'x', sizeof text);
    memcpy(text, "PROCESSING_TOKEN=", 17);
    text[17 + 1023] = '\0';
    const char *environment[6] = {text};
    assert_int_equal(load(&c, CONFIG_FOR_RUN, environment, NULL, why, sizeof why), ERR_OK);
    assert_int_equal(strlen(c.processing_token), 1023);
    text[17 + 1023] = 'x';
    text[17 + 1024] = '\0';
    assert_int_equal(load(&c, CONFIG_FOR_RUN, environment, NULL, why, sizeof why), ERR_INVALID);
    assert_string_equal(why, "PROCESSING_TOKEN=*** (longer than 1023 bytes): allowed is a text");
    memset(name, 'y', sizeof name); /* a long value is cut in the message */
    memcpy(name, "LOG_LEVEL=", 10);
    name[sizeof name - 1] = '\0';
    environment[0] = name;
    assert_int_equal(load(&c, CONFIG_FOR_RUN, environment, NULL, why, sizeof why), ERR_INVALID);
    assert_true(strlen(why) < 300 && strstr(why, "y..."));
    char tiny[12] = "";
    assert_int_equal(load(&c, CONFIG_FOR_RUN, environment, NULL, tiny, sizeof tiny), ERR_INVALID);
    assert_string_equal(tiny, "LOG_LEVEL=y");
}

static void test_env_file_itself(void **state)
{
    (void)state;
    struct config c;
    char why[300], *none[] = {NULL}, *big;
    unlink(".env");
    assert_int_equal(config_load(&c, CONFIG_FOR_RUN, none, ".env", why, sizeof why), ERR_OK);
    assert_int_equal(config_load(&c, CONFIG_FOR_RUN, none, NULL, why, sizeof why), ERR_OK);
    assert_int_equal(mkdir(".env", 0700), 0);
    assert_int_equal(config_load(&c, CONFIG_FOR_RUN, none, ".env", why, sizeof why), ERR_INVALID);
    assert_string_equal(why, ".env cannot be read: Is a directory");
    assert_int_equal(rmdir(".env"), 0);
    write_file(".env", "A=\0b\n", 5);
    assert_int_equal(config_load(&c, CONFIG_FOR_RUN, none, ".env", why, sizeof why), ERR_INVALID);
    assert_non_null(strstr(why, ".env line 1: there is a NUL in it"));
    big = malloc(70000);
    assert_non_null(big);
    memset(big, '#', 70000);
    write_file(".env", big, 65536);
    assert_int_equal(config_load(&c, CONFIG_FOR_RUN, none, ".env", why, sizeof why), ERR_OK);
    write_file(".env", big, 65537);
    assert_int_equal(config_load(&c, CONFIG_FOR_RUN, none, ".env", why, sizeof why), ERR_INVALID);
    assert_string_equal(why, ".env is longer than the 65536 bytes allowed");
    for (int i = 0; i < 1025; i++)
        memcpy(big + 4 * i, "A=1\n", 4);
    write_file(".env", big, 4 * 1024);
    assert_int_equal(config_load(&c, CONFIG_FOR_RUN, none, ".env", why, sizeof why), ERR_OK);
    write_file(".env", big, 4 * 1025);
    assert_int_equal(config_load(&c, CONFIG_FOR_RUN, none, ".env", why, sizeof why), ERR_INVALID);
    assert_non_null(strstr(why, ".env line 1025: too many settings"));
    free(big);
}

/* Garbage in `.env` is an answer, never a crash (run under sanitizers). */
static void test_env_file_garbage(void **state)
{
    static const char LETTERS[] = "AB_=='\"\"\\\\# \t\n\nexport1\r$`\x01\xff";
    (void)state;
    uint32_t x = 99;
    for (int round = 0; round < 1500; round++) {
        char text[64], why[300] = "";
        for (size_t i = 0; i < sizeof text; i++) {
            x = x * 1664525 + 1013904223;
            text[i] = LETTERS[(x >> 16) % (sizeof LETTERS - 1)];
        }
        write_file(".env", text, (size_t)round % sizeof text);
        struct config c;
        char *none[] = {NULL};
        enum err err = config_load(&c, CONFIG_FOR_RUN, none, ".env", why, sizeof why);
        assert_true(err == ERR_OK ? why[0] == '\0'
                                  : err == ERR_INVALID && strstr(why, ".env line "));
    }
}

static void test_addresses(void **state)
{
    static const struct {
        const char *text, *host;
        int port;
    } CASES[] = {
        {"127.0.0.1:8101", "127.0.0.1", 8101},
        {"[::1]:80", "::1", 80},
        {"[::]:0", "::", 0},
        {":0", "", 0},
        {":65535", "", 65535},
        {"localhost:1", "127.0.0.1", 1},
        {"0.0.0.0:9101", "0.0.0.0", 9101},
        {"", NULL, 0},
        {":", NULL, 0},
        {"8101", NULL, 0},
        {"127.0.0.1", NULL, 0},
        {"127.0.0.1:", NULL, 0},
        {"127.0.0.1:65536", NULL, 0},
        {"127.0.0.1:-1", NULL, 0},
        {"127.0.0.1: 1", NULL, 0},
        {"127.0.0.1:1 ", NULL, 0},
        {"127.0.0.1:00000000001", NULL, 0},
        {"127.0.0.256:1", NULL, 0},
        {"127.1:1", NULL, 0},
        {"example.org:1", NULL, 0},
        {"::1:80", NULL, 0},
        {"[::1]", NULL, 0},
        {"[::1]80", NULL, 0},
        {"[::1:80", NULL, 0},
        {"[]:80", NULL, 0},
        {"[127.0.0.1]:80", NULL, 0},
        {"http://127.0.0.1:80", NULL, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        char host[64] = "untouched";
        int port = -7;
        if (config_split_address(CASES[i].text, host, sizeof host, &port) !=
            (CASES[i].host != NULL))
            print_error("case: %s\n", CASES[i].text);
        assert_int_equal(port, CASES[i].host ? CASES[i].port : -7);
        assert_string_equal(host, CASES[i].host ? CASES[i].host : "untouched");
    }
    char small[4];
    int port;
    assert_false(config_split_address("127.0.0.1:1", small, sizeof small, &port));
}

static void test_warning(void **state)
{
    static const struct {
        const char *environment[6];
        bool warns;
    } CASES[] = {
        {{0}, false},
        {{"SUBSCRIPTION_APP_LISTEN=[::1]:1"}, false},
        {{"SUBSCRIPTION_APP_LISTEN=127.1.2.3:1"}, false},
        {{"SUBSCRIPTION_APP_LISTEN=localhost:1"}, false},
        {{"SUBSCRIPTION_APP_LISTEN=:1"}, true},
        {{"SUBSCRIPTION_APP_LISTEN=0.0.0.0:1"}, true},
        {{"SUBSCRIPTION_APP_LISTEN=[::]:1"}, true},
        {{"SUBSCRIPTION_APP_LISTEN=0.0.0.0:1", "TRUSTED_PROXIES=10.0.0.1"}, false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct config c;
        char why[2048];
        assert_int_equal(load(&c, CONFIG_FOR_RUN, CASES[i].environment, NULL, why, sizeof why),
                         ERR_OK);
        assert_int_equal(config_warns(&c, why, sizeof why), CASES[i].warns);
        assert_int_equal(strstr(why, "TRUSTED_PROXIES") != NULL, CASES[i].warns);
    }
}

static void test_warnings_of_mail_and_unknown_names(void **state)
{
    static const char *const PROD[6] = {"ENVIRONMENT=prod", "PROCESSOR=https://pay.example",
                                        "JWT_SECRET_KEY=" S32, "NOT_OURS=1"};
    static const char FILE_TEXT[] = "BATCH_SZE=7\nTOPIC=payments\nJWT_SECRET_KEY_FILE=key\n"
                                    "MAIL_FROM_FILE=x\nMAIL_FROM=a@b.example\n";
    static const char *const NONE[6] = {0};
    (void)state;
    struct config c;
    char why[2048];
    assert_int_equal(load(&c, CONFIG_FOR_RUN, PROD, NULL, why, sizeof why), ERR_OK);
    assert_true(config_warns(&c, why, sizeof why));
    assert_string_equal(why, "nobody gets mail: this build only writes it to DATA_DIR/mail");
    assert_int_equal(load(&c, CONFIG_FOR_RUN, NONE, FILE_TEXT, why, sizeof why), ERR_OK);
    assert_true(config_warns(&c, why, sizeof why));
    assert_string_equal(why,
                        ".env has names that are no settings of subpay: BATCH_SZE, MAIL_FROM_FILE");
    assert_int_equal(load(&c, CONFIG_FOR_RUN, PROD, FILE_TEXT, why, sizeof why), ERR_OK);
    char small[16];
    assert_true(config_warns(&c, small, sizeof small)); /* both, cut */
    assert_string_equal(small, "nobody gets mai");
}

/* `.env.example` with every # taken away in front of a setting is the default configuration. */
static void test_example_is_the_default(void **state)
{
    (void)state;
    struct str example;
    struct config c, defaults;
    char why[300] = "", *none[] = {NULL};
    str_init(&example, 1 << 20);
    config_print_env_example(&example);
    assert_false(example.failed);
    write_file(".env", example.data, example.len); /* as it is: comments only */
    assert_int_equal(config_load(&c, CONFIG_FOR_RUN, none, ".env", why, sizeof why), ERR_OK);
    int settings = 0;
    for (char *p = example.data; (p = strchr(p, '\n')); p++)
        if (p[1] == '#' && p[2] >= 'A' && p[2] <= 'Z') {
            p[1] = ' ';
            settings++;
        }
    char *postgres_port = strstr(example.data, " POSTGRES_PORT=");
    assert_non_null(postgres_port);
    postgres_port[0] = '#'; /* asks for POSTGRES_HOST */
    write_file(".env", example.data, example.len);
    enum err err = config_load(&c, CONFIG_FOR_RUN, none, ".env", why, sizeof why);
    assert_string_equal(why, "");
    assert_int_equal(err, ERR_OK);
    config_defaults(&defaults);
    memset(c.source, 0, sizeof c.source);
    c.ops_listen_given = false;
    assert_memory_equal(&c, &defaults, sizeof c);
    assert_true(settings >= 48);
    str_release(&example);
}

static void compare_document(const char *path, const char *command, void (*print)(struct str *))
{
    const char *root = getenv("SUBPAY_ROOT");
    char full[2048], *text = calloc(1, 1 << 20);
    snprintf(full, sizeof full, "%s/%s", root ? root : ".", path);
    FILE *f = fopen(full, "re");
    if (!f)
        print_error("%s is missing: %s\n", full, command);
    assert_non_null(f);
    size_t len = fread(text, 1, (1 << 20) - 1, f);
    fclose(f);
    struct str out;
    str_init(&out, 1 << 20);
    print(&out);
    assert_false(out.failed);
    if (len != out.len || memcmp(text, out.data, len) != 0)
        print_error("%s is not what the table of settings says: %s\n", path, command);
    assert_int_equal(len, out.len);
    assert_memory_equal(text, out.data, len);
    str_release(&out);
    free(text);
}

static void test_documents(void **state)
{
    (void)state;
    compare_document(".env.example", "subpay config --env-example > .env.example",
                     config_print_env_example);
    compare_document("docs/configuration.md", "subpay config --markdown > docs/configuration.md",
                     config_print_markdown);
}

static char folder[] = "/tmp/subpay-test-config-XXXXXX";

static int enter_folder(void **state)
{
    (void)state;
    char text[1100];
    if (!mkdtemp(folder) || chdir(folder) != 0)
        return -1;
    memset(text, 'x', sizeof text);
    write_file("key", S32 "\r\n", 34);
    write_file("empty", "\n", 1);
    write_file("long", text, sizeof text);
    write_file("lines", "a\nb\n", 4);
    return 0;
}

static int leave_folder(void **state)
{
    (void)state;
    static const char *const NAMES[] = {"key", "empty", "long", "lines", ".env"};
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++)
        unlink(NAMES[i]);
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_database_url_is_composed),
        cmocka_unit_test(test_long_values),
        cmocka_unit_test(test_env_file_itself),
        cmocka_unit_test(test_env_file_garbage),
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_warning),
        cmocka_unit_test(test_warnings_of_mail_and_unknown_names),
        cmocka_unit_test(test_example_is_the_default),
        cmocka_unit_test(test_documents),
    };
    return cmocka_run_group_tests(tests, enter_folder, leave_folder);
}
