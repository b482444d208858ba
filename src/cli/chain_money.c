/* `emac chain` where money moves. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chain/amount.h"
#include "cli/chain_tool.h"

#define PAYOUT_KEY_BYTES 16

static enum emac_status amount_of(struct cli *c, const char *text, int64_t *units)
{
    enum emac_status st = ledger_amount_parse(text, units, &c->err);
    if (st == EMAC_OK && *units == 0)
        st = emac_fail(&c->err, EMAC_INVALID, "an amount of 0 moves nothing");
    return st;
}

/* Asks for what the token and the pool say before the node refuses with a code. */
static enum emac_status has_tokens(struct chain_tool *t, int64_t units)
{
    struct cli *c = t->c;
    struct u256 wei, need, whole;
    uint64_t have = 0;
    char text[32];
    enum emac_status st =
        chain_read_token(t->sender.node, &t->cfg, t->sender.address, &wei, &c->err);
    if (st != EMAC_OK)
        return st;
    u256_div_u64(&wei, CHAIN_WEI_PER_UNIT, &whole);
    need = u256_from_u64((uint64_t)units);
    if (u256_compare(&whole, &need) >= 0)
        return EMAC_OK;
    (void)u256_to_u64(&whole, &have);
    ledger_amount_text(text, (int64_t)have);
    return emac_fail(&c->err, EMAC_PAYMENT, "your wallet has %s of the token: too little", text);
}

enum emac_status chain_tool_deposit(struct chain_tool *t, const char *amount)
{
    struct cli *c = t->c;
    struct chain_receipt r;
    int64_t units = 0;
    enum emac_status st;
    EMAC_TRY(st, amount_of(c, amount, &units));
    EMAC_TRY(st, chain_tool_account(t));
    EMAC_TRY(st, chain_tool_sender(t));
    EMAC_TRY(st, has_tokens(t, units));
    EMAC_TRY(st, chain_deposit(&t->sender, &t->cfg, t->account_key, units, &r, &c->err));
    cli_say(c, "deposited %s EMAC for %s in block %llu; the ledger has it when the block is final",
            amount, t->account_did, (unsigned long long)r.block_number);
    cli_result(c, chain_tool_done("deposit", &r));
out:
    return st;
}

enum emac_status chain_tool_bind(struct chain_tool *t, const char *identity_path)
{
    struct cli *c = t->c;
    struct identity id;
    struct chain_receipt r;
    char wallet[EVM_ADDRESS_MAX];
    enum emac_status st = identity_load(c->os, identity_path, &id, &c->err);
    if (st != EMAC_OK)
        return st;
    EMAC_TRY(st, chain_tool_sender(t));
    EMAC_TRY(st, chain_bind(&t->sender, &t->cfg, id.public_key, id.secret_key, &r, &c->err));
    crypto_evm_address_text(wallet, t->sender.address);
    cli_say(c, "%s is paid to %s from now on", id.did, wallet);
    json_t *o = chain_tool_done("bind", &r);
    json_object_set_new(o, "did", json_string(id.did));
    json_object_set_new(o, "wallet", json_string(wallet));
    cli_result(c, o);
out:
    identity_release(&id);
    return st;
}

enum emac_status chain_tool_withdraw(struct chain_tool *t, const char *amount)
{
    struct cli *c = t->c;
    struct chain_receipt r;
    int64_t units = 0;
    enum emac_status st = EMAC_OK;
    if (amount != NULL)
        EMAC_TRY(st, amount_of(c, amount, &units));
    EMAC_TRY(st, chain_tool_account(t));
    EMAC_TRY(st, chain_tool_sender(t));
    if (amount != NULL) {
        EMAC_TRY(st,
                 chain_request_withdrawal(&t->sender, &t->cfg, t->account_key, units, &r, &c->err));
        cli_say(c, "asked for %s EMAC back; when its delay is over: emac chain withdraw", amount);
    } else {
        EMAC_TRY(st, chain_withdraw(&t->sender, &t->cfg, t->account_key, &r, &c->err));
        cli_say(c, "the withdrawal was paid in block %llu", (unsigned long long)r.block_number);
    }
    cli_result(c, chain_tool_done("withdraw", &r));
out:
    return st;
}

enum emac_status chain_tool_payout(struct chain_tool *t, const char *amount)
{
    struct cli *c = t->c;
    char key[2 * PAYOUT_KEY_BYTES + 1], number[32], waiting[32];
    json_t *reply = NULL;
    int64_t units = 0;
    enum emac_status st;
    EMAC_TRY(st, amount_of(c, amount, &units));
    EMAC_TRY(st, cli_identity(c));
    cli_random_hex(c, key, PAYOUT_KEY_BYTES);
    snprintf(number, sizeof(number), "%lld", (long long)units);
    EMAC_TRY(st, cli_post(c, "/v1/chain/payables",
                          json_pack("{s:s, s:s}", "units", number, "key", key), &reply));
    ledger_amount_text(waiting, (int64_t)strtoll(cli_str(reply, "waiting_units"), NULL, 10));
    cli_say(c, "%s EMAC of %s are paid out with the next epoch; claim them when it is final",
            waiting, c->identity.did);
    cli_result(c, reply);
out:
    return st;
}

/* ---- epochs ---- */

static bool json_hash(json_t *o, const char *key, uint8_t out[CHAIN_HASH_BYTES])
{
    return chain_json_to_bytes(json_object_get(o, key), out, CHAIN_HASH_BYTES);
}

static bool json_units(json_t *o, const char *key, uint64_t *out)
{
    struct u256 v;
    const char *s = json_string_value(json_object_get(o, key));
    return s != NULL && u256_parse(s, &v) && u256_to_u64(&v, out);
}

static bool leaf_of(json_t *o, struct chain_leaf *out)
{
    const char *did = json_string_value(json_object_get(o, "did"));
    const char *wallet = json_string_value(json_object_get(o, "wallet"));
    return did && wallet && crypto_did_key_parse(out->account, did) &&
           crypto_evm_address_parse(out->wallet, wallet) &&
           json_units(o, "cumulative_units", &out->cumulative);
}

struct epoch_seen {
    struct chain_epoch e;
    struct chain_leaf *leaf;
    size_t count;
    struct chain_tree tree;
};

static void epoch_release(struct epoch_seen *x)
{
    free(x->leaf);
    chain_tree_release(&x->tree);
}

static enum emac_status epoch_fields(struct cli *c, json_t *o, struct epoch_seen *x)
{
    json_t *leaves = json_object_get(o, "leaves"), *epoch = json_object_get(o, "epoch");
    x->count = json_array_size(leaves);
    x->e.epoch = (uint64_t)json_integer_value(epoch);
    if (!json_hash(o, "root", x->e.root) || !json_hash(o, "list", x->e.list) ||
        !json_hash(o, "journal", x->e.journal) || !json_units(o, "total_units", &x->e.total) ||
        x->count == 0)
        return emac_fail(&c->err, EMAC_CORRUPT, "the coordinator's epoch is none");
    enum emac_status st = emac_alloc(&x->leaf, x->count, sizeof(*x->leaf), &c->err);
    for (size_t i = 0; st == EMAC_OK && i < x->count; i++) {
        if (!leaf_of(json_array_get(leaves, i), &x->leaf[i]))
            st = emac_fail(&c->err, EMAC_CORRUPT, "a leaf of epoch %llu is none",
                           (unsigned long long)x->e.epoch);
    }
    return st;
}

/* The coordinator is not believed: root, list and total are computed again from the leaves. */
static enum emac_status epoch_check(struct chain_tool *t, struct epoch_seen *x)
{
    struct cli *c = t->c;
    const uint8_t *payouts = t->cfg.address[CHAIN_PAYOUTS];
    struct emac_buf list;
    uint8_t digest[SHA256_BYTES];
    uint64_t total = 0;
    enum emac_status st;
    emac_buf_init(&list, 256 + x->count * 128);
    EMAC_TRY(st, chain_tree_build(t->cfg.chain_id, payouts, x->e.epoch, x->leaf, x->count, &x->tree,
                                  &c->err));
    EMAC_TRY(st, chain_leaves_encode(t->cfg.chain_id, payouts, x->e.epoch, x->leaf, x->count, &list,
                                     &c->err));
    crypto_sha256(digest, list.data, list.len);
    for (size_t i = 0; i < x->count; i++)
        total += x->leaf[i].cumulative;
    if (memcmp(chain_tree_root(&x->tree), x->e.root, CHAIN_HASH_BYTES) != 0 ||
        memcmp(digest, x->e.list, SHA256_BYTES) != 0 || total != x->e.total)
        st = emac_fail(&c->err, EMAC_CORRUPT,
                       "epoch %llu of the coordinator does not follow from its leaves: nothing is "
                       "sent",
                       (unsigned long long)x->e.epoch);
out:
    emac_buf_release(&list);
    return st;
}

static enum emac_status epoch_fetch(struct chain_tool *t, uint64_t epoch, struct epoch_seen *x)
{
    char path[64];
    json_t *o = NULL;
    *x = (struct epoch_seen){0};
    snprintf(path, sizeof(path), "/v1/chain/epochs/%llu", (unsigned long long)epoch);
    enum emac_status st = cli_call(t->c, "GET", path, NULL, false, &o);
    if (st == EMAC_OK)
        st = epoch_fields(t->c, o, x);
    if (st == EMAC_OK)
        st = epoch_check(t, x);
    json_decref(o);
    return st;
}

static void say_epoch(struct cli *c, const char *state, const struct epoch_seen *x, json_t *more)
{
    char total[32], root[CHAIN_HASH_TEXT_MAX];
    ledger_amount_text(total, (int64_t)x->e.total);
    chain_tool_hash_text(root, x->e.root);
    cli_say(c, "epoch %llu: %s, %s EMAC in all to %zu accounts, root %s",
            (unsigned long long)x->e.epoch, state, total, x->count, root);
    json_t *o =
        json_pack("{s:I, s:s, s:s, s:o, s:I}", "epoch", (json_int_t)x->e.epoch, "state", state,
                  "root", root, "total_units", json_sprintf("%llu", (unsigned long long)x->e.total),
                  "accounts", (json_int_t)x->count);
    json_object_update(o, more);
    json_decref(more);
    cli_result(c, o);
}

/* The next step that the contract allows. */
static enum emac_status epoch_advance(struct chain_tool *t, const struct epoch_seen *x)
{
    struct cli *c = t->c;
    struct chain_active active;
    struct chain_proposal pending;
    struct chain_receipt r;
    struct chain_block latest;
    struct chain_node *n = t->sender.node;
    enum emac_status st;
    EMAC_TRY(st, chain_read_active(n, &t->cfg, &active, &c->err));
    EMAC_TRY(st, chain_read_pending(n, &t->cfg, &pending, &c->err));
    EMAC_TRY(st, chain_node_block(n, "latest", &latest, &c->err));
    if (active.epoch == x->e.epoch) {
        say_epoch(c, "final", x, json_object());
    } else if (pending.epoch == 0) {
        EMAC_TRY(st, chain_propose(&t->sender, &t->cfg, &x->e, &r, &c->err));
        say_epoch(c, "proposed", x, chain_tool_done("propose", &r));
    } else if (pending.epoch != x->e.epoch ||
               memcmp(pending.root, x->e.root, CHAIN_HASH_BYTES) != 0) {
        st = emac_fail(&c->err, EMAC_CONFLICT,
                       "another root than ours is proposed as epoch %llu: challenge it",
                       (unsigned long long)pending.epoch);
    } else if (pending.resolve_by_s > 0 || latest.time_s < pending.ready_s) {
        say_epoch(c, pending.resolve_by_s > 0 ? "challenged" : "proposed", x,
                  json_pack("{s:I}", "ready_s", (json_int_t)pending.ready_s));
    } else {
        EMAC_TRY(st, chain_finalize(&t->sender, &t->cfg, x->e.epoch, &r, &c->err));
        say_epoch(c, "final", x, chain_tool_done("finalize", &r));
    }
out:
    return st;
}

/* A withdrawal of more than the account has; *reduced counts those that were cut. What the contract
 * refuses (too late, or cancelled meanwhile) keeps no epoch from being settled, but is said. */
static enum emac_status reduce_short(struct chain_tool *t, json_t *o, uint32_t *reduced)
{
    struct cli *c = t->c;
    uint8_t account[CHAIN_ACCOUNT_BYTES], wallet[EVM_ADDRESS_BYTES];
    uint64_t has = 0, asked = 0;
    struct chain_receipt r;
    if (!crypto_did_key_parse(account, cli_str(o, "did")) ||
        !crypto_evm_address_parse(wallet, cli_str(o, "wallet")) ||
        !json_units(o, "debited_units", &has) || has > INT64_MAX)
        return emac_fail(&c->err, EMAC_CORRUPT, "the coordinator names no sound withdrawal");
    enum emac_status st =
        chain_read_withdrawal(t->sender.node, &t->cfg, account, wallet, &asked, &c->err);
    if (st != EMAC_OK || asked <= has)
        return st; /* it was reduced, and is not final yet */
    st = chain_reduce_withdrawal(&t->sender, &t->cfg, account, wallet, (int64_t)has, &r, &c->err);
    if (st == EMAC_FAILED) {
        LOG_W("chain", "cannot reduce the withdrawal of %s: %s", cli_str(o, "did"), c->err.text);
        return EMAC_OK;
    }
    if (st == EMAC_OK) {
        (*reduced)++;
        cli_say(c, "reduced a withdrawal of %s to what the account had", cli_str(o, "did"));
    }
    return st;
}

static enum emac_status reduce_shorts(struct chain_tool *t, uint32_t *reduced)
{
    json_t *o = NULL, *s;
    size_t i;
    enum emac_status st = cli_call(t->c, "GET", "/v1/chain", NULL, false, &o);
    json_array_foreach(json_object_get(o, "shorts"), i, s)
    {
        if (st == EMAC_OK)
            st = reduce_short(t, s, reduced);
    }
    json_decref(o);
    return st;
}

enum emac_status chain_tool_settle(struct chain_tool *t)
{
    struct cli *c = t->c;
    struct epoch_seen x = {0};
    json_t *o = NULL;
    uint32_t reduced = 0;
    enum emac_status st;
    EMAC_TRY(st, chain_tool_sender(t));
    EMAC_TRY(st, reduce_shorts(t, &reduced));
    st = cli_call(c, "POST", "/v1/chain/settle", json_object(), true, &o);
    if (st == EMAC_PAYMENT) {
        cli_say(c, "nothing to settle: %s", c->err.text);
        cli_result(c, json_pack("{s:s, s:I}", "state", "nothing", "reduced", (json_int_t)reduced));
        st = EMAC_OK;
        goto out;
    }
    if (st == EMAC_OK)
        st = epoch_fetch(t, (uint64_t)cli_num(o, "epoch"), &x);
    if (st == EMAC_OK)
        st = epoch_advance(t, &x);
out:
    json_decref(o);
    epoch_release(&x);
    return st;
}

static const struct chain_leaf *leaf_find(const struct epoch_seen *x,
                                          const uint8_t account[CHAIN_ACCOUNT_BYTES])
{
    for (size_t i = 0; i < x->count; i++) {
        if (memcmp(x->leaf[i].account, account, CHAIN_ACCOUNT_BYTES) == 0)
            return &x->leaf[i];
    }
    return NULL;
}

static enum emac_status claim_leaf(struct chain_tool *t, const struct epoch_seen *x)
{
    struct cli *c = t->c;
    const struct chain_leaf *leaf = leaf_find(x, t->account_key);
    uint8_t proof[CHAIN_PROOF_MAX][CHAIN_HASH_BYTES];
    struct chain_receipt r;
    size_t count = 0;
    uint64_t before = 0;
    char paid[32], wallet[EVM_ADDRESS_MAX];
    enum emac_status st;
    if (leaf == NULL)
        return emac_fail(&c->err, EMAC_NOT_FOUND,
                         "'%s' is not among those that epoch %llu pays: bind a wallet to it, and "
                         "wait for the next epoch",
                         t->account_did, (unsigned long long)x->e.epoch);
    EMAC_TRY(st, chain_read_claimed(t->sender.node, &t->cfg, leaf->account, &before, &c->err));
    if (before >= leaf->cumulative) {
        cli_say(c, "everything of %s was claimed before", t->account_did);
        cli_result(c, json_pack("{s:s, s:s}", "claimed_units", "0", "did", t->account_did));
        return EMAC_OK;
    }
    EMAC_TRY(st, chain_tree_proof(&x->tree, leaf, proof, &count, &c->err));
    EMAC_TRY(st, chain_claim(&t->sender, &t->cfg, leaf, proof, count, &r, &c->err));
    ledger_amount_text(paid, (int64_t)(leaf->cumulative - before));
    crypto_evm_address_text(wallet, leaf->wallet);
    cli_say(c, "%s EMAC of %s were paid to %s", paid, t->account_did, wallet);
    json_t *o = chain_tool_done("claim", &r);
    json_object_set_new(o, "did", json_string(t->account_did));
    json_object_set_new(o, "wallet", json_string(wallet));
    json_object_set_new(o, "claimed_units",
                        json_sprintf("%llu", (unsigned long long)(leaf->cumulative - before)));
    cli_result(c, o);
out:
    return st;
}

enum emac_status chain_tool_claim(struct chain_tool *t)
{
    struct cli *c = t->c;
    struct chain_active active;
    struct epoch_seen x = {0};
    enum emac_status st;
    EMAC_TRY(st, chain_tool_account(t));
    EMAC_TRY(st, chain_tool_sender(t));
    EMAC_TRY(st, chain_read_active(t->sender.node, &t->cfg, &active, &c->err));
    if (active.epoch == 0)
        return emac_fail(&c->err, EMAC_NOT_FOUND,
                         "no epoch is final yet: there is nothing to "
                         "claim");
    EMAC_TRY(st, epoch_fetch(t, active.epoch, &x));
    if (memcmp(x.e.root, active.root, CHAIN_HASH_BYTES) != 0)
        st = emac_fail(&c->err, EMAC_CORRUPT,
                       "the coordinator's epoch %llu is not the one on the chain",
                       (unsigned long long)active.epoch);
    if (st == EMAC_OK)
        st = claim_leaf(t, &x);
out:
    epoch_release(&x);
    return st;
}
