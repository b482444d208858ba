/* Block-quantised weights: kernels/quant.cl. */
#include "compute/opencl/ops.h"
#include "compute/quant.h"

#define ROWS_MAX                                                                                   \
    8 /* of C that an item computes, or 1: admission runs both, so both are compiled               \
       */
#define COL_ITEMS 64

static void quant_begin(struct launch *l, struct cl *cl, const char *kernel,
                        const struct op_attrs *attrs, size_t rows)
{
    launch_begin(l, cl, "quant", kernel);
    launch_define(l, "FORMAT", (size_t)attrs->at[0].i);
    launch_define(l, "ROWS", rows);
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

/* Scratch: e and es of each part, then the integers. */
enum emac_status cl_op_qmatmul(struct cl *cl, const struct op_attrs *attrs, const struct tensor *in,
                               struct tensor *out, struct emac_err *err)
{
    size_t m = out[0].shape.dim[0], n = out[0].shape.dim[1];
    size_t parts = in[0].shape.dim[1] / QUANT_PART, cells = m * parts;
    size_t rows = m == 1 ? 1 : ROWS_MAX, local[2] = {cl_is_wide(cl) ? 1 : COL_ITEMS, 1};
    struct launch l;
    void *scratch;
    enum emac_status st = cl_scratch(cl, cells * (2 * sizeof(float) + QUANT_PART), &scratch, err);
    if (st != EMAC_OK)
        return st;
    float *e = scratch, *es = e + cells;
    quant_begin(&l, cl, "activations", attrs, rows);
    launch_memory(&l, in[0].data);
    launch_memory(&l, es + cells);
    launch_memory(&l, e);
    launch_memory(&l, es);
    launch_each(&l, cells, 1);
    st = launch_items(&l, err);
    if (st != EMAC_OK)
        return st;
    quant_begin(&l, cl, "qmatmul", attrs, rows);
    launch_memory(&l, in[1].data);
    launch_memory(&l, es + cells);
    launch_memory(&l, e);
    launch_memory(&l, es);
    launch_memory(&l, out[0].data);
    launch_number(&l, m);
    launch_number(&l, n);
    launch_number(&l, parts);
    launch_number(&l, in[1].shape.dim[1]);
    return launch_groups(&l, local, cl_div_up(n, local[0]), cl_div_up(m, rows), 1, err);
}
