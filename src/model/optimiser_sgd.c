/* Stochastic gradient descent with momentum. */
#include "model/optimiser_impl.h"

static value_id update(struct optimiser_step *s, struct optimiser_update *u)
{
    const struct optimiser_recipe *r = s->r;
    value_id d = step_gradient(s, u);
    if (u->param->decay && r->weight_decay > 0)
        d = step_add(s, d, step_times(s, u->weight, r->weight_decay));
    value_id m = step_add(s, step_times(s, u->state[0], r->momentum), d);
    u->state[0] = m;
    if (r->nesterov)
        d = step_add(s, d, step_times(s, m, r->momentum));
    else
        d = m;
    return step_add(s, u->weight, step_scale(s, d, step_arg(s, "minus_lr")));
}

static void args(const struct optimiser_recipe *r, uint32_t t, struct optimiser_args *out)
{
    *optimiser_arg_add(out, "minus_lr", 1) = (float)-optimiser_lr(r, t);
}

const struct optimiser_rule OPTIMISER_RULE_SGD = {{"m"}, args, update};
