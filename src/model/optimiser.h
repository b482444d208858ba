/* Optimisers are graphs too, and what a step feeds them is a function of the recipe and the step's
 * number: the planner and whoever runs several steps in one program share both. AdamW (Loshchilov &
 * Hutter 2019) with global-norm clipping; warm-up and cosine schedule are host-side (rule 10) and
 * enter as the input "args/hyper". */
#ifndef EMAC_MODEL_OPTIMISER_H
#define EMAC_MODEL_OPTIMISER_H

#include "model/model.h"

struct optimiser_recipe {
    double lr, min_lr; /* peak and floor */
    uint32_t warmup_steps, steps;
    double beta1, beta2, eps, weight_decay;
    double clip_norm; /* 0: no clipping */
};

/* Inputs: "params/<name>", "opt/m.<name>", "opt/v.<name>", "sum/grad.<name>", "sum/loss" [1] (tree
 * sums over all micro-batches of the step), "args/count_inv" [1] = 1 / number of micro-batches,
 * "args/hyper" [8] and "args/hyper_nodecay" [8] (weight_decay 0), "args/clip" [1].
 * Outputs: "params/<name>", "opt/m.<name>", "opt/v.<name>", and "metrics/loss" [1] (mean nats),
 * "metrics/grad_norm" [1]. With bf16 storage "opt/w.<name>", the f32 weights, are input and output
 * beside: they are what the optimiser moves, and the parameters are their rounding (as an input
 * then of no effect).
 *
 * Exactly: total = the SUMSQ of each summed gradient, added one after the other in order of the
 * parameters' names; grad_norm = sqrt(total) * count_inv; clip coefficient = CLIP_COEF((total *
 * count_inv) * count_inv, clip); every gradient is scaled by count_inv * coefficient. Without
 * clipping it is scaled by count_inv, and the input "args/clip" is there but unused. */
enum emac_status optimiser_graph(const struct model_params *params,
                                 const struct optimiser_recipe *r, struct graph **out,
                                 struct emac_err *err);
/* Learning rate of step t (0-based): lr * (t+1) / warmup_steps while t < warmup_steps, then a
 * cosine from lr to min_lr over the steps that are left; min_lr from step `steps` on. Binary64. */
double optimiser_lr(const struct optimiser_recipe *r, uint32_t t);

/* The inputs "args/<name>" of the graph at one step, in byte order of the names. */
#define OPTIMISER_ARGS_MAX      8
#define OPTIMISER_ARG_WIDTH_MAX 8
struct optimiser_arg {
    const char *name; /* static */
    uint32_t width;
    float value[OPTIMISER_ARG_WIDTH_MAX];
};
struct optimiser_args {
    uint32_t count;
    struct optimiser_arg arg[OPTIMISER_ARGS_MAX];
};
/* Those of step t (0-based; AdamW's own t is one more) whose gradient is the sum over
 * `micro_batches` of them. Each number is computed in binary64 and rounded once. */
void optimiser_args(const struct optimiser_recipe *r, uint32_t t, uint32_t micro_batches,
                    struct optimiser_args *out);

/* Sum of evaluation: input "sum/loss" [1], "args/count_inv" [1]; output "metrics/loss" [1]. */
enum emac_status mean_loss_graph(struct graph **out, struct emac_err *err);

#endif
