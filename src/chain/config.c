#include "chain/config.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

#define FILE_MAX (64u << 10)

struct address_key {
    const char *key;
    size_t offset;
};

#define AT(member) offsetof(struct chain_config, member)
static const struct address_key ADDRESSES[] = {
    {"token", AT(token)},
    {"vault", AT(address) + CHAIN_VAULT *EVM_ADDRESS_BYTES},
    {"bindings", AT(address) + CHAIN_BINDINGS *EVM_ADDRESS_BYTES},
    {"payouts", AT(address) + CHAIN_PAYOUTS *EVM_ADDRESS_BYTES},
    {"assets", AT(assets)},
    {"datacap", AT(address) + CHAIN_DATACAP *EVM_ADDRESS_BYTES},
};

static enum emac_status bad(struct emac_err *err, const char *path, const char *key)
{
    return emac_fail(err, EMAC_INVALID,
                     "'%s': '%s' is missing or no sound value; the file is made by "
                     "`emac chain deploy`",
                     path, key);
}

/* ---- reading ---- */

static bool read_u64(json_t *o, const char *key, uint64_t *out)
{
    json_t *v = json_object_get(o, key);
    *out = json_is_integer(v) ? (uint64_t)json_integer_value(v) : 0;
    return json_is_integer(v) && json_integer_value(v) >= 0;
}

static bool read_urls(json_t *list, struct chain_config *out)
{
    size_t n = json_array_size(list);
    bool ok = n >= 1 && n <= CHAIN_NODES_MAX;
    for (size_t i = 0; ok && i < n; i++) {
        const char *url = json_string_value(json_array_get(list, i));
        ok = url != NULL && emac_strcpy(out->url[i], CHAIN_RPC_URL_MAX, url);
    }
    out->urls = ok ? n : 0;
    return ok;
}

static bool read_start(json_t *o, struct chain_cursor *out)
{
    return json_object_size(o) == 2 && read_u64(o, "number", &out->number) &&
           chain_json_to_bytes(json_object_get(o, "hash"), out->hash, CHAIN_HASH_BYTES);
}

static bool read_operator(json_t *text, struct chain_config *out)
{
    uint8_t key[ED25519_PUBLIC_BYTES];
    const char *did = json_string_value(text);
    return did != NULL && crypto_did_key_parse(key, did) &&
           emac_strcpy(out->operator_did, sizeof(out->operator_did), did);
}

static bool read_units(json_t *text, int64_t *out)
{
    struct u256 v;
    uint64_t units;
    const char *s = json_string_value(text);
    if (s == NULL || !u256_parse(s, &v) || !u256_to_u64(&v, &units) || units > INT64_MAX)
        return false;
    *out = (int64_t)units;
    return true;
}

/* The first key that is not as it should be; NULL when all are. */
static const char *read_all(json_t *o, struct chain_config *out)
{
    for (size_t i = 0; i < EMAC_COUNT(ADDRESSES); i++) {
        const char *text = json_string_value(json_object_get(o, ADDRESSES[i].key));
        if (text == NULL || !crypto_evm_address_parse((uint8_t *)out + ADDRESSES[i].offset, text))
            return ADDRESSES[i].key;
    }
    if (!read_u64(o, "chain_id", &out->chain_id) || out->chain_id == 0)
        return "chain_id";
    if (!read_u64(o, "confirmations", &out->confirmations))
        return "confirmations";
    if (!read_urls(json_object_get(o, "rpc"), out))
        return "rpc";
    if (!read_start(json_object_get(o, "start"), &out->start))
        return "start";
    if (!read_operator(json_object_get(o, "operator"), out))
        return "operator";
    if (!read_units(json_object_get(o, "least_units"), &out->least_units))
        return "least_units";
    return NULL;
}

enum emac_status chain_config_parse(struct emac_slice text, const char *path,
                                    struct chain_config *out, struct emac_err *err)
{
    json_error_t why;
    json_t *o = json_loadb((const char *)text.data, text.len, JSON_REJECT_DUPLICATES, &why);
    enum emac_status st = EMAC_OK;
    *out = (struct chain_config){0};
    if (!json_is_object(o)) {
        st = emac_fail(err, EMAC_INVALID, "'%s' is no JSON object: %s", path, why.text);
    } else {
        const char *key = read_all(o, out);
        if (key != NULL)
            st = bad(err, path, key);
        else if (json_object_size(o) != EMAC_COUNT(ADDRESSES) + 6)
            st = emac_fail(err, EMAC_INVALID, "'%s' has keys that mean nothing", path);
    }
    json_decref(o);
    return st;
}

enum emac_status chain_config_load(struct os *os, const char *path, struct chain_config *out,
                                   struct emac_err *err)
{
    struct emac_buf text;
    emac_buf_init(&text, FILE_MAX);
    enum emac_status st = os->file_read(os, path, &text, err);
    if (st == EMAC_OK)
        st = chain_config_parse(emac_buf_slice(&text), path, out, err);
    emac_buf_release(&text);
    return st;
}

/* ---- writing ---- */

static json_t *config_json(const struct chain_config *c)
{
    json_t *rpc = json_array();
    for (size_t i = 0; i < c->urls; i++)
        json_array_append_new(rpc, json_string(c->url[i]));
    json_t *o = json_pack("{s:I, s:o, s:I}", "chain_id", (json_int_t)c->chain_id, "rpc", rpc,
                          "confirmations", (json_int_t)c->confirmations);
    for (size_t i = 0; i < EMAC_COUNT(ADDRESSES); i++) {
        char text[EVM_ADDRESS_MAX];
        crypto_evm_address_text(text, (const uint8_t *)c + ADDRESSES[i].offset);
        json_object_set_new(o, ADDRESSES[i].key, json_string(text));
    }
    json_object_set_new(o, "start",
                        json_pack("{s:I, s:o}", "number", (json_int_t)c->start.number, "hash",
                                  chain_json_bytes(c->start.hash, CHAIN_HASH_BYTES)));
    json_object_set_new(o, "operator", json_string(c->operator_did));
    json_object_set_new(o, "least_units", json_sprintf("%lld", (long long)c->least_units));
    return o;
}

enum emac_status chain_config_write(struct os *os, const char *path, const struct chain_config *c,
                                    struct emac_err *err)
{
    uint64_t size;
    if (os->file_size(os, path, &size, NULL) == EMAC_OK)
        return emac_fail(err, EMAC_CONFLICT,
                         "'%s' is there already and may name contracts that hold money: move it "
                         "away first",
                         path);
    json_t *o = config_json(c);
    char *text = json_dumps(o, JSON_INDENT(2));
    json_decref(o);
    if (text == NULL)
        return emac_fail(err, EMAC_NO_MEMORY, "out of memory for '%s'", path);
    enum emac_status st = os->file_write(os, path, text, strlen(text), 0644, err);
    free(text);
    return st;
}

enum emac_status chain_nodes_init(struct chain_nodes *n, const struct chain_config *c,
                                  struct http_client *http, struct emac_err *err)
{
    EMAC_ASSERT(c->urls >= 1 && c->urls <= CHAIN_NODES_MAX);
    n->source = (struct chain_source){
        .nodes = c->urls, .chain_id = c->chain_id, .confirmations = c->confirmations};
    memcpy(n->source.address, c->address, sizeof(c->address));
    for (size_t i = 0; i < c->urls; i++) {
        enum emac_status st = chain_rpc_init(&n->rpc[i], http, c->url[i], err);
        if (st != EMAC_OK)
            return st;
        n->source.node[i] = &n->rpc[i].node;
    }
    return EMAC_OK;
}
