/* Attention by rule 5, out of batched products and what kernels/attention.cl does between them; the
 * readable form is ref/attention.c.
 *
 * Queries come in blocks of 256, some heads at a time: scores against all keys before the block's
 * end, softmax, and the product with the values, so the scores that exist at once are bounded
 * (SCORES_*), never T x T. Keys that a query may not see get a p of +0, which rules 3 and 4 do not
 * notice. The gradient visits the blocks in order: a block of queries is one block of rule 3's sums
 * for dk and dv, which are added to what the blocks before left there. */
#include "base/assert.h"
#include "compute/opencl/ops.h"
#include "compute/ref/ref.h"

#define SCORES_UNIT  ((size_t)256 << 10) /* floats a core, where wide: half a level-2 cache */
#define SCORES_TEAMS ((size_t)16 << 20)  /* floats, else */

struct dims {
    size_t b, t, h, g, e, group, ld;
    float scale;
};

/* Heads h0.. of sequences b0..: either whole sequences or some groups of one. */
struct part {
    size_t b0, h0, sequences, heads;
};

/* Queries t0.., and the keys before their end. */
struct block {
    size_t t0, rows, keys;
};

static struct dims dims_of(const struct op_attrs *attrs, const struct tensor *q)
{
    struct dims d = {.b = (size_t)attrs->at[0].i,
                     .h = (size_t)attrs->at[1].i,
                     .g = (size_t)attrs->at[2].i,
                     .scale = attrs->at[3].f};
    d.t = q->shape.dim[0] / d.b;
    d.e = q->shape.dim[1] / d.h;
    d.group = d.h / d.g;
    d.ld = cl_div_up(d.t, 16) * 16 + 16; /* rows off the same cache sets */
    return d;
}

/* Floats of scores of one head. */
static size_t head_scores(const struct dims *d)
{
    return cl_min(RULE_BLOCK, d->t) * d->ld;
}

/* As many heads as the bound on scores allows, of which `each` kinds are kept. */
static struct part part_size(const struct cl *cl, const struct dims *d, size_t each)
{
    size_t bound = cl_is_wide(cl) ? SCORES_UNIT * cl_limits(cl)->units : SCORES_TEAMS;
    size_t heads = bound / (each * head_scores(d));
    if (heads >= d->h)
        return (struct part){0, 0, cl_min(heads / d->h, d->b), d->h};
    heads = heads < d->group ? d->group : heads / d->group * d->group;
    return (struct part){0, 0, 1, heads};
}

/* The next part of the same size, or what is left; false when there is none. */
static bool part_next(struct part *p, const struct dims *d, const struct part *size)
{
    p->h0 += size->heads;
    if (p->h0 >= d->h) {
        p->h0 = 0;
        p->b0 += size->sequences;
    }
    p->heads = cl_min(size->heads, d->h - p->h0);
    p->sequences = p->b0 < d->b ? cl_min(size->sequences, d->b - p->b0) : 0;
    return p->b0 < d->b;
}

static struct block block_at(const struct dims *d, size_t t0)
{
    struct block k = {.t0 = t0, .rows = cl_min(RULE_BLOCK, d->t - t0)};
    k.keys = t0 + k.rows;
    return k;
}

/* Row t of the part's first head of a tensor like q, or like k. */
static size_t q_at(const struct dims *d, const struct part *p, size_t t)
{
    return ((p->b0 * d->t + t) * d->h + p->h0) * d->e;
}

static size_t k_at(const struct dims *d, const struct part *p)
{
    return (p->b0 * d->t * d->g + p->h0 / d->group) * d->e;
}

/* s[z][rows, keys] = x y^T: x like q, y like k. */
static enum emac_status against_keys(struct cl *cl, const struct dims *d, const struct part *p,
                                     const struct block *k, const float *x, const float *y,
                                     float *s, struct emac_err *err)
{
    struct cl_matmul mm = {.a = x + q_at(d, p, k->t0),
                           .b = y + k_at(d, p),
                           .c = s,
                           .m = k->rows,
                           .n = k->keys,
                           .k = d->e,
                           .trans_b = true,
                           .lda = d->h * d->e,
                           .ldb = d->g * d->e,
                           .ldc = d->ld,
                           .outer = p->sequences,
                           .inner = p->heads,
                           .b_group = d->group};
    mm.a_outer = d->t * mm.lda;
    mm.b_outer = d->t * mm.ldb;
    mm.a_inner = mm.b_inner = d->e;
    mm.c_inner = k->rows * d->ld;
    mm.c_outer = p->heads * mm.c_inner;
    return cl_matmul(cl, &mm, err);
}

/* to[rows, E] = s y over the keys: to like q, y like k. */
static enum emac_status over_keys(struct cl *cl, const struct dims *d, const struct part *p,
                                  const struct block *k, const float *s, const float *y, float *to,
                                  struct emac_err *err)
{
    struct cl_matmul mm = {.a = s,
                           .b = y + k_at(d, p),
                           .c = to + q_at(d, p, k->t0),
                           .m = k->rows,
                           .n = d->e,
                           .k = k->keys,
                           .lda = d->ld,
                           .ldb = d->g * d->e,
                           .ldc = d->h * d->e,
                           .outer = p->sequences,
                           .inner = p->heads,
                           .b_group = d->group};
    mm.a_inner = k->rows * d->ld;
    mm.a_outer = p->heads * mm.a_inner;
    mm.b_outer = d->t * mm.ldb;
    mm.c_outer = d->t * mm.ldc;
    mm.b_inner = mm.c_inner = d->e;
    return cl_matmul(cl, &mm, err);
}

/* to[keys, E] (+)= s^T x over the block's queries: to and x like q. */
static enum emac_status over_queries(struct cl *cl, const struct dims *d, const struct part *p,
                                     const struct block *k, const float *s, const float *x,
                                     float *to, struct emac_err *err)
{
    struct cl_matmul mm = {.a = s,
                           .b = x + q_at(d, p, k->t0),
                           .c = to + q_at(d, p, 0),
                           .m = k->keys,
                           .n = d->e,
                           .k = k->rows,
                           .trans_a = true,
                           .accumulate = d->t > RULE_BLOCK,
                           .lda = d->ld,
                           .ldb = d->h * d->e,
                           .ldc = d->h * d->e,
                           .outer = p->sequences,
                           .inner = p->heads,
                           .b_group = 1};
    mm.a_inner = k->rows * d->ld;
    mm.a_outer = p->heads * mm.a_inner;
    mm.b_outer = mm.c_outer = d->t * mm.ldb;
    mm.b_inner = mm.c_inner = d->e;
    return cl_matmul(cl, &mm, err);
}

/* Row i of `rows` of each of z heads sees len + i step keys; stats of z's row i at
 * [z * stat_row + stat + i]. */
static enum emac_status softmax(struct cl *cl, const struct dims *d, float *s, float *max,
                                float *sum, const size_t number[7], size_t z, struct emac_err *err)
{
    struct launch l;
    launch_begin(&l, cl, "attention", "softmax");
    launch_memory(&l, s);
    launch_memory(&l, max);
    launch_memory(&l, sum);
    for (size_t i = 0; i < 7; i++)
        launch_number(&l, number[i]);
    launch_float(&l, d->scale);
    launch_team(&l);
    return launch_rows(&l, number[0], z, err);
}

/* o *= 1 / sum, row by row of a head. */
static enum emac_status normalise(struct cl *cl, const struct dims *d, float *o, const float *sum,
                                  struct emac_err *err)
{
    struct launch l;
    launch_begin(&l, cl, "attention", "normalise");
    launch_memory(&l, o);
    launch_memory(&l, sum);
    launch_number(&l, d->t);
    launch_number(&l, d->h);
    launch_number(&l, d->e);
    return launch_rows(&l, d->b * d->t * d->h, 1, err);
}

enum emac_status cl_op_attention(struct cl *cl, const struct op_attrs *attrs,
                                 const struct tensor *in, struct tensor *out, struct emac_err *err)
{
    struct dims d = dims_of(attrs, &in[0]);
    const float *q = in[0].data, *k = in[1].data, *v = in[2].data;
    float *o = out[0].data, *max = out[1].data, *sum = out[2].data;
    struct part size = part_size(cl, &d, 1), p = size;
    enum emac_status st;
    void *s;
    EMAC_TRY(
        st, cl_scratch(cl, size.sequences * size.heads * head_scores(&d) * sizeof(float), &s, err));
    do
        for (size_t t0 = 0; t0 < d.t; t0 += RULE_BLOCK) {
            struct block b = block_at(&d, t0);
            const size_t number[7] = {b.rows, d.ld, b.keys, t0 + 1, 1, d.t, t0};
            size_t stat = (p.b0 * d.h + p.h0) * d.t;
            EMAC_TRY(st, against_keys(cl, &d, &p, &b, q, k, s, err));
            EMAC_TRY(
                st, softmax(cl, &d, s, max + stat, sum + stat, number, p.sequences * p.heads, err));
            EMAC_TRY(st, over_keys(cl, &d, &p, &b, s, v, o, err));
        }
    while (part_next(&p, &d, &size));
    st = normalise(cl, &d, o, sum, err);
out:
    return st;
}

/* The heads of a group are the rows, and all see every key. */
static enum emac_status decode_row(struct cl *cl, const struct attention_decode *x,
                                   struct emac_err *err)
{
    struct dims d = {.b = 1,
                     .t = 1,
                     .h = x->heads,
                     .g = x->kv_heads,
                     .e = x->head_dim,
                     .group = x->heads / x->kv_heads,
                     .ld = x->len,
                     .scale = x->scale};
    const size_t number[7] = {d.group, d.ld, x->len, x->len, 0, d.group, 0};
    struct cl_matmul mm = {.a = x->q,
                           .b = x->k,
                           .m = d.group,
                           .n = x->len,
                           .k = d.e,
                           .trans_b = true,
                           .lda = d.e,
                           .ldb = d.g * d.e,
                           .ldc = d.ld,
                           .outer = 1,
                           .inner = d.g,
                           .b_group = 1,
                           .a_inner = d.group * d.e,
                           .b_inner = d.e,
                           .c_inner = d.group * d.ld};
    float *s;
    void *scratch;
    enum emac_status st;
    EMAC_TRY(st, cl_scratch(cl, d.h * (d.ld + 2) * sizeof(float), &scratch, err));
    s = mm.c = scratch;
    EMAC_TRY(st, cl_matmul(cl, &mm, err));
    EMAC_TRY(st, softmax(cl, &d, s, s + d.h * d.ld, s + d.h * (d.ld + 1), number, d.g, err));
    mm = (struct cl_matmul){.a = s,
                            .b = x->v,
                            .c = x->o,
                            .m = d.group,
                            .n = d.e,
                            .k = x->len,
                            .lda = d.ld,
                            .ldb = d.g * d.e,
                            .ldc = d.e,
                            .outer = 1,
                            .inner = d.g,
                            .b_group = 1,
                            .a_inner = d.group * d.ld,
                            .b_inner = d.e,
                            .c_inner = d.group * d.e};
    EMAC_TRY(st, cl_matmul(cl, &mm, err));
    st = normalise(cl, &d, x->o, s + d.h * (d.ld + 1), err);
out:
    return st;
}

enum emac_status cl_attention_decode(struct cl *cl, const struct attention_decode *x,
                                     struct emac_err *err)
{
    struct attention_decode row = *x;
    enum emac_status st = EMAC_OK;
    for (row.len -= x->rows; row.len < x->len && st == EMAC_OK;) {
        row.len++;
        st = decode_row(cl, &row, err);
        row.q += x->heads * x->head_dim;
        row.o += x->heads * x->head_dim;
    }
    return st;
}

/* ---- gradient ---- */

struct grad {
    const float *dout, *q, *k, *v, *o, *max, *sum; /* inputs */
    float *dq, *dk, *dv;                           /* outputs */
    float *p, *ds;                                 /* scores of a part */
    float *delta;                                  /* (B, H, T) */
    float *dk_h, *dv_h; /* (B, T, H, E): of each query head; dk, dv where a group has one */
};

static enum emac_status grad_init(struct cl *cl, const struct dims *d, const struct part *size,
                                  struct grad *x, struct emac_err *err)
{
    size_t scores = size->sequences * size->heads * head_scores(d), stats = d->b * d->h * d->t;
    size_t all = d->group > 1 ? 2 * stats * d->e : 0;
    void *scratch;
    enum emac_status st = cl_scratch(cl, (2 * scores + stats + all) * sizeof(float), &scratch, err);
    if (st != EMAC_OK)
        return st;
    x->p = scratch;
    x->ds = x->p + scores;
    x->delta = x->ds + scores;
    x->dk_h = all ? x->delta + stats : x->dk;
    x->dv_h = all ? x->dk_h + stats * d->e : x->dv;
    if (d->t <= RULE_BLOCK)
        return EMAC_OK; /* one block: nothing to add to */
    st = cl_fill(cl, x->dk_h, stats * d->e, 0.0f, err);
    return st == EMAC_OK ? cl_fill(cl, x->dv_h, stats * d->e, 0.0f, err) : st;
}

static enum emac_status grad_delta(struct cl *cl, const struct dims *d, const struct grad *x,
                                   struct emac_err *err)
{
    struct launch l;
    launch_begin(&l, cl, "attention", "delta");
    launch_memory(&l, x->dout);
    launch_memory(&l, x->o);
    launch_memory(&l, x->delta);
    launch_number(&l, d->t);
    launch_number(&l, d->h);
    launch_number(&l, d->e);
    launch_team(&l);
    return launch_rows(&l, d->b * d->t * d->h, 1, err);
}

static enum emac_status grad_scores(struct cl *cl, const struct dims *d, const struct part *p,
                                    const struct block *b, const struct grad *x,
                                    struct emac_err *err)
{
    size_t stat = (p->b0 * d->h + p->h0) * d->t;
    const size_t number[] = {b->rows, d->ld, b->keys, b->t0 + 1, d->t, b->t0};
    struct launch l;
    launch_begin(&l, cl, "attention", "softmax_grad");
    launch_memory(&l, x->p);
    launch_memory(&l, x->ds);
    launch_memory(&l, x->max + stat);
    launch_memory(&l, x->sum + stat);
    launch_memory(&l, x->delta + stat);
    for (size_t i = 0; i < EMAC_COUNT(number); i++)
        launch_number(&l, number[i]);
    launch_float(&l, d->scale);
    return launch_rows(&l, b->rows, p->sequences * p->heads, err);
}

static enum emac_status grad_block(struct cl *cl, const struct dims *d, const struct part *p,
                                   const struct block *b, const struct grad *x,
                                   struct emac_err *err)
{
    enum emac_status st;
    EMAC_TRY(st, against_keys(cl, d, p, b, x->q, x->k, x->p, err));
    EMAC_TRY(st, against_keys(cl, d, p, b, x->dout, x->v, x->ds, err));
    EMAC_TRY(st, grad_scores(cl, d, p, b, x, err));
    EMAC_TRY(st, over_keys(cl, d, p, b, x->ds, x->k, x->dq, err));
    EMAC_TRY(st, over_queries(cl, d, p, b, x->ds, x->q, x->dk_h, err));
    EMAC_TRY(st, over_queries(cl, d, p, b, x->p, x->dout, x->dv_h, err));
out:
    return st;
}

/* dk or dv of a kv head: the results of its query heads, added in head order. */
static enum emac_status add_heads(struct cl *cl, const struct dims *d, const float *from, float *to,
                                  struct emac_err *err)
{
    struct launch l;
    launch_begin(&l, cl, "attention", "add_heads");
    launch_memory(&l, from);
    launch_memory(&l, to);
    launch_each(&l, d->b * d->t * d->g * d->e, 1);
    launch_number(&l, d->group);
    launch_number(&l, d->e);
    return launch_items(&l, err);
}

enum emac_status cl_op_attention_grad(struct cl *cl, const struct op_attrs *attrs,
                                      const struct tensor *in, struct tensor *out,
                                      struct emac_err *err)
{
    struct dims d = dims_of(attrs, &in[1]);
    struct grad x = {.dout = in[0].data,
                     .q = in[1].data,
                     .k = in[2].data,
                     .v = in[3].data,
                     .o = in[4].data,
                     .max = in[5].data,
                     .sum = in[6].data,
                     .dq = out[0].data,
                     .dk = out[1].data,
                     .dv = out[2].data};
    struct part size = part_size(cl, &d, 2), p = size;
    enum emac_status st;
    EMAC_TRY(st, grad_init(cl, &d, &size, &x, err));
    EMAC_TRY(st, grad_delta(cl, &d, &x, err));
    do
        for (size_t t0 = 0; t0 < d.t; t0 += RULE_BLOCK) {
            struct block b = block_at(&d, t0);
            EMAC_TRY(st, grad_block(cl, &d, &p, &b, &x, err));
        }
    while (part_next(&p, &d, &size));
    if (d.group > 1) {
        EMAC_TRY(st, add_heads(cl, &d, x.dk_h, x.dk, err));
        EMAC_TRY(st, add_heads(cl, &d, x.dv_h, x.dv, err));
    }
out:
    return st;
}
