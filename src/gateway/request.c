#include "gateway/request.h"

#include <stdio.h>
#include <string.h>

#include "base/assert.h"

#define TOP_P_LEAST 1e-9

/* What the parsers share: the object, and where the fault is told. */
struct reading {
    json_t *root;
    const char **param;
    struct emac_err *err;
};

static enum emac_status wrong(struct reading *r, const char *param, const char *what)
{
    *r->param = param;
    return emac_fail(r->err, EMAC_INVALID, "'%s' %s", param, what);
}

/* The field, or NULL when it is absent or null. */
static json_t *field(const struct reading *r, const char *key)
{
    json_t *v = json_object_get(r->root, key);
    return json_is_null(v) ? NULL : v;
}

/* Whole text: NUL bytes would cut it short on its way. */
static const char *text_of(json_t *v)
{
    const char *s = json_string_value(v);
    return s && strlen(s) == json_string_length(v) ? s : NULL;
}

static enum emac_status read_integer(struct reading *r, const char *key, int64_t lo, int64_t hi,
                                     int64_t *out, bool *given)
{
    json_t *v = field(r, key);
    char what[96];
    if (given)
        *given = v != NULL;
    if (v == NULL)
        return EMAC_OK;
    snprintf(what, sizeof(what), "must be an integer from %lld to %lld", (long long)lo,
             (long long)hi);
    if (!json_is_integer(v) || json_integer_value(v) < lo || json_integer_value(v) > hi)
        return wrong(r, key, what);
    *out = json_integer_value(v);
    return EMAC_OK;
}

static enum emac_status read_number(struct reading *r, const char *key, double lo, double hi,
                                    double *out)
{
    json_t *v = field(r, key);
    char what[96];
    if (v == NULL)
        return EMAC_OK;
    snprintf(what, sizeof(what), "must be a number from %g to %g", lo, hi);
    double x = json_number_value(v);
    if (!json_is_number(v) || !(x >= lo && x <= hi))
        return wrong(r, key, what);
    *out = x;
    return EMAC_OK;
}

static enum emac_status read_bool(struct reading *r, const char *key, bool *out)
{
    json_t *v = field(r, key);
    if (v == NULL)
        return EMAC_OK;
    if (!json_is_boolean(v))
        return wrong(r, key, "must be true or false");
    *out = json_is_true(v);
    return EMAC_OK;
}

static enum emac_status read_model(struct reading *r, struct completion *out)
{
    out->model = text_of(field(r, "model"));
    if (out->model == NULL || out->model[0] == 0)
        return wrong(r, "model", "must name a model: see GET /v1/models");
    return EMAC_OK;
}

/* A string, or a list of one. */
static enum emac_status read_prompt(struct reading *r, struct completion *out)
{
    json_t *v = field(r, "prompt");
    if (json_is_array(v) && json_array_size(v) != 1)
        return wrong(r, "prompt", "must be one text: a list may hold one string");
    if (json_is_array(v))
        v = json_array_get(v, 0);
    out->serve.prompt = text_of(v);
    if (out->serve.prompt == NULL)
        return wrong(r, "prompt", "must be text without NUL characters");
    if (out->serve.prompt[0] == 0)
        return wrong(r, "prompt", "must not be empty");
    if (json_string_length(v) > SERVE_PROMPT_MAX)
        return wrong(r, "prompt", "is longer than 256 KiB");
    return EMAC_OK;
}

static enum emac_status stop_add(struct reading *r, struct completion *out, json_t *v)
{
    const char *s = text_of(v);
    struct serve_request *q = &out->serve;
    if (s == NULL || s[0] == 0 || strlen(s) > SERVE_STOP_BYTES)
        return wrong(r, "stop", "must hold texts of 1 to 256 bytes");
    bool fits = emac_strcpy(q->stop[q->stop_count++], sizeof(q->stop[0]), s);
    EMAC_ASSERT(fits);
    return EMAC_OK;
}

static enum emac_status read_stop(struct reading *r, struct completion *out)
{
    json_t *v = field(r, "stop"), *item;
    size_t i;
    if (v == NULL)
        return EMAC_OK;
    if (json_is_string(v))
        return stop_add(r, out, v);
    if (!json_is_array(v) || json_array_size(v) > SERVE_STOP_MAX)
        return wrong(r, "stop", "must be a text or a list of at most 4");
    json_array_foreach(v, i, item)
    {
        enum emac_status st = stop_add(r, out, item);
        if (st != EMAC_OK)
            return st;
    }
    return EMAC_OK;
}

static enum emac_status read_stream(struct reading *r, struct completion *out)
{
    enum emac_status st = read_bool(r, "stream", &out->stream);
    json_t *v = field(r, "stream_options");
    if (st != EMAC_OK || v == NULL)
        return st;
    if (!json_is_object(v))
        return wrong(r, "stream_options", "must be an object");
    if (!out->stream)
        return wrong(r, "stream_options", "may only be given with 'stream': true");
    struct reading inner = {v, r->param, r->err};
    return read_bool(&inner, "include_usage", &out->include_usage);
}

/* What we cannot do is refused when it is asked for, not passed over. */
static enum emac_status read_refused(struct reading *r)
{
    int64_t one = 1;
    double zero = 0;
    enum emac_status st;
    EMAC_TRY(st, read_integer(r, "n", 1, 1, &one, NULL));
    EMAC_TRY(st, read_integer(r, "best_of", 1, 1, &one, NULL));
    EMAC_TRY(st, read_number(r, "presence_penalty", 0, 0, &zero));
    EMAC_TRY(st, read_number(r, "frequency_penalty", 0, 0, &zero));
    if (field(r, "suffix"))
        return wrong(r, "suffix", "is not supported");
    if (field(r, "logprobs"))
        return wrong(r, "logprobs", "is not supported");
    if (json_object_size(field(r, "logit_bias")) > 0)
        return wrong(r, "logit_bias", "is not supported");
out:
    return st;
}

static enum emac_status read_sampling(struct reading *r, struct completion *out)
{
    struct serve_request *q = &out->serve;
    int64_t max_tokens = GATEWAY_TOKENS_DEFAULT, seed = 0, top_k = 0;
    enum emac_status st;
    q->temperature = q->top_p = 1;
    EMAC_TRY(st, read_integer(r, "max_tokens", 1, GATEWAY_TOKENS_MAX, &max_tokens, NULL));
    EMAC_TRY(st, read_number(r, "temperature", 0, 2, &q->temperature));
    EMAC_TRY(st, read_number(r, "top_p", 0, 1, &q->top_p));
    EMAC_TRY(st, read_integer(r, "top_k", 0, UINT32_MAX, &top_k, NULL));
    EMAC_TRY(st, read_integer(r, "seed", INT64_MIN, INT64_MAX, &seed, &out->has_seed));
    if (q->top_p < TOP_P_LEAST)
        q->top_p = TOP_P_LEAST; /* 0 means the most likely token, as this does */
    q->max_tokens = (uint32_t)max_tokens;
    q->top_k = (uint32_t)top_k;
    q->seed = (uint64_t)seed & INT64_MAX;
out:
    return st;
}

enum emac_status completion_parse(json_t *root, struct completion *out, const char **param,
                                  struct emac_err *err)
{
    struct reading r = {root, param, err};
    enum emac_status st;
    *out = (struct completion){0};
    *param = NULL;
    EMAC_TRY(st, read_model(&r, out));
    EMAC_TRY(st, read_prompt(&r, out));
    EMAC_TRY(st, read_sampling(&r, out));
    EMAC_TRY(st, read_stop(&r, out));
    EMAC_TRY(st, read_stream(&r, out));
    EMAC_TRY(st, read_bool(&r, "echo", &out->echo));
    st = read_refused(&r);
out:
    return st;
}
