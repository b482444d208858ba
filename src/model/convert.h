/* Models from and into other forms: GGUF files to bundles, plain weights to
 * block-quantised ones (compute/quant.h) and back. */
#ifndef EMAC_MODEL_CONVERT_H
#define EMAC_MODEL_CONVERT_H

#include "codec/gguf.h"
#include "codec/safetensors.h"
#include "compute/quant.h"
#include "model/llama.h"

enum llama_source_type {
    LLAMA_SOURCE_F32,
    LLAMA_SOURCE_F16,
    LLAMA_SOURCE_BF16,
    LLAMA_SOURCE_QUANT
};

/* One parameter's data, in the shape the model asks for, borrowed. */
struct llama_source {
    const uint8_t *data;
    enum llama_source_type type;
    const struct quant_info *quant; /* of LLAMA_SOURCE_QUANT */
    /* Rows of a head lie as rotary pairs (0, E/2, 1, E/2 + 1, ...), which is llama.cpp's order of q
     * and k; ours is 0, 1, 2, ... */
    bool paired;
    /* F32 whose numbers are all BF16's, to be kept as those. */
    bool narrow;
};

/* The parameters of a model by number (llama_param_at); *out is the caller's to free(). Missing,
 * misshapen and superfluous tensors are refused by name.
 * From GGUF also the configuration: architecture "llama", or "qwen2" with its biases, without
 * experts. Rope scaling: linear, and llama3 where "rope_freqs.weight" is what a scaling of that
 * kind gives, whose parameters llama_to_gguf wrote or are those of Llama 3.1 and 3.2 (to_gguf.h).
 * Where all matrices are BF16 and the vectors, which are F32 in such files, hold BF16's numbers,
 * the model is one of BF16 storage. From a bundle: F32, BF16 or U8 as session_open takes them. */
enum emac_status llama_from_gguf(const struct gguf *g, struct llama_config *c,
                                 struct llama_source **out, struct emac_err *err);
enum emac_status llama_from_bundle(const struct st_index *idx, const uint8_t *data,
                                   const struct llama_config *c, struct llama_source **out,
                                   struct emac_err *err);

/* Append the whole safetensors file. `to` is the format of matrices whose width is a multiple of
 * its block, NULL to keep what they are; F16 becomes F32, all else stays but what is narrow.
 * NUMERIC when a weight to be quantised is not finite. */
enum emac_status llama_convert(const struct llama_config *c, const struct llama_source *source,
                               const struct quant_info *to, struct emac_buf *out,
                               struct emac_err *err);

#endif
