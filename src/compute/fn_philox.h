/* Philox 4x32-10 as base/philox.h has it, in the manner of fn.h: one text for C and OpenCL C that
 * runs over many counters side by side. */
#ifndef EMAC_COMPUTE_FN_PHILOX_H
#define EMAC_COMPUTE_FN_PHILOX_H

#ifdef __OPENCL_VERSION__
#define fn_mulhi mul_hi
#else

#include "compute/fn.h"

/* Upper half of the product of two 32-bit numbers. */
FN fn_u32 fn_mulhi(fn_u32 a, fn_u32 b)
{
    return (fn_u32)((uint64_t)a * b >> 32);
}

#endif

/* In: the counter, out: the words. */
FN void fn_philox(fn_u32 w[4], fn_u32 key0, fn_u32 key1)
{
    for (int round = 0; round < 10; round++) {
        fn_u32 high0 = fn_mulhi(0xD2511F53u, w[0]), low0 = 0xD2511F53u * w[0];
        fn_u32 high1 = fn_mulhi(0xCD9E8D57u, w[2]), low1 = 0xCD9E8D57u * w[2];
        w[0] = high1 ^ w[1] ^ key0;
        w[1] = low1;
        w[2] = high0 ^ w[3] ^ key1;
        w[3] = low0;
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
}

#endif
