/* One node of an EVM chain as a source of answers. The program asks over HTTP
 * (chain/rpc.h); tests script one. Nothing a node says is believed by itself:
 * forms and limits are checked here, truth in chain/follow.h.
 *
 * Hex is lower case but in addresses; a quantity has no leading zeros. Every
 * sentence names the node. */
#ifndef EMAC_CHAIN_NODE_H
#define EMAC_CHAIN_NODE_H

#include <jansson.h>

#include "base/buf.h"
#include "base/u256.h"
#include "crypto/evm.h"

#define CHAIN_HASH_BYTES  32
#define CHAIN_TOPICS_MAX  4
#define CHAIN_LOGS_MAX    10000      /* of one question */
#define CHAIN_DATA_MAX    (64 << 10) /* bytes of a log or of a call's answer */
#define CHAIN_ADDRESS_ALL 8          /* addresses of one question for logs */

struct chain_node {
    const char *name; /* its URL, for sentences */
    /* *result is a new reference. The node's own refusal: FAILED with its message; UNAVAILABLE,
     * TIMEOUT when it does not answer; CORRUPT when the answer is none. Steals params. */
    enum emac_status (*call)(struct chain_node *node, const char *method, json_t *params,
                             json_t **result, struct emac_err *err);
};

struct chain_block {
    uint64_t number, time_s;
    uint8_t hash[CHAIN_HASH_BYTES], parent[CHAIN_HASH_BYTES];
    struct u256 base_fee; /* 0 when the chain has none */
};

struct chain_log {
    uint8_t address[EVM_ADDRESS_BYTES];
    uint8_t topic[CHAIN_TOPICS_MAX][CHAIN_HASH_BYTES];
    size_t topic_count;
    uint8_t *data; /* owned by the list */
    size_t data_len;
    uint64_t block_number, index;
    uint8_t block_hash[CHAIN_HASH_BYTES], tx_hash[CHAIN_HASH_BYTES];
    bool removed;
};

struct chain_logs {
    struct chain_log *at;
    size_t count;
};
void chain_logs_release(struct chain_logs *logs);

struct chain_receipt {
    bool ok; /* it did not revert */
    uint64_t block_number, gas_used;
    uint8_t block_hash[CHAIN_HASH_BYTES];
    bool created; /* a contract, at */
    uint8_t contract[EVM_ADDRESS_BYTES];
};

enum emac_status chain_node_id(struct chain_node *n, uint64_t *out, struct emac_err *err);
/* tag: "latest", "finalized", or a quantity "0x10". NOT_FOUND when there is none (a height ahead
 * of the chain, or one that the chain left empty). */
enum emac_status chain_node_block(struct chain_node *n, const char *tag, struct chain_block *out,
                                  struct emac_err *err);
enum emac_status chain_node_block_at(struct chain_node *n, uint64_t number, struct chain_block *out,
                                     struct emac_err *err);
/* The answer must carry this hash. */
enum emac_status chain_node_block_by_hash(struct chain_node *n,
                                          const uint8_t hash[CHAIN_HASH_BYTES],
                                          struct chain_block *out, struct emac_err *err);
/* Logs of these contracts in blocks [from, to]; as the node orders them. Release them. */
enum emac_status chain_node_logs(struct chain_node *n, uint64_t from, uint64_t to,
                                 const uint8_t (*address)[EVM_ADDRESS_BYTES], size_t count,
                                 struct chain_logs *out, struct emac_err *err);
/* Transactions of the account in the chain up to the tag: the next nonce. */
enum emac_status chain_node_nonce(struct chain_node *n, const uint8_t address[EVM_ADDRESS_BYTES],
                                  const char *tag, uint64_t *out, struct emac_err *err);
enum emac_status chain_node_balance(struct chain_node *n, const uint8_t address[EVM_ADDRESS_BYTES],
                                    struct u256 *out, struct emac_err *err);
enum emac_status chain_node_tip(struct chain_node *n, struct u256 *out, struct emac_err *err);
/* Gas of a call; FAILED with the contract's reason when it would revert. `to` NULL: a creation. */
enum emac_status chain_node_estimate(struct chain_node *n, const uint8_t from[EVM_ADDRESS_BYTES],
                                     const uint8_t *to, const struct u256 *value,
                                     struct emac_slice data, uint64_t *gas, struct emac_err *err);
/* Read a contract; appends its answer. */
enum emac_status chain_node_read(struct chain_node *n, const uint8_t to[EVM_ADDRESS_BYTES],
                                 struct emac_slice data, struct emac_buf *out,
                                 struct emac_err *err);
/* Does the account have code? */
enum emac_status chain_node_has_code(struct chain_node *n, const uint8_t address[EVM_ADDRESS_BYTES],
                                     bool *out, struct emac_err *err);
/* OK also when the node knows it already. */
enum emac_status chain_node_send(struct chain_node *n, struct emac_slice raw, struct emac_err *err);
/* Of a transaction that is in a block; *found false otherwise. */
enum emac_status chain_node_receipt(struct chain_node *n, const uint8_t hash[CHAIN_HASH_BYTES],
                                    bool *found, struct chain_receipt *out, struct emac_err *err);
/* Does the node know the transaction, waiting or in a block? */
enum emac_status chain_node_knows(struct chain_node *n, const uint8_t hash[CHAIN_HASH_BYTES],
                                  bool *out, struct emac_err *err);

/* Text forms, "0x" and hex; *_json are new references. */
json_t *chain_json_bytes(const void *data, size_t n);
json_t *chain_json_quantity(uint64_t v);
bool chain_json_to_bytes(json_t *text, void *out, size_t n);

#endif
