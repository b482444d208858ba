/* Operators on the CPU's threads. Most are loops over independent items
 * (elements, rows or columns): range_table says which, and how to do a range of
 * them; the others have a function of their own.
 * The ranges of images are in ranges_image.c. */
#include <stdatomic.h>
#include <string.h>

#include "base/assert.h"
#include "base/checked.h"
#include "base/philox.h"
#include "compute/cpu/cpu.h"
#include "compute/cpu/ranges.h"
#include "compute/fn.h"
#include "compute/ref/ref.h"

#define PARALLEL_BYTES                                                                             \
    ((size_t)256 << 10)  /* less memory than this is touched faster by one thread */
#define ADAMW_CHUNK 1024 /* elements whose seven arrays are a part of the level-1 cache */
#define GRAIN       32   /* elements and columns are split at multiples of this */

/* Share `part` of n items, cut at multiples of grain. */
static void share(size_t n, size_t grain, uint32_t part, uint32_t parts, size_t *begin, size_t *end)
{
    size_t grains = n / grain + (n % grain != 0);
    *begin = grains * part / parts * grain;
    *end = grains * (part + 1) / parts * grain;
    *end = *end < n ? *end : n;
}

static void add_range(const struct job *j, size_t b, size_t e)
{
    j->cpu->k->add(f32_out(j, 0) + b, f32_in(j, 0) + b, f32_in(j, 1) + b, e - b);
}

static void mul_range(const struct job *j, size_t b, size_t e)
{
    j->cpu->k->mul(f32_out(j, 0) + b, f32_in(j, 0) + b, f32_in(j, 1) + b, e - b);
}

static void scale_range(const struct job *j, size_t b, size_t e)
{
    j->cpu->k->scale(f32_out(j, 0) + b, f32_in(j, 0) + b, *f32_in(j, 1), e - b);
}

static void bias_range(const struct job *j, size_t b, size_t e)
{
    size_t d = j->in[1].shape.dim[0];
    j->cpu->k->bias(f32_out(j, 0) + b * d, f32_in(j, 0) + b * d, f32_in(j, 1), e - b, d);
}

static void relu_range(const struct job *j, size_t b, size_t e)
{
    j->cpu->k->relu(f32_out(j, 0) + b, f32_in(j, 0) + b, e - b);
}

static void relu_grad_range(const struct job *j, size_t b, size_t e)
{
    j->cpu->k->relu_grad(f32_out(j, 0) + b, f32_in(j, 0) + b, f32_in(j, 1) + b, e - b);
}

static void gelu_range(const struct job *j, size_t b, size_t e)
{
    j->cpu->k->gelu(f32_out(j, 0) + b, f32_in(j, 0) + b, e - b);
}

static void gelu_grad_range(const struct job *j, size_t b, size_t e)
{
    j->cpu->k->gelu_grad(f32_out(j, 0) + b, f32_in(j, 0) + b, f32_in(j, 1) + b, e - b);
}

static void gelu_tanh_range(const struct job *j, size_t b, size_t e)
{
    j->cpu->k->gelu_tanh(f32_out(j, 0) + b, f32_in(j, 0) + b, e - b);
}

static void gelu_tanh_grad_range(const struct job *j, size_t b, size_t e)
{
    j->cpu->k->gelu_tanh_grad(f32_out(j, 0) + b, f32_in(j, 0) + b, f32_in(j, 1) + b, e - b);
}

static void position_add_range(const struct job *j, size_t b, size_t e)
{
    size_t d = j->in[0].shape.dim[1], positions = j->in[1].shape.dim[0];
    for (size_t n = b; n < e; n++)
        j->cpu->k->add(f32_out(j, 0) + n * d, f32_in(j, 0) + n * d,
                       f32_in(j, 1) + n % positions * d, d);
}

/* b is a multiple of 4 */
static void dropout_range(const struct job *j, size_t b, size_t e)
{
    const int32_t *key = j->in[1].data;
    float p = j->attrs->at[0].f;
    struct cpu_dropout s = {.p = p,
                            .scale = fn_div(1.0f, 1.0f - p),
                            .seed = {(uint32_t)key[0], (uint32_t)key[1]},
                            .step = (uint32_t)key[2],
                            .part = (uint32_t)key[3],
                            .purpose = PHILOX_DROPOUT + ((uint32_t)j->attrs->at[1].i << 16)};
    j->cpu->k->dropout(f32_out(j, 0) + b, f32_in(j, 0) + b, &s, (uint32_t)(b / 4), e - b);
}

static void swiglu_range(const struct job *j, size_t b, size_t e)
{
    j->cpu->k->swiglu(f32_out(j, 0) + b, f32_in(j, 0) + b, f32_in(j, 1) + b, e - b);
}

static void swiglu_grad_range(const struct job *j, size_t b, size_t e)
{
    j->cpu->k->swiglu_grad(f32_out(j, 0) + b, f32_out(j, 1) + b, f32_in(j, 0) + b, f32_in(j, 1) + b,
                           f32_in(j, 2) + b, e - b);
}

/* The new state is looked at while it is still near: three reads of far memory less. */
static void adamw_range(const struct job *j, size_t b, size_t e)
{
    const float *h = f32_in(j, 5);
    struct cpu_adamw s = {*f32_in(j, 4), h[0], h[1], h[2], h[3], h[4], h[5], h[6]};
    bool finite = true;
    for (size_t n; b < e; b += n) {
        n = e - b < ADAMW_CHUNK ? e - b : ADAMW_CHUNK;
        j->cpu->k->adamw(f32_out(j, 0) + b, f32_out(j, 1) + b, f32_out(j, 2) + b, f32_in(j, 0) + b,
                         f32_in(j, 1) + b, f32_in(j, 2) + b, f32_in(j, 3) + b, &s, n);
        for (uint32_t i = 0; i < 3; i++)
            finite = j->cpu->k->check_finite(f32_out(j, i) + b, n) == n && finite;
    }
    if (!finite)
        atomic_store(j->not_finite, true);
}

static void fill_range(const struct job *j, size_t b, size_t e)
{
    float *y = f32_out(j, 0), value = j->attrs->at[2].f;
    for (size_t i = b; i < e; i++)
        y[i] = value;
}

/* Two elements take the 12 words of three Philox indices; b is even. */
static void randn_range(const struct job *j, size_t b, size_t e)
{
    uint64_t seed = (uint64_t)j->attrs->at[2].i;
    uint32_t tensor = (uint32_t)j->attrs->at[3].i, word[12];
    float *y = f32_out(j, 0), std = j->attrs->at[4].f;
    for (size_t i = b; i < e; i += 2) {
        int32_t sum[2] = {-6 * 65535, -6 * 65535};
        for (uint32_t w = 0; w < 3; w++)
            philox_at(seed, PHILOX_INIT, tensor, (uint64_t)i / 2 * 3 + w, word + 4 * w);
        for (uint32_t w = 0; w < 12; w++)
            sum[w / 6] += (int32_t)(word[w] & 0xffff) + (int32_t)(word[w] >> 16);
        for (size_t n = 0; n < 2 && i + n < e; n++)
            y[i + n] = (float)sum[n] * 0x1p-16f * std;
    }
}

static void reshape_range(const struct job *j, size_t b, size_t e)
{
    if (j->out[0].data != j->in[0].data)
        memcpy(f32_out(j, 0) + b, f32_in(j, 0) + b, (e - b) * sizeof(float));
}

static void embed_range(const struct job *j, size_t b, size_t e)
{
    size_t d = j->in[1].shape.dim[1];
    const int32_t *ids = j->in[0].data;
    for (size_t n = b; n < e; n++)
        memcpy(f32_out(j, 0) + n * d, f32_in(j, 1) + (size_t)ids[n] * d, d * sizeof(float));
}

/* Columns b..e of the table: its rows are shared by tokens, its columns are not. */
static void embed_grad_range(const struct job *j, size_t b, size_t e)
{
    size_t rows = j->in[1].shape.dim[0], d = j->in[1].shape.dim[1], vocab = j->out[0].shape.dim[0];
    const int32_t *ids = j->in[0].data;
    float *table = f32_out(j, 0);
    for (size_t v = 0; v < vocab; v++)
        memset(table + v * d + b, 0, (e - b) * sizeof *table);
    for (size_t n = 0; n < rows; n++) {
        float *row = table + (size_t)ids[n] * d + b;
        j->cpu->k->add(row, row, f32_in(j, 1) + n * d + b, e - b);
    }
}

static void rmsnorm_range(const struct job *j, size_t b, size_t e)
{
    size_t d = j->in[0].shape.dim[1];
    j->cpu->k->rmsnorm(f32_out(j, 0) + b * d, f32_out(j, 1) + b, f32_in(j, 0) + b * d, f32_in(j, 1),
                       j->attrs->at[0].f, e - b, d);
}

static void layernorm_range(const struct job *j, size_t b, size_t e)
{
    size_t d = j->in[0].shape.dim[1];
    j->cpu->k->layernorm(f32_out(j, 0) + b * d, f32_out(j, 1) + b, f32_out(j, 2) + b,
                         f32_in(j, 0) + b * d, f32_in(j, 1), f32_in(j, 2), j->attrs->at[0].f, e - b,
                         d);
}

static void rope_range(const struct job *j, size_t b, size_t e)
{
    size_t d = j->in[0].shape.dim[1], positions = j->in[1].shape.dim[0];
    size_t half = j->in[1].shape.dim[1], heads = d / half / 2;
    float sign = j->attrs->at[1].i ? -1.0f : 1.0f;
    for (size_t n = b; n < e; n++)
        j->cpu->k->rope(f32_out(j, 0) + n * d, f32_in(j, 0) + n * d,
                        f32_in(j, 1) + n % positions * half, f32_in(j, 2) + n % positions * half,
                        sign, heads, half);
}

static void xent_range(const struct job *j, size_t b, size_t e)
{
    size_t vocab = j->in[0].shape.dim[1];
    j->cpu->k->xent(f32_out(j, 0) + b, f32_out(j, 1) + 2 * b, f32_in(j, 0) + b * vocab,
                    (const int32_t *)j->in[1].data + b, e - b, vocab);
}

static void xent_grad_range(const struct job *j, size_t b, size_t e)
{
    size_t vocab = j->in[1].shape.dim[1];
    j->cpu->k->xent_grad(f32_out(j, 0) + b * vocab, *f32_in(j, 0), f32_in(j, 1) + b * vocab,
                         (const int32_t *)j->in[2].data + b, f32_in(j, 3) + 2 * b, e - b, vocab);
}

static void correct_range(const struct job *j, size_t b, size_t e)
{
    size_t vocab = j->in[0].shape.dim[1];
    j->cpu->k->correct(f32_out(j, 0) + b, f32_in(j, 0) + b * vocab,
                       (const int32_t *)j->in[1].data + b, e - b, vocab);
}

static void quantise_range(const struct job *j, size_t b, size_t e)
{
    size_t k = j->in[0].shape.dim[1], row_bytes = j->out[0].shape.dim[1];
    for (size_t n = b; n < e; n++)
        quant_row_encode((enum quant_format)j->attrs->at[0].i,
                         (uint8_t *)j->out[0].data + n * row_bytes, f32_in(j, 0) + n * k, k);
}

static void dequantise_range(const struct job *j, size_t b, size_t e)
{
    size_t k = j->out[0].shape.dim[1], row_bytes = j->in[0].shape.dim[1];
    for (size_t n = b; n < e; n++)
        quant_row_decode((enum quant_format)j->attrs->at[0].i,
                         (const uint8_t *)j->in[0].data + n * row_bytes, f32_out(j, 0) + n * k, k);
}

static void pack_range(const struct job *j, size_t b, size_t e)
{
    ref_pack_range(j->attrs, j->in, j->out, b, e);
}

static void unpack_range(const struct job *j, size_t b, size_t e)
{
    ref_unpack_range(j->attrs, j->in, j->out, b, e);
}

/* Of output 0: numbers, first index, all indices but the last, second index. Of input 0: first
 * index. */
enum items { NONE, ELEMENTS, ROWS, VECTORS, COLUMNS, BLOCKS };

static const struct {
    enum items items;
    void (*range)(const struct job *j, size_t begin, size_t end);
    bool looks; /* `range` sets not_finite */
} range_table[OP_COUNT] = {
    [OP_EMBED] = {ROWS, embed_range},
    [OP_EMBED_GRAD] = {COLUMNS, embed_grad_range},
    [OP_ADD] = {ELEMENTS, add_range},
    [OP_MUL] = {ELEMENTS, mul_range},
    [OP_SCALE] = {ELEMENTS, scale_range},
    [OP_RMSNORM] = {ROWS, rmsnorm_range},
    [OP_ROPE] = {ROWS, rope_range},
    [OP_SWIGLU] = {ELEMENTS, swiglu_range},
    [OP_SWIGLU_GRAD] = {ELEMENTS, swiglu_grad_range},
    [OP_XENT] = {ROWS, xent_range},
    [OP_XENT_GRAD] = {ROWS, xent_grad_range},
    [OP_ADAMW] = {ELEMENTS, adamw_range, .looks = true},
    [OP_FILL] = {ELEMENTS, fill_range},
    [OP_RANDN] = {ELEMENTS, randn_range},
    [OP_RESHAPE] = {ELEMENTS, reshape_range},
    [OP_COPY] = {ELEMENTS, reshape_range},
    [OP_VIEW] = {ELEMENTS, reshape_range},
    [OP_BIAS] = {VECTORS, bias_range},
    [OP_RELU] = {ELEMENTS, relu_range},
    [OP_RELU_GRAD] = {ELEMENTS, relu_grad_range},
    [OP_MAXPOOL2D] = {ROWS, range_maxpool2d},
    [OP_MAXPOOL2D_GRAD] = {ROWS, range_maxpool2d_grad},
    [OP_AVGPOOL2D] = {ROWS, range_avgpool2d},
    [OP_AVGPOOL2D_GRAD] = {ROWS, range_avgpool2d_grad},
    [OP_CORRECT] = {ROWS, correct_range},
    [OP_QUANTISE] = {ROWS, quantise_range},
    [OP_DEQUANTISE] = {ROWS, dequantise_range},
    [OP_LAYERNORM] = {ROWS, layernorm_range},
    [OP_GELU] = {ELEMENTS, gelu_range},
    [OP_GELU_GRAD] = {ELEMENTS, gelu_grad_range},
    [OP_GELU_TANH] = {ELEMENTS, gelu_tanh_range},
    [OP_GELU_TANH_GRAD] = {ELEMENTS, gelu_tanh_grad_range},
    [OP_POSITION_ADD] = {ROWS, position_add_range},
    [OP_DROPOUT] = {ELEMENTS, dropout_range},
    [OP_PACK] = {ROWS, pack_range},
    [OP_UNPACK] = {BLOCKS, unpack_range},
};

static void job_part(void *ctx, uint32_t part, uint32_t parts)
{
    struct job *j = ctx;
    size_t begin, end;
    share(j->items, j->grain, part, parts, &begin, &end);
    if (begin < end)
        j->range(j, begin, end);
}

static size_t bytes_touched(enum op op, const struct tensor *in, const struct tensor *out)
{
    size_t n = 0;
    for (uint32_t i = 0; i < op_info(op)->inputs; i++)
        n += count(&in[i]);
    for (uint32_t i = 0; i < op_info(op)->outputs; i++)
        n += count(&out[i]);
    return n * sizeof(float);
}

static void run_ranges(struct cpu *cpu, enum op op, const struct op_attrs *attrs,
                       const struct tensor *in, struct tensor *out)
{
    atomic_bool not_finite;
    struct job j = {cpu, attrs, in, out, 0, GRAIN, &not_finite, range_table[op].range};
    atomic_init(&not_finite, false);
    switch (range_table[op].items) {
    case ELEMENTS:
        j.items = count(&out[0]);
        break;
    case ROWS:
        j.items = out[0].shape.dim[0];
        j.grain = 1;
        break;
    case VECTORS:
        j.items = count(&out[0]) / out[0].shape.dim[out[0].shape.rank - 1];
        j.grain = 1;
        break;
    case BLOCKS:
        j.items = in[0].shape.dim[0];
        j.grain = 1;
        break;
    default:
        j.items = out[0].shape.dim[1];
        break;
    }
    cpu_parallel(cpu, bytes_touched(op, in, out) >= PARALLEL_BYTES, job_part, &j);
    cpu->ran_finite = range_table[op].looks && !atomic_load(&not_finite);
}

static enum emac_status run_matmul(struct cpu *cpu, const struct op_attrs *attrs,
                                   const struct tensor *in, struct tensor *out,
                                   struct emac_err *err)
{
    bool trans_a = attrs->at[0].i, trans_b = attrs->at[1].i;
    struct cpu_matmul mm = {.m = out[0].shape.dim[0],
                            .n = out[0].shape.dim[1],
                            .k = in[0].shape.dim[trans_a ? 0 : 1],
                            .a = in[0].data,
                            .b = in[1].data,
                            .c = out[0].data};
    enum emac_status st;
    mm.a_row = trans_a ? 1 : mm.k;
    mm.a_col = trans_a ? mm.m : 1;
    mm.b_row = trans_b ? 1 : mm.n;
    mm.b_col = trans_b ? mm.k : 1;
    st = cpu_matmul(cpu, &mm, err);
    cpu->ran_finite = mm.finite;
    return st;
}

/* Blocks of 256 terms (or rows), each summed to its own place, so that the places can be added in
 * order afterwards. */
struct blocks {
    const struct cpu *cpu;
    const struct tensor *in;
    struct tensor *out;
    size_t n, d; /* terms, or rows of d */
    bool squares;
    float *sums;  /* one, or d, for each block */
    float *lanes; /* 16 * d for each part, or for each block that is cut */
    size_t cuts;  /* shares of a block's lanes, where there are fewer blocks than threads */
};

static void sum_part(void *ctx, uint32_t part, uint32_t parts)
{
    struct blocks *s = ctx;
    size_t begin, end;
    share(s->n, CPU_BLOCK, part, parts, &begin, &end);
    if (begin < end)
        s->cpu->k->block_sums(s->sums + begin / CPU_BLOCK, (const float *)s->in[0].data + begin,
                              end - begin, s->squares);
}

static size_t blocks_of(size_t n)
{
    return n / CPU_BLOCK + (n % CPU_BLOCK != 0);
}

static enum emac_status run_sum(struct cpu *cpu, bool squares, const struct tensor *in,
                                struct tensor *out, struct emac_err *err)
{
    struct blocks s = {.cpu = cpu, .in = in, .n = count(&in[0]), .squares = squares};
    float total = 0.0f;
    enum emac_status st = cpu_scratch(cpu, blocks_of(s.n), sizeof *s.sums, &s.sums, err);
    if (st != EMAC_OK)
        return st;
    cpu_parallel(cpu, s.n * sizeof(float) >= PARALLEL_BYTES, sum_part, &s);
    for (size_t i = 0; i < blocks_of(s.n); i++)
        total = total + s.sums[i];
    *(float *)out[0].data = total;
    return EMAC_OK;
}

static void sum_rows_part(void *ctx, uint32_t part, uint32_t parts)
{
    struct blocks *s = ctx;
    size_t begin, end, d = s->d;
    share(s->n, CPU_BLOCK, part, parts, &begin, &end);
    for (size_t i = begin; i < end; i += CPU_BLOCK)
        s->cpu->k->rows_sum(s->sums + i / CPU_BLOCK * d, (const float *)s->in[0].data + i * d,
                            end - i < CPU_BLOCK ? end - i : CPU_BLOCK, d);
}

/* +0, then columns first.. of the sums of the blocks, in order. */
static void add_blocks(const struct blocks *s, size_t first, struct tensor *to)
{
    float *y = to->data;
    size_t n = to->shape.dim[0];
    memset(y, 0, n * sizeof *y);
    for (size_t i = 0; i < blocks_of(s->n); i++)
        s->cpu->k->add(y, y, s->sums + i * s->d + first, n);
}

static enum emac_status run_sum_rows(struct cpu *cpu, const struct tensor *in, struct tensor *out,
                                     struct emac_err *err)
{
    struct blocks s = {.cpu = cpu, .in = in, .d = out[0].shape.dim[0]};
    enum emac_status st;
    s.n = count(&in[0]) / s.d;
    st = cpu_scratch(cpu, blocks_of(s.n), s.d * sizeof *s.sums, &s.sums, err);
    if (st != EMAC_OK)
        return st;
    cpu_parallel(cpu, s.n * s.d * sizeof(float) >= PARALLEL_BYTES, sum_rows_part, &s);
    add_blocks(&s, 0, &out[0]);
    return EMAC_OK;
}

/* Tree 8-4-2-1 of a block's lanes. */
static void fold_lanes(const struct blocks *s, float *lanes, size_t block)
{
    for (size_t half = CPU_LANES / 2; half > 0; half /= 2)
        s->cpu->k->add(lanes, lanes, lanes + half * s->d, half * s->d);
    memcpy(s->sums + block * s->d, lanes, s->d * sizeof *lanes);
}

/* dy, x, w, rstd -> dx, dw; dy, x, w, mean, rstd -> dx, dw, db. */
static void norm_grad_lanes(const struct blocks *s, float *lanes, size_t first, size_t from,
                            size_t to)
{
    size_t d = s->in[0].shape.dim[1], at = first * d;
    size_t rows = s->n - first < CPU_BLOCK ? s->n - first : CPU_BLOCK;
    const float *dy = s->in[0].data, *x = s->in[1].data, *w = s->in[2].data;
    const float *row[2] = {s->in[3].data, s->d > d ? s->in[4].data : NULL};
    float *dx = s->out[0].data;
    if (s->d > d)
        s->cpu->k->layernorm_grad(dx + at, lanes, from, to, dy + at, x + at, w, row[0] + first,
                                  row[1] + first, rows, d);
    else
        s->cpu->k->rmsnorm_grad(dx + at, lanes, from, to, dy + at, x + at, w, row[0] + first, rows,
                                d);
}

static void norm_grad_part(void *ctx, uint32_t part, uint32_t parts)
{
    struct blocks *s = ctx;
    size_t begin, end, cuts = s->cuts;
    share(blocks_of(s->n) * cuts, 1, part, parts, &begin, &end);
    for (size_t i = begin; i < end; i++) {
        size_t block = i / cuts, cut = i % cuts;
        float *lanes = s->lanes + (cuts > 1 ? block : part) * CPU_LANES * s->d;
        norm_grad_lanes(s, lanes, block * CPU_BLOCK, cut * CPU_LANES / cuts,
                        (cut + 1) * CPU_LANES / cuts);
        if (cuts == 1)
            fold_lanes(s, lanes, block);
    }
}

/* Outputs from 1 on, d numbers each, are sums over the rows. */
static enum emac_status run_norm_grad(struct cpu *cpu, enum op op, const struct tensor *in,
                                      struct tensor *out, struct emac_err *err)
{
    size_t d = in[0].shape.dim[1], sums = op_info(op)->outputs - 1;
    struct blocks s = {.cpu = cpu, .in = in, .out = out, .n = in[0].shape.dim[0], .d = sums * d};
    size_t blocks = blocks_of(s.n);
    enum emac_status st =
        cpu_scratch(cpu, blocks + cpu->threads * CPU_LANES, s.d * sizeof(float), &s.sums, err);
    if (st != EMAC_OK)
        return st;
    s.lanes = s.sums + blocks * s.d;
    s.cuts = blocks >= cpu->threads ? 1 : cpu->threads < CPU_LANES ? cpu->threads : CPU_LANES;
    cpu_parallel(cpu, s.n * d * sizeof(float) >= PARALLEL_BYTES, norm_grad_part, &s);
    for (size_t i = 0; s.cuts > 1 && i < blocks; i++)
        fold_lanes(&s, s.lanes + i * CPU_LANES * s.d, i);
    for (size_t i = 0; i < sums; i++)
        add_blocks(&s, i * d, &out[1 + i]);
    return EMAC_OK;
}

enum emac_status cpu_run(struct cpu *cpu, enum op op, const struct op_attrs *attrs,
                         const struct tensor *in, struct tensor *out, struct emac_err *err)
{
    if (range_table[op].items != NONE) {
        run_ranges(cpu, op, attrs, in, out);
        return EMAC_OK;
    }
    switch (op) {
    case OP_MATMUL:
        return run_matmul(cpu, attrs, in, out, err);
    case OP_RMSNORM_GRAD:
    case OP_LAYERNORM_GRAD:
        return run_norm_grad(cpu, op, in, out, err);
    case OP_ATTENTION:
        return cpu_attention(cpu, attrs, in, out, err);
    case OP_ATTENTION_GRAD:
        return cpu_attention_grad(cpu, attrs, in, out, err);
    case OP_QMATMUL:
        return cpu_qmatmul(cpu, (enum quant_format)attrs->at[0].i, in, out, err);
    case OP_SUM:
    case OP_SUMSQ:
        return run_sum(cpu, op == OP_SUMSQ, in, out, err);
    case OP_SUM_ROWS:
        return run_sum_rows(cpu, in, out, err);
    case OP_CONV2D:
    case OP_CONV2D_GRAD_X:
    case OP_CONV2D_GRAD_W:
        return cpu_conv2d(cpu, op, attrs, in, out, err);
    default: /* single numbers */
        return ref_table[op](attrs, in, out, err);
    }
}

struct pair {
    struct cpu *cpu;
    float *dst;
    const float *a, *b;
    size_t n;
    atomic_size_t found;
};

static void add_part(void *ctx, uint32_t part, uint32_t parts)
{
    struct pair *p = ctx;
    size_t begin, end;
    share(p->n, GRAIN, part, parts, &begin, &end);
    if (begin < end)
        p->cpu->k->add(p->dst + begin, p->a + begin, p->b + begin, end - begin);
}

void cpu_add(struct cpu *cpu, float *dst, const float *a, const float *b, size_t n)
{
    struct pair p = {.cpu = cpu, .dst = dst, .a = a, .b = b, .n = n};
    cpu_parallel(cpu, n >= PARALLEL_BYTES / 12, add_part, &p);
}

/* The least index that any part found. */
static void finite_part(void *ctx, uint32_t part, uint32_t parts)
{
    struct pair *p = ctx;
    size_t begin, end, at, least;
    share(p->n, GRAIN, part, parts, &begin, &end);
    if (begin >= end)
        return;
    at = begin + p->cpu->k->check_finite(p->a + begin, end - begin);
    least = atomic_load(&p->found);
    while (at < end && at < least && !atomic_compare_exchange_weak(&p->found, &least, at))
        continue;
}

size_t cpu_check_finite(struct cpu *cpu, const float *x, size_t n)
{
    struct pair p = {.cpu = cpu, .a = x, .n = n};
    atomic_init(&p.found, n);
    cpu_parallel(cpu, n >= PARALLEL_BYTES / 4, finite_part, &p);
    return atomic_load(&p.found);
}

struct conversion {
    const struct cpu_kernels *k;
    float *wide;
    uint16_t *half;
    const float *from_wide;
    const uint16_t *from_half;
    size_t n;
};

static void convert_part(void *ctx, uint32_t part, uint32_t parts)
{
    struct conversion *c = ctx;
    size_t begin, end;
    share(c->n, GRAIN, part, parts, &begin, &end);
    if (begin >= end)
        return;
    if (c->wide)
        c->k->widen(c->wide + begin, c->from_half + begin, end - begin);
    else
        c->k->narrow(c->half + begin, c->from_wide + begin, end - begin);
}

void cpu_widen(struct cpu *cpu, float *dst, const uint16_t *src, size_t n)
{
    struct conversion c = {.k = cpu->k, .wide = dst, .from_half = src, .n = n};
    cpu_parallel(cpu, n >= PARALLEL_BYTES / 6, convert_part, &c);
}

void cpu_narrow(struct cpu *cpu, uint16_t *dst, const float *src, size_t n)
{
    struct conversion c = {.k = cpu->k, .half = dst, .from_wide = src, .n = n};
    cpu_parallel(cpu, n >= PARALLEL_BYTES / 6, convert_part, &c);
}
