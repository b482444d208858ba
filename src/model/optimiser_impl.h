/* For the files optimiser*.c: what an optimiser is made of. Each follows a rule; muon has one for
 * hidden matrices and another for the rest. */
#ifndef EMAC_MODEL_OPTIMISER_IMPL_H
#define EMAC_MODEL_OPTIMISER_IMPL_H

#include "model/optimiser.h"

#define OPTIMISER_CONSTANTS_MAX 16

/* The graph of a step while it is built. */
struct optimiser_step {
    struct graph *g;
    const struct model_params *params;
    const struct optimiser_recipe *r;
    struct optimiser_args args; /* names and widths */
    value_id arg[OPTIMISER_ARGS_MAX];
    value_id count_inv, loss, gscale;
    struct step_inputs *input; /* one a parameter */
    uint32_t constant_count;
    struct step_constant {
        float value;
        value_id id;
    } constant[OPTIMISER_CONSTANTS_MAX];
};

/* One parameter on its way from a step to the next. */
struct optimiser_update {
    const struct model_param *param;
    value_id weight, grad;               /* f32; the sum over micro-batches */
    value_id state[OPTIMISER_STATE_MAX]; /* in order of the rule's names; left as the new ones */
};

struct optimiser_rule {
    const char *state[OPTIMISER_STATE_MAX + 1]; /* NULL-terminated */
    /* Appends the rule's own arguments of step t. */
    void (*args)(const struct optimiser_recipe *r, uint32_t t, struct optimiser_args *out);
    /* Returns the new weight. */
    value_id (*update)(struct optimiser_step *s, struct optimiser_update *u);
};

extern const struct optimiser_rule OPTIMISER_RULE_ADAMW, OPTIMISER_RULE_SGD, OPTIMISER_RULE_LION,
    OPTIMISER_RULE_MUON;

/* The next argument's values, to be filled in; names come in byte order. */
float *optimiser_arg_add(struct optimiser_args *a, const char *name, uint32_t width);
/* "keep" = 1 - lr * weight_decay and "minus_lr" = -lr, for rules of the form p' = keep * p - lr *
 * u. */
void optimiser_args_descent(const struct optimiser_recipe *r, uint32_t t,
                            struct optimiser_args *out);
/* p' = keep * p + minus_lr * u; without decay p + minus_lr * u. */
value_id step_descend(struct optimiser_step *s, const struct optimiser_update *u, value_id change);

value_id step_arg(const struct optimiser_step *s, const char *name);
value_id step_add(struct optimiser_step *s, value_id a, value_id b);
value_id step_scale(struct optimiser_step *s, value_id a, value_id by); /* by [1] */
value_id step_times(struct optimiser_step *s, value_id a, double by);   /* rounded once */
/* a * first + b * second */
value_id step_blend(struct optimiser_step *s, value_id first, double a, value_id second, double b);
/* [1], its value rounded to binary32; mostly one node a value. */
value_id step_constant(struct optimiser_step *s, double value);
/* The gradient, scaled to the mean and clipped. */
value_id step_gradient(struct optimiser_step *s, const struct optimiser_update *u);

#endif
