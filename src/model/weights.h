/* The weights of a loaded Llama model, by parameter. Matrices may be block-quantised
 * (compute/quant.h): a U8 tensor [out, bytes of a row]; the format follows from the bytes, which
 * differ between formats for one width.
 *
 * On a device whose memory is the process's, F32 and quantised weights are used where the bundle
 * has them, and BF16 ones are widened once (rule 8: the bits are the same). Any other device gets
 * copies: BF16 ones widened where that leaves a quarter of its free memory, else as they are, to be
 * widened by each product. Rows of the embedding are always read from the bundle, so its table is
 * on the device only where it is the output matrix as well. */
#ifndef EMAC_MODEL_WEIGHTS_H
#define EMAC_MODEL_WEIGHTS_H

#include "codec/safetensors.h"
#include "compute/quant.h"
#include "model/llama_internal.h"

struct weight {
    void *data;                     /* the device's; NULL: not there */
    enum dtype dtype;               /* F32, BF16; U8 where quantised */
    const struct quant_info *quant; /* NULL: not quantised */
    size_t copied;                  /* bytes, where `data` is a copy of ours on the device */
};

struct weights {
    struct device *dev;
    struct weight *at; /* by llama_cell */
    uint32_t cells;
    struct weight embedding; /* in the bundle, perhaps not aligned */
    size_t width;            /* of its rows */
    void *copy;              /* of the bundle's data when they were not aligned */
    size_t copy_bytes;
    float *wide; /* the f32 form of bf16 weights */
    size_t wide_used;
};

/* As decoder_open says of a bundle, which is borrowed; so is the device. Release also after a
 * failure. NO_MEMORY when the device has no room for them. */
enum emac_status weights_open(struct weights *w, struct device *dev, const struct llama_config *c,
                              const void *bundle, size_t n, struct emac_err *err);
void weights_release(struct weights *w);
/* Zeros over what was copied of them, on the device too; they are of no use then. */
void weights_wipe(struct weights *w);

/* A token's row of the embedding, to host memory. */
void weights_embed(const struct weights *w, int32_t token, float *row);

/* Parameter p's tensor, whose shape and dtype are right; *quant as in struct weight. */
enum emac_status weights_find(const struct st_index *idx, const struct model_param *p,
                              const struct st_tensor **out, const struct quant_info **quant,
                              struct emac_err *err);

/* NULL, or the format in which k weights take so many bytes. */
const struct quant_info *weights_format(size_t k, uint64_t row_bytes);

#endif
