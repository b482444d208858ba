/* Block-quantised weights: kernels/quant.cl. */
#include "compute/opencl/ops.h"
#include "compute/quant.h"

/* Rows of C that are computed together, or 1: admission runs both, so both are compiled. */
#define ROWS_MAX  8
#define LANES     8  /* items of a column, where not wide; as many as rows at least */
#define UNIT_ROWS 64 /* of a wide item, that reading the weights' blocks pays */

static void quant_begin(struct launch *l, struct cl *cl, const char *kernel,
                        const struct op_attrs *attrs, size_t rows)
{
    launch_begin(l, cl, "quant", kernel);
    launch_define(l, "FORMAT", (size_t)attrs->at[0].i);
    launch_define(l, "ROWS", rows);
    launch_define(l, "LANES", LANES);
}

enum emac_status cl_op_quantise(struct cl *cl, const struct op_attrs *attrs,
                                const struct tensor *in, struct tensor *out, struct emac_err *err)
{
    struct launch l;
    quant_begin(&l, cl, "quantise", attrs, 1);
    launch_memory(&l, in[0].data);
    launch_memory(&l, out[0].data);
    launch_each(&l, cl_count(&in[0]) / quant_info(attrs->at[0].i)->elements, 1);
    return launch_items(&l, err);
}

enum emac_status cl_op_dequantise(struct cl *cl, const struct op_attrs *attrs,
                                  const struct tensor *in, struct tensor *out, struct emac_err *err)
{
    struct launch l;
    quant_begin(&l, cl, "dequantise", attrs, 1);
    launch_memory(&l, in[0].data);
    launch_memory(&l, out[0].data);
    launch_each(&l, cl_count(&out[0]) / QUANT_PART, 1);
    launch_number(&l, out[0].shape.dim[1] / QUANT_PART);
    launch_number(&l, in[0].shape.dim[1]);
    return launch_items(&l, err);
}

/* The product, when the activations are cut: of a team, columns and rows; of a wide item, VEC
 * columns and a unit of rows, or one column. */
static enum emac_status product(struct cl *cl, struct launch *l, size_t m, size_t n, size_t rows,
                                struct emac_err *err)
{
    size_t team = cl_team(cl), local[2] = {1, 1}, x = n, y = 1, unit = m;
    if (!cl_is_wide(cl)) {
        local[0] = team;
        x = cl_div_up(n, team / LANES);
        y = cl_div_up(m, rows);
    } else if (rows > 1) {
        x = cl_div_up(n, cl_vec(cl));
        unit = m < UNIT_ROWS ? m : UNIT_ROWS;
        y = cl_div_up(m, unit);
    }
    launch_number(l, unit);
    if (!cl_is_wide(cl))
        launch_local(l, team * rows * sizeof(float));
    return launch_groups(l, local, x, y, 1, err);
}

/* Scratch: e and es of each part, then the integers. */
enum emac_status cl_op_qmatmul(struct cl *cl, const struct op_attrs *attrs, const struct tensor *in,
                               struct tensor *out, struct emac_err *err)
{
    size_t m = out[0].shape.dim[0], n = out[0].shape.dim[1];
    size_t parts = in[0].shape.dim[1] / QUANT_PART, cells = m * parts, rows = m == 1 ? 1 : ROWS_MAX;
    struct launch l;
    void *scratch;
    enum emac_status st = cl_scratch(cl, cells * (2 + QUANT_PART) * sizeof(float), &scratch, err);
    if (st != EMAC_OK)
        return st;
    float *e = scratch, *es = e + cells, *q = es + cells;
    quant_begin(&l, cl, "activations", attrs, rows);
    launch_memory(&l, in[0].data);
    launch_memory(&l, q);
    launch_memory(&l, e);
    launch_memory(&l, es);
    launch_each(&l, cells, 1);
    st = launch_items(&l, err);
    if (st != EMAC_OK)
        return st;
    quant_begin(&l, cl, "qmatmul", attrs, rows);
    launch_memory(&l, in[1].data);
    launch_memory(&l, q);
    launch_memory(&l, e);
    launch_memory(&l, es);
    launch_memory(&l, out[0].data);
    launch_number(&l, m);
    launch_number(&l, n);
    launch_number(&l, parts);
    launch_number(&l, in[1].shape.dim[1]);
    return product(cl, &l, m, n, rows, err);
}
