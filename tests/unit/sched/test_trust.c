/* Shares of results that are checked (TRUST-1 to TRUST-3). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../property.h"
#include "sched/trust.h"

#define DAY_MS UINT64_C(86400000)
#define RICH   (INT64_C(1) << 60)

static uint32_t share(const struct trust *rig, int64_t stake, int64_t price)
{
    const struct trust_case c = {
        .job_ppm = 10000, .rig = rig, .held_units = stake, .price_units = price, .now_ms = DAY_MS};
    return trust_share_ppm(&c);
}

static void trust_is_earned_in_comparisons(void **state)
{
    static const struct {
        uint32_t good, ppm;
    } CASES[] = {{0, 200000}, {1, 177777}, {8, 100000}, {24, 50000}, {1000, 50000}};
    (void)state;
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        struct trust t = {.at_ms = DAY_MS};
        for (uint32_t k = 0; k < CASES[i].good; k++)
            trust_good(&t, DAY_MS);
        assert_int_equal(share(&t, RICH, 1), CASES[i].ppm);
    }
    assert_int_equal(share(NULL, RICH, 1), TRUST_NEW_PPM);
}

static void a_fault_takes_all_of_it(void **state)
{
    struct trust t = {.at_ms = DAY_MS}, kind = {.at_ms = DAY_MS};
    (void)state;
    for (int i = 0; i < 100; i++) {
        trust_good(&t, DAY_MS);
        trust_good(&kind, DAY_MS);
    }
    trust_bad(&t, true, DAY_MS);
    trust_bad(&kind, false, DAY_MS);
    assert_int_equal(t.good, 0);
    assert_int_equal(kind.good, 100000);
    for (int i = 0; i < 100; i++)
        trust_good(&t, DAY_MS);
    assert_int_equal(share(&t, RICH, 1), TRUST_NEW_PPM); /* it is remembered for a while */
    struct trust later = trust_at(&t, DAY_MS + 2 * TRUST_HALF_MS);
    assert_true(later.bad < 500 && later.good == 25000);
}

/* A driver that errs makes all its rigs suspect. */
static void kinds_are_judged_by_their_share_of_faults(void **state)
{
    struct trust good = {.good = 1000000, .at_ms = DAY_MS};
    struct trust bad = {.good = 100000, .bad = 10000, .at_ms = DAY_MS};
    struct trust_case c = {.job_ppm = 10000,
                           .rig = &good,
                           .device = &good,
                           .driver = &good,
                           .held_units = RICH,
                           .price_units = 1,
                           .now_ms = DAY_MS};
    (void)state;
    assert_int_equal(trust_share_ppm(&c), TRUST_FLOOR_PPM);
    c.driver = &bad;
    assert_int_equal(trust_share_ppm(&c), 476190); /* ten times 10 of 210 */
    bad.bad = 100000000;
    assert_int_equal(trust_share_ppm(&c), TRUST_PPM);
}

static void who_has_nothing_to_lose_is_checked_always(void **state)
{
    static const struct {
        int64_t stake, price;
        uint32_t ppm;
    } CASES[] = {
        {0, 1, 1000000},
        {2, 1, 500000},
        {38, 1, 50000},
        {1000, 1, 50000},
        {INT64_MAX, INT64_MAX, 666667},
        {0, INT64_MAX, 1000000},
    };
    struct trust old = {.good = 1000000, .at_ms = DAY_MS};
    (void)state;
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++)
        assert_int_equal(share(&old, CASES[i].stake, CASES[i].price), CASES[i].ppm);
}

/* A bond is kept by who blames his card, but for the costs: more of it counts for nothing. */
static void a_bond_counts_as_far_as_a_fault_costs(void **state)
{
    static const struct {
        int64_t held, bond, price;
        uint32_t ppm;
    } CASES[] = {
        {0, 0, 10, 1000000},   {0, 10, 10, 666667},    {0, 20, 10, 500000},
        {0, RICH, 10, 500000}, {360, RICH, 10, 50000}, {INT64_MAX, INT64_MAX, INT64_MAX, 500000},
    };
    struct trust old = {.good = 1000000, .at_ms = DAY_MS};
    (void)state;
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        const struct trust_case c = {.job_ppm = 10000,
                                     .rig = &old,
                                     .held_units = CASES[i].held,
                                     .bond_units = CASES[i].bond,
                                     .price_units = CASES[i].price,
                                     .now_ms = DAY_MS};
        assert_int_equal(trust_share_ppm(&c), CASES[i].ppm);
    }
    assert_int_equal(trust_cost_units(0), 0);
    assert_int_equal(trust_cost_units(7), 14);
    assert_int_equal(trust_cost_units(INT64_MAX), INT64_MAX);
}

static void a_job_that_asks_for_none_has_none(void **state)
{
    const struct trust_case c = {.price_units = 1};
    (void)state;
    assert_int_equal(trust_share_ppm(&c), 0);
    assert_int_equal(trust_ppm_of(0), 0);
    assert_int_equal(trust_ppm_of(1e-9), 1);
    assert_int_equal(trust_ppm_of(0.1), 100000);
    assert_int_equal(trust_ppm_of(1), TRUST_PPM);
    assert_int_equal(trust_ppm_of(-1), 0);
}

static bool shares_are_within_bounds(struct choices *c)
{
    struct trust rig = {choose(c, TRUST_MOST), choose(c, 3000), choose(c, 900 * DAY_MS)};
    struct trust kind = {choose(c, TRUST_MOST), choose(c, TRUST_MOST), choose(c, 900 * DAY_MS)};
    struct trust_case x = {.job_ppm = (uint32_t)choose(c, TRUST_PPM + 1),
                           .rig = &rig,
                           .device = choose(c, 2) ? &kind : NULL,
                           .held_units = (int64_t)(choose(c, UINT64_MAX) >> choose(c, 63) >> 1),
                           .bond_units = (int64_t)(choose(c, UINT64_MAX) >> choose(c, 63) >> 1),
                           .price_units = (int64_t)(choose(c, UINT64_MAX) >> choose(c, 63) >> 1),
                           .now_ms = choose(c, 1000 * DAY_MS)};
    uint32_t was = trust_share_ppm(&x), least = x.job_ppm ? TRUST_FLOOR_PPM : 0;
    if (was > TRUST_PPM || was < least || was < x.job_ppm)
        return false; /* TRUST-1, TRUST-2 */
    /* TRUST-2: p S >= M (1 - p) g, whatever of the bond he who blames his card would keep */
    int64_t cost = trust_cost_units(x.price_units),
            loses = x.bond_units < cost ? x.bond_units : cost;
    if (x.job_ppm &&
        (unsigned __int128)was * ((uint64_t)x.held_units + (uint64_t)loses) <
            (unsigned __int128)TRUST_MARGIN * (TRUST_PPM - was) * (uint64_t)x.price_units)
        return false;
    struct trust better = rig, worse = rig;
    trust_good(&better, x.now_ms);
    trust_bad(&worse, choose(c, 2), x.now_ms);
    x.rig = &better;
    bool holds = trust_share_ppm(&x) <= was;
    x.rig = &worse;
    return holds && trust_share_ppm(&x) >= was; /* TRUST-3 */
}

static void shares_hold_for_anything(void **state)
{
    (void)state;
    ASSERT_PROPERTY(20000, shares_are_within_bounds);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trust_is_earned_in_comparisons),
        cmocka_unit_test(a_fault_takes_all_of_it),
        cmocka_unit_test(kinds_are_judged_by_their_share_of_faults),
        cmocka_unit_test(who_has_nothing_to_lose_is_checked_always),
        cmocka_unit_test(a_bond_counts_as_far_as_a_fault_costs),
        cmocka_unit_test(a_job_that_asks_for_none_has_none),
        cmocka_unit_test(shares_hold_for_anything),
    };
    return cmocka_run_group_tests_name("trust", tests, NULL, NULL);
}
