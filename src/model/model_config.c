#include "model/model_config.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

static enum emac_status classifier_read(struct model_config *out, const json_t *root,
                                        struct emac_err *err)
{
    const char *name = json_string_value(json_object_get(root, "architecture"));
    if (name == NULL || !emac_strcpy(out->architecture, sizeof out->architecture, name))
        return emac_fail(err, EMAC_INVALID, "'architecture' is missing in config.json");
    out->is_classifier = true;
    return classifier_config_read(&out->classifier, root, err);
}

enum emac_status model_config_read(struct model_config *out, struct emac_slice text,
                                   struct emac_err *err)
{
    json_t *root = json_loadb((const char *)text.data, text.len, JSON_REJECT_DUPLICATES, NULL);
    const char *type = json_string_value(json_object_get(root, "model_type"));
    enum emac_status st;
    *out = (struct model_config){.architecture = "llama"};
    if (type != NULL && strcmp(type, CLASSIFIER_MODEL_TYPE) == 0)
        st = classifier_read(out, root, err);
    else
        st = llama_config_read(&out->llama, (const char *)text.data, text.len, err);
    json_decref(root);
    return st;
}

struct model_params model_config_params(struct model_config *c)
{
    if (c->is_classifier)
        return classifier_params(&c->classifier);
    c->list = (struct llama_model){&c->llama, NULL};
    return llama_params(&c->list);
}

json_t *model_config_sizes(const struct model_config *c)
{
    const struct llama_config *m = &c->llama;
    json_t *o = c->is_classifier ? classifier_config_json(&c->classifier) : json_object();
    if (!c->is_classifier) {
        json_object_set_new(o, "vocab_size", json_integer(m->vocab_size));
        json_object_set_new(o, "hidden_size", json_integer(m->hidden_size));
        json_object_set_new(o, "intermediate_size", json_integer(m->intermediate_size));
        json_object_set_new(o, "layers", json_integer(m->layers));
        json_object_set_new(o, "heads", json_integer(m->heads));
        json_object_set_new(o, "kv_heads", json_integer(m->kv_heads));
        json_object_set_new(o, "head_dim", json_integer(m->head_dim));
        json_object_set_new(o, "tie_embeddings", json_boolean(m->tie_embeddings));
        json_object_set_new(o, "attention_bias", json_boolean(m->qkv_bias));
        json_object_set_new(o, "rope_theta", json_real(m->rope_theta));
        json_object_set_new(o, "norm_eps", json_real(m->norm_eps));
        json_object_set_new(o, "rope_scaling", json_string(ROPE_NAMES[m->rope.kind]));
        if (m->rope.kind != ROPE_PLAIN)
            json_object_set_new(o, "rope_factor", json_real(m->rope.factor));
        if (m->rope.kind == ROPE_LLAMA3) {
            json_object_set_new(o, "rope_low", json_real(m->rope.low));
            json_object_set_new(o, "rope_high", json_real(m->rope.high));
            json_object_set_new(o, "rope_positions", json_integer(m->rope.positions));
        }
        json_object_set_new(o, "max_positions", json_integer(m->max_positions));
    }
    json_object_set_new(o, "architecture", json_string(c->architecture));
    return o;
}

/* ---- PEFT ---- */

enum emac_status peft_config_write(const struct tune *t, const char *base, struct emac_buf *out,
                                   struct emac_err *err)
{
    json_t *modules = json_array();
    EMAC_ASSERT(t->kind == TUNE_LORA);
    for (int i = 0; i < TUNE_TARGETS; i++) {
        if ((t->targets >> i & 1) != 0)
            json_array_append_new(modules, json_string(tune_target_name((enum tune_target)i)));
    }
    bool whole = t->alpha == (double)(json_int_t)t->alpha;
    json_t *alpha = whole ? json_integer((json_int_t)t->alpha) : json_real(t->alpha);
    json_t *task = (t->targets >> TUNE_DENSE & 1) != 0 ? json_null() : json_string("CAUSAL_LM");
    json_t *root = json_pack(
        "{s:{}, s:n, s:s, s:s, s:b, s:b, s:b, s:o, s:f, s:n, s:s, s:I, s:{}, s:o, s:o, s:b, s:b}",
        "alpha_pattern", "auto_mapping", "base_model_name_or_path", base, "bias", "none",
        "fan_in_fan_out", 0, "inference_mode", 1, "init_lora_weights", 1, "lora_alpha", alpha,
        "lora_dropout", 0.0, "modules_to_save", "peft_type", "LORA", "r", (json_int_t)t->rank,
        "rank_pattern", "target_modules", modules, "task_type", task, "use_dora", 0, "use_rslora",
        0);
    char *text = root == NULL ? NULL : json_dumps(root, JSON_INDENT(2) | JSON_SORT_KEYS);
    json_decref(root);
    if (text == NULL)
        return emac_fail(err, EMAC_NO_MEMORY, "out of memory for an adapter_config.json");
    enum emac_status st = emac_buf_printf(out, err, "%s\n", text);
    free(text);
    return st;
}

/* Absent, null, false, {}, [] and "none" say that it is not used. */
static bool is_unused(const json_t *v)
{
    if (v == NULL || json_is_null(v) || json_is_false(v))
        return true;
    if (json_is_object(v) || json_is_array(v))
        return json_object_size(v) == 0 && json_array_size(v) == 0;
    return json_is_string(v) && strcmp(json_string_value(v), "none") == 0;
}

static enum emac_status variants_refuse(const json_t *root, struct emac_err *err)
{
    static const char *const VARIANTS[] = {"alpha_pattern",     "bias",
                                           "fan_in_fan_out",    "layer_replication",
                                           "layers_pattern",    "layers_to_transform",
                                           "megatron_config",   "modules_to_save",
                                           "rank_pattern",      "trainable_token_indices",
                                           "target_parameters", "use_dora",
                                           "use_rslora",        "lora_bias"};
    const char *type = json_string_value(json_object_get(root, "peft_type"));
    if (type == NULL || strcmp(type, "LORA") != 0)
        return emac_fail(err, EMAC_UNSUPPORTED,
                         "'peft_type' in adapter_config.json must be \"LORA\"");
    for (size_t i = 0; i < EMAC_COUNT(VARIANTS); i++) {
        if (!is_unused(json_object_get(root, VARIANTS[i])))
            return emac_fail(err, EMAC_UNSUPPORTED,
                             "'%s' in adapter_config.json: only plain LoRA can be read",
                             VARIANTS[i]);
    }
    return EMAC_OK;
}

static enum emac_status targets_read(const json_t *list, uint32_t *out, struct emac_err *err)
{
    const json_t *v;
    size_t i;
    if (!json_is_array(list) || json_array_size(list) == 0)
        return emac_fail(err, EMAC_UNSUPPORTED,
                         "'target_modules' in adapter_config.json must be a list of names");
    json_array_foreach(list, i, v)
    {
        const char *name = json_string_value(v);
        enum tune_target target = name == NULL ? TUNE_TARGETS : tune_target_find(name);
        if (target == TUNE_TARGETS)
            return emac_fail(err, EMAC_UNSUPPORTED,
                             "'target_modules' in adapter_config.json names '%.60s', which is no "
                             "matrix that can be adapted here",
                             name == NULL ? "?" : name);
        *out |= 1u << target;
    }
    return EMAC_OK;
}

static enum emac_status adapter_read(struct tune *out, const json_t *root, struct emac_err *err)
{
    const json_t *rank = json_object_get(root, "r"), *alpha = json_object_get(root, "lora_alpha");
    enum emac_status st = variants_refuse(root, err);
    if (st != EMAC_OK)
        return st;
    out->kind = TUNE_LORA;
    out->rank = (uint32_t)json_integer_value(rank);
    out->alpha = json_number_value(alpha);
    if (!json_is_integer(rank) || json_integer_value(rank) < 1 ||
        json_integer_value(rank) > TUNE_RANK_MAX || !(out->alpha > 0 && out->alpha <= 1e6))
        return emac_fail(err, EMAC_INVALID,
                         "'r' in adapter_config.json must be from 1 to %u, 'lora_alpha' above 0 "
                         "and at most 1000000",
                         TUNE_RANK_MAX);
    return targets_read(json_object_get(root, "target_modules"), &out->targets, err);
}

enum emac_status peft_config_read(struct tune *out, struct emac_slice text, struct emac_err *err)
{
    json_t *root = json_loadb((const char *)text.data, text.len, JSON_REJECT_DUPLICATES, NULL);
    *out = (struct tune){0};
    if (!json_is_object(root)) {
        json_decref(root);
        return emac_fail(err, EMAC_INVALID, "adapter_config.json is not a JSON object");
    }
    enum emac_status st = adapter_read(out, root, err);
    json_decref(root);
    return st;
}

/* ---- parts ---- */

uint32_t model_head_layers(const struct model_params *whole, size_t tensors)
{
    struct tune t = {.kind = TUNE_HEAD, .layers = 1};
    for (; t.layers < LLAMA_LAYERS_MAX; t.layers++) {
        size_t trained = 0;
        for (uint32_t i = 0; i < whole->count; i++)
            trained += whole->part(whole->config, &t, i) != PART_FROZEN;
        if (trained >= tensors)
            break;
    }
    return t.layers;
}

static enum emac_status parts_tune(const struct model_parts *parts,
                                   const struct model_params *whole, struct tune *out,
                                   struct emac_err *err)
{
    struct st_index idx = {0};
    if (parts->adapter_config.len > 0)
        return peft_config_read(out, parts->adapter_config, err);
    enum emac_status st =
        st_index_parse(&idx, parts->trained.data, parts->trained.len, parts->trained.len, err);
    *out = (struct tune){.kind = TUNE_HEAD};
    if (st == EMAC_OK)
        out->layers = model_head_layers(whole, idx.count);
    st_index_release(&idx);
    return st;
}

enum emac_status model_parts_merge(struct device *dev, const struct model_parts *parts,
                                   struct emac_buf *out, struct emac_err *err)
{
    struct model_config config;
    struct tuned tuned = {0};
    struct tune t;
    enum emac_status st;
    EMAC_TRY(st, model_config_read(&config, parts->config, err));
    const struct model_params whole = model_config_params(&config);
    EMAC_TRY(st, parts_tune(parts, &whole, &t, err));
    EMAC_TRY(st, tuned_init(&tuned, &whole, &t, err));
    st = tune_merge(dev, &tuned, parts->base, parts->trained, out, err);
out:
    tuned_release(&tuned);
    return st;
}
