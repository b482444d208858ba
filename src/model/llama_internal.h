/* Which parameter is which; for the files of this module only. */
#ifndef EMAC_MODEL_LLAMA_INTERNAL_H
#define EMAC_MODEL_LLAMA_INTERNAL_H

#include "model/llama.h"

#define LLAMA_DIM_MAX      (1u << 24)
#define LLAMA_ELEMENTS_MAX ((uint64_t)1 << 40)

/* The kinds that exist once, then those of each layer in byte order of their names. */
enum llama_kind {
    LLAMA_LM_HEAD,
    LLAMA_EMBED,
    LLAMA_NORM,
    LLAMA_ATTN_NORM,
    LLAMA_DOWN,
    LLAMA_GATE,
    LLAMA_UP,
    LLAMA_MLP_NORM,
    LLAMA_K_BIAS,
    LLAMA_K,
    LLAMA_O,
    LLAMA_Q_BIAS,
    LLAMA_Q,
    LLAMA_V_BIAS,
    LLAMA_V,
    LLAMA_KIND_COUNT
};
#define LLAMA_LAYER_KINDS (LLAMA_KIND_COUNT - LLAMA_ATTN_NORM)

/* A table with one cell for each parameter: the three that exist once, then the layers'. The cells
 * of kinds that the model has not (llama_has) stay unused. */
static inline uint32_t llama_cell(enum llama_kind kind, uint32_t layer)
{
    return kind < LLAMA_ATTN_NORM ? (uint32_t)kind
                                  : (uint32_t)kind + layer * (uint32_t)LLAMA_LAYER_KINDS;
}
static inline uint32_t llama_cell_count(const struct llama_config *c)
{
    return LLAMA_ATTN_NORM + c->layers * (uint32_t)LLAMA_LAYER_KINDS;
}

bool llama_has(const struct llama_config *c, enum llama_kind kind);
/* The bias of what a matrix gives; LLAMA_KIND_COUNT where it never has one. */
enum llama_kind llama_bias_of(enum llama_kind kind);

/* Kind and layer of parameter i (byte order of names). */
void llama_param_place(const struct llama_config *c, uint32_t i, enum llama_kind *kind,
                       uint32_t *layer);

/* The binary32 of 1/sqrt(head_dim). */
float llama_attention_scale(const struct llama_config *c);

#endif
