/* Local SGD (DiLoCo, Douillard et al. 2023; SparseLoCo, Sarfi et al. 2025): replicas go their own
 * way for some optimiser steps; then each says how far it went, its delta, and the parameters take
 * one outer step along the mean of the deltas. What follows from the lists of parameters and
 * metrics is here, as graphs; the lists are read off the graph that makes the initial state (its
 * outputs "params/<name>") and that of an optimiser step ("metrics/<metric>"), so no architecture
 * and no optimiser needs to know.
 *
 *     inner, each replica:  delta = start - params                    (start: what all began from)
 *     packed:               e = feedback * carry + delta; what is sent is pack(e);
 *                           carry' = e - unpack(pack(e))              (error feedback)
 *     resumed from its own: start = params of all - carry, e = params of all - params, and carry'
 *                           as above: nothing is added, for what was not sent is in e already
 *     outer, all:           g = mean of the unpacked deltas; u' = momentum * u + g;
 *                           params' = start - lr * (g + momentum * u')   (Nesterov)
 *                           or, without momentum, params' = start - lr * g
 *
 * Each sign is one rounding, in this order.
 *
 * Fragments (Streaming DiLoCo, Douillard et al. 2025): the parameters, in the order of the graph
 * that makes them, are cut into F runs of about equal size, and each takes its turn: every
 * inner_steps / F steps one of them is told, once in inner_steps. Meanwhile replicas go on, each
 * with parameters of its own, for `overlap` steps; then the outer step's result is merged:
 *
 *     merged:               params' = start + (params - at), at: the replica's when it told the
 *                           fragment; without overlap params' = start
 *                           resumed from its own: less carry
 *
 * The paper mixes `params` and `start` half and half. Here the steps since then are put on top of
 * what all have in common, so nothing that was learned is told twice or lost, and without overlap
 * a single fragment would be plain local SGD.
 *
 * The whole model's graphs are those below. Of a stage (graph/stages.h), whose initial state has
 * bundles "params.3" and "shared.3", they take and give these instead of "params", "start.params.3"
 * and "start.shared.3" instead of "start", and "carry.3", "outer.3"; `step` is NULL then, for the
 * stages' optimiser steps tell the metrics. */
#ifndef EMAC_MODEL_LOCAL_SGD_H
#define EMAC_MODEL_LOCAL_SGD_H

#include "graph/graph.h"

/* What a delta travels as: binary32, or packed (compute/pack.h). None: a job without replicas. */
enum delta_form { DELTA_NONE, DELTA_F32, DELTA_INT8, DELTA_INT4, DELTA_TOPK, DELTA_FORMS };

/* Where a replica begins a round: from the common parameters, or from its own, which are those less
 * what it has not told yet. */
enum resume { RESUME_COMMON, RESUME_OWN, RESUMES };

#define LOCAL_FRAGMENTS_MAX 16

struct local_recipe {
    uint32_t replicas, inner_steps;
    double outer_lr, outer_momentum; /* momentum 0: none is kept */
    enum delta_form delta;
    double density;     /* DELTA_TOPK: share of the numbers that is sent */
    double max_norm;    /* trusted replicas: of a delta, 0: as far as steps can go (local_reach);
                           others: of what a delta may differ from those before */
    double feedback;    /* packed forms: how much of what was not sent stays */
    enum resume resume; /* packed forms */
    uint32_t fragments; /* of the whole model, that are told in turns; 0 or 1: all at once */
    uint32_t overlap;   /* steps that go on while a fragment is told: < inner_steps / fragments */
    uint32_t common_steps; /* the first, which are made once and whole; a multiple of inner_steps */
    enum delta_form last;  /* packed forms: what the last round's deltas travel as, INT8 or INT4;
                              NONE: as the others */
};

/* Fragment `at` of a recipe's. Graphs take NULL where all parameters are told at once. */
struct local_cut {
    uint32_t fragments, at;
};

/* The recipe of the last round. With `last` it tells all that was not told, and the outer step goes
 * to the mean of the replicas' parameters: lr 1, no momentum. */
struct local_recipe local_last(const struct local_recipe *r);
/* Of 4096 numbers, what a density comes to: a multiple of 4, at least 4. */
uint32_t local_keep(double density);
/* Is there error feedback, and so bundle "carry"? Is there outer momentum, bundle "outer"? */
bool local_has_carry(const struct local_recipe *r);
bool local_has_momentum(const struct local_recipe *r);
/* Do replicas keep parameters of their own between rounds: fragments, or overlap? */
bool local_streams(const struct local_recipe *r);
/* Is "carry" a value from the first round on? A streaming replica that resumes from its own learns
 * with each delta what it has not told; there is nothing before. */
bool local_carries_from_start(const struct local_recipe *r);

/* The norm, over all `count` weights, that what a replica sends can have when nothing diverges:
 * `max_norm`, or, where that is 0, inner_steps (and overlap) times optimiser_reach, and as many
 * times more as what packing leaves for later can pile up: 1 / (1 - feedback * q), where q < 1 is
 * the largest share of a block's norm that its format can lose (compute/pack.h). 0: the recipe
 * bounds nothing.
 */
struct optimiser_recipe;
double local_reach(const struct local_recipe *r, const struct optimiser_recipe *steps,
                   uint64_t count);

/* Numbers of all the parameters that `init` gives. */
uint64_t local_weights(const struct graph *init);
/* INVALID, with the most that do, when a fragment of the recipe's would hold no parameter. */
enum emac_status local_fragments_check(const struct graph *init, const struct local_recipe *r,
                                       struct emac_err *err);

/* Add to the graph of the initial state ("params/<name>", ...) what rounds carry beside: zeros
 * "carry/<name>" and "outer/<name>", as the recipe has them. INVALID when a parameter is not f32.
 */
enum emac_status local_init_extend(struct graph *init, const struct local_recipe *r,
                                   struct emac_err *err);
/* What a replica with RESUME_OWN begins from: "params/<name>", "carry/<name>" in, "params/<name>"
 * out. NULL for others. */
enum emac_status local_begin_graph(const struct graph *init, const struct local_recipe *r,
                                   struct graph **out, struct emac_err *err);
/* What a streaming replica goes on from after fragment `cut` was told: its "params/<name>" in and
 * out; of the fragment "start/<name>", with overlap "at/<name>", with RESUME_OWN "carry/<name>". */
enum emac_status local_merge_graph(const struct graph *init, const struct local_recipe *r,
                                   const struct local_cut *cut, struct graph **out,
                                   struct emac_err *err);
/* The end of steps at which nothing is told: "params/<name>" in and out. */
enum emac_status local_pass_graph(const struct graph *init, struct graph **out,
                                  struct emac_err *err);
/* The end of a replica's steps (work/task.h, "steps"). Inputs: "start/<name>", "params/<name>",
 * "carry/<name>" (not with RESUME_OWN), "total/<metric>", "args/steps_inv". Outputs:
 * "delta/<name>", f32 or u8 as packed, "delta/metrics.<metric>", means over the steps, and
 * "carry/<name>". With a cut start and delta are the fragment's, and so is carry with RESUME_OWN,
 * which else comes and goes whole; "params/<name>" is an output, too. The caller frees. */
enum emac_status local_delta_graph(const struct graph *init, const struct graph *step,
                                   const struct local_recipe *r, const struct local_cut *cut,
                                   struct graph **out, struct emac_err *err);
/* The end of steps that all replicas have in common: "params/<name>" in and out, "total/<metric>",
 * "args/steps_inv" in, "metrics/<metric>" out, means over the steps. */
enum emac_status local_common_graph(const struct graph *init, const struct graph *step,
                                    struct graph **out, struct emac_err *err);
/* What a delta means: "part/..." as in "delta/...", "sum/..." alike in f32. NULL for DELTA_F32,
 * whose deltas are added as they are. */
enum emac_status local_decode_graph(const struct graph *init, const struct graph *step,
                                    const struct local_recipe *r, const struct local_cut *cut,
                                    struct graph **out, struct emac_err *err);
/* What a replica's delta x counts for where replicas are not trusted (centred clipping,
 * Karimireddy, He and Jaggi 2021, one iteration; c is what the deltas came to so far): c = (1 -
 * momentum) * u, or 0 without momentum;  d = ||x - c|| over all parameters; x' = weight * (c + (x -
 * c) * min(1, max_norm / d)) Inputs: "delta/..." as of DELTA_F32, "outer/<name>" with momentum.
 * Outputs: "sum/<name>", x', and "sum/metrics.<metric>", weight times those of the delta;
 * "metrics/distance", d, and "metrics/<metric>", the delta's. */
enum emac_status local_admit_graph(const struct graph *init, const struct graph *step,
                                   const struct local_recipe *r, double weight, struct graph **out,
                                   struct emac_err *err);
/* The outer step. Inputs: "params/<name>", "outer/<name>", "sum/<name>", "sum/metrics.<metric>",
 * sums over the replicas. Outputs: "params/<name>", "outer/<name>", "metrics/<metric>", a mean.
 * With a cut "sum/<name>" is the fragment's, and the others' parameters and momentum stay. */
enum emac_status local_outer_graph(const struct graph *init, const struct graph *step,
                                   const struct local_recipe *r, const struct local_cut *cut,
                                   struct graph **out, struct emac_err *err);

#endif
