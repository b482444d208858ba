/* The model of a thin link: rate, latency, order, on a clock of the test's own. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include "../property.h"
#include "http/shape.h"

#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_S  UINT64_C(1000000000)

static void test_parse(void **state)
{
    static const struct {
        const char *text;
        struct link_shape want;
    } GOOD[] = {
        {"10M,50M,60ms", {10000000, 50000000, 60 * NS_PER_MS}},
        {"1.5M,1G,0.25s", {1500000, 1000000000, 250 * NS_PER_MS}},
        {"64k,1000,0ms", {64000, 1000, 0}},
        {"10G,10G,10s", {LINK_RATE_MAX, LINK_RATE_MAX, LINK_LATENCY_MAX}},
    };
    static const char *const BAD[] = {
        "",         "10M",        "10M,50M",    "10M,50M,60", "10M,50M,60ms,", "10M,50M,60ms,1",
        "0,1M,1ms", "999,1M,1ms", "11G,1M,1ms", "1M,1M,11s",  "-1M,1M,1ms",    "1Mb,1M,1ms",
        "1M,,1ms",  "1M,1M,-1ms", " 1M,1M,1ms", "nan,1M,1ms", "inf,1M,1ms",    "1e99,1M,1ms",
        "M,1M,1ms", "1M;1M;1ms",  "1K,1M,1ms",  "1M,1M,1us",
    };
    struct link_shape s;
    struct emac_err err;
    for (size_t i = 0; i < sizeof GOOD / sizeof GOOD[0]; i++) {
        assert_int_equal(link_shape_parse(&s, GOOD[i].text, &err), EMAC_OK);
        assert_int_equal(s.up_bps, GOOD[i].want.up_bps);
        assert_int_equal(s.down_bps, GOOD[i].want.down_bps);
        assert_int_equal(s.latency_ns, GOOD[i].want.latency_ns);
    }
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        if (link_shape_parse(&s, BAD[i], &err) != EMAC_INVALID)
            fail_msg("'%s' was taken", BAD[i]);
    }
}

/* No window between the ends of two chunks holds more than the rate allows; nothing comes before
 * it was sent and the latency passed; nothing waits without need. */
static bool pipe_keeps_the_rate(struct choices *c)
{
    struct link_pipe p = {.bps = LINK_RATE_MIN + choose(c, UINT64_C(1) << choose(c, 34)),
                          .latency_ns = choose(c, 200 * NS_PER_MS)};
    uint64_t end[64], bytes[64], now = choose(c, NS_PER_S), free_ns = 0;
    for (int i = 0; i < 64; i++) {
        size_t n = 1 + choose(c, LINK_CHUNK_MAX);
        now += choose(c, 4) == 0 ? choose(c, NS_PER_S) : 0;
        uint64_t begins = now > free_ns ? now : free_ns;
        end[i] = link_pipe_take(&p, now, n) - p.latency_ns;
        bytes[i] = n;
        double took = (double)(end[i] - begins), least = (double)n * 8 * 1e9 / (double)p.bps;
        if (took < least * (1 - 1e-12) || took > least * (1 + 1e-12) + 1)
            return false;
        free_ns = end[i];
    }
    for (int i = 0; i < 64; i++) {
        double sum = 0;
        for (int j = i + 1; j < 64; j++) {
            sum += (double)bytes[j];
            if (sum * 8 > (double)p.bps * (double)(end[j] - end[i]) / 1e9 * (1 + 1e-9))
                return false;
        }
    }
    return true;
}

/* A sender that always has more fills the pipe: latency adds once, it bounds no throughput. */
static bool latency_bounds_no_throughput(struct choices *c)
{
    struct link_pipe p = {.bps = 1000000 + choose(c, 100000000), .latency_ns = NS_PER_S};
    uint64_t now = NS_PER_S, last = 0, total = 0;
    for (int i = 0; i < 2000; i++) {
        if (link_pipe_opens(&p) > now)
            now = link_pipe_opens(&p);
        last = link_pipe_take(&p, now, link_pipe_chunk(&p));
        total += link_pipe_chunk(&p);
    }
    double want = (double)total * 8 / (double)p.bps + 1;
    return (double)(last - NS_PER_S) / 1e9 < want + 1e-3;
}

struct sent {
    uint8_t byte[1u << 16];
    size_t put, got;
};

/* What goes into a line comes out whole, in order, never early. */
static bool line_keeps_order(struct choices *c)
{
    static struct sent s;
    struct link_line l = {0};
    uint64_t now = 0;
    bool ok = true, end = false;
    s.put = s.got = 0;
    choose_bytes(c, s.byte, 4096);
    while (ok && !(end && l.head == NULL)) {
        size_t n = 1 + choose(c, 100);
        if (s.put + n <= 4096) {
            ok = link_line_put(&l, s.byte + s.put, n, now + choose(c, 1000));
            s.put += n;
        } else if (!end) {
            ok = end = link_line_put(&l, NULL, 0, 0);
        }
        now += choose(c, 500);
        while (ok && link_line_due(&l) <= now) {
            const uint8_t *data = link_line_peek(&l, &n);
            if (n == 0) {
                link_line_drop(&l, 0);
                break;
            }
            n = 1 + choose(c, n);
            ok = memcmp(data, s.byte + s.got, n) == 0;
            link_line_drop(&l, n);
            s.got += n;
        }
        ok = ok && l.bytes == s.put - s.got;
    }
    ok = ok && s.got == s.put && link_line_due(&l) == UINT64_MAX;
    link_line_release(&l);
    return ok;
}

static void test_line_is_never_early(void **state)
{
    struct link_line l = {0};
    size_t n;
    assert_true(link_line_put(&l, "a", 1, 100));
    assert_true(link_line_put(&l, "b", 1, 50)); /* not before the one in front of it */
    assert_int_equal(link_line_due(&l), 100);
    link_line_drop(&l, 1);
    assert_int_equal(link_line_due(&l), 100);
    assert_int_equal(*link_line_peek(&l, &n), 'b');
    link_line_release(&l);
    assert_int_equal(l.bytes, 0);
}

static void test_properties(void **state)
{
    ASSERT_PROPERTY(300, pipe_keeps_the_rate);
    ASSERT_PROPERTY(20, latency_bounds_no_throughput);
    ASSERT_PROPERTY(100, line_keeps_order);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_parse),
                                       cmocka_unit_test(test_line_is_never_early),
                                       cmocka_unit_test(test_properties)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
