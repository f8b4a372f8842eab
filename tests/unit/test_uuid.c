/* Identifiers: the vectors of RFC 9562, appendix A, and what is no identifier. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/uuid.h"

static struct uuid id_of(const char *text)
{
    struct uuid id;

    assert_true(uuid_parse(text, strlen(text), &id));
    return id;
}

static void assert_id(struct uuid id, const char *expected)
{
    char text[UUID_TEXT];

    uuid_format(&id, text);
    assert_string_equal(text, expected);
}

static void reads_any_case_writes_lower(void **state)
{
    (void)state;
    assert_id(id_of("F81D4FAE-7DEC-11D0-A765-00A0C91E6BF6"),
              "f81d4fae-7dec-11d0-a765-00a0c91e6bf6");
    assert_id(UUID_SUBPAY, "2d0c5c0e-6f5b-5b0a-9d5e-7b1f3a9c4e21");
    assert_id(UUID_NIL, "00000000-0000-0000-0000-000000000000");
    assert_true(uuid_is_nil(&UUID_NIL));
    assert_false(uuid_is_nil(&UUID_SUBPAY));
}

static void refuses_other_forms(void **state)
{
    static const char *const BAD[] = {
        "",
        "2d0c5c0e6f5b5b0a9d5e7b1f3a9c4e21",
        "{2d0c5c0e-6f5b-5b0a-9d5e-7b1f3a9c4e21}",
        "2d0c5c0e-6f5b-5b0a-9d5e-7b1f3a9c4e2",
        "2d0c5c0e-6f5b-5b0a-9d5e-7b1f3a9c4e211",
        "2d0c5c0e-6f5b-5b0a-9d5e-7b1f3a9c4e2g",
        "2d0c5c0e-6f5b-5b0a-9d5e_7b1f3a9c4e21",
        "2d0c5c0e06f5b-5b0a-9d5e-7b1f3a9c4e21",
        "-d0c5c0e-6f5b-5b0a-9d5e-7b1f3a9c4e21",
    };
    struct uuid id = UUID_SUBPAY;

    (void)state;
    for (size_t i = 0; i < sizeof(BAD) / sizeof(*BAD); i++)
        assert_false(uuid_parse(BAD[i], strlen(BAD[i]), &id));
    assert_true(uuid_equal(&id, &UUID_SUBPAY));
}

static void orders_by_bytes(void **state)
{
    struct uuid low = id_of("00000000-0000-0000-0000-0000000000ff");
    struct uuid high = id_of("80000000-0000-0000-0000-000000000000");

    (void)state;
    assert_true(uuid_compare(&low, &high) < 0);
    assert_true(uuid_compare(&high, &low) > 0);
    assert_int_equal(uuid_compare(&low, &low), 0);
    assert_false(uuid_equal(&low, &high));
}

static void version_5_of_the_rfc(void **state)
{
    struct uuid dns = id_of("6ba7b810-9dad-11d1-80b4-00c04fd430c8");
    char longer[5000];

    (void)state;
    assert_id(uuid_v5(&dns, "www.example.com", 15), "2ed6657d-e927-568b-95e1-2665a8aea6a2");
    assert_id(uuid_v5(&dns, "python.org", 10), "886313e1-3b8a-5372-9b90-0c9aee199e5d");
    /* Made with Python's uuid module: no name, and one longer than a block of the digest. */
    assert_id(uuid_v5(&dns, "", 0), "4ebd0208-8328-5d69-8c44-ec50939c0967");
    memset(longer, 'x', sizeof(longer));
    assert_id(uuid_v5(&UUID_SUBPAY, longer, sizeof(longer)),
              "07ce6d68-4bc2-54d1-a938-346d43d1b9ce");
}

struct fixed_random {
    struct random random;
    const unsigned char *bytes;
};

static void fixed_fill(struct random *random, void *out, size_t len)
{
    memcpy(out, ((struct fixed_random *)random)->bytes, len);
}

static void version_7_of_the_rfc(void **state)
{
    /* A.6: 2022-02-22T19:22:22Z, rand_a = 0xCC3, rand_b = 0x18C4DC0C0C07398F; the high bits are
     * replaced. */
    struct fixed_random r = {
        {fixed_fill},
        (const unsigned char *)"\xfc\xc3\xd8\xc4\xdc\x0c\x0c\x07\x39\x8f",
    };

    (void)state;
    assert_id(uuid_v7(INT64_C(1645557742000999), &r.random),
              "017f22e2-79b0-7cc3-98c4-dc0c0c07398f");
    assert_id(uuid_v7(-5, &r.random), "00000000-0000-7cc3-98c4-dc0c0c07398f");
}

static void version_7_follows_the_clock(void **state)
{
    struct random_seeded r;
    struct uuid before, after;

    (void)state;
    random_seed(&r, 7);
    before = uuid_v7(INT64_C(1700000000000000), &r.random);
    for (int64_t ms = 1; ms < 1000; ms++) {
        after = uuid_v7(INT64_C(1700000000000000) + ms * 1000, &r.random);
        assert_true(uuid_compare(&before, &after) < 0);
        before = after;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_any_case_writes_lower),
        cmocka_unit_test(refuses_other_forms),
        cmocka_unit_test(orders_by_bytes),
        cmocka_unit_test(version_5_of_the_rfc),
        cmocka_unit_test(version_7_of_the_rfc),
        cmocka_unit_test(version_7_follows_the_clock),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
