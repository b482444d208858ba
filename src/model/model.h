/* What every model gives the planner and the optimiser: the list of its parameters, and the graphs
 * that follow from the list alone. The graphs of an architecture are in its own header (llama.h,
 * classifier.h); all use the same bundles: "params/<name>", "opt/<state>.<name>",
 * "sum/grad.<name>", "sum/loss". */
#ifndef EMAC_MODEL_MODEL_H
#define EMAC_MODEL_MODEL_H

#include "graph/graph.h"

struct model_param {
    char name[128];
    struct shape shape;
    double init_std; /* 0: filled with init_fill */
    float init_fill;
    bool from_base;          /* starts as the tensor of its name in bundle "base" instead */
    enum dtype base_storage; /* of that tensor */
    bool decay;              /* weight decay applies (matrices, embeddings) */
    bool hidden; /* a matrix, or filters, between others: no embedding, no output layer */
};

/* What becomes of a parameter when the model starts from a base (tune.h). */
enum model_part {
    PART_FRESH,     /* it starts anew and is trained */
    PART_FROM_BASE, /* it starts as the base's and is trained */
    PART_FROZEN,    /* it stays the base's */
    PART_ADAPTED    /* the same, but has an adapter */
};
struct tune;

/* In byte order of the names. `at` gives parameter i of `config`, which is borrowed. `storage` is
 * what the weights are kept as from step to step, DTYPE_F32 or DTYPE_BF16 (rule 8). */
struct model_params {
    const void *config;
    uint32_t count;
    enum dtype storage;
    void (*at)(const void *config, uint32_t i, struct model_param *out);
    enum model_part (*part)(const void *config, const struct tune *t, uint32_t i);
};

struct optimiser_recipe;

/* Inputs "base/<name>" of the parameters that start as the base's, and no others; outputs
 * "params/<name>", and zeros "opt/<state>.<name>" as the recipe's optimiser keeps them
 * (optimiser_state). A weight's RANDN has `seed` and, as tensor number, the parameter's number.
 * With bf16 storage the parameters are bf16, and "opt/w.<name>" has the f32 that they round. The
 * caller frees. */
enum emac_status model_graph_init(const struct model_params *params, uint64_t seed,
                                  const struct optimiser_recipe *r, struct graph **out,
                                  struct emac_err *err);

/* ---- for builders of graphs ---- */

/* Add input "params/<name>" for each parameter; their values are returned in order from the first
 * on, value[i]. */
void model_inputs(struct graph *g, const struct model_params *params, value_id *value);
/* Name f32 as the new value of a parameter: "params/<name>", or with bf16 storage its rounding, and
 * "opt/w.<name>" itself. */
void model_param_output(struct graph *g, const struct model_params *params, const char *name,
                        value_id f32);
/* Add outputs "sum/grad.<name>": the gradients of `loss` [1] with respect to the parameters,
 * value[i].
 */
enum emac_status model_gradients(struct graph *g, const struct model_params *params,
                                 const value_id *value, value_id loss, struct emac_err *err);
/* The shape as rank 1 or 2: the first dimension, and the product of the others. */
struct shape model_matrix_shape(struct shape s);
/* f32 of `shape`, rank 1 or 2 or more, every element `value`. */
value_id model_fill(struct graph *g, struct shape shape, float value);

#endif
