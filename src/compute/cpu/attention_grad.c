/* Gradient of attention; the readable form is ref/attention.c. With
 *     p = exp(s - max) (1/sum),  ds = p (do.v - delta) scale,
 *     dq = ds k,  dk = ds^T q,  dv = p^T do
 * the pairs (query, key) are visited in blocks of 256 x 256, so p and ds of one
 * block are all that is ever kept. Blocks of queries come in order and within
 * one the blocks of keys do, which is the order in which rule 3 adds block sums
 * both to dq (over keys) and to dk, dv (over queries).
 *
 * A unit of work is a kv head of a sequence, as dk and dv add up over its query
 * heads. */
#include <stdatomic.h>
#include <string.h>

#include "base/checked.h"
#include "compute/cpu/cpu.h"
#include "compute/fn.h"

#define P_ROW (CPU_BLOCK + 16) /* keeps rows off the same cache sets */

struct grad {
    const struct cpu_kernels *kernels;
    const float *dout, *q, *k, *v, *o, *max, *sum; /* as OP_ATTENTION_GRAD's inputs */
    float *dq, *dk, *dv;
    size_t b, t, h, g, e;
    float scale;
    float *scratch;
    size_t over_e, over_t, local_floats; /* floats of packed (E, T) and (T, E); of one part */
    atomic_size_t next;
};

/* One part's scratch. */
struct local {
    float *kt, *vt;  /* packed (E, T) */
    float *k;        /* packed (T, E) */
    float *q, *dout; /* packed (256, E): this block's queries */
    float *p, *ds;   /* (256, P_ROW) */
    float *dk, *dv;  /* (T, E): a head's own sums when the group has several */
    float delta[CPU_BLOCK], inv_sum[CPU_BLOCK];
};

/* One query head. Rows of q-like tensors are q_row apart, of k-like ones kv_row. */
struct head {
    const float *dout, *q, *o, *max, *sum;
    float *dq, *dk, *dv;
    size_t q_row, dkv_row;
};

/* One block of pairs: queries q0.., keys k0... */
struct block {
    size_t q0, queries, k0, keys;
    bool diagonal; /* q0 == k0: query i sees the keys up to i only */
};

static size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

static struct local local_of(const struct grad *g, float *at)
{
    struct local l;
    l.kt = at;
    l.vt = l.kt + g->over_e;
    l.k = l.vt + g->over_e;
    l.q = l.k + g->over_t;
    l.dout = l.q + cpu_packed_floats(g->kernels, CPU_BLOCK, g->e);
    l.p = l.dout + cpu_packed_floats(g->kernels, CPU_BLOCK, g->e);
    l.ds = l.p + CPU_BLOCK * P_ROW;
    l.dk = l.ds + CPU_BLOCK * P_ROW;
    l.dv = l.dk + g->t * g->e;
    return l;
}

static size_t local_size(const struct grad *g)
{
    return 2 * g->over_e + g->over_t + 2 * cpu_packed_floats(g->kernels, CPU_BLOCK, g->e) +
           2 * CPU_BLOCK * P_ROW + 2 * g->t * g->e;
}

/* c[rows, keys] = a[rows, E] times packed (E, T), keys of the block only */
static void against_keys(const struct grad *g, const float *a, size_t a_row, const float *packed,
                         float *c, size_t rows, size_t k0, size_t keys)
{
    const struct cpu_kernels *kn = g->kernels;
    for (size_t e0 = 0; e0 < g->e; e0 += CPU_BLOCK)
        for (size_t j = 0; j < keys; j += kn->nr) {
            struct cpu_panel p = {.rows = rows,
                                  .cols = min_size(keys - j, kn->nr),
                                  .k = min_size(g->e - e0, CPU_BLOCK),
                                  .a = a + e0,
                                  .a_row = a_row,
                                  .a_col = 1,
                                  .c = c + j,
                                  .c_row = P_ROW,
                                  .first = e0 == 0};
            p.b = cpu_packed_panel(kn, packed, g->e, g->t, e0, (k0 + j) / kn->nr);
            kn->panel(&p);
        }
}

/* dq of a tile += ds k over the keys of the block */
static void tile_dq(const struct grad *g, const struct local *l, const float *ds, float *dq,
                    size_t dq_row, size_t rows, size_t k0, size_t keys)
{
    const struct cpu_kernels *kn = g->kernels;
    for (size_t e = 0; e < g->e; e += kn->nr) {
        struct cpu_panel p = {.rows = rows,
                              .cols = min_size(g->e - e, kn->nr),
                              .k = keys,
                              .a = ds,
                              .a_row = P_ROW,
                              .a_col = 1,
                              .c = dq + e,
                              .c_row = dq_row,
                              .first = k0 == 0};
        p.b = cpu_packed_panel(kn, l->k, g->t, g->e, k0, e / kn->nr);
        kn->panel(&p);
    }
}

/* p, ds and dq of the block, tile by tile of queries. */
static void block_rows(const struct grad *g, const struct local *l, const struct head *x,
                       const struct block *b)
{
    size_t mr = g->kernels->mr;
    for (size_t i = 0; i < b->queries; i += mr) {
        size_t rows = min_size(b->queries - i, mr), at = (b->q0 + i) * x->q_row;
        size_t keys = b->diagonal ? i + rows : b->keys;
        float *p = l->p + i * P_ROW, *ds = l->ds + i * P_ROW;
        against_keys(g, x->q + at, x->q_row, l->kt, p, rows, b->k0, keys);
        against_keys(g, x->dout + at, x->q_row, l->vt, ds, rows, b->k0, keys);
        for (size_t r = 0; r < rows; r++)
            g->kernels->softmax_grad(p + r * P_ROW, ds + r * P_ROW, b->diagonal ? i + r + 1 : keys,
                                     keys, g->scale, x->max[b->q0 + i + r], l->inv_sum[i + r],
                                     l->delta[i + r]);
        tile_dq(g, l, ds, x->dq + at, x->q_row, rows, b->k0, keys);
    }
}

/* c[keys, E] += a^T b over the block's queries, for keys i.. and queries from..: a is p or ds, b a
 * packed (queries, E). */
static void transposed(const struct grad *g, const struct block *b, const float *a,
                       const float *packed, float *c, size_t c_row, size_t i, size_t keys,
                       size_t from)
{
    const struct cpu_kernels *kn = g->kernels;
    for (size_t e = 0; e < g->e; e += kn->nr) {
        struct cpu_panel p = {.rows = keys,
                              .cols = min_size(g->e - e, kn->nr),
                              .k = b->queries - from,
                              .a = a + from * P_ROW + i,
                              .a_row = 1,
                              .a_col = P_ROW,
                              .a_tile = kn->mr,
                              .c = c + (b->k0 + i) * c_row + e,
                              .c_row = c_row,
                              .first = b->diagonal};
        p.b = cpu_packed_panel(kn, packed, b->queries, g->e, 0, e / kn->nr) + from * kn->nr;
        kn->panel(&p);
    }
}

/* dk and dv of the block. On the diagonal a tile of keys starts with the queries that are as far:
 * those before it see none of them. The diagonal comes first for every block of keys. */
static void block_columns(const struct grad *g, const struct local *l, const struct head *x,
                          const struct block *b)
{
    size_t step = b->diagonal ? g->kernels->mr : b->keys;
    for (size_t i = 0; i < b->keys; i += step) {
        size_t keys = min_size(b->keys - i, step), from = b->diagonal ? i : 0;
        transposed(g, b, l->ds, l->q, x->dk, x->dkv_row, i, keys, from);
        transposed(g, b, l->p, l->dout, x->dv, x->dkv_row, i, keys, from);
    }
}

static void head_grad(const struct grad *g, struct local *l, const struct head *x)
{
    for (size_t q0 = 0; q0 < g->t; q0 += CPU_BLOCK) {
        size_t queries = min_size(g->t - q0, CPU_BLOCK);
        for (size_t i = 0; i < queries; i++) {
            size_t at = (q0 + i) * x->q_row;
            l->delta[i] = g->kernels->dot(x->dout + at, x->o + at, g->e);
            l->inv_sum[i] = fn_div(1.0f, x->sum[q0 + i]);
        }
        cpu_pack(g->kernels, l->q, x->q + q0 * x->q_row, x->q_row, 1, queries, g->e);
        cpu_pack(g->kernels, l->dout, x->dout + q0 * x->q_row, x->q_row, 1, queries, g->e);
        for (size_t k0 = 0; k0 <= q0; k0 += CPU_BLOCK) {
            struct block b = {q0, queries, k0, min_size(g->t - k0, CPU_BLOCK), k0 == q0};
            block_rows(g, l, x, &b);
            block_columns(g, l, x, &b);
        }
    }
}

/* Query head h of sequence b; the first head of a group sums into dk, dv themselves. */
static struct head head_of(const struct grad *g, const struct local *l, size_t b, size_t h)
{
    size_t group = g->h / g->g, at = (b * g->t * g->h + h) * g->e, stat = (b * g->h + h) * g->t;
    size_t kv = (b * g->t * g->g + h / group) * g->e;
    bool own = h % group != 0;
    return (struct head){.dout = g->dout + at,
                         .q = g->q + at,
                         .o = g->o + at,
                         .max = g->max + stat,
                         .sum = g->sum + stat,
                         .dq = g->dq + at,
                         .dk = own ? l->dk : g->dk + kv,
                         .dv = own ? l->dv : g->dv + kv,
                         .q_row = g->h * g->e,
                         .dkv_row = own ? g->e : g->g * g->e};
}

static void unit(const struct grad *g, size_t u, struct local *l)
{
    size_t b = u / g->g, group = g->h / g->g, kv_row = g->g * g->e;
    size_t kv = (b * g->t * g->g + u % g->g) * g->e;
    cpu_pack(g->kernels, l->kt, g->k + kv, 1, kv_row, g->e, g->t);
    cpu_pack(g->kernels, l->vt, g->v + kv, 1, kv_row, g->e, g->t);
    cpu_pack(g->kernels, l->k, g->k + kv, kv_row, 1, g->t, g->e);
    for (size_t i = 0; i < group; i++) {
        struct head x = head_of(g, l, b, u % g->g * group + i);
        head_grad(g, l, &x);
        for (size_t t = 0; i > 0 && t < g->t; t++) {
            float *dk = g->dk + kv + t * kv_row, *dv = g->dv + kv + t * kv_row;
            g->kernels->add(dk, dk, l->dk + t * g->e, g->e);
            g->kernels->add(dv, dv, l->dv + t * g->e, g->e);
        }
    }
}

static void grad_part(void *ctx, uint32_t part, uint32_t parts)
{
    struct grad *g = ctx;
    struct local l = local_of(g, g->scratch + part * g->local_floats);
    for (size_t u; (u = atomic_fetch_add(&g->next, 1)) < g->b * g->g;)
        unit(g, u, &l);
}

enum emac_status cpu_attention_grad(struct cpu *cpu, const struct op_attrs *attrs,
                                    const struct tensor *in, struct tensor *out,
                                    struct emac_err *err)
{
    struct grad g = {.kernels = cpu->k,
                     .dout = in[0].data,
                     .q = in[1].data,
                     .k = in[2].data,
                     .v = in[3].data,
                     .o = in[4].data,
                     .max = in[5].data,
                     .sum = in[6].data,
                     .dq = out[0].data,
                     .dk = out[1].data,
                     .dv = out[2].data};
    enum emac_status st;
    g.b = (size_t)attrs->at[0].i;
    g.h = (size_t)attrs->at[1].i;
    g.g = (size_t)attrs->at[2].i;
    g.scale = attrs->at[3].f;
    g.t = in[1].shape.dim[0] / g.b;
    g.e = in[1].shape.dim[1] / g.h;
    g.over_e = cpu_packed_floats(cpu->k, g.e, g.t);
    g.over_t = cpu_packed_floats(cpu->k, g.t, g.e);
    g.local_floats = local_size(&g);
    atomic_init(&g.next, 0);
    st = cpu_scratch(cpu, g.local_floats, cpu->threads * sizeof(float), &g.scratch, err);
    if (st == EMAC_OK)
        cpu_parallel(cpu, 2.0 * (double)(g.b * g.h * g.t) * (double)(g.t * g.e) >= 1e6, grad_part,
                     &g);
    return st;
}
