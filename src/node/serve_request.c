/* What a request for text asks for. */
#include "node/serving.h"

#define PROMPT_BYTES (1u << 20)
#define SERVE_TOKENS 1000000

static enum emac_status number(const json_t *o, const char *key, double least, double most,
                               double *out, struct emac_err *err)
{
    const json_t *v = json_object_get(o, key);
    double x = json_number_value(v);
    if (!json_is_number(v) || !(x >= least && x <= most))
        return emac_fail(err, EMAC_INVALID, "field '%s' must be a number from %g to %g", key, least,
                         most);
    *out = x;
    return EMAC_OK;
}

static enum emac_status stops_parse(const json_t *list, struct piece_filter *f,
                                    struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    for (size_t i = 0; i < json_array_size(list) && st == EMAC_OK; i++) {
        const json_t *s = json_array_get(list, i);
        if (!json_is_string(s))
            return emac_fail(err, EMAC_INVALID, "field 'stop' must hold texts");
        st = piece_stop_add(f, json_string_value(s), json_string_length(s), err);
    }
    return st;
}

enum emac_status request_parse(const json_t *lease, struct request *out, struct emac_err *err)
{
    const json_t *r = json_object_get(lease, "request"), *prompt = json_object_get(r, "prompt");
    const char *model;
    uint64_t tokens, top_k, seed;
    enum emac_status st;
    *out = (struct request){0};
    piece_init(&out->filter);
    EMAC_TRY(st, agent_field_str(lease, "model", CID_TEXT_MAX, &model, err));
    EMAC_TRY(st, cid_parse(&out->model, model, err));
    if (!json_is_string(prompt) || json_string_length(prompt) > PROMPT_BYTES)
        return emac_fail(err, EMAC_INVALID, "field 'prompt' must be text of at most %u bytes",
                         PROMPT_BYTES);
    out->prompt = json_string_value(prompt);
    out->prompt_len = json_string_length(prompt);
    EMAC_TRY(st, agent_field_u64(r, "max_tokens", SERVE_TOKENS, &tokens, err));
    EMAC_TRY(st, agent_field_u64(r, "top_k", SERVE_TOKENS, &top_k, err));
    EMAC_TRY(st, agent_field_u64(r, "seed", INT64_MAX, &seed, err));
    EMAC_TRY(st, number(r, "temperature", 0, 100, &out->params.temperature, err));
    EMAC_TRY(st, number(r, "top_p", 1e-9, 1, &out->params.top_p, err));
    EMAC_TRY(st, stops_parse(json_object_get(r, "stop"), &out->filter, err));
    out->max_tokens = (uint32_t)tokens;
    out->params.top_k = (uint32_t)top_k;
    out->params.seed = seed;
out:
    return st;
}
