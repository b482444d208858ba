/* For files that are compiled once per instruction set: names get the suffix
 * CPU_ISA, loops over fn.h become vector code, and 16 lanes are one type. */
#ifndef EMAC_COMPUTE_CPU_LEAF_H
#define EMAC_COMPUTE_CPU_LEAF_H

#include "compute/cpu/kernels.h"
#include "compute/fn.h"

#ifndef CPU_ISA
#error "CPU_ISA names the instruction set this file is compiled for"
#endif

#define LEAF_CAT2(name, isa) name##_##isa
#define LEAF_CAT(name, isa)  LEAF_CAT2(name, isa)
#define LEAF(name)           LEAF_CAT(leaf_##name, CPU_ISA)

#define INLINE static inline __attribute__((always_inline, unused))

/* Where output and input may be the same array, each element is read before it is written and
 * elements do not depend on each other, so the compiler need not check for overlap. */
#if defined(__clang__)
#define NO_OVERLAP _Pragma("clang loop vectorize(assume_safety)")
#else
#define NO_OVERLAP _Pragma("GCC ivdep")
#endif

/* Rule 4's 16 lanes. The compiler maps + and * to one, two or four registers. */
typedef float v16 __attribute__((vector_size(64), aligned(4), may_alias));
typedef int32_t m16 __attribute__((vector_size(64), aligned(4), may_alias));

/* The halves of 16 lanes, and of 8; the upper two of 4 lanes moved down. */
typedef float v8 __attribute__((vector_size(32), aligned(4), may_alias));
typedef float v4 __attribute__((vector_size(16), aligned(4), may_alias));
#define LOW8(v)  __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7)
#define HIGH8(v) __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15)
#define LOW4(v)  __builtin_shufflevector(v, v, 0, 1, 2, 3)
#define HIGH4(v) __builtin_shufflevector(v, v, 4, 5, 6, 7)
#define UPPER(v) __builtin_shufflevector(v, v, 2, 3, 0, 1)

/* Tree 8-4-2-1. */
INLINE float lanes_tree(v16 lanes)
{
    v8 eight = LOW8(lanes) + HIGH8(lanes);
    v4 four = LOW4(eight) + HIGH4(eight);
    v4 two = four + UPPER(four);
    return two[0] + two[1];
}

/* Rule 4 over x[0..n), n <= 256: one block's sum. Missing terms count as +0. */
INLINE float block_sum(const float *x, size_t n)
{
    v16 lanes = {0};
    size_t i = 0;
    for (; i + CPU_LANES <= n; i += CPU_LANES)
        lanes = lanes + *(const v16 *)(x + i);
    if (i < n) {
        float tail[CPU_LANES] = {0};
        memcpy(tail, x + i, (n - i) * sizeof *x);
        lanes = lanes + *(const v16 *)tail;
    }
    return lanes_tree(lanes);
}

bool LEAF(panel)(const struct cpu_panel *p);
void LEAF(pack_b)(float *, const float *, size_t, size_t, size_t, size_t);
/* One panel of pack_b from columns that are contiguous in k, `col` apart. */
void LEAF(pack_turned)(float *dst, const float *b, size_t col, size_t k, size_t cols);
void LEAF(row)(float *, const float *, const float *, size_t, size_t, size_t);
void LEAF(rows_turned)(const struct cpu_turned *);
void LEAF(taps)(const struct cpu_taps *); /* of AVX-512 alone */
void LEAF(pack_a)(float *, const float *, size_t, size_t, size_t);
void LEAF(add)(float *, const float *, const float *, size_t);
void LEAF(mul)(float *, const float *, const float *, size_t);
void LEAF(scale)(float *, const float *, float, size_t);
void LEAF(bias)(float *, const float *, const float *, size_t, size_t);
void LEAF(relu)(float *, const float *, size_t);
void LEAF(relu_grad)(float *, const float *, const float *, size_t);
void LEAF(rows_sum)(float *, const float *, size_t, size_t);
void LEAF(correct)(float *, const float *, const int32_t *, size_t, size_t);
void LEAF(maxpool)(float *, const float *, const struct cpu_pool *);
void LEAF(maxpool_grad)(float *, const float *, const float *, const struct cpu_pool *);
void LEAF(avgpool)(float *, const float *, const struct cpu_pool *);
void LEAF(avgpool_grad)(float *, const float *, const struct cpu_pool *);
void LEAF(gelu)(float *, const float *, size_t);
void LEAF(gelu_grad)(float *, const float *, const float *, size_t);
void LEAF(gelu_tanh)(float *, const float *, size_t);
void LEAF(gelu_tanh_grad)(float *, const float *, const float *, size_t);
void LEAF(dropout)(float *, const float *, const struct cpu_dropout *, uint32_t, size_t);
void LEAF(swiglu)(float *, const float *, const float *, size_t);
void LEAF(swiglu_grad)(float *, float *, const float *, const float *, const float *, size_t);
void LEAF(adamw)(float *, float *, float *, const float *, const float *, const float *,
                 const float *, const struct cpu_adamw *, size_t);
void LEAF(rope)(float *, const float *, const float *, const float *, float, size_t, size_t);
void LEAF(widen)(float *, const uint16_t *, size_t);
void LEAF(narrow)(uint16_t *, const float *, size_t);
size_t LEAF(check_finite)(const float *, size_t);
void LEAF(block_sums)(float *, const float *, size_t, bool);
void LEAF(rmsnorm)(float *, float *, const float *, const float *, float, size_t, size_t);
void LEAF(rmsnorm_grad)(float *, float *, size_t, size_t, const float *, const float *,
                        const float *, const float *, size_t, size_t);
void LEAF(layernorm)(float *, float *, float *, const float *, const float *, const float *, float,
                     size_t, size_t);
void LEAF(layernorm_grad)(float *, float *, size_t, size_t, const float *, const float *,
                          const float *, const float *, const float *, size_t, size_t);
void LEAF(xent)(float *, float *, const float *, const int32_t *, size_t, size_t);
void LEAF(xent_grad)(float *, float, const float *, const int32_t *, const float *, size_t, size_t);
void LEAF(softmax)(float *, size_t, size_t, size_t, size_t, size_t, float, float *, float *);
void LEAF(softmax_grad)(float *, float *, size_t, size_t, float, float, float, float);
float LEAF(dot)(const float *, const float *, size_t);

#endif
