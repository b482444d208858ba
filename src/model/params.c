/* The list of a Llama model's parameters. */
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "compute/host_math.h"
#include "model/llama_internal.h"

static const char *const kind_name[LLAMA_KIND_COUNT] = {
    [LLAMA_LM_HEAD] = "lm_head.weight",       [LLAMA_EMBED] = "model.embed_tokens.weight",
    [LLAMA_NORM] = "model.norm.weight",       [LLAMA_ATTN_NORM] = "input_layernorm.weight",
    [LLAMA_DOWN] = "mlp.down_proj.weight",    [LLAMA_GATE] = "mlp.gate_proj.weight",
    [LLAMA_UP] = "mlp.up_proj.weight",        [LLAMA_MLP_NORM] = "post_attention_layernorm.weight",
    [LLAMA_K_BIAS] = "self_attn.k_proj.bias", [LLAMA_K] = "self_attn.k_proj.weight",
    [LLAMA_O] = "self_attn.o_proj.weight",    [LLAMA_Q_BIAS] = "self_attn.q_proj.bias",
    [LLAMA_Q] = "self_attn.q_proj.weight",    [LLAMA_V_BIAS] = "self_attn.v_proj.bias",
    [LLAMA_V] = "self_attn.v_proj.weight",
};

static bool is_bias(enum llama_kind kind)
{
    return kind == LLAMA_K_BIAS || kind == LLAMA_Q_BIAS || kind == LLAMA_V_BIAS;
}

bool llama_has(const struct llama_config *c, enum llama_kind kind)
{
    if (kind == LLAMA_KIND_COUNT)
        return false;
    return kind == LLAMA_LM_HEAD ? !c->tie_embeddings : c->qkv_bias || !is_bias(kind);
}

enum llama_kind llama_bias_of(enum llama_kind kind)
{
    switch (kind) {
    case LLAMA_K:
        return LLAMA_K_BIAS;
    case LLAMA_Q:
        return LLAMA_Q_BIAS;
    case LLAMA_V:
        return LLAMA_V_BIAS;
    default:
        return LLAMA_KIND_COUNT;
    }
}

/* How many parameters a layer has. */
static uint32_t layer_kinds(const struct llama_config *c)
{
    return (uint32_t)LLAMA_LAYER_KINDS - (c->qkv_bias ? 0 : 3);
}

uint32_t llama_param_count(const struct llama_config *c)
{
    return c->layers * layer_kinds(c) + 2 + (c->tie_embeddings ? 0 : 1);
}

/* The n-th kind that a layer has. */
static enum llama_kind layer_kind(const struct llama_config *c, uint32_t n)
{
    int kind = LLAMA_ATTN_NORM;

    while (!llama_has(c, (enum llama_kind)kind) || n-- > 0)
        kind++;
    return (enum llama_kind)kind;
}

/* The number whose decimal text follows that of `cur` in byte order, among 0..n-1: a digit is
 * appended, or else the last digit that can still grow is raised. */
static uint32_t decimal_next(uint32_t cur, uint32_t n)
{
    if (cur == 0)
        return 1;
    if (cur * 10 < n)
        return cur * 10;
    while (cur % 10 == 9 || cur + 1 >= n)
        cur /= 10;
    return cur + 1;
}

void llama_param_place(const struct llama_config *c, uint32_t i, enum llama_kind *kind,
                       uint32_t *layer)
{
    uint32_t first = c->tie_embeddings ? 1 : 2, of_layers, k;

    EMAC_ASSERT(i < llama_param_count(c));
    of_layers = c->layers * layer_kinds(c);
    *layer = 0;
    if (i < first) {
        *kind = i + 1 == first ? LLAMA_EMBED : LLAMA_LM_HEAD;
        return;
    }
    i -= first;
    if (i == of_layers) {
        *kind = LLAMA_NORM;
        return;
    }
    for (k = i / layer_kinds(c); k > 0; k--)
        *layer = decimal_next(*layer, c->layers);
    *kind = layer_kind(c, i % layer_kinds(c));
}

static struct shape kind_shape(const struct llama_config *c, enum llama_kind kind)
{
    size_t d = c->hidden_size, f = c->intermediate_size;
    size_t q = (size_t)c->heads * c->head_dim, kv = (size_t)c->kv_heads * c->head_dim;

    switch (kind) {
    case LLAMA_LM_HEAD:
    case LLAMA_EMBED:
        return SHAPE2(c->vocab_size, d);
    case LLAMA_GATE:
    case LLAMA_UP:
        return SHAPE2(f, d);
    case LLAMA_DOWN:
        return SHAPE2(d, f);
    case LLAMA_K:
    case LLAMA_V:
        return SHAPE2(kv, d);
    case LLAMA_K_BIAS:
    case LLAMA_V_BIAS:
        return SHAPE1(kv);
    case LLAMA_Q:
        return SHAPE2(q, d);
    case LLAMA_Q_BIAS:
        return SHAPE1(q);
    case LLAMA_O:
        return SHAPE2(d, q);
    case LLAMA_NORM:
    case LLAMA_ATTN_NORM:
    case LLAMA_MLP_NORM:
    case LLAMA_KIND_COUNT:
        break;
    }
    return SHAPE1(d);
}

static double kind_std(const struct llama_config *c, const struct llama_init *init,
                       enum llama_kind kind)
{
    switch (kind) {
    case LLAMA_NORM:
    case LLAMA_ATTN_NORM:
    case LLAMA_MLP_NORM:
    case LLAMA_K_BIAS:
    case LLAMA_Q_BIAS:
    case LLAMA_V_BIAS:
        return 0;
    case LLAMA_EMBED:
        return init->embed_std;
    case LLAMA_O:
    case LLAMA_DOWN:
        return init->residual_std > 0 ? init->residual_std
                                      : init->linear_std / host_sqrt(2.0 * c->layers);
    default:
        return init->linear_std;
    }
}

void llama_param_at(const struct llama_config *c, const struct llama_init *init, uint32_t i,
                    struct model_param *out)
{
    enum llama_kind kind;
    uint32_t layer;

    llama_param_place(c, i, &kind, &layer);
    memset(out, 0, sizeof(*out));
    if (kind < LLAMA_ATTN_NORM)
        snprintf(out->name, sizeof(out->name), "%s", kind_name[kind]);
    else
        snprintf(out->name, sizeof(out->name), "model.layers.%u.%s", layer, kind_name[kind]);
    out->shape = kind_shape(c, kind);
    out->init_std = init == NULL ? 0 : kind_std(c, init, kind);
    out->init_fill = is_bias(kind) ? 0 : 1;
    out->decay = out->shape.rank == 2;
    out->hidden = out->decay && kind > LLAMA_NORM;
}

static void list_at(const void *config, uint32_t i, struct model_param *out)
{
    const struct llama_model *m = config;

    llama_param_at(m->config, m->init, i, out);
}

static const enum tune_target kind_target[LLAMA_KIND_COUNT] = {
    [LLAMA_DOWN] = TUNE_DOWN, [LLAMA_GATE] = TUNE_GATE, [LLAMA_K] = TUNE_K, [LLAMA_O] = TUNE_O,
    [LLAMA_Q] = TUNE_Q,       [LLAMA_UP] = TUNE_UP,     [LLAMA_V] = TUNE_V};

/* Dense layers, the first of the targets, are not a Llama's: what is no matrix of a layer has them
 * here. */
static bool is_target(const struct tune *t, enum llama_kind kind)
{
    enum tune_target target = kind_target[kind];

    return target != TUNE_DENSE && (t->targets & 1u << target) != 0;
}

static enum model_part list_part(const void *config, const struct tune *t, uint32_t i)
{
    const struct llama_model *m = config;
    enum llama_kind kind;
    uint32_t layer;

    llama_param_place(m->config, i, &kind, &layer);
    if (t->kind == TUNE_FULL)
        return PART_FROM_BASE;
    if (t->kind == TUNE_LORA)
        return is_target(t, kind) ? PART_ADAPTED : PART_FROZEN;
    if (kind < LLAMA_ATTN_NORM)
        return kind == LLAMA_EMBED ? PART_FROZEN : PART_FROM_BASE;
    return layer + t->layers >= m->config->layers ? PART_FROM_BASE : PART_FROZEN;
}

struct model_params llama_params(const struct llama_model *m)
{
    return (struct model_params){.config = m,
                                 .count = llama_param_count(m->config),
                                 .storage = m->config->storage,
                                 .at = list_at,
                                 .part = list_part};
}

uint64_t llama_param_elements(const struct llama_config *c)
{
    uint64_t total = 0, d = c->hidden_size, f = c->intermediate_size;
    uint64_t q = (uint64_t)c->heads * c->head_dim, kv = (uint64_t)c->kv_heads * c->head_dim;

    total += c->layers * (2 * d + 3 * d * f + 2 * d * q + 2 * d * kv);
    total += c->qkv_bias ? c->layers * (q + 2 * kv) : 0;
    total += (c->tie_embeddings ? 1 : 2) * c->vocab_size * d + d;
    return total;
}

float llama_attention_scale(const struct llama_config *c)
{
    return (float)(1.0 / host_sqrt((double)c->head_dim));
}
