/* chain.json: which chain and contracts a network settles on. Made by `emac
 * chain deploy`, given to the coordinator and to users; it holds no secret.
 *   {"chain_id": 314159, "rpc": ["http://..."], "confirmations": 0,
 *    "token": "0x...", "vault", "bindings", "payouts", "assets", "datacap",
 *    "start": {"number": 12, "hash": "0x..."}, "operator": "did:key:...",
 *    "least_units": "1000000"}
 * rpc: one to four nodes, which must agree. start: the block before the contracts. operator: who
 * may close an epoch. least_units: what an epoch must at least pay. Other keys are refused. */
#ifndef EMAC_CHAIN_CONFIG_H
#define EMAC_CHAIN_CONFIG_H

#include "chain/book.h"
#include "chain/rpc.h"
#include "os/os.h"

struct chain_config {
    uint64_t chain_id, confirmations;
    char url[CHAIN_NODES_MAX][CHAIN_RPC_URL_MAX];
    size_t urls;
    uint8_t address[CHAIN_CONTRACTS][EVM_ADDRESS_BYTES];
    uint8_t token[EVM_ADDRESS_BYTES], assets[EVM_ADDRESS_BYTES];
    struct chain_cursor start;
    char operator_did[DID_KEY_MAX];
    int64_t least_units;
};

enum emac_status chain_config_load(struct os *os, const char *path, struct chain_config *out,
                                   struct emac_err *err);
enum emac_status chain_config_parse(struct emac_slice text, const char *path,
                                    struct chain_config *out, struct emac_err *err);
/* CONFLICT when the file exists: it may name contracts that hold money. */
enum emac_status chain_config_write(struct os *os, const char *path, const struct chain_config *c,
                                    struct emac_err *err);

/* The nodes of a configuration, and what chain_follow needs. Do not copy it; `http` is borrowed. */
struct chain_nodes {
    struct chain_rpc rpc[CHAIN_NODES_MAX];
    struct chain_source source;
};
enum emac_status chain_nodes_init(struct chain_nodes *n, const struct chain_config *c,
                                  struct http_client *http, struct emac_err *err);

#endif
