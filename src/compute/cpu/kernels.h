/* The fast CPU kernels: leaves without threads, allocation or knowledge of
 * operators. They are compiled once per instruction set (table at the end);
 * cpu/run.c and friends, compiled once, split the work and call them. Each
 * equals its namesake in ref/ bit for bit; vector width, tiles and threads only
 * choose which independent outputs are computed together, never the order
 * within one. */
#ifndef EMAC_COMPUTE_CPU_KERNELS_H
#define EMAC_COMPUTE_CPU_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CPU_BLOCK  256 /* k's of rule 3, terms of rule 4 */
#define CPU_LANES  16  /* rule 4 */
#define CPU_STRIP  1024
#define CPU_NR_MAX 32
#define CPU_MR_MAX 12

/* Memory that will be read soon: `rows` runs of `len` numbers, `row` apart. */
struct cpu_ahead {
    const float *at;
    size_t rows, len, row;
};

/* C[rows, cols] = or += A[rows, k] B[k, cols], one chain of fma per element (rule 3), k <= 256. */
struct cpu_panel {
    size_t rows, cols, k; /* cols <= nr */
    const float *a; /* element (i, k) at a[(i / mr) * a_tile + (i % mr) * a_row + k * a_col] */
    size_t a_row, a_col, a_tile;
    /* A may lie in runs of a_run k's, where another begins a_jump after an end; a_left k's are left
     * of the first. a_run 0: it does not. */
    size_t a_run, a_left, a_jump;
    const float *b; /* packed: k rows of nr numbers */
    float *c;       /* element (i, j) at c[i * c_row + j] */
    size_t c_row;
    bool first;             /* c = +0 + block sum; else c = c + block sum */
    bool look;              /* tell whether all that was written is finite */
    struct cpu_ahead ahead; /* fetched into the level-2 cache meanwhile, or not */
};

/* C[rows, cols] = A[rows, k] B for a few rows (rule 3), any k. */
struct cpu_turned {
    size_t rows, cols, k;
    const float *a; /* rows contiguous, a_row apart */
    size_t a_row;
    const float *b; /* columns contiguous, `stride` apart */
    size_t stride;
    float *c; /* rows contiguous, c_row apart */
    size_t c_row;
    bool near; /* B may well be in the level-2 cache, so that it need not be asked for ahead */
};

/* Positions of a convolution that follow each other in a row of an image: n windows, the first at
 * x; `row` is the first one's number among all positions. */
struct cpu_line {
    const float *x;
    size_t row, n;
};

/* The share of some positions in the gradient of a convolution's weights, up to 16 outputs by runs
 * * len weights: sums[(r * sums_row + e) * 16 + o] = or += the sum over the positions, in order, of
 * dy[o] * x[skip + r * run_row + e] (rule 3), x being the position's window. */
#define CPU_TAPS_RUNS 5
#define CPU_TAPS_LEN  24
#define CPU_TAPS_MAX  27 /* runs * len */
struct cpu_taps {
    size_t runs, len; /* 1 run of up to 24, 3 of up to 9 or 5 of up to 5 */
    size_t skip, run_row;
    const struct cpu_line *line;
    size_t lines, step; /* windows are `step` apart */
    const float *dy;    /* positions dy_row apart */
    size_t dy_row, outputs;
    float *sums;
    size_t sums_row;
    bool first;
};

/* Elementwise AdamW: scalars of OP_ADAMW. */
struct cpu_adamw {
    float gscale, lr, beta1, beta2, eps, decay, c1, c2;
};

/* One window of a pooling: size x size pixels of `channels`, image rows `row` floats apart. */
struct cpu_pool {
    size_t size, row, channels;
    float inv; /* 1/size^2 */
};

/* Dropout: what OP_DROPOUT draws with. */
struct cpu_dropout {
    float p, scale;
    uint32_t seed[2], step, part, purpose;
};

struct cpu_kernels {
    size_t mr, nr; /* tile of the product */
    /* false: `look`, and something written (or in a column beyond) is NaN or infinite */
    bool (*panel)(const struct cpu_panel *p);
    /* Panels of nr columns one after the other: dst[j / nr][k][j % nr] = b[k * row + j * col], +0
     * for j >= cols. row or col is 1; k <= 256. */
    void (*pack_b)(float *dst, const float *b, size_t row, size_t col, size_t k, size_t cols);
    /* One row: c[cols] = a[k] B (rule 3), any k. B's rows are contiguous and `stride` apart, cols
     * <= CPU_STRIP. */
    void (*row)(float *c, const float *a, const float *b, size_t stride, size_t k, size_t cols);
    size_t turned_rows; /* most that rows_turned takes */
    void (*rows_turned)(const struct cpu_turned *p);
    /* dst[rows / mr][k][mr] = a[k * stride + i]: A stored transposed */
    void (*pack_a)(float *dst, const float *a, size_t stride, size_t k, size_t rows);

    void (*taps)(const struct cpu_taps *p); /* NULL: the windows are better copied */

    void (*add)(float *y, const float *a, const float *b, size_t n);
    void (*mul)(float *y, const float *a, const float *b, size_t n);
    void (*scale)(float *y, const float *a, float s, size_t n);
    void (*bias)(float *y, const float *x, const float *b, size_t rows, size_t d);
    void (*relu)(float *y, const float *x, size_t n);
    void (*relu_grad)(float *dx, const float *dy, const float *x, size_t n);
    void (*gelu)(float *y, const float *x, size_t n);
    void (*gelu_grad)(float *dx, const float *dy, const float *x, size_t n);
    void (*gelu_tanh)(float *y, const float *x, size_t n);
    void (*gelu_tanh_grad)(float *dx, const float *dy, const float *x, size_t n);
    /* x and y begin at element 4 * group of the tensor */
    void (*dropout)(float *y, const float *x, const struct cpu_dropout *s, uint32_t group,
                    size_t n);
    void (*swiglu)(float *y, const float *g, const float *u, size_t n);
    void (*swiglu_grad)(float *dg, float *du, const float *dy, const float *g, const float *u,
                        size_t n);
    void (*adamw)(float *p_new, float *m_new, float *v_new, const float *p, const float *m,
                  const float *v, const float *g, const struct cpu_adamw *s, size_t n);
    /* One row: `heads` heads of 2 * half; sin is negated by `sign` = -1 */
    void (*rope)(float *y, const float *x, const float *cos, const float *sin, float sign,
                 size_t heads, size_t half);
    void (*widen)(float *y, const uint16_t *x, size_t n);  /* bf16 -> f32 */
    void (*narrow)(uint16_t *y, const float *x, size_t n); /* f32 -> bf16 */
    size_t (*check_finite)(const float *x, size_t n);      /* index of the first NaN or infinity */

    /* sums[i] = tree sum of block i of x (or of its squares), rule 4 */
    void (*block_sums)(float *sums, const float *x, size_t n, bool squares);
    /* At most 256 rows of d: their sum, one block of rule 4. */
    void (*rows_sum)(float *sum, const float *x, size_t rows, size_t d);
    void (*rmsnorm)(float *y, float *rstd, const float *x, const float *w, float eps, size_t rows,
                    size_t d);
    /* At most 256 rows, a block of rule 4: those of the lanes from..to-1. Their dx; their terms of
     * dw are added to +0 in lanes, 16 * d. */
    void (*rmsnorm_grad)(float *dx, float *lanes, size_t from, size_t to, const float *dy,
                         const float *x, const float *w, const float *rstd, size_t rows, size_t d);
    void (*layernorm)(float *y, float *mean, float *rstd, const float *x, const float *w,
                      const float *b, float eps, size_t rows, size_t d);
    /* As rmsnorm_grad; each lane has its terms of dw, then those of db: 16 * 2 * d. */
    void (*layernorm_grad)(float *dx, float *lanes, size_t from, size_t to, const float *dy,
                           const float *x, const float *w, const float *mean, const float *rstd,
                           size_t rows, size_t d);
    void (*xent)(float *loss, float *stats, const float *logits, const int32_t *target, size_t rows,
                 size_t vocab);
    void (*xent_grad)(float *dl, float dloss, const float *logits, const int32_t *target,
                      const float *stats, size_t rows, size_t vocab);
    void (*correct)(float *y, const float *logits, const int32_t *target, size_t rows,
                    size_t vocab);

    /* One window at x: y[channels], or its share added to dx, which lies as x does. */
    void (*maxpool)(float *y, const float *x, const struct cpu_pool *p);
    void (*maxpool_grad)(float *dx, const float *dy, const float *x, const struct cpu_pool *p);
    void (*avgpool)(float *y, const float *x, const struct cpu_pool *p);
    void (*avgpool_grad)(float *dx, const float *dy, const struct cpu_pool *p);

    /* Rows of scores, s_row apart; row r has n = len + r * step of them: s = exp(s * scale - max),
     * +0 from n to `limit`. Here and in softmax_grad 15 numbers of room must follow a row. */
    void (*softmax)(float *s, size_t s_row, size_t rows, size_t len, size_t step, size_t limit,
                    float scale, float *max, float *sum);
    /* In: p[0..len) = q . k, ds[0..len) = do . v. Out: p = exp(p * scale - max) * inv_sum, ds = p *
     * (ds - delta) * scale, both +0 from len to `limit`. */
    void (*softmax_grad)(float *p, float *ds, size_t len, size_t limit, float scale, float max,
                         float inv_sum, float delta);
    float (*dot)(const float *a, const float *b, size_t n); /* rule 4 over rounded products */
};

extern const struct cpu_kernels cpu_kernels_portable, cpu_kernels_avx2, cpu_kernels_avx512;

#endif
