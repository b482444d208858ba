/* Rule 4 in vector code: sums, norms, losses, the softmax of attention. The
 * readable forms are ref/norm.c and ref/attention.c. */
#include "compute/cpu/leaf.h"

/* Largest of x[0..n), never -0. The first guess is -infinity: a row of NaN gives another maximum
 * than ref's, and a NaN in what is computed with it all the same. */
static float row_max(const float *x, size_t n)
{
    float lane[CPU_LANES], max = -fn_float(FN_INF);
    size_t i = 0;
    for (int l = 0; l < CPU_LANES; l++)
        lane[l] = max;
    if (n >= CPU_LANES) {
        v16 m = *(const v16 *)x;
        for (i = CPU_LANES; i + CPU_LANES <= n; i += CPU_LANES) {
            v16 v = *(const v16 *)(x + i);
            m16 more = v > m;
            m = (v16)(((m16)v & more) | ((m16)m & ~more));
        }
        memcpy(lane, &m, sizeof lane);
    }
    for (; i < n; i++)
        max = x[i] > max ? x[i] : max;
    for (int l = 0; l < CPU_LANES; l++)
        max = lane[l] > max ? lane[l] : max;
    return max + 0.0f;
}

/* e = exp(x * scale - max) where scale multiplies only when `scaled`; returns rule 4's sum of e. */
INLINE float row_exp(float *e, const float *x, size_t n, float max)
{
    float total = 0.0f;
    for (size_t i = 0; i < n; i += CPU_BLOCK) {
        size_t len = n - i < CPU_BLOCK ? n - i : CPU_BLOCK;
        NO_OVERLAP
        for (size_t j = i; j < i + len; j++)
            e[j] = fn_exp(x[j] - max);
        total = total + block_sum(e + i, len);
    }
    return total;
}

void LEAF(block_sums)(float *sums, const float *x, size_t n, bool squares)
{
    float term[CPU_BLOCK];
    for (size_t i = 0; i < n; i += CPU_BLOCK) {
        size_t len = n - i < CPU_BLOCK ? n - i : CPU_BLOCK;
        for (size_t j = 0; squares && j < len; j++)
            term[j] = x[i + j] * x[i + j];
        *sums++ = block_sum(squares ? term : x + i, len);
    }
}

float LEAF(dot)(const float *a, const float *b, size_t n)
{
    float term[CPU_BLOCK], total = 0.0f;
    for (size_t i = 0; i < n; i += CPU_BLOCK) {
        size_t len = n - i < CPU_BLOCK ? n - i : CPU_BLOCK;
        for (size_t j = 0; j < len; j++)
            term[j] = a[i + j] * b[i + j];
        total = total + block_sum(term, len);
    }
    return total;
}

void LEAF(rmsnorm)(float *y, float *rstd, const float *x, const float *w, float eps, size_t rows,
                   size_t d)
{
    float inv_d = fn_div(1.0f, (float)d);
    for (size_t n = 0; n < rows; n++, x += d, y += d) {
        float r = fn_rsqrt(LEAF(dot)(x, x, d) * inv_d + eps);
        rstd[n] = r;
        NO_OVERLAP
        for (size_t j = 0; j < d; j++)
            y[j] = x[j] * r * w[j];
    }
}

/* dx of one row; the row's terms of dw go to its lane. */
INLINE void rmsnorm_grad_row(float *dx, float *lane, const float *dy, const float *x,
                             const float *w, float rstd, float inv_d, size_t d)
{
    float term[CPU_BLOCK], mean = 0.0f;
    for (size_t i = 0; i < d; i += CPU_BLOCK) {
        size_t len = d - i < CPU_BLOCK ? d - i : CPU_BLOCK;
        for (size_t j = 0; j < len; j++)
            term[j] = dy[i + j] * w[i + j] * (x[i + j] * rstd);
        mean = mean + block_sum(term, len);
    }
    mean = mean * inv_d;
    NO_OVERLAP
    for (size_t j = 0; j < d; j++) {
        float h = x[j] * rstd;
        dx[j] = (dy[j] * w[j] - h * mean) * rstd;
        lane[j] = lane[j] + dy[j] * h;
    }
}

void LEAF(rmsnorm_grad)(float *dx, float *dw_block, float *lanes, const float *dy, const float *x,
                        const float *w, const float *rstd, size_t rows, size_t d)
{
    float inv_d = fn_div(1.0f, (float)d);
    memset(lanes, 0, CPU_LANES * d * sizeof *lanes);
    for (size_t n = 0; n < rows; n++)
        rmsnorm_grad_row(dx + n * d, lanes + n % CPU_LANES * d, dy + n * d, x + n * d, w, rstd[n],
                         inv_d, d);
    for (size_t half = CPU_LANES / 2; half > 0; half /= 2)
        LEAF(add)(lanes, lanes, lanes + half * d, half * d);
    memcpy(dw_block, lanes, d * sizeof *dw_block);
}

void LEAF(xent)(float *loss, float *stats, const float *logits, const int32_t *target, size_t rows,
                size_t vocab)
{
    float e[CPU_BLOCK];
    for (size_t n = 0; n < rows; n++, logits += vocab) {
        float max = row_max(logits, vocab), sum = 0.0f;
        for (size_t i = 0; i < vocab; i += CPU_BLOCK) {
            size_t len = vocab - i < CPU_BLOCK ? vocab - i : CPU_BLOCK;
            sum = sum + row_exp(e, logits + i, len, max);
        }
        loss[n] = fn_log(sum) + max - logits[target[n]];
        stats[2 * n] = max;
        stats[2 * n + 1] = sum;
    }
}

void LEAF(xent_grad)(float *dl, float dloss, const float *logits, const int32_t *target,
                     const float *stats, size_t rows, size_t vocab)
{
    for (size_t n = 0; n < rows; n++, logits += vocab, dl += vocab) {
        float max = stats[2 * n], inv_sum = fn_div(1.0f, stats[2 * n + 1]);
        size_t t = (size_t)target[n];
        NO_OVERLAP
        for (size_t j = 0; j < vocab; j++)
            dl[j] = fn_exp(logits[j] - max) * inv_sum * dloss;
        dl[t] = (fn_exp(logits[t] - max) * inv_sum - 1.0f) * dloss;
    }
}

void LEAF(softmax)(float *s, size_t len, size_t limit, float scale, float *max, float *sum)
{
    LEAF(scale)(s, s, scale, len);
    *max = row_max(s, len);
    *sum = row_exp(s, s, len, *max);
    for (size_t j = len; j < limit; j++)
        s[j] = 0.0f;
}

void LEAF(softmax_grad)(float *p, float *ds, size_t len, size_t limit, float scale, float max,
                        float inv_sum, float delta)
{
    NO_OVERLAP
    for (size_t j = 0; j < len; j++) {
        float pj = fn_exp(p[j] * scale - max) * inv_sum;
        ds[j] = pj * (ds[j] - delta) * scale;
        p[j] = pj;
    }
    for (size_t j = len; j < limit; j++)
        p[j] = ds[j] = 0.0f;
}
