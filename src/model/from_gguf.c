/* Models of the Llama family in GGUF files. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "compute/fn.h"
#include "model/convert.h"
#include "model/gguf_names.h"

/* -- configuration ------------------------------------------------------------------------- */

/* What is read of a file: its keys are "<architecture>.<key>". */
struct source {
    const struct gguf *g;
    const struct gguf_arch *arch;
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

static enum emac_status arch_read(const struct gguf *g, const struct gguf_arch **out,
                                  struct emac_err *err)
{
    struct gguf_text name = gguf_text(g, "general.architecture");

    for (size_t i = 0; i < GGUF_ARCH_COUNT; i++) {
        *out = &GGUF_ARCHS[i];
        if (gguf_text_is(name, GGUF_ARCHS[i].name))
            return EMAC_OK;
    }
    return emac_fail(err, EMAC_UNSUPPORTED,
                     "'general.architecture' in the GGUF file must be \"llama\" or \"qwen2\"");
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
    const struct gguf_tensor *t = gguf_tensor_find(g, GGUF_EMBED);

    if (t == NULL || t->rank != 2 || t->dim[1] > LLAMA_DIM_MAX)
        return emac_fail(err, EMAC_INVALID, "tensor '%s' is missing or misshapen", GGUF_EMBED);
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

static enum emac_status get_decimal(struct source *s, const char *key, double *out,
                                    struct emac_err *err)
{
    float v;
    enum emac_status st = gguf_f32(s->g, key, NULL, &v, err);

    if (st == EMAC_OK)
        *out = decimal_of(v);
    return st;
}

static float freq_at(const struct gguf_tensor *t, uint32_t j)
{
    const uint8_t *p = t->data + 4 * (size_t)j;

    return fn_float(p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24);
}

/* What the tensor was made of: as the keys beside it say, else with Llama 3.1's and 3.2's numbers
 * and the factor of the slowest angle. */
static enum emac_status llama3_guess(struct source *s, const struct gguf_tensor *t,
                                     struct rope_scaling *r, struct emac_err *err)
{
    enum emac_status st;

    *r = (struct rope_scaling){.kind = ROPE_LLAMA3, .low = 1, .high = 4, .positions = 8192};
    r->factor = decimal_of(freq_at(t, (uint32_t)t->dim[0] - 1));
    if (gguf_value_find(s->g, GGUF_ROPE_FACTOR) == NULL)
        return EMAC_OK;
    EMAC_TRY(st, get_decimal(s, GGUF_ROPE_FACTOR, &r->factor, err));
    EMAC_TRY(st, get_decimal(s, GGUF_ROPE_LOW, &r->low, err));
    EMAC_TRY(st, get_decimal(s, GGUF_ROPE_HIGH, &r->high, err));
    st = gguf_u32(s->g, GGUF_ROPE_POSITIONS, NULL, &r->positions, err);
out:
    return st;
}

/* Others compute the tensor in binary32. */
#define FREQ_TOLERANCE 1e-4f

static enum emac_status llama3_read(struct source *s, const struct gguf_tensor *t,
                                    struct llama_config *c, struct emac_err *err)
{
    bool fits = t->type == GGUF_F32 && t->rank == 1 && t->dim[0] == c->head_dim / 2;
    enum emac_status st = EMAC_OK;

    if (fits)
        st = llama3_guess(s, t, &c->rope, err);
    if (st != EMAC_OK)
        return st;
    fits = fits && rope_scaling_check(&c->rope, NULL) == EMAC_OK;
    for (uint32_t j = 0; fits && j < t->dim[0]; j++) {
        float want = gguf_rope_freq(c, j), off = freq_at(t, j) - want;

        fits = off <= FREQ_TOLERANCE * want && -off <= FREQ_TOLERANCE * want;
    }
    if (!fits)
        st = emac_fail(err, EMAC_UNSUPPORTED,
                       "the angles of '" GGUF_ROPE_FREQS "' are not those of a known scaling of "
                       "rotary positions");
    return st;
}

static enum emac_status rope_read(struct source *s, struct llama_config *c, struct emac_err *err)
{
    static const float one = 1;
    const struct gguf_tensor *freqs = gguf_tensor_find(s->g, GGUF_ROPE_FREQS);
    const char *key = key_of(s, "rope.scaling.type");
    struct gguf_text type = gguf_text(s->g, key);
    float factor;
    enum emac_status st;

    if (gguf_value_find(s->g, key) == NULL || gguf_text_is(type, "none"))
        return freqs != NULL ? llama3_read(s, freqs, c, err) : EMAC_OK;
    if (!gguf_text_is(type, "linear") || freqs != NULL)
        return emac_fail(err, EMAC_UNSUPPORTED,
                         "'%s' in the GGUF file must be \"none\" or \"linear\"", key);
    EMAC_TRY(st, get_f32(s, "rope.scaling.factor", &one, &factor, err));
    c->rope = (struct rope_scaling){.kind = ROPE_LINEAR, .factor = decimal_of(factor)};
    st = rope_scaling_check(&c->rope, err);
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
    EMAC_TRY(st, get_u32(s, "expert_count", &none, &experts, err));
    if (experts != 0)
        return emac_fail(err, EMAC_UNSUPPORTED, "the model has experts, which cannot be run");
    EMAC_TRY(st, sizes_read(s, c, err));
    EMAC_TRY(st, get_f32(s, "rope.freq_base", &theta_default, &theta, err));
    EMAC_TRY(st, get_f32(s, "attention.layer_norm_rms_epsilon", NULL, &eps, err));
    c->rope_theta = decimal_of(theta);
    c->norm_eps = decimal_of(eps);
    c->tie_embeddings = gguf_tensor_find(s->g, "output.weight") == NULL;
    EMAC_TRY(st, llama_config_check(c, err));
    st = rope_read(s, c, err);
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
    char name[GGUF_NAME_MAX];
    bool fits;

    llama_param_place(c, i, &kind, &layer);
    llama_param_at(c, NULL, i, &p);
    gguf_param_name(c, i, name);
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

static bool is_matrix(const struct llama_config *c, uint32_t i)
{
    struct model_param p;

    llama_param_at(c, NULL, i, &p);
    return p.shape.rank == 2;
}

/* Numbers of BF16 in binary32: the lower halves are zero. */
static bool holds_bf16(const struct llama_config *c, uint32_t i, const struct llama_source *from)
{
    struct model_param p;

    if (from->type != LLAMA_SOURCE_F32)
        return false;
    llama_param_at(c, NULL, i, &p);
    for (size_t k = 0; k < p.shape.dim[0]; k++)
        if (from->data[4 * k] != 0 || from->data[4 * k + 1] != 0)
            return false;
    return true;
}

/* Such files have their vectors in F32 whatever the model is kept as. */
static void storage_find(struct llama_config *c, struct llama_source *source)
{
    uint32_t n = llama_param_count(c);

    for (uint32_t i = 0; i < n; i++)
        if (is_matrix(c, i) ? source[i].type != LLAMA_SOURCE_BF16
                            : source[i].type != LLAMA_SOURCE_BF16 && !holds_bf16(c, i, &source[i]))
            return;
    c->storage = DTYPE_BF16;
    for (uint32_t i = 0; i < n; i++)
        source[i].narrow = source[i].type == LLAMA_SOURCE_F32;
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
    if (g->tensors != llama_param_count(c) + (c->rope.kind == ROPE_LLAMA3))
        st = emac_fail(err, EMAC_UNSUPPORTED,
                       "the GGUF file has %zu tensors, a %s model of its sizes %u; other biases "
                       "and additions cannot be run",
                       g->tensors, s.arch->name,
                       llama_param_count(c) + (c->rope.kind == ROPE_LLAMA3));
    else
        storage_find(c, *out);
out:
    if (st != EMAC_OK) {
        free(*out);
        *out = NULL;
    }
    return st;
}
