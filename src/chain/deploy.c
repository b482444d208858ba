/* The contracts in the order in which they need each other, then the roles. */
#include <string.h>

#include "base/assert.h"
#include "chain/actions.h"
#include "codec/abi.h"

#define CALL_MAX (1u << 10)

struct deploying {
    const struct chain_sender *s;
    const struct chain_terms *t;
    struct chain_config *c;
    void (*said)(void *ctx, const char *what, const struct chain_receipt *r);
    void *ctx;
};

static enum emac_status step(const struct deploying *d, const char *what, const uint8_t *to,
                             struct emac_buf *data, struct chain_receipt *r, struct emac_err *err)
{
    struct chain_action a = {.what = what, .to = to, .data = emac_buf_slice(data)};
    enum emac_status st = chain_send(d->s, &a, r, err);
    if (st == EMAC_OK && d->said != NULL)
        d->said(d->ctx, what, r);
    return st;
}

/* `data` holds the creation code and the arguments; released here. The address follows from ours
 * and the nonce, whatever the node says. */
static enum emac_status create(const struct deploying *d, const char *name, struct emac_buf *data,
                               enum emac_status st, uint8_t out[EVM_ADDRESS_BYTES],
                               struct emac_err *err)
{
    struct chain_receipt r;
    uint64_t nonce = 0;
    if (st == EMAC_OK)
        st = chain_node_nonce(d->s->node, d->s->address, "latest", &nonce, err);
    if (st == EMAC_OK)
        st = step(d, name, NULL, data, &r, err);
    if (st == EMAC_OK) {
        chain_create_address(out, d->s->address, nonce);
        if (!r.created || memcmp(out, r.contract, EVM_ADDRESS_BYTES) != 0)
            st = emac_fail(err, EMAC_CORRUPT,
                           "node '%s' names another address for %s than it must have",
                           d->s->node->name, name);
    }
    emac_buf_release(data);
    return st;
}

static enum emac_status begin(struct emac_buf *data, const char *name, struct emac_err *err)
{
    emac_buf_init(data, CHAIN_TX_MAX);
    return chain_contract_code(name, data, err);
}

static enum emac_status deploy_token(const struct deploying *d, struct emac_err *err)
{
    struct emac_buf data;
    const struct chain_terms *t = d->t;
    if (t->has_token) {
        memcpy(d->c->token, t->token, EVM_ADDRESS_BYTES);
        return EMAC_OK;
    }
    enum emac_status st = begin(&data, "EmacToken", err);
    if (st == EMAC_OK)
        st = abi_encode(&data, err, "BBan", t->token_name, strlen(t->token_name), t->token_symbol,
                        strlen(t->token_symbol), d->s->address, (uint64_t)t->supply_units);
    return create(d, "EmacToken", &data, st, d->c->token, err);
}

static enum emac_status deploy_vault(const struct deploying *d, struct emac_err *err)
{
    struct emac_buf data;
    const struct chain_terms *t = d->t;
    enum emac_status st = begin(&data, "EmacVault", err);
    if (st == EMAC_OK)
        st = abi_encode(&data, err, "aannn", d->c->token, d->s->address, t->withdraw_delay_s,
                        t->unbond_delay_s, t->slash_delay_s);
    return create(d, "EmacVault", &data, st, d->c->address[CHAIN_VAULT], err);
}

static enum emac_status deploy_bindings(const struct deploying *d, struct emac_err *err)
{
    struct emac_buf data;
    enum emac_status st = begin(&data, "EmacBindings", err);
    if (st == EMAC_OK)
        st = abi_encode(&data, err, "n", d->t->change_delay_s);
    return create(d, "EmacBindings", &data, st, d->c->address[CHAIN_BINDINGS], err);
}

static enum emac_status deploy_payouts(const struct deploying *d, struct emac_err *err)
{
    struct emac_buf data;
    const struct chain_terms *t = d->t;
    enum emac_status st = begin(&data, "EmacPayouts", err);
    if (st == EMAC_OK)
        st = abi_encode(&data, err, "aaannnn", d->c->address[CHAIN_VAULT],
                        d->c->address[CHAIN_BINDINGS], d->s->address, t->window_s,
                        t->resolve_window_s, t->challenge_stake_units, t->epoch_cap_units);
    return create(d, "EmacPayouts", &data, st, d->c->address[CHAIN_PAYOUTS], err);
}

static enum emac_status deploy_assets(const struct deploying *d, struct emac_err *err)
{
    struct emac_buf data;
    enum emac_status st = begin(&data, "EmacAssets", err);
    if (st == EMAC_OK)
        st = abi_encode(&data, err, "a", d->c->token);
    return create(d, "EmacAssets", &data, st, d->c->assets, err);
}

static enum emac_status deploy_datacap(const struct deploying *d, struct emac_err *err)
{
    struct emac_buf data;
    enum emac_status st = begin(&data, "EmacDataCap", err);
    if (st == EMAC_OK)
        st = abi_encode(&data, err, "ann", d->s->address, d->t->notaries_quorum,
                        d->t->datacap_lifetime_s);
    return create(d, "EmacDataCap", &data, st, d->c->address[CHAIN_DATACAP], err);
}

static enum emac_status wire(const struct deploying *d, struct emac_err *err)
{
    struct emac_buf data;
    struct chain_receipt r;
    emac_buf_init(&data, CALL_MAX);
    enum emac_status st =
        abi_encode_call(&data, err, "setPayouts(address)", "a", d->c->address[CHAIN_PAYOUTS]);
    if (st == EMAC_OK)
        st = step(d, "setPayouts", d->c->address[CHAIN_VAULT], &data, &r, err);
    emac_buf_release(&data);
    return st;
}

static enum emac_status grant(const struct deploying *d, enum chain_contract contract,
                              const char *role, const uint8_t *who, struct emac_err *err)
{
    struct emac_buf data;
    struct chain_receipt r;
    uint8_t id[KECCAK256_BYTES];
    if (who == NULL)
        return EMAC_OK;
    abi_topic(id, role);
    emac_buf_init(&data, CALL_MAX);
    enum emac_status st = abi_encode_call(&data, err, "grantRole(bytes32,address)", "ba", id, who);
    if (st == EMAC_OK)
        st = step(d, role, d->c->address[contract], &data, &r, err);
    emac_buf_release(&data);
    return st;
}

static enum emac_status grant_roles(const struct deploying *d, struct emac_err *err)
{
    const struct chain_terms *t = d->t;
    const uint8_t *us = d->s->address, *guardian = t->guardian ? t->guardian : us;
    enum emac_status st;
    EMAC_TRY(st, grant(d, CHAIN_PAYOUTS, "PROPOSER_ROLE", t->proposer ? t->proposer : us, err));
    EMAC_TRY(st, grant(d, CHAIN_PAYOUTS, "GUARDIAN_ROLE", guardian, err));
    EMAC_TRY(st, grant(d, CHAIN_PAYOUTS, "ARBITER_ROLE", t->arbiter, err));
    EMAC_TRY(st, grant(d, CHAIN_VAULT, "GUARDIAN_ROLE", guardian, err));
    EMAC_TRY(st, grant(d, CHAIN_VAULT, "LEDGER_ROLE", t->ledger ? t->ledger : us, err));
    for (size_t i = 0; i < t->notary_count; i++)
        EMAC_TRY(st, grant(d, CHAIN_DATACAP, "NOTARY_ROLE", t->notary[i], err));
out:
    return st;
}

/* A block before the first of the contracts that no reorganisation takes away. */
static enum emac_status start_at(const struct deploying *d, struct emac_err *err)
{
    struct chain_block b = {0};
    struct chain_node *n = d->s->node;
    enum emac_status st =
        chain_node_block(n, d->c->confirmations ? "latest" : "finalized", &b, err);
    if (st == EMAC_OK && d->c->confirmations > 0)
        st = chain_node_block_at(
            n, b.number > d->c->confirmations ? b.number - d->c->confirmations : 0, &b, err);
    d->c->start = (struct chain_cursor){.number = b.number};
    memcpy(d->c->start.hash, b.hash, CHAIN_HASH_BYTES);
    return st;
}

enum emac_status chain_deploy(const struct chain_sender *s, const struct chain_terms *terms,
                              struct chain_config *out,
                              void (*said)(void *ctx, const char *what,
                                           const struct chain_receipt *r),
                              void *ctx, struct emac_err *err)
{
    const struct deploying d = {s, terms, out, said, ctx};
    enum emac_status st;
    out->chain_id = s->chain_id;
    EMAC_TRY(st, start_at(&d, err));
    EMAC_TRY(st, deploy_token(&d, err));
    EMAC_TRY(st, deploy_vault(&d, err));
    EMAC_TRY(st, deploy_bindings(&d, err));
    EMAC_TRY(st, deploy_payouts(&d, err));
    EMAC_TRY(st, deploy_assets(&d, err));
    EMAC_TRY(st, deploy_datacap(&d, err));
    EMAC_TRY(st, wire(&d, err));
    st = grant_roles(&d, err);
out:
    return st;
}
