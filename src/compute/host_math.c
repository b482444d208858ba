#include "compute/host_math.h"

#include <stdint.h>
#include <string.h>

/* binary64 basic operations only. fma is not used: without the instruction it would be a call to
 * libm, and nothing here needs it. */

static uint64_t bits_of(double x)
{
    uint64_t u;
    memcpy(&u, &x, 8);
    return u;
}

static double from_bits(uint64_t u)
{
    double x;
    memcpy(&x, &u, 8);
    return x;
}

/* 2^n for n in -1022..1023 */
static double power_of_two(int n)
{
    return from_bits((uint64_t)(n + 1023) << 52);
}

#define ROUND_F64 6755399441055744.0 /* 1.5 * 2^52: adding it rounds to an integer */
#define LN2_HI    0x1.62e42fee00000p-1
#define LN2_LO    0x1.a39ef35793c76p-33

/* e^r on |r| <= ln(2)/2: 1 + r + r^2 q(r), relative error 5e-20 before rounding. */
static double exp_reduced(double r, double tail)
{
    static const double q[] = {0.5,
                               0.16666666666666682,
                               0.041666666666666095,
                               0.00833333333331698,
                               0.0013888888889115856,
                               0.00019841269896519496,
                               2.480158692675e-05,
                               2.755723472401333e-06,
                               2.7557581366334087e-07,
                               2.5112085652349082e-08,
                               2.0826876095286786e-09};
    double s = q[10];
    for (int i = 9; i >= 0; i--)
        s = s * r + q[i];
    return 1.0 + (r + (tail + r * r * s));
}

/* e^(x + tail), |tail| tiny against x */
static double exp_with_tail(double x, double tail)
{
    double n, r;
    int k;
    if (x != x)
        return x;
    if (x > 709.782712893384)
        return from_bits(0x7ff0000000000000u);
    if (x < -745.2)
        return 0.0;
    n = x * 1.4426950408889634 + ROUND_F64 - ROUND_F64;
    r = x - n * LN2_HI;
    k = (int)n;
    r = exp_reduced(r - n * LN2_LO, tail);
    return r * power_of_two(k / 2) * power_of_two(k - k / 2);
}

double host_exp(double x)
{
    return exp_with_tail(x, 0.0);
}

/* log x = *hi + *lo, |*lo| small. x = 2^e m, m in [sqrt(1/2), sqrt(2)), s = (m-1)/(m+1), log m = 2
 * atanh s = 2 s + s^3 p(s^2). */
static void log_pair(double x, double *hi, double *lo)
{
    static const double p[] = {0.6666666666666666,  0.4000000000000627,  0.2857142856907863,
                               0.22222222647963055, 0.18181775567038863, 0.1538709526151755,
                               0.13250012587064405, 0.132523215116436};
    int e = 0;
    double m = x, f, s, z, q = p[7], n, half;
    if (x < 0x1p-1022) {
        m = x * 0x1p54;
        e = -54;
    }
    e += (int)(bits_of(m) >> 52) - 1023;
    m = from_bits((bits_of(m) & 0x000fffffffffffffu) | 0x3ff0000000000000u);
    if (m > 1.4142135623730951) {
        m *= 0.5;
        e++;
    }
    f = m - 1.0;
    s = f / (2.0 + f);
    z = s * s;
    for (int i = 6; i >= 0; i--)
        q = q * z + p[i];
    /* 2s = f - s f, so log m = f - (f^2/2 - s (f^2/2 + z q)): f is exact */
    half = 0.5 * f * f;
    n = (double)e;
    *lo = s * (half + z * q) + n * LN2_LO - half;
    s = n * LN2_HI + f;
    *lo += f - (s - n * LN2_HI);
    *hi = s + *lo;
    *lo -= *hi - s;
}

double host_log(double x)
{
    double hi, lo;
    if (x == 0.0)
        return -from_bits(0x7ff0000000000000u);
    if (!(x > 0.0))
        return from_bits(0x7ff8000000000000u);
    if (x > 0x1.fffffffffffffp1023)
        return x;
    log_pair(x, &hi, &lo);
    return hi;
}

/* a * b = *p + *err exactly (Dekker 1971, Veltkamp's splitting); |a|, |b| < 2^500 */
static void product(double a, double b, double *p, double *err)
{
    double ca = 134217729.0 * a, cb = 134217729.0 * b;
    double ah = ca - (ca - a), al = a - ah, bh = cb - (cb - b), bl = b - bh;
    *p = a * b;
    *err = ((ah * bh - *p) + ah * bl + al * bh) + al * bl;
}

double host_pow(double x, double y)
{
    double hi, lo, p, err;
    if (x == 1.0 || y == 0.0)
        return 1.0;
    log_pair(x, &hi, &lo);
    if (y * hi > 800.0 || y * hi < -800.0)
        return host_exp(y * hi);
    product(y, hi, &p, &err);
    return exp_with_tail(p, err + y * lo);
}

double host_powi(double base, unsigned n)
{
    double r = 1.0;
    for (; n; n >>= 1) {
        if (n & 1)
            r *= base;
        base *= base;
    }
    return r;
}

/* Newton's steps on 1/sqrt from an integer first guess, then one on the root itself with an exact
 * square. */
double host_sqrt(double x)
{
    double scale = 1.0, y, g, sq, err;
    if (x == 0.0 || x > 0x1.fffffffffffffp1023)
        return x;
    if (!(x > 0.0))
        return from_bits(0x7ff8000000000000u);
    if (x < 0x1p-500 || x > 0x1p500) {
        scale = x < 1.0 ? 0x1p-300 : 0x1p300;
        x = x / scale / scale;
    }
    y = from_bits(0x5fe6eb50c7b537a9u - (bits_of(x) >> 1));
    for (int i = 0; i < 5; i++)
        y = y * (1.5 - 0.5 * x * y * y);
    g = x * y;
    product(g, g, &sq, &err);
    return (g + 0.5 * y * ((x - sq) - err)) * scale;
}

/* x = n pi/2 + *r + *tail, |*r| <= pi/4 about; returns n mod 4. pi/2 is cut into pieces of 23 bits,
 * so n (30 bits) times a piece is exact. */
static int reduce(double x, double *r, double *tail)
{
    double n = x * 0.6366197723675814 + ROUND_F64 - ROUND_F64;
    double b = (x - n * 0x1.921fb4p+0) - n * 0x1.4442d0p-24;
    double w = n * 0x1.846988p-48, d = b - w, back = d - b, low;
    low = (b - (d - back)) - (w + back) - n * 0x1.8cc51701b839ap-72;
    *r = d + low;
    *tail = low - (*r - d);
    return (int)((int64_t)n & 3);
}

static double sin_reduced(double r, double tail)
{
    static const double s[] = {-0.16666666666666666,    0.008333333333333323,
                               -0.00019841269841254988, 2.7557319214148714e-06,
                               -2.5052104900508968e-08, 1.60583651898351e-10,
                               -7.57862534620991e-13};
    double z = r * r, p = s[6];
    for (int i = 5; i >= 0; i--)
        p = p * z + s[i];
    return r + (z * r * p + tail * (1.0 - 0.5 * z));
}

static double cos_reduced(double r, double tail)
{
    static const double c[] = {0.041666666666666664,   -0.0013888888888888874,
                               2.480158730157138e-05,  -2.7557319215325633e-07,
                               2.0876754354655786e-09, -1.1470291939477772e-11,
                               4.738048257643986e-14};
    double z = r * r, p = c[6], half, w;
    for (int i = 5; i >= 0; i--)
        p = p * z + c[i];
    half = 0.5 * z;
    w = 1.0 - half;
    return w + (((1.0 - w) - half) + (z * z * p - r * tail));
}

/* sin(x + quarter turns) */
static double sin_turned(double x, int quarters)
{
    double r, tail, y;
    int n;
    if (!(x < 0x1p30 && x > -0x1p30))
        return from_bits(0x7ff8000000000000u);
    n = (reduce(x, &r, &tail) + quarters) & 3;
    y = n & 1 ? cos_reduced(r, tail) : sin_reduced(r, tail);
    return n & 2 ? -y : y;
}

double host_sin(double x)
{
    return sin_turned(x, 0);
}

double host_cos(double x)
{
    return sin_turned(x, 1);
}
