/* Data of value: votes and their bad forms, what notaries decide (DC-1), rewards (DC-2, DC-3), fees
 * and growth (DC-4, DC-5). */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include "../property.h"
#include "base/assert.h"
#include "codec/dagcbor.h"
#include "work/datacap.h"

#define OK(call) assert_int_equal(call, EMAC_OK)
#define PEOPLE   6
#define NOW      UINT64_C(1800000000000)

static char PERSON[PEOPLE][DID_KEY_MAX];

static void people_make(void)
{
    for (uint8_t i = 0; i < PEOPLE; i++) {
        uint8_t key[ED25519_PUBLIC_BYTES], secret[ED25519_SECRET_BYTES];
        uint8_t seed[ED25519_SEED_BYTES] = {i, 7};
        crypto_ed25519_keypair(key, secret, seed);
        crypto_did_key(PERSON[i], key);
    }
}

/* ---- rules ---- */

static json_t *rules_json(void)
{
    return json_pack("{s:s,s:[s,s,s],s:i,s:i,s:i,s:{s:s,s:s,s:s},s:i,s:{s:i,s:i}}", "network", "n",
                     "notaries", PERSON[0], PERSON[1], PERSON[2], "quorum", 2, "lifetime", 365,
                     "term", 180, "reward", "from", PERSON[3], "pool", "10", "rate", "0.001",
                     "fee_ppm", 20000, "growth", "owners", 3, "window", 30);
}

static struct datacap_rules rules(void)
{
    struct datacap_rules r;
    json_t *o = rules_json();
    OK(datacap_rules_from_json(&r, o, NULL));
    json_decref(o);
    return r;
}

static void test_rules(void **state)
{
    static const struct {
        const char *field, *value, *says;
    } BAD[] = {
        {"network", "\"\"", "'network'"},
        {"network", "5", "'network'"},
        {"notaries", "\"x\"", "'notaries'"},
        {"notaries", "[\"x\"]", "did:key"},
        {"notaries", "[]", "'quorum'"},
        {"quorum", "0", "'quorum'"},
        {"quorum", "4", "'quorum'"},
        {"quorum", "-1", "'quorum'"},
        {"quorum", "1.5", "'quorum'"},
        {"lifetime", "0", "'lifetime'"},
        {"lifetime", "99999999999", "'lifetime'"},
        {"term", "0", "'term'"},
        {"fee_ppm", "500001", "'fee_ppm'"},
        {"fee_ppm", "-1", "'fee_ppm'"},
        {"reward", "{}", "reward.from"},
        {"reward", "7", "'reward'"},
        {"growth", "{\"owners\": 1, \"window\": 5}", "'owners'"},
        {"growth", "{\"owners\": 3, \"window\": 0}", "'window'"},
        {"growth", "{\"owners\": 3, \"window\": 5, \"x\": 1}", "unknown field 'x'"},
        {"colour", "1", "unknown field 'colour'"},
    };
    struct datacap_rules r, again;
    struct emac_err err;
    for (size_t i = 0; i < EMAC_COUNT(BAD); i++) {
        json_t *o = rules_json();
        json_object_set_new(o, BAD[i].field, json_loads(BAD[i].value, JSON_DECODE_ANY, NULL));
        assert_int_equal(datacap_rules_from_json(&r, o, &err), EMAC_INVALID);
        if (strstr(err.text, BAD[i].says) == NULL)
            fail_msg("row %zu: '%s'", i, err.text);
        json_decref(o);
    }
    json_t *o = rules_json();
    static const char *const POOL[][2] = {{"pool", "-1"}, {"rate", "0"}, {"rate", "1000.1"}};
    for (size_t i = 0; i < EMAC_COUNT(POOL); i++) {
        json_t *bad = json_deep_copy(o);
        json_object_set_new(json_object_get(bad, "reward"), POOL[i][0], json_string(POOL[i][1]));
        assert_int_equal(datacap_rules_from_json(&r, bad, &err), EMAC_INVALID);
        json_decref(bad);
    }
    json_array_append_new(json_object_get(o, "notaries"), json_string(PERSON[0]));
    assert_int_equal(datacap_rules_from_json(&r, o, &err), EMAC_INVALID); /* twice */
    json_decref(o);
    assert_int_equal(datacap_rules_from_json(&r, NULL, &err), EMAC_INVALID);
    r = rules();
    assert_int_equal(r.rate_units, 1000000);
    o = datacap_rules_to_json(&r);
    OK(datacap_rules_from_json(&again, o, NULL));
    assert_memory_equal(&r, &again, sizeof r);
    json_decref(o);
}

/* ---- votes ---- */

static struct datacap_vote vote(int notary, int64_t bytes)
{
    struct datacap_vote v = {.approve = bytes > 0, .bytes = bytes, .issued_ms = NOW};
    emac_strcpy(v.client, sizeof v.client, PERSON[4]);
    emac_strcpy(v.notary, sizeof v.notary, PERSON[notary]);
    emac_strcpy(v.network, sizeof v.network, "n");
    emac_strcpy(v.application, sizeof v.application, "weather of 1900 to 1950");
    return v;
}

static void test_vote_form(void **state)
{
    struct emac_buf buf;
    struct datacap_vote v = vote(0, 1000), back;
    struct cid a, b;
    emac_buf_init(&buf, DATACAP_VOTE_MAX);
    OK(datacap_vote_encode(&v, &buf, NULL));
    OK(datacap_vote_decode(&back, buf.data, buf.len, NULL));
    assert_memory_equal(&v, &back, sizeof v);
    for (size_t i = 0; i < buf.len; i++) { /* cut short, or with a byte changed: never two names */
        struct emac_err err = {0};
        assert_int_not_equal(datacap_vote_decode(&back, buf.data, i, &err), EMAC_OK);
        assert_true(err.text[0] != '\0');
        buf.data[i] ^= 1;
        if (datacap_vote_decode(&back, buf.data, buf.len, &err) == EMAC_OK)
            assert_memory_not_equal(&v, &back, sizeof v);
        buf.data[i] ^= 1;
    }
    /* One motion, whatever the notary and the amount; another for another client. */
    OK(datacap_motion(&v, &a, NULL));
    struct datacap_vote w = vote(1, 0);
    OK(datacap_motion(&w, &b, NULL));
    assert_true(cid_equal(&a, &b));
    emac_strcpy(w.client, sizeof w.client, PERSON[5]);
    OK(datacap_motion(&w, &b, NULL));
    assert_false(cid_equal(&a, &b));
    w = vote(1, 0);
    w.kind = DATACAP_REMOVAL;
    OK(datacap_motion(&w, &b, NULL));
    assert_false(cid_equal(&a, &b));
    emac_buf_release(&buf);
}

static void test_vote_bad(void **state)
{
    struct datacap_vote bad[12];
    struct emac_buf buf;
    size_t n = 0;
    emac_buf_init(&buf, DATACAP_VOTE_MAX);
    static const int64_t BYTES[] = {-1, INT64_MIN, INT64_MAX, ALLOWANCE_BYTES_MAX + 1};
    for (size_t i = 0; i < EMAC_COUNT(BYTES); i++) {
        bad[n] = vote(0, BYTES[i]);
        bad[n++].approve = true;
    }
    bad[n] = vote(0, 0);
    bad[n++].approve = true;
    bad[n] = vote(0, 5);
    bad[n++].approve = false;
    bad[n] = vote(0, 5);
    bad[n++].kind = DATACAP_REMOVAL;
    bad[n] = vote(0, 5);
    bad[n++].issued_ms = UINT64_MAX;
    bad[n] = vote(0, 5);
    bad[n++].application[0] = '\0';
    bad[n] = vote(0, 5);
    bad[n++].network[0] = '\n';
    bad[n] = vote(0, 5);
    bad[n++].client[9] = '!';
    bad[n] = vote(0, 5);
    bad[n++].notary[0] = '\0';
    for (size_t i = 0; i < n; i++)
        if (datacap_vote_encode(&bad[i], &buf, NULL) != EMAC_INVALID)
            fail_msg("vote %zu is taken", i);
    emac_buf_release(&buf);
}

static void test_admit(void **state)
{
    struct datacap_rules r = rules();
    struct datacap_vote v = vote(0, 1000);
    struct emac_err err;
    OK(datacap_vote_admit(&r, &v, NOW, &err));
    OK(datacap_vote_admit(&r, &v, NOW - DATACAP_SKEW_MS, &err));
    assert_int_equal(datacap_vote_admit(&r, &v, NOW - DATACAP_SKEW_MS - 1, &err), EMAC_INVALID);
    OK(datacap_vote_admit(&r, &v, NOW + DATACAP_MOTION_MS - 1, &err));
    assert_int_equal(datacap_vote_admit(&r, &v, NOW + DATACAP_MOTION_MS, &err), EMAC_INVALID);
    v = vote(3, 1000);
    assert_int_equal(datacap_vote_admit(&r, &v, NOW, &err), EMAC_FORBIDDEN);
    assert_non_null(strstr(err.text, "is no notary"));
    v = vote(0, 1000);
    v.network[0] = 'm';
    assert_int_equal(datacap_vote_admit(&r, &v, NOW, &err), EMAC_FORBIDDEN);
    r.notary_count = 0;
    v = vote(0, 1000);
    assert_int_equal(datacap_vote_admit(&r, &v, NOW, &err), EMAC_FORBIDDEN);
}

/* DC-1. Each row: what persons 0 to 3 said ('-' nothing, 'n' no, else GiB); 3 is no notary. */
static void test_decide(void **state)
{
    static const struct {
        const char *said;
        enum datacap_outcome outcome;
        int64_t bytes;
    } CASES[] = {
        {"----", DATACAP_OPEN, 0},   {"5---", DATACAP_OPEN, 0},   {"55--", DATACAP_PASSED, 5},
        {"5-5-", DATACAP_PASSED, 5}, {"56--", DATACAP_OPEN, 0},   {"565-", DATACAP_PASSED, 5},
        {"567-", DATACAP_OPEN, 0},   {"5--5", DATACAP_OPEN, 0},   {"5n--", DATACAP_OPEN, 0},
        {"5n5-", DATACAP_PASSED, 5}, {"5nn-", DATACAP_FAILED, 0}, {"nn--", DATACAP_FAILED, 0},
        {"n--n", DATACAP_OPEN, 0},   {"555-", DATACAP_PASSED, 5},
    };
    struct datacap_rules r = rules();
    for (size_t i = 0; i < EMAC_COUNT(CASES); i++) {
        struct datacap_ballot b[4];
        size_t n = 0;
        int64_t bytes = -1;
        for (int k = 0; k < 4; k++) {
            char c = CASES[i].said[k];
            if (c == '-')
                continue;
            b[n] = (struct datacap_ballot){.approve = c != 'n', .bytes = c == 'n' ? 0 : c - '0'};
            emac_strcpy(b[n++].notary, DID_KEY_MAX, PERSON[k]);
        }
        enum datacap_outcome got = datacap_decide(&r, b, n, NOW, NOW, &bytes);
        if (got != CASES[i].outcome || bytes != CASES[i].bytes)
            fail_msg("'%s': %s, %lld", CASES[i].said, datacap_outcome_name(got), (long long)bytes);
        got = datacap_decide(&r, b, n, NOW, NOW + DATACAP_MOTION_MS, &bytes);
        assert_int_equal(got, DATACAP_CLOSED);
    }
}

/* ---- rewards and growth ---- */

static void test_weigh(void **state)
{
    assert_int_equal(datacap_weigh(100, 0), 100);
    assert_int_equal(datacap_weigh(100, 40), 460);
    assert_int_equal(datacap_weigh(100, 100), 1000);
    assert_int_equal(datacap_weigh(100, UINT64_MAX), 1000);
    assert_int_equal(datacap_weigh(0, 5), 0);
    assert_true(datacap_weigh(1ull << 50, 1ull << 50) == 10ull << 50);
}

static void test_divide(void **state)
{
    struct datacap_rules r = rules();
    struct datacap_share s[3] = {{10ull << 30, 0}, {1ull << 30, 0}, {0, 0}};
    struct datacap_sum sum;
    OK(datacap_divide(&r, INT64_MAX, s, 3, &sum, NULL)); /* the rate is what binds */
    assert_int_equal(sum.taken, 11000000);
    assert_int_equal(s[0].units, 10000000);
    assert_int_equal(s[1].units, 1000000);
    assert_int_equal(s[2].units + sum.dust, 0);
    OK(datacap_divide(&r, 100, s, 3, &sum, NULL)); /* the funder's means */
    assert_int_equal(sum.taken, 100);
    assert_int_equal(s[0].units, 90);
    assert_int_equal(s[1].units, 9);
    assert_int_equal(sum.dust, 1);
    r.pool_units = 22; /* the pool */
    OK(datacap_divide(&r, 100, s, 3, &sum, NULL));
    assert_int_equal(s[0].units, 20);
    OK(datacap_divide(&r, 0, s, 3, &sum, NULL));
    OK(datacap_divide(&r, 100, s, 0, &sum, NULL));
    assert_int_equal(sum.taken, 0);
    s[0].weighted = s[1].weighted = UINT64_C(1) << 62;
    assert_int_equal(datacap_divide(&r, 5, s, 2, &sum, NULL), EMAC_TOO_LARGE);
}

/* DC-2, DC-3: and more weight for one is never more for another. */
static bool divide_holds(struct choices *c)
{
    struct datacap_rules r = rules();
    struct datacap_share a[8], b[8];
    struct datacap_sum x, y;
    size_t n = 1 + (size_t)choose(c, 8), who = (size_t)choose(c, n);
    r.pool_units = (int64_t)choose(c, UINT64_C(1) << (1 + choose(c, 60)));
    r.rate_units = 1 + (int64_t)choose(c, UINT64_C(1) << (1 + choose(c, 39)));
    int64_t funds = (int64_t)choose(c, UINT64_C(1) << (1 + choose(c, 62))), sum = 0;
    for (size_t i = 0; i < n; i++)
        a[i].weighted = b[i].weighted = choose(c, UINT64_C(1) << (1 + choose(c, 53)));
    b[who].weighted += 9 * choose(c, UINT64_C(1) << 50);
    if (datacap_divide(&r, funds, a, n, &x, NULL) != EMAC_OK ||
        datacap_divide(&r, funds, b, n, &y, NULL) != EMAC_OK)
        return false;
    for (size_t i = 0; i < n; i++) {
        sum += a[i].units;
        if (i != who && b[i].units > a[i].units + 1) /* one of rounding */
            return false;
    }
    return sum + x.dust == x.taken && x.taken <= funds && x.taken <= r.pool_units &&
           x.dust < (int64_t)n + 1;
}

static void test_divide_random(void **state)
{
    ASSERT_PROPERTY(2000, divide_holds);
}

static void test_fee(void **state)
{
    struct datacap_rules r = rules();
    assert_int_equal(datacap_fee(&r, 0), 0);
    assert_int_equal(datacap_fee(&r, 1), 1); /* against the payer, never against the proof */
    assert_int_equal(datacap_fee_counted(&r, 1), 0);
    assert_int_equal(datacap_fee(&r, 50), 1);
    assert_int_equal(datacap_fee_counted(&r, 50), 1);
    assert_int_equal(datacap_fee(&r, INT64_MAX), 184467440737095517);
    assert_int_equal(datacap_fee_counted(&r, INT64_MAX), 184467440737095516);
    r.fee_ppm = 0;
    assert_int_equal(datacap_fee(&r, INT64_MAX), 0);
}

static void test_growth(void **state)
{
    struct datacap_rules r = rules();
    /* 5/4 * 9 * 0.001 * 180 = 2.025 EMAC a GiB */
    struct datacap_use even[3] = {
        {.fee_units = 675000000}, {.fee_units = 675000000}, {.fee_units = 675000000}};
    assert_int_equal(datacap_growth(&r, even, 3), DATACAP_GIB);
    assert_int_equal(datacap_growth(&r, even, 2), 0); /* too few owners */
    struct datacap_use one[3] = {{.fee_units = INT64_MAX}, {.fee_units = 1}, {.fee_units = 1}};
    assert_int_equal(datacap_growth(&r, one, 3), 4ll * DATACAP_GIB * 4 / 8100000000);
    struct datacap_use rich[3] = {
        {.fee_units = INT64_MAX}, {.fee_units = INT64_MAX}, {.fee_units = INT64_MAX}};
    assert_int_equal(datacap_growth(&r, rich, 3), ALLOWANCE_BYTES_MAX);
    struct datacap_use none[3] = {0};
    assert_int_equal(datacap_growth(&r, none, 3), 0);
}

/* The bound of the proof: what grows is worth at most four fifths of the fees that it cost. */
static bool growth_holds(struct choices *c)
{
    struct datacap_rules r = rules();
    struct datacap_use use[6];
    size_t n = (size_t)choose(c, 7);
    unsigned __int128 fees = 0;
    r.rate_units = 1 + (int64_t)choose(c, UINT64_C(1) << (1 + choose(c, 39)));
    r.term_epochs = 1 + (uint32_t)choose(c, DATACAP_TERM_MAX);
    for (size_t i = 0; i < n; i++) {
        use[i].fee_units = (int64_t)choose(c, UINT64_C(1) << (1 + choose(c, 62)));
        fees += (uint64_t)use[i].fee_units;
    }
    unsigned __int128 bytes = (uint64_t)datacap_growth(&r, use, n);
    return (n >= r.owners || bytes == 0) &&
           bytes * (DATACAP_WEIGHT - 1) * (uint64_t)r.rate_units * r.term_epochs * 5 <=
               fees * 4 * (uint64_t)DATACAP_GIB;
}

static void test_growth_random(void **state)
{
    ASSERT_PROPERTY(5000, growth_holds);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rules),         cmocka_unit_test(test_vote_form),
        cmocka_unit_test(test_vote_bad),      cmocka_unit_test(test_admit),
        cmocka_unit_test(test_decide),        cmocka_unit_test(test_weigh),
        cmocka_unit_test(test_divide),        cmocka_unit_test(test_divide_random),
        cmocka_unit_test(test_fee),           cmocka_unit_test(test_growth),
        cmocka_unit_test(test_growth_random),
    };
    people_make();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
