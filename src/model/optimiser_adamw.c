/* AdamW, as one operator. */
#include "base/assert.h"
#include "compute/host_math.h"
#include "model/optimiser_impl.h"

/* The 8 numbers of OP_ADAMW's `hyper`. */
static void hyper(const struct optimiser_recipe *r, uint32_t t, bool decay, float out[8])
{
    unsigned n = (unsigned)t + 1;

    EMAC_ASSERT(t < UINT32_MAX);
    out[0] = (float)optimiser_lr(r, t);
    out[1] = (float)r->beta1;
    out[2] = (float)r->beta2;
    out[3] = (float)r->eps;
    out[4] = decay ? (float)r->weight_decay : 0.0f;
    out[5] = (float)(1.0 / (1.0 - host_powi(r->beta1, n)));
    out[6] = (float)(1.0 / (1.0 - host_powi(r->beta2, n)));
    out[7] = 0.0f;
}

static void args(const struct optimiser_recipe *r, uint32_t t, struct optimiser_args *out)
{
    hyper(r, t, true, optimiser_arg_add(out, "hyper", 8));
    hyper(r, t, false, optimiser_arg_add(out, "hyper_nodecay", 8));
}

static value_id update(struct optimiser_step *s, struct optimiser_update *u)
{
    const value_id in[] = {u->weight,   u->state[0],
                           u->state[1], u->grad,
                           s->gscale,   step_arg(s, u->param->decay ? "hyper" : "hyper_nodecay")};
    value_id out = graph_op(s->g, OP_ADAMW, NULL, 6, in);
    u->state[0] = out + 1;
    u->state[1] = out + 2;
    return out;
}

const struct optimiser_rule OPTIMISER_RULE_ADAMW = {{"m", "v"}, args, update};
