/* A step's graph, around the rule that each parameter follows. */
#include "model/optimiser_impl.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "compute/host_math.h"

struct step_inputs {
    value_id param, state[OPTIMISER_STATE_MAX], grad, weight;
};

static const struct optimiser {
    const struct optimiser_rule *hidden, *other; /* what hidden matrices follow, and the rest */
} OPTIMISERS[OPTIMISER_KINDS] = {
    [OPTIMISER_ADAMW] = {&OPTIMISER_RULE_ADAMW, &OPTIMISER_RULE_ADAMW},
    [OPTIMISER_SGD] = {&OPTIMISER_RULE_SGD, &OPTIMISER_RULE_SGD},
    [OPTIMISER_LION] = {&OPTIMISER_RULE_LION, &OPTIMISER_RULE_LION},
    [OPTIMISER_MUON] = {&OPTIMISER_RULE_MUON, &OPTIMISER_RULE_ADAMW},
};

static const struct optimiser *optimiser_of(const struct optimiser_recipe *r)
{
    EMAC_ASSERT((unsigned)r->kind < OPTIMISER_KINDS);
    return &OPTIMISERS[r->kind];
}

static const struct optimiser_rule *rule_of(const struct optimiser_recipe *r,
                                            const struct model_param *p)
{
    const struct optimiser *o = optimiser_of(r);
    return p->hidden ? o->hidden : o->other;
}

const char *const *optimiser_state(const struct optimiser_recipe *r, const struct model_param *p)
{
    return rule_of(r, p)->state;
}

/* ---- arguments ---- */

float *optimiser_arg_add(struct optimiser_args *a, const char *name, uint32_t width)
{
    EMAC_ASSERT(a->count < OPTIMISER_ARGS_MAX && width <= OPTIMISER_ARG_WIDTH_MAX);
    struct optimiser_arg *arg = &a->arg[a->count++];
    EMAC_ASSERT(a->count == 1 || strcmp(arg[-1].name, name) < 0);
    arg->name = name;
    arg->width = width;
    return arg->value;
}

void optimiser_args_descent(const struct optimiser_recipe *r, uint32_t t,
                            struct optimiser_args *out)
{
    double lr = optimiser_lr(r, t);
    *optimiser_arg_add(out, "keep", 1) = (float)(1.0 - lr * r->weight_decay);
    *optimiser_arg_add(out, "minus_lr", 1) = (float)-lr;
}

void optimiser_args(const struct optimiser_recipe *r, uint32_t t, uint32_t micro_batches,
                    struct optimiser_args *out)
{
    const struct optimiser *o = optimiser_of(r);
    EMAC_ASSERT(micro_batches > 0);
    out->count = 0;
    *optimiser_arg_add(out, "clip", 1) = (float)r->clip_norm;
    *optimiser_arg_add(out, "count_inv", 1) = (float)(1.0 / (double)micro_batches);
    o->other->args(r, t, out);
    if (o->hidden != o->other)
        o->hidden->args(r, t, out);
}

/* ---- how far a step goes ---- */

/* Of |m| / sqrt(v), both without bias. */
static double adam_update(const struct optimiser_recipe *r)
{
    double ratio = r->beta1 * r->beta1 / r->beta2, most;
    if (!(ratio < 1.0))
        return INFINITY;
    most = (1.0 - r->beta1) / host_sqrt((1.0 - r->beta2) * (1.0 - ratio));
    return most > 1.0 ? most : 1.0;
}

double optimiser_reach(const struct optimiser_recipe *r, uint64_t count)
{
    static const double ROUNDING = 1.1;
    double root = host_sqrt((double)count), decay = r->weight_decay * OPTIMISER_RMS_MAX;
    if (r->kind == OPTIMISER_SGD)
        return r->clip_norm > 0
                   ? ROUNDING * r->lr / (1.0 - r->momentum) * (r->clip_norm + decay * root)
                   : INFINITY;
    double update = r->kind == OPTIMISER_LION ? 1.0 : adam_update(r);
    return ROUNDING * r->lr * root * (update + decay);
}

/* ---- what rules are written with ---- */

static value_id op1(struct graph *g, enum op op, value_id a)
{
    return graph_op(g, op, NULL, 1, &a);
}

static value_id op2(struct graph *g, enum op op, value_id a, value_id b)
{
    value_id in[] = {a, b};

    return graph_op(g, op, NULL, 2, in);
}

value_id step_arg(const struct optimiser_step *s, const char *name)
{
    uint32_t i = 0;
    while (i < s->args.count && strcmp(s->args.arg[i].name, name) != 0)
        i++;
    EMAC_ASSERT(i < s->args.count);
    return s->arg[i];
}

value_id step_constant(struct optimiser_step *s, double value)
{
    for (uint32_t i = 0; i < s->constant_count; i++) {
        if (s->constant[i].value == (float)value)
            return s->constant[i].id;
    }
    value_id id = model_fill(s->g, SHAPE1(1), (float)value);
    if (s->constant_count < OPTIMISER_CONSTANTS_MAX)
        s->constant[s->constant_count++] = (struct step_constant){(float)value, id};
    return id;
}

value_id step_add(struct optimiser_step *s, value_id a, value_id b)
{
    return op2(s->g, OP_ADD, a, b);
}

value_id step_scale(struct optimiser_step *s, value_id a, value_id by)
{
    return op2(s->g, OP_SCALE, a, by);
}

value_id step_times(struct optimiser_step *s, value_id a, double by)
{
    return step_scale(s, a, step_constant(s, by));
}

value_id step_blend(struct optimiser_step *s, value_id first, double a, value_id second, double b)
{
    value_id scaled = step_times(s, first, a);
    return step_add(s, scaled, step_times(s, second, b));
}

value_id step_gradient(struct optimiser_step *s, const struct optimiser_update *u)
{
    return step_scale(s, u->grad, s->gscale);
}

value_id step_descend(struct optimiser_step *s, const struct optimiser_update *u, value_id change)
{
    value_id p = u->weight;
    if (u->param->decay && s->r->weight_decay > 0)
        p = step_scale(s, p, step_arg(s, "keep"));
    return step_add(s, p, step_scale(s, change, step_arg(s, "minus_lr")));
}

/* ---- inputs ---- */

static value_id input_add(struct optimiser_step *s, const char *prefix, const struct model_param *p,
                          enum dtype dtype)
{
    char name[GRAPH_NAME_MAX];
    snprintf(name, sizeof name, "%s%s", prefix, p->name);
    return graph_input(s->g, name, dtype, p->shape);
}

/* "opt/<state>." */
#define STATE_PREFIX_MAX 16
static void state_prefix(char out[STATE_PREFIX_MAX], const char *state)
{
    int n = snprintf(out, STATE_PREFIX_MAX, "opt/%s.", state);
    EMAC_ASSERT(n > 0 && n < STATE_PREFIX_MAX);
}

static int state_count(const struct optimiser_rule *rule)
{
    int n = 0;
    while (rule->state[n] != NULL)
        n++;
    return n;
}

enum { INPUT_PARAM, INPUT_STATE, INPUT_GRAD = INPUT_STATE + OPTIMISER_STATE_MAX, INPUT_WEIGHT };

static void part_add(struct optimiser_step *s, int part, uint32_t i)
{
    struct step_inputs *in = &s->input[i];
    struct model_param p;
    s->params->at(s->params->config, i, &p);
    if (part == INPUT_PARAM) {
        in->param = input_add(s, "params/", &p, s->params->storage);
    } else if (part == INPUT_GRAD) {
        in->grad = input_add(s, "sum/grad.", &p, DTYPE_F32);
    } else if (part == INPUT_WEIGHT) {
        in->weight =
            s->params->storage == DTYPE_BF16 ? input_add(s, "opt/w.", &p, DTYPE_F32) : in->param;
    } else {
        const struct optimiser_rule *rule = rule_of(s->r, &p);
        int k = part - INPUT_STATE;
        char prefix[STATE_PREFIX_MAX];
        if (k >= state_count(rule))
            return;
        state_prefix(prefix, rule->state[k]);
        in->state[k] = input_add(s, prefix, &p, DTYPE_F32);
    }
}

/* Part by part, each in order of the parameters' names; then the numbers. */
static void inputs_add(struct optimiser_step *s)
{
    char name[GRAPH_NAME_MAX];
    for (int part = INPUT_PARAM; part <= INPUT_WEIGHT; part++) {
        for (uint32_t i = 0; i < s->params->count; i++)
            part_add(s, part, i);
    }
    optimiser_args(s->r, 0, 1, &s->args);
    s->loss = graph_input(s->g, "sum/loss", DTYPE_F32, SHAPE1(1));
    for (uint32_t k = 1; k <= s->args.count; k++) {
        uint32_t i = k % s->args.count; /* "clip", the first, comes last */
        snprintf(name, sizeof name, "args/%s", s->args.arg[i].name);
        s->arg[i] = graph_input(s->g, name, DTYPE_F32, SHAPE1(s->args.arg[i].width));
    }
    s->count_inv = step_arg(s, "count_inv");
}

/* ---- the step ---- */

/* Sum of squares of all summed gradients, parameter by parameter. */
static value_id total_sumsq(struct optimiser_step *s)
{
    value_id total = op1(s->g, OP_SUMSQ, s->input[0].grad);

    for (uint32_t i = 1; i < s->params->count; i++)
        total = op2(s->g, OP_ADD, total, op1(s->g, OP_SUMSQ, s->input[i].grad));
    return total;
}

static void update(struct optimiser_step *s, uint32_t i)
{
    const struct step_inputs *in = &s->input[i];
    struct model_param p;
    struct optimiser_update u = {&p, in->weight, in->grad, {in->state[0], in->state[1]}};
    s->params->at(s->params->config, i, &p);
    const struct optimiser_rule *rule = rule_of(s->r, &p);
    value_id weight = rule->update(s, &u);
    if (weight == VALUE_NONE)
        return;
    model_param_output(s->g, s->params, p.name, weight);
    for (uint32_t k = 0; rule->state[k] != NULL; k++) {
        char prefix[STATE_PREFIX_MAX], name[GRAPH_NAME_MAX];
        state_prefix(prefix, rule->state[k]);
        snprintf(name, sizeof name, "%s%s", prefix, p.name);
        graph_output(s->g, name, u.state[k]);
    }
}

/* What every gradient is scaled by. */
static value_id gradient_scale(struct optimiser_step *s, value_id total)
{
    struct graph *g = s->g;
    if (s->r->clip_norm <= 0)
        return s->count_inv;
    value_id mean_sumsq = op2(g, OP_MUL, op2(g, OP_MUL, total, s->count_inv), s->count_inv);
    value_id coef = op2(g, OP_CLIP_COEF, mean_sumsq, step_arg(s, "clip"));
    return op2(g, OP_MUL, s->count_inv, coef);
}

enum emac_status optimiser_graph(const struct model_params *params,
                                 const struct optimiser_recipe *r, struct graph **out,
                                 struct emac_err *err)
{
    struct optimiser_step s = {.params = params, .r = r};
    struct graph *g = graph_new();
    enum emac_status st;
    *out = NULL;
    s.g = g;
    EMAC_TRY(st, emac_alloc(&s.input, params->count, sizeof *s.input, err));
    inputs_add(&s);
    EMAC_TRY(st, graph_status(g, err));
    value_id total = total_sumsq(&s);
    s.gscale = gradient_scale(&s, total);
    for (uint32_t i = 0; i < params->count; i++)
        update(&s, i);
    graph_output(g, "metrics/loss", op2(g, OP_MUL, s.loss, s.count_inv));
    graph_output(g, "metrics/grad_norm", op2(g, OP_MUL, op1(g, OP_SQRT, total), s.count_inv));
out:
    free(s.input);
    return graph_end(g, st, out, err);
}

enum emac_status mean_loss_graph(struct graph **out, struct emac_err *err)
{
    struct graph *g = graph_new();
    value_id loss = graph_input(g, "sum/loss", DTYPE_F32, SHAPE1(1));
    value_id count_inv = graph_input(g, "args/count_inv", DTYPE_F32, SHAPE1(1));
    const value_id in[] = {loss, count_inv};
    enum emac_status st;

    *out = NULL;
    graph_output(g, "metrics/loss", graph_op(g, OP_MUL, NULL, 2, in));
    EMAC_TRY(st, graph_status(g, err));
    *out = g;
    g = NULL;
out:
    graph_free(g);
    return st;
}
