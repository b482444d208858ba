/* The file that says how a network values data. */
#include <string.h>

#include "base/assert.h"
#include "codec/yaml.h"
#include "work/datacap.h"

#define DAY_MS       UINT64_C(86400000)
#define LIFETIME_MAX 1825                   /* days, as the chain's registry has it */
#define RATE_MAX     INT64_C(1000000000000) /* units: 1000 EMAC */

static enum emac_status number_take(json_t *map, const char *key, uint32_t least, uint32_t most,
                                    uint32_t *out, struct emac_err *err)
{
    json_t *v = json_object_get(map, key);
    json_int_t n = json_integer_value(v);
    if (!json_is_integer(v) || n < (json_int_t)least || n > (json_int_t)most)
        return emac_fail(err, EMAC_INVALID, "'%s' must be a number from %u to %u", key, least,
                         most);
    *out = (uint32_t)n;
    return EMAC_OK;
}

static enum emac_status did_take(json_t *v, const char *what, char out[DID_KEY_MAX],
                                 struct emac_err *err)
{
    uint8_t key[ED25519_PUBLIC_BYTES];
    const char *did = json_string_value(v);
    if (did == NULL || json_string_length(v) != strlen(did) || !crypto_did_key_parse(key, did) ||
        !emac_strcpy(out, DID_KEY_MAX, did))
        return emac_fail(err, EMAC_INVALID, "'%s' must be a did:key of an ed25519 key", what);
    return EMAC_OK;
}

static enum emac_status notaries_take(struct datacap_rules *r, json_t *list, struct emac_err *err)
{
    json_t *v;
    size_t i;
    enum emac_status st = EMAC_OK;
    if (!json_is_array(list) || json_array_size(list) > DATACAP_NOTARIES_MAX)
        return emac_fail(err, EMAC_INVALID, "'notaries' must be a list of at most %d did:keys",
                         DATACAP_NOTARIES_MAX);
    json_array_foreach(list, i, v)
    {
        EMAC_TRY(st, did_take(v, "notaries", r->notary[i], err));
        for (size_t k = 0; k < i; k++) {
            if (strcmp(r->notary[k], r->notary[i]) == 0)
                return emac_fail(err, EMAC_INVALID, "notary '%s' is there twice", r->notary[i]);
        }
    }
    r->notary_count = (uint32_t)json_array_size(list);
out:
    return st;
}

static enum emac_status amount_take(json_t *map, const char *key, int64_t least, int64_t most,
                                    int64_t *out, struct emac_err *err)
{
    const char *text = json_string_value(json_object_get(map, key));
    if (text == NULL)
        return emac_fail(err, EMAC_INVALID, "'reward.%s' must be an amount like \"0.5\"", key);
    enum emac_status st = ledger_amount_parse(text, out, err);
    if (st == EMAC_OK && (*out < least || *out > most))
        st = emac_fail(err, EMAC_INVALID, "'reward.%s' is out of range", key);
    return st;
}

static enum emac_status reward_take(struct datacap_rules *r, json_t *map, struct emac_err *err)
{
    static const char *const KNOWN[] = {"from", "pool", "rate", NULL};
    enum emac_status st;
    EMAC_TRY(st, yaml_only_known(map, "'reward'", KNOWN, err));
    EMAC_TRY(st, did_take(json_object_get(map, "from"), "reward.from", r->funder, err));
    EMAC_TRY(st, amount_take(map, "pool", 0, INT64_MAX, &r->pool_units, err));
    st = amount_take(map, "rate", 1, RATE_MAX, &r->rate_units, err);
out:
    return st;
}

enum emac_status datacap_rules_from_json(struct datacap_rules *out, json_t *root,
                                         struct emac_err *err)
{
    static const char *const KNOWN[] = {"network", "notaries", "quorum", "lifetime", "term",
                                        "reward",  "fee_ppm",  "growth", NULL};
    static const char *const GROWTH[] = {"owners", "window", NULL};
    json_t *growth = json_object_get(root, "growth");
    const char *network = json_string_value(json_object_get(root, "network"));
    uint32_t days = 0;
    enum emac_status st;
    *out = (struct datacap_rules){0};
    EMAC_TRY(st, yaml_only_known(root, "the rules", KNOWN, err));
    if (network == NULL || network[0] == '\0' ||
        !emac_strcpy(out->network, sizeof out->network, network))
        return emac_fail(err, EMAC_INVALID, "'network' must be a text of fewer than %d bytes",
                         DATACAP_TEXT_MAX);
    EMAC_TRY(st, notaries_take(out, json_object_get(root, "notaries"), err));
    EMAC_TRY(st, number_take(root, "quorum", out->notary_count > 0, out->notary_count, &out->quorum,
                             err));
    EMAC_TRY(st, number_take(root, "lifetime", 1, LIFETIME_MAX, &days, err));
    EMAC_TRY(st, number_take(root, "term", 1, DATACAP_TERM_MAX, &out->term_epochs, err));
    EMAC_TRY(st, number_take(root, "fee_ppm", 0, DATACAP_PPM / 2, &out->fee_ppm, err));
    EMAC_TRY(st, reward_take(out, json_object_get(root, "reward"), err));
    EMAC_TRY(st, yaml_only_known(growth, "'growth'", GROWTH, err));
    EMAC_TRY(st, number_take(growth, "owners", 2, 1000, &out->owners, err));
    st = number_take(growth, "window", 1, DATACAP_TERM_MAX, &out->window_epochs, err);
    out->lifetime_ms = days * DAY_MS;
out:
    return st;
}

json_t *datacap_rules_to_json(const struct datacap_rules *r)
{
    char pool[32], rate[32];
    json_t *notaries = json_array();
    for (uint32_t i = 0; i < r->notary_count; i++)
        json_array_append_new(notaries, json_string(r->notary[i]));
    ledger_amount_text(pool, r->pool_units);
    ledger_amount_text(rate, r->rate_units);
    return json_pack("{s:s,s:o,s:I,s:I,s:I,s:{s:s,s:s,s:s},s:I,s:{s:I,s:I}}", "network", r->network,
                     "notaries", notaries, "quorum", (json_int_t)r->quorum, "lifetime",
                     (json_int_t)(r->lifetime_ms / DAY_MS), "term", (json_int_t)r->term_epochs,
                     "reward", "from", r->funder, "pool", pool, "rate", rate, "fee_ppm",
                     (json_int_t)r->fee_ppm, "growth", "owners", (json_int_t)r->owners, "window",
                     (json_int_t)r->window_epochs);
}
