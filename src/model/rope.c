#include "model/rope.h"

#include <string.h>

#include "compute/host_math.h"

#define TWO_PI     6.283185307179586476925
#define FACTOR_MAX 1e6

const char *const ROPE_NAMES[ROPE_KINDS] = {
    [ROPE_PLAIN] = "default", [ROPE_LINEAR] = "linear", [ROPE_LLAMA3] = "llama3"};

enum emac_status rope_scaling_check(const struct rope_scaling *r, struct emac_err *err)
{
    if (r->kind == ROPE_PLAIN)
        return EMAC_OK;
    if (!(r->factor >= 1 && r->factor <= FACTOR_MAX))
        return emac_fail(err, EMAC_INVALID, "'factor' of the rotary positions must be 1 to 1e6");
    if (r->kind == ROPE_LINEAR)
        return EMAC_OK;
    if (!(r->low > 0 && r->low < r->high && r->high <= FACTOR_MAX))
        return emac_fail(err, EMAC_INVALID,
                         "'low_freq_factor' of the rotary positions must be above 0 and below "
                         "'high_freq_factor'");
    if (r->positions == 0)
        return emac_fail(err, EMAC_INVALID,
                         "'original_max_position_embeddings' of the rotary positions must be a "
                         "positive integer");
    return EMAC_OK;
}

static double number(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key)); /* 0 for what is none: refused below */
}

static enum emac_status kind_read(const json_t *object, enum rope_kind *out, struct emac_err *err)
{
    const char *name = json_string_value(json_object_get(object, "rope_type"));
    if (name == NULL)
        name = json_string_value(json_object_get(object, "type")); /* the key of older files */
    *out = ROPE_PLAIN;
    for (int i = 0; name != NULL && i < ROPE_KINDS; i++) {
        *out = (enum rope_kind)i;
        if (strcmp(name, ROPE_NAMES[i]) == 0)
            return EMAC_OK;
    }
    return name == NULL ? EMAC_OK
                        : emac_fail(err, EMAC_UNSUPPORTED,
                                    "'rope_type' in config.json is '%.40s'; known are 'default', "
                                    "'linear' and 'llama3'",
                                    name);
}

enum emac_status rope_scaling_read(struct rope_scaling *out, const json_t *object,
                                   struct emac_err *err)
{
    *out = (struct rope_scaling){.kind = ROPE_PLAIN};
    if (object == NULL || json_is_null(object))
        return EMAC_OK;
    if (!json_is_object(object))
        return emac_fail(err, EMAC_INVALID,
                         "'rope_scaling' or 'rope_parameters' in config.json is not an object");
    enum emac_status st = kind_read(object, &out->kind, err);
    if (st != EMAC_OK || out->kind == ROPE_PLAIN)
        return st;
    out->factor = number(object, "factor");
    if (out->kind == ROPE_LLAMA3) {
        double positions = number(object, "original_max_position_embeddings");
        out->low = number(object, "low_freq_factor");
        out->high = number(object, "high_freq_factor");
        if (positions >= 1 && positions <= UINT32_MAX)
            out->positions = (uint32_t)positions;
    }
    return rope_scaling_check(out, err);
}

json_t *rope_scaling_json(const struct rope_scaling *r)
{
    if (r->kind == ROPE_PLAIN)
        return json_null();
    json_t *o = json_pack("{s:s,s:f}", "rope_type", ROPE_NAMES[r->kind], "factor", r->factor);
    if (r->kind == ROPE_LLAMA3) {
        json_object_set_new(o, "low_freq_factor", json_real(r->low));
        json_object_set_new(o, "high_freq_factor", json_real(r->high));
        json_object_set_new(o, "original_max_position_embeddings", json_integer(r->positions));
    }
    return o;
}

double rope_frequency(const struct rope_scaling *r, double theta, uint32_t head_dim, uint32_t j)
{
    double f = host_pow(theta, -2.0 * j / head_dim);
    if (r->kind == ROPE_PLAIN)
        return f;
    if (r->kind == ROPE_LINEAR)
        return f / r->factor;
    double wave = TWO_PI / f, turns = r->positions / wave;
    if (turns > r->high)
        return f;
    if (turns < r->low)
        return f / r->factor;
    double share = (turns - r->low) / (r->high - r->low);
    return (1 - share) * f / r->factor + share * f;
}
