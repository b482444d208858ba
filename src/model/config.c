/* config.json of models of the Llama family. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "model/llama_internal.h"

static enum emac_status dim_check(const char *name, uint64_t v, uint64_t max, struct emac_err *err)
{
    if (v >= 1 && v <= max)
        return EMAC_OK;
    return emac_fail(err, EMAC_INVALID, "'%s' of the model is %llu; it must be 1 to %llu", name,
                     (unsigned long long)v, (unsigned long long)max);
}

enum emac_status llama_config_check(const struct llama_config *c, struct emac_err *err)
{
    enum emac_status st;

    EMAC_TRY(st, dim_check("vocab_size", c->vocab_size, LLAMA_DIM_MAX, err));
    EMAC_TRY(st, dim_check("hidden_size", c->hidden_size, LLAMA_DIM_MAX, err));
    EMAC_TRY(st, dim_check("intermediate_size", c->intermediate_size, LLAMA_DIM_MAX, err));
    EMAC_TRY(st, dim_check("num_hidden_layers", c->layers, LLAMA_LAYERS_MAX, err));
    EMAC_TRY(st, dim_check("num_attention_heads", c->heads, 65536, err));
    EMAC_TRY(st, dim_check("num_key_value_heads", c->kv_heads, c->heads, err));
    EMAC_TRY(st, dim_check("head_dim", c->head_dim, LLAMA_DIM_MAX / c->heads, err));
    EMAC_TRY(st, dim_check("max_position_embeddings", c->max_positions, LLAMA_DIM_MAX, err));
    if (c->heads % c->kv_heads != 0)
        return emac_fail(err, EMAC_INVALID,
                         "'num_attention_heads' (%u) must be a multiple of 'num_key_value_heads' "
                         "(%u)",
                         c->heads, c->kv_heads);
    if (c->head_dim % 2 != 0)
        return emac_fail(err, EMAC_INVALID, "'head_dim' is %u; rotary embedding needs an even one",
                         c->head_dim);
    if (!(c->rope_theta >= 1 && c->rope_theta <= 1e12))
        return emac_fail(err, EMAC_INVALID, "'rope_theta' must be 1 to 1e12");
    EMAC_TRY(st, rope_scaling_check(&c->rope, err));
    if (!(c->norm_eps >= 1e-12 && c->norm_eps <= 1))
        return emac_fail(err, EMAC_INVALID, "'rms_norm_eps' must be 1e-12 to 1");
    if (llama_param_elements(c) >= LLAMA_ELEMENTS_MAX)
        return emac_fail(err, EMAC_TOO_LARGE, "the model has %llu weights; the limit is %llu",
                         (unsigned long long)llama_param_elements(c),
                         (unsigned long long)LLAMA_ELEMENTS_MAX);
out:
    return st;
}

/* NULL when the key is absent or null: Hugging Face writes null for "default". */
static const json_t *field(const json_t *root, const char *key)
{
    const json_t *v = json_object_get(root, key);

    return json_is_null(v) ? NULL : v;
}

static enum emac_status read_u32(const json_t *root, const char *key, const uint32_t *fallback,
                                 uint32_t *out, struct emac_err *err)
{
    const json_t *v = field(root, key);

    if (v == NULL && fallback != NULL) {
        *out = *fallback;
        return EMAC_OK;
    }
    if (v == NULL)
        return emac_fail(err, EMAC_INVALID, "'%s' is missing in config.json", key);
    if (!json_is_integer(v) || json_integer_value(v) < 1 || json_integer_value(v) > UINT32_MAX)
        return emac_fail(err, EMAC_INVALID, "'%s' in config.json is not a positive integer", key);
    *out = (uint32_t)json_integer_value(v);
    return EMAC_OK;
}

static enum emac_status read_number(const json_t *root, const char *key, double fallback,
                                    double *out, struct emac_err *err)
{
    const json_t *v = field(root, key);

    *out = fallback;
    if (v == NULL)
        return EMAC_OK;
    if (!json_is_number(v))
        return emac_fail(err, EMAC_INVALID, "'%s' in config.json is not a number", key);
    *out = json_number_value(v);
    return EMAC_OK;
}

static enum emac_status read_bool(const json_t *root, const char *key, bool *out,
                                  struct emac_err *err)
{
    const json_t *v = field(root, key);

    *out = false;
    if (v == NULL)
        return EMAC_OK;
    if (!json_is_boolean(v))
        return emac_fail(err, EMAC_INVALID, "'%s' in config.json is not true or false", key);
    *out = json_is_true(v);
    return EMAC_OK;
}

static enum emac_status need_str(const json_t *root, const char *key, const char *value,
                                 bool may_miss, struct emac_err *err)
{
    const json_t *v = field(root, key);

    if (v == NULL && may_miss)
        return EMAC_OK;
    if (v == NULL || !json_is_string(v) || strcmp(json_string_value(v), value) != 0)
        return emac_fail(err, EMAC_UNSUPPORTED, "'%s' in config.json must be \"%s\"", key, value);
    return EMAC_OK;
}

static enum emac_status need_false(const json_t *root, const char *key, struct emac_err *err)
{
    bool set;
    enum emac_status st = read_bool(root, key, &set, err);

    if (st == EMAC_OK && set)
        st = emac_fail(err, EMAC_UNSUPPORTED, "'%s' in config.json must be false", key);
    return st;
}

/* The rotary angles: "rope_theta" and "rope_scaling", or both in "rope_parameters" in newer files.
 */
static enum emac_status read_rope(const json_t *root, struct llama_config *out,
                                  struct emac_err *err)
{
    const json_t *scaling = field(root, "rope_scaling"), *newer = field(root, "rope_parameters");
    enum emac_status st;

    EMAC_TRY(st, read_number(root, "rope_theta", 10000.0, &out->rope_theta, err));
    EMAC_TRY(st, rope_scaling_read(&out->rope, newer != NULL ? newer : scaling, err));
    if (newer != NULL)
        st = read_number(newer, "rope_theta", out->rope_theta, &out->rope_theta, err);
out:
    return st;
}

static enum emac_status read_sizes(const json_t *root, struct llama_config *out,
                                   struct emac_err *err)
{
    const uint32_t positions = out->qkv_bias ? 32768 : 2048;
    uint32_t head_dim;
    enum emac_status st;

    EMAC_TRY(st, read_u32(root, "vocab_size", NULL, &out->vocab_size, err));
    EMAC_TRY(st, read_u32(root, "hidden_size", NULL, &out->hidden_size, err));
    EMAC_TRY(st, read_u32(root, "intermediate_size", NULL, &out->intermediate_size, err));
    EMAC_TRY(st, read_u32(root, "num_hidden_layers", NULL, &out->layers, err));
    EMAC_TRY(st, read_u32(root, "num_attention_heads", NULL, &out->heads, err));
    EMAC_TRY(st, read_u32(root, "num_key_value_heads", &out->heads, &out->kv_heads, err));
    head_dim = out->hidden_size / out->heads;
    if (field(root, "head_dim") == NULL && out->hidden_size % out->heads != 0)
        return emac_fail(err, EMAC_INVALID,
                         "'hidden_size' (%u) must be a multiple of 'num_attention_heads' (%u)",
                         out->hidden_size, out->heads);
    EMAC_TRY(st, read_u32(root, "head_dim", &head_dim, &out->head_dim, err));
    EMAC_TRY(st, read_u32(root, "max_position_embeddings", &positions, &out->max_positions, err));
out:
    return st;
}

/* "dtype" is the key of newer files. What else it says concerns only who converts the weights. */
static enum dtype read_storage(const json_t *root)
{
    const json_t *v = field(root, "torch_dtype");

    if (v == NULL)
        v = field(root, "dtype");
    return v != NULL && json_is_string(v) && strcmp(json_string_value(v), "bfloat16") == 0
               ? DTYPE_BF16
               : DTYPE_F32;
}

/* Newer files say of each layer what its attention sees. */
static enum emac_status need_full_attention(const json_t *root, struct emac_err *err)
{
    const json_t *one;
    size_t i;

    json_array_foreach(field(root, "layer_types"), i, one)
    {
        const char *type = json_string_value(one);

        if (type == NULL || strcmp(type, "full_attention") != 0)
            return emac_fail(err, EMAC_UNSUPPORTED,
                             "'layer_types' in config.json must all be \"full_attention\"");
    }
    return EMAC_OK;
}

/* Mistral's and Qwen's models are of the same architecture, as long as attention sees the whole
 * text. Qwen's have biases without saying so, and a window only where "use_sliding_window" does. */
static enum emac_status read_type(const json_t *root, struct llama_config *out,
                                  struct emac_err *err)
{
    const char *type = json_string_value(field(root, "model_type"));
    enum emac_status st;

    if (type == NULL ||
        (strcmp(type, "llama") != 0 && strcmp(type, "mistral") != 0 && strcmp(type, "qwen2") != 0))
        return emac_fail(err, EMAC_UNSUPPORTED,
                         "'model_type' in config.json must be \"llama\", \"mistral\" or \"qwen2\"");
    out->qkv_bias = strcmp(type, "qwen2") == 0;
    if (strcmp(type, "mistral") == 0 && field(root, "sliding_window") != NULL)
        return emac_fail(err, EMAC_UNSUPPORTED, "'sliding_window' in config.json must be null");
    st = out->qkv_bias ? need_false(root, "use_sliding_window", err)
                       : need_false(root, "attention_bias", err);
    return st == EMAC_OK ? need_full_attention(root, err) : st;
}

static enum emac_status read_root(const json_t *root, struct llama_config *out,
                                  struct emac_err *err)
{
    enum emac_status st;

    if (!json_is_object(root))
        return emac_fail(err, EMAC_INVALID, "config.json is not an object");
    EMAC_TRY(st, read_type(root, out, err));
    EMAC_TRY(st, need_str(root, "hidden_act", "silu", true, err));
    EMAC_TRY(st, need_false(root, "mlp_bias", err));
    if (field(root, "quantization_config") != NULL)
        return emac_fail(err, EMAC_UNSUPPORTED,
                         "'quantization_config' in config.json: only plain weights can be read");
    EMAC_TRY(st, read_sizes(root, out, err));
    EMAC_TRY(st, read_rope(root, out, err));
    EMAC_TRY(st, read_number(root, "rms_norm_eps", 1e-6, &out->norm_eps, err));
    EMAC_TRY(st, read_bool(root, "tie_word_embeddings", &out->tie_embeddings, err));
    out->storage = read_storage(root);
    st = llama_config_check(out, err);
out:
    return st;
}

enum emac_status llama_config_read(struct llama_config *out, const char *json, size_t n,
                                   struct emac_err *err)
{
    json_error_t je;
    json_t *root;
    enum emac_status st;

    memset(out, 0, sizeof(*out));
    if (n > LLAMA_CONFIG_BYTES_MAX)
        return emac_fail(err, EMAC_TOO_LARGE, "config.json has %zu bytes; the limit is %d", n,
                         LLAMA_CONFIG_BYTES_MAX);
    root = json_loadb(json, n, JSON_REJECT_DUPLICATES, &je);
    if (root == NULL)
        return emac_fail(err, EMAC_INVALID, "config.json is not JSON: line %d: %s", je.line,
                         je.text);
    st = read_root(root, out, err);
    json_decref(root);
    return st;
}

/* The shortest decimal that reads back as v, as a JSON float. */
static void number_text(char out[40], double v)
{
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(out, 40, "%.*g", digits, v);
        if (strtod(out, NULL) == v)
            break;
    }
    if (strpbrk(out, ".e") == NULL)
        strncat(out, ".0", 39 - strlen(out));
}

static enum emac_status rope_text(const struct rope_scaling *r, char **out, struct emac_err *err)
{
    json_t *o = rope_scaling_json(r);

    *out = json_dumps(o, JSON_ENCODE_ANY);
    json_decref(o);
    return *out != NULL ? EMAC_OK : emac_fail(err, EMAC_NO_MEMORY, "out of memory for config.json");
}

enum emac_status llama_config_write(const struct llama_config *c, struct emac_buf *out,
                                    struct emac_err *err)
{
    char theta[40], eps[40], *rope = NULL;
    bool qwen = c->qkv_bias;
    enum emac_status st;

    EMAC_TRY(st, llama_config_check(c, err));
    EMAC_TRY(st, rope_text(&c->rope, &rope, err));
    number_text(theta, c->rope_theta);
    number_text(eps, c->norm_eps);
    st = emac_buf_printf(out, err,
                         "{\n"
                         "  \"architectures\": [\n    \"%sForCausalLM\"\n  ],\n"
                         "  \"attention_bias\": %s,\n"
                         "  \"attention_dropout\": 0.0,\n"
                         "  \"bos_token_id\": null,\n"
                         "  \"eos_token_id\": null,\n"
                         "  \"head_dim\": %u,\n"
                         "  \"hidden_act\": \"silu\",\n"
                         "  \"hidden_size\": %u,\n"
                         "  \"initializer_range\": 0.02,\n"
                         "  \"intermediate_size\": %u,\n"
                         "  \"max_position_embeddings\": %u,\n"
                         "  \"mlp_bias\": false,\n"
                         "  \"model_type\": \"%s\",\n"
                         "  \"num_attention_heads\": %u,\n"
                         "  \"num_hidden_layers\": %u,\n"
                         "  \"num_key_value_heads\": %u,\n"
                         "  \"pad_token_id\": null,\n"
                         "  \"pretraining_tp\": 1,\n"
                         "  \"rms_norm_eps\": %s,\n"
                         "  \"rope_scaling\": %s,\n"
                         "  \"rope_theta\": %s,\n"
                         "  \"tie_word_embeddings\": %s,\n"
                         "  \"torch_dtype\": \"%s\",\n"
                         "  \"use_cache\": true,\n"
                         "%s"
                         "  \"vocab_size\": %u\n"
                         "}\n",
                         qwen ? "Qwen2" : "Llama", qwen ? "true" : "false", c->head_dim,
                         c->hidden_size, c->intermediate_size, c->max_positions,
                         qwen ? "qwen2" : "llama", c->heads, c->layers, c->kv_heads, eps, rope,
                         theta, c->tie_embeddings ? "true" : "false",
                         c->storage == DTYPE_BF16 ? "bfloat16" : "float32",
                         qwen ? "  \"use_sliding_window\": false,\n" : "", c->vocab_size);
out:
    free(rope);
    return st;
}
