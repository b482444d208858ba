/* More scalar functions of numerics version 1, in the manner of fn.h: one text for C and OpenCL C,
 * without branches, made of what fn.h has. Largest error over all arguments
 * (tests/unit/compute/test_fn.c), in units in the last place:
 *     fn_erf 1.5, fn_gelu 5.6, fn_sin and fn_cos 1.6 (up to FN_ANGLE_MAX)
 * and in units of the last place of max(1/2, |result|), as tails and zeros lose relative precision:
 *     fn_gelu_tanh 2.3, fn_gelu_slope 2.7, fn_gelu_tanh_slope 3 */
#ifndef EMAC_COMPUTE_FN_SPECIAL_H
#define EMAC_COMPUTE_FN_SPECIAL_H

#ifndef __OPENCL_VERSION__
#include "compute/fn.h"
#endif

/* x, or -16 or 16 beyond these; a NaN stays. */
FN float fn_to_16(float x)
{
    x = x > 16.0f ? 16.0f : x;
    return x < -16.0f ? -16.0f : x;
}

/* erfc(t / sqrt 2) / 2 = e^(-t^2/2) h(t) for t = |x| <= 16: the tail of the normal distribution.
 * Returns h, and e^(-t^2/2) in *bell, which is +0 from t = 13.2 on (fn_exp).
 * h = w P(u) with w = 1/(t + 4), u = 1 - 8w in [-1, 0.54], relative error of the polynomial 2^-25.
 * What rounding takes from t^2 and from t + 4 is given back by the derivatives, -1/2 e^(-t^2/2) and
 * h' = t h - 1/sqrt(2 pi): else these two errors would be most of the result's. */
FN float fn_normal_tail(float x, float *bell)
{
    float t = fn_float(fn_bits(x) & 0x7fffffffu), s = t * t, e = fn_exp(-0.5f * s);
    float far = t + 4.0f, lost = t - (far - 4.0f), w, u, p, h;
    *bell = fn_fma(e, -0.5f * fn_fma(t, t, -s), e);
    w = fn_div(1.0f, far);
    u = fn_fma(-8.0f, w, 1.0f);
    p = fn_fma(u, -0.0001170222f, 0.00020720257f);
    p = fn_fma(u, p, 0.0015724852f);
    p = fn_fma(u, p, -0.0035306357f);
    p = fn_fma(u, p, -0.00753001f);
    p = fn_fma(u, p, 0.06040812f);
    p = fn_fma(u, p, -0.18652251f);
    p = fn_fma(u, p, 0.3871365f);
    p = fn_fma(u, p, -0.6078966f);
    p = fn_fma(u, p, 0.75528514f);
    h = w * p;
    return fn_fma(lost, fn_fma(t, h, -0.398942292f), h);
}

/* |x| < 1: odd polynomial, relative error 2^-29; else 1 - 2 tail(sqrt 2 |x|). */
FN float fn_erf(float x)
{
    fn_u32 sign = fn_bits(x) & 0x80000000u;
    float a = fn_float(fn_bits(x) & 0x7fffffffu), z = a * a, e, h, p, y;
    h = fn_normal_tail(fn_to_16(1.41421354f * a), &e);
    p = fn_fma(z, 7.806904e-05f, -0.0007997853f);
    p = fn_fma(z, p, 0.005187162f);
    p = fn_fma(z, p, -0.026853347f);
    p = fn_fma(z, p, 0.11283579f);
    p = fn_fma(z, p, -0.37612626f);
    p = fn_fma(z, p, 0.12837917f);
    p = fn_fma(a, p, a);
    y = fn_fma(-2.0f * h, e, 1.0f);
    y = fn_float(fn_bits(a < 1.0f ? p : y) | sign);
    return x != x ? x : y;
}

/* x Phi(x) (Hendrycks & Gimpel 2016), Phi(x) = (1 + erf(x / sqrt 2)) / 2, which is a tail for x <
 * 0 and 1 less a tail else: nothing cancels. */
FN float fn_gelu(float x)
{
    float t = fn_to_16(x), e, h = t * fn_normal_tail(t, &e);
    return x < 0.0f ? h * e : fn_fma(-h, e, x);
}

/* d gelu / dx = Phi(x) + x phi(x), phi(x) = e^(-x^2/2) / sqrt(2 pi). */
FN float fn_gelu_slope(float x)
{
    float t = fn_to_16(x), e, h = fn_normal_tail(t, &e);
    h = fn_fma(t, 0.398942292f, t < 0.0f ? h : -h);
    return fn_fma(h, e, t < 0.0f ? 0.0f : 1.0f);
}

/* x sigmoid(2 sqrt(2/pi) (x + 0.044715 x^3)) = x (1 + tanh(half of that)) / 2. */
FN float fn_gelu_tanh(float x)
{
    float s = fn_sigmoid(x * fn_fma(x * x, 0.0713548139f, 1.59576917f));
    return (x < -16.0f ? -16.0f : x) * s;
}

/* With s the sigmoid of a: s + x s (1 - s) da/dx. With e = e^-|a| the two factors are 1/(1 + e) and
 * e/(1 + e), so that 1 - s does not cancel. */
FN float fn_gelu_tanh_slope(float x)
{
    float t = fn_to_16(x), z = t * t, a = t * fn_fma(z, 0.0713548139f, 1.59576917f);
    float e = fn_exp(a < 0.0f ? a : -a), r = fn_div(1.0f, 1.0f + e), s = e * r;
    return fn_fma(t * (r * s), fn_fma(z, 0.214064434f, 1.59576917f), a < 0.0f ? s : r);
}

#define FN_ANGLE_MAX 131072.0f /* 2^17 */

/* |x| = n pi/2 + r, |r| <= pi/4, for |x| <= FN_ANGLE_MAX; n mod 4. pi/2 is three constants of 24
 * bits; the first step is exact, as all its terms are multiples of the same power of two, and what
 * is left out is below n 2^-75. */
FN float fn_quadrant(float x, fn_u32 *n)
{
    float a = fn_float(fn_bits(x) & 0x7fffffffu);
    float t = fn_fma(a, 0.636619747f, FN_ROUND), k = t - FN_ROUND, r;
    *n = fn_bits(t) & 3u;
    r = fn_fma(k, -1.57079637f, a);
    r = fn_fma(k, 4.37113883e-08f, r);
    return fn_fma(k, 1.71512449e-15f, r);
}

/* sin(r + n pi/2): the polynomials for |r| <= pi/4, relative errors 2^-28 and 2^-32. */
FN float fn_sin_in_quadrant(float r, fn_u32 n)
{
    float z = r * r, s, c;
    s = fn_fma(z, -0.00019518408f, 0.00833219f);
    s = fn_fma(z, s, -0.16666655f);
    s = fn_fma(r * z, s, r);
    c = fn_fma(z, 2.4432327e-05f, -0.001388731f);
    c = fn_fma(z, c, 0.041666646f);
    c = fn_fma(z * z, c, fn_fma(-0.5f, z, 1.0f));
    return fn_float(fn_bits((n & 1u) ? c : s) ^ ((n & 2u) << 30));
}

/* NaN beyond FN_ANGLE_MAX: an angle so large has few digits left, and is a mistake. */
FN float fn_sin(float x)
{
    fn_u32 n, sign = fn_bits(x) & 0x80000000u;
    float r = fn_quadrant(x, &n);
    float y = fn_float(fn_bits(fn_sin_in_quadrant(r, n)) ^ sign);
    return (x <= FN_ANGLE_MAX && x >= -FN_ANGLE_MAX) ? y : fn_float(FN_NAN);
}

FN float fn_cos(float x)
{
    fn_u32 n;
    float r = fn_quadrant(x, &n);
    float y = fn_sin_in_quadrant(r, n + 1u);
    return (x <= FN_ANGLE_MAX && x >= -FN_ANGLE_MAX) ? y : fn_float(FN_NAN);
}

#endif
