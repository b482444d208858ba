#include "cli/chain_tool.h"

#include <string.h>

#include "base/hex.h"
#include "crypto/key_file.h"
#include "os/process.h"

enum emac_status chain_tool_path(struct chain_tool *t)
{
    if (t->chain_path == NULL)
        return cli_home_path(t->c, "chain.json", t->path, sizeof(t->path));
    if (!emac_strcpy(t->path, sizeof(t->path), t->chain_path))
        return emac_fail(&t->c->err, EMAC_INVALID, "the path '%.60s...' is too long",
                         t->chain_path);
    return EMAC_OK;
}

enum emac_status chain_tool_config(struct chain_tool *t)
{
    struct cli *c = t->c;
    enum emac_status st = chain_tool_path(t);
    if (st == EMAC_OK)
        st = chain_config_load(c->os, t->path, &t->cfg, &c->err);
    if (st == EMAC_NOT_FOUND)
        st = emac_fail(&c->err, EMAC_NOT_FOUND,
                       "no chain is configured: '%s' is not there; give the network's chain.json "
                       "with --chain, or make a network with `emac chain deploy`",
                       t->path);
    return st;
}

enum emac_status chain_tool_key(struct chain_tool *t)
{
    struct cli *c = t->c;
    struct chain_sender *s = &t->sender;
    char path[OS_PATH_MAX];
    enum emac_status st = EMAC_OK;
    if (t->key_path == NULL)
        st = cli_home_path(c, "evm.key", path, sizeof(path));
    else if (!emac_strcpy(path, sizeof(path), t->key_path))
        st = emac_fail(&c->err, EMAC_INVALID, "the path of the key is too long");
    if (st == EMAC_OK)
        st = key_file_read(c->os, path, s->secret, &c->err);
    if (st == EMAC_NOT_FOUND) {
        do
            c->os->entropy(c->os, s->secret, sizeof(s->secret));
        while (!crypto_evm_secret_ok(s->secret));
        st = key_file_write(c->os, path, s->secret, &c->err);
        if (st == EMAC_OK && !c->quiet)
            fprintf(stderr, "emac: made a new chain key in '%s'; keep a copy of that file\n", path);
    }
    if (st == EMAC_OK && !crypto_evm_secret_ok(s->secret))
        st = emac_fail(&c->err, EMAC_CORRUPT, "'%s' holds a number that is no secp256k1 key", path);
    if (st == EMAC_OK)
        crypto_evm_address(s->address, s->secret);
    return st;
}

/* The first node sends; it must be on the chain that is meant. */
static enum emac_status node_open(struct chain_tool *t)
{
    struct cli *c = t->c;
    struct http_client *http;
    uint64_t id = 0;
    enum emac_status st = cli_http(c, &http);
    if (st == EMAC_OK)
        st = chain_nodes_init(&t->nodes, &t->cfg, http, &c->err);
    if (st == EMAC_OK)
        st = chain_node_id(t->nodes.source.node[0], &id, &c->err);
    if (st == EMAC_OK && t->cfg.chain_id == 0)
        t->cfg.chain_id = id; /* of a network that is being made */
    if (st == EMAC_OK && id != t->cfg.chain_id)
        st = emac_fail(&c->err, EMAC_CONFLICT, "node '%s' is on chain %llu, '%s' says %llu",
                       t->cfg.url[0], (unsigned long long)id, t->path,
                       (unsigned long long)t->cfg.chain_id);
    t->sender.os = c->os;
    t->sender.node = t->nodes.source.node[0];
    t->sender.chain_id = id;
    t->sender.confirm = (uint32_t)t->confirm;
    t->sender.cancelled = os_stop_requested;
    return st;
}

enum emac_status chain_tool_sender(struct chain_tool *t)
{
    enum emac_status st = EMAC_OK;
    if (t->confirm == 0 || t->confirm > 1000)
        return emac_fail(&t->c->err, EMAC_INVALID, "confirm must be 1 to 1000 blocks");
    if (t->cfg.urls == 0)
        st = chain_tool_config(t);
    if (st == EMAC_OK)
        st = chain_tool_key(t);
    return st == EMAC_OK ? node_open(t) : st;
}

enum emac_status chain_tool_account(struct chain_tool *t)
{
    struct cli *c = t->c;
    const char *did = t->account;
    if (did == NULL) {
        enum emac_status st = cli_identity(c);
        if (st != EMAC_OK)
            return st;
        did = c->identity.did;
    }
    if (!crypto_did_key_parse(t->account_key, did) ||
        !emac_strcpy(t->account_did, sizeof(t->account_did), did))
        return emac_fail(&c->err, EMAC_INVALID, "'%.80s' is no account: write a did:key:z6Mk...",
                         did);
    return EMAC_OK;
}

enum emac_status chain_tool_address(struct cli *c, const char *text, uint8_t out[EVM_ADDRESS_BYTES])
{
    if (text != NULL && crypto_evm_address_parse(out, text))
        return EMAC_OK;
    return emac_fail(&c->err, EMAC_INVALID,
                     "'%.60s' is no address, or a letter of it is wrong: write 0x and 40 digits",
                     text != NULL ? text : "");
}

void chain_tool_hash_text(char out[CHAIN_HASH_TEXT_MAX], const uint8_t hash[CHAIN_HASH_BYTES])
{
    memcpy(out, "0x", 2);
    emac_hex(out + 2, hash, CHAIN_HASH_BYTES);
}

json_t *chain_tool_done(const char *what, const struct chain_receipt *r)
{
    return json_pack("{s:s, s:I, s:I}", "done", what, "block", (json_int_t)r->block_number, "gas",
                     (json_int_t)r->gas_used);
}

void chain_tool_release(struct chain_tool *t)
{
    crypto_wipe(t->sender.secret, sizeof(t->sender.secret));
}
