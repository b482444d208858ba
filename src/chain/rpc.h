/* Ethereum's JSON-RPC 2.0 over HTTP. Blocking, one question a call; an answer
 * must come within CHAIN_RPC_TIMEOUT_MS, fit CHAIN_RPC_REPLY_MAX, repeat the
 * question's id and hold either a result or an error. The node's error object
 * becomes a sentence; where it carries the data of a revert, the name of the
 * contract's error is in it (chain/contracts.h). */
#ifndef EMAC_CHAIN_RPC_H
#define EMAC_CHAIN_RPC_H

#include "chain/node.h"
#include "http/client.h"

#define CHAIN_RPC_TIMEOUT_MS 20000
#define CHAIN_RPC_REPLY_MAX  (32u << 20)
#define CHAIN_RPC_URL_MAX    256

struct chain_rpc {
    struct chain_node node; /* first: a chain_node that is one of ours is a chain_rpc */
    struct http_client *http;
    char url[CHAIN_RPC_URL_MAX];
    uint64_t id;
};

/* INVALID when the URL is none. `http` is borrowed and outlives it; one thread at a time. */
enum emac_status chain_rpc_init(struct chain_rpc *rpc, struct http_client *http, const char *url,
                                struct emac_err *err);
/* The result out of a reply's bytes; a new reference. */
enum emac_status chain_rpc_parse(const char *name, struct emac_slice reply, uint64_t id,
                                 json_t **result, struct emac_err *err);

#endif
