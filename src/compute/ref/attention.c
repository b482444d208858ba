/* Causal attention (Vaswani et al. 2017) with grouped keys and values (Ainslie
 * et al. 2023), rule 5. Query head h reads kv head h / (H/G). */
#include <stdlib.h>

#include "base/buf.h"
#include "base/checked.h"
#include "compute/fn.h"
#include "compute/ref/ref.h"

/* Letters as in op.h. */
struct dims {
    size_t b, t, h, g, e;
    float scale;
};

static struct dims dims_of(const struct op_attrs *attrs, const struct tensor *q)
{
    size_t b = (size_t)attrs->at[0].i, h = (size_t)attrs->at[1].i, g = (size_t)attrs->at[2].i;
    return (struct dims){b, q->shape.dim[0] / b, h, g, q->shape.dim[1] / h, attrs->at[3].f};
}

/* max over the row's own keys only, which are all those at or before the query: a masked key is one
 * whose p is +0, and rules 3 and 4 do not see zeros. */
void ref_attention_row(const float *q, const float *k, const float *v, size_t stride, size_t len,
                       size_t head_dim, float scale, float *p, float *o, float *max, float *sum)
{
    struct ref_sum s;
    float inv_sum;
    for (size_t j = 0; j < len; j++)
        p[j] = ref_dot(q, 1, k + j * stride, 1, head_dim) * scale;
    *max = ref_max(p, len);
    ref_sum_init(&s);
    for (size_t j = 0; j < len; j++) {
        p[j] = fn_exp(p[j] - *max);
        ref_sum_add(&s, p[j]);
    }
    *sum = ref_sum_end(&s);
    inv_sum = fn_div(1.0f, *sum);
    for (size_t e = 0; e < head_dim; e++)
        o[e] = ref_dot(p, 1, v + e, stride, len) * inv_sum;
}

enum emac_status ref_attention(const struct op_attrs *attrs, const struct tensor *in,
                               struct tensor *out, struct emac_err *err)
{
    struct dims d = dims_of(attrs, &in[0]);
    const float *q = in[0].data;                  // (B, T, H, E)
    const float *k = in[1].data, *v = in[2].data; // (B, T, G, E)
    float *o = out[0].data;                       // (B, T, H, E)
    float *max = out[1].data, *sum = out[2].data; // (B, H, T)
    float *p;                                     // (T)
    enum emac_status st = emac_alloc(&p, d.t, sizeof *p, err);
    if (st != EMAC_OK)
        return st;
    for (size_t b = 0; b < d.b; b++)
        for (size_t h = 0; h < d.h; h++)
            for (size_t t = 0; t < d.t; t++) {
                size_t row = ((b * d.t + t) * d.h + h) * d.e, stat = (b * d.h + h) * d.t + t;
                size_t kv = (b * d.t * d.g + h / (d.h / d.g)) * d.e;
                ref_attention_row(q + row, k + kv, v + kv, d.g * d.e, t + 1, d.e, d.scale, p,
                                  o + row, &max[stat], &sum[stat]);
            }
    free(p);
    return EMAC_OK;
}

/* One head of one sequence; strides in elements. */
struct head {
    const float *dout, *q, *o; // (T, E), rows `qs` apart
    const float *k, *v;        // (T, E), rows `ks` apart
    const float *max, *sum;    // (T)
    float *dq;                 // (T, E), rows `qs` apart
    float *dk, *dv;            // (T, E), rows `ks` apart: added to
    size_t qs, ks;
};

/* p = softmax of the scores, ds = gradient of the unscaled scores: (T, T), +0 where masked.
 *     p  = exp(s - max) (1/sum)        s = (q . k) scale
 *     ds = p (dp - delta) scale        dp = do . v,  delta = do . o (rule 4) */
static void head_scores(const struct dims *d, const struct head *x, float *p, float *ds)
{
    for (size_t t = 0; t < d->t; t++) {
        const float *q = x->q + t * x->qs, *dout = x->dout + t * x->qs, *o = x->o + t * x->qs;
        float inv_sum = fn_div(1.0f, x->sum[t]), delta;
        struct ref_sum s;
        ref_sum_init(&s);
        for (size_t e = 0; e < d->e; e++)
            ref_sum_add(&s, dout[e] * o[e]);
        delta = ref_sum_end(&s);
        for (size_t j = 0; j < d->t; j++) {
            float score, dp;
            p[t * d->t + j] = ds[t * d->t + j] = 0.0f;
            if (j > t)
                continue;
            score = ref_dot(q, 1, x->k + j * x->ks, 1, d->e) * d->scale;
            dp = ref_dot(dout, 1, x->v + j * x->ks, 1, d->e);
            p[t * d->t + j] = fn_exp(score - x->max[t]) * inv_sum;
            ds[t * d->t + j] = p[t * d->t + j] * (dp - delta) * d->scale;
        }
    }
}

/* dq = ds k (over keys), dk += ds^T q, dv += p^T do (over queries): rule 3 each. */
static void head_products(const struct dims *d, const struct head *x, const float *p,
                          const float *ds)
{
    for (size_t t = 0; t < d->t; t++)
        for (size_t e = 0; e < d->e; e++) {
            size_t at = t * x->ks + e;
            x->dq[t * x->qs + e] = ref_dot(ds + t * d->t, 1, x->k + e, x->ks, d->t);
            x->dk[at] = x->dk[at] + ref_dot(ds + t, d->t, x->q + e, x->qs, d->t);
            x->dv[at] = x->dv[at] + ref_dot(p + t, d->t, x->dout + e, x->qs, d->t);
        }
}

/* dk and dv of a kv head: the results of its query heads, added in head order to +0. */
static void grad_heads(const struct dims *d, const struct tensor *in, struct tensor *out, float *p,
                       float *ds)
{
    const float *dout = in[0].data, *q = in[1].data, *o = in[4].data; // (B, T, H, E)
    const float *k = in[2].data, *v = in[3].data;                     // (B, T, G, E)
    const float *max = in[5].data, *sum = in[6].data;                 // (B, H, T)
    float *dq = out[0].data, *dk = out[1].data, *dv = out[2].data;
    for (size_t i = 0; i < d->b * d->t * d->g * d->e; i++)
        dk[i] = dv[i] = 0.0f;
    for (size_t b = 0; b < d->b; b++)
        for (size_t h = 0; h < d->h; h++) {
            size_t qo = (b * d->t * d->h + h) * d->e, stat = (b * d->h + h) * d->t;
            size_t ko = (b * d->t * d->g + h / (d->h / d->g)) * d->e;
            struct head x = {dout + qo,  q + qo,  o + qo,  k + ko,  v + ko,      max + stat,
                             sum + stat, dq + qo, dk + ko, dv + ko, d->h * d->e, d->g * d->e};
            head_scores(d, &x, p, ds);
            head_products(d, &x, p, ds);
        }
}

enum emac_status ref_attention_grad(const struct op_attrs *attrs, const struct tensor *in,
                                    struct tensor *out, struct emac_err *err)
{
    struct dims d = dims_of(attrs, &in[1]);
    float *p = NULL, *ds = NULL; // (T, T)
    enum emac_status st;
    size_t pairs;
    if (!emac_mul_size(d.t, d.t, &pairs))
        return emac_fail(err, EMAC_NO_MEMORY, "sequence of %zu positions is too long", d.t);
    EMAC_TRY(st, emac_alloc(&p, pairs, sizeof *p, err));
    EMAC_TRY(st, emac_alloc(&ds, pairs, sizeof *ds, err));
    grad_heads(&d, in, out, p, ds);
out:
    free(p);
    free(ds);
    return st;
}
