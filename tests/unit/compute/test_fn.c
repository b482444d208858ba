/* The scalar functions of fn.h against libm's binary64, and the software fma, division and square
 * root against the processor's.
 *
 * Sampled by default; EMAC_SOAK=1 in the environment walks all 2^32 arguments. */
#include <math.h>

#include "compute/fn_special.h"
#include "compute_test.h"

static uint64_t stride(void)
{
    const char *soak = getenv("EMAC_SOAK");
    return soak && soak[0] == '1' ? 1 : 997;
}

static double sigmoid64(double x)
{
    return x < 0 ? exp(x) / (1 + exp(x)) : 1 / (1 + exp(-x));
}

static double rsqrt64(double x)
{
    return 1 / sqrt(x);
}

static float exp32(float x)
{
    return fn_exp(x);
}

static float log32(float x)
{
    return fn_log(x);
}

static float sigmoid32(float x)
{
    return fn_sigmoid(x);
}

static float tanh32(float x)
{
    return fn_tanh(x);
}

static float rsqrt32(float x)
{
    return fn_rsqrt(x);
}

static float erf32(float x)
{
    return fn_erf(x);
}

static float sin32(float x)
{
    return fn_sin(x);
}

static float cos32(float x)
{
    return fn_cos(x);
}

static float gelu32(float x)
{
    return fn_gelu(x);
}

static float gelu_slope32(float x)
{
    return fn_gelu_slope(x);
}

static float gelu_tanh32(float x)
{
    return fn_gelu_tanh(x);
}

static float gelu_tanh_slope32(float x)
{
    return fn_gelu_tanh_slope(x);
}

static double sin64(double x)
{
    return fabs(x) <= (double)FN_ANGLE_MAX ? sin(x) : (double)NAN;
}

static double cos64(double x)
{
    return fabs(x) <= (double)FN_ANGLE_MAX ? cos(x) : (double)NAN;
}

static double gelu64(double x)
{
    return x < -40 ? -0.0 : x * erfc(-x * sqrt(0.5)) / 2;
}

static double gelu_slope64(double x)
{
    return erfc(-x * sqrt(0.5)) / 2 + (fabs(x) > 40 ? 0 : x * exp(-x * x / 2) / sqrt(2 * M_PI));
}

/* sigmoid of 2 sqrt(2/pi) (x + 0.044715 x^3), and d of this argument / dx */
static double bend64(double x)
{
    return sigmoid64(2 * sqrt(2 / M_PI) * (x + 0.044715 * x * x * x));
}

static double gelu_tanh64(double x)
{
    return x < -40 ? -0.0 : x * bend64(x);
}

static double gelu_tanh_slope64(double x)
{
    double s = bend64(x);
    return fabs(x) > 40 ? s : s + x * s * (1 - s) * sqrt(8 / M_PI) * (1 + 3 * 0.044715 * x * x);
}

/* |got - want| in units of the last place that a binary32 of want's size has, or of `least`'s if
 * that is larger. */
static double ulps(float got, double want, double least)
{
    int e;
    frexp(fmax(fabs(want), least), &e);
    return fabs((double)got - want) / ldexp(1.0, (e < -125 ? -125 : e) - 24);
}

/* The documented bounds of fn.h. */
static void accuracy(void **state)
{
    static const struct {
        const char *name;
        float (*fn)(float);
        double (*oracle)(double);
        double bound, least, flushed; /* results below `flushed` may be 0 */
    } table[] = {{"exp", exp32, exp, 1.1, 0, 0x1p-126},
                 {"log", log32, log, 0.9, 0, 0},
                 {"sigmoid", sigmoid32, sigmoid64, 2.5, 0, 0x1p-126},
                 {"tanh", tanh32, tanh, 1.4, 0, 0},
                 {"rsqrt", rsqrt32, rsqrt64, 1.5, 0, 0},
                 {"erf", erf32, erf, 1.5, 0, 0},
                 {"sin", sin32, sin64, 1.6, 0, 0},
                 {"cos", cos32, cos64, 1.6, 0, 0},
                 {"gelu", gelu32, gelu64, 5.6, 0, 0x1p-126},
                 {"gelu_tanh", gelu_tanh32, gelu_tanh64, 2.3, 0.5, 0},
                 {"gelu_slope", gelu_slope32, gelu_slope64, 2.7, 0.5, 0},
                 {"gelu_tanh_slope", gelu_tanh_slope32, gelu_tanh_slope64, 3.0, 0.5, 0}};
    for (size_t f = 0; f < EMAC_COUNT(table); f++) {
        double worst = 0;
        for (uint64_t u = 0; u < (uint64_t)1 << 32; u += stride()) {
            float x = fn_float((uint32_t)u), got = table[f].fn(x);
            double want = table[f].oracle((double)x), d;
            if (want != want || x != x) {
                if (got == got)
                    fail_msg("%s(%a) is %a, not NaN", table[f].name, (double)x, (double)got);
                continue;
            }
            if (fabs(want) > 0x1.ffffffp127 && isinf(got))
                continue;
            if (fabs(want) < table[f].flushed && got == 0)
                continue;
            d = ulps(got, want, table[f].least);
            if (!(d <= table[f].bound))
                fail_msg("%s(%a) is %a, %g ulp from %a", table[f].name, (double)x, (double)got, d,
                         want);
            worst = d > worst ? d : worst;
        }
        printf("# %s: at most %.3f ulp\n", table[f].name, worst);
    }
}

static void ends(void **state)
{
    float inf = fn_float(FN_INF);
    assert_true(fn_exp(0.0f) == 1.0f && fn_exp(-0.0f) == 1.0f);
    assert_true(fn_exp(inf) == inf && fn_bits(fn_exp(-inf)) == 0);
    assert_true(fn_exp(88.7228317f) < inf && fn_exp(88.7228394f) == inf);
    assert_true(fn_exp(-87.33654f) >= 0x1p-126f && fn_bits(fn_exp(-87.336548f)) == 0);
    assert_true(fn_log(1.0f) == 0.0f && fn_log(inf) == inf && fn_log(0.0f) == -inf);
    assert_true(fn_log(-0.0f) == -inf && fn_log(-1.0f) != fn_log(-1.0f));
    assert_true(fn_sigmoid(inf) == 1.0f && fn_sigmoid(-inf) == 0.0f && fn_sigmoid(0.0f) == 0.5f);
    assert_true(fn_tanh(inf) == 1.0f && fn_tanh(-inf) == -1.0f);
    assert_true(fn_bits(fn_tanh(-0.0f)) == 0x80000000u);
    assert_true(fn_erf(inf) == 1.0f && fn_erf(-inf) == -1.0f && fn_gelu(inf) == inf);
    assert_true(fn_gelu(-inf) == 0.0f && fn_gelu_tanh(inf) == inf && fn_gelu_tanh(-inf) == 0.0f);
    assert_true(fn_bits(fn_erf(-0.0f)) == 0x80000000u && fn_bits(fn_sin(-0.0f)) == 0x80000000u);
    assert_true(fn_cos(0.0f) == 1.0f && fn_sin(inf) != fn_sin(inf) && fn_cos(inf) != fn_cos(inf));
    assert_true(fn_bits(fn_sqrt_soft(-0.0f)) == 0x80000000u);
}

static bool same(float a, float b)
{
    return fn_bits(a) == fn_bits(b) || (a != a && b != b);
}

/* Every significand: the rest is exponents. */
static void reciprocal_and_root(void **state)
{
    for (uint32_t i = 0; i < 1u << 24; i += stride() == 1 ? 1 : 5) {
        float m = fn_float(0x3f800000u + i);
        volatile float v = m, one = 1.0f;
        if (i < 1u << 23 && !same(fn_recip_unit(m), one / v))
            fail_msg("1/%a is %a", (double)m, (double)fn_recip_unit(m));
        if (!same(fn_sqrt_soft(m), (float)sqrt((double)v)))
            fail_msg("sqrt(%a) is %a", (double)m, (double)fn_sqrt_soft(m));
    }
    assert_true(same(fn_recip_unit(fn_float(0x3fffffffu)), fn_float(0x3f000001u)));
}

static const uint32_t special[] = {0,          0x80000000, 0x7f800000, 0xff800000, 0x7fc00000,
                                   1,          0x7fffff,   0x800000,   0x7f7fffff, 0x3f800000,
                                   0x3fffffff, 0xffffff,   0x80000001, 0x3f7fffff, 0x34000000};

/* Operand i of a case with mode word[3]: all kinds of exponents, often close to the others' so that
 * sums cancel and quotients become subnormal. */
static float operand(const uint32_t word[4], uint32_t i)
{
    uint32_t w = word[i], mode = word[3] % 8;
    if (mode == 0)
        return fn_float(special[w % EMAC_COUNT(special)]);
    if (mode == 1)
        return fn_float(w & 0x807fffffu); /* subnormal */
    if (mode == 2)
        return fn_float((w & 0x80ffffffu) | (i == 2 ? 0x3e000000u : 0x3f000000u));
    if (mode == 3)
        return fn_float((w & 0x81ff000fu) | (i == 0 ? 0u : 0x3e000000u)); /* few digits: ties */
    if (mode == 4)
        return fn_float((w & 0x807fffffu) | ((i == 2 ? 1u : 60u + w % 10) << 23));
    return fn_float(w);
}

static void fma_division_root(void **state)
{
    uint64_t count = stride() == 1 ? 300000000 : 4000000;
    for (uint64_t n = 0; n < count; n++) {
        uint32_t word[4];
        philox_at(TEST_SEED, PHILOX_TEST, 200, n, word);
        float a = operand(word, 0), b = operand(word, 1), c = operand(word, 2);
        volatile float va = a, vb = b;
        c = (word[3] >> 8) % 4 == 0 ? -(a * b) : c;
        if (!same(fn_fma_soft(a, b, c), fmaf(a, b, c)))
            fail_msg("fma(%a, %a, %a) is %a, not %a; case %llu", (double)a, (double)b, (double)c,
                     (double)fn_fma_soft(a, b, c), (double)fmaf(a, b, c), (unsigned long long)n);
        if (!same(fn_div_soft(a, b), va / vb))
            fail_msg("%a / %a is %a; case %llu", (double)a, (double)b, (double)fn_div_soft(a, b),
                     (unsigned long long)n);
        if (!same(fn_sqrt_soft(a), sqrtf(va)))
            fail_msg("sqrt(%a) is %a", (double)a, (double)fn_sqrt_soft(a));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(accuracy), cmocka_unit_test(ends),
                                       cmocka_unit_test(reciprocal_and_root),
                                       cmocka_unit_test(fma_division_root)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
