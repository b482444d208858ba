#include "work/base.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/assert.h"
#include "model/model_config.h"
#include "work/evaluate.h"
#include "work/family.h"

bool job_has_base(const struct job *job)
{
    return !cid_is_none(&job->base);
}

struct cid base_cid(const json_t *root)
{
    const char *section = evaluate_is(root) ? "model" : "base";
    const json_t *v = json_object_get(json_object_get(root, section), "cid");
    struct cid cid = {0};
    if (!json_is_string(v) || cid_parse(&cid, json_string_value(v), NULL) != EMAC_OK)
        return (struct cid){0};
    return cid;
}

static enum emac_status kind_check(const struct model_tree *m, struct emac_err *err)
{
    if (model_tree_has(m, MODEL_CONFIG) && model_tree_has(m, MODEL_WEIGHTS))
        return EMAC_OK;
    if (model_tree_has(m, MODEL_BASE))
        return emac_fail(err, EMAC_INVALID,
                         "the base is %s with a base of its own: make a whole model of it by "
                         "'emac model merge' first",
                         model_tree_has(m, MODEL_HEAD) ? "a head" : "an adapter");
    return emac_fail(err, EMAC_INVALID,
                     "the base holds no '%s': it must be one directory with config.json and "
                     "model.safetensors",
                     model_tree_has(m, MODEL_CONFIG) ? "model.safetensors" : "config.json");
}

/* ---- completing a job file ---- */

static bool is_field(const char *key, const struct model_config *c)
{
    static const char *const TEXT[] = {
        "vocab_size",     "hidden_size",  "intermediate_size", "layers",
        "heads",          "kv_heads",     "norm_eps",          "rope_theta",
        "tie_embeddings", "architecture", "rope_low",          "rope_high",
        "rope_scaling",   "rope_factor",  "rope_positions",    "attention_bias"};
    static const char *const RECORDS[] = {"layers", "hidden_size", "architecture",
                                          "stages", "filters",     "kernel"};
    const char *const *list = c->is_classifier ? RECORDS : TEXT;
    size_t n = c->is_classifier ? EMAC_COUNT(RECORDS) : EMAC_COUNT(TEXT);
    if (c->is_classifier && c->classifier.stages == 0)
        n = 3; /* no convolutions: not a cnn's */
    for (size_t i = 0; i < n; i++) {
        if (strcmp(key, list[i]) == 0)
            return true;
    }
    return false;
}

enum emac_status base_complete(json_t *root, struct store *s, struct emac_err *err)
{
    const struct cid cid = base_cid(root);
    struct model_tree m;
    struct model_config config;
    json_t *model = json_object_get(root, "model"), *value, *sizes = NULL;
    const char *key;
    enum emac_status st = EMAC_OK;
    if (evaluate_is(root))
        return evaluate_complete(root, s, err);
    if (cid_is_none(&cid) || (model != NULL && !json_is_object(model)))
        return EMAC_OK;
    EMAC_TRY(st, model_tree_read(s, &cid, &m, err));
    EMAC_TRY(st, kind_check(&m, err));
    EMAC_TRY(st, model_tree_config(s, &m, &config, err));
    if (model == NULL) {
        model = json_object();
        json_object_set_new(root, "model", model);
    }
    sizes = model_config_sizes(&config);
    json_object_foreach(sizes, key, value)
    {
        if (is_field(key, &config) && json_object_get(model, key) == NULL)
            json_object_set(model, key, value);
    }
out:
    json_decref(sizes);
    return st == EMAC_OK ? st : emac_wrap(err, "base.cid");
}

/* ---- checking ---- */

static enum emac_status size_differs(const char *key, const json_t *base, const json_t *job,
                                     struct emac_err *err)
{
    char *a = json_dumps(base, JSON_ENCODE_ANY), *b = json_dumps(job, JSON_ENCODE_ANY);
    enum emac_status st =
        emac_fail(err, EMAC_INVALID,
                  "the base has %s %s and the job asks for %s: leave it out of 'model', or take "
                  "another base%s",
                  key, a == NULL ? "?" : a, b == NULL ? "nothing" : b,
                  strcmp(key, "classes") == 0 ? ", or base.train 'head'" : "");
    free(a);
    free(b);
    return st;
}

/* Longer sequences than the base has seen are refused, a new last layer may have other classes. */
static bool size_fits(const struct job *job, const char *key, const json_t *base, const json_t *own)
{
    if (own != NULL && strcmp(key, "max_positions") == 0)
        return json_integer_value(own) <= json_integer_value(base);
    if (strcmp(key, "classes") == 0 && job->tune.kind == TUNE_HEAD)
        return true;
    return own != NULL && json_equal(base, own);
}

static enum emac_status sizes_check(const struct job *job, const struct model_config *base,
                                    const struct model_config *own, struct emac_err *err)
{
    json_t *a = model_config_sizes(base), *b = model_config_sizes(own), *value;
    enum emac_status st = EMAC_OK;
    const char *key;
    json_object_foreach(a, key, value)
    {
        if (st == EMAC_OK && !size_fits(job, key, value, json_object_get(b, key)))
            st = size_differs(strcmp(key, "max_positions") == 0 ? "sequences of at most" : key,
                              value, json_object_get(b, key), err);
    }
    json_decref(a);
    json_decref(b);
    return st;
}

static enum emac_status layers_check(const struct job *job, const struct model_config *c,
                                     struct emac_err *err)
{
    uint32_t most = c->is_classifier ? c->classifier.layers + 1 : c->llama.layers;
    if (job->tune.kind != TUNE_HEAD || job->tune.layers <= most)
        return EMAC_OK;
    return emac_fail(err, EMAC_INVALID, "base.layers is %u and the model has %u%s to be trained",
                     job->tune.layers, most, c->is_classifier ? " dense layers" : " layers");
}

static enum emac_status licence_check(struct store *s, const struct model_tree *m,
                                      struct emac_err *err)
{
    char id[BASE_LICENCE_MAX];
    enum emac_status st = base_licence(s, m, id, err);
    if (st == EMAC_OK && licence_forbids_derivatives(id))
        st = emac_fail(err, EMAC_FORBIDDEN,
                       "the base's licence is '%s', which allows no derivatives: it must not be "
                       "trained further",
                       id);
    return st;
}

/* Of a private base nothing may leave the rigs that holds its weights, or from which they could be
 * put together. */
static enum emac_status private_check(const struct job *job, const struct model_tree *m,
                                      struct emac_err *err)
{
    if (!model_tree_is_private(m))
        return EMAC_OK;
    if (job->tune.kind != TUNE_LORA)
        return emac_fail(err, EMAC_FORBIDDEN,
                         "the base is private, and base.train '%s' would hand out its weights: "
                         "parameters and checkpoints are public. Take 'lora', which leaves the "
                         "base as it is",
                         tune_kind_name(job->tune.kind));
    if (job->spread != SPREAD_SYNC && job->spread != SPREAD_LOCAL)
        return emac_fail(err, EMAC_FORBIDDEN,
                         "the base is private: rigs train on whole copies of it, by spread.kind "
                         "'sync' or 'local', and do not hand on what its layers compute, as '%s' "
                         "would have them",
                         job_spread_name(job));
    return EMAC_OK;
}

static enum emac_status take(struct job *job, struct store *s, struct emac_slice config,
                             struct model_tree *files, struct emac_err *err)
{
    struct model_config base, own;
    struct st_index idx = {0};
    struct tuned tuned = {0};
    enum emac_status st;
    EMAC_TRY(st, model_tree_read(s, &job->base, files, err));
    EMAC_TRY(st, kind_check(files, err));
    EMAC_TRY(st, private_check(job, files, err));
    EMAC_TRY(st, licence_check(s, files, err));
    EMAC_TRY(st, model_tree_config(s, files, &base, err));
    EMAC_TRY(st, model_config_read(&own, config, err));
    EMAC_TRY(st, sizes_check(job, &base, &own, err));
    EMAC_TRY(st, layers_check(job, &base, err));
    EMAC_TRY(st, model_tree_index(s, &files->file[MODEL_WEIGHTS], &idx, err));
    const struct model_params whole = model_config_params(&own);
    EMAC_TRY(st, tune_base_check(&whole, &job->tune, &idx, &job->tune.storage, err));
    st = tuned_init(&tuned, &whole, &job->tune, err);
out:
    tuned_release(&tuned);
    st_index_release(&idx);
    return st;
}

enum emac_status base_take(struct job *job, struct store *s, struct emac_slice config,
                           struct model_tree *files, struct emac_err *err)
{
    EMAC_ASSERT(job_has_base(job));
    enum emac_status st = take(job, s, config, files, err);
    return st == EMAC_OK ? st : emac_wrap(err, "base.cid");
}

/* ---- the licence ---- */

bool licence_forbids_derivatives(const char *id)
{
    if (strcasecmp(id, "all-rights-reserved") == 0)
        return true;
    for (const char *p = id; *p != '\0';) {
        size_t n = strcspn(p, "-_ ");
        if (n == 2 && strncasecmp(p, "nd", 2) == 0)
            return true;
        p += n + (p[n] != '\0');
    }
    return false;
}

/* The rest of the line after `key`, without space and quotes around it. */
static void value_take(const char *at, char out[BASE_LICENCE_MAX])
{
    size_t n = 0;
    while (*at == ' ' || *at == '\t' || *at == '"' || *at == '\'')
        at++;
    while (at[n] != '\0' && strchr("\r\n\"'#", at[n]) == NULL && n + 1 < BASE_LICENCE_MAX)
        n++;
    while (n > 0 && isspace((unsigned char)at[n - 1]))
        n--;
    memcpy(out, at, n);
    out[n] = '\0';
}

/* The first line of `text` that begins with `key`, before a line that is `end` (NULL: any). */
static bool line_find(const char *text, const char *key, const char *end,
                      char out[BASE_LICENCE_MAX])
{
    for (const char *line = text; line != NULL && *line != '\0';) {
        const char *next = strchr(line, '\n');
        size_t length = next == NULL ? strlen(line) : (size_t)(next - line);
        const char *at = memmem(line, length, key, strlen(key));
        if (end != NULL && line != text && strncmp(line, end, strlen(end)) == 0)
            return false;
        if (at != NULL && (end == NULL || at == line)) {
            value_take(at + strlen(key), out);
            return true;
        }
        line = next == NULL ? NULL : next + 1;
    }
    return false;
}

static bool of_config(const char *text, char out[BASE_LICENCE_MAX])
{
    json_t *root = json_loads(text, 0, NULL);
    const char *id = json_string_value(json_object_get(root, "license"));
    if (id != NULL)
        value_take(id, out);
    json_decref(root);
    return id != NULL;
}

static bool of_text(enum model_file file, const char *text, char out[BASE_LICENCE_MAX])
{
    if (file == MODEL_CONFIG)
        return of_config(text, out);
    if (file == MODEL_LICENCE)
        return line_find(text, "SPDX-License-Identifier:", NULL, out);
    return strncmp(text, "---", 3) == 0 && line_find(text, "license:", "---", out);
}

enum emac_status base_licence(struct store *s, const struct model_tree *m,
                              char out[BASE_LICENCE_MAX], struct emac_err *err)
{
    static const enum model_file ORDER[] = {MODEL_README, MODEL_CONFIG, MODEL_LICENCE};
    struct emac_buf text;
    enum emac_status st = EMAC_OK;
    out[0] = '\0';
    emac_buf_init(&text, MODEL_TEXT_MAX);
    for (size_t i = 0; i < EMAC_COUNT(ORDER) && out[0] == '\0'; i++) {
        if (!model_tree_has(m, ORDER[i]))
            continue;
        EMAC_TRY(st, model_tree_file(s, m, ORDER[i], &text, err));
        of_text(ORDER[i], emac_buf_str(&text), out);
    }
out:
    emac_buf_release(&text);
    return st;
}
