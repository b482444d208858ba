/* Choosing tokens: limits, frequencies, and that it is a pure function. */
#include <math.h>

#include "fixture.h"
#include "model/session.h"

static const struct sample_params plain = {.temperature = 1.0, .top_p = 1.0, .seed = 7};

static void test_greedy_takes_the_lowest_of_equals(void **state)
{
    const float logits[] = {-1, 3, 2, 3, 3};
    struct sample_params p = plain;

    p.temperature = 0;
    assert_int_equal(sample_token(logits, 5, &p, 0), 1);
    p.temperature = 1;
    p.top_k = 1;
    assert_int_equal(sample_token(logits, 5, &p, 0), 1);
    p.top_k = 0;
    p.top_p = 1e-9;
    for (uint32_t i = 0; i < 50; i++)
        assert_int_equal(sample_token(logits, 5, &p, i), 1);
    assert_int_equal(sample_token(logits, 1, &p, 0), 0);
}

static void count_draws(const float *logits, uint32_t vocab, const struct sample_params *p,
                        uint32_t n, uint32_t *count)
{
    memset(count, 0, vocab * sizeof(*count));
    for (uint32_t i = 0; i < n; i++) {
        int32_t t = sample_token(logits, vocab, p, i);

        assert_in_range(t, 0, vocab - 1);
        count[t]++;
    }
}

/* Within 4 standard deviations of the expected number. */
static void check_share(uint32_t count, uint32_t n, double share)
{
    assert_true(fabs(count - n * share) <= 4 * sqrt(n * share * (1 - share)) + 1e-9);
}

static void test_frequencies(void **state)
{
    const float logits[] = {0.0f, 1.0f, -0.5f, 2.0f};
    const uint32_t n = 20000;
    uint32_t count[4];

    for (int k = 0; k < 3; k++) {
        struct sample_params p = plain;
        double total = 0;

        p.temperature = k == 0 ? 0.5 : k == 1 ? 1.0 : 3.0;
        p.seed = (uint64_t)k;
        count_draws(logits, 4, &p, n, count);
        for (int i = 0; i < 4; i++)
            total += exp(logits[i] / p.temperature);
        for (int i = 0; i < 4; i++)
            check_share(count[i], n, exp(logits[i] / p.temperature) / total);
    }
}

static void test_top_k_and_top_p_cut(void **state)
{
    const float logits[] = {0.0f, 1.0f, -0.5f, 2.0f};
    const double e1 = exp(1), e2 = exp(2);
    struct sample_params p = plain;
    uint32_t count[4];

    p.top_k = 2;
    count_draws(logits, 4, &p, 5000, count);
    assert_int_equal(count[0] + count[2], 0);
    check_share(count[3], 5000, e2 / (e1 + e2));
    p.top_k = 0;
    p.top_p = 0.6; /* the best holds 0.61 */
    count_draws(logits, 4, &p, 200, count);
    assert_int_equal(count[3], 200);
    p.top_p = 0.65; /* the two best hold 0.83 */
    count_draws(logits, 4, &p, 5000, count);
    assert_int_equal(count[0] + count[2], 0);
    assert_true(count[1] > 0);
    p.top_k = 100;
    p.top_p = 1;
    count_draws(logits, 4, &p, 5000, count);
    assert_true(count[0] > 0 && count[2] > 0);
}

static void test_minus_infinity_is_never_drawn(void **state)
{
    const float inf = __builtin_inff(), logits[] = {-inf, 0, -inf, 0, -2000};
    struct sample_params p = plain;
    uint32_t count[5];

    count_draws(logits, 5, &p, 1000, count);
    assert_int_equal(count[0] + count[2] + count[4], 0);
    assert_true(count[1] > 400 && count[3] > 400);
}

/* Pinned: what a rig draws here, every rig draws. */
static void test_pinned_draws(void **state)
{
    static const int32_t want[12] = {38, 57, 50, 57, 62, 12, 3, 19, 19, 19, 19, 38};
    float logits[64];
    struct sample_params p = {.temperature = 0.8, .top_p = 0.95, .top_k = 40, .seed = 2024};

    for (int i = 0; i < 64; i++)
        logits[i] = (float)((i * 37) % 64) * 0.125f;
    for (uint32_t i = 0; i < 12; i++)
        assert_int_equal(sample_token(logits, 64, &p, i), want[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_greedy_takes_the_lowest_of_equals),
        cmocka_unit_test(test_frequencies),
        cmocka_unit_test(test_top_k_and_top_p_cut),
        cmocka_unit_test(test_minus_infinity_is_never_drawn),
        cmocka_unit_test(test_pinned_draws),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
