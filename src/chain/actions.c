#include "chain/actions.h"

#include <string.h>

#include "base/assert.h"
#include "chain/amount.h"
#include "chain/typed.h"
#include "codec/abi.h"

#define CALL_MAX (8u << 10)

/* Sends `data`, which is released here; `st` tells whether it could be encoded. */
static enum emac_status act(const struct chain_sender *s, const char *what, const uint8_t *to,
                            struct emac_buf *data, enum emac_status st, struct chain_receipt *r,
                            struct emac_err *err)
{
    struct chain_action a = {.what = what, .to = to, .data = emac_buf_slice(data)};
    if (st == EMAC_OK)
        st = chain_send(s, &a, r, err);
    emac_buf_release(data);
    return st;
}

/* Asks a contract; the answer lands in *out, which the caller releases. */
static enum emac_status ask(struct chain_node *n, const uint8_t to[EVM_ADDRESS_BYTES],
                            struct emac_buf *data, enum emac_status st, struct emac_buf *out,
                            struct emac_err *err)
{
    emac_buf_init(out, CHAIN_DATA_MAX);
    if (st == EMAC_OK)
        st = chain_node_read(n, to, emac_buf_slice(data), out, err);
    emac_buf_release(data);
    return st;
}

static enum emac_status ask_u256(struct chain_node *n, const uint8_t to[EVM_ADDRESS_BYTES],
                                 struct emac_buf *data, enum emac_status st, struct u256 *out,
                                 struct emac_err *err)
{
    struct emac_buf reply;
    st = ask(n, to, data, st, &reply, err);
    if (st == EMAC_OK)
        st = abi_decode(emac_buf_slice(&reply), err, "u", out);
    emac_buf_release(&reply);
    return st;
}

static const uint8_t *vault(const struct chain_config *c)
{
    return c->address[CHAIN_VAULT];
}

/* ---- doing ---- */

/* Time by the chain's own clock: signatures run out by it. */
static enum emac_status deadline(const struct chain_sender *s, uint64_t *out, struct emac_err *err)
{
    struct chain_block latest = {0};
    enum emac_status st = chain_node_block(s->node, "latest", &latest, err);
    *out = latest.time_s + CHAIN_SIGNED_FOR_S;
    return st;
}

/* name() of the token: part of what its permits sign. */
static enum emac_status token_name(const struct chain_sender *s, const struct chain_config *c,
                                   char *out, size_t cap, struct emac_err *err)
{
    struct emac_buf data, reply;
    struct emac_slice name;
    emac_buf_init(&data, CALL_MAX);
    enum emac_status st = abi_encode_call(&data, err, "name()", "");
    st = ask(s->node, c->token, &data, st, &reply, err);
    if (st == EMAC_OK)
        st = abi_decode(emac_buf_slice(&reply), err, "B", &name);
    if (st == EMAC_OK && name.len >= cap)
        st = emac_fail(err, EMAC_TOO_LARGE, "the token's name is longer than %zu bytes", cap);
    if (st == EMAC_OK) {
        memcpy(out, name.data, name.len);
        out[name.len] = '\0';
    }
    emac_buf_release(&reply);
    return st;
}

static enum emac_status permit(const struct chain_sender *s, const struct chain_config *c,
                               const struct u256 *wei, uint64_t until_s,
                               uint8_t sig[EVM_SIGNATURE_BYTES], struct emac_err *err)
{
    char name[256];
    struct chain_domain d = {.name = name, .chain_id = c->chain_id};
    struct emac_buf data;
    struct u256 nonce;
    uint8_t digest[KECCAK256_BYTES];
    memcpy(d.contract, c->token, EVM_ADDRESS_BYTES);
    emac_buf_init(&data, CALL_MAX);
    enum emac_status st = token_name(s, c, name, sizeof(name), err);
    if (st == EMAC_OK)
        st = abi_encode_call(&data, err, "nonces(address)", "a", s->address);
    st = ask_u256(s->node, c->token, &data, st, &nonce, err);
    if (st != EMAC_OK)
        return st;
    chain_typed_permit(digest, &d, s->address, vault(c), wei, &nonce, until_s);
    chain_typed_sign(sig, digest, s->secret);
    return EMAC_OK;
}

enum emac_status chain_deposit(const struct chain_sender *s, const struct chain_config *c,
                               const uint8_t account[CHAIN_ACCOUNT_BYTES], int64_t units,
                               struct chain_receipt *r, struct emac_err *err)
{
    struct u256 wei = chain_wei_from_units(units);
    uint8_t sig[EVM_SIGNATURE_BYTES];
    uint64_t until_s = 0;
    struct emac_buf data;
    emac_buf_init(&data, CALL_MAX);
    enum emac_status st = deadline(s, &until_s, err);
    if (st == EMAC_OK)
        st = permit(s, c, &wei, until_s, sig, err);
    if (st == EMAC_OK)
        st = abi_encode_call(
            &data, err, "depositWithPermit(bytes32,uint64,uint256,uint8,bytes32,bytes32)", "bnnnbb",
            account, (uint64_t)units, until_s, (uint64_t)sig[64], sig, sig + 32);
    return act(s, "deposit", vault(c), &data, st, r, err);
}

enum emac_status chain_bind(const struct chain_sender *s, const struct chain_config *c,
                            const uint8_t account[CHAIN_ACCOUNT_BYTES],
                            const uint8_t key[ED25519_SECRET_BYTES], struct chain_receipt *r,
                            struct emac_err *err)
{
    const uint8_t *bindings = c->address[CHAIN_BINDINGS];
    struct chain_domain d = {.name = "EMAC Bindings", .chain_id = c->chain_id};
    uint8_t digest[KECCAK256_BYTES], ours[EVM_SIGNATURE_BYTES], theirs[ED25519_SIGNATURE_BYTES];
    struct u256 nonce;
    uint64_t until_s = 0;
    struct emac_buf data;
    memcpy(d.contract, bindings, EVM_ADDRESS_BYTES);
    emac_buf_init(&data, CALL_MAX);
    enum emac_status st =
        abi_encode_call(&data, err, "nonceOf(bytes32,address)", "ba", account, s->address);
    st = ask_u256(s->node, bindings, &data, st, &nonce, err);
    if (st == EMAC_OK)
        st = deadline(s, &until_s, err);
    emac_buf_init(&data, CALL_MAX);
    if (st == EMAC_OK) {
        chain_typed_bind(digest, &d, account, s->address, &nonce, until_s);
        chain_typed_sign(ours, digest, s->secret);
        crypto_ed25519_sign(theirs, digest, sizeof(digest), key);
        st = abi_encode_call(&data, err, "bind(bytes32,address,uint256,bytes,bytes)", "banBB",
                             account, s->address, until_s, ours, sizeof(ours), theirs,
                             sizeof(theirs));
    }
    return act(s, "bind", bindings, &data, st, r, err);
}

enum emac_status chain_request_withdrawal(const struct chain_sender *s,
                                          const struct chain_config *c,
                                          const uint8_t account[CHAIN_ACCOUNT_BYTES], int64_t units,
                                          struct chain_receipt *r, struct emac_err *err)
{
    struct emac_buf data;
    emac_buf_init(&data, CALL_MAX);
    enum emac_status st = abi_encode_call(&data, err, "requestWithdrawal(bytes32,uint64)", "bn",
                                          account, (uint64_t)units);
    return act(s, "request a withdrawal", vault(c), &data, st, r, err);
}

enum emac_status chain_withdraw(const struct chain_sender *s, const struct chain_config *c,
                                const uint8_t account[CHAIN_ACCOUNT_BYTES], struct chain_receipt *r,
                                struct emac_err *err)
{
    struct emac_buf data;
    emac_buf_init(&data, CALL_MAX);
    enum emac_status st =
        abi_encode_call(&data, err, "withdraw(bytes32,address)", "ba", account, s->address);
    return act(s, "withdraw", vault(c), &data, st, r, err);
}

enum emac_status chain_reduce_withdrawal(const struct chain_sender *s, const struct chain_config *c,
                                         const uint8_t account[CHAIN_ACCOUNT_BYTES],
                                         const uint8_t wallet[EVM_ADDRESS_BYTES], int64_t units,
                                         struct chain_receipt *r, struct emac_err *err)
{
    struct emac_buf data;
    uint8_t reason[32];
    abi_topic(reason, "spent on the ledger");
    emac_buf_init(&data, CALL_MAX);
    enum emac_status st =
        abi_encode_call(&data, err, "reduceWithdrawal(bytes32,address,uint64,bytes32)", "banb",
                        account, wallet, (uint64_t)units, reason);
    return act(s, "reduce a withdrawal", vault(c), &data, st, r, err);
}

enum emac_status chain_propose(const struct chain_sender *s, const struct chain_config *c,
                               const struct chain_epoch *e, struct chain_receipt *r,
                               struct emac_err *err)
{
    struct emac_buf data;
    emac_buf_init(&data, CALL_MAX);
    enum emac_status st =
        abi_encode_call(&data, err, "propose(uint64,bytes32,uint64,bytes32,bytes32)", "nbnbb",
                        e->epoch, e->root, e->total, e->list, e->journal);
    return act(s, "propose", c->address[CHAIN_PAYOUTS], &data, st, r, err);
}

enum emac_status chain_finalize(const struct chain_sender *s, const struct chain_config *c,
                                uint64_t epoch, struct chain_receipt *r, struct emac_err *err)
{
    struct emac_buf data;
    emac_buf_init(&data, CALL_MAX);
    enum emac_status st = abi_encode_call(&data, err, "finalize(uint64)", "n", epoch);
    return act(s, "finalize", c->address[CHAIN_PAYOUTS], &data, st, r, err);
}

enum emac_status chain_claim(const struct chain_sender *s, const struct chain_config *c,
                             const struct chain_leaf *leaf,
                             const uint8_t proof[CHAIN_PROOF_MAX][CHAIN_HASH_BYTES], size_t count,
                             struct chain_receipt *r, struct emac_err *err)
{
    struct emac_buf data;
    emac_buf_init(&data, CALL_MAX);
    enum emac_status st =
        abi_encode_call(&data, err, "claim(bytes32,address,uint64,bytes32[])", "banA",
                        leaf->account, leaf->wallet, leaf->cumulative, proof[0], count);
    return act(s, "claim", c->address[CHAIN_PAYOUTS], &data, st, r, err);
}

/* ---- looking up ---- */

enum emac_status chain_read_pool(struct chain_node *n, const struct chain_config *c,
                                 struct chain_pool *out, struct emac_err *err)
{
    struct emac_buf data, reply;
    emac_buf_init(&data, CALL_MAX);
    enum emac_status st = abi_encode_call(&data, err, "pool()", "");
    st = ask(n, vault(c), &data, st, &reply, err);
    if (st == EMAC_OK)
        st = abi_decode(emac_buf_slice(&reply), err, "nnnnn", &out->funded, &out->paid,
                        &out->withdrawn, &out->reserved, &out->bonded);
    emac_buf_release(&reply);
    return st;
}

enum emac_status chain_read_active(struct chain_node *n, const struct chain_config *c,
                                   struct chain_active *out, struct emac_err *err)
{
    struct emac_buf data, reply;
    emac_buf_init(&data, CALL_MAX);
    enum emac_status st = abi_encode_call(&data, err, "active()", "");
    st = ask(n, c->address[CHAIN_PAYOUTS], &data, st, &reply, err);
    if (st == EMAC_OK)
        st = abi_decode(emac_buf_slice(&reply), err, "nnb", &out->epoch, &out->total, out->root);
    emac_buf_release(&reply);
    return st;
}

enum emac_status chain_read_pending(struct chain_node *n, const struct chain_config *c,
                                    struct chain_proposal *out, struct emac_err *err)
{
    struct emac_buf data, reply;
    uint64_t remaining, stake;
    uint8_t proposer[EVM_ADDRESS_BYTES], challenger[EVM_ADDRESS_BYTES];
    emac_buf_init(&data, CALL_MAX);
    enum emac_status st = abi_encode_call(&data, err, "pending()", "");
    st = ask(n, c->address[CHAIN_PAYOUTS], &data, st, &reply, err);
    if (st == EMAC_OK)
        st = abi_decode(emac_buf_slice(&reply), err, "nnnnnbaan", &out->epoch, &out->total,
                        &out->ready_s, &out->resolve_by_s, &remaining, out->root, proposer,
                        challenger, &stake);
    emac_buf_release(&reply);
    return st;
}

enum emac_status chain_read_claimed(struct chain_node *n, const struct chain_config *c,
                                    const uint8_t account[CHAIN_ACCOUNT_BYTES], uint64_t *units,
                                    struct emac_err *err)
{
    struct emac_buf data;
    struct u256 v;
    emac_buf_init(&data, CALL_MAX);
    enum emac_status st = abi_encode_call(&data, err, "claimed(bytes32)", "b", account);
    st = ask_u256(n, c->address[CHAIN_PAYOUTS], &data, st, &v, err);
    if (st == EMAC_OK && !u256_to_u64(&v, units))
        st = emac_fail(err, EMAC_CORRUPT, "the payouts contract names a claim beyond 64 bits");
    return st;
}

enum emac_status chain_read_withdrawal(struct chain_node *n, const struct chain_config *c,
                                       const uint8_t account[CHAIN_ACCOUNT_BYTES],
                                       const uint8_t wallet[EVM_ADDRESS_BYTES], uint64_t *units,
                                       struct emac_err *err)
{
    struct emac_buf data, reply;
    uint64_t deposited, ready_s, bond, unbonding, release_s;
    emac_buf_init(&data, CALL_MAX);
    enum emac_status st =
        abi_encode_call(&data, err, "positionOf(bytes32,address)", "ba", account, wallet);
    st = ask(n, vault(c), &data, st, &reply, err);
    if (st == EMAC_OK)
        st = abi_decode(emac_buf_slice(&reply), err, "nnnnnn", &deposited, units, &ready_s, &bond,
                        &unbonding, &release_s);
    emac_buf_release(&reply);
    return st;
}

enum emac_status chain_read_token(struct chain_node *n, const struct chain_config *c,
                                  const uint8_t wallet[EVM_ADDRESS_BYTES], struct u256 *wei,
                                  struct emac_err *err)
{
    struct emac_buf data;
    emac_buf_init(&data, CALL_MAX);
    enum emac_status st = abi_encode_call(&data, err, "balanceOf(address)", "a", wallet);
    return ask_u256(n, c->token, &data, st, wei, err);
}
