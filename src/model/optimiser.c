/* AdamW with clipping by the global norm, and its schedule. */
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "compute/host_math.h"
#include "model/optimiser.h"

struct step {
    struct graph *g;
    const struct model_params *params;
    value_id count_inv, hyper, hyper_nodecay, clip, loss;
};

static value_id op1(struct graph *g, enum op op, value_id a)
{
    return graph_op(g, op, NULL, 1, &a);
}

static value_id op2(struct graph *g, enum op op, value_id a, value_id b)
{
    value_id in[] = {a, b};

    return graph_op(g, op, NULL, 2, in);
}

/* Inputs stand bundle by bundle, each in order of the parameters' names: input number
 * bundle * params + i is parameter i of the bundle. */
enum { BUNDLE_PARAMS, BUNDLE_M, BUNDLE_V, BUNDLE_GRAD, BUNDLE_W, BUNDLE_COUNT };
static const char *const bundle_prefix[BUNDLE_COUNT] = {"params/", "opt/m.", "opt/v.", "sum/grad.",
                                                        "opt/w."};

/* BUNDLE_W is there with bf16 storage only. */
static uint32_t bundle_count(const struct model_params *params)
{
    return params->storage == DTYPE_BF16 ? BUNDLE_COUNT : BUNDLE_W;
}

static value_id bundle_value(const struct step *s, uint32_t bundle, uint32_t i)
{
    return graph_input_at(s->g, bundle * s->params->count + i).value;
}

static void inputs_add(struct step *s)
{
    struct graph *g = s->g;

    for (uint32_t bundle = 0; bundle < bundle_count(s->params); bundle++) {
        for (uint32_t i = 0; i < s->params->count; i++) {
            char name[GRAPH_NAME_MAX];
            struct model_param p;

            s->params->at(s->params->config, i, &p);
            snprintf(name, sizeof(name), "%s%s", bundle_prefix[bundle], p.name);
            graph_input(g, name, bundle == BUNDLE_PARAMS ? s->params->storage : DTYPE_F32, p.shape);
        }
    }
    s->loss = graph_input(g, "sum/loss", DTYPE_F32, SHAPE1(1));
    s->count_inv = graph_input(g, "args/count_inv", DTYPE_F32, SHAPE1(1));
    s->hyper = graph_input(g, "args/hyper", DTYPE_F32, SHAPE1(8));
    s->hyper_nodecay = graph_input(g, "args/hyper_nodecay", DTYPE_F32, SHAPE1(8));
    s->clip = graph_input(g, "args/clip", DTYPE_F32, SHAPE1(1));
}

/* Sum of squares of all summed gradients, parameter by parameter. */
static value_id total_sumsq(struct step *s)
{
    value_id total = op1(s->g, OP_SUMSQ, bundle_value(s, BUNDLE_GRAD, 0));

    for (uint32_t i = 1; i < s->params->count; i++)
        total = op2(s->g, OP_ADD, total, op1(s->g, OP_SUMSQ, bundle_value(s, BUNDLE_GRAD, i)));
    return total;
}

static void update(struct step *s, uint32_t i, value_id gscale)
{
    struct model_param p;
    value_id in[6], out;

    s->params->at(s->params->config, i, &p);
    for (uint32_t bundle = 0; bundle <= BUNDLE_GRAD; bundle++)
        in[bundle] = bundle_value(s, bundle, i);
    if (s->params->storage == DTYPE_BF16)
        in[0] = bundle_value(s, BUNDLE_W, i);
    in[4] = gscale;
    in[5] = p.decay ? s->hyper : s->hyper_nodecay;
    out = graph_op(s->g, OP_ADAMW, NULL, 6, in);
    if (out == VALUE_NONE)
        return;
    model_param_output(s->g, s->params, p.name, out);
    for (uint32_t bundle = BUNDLE_M; bundle <= BUNDLE_V; bundle++) {
        char name[GRAPH_NAME_MAX];

        snprintf(name, sizeof(name), "%s%s", bundle_prefix[bundle], p.name);
        graph_output(s->g, name, out + bundle);
    }
}

enum emac_status optimiser_graph(const struct model_params *params,
                                 const struct optimiser_recipe *r, struct graph **out,
                                 struct emac_err *err)
{
    struct step s = {.params = params};
    value_id total, gscale;
    enum emac_status st;

    *out = NULL;
    s.g = graph_new();
    inputs_add(&s);
    EMAC_TRY(st, graph_status(s.g, err));
    total = total_sumsq(&s);
    gscale = s.count_inv;
    if (r->clip_norm > 0) {
        value_id mean_sumsq = op2(s.g, OP_MUL, op2(s.g, OP_MUL, total, s.count_inv), s.count_inv);

        gscale = op2(s.g, OP_MUL, s.count_inv, op2(s.g, OP_CLIP_COEF, mean_sumsq, s.clip));
    }
    for (uint32_t i = 0; i < params->count; i++)
        update(&s, i, gscale);
    graph_output(s.g, "metrics/loss", op2(s.g, OP_MUL, s.loss, s.count_inv));
    graph_output(s.g, "metrics/grad_norm", op2(s.g, OP_MUL, op1(s.g, OP_SQRT, total), s.count_inv));
    EMAC_TRY(st, graph_status(s.g, err));
    *out = s.g;
    s.g = NULL;
out:
    graph_free(s.g);
    return st;
}

enum emac_status mean_loss_graph(struct graph **out, struct emac_err *err)
{
    struct graph *g = graph_new();
    value_id loss = graph_input(g, "sum/loss", DTYPE_F32, SHAPE1(1));
    value_id count_inv = graph_input(g, "args/count_inv", DTYPE_F32, SHAPE1(1));
    enum emac_status st;

    *out = NULL;
    graph_output(g, "metrics/loss", op2(g, OP_MUL, loss, count_inv));
    EMAC_TRY(st, graph_status(g, err));
    *out = g;
    g = NULL;
out:
    graph_free(g);
    return st;
}

double optimiser_lr(const struct optimiser_recipe *r, uint32_t t)
{
    static const double pi = 0x1.921fb54442d18p+1;
    double progress;

    if (t < r->warmup_steps)
        return r->lr * ((double)t + 1.0) / (double)r->warmup_steps;
    if (t >= r->steps || r->steps <= r->warmup_steps)
        return r->min_lr;
    progress = (double)(t - r->warmup_steps) / (double)(r->steps - r->warmup_steps);
    return r->min_lr + 0.5 * (r->lr - r->min_lr) * (1.0 + host_cos(pi * progress));
}

static void adamw_hyper(const struct optimiser_recipe *r, uint32_t t, bool decay, float out[8])
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

/* The next argument's values; names come in order. */
static float *arg_add(struct optimiser_args *a, const char *name, uint32_t width)
{
    EMAC_ASSERT(a->count < OPTIMISER_ARGS_MAX && width <= OPTIMISER_ARG_WIDTH_MAX);
    struct optimiser_arg *arg = &a->arg[a->count++];
    EMAC_ASSERT(a->count == 1 || strcmp(arg[-1].name, name) < 0);
    arg->name = name;
    arg->width = width;
    return arg->value;
}

void optimiser_args(const struct optimiser_recipe *r, uint32_t t, uint32_t micro_batches,
                    struct optimiser_args *out)
{
    EMAC_ASSERT(micro_batches > 0);
    out->count = 0;
    *arg_add(out, "clip", 1) = (float)r->clip_norm;
    *arg_add(out, "count_inv", 1) = (float)(1.0 / (double)micro_batches);
    adamw_hyper(r, t, true, arg_add(out, "hyper", 8));
    adamw_hyper(r, t, false, arg_add(out, "hyper_nodecay", 8));
}
