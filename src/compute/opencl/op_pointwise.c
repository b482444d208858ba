/* Operators element by element: kernels/pointwise.cl, random.cl. */
#include "base/assert.h"
#include "compute/opencl/ops.h"

/* Inputs' and outputs' addresses in order, over the elements of output 0. */
static enum emac_status run(struct cl *cl, enum op op, const char *kernel, const struct tensor *in,
                            const struct tensor *out, struct emac_err *err)
{
    const void *ptr[OP_IN_MAX + OP_OUT_MAX];
    const struct op_info *info = op_info(op);
    for (uint32_t i = 0; i < info->inputs; i++)
        ptr[i] = in[i].data;
    for (uint32_t i = 0; i < info->outputs; i++)
        ptr[info->inputs + i] = out[i].data;
    return launch_pointwise(cl, kernel, ptr, info->inputs + info->outputs, cl_count(&out[0]), err);
}

#define POINTWISE(name, op)                                                                        \
    enum emac_status cl_op_##name(struct cl *cl, const struct op_attrs *attrs,                     \
                                  const struct tensor *in, struct tensor *out,                     \
                                  struct emac_err *err)                                            \
    {                                                                                              \
        return run(cl, op, #name, in, out, err);                                                   \
    }
POINTWISE(add, OP_ADD)
POINTWISE(mul, OP_MUL)
POINTWISE(scale, OP_SCALE)
POINTWISE(swiglu, OP_SWIGLU)
POINTWISE(swiglu_grad, OP_SWIGLU_GRAD)
POINTWISE(adamw, OP_ADAMW)
POINTWISE(clip_coef, OP_CLIP_COEF)
POINTWISE(square_root, OP_SQRT)
POINTWISE(relu, OP_RELU)
POINTWISE(relu_grad, OP_RELU_GRAD)
POINTWISE(gelu, OP_GELU)
POINTWISE(gelu_grad, OP_GELU_GRAD)
POINTWISE(gelu_tanh, OP_GELU_TANH)
POINTWISE(gelu_tanh_grad, OP_GELU_TANH_GRAD)

enum emac_status cl_add(struct cl *cl, float *dst, const float *a, const float *b, size_t n,
                        struct emac_err *err)
{
    const void *ptr[] = {a, b, dst};
    return launch_pointwise(cl, "add", ptr, EMAC_COUNT(ptr), n, err);
}

enum emac_status cl_op_fill(struct cl *cl, const struct op_attrs *attrs, const struct tensor *in,
                            struct tensor *out, struct emac_err *err)
{
    return cl_fill(cl, out[0].data, cl_count(&out[0]), attrs->at[2].f, err);
}

enum emac_status cl_op_copy(struct cl *cl, const struct op_attrs *attrs, const struct tensor *in,
                            struct tensor *out, struct emac_err *err)
{
    if (in[0].data == out[0].data)
        return EMAC_OK;
    return cl_copy(cl, out[0].data, in[0].data, cl_count(&in[0]) * sizeof(float), err);
}

enum emac_status cl_op_rope(struct cl *cl, const struct op_attrs *attrs, const struct tensor *in,
                            struct tensor *out, struct emac_err *err)
{
    size_t heads = (size_t)attrs->at[0].i, half = in[1].shape.dim[1];
    struct launch l;
    launch_begin(&l, cl, "pointwise", "rope");
    for (uint32_t i = 0; i < 3; i++)
        launch_memory(&l, in[i].data);
    launch_memory(&l, out[0].data);
    launch_each(&l, cl_count(&in[0]) / 2, half);
    launch_number(&l, heads);
    launch_number(&l, half);
    launch_number(&l, in[1].shape.dim[0]);
    launch_word(&l, (uint32_t)attrs->at[1].i);
    return launch_items(&l, err);
}

enum emac_status cl_op_randn(struct cl *cl, const struct op_attrs *attrs, const struct tensor *in,
                             struct tensor *out, struct emac_err *err)
{
    struct launch l;
    launch_begin(&l, cl, "random", "randn");
    launch_memory(&l, out[0].data);
    launch_each(&l, cl_count(&out[0]), 1);
    launch_number(&l, (size_t)(uint64_t)attrs->at[2].i);
    launch_word(&l, (uint32_t)attrs->at[3].i);
    launch_float(&l, attrs->at[4].f);
    return launch_items(&l, err);
}

/* x[...,D] + b[R,D], row n with row n mod R. */
static enum emac_status add_row(struct cl *cl, const struct tensor *in, struct tensor *out,
                                size_t d, struct emac_err *err)
{
    struct launch l;
    launch_begin(&l, cl, "pointwise", "add_row");
    launch_memory(&l, in[0].data);
    launch_memory(&l, in[1].data);
    launch_memory(&l, out[0].data);
    launch_number(&l, d);
    launch_number(&l, cl_count(&in[1]) / d);
    return launch_rows(&l, cl_count(&in[0]) / d, 1, err);
}

enum emac_status cl_op_bias(struct cl *cl, const struct op_attrs *attrs, const struct tensor *in,
                            struct tensor *out, struct emac_err *err)
{
    return add_row(cl, in, out, in[1].shape.dim[0], err);
}

enum emac_status cl_op_position_add(struct cl *cl, const struct op_attrs *attrs,
                                    const struct tensor *in, struct tensor *out,
                                    struct emac_err *err)
{
    return add_row(cl, in, out, in[1].shape.dim[1], err);
}

enum emac_status cl_op_dropout(struct cl *cl, const struct op_attrs *attrs, const struct tensor *in,
                               struct tensor *out, struct emac_err *err)
{
    size_t n = cl_count(&in[0]);
    struct launch l;
    launch_begin(&l, cl, "random", "dropout");
    launch_memory(&l, in[0].data);
    launch_memory(&l, in[1].data);
    launch_memory(&l, out[0].data);
    launch_each(&l, cl_div_up(n, 4), 1);
    launch_number(&l, n);
    launch_float(&l, attrs->at[0].f);
    launch_word(&l, (uint32_t)attrs->at[1].i);
    return launch_items(&l, err);
}
