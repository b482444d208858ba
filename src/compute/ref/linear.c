/* Products, sums, and what moves rows. */
#include <string.h>

#include "base/philox.h"
#include "compute/fn.h"
#include "compute/ref/ref.h"

static size_t count(const struct tensor *t)
{
    size_t n = 0;
    shape_count(&t->shape, &n);
    return n;
}

enum emac_status ref_embed(const struct op_attrs *attrs, const struct tensor *in,
                           struct tensor *out, struct emac_err *err)
{
    size_t n_rows = in[0].shape.dim[0], d = in[1].shape.dim[1];
    const int32_t *ids = in[0].data; // (N)
    const float *table = in[1].data; // (V, D)
    float *y = out[0].data;          // (N, D)
    for (size_t n = 0; n < n_rows; n++)
        memcpy(y + n * d, table + (size_t)ids[n] * d, d * sizeof *y);
    return EMAC_OK;
}

enum emac_status ref_embed_grad(const struct op_attrs *attrs, const struct tensor *in,
                                struct tensor *out, struct emac_err *err)
{
    size_t n_rows = in[1].shape.dim[0], d = in[1].shape.dim[1];
    const int32_t *ids = in[0].data; // (N)
    const float *dy = in[1].data;    // (N, D)
    float *dtable = out[0].data;     // (V, D)
    for (size_t i = 0; i < count(&out[0]); i++)
        dtable[i] = 0.0f;
    for (size_t n = 0; n < n_rows; n++)
        for (size_t j = 0; j < d; j++)
            dtable[(size_t)ids[n] * d + j] = dtable[(size_t)ids[n] * d + j] + dy[n * d + j];
    return EMAC_OK;
}

enum emac_status ref_matmul(const struct op_attrs *attrs, const struct tensor *in,
                            struct tensor *out, struct emac_err *err)
{
    bool trans_a = attrs->at[0].i, trans_b = attrs->at[1].i;
    size_t m = out[0].shape.dim[0], n = out[0].shape.dim[1];
    size_t k = in[0].shape.dim[trans_a ? 0 : 1];
    const float *a = in[0].data; // (M, K), or (K, M) when trans_a
    const float *b = in[1].data; // (K, N), or (N, K) when trans_b
    float *c = out[0].data;      // (M, N)
    size_t a_row = trans_a ? 1 : k, a_col = trans_a ? m : 1;
    size_t b_row = trans_b ? 1 : n, b_col = trans_b ? k : 1;
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++)
            c[i * n + j] = ref_dot(a + i * a_row, a_col, b + j * b_col, b_row, k);
    return EMAC_OK;
}

enum emac_status ref_sumall(const struct op_attrs *attrs, const struct tensor *in,
                            struct tensor *out, struct emac_err *err)
{
    const float *x = in[0].data;
    struct ref_sum s;
    ref_sum_init(&s);
    for (size_t i = 0; i < count(&in[0]); i++)
        ref_sum_add(&s, x[i]);
    *(float *)out[0].data = ref_sum_end(&s);
    return EMAC_OK;
}

enum emac_status ref_sum_rows(const struct op_attrs *attrs, const struct tensor *in,
                              struct tensor *out, struct emac_err *err)
{
    size_t d = out[0].shape.dim[0], n_rows = count(&in[0]) / d;
    const float *x = in[0].data; // (N, D)
    float *y = out[0].data;      // (D)
    for (size_t j = 0; j < d; j++) {
        struct ref_sum s;
        ref_sum_init(&s);
        for (size_t n = 0; n < n_rows; n++)
            ref_sum_add(&s, x[n * d + j]);
        y[j] = ref_sum_end(&s);
    }
    return EMAC_OK;
}

enum emac_status ref_sumsq(const struct op_attrs *attrs, const struct tensor *in,
                           struct tensor *out, struct emac_err *err)
{
    const float *x = in[0].data;
    struct ref_sum s;
    ref_sum_init(&s);
    for (size_t i = 0; i < count(&in[0]); i++)
        ref_sum_add(&s, x[i] * x[i]);
    *(float *)out[0].data = ref_sum_end(&s);
    return EMAC_OK;
}

enum emac_status ref_fill(const struct op_attrs *attrs, const struct tensor *in, struct tensor *out,
                          struct emac_err *err)
{
    float *y = out[0].data;
    for (size_t i = 0; i < count(&out[0]); i++)
        y[i] = attrs->at[2].f;
    return EMAC_OK;
}

/* Irwin-Hall: the sum of 12 uniform 16-bit integers has mean 12 * 65535/2 and standard deviation
 * 65536 (but for 1 in 10^10). Words 6i..6i+5 of the stream belong to element i; word w of the
 * stream is word w mod 4 of Philox index w / 4. Sum and centring are exact, 2^-16 too, so one
 * rounding is left: the product with std. */
enum emac_status ref_randn(const struct op_attrs *attrs, const struct tensor *in,
                           struct tensor *out, struct emac_err *err)
{
    uint64_t seed = (uint64_t)attrs->at[2].i;
    uint32_t tensor = (uint32_t)attrs->at[3].i, word[4];
    float *y = out[0].data;
    for (size_t i = 0; i < count(&out[0]); i++) {
        int32_t sum = 0;
        for (uint64_t w = 6 * (uint64_t)i; w < 6 * (uint64_t)i + 6; w++) {
            philox_at(seed, PHILOX_INIT, tensor, w / 4, word);
            sum += (int32_t)(word[w % 4] & 0xffff) + (int32_t)(word[w % 4] >> 16);
        }
        y[i] = (float)(sum - 6 * 65535) * 0x1p-16f * attrs->at[4].f;
    }
    return EMAC_OK;
}

enum emac_status ref_reshape(const struct op_attrs *attrs, const struct tensor *in,
                             struct tensor *out, struct emac_err *err)
{
    memmove(out[0].data, in[0].data, count(&in[0]) * sizeof(float));
    return EMAC_OK;
}
