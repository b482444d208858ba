/* One small function per operator: given the gradient of the operator's first output, the nodes
 * that make the gradients of its inputs. Capital letters as in compute/op.h. */
#include "base/assert.h"
#include "graph/graph_internal.h"

static value_id op1(struct graph *g, enum op op, value_id a)
{
    return graph_op(g, op, NULL, 1, &a);
}

static value_id op2(struct graph *g, enum op op, value_id a, value_id b)
{
    value_id in[] = {a, b};

    return graph_op(g, op, NULL, 2, in);
}

static value_id matmul(struct graph *g, value_id a, value_id b, bool trans_a, bool trans_b)
{
    struct op_attrs attrs = {.at = {{.i = trans_a}, {.i = trans_b}}};
    value_id in[] = {a, b};

    return graph_op(g, OP_MATMUL, &attrs, 2, in);
}

static struct shape shape_of(const struct graph *g, value_id v)
{
    enum dtype dtype;
    struct shape shape;

    graph_value_info(g, v, &dtype, &shape);
    return shape;
}

/* table[V,D] gets the sum of the rows of dy over the tokens that used each. */
static void embed(struct grad_step *s)
{
    struct shape table = shape_of(s->g, s->node.in[1]);
    struct op_attrs attrs = {.at = {{.i = (int64_t)table.dim[0]}}};
    value_id in[] = {s->node.in[0], s->dy};

    s->din[1] = graph_op(s->g, OP_EMBED_GRAD, &attrs, 2, in);
}

/* C = op(A) op(B): dop(A) = dC op(B)^T and dop(B) = op(A)^T dC; a transposed operand gets the
 * transpose of that, (XY)^T = Y^T X^T, so flags are enough and nothing is transposed in memory. */
static void matmul_grad(struct grad_step *s)
{
    value_id a = s->node.in[0], b = s->node.in[1], dc = s->dy;
    bool ta = s->node.attrs.at[0].i != 0, tb = s->node.attrs.at[1].i != 0;

    if (s->want[0])
        s->din[0] = ta ? matmul(s->g, b, dc, tb, true) : matmul(s->g, dc, b, false, !tb);
    if (s->want[1])
        s->din[1] = tb ? matmul(s->g, dc, a, true, ta) : matmul(s->g, a, dc, !ta, false);
}

static void add(struct grad_step *s)
{
    s->din[0] = s->dy;
    s->din[1] = s->dy;
}

static void mul(struct grad_step *s)
{
    if (s->want[0])
        s->din[0] = op2(s->g, OP_MUL, s->dy, s->node.in[1]);
    if (s->want[1])
        s->din[1] = op2(s->g, OP_MUL, s->dy, s->node.in[0]);
}

static void scale(struct grad_step *s)
{
    if (s->want[0])
        s->din[0] = op2(s->g, OP_SCALE, s->dy, s->node.in[1]);
    if (s->want[1])
        s->din[1] = op1(s->g, OP_SUM, op2(s->g, OP_MUL, s->dy, s->node.in[0]));
}

/* rstd was saved by the forward node as its second output. */
static void rmsnorm(struct grad_step *s)
{
    value_id in[] = {s->dy, s->node.in[0], s->node.in[1], s->node.out + 1};
    value_id dx = graph_op(s->g, OP_RMSNORM_GRAD, NULL, 4, in);

    s->din[0] = dx;
    s->din[1] = dx == VALUE_NONE ? dx : dx + 1;
}

/* A rotation's gradient is the rotation back. */
static void rope(struct grad_step *s)
{
    struct op_attrs attrs = s->node.attrs;
    value_id in[] = {s->dy, s->node.in[1], s->node.in[2]};

    attrs.at[1].i = !attrs.at[1].i;
    s->din[0] = graph_op(s->g, OP_ROPE, &attrs, 3, in);
}

static void attention(struct grad_step *s)
{
    value_id o = s->node.out;
    value_id in[] = {s->dy, s->node.in[0], s->node.in[1], s->node.in[2], o, o + 1, o + 2};
    value_id dq = graph_op(s->g, OP_ATTENTION_GRAD, &s->node.attrs, 7, in);

    for (uint32_t i = 0; i < 3; i++)
        s->din[i] = dq == VALUE_NONE ? dq : dq + i;
}

static void swiglu(struct grad_step *s)
{
    value_id in[] = {s->dy, s->node.in[0], s->node.in[1]};
    value_id dg = graph_op(s->g, OP_SWIGLU_GRAD, NULL, 3, in);

    s->din[0] = dg;
    s->din[1] = dg == VALUE_NONE ? dg : dg + 1;
}

/* The operator takes one scalar for all tokens: dy is uniform. */
static void xent(struct grad_step *s)
{
    value_id in[] = {s->dy, s->node.in[0], s->node.in[1], s->node.out + 1};

    s->din[0] = graph_op(s->g, OP_XENT_GRAD, NULL, 4, in);
}

static void sum(struct grad_step *s)
{
    s->din[0] = s->dy;
    s->din_uniform = true;
}

/* d(sum x^2) = 2 x dy; dy + dy is exactly 2 dy. */
static void sumsq(struct grad_step *s)
{
    s->din[0] = op2(s->g, OP_SCALE, s->node.in[0], op2(s->g, OP_ADD, s->dy, s->dy));
}

/* Back to the shape of the input: by reshape where that can say it. */
static void reshape(struct grad_step *s)
{
    s->din[0] = graph_view(s->g, s->dy, shape_of(s->g, s->node.in[0]));
}

static void bias(struct grad_step *s)
{
    s->din[0] = s->dy;
    if (s->want[1])
        s->din[1] = op1(s->g, OP_SUM_ROWS, s->dy);
}

/* Each row gets the one gradient: +0 + dy. */
static void sum_rows(struct grad_step *s)
{
    struct shape to = shape_of(s->g, s->node.in[0]);
    struct op_attrs fill = {.at = {{.i = 1}, {.i = 0}, {.f = 0.0f}}};
    value_id zeros;

    for (uint32_t i = 0; i < to.rank; i++)
        fill.at[0].i *= (int64_t)to.dim[i];
    zeros = graph_view(s->g, graph_op(s->g, OP_FILL, &fill, 0, NULL), to);
    s->din[0] = op2(s->g, OP_BIAS, zeros, s->dy);
}

static void relu(struct grad_step *s)
{
    s->din[0] = op2(s->g, OP_RELU_GRAD, s->dy, s->node.in[0]);
}

/* mean and rstd were saved by the forward node. */
static void layernorm(struct grad_step *s)
{
    value_id in[] = {s->dy, s->node.in[0], s->node.in[1], s->node.out + 1, s->node.out + 2};
    value_id dx = graph_op(s->g, OP_LAYERNORM_GRAD, NULL, 5, in);

    for (uint32_t i = 0; i < 3; i++)
        s->din[i] = dx == VALUE_NONE ? dx : dx + i;
}

static void gelu(struct grad_step *s)
{
    s->din[0] = op2(s->g, OP_GELU_GRAD, s->dy, s->node.in[0]);
}

static void gelu_tanh(struct grad_step *s)
{
    s->din[0] = op2(s->g, OP_GELU_TANH_GRAD, s->dy, s->node.in[0]);
}

/* p[T,D] is a row of T*D that was added to each sequence: its gradient is the sum of these rows. */
static void position_add(struct grad_step *s)
{
    struct shape x = shape_of(s->g, s->node.in[0]), p = shape_of(s->g, s->node.in[1]);
    value_id dp;

    s->din[0] = s->dy;
    if (!s->want[1])
        return;
    dp = graph_view(s->g, s->dy, SHAPE2(x.dim[0] / p.dim[0], p.dim[0] * p.dim[1]));
    s->din[1] = graph_view(s->g, op1(s->g, OP_SUM_ROWS, dp), p);
}

static value_id op2_attrs(struct grad_step *s, enum op op, struct op_attrs attrs, value_id b)
{
    value_id in[] = {s->dy, b};

    return graph_op(s->g, op, &attrs, 2, in);
}

/* The gradients state the size that they cannot infer: the image's, the kernel's. */
static void conv2d(struct grad_step *s)
{
    struct shape x = shape_of(s->g, s->node.in[0]), w = shape_of(s->g, s->node.in[1]);
    struct op_attrs image = {.at = {{.i = (int64_t)x.dim[1]}, {.i = (int64_t)x.dim[2]}}};
    struct op_attrs kernel = {.at = {{.i = (int64_t)w.dim[1]}, {.i = (int64_t)w.dim[2]}}};

    for (uint32_t i = 0; i < 2; i++)
        image.at[2 + i] = kernel.at[2 + i] = s->node.attrs.at[i]; /* stride, pad */
    if (s->want[0])
        s->din[0] = op2_attrs(s, OP_CONV2D_GRAD_X, image, s->node.in[1]);
    if (s->want[1])
        s->din[1] = op2_attrs(s, OP_CONV2D_GRAD_W, kernel, s->node.in[0]);
}

static void maxpool2d(struct grad_step *s)
{
    s->din[0] = op2_attrs(s, OP_MAXPOOL2D_GRAD, s->node.attrs, s->node.in[0]);
}

static void avgpool2d(struct grad_step *s)
{
    struct shape x = shape_of(s->g, s->node.in[0]);
    struct op_attrs attrs = {.at = {{.i = (int64_t)x.dim[1]},
                                    {.i = (int64_t)x.dim[2]},
                                    s->node.attrs.at[0],
                                    s->node.attrs.at[1]}};

    s->din[0] = graph_op(s->g, OP_AVGPOOL2D_GRAD, &attrs, 1, &s->dy);
}

static void copy(struct grad_step *s)
{
    s->din[0] = s->dy;
}

/* What the mask did to x it does to dy. */
static void dropout(struct grad_step *s)
{
    s->din[0] = op2_attrs(s, OP_DROPOUT, s->node.attrs, s->node.in[1]);
}

static const struct grad_rule rules[OP_COUNT] = {
    [OP_EMBED] = {embed, 1u << 1, false},
    [OP_MATMUL] = {matmul_grad, 3, false},
    [OP_ADD] = {add, 3, false},
    [OP_MUL] = {mul, 3, false},
    [OP_SCALE] = {scale, 3, false},
    [OP_RMSNORM] = {rmsnorm, 3, false},
    [OP_ROPE] = {rope, 1, false},
    [OP_ATTENTION] = {attention, 7, false},
    [OP_SWIGLU] = {swiglu, 3, false},
    [OP_XENT] = {xent, 1, true},
    [OP_SUM] = {sum, 1, false},
    [OP_SUMSQ] = {sumsq, 1, false},
    [OP_RESHAPE] = {reshape, 1, false},
    [OP_COPY] = {copy, 1, false},
    [OP_LAYERNORM] = {layernorm, 7, false},
    [OP_GELU] = {gelu, 1, false},
    [OP_GELU_TANH] = {gelu_tanh, 1, false},
    [OP_POSITION_ADD] = {position_add, 3, false},
    [OP_DROPOUT] = {dropout, 1, false},
    [OP_VIEW] = {reshape, 1, false},
    [OP_BIAS] = {bias, 3, false},
    [OP_SUM_ROWS] = {sum_rows, 1, false},
    [OP_RELU] = {relu, 1, false},
    [OP_CONV2D] = {conv2d, 3, false},
    [OP_MAXPOOL2D] = {maxpool2d, 1, false},
    [OP_AVGPOOL2D] = {avgpool2d, 1, false},
};

const struct grad_rule *graph_grad_rule(enum op op)
{
    EMAC_ASSERT((unsigned)op < OP_COUNT);
    return &rules[op];
}
