/* Block-quantised weights, rule 7. */
#include "compute/fn.h"
#include "compute/quant.h"
#include "compute/ref/ref.h"

/* 32 activations as d * q: q to the nearest integer of -127..127. d is 0 where it would be
 * subnormal, and NaN where some x is not finite. */
static float activations(const float *x, int8_t *q)
{
    fn_u32 most = 0;
    float d, r;
    for (int i = 0; i < QUANT_PART; i++)
        most = (fn_bits(x[i]) & 0x7fffffffu) > most ? fn_bits(x[i]) & 0x7fffffffu : most;
    d = most < FN_INF ? fn_div(fn_float(most), 127.0f) : fn_float(FN_NAN);
    d = d < 0x1p-126f ? 0.0f : d;
    r = d == 0.0f ? 0.0f : fn_div(1.0f, d);
    for (int i = 0; i < QUANT_PART; i++) {
        float t = x[i] * r;
        t = t > -127.0f ? t : -127.0f;
        t = t < 127.0f ? t : 127.0f;
        q[i] = (int8_t)(t + FN_ROUND - FN_ROUND);
    }
    return d;
}

/* acc after one part: the integers are exact, also as binary32 (32 * 4096 * 127 < 2^24). */
static float part_add(float acc, const struct quant_part *w, bool mins, const int8_t *q, float d)
{
    int32_t products = 0, sum = 0;
    for (int i = 0; i < QUANT_PART; i++) {
        products += w->w[i] * q[i];
        sum += q[i];
    }
    acc = fn_fma((float)products, w->d * d, acc);
    return mins ? fn_fma(w->m, d * (float)sum, acc) : acc;
}

enum emac_status ref_qmatmul(const struct op_attrs *attrs, const struct tensor *in,
                             struct tensor *out, struct emac_err *err)
{
    enum quant_format format = (enum quant_format)attrs->at[0].i;
    size_t rows = in[0].shape.dim[0], k = in[0].shape.dim[1];
    size_t cols = in[1].shape.dim[0], row_bytes = in[1].shape.dim[1];
    const float *x = in[0].data;   // (M, K)
    const uint8_t *w = in[1].data; // (N, bytes of K weights)
    float *c = out[0].data;        // (M, N)
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < cols; j++) {
            float total = 0.0f;
            for (size_t block = 0; block < k; block += RULE_BLOCK) {
                size_t end = block + RULE_BLOCK < k ? block + RULE_BLOCK : k;
                float acc = 0.0f;
                for (size_t p = block; p < end; p += QUANT_PART) {
                    struct quant_part part;
                    int8_t q[QUANT_PART];
                    float d = activations(x + i * k + p, q);
                    quant_part_read(format, w + j * row_bytes, p / QUANT_PART, &part);
                    acc = part_add(acc, &part, format == QUANT_Q4_1, q, d);
                }
                total = total + acc;
            }
            c[i * cols + j] = total;
        }
    return EMAC_OK;
}

enum emac_status ref_quantise(const struct op_attrs *attrs, const struct tensor *in,
                              struct tensor *out, struct emac_err *err)
{
    size_t rows = in[0].shape.dim[0], k = in[0].shape.dim[1], row_bytes = out[0].shape.dim[1];
    const float *x = in[0].data; // (M, K)
    uint8_t *q = out[0].data;    // (M, bytes of K weights)
    for (size_t i = 0; i < rows; i++)
        quant_row_encode((enum quant_format)attrs->at[0].i, q + i * row_bytes, x + i * k, k);
    return EMAC_OK;
}

enum emac_status ref_dequantise(const struct op_attrs *attrs, const struct tensor *in,
                                struct tensor *out, struct emac_err *err)
{
    size_t rows = in[0].shape.dim[0], row_bytes = in[0].shape.dim[1], k = out[0].shape.dim[1];
    const uint8_t *q = in[0].data; // (N, bytes of K weights)
    float *y = out[0].data;        // (N, K)
    for (size_t i = 0; i < rows; i++)
        quant_row_decode((enum quant_format)attrs->at[0].i, q + i * row_bytes, y + i * k, k);
    return EMAC_OK;
}
