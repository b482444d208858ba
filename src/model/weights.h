/* The weights of a loaded Llama model, by parameter, borrowed from a bundle.
 * F32 weights are used where they lie, BF16 ones are widened once (rule 8: the
 * bits are the same). Matrices may be block-quantised (compute/quant.h): a U8
 * tensor [out, bytes of a row]; the format follows from the bytes, which differ
 * between formats for one width. */
#ifndef EMAC_MODEL_WEIGHTS_H
#define EMAC_MODEL_WEIGHTS_H

#include "codec/safetensors.h"
#include "compute/quant.h"
#include "model/llama_internal.h"

struct weight {
    const void *data;
    const struct quant_info *quant; /* NULL: binary32 */
};

struct weights {
    struct weight *at; /* by llama_cell */
    void *copy;        /* of the bundle's data when they were not aligned */
    size_t copy_bytes;
    float *wide; /* the f32 form of bf16 weights */
    size_t wide_used;
};

/* As session_open says of a bundle. Release also after a failure. */
enum emac_status weights_open(struct weights *w, const struct llama_config *c, const void *bundle,
                              size_t n, struct emac_err *err);
void weights_release(struct weights *w);
/* Zeros over what was copied of them; they are of no use then. */
void weights_wipe(struct weights *w);

/* Parameter p's tensor, whose shape and dtype are right; *quant as in struct weight. */
enum emac_status weights_find(const struct st_index *idx, const struct model_param *p,
                              const struct st_tensor **out, const struct quant_info **quant,
                              struct emac_err *err);

/* NULL, or the format in which k weights take so many bytes. */
const struct quant_info *weights_format(size_t k, uint64_t row_bytes);

#endif
