/* host_math against long double libm: a few units in the last place of binary64 on the ranges that
 * tables and schedules use. */
#include <math.h>

#include "compute/host_math.h"
#include "compute_test.h"

#define SAMPLES 200000

static double uniform(uint32_t stream, uint64_t i)
{
    uint64_t hi = test_word(stream, 2 * i), lo = test_word(stream, 2 * i + 1);
    return (double)((hi << 32 | lo) >> 11) * 0x1p-53;
}

static void check(const char *name, double got, long double want, double bound, double x, double y)
{
    int e;
    frexp((double)want, &e);
    double ulps = (double)(fabsl((long double)got - want) / ldexpl(1.0L, e - 53));
    if (!(ulps <= bound))
        fail_msg("%s(%.17g, %.17g) is %.17g: %g ulp", name, x, y, got, ulps);
}

static void accuracy(void **state)
{
    for (uint64_t i = 0; i < SAMPLES; i++) {
        double u = uniform(1, i), v = uniform(2, i);
        double wide = (u - 0.5) * 1400, turns = (u - 0.5) * 0x1.ffp30, base = 1.0 + 1e6 * u;
        check("exp", host_exp(wide), expl(wide), 1.5, wide, 0);
        check("exp", host_exp(2 * u - 1), expl(2 * u - 1), 1.5, 2 * u - 1, 0);
        check("log", host_log(base), logl(base), 1.5, base, 0);
        check("log", host_log(0.5 + u), logl(0.5 + u), 1.5, 0.5 + u, 0);
        check("log", host_log(exp(wide)), logl(exp(wide)), 1.5, exp(wide), 0);
        check("sqrt", host_sqrt(base), sqrtl(base), 1.0, base, 0);
        check("sqrt", host_sqrt(exp(wide)), sqrtl(exp(wide)), 1.0, exp(wide), 0);
        check("sin", host_sin(turns), sinl(turns), 1.5, turns, 0);
        check("cos", host_cos(turns), cosl(turns), 1.5, turns, 0);
        check("sin", host_sin(8 * u - 4), sinl(8 * u - 4), 1.5, 8 * u - 4, 0);
        /* rotary frequencies: theta^(-2j/E) */
        check("pow", host_pow(base, -v), powl(base, -v), 8.0, base, -v);
    }
}

static void exact(void **state)
{
    assert_true(host_exp(0.0) == 1.0 && host_log(1.0) == 0.0 && host_sin(0.0) == 0.0);
    assert_true(host_cos(0.0) == 1.0 && host_sqrt(0.0) == 0.0 && host_sqrt(9.0) == 3.0);
    assert_true(host_pow(7.5, 0.0) == 1.0 && host_pow(1.0, 1e300) == 1.0);
    assert_true(host_powi(3.0, 0) == 1.0 && host_powi(3.0, 13) == 1594323.0);
    assert_true(host_exp(1000.0) == INFINITY && host_exp(-1000.0) == 0.0);
    assert_true(host_log(0.0) == -INFINITY && isnan(host_log(-1.0)) && isnan(host_sqrt(-1.0)));
    assert_true(host_log(INFINITY) == INFINITY && isnan(host_exp(NAN)) && isnan(host_sin(NAN)));
    assert_true(isnan(host_sin(0x1p31)) && host_sqrt(0x1p-1074) == 0x1p-537);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(accuracy), cmocka_unit_test(exact)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
