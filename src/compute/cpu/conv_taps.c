#include "compute/cpu/conv_taps.h"

#include <stdatomic.h>
#include <string.h>

#include "compute/cpu/copy.h"

#define SUMS_MAX       ((size_t)64 << 10) /* floats: more would leave the level-2 cache */
#define PACK_MIN       64                 /* weights of an output that pay for a copy of dy */
#define PARALLEL_FLOPS 1000000
#define BLOCKS_A_PART  4 /* of a wave */

struct work {
    const struct cpu *cpu;
    const struct conv_dims *d;
    struct patches windows;
    const float *dy;
    size_t positions, blocks, n; /* n: weights of an output */
    size_t part;                 /* channels that are worked on together */
    bool packed;                 /* dy is copied, 16 outputs together */
    size_t sums_floats, wave, wave_blocks, units;
    float *total; /* [outputs / 16][channels / part][kh][kw][part][16] */
    float *sums;  /* of each block of a wave */
    float *local; /* per thread: padded rows of images, dy */
    size_t local_floats, rows_floats;
    atomic_size_t next;
};

static size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t div_up(size_t a, size_t b)
{
    return a / b + (a % b != 0);
}

/* p's 16 outputs by all weights of some channels: a few rows of taps at a time, or a part of one.
 */
static void run_taps(const struct work *w, struct cpu_taps *p)
{
    static const size_t runs_len[][2] = {{5, 5}, {3, 9}, {1, SIZE_MAX}};
    size_t run = p->sums_row;
    float *sums = p->sums;
    for (size_t t = 0, i = 0; t < w->d->kh; t += p->runs) {
        while (run > runs_len[i][1] || w->d->kh - t < runs_len[i][0])
            i++;
        p->runs = runs_len[i][0];
        size_t len = div_up(run, p->runs == 1 ? div_up(run, CPU_TAPS_LEN) : 1);
        for (size_t at = 0; at < run; at += len) {
            p->len = min_size(len, run - at);
            p->skip = t * p->run_row + at;
            p->sums = sums + (t * run + at) * CPU_LANES;
            w->cpu->k->taps(p);
        }
    }
}

/* [outputs / 16][n][16], +0 beyond the last output */
static void pack_dy(const float *dy, size_t outputs, size_t n, float *to)
{
    for (size_t o = 0; o < outputs; o += CPU_LANES, to += CPU_BLOCK * CPU_LANES) {
        size_t some = min_size(outputs - o, CPU_LANES);
        for (size_t i = 0; i < n; i++) {
            if (some < CPU_LANES)
                memset(to + i * CPU_LANES, 0, CPU_LANES * sizeof *to);
            copy_floats(to + i * CPU_LANES, dy + i * outputs + o, some);
        }
    }
}

static void run_block(const struct work *w, size_t block, float *sums, bool first, float *local)
{
    struct cpu_line line[CPU_BLOCK];
    struct patches x = w->windows;
    const struct conv_dims *d = w->d;
    size_t at = block * CPU_BLOCK, n = min_size(CPU_BLOCK, w->positions - at), o = d->o;
    const float *dy = w->dy + at * o;
    if (w->packed)
        pack_dy(w->dy + at * o, o, n, local + w->rows_floats);
    for (size_t c = 0; c < d->c; c += w->part, x.image += w->part) {
        size_t part = min_size(w->part, d->c - c);
        x.part = w->part < d->c ? part : 0;
        struct cpu_taps p = {.run_row = patches_pitch(&x, d->kh),
                             .line = line,
                             .lines = patches_lines(&x, d->kh, at, n, local, line),
                             .step = d->stride * part,
                             .dy_row = w->packed ? CPU_LANES : o,
                             .sums_row = d->kw * part,
                             .first = first};
        for (size_t i = 0; i < o; i += CPU_LANES) {
            p.dy = w->packed ? local + w->rows_floats + i * CPU_BLOCK : dy + i;
            p.outputs = min_size(o - i, CPU_LANES);
            p.sums = sums + (i * w->n / CPU_LANES + c * d->kh * d->kw) * CPU_LANES;
            run_taps(w, &p);
        }
    }
}

static void block_part(void *ctx, uint32_t part, uint32_t parts)
{
    struct work *w = ctx;
    float *local = w->local + part * w->local_floats;
    for (size_t u; (u = atomic_fetch_add(&w->next, 1)) < w->units;)
        run_block(w, w->wave + u, w->sums + u * w->sums_floats, true, local);
}

/* Share `part` of the total: the wave's sums, in order. */
static void add_part(void *ctx, uint32_t part, uint32_t parts)
{
    struct work *w = ctx;
    size_t begin = w->sums_floats * part / parts, end = w->sums_floats * (part + 1) / parts;
    for (size_t u = 0; u < w->units; u++)
        w->cpu->k->add(w->total + begin, w->total + begin, w->sums + u * w->sums_floats + begin,
                       end - begin);
}

static void run_waves(struct cpu *cpu, struct work *w)
{
    memset(w->total, 0, w->sums_floats * sizeof *w->total);
    for (; w->wave < w->blocks; w->wave += w->wave_blocks) {
        w->units = min_size(w->blocks - w->wave, w->wave_blocks);
        atomic_store(&w->next, 0);
        cpu_parallel(cpu, true, block_part, w);
        cpu_parallel(cpu, w->sums_floats >= 4096, add_part, w);
    }
}

/* dw[o, kh, kw, c] from the sums. */
static void turn_total(const struct work *w, float *dw)
{
    size_t taps = w->d->kh * w->d->kw, c = w->d->c;
    for (size_t o = 0; o < w->d->o; o++) {
        const float *from = w->total + o / CPU_LANES * w->n * CPU_LANES + o % CPU_LANES;
        for (size_t first = 0; first < c; first += w->part)
            for (size_t tap = 0; tap < taps; tap++)
                for (size_t i = first; i < min_size(c, first + w->part); i++, from += CPU_LANES)
                    dw[(o * taps + tap) * c + i] = *from;
    }
}

bool cpu_conv_taps_pay(const struct cpu *cpu, const struct conv_dims *d)
{
    size_t sums = div_up(d->o, CPU_LANES) * CPU_LANES * d->kh * d->kw * d->c;
    return cpu->k->taps != NULL && sums <= SUMS_MAX && d->b * d->oh * d->ow >= CPU_BLOCK;
}

enum emac_status cpu_conv_taps(struct cpu *cpu, const struct conv_dims *d, const float *dy,
                               const struct patches *x, float *dw, struct emac_err *err)
{
    struct work w = {.cpu = cpu,
                     .d = d,
                     .dy = dy,
                     .windows = *x,
                     .positions = d->b * d->oh * d->ow,
                     .n = d->kh * d->kw * d->c};
    bool parallel = cpu->threads > 1 &&
                    2.0 * (double)w.positions * (double)d->o * (double)w.n >= PARALLEL_FLOPS;
    enum emac_status st;
    w.part = min_size(d->c, d->c > CPU_TAPS_LEN && d->kw > 1 ? CPU_LANES : CPU_TAPS_LEN);
    w.windows.part = w.part < d->c ? w.part : 0;
    w.packed = d->o > CPU_LANES && w.n >= PACK_MIN;
    w.blocks = div_up(w.positions, CPU_BLOCK);
    w.sums_floats = div_up(d->o, CPU_LANES) * CPU_LANES * w.n;
    w.wave_blocks = parallel ? min_size(w.blocks, BLOCKS_A_PART * cpu->threads) : 0;
    w.rows_floats = patches_lines_floats(&w.windows, d->kh, CPU_BLOCK);
    w.local_floats =
        w.rows_floats + (w.packed ? div_up(d->o, CPU_LANES) * CPU_LANES * CPU_BLOCK : 0);
    st = cpu_scratch(cpu, w.sums_floats * (w.wave_blocks + 1) + cpu->threads * w.local_floats,
                     sizeof(float), &w.total, err);
    if (st != EMAC_OK)
        return st;
    w.sums = w.total + w.sums_floats;
    w.local = w.sums + w.wave_blocks * w.sums_floats;
    atomic_init(&w.next, 0);
    if (parallel)
        run_waves(cpu, &w);
    for (size_t b = 0; !parallel && b < w.blocks; b++)
        run_block(&w, b, w.total, b == 0, w.local);
    turn_total(&w, dw);
    return EMAC_OK;
}
