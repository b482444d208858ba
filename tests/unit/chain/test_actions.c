#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

/* What the actions call: each call is one that the compiled contract knows, with the arguments that
 * were meant. The scripted node takes every transaction into a block at once. */
#include "bookfixture.h"

#include "base/embed.h"
#include "base/hex.h"
#include "chain/actions.h"
#include "chain/registry.h"
#include "chain/typed.h"
#include "codec/abi.h"
#include "stumble.h"

extern const struct embedded EMBEDDED_CONTRACTS[];

#define CHAIN_ID  314159
#define CALLS_MAX 32
#define NOW_S     1800000000

struct called {
    bool creates;
    uint8_t to[EVM_ADDRESS_BYTES];
    uint8_t data[64 << 10];
    size_t n;
    uint8_t hash[CHAIN_HASH_BYTES];
};

struct script {
    struct chain_node node;
    struct os os;
    struct chain_sender sender;
    struct chain_config cfg;
    struct called call[CALLS_MAX];
    size_t calls;
    const char *other_address; /* the node lies about a creation */
    bool nothing;              /* every word of an answer is zero */
    uint64_t nonsense;         /* or this */
    uint64_t now_ms;
};

/* Only sleeping takes time. */
static uint64_t script_time(struct os *os)
{
    return ((struct script *)os->ctx)->now_ms * 1000000;
}

static void script_sleep(struct os *os, uint32_t ms)
{
    ((struct script *)os->ctx)->now_ms += ms;
}

/* ---- the contracts' words ---- */

static const struct embedded *contract_file(const char *name)
{
    for (const struct embedded *e = EMBEDDED_CONTRACTS; e->name != NULL; e++) {
        if (strcmp(e->name, name) == 0)
            return e;
    }
    fail_msg("no contract '%s'", name);
    return NULL;
}

/* The signature that the contract gives to these 4 bytes. */
static void signature_of(char out[160], const char *contract, const uint8_t *selector)
{
    char text[11] = "0x";
    const char *signature;
    json_t *value, *o = json_loads(contract_file(contract)->text, 0, NULL);
    emac_hex(text + 2, selector, 4);
    out[0] = '\0';
    json_object_foreach(json_object_get(o, "selectors"), signature, value)
    {
        if (strcmp(json_string_value(value), text) == 0)
            snprintf(out, 160, "%s", signature);
    }
    json_decref(o);
}

static const char *contract_at(const struct script *s, const uint8_t *to)
{
    if (memcmp(to, s->cfg.token, EVM_ADDRESS_BYTES) == 0)
        return "EmacToken";
    static const char *const NAMES[] = {"EmacVault", "EmacBindings", "EmacPayouts", "EmacDataCap"};
    for (int i = 0; i < CHAIN_CONTRACTS; i++) {
        if (memcmp(to, s->cfg.address[i], EVM_ADDRESS_BYTES) == 0)
            return NAMES[i];
    }
    fail_msg("a call of an unknown contract");
    return NULL;
}

static void assert_called(const struct script *s, size_t i, const char *signature)
{
    char got[160];
    assert_true(i < s->calls);
    signature_of(got, contract_at(s, s->call[i].to), s->call[i].data);
    assert_string_equal(got, signature);
}

static struct emac_slice arguments(const struct script *s, size_t i)
{
    return EMAC_SLICE(s->call[i].data + 4, s->call[i].n - 4);
}

/* ---- the node ---- */

static json_t *words(const uint64_t *v, size_t n)
{
    uint8_t data[16 * ABI_WORD];
    for (size_t i = 0; i < n; i++) {
        struct u256 big = u256_from_u64(v[i]);
        u256_to_bytes(data + i * ABI_WORD, &big);
    }
    return chain_json_bytes(data, n * ABI_WORD);
}

/* What contracts answer, by the call's signature. */
static json_t *read_contract(struct script *s, json_t *tx)
{
    static const struct {
        const char *signature;
        uint64_t word[9];
        size_t n;
    } ANSWERS[] = {
        {"name()", {32, 4, UINT64_C(0)}, 3},
        {"nonces(address)", {6}, 1},
        {"nonceOf(bytes32,address)", {7}, 1},
        {"pool()", {100, 20, 3, 50, 9}, 5},
        {"active()", {4, 500, 77}, 3},
        {"pending()", {5, 600, 1000, 0, 0, 78, 1, 0, 0}, 9},
        {"claimed(bytes32)", {60}, 1},
        {"positionOf(bytes32,address)", {9, 8, 7, 6, 5, 4}, 6},
        {"balanceOf(address)", {12345}, 1},
        {"outcomeOf(bytes32)", {1}, 1},
        {"allowanceOf(bytes32)", {21, 22, 500, 300, 4000}, 5},
    };
    uint8_t to[EVM_ADDRESS_BYTES], selector[4];
    char signature[160], text[11];
    assert_true(chain_json_to_bytes(json_object_get(tx, "to"), to, sizeof(to)));
    snprintf(text, sizeof(text), "%.10s", json_string_value(json_object_get(tx, "data")));
    assert_true(emac_unhex(selector, sizeof(selector), text + 2));
    signature_of(signature, contract_at(s, to), selector);
    for (size_t i = 0; i < EMAC_COUNT(ANSWERS); i++) {
        if (strcmp(ANSWERS[i].signature, signature) != 0)
            continue;
        uint64_t word[EMAC_COUNT(ANSWERS[i].word)];
        for (size_t k = 0; k < EMAC_COUNT(word); k++)
            word[k] = s->nothing ? 0 : s->nonsense ? s->nonsense : ANSWERS[i].word[k];
        json_t *answer = words(word, ANSWERS[i].n);
        if (i > 0)
            return answer;
        json_decref(answer); /* the name is text, at the left of its word */
        uint8_t data[3 * ABI_WORD] = {[31] = 32, [63] = 4, [64] = 'E', 'M', 'A', 'C'};
        return chain_json_bytes(data, sizeof(data));
    }
    fail_msg("nobody answers '%s'", signature);
    return NULL;
}

static json_t *take_raw(struct script *s, json_t *text)
{
    static uint8_t raw[CHAIN_TX_MAX];
    size_t n = (strlen(json_string_value(text)) - 2) / 2;
    struct called *c = &s->call[s->calls];
    struct chain_tx tx;
    uint8_t sender[EVM_ADDRESS_BYTES];
    assert_true(s->calls < CALLS_MAX && n <= sizeof(raw));
    assert_true(chain_json_to_bytes(text, raw, n));
    OK(chain_tx_read(EMAC_SLICE(raw, n), &tx, sender, NULL));
    assert_memory_equal(sender, s->sender.address, sizeof(sender));
    assert_int_equal(tx.chain_id, CHAIN_ID);
    assert_int_equal(tx.nonce, s->calls);
    assert_true(tx.data.len <= sizeof(c->data));
    c->creates = tx.creates;
    memcpy(c->to, tx.to, sizeof(c->to));
    memcpy(c->data, tx.data.data, tx.data.len);
    c->n = tx.data.len;
    crypto_keccak256(c->hash, raw, n);
    s->calls++;
    return chain_json_bytes(c->hash, sizeof(c->hash));
}

static json_t *receipt(struct script *s, json_t *hash)
{
    uint8_t want[CHAIN_HASH_BYTES], at[EVM_ADDRESS_BYTES];
    assert_true(chain_json_to_bytes(hash, want, sizeof(want)));
    size_t i = 0;
    while (i < s->calls && memcmp(s->call[i].hash, want, sizeof(want)) != 0)
        i++;
    if (i == s->calls)
        return json_null();
    json_t *o = json_pack("{s:O, s:s, s:s, s:s, s:o}", "transactionHash", hash, "status", "0x1",
                          "blockNumber", "0x9", "gasUsed", "0x5208", "blockHash",
                          chain_json_bytes(want, sizeof(want)));
    chain_create_address(at, s->sender.address, i);
    if (s->call[i].creates)
        json_object_set_new(o, "contractAddress",
                            s->other_address ? json_string(s->other_address)
                                             : chain_json_bytes(at, sizeof(at)));
    return o;
}

static bool known(const struct script *s, json_t *hash)
{
    uint8_t want[CHAIN_HASH_BYTES];
    bool found = false;
    assert_true(chain_json_to_bytes(hash, want, sizeof(want)));
    for (size_t i = 0; i < s->calls; i++)
        found = found || memcmp(s->call[i].hash, want, sizeof(want)) == 0;
    return found;
}

static enum emac_status script_call(struct chain_node *node, const char *method, json_t *params,
                                    json_t **result, struct emac_err *err)
{
    struct script *s = (struct script *)(void *)node;
    json_t *first = json_array_get(params, 0);
    uint8_t hash[CHAIN_HASH_BYTES] = {5};
    if (strcmp(method, "eth_call") == 0)
        *result = read_contract(s, first);
    else if (strcmp(method, "eth_sendRawTransaction") == 0)
        *result = take_raw(s, first);
    else if (strcmp(method, "eth_getTransactionReceipt") == 0)
        *result = receipt(s, first);
    else if (strcmp(method, "eth_getTransactionByHash") == 0)
        *result = known(s, first) ? json_object() : json_null();
    else if (strcmp(method, "eth_getTransactionCount") == 0)
        *result = chain_json_quantity(s->calls);
    else if (strcmp(method, "eth_getBlockByNumber") == 0)
        *result = json_pack("{s:s, s:o, s:o, s:o}", "number", "0x9", "timestamp",
                            chain_json_quantity(NOW_S), "hash", chain_json_bytes(hash, 32),
                            "parentHash", chain_json_bytes(hash, 32));
    else
        *result = json_string("0x7530"); /* gas, tips */
    json_decref(params);
    return EMAC_OK;
}

static int setup(void **state)
{
    struct script *s = calloc(1, sizeof(*s));
    assert_non_null(s);
    s->node = (struct chain_node){.name = "script", .call = script_call};
    s->os = (struct os){.ctx = s, .mono_ns = script_time, .sleep_ms = script_sleep};
    s->sender = (struct chain_sender){
        .os = &s->os, .node = &s->node, .chain_id = CHAIN_ID, .secret = {[31] = 3}, .confirm = 1};
    crypto_evm_address(s->sender.address, s->sender.secret);
    s->cfg.chain_id = CHAIN_ID;
    for (int i = 0; i < CHAIN_CONTRACTS; i++)
        memset(s->cfg.address[i], 0xa0 + i, EVM_ADDRESS_BYTES);
    memset(s->cfg.token, 0xb0, EVM_ADDRESS_BYTES);
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    free(*state);
    return 0;
}

/* ---- tests ---- */

static void money_in(void **state)
{
    struct script *s = *state;
    struct chain_domain d = {.name = "EMAC", .chain_id = CHAIN_ID};
    struct chain_receipt r;
    struct u256 wei, nonce = u256_from_u64(6);
    uint8_t account[32], got[32], sig[EVM_SIGNATURE_BYTES], digest[32], who[EVM_ADDRESS_BYTES];
    uint64_t units, until, v;
    memset(account, 0xcc, sizeof(account));
    OK(chain_deposit(&s->sender, &s->cfg, account, 12, &r, NULL));
    assert_called(s, 0, "depositWithPermit(bytes32,uint64,uint256,uint8,bytes32,bytes32)");
    OK(abi_decode(arguments(s, 0), NULL, "bnnnbb", got, &units, &until, &v, sig, sig + 32));
    assert_memory_equal(got, account, sizeof(got));
    assert_int_equal(units, 12);
    assert_int_equal(until, NOW_S + CHAIN_SIGNED_FOR_S);
    wei = u256_from_u64(UINT64_C(12000000000));
    memcpy(d.contract, s->cfg.token, EVM_ADDRESS_BYTES);
    chain_typed_permit(digest, &d, s->sender.address, s->cfg.address[CHAIN_VAULT], &wei, &nonce,
                       until);
    assert_true(v == 27 || v == 28);
    sig[64] = (uint8_t)(v - 27);
    assert_true(crypto_evm_recover(who, sig, digest));
    assert_memory_equal(who, s->sender.address, sizeof(who));
}

static void binding(void **state)
{
    struct script *s = *state;
    struct chain_domain d = {.name = "EMAC Bindings", .chain_id = CHAIN_ID};
    struct chain_receipt r;
    struct u256 nonce = u256_from_u64(7);
    struct emac_slice ours, theirs;
    uint8_t key[32], secret[64], seed[32] = {9}, account[32], wallet[EVM_ADDRESS_BYTES], digest[32];
    uint64_t until;
    crypto_ed25519_keypair(key, secret, seed);
    OK(chain_bind(&s->sender, &s->cfg, key, secret, &r, NULL));
    assert_called(s, 0, "bind(bytes32,address,uint256,bytes,bytes)");
    OK(abi_decode(arguments(s, 0), NULL, "banBB", account, wallet, &until, &ours, &theirs));
    assert_memory_equal(account, key, sizeof(key));
    assert_memory_equal(wallet, s->sender.address, sizeof(wallet));
    memcpy(d.contract, s->cfg.address[CHAIN_BINDINGS], EVM_ADDRESS_BYTES);
    chain_typed_bind(digest, &d, key, wallet, &nonce, until);
    assert_int_equal(theirs.len, ED25519_SIGNATURE_BYTES);
    assert_true(crypto_ed25519_verify(theirs.data, digest, sizeof(digest), key));
    assert_int_equal(ours.len, EVM_SIGNATURE_BYTES);
    assert_true(ours.data[64] == 27 || ours.data[64] == 28);
}

static void other_calls(void **state)
{
    struct script *s = *state;
    struct chain_receipt r;
    struct chain_epoch e = {.epoch = 3, .total = 70, .root = {1}, .list = {2}, .journal = {3}};
    struct chain_leaf leaf = {.account = {4}, .wallet = {5}, .cumulative = 6};
    uint8_t proof[CHAIN_PROOF_MAX][CHAIN_HASH_BYTES] = {{7}, {8}}, root[32], list[32], journal[32];
    uint8_t account[32], wallet[EVM_ADDRESS_BYTES];
    struct emac_slice siblings;
    uint64_t epoch, total;
    OK(chain_request_withdrawal(&s->sender, &s->cfg, leaf.account, 5, &r, NULL));
    OK(chain_withdraw(&s->sender, &s->cfg, leaf.account, &r, NULL));
    OK(chain_reduce_withdrawal(&s->sender, &s->cfg, leaf.account, leaf.wallet, 2, &r, NULL));
    OK(chain_propose(&s->sender, &s->cfg, &e, &r, NULL));
    OK(chain_finalize(&s->sender, &s->cfg, 3, &r, NULL));
    OK(chain_claim(&s->sender, &s->cfg, &leaf, proof, 2, &r, NULL));
    assert_called(s, 0, "requestWithdrawal(bytes32,uint64)");
    assert_called(s, 1, "withdraw(bytes32,address)");
    assert_called(s, 2, "reduceWithdrawal(bytes32,address,uint64,bytes32)");
    assert_called(s, 3, "propose(uint64,bytes32,uint64,bytes32,bytes32)");
    assert_called(s, 4, "finalize(uint64)");
    assert_called(s, 5, "claim(bytes32,address,uint64,bytes32[])");
    OK(abi_decode(arguments(s, 3), NULL, "nbnbb", &epoch, root, &total, list, journal));
    assert_true(epoch == 3 && total == 70 && root[0] == 1 && list[0] == 2 && journal[0] == 3);
    OK(abi_decode(arguments(s, 5), NULL, "banA", account, wallet, &total, &siblings));
    assert_true(account[0] == 4 && wallet[0] == 5 && total == 6);
    assert_int_equal(siblings.len, 2 * CHAIN_HASH_BYTES);
    assert_true(siblings.data[0] == 7 && siblings.data[CHAIN_HASH_BYTES] == 8);
}

static void registry_calls(void **state)
{
    struct script *s = *state;
    struct chain_receipt r;
    struct registry_grant g = {.client = {4}, .wallet = {5}, .bytes = 600, .evidence = {6}};
    uint8_t got[32], wallet[EVM_ADDRESS_BYTES], evidence[32], role[32];
    uint64_t bytes;
    bool approve;
    OK(registry_notary(&s->sender, &s->cfg, g.wallet, true, &r, NULL));
    OK(registry_notary(&s->sender, &s->cfg, g.wallet, false, &r, NULL));
    OK(registry_vote_grant(&s->sender, &s->cfg, &g, true, &r, NULL));
    OK(registry_vote_removal(&s->sender, &s->cfg, g.client, g.evidence, false, &r, NULL));
    OK(registry_spend(&s->sender, &s->cfg, g.client, 60, g.evidence, &r, NULL));
    assert_called(s, 0, "grantRole(bytes32,address)");
    assert_called(s, 1, "revokeRole(bytes32,address)");
    assert_called(s, 2, "voteGrant(bytes32,address,uint64,bytes32,bool)");
    assert_called(s, 3, "voteRemoval(bytes32,bytes32,bool)");
    assert_called(s, 4, "spend(bytes32,uint64,bytes32)");
    for (size_t i = 0; i < s->calls; i++)
        assert_memory_equal(s->call[i].to, s->cfg.address[CHAIN_DATACAP], EVM_ADDRESS_BYTES);
    OK(abi_decode(arguments(s, 0), NULL, "ba", got, wallet));
    abi_topic(role, "NOTARY_ROLE");
    assert_memory_equal(got, role, sizeof(got));
    assert_int_equal(wallet[0], 5);
    OK(abi_decode(arguments(s, 2), NULL, "banbo", got, wallet, &bytes, evidence, &approve));
    assert_true(got[0] == 4 && wallet[0] == 5 && bytes == 600 && evidence[0] == 6 && approve);
    OK(abi_decode(arguments(s, 3), NULL, "bbo", got, evidence, &approve));
    assert_true(got[0] == 4 && evidence[0] == 6 && !approve);
    OK(abi_decode(arguments(s, 4), NULL, "bnb", got, &bytes, evidence));
    assert_true(got[0] == 4 && bytes == 60 && evidence[0] == 6);
}

static void registry_looked_up(void **state)
{
    struct script *s = *state;
    struct registry_allowance a;
    struct emac_err err;
    enum registry_outcome o;
    uint8_t id[CHAIN_HASH_BYTES] = {1};
    OK(registry_outcome(&s->node, &s->cfg, id, &o, NULL));
    assert_string_equal(registry_outcome_name(o), "passed");
    OK(registry_allowance(&s->node, &s->cfg, id, &a, NULL));
    assert_true(a.client[31] == 21 && a.wallet[19] == 22 && a.granted == 500 && a.left == 300 &&
                a.expires_s == 4000);
    s->nothing = true;
    OK(registry_outcome(&s->node, &s->cfg, id, &o, NULL));
    assert_int_equal(o, REGISTRY_OPEN);
    assert_int_equal(registry_allowance(&s->node, &s->cfg, id, &a, &err), EMAC_NOT_FOUND);
    assert_non_null(strstr(err.text, "0x01"));
    s->nothing = false;
    s->nonsense = 3; /* an outcome that there is not */
    assert_int_equal(registry_outcome(&s->node, &s->cfg, id, &o, &err), EMAC_CORRUPT);
    assert_int_equal(o, REGISTRY_OPEN);
}

static void looked_up(void **state)
{
    struct script *s = *state;
    struct chain_pool p;
    struct chain_active a;
    struct chain_proposal q;
    struct u256 wei;
    uint64_t units;
    OK(chain_read_pool(&s->node, &s->cfg, &p, NULL));
    assert_true(p.funded == 100 && p.paid == 20 && p.withdrawn == 3 && p.reserved == 50 &&
                p.bonded == 9);
    OK(chain_read_active(&s->node, &s->cfg, &a, NULL));
    assert_true(a.epoch == 4 && a.total == 500 && a.root[31] == 77);
    OK(chain_read_pending(&s->node, &s->cfg, &q, NULL));
    assert_true(q.epoch == 5 && q.total == 600 && q.ready_s == 1000 && q.root[31] == 78);
    OK(chain_read_claimed(&s->node, &s->cfg, s->cfg.start.hash, &units, NULL));
    assert_int_equal(units, 60);
    OK(chain_read_withdrawal(&s->node, &s->cfg, s->cfg.start.hash, s->cfg.token, &units, NULL));
    assert_int_equal(units, 8);
    OK(chain_read_token(&s->node, &s->cfg, s->sender.address, &wei, NULL));
    assert_true(u256_to_u64(&wei, &units) && units == 12345);
}

static void deployed(void **state)
{
    struct script *s = *state;
    struct chain_config out = {0};
    struct emac_buf code;
    uint8_t want[EVM_ADDRESS_BYTES];
    uint64_t window;
    const uint8_t notary[2][EVM_ADDRESS_BYTES] = {{1}, {2}};
    const struct chain_terms terms = {.token_name = "EMAC",
                                      .token_symbol = "EMAC",
                                      .supply_units = 5,
                                      .withdraw_delay_s = 3600,
                                      .unbond_delay_s = 7200,
                                      .slash_delay_s = 3600,
                                      .change_delay_s = 3600,
                                      .window_s = 4000,
                                      .resolve_window_s = 3600,
                                      .challenge_stake_units = 1,
                                      .epoch_cap_units = 2,
                                      .notaries_quorum = 2,
                                      .datacap_lifetime_s = 9999,
                                      .notary = notary,
                                      .notary_count = 2};
    OK(chain_deploy(&s->sender, &terms, &out, NULL, NULL, NULL));
    assert_int_equal(s->calls, 13); /* 6 contracts, the wiring, 4 roles, 2 notaries */
    assert_int_equal(out.start.number, 9);
    assert_int_equal(out.start.hash[0], 5);
    chain_create_address(want, s->sender.address, 1);
    assert_memory_equal(out.address[CHAIN_VAULT], want, sizeof(want));
    /* The payouts' arguments follow their code. */
    uint8_t vault[EVM_ADDRESS_BYTES], bindings[EVM_ADDRESS_BYTES], admin[EVM_ADDRESS_BYTES];
    uint64_t resolve, stake, cap;
    emac_buf_init(&code, sizeof(s->call[3].data));
    OK(chain_contract_code("EmacPayouts", &code, NULL));
    assert_memory_equal(s->call[3].data, code.data, code.len);
    OK(abi_decode(EMAC_SLICE(s->call[3].data + code.len, s->call[3].n - code.len), NULL, "aaannnn",
                  vault, bindings, admin, &window, &resolve, &stake, &cap));
    assert_memory_equal(vault, want, sizeof(want));
    assert_memory_equal(admin, s->sender.address, sizeof(admin));
    assert_true(window == 4000 && resolve == 3600 && stake == 1 && cap == 2);
    emac_buf_release(&code);
    s->cfg = out;
    assert_called(s, 6, "setPayouts(address)");
    for (size_t i = 7; i < 13; i++)
        assert_called(s, i, "grantRole(bytes32,address)");
    for (size_t i = 11; i < 13; i++)
        assert_memory_equal(s->call[i].to, out.address[CHAIN_DATACAP], EVM_ADDRESS_BYTES);
}

/* A node that names another address for a contract could send deposits anywhere. */
static void deployed_elsewhere(void **state)
{
    struct script *s = *state;
    struct chain_config out = {0};
    struct emac_err err;
    const struct chain_terms terms = {.has_token = true, .token = {1}};
    s->other_address = "0x00000000000000000000000000000000000000ff";
    assert_int_equal(chain_deploy(&s->sender, &terms, &out, NULL, NULL, &err), EMAC_CORRUPT);
    assert_non_null(strstr(err.text, "another address"));
}

/* ---- a node that stumbles ---- */

static enum emac_status course(struct script *s, int which, struct emac_err *err)
{
    struct chain_config out = {0};
    struct chain_receipt r;
    struct chain_leaf leaf = {.cumulative = 1};
    uint8_t secret[64], key[32], seed[32] = {1}, proof[CHAIN_PROOF_MAX][CHAIN_HASH_BYTES] = {{0}};
    const struct chain_terms terms = {.token_name = "T", .token_symbol = "T", .arbiter = secret};
    struct chain_pool p;
    struct chain_proposal q;
    struct registry_grant g = {.bytes = 1};
    struct registry_allowance a;
    enum registry_outcome o;
    struct u256 wei;
    uint64_t units;
    crypto_ed25519_keypair(key, secret, seed);
    switch (which) {
    case 0:
        return chain_deploy(&s->sender, &terms, &out, NULL, NULL, err);
    case 1:
        return chain_deposit(&s->sender, &s->cfg, key, 5, &r, err);
    case 2:
        return chain_bind(&s->sender, &s->cfg, key, secret, &r, err);
    case 3:
        return chain_claim(&s->sender, &s->cfg, &leaf, proof, 0, &r, err);
    case 4:
        return chain_read_pool(s->sender.node, &s->cfg, &p, err);
    case 5:
        return chain_read_pending(s->sender.node, &s->cfg, &q, err);
    case 6:
        return chain_read_token(s->sender.node, &s->cfg, key, &wei, err);
    case 7:
        return registry_vote_grant(&s->sender, &s->cfg, &g, true, &r, err);
    case 8:
        return registry_outcome(s->sender.node, &s->cfg, key, &o, err);
    case 9:
        return registry_allowance(s->sender.node, &s->cfg, key, &a, err);
    default:
        return chain_read_claimed(s->sender.node, &s->cfg, key, &units, err);
    }
}

/* Whatever question fails, the action ends well or with a sentence, and nothing is sent twice. */
static void stumbling(void **state)
{
    for (int which = 0; which < 11; which++) {
        for (unsigned after = 0; after < 400; after++) {
            struct script *s;
            struct stumble node;
            struct emac_err err = {0};
            void *fresh;
            setup(&fresh);
            s = fresh;
            stumble_init(&node, &s->node, after / 2, after % 2);
            s->sender.node = &node.node;
            enum emac_status st = course(s, which, &err);
            assert_true(st == EMAC_OK || strlen(err.text) > 10);
            for (size_t i = 1; i < s->calls; i++)
                assert_memory_not_equal(s->call[i].hash, s->call[i - 1].hash, CHAIN_HASH_BYTES);
            bool through = !node.stumbled;
            assert_true(!through || st == EMAC_OK);
            teardown(&fresh);
            if (through)
                break;
            assert_true(after < 399);
        }
    }
}

static void configuration(void **state)
{
    struct script *s = *state;
    struct chain_config back;
    char dir[] = "/tmp/emac-test-config-XXXXXX", path[64];
    struct emac_err err;
    struct chain_nodes nodes;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/chain.json", dir);
    s->cfg.urls = 2;
    snprintf(s->cfg.url[0], CHAIN_RPC_URL_MAX, "http://one:1");
    snprintf(s->cfg.url[1], CHAIN_RPC_URL_MAX, "http://two:2");
    s->cfg.confirmations = 12;
    s->cfg.start.number = 77;
    s->cfg.start.hash[3] = 1;
    s->cfg.least_units = INT64_MAX;
    crypto_did_key(s->cfg.operator_did, s->cfg.start.hash);
    OK(chain_config_write(os_real(), path, &s->cfg, NULL));
    assert_int_equal(chain_config_write(os_real(), path, &s->cfg, &err), EMAC_CONFLICT);
    OK(chain_config_load(os_real(), path, &back, NULL));
    assert_memory_equal(&back, &s->cfg, sizeof(back));
    OK(chain_nodes_init(&nodes, &back, NULL, NULL));
    assert_int_equal(nodes.source.nodes, 2);
    assert_string_equal(nodes.source.node[1]->name, "http://two:2");
    snprintf(back.url[1], CHAIN_RPC_URL_MAX, "two");
    assert_int_equal(chain_nodes_init(&nodes, &back, NULL, NULL), EMAC_INVALID);
    unlink(path);
    rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(money_in, setup, teardown),
        cmocka_unit_test_setup_teardown(binding, setup, teardown),
        cmocka_unit_test_setup_teardown(other_calls, setup, teardown),
        cmocka_unit_test_setup_teardown(looked_up, setup, teardown),
        cmocka_unit_test_setup_teardown(registry_calls, setup, teardown),
        cmocka_unit_test_setup_teardown(registry_looked_up, setup, teardown),
        cmocka_unit_test_setup_teardown(deployed, setup, teardown),
        cmocka_unit_test_setup_teardown(deployed_elsewhere, setup, teardown),
        cmocka_unit_test(stumbling),
        cmocka_unit_test_setup_teardown(configuration, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
