/* Lion: the sign of a mean of gradients is the step. */
#include "model/optimiser_impl.h"

/* 1, +0 or -1: relu's gradient passes a one where its argument is positive. */
static value_id sign(struct optimiser_step *s, value_id x, struct shape shape)
{
    value_id one = model_fill(s->g, shape, 1.0f);
    const value_id positive[] = {one, x}, negative[] = {one, step_times(s, x, -1.0)};
    value_id up = graph_op(s->g, OP_RELU_GRAD, NULL, 2, positive);
    value_id down = graph_op(s->g, OP_RELU_GRAD, NULL, 2, negative);
    return step_add(s, up, step_times(s, down, -1.0));
}

static value_id update(struct optimiser_step *s, struct optimiser_update *u)
{
    const struct optimiser_recipe *r = s->r;
    value_id g = step_gradient(s, u), m = u->state[0];
    value_id mean = step_blend(s, m, r->beta1, g, 1.0 - r->beta1);
    u->state[0] = step_blend(s, m, r->beta2, g, 1.0 - r->beta2);
    return step_descend(s, u, sign(s, mean, u->param->shape));
}

const struct optimiser_rule OPTIMISER_RULE_LION = {{"m"}, optimiser_args_descent, update};
