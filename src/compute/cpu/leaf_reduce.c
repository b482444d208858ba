/* Rule 4 in vector code: sums, norms, losses, the softmax of attention. The
 * readable forms are ref/norm.c and ref/attention.c. */
#include "compute/cpu/leaf.h"

INLINE v16 larger(v16 a, v16 b)
{
    m16 more = a > b;
    return (v16)(((m16)a & more) | ((m16)b & ~more));
}

/* Never -0: that of equal zeros which comes first must not matter. */
INLINE float lanes_max(v16 lanes)
{
    float l[4], max;
    lanes = larger(lanes, __builtin_shufflevector(lanes, lanes, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1,
                                                  2, 3, 4, 5, 6, 7));
    lanes = larger(lanes, __builtin_shufflevector(lanes, lanes, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14,
                                                  15, 8, 9, 10, 11));
    for (int i = 0; i < 4; i++)
        l[i] = lanes[i];
    l[0] = l[0] > l[2] ? l[0] : l[2];
    l[1] = l[1] > l[3] ? l[1] : l[3];
    max = l[0] > l[1] ? l[0] : l[1];
    return max + 0.0f;
}

/* Largest of x[0..n), never -0. The first guess is -infinity: a row of NaN gives another maximum
 * than ref's, and a NaN in what is computed with it all the same. */
static float row_max(const float *x, size_t n)
{
    float rest[CPU_LANES];
    v16 max = {0};
    size_t i = 0;
    max = max - fn_float(FN_INF);
    for (; i + CPU_LANES <= n; i += CPU_LANES)
        max = larger(*(const v16 *)(x + i), max);
    for (size_t l = 0; l < CPU_LANES; l++)
        rest[l] = i + l < n ? x[i + l] : -fn_float(FN_INF);
    return lanes_max(larger(*(const v16 *)rest, max));
}

/* e = exp(x - max); returns rule 4's sum of e. */
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

/* Rule 4 over a[i] * b[i], i < n <= 256: one block's sum. */
INLINE float block_dot(const float *a, const float *b, size_t n)
{
    v16 lanes = {0};
    size_t i = 0;
    for (; i + CPU_LANES <= n; i += CPU_LANES)
        lanes = lanes + *(const v16 *)(a + i) * *(const v16 *)(b + i);
    if (i < n) {
        float term[CPU_LANES] = {0};
        for (size_t l = 0; i + l < n; l++)
            term[l] = a[i + l] * b[i + l];
        lanes = lanes + *(const v16 *)term;
    }
    return lanes_tree(lanes);
}

#define AHEAD 128 /* how far before their use numbers in far memory are asked for */

/* A whole block that lies in far memory. */
INLINE float far_block(const float *x, bool squares)
{
    v16 lanes = {0};
    for (size_t i = 0; i < CPU_BLOCK; i += CPU_LANES) {
        v16 v = *(const v16 *)(x + i);
        __builtin_prefetch(x + AHEAD + i);
        if (squares)
            v = v * v;
        lanes = lanes + v;
    }
    return lanes_tree(lanes);
}

void LEAF(block_sums)(float *sums, const float *x, size_t n, bool squares)
{
    for (; n >= CPU_BLOCK; x += CPU_BLOCK, n -= CPU_BLOCK)
        *sums++ = squares ? far_block(x, true) : far_block(x, false);
    if (n > 0)
        *sums = squares ? block_dot(x, x, n) : block_sum(x, n);
}

float LEAF(dot)(const float *a, const float *b, size_t n)
{
    float total = 0.0f;
    for (size_t i = 0; i < n; i += CPU_BLOCK)
        total = total + block_dot(a + i, b + i, n - i < CPU_BLOCK ? n - i : CPU_BLOCK);
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

void LEAF(rmsnorm_grad)(float *dx, float *lanes, size_t from, size_t to, const float *dy,
                        const float *x, const float *w, const float *rstd, size_t rows, size_t d)
{
    float inv_d = fn_div(1.0f, (float)d);
    memset(lanes + from * d, 0, (to - from) * d * sizeof *lanes);
    for (size_t first = 0; first < rows; first += CPU_LANES)
        for (size_t n = first + from; n < first + to && n < rows; n++)
            rmsnorm_grad_row(dx + n * d, lanes + n % CPU_LANES * d, dy + n * d, x + n * d, w,
                             rstd[n], inv_d, d);
}

/* Rule 4 over x[0..n). */
INLINE float row_sum(const float *x, size_t n)
{
    float total = 0.0f;
    for (size_t i = 0; i < n; i += CPU_BLOCK)
        total = total + block_sum(x + i, n - i < CPU_BLOCK ? n - i : CPU_BLOCK);
    return total;
}

void LEAF(layernorm)(float *y, float *mean, float *rstd, const float *x, const float *w,
                     const float *b, float eps, size_t rows, size_t d)
{
    float inv_d = fn_div(1.0f, (float)d);
    for (size_t n = 0; n < rows; n++, x += d, y += d) {
        float m = row_sum(x, d) * inv_d, r;
        for (size_t j = 0; j < d; j++)
            y[j] = x[j] - m;
        r = fn_rsqrt(LEAF(dot)(y, y, d) * inv_d + eps);
        mean[n] = m;
        rstd[n] = r;
        for (size_t j = 0; j < d; j++)
            y[j] = y[j] * r * w[j] + b[j];
    }
}

/* dx of one row; the row's terms of dw and db go to its lane, dw's d first. */
INLINE void layernorm_grad_row(float *dx, float *lane, const float *dy, const float *x,
                               const float *w, float mean, float rstd, float inv_d, size_t d)
{
    float g[CPU_BLOCK], gh[CPU_BLOCK], mean_g = 0.0f, mean_gh = 0.0f;
    for (size_t i = 0; i < d; i += CPU_BLOCK) {
        size_t len = d - i < CPU_BLOCK ? d - i : CPU_BLOCK;
        for (size_t j = 0; j < len; j++) {
            g[j] = dy[i + j] * w[i + j];
            gh[j] = g[j] * ((x[i + j] - mean) * rstd);
        }
        mean_g = mean_g + block_sum(g, len);
        mean_gh = mean_gh + block_sum(gh, len);
    }
    mean_g = mean_g * inv_d;
    mean_gh = mean_gh * inv_d;
    NO_OVERLAP
    for (size_t j = 0; j < d; j++) {
        float h = (x[j] - mean) * rstd;
        dx[j] = (dy[j] * w[j] - mean_g - h * mean_gh) * rstd;
        lane[j] = lane[j] + dy[j] * h;
        lane[d + j] = lane[d + j] + dy[j];
    }
}

void LEAF(layernorm_grad)(float *dx, float *lanes, size_t from, size_t to, const float *dy,
                          const float *x, const float *w, const float *mean, const float *rstd,
                          size_t rows, size_t d)
{
    float inv_d = fn_div(1.0f, (float)d);
    memset(lanes + from * 2 * d, 0, (to - from) * 2 * d * sizeof *lanes);
    for (size_t first = 0; first < rows; first += CPU_LANES)
        for (size_t n = first + from; n < first + to && n < rows; n++)
            layernorm_grad_row(dx + n * d, lanes + n % CPU_LANES * 2 * d, dy + n * d, x + n * d, w,
                               mean[n], rstd[n], inv_d, d);
}

#define ROW_COLUMNS 64 /* whose 16 lanes stay in the level-1 cache */

void LEAF(rows_sum)(float *sum, const float *x, size_t rows, size_t d)
{
    float lanes[CPU_LANES][ROW_COLUMNS];
    for (size_t c = 0; c < d; c += ROW_COLUMNS) {
        size_t n = d - c < ROW_COLUMNS ? d - c : ROW_COLUMNS;
        memset(lanes, 0, sizeof lanes);
        for (size_t r = 0; r < rows; r++)
            LEAF(add)(lanes[r % CPU_LANES], lanes[r % CPU_LANES], x + r * d + c, n);
        for (size_t half = CPU_LANES / 2; half > 0; half /= 2)
            LEAF(add)(lanes[0], lanes[0], lanes[half], half * ROW_COLUMNS);
        memcpy(sum + c, lanes[0], n * sizeof *sum);
    }
}

void LEAF(correct)(float *y, const float *logits, const int32_t *target, size_t rows, size_t vocab)
{
    for (size_t n = 0; n < rows; n++, logits += vocab) {
        float max = row_max(logits, vocab), nan = 0.0f;
        size_t best = 0;
        while (best < vocab - 1 && !(logits[best] == max))
            best++;
        for (size_t j = 0; j < vocab; j++)
            nan = logits[j] != logits[j] ? logits[j] : nan;
        y[n] = ((size_t)target[n] == best ? 1.0f : 0.0f) + nan;
    }
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

/* The rows of attention's scratch are followed by room for a whole vector, so they are taken 16 at
 * a time; what lies beyond `len` is overwritten before it counts. */

static size_t whole_vectors(size_t n)
{
    return (n + CPU_LANES - 1) / CPU_LANES * CPU_LANES;
}

/* s *= scale, -infinity from len to a whole vector: exp makes +0 of it. Returns the maximum. */
static float scale_and_max(float *s, size_t len, float scale)
{
    size_t full = len / CPU_LANES * CPU_LANES, end = whole_vectors(len);
    v16 max = {0};
    max = max - fn_float(FN_INF);
    for (size_t j = 0; j < full; j += CPU_LANES) {
        v16 v = *(const v16 *)(s + j) * scale;
        *(v16 *)(s + j) = v;
        max = larger(v, max);
    }
    if (full < end) {
        for (size_t j = full; j < len; j++)
            s[j] = s[j] * scale;
        for (size_t j = len; j < end; j++)
            s[j] = -fn_float(FN_INF);
        max = larger(*(const v16 *)(s + full), max);
    }
    return lanes_max(max);
}

/* s = exp(s - max) over whole vectors; returns rule 4's sum. */
INLINE float exp_and_sum(float *s, size_t len, float max)
{
    size_t end = whole_vectors(len);
    float total = 0.0f;
    for (size_t i = 0; i < end; i += CPU_BLOCK) {
        size_t stop = end - i < CPU_BLOCK ? end : i + CPU_BLOCK;
        v16 lanes = {0};
        for (size_t j = i; j < stop; j += CPU_LANES) {
            for (size_t l = 0; l < CPU_LANES; l++)
                s[j + l] = fn_exp(s[j + l] - max);
            lanes = lanes + *(const v16 *)(s + j);
        }
        total = total + lanes_tree(lanes);
    }
    return total;
}

/* All maxima first: one row's need not be waited for before the next row's starts. */
void LEAF(softmax)(float *s, size_t s_row, size_t rows, size_t len, size_t step, size_t limit,
                   float scale, float *max, float *sum)
{
    for (size_t r = 0; r < rows; r++)
        max[r] = scale_and_max(s + r * s_row, len + r * step, scale);
    for (size_t r = 0; r < rows; r++) {
        sum[r] = exp_and_sum(s + r * s_row, len + r * step, max[r]);
        for (size_t j = len + r * step; j < limit; j++)
            s[r * s_row + j] = 0.0f;
    }
}

void LEAF(softmax_grad)(float *p, float *ds, size_t len, size_t limit, float scale, float max,
                        float inv_sum, float delta)
{
    size_t end = whole_vectors(len);
    NO_OVERLAP
    for (size_t j = 0; j < end; j++) {
        float pj = fn_exp(p[j] * scale - max) * inv_sum;
        ds[j] = pj * (ds[j] - delta) * scale;
        p[j] = pj;
    }
    for (size_t j = len; j < limit; j++)
        p[j] = ds[j] = 0.0f;
}
