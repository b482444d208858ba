/* Choosing tokens: limits, frequencies, and that it is a pure function. */
#include <math.h>

#include "fixture.h"
#include "base/philox.h"
#include "compute/host_math.h"
#include "model/session.h"
#include "../property.h"

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

/* ---- the rule as it is written: all candidates sorted, all weighed ---- */

struct weighed {
    float logit;
    int32_t token;
    double weight;
};

static int by_logit(const void *pa, const void *pb)
{
    const struct weighed *a = pa, *b = pb;

    if (a->logit != b->logit)
        return a->logit > b->logit ? -1 : 1;
    return a->token < b->token ? -1 : a->token > b->token;
}

static int32_t sample_plainly(const float *logits, uint32_t vocab, const struct sample_params *p,
                              uint32_t position)
{
    struct weighed *c = calloc(vocab, sizeof(*c));
    uint32_t n = p->top_k > 0 && p->top_k < vocab ? p->top_k : vocab, count = 0, word[4];
    double total = 0, kept = 0, sum = 0, target;
    int32_t token;

    for (uint32_t i = 0; i < vocab; i++)
        c[i] = (struct weighed){logits[i], (int32_t)i, 0};
    qsort(c, vocab, sizeof(*c), by_logit);
    for (uint32_t i = 0; i < n; i++) {
        double x = ((double)c[i].logit - (double)c[0].logit) / p->temperature;

        c[i].weight = x < -700.0 ? 0.0 : host_exp(x);
        total += c[i].weight;
    }
    while (count < n && (count == 0 || !(kept >= p->top_p * total)))
        kept += c[count++].weight;
    philox_at(p->seed, PHILOX_SAMPLE, position, 0, word);
    target = (double)(((uint64_t)word[0] << 32 | word[1]) >> 11) * 0x1p-53 * kept;
    for (uint32_t i = 0; i + 1 < count && !(target < (sum += c[i].weight)); i++)
        c[0].token = c[i + 1].token;
    token = c[0].token;
    free(c);
    return token;
}

/* Logits with ties, zeros of both signs, infinities below, near one another or far apart. */
static void logits_make(struct choices *d, float *logits, uint32_t vocab)
{
    uint32_t levels = (uint32_t)1 << choose(d, 20);
    float spread = (float)(1u << choose(d, 12)) * 0.01f, shift = (float)choose(d, 100) - 50.0f;

    for (uint32_t i = 0; i < vocab; i++) {
        float level = (float)choose(d, levels) / (float)levels - 0.5f;

        logits[i] = choose(d, 50) == 0 ? -__builtin_inff() : level * spread + shift;
        if (choose(d, 10) == 0)
            logits[i] = choose(d, 2) == 0 ? 0.0f : -0.0f;
    }
    logits[choose(d, vocab)] = shift;
}

static bool token_is_the_rules(struct choices *d)
{
    static const double TEMPERATURES[] = {1e-3, 0.1, 0.5, 0.8, 1.0, 1.7, 20.0, 1e-12, 1e-320};
    uint32_t vocab = 1 + (uint32_t)choose(d, choose(d, 4) == 0 ? 5000 : 300);
    float *logits = calloc(vocab, sizeof(*logits));
    struct sample_params p = {.seed = choose(d, UINT64_MAX)};
    bool same = true;

    logits_make(d, logits, vocab);
    for (uint32_t i = 0; i < 20 && same; i++) {
        p.temperature = TEMPERATURES[choose(d, 9)];
        p.top_k = choose(d, 2) == 0 ? 0 : 1 + (uint32_t)choose(d, vocab + 3);
        p.top_p = choose(d, 2) == 0 ? 1.0 : (double)(1 + choose(d, 1000)) / 1000;
        same = sample_token(logits, vocab, &p, i) == sample_plainly(logits, vocab, &p, i);
    }
    free(logits);
    return same;
}

static void test_the_same_token_as_by_sorting_all(void **state)
{
    ASSERT_PROPERTY(400, token_is_the_rules);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_greedy_takes_the_lowest_of_equals),
        cmocka_unit_test(test_frequencies),
        cmocka_unit_test(test_top_k_and_top_p_cut),
        cmocka_unit_test(test_minus_infinity_is_never_drawn),
        cmocka_unit_test(test_pinned_draws),
        cmocka_unit_test(test_the_same_token_as_by_sorting_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
