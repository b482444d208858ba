/* What the actions of `emac chain` share: the configuration, its nodes, the key
 * that signs and pays for gas. Fill in what is asked for on the command line,
 * then open what the action needs. */
#ifndef EMAC_CLI_CHAIN_TOOL_H
#define EMAC_CLI_CHAIN_TOOL_H

#include "chain/actions.h"
#include "cli/cli.h"

struct chain_tool {
    struct cli *c;
    /* as given, or NULL */
    const char *chain_path, *key_path, *account, *rpc;
    uint64_t confirm;
    /* opened */
    char path[OS_PATH_MAX];
    struct chain_config cfg;
    struct chain_nodes nodes;
    struct chain_sender sender;
    uint8_t account_key[CHAIN_ACCOUNT_BYTES];
    char account_did[DID_KEY_MAX];
};

/* The path of chain.json: --chain, or in the home directory. */
enum emac_status chain_tool_path(struct chain_tool *t);
/* Reads it; NOT_FOUND says what to do. */
enum emac_status chain_tool_config(struct chain_tool *t);
/* The key, made when missing; after it sender.secret and sender.address are known. */
enum emac_status chain_tool_key(struct chain_tool *t);
/* Configuration, key, and a node that is on the right chain. */
enum emac_status chain_tool_sender(struct chain_tool *t);
/* --account, or the user's own. */
enum emac_status chain_tool_account(struct chain_tool *t);
void chain_tool_release(struct chain_tool *t); /* wipes the key */

/* "0x" and 40 digits; INVALID also when `text` is NULL. */
enum emac_status chain_tool_address(struct cli *c, const char *text,
                                    uint8_t out[EVM_ADDRESS_BYTES]);
#define CHAIN_HASH_TEXT_MAX (2 * CHAIN_HASH_BYTES + 3)
void chain_tool_hash_text(char out[CHAIN_HASH_TEXT_MAX], const uint8_t hash[CHAIN_HASH_BYTES]);
/* {"done", "block", "gas"}: what the result of an action begins with. A new reference. */
json_t *chain_tool_done(const char *what, const struct chain_receipt *r);

/* Actions. `amount` is an amount of EMAC as text. */
enum emac_status chain_tool_deposit(struct chain_tool *t, const char *amount);
enum emac_status chain_tool_bind(struct chain_tool *t, const char *identity_path);
enum emac_status chain_tool_payout(struct chain_tool *t, const char *amount);
enum emac_status chain_tool_withdraw(struct chain_tool *t, const char *amount);
enum emac_status chain_tool_settle(struct chain_tool *t);
enum emac_status chain_tool_claim(struct chain_tool *t);

#endif
