#include "model/gguf_names.h"

#include <stdio.h>

const struct gguf_arch GGUF_ARCHS[GGUF_ARCH_COUNT] = {{"llama", false, true, true},
                                                      {"qwen2", true, false, false}};

static const char *const NAMES[LLAMA_KIND_COUNT] = {
    [LLAMA_LM_HEAD] = "output.weight",   [LLAMA_EMBED] = GGUF_EMBED,
    [LLAMA_NORM] = "output_norm.weight", [LLAMA_ATTN_NORM] = "attn_norm.weight",
    [LLAMA_DOWN] = "ffn_down.weight",    [LLAMA_GATE] = "ffn_gate.weight",
    [LLAMA_UP] = "ffn_up.weight",        [LLAMA_MLP_NORM] = "ffn_norm.weight",
    [LLAMA_K] = "attn_k.weight",         [LLAMA_O] = "attn_output.weight",
    [LLAMA_Q] = "attn_q.weight",         [LLAMA_V] = "attn_v.weight",
    [LLAMA_K_BIAS] = "attn_k.bias",      [LLAMA_Q_BIAS] = "attn_q.bias",
    [LLAMA_V_BIAS] = "attn_v.bias",
};

void gguf_param_name(const struct llama_config *c, uint32_t i, char out[GGUF_NAME_MAX])
{
    enum llama_kind kind;
    uint32_t layer;

    llama_param_place(c, i, &kind, &layer);
    if (kind < LLAMA_ATTN_NORM)
        snprintf(out, GGUF_NAME_MAX, "%s", NAMES[kind]);
    else
        snprintf(out, GGUF_NAME_MAX, "blk.%u.%s", layer, NAMES[kind]);
}

float gguf_rope_freq(const struct llama_config *c, uint32_t j)
{
    static const struct rope_scaling plain = {.kind = ROPE_PLAIN};

    return (float)(rope_frequency(&plain, c->rope_theta, c->head_dim, j) /
                   rope_frequency(&c->rope, c->rope_theta, c->head_dim, j));
}
