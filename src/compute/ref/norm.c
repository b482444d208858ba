/* RMS normalisation (Zhang & Sennrich 2019), layer normalisation (Ba et al. 2016), the loss. */
#include "compute/fn.h"
#include "compute/ref/ref.h"

/* y = (x rstd) w, rstd = 1/sqrt(mean of squares + eps). The mean multiplies by the binary32 of
 * 1/D. */
enum emac_status ref_rmsnorm(const struct op_attrs *attrs, const struct tensor *in,
                             struct tensor *out, struct emac_err *err)
{
    size_t n_rows = in[0].shape.dim[0], d = in[0].shape.dim[1];
    const float *w = in[1].data; // (D)
    float *rstd = out[1].data;   // (N)
    float inv_d = fn_div(1.0f, (float)d);
    for (size_t n = 0; n < n_rows; n++) {
        const float *x = (const float *)in[0].data + n * d; // (D)
        float *y = (float *)out[0].data + n * d;            // (D)
        struct ref_sum squares;
        ref_sum_init(&squares);
        for (size_t j = 0; j < d; j++)
            ref_sum_add(&squares, x[j] * x[j]);
        rstd[n] = fn_rsqrt(ref_sum_end(&squares) * inv_d + attrs->at[0].f);
        for (size_t j = 0; j < d; j++)
            y[j] = x[j] * rstd[n] * w[j];
    }
    return EMAC_OK;
}

/* With h = x rstd and g = dy w:  dx = (g - h mean(g h)) rstd,  dw = sum over rows of dy h. */
enum emac_status ref_rmsnorm_grad(const struct op_attrs *attrs, const struct tensor *in,
                                  struct tensor *out, struct emac_err *err)
{
    size_t n_rows = in[0].shape.dim[0], d = in[0].shape.dim[1];
    const float *dy = in[0].data, *x = in[1].data;   // (N, D)
    const float *w = in[2].data, *rstd = in[3].data; // (D), (N)
    float *dx = out[0].data, *dw = out[1].data;      // (N, D), (D)
    float inv_d = fn_div(1.0f, (float)d);
    struct ref_sum sum;
    for (size_t n = 0; n < n_rows; n++) {
        const float *dyn = dy + n * d, *xn = x + n * d; // (D)
        ref_sum_init(&sum);
        for (size_t j = 0; j < d; j++)
            ref_sum_add(&sum, dyn[j] * w[j] * (xn[j] * rstd[n]));
        float mean = ref_sum_end(&sum) * inv_d;
        for (size_t j = 0; j < d; j++)
            dx[n * d + j] = (dyn[j] * w[j] - xn[j] * rstd[n] * mean) * rstd[n];
    }
    for (size_t j = 0; j < d; j++) {
        ref_sum_init(&sum);
        for (size_t n = 0; n < n_rows; n++)
            ref_sum_add(&sum, dy[n * d + j] * (x[n * d + j] * rstd[n]));
        dw[j] = ref_sum_end(&sum);
    }
    return EMAC_OK;
}

/* y = (x - mean) rstd w + b, rstd = 1/sqrt(variance + eps): the variance of centred values, which
 * does not cancel as E[x^2] - mean^2 does. */
enum emac_status ref_layernorm(const struct op_attrs *attrs, const struct tensor *in,
                               struct tensor *out, struct emac_err *err)
{
    size_t n_rows = in[0].shape.dim[0], d = in[0].shape.dim[1];
    const float *w = in[1].data, *b = in[2].data;   // (D)
    float *mean = out[1].data, *rstd = out[2].data; // (N)
    float inv_d = fn_div(1.0f, (float)d);
    for (size_t n = 0; n < n_rows; n++) {
        const float *x = (const float *)in[0].data + n * d; // (D)
        float *y = (float *)out[0].data + n * d;            // (D)
        struct ref_sum sum, squares;
        ref_sum_init(&sum);
        ref_sum_init(&squares);
        for (size_t j = 0; j < d; j++)
            ref_sum_add(&sum, x[j]);
        mean[n] = ref_sum_end(&sum) * inv_d;
        for (size_t j = 0; j < d; j++)
            ref_sum_add(&squares, (x[j] - mean[n]) * (x[j] - mean[n]));
        rstd[n] = fn_rsqrt(ref_sum_end(&squares) * inv_d + attrs->at[0].f);
        for (size_t j = 0; j < d; j++)
            y[j] = (x[j] - mean[n]) * rstd[n] * w[j] + b[j];
    }
    return EMAC_OK;
}

/* With h = (x - mean) rstd and g = dy w:  dx = ((g - mean(g)) - h mean(g h)) rstd. */
static void layernorm_dx(const float *dy, const float *x, const float *w, float mean, float rstd,
                         float *dx, size_t d)
{
    float inv_d = fn_div(1.0f, (float)d), mean_g, mean_gh;
    struct ref_sum g, gh;
    ref_sum_init(&g);
    ref_sum_init(&gh);
    for (size_t j = 0; j < d; j++) {
        ref_sum_add(&g, dy[j] * w[j]);
        ref_sum_add(&gh, dy[j] * w[j] * ((x[j] - mean) * rstd));
    }
    mean_g = ref_sum_end(&g) * inv_d;
    mean_gh = ref_sum_end(&gh) * inv_d;
    for (size_t j = 0; j < d; j++)
        dx[j] = (dy[j] * w[j] - mean_g - (x[j] - mean) * rstd * mean_gh) * rstd;
}

/* dw = sum over rows of dy h, db = sum over rows of dy. */
enum emac_status ref_layernorm_grad(const struct op_attrs *attrs, const struct tensor *in,
                                    struct tensor *out, struct emac_err *err)
{
    size_t n_rows = in[0].shape.dim[0], d = in[0].shape.dim[1];
    const float *dy = in[0].data, *x = in[1].data, *w = in[2].data; // (N, D), (D)
    const float *mean = in[3].data, *rstd = in[4].data;             // (N)
    float *dx = out[0].data, *dw = out[1].data, *db = out[2].data;  // (N, D), (D)
    for (size_t n = 0; n < n_rows; n++)
        layernorm_dx(dy + n * d, x + n * d, w, mean[n], rstd[n], dx + n * d, d);
    for (size_t j = 0; j < d; j++) {
        struct ref_sum sum_w, sum_b;
        ref_sum_init(&sum_w);
        ref_sum_init(&sum_b);
        for (size_t n = 0; n < n_rows; n++) {
            ref_sum_add(&sum_w, dy[n * d + j] * ((x[n * d + j] - mean[n]) * rstd[n]));
            ref_sum_add(&sum_b, dy[n * d + j]);
        }
        dw[j] = ref_sum_end(&sum_w);
        db[j] = ref_sum_end(&sum_b);
    }
    return EMAC_OK;
}

/* loss = log(sum exp(l - max)) + max - l[target] */
enum emac_status ref_xent(const struct op_attrs *attrs, const struct tensor *in, struct tensor *out,
                          struct emac_err *err)
{
    size_t n_rows = in[0].shape.dim[0], vocab = in[0].shape.dim[1];
    const int32_t *target = in[1].data;              // (N)
    float *loss = out[0].data, *stats = out[1].data; // (N), (N, 2)
    for (size_t n = 0; n < n_rows; n++) {
        const float *l = (const float *)in[0].data + n * vocab; // (V)
        float max = ref_max(l, vocab), sum;
        struct ref_sum s;
        ref_sum_init(&s);
        for (size_t j = 0; j < vocab; j++)
            ref_sum_add(&s, fn_exp(l[j] - max));
        sum = ref_sum_end(&s);
        loss[n] = fn_log(sum) + max - l[target[n]];
        stats[2 * n] = max;
        stats[2 * n + 1] = sum;
    }
    return EMAC_OK;
}

/* dl = (softmax(l) - onehot(target)) dloss */
enum emac_status ref_xent_grad(const struct op_attrs *attrs, const struct tensor *in,
                               struct tensor *out, struct emac_err *err)
{
    size_t n_rows = in[1].shape.dim[0], vocab = in[1].shape.dim[1];
    const float *dloss = in[0].data;    // (1)
    const int32_t *target = in[2].data; // (N)
    const float *stats = in[3].data;    // (N, 2)
    for (size_t n = 0; n < n_rows; n++) {
        const float *l = (const float *)in[1].data + n * vocab; // (V)
        float *dl = (float *)out[0].data + n * vocab;           // (V)
        float max = stats[2 * n], inv_sum = fn_div(1.0f, stats[2 * n + 1]);
        for (size_t j = 0; j < vocab; j++) {
            float p = fn_exp(l[j] - max) * inv_sum;
            dl[j] = (p - ((size_t)target[n] == j ? 1.0f : 0.0f)) * dloss[0];
        }
    }
    return EMAC_OK;
}

/* 1 where the first largest logit is the target's. A NaN is kept in sight. */
enum emac_status ref_correct(const struct op_attrs *attrs, const struct tensor *in,
                             struct tensor *out, struct emac_err *err)
{
    size_t n_rows = in[0].shape.dim[0], vocab = in[0].shape.dim[1];
    const int32_t *target = in[1].data; // (N)
    float *y = out[0].data;             // (N)
    for (size_t n = 0; n < n_rows; n++) {
        const float *l = (const float *)in[0].data + n * vocab; // (V)
        float nan = 0.0f;
        size_t best = 0;
        for (size_t j = 0; j < vocab; j++) {
            best = l[j] > l[best] ? j : best;
            nan = l[j] != l[j] ? l[j] : nan;
        }
        y[n] = ((size_t)target[n] == best ? 1.0f : 0.0f) + nan;
    }
    return EMAC_OK;
}
