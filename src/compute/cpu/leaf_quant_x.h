/* How a leaf of rule 7 quantises activations. The includer defines QUANT_SIGNED:
 * 1 if it multiplies signed weights, 0 if their offset is to be made good
 * (leaf_quant.h). */
#ifndef EMAC_COMPUTE_CPU_LEAF_QUANT_X_H
#define EMAC_COMPUTE_CPU_LEAF_QUANT_X_H

#include "compute/cpu/leaf.h"
#include "compute/cpu/quant.h"

#define GROUP 16 /* weights of q6_k that share a scale */

INLINE int offset_of(enum quant_format format)
{
    switch (format) {
    case QUANT_Q8_0:
        return 128;
    case QUANT_Q4_0:
        return 8;
    case QUANT_Q6_K:
        return 32;
    case QUANT_Q4_1:
        break;
    }
    return 0;
}

/* ref/quant.c, activations() */
INLINE float part_quantise(const float *x, int8_t *q)
{
    fn_u32 most = 0;
    float d, r;
    for (int i = 0; i < QUANT_PART; i++) {
        fn_u32 u = fn_bits(x[i]) & 0x7fffffffu;
        most = u > most ? u : most;
    }
    d = most < FN_INF ? fn_div(fn_float(most), 127.0f) : fn_float(FN_NAN);
    d = d < 0x1p-126f ? 0.0f : d;
    r = d == 0.0f ? 0.0f : fn_div(1.0f, d);
    for (int i = 0; i < QUANT_PART; i++) {
        float t = x[i] * r;
        t = t > -127.0f ? t : -127.0f;
        t = t < 127.0f ? t : 127.0f;
        q[i] = (int8_t)(fn_i32)(fn_bits(t + FN_ROUND) - fn_bits(FN_ROUND));
    }
    return d;
}

INLINE int32_t sum_of(const int8_t *q, int n)
{
    int32_t sum = 0;
    for (int i = 0; i < n; i++)
        sum += q[i];
    return sum;
}

static void activations(const struct cpu_quant_x *x, size_t row, const float *from,
                        enum quant_format format)
{
    int32_t offset = QUANT_SIGNED ? 0 : -offset_of(format);
    bool groups = format == QUANT_Q6_K;
    for (size_t p = 0; p < x->parts; p++) {
        size_t at = row * x->parts + p;
        int8_t *q = x->q + at * QUANT_PART;
        float d = part_quantise(from + p * QUANT_PART, q);
        int32_t low = sum_of(q, GROUP), high = sum_of(q + GROUP, GROUP);
        x->d[at] = d;
        x->e[at] = d * (float)(low + high);
        x->bias[2 * at] = offset * (groups ? low : low + high);
        x->bias[2 * at + 1] = offset * high;
    }
}

#endif
