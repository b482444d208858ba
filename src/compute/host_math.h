/* Host-side functions in binary64 (numerics rule 10): basic operations, fma and
 * our own sequences only, never libm. Used for tables and schedules that enter
 * programs as data. Worst error about 1e-15 relative on the ranges in use. */
#ifndef EMAC_COMPUTE_HOST_MATH_H
#define EMAC_COMPUTE_HOST_MATH_H

double host_exp(double x);
double host_log(double x);
double host_pow(double x, double y); /* x > 0: exp(y log x) */
double host_sin(double x);           /* |x| < 2^30 */
double host_cos(double x);
double host_sqrt(double x);
/* base^n by repeated squaring, n >= 0 */
double host_powi(double base, unsigned n);

#endif
