/* Scalar functions of numerics version 1 (rule 1). The text below the prelude
 * is shared by C and OpenCL C 1.2: it uses only + - * fma, integer operations,
 * comparisons, selects and bit casts, so it gives the same bits wherever those
 * do. Nothing branches: a loop over any of them vectorises.
 *
 * Correctly rounded everywhere, subnormals included: fma, division, square
 * root. So a device may use its own instruction for these where that is IEEE
 * 754's (a CPU's is), and the sequences fn_div_soft and fn_sqrt_soft elsewhere.
 *
 * Own sequences, whose bits are defined by this text (largest error measured
 * over all arguments by tests/unit/compute/test_fn.c, in units in the last
 * place):
 *     fn_exp 1.1, fn_log 0.9, fn_sigmoid 2.5, fn_tanh 1.4, fn_rsqrt 1.5
 * exp gives +0 where the result would be below 2^-126: subnormals are slow on
 * many devices, flushed on some, and mean nothing to a softmax.
 *
 * fn_special.h has erf, gelu, sin, cos.
 *
 * A NaN argument gives a NaN. Which NaN is not defined: a result with a NaN
 * fails its task (rule 11), so nobody hashes one. */
#ifndef EMAC_COMPUTE_FN_H
#define EMAC_COMPUTE_FN_H

#if defined(__OPENCL_C_VERSION__) || defined(__OPENCL_VERSION__)

#pragma OPENCL FP_CONTRACT OFF
#define FN static inline __attribute__((always_inline))
typedef uint fn_u32;
typedef int fn_i32;
#define fn_bits(x)  as_uint(x)
#define fn_float(u) as_float(u)
#define fn_fma      fma
#define fn_div      fn_div_soft
#define fn_sqrt     fn_sqrt_soft

#else

#include <float.h>
#include <stdint.h>
#include <string.h>

#if FLT_EVAL_METHOD != 0
#error "binary32 must not be kept wider; on 32-bit x86 compile with -mfpmath=sse"
#endif

#define FN static inline __attribute__((always_inline, unused))
typedef uint32_t fn_u32;
typedef int32_t fn_i32;

FN fn_u32 fn_bits(float x)
{
    fn_u32 u;
    memcpy(&u, &x, 4);
    return u;
}

FN float fn_float(fn_u32 u)
{
    float x;
    memcpy(&x, &u, 4);
    return x;
}

/* fma without the instruction. The product of two binary32 is exact in binary64. The sum with c is
 * rounded to odd there: to nearest first; when Knuth's error term says that this was not exact,
 * back to the neighbour nearer zero if the error points there, and the last bit set. 53 >= 24 + 2
 * bits rounded to odd round to binary32 as the exact value does, also where the result is subnormal
 * (Boldo, Melquiond, "Emulation of a FMA and correctly rounded sums: proved algorithms using
 * rounding to odd", 2008). Infinities and NaN make the error term NaN, which compares false and
 * changes nothing. */
FN float fn_fma_soft(float a, float b, float c)
{
    double p = (double)a * (double)b, d = (double)c;
    double s = p + d;
    double t = s - p;
    double e = (p - (s - t)) + (d - t), odd;
    uint64_t u, error;
    memcpy(&u, &s, 8);
    memcpy(&error, &e, 8);
    u = (u - ((u ^ error) >> 63)) | 1u;
    memcpy(&odd, &u, 8);
    s = e < 0.0 ? odd : s;
    s = e > 0.0 ? odd : s;
    return (float)s;
}

#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
#define fn_fma(a, b, c) __builtin_fmaf((a), (b), (c))
#else
#define fn_fma fn_fma_soft
#endif

/* IEEE 754's own: the same bits as fn_div_soft, fn_sqrt_soft. */
#define fn_div(a, b) ((float)(a) / (float)(b))
#if defined(__SSE2__) && defined(__NO_MATH_ERRNO__)
#define fn_sqrt(x) __builtin_sqrtf(x) /* one instruction */
#else
#define fn_sqrt fn_sqrt_soft
#endif

#endif /* the prelude ends; from here on one text */

#define FN_NAN 0x7fc00000u
#define FN_INF 0x7f800000u

/* Largest integer below 2^23 kept in the low bits of a sum: adding it rounds to an integer. */
#define FN_ROUND 12582912.0f /* 1.5 * 2^23 */

/* 1/m for m in [1,2), correctly rounded: a quadratic first guess (Chebyshev's, error 1/99), then
 * three Newton steps, the last of which is right for every m but one. */
FN float fn_recip_unit(float m)
{
    float y = fn_fma(fn_fma(m, 0.323232323f, -1.45454545f), m, 2.12121212f);
    float e = fn_fma(-m, y, 1.0f);
    y = fn_fma(y, e, y);
    e = fn_fma(-m, y, 1.0f);
    y = fn_fma(y, e, y);
    e = fn_fma(-m, y, 1.0f);
    y = fn_fma(y, e, y);
    return fn_bits(m) == 0x3fffffffu ? fn_float(0x3f000001u) : y;
}

/* Significand of |x| as a number in [1,2), and the exponent that belongs to it. Integers below 2^23
 * become floats exactly, which normalises a subnormal without touching one. x = 0 gives exponent
 * -149 and the significand 1. */
FN float fn_split(fn_u32 magnitude, fn_i32 *exponent)
{
    fn_u32 u = fn_bits((float)(fn_i32)magnitude);
    fn_u32 is_small = magnitude < 0x00800000u;
    u = is_small ? u : magnitude;
    *exponent = (fn_i32)(u >> 23) - (is_small ? 149 + 127 : 127);
    return fn_float((u & 0x007fffffu) | 0x3f800000u);
}

/* The magnitude of `significand` * 2^exponent as bits, correctly rounded. significand in (1/2, 2)
 * is the exact value rounded to nearest; the sign of `rest` is the sign of exact value -
 * significand, which decides ties when the result is subnormal. */
FN fn_u32 fn_join(float significand, fn_i32 exponent, float rest)
{
    fn_u32 u = fn_bits(significand);
    fn_i32 biased = (fn_i32)(u >> 23) + exponent;
    fn_i32 shift = biased < 1 ? 1 - biased : 1;
    fn_u32 whole = (u & 0x007fffffu) | 0x00800000u, kept, lost, half_way, up;
    shift = shift > 26 ? 26 : shift;
    kept = whole >> shift;
    lost = whole & ((1u << shift) - 1u);
    half_way = 1u << (shift - 1);
    up = (lost > half_way) | ((lost == half_way) & ((rest > 0.0f) | ((rest == 0.0f) & kept & 1u)));
    u = biased < 1 ? kept + up : u + ((fn_u32)exponent << 23);
    return biased > 254 ? FN_INF : u;
}

/* a / b, correctly rounded: Markstein's last step (IBM J. R&D 34, 1990) on significands. */
FN float fn_div_soft(float a, float b)
{
    fn_u32 sign = (fn_bits(a) ^ fn_bits(b)) & 0x80000000u;
    fn_u32 ua = fn_bits(a) & 0x7fffffffu, ub = fn_bits(b) & 0x7fffffffu, u, nan;
    fn_i32 ea, eb;
    float ma = fn_split(ua, &ea), mb = fn_split(ub, &eb);
    float y = fn_recip_unit(mb);
    float q = ma * y;
    q = fn_fma(fn_fma(-mb, q, ma), y, q);
    q = fn_fma(fn_fma(-mb, q, ma), y, q);
    u = fn_join(q, ea - eb, fn_fma(-mb, q, ma));
    u = ((ua == 0u) | (ub == FN_INF)) ? 0u : u;
    u = ((ub == 0u) | (ua == FN_INF)) ? FN_INF : u;
    nan = (ua > FN_INF) | (ub > FN_INF) | ((ua | ub) == 0u) | ((ua == FN_INF) & (ub == FN_INF));
    return fn_float(nan ? FN_NAN : (u | sign));
}

/* Square root, correctly rounded: x = m * 4^k with m in [1,4), an integer first guess of
 * 1/sqrt(m), Goldschmidt's steps, Markstein's last one. Results are never subnormal. */
FN float fn_sqrt_soft(float x)
{
    fn_u32 u = fn_bits(x), magnitude = u & 0x7fffffffu;
    fn_i32 e, k;
    float m = fn_split(magnitude, &e), y, g, h, r;
    k = e & 1;
    m = k ? m * 2.0f : m;
    y = fn_float(0x5f375a86u - (fn_bits(m) >> 1));
    y = y * fn_fma(-0.5f * m * y, y, 1.5f);
    y = y * fn_fma(-0.5f * m * y, y, 1.5f);
    g = m * y;
    h = 0.5f * y;
    r = fn_fma(-g, h, 0.5f);
    g = fn_fma(g, r, g);
    h = fn_fma(h, r, h);
    r = fn_fma(-g, g, m);
    g = fn_fma(r, h, g);
    r = fn_fma(-g, g, m);
    g = fn_fma(r, h, g);
    magnitude = fn_bits(g) + ((fn_u32)((e - k) / 2) << 23);
    magnitude = u == FN_INF ? FN_INF : magnitude;
    magnitude = (u > 0x80000000u || (u & 0x7fffffffu) > FN_INF) ? FN_NAN : magnitude;
    magnitude = (u & 0x7fffffffu) == 0u ? u : magnitude;
    return fn_float(magnitude);
}

/* bf16 (rule 8) is the upper half of a binary32: exact one way, to nearest even the other. What is
 * past its largest number becomes infinity. */
FN float fn_from_bf16(fn_u32 stored)
{
    return fn_float(stored << 16);
}

FN fn_u32 fn_to_bf16(float x)
{
    fn_u32 u = fn_bits(x);
    return (u & 0x7fffffffu) > FN_INF ? FN_NAN >> 16 : (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
}

/* 1 / sqrt(x), both correctly rounded. */
FN float fn_rsqrt(float x)
{
    return fn_div(1.0f, fn_sqrt(x));
}

/* e^x = 2^n e^r, n = x/ln 2 to the nearest integer, |r| <= ln(2)/2 by two constants that add to ln
 * 2 (n times the first is exact), e^r = 1 + r + r^2 q(r), relative error of the polynomial 2^-28.
 * exp(0) is exactly 1. */
FN float fn_exp(float x)
{
    float t = fn_fma(x, 1.44269502f, FN_ROUND);
    float n = t - FN_ROUND;
    float r = fn_fma(n, -1.42860677e-6f, fn_fma(n, -0.693145752f, x));
    float q = fn_fma(r, 0.00138207735f, 0.00836867746f), y;
    q = fn_fma(r, q, 0.0416682661f);
    q = fn_fma(r, q, 0.166665211f);
    q = fn_fma(r, q, 0.49999994f);
    y = 1.0f + fn_fma(r * r, q, r);
    y = fn_float(fn_bits(y) + (fn_bits(t) << 23));
    y = x < -87.33654f ? 0.0f : y;
    y = x > 88.7228317f ? fn_float(FN_INF) : y;
    return x != x ? x : y;
}

/* x = 2^e m with m in [sqrt(1/2), sqrt(2)); log(1 + f) = f - f^2/2 + f^3 p(f), relative error of
 * the polynomial 2^-26. log(+-0) = -inf, log of a negative number is NaN. */
FN float fn_log(float x)
{
    fn_u32 u = fn_bits(x), v;
    fn_i32 e;
    float f, p, z, y, n, m = fn_split(u & 0x7fffffffu, &e);
    v = fn_bits(m) >= 0x3fb504f3u; /* sqrt(2) */
    m = v ? m * 0.5f : m;
    n = (float)(e + (fn_i32)v);
    f = m - 1.0f;
    p = fn_fma(f, -0.0762450621f, 0.127563521f);
    p = fn_fma(f, p, -0.131591097f);
    p = fn_fma(f, p, 0.142012656f);
    p = fn_fma(f, p, -0.166233122f);
    p = fn_fma(f, p, 0.20001255f);
    p = fn_fma(f, p, -0.250008225f);
    p = fn_fma(f, p, 0.333333313f);
    z = f * f;
    y = fn_fma(z * f, p, n * 1.42860677e-6f);
    y = fn_fma(z, -0.5f, y);
    y = fn_fma(n, 0.693145752f, f + y);
    y = u == FN_INF ? x : y;
    y = u > FN_INF ? fn_float(FN_NAN) : y;
    return (u & 0x7fffffffu) == 0u ? -fn_float(FN_INF) : y;
}

/* 1/(1 + e^-x), as e^x/(1 + e^x) for negative x so that nothing overflows. */
FN float fn_sigmoid(float x)
{
    float e = fn_exp(x < 0.0f ? x : -x);
    return fn_div(x < 0.0f ? e : 1.0f, 1.0f + e);
}

/* |x| < 0.625: odd polynomial; else 1 - 2/(e^2|x| + 1). Both on |x|, then the sign. */
FN float fn_tanh(float x)
{
    fn_u32 sign = fn_bits(x) & 0x80000000u;
    float a = fn_float(fn_bits(x) & 0x7fffffffu), z = a * a, p, y;
    p = fn_fma(z, -0.00563734304f, 0.0205797907f);
    p = fn_fma(z, p, -0.053722024f);
    p = fn_fma(z, p, 0.133312374f);
    p = fn_fma(z, p, -0.333332747f);
    p = fn_fma(z * a, p, a);
    y = 1.0f - fn_div(2.0f, fn_exp(a > 10.0f ? 20.0f : 2.0f * a) + 1.0f);
    y = fn_float(fn_bits(a < 0.625f ? p : y) | sign);
    return x != x ? x : y;
}

#endif
