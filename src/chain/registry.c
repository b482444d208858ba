#include "chain/registry.h"

#include "base/assert.h"
#include "base/hex.h"
#include "codec/abi.h"

#define CALL_MAX 1024

/* ---- what names a motion ---- */

/* `words` is what a motion encodes, released here; `st` tells whether it could be. */
static enum emac_status hashed(struct emac_buf *words, enum emac_status st,
                               uint8_t id[CHAIN_HASH_BYTES])
{
    if (st == EMAC_OK)
        crypto_keccak256(id, words->data, words->len);
    emac_buf_release(words);
    return st;
}

enum emac_status registry_grant_id(const struct registry_grant *g, uint8_t id[CHAIN_HASH_BYTES],
                                   struct emac_err *err)
{
    struct emac_buf words;
    emac_buf_init(&words, CALL_MAX);
    enum emac_status st = abi_encode(&words, err, "Bbanb", "grant", sizeof("grant") - 1, g->client,
                                     g->wallet, g->bytes, g->evidence);
    return hashed(&words, st, id);
}

enum emac_status registry_removal_id(const uint8_t allowance[CHAIN_HASH_BYTES],
                                     const uint8_t evidence[CHAIN_HASH_BYTES],
                                     uint8_t id[CHAIN_HASH_BYTES], struct emac_err *err)
{
    struct emac_buf words;
    emac_buf_init(&words, CALL_MAX);
    enum emac_status st =
        abi_encode(&words, err, "Bbb", "removal", sizeof("removal") - 1, allowance, evidence);
    return hashed(&words, st, id);
}

/* ---- doing ---- */

/* Sends `data`, released here. */
static enum emac_status act(const struct chain_sender *s, const struct chain_config *c,
                            const char *what, struct emac_buf *data, enum emac_status st,
                            struct chain_receipt *r, struct emac_err *err)
{
    struct chain_action a = {
        .what = what, .to = c->address[CHAIN_DATACAP], .data = emac_buf_slice(data)};
    if (st == EMAC_OK)
        st = chain_send(s, &a, r, err);
    emac_buf_release(data);
    return st;
}

enum emac_status registry_notary(const struct chain_sender *s, const struct chain_config *c,
                                 const uint8_t wallet[EVM_ADDRESS_BYTES], bool votes,
                                 struct chain_receipt *r, struct emac_err *err)
{
    uint8_t role[KECCAK256_BYTES];
    struct emac_buf data;
    abi_topic(role, "NOTARY_ROLE");
    emac_buf_init(&data, CALL_MAX);
    enum emac_status st = abi_encode_call(
        &data, err, votes ? "grantRole(bytes32,address)" : "revokeRole(bytes32,address)", "ba",
        role, wallet);
    return act(s, c, votes ? "name a notary" : "dismiss a notary", &data, st, r, err);
}

enum emac_status registry_vote_grant(const struct chain_sender *s, const struct chain_config *c,
                                     const struct registry_grant *g, bool approve,
                                     struct chain_receipt *r, struct emac_err *err)
{
    struct emac_buf data;
    emac_buf_init(&data, CALL_MAX);
    enum emac_status st =
        abi_encode_call(&data, err, "voteGrant(bytes32,address,uint64,bytes32,bool)", "banbo",
                        g->client, g->wallet, g->bytes, g->evidence, (int)approve);
    return act(s, c, "vote on a grant", &data, st, r, err);
}

enum emac_status registry_vote_removal(const struct chain_sender *s, const struct chain_config *c,
                                       const uint8_t allowance[CHAIN_HASH_BYTES],
                                       const uint8_t evidence[CHAIN_HASH_BYTES], bool approve,
                                       struct chain_receipt *r, struct emac_err *err)
{
    struct emac_buf data;
    emac_buf_init(&data, CALL_MAX);
    enum emac_status st = abi_encode_call(&data, err, "voteRemoval(bytes32,bytes32,bool)", "bbo",
                                          allowance, evidence, (int)approve);
    return act(s, c, "vote on a removal", &data, st, r, err);
}

enum emac_status registry_spend(const struct chain_sender *s, const struct chain_config *c,
                                const uint8_t allowance[CHAIN_HASH_BYTES], uint64_t bytes,
                                const uint8_t deal[CHAIN_HASH_BYTES], struct chain_receipt *r,
                                struct emac_err *err)
{
    struct emac_buf data;
    emac_buf_init(&data, CALL_MAX);
    enum emac_status st =
        abi_encode_call(&data, err, "spend(bytes32,uint64,bytes32)", "bnb", allowance, bytes, deal);
    return act(s, c, "spend an allowance", &data, st, r, err);
}

/* ---- looking up ---- */

/* Asks the registry; *out is the caller's to release, `data` is released here. */
static enum emac_status ask(struct chain_node *n, const struct chain_config *c,
                            struct emac_buf *data, enum emac_status st, struct emac_buf *out,
                            struct emac_err *err)
{
    emac_buf_init(out, CHAIN_DATA_MAX);
    if (st == EMAC_OK)
        st = chain_node_read(n, c->address[CHAIN_DATACAP], emac_buf_slice(data), out, err);
    emac_buf_release(data);
    return st;
}

const char *registry_outcome_name(enum registry_outcome o)
{
    static const char *const NAMES[] = {"open", "passed", "failed"};
    EMAC_ASSERT(o < EMAC_COUNT(NAMES));
    return NAMES[o];
}

enum emac_status registry_outcome(struct chain_node *n, const struct chain_config *c,
                                  const uint8_t motion[CHAIN_HASH_BYTES],
                                  enum registry_outcome *out, struct emac_err *err)
{
    struct emac_buf data, reply;
    uint64_t v = 0;
    *out = REGISTRY_OPEN;
    emac_buf_init(&data, CALL_MAX);
    enum emac_status st = abi_encode_call(&data, err, "outcomeOf(bytes32)", "b", motion);
    st = ask(n, c, &data, st, &reply, err);
    if (st == EMAC_OK)
        st = abi_decode(emac_buf_slice(&reply), err, "n", &v);
    if (st == EMAC_OK && v >= REGISTRY_OUTCOMES)
        st = emac_fail(err, EMAC_CORRUPT, "node '%s' names no outcome of a motion that there is",
                       n->name);
    if (st == EMAC_OK)
        *out = (enum registry_outcome)v;
    emac_buf_release(&reply);
    return st;
}

enum emac_status registry_allowance(struct chain_node *n, const struct chain_config *c,
                                    const uint8_t id[CHAIN_HASH_BYTES],
                                    struct registry_allowance *out, struct emac_err *err)
{
    struct emac_buf data, reply;
    char text[2 * CHAIN_HASH_BYTES + 1];
    emac_buf_init(&data, CALL_MAX);
    enum emac_status st = abi_encode_call(&data, err, "allowanceOf(bytes32)", "b", id);
    st = ask(n, c, &data, st, &reply, err);
    if (st == EMAC_OK)
        st = abi_decode(emac_buf_slice(&reply), err, "bannn", out->client, out->wallet,
                        &out->granted, &out->left, &out->expires_s);
    emac_hex(text, id, CHAIN_HASH_BYTES);
    if (st == EMAC_OK && out->granted == 0)
        st = emac_fail(err, EMAC_NOT_FOUND, "the registry has no allowance '0x%s'", text);
    emac_buf_release(&reply);
    return st;
}
