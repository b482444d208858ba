/* Causal attention, rule 5; the readable form is ref/attention.c.
 *
 * A unit of work is one head's block of 256 queries. Its queries are taken in
 * tiles of mr rows: scores against all keys at or before the tile, softmax,
 * value product, all while the scores (mr rows) are in a near cache. What a
 * query may not see is either not computed (keys beyond the tile) or set to +0
 * after the softmax (keys within it), which rules 3 and 4 do not notice. */
#include <stdatomic.h>

#include "base/checked.h"
#include "compute/cpu/cpu.h"
#include "compute/fn.h"

#define ROW_PAD        16 /* keeps rows of scratch off the same cache sets */
#define PARALLEL_FLOPS 300000

struct forward {
    const struct cpu_kernels *kernels;
    const float *q, *k, *v; /* (B, T - from, H, E), (B, T, G, E) twice */
    float *o, *max, *sum;   /* (B, T - from, H, E), (B, H, T) twice; NULL: not asked for */
    size_t b, t, h, g, e;
    size_t from; /* position of the first query; 0 where B > 1 */
    float scale;
    size_t blocks; /* of queries */
    float *scratch;
    size_t keys_floats, values_floats, local_floats;
    atomic_size_t next;
};

/* Rows of queries that share packed keys and values. */
struct rows {
    const float *q;
    size_t q_row;
    const float *keys, *values; /* packed: (E, T) and (T, E) */
    size_t t;                   /* keys there are */
    float *o;
    size_t o_row;
    float *max, *sum;
    float *s; /* mr rows of scores, s_row apart */
    size_t s_row;
};

static size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t div_up(size_t a, size_t b)
{
    return a / b + (a % b != 0);
}

/* s[rows, keys] = q k, keys < `keys` */
static void scores(const struct forward *f, const struct rows *r, size_t rows, size_t keys)
{
    const struct cpu_kernels *kn = f->kernels;
    for (size_t e0 = 0; e0 < f->e; e0 += CPU_BLOCK)
        for (size_t j = 0; j < keys; j += kn->nr) {
            struct cpu_panel p = {.rows = rows,
                                  .cols = min_size(keys - j, kn->nr),
                                  .k = min_size(f->e - e0, CPU_BLOCK),
                                  .a = r->q + e0,
                                  .a_row = r->q_row,
                                  .a_col = 1,
                                  .c = r->s + j,
                                  .c_row = r->s_row,
                                  .first = e0 == 0};
            p.b = cpu_packed_panel(kn, r->keys, f->e, r->t, e0, j / kn->nr);
            kn->panel(&p);
        }
}

/* o[rows, E] = p v over keys < `keys` */
static void values(const struct forward *f, const struct rows *r, size_t rows, size_t keys)
{
    const struct cpu_kernels *kn = f->kernels;
    for (size_t k0 = 0; k0 < keys; k0 += CPU_BLOCK)
        for (size_t e = 0; e < f->e; e += kn->nr) {
            struct cpu_panel p = {.rows = rows,
                                  .cols = min_size(f->e - e, kn->nr),
                                  .k = min_size(keys - k0, CPU_BLOCK),
                                  .a = r->s + k0,
                                  .a_row = r->s_row,
                                  .a_col = 1,
                                  .c = r->o + e,
                                  .c_row = r->o_row,
                                  .first = k0 == 0};
            p.b = cpu_packed_panel(kn, r->values, r->t, f->e, k0, e / kn->nr);
            kn->panel(&p);
        }
}

/* Up to mr rows; row i sees the keys before len + i * step. */
static void attend(const struct forward *f, const struct rows *r, size_t rows, size_t len,
                   size_t step)
{
    size_t keys = len + (rows - 1) * step;
    scores(f, r, rows, keys);
    f->kernels->softmax(r->s, r->s_row, rows, len, step, keys, f->scale, r->max, r->sum);
    values(f, r, rows, keys);
    for (size_t i = 0; i < rows; i++)
        f->kernels->scale(r->o + i * r->o_row, r->o + i * r->o_row, fn_div(1.0f, r->sum[i]), f->e);
}

/* Unit u: block u % blocks of head (u / blocks) % H of a sequence; t counts positions. */
static void forward_unit(const struct forward *f, size_t u, float *local)
{
    size_t begin = f->from + u % f->blocks * CPU_BLOCK, mr = f->kernels->mr;
    size_t head = u / f->blocks % f->h, b = u / f->blocks / f->h;
    size_t end = min_size(begin + CPU_BLOCK, f->t);
    float unasked[2][CPU_MR_MAX];
    size_t kv = (b * f->t * f->g + head / (f->h / f->g)) * f->e, kv_row = f->g * f->e;
    struct rows r = {.q_row = f->h * f->e, .keys = local, .values = local + f->keys_floats};
    r.o_row = r.q_row;
    r.t = end; /* later keys are not seen by this block */
    r.s = local + f->keys_floats + f->values_floats;
    r.s_row = f->t + ROW_PAD;
    cpu_pack(f->kernels, local, f->k + kv, 1, kv_row, f->e, end);
    cpu_pack(f->kernels, local + f->keys_floats, f->v + kv, kv_row, 1, end, f->e);
    for (size_t t = begin; t < end; t += mr) {
        size_t at = ((b * f->t + t - f->from) * f->h + head) * f->e;
        size_t stat = (b * f->h + head) * f->t + t;
        r.q = f->q + at;
        r.o = f->o + at;
        r.max = f->max != NULL ? f->max + stat : unasked[0];
        r.sum = f->sum != NULL ? f->sum + stat : unasked[1];
        attend(f, &r, min_size(end - t, mr), t + 1, 1);
    }
}

static void forward_part(void *ctx, uint32_t part, uint32_t parts)
{
    struct forward *f = ctx;
    size_t units = f->b * f->h * f->blocks;
    for (size_t u; (u = atomic_fetch_add(&f->next, 1)) < units;)
        forward_unit(f, u, f->scratch + part * f->local_floats);
}

static enum emac_status forward_run(struct cpu *cpu, struct forward *f, struct emac_err *err)
{
    size_t queries = f->t - f->from;
    double flops = 2.0 * (double)(f->b * f->h) * (double)queries * (double)f->t * (double)f->e;
    enum emac_status st;
    f->kernels = cpu->k;
    f->blocks = (queries + CPU_BLOCK - 1) / CPU_BLOCK;
    f->keys_floats = cpu_packed_floats(cpu->k, f->e, f->t);
    f->values_floats = cpu_packed_floats(cpu->k, f->t, f->e);
    f->local_floats = f->keys_floats + f->values_floats + cpu->k->mr * (f->t + ROW_PAD);
    atomic_init(&f->next, 0);
    st = cpu_scratch(cpu, f->local_floats, cpu->threads * sizeof(float), &f->scratch, err);
    if (st == EMAC_OK)
        cpu_parallel(cpu, flops >= 1e6, forward_part, f);
    return st;
}

enum emac_status cpu_attention(struct cpu *cpu, const struct op_attrs *attrs,
                               const struct tensor *in, struct tensor *out, struct emac_err *err)
{
    struct forward f = {.q = in[0].data,
                        .k = in[1].data,
                        .v = in[2].data,
                        .o = out[0].data,
                        .max = out[1].data,
                        .sum = out[2].data};
    f.b = (size_t)attrs->at[0].i;
    f.h = (size_t)attrs->at[1].i;
    f.g = (size_t)attrs->at[2].i;
    f.scale = attrs->at[3].f;
    f.t = in[0].shape.dim[0] / f.b;
    f.e = in[0].shape.dim[1] / f.h;
    return forward_run(cpu, &f, err);
}

/* ---- one query position ---- */

/* Some heads of a group are the rows, all see every key. It takes as long as the cache takes to be
 * read: nothing is packed. */
static void decode_unit(const struct forward *f, size_t u, float *s)
{
    const struct cpu_kernels *kn = f->kernels;
    size_t group = f->h / f->g, units = div_up(group, kn->turned_rows), row = f->t + ROW_PAD;
    size_t g = u / units, h = u % units * kn->turned_rows;
    size_t rows = min_size(group - h, kn->turned_rows), at = (g * group + h) * f->e;
    float max[CPU_MR_MAX], sum[CPU_MR_MAX];
    kn->rows_turned(&(struct cpu_turned){.rows = rows,
                                         .cols = f->t,
                                         .k = f->e,
                                         .a = f->q + at,
                                         .a_row = f->e,
                                         .b = f->k + g * f->e,
                                         .stride = f->g * f->e,
                                         .c = s,
                                         .c_row = row});
    kn->softmax(s, row, rows, f->t, 0, f->t, f->scale, max, sum);
    for (size_t r = 0; r < rows; r++, at += f->e) {
        for (size_t e = 0; e < f->e; e += CPU_STRIP)
            kn->row(f->o + at + e, s + r * row, f->v + g * f->e + e, f->g * f->e, f->t,
                    min_size(f->e - e, CPU_STRIP));
        kn->scale(f->o + at, f->o + at, fn_div(1.0f, sum[r]), f->e);
    }
}

static void decode_part(void *ctx, uint32_t part, uint32_t parts)
{
    struct forward *f = ctx;
    size_t units = f->g * div_up(f->h / f->g, f->kernels->turned_rows);
    for (size_t u; (u = atomic_fetch_add(&f->next, 1)) < units;)
        decode_unit(f, u, f->scratch + part * f->local_floats);
}

static enum emac_status decode_run(struct cpu *cpu, struct forward *f, struct emac_err *err)
{
    double flops = 4.0 * (double)f->h * (double)f->t * (double)f->e;
    enum emac_status st;
    f->kernels = cpu->k;
    f->local_floats = cpu->k->turned_rows * (f->t + ROW_PAD);
    atomic_init(&f->next, 0);
    st = cpu_scratch(cpu, f->local_floats, cpu->threads * sizeof(float), &f->scratch, err);
    if (st == EMAC_OK)
        cpu_parallel(cpu, flops >= PARALLEL_FLOPS, decode_part, f);
    return st;
}

enum emac_status cpu_attention_decode(struct cpu *cpu, const struct attention_decode *d,
                                      struct emac_err *err)
{
    struct forward f = {.q = d->q,
                        .k = d->k,
                        .v = d->v,
                        .o = d->o,
                        .b = 1,
                        .t = d->len,
                        .h = d->heads,
                        .g = d->kv_heads,
                        .e = d->head_dim,
                        .from = d->len - d->rows,
                        .scale = d->scale};
    return d->rows == 1 ? decode_run(cpu, &f, err) : forward_run(cpu, &f, err);
}
