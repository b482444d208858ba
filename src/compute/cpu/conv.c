/* Convolution on all threads, as rule 3's product with the matrix of windows (patches.h).
 *
 * conv2d           y[positions, O]    = windows of x    [positions, (kh, kw, c)]   w^T
 * conv2d_grad_x    dx[positions, C]   = windows of dy   [positions, (kh, kw, o)]   w turned round,
 *                  for each of the stride^2 phases of a pixel's place, whose taps and pixels form
 *                  a convolution of stride 1 of their own
 * conv2d_grad_w    dw[O, (kh, kw, c)] = dy^T [O, positions]   windows of x
 *
 * In the first two a unit of work is some rows of the result and the other factor is packed
 * whole, once; windows are read where they lie, where lines of positions are not very short. The
 * last one, where conv_taps.h is not faster, copies windows into its tiles. There a unit is a
 * rectangle of dw; when there are too few of these for the threads, blocks of 256 positions are
 * units, each with a sum of its own, and the sums are added in order, as rule 3 does. */
#include <stdatomic.h>
#include <string.h>

#include "base/assert.h"
#include "compute/cpu/conv_taps.h"
#include "compute/cpu/cpu.h"
#include "compute/cpu/patches.h"
#include "compute/image.h"

#define ROW_TILES      16               /* of a unit: its windows stay in the level-2 cache */
#define A_ROW          (CPU_BLOCK + 16) /* of the windows' copy: off the same cache sets */
#define LINE_MIN       4 /* positions: a tile of fewer rows is slower than a copy of windows */
#define PARALLEL_FLOPS 1000000
#define SPLIT_FLOATS   ((size_t)64 << 10) /* dw of at most this many is summed by blocks */
#define UNITS_A_THREAD 4

static size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t div_up(size_t a, size_t b)
{
    return a / b + (a % b != 0);
}

static bool worth(size_t rows, size_t n, size_t k)
{
    return 2.0 * (double)rows * (double)n * (double)k >= PARALLEL_FLOPS;
}

/* Result[rows, n] = windows[rows, k] packed[k, n]. Row (b, i, j) of the result goes to pixel (b,
 * first_h + i * spread, first_w + j * spread) of out[.., h, w, n]. */
struct rows_work {
    const struct cpu *cpu;
    struct patches windows;
    size_t taps_h, rows, n, k;
    const float *packed;
    float *out;
    size_t h, w, first_h, first_w, spread;
    bool copied;  /* windows are copied: lines are too short to be read where they lie */
    float *local; /* per part: a unit's windows, or the padded rows that they lie in */
    size_t local_floats, unit_rows;
    atomic_size_t next;
};

static float *result_at(const struct rows_work *w, size_t row)
{
    size_t j = row % w->windows.rows_w, i = row / w->windows.rows_w % w->windows.rows_h;
    size_t b = row / w->windows.rows_w / w->windows.rows_h;
    size_t pixel = (b * w->h + w->first_h + i * w->spread) * w->w + w->first_w + j * w->spread;
    return w->out + (w->spread == 1 ? row : pixel) * w->n;
}

/* One block of k's and one panel of columns for positions that are `p->a_row` apart, in pieces of
 * nearly equal size: a tile of one or two rows would be chains too few. */
static void run_line(const struct rows_work *w, struct cpu_panel *p, size_t rows)
{
    size_t mr = w->cpu->k->mr;
    for (size_t left = rows; left > 0; left -= p->rows) {
        p->rows = div_up(left, div_up(left, mr));
        w->cpu->k->panel(p);
        p->a += p->rows * p->a_row;
        p->c += p->rows * p->c_row;
    }
}

/* The windows of a unit, or one line in the place where each block of k's of them is copied to. */
static size_t unit_lines(const struct rows_work *w, size_t row, size_t rows, float *local,
                         struct cpu_line *line)
{
    if (!w->copied)
        return patches_lines(&w->windows, w->taps_h, row, rows, local, line);
    line[0] = (struct cpu_line){local, row, rows};
    return 1;
}

static void rows_unit(const struct rows_work *w, size_t row, size_t rows, float *local)
{
    const struct cpu_kernels *k = w->cpu->k;
    const struct patches *x = &w->windows;
    struct cpu_line line[ROW_TILES * CPU_MR_MAX];
    size_t lines = unit_lines(w, row, rows, local, line), run = x->taps_w * x->c;
    size_t pitch = patches_pitch(x, w->taps_h);
    float *result[EMAC_COUNT(line)];
    for (size_t l = 0; l < lines; l++)
        result[l] = result_at(w, line[l].row);
    for (size_t k0 = 0; k0 < w->k; k0 += CPU_BLOCK) {
        struct cpu_panel p = {.k = min_size(w->k - k0, CPU_BLOCK),
                              .a_row = w->copied ? A_ROW : (size_t)x->step * x->c,
                              .a_col = 1,
                              .a_run = w->copied ? 0 : run,
                              .a_left = run - k0 % run,
                              .a_jump = pitch - run,
                              .c_row = w->spread * w->n,
                              .first = k0 == 0};
        size_t skip = w->copied ? 0 : k0 / run * pitch + k0 % run;
        if (w->copied)
            patches_copy(x, local, A_ROW, row, rows, k0, p.k);
        for (size_t j = 0; j < w->n; j += k->nr) {
            p.cols = min_size(w->n - j, k->nr);
            p.b = cpu_packed_panel(k, w->packed, w->k, w->n, k0, j / k->nr);
            for (size_t l = 0; l < lines; l++) {
                p.a = line[l].x + skip;
                p.c = result[l] + j;
                run_line(w, &p, line[l].n);
            }
        }
    }
}

static void rows_part(void *ctx, uint32_t part, uint32_t parts)
{
    struct rows_work *w = ctx;
    size_t units = div_up(w->rows, w->unit_rows);
    for (size_t u; (u = atomic_fetch_add(&w->next, 1)) < units;)
        rows_unit(w, u * w->unit_rows, min_size(w->rows - u * w->unit_rows, w->unit_rows),
                  w->local + part * w->local_floats);
}

/* Windows of one pixel each are rows of a matrix: one line is as good as many. */
static void join_lines(struct rows_work *w)
{
    struct patches *x = &w->windows;
    if (w->k != x->c || x->step != 1 || w->spread != 1 || x->rows_h != x->h || x->rows_w != x->w)
        return;
    x->rows_h = x->h = 1;
    x->rows_w = x->w = w->rows;
}

/* Scratch: for each part its own, the packed factor, the factor before it is packed (`plain`
 * floats). Leaves packed and plain for the caller to fill. */
static enum emac_status rows_scratch(struct cpu *cpu, struct rows_work *w, size_t plain,
                                     float **packed, float **plain_at, struct emac_err *err)
{
    size_t tiles = div_up(w->rows, cpu->k->mr);
    enum emac_status st;
    join_lines(w);
    w->copied = w->windows.rows_w < LINE_MIN && w->spread == 1;
    w->unit_rows = min_size(div_up(tiles, UNITS_A_THREAD * cpu->threads), ROW_TILES) * cpu->k->mr;
    w->local_floats = w->copied ? w->unit_rows * A_ROW
                                : patches_lines_floats(&w->windows, w->taps_h, w->unit_rows);
    st = cpu_scratch(cpu,
                     cpu->threads * w->local_floats + cpu_packed_floats(cpu->k, w->k, w->n) + plain,
                     sizeof(float), &w->local, err);
    *packed = w->local + cpu->threads * w->local_floats;
    *plain_at = *packed + cpu_packed_floats(cpu->k, w->k, w->n);
    w->packed = *packed;
    return st;
}

static void rows_run(struct cpu *cpu, struct rows_work *w)
{
    w->cpu = cpu;
    atomic_init(&w->next, 0);
    cpu_parallel(cpu, worth(w->rows, w->n, w->k), rows_part, w);
}

/* What a convolution sees of x at each of its positions. */
static struct patches windows_of(const struct conv_dims *d, const float *x)
{
    int64_t shift = -(int64_t)d->pad;
    return (struct patches){.image = x,
                            .h = d->h,
                            .w = d->w,
                            .c = d->c,
                            .rows_h = d->oh,
                            .rows_w = d->ow,
                            .taps_w = d->kw,
                            .step = (int64_t)d->stride,
                            .shift_h = shift,
                            .shift_w = shift};
}

static enum emac_status run_conv2d(struct cpu *cpu, const struct conv_dims *d, const float *x,
                                   const float *weight, float *y, struct emac_err *err)
{
    struct rows_work w = {
        .windows = windows_of(d, x),
        .taps_h = d->kh,
        .rows = d->b * d->oh * d->ow,
        .n = d->o,
        .k = d->kh * d->kw * d->c,
        .out = y,
        .spread = 1,
    };
    float *packed, *unused;
    enum emac_status st = rows_scratch(cpu, &w, 0, &packed, &unused, err);
    if (st != EMAC_OK)
        return st;
    cpu_pack(cpu->k, packed, weight, 1, w.k, w.k, w.n);
    rows_run(cpu, &w);
    return EMAC_OK;
}

/* One axis of a phase: the pixels first, first + stride, ... of the image, and the taps tap, tap +
 * stride, ... of the kernel that meet them. */
struct phase {
    size_t first, pixels, tap, taps;
    int64_t shift;
};

static struct phase phase_of(size_t size, size_t kernel, const struct conv_dims *d, size_t first)
{
    struct phase p = {.first = first, .tap = (first + d->pad) % d->stride};
    p.pixels = first < size ? div_up(size - first, d->stride) : 0;
    p.taps = p.tap < kernel ? div_up(kernel - p.tap, d->stride) : 0;
    p.shift = (int64_t)((first + d->pad) / d->stride) - (int64_t)p.taps + 1;
    return p;
}

/* plain[(t, u, o), c] = w[o, kh, kw, c], the phase's taps from the last to the first */
static void turn_weights(const struct conv_dims *d, const struct phase *v, const struct phase *h,
                         const float *w, float *plain)
{
    for (size_t t = v->taps; t-- > 0;)
        for (size_t u = h->taps; u-- > 0;)
            for (size_t o = 0; o < d->o; o++, plain += d->c) {
                size_t kh = v->tap + t * d->stride, kw = h->tap + u * d->stride;
                memcpy(plain, w + ((o * d->kh + kh) * d->kw + kw) * d->c, d->c * sizeof *plain);
            }
}

static enum emac_status run_phase(struct cpu *cpu, const struct conv_dims *d, const struct phase *v,
                                  const struct phase *h, const float *dy, const float *weight,
                                  float *dx, struct emac_err *err)
{
    struct rows_work w = {.windows = {.image = dy,
                                      .h = d->oh,
                                      .w = d->ow,
                                      .c = d->o,
                                      .rows_h = v->pixels,
                                      .rows_w = h->pixels,
                                      .taps_w = h->taps,
                                      .step = 1,
                                      .shift_h = v->shift,
                                      .shift_w = h->shift},
                          .taps_h = v->taps,
                          .rows = d->b * v->pixels * h->pixels,
                          .n = d->c,
                          .k = v->taps * h->taps * d->o,
                          .out = dx,
                          .h = d->h,
                          .w = d->w,
                          .first_h = v->first,
                          .first_w = h->first,
                          .spread = d->stride};
    float *packed, *plain;
    enum emac_status st = rows_scratch(cpu, &w, w.k * w.n, &packed, &plain, err);
    if (st != EMAC_OK)
        return st;
    turn_weights(d, v, h, weight, plain);
    cpu_pack(cpu->k, packed, plain, w.n, 1, w.k, w.n);
    rows_run(cpu, &w);
    return EMAC_OK;
}

static enum emac_status run_grad_x(struct cpu *cpu, const struct conv_dims *d, const float *dy,
                                   const float *w, float *dx, struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    if (d->stride > d->kh || d->stride > d->kw) /* pixels that no tap meets */
        memset(dx, 0, d->b * d->h * d->w * d->c * sizeof *dx);
    for (size_t i = 0; i < min_size(d->stride, d->h); i++)
        for (size_t j = 0; j < min_size(d->stride, d->w); j++) {
            struct phase v = phase_of(d->h, d->kh, d, i), h = phase_of(d->w, d->kw, d, j);
            if (v.taps > 0 && h.taps > 0)
                EMAC_TRY(st, run_phase(cpu, d, &v, &h, dy, w, dx, err));
        }
out:
    return st;
}

/* dw[m, n] over `blocks` blocks of positions. A unit is a rectangle of dw and all blocks, or, when
 * `split`, all of dw and one block of a wave. */
struct grad_w {
    const struct cpu *cpu;
    struct patches windows;
    const float *dy;
    size_t positions, m, n, blocks;
    bool split;
    size_t wave, wave_blocks; /* first block, how many at most */
    size_t unit_rows, row_units, unit_cols, units;
    float *dw, *sums; /* sums: [wave_blocks, m, n] */
    float *local;     /* per part: a panel of windows, then a unit's rows of dy */
    size_t local_floats;
    atomic_size_t next;
};

/* Rows m0.. and columns n0.. of one block's sum, added to `to` (set, when first). */
static void grad_w_block(const struct grad_w *w, size_t block, size_t m0, size_t n0, float *to,
                         bool first, float *local)
{
    const struct cpu_kernels *k = w->cpu->k;
    size_t nr = k->nr, end = min_size(w->n, n0 + w->unit_cols), row = block * CPU_BLOCK;
    float *a = local + CPU_BLOCK * nr;
    struct cpu_panel p = {.rows = min_size(w->m - m0, w->unit_rows),
                          .k = min_size(w->positions - row, CPU_BLOCK),
                          .a = a,
                          .a_row = 1,
                          .a_col = k->mr,
                          .b = local,
                          .c_row = w->n,
                          .first = first};
    p.a_tile = k->mr * p.k;
    k->pack_a(a, w->dy + row * w->m + m0, w->m, p.k, p.rows);
    if (!w->split && row + p.k < w->positions)
        p.ahead = (struct cpu_ahead){w->dy + (row + p.k) * w->m + m0,
                                     min_size(w->positions - row - p.k, CPU_BLOCK), p.rows, w->m};
    for (size_t j = n0; j < end; j += nr, p.ahead = (struct cpu_ahead){0}) {
        p.cols = min_size(end - j, nr);
        p.c = to + m0 * w->n + j;
        patches_copy(&w->windows, local, nr, row, p.k, j, p.cols);
        k->panel(&p);
    }
}

static void grad_w_part(void *ctx, uint32_t part, uint32_t parts)
{
    struct grad_w *w = ctx;
    float *local = w->local + part * w->local_floats;
    /* What lies beyond a panel's columns is multiplied as well, so it had better be numbers. */
    memset(local, 0, CPU_BLOCK * w->cpu->k->nr * sizeof *local);
    for (size_t u; (u = atomic_fetch_add(&w->next, 1)) < w->units;) {
        size_t m0 = u % w->row_units * w->unit_rows, n0 = u / w->row_units * w->unit_cols;
        if (w->split)
            grad_w_block(w, w->wave + u, 0, 0, w->sums + u * w->m * w->n, true, local);
        for (size_t b = 0; !w->split && b < w->blocks; b++)
            grad_w_block(w, b, m0, n0, w->dw, b == 0, local);
    }
}

/* Share `part` of dw: the wave's sums, in order. */
static void grad_w_add(void *ctx, uint32_t part, uint32_t parts)
{
    struct grad_w *w = ctx;
    size_t size = w->m * w->n, begin = size * part / parts, end = size * (part + 1) / parts;
    for (size_t b = 0; b < w->units; b++)
        w->cpu->k->add(w->dw + begin, w->dw + begin, w->sums + b * size + begin, end - begin);
}

static void grad_w_waves(struct cpu *cpu, struct grad_w *w)
{
    memset(w->dw, 0, w->m * w->n * sizeof *w->dw);
    for (; w->wave < w->blocks; w->wave += w->wave_blocks) {
        w->units = min_size(w->blocks - w->wave, w->wave_blocks);
        atomic_store(&w->next, 0);
        cpu_parallel(cpu, true, grad_w_part, w);
        cpu_parallel(cpu, w->m * w->n >= 4096, grad_w_add, w);
    }
}

/* Rectangles for each thread, or blocks where dw is too small for that. */
static void grad_w_units(struct grad_w *w, uint32_t threads)
{
    size_t mr = w->cpu->k->mr, nr = w->cpu->k->nr, panels = div_up(w->n, nr);
    size_t columns = min_size(panels, threads > 1 ? UNITS_A_THREAD * threads : 1);
    w->unit_rows = min_size(div_up(w->m, mr), 2 * ROW_TILES) * mr;
    w->row_units = div_up(w->m, w->unit_rows);
    w->unit_cols = div_up(panels, columns) * nr;
    w->units = w->row_units * div_up(w->n, w->unit_cols);
    w->split = threads > 1 && w->blocks > 1 && w->units < UNITS_A_THREAD * threads &&
               w->row_units == 1 && w->m * w->n <= SPLIT_FLOATS;
    if (!w->split)
        return;
    w->unit_cols = panels * nr;
    w->wave_blocks = min_size(w->blocks, UNITS_A_THREAD * threads);
}

static enum emac_status run_grad_w(struct cpu *cpu, const struct conv_dims *d, const float *dy,
                                   const float *x, float *dw, struct emac_err *err)
{
    struct grad_w w = {.cpu = cpu,
                       .dy = dy,
                       .dw = dw,
                       .positions = d->b * d->oh * d->ow,
                       .m = d->o,
                       .n = d->kh * d->kw * d->c};
    bool parallel = worth(w.positions, w.m, w.n);
    enum emac_status st;
    w.windows = windows_of(d, x);
    w.blocks = div_up(w.positions, CPU_BLOCK);
    grad_w_units(&w, parallel ? cpu->threads : 1);
    w.local_floats = CPU_BLOCK * (cpu->k->nr + w.unit_rows);
    st = cpu_scratch(cpu, cpu->threads * w.local_floats + w.wave_blocks * w.m * w.n, sizeof(float),
                     &w.local, err);
    if (st != EMAC_OK)
        return st;
    w.sums = w.local + cpu->threads * w.local_floats;
    atomic_init(&w.next, 0);
    if (w.split)
        grad_w_waves(cpu, &w);
    else
        cpu_parallel(cpu, parallel && w.units > 1, grad_w_part, &w);
    return EMAC_OK;
}

enum emac_status cpu_conv2d(struct cpu *cpu, enum op op, const struct op_attrs *attrs,
                            const struct tensor *in, struct tensor *out, struct emac_err *err)
{
    struct conv_dims d;
    struct patches windows;
    bool ok = conv_dims(op, attrs, in, &d);
    EMAC_ASSERT(ok);
    switch (op) {
    case OP_CONV2D:
        return run_conv2d(cpu, &d, in[0].data, in[1].data, out[0].data, err);
    case OP_CONV2D_GRAD_X:
        return run_grad_x(cpu, &d, in[0].data, in[1].data, out[0].data, err);
    default:
        windows = windows_of(&d, in[1].data);
        if (cpu_conv_taps_pay(cpu, &d))
            return cpu_conv_taps(cpu, &d, in[0].data, &windows, out[0].data, err);
        return run_grad_w(cpu, &d, in[0].data, in[1].data, out[0].data, err);
    }
}
