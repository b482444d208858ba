#include "chain/node.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/hex.h"

/* ---- forms ---- */

json_t *chain_json_bytes(const void *data, size_t n)
{
    char *text = malloc(2 * n + 3);
    EMAC_ASSERT(text != NULL);
    memcpy(text, "0x", 2);
    emac_hex(text + 2, data, n);
    json_t *out = json_string(text);
    free(text);
    return out;
}

json_t *chain_json_quantity(uint64_t v)
{
    return json_sprintf("0x%llx", (unsigned long long)v);
}

bool chain_json_to_bytes(json_t *text, void *out, size_t n)
{
    const char *s = json_string_value(text);
    return s != NULL && s[0] == '0' && s[1] == 'x' && strlen(s) == 2 * n + 2 &&
           emac_unhex(out, n, s + 2);
}

/* Bytes of any length up to the maximum; *out is owned by the caller. */
static bool to_data(json_t *text, uint8_t **out, size_t *n)
{
    const char *s = json_string_value(text);
    size_t len = s ? strlen(s) : 0;
    if (len < 2 || len % 2 != 0 || (len - 2) / 2 > CHAIN_DATA_MAX)
        return false;
    *n = (len - 2) / 2;
    *out = malloc(*n + 1);
    EMAC_ASSERT(*out != NULL);
    if (chain_json_to_bytes(text, *out, *n))
        return true;
    free(*out);
    *out = NULL;
    return false;
}

static bool to_u256(json_t *text, struct u256 *out)
{
    const char *s = json_string_value(text);
    return s != NULL && u256_parse_hex(s, out);
}

static bool to_u64(json_t *text, uint64_t *out)
{
    struct u256 v;
    return to_u256(text, &v) && u256_to_u64(&v, out);
}

static bool to_address(json_t *text, uint8_t out[EVM_ADDRESS_BYTES])
{
    const char *s = json_string_value(text);
    return s != NULL && crypto_evm_address_parse(out, s);
}

static json_t *field(json_t *o, const char *key)
{
    return json_object_get(o, key);
}

static json_t *address_json(const uint8_t address[EVM_ADDRESS_BYTES])
{
    return chain_json_bytes(address, EVM_ADDRESS_BYTES);
}

static enum emac_status nonsense(struct chain_node *n, const char *what, struct emac_err *err)
{
    return emac_fail(err, EMAC_CORRUPT, "node '%s' gave an answer that is no %s", n->name, what);
}

/* ---- questions with one number for an answer ---- */

static enum emac_status ask_u256(struct chain_node *n, const char *method, json_t *params,
                                 struct u256 *out, struct emac_err *err)
{
    json_t *result = NULL;
    enum emac_status st = n->call(n, method, params, &result, err);
    if (st == EMAC_OK && !to_u256(result, out))
        st = nonsense(n, "number", err);
    json_decref(result);
    return st;
}

static enum emac_status ask_u64(struct chain_node *n, const char *method, json_t *params,
                                uint64_t *out, struct emac_err *err)
{
    struct u256 v;
    enum emac_status st = ask_u256(n, method, params, &v, err);
    if (st == EMAC_OK && !u256_to_u64(&v, out))
        st = nonsense(n, "number of 64 bits", err);
    return st;
}

enum emac_status chain_node_id(struct chain_node *n, uint64_t *out, struct emac_err *err)
{
    return ask_u64(n, "eth_chainId", json_array(), out, err);
}

enum emac_status chain_node_nonce(struct chain_node *n, const uint8_t address[EVM_ADDRESS_BYTES],
                                  const char *tag, uint64_t *out, struct emac_err *err)
{
    return ask_u64(n, "eth_getTransactionCount", json_pack("[o,s]", address_json(address), tag),
                   out, err);
}

enum emac_status chain_node_balance(struct chain_node *n, const uint8_t address[EVM_ADDRESS_BYTES],
                                    struct u256 *out, struct emac_err *err)
{
    return ask_u256(n, "eth_getBalance", json_pack("[o,s]", address_json(address), "latest"), out,
                    err);
}

enum emac_status chain_node_tip(struct chain_node *n, struct u256 *out, struct emac_err *err)
{
    return ask_u256(n, "eth_maxPriorityFeePerGas", json_array(), out, err);
}

enum emac_status chain_node_estimate(struct chain_node *n, const uint8_t from[EVM_ADDRESS_BYTES],
                                     const uint8_t *to, const struct u256 *value,
                                     struct emac_slice data, uint64_t *gas, struct emac_err *err)
{
    char text[U256_HEX_MAX];
    u256_text_hex(text, value);
    json_t *tx = json_pack("{s:o, s:s, s:o}", "from", address_json(from), "value", text, "data",
                           chain_json_bytes(data.data, data.len));
    if (to != NULL)
        json_object_set_new(tx, "to", address_json(to));
    return ask_u64(n, "eth_estimateGas", json_pack("[o]", tx), gas, err);
}

/* ---- blocks ---- */

static bool to_block(json_t *o, struct chain_block *out)
{
    json_t *base_fee = field(o, "baseFeePerGas");
    out->base_fee = u256_from_u64(0);
    return to_u64(field(o, "number"), &out->number) &&
           to_u64(field(o, "timestamp"), &out->time_s) &&
           chain_json_to_bytes(field(o, "hash"), out->hash, CHAIN_HASH_BYTES) &&
           chain_json_to_bytes(field(o, "parentHash"), out->parent, CHAIN_HASH_BYTES) &&
           (base_fee == NULL || json_is_null(base_fee) || to_u256(base_fee, &out->base_fee));
}

static enum emac_status ask_block(struct chain_node *n, const char *method, json_t *params,
                                  struct chain_block *out, struct emac_err *err)
{
    json_t *result = NULL;
    enum emac_status st = n->call(n, method, params, &result, err);
    if (st == EMAC_OK && json_is_null(result))
        st = emac_fail(err, EMAC_NOT_FOUND, "node '%s' has no such block", n->name);
    else if (st == EMAC_OK && !to_block(result, out))
        st = nonsense(n, "block", err);
    json_decref(result);
    return st;
}

enum emac_status chain_node_block(struct chain_node *n, const char *tag, struct chain_block *out,
                                  struct emac_err *err)
{
    return ask_block(n, "eth_getBlockByNumber", json_pack("[s,b]", tag, 0), out, err);
}

enum emac_status chain_node_block_at(struct chain_node *n, uint64_t number, struct chain_block *out,
                                     struct emac_err *err)
{
    char tag[24];
    snprintf(tag, sizeof(tag), "0x%llx", (unsigned long long)number);
    enum emac_status st = chain_node_block(n, tag, out, err);
    if (st == EMAC_OK && out->number != number)
        st = emac_fail(err, EMAC_CORRUPT, "node '%s' gave block %llu when asked for %llu", n->name,
                       (unsigned long long)out->number, (unsigned long long)number);
    return st;
}

enum emac_status chain_node_block_by_hash(struct chain_node *n,
                                          const uint8_t hash[CHAIN_HASH_BYTES],
                                          struct chain_block *out, struct emac_err *err)
{
    enum emac_status st =
        ask_block(n, "eth_getBlockByHash",
                  json_pack("[o,b]", chain_json_bytes(hash, CHAIN_HASH_BYTES), 0), out, err);
    if (st == EMAC_OK && memcmp(out->hash, hash, CHAIN_HASH_BYTES) != 0)
        st = emac_fail(err, EMAC_CORRUPT, "node '%s' gave another block than the one asked for",
                       n->name);
    return st;
}

/* ---- logs ---- */

void chain_logs_release(struct chain_logs *logs)
{
    for (size_t i = 0; i < logs->count; i++)
        free(logs->at[i].data);
    free(logs->at);
    *logs = (struct chain_logs){0};
}

static bool to_log(json_t *o, struct chain_log *out)
{
    json_t *topics = field(o, "topics"), *removed = field(o, "removed");
    out->topic_count = json_array_size(topics);
    if (!json_is_array(topics) || out->topic_count > CHAIN_TOPICS_MAX)
        return false;
    for (size_t i = 0; i < out->topic_count; i++) {
        if (!chain_json_to_bytes(json_array_get(topics, i), out->topic[i], CHAIN_HASH_BYTES))
            return false;
    }
    out->removed = json_is_true(removed);
    return to_address(field(o, "address"), out->address) &&
           to_u64(field(o, "blockNumber"), &out->block_number) &&
           to_u64(field(o, "logIndex"), &out->index) &&
           chain_json_to_bytes(field(o, "blockHash"), out->block_hash, CHAIN_HASH_BYTES) &&
           chain_json_to_bytes(field(o, "transactionHash"), out->tx_hash, CHAIN_HASH_BYTES) &&
           to_data(field(o, "data"), &out->data, &out->data_len);
}

static enum emac_status to_logs(struct chain_node *n, json_t *list, struct chain_logs *out,
                                struct emac_err *err)
{
    size_t count = json_array_size(list);
    if (!json_is_array(list))
        return nonsense(n, "list of logs", err);
    if (count > CHAIN_LOGS_MAX)
        return emac_fail(err, EMAC_TOO_LARGE, "node '%s' gave %zu logs, the limit is %d", n->name,
                         count, CHAIN_LOGS_MAX);
    enum emac_status st = emac_alloc(&out->at, count + 1, sizeof(*out->at), err);
    for (size_t i = 0; st == EMAC_OK && i < count; i++) {
        if (!to_log(json_array_get(list, i), &out->at[i]))
            return nonsense(n, "list of logs", err);
        out->count++;
    }
    return st;
}

enum emac_status chain_node_logs(struct chain_node *n, uint64_t from, uint64_t to,
                                 const uint8_t (*address)[EVM_ADDRESS_BYTES], size_t count,
                                 struct chain_logs *out, struct emac_err *err)
{
    json_t *list = json_array(), *result = NULL;
    *out = (struct chain_logs){0};
    for (size_t i = 0; i < count; i++)
        json_array_append_new(list, address_json(address[i]));
    json_t *filter = json_pack("{s:o, s:o, s:o}", "fromBlock", chain_json_quantity(from), "toBlock",
                               chain_json_quantity(to), "address", list);
    enum emac_status st = n->call(n, "eth_getLogs", json_pack("[o]", filter), &result, err);
    if (st == EMAC_OK)
        st = to_logs(n, result, out, err);
    if (st != EMAC_OK)
        chain_logs_release(out);
    json_decref(result);
    return st;
}

/* ---- contracts ---- */

static enum emac_status ask_data(struct chain_node *n, const char *method, json_t *params,
                                 struct emac_buf *out, struct emac_err *err)
{
    json_t *result = NULL;
    uint8_t *data = NULL;
    size_t len = 0;
    enum emac_status st = n->call(n, method, params, &result, err);
    if (st == EMAC_OK && !to_data(result, &data, &len))
        st = nonsense(n, "string of bytes", err);
    if (st == EMAC_OK)
        st = emac_buf_append(out, data, len, err);
    free(data);
    json_decref(result);
    return st;
}

enum emac_status chain_node_read(struct chain_node *n, const uint8_t to[EVM_ADDRESS_BYTES],
                                 struct emac_slice data, struct emac_buf *out, struct emac_err *err)
{
    json_t *tx = json_pack("{s:o, s:o}", "to", address_json(to), "data",
                           chain_json_bytes(data.data, data.len));
    return ask_data(n, "eth_call", json_pack("[o,s]", tx, "latest"), out, err);
}

enum emac_status chain_node_has_code(struct chain_node *n, const uint8_t address[EVM_ADDRESS_BYTES],
                                     bool *out, struct emac_err *err)
{
    struct emac_buf code;
    emac_buf_init(&code, CHAIN_DATA_MAX);
    enum emac_status st =
        ask_data(n, "eth_getCode", json_pack("[o,s]", address_json(address), "latest"), &code, err);
    *out = code.len > 0;
    emac_buf_release(&code);
    return st;
}

/* ---- transactions ---- */

enum emac_status chain_node_send(struct chain_node *n, struct emac_slice raw, struct emac_err *err)
{
    json_t *result = NULL;
    uint8_t hash[CHAIN_HASH_BYTES], got[CHAIN_HASH_BYTES];
    bool known = false;
    struct emac_err refusal = {0};
    crypto_keccak256(hash, raw.data, raw.len);
    enum emac_status st =
        n->call(n, "eth_sendRawTransaction", json_pack("[o]", chain_json_bytes(raw.data, raw.len)),
                &result, &refusal);
    if (st == EMAC_OK &&
        (!chain_json_to_bytes(result, got, sizeof(got)) || memcmp(hash, got, sizeof(hash)) != 0))
        st = nonsense(n, "hash of the transaction it was sent", &refusal);
    json_decref(result);
    /* Nodes word "already known" each in their own way: ask instead. */
    if (st == EMAC_FAILED && chain_node_knows(n, hash, &known, NULL) == EMAC_OK && known)
        return EMAC_OK;
    if (st != EMAC_OK && err != NULL)
        *err = refusal;
    return st;
}

static bool to_receipt(json_t *o, struct chain_receipt *out)
{
    uint64_t status;
    json_t *contract = field(o, "contractAddress");
    out->created = contract != NULL && !json_is_null(contract);
    if (!to_u64(field(o, "status"), &status) || status > 1 ||
        !to_u64(field(o, "blockNumber"), &out->block_number) ||
        !to_u64(field(o, "gasUsed"), &out->gas_used) ||
        !chain_json_to_bytes(field(o, "blockHash"), out->block_hash, CHAIN_HASH_BYTES))
        return false;
    out->ok = status == 1;
    return !out->created || to_address(contract, out->contract);
}

enum emac_status chain_node_receipt(struct chain_node *n, const uint8_t hash[CHAIN_HASH_BYTES],
                                    bool *found, struct chain_receipt *out, struct emac_err *err)
{
    json_t *result = NULL;
    uint8_t got[CHAIN_HASH_BYTES];
    enum emac_status st =
        n->call(n, "eth_getTransactionReceipt",
                json_pack("[o]", chain_json_bytes(hash, CHAIN_HASH_BYTES)), &result, err);
    *found = st == EMAC_OK && !json_is_null(result);
    if (*found && (!to_receipt(result, out) ||
                   !chain_json_to_bytes(field(result, "transactionHash"), got, sizeof(got)) ||
                   memcmp(got, hash, sizeof(got)) != 0))
        st = nonsense(n, "receipt of the transaction asked for", err);
    json_decref(result);
    return st;
}

enum emac_status chain_node_knows(struct chain_node *n, const uint8_t hash[CHAIN_HASH_BYTES],
                                  bool *out, struct emac_err *err)
{
    json_t *result = NULL;
    enum emac_status st =
        n->call(n, "eth_getTransactionByHash",
                json_pack("[o]", chain_json_bytes(hash, CHAIN_HASH_BYTES)), &result, err);
    *out = st == EMAC_OK && json_is_object(result);
    json_decref(result);
    return st;
}
