/* Models of the Llama family in GGUF files, as llama.cpp's converter writes them
 * (github.com/ggml-org/llama.cpp, gguf-py/gguf/constants.py). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "model/convert.h"
#include "model/llama_internal.h"

static const char *const gguf_name[LLAMA_KIND_COUNT] = {
    [LLAMA_LM_HEAD] = "output.weight",   [LLAMA_EMBED] = "token_embd.weight",
    [LLAMA_NORM] = "output_norm.weight", [LLAMA_ATTN_NORM] = "attn_norm.weight",
    [LLAMA_DOWN] = "ffn_down.weight",    [LLAMA_GATE] = "ffn_gate.weight",
    [LLAMA_UP] = "ffn_up.weight",        [LLAMA_MLP_NORM] = "ffn_norm.weight",
    [LLAMA_K] = "attn_k.weight",         [LLAMA_O] = "attn_output.weight",
    [LLAMA_Q] = "attn_q.weight",         [LLAMA_V] = "attn_v.weight",
    [LLAMA_K_BIAS] = "attn_k.bias",      [LLAMA_Q_BIAS] = "attn_q.bias",
    [LLAMA_V_BIAS] = "attn_v.bias",
};

/* By "general.architecture", which is also what its keys begin with. */
static const struct arch {
    const char *name;
    bool qkv_bias;
    bool paired; /* rows of q and k are written as rotary pairs (convert.h) */
} ARCHS[] = {{"llama", false, true}, {"qwen2", true, false}};

/* -- configuration ------------------------------------------------------------------------- */

/* What is read of a file: its keys are "<architecture>.<key>". */
struct source {
    const struct gguf *g;
    const struct arch *arch;
    char key[64];
};

static const char *key_of(struct source *s, const char *key)
{
    snprintf(s->key, sizeof(s->key), "%s.%s", s->arch->name, key);
    return s->key;
}

static enum emac_status get_u32(struct source *s, const char *key, const uint32_t *usual,
                                uint32_t *out, struct emac_err *err)
{
    return gguf_u32(s->g, key_of(s, key), usual, out, err);
}

static enum emac_status get_f32(struct source *s, const char *key, const float *usual, float *out,
                                struct emac_err *err)
{
    return gguf_f32(s->g, key_of(s, key), usual, out, err);
}

static enum emac_status arch_read(const struct gguf *g, const struct arch **out,
                                  struct emac_err *err)
{
    struct gguf_text name = gguf_text(g, "general.architecture");

    for (size_t i = 0; i < EMAC_COUNT(ARCHS); i++) {
        *out = &ARCHS[i];
        if (gguf_text_is(name, ARCHS[i].name))
            return EMAC_OK;
    }
    return emac_fail(err, EMAC_UNSUPPORTED,
                     "'general.architecture' in the GGUF file must be \"llama\" or \"qwen2\"");
}

static enum emac_status need_no_scaling(struct source *s, struct emac_err *err)
{
    const char *key = key_of(s, "rope.scaling.type");

    if (gguf_value_find(s->g, key) == NULL || gguf_text_is(gguf_text(s->g, key), "none"))
        return EMAC_OK;
    return emac_fail(err, EMAC_UNSUPPORTED, "'%s' in the GGUF file must be \"none\"", key);
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

static enum emac_status sizes_read(struct source *s, struct llama_config *c, struct emac_err *err)
{
    uint32_t head_dim, rotated;
    enum emac_status st;

    EMAC_TRY(st, vocab_size(s->g, &c->vocab_size, err));
    EMAC_TRY(st, get_u32(s, "embedding_length", NULL, &c->hidden_size, err));
    EMAC_TRY(st, get_u32(s, "feed_forward_length", NULL, &c->intermediate_size, err));
    EMAC_TRY(st, get_u32(s, "block_count", NULL, &c->layers, err));
    EMAC_TRY(st, get_u32(s, "context_length", NULL, &c->max_positions, err));
    EMAC_TRY(st, get_u32(s, "attention.head_count", NULL, &c->heads, err));
    EMAC_TRY(st, get_u32(s, "attention.head_count_kv", &c->heads, &c->kv_heads, err));
    head_dim = c->heads ? c->hidden_size / c->heads : 0;
    EMAC_TRY(st, get_u32(s, "attention.key_length", &head_dim, &c->head_dim, err));
    EMAC_TRY(st, get_u32(s, "attention.value_length", &c->head_dim, &head_dim, err));
    EMAC_TRY(st, get_u32(s, "rope.dimension_count", &c->head_dim, &rotated, err));
    if (head_dim != c->head_dim || rotated != c->head_dim)
        return emac_fail(err, EMAC_UNSUPPORTED,
                         "heads are %u wide, values %u, and %u of it is rotated; they must be one",
                         c->head_dim, head_dim, rotated);
out:
    return st;
}

static enum emac_status config_read(struct source *s, struct llama_config *c, struct emac_err *err)
{
    static const float theta_default = 10000.0f;
    static const uint32_t none = 0;
    float theta, eps;
    uint32_t experts;
    enum emac_status st;

    memset(c, 0, sizeof(*c));
    c->storage = DTYPE_F32;
    c->qkv_bias = s->arch->qkv_bias;
    EMAC_TRY(st, need_no_scaling(s, err));
    EMAC_TRY(st, get_u32(s, "expert_count", &none, &experts, err));
    if (experts != 0 || gguf_tensor_find(s->g, "rope_freqs.weight") != NULL)
        return emac_fail(err, EMAC_UNSUPPORTED,
                         "the model has experts or scaled rotary angles, which cannot be run");
    EMAC_TRY(st, sizes_read(s, c, err));
    EMAC_TRY(st, get_f32(s, "rope.freq_base", &theta_default, &theta, err));
    EMAC_TRY(st, get_f32(s, "attention.layer_norm_rms_epsilon", NULL, &eps, err));
    c->rope_theta = decimal_of(theta);
    c->norm_eps = decimal_of(eps);
    c->tie_embeddings = gguf_tensor_find(s->g, gguf_name[LLAMA_LM_HEAD]) == NULL;
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

static enum emac_status source_find(const struct source *s, const struct llama_config *c,
                                    uint32_t i, struct llama_source *out, struct emac_err *err)
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
    t = gguf_tensor_find(s->g, name);
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
    out->paired = s->arch->paired && (kind == LLAMA_Q || kind == LLAMA_K);
    return EMAC_OK;
}

enum emac_status llama_from_gguf(const struct gguf *g, struct llama_config *c,
                                 struct llama_source **out, struct emac_err *err)
{
    struct source s = {.g = g};
    enum emac_status st;

    *out = NULL;
    EMAC_TRY(st, arch_read(g, &s.arch, err));
    EMAC_TRY(st, config_read(&s, c, err));
    EMAC_TRY(st, emac_alloc(out, llama_param_count(c), sizeof(**out), err));
    for (uint32_t i = 0; i < llama_param_count(c); i++)
        EMAC_TRY(st, source_find(&s, c, i, &(*out)[i], err));
    if (g->tensors != llama_param_count(c))
        st = emac_fail(err, EMAC_UNSUPPORTED,
                       "the GGUF file has %zu tensors, a %s model of its sizes %u; other biases "
                       "and additions cannot be run",
                       g->tensors, s.arch->name, llama_param_count(c));
out:
    if (st != EMAC_OK) {
        free(*out);
        *out = NULL;
    }
    return st;
}
