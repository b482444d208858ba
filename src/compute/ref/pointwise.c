/* Operators that work element by element, or pair by pair. */
#include "base/philox.h"
#include "compute/fn_special.h"
#include "compute/ref/ref.h"

static size_t count(const struct tensor *t)
{
    size_t n = 0;
    shape_count(&t->shape, &n);
    return n;
}

enum emac_status ref_add(const struct op_attrs *attrs, const struct tensor *in, struct tensor *out,
                         struct emac_err *err)
{
    const float *a = in[0].data, *b = in[1].data;
    float *y = out[0].data;
    for (size_t i = 0; i < count(&in[0]); i++)
        y[i] = a[i] + b[i];
    return EMAC_OK;
}

enum emac_status ref_mul(const struct op_attrs *attrs, const struct tensor *in, struct tensor *out,
                         struct emac_err *err)
{
    const float *a = in[0].data, *b = in[1].data;
    float *y = out[0].data;
    for (size_t i = 0; i < count(&in[0]); i++)
        y[i] = a[i] * b[i];
    return EMAC_OK;
}

enum emac_status ref_scale(const struct op_attrs *attrs, const struct tensor *in,
                           struct tensor *out, struct emac_err *err)
{
    const float *a = in[0].data, *s = in[1].data;
    float *y = out[0].data;
    for (size_t i = 0; i < count(&in[0]); i++)
        y[i] = a[i] * s[0];
    return EMAC_OK;
}

enum emac_status ref_bias(const struct op_attrs *attrs, const struct tensor *in, struct tensor *out,
                          struct emac_err *err)
{
    size_t d = in[1].shape.dim[0];
    const float *x = in[0].data, *b = in[1].data; // (N, D), (D)
    float *y = out[0].data;
    for (size_t i = 0; i < count(&in[0]); i++)
        y[i] = x[i] + b[i % d];
    return EMAC_OK;
}

/* The comparison is this way round so that a NaN stays one. */
enum emac_status ref_relu(const struct op_attrs *attrs, const struct tensor *in, struct tensor *out,
                          struct emac_err *err)
{
    const float *x = in[0].data;
    float *y = out[0].data;
    for (size_t i = 0; i < count(&in[0]); i++)
        y[i] = x[i] <= 0.0f ? 0.0f : x[i];
    return EMAC_OK;
}

enum emac_status ref_relu_grad(const struct op_attrs *attrs, const struct tensor *in,
                               struct tensor *out, struct emac_err *err)
{
    const float *dy = in[0].data, *x = in[1].data;
    float *dx = out[0].data;
    for (size_t i = 0; i < count(&in[0]); i++)
        dx[i] = x[i] <= 0.0f ? 0.0f : dy[i];
    return EMAC_OK;
}

/* RoFormer's rotation (Su et al. 2021) on pairs (j, j + E/2) of each head. */
enum emac_status ref_rope(const struct op_attrs *attrs, const struct tensor *in, struct tensor *out,
                          struct emac_err *err)
{
    size_t n_rows = in[0].shape.dim[0], d = in[0].shape.dim[1];
    size_t positions = in[1].shape.dim[0], half = in[1].shape.dim[1];
    const float *cos = in[1].data, *sin = in[2].data; // (T, E/2)
    for (size_t n = 0; n < n_rows; n++)
        for (size_t h = 0; h < d; h += 2 * half)
            for (size_t j = 0; j < half; j++) {
                const float *x = (const float *)in[0].data + n * d + h; // (E)
                float *y = (float *)out[0].data + n * d + h;            // (E)
                float c = cos[n % positions * half + j], s = sin[n % positions * half + j];
                s = attrs->at[1].i ? -s : s;
                y[j] = x[j] * c - x[j + half] * s;
                y[j + half] = x[j + half] * c + x[j] * s;
            }
    return EMAC_OK;
}

/* Shazeer 2020, "GLU variants improve transformer". */
enum emac_status ref_swiglu(const struct op_attrs *attrs, const struct tensor *in,
                            struct tensor *out, struct emac_err *err)
{
    const float *g = in[0].data, *u = in[1].data;
    float *y = out[0].data;
    for (size_t i = 0; i < count(&in[0]); i++)
        y[i] = g[i] * fn_sigmoid(g[i]) * u[i];
    return EMAC_OK;
}

/* d silu(g)/dg = s + (g s)(1 - s) */
enum emac_status ref_swiglu_grad(const struct op_attrs *attrs, const struct tensor *in,
                                 struct tensor *out, struct emac_err *err)
{
    const float *dy = in[0].data, *g = in[1].data, *u = in[2].data;
    float *dg = out[0].data, *du = out[1].data;
    for (size_t i = 0; i < count(&in[0]); i++) {
        float s = fn_sigmoid(g[i]), silu = g[i] * s;
        du[i] = dy[i] * silu;
        dg[i] = dy[i] * u[i] * (s + silu * (1.0f - s));
    }
    return EMAC_OK;
}

enum emac_status ref_gelu(const struct op_attrs *attrs, const struct tensor *in, struct tensor *out,
                          struct emac_err *err)
{
    const float *x = in[0].data;
    float *y = out[0].data;
    for (size_t i = 0; i < count(&in[0]); i++)
        y[i] = fn_gelu(x[i]);
    return EMAC_OK;
}

enum emac_status ref_gelu_grad(const struct op_attrs *attrs, const struct tensor *in,
                               struct tensor *out, struct emac_err *err)
{
    const float *dy = in[0].data, *x = in[1].data;
    float *dx = out[0].data;
    for (size_t i = 0; i < count(&in[0]); i++)
        dx[i] = dy[i] * fn_gelu_slope(x[i]);
    return EMAC_OK;
}

enum emac_status ref_gelu_tanh(const struct op_attrs *attrs, const struct tensor *in,
                               struct tensor *out, struct emac_err *err)
{
    const float *x = in[0].data;
    float *y = out[0].data;
    for (size_t i = 0; i < count(&in[0]); i++)
        y[i] = fn_gelu_tanh(x[i]);
    return EMAC_OK;
}

enum emac_status ref_gelu_tanh_grad(const struct op_attrs *attrs, const struct tensor *in,
                                    struct tensor *out, struct emac_err *err)
{
    const float *dy = in[0].data, *x = in[1].data;
    float *dx = out[0].data;
    for (size_t i = 0; i < count(&in[0]); i++)
        dx[i] = dy[i] * fn_gelu_tanh_slope(x[i]);
    return EMAC_OK;
}

enum emac_status ref_position_add(const struct op_attrs *attrs, const struct tensor *in,
                                  struct tensor *out, struct emac_err *err)
{
    const float *x = in[0].data, *p = in[1].data; // (N, D), (T, D)
    float *y = out[0].data;
    for (size_t i = 0; i < count(&in[0]); i++)
        y[i] = x[i] + p[i % count(&in[1])];
    return EMAC_OK;
}

/* Inverted dropout (Srivastava et al. 2014), the mask a pure function of where and when. */
enum emac_status ref_dropout(const struct op_attrs *attrs, const struct tensor *in,
                             struct tensor *out, struct emac_err *err)
{
    const float *x = in[0].data;
    const int32_t *key = in[1].data; // {seed low, seed high, step, part}
    uint64_t seed = (uint64_t)(uint32_t)key[1] << 32 | (uint32_t)key[0];
    uint64_t part = (uint64_t)(uint32_t)key[3] << 32;
    uint32_t purpose = PHILOX_DROPOUT + ((uint32_t)attrs->at[1].i << 16), word[4];
    float p = attrs->at[0].f, scale = fn_div(1.0f, 1.0f - p);
    float *y = out[0].data;
    for (size_t i = 0; i < count(&in[0]); i++) {
        philox_at(seed, purpose, (uint32_t)key[2], part + i / 4, word);
        y[i] = (float)(word[i % 4] >> 8) * 0x1p-24f >= p ? x[i] * scale : 0.0f;
    }
    return EMAC_OK;
}

enum emac_status ref_clip_coef(const struct op_attrs *attrs, const struct tensor *in,
                               struct tensor *out, struct emac_err *err)
{
    const float *sumsq = in[0].data, *max_norm = in[1].data;
    float c = fn_div(max_norm[0], fn_sqrt(sumsq[0]) + 1e-6f);
    *(float *)out[0].data = c > 1.0f ? 1.0f : c; /* NaN stays */
    return EMAC_OK;
}

enum emac_status ref_sqrt(const struct op_attrs *attrs, const struct tensor *in, struct tensor *out,
                          struct emac_err *err)
{
    *(float *)out[0].data = fn_sqrt(*(const float *)in[0].data);
    return EMAC_OK;
}

/* AdamW (Loshchilov & Hutter 2019) */
enum emac_status ref_adamw(const struct op_attrs *attrs, const struct tensor *in,
                           struct tensor *out, struct emac_err *err)
{
    const float *p = in[0].data, *m = in[1].data, *v = in[2].data, *g = in[3].data;
    const float *gscale = in[4].data, *hyper = in[5].data;
    float *p_new = out[0].data, *m_new = out[1].data, *v_new = out[2].data;
    float lr = hyper[0], beta1 = hyper[1], beta2 = hyper[2], eps = hyper[3], decay = hyper[4];
    float c1 = hyper[5], c2 = hyper[6];
    for (size_t i = 0; i < count(&in[0]); i++) {
        float gi = g[i] * gscale[0], old = p[i];
        float mi = fn_fma(beta1, m[i], (1.0f - beta1) * gi);
        float vi = fn_fma(beta2, v[i], (1.0f - beta2) * gi * gi);
        float step = fn_div(mi * c1, fn_sqrt(vi * c2) + eps) + decay * old;
        p_new[i] = old - lr * step;
        m_new[i] = mi;
        v_new[i] = vi;
    }
    return EMAC_OK;
}
