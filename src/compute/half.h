/* binary16 <-> binary32, the scales of block-quantised weights. Shared by C and
 * OpenCL C like fn.h; neither direction touches a subnormal binary32. */
#ifndef EMAC_COMPUTE_HALF_H
#define EMAC_COMPUTE_HALF_H

#if !defined(__OPENCL_C_VERSION__) && !defined(__OPENCL_VERSION__)
#include "compute/fn.h"
#endif

/* Exact. A NaN stays one. */
FN float half_to_float(fn_u32 h)
{
    fn_u32 sign = (h & 0x8000u) << 16, exponent = h & 0x7c00u, u;
    u = (h & 0x7fffu) << 13;
    u = exponent == 0x7c00u ? u | FN_INF : u + 0x38000000u;
    u = exponent == 0u ? fn_bits((float)(fn_i32)(h & 0x3ffu) * 0x1p-24f) : u;
    return fn_float(u | sign);
}

/* To nearest even; what is too large becomes infinity. */
FN fn_u32 half_from_float(float x)
{
    fn_u32 u = fn_bits(x), sign = (u >> 16) & 0x8000u, normal, tiny;
    u = u & 0x7fffffffu;
    normal = (u - 0x38000000u + 0xfffu + ((u >> 13) & 1u)) >> 13;
    normal = u >= 0x477ff000u ? 0x7c00u : normal;
    tiny = fn_bits(fn_float(u < 0x38800000u ? u : 0u) + 0.5f) - 0x3f000000u; /* ulp 2^-24 */
    u = u > FN_INF ? 0x7e00u : u < 0x38800000u ? tiny : normal;
    return u | sign;
}

#endif
