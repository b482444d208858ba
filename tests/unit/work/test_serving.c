/* Bills of generated text: nothing is lost, nothing is negative, more tokens never cost less. */
#include "fixture.h"

#include "ledger/ledger.h"
#include "work/licence.h"
#include "work/serving.h"

static void test_a_price_by_weights(void **state)
{
    static const struct {
        uint64_t weights;
        int64_t per_tflop, units;
    } ROWS[] = {
        {0, 100000, 0},
        {1, 0, 0},
        {1, 1, 1}, /* rounded up */
        {500000, 100000, 100000},
        {1000000000, 100000, 200000000}, /* 10^9 weights: 0.2 EMAC */
        {(UINT64_C(1) << 31) - 1, INT64_C(1000000000000000), INT64_C(4294967294000000000)},
    };
    for (size_t i = 0; i < sizeof ROWS / sizeof *ROWS; i++) {
        int64_t units = -1;
        assert_ok(serving_rig_price(ROWS[i].weights, ROWS[i].per_tflop, &units, err));
        if (units != ROWS[i].units)
            fail_msg("row %zu: %lld units", i, (long long)units);
    }
    int64_t units;
    assert_fails(serving_rig_price(UINT64_MAX, INT64_MAX, &units, err), EMAC_TOO_LARGE, "weights");
}

/* BILL-1, BILL-2 */
static void test_a_bill_loses_nothing(void **state)
{
    struct draw d = {.seed = 11};
    for (int i = 0; i < 200000; i++) {
        struct serving_price p = {.fee_ppm = draw_below(&d, 1000001),
                                  .count = draw_below(&d, SERVING_TERMS_MAX + 1)};
        struct serving_bill bill, more;
        uint64_t tokens = draw_below(&d, draw_below(&d, 2) ? 50 : 400000);
        bool small = draw_below(&d, 2);
        p.rig_units = small ? draw_below(&d, 1000) : (int64_t)draw_below(&d, 1u << 30) * 1000000;
        for (uint32_t k = 0; k < p.count; k++)
            p.inference_units[k] =
                small ? draw_below(&d, 1000) : (int64_t)draw_below(&d, 1u << 30) * 900000;
        assert_ok(serving_bill(&p, tokens, &bill, err));
        assert_ok(serving_bill(&p, tokens + 1 + draw_below(&d, 1000), &more, err));
        int64_t sum = bill.rig + bill.fee;
        bool sound = bill.rig >= 0 && bill.fee >= 0 && more.rig >= bill.rig && more.fee >= bill.fee;
        for (uint32_t k = 0; k < p.count; k++) {
            sum += bill.royalty[k];
            sound = sound && bill.royalty[k] >= 0 && more.royalty[k] >= bill.royalty[k];
        }
        if (!sound || sum != bill.total || (tokens == 0 && sum != 0))
            fail_msg("bill %d: %lld units of %lld", i, (long long)sum, (long long)bill.total);
        __int128 asked = (__int128)tokens * p.rig_units;
        if ((__int128)(bill.rig + bill.fee) * SERVING_MILLION < asked ||
            (__int128)(bill.rig + bill.fee - 1) * SERVING_MILLION >= asked + (asked == 0))
            fail_msg("bill %d: work is not the price rounded up", i);
    }
}

static void test_too_large_a_bill_is_refused(void **state)
{
    struct serving_price p = {.rig_units = INT64_MAX};
    struct serving_bill bill;
    assert_ok(serving_bill(&p, 1000000, &bill, err));
    assert_true(bill.total == INT64_MAX);
    assert_fails(serving_bill(&p, 1000001, &bill, err), EMAC_TOO_LARGE, "cannot be paid");
    p.count = 1;
    p.inference_units[0] = 1;
    assert_fails(serving_bill(&p, 1000000, &bill, err), EMAC_TOO_LARGE, "cannot be paid");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_price_by_weights),
        cmocka_unit_test(test_a_bill_loses_nothing),
        cmocka_unit_test(test_too_large_a_bill_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
