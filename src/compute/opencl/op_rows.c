/* Operators row by row: kernels/norm.cl, xent.cl, embed.cl, and sums: sum.cl. */
#include "compute/opencl/ops.h"
#include "compute/ref/ref.h" /* the rules' block */

#define COLUMN_ITEMS 64

enum emac_status cl_op_embed(struct cl *cl, const struct op_attrs *attrs, const struct tensor *in,
                             struct tensor *out, struct emac_err *err)
{
    struct launch l;
    launch_begin(&l, cl, "embed", "embed");
    launch_memory(&l, in[0].data);
    launch_memory(&l, in[1].data);
    launch_memory(&l, out[0].data);
    launch_fault(&l);
    launch_number(&l, in[1].shape.dim[0]);
    launch_number(&l, in[1].shape.dim[1]);
    return launch_rows(&l, in[0].shape.dim[0], 1, err);
}

enum emac_status cl_op_embed_grad(struct cl *cl, const struct op_attrs *attrs,
                                  const struct tensor *in, struct tensor *out, struct emac_err *err)
{
    size_t tokens = in[1].shape.dim[0];
    struct launch l;
    enum emac_status st = cl_fill(cl, out[0].data, cl_count(&out[0]), 0.0f, err);
    if (st != EMAC_OK)
        return st;
    launch_begin(&l, cl, "embed", "embed_grad");
    launch_memory(&l, in[0].data);
    launch_memory(&l, in[1].data);
    launch_memory(&l, out[0].data);
    launch_fault(&l);
    launch_number(&l, tokens);
    launch_number(&l, out[0].shape.dim[0]);
    launch_number(&l, out[0].shape.dim[1]);
    return launch_rows(&l, tokens, 1, err);
}

enum emac_status cl_op_rmsnorm(struct cl *cl, const struct op_attrs *attrs, const struct tensor *in,
                               struct tensor *out, struct emac_err *err)
{
    struct launch l;
    launch_begin(&l, cl, "norm", "rmsnorm");
    launch_memory(&l, in[0].data);
    launch_memory(&l, in[1].data);
    launch_memory(&l, out[0].data);
    launch_memory(&l, out[1].data);
    launch_number(&l, in[0].shape.dim[1]);
    launch_float(&l, attrs->at[0].f);
    launch_team(&l);
    return launch_rows(&l, in[0].shape.dim[0], 1, err);
}

/* COLUMN_SUMS over x's rows and d columns, and then the blocks in order to `out`. `sums` has room
 * for a row of d for each 256 rows. */
static enum emac_status launch_columns(struct launch *l, size_t rows, size_t d, float *sums,
                                       float *out, struct emac_err *err)
{
    size_t local[2] = {cl_is_wide(l->cl) ? 1 : COLUMN_ITEMS, 1};
    size_t blocks = cl_div_up(rows, RULE_BLOCK);
    enum emac_status st;
    launch_memory(l, sums);
    launch_number(l, rows);
    launch_number(l, d);
    st = launch_groups(l, local, cl_div_up(cl_div_up(d, cl_vec(l->cl)), local[0]), blocks, 1, err);
    return st == EMAC_OK ? cl_add_rows(l->cl, out, sums, blocks, d, err) : st;
}

/* x[rows, d] -> out[d], with launch_columns' sums */
static enum emac_status sum_rows(struct cl *cl, const float *x, size_t rows, size_t d, float *sums,
                                 float *out, struct emac_err *err)
{
    struct launch l;
    launch_begin(&l, cl, "sum", "column_sums");
    launch_define(&l, "SQUARE", 0);
    launch_memory(&l, x);
    return launch_columns(&l, rows, d, sums, out, err);
}

enum emac_status cl_op_sum_rows(struct cl *cl, const struct op_attrs *attrs,
                                const struct tensor *in, struct tensor *out, struct emac_err *err)
{
    size_t d = out[0].shape.dim[0], rows = cl_count(&in[0]) / d;
    void *sums;
    enum emac_status st =
        cl_scratch(cl, cl_div_up(rows, RULE_BLOCK) * d * sizeof(float), &sums, err);
    return st == EMAC_OK ? sum_rows(cl, in[0].data, rows, d, sums, out[0].data, err) : st;
}

enum emac_status cl_op_rmsnorm_grad(struct cl *cl, const struct op_attrs *attrs,
                                    const struct tensor *in, struct tensor *out,
                                    struct emac_err *err)
{
    size_t n = in[0].shape.dim[0], d = in[0].shape.dim[1];
    void *sums;
    struct launch l;
    enum emac_status st = cl_scratch(cl, cl_div_up(n, RULE_BLOCK) * d * sizeof(float), &sums, err);
    if (st != EMAC_OK)
        return st;
    launch_begin(&l, cl, "norm", "rmsnorm_grad_x");
    for (uint32_t i = 0; i < 4; i++)
        launch_memory(&l, in[i].data);
    launch_memory(&l, out[0].data);
    launch_number(&l, d);
    launch_team(&l);
    st = launch_rows(&l, n, 1, err);
    if (st != EMAC_OK)
        return st;
    launch_begin(&l, cl, "norm", "rmsnorm_grad_w");
    launch_memory(&l, in[0].data);
    launch_memory(&l, in[1].data);
    launch_memory(&l, in[3].data);
    return launch_columns(&l, n, d, sums, out[1].data, err);
}

enum emac_status cl_op_layernorm(struct cl *cl, const struct op_attrs *attrs,
                                 const struct tensor *in, struct tensor *out, struct emac_err *err)
{
    struct launch l;
    launch_begin(&l, cl, "norm", "layernorm");
    for (uint32_t i = 0; i < 3; i++)
        launch_memory(&l, in[i].data);
    for (uint32_t i = 0; i < 3; i++)
        launch_memory(&l, out[i].data);
    launch_number(&l, in[0].shape.dim[1]);
    launch_float(&l, attrs->at[0].f);
    launch_team(&l);
    return launch_rows(&l, in[0].shape.dim[0], 1, err);
}

/* dy, x, w, mean, rstd -> dx, dw, db */
enum emac_status cl_op_layernorm_grad(struct cl *cl, const struct op_attrs *attrs,
                                      const struct tensor *in, struct tensor *out,
                                      struct emac_err *err)
{
    size_t n = in[0].shape.dim[0], d = in[0].shape.dim[1];
    void *sums;
    struct launch l;
    enum emac_status st;
    EMAC_TRY(st, cl_scratch(cl, cl_div_up(n, RULE_BLOCK) * d * sizeof(float), &sums, err));
    launch_begin(&l, cl, "norm", "layernorm_grad_x");
    for (uint32_t i = 0; i < 5; i++)
        launch_memory(&l, in[i].data);
    launch_memory(&l, out[0].data);
    launch_number(&l, d);
    launch_team(&l);
    EMAC_TRY(st, launch_rows(&l, n, 1, err));
    launch_begin(&l, cl, "norm", "layernorm_grad_w");
    launch_memory(&l, in[0].data);
    launch_memory(&l, in[1].data);
    launch_memory(&l, in[3].data);
    launch_memory(&l, in[4].data);
    EMAC_TRY(st, launch_columns(&l, n, d, sums, out[1].data, err));
    st = sum_rows(cl, in[0].data, n, d, sums, out[2].data, err);
out:
    return st;
}

enum emac_status cl_op_xent(struct cl *cl, const struct op_attrs *attrs, const struct tensor *in,
                            struct tensor *out, struct emac_err *err)
{
    struct launch l;
    launch_begin(&l, cl, "xent", "xent");
    launch_memory(&l, in[0].data);
    launch_memory(&l, in[1].data);
    launch_memory(&l, out[0].data);
    launch_memory(&l, out[1].data);
    launch_fault(&l);
    launch_number(&l, in[0].shape.dim[1]);
    launch_team(&l);
    return launch_rows(&l, in[0].shape.dim[0], 1, err);
}

enum emac_status cl_op_xent_grad(struct cl *cl, const struct op_attrs *attrs,
                                 const struct tensor *in, struct tensor *out, struct emac_err *err)
{
    struct launch l;
    launch_begin(&l, cl, "xent", "xent_grad");
    for (uint32_t i = 0; i < 4; i++)
        launch_memory(&l, in[i].data);
    launch_memory(&l, out[0].data);
    launch_fault(&l);
    launch_number(&l, in[1].shape.dim[1]);
    return launch_rows(&l, in[1].shape.dim[0], 1, err);
}

enum emac_status cl_op_correct(struct cl *cl, const struct op_attrs *attrs, const struct tensor *in,
                               struct tensor *out, struct emac_err *err)
{
    struct launch l;
    launch_begin(&l, cl, "xent", "correct");
    launch_memory(&l, in[0].data);
    launch_memory(&l, in[1].data);
    launch_memory(&l, out[0].data);
    launch_fault(&l);
    launch_number(&l, in[0].shape.dim[1]);
    launch_team(&l);
    return launch_rows(&l, in[0].shape.dim[0], 1, err);
}

/* Block sums side by side, then added in order. */
static enum emac_status total(struct cl *cl, bool square, const struct tensor *x, float *out,
                              struct emac_err *err)
{
    size_t n = cl_count(x), blocks = cl_div_up(n, RULE_BLOCK);
    void *sums;
    struct launch l;
    enum emac_status st = cl_scratch(cl, blocks * sizeof(float), &sums, err);
    if (st != EMAC_OK)
        return st;
    launch_begin(&l, cl, "sum", "block_sums");
    launch_define(&l, "SQUARE", square);
    launch_memory(&l, x->data);
    launch_memory(&l, sums);
    launch_each(&l, n, RULE_BLOCK);
    launch_team(&l);
    st = cl_is_wide(cl) ? launch_items(&l, err)
                        : launch_rows(&l, cl_div_up(blocks, cl_team(cl) / RULE_LANES), 1, err);
    if (st != EMAC_OK)
        return st;
    launch_begin(&l, cl, "sum", "add_blocks");
    launch_define(&l, "SQUARE", square);
    launch_memory(&l, sums);
    launch_memory(&l, out);
    launch_number(&l, blocks);
    launch_team(&l);
    return launch_rows(&l, 1, 1, err);
}

enum emac_status cl_op_sum(struct cl *cl, const struct op_attrs *attrs, const struct tensor *in,
                           struct tensor *out, struct emac_err *err)
{
    return total(cl, false, &in[0], out[0].data, err);
}

enum emac_status cl_op_sumsq(struct cl *cl, const struct op_attrs *attrs, const struct tensor *in,
                             struct tensor *out, struct emac_err *err)
{
    return total(cl, true, &in[0], out[0].data, err);
}
