#include "work/licence.h"

#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/utf8.h"
#include "codec/dagcbor.h"
#include "codec/yaml.h"
#include "ledger/ledger.h"

#define ARENA_MAX (1u << 20)
#define DAY_MS    UINT64_C(86400000)

static const char *const KINDS[] = {[ASSET_MODEL] = "model", [ASSET_DATA] = "data"};

const char *asset_kind_name(enum asset_kind kind)
{
    EMAC_ASSERT((unsigned)kind < EMAC_COUNT(KINDS));
    return KINDS[kind];
}

static bool kind_find(const char *word, enum asset_kind *out)
{
    for (unsigned i = 0; i < EMAC_COUNT(KINDS); i++) {
        if (strcmp(KINDS[i], word) == 0) {
            *out = (enum asset_kind)i;
            return true;
        }
    }
    return false;
}

/* ---- what a licence must be ---- */

static enum emac_status text_check(const char *what, const char *text, size_t least,
                                   struct emac_err *err)
{
    size_t n = strlen(text);
    bool fine = n >= least && emac_utf8_valid(text, n);
    for (size_t i = 0; fine && i < n; i++)
        fine = (unsigned char)text[i] >= ' ' && text[i] != 0x7f;
    if (fine)
        return EMAC_OK;
    return emac_fail(err, EMAC_INVALID, "%s of a licence must be a line of text", what);
}

static enum emac_status did_check(const char *what, const char *did, struct emac_err *err)
{
    uint8_t key[ED25519_PUBLIC_BYTES];
    if (crypto_did_key_parse(key, did))
        return EMAC_OK;
    return emac_fail(err, EMAC_INVALID, "%s of a licence must be a did:key of an ed25519 key",
                     what);
}

static bool price_ok(int64_t units)
{
    return units >= 0 && units <= LICENCE_PRICE_MAX;
}

static enum emac_status licence_check(const struct licence *l, struct emac_err *err)
{
    enum emac_status st;
    if (cid_is_none(&l->asset))
        return emac_fail(err, EMAC_INVALID, "a licence must name its asset by CID");
    EMAC_TRY(st, text_check("name", l->name, 1, err));
    EMAC_TRY(st, text_check("attribution", l->attribution, 0, err));
    EMAC_TRY(st, did_check("owner", l->owner, err));
    for (uint32_t i = 0; i < l->allow_count; i++)
        EMAC_TRY(st, did_check("allow", l->allow[i], err));
    if (!price_ok(l->once_units) || !price_ok(l->train_units) || !price_ok(l->inference_units))
        return emac_fail(err, EMAC_INVALID, "a price of a licence is from 0 to 1000000 EMAC");
    if (l->adapters && l->kind != ASSET_MODEL)
        return emac_fail(err, EMAC_INVALID, "'adapters' of a licence is for models");
    if (l->share_ppm > LICENCE_SHARE_MAX)
        return emac_fail(err, EMAC_INVALID, "share of a licence is from 0 to 0.5");
    if (l->issued_ms > INT64_MAX || l->expires_ms > INT64_MAX)
        return emac_fail(err, EMAC_INVALID, "times of a licence are Unix milliseconds");
    if (l->expires_ms != 0 && l->expires_ms <= l->issued_ms)
        return emac_fail(err, EMAC_INVALID, "a licence must expire after it is issued");
out:
    return st;
}

/* ---- the canonical form ---- */

enum emac_status licence_encode(const struct licence *l, struct emac_buf *out, struct cid *cid,
                                struct emac_err *err)
{
    enum emac_status st = licence_check(l, err);
    if (st != EMAC_OK)
        return st;
    size_t start = out->len;
    struct dagcbor_writer w;
    dagcbor_writer_init(&w, out);
    dagcbor_map(&w, 12u + (l->inference_units > 0) + l->adapters);
    dagcbor_key(&w, "kind");
    dagcbor_str(&w, asset_kind_name(l->kind));
    dagcbor_key(&w, "name");
    dagcbor_str(&w, l->name);
    dagcbor_key(&w, "once");
    dagcbor_u64(&w, (uint64_t)l->once_units);
    dagcbor_key(&w, "allow");
    dagcbor_list(&w, l->allow_count);
    for (uint32_t i = 0; i < l->allow_count; i++)
        dagcbor_str(&w, l->allow[i]);
    dagcbor_key(&w, "asset");
    dagcbor_cid(&w, &l->asset);
    dagcbor_key(&w, "owner");
    dagcbor_str(&w, l->owner);
    dagcbor_key(&w, "share");
    dagcbor_u64(&w, l->share_ppm);
    dagcbor_key(&w, "train");
    dagcbor_u64(&w, (uint64_t)l->train_units);
    dagcbor_key(&w, "issued");
    dagcbor_u64(&w, l->issued_ms);
    dagcbor_key(&w, "expires");
    dagcbor_u64(&w, l->expires_ms);
    if (l->adapters) {
        dagcbor_key(&w, "adapters");
        dagcbor_bool(&w, true);
    }
    if (l->inference_units > 0) {
        dagcbor_key(&w, "inference");
        dagcbor_u64(&w, (uint64_t)l->inference_units);
    }
    dagcbor_key(&w, "commercial");
    dagcbor_bool(&w, l->commercial);
    dagcbor_key(&w, "attribution");
    dagcbor_str(&w, l->attribution);
    st = dagcbor_writer_end(&w, err);
    if (st == EMAC_OK && cid != NULL)
        *cid = cid_of(CID_DAG_CBOR, out->data + start, out->len - start);
    return st;
}

static enum emac_status allow_read(struct licence *l, const struct dagcbor_node *map,
                                   struct emac_err *err)
{
    const struct dagcbor_node *list;
    enum emac_status st = dagcbor_get(map, "allow", DAGCBOR_LIST, &list, err);
    if (st != EMAC_OK)
        return st;
    if (list->seq.count > LICENCE_ALLOW_MAX)
        return emac_fail(err, EMAC_INVALID, "a licence allows at most %d names", LICENCE_ALLOW_MAX);
    for (size_t i = 0; i < list->seq.count; i++) {
        const struct dagcbor_node *v = &list->seq.items[i];
        if (v->type != DAGCBOR_STR || v->str.len != strlen(v->str.data) ||
            !emac_strcpy(l->allow[i], DID_KEY_MAX, v->str.data))
            return emac_fail(err, EMAC_INVALID, "'allow' of a licence must be a list of did:keys");
    }
    l->allow_count = (uint32_t)list->seq.count;
    return EMAC_OK;
}

/* A term that joined later: left out at 0, so that older licences keep their CIDs. */
static enum emac_status inference_read(struct licence *l, const struct dagcbor_node *map,
                                       struct emac_err *err)
{
    uint64_t units = 0;
    if (dagcbor_find(map, "inference") == NULL)
        return EMAC_OK;
    enum emac_status st = dagcbor_get_u64(map, "inference", INT64_MAX, &units, err);
    if (st == EMAC_OK && units == 0)
        st = emac_fail(err, EMAC_INVALID, "'inference' of a licence is left out when it is 0");
    l->inference_units = (int64_t)units;
    return st;
}

/* Another that joined later: left out when it is false. */
static enum emac_status adapters_read(struct licence *l, const struct dagcbor_node *map,
                                      struct emac_err *err)
{
    const struct dagcbor_node *v;
    if (dagcbor_find(map, "adapters") == NULL)
        return EMAC_OK;
    enum emac_status st = dagcbor_get(map, "adapters", DAGCBOR_BOOL, &v, err);
    if (st == EMAC_OK && !v->boolean)
        st = emac_fail(err, EMAC_INVALID, "'adapters' of a licence is left out when it is false");
    l->adapters = st == EMAC_OK;
    return st;
}

static enum emac_status fields_read(struct licence *l, const struct dagcbor_node *map,
                                    struct emac_err *err)
{
    static const char *const KEYS[] = {
        "kind",   "name",    "once",     "allow",     "asset",      "owner",       "share", "train",
        "issued", "expires", "adapters", "inference", "commercial", "attribution", NULL};
    const struct dagcbor_node *commercial;
    const char *kind;
    uint64_t once = 0, train = 0, share = 0;
    enum emac_status st;
    EMAC_TRY(st, dagcbor_only(map, KEYS, err));
    EMAC_TRY(st, dagcbor_get_str(map, "kind", &kind, err));
    if (!kind_find(kind, &l->kind))
        return emac_fail(err, EMAC_INVALID, "'kind' of a licence is 'model' or 'data'");
    EMAC_TRY(st, dagcbor_get_text(map, "name", l->name, sizeof l->name, err));
    EMAC_TRY(st, dagcbor_get_text(map, "owner", l->owner, sizeof l->owner, err));
    EMAC_TRY(st, dagcbor_get_text(map, "attribution", l->attribution, sizeof l->attribution, err));
    EMAC_TRY(st, allow_read(l, map, err));
    EMAC_TRY(st, dagcbor_get_cid(map, "asset", &l->asset, err));
    EMAC_TRY(st, dagcbor_get_u64(map, "once", INT64_MAX, &once, err));
    EMAC_TRY(st, dagcbor_get_u64(map, "train", INT64_MAX, &train, err));
    EMAC_TRY(st, dagcbor_get_u64(map, "share", UINT32_MAX, &share, err));
    EMAC_TRY(st, dagcbor_get_u64(map, "issued", INT64_MAX, &l->issued_ms, err));
    EMAC_TRY(st, dagcbor_get_u64(map, "expires", INT64_MAX, &l->expires_ms, err));
    EMAC_TRY(st, inference_read(l, map, err));
    EMAC_TRY(st, adapters_read(l, map, err));
    EMAC_TRY(st, dagcbor_get(map, "commercial", DAGCBOR_BOOL, &commercial, err));
    l->commercial = commercial->boolean;
    l->once_units = (int64_t)once;
    l->train_units = (int64_t)train;
    l->share_ppm = (uint32_t)share;
out:
    return st;
}

enum emac_status licence_decode(struct licence *out, const void *data, size_t n,
                                struct emac_err *err)
{
    const struct dagcbor_node *root;
    struct arena a;
    *out = (struct licence){0};
    arena_init(&a, ARENA_MAX);
    enum emac_status st =
        dagcbor_parse_map(&a, data, n, LICENCE_BYTES_MAX, "a licence", &root, err);
    if (st == EMAC_OK)
        st = fields_read(out, root, err);
    arena_release(&a);
    return st == EMAC_OK ? licence_check(out, err) : st;
}

/* ---- the file ---- */

static enum emac_status string_take(json_t *map, const char *key, char *out, size_t cap, bool must,
                                    struct emac_err *err)
{
    json_t *v = json_object_get(map, key);
    if (v == NULL && !must)
        return EMAC_OK;
    if (json_is_string(v) && json_string_length(v) == strlen(json_string_value(v)) &&
        emac_strcpy(out, cap, json_string_value(v)))
        return EMAC_OK;
    return emac_fail(err, EMAC_INVALID, "'%s' must be a text of fewer than %zu bytes", key, cap);
}

static enum emac_status amount_take(json_t *map, const char *key, int64_t *out,
                                    struct emac_err *err)
{
    json_t *v = json_object_get(map, key);
    if (v == NULL)
        return EMAC_OK;
    if (!json_is_string(v))
        return emac_fail(err, EMAC_INVALID, "'price.%s' must be an amount like \"0.5\"", key);
    return ledger_amount_parse(json_string_value(v), out, err);
}

static bool is_leap(int y)
{
    return (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
}

/* "2027-01-31" -> the beginning of that day, UTC. */
static bool date_parse(const char *text, uint64_t *ms)
{
    static const int LENGTH[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int y, m, d, end = 0;
    if (strlen(text) != 10 || strspn(text, "0123456789-") != 10 ||
        sscanf(text, "%4d-%2d-%2d%n", &y, &m, &d, &end) != 3 || end != 10)
        return false;
    if (y < 1970 || m < 1 || m > 12 || d < 1 || d > LENGTH[m - 1] + (m == 2 && is_leap(y)))
        return false;
    uint64_t days = (uint64_t)d - 1;
    for (int i = 1970; i < y; i++)
        days += 365 + is_leap(i);
    for (int i = 1; i < m; i++)
        days += (uint64_t)(LENGTH[i - 1] + (i == 2 && is_leap(y)));
    *ms = days * DAY_MS;
    return true;
}

static enum emac_status price_take(struct licence *l, json_t *root, struct emac_err *err)
{
    static const char *const KNOWN[] = {"once", "train", "inference", NULL};
    json_t *price = json_object_get(root, "price");
    enum emac_status st;
    if (price == NULL)
        return EMAC_OK;
    EMAC_TRY(st, yaml_only_known(price, "'price'", KNOWN, err));
    EMAC_TRY(st, amount_take(price, "once", &l->once_units, err));
    EMAC_TRY(st, amount_take(price, "train", &l->train_units, err));
    st = amount_take(price, "inference", &l->inference_units, err);
out:
    return st;
}

static enum emac_status allow_take(struct licence *l, json_t *root, struct emac_err *err)
{
    json_t *list = json_object_get(root, "allow"), *v;
    size_t i;
    if (list == NULL)
        return EMAC_OK;
    if (!json_is_array(list) || json_array_size(list) > LICENCE_ALLOW_MAX)
        return emac_fail(err, EMAC_INVALID, "'allow' must be a list of at most %d did:keys",
                         LICENCE_ALLOW_MAX);
    json_array_foreach(list, i, v)
    {
        if (!json_is_string(v) || !emac_strcpy(l->allow[i], DID_KEY_MAX, json_string_value(v)))
            return emac_fail(err, EMAC_INVALID, "'allow' must be a list of did:keys");
    }
    l->allow_count = (uint32_t)json_array_size(list);
    return EMAC_OK;
}

static enum emac_status terms_take(struct licence *l, json_t *root, struct emac_err *err)
{
    json_t *share = json_object_get(root, "share"), *fair = json_object_get(root, "commercial");
    json_t *adapters = json_object_get(root, "adapters");
    char date[16] = "";
    enum emac_status st;
    l->commercial = true;
    if (fair != NULL && !json_is_boolean(fair))
        return emac_fail(err, EMAC_INVALID, "'commercial' must be true or false");
    if (fair != NULL)
        l->commercial = json_is_true(fair);
    if (adapters != NULL && !json_is_boolean(adapters))
        return emac_fail(err, EMAC_INVALID, "'adapters' must be true or false");
    l->adapters = json_is_true(adapters);
    if (share != NULL && !(json_is_number(share) && json_number_value(share) >= 0 &&
                           json_number_value(share) <= 0.5))
        return emac_fail(err, EMAC_INVALID, "'share' must be a number from 0 to 0.5");
    l->share_ppm = (uint32_t)(json_number_value(share) * LICENCE_SHARE_ONE + 0.5);
    EMAC_TRY(st, string_take(root, "expires", date, sizeof date, false, err));
    if (date[0] != '\0' && !date_parse(date, &l->expires_ms))
        return emac_fail(err, EMAC_INVALID, "'expires' must be a date like \"2027-01-31\"");
    EMAC_TRY(st, price_take(l, root, err));
    st = allow_take(l, root, err);
out:
    return st;
}

enum emac_status licence_from_json(struct licence *out, json_t *root, struct emac_err *err)
{
    static const char *const KNOWN[] = {"asset",    "kind",        "name",    "price",
                                        "share",    "commercial",  "expires", "allow",
                                        "adapters", "attribution", NULL};
    char text[CID_TEXT_MAX] = "", kind[16] = "";
    enum emac_status st;
    *out = (struct licence){0};
    EMAC_TRY(st, yaml_only_known(root, "a licence", KNOWN, err));
    EMAC_TRY(st, string_take(root, "asset", text, sizeof text, true, err));
    EMAC_TRY(st, cid_parse(&out->asset, text, err));
    EMAC_TRY(st, string_take(root, "kind", kind, sizeof kind, true, err));
    if (!kind_find(kind, &out->kind))
        return emac_fail(err, EMAC_INVALID, "'kind' of a licence is 'model' or 'data'");
    EMAC_TRY(st, string_take(root, "name", out->name, sizeof out->name, true, err));
    EMAC_TRY(st, string_take(root, "attribution", out->attribution, sizeof out->attribution, false,
                             err));
    st = terms_take(out, root, err);
out:
    return st;
}

json_t *licence_to_json(const struct licence *l)
{
    char cid[CID_TEXT_MAX], once[32], train[32], inference[32];
    json_t *allow = json_array();
    cid_text(cid, &l->asset);
    ledger_amount_text(once, l->once_units);
    ledger_amount_text(train, l->train_units);
    ledger_amount_text(inference, l->inference_units);
    for (uint32_t i = 0; i < l->allow_count; i++)
        json_array_append_new(allow, json_string(l->allow[i]));
    return json_pack("{s:s,s:s,s:s,s:s,s:{s:s,s:s,s:s},s:f,s:b,s:I,s:I,s:o,s:s,s:b}", "asset", cid,
                     "kind", asset_kind_name(l->kind), "name", l->name, "owner", l->owner, "price",
                     "once", once, "train", train, "inference", inference, "share",
                     (double)l->share_ppm / LICENCE_SHARE_ONE, "commercial", (int)l->commercial,
                     "issued_ms", (json_int_t)l->issued_ms, "expires_ms", (json_int_t)l->expires_ms,
                     "allow", allow, "attribution", l->attribution, "adapters", (int)l->adapters);
}

/* ---- use ---- */

static bool is_allowed(const struct licence *l, const char *did)
{
    for (uint32_t i = 0; i < l->allow_count; i++)
        if (strcmp(l->allow[i], did) == 0)
            return true;
    return l->allow_count == 0;
}

enum emac_status licence_permits(const struct licence *l, const struct licence_use *use,
                                 struct emac_err *err)
{
    if (strcmp(l->owner, use->did) == 0)
        return EMAC_OK;
    if (!is_allowed(l, use->did))
        return emac_fail(err, EMAC_FORBIDDEN, "the licence of '%s' allows other users only: ask %s",
                         l->name, l->owner);
    if (use->commercial && !l->commercial)
        return emac_fail(err, EMAC_FORBIDDEN,
                         "the licence of '%s' is not for commercial use: set a job's "
                         "policy.purpose, or --purpose of an API key, to research if that is "
                         "what it is for",
                         l->name);
    if (l->expires_ms != 0 && use->at_ms >= l->expires_ms)
        return emac_fail(err, EMAC_FORBIDDEN, "the licence of '%s' has expired", l->name);
    if (l->once_units > 0 && !use->bought)
        return emac_fail(err, EMAC_PAYMENT, "'%s' must be bought first: emac asset buy", l->name);
    return EMAC_OK;
}

bool licence_million(int64_t price_units, uint64_t amount, int64_t *units)
{
    EMAC_ASSERT(price_units >= 0);
    unsigned __int128 cost = (unsigned __int128)amount * (uint64_t)price_units;
    cost = (cost + LICENCE_TRAIN_UNIT - 1) / LICENCE_TRAIN_UNIT;
    *units = cost > INT64_MAX ? INT64_MAX : (int64_t)cost;
    return cost <= INT64_MAX;
}

enum emac_status licence_cost(const struct licence *l, uint64_t amount, int64_t *units,
                              struct emac_err *err)
{
    if (licence_million(l->train_units, amount, units))
        return EMAC_OK;
    return emac_fail(err, EMAC_TOO_LARGE, "training on '%s' for so long cannot be paid", l->name);
}

void licence_split(int64_t income, const uint32_t *share_ppm, uint32_t count, int64_t *parent,
                   int64_t *own, int64_t *dust)
{
    uint64_t sum = 0, given = 0;
    EMAC_ASSERT(income >= 0);
    for (uint32_t i = 0; i < count; i++)
        sum += share_ppm[i];
    uint64_t most = sum > LICENCE_SHARE_MAX ? LICENCE_SHARE_MAX : sum;
    *dust = income;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t ppm = sum == 0 ? 0 : share_ppm[i] * most / sum;
        parent[i] = (int64_t)((unsigned __int128)income * ppm / LICENCE_SHARE_ONE);
        given += ppm;
        *dust -= parent[i];
    }
    *own = (int64_t)((unsigned __int128)income * (LICENCE_SHARE_ONE - given) / LICENCE_SHARE_ONE);
    *dust -= *own;
    EMAC_ASSERT(*dust >= 0 && *dust <= (int64_t)count);
}
