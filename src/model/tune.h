/* Transfer learning: a model that starts from the weights of another, its base, and what of it is
 * trained then. The base's weights are the bundle "base", a constant input: the model.safetensors
 * of a model directory with the architecture's own names.
 *
 *   full  all weights start as the base's and are trained.
 *   head  the last parts alone are trained (each architecture says which); what comes before stays
 *         in the base, takes no gradient and has no state of the optimiser.
 *   lora  nothing of the base is trained. Each targeted matrix W [out,in] gets two small ones
 * beside it, A [rank,in] and B [out,rank] (Hu et al. 2021): y = x W^T + ((x A^T) B^T) * s with s =
 * binary32 of alpha / rank. A begins normal with variance 1 / (3 in), what PEFT's uniform start
 * has, B as zeros, so the model begins as the base.
 *
 * Names of A and B are PEFT's ("base_model.model." + the matrix's name with "lora_A.weight" for
 * "weight"), so the bundle "params" of a lora job is a PEFT adapter's adapter_model.safetensors. */
#ifndef EMAC_MODEL_TUNE_H
#define EMAC_MODEL_TUNE_H

#include "codec/safetensors.h"
#include "model/model.h"

#define TUNE_RANK_MAX 1024u
#define TUNE_PREFIX   "base_model.model." /* PEFT's, in front of the base's names */

enum tune_kind { TUNE_SCRATCH, TUNE_FULL, TUNE_HEAD, TUNE_LORA, TUNE_KINDS };
const char *tune_kind_name(enum tune_kind kind); /* "scratch", "full", "head", "lora" */

struct tune {
    enum tune_kind kind;
    enum dtype storage; /* of the base's tensors: DTYPE_F32 or DTYPE_BF16 */
    uint32_t layers;    /* head: how many of the last layers, at least 1 */
    uint32_t rank;      /* lora, like those below */
    double alpha;
    uint32_t targets; /* 1 << TUNE_...: matrices that get an adapter */
};

/* Modules that can be targets, by the last part but one of their tensors' names. */
enum tune_target {
    TUNE_DENSE, /* dense layers of a classifier ("dense.0.weight") */
    TUNE_DOWN,
    TUNE_GATE,
    TUNE_K,
    TUNE_O,
    TUNE_Q,
    TUNE_UP,
    TUNE_V,
    TUNE_TARGETS
};
const char *tune_target_name(enum tune_target target); /* "q_proj"; as PEFT's target_modules say */
/* TUNE_TARGETS when unknown. */
enum tune_target tune_target_find(const char *name);

/* The binary32 that an adapter's product is multiplied by. */
float tune_scale(const struct tune *t);

/* ---- a tuned model's parameters ---- */

#define TUNED_NONE UINT32_MAX
/* Release in any case; not to be moved, for `trained` points into it. */
struct tuned {
    struct model_params whole;
    const struct tune *tune;
    uint32_t *entry; /* of the trained list: parameter of the whole * 3 + what of it */
    uint32_t *first; /* by parameter of the whole: its first entry, TUNED_NONE when it is frozen */
    struct model_params trained; /* in byte order of the names: the bundle "params" */
};
/* `whole` has `part` (model.h); t NULL means from scratch. Both are borrowed. INVALID when nothing
 * is trained, or an adapter's rank passes a side of its matrix. */
enum emac_status tuned_init(struct tuned *out, const struct model_params *whole,
                            const struct tune *t, struct emac_err *err);
void tuned_release(struct tuned *t);
uint64_t tuned_elements(const struct tuned *t); /* of the trained list */

/* ---- graphs ---- */

/* A weight, and the adapter beside it (VALUE_NONE: none). */
struct model_weight {
    value_id w, a, b;
};
/* Add the trained list as inputs "params/<name>", the graph's first, then what stays in the base as
 * "base/<name>"; weight[i] is parameter i of the whole. */
void tuned_inputs(struct graph *g, const struct tuned *t, struct model_weight *weight);
/* y + the adapter's part of it, x [N,in] and y [N,out]; y when w has none. `kept`: the result is a
 * value that the backward pass reads, as x A^T is; with bf16 storage these are stored so. */
value_id tuned_add(struct graph *g, const struct tuned *t, value_id x, value_id y,
                   struct model_weight w, bool kept);
/* As model_gradients, of the trained list; to be called on a graph of tuned_inputs. */
enum emac_status tuned_gradients(struct graph *g, const struct tuned *t, value_id loss,
                                 struct emac_err *err);

/* ---- the base's file, and merging ---- */

/* What the model takes from the base must be in its file's index, of the right shape and all of one
 * type, F32 or BF16, which goes to *storage (t->storage is not looked at). INVALID or UNSUPPORTED,
 * naming the tensor with what it is and what is asked for. */
enum emac_status tune_base_check(const struct model_params *whole, const struct tune *t,
                                 const struct st_index *base, enum dtype *storage,
                                 struct emac_err *err);
/* The trained list must be exactly what the file holds, all of one type, F32 or BF16, which goes to
 * *storage. */
enum emac_status tune_trained_check(const struct tuned *t, const struct st_index *file,
                                    enum dtype *storage, struct emac_err *err);
/* Append the safetensors file of the whole model, made of two whole files: the base's, and that of
 * the trained list. Trained tensors take the place of the base's; adapters are added to their
 * matrices: W' = W + P * s, where P = B A by rule 3 and each of the two operations after it is
 * rounded to binary32; with a BF16 base W' is stored as bf16 (rule 8). So the file depends on the
 * two alone, whatever `dev` is. */
enum emac_status tune_merge(struct device *dev, const struct tuned *t, struct emac_slice base,
                            struct emac_slice trained, struct emac_buf *out, struct emac_err *err);

#endif
