/* The product of one row with a matrix: every number of the matrix is used once, so it is read
 * where it lies, in long runs, and the sums wait in the level-1 cache. */
#include "compute/cpu/leaf.h"

/* acc += a[0..4) B over 4 rows of B: one load and store of a sum for 4 products */
INLINE void add_four(float *acc, const float *a, const float *b, size_t stride, size_t cols)
{
    const float *b1 = b + stride, *b2 = b1 + stride, *b3 = b2 + stride;
    float a0 = a[0], a1 = a[1], a2 = a[2], a3 = a[3];
    NO_OVERLAP
    for (size_t j = 0; j < cols; j++) {
        float sum = fn_fma(a0, b[j], acc[j]);
        sum = fn_fma(a1, b1[j], sum);
        sum = fn_fma(a2, b2[j], sum);
        acc[j] = fn_fma(a3, b3[j], sum);
    }
}

INLINE void add_one(float *acc, float a, const float *b, size_t cols)
{
    NO_OVERLAP
    for (size_t j = 0; j < cols; j++)
        acc[j] = fn_fma(a, b[j], acc[j]);
}

void LEAF(row)(float *c, const float *a, const float *b, size_t stride, size_t k, size_t cols)
{
    float acc[CPU_STRIP];
    memset(c, 0, cols * sizeof *c);
    for (size_t k0 = 0; k0 < k; k0 += CPU_BLOCK) {
        size_t end = k - k0 < CPU_BLOCK ? k : k0 + CPU_BLOCK, i = k0;
        memset(acc, 0, cols * sizeof *acc);
        for (; i + 4 <= end; i += 4)
            add_four(acc, a + i, b + i * stride, stride, cols);
        for (; i < end; i++)
            add_one(acc, a[i], b + i * stride, cols);
        LEAF(add)(c, c, acc, cols);
    }
}
