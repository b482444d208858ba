/* How GGUF files name what models of the Llama family are made of, as llama.cpp's converter writes
 * them (github.com/ggml-org/llama.cpp, gguf-py/gguf/constants.py); for from_gguf.c and to_gguf.c.
 */
#ifndef EMAC_MODEL_GGUF_NAMES_H
#define EMAC_MODEL_GGUF_NAMES_H

#include "codec/gguf.h"
#include "model/llama_internal.h"

/* By "general.architecture", which is also what its keys begin with. */
struct gguf_arch {
    const char *name;
    bool qkv_bias;
    bool paired;     /* rows of q and k are written as rotary pairs (convert.h) */
    bool rope_freqs; /* may have the tensor of rope_freqs_make */
};
#define GGUF_ARCH_COUNT 2
extern const struct gguf_arch GGUF_ARCHS[GGUF_ARCH_COUNT];

/* Of the embedding, and of parameter i. */
#define GGUF_EMBED "token_embd.weight"
void gguf_param_name(const struct llama_config *c, uint32_t i, char out[GGUF_NAME_MAX]);

/* A llama3 scaling of the rotary angles is a tensor [head_dim / 2] by which angles are divided.
 * What it was made of is said by EMAC's own keys beside it: three of binary32, and an integer. */
#define GGUF_ROPE_FREQS     "rope_freqs.weight"
#define GGUF_ROPE_FACTOR    "emac.rope.factor"
#define GGUF_ROPE_LOW       "emac.rope.low_freq_factor"
#define GGUF_ROPE_HIGH      "emac.rope.high_freq_factor"
#define GGUF_ROPE_POSITIONS "emac.rope.original_positions"
/* Element j of that tensor. */
float gguf_rope_freq(const struct llama_config *c, uint32_t j);

#endif
