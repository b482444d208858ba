/* Llama models in GGUF files, as llama.cpp's converter writes them
 * (github.com/ggml-org/llama.cpp, gguf-py/gguf/constants.py). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/convert.h"
#include "model/llama_internal.h"

static const char *const gguf_name[LLAMA_KIND_COUNT] = {
    [LLAMA_LM_HEAD] = "output.weight",   [LLAMA_EMBED] = "token_embd.weight",
    [LLAMA_NORM] = "output_norm.weight", [LLAMA_ATTN_NORM] = "attn_norm.weight",
    [LLAMA_DOWN] = "ffn_down.weight",    [LLAMA_GATE] = "ffn_gate.weight",
    [LLAMA_UP] = "ffn_up.weight",        [LLAMA_MLP_NORM] = "ffn_norm.weight",
    [LLAMA_K] = "attn_k.weight",         [LLAMA_O] = "attn_output.weight",
    [LLAMA_Q] = "attn_q.weight",         [LLAMA_V] = "attn_v.weight",
};

/* -- configuration ------------------------------------------------------------------------- */

static enum emac_status need_text(const struct gguf *g, const char *key, const char *text,
                                  bool may_miss, struct emac_err *err)
{
    const struct gguf_value *v = gguf_value_find(g, key);

    if (v == NULL && may_miss)
        return EMAC_OK;
    if (v != NULL && v->type == GGUF_STRING &&
        gguf_text_is((struct gguf_text){(const char *)v->data, v->n}, text))
        return EMAC_OK;
    return emac_fail(err, EMAC_UNSUPPORTED, "'%s' in the GGUF file must be \"%s\"", key, text);
}

/* The file has binary32; config.json has the shortest decimal that means the same. */
static double decimal_of(float v)
{
    char text[40];

    for (int digits = 1; digits <= 9; digits++) {
        snprintf(text, sizeof(text), "%.*g", digits, (double)v);
        if (strtof(text, NULL) == v)
            break;
    }
    return strtod(text, NULL);
}

static enum emac_status vocab_size(const struct gguf *g, uint32_t *out, struct emac_err *err)
{
    const struct gguf_tensor *t = gguf_tensor_find(g, gguf_name[LLAMA_EMBED]);

    if (t == NULL || t->rank != 2 || t->dim[1] > LLAMA_DIM_MAX)
        return emac_fail(err, EMAC_INVALID, "tensor '%s' is missing or misshapen",
                         gguf_name[LLAMA_EMBED]);
    *out = (uint32_t)t->dim[1];
    return EMAC_OK;
}

static enum emac_status sizes_read(const struct gguf *g, struct llama_config *c,
                                   struct emac_err *err)
{
    uint32_t head_dim, rotated;
    enum emac_status st;

    EMAC_TRY(st, vocab_size(g, &c->vocab_size, err));
    EMAC_TRY(st, gguf_u32(g, "llama.embedding_length", NULL, &c->hidden_size, err));
    EMAC_TRY(st, gguf_u32(g, "llama.feed_forward_length", NULL, &c->intermediate_size, err));
    EMAC_TRY(st, gguf_u32(g, "llama.block_count", NULL, &c->layers, err));
    EMAC_TRY(st, gguf_u32(g, "llama.context_length", NULL, &c->max_positions, err));
    EMAC_TRY(st, gguf_u32(g, "llama.attention.head_count", NULL, &c->heads, err));
    EMAC_TRY(st, gguf_u32(g, "llama.attention.head_count_kv", &c->heads, &c->kv_heads, err));
    head_dim = c->heads ? c->hidden_size / c->heads : 0;
    EMAC_TRY(st, gguf_u32(g, "llama.attention.key_length", &head_dim, &c->head_dim, err));
    EMAC_TRY(st, gguf_u32(g, "llama.attention.value_length", &c->head_dim, &head_dim, err));
    EMAC_TRY(st, gguf_u32(g, "llama.rope.dimension_count", &c->head_dim, &rotated, err));
    if (head_dim != c->head_dim || rotated != c->head_dim)
        return emac_fail(err, EMAC_UNSUPPORTED,
                         "heads are %u wide, values %u, and %u of it is rotated; they must be one",
                         c->head_dim, head_dim, rotated);
out:
    return st;
}

static enum emac_status config_read(const struct gguf *g, struct llama_config *c,
                                    struct emac_err *err)
{
    static const float theta_default = 10000.0f;
    static const uint32_t none = 0;
    float theta, eps;
    uint32_t experts;
    enum emac_status st;

    memset(c, 0, sizeof(*c));
    c->storage = DTYPE_F32;
    EMAC_TRY(st, need_text(g, "general.architecture", "llama", false, err));
    EMAC_TRY(st, need_text(g, "llama.rope.scaling.type", "none", true, err));
    EMAC_TRY(st, gguf_u32(g, "llama.expert_count", &none, &experts, err));
    if (experts != 0 || gguf_tensor_find(g, "rope_freqs.weight") != NULL)
        return emac_fail(err, EMAC_UNSUPPORTED,
                         "the model has experts or scaled rotary angles, which cannot be run");
    EMAC_TRY(st, sizes_read(g, c, err));
    EMAC_TRY(st, gguf_f32(g, "llama.rope.freq_base", &theta_default, &theta, err));
    EMAC_TRY(st, gguf_f32(g, "llama.attention.layer_norm_rms_epsilon", NULL, &eps, err));
    c->rope_theta = decimal_of(theta);
    c->norm_eps = decimal_of(eps);
    c->tie_embeddings = gguf_tensor_find(g, gguf_name[LLAMA_LM_HEAD]) == NULL;
    st = llama_config_check(c, err);
out:
    return st;
}

/* -- tensors ------------------------------------------------------------------------------- */

static void source_type(enum gguf_type type, struct llama_source *out)
{
    out->quant = quant_info(type);
    out->type = out->quant != NULL  ? LLAMA_SOURCE_QUANT
                : type == GGUF_F16  ? LLAMA_SOURCE_F16
                : type == GGUF_BF16 ? LLAMA_SOURCE_BF16
                                    : LLAMA_SOURCE_F32;
}

static enum emac_status source_find(const struct gguf *g, const struct llama_config *c, uint32_t i,
                                    struct llama_source *out, struct emac_err *err)
{
    const struct gguf_tensor *t;
    struct model_param p;
    enum llama_kind kind;
    uint32_t layer;
    char name[GGUF_NAME_MAX + 1];
    bool fits;

    llama_param_place(c, i, &kind, &layer);
    llama_param_at(c, NULL, i, &p);
    if (kind < LLAMA_ATTN_NORM)
        snprintf(name, sizeof(name), "%s", gguf_name[kind]);
    else
        snprintf(name, sizeof(name), "blk.%u.%s", layer, gguf_name[kind]);
    t = gguf_tensor_find(g, name);
    if (t == NULL)
        return emac_fail(err, EMAC_INVALID, "tensor '%s' is missing in the GGUF file", name);
    fits = t->rank == p.shape.rank;
    for (uint32_t d = 0; fits && d < t->rank; d++)
        fits = t->dim[t->rank - 1 - d] == p.shape.dim[d];
    source_type(t->type, out);
    if (!fits || (out->type == LLAMA_SOURCE_QUANT && t->rank != 2))
        return emac_fail(err, EMAC_INVALID,
                         "tensor '%s' has another shape than the metadata ask for", name);
    out->data = t->data;
    out->paired = kind == LLAMA_Q || kind == LLAMA_K;
    return EMAC_OK;
}

enum emac_status llama_from_gguf(const struct gguf *g, struct llama_config *c,
                                 struct llama_source **out, struct emac_err *err)
{
    enum emac_status st;

    *out = NULL;
    EMAC_TRY(st, config_read(g, c, err));
    EMAC_TRY(st, emac_alloc(out, llama_param_count(c), sizeof(**out), err));
    for (uint32_t i = 0; i < llama_param_count(c); i++)
        EMAC_TRY(st, source_find(g, c, i, &(*out)[i], err));
    if (g->tensors != llama_param_count(c))
        st = emac_fail(err, EMAC_UNSUPPORTED,
                       "the GGUF file has %zu tensors, a Llama model of its sizes %u; biases and "
                       "other additions cannot be run",
                       g->tensors, llama_param_count(c));
out:
    if (st != EMAC_OK) {
        free(*out);
        *out = NULL;
    }
    return st;
}
