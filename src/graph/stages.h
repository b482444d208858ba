/* A model in stages, for pipelines: each on a rig of its own (GPipe, Huang et al. 2019; the order
 * of work is the planner's). Out of the graphs of the whole model come those of its stages, with
 * the same bits.
 *
 * The forward nodes, in their order, are cut into intervals; a node of the backward pass belongs to
 * the stage of the forward node whose gradient it is part of. So the training graph becomes
 *   forward F(s)    its weights, what earlier stages hand over -> what later stages need
 *   backward B(s)   the same, and gradients that later stages hand back -> the gradients of its
 *                   weights, and what it hands back to earlier stages
 * B(s) computes the stage's forward nodes again (Chen et al. 2016), so nothing stays between the
 * two but their inputs, and each is a pure function. The last stage has B alone, which gives the
 * loss too. A weight belongs to the first stage that uses it; its gradient's contributions are
 * added there, in the whole graph's order.
 *
 * Bundles, s and t being numbers of stages:
 *   params.s   weights that stage s alone uses        shared.s   weights of s that others use too
 *   opt.s      the optimiser's state of both          squares.s  what other stages' steps need
 *   act.s.t    values that F(s) makes for stage t     back.s.t   gradients that B(s) makes for t
 *   frozen.s   what stage s takes of the base: weights that take no gradient (model/tune.h)
 * Other ports ("batch/...", "tables/...", "sum/...", "args/...", "metrics/...") keep their names.
 * Values are "v<number in the whole graph's canonical form>".
 *
 * Frozen weights, the inputs "base/..." of the training graph, have no owner: each stage that uses
 * one has it in a bundle of its own, which nothing changes. Where nothing is trained no gradient is
 * wanted, so stages before the first trained weight have no B at all: its graph has no outputs, and
 * that of the stage after them hands nothing back to them. Nor have stages without trained weights
 * a sum, a reduce or a step; but the last one has the loss. */
#ifndef EMAC_GRAPH_STAGES_H
#define EMAC_GRAPH_STAGES_H

#include "graph/graph.h"

#define STAGES_MAX 16

/* How values travel from stage to stage: as they are, rounded to bf16, or packed into int8
 * (compute/pack.h). Contributions to the gradients of shared weights always are f32. */
enum stage_form { STAGE_F32, STAGE_BF16, STAGE_INT8, STAGE_FORMS };

struct stage_weight {
    char name[GRAPH_NAME_MAX];
    uint32_t stage; /* whose it is */
    bool shared;
};

/* Of the base: which stages use it. */
struct stage_frozen {
    char name[GRAPH_NAME_MAX - 10]; /* behind "frozen.15/" */
    uint32_t users;                 /* bit s: stage s */
    enum dtype dtype;
    struct shape shape;
};

/* Where a model is cut: a function of its training graph, of how many stages there are and of their
 * shares alone. */
struct stages {
    uint32_t count;
    enum stage_form form;
    uint32_t begin[STAGES_MAX + 1]; /* first forward node of each; UINT32_MAX past the last */
    uint64_t cost[STAGES_MAX];      /* of F and B of a micro-batch, as flops */
    uint32_t weights;
    struct stage_weight *weight; /* by name */
    uint32_t frozens;
    struct stage_frozen *frozen; /* in order of the training graph's inputs */
};

/* Cut so that the dearest stage is as cheap as can be: its flops, what is handed over at
 * STAGE_BYTE_FLOPS a byte, and its weights at STAGE_WEIGHT_FLOPS a byte, for each micro-batch's
 * gradient is stored and hashed; so small batches are cut by memory, large ones by work. Frozen
 * weights, which have neither gradient nor optimiser state, count STAGE_FROZEN_FLOPS. `share`
 * [count], NULL: alike, says how much of the cost each stage is to have beside the others, 1 to
 * STAGE_SHARE_MAX: a stage of share 4 is as dear as one of share 1 when it costs four times as
 * much. `train` must come from graph_grad as it is, not decoded. Each stage has a weight of its
 * own, be it a frozen one: INVALID, with how many stages there may be, when there are too few.
 * Release in any case. */
#define STAGE_BYTE_FLOPS   1000
#define STAGE_WEIGHT_FLOPS 100
#define STAGE_FROZEN_FLOPS 25
#define STAGE_SHARE_MAX    1000u
enum emac_status stages_plan(const struct graph *train, uint32_t count, enum stage_form form,
                             const uint32_t *share, struct stages *out, struct emac_err *err);
void stages_release(struct stages *st);

/* The graphs of stage s; the caller frees. Of the training graph, or of a graph that has the same
 * forward nodes, as evaluation does; of the last stage also that graph's outputs. */
enum emac_status stage_forward(const struct stages *st, const struct graph *g, uint32_t s,
                               struct graph **out, struct emac_err *err);
enum emac_status stage_backward(const struct stages *st, const struct graph *train, uint32_t s,
                                struct graph **out, struct emac_err *err);
/* Of the graph that makes the initial state: "params.s", "shared.s", "opt.s". Where there are
 * frozen weights what it takes of the base is called "whole/...": a rig then reads these tensors
 * alone out of the base's file, which need not fit its memory (node/exec.h). */
enum emac_status stage_init(const struct stages *st, const struct graph *init, uint32_t s,
                            struct graph **out, struct emac_err *err);
/* Is the bundle of this name a "frozen.s"? */
bool stage_bundle_is_frozen(const char *name);
/* Add "frozen.s" to that graph. */
void stage_init_freeze(const struct stages *st, uint32_t s, struct graph *init);
/* Of an optimiser's graph (model/optimiser.h): it may take what it likes of a stage's own tensors,
 * and of other stages' no more than small values, like the sums of squares for the norm of the
 * whole gradient; UNSUPPORTED when it takes more.
 * reduce: "sum/grad.<name>", the last stage's "sum/loss" -> the same (so that parts become one),
 *         and "squares.s", if others' steps need any.
 * step:   state, sum, "squares.t" of all t -> "params.s", "shared.s", "opt.s", of the last stage
 *         the metrics. Other stages' values enter the same nodes in the same order, so the bits are
 *         those of the whole step. */
enum emac_status stage_reduce(const struct stages *st, const struct graph *step, uint32_t s,
                              struct graph **out, struct emac_err *err);
enum emac_status stage_step(const struct stages *st, const struct graph *step, uint32_t s,
                            struct graph **out, struct emac_err *err);
/* "params.s" and "shared.s" of all stages -> "params" of the whole model, given its initial graph
 * (of which only the ports' names and types count). */
enum emac_status stages_join(const struct stages *st, const struct graph *init, struct graph **out,
                             struct emac_err *err);

#endif
