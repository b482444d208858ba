/* Optimisers are graphs too, and what a step feeds them is a function of the recipe and the step's
 * number: the planner and whoever runs several steps in one program share both. They are made of
 * operators alone, so they give the same bits everywhere; one file an optimiser.
 *
 * g is the scaled gradient (below), p a weight, every line rounded operator by operator as in
 * the file that it names. Weight decay is for parameters with `decay` (matrices, embeddings).
 *   adamw  OP_ADAMW. Loshchilov & Hutter 2019 (arXiv:1711.05101)
 *   sgd    d = g + weight_decay * p; m' = momentum * m + d; p' = p - lr * m', or with `nesterov`
 *          p' = p - lr * (d + momentum * m'). Sutskever et al. 2013, in the form of torch.optim.SGD
 *          (dampening 0)
 *   lion   u = sign(beta1 * m + (1 - beta1) * g); m' = beta2 * m + (1 - beta2) * g;
 *          p' = (1 - lr * weight_decay) * p - lr * u. Chen et al. 2023 (arXiv:2302.06675)
 *   muon   for hidden matrices: m' = momentum * m + (1 - momentum) * g; u = m', or with `nesterov`
 *          momentum * m' + (1 - momentum) * g; p' = (1 - lr * weight_decay) * p
 *          - lr * 0.2 * sqrt(max(rows, columns)) * NS5(u). Jordan et al. 2024
 *          (kellerjordan.github.io/posts/muon); the factor is of Liu et al. 2025
 * (arXiv:2502.16982): an update is then as large as AdamW's, so one learning rate serves both. The
 * other parameters follow adamw. NS5 brings a matrix near to the orthogonal one next to it: X = u /
 * max(|u|, 1e-7), |u| the root of the sum of squares; five times A = X X^T (of the shorter side), X
 * = 3.4445 X + (-4.7750 A + 2.0315 A A) X. Filters of convolutions are matrices [O, KH*KW*C]. */
#ifndef EMAC_MODEL_OPTIMISER_H
#define EMAC_MODEL_OPTIMISER_H

#include "model/model.h"

enum optimiser_kind {
    OPTIMISER_ADAMW,
    OPTIMISER_SGD,
    OPTIMISER_LION,
    OPTIMISER_MUON,
    OPTIMISER_KINDS
};
enum schedule_kind { SCHEDULE_COSINE, SCHEDULE_WSD, SCHEDULE_LINEAR, SCHEDULE_CONSTANT };
enum decay_shape { DECAY_ROOT, DECAY_LINEAR };

struct optimiser_recipe {
    enum optimiser_kind kind;
    enum schedule_kind schedule;
    enum decay_shape decay_shape; /* wsd */
    double lr, min_lr;            /* peak and floor */
    uint32_t warmup_steps, steps;
    uint32_t decay_steps; /* wsd; warmup_steps + decay_steps <= steps */
    double beta1, beta2;  /* adamw, lion; muon: of its adamw */
    double eps;           /* adamw; muon: of its adamw */
    double momentum;      /* sgd, muon */
    bool nesterov;        /* sgd, muon */
    double weight_decay;  /* 0: none */
    double clip_norm;     /* 0: no clipping */
};

/* Names of the tensors "opt/<name>.<parameter>" that the optimiser keeps for a parameter, beside
 * "w" of bf16 storage: NULL-terminated, static. adamw: m, v; sgd, lion: m; muon: m of a hidden
 * matrix, else m, v. They start as zeros (model_graph_init). */
#define OPTIMISER_STATE_MAX 2
const char *const *optimiser_state(const struct optimiser_recipe *r, const struct model_param *p);

/* Inputs: "params/<name>", "opt/<state>.<name>", "sum/grad.<name>", "sum/loss" [1] (tree sums over
 * all micro-batches of the step), and "args/<name>" of optimiser_args.
 * Outputs: "params/<name>", "opt/<state>.<name>", and "metrics/loss" [1] (mean nats),
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

/* Learning rate of step t (0-based), in binary64: lr * (t+1) / warmup_steps while t < warmup_steps,
 * then by schedule, with x = (steps since the warm-up) / (steps - warmup_steps):
 *   cosine    min_lr + (lr - min_lr) * (1 + cos(pi x)) / 2
 *   linear    min_lr + (lr - min_lr) * (1 - x)
 *   constant  lr
 *   wsd       lr until decay_steps before the end, then, with y = (steps since then) / decay_steps,
 *             min_lr + (lr - min_lr) * (1 - y), or * (1 - sqrt(y)) (Haegele et al. 2024,
 *             arXiv:2405.18392). Warm-up, stable, decay: Hu et al. 2024 (arXiv:2404.06395)
 * From step `steps` on it is min_lr, or lr when constant. */
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

/* By how much, as a norm over `count` weights, one step can move them, unless their root mean
 * square passes OPTIMISER_RMS_MAX, which no model that trains comes near to. INFINITY where the
 * recipe bounds nothing: sgd that does not clip, and betas with beta1^2 >= beta2. lr * count^(1/2)
 * * (c + weight_decay * rms), where c bounds an update of a weight: 1 of lion, and of muon's
 * matrices; of adamw, by Cauchy and Schwarz, (1 - beta1) / ((1 - beta2) (1 - beta1^2 /
 *   beta2))^(1/2), or 1 if that is less;
 *   of sgd lr / (1 - momentum) * (clip_norm + weight_decay * rms * count^(1/2)).
 * A tenth is added for what is rounded. */
#define OPTIMISER_RMS_MAX 16.0
double optimiser_reach(const struct optimiser_recipe *r, uint64_t count);

/* Sum of evaluation: input "sum/loss" [1], "args/count_inv" [1]; output "metrics/loss" [1]. */
enum emac_status mean_loss_graph(struct graph **out, struct emac_err *err);

#endif
