/* Rates, origins and proxies. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#include <cmocka.h>

#include "base/clock.h"
#include "http/buckets.h"
#include "http/conns.h"
#include "http/gate.h"
#include "http/peers.h"

static struct gate *gate(const struct config *c)
{
    struct gate *g = NULL;
    char why[2000] = "";
    if (gate_open(&g, c, why, sizeof why) != ERR_OK)
        fail_msg("%s", why);
    return g;
}

static void test_off(void **state)
{
    struct config c = {0};
    struct gate *g = gate(&c);
    struct uuid user = {{1}};
    struct http_header origin = {"Origin", "https://a"};
    struct http_request r = {.peer = "1.2.3.4", .headers = &origin, .header_count = 1};
    (void)state;
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(gate_address_wait_s(g, "1.2.3.4", 0), 0);
        assert_int_equal(gate_user_wait_s(g, &user, 0), 0);
    }
    assert_null(gate_origin(g, &r));
    gate_close(g);
}

static void test_rate(void **state)
{
    struct config c = {.rate_address = {2, 5}, .rate_user = {1, 1}};
    struct gate *g = gate(&c);
    struct uuid user = {{1}}, other = {{2}};
    int64_t now = 1000 * US_PER_S;
    (void)state;
    for (int i = 0; i < 5; i++)
        assert_int_equal(gate_address_wait_s(g, "1.2.3.4", now), 0);
    assert_int_equal(gate_address_wait_s(g, "1.2.3.4", now), 1);
    assert_int_equal(gate_address_wait_s(g, "1.2.3.5", now), 0); /* another one is free */
    assert_int_equal(gate_address_wait_s(g, "1.2.3.4", now + US_PER_S / 2 - 1), 1);
    assert_int_equal(gate_address_wait_s(g, "1.2.3.4", now + US_PER_S / 2), 0);
    assert_int_equal(gate_address_wait_s(g, "1.2.3.4", now + US_PER_S / 2), 1);
    now += 100 * US_PER_S; /* no more than the burst is saved up */
    for (int i = 0; i < 5; i++)
        assert_int_equal(gate_address_wait_s(g, "1.2.3.4", now), 0);
    assert_int_equal(gate_address_wait_s(g, "1.2.3.4", now), 1);
    assert_int_equal(gate_user_wait_s(g, &user, now), 0);
    assert_int_equal(gate_user_wait_s(g, &user, now), 1);
    assert_int_equal(gate_user_wait_s(g, &other, now), 0);
    assert_int_equal(gate_user_wait_s(g, &user, now + US_PER_S), 0);
    gate_close(g);
}

static void test_v6_counts_by_network(void **state)
{
    struct config c = {.rate_address = {1, 1}};
    struct gate *g = gate(&c);
    (void)state;
    assert_int_equal(gate_address_wait_s(g, "2001:db8:1:2::1", 0), 0);
    assert_int_equal(gate_address_wait_s(g, "2001:db8:1:2:ffff::2", 0), 1);
    assert_int_equal(gate_address_wait_s(g, "2001:db8:1:3::1", 0), 0);
    assert_int_equal(gate_address_wait_s(g, "::ffff:1.2.3.4", 0), 0);
    assert_int_equal(gate_address_wait_s(g, "1.2.3.4", 0), 1);
    assert_int_equal(gate_address_wait_s(g, "", 0), 0); /* a unix socket */
    gate_close(g);
}

static void test_table_stays_small(void **state)
{
    struct buckets *b;
    struct rate rate = {1, 1};
    unsigned char key[BUCKET_KEY_BYTES] = {0}, first[BUCKET_KEY_BYTES] = {[15] = 1};
    (void)state;
    assert_int_equal(buckets_open(&b, &rate, 8), ERR_OK);
    assert_int_equal(buckets_take(b, first, 0), 0);
    for (int i = 0; i < 1000; i++) {
        memcpy(key, &i, sizeof i);
        assert_int_equal(buckets_take(b, key, 0), 0);
        assert_int_equal(buckets_take(b, key, 0), 1);
        if (i < 500)
            assert_int_equal(buckets_take(b, first, 0), 1); /* who is busy stays */
    }
    assert_int_equal(buckets_take(b, first, 0), 0); /* forgotten by now */
    buckets_close(b);
}

static const char *client_of(struct gate *g, const char *peer, const char *first,
                             const char *second)
{
    static char buffer[64];
    struct http_header headers[3] = {{"X-Forwarded-For", first}, {"x-forwarded-for", second}};
    struct http_request r = {.peer = peer, .headers = headers};
    r.header_count = second ? 2 : first ? 1 : 0;
    return gate_client(g, &r, buffer, sizeof buffer);
}

static void test_proxies(void **state)
{
    struct config c = {0};
    snprintf(c.trusted_proxies, sizeof c.trusted_proxies,
             "10.0.0.1, 192.168.0.0/17 ,::1,2001:db8::/33");
    struct gate *g = gate(&c);
    (void)state;
    assert_string_equal(client_of(g, "1.2.3.4", "9.9.9.9", NULL), "1.2.3.4");
    assert_string_equal(client_of(g, "10.0.0.1", NULL, NULL), "10.0.0.1");
    assert_string_equal(client_of(g, "10.0.0.1", "9.9.9.9", NULL), "9.9.9.9");
    assert_string_equal(client_of(g, "10.0.0.1", "6.6.6.6, 9.9.9.9", NULL), "9.9.9.9");
    assert_string_equal(client_of(g, "10.0.0.1", "6.6.6.6,9.9.9.9,10.0.0.1 ,", NULL), "9.9.9.9");
    assert_string_equal(client_of(g, "10.0.0.1", "6.6.6.6", "9.9.9.9, 192.168.127.255"), "9.9.9.9");
    assert_string_equal(client_of(g, "10.0.0.1", "9.9.9.9", "192.168.128.0"), "192.168.128.0");
    assert_string_equal(client_of(g, "::1", "2001:db8:8000::1", NULL), "2001:db8:8000::1");
    assert_string_equal(client_of(g, "::1", "9.9.9.9, 2001:db8:7fff::1", NULL), "9.9.9.9");
    assert_string_equal(client_of(g, "10.0.0.1", "9.9.9.9, nonsense", NULL), "10.0.0.1");
    assert_string_equal(client_of(g, "10.0.0.1", "", NULL), "10.0.0.1");
    assert_string_equal(client_of(g, "10.0.0.1", "10.0.0.1", NULL), "10.0.0.1");
    assert_string_equal(client_of(g, "", "9.9.9.9", NULL), "");
    /* with ports */
    assert_string_equal(client_of(g, "10.0.0.1", "9.9.9.9:1234", NULL), "9.9.9.9");
    assert_string_equal(client_of(g, "10.0.0.1", "9.9.9.9:1, 10.0.0.1:65535", NULL), "9.9.9.9");
    assert_string_equal(client_of(g, "::1", "[2001:db8:8000::1]:443", NULL), "2001:db8:8000::1");
    assert_string_equal(client_of(g, "::1", "[2001:db8:8000::1]", NULL), "2001:db8:8000::1");
    static const char *const BROKEN[] = {"9.9.9.9:",
                                         "9.9.9.9:x",
                                         "9.9.9.9:1:2",
                                         "[9.9.9.9",
                                         "[2001:db8:8000::1]x",
                                         "[2001:db8:8000::1]:",
                                         "[]:1",
                                         ":1"};
    for (size_t i = 0; i < sizeof BROKEN / sizeof BROKEN[0]; i++)
        assert_string_equal(client_of(g, "10.0.0.1", BROKEN[i], NULL), "10.0.0.1");
    assert_true(gate_trusts(g, "192.168.3.4"));
    assert_true(gate_trusts(g, "::ffff:10.0.0.1")); /* as the table of connections has it */
    assert_false(gate_trusts(g, "9.9.9.9"));
    assert_false(gate_trusts(g, ""));
    gate_close(g);
}

static void test_origins(void **state)
{
    struct config c = {0};
    snprintf(c.cors_origins, sizeof c.cors_origins, "https://shop.example,  http://localhost:3000");
    struct gate *g = gate(&c);
    static const struct {
        bool allowed;
        const char *origin;
    } CASES[] = {
        {true, "https://shop.example"},
        {true, "http://localhost:3000"},
        {false, "https://shop.example.evil"},
        {false, "http://shop.example"},
        {false, "https://shop.example/"},
        {false, "null"},
        {false, ""},
        {false, "*"},
        {false, "https://shop.exampl"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct http_header h[2] = {{"Origin", CASES[i].origin}, {"Origin", CASES[i].origin}};
        struct http_request r = {.peer = "", .headers = h, .header_count = 1};
        const char *origin = gate_origin(g, &r);
        assert_true(CASES[i].allowed == (origin != NULL));
        assert_true(!origin || strcmp(origin, CASES[i].origin) == 0);
        r.header_count = 2;
        assert_null(gate_origin(g, &r));
        r.header_count = 0;
        assert_null(gate_origin(g, &r));
    }
    gate_close(g);
}

static void test_bad_settings(void **state)
{
    static const char *const BAD[] = {"nobody", "1.2.3.4/33", "1.2.3.4/", "::1/129", "1.2.3.4/-1"};
    (void)state;
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        struct config c = {0};
        struct gate *g;
        char why[2000] = "";
        snprintf(c.trusted_proxies, sizeof c.trusted_proxies, "%s", BAD[i]);
        assert_int_equal(gate_open(&g, &c, why, sizeof why), ERR_INVALID);
        assert_non_null(strstr(why, "TRUSTED_PROXIES"));
        assert_non_null(strstr(why, BAD[i]));
    }
}

static struct sockaddr *v4(uint32_t address)
{
    static struct sockaddr_in in;
    in = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)address)};
    in.sin_addr.s_addr = htonl(address);
    return (struct sockaddr *)&in;
}

static void test_peers(void **state)
{
    struct peers *p;
    struct sockaddr_un local = {.sun_family = AF_UNIX};
    struct sockaddr_in6 mapped = {.sin6_family = AF_INET6};
    struct peer *all[100];
    (void)state;
    assert_int_equal(peers_open(&p, 100), ERR_OK);
    assert_null(peers_enter(p, (struct sockaddr *)&local));
    assert_int_equal(inet_pton(AF_INET6, "::ffff:0.0.0.7", &mapped.sin6_addr), 1);
    for (int round = 0; round < 3; round++) {
        for (uint32_t i = 0; i < 100; i++) {
            all[i] = peers_enter(p, v4(i));
            assert_int_equal(peer_count(all[i]), 1);
        }
        assert_null(peers_enter(p, v4(1000))); /* full */
        assert_ptr_equal(peers_enter(p, v4(7)), all[7]);
        assert_ptr_equal(peers_enter(p, (struct sockaddr *)&mapped), all[7]);
        assert_int_equal(peer_count(all[7]), 3);
        peers_leave(p, all[7]);
        peers_leave(p, all[7]);
        assert_int_equal(peer_count(all[7]), 1);
        for (int i = 0; i < 100; i++)
            peers_leave(p, all[(i * 37) % 100]);
    }
    peers_leave(p, NULL);
    peers_close(p);
}

/* The cap of an address, which this machine does not have. */
static void test_crowds(void **state)
{
    struct peers *p;
    struct sockaddr_in6 own = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    struct conn c = {.fd = -1};
    char address[64] = "";
    (void)state;
    assert_int_equal(peers_open(&p, 4), ERR_OK);
    assert_false(conn_crowds(&c, address, sizeof address)); /* a unix socket */
    for (int i = 0; i < HTTP_CONNECTIONS_PER_ADDRESS_MAX; i++) {
        c.peer = peers_enter(p, v4(0x09090909));
        assert_false(conn_crowds(&c, address, sizeof address));
        assert_non_null(peers_enter(p, v4(0x7f000002)));
        assert_non_null(peers_enter(p, (struct sockaddr *)&own));
    }
    c.peer = peers_enter(p, v4(0x09090909));
    assert_true(conn_crowds(&c, address, sizeof address));
    assert_string_equal(address, "::ffff:9.9.9.9");
    c.peer = peers_enter(p, v4(0x7f000002));
    assert_false(conn_crowds(&c, address, sizeof address));
    c.peer = peers_enter(p, (struct sockaddr *)&own);
    assert_false(conn_crowds(&c, address, sizeof address));
    peers_close(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_off),
        cmocka_unit_test(test_rate),
        cmocka_unit_test(test_v6_counts_by_network),
        cmocka_unit_test(test_table_stays_small),
        cmocka_unit_test(test_proxies),
        cmocka_unit_test(test_origins),
        cmocka_unit_test(test_bad_settings),
        cmocka_unit_test(test_peers),
        cmocka_unit_test(test_crowds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
