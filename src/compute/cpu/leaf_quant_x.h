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

/* ref/quant.c, activations(); sum: of each 16. */
INLINE float part_quantise(const float *x, int8_t *q, int32_t sum[2])
{
    fn_u32 most = 0;
    fn_i32 n[QUANT_PART];
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
        n[i] = (fn_i32)(fn_bits(t + FN_ROUND) - fn_bits(FN_ROUND));
    }
    sum[0] = sum[1] = 0;
    for (int i = 0; i < GROUP; i++) {
        sum[0] += n[i];
        sum[1] += n[i + GROUP];
    }
    for (int i = 0; i < QUANT_PART; i++)
        q[i] = (int8_t)n[i];
    return d;
}

static void activations(const struct cpu_quant_x *x, size_t row, const float *from,
                        enum quant_format format)
{
    int32_t offset = QUANT_SIGNED ? 0 : -offset_of(format);
    bool groups = format == QUANT_Q6_K;
    for (size_t p = 0; p < x->parts; p++) {
        size_t at = row * x->parts + p;
        int32_t sum[2];
        x->d[at] = part_quantise(from + p * QUANT_PART, x->q + at * QUANT_PART, sum);
        x->e[at] = x->d[at] * (float)(sum[0] + sum[1]);
        x->bias[2 * at] = offset * (groups ? sum[0] : sum[0] + sum[1]);
        x->bias[2 * at + 1] = offset * sum[1];
    }
}

#endif
