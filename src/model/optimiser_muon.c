/* Muon: momentum, brought near to an orthogonal matrix by Newton-Schulz steps. */
#include "compute/host_math.h"
#include "model/optimiser_impl.h"

enum { NS_STEPS = 5 };
static const double NS_A = 3.4445, NS_B = -4.7750, NS_C = 2.0315;
static const double NORM_LEAST = 1e-7, RMS_OF_ADAMW = 0.2;

static value_id product(struct optimiser_step *s, value_id a, bool trans_a, value_id b,
                        bool trans_b)
{
    const struct op_attrs attrs = {.at = {{.i = trans_a}, {.i = trans_b}}};
    const value_id in[] = {a, b};
    return graph_op(s->g, OP_MATMUL, &attrs, 2, in);
}

/* x / max(|x|, NORM_LEAST): with x in units of the least norm, CLIP_COEF to 1 is just that. */
static value_id normalised(struct optimiser_step *s, value_id x)
{
    value_id units = step_times(s, x, 1.0 / NORM_LEAST);
    value_id sumsq = graph_op(s->g, OP_SUMSQ, NULL, 1, &units);
    const value_id in[] = {sumsq, step_constant(s, 1.0)};
    return step_scale(s, units, graph_op(s->g, OP_CLIP_COEF, NULL, 2, in));
}

/* Five steps towards the orthogonal factor of x [rows, columns]. `wide`: rows <= columns; else all
 * is transposed, so that the squares are of the shorter side. They are symmetric to the bit. */
static value_id orthogonalised(struct optimiser_step *s, value_id x, bool wide)
{
    x = normalised(s, x);
    for (int i = 0; i < NS_STEPS; i++) {
        value_id a = product(s, x, !wide, x, wide);
        value_id aa = product(s, a, false, step_times(s, a, NS_C), false);
        value_id b = step_add(s, step_times(s, a, NS_B), aa);
        value_id bx = wide ? product(s, b, false, x, false) : product(s, x, false, b, false);
        x = step_add(s, step_times(s, x, NS_A), bx);
    }
    return x;
}

static value_id update(struct optimiser_step *s, struct optimiser_update *u)
{
    const struct optimiser_recipe *r = s->r;
    const struct shape shape = u->param->shape, matrix = model_matrix_shape(shape);
    size_t rows = matrix.dim[0], columns = matrix.dim[1];
    value_id g = step_gradient(s, u);
    value_id m = step_blend(s, u->state[0], r->momentum, g, 1.0 - r->momentum);
    u->state[0] = m;
    value_id x = r->nesterov ? step_blend(s, m, r->momentum, g, 1.0 - r->momentum) : m;
    if (shape.rank != 2)
        x = graph_view(s->g, x, matrix);
    x = orthogonalised(s, x, rows <= columns);
    if (shape.rank != 2)
        x = graph_view(s->g, x, shape);
    double longer = (double)(rows > columns ? rows : columns);
    return step_descend(s, u, step_times(s, x, RMS_OF_ADAMW * host_sqrt(longer)));
}

const struct optimiser_rule OPTIMISER_RULE_MUON = {{"m"}, optimiser_args_descent, update};
