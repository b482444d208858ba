#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <jansson.h>
#include <string.h>

#include "base/assert.h"
#include "base/embed.h"
#include "base/hex.h"
#include "chain/amount.h"
#include "chain/contracts.h"
#include "chain/tx.h"
#include "chain/registry.h"
#include "chain/typed.h"
#include "codec/abi.h"
#include "../evm_vectors.h"

extern const struct embedded EMBEDDED_CONTRACTS[];

static const char SECRET[] = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
static const char SENDER[] = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";

static void assert_bytes(const void *data, size_t n, const char *want)
{
    char text[4096];
    assert_true(2 * n < sizeof(text));
    emac_hex(text, data, n);
    assert_string_equal(text, want);
}

static void address(uint8_t out[EVM_ADDRESS_BYTES], const char *text)
{
    assert_true(crypto_evm_address_parse(out, text));
}

static struct chain_tx tx_of(const struct tx_vector *v, uint8_t *data)
{
    struct chain_tx tx = {.chain_id = v->chain_id, .nonce = v->nonce, .gas = v->gas};
    tx.tip = u256_from_u64(v->tip);
    tx.max_fee = u256_from_u64(v->max_fee);
    assert_true(u256_parse(v->value, &tx.value));
    tx.creates = v->to[0] == '\0';
    if (!tx.creates)
        address(tx.to, v->to);
    assert_true(emac_unhex(data, strlen(v->data) / 2, v->data));
    tx.data = EMAC_SLICE(data, strlen(v->data) / 2);
    return tx;
}

static void transactions(void **state)
{
    for (size_t i = 0; i < EMAC_COUNT(TX_VECTORS); i++) {
        const struct tx_vector *v = &TX_VECTORS[i];
        uint8_t secret[EVM_SECRET_BYTES], data[256], hash[KECCAK256_BYTES];
        uint8_t sender[EVM_ADDRESS_BYTES], want[EVM_ADDRESS_BYTES];
        struct chain_tx tx = tx_of(v, data), back;
        struct emac_buf raw;
        emac_buf_init(&raw, CHAIN_TX_MAX);
        assert_true(emac_unhex(secret, sizeof(secret), SECRET));
        assert_int_equal(chain_tx_sign(&tx, secret, &raw, hash, NULL), EMAC_OK);
        assert_bytes(hash, sizeof(hash), v->hash);
        assert_bytes(raw.data, raw.len, v->raw);
        assert_int_equal(chain_tx_read(emac_buf_slice(&raw), &back, sender, NULL), EMAC_OK);
        address(want, SENDER);
        assert_memory_equal(sender, want, sizeof(want));
        assert_int_equal(back.nonce, tx.nonce);
        assert_int_equal(back.gas, tx.gas);
        assert_true(back.creates == tx.creates && back.data.len == tx.data.len);
        assert_int_equal(u256_compare(&back.value, &tx.value), 0);
        emac_buf_release(&raw);
    }
}

/* Every byte is signed: a change of any makes it no transaction, or somebody else's. */
static void damaged_transactions(void **state)
{
    const char *hex = TX_VECTORS[1].raw;
    uint8_t raw[512], sender[EVM_ADDRESS_BYTES], want[EVM_ADDRESS_BYTES];
    size_t n = strlen(hex) / 2;
    struct chain_tx tx;
    address(want, SENDER);
    assert_true(emac_unhex(raw, n, hex));
    for (size_t bit = 0; bit < 8 * n; bit++) {
        raw[bit / 8] ^= (uint8_t)(1u << bit % 8);
        if (chain_tx_read(EMAC_SLICE(raw, n), &tx, sender, NULL) == EMAC_OK)
            assert_memory_not_equal(sender, want, sizeof(want));
        raw[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    for (size_t len = 0; len < n; len++)
        assert_int_equal(chain_tx_read(EMAC_SLICE(raw, len), &tx, sender, NULL), EMAC_CORRUPT);
}

/* keccak256(rlp([sender, nonce])): the first contracts of a well-known development account. */
static void created_addresses(void **state)
{
    static const char *const WANT[] = {"0x5FbDB2315678afecb367f032d93F642f64180aa3",
                                       "0xe7f1725E7734CE288F8367e1Bb143E90bb3F0512"};
    uint8_t creator[EVM_ADDRESS_BYTES], got[EVM_ADDRESS_BYTES];
    char text[EVM_ADDRESS_MAX];
    address(creator, SENDER);
    for (uint64_t nonce = 0; nonce < EMAC_COUNT(WANT); nonce++) {
        chain_create_address(got, creator, nonce);
        crypto_evm_address_text(text, got);
        assert_string_equal(text, WANT[nonce]);
    }
}

static void typed_data(void **state)
{
    struct chain_domain d = {.name = "EMAC Bindings", .chain_id = 314159};
    uint8_t account[32], to[EVM_ADDRESS_BYTES], other[EVM_ADDRESS_BYTES], got[KECCAK256_BYTES];
    struct u256 three = u256_from_u64(3), four = u256_from_u64(4), zero = u256_from_u64(0), value;
    memset(account, 0xac, sizeof(account));
    address(d.contract, "0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf");
    address(to, SENDER);
    address(other, "0x9d8A62f656a8d1615C1294fd71e9CFb3E4855A4F");
    chain_typed_bind(got, &d, account, to, &three, 1800000000);
    assert_bytes(got, sizeof(got), TYPED_VECTORS[0].digest);
    chain_typed_change(got, &d, account, to, other, &four, 1800000001);
    assert_bytes(got, sizeof(got), TYPED_VECTORS[1].digest);
    d.name = "EMAC";
    assert_true(u256_parse("100000000000000000000", &value));
    chain_typed_permit(got, &d, to, other, &value, &zero, 1800000002);
    assert_bytes(got, sizeof(got), TYPED_VECTORS[2].digest);
    uint8_t secret[EVM_SECRET_BYTES] = {[31] = 5}, sig[EVM_SIGNATURE_BYTES];
    chain_typed_sign(sig, got, secret);
    assert_true(sig[64] == 27 || sig[64] == 28);
}

static void motions(void **state)
{
    struct registry_grant g = {.bytes = UINT64_C(34359738368)};
    uint8_t got[KECCAK256_BYTES];
    memset(g.client, 0xac, sizeof(g.client));
    memset(g.evidence, 0x5e, sizeof(g.evidence));
    address(g.wallet, SENDER);
    assert_int_equal(registry_grant_id(&g, got, NULL), EMAC_OK);
    assert_bytes(got, sizeof(got), MOTION_VECTORS[0].id);
    assert_int_equal(registry_removal_id(g.client, g.evidence, got, NULL), EMAC_OK);
    assert_bytes(got, sizeof(got), MOTION_VECTORS[1].id);
}

/* ---- money ---- */

static void amounts(void **state)
{
    static const struct {
        const char *wei;
        enum emac_status st;
        int64_t units;
    } CASES[] = {
        {"0", EMAC_OK, 0},
        {"1000000000", EMAC_OK, 1},
        {"1000000000000000000", EMAC_OK, 1000000000},
        {"999999999", EMAC_INVALID, 0},
        {"1000000001", EMAC_INVALID, 0},
        {"9223372036854775807000000000", EMAC_OK, INT64_MAX},
        {"9223372036854775807000000001", EMAC_INVALID, 0},
        {"9223372036854775808000000000", EMAC_TOO_LARGE, 0},
        {"18446744073709551616000000000", EMAC_TOO_LARGE, 0},
        {"115792089237316195423570985008687907853269984665640564039457000000000000000000",
         EMAC_TOO_LARGE, 0},
    };
    for (size_t i = 0; i < EMAC_COUNT(CASES); i++) {
        struct u256 wei, back;
        int64_t units = 0;
        assert_true(u256_parse(CASES[i].wei, &wei));
        assert_int_equal(chain_units_from_wei(&wei, &units, NULL), CASES[i].st);
        assert_true(units == CASES[i].units);
        back = chain_wei_from_units(units);
        assert_int_equal(u256_compare(&back, &wei) == 0, CASES[i].st == EMAC_OK);
    }
}

/* ---- contracts ---- */

static bool in_table(const char *signature)
{
    char known[128];
    for (int i = 0; i < CHAIN_EVENT_KINDS; i++) {
        chain_event_signature(known, (enum chain_event_kind)i);
        if (strcmp(known, signature) == 0)
            return true;
    }
    return false;
}

/* Every event of the table is in the compiled contracts with the topic that we compute, and each of
 * their numbered events is in the table. */
static void events_are_the_contracts(void **state)
{
    static const char *const READ[] = {"EmacVault", "EmacBindings", "EmacPayouts", "EmacDataCap"};
    int found = 0;
    for (size_t k = 0; k < EMAC_COUNT(READ); k++) {
        const struct embedded *e = EMBEDDED_CONTRACTS;
        while (e->name != NULL && strcmp(e->name, READ[k]) != 0)
            e++;
        assert_non_null(e->name);
        json_t *o = json_loads(e->text, 0, NULL), *topic, *item, *input;
        const char *signature;
        json_object_foreach(json_object_get(o, "topics"), signature, topic)
        {
            uint8_t want[KECCAK256_BYTES];
            if (!in_table(signature))
                continue;
            found++;
            abi_topic(want, signature);
            assert_bytes(want, sizeof(want), json_string_value(topic) + 2);
        }
        size_t i;
        json_array_foreach(json_object_get(o, "abi"), i, item)
        {
            input = json_array_get(json_object_get(item, "inputs"), 0);
            const char *first = json_string_value(json_object_get(input, "name"));
            if (strcmp(json_string_value(json_object_get(item, "type")), "event") != 0 ||
                first == NULL || strcmp(first, "seq") != 0)
                continue;
            bool listed = false;
            for (int r = 0; r < CHAIN_EVENT_KINDS; r++)
                listed = listed || strcmp(chain_event_name((enum chain_event_kind)r),
                                          json_string_value(json_object_get(item, "name"))) == 0;
            assert_true(listed);
        }
        json_decref(o);
    }
    assert_int_equal(found, CHAIN_EVENT_KINDS);
}

static void codes_and_errors(void **state)
{
    struct emac_buf code;
    char name[CHAIN_ERROR_NAME_MAX];
    emac_buf_init(&code, 64u << 10);
    assert_int_equal(chain_contract_code("EmacVault", &code, NULL), EMAC_OK);
    assert_true(code.len > 1000 && code.len < 49152); /* EIP-3860 */
    assert_int_equal(chain_contract_code("Other", &code, NULL), EMAC_NOT_FOUND);
    assert_true(chain_error_name(name, "0x16d7d9270000"));
    assert_string_equal(name, "NothingToClaim");
    assert_false(chain_error_name(name, "0x00000000"));
    assert_false(chain_error_name(name, "0x"));
    assert_false(chain_error_name(name, NULL));
    emac_buf_release(&code);
}

/* Claimed(seq, account, wallet | epoch, units, cumulative) field by field; then what is wrong. */
static void claimed_event(void **state)
{
    struct chain_log log = {.topic_count = 4, .block_number = 9, .index = 2};
    struct chain_event e;
    struct emac_buf data;
    uint8_t word[ABI_WORD] = {0};
    bool known;
    emac_buf_init(&data, 1024);
    assert_int_equal(abi_encode(&data, NULL, "nnn", UINT64_C(5), UINT64_C(60), UINT64_C(700)),
                     EMAC_OK);
    abi_topic(log.topic[0], "Claimed(uint64,bytes32,address,uint64,uint64,uint64)");
    word[31] = 3;
    memcpy(log.topic[1], word, ABI_WORD);
    memset(log.topic[2], 0xcc, ABI_WORD);
    memset(log.topic[3] + 12, 0xdd, EVM_ADDRESS_BYTES);
    log.data = data.data;
    log.data_len = data.len;
    assert_int_equal(chain_event_read(&log, CHAIN_PAYOUTS, &e, &known, NULL), EMAC_OK);
    assert_true(known && e.kind == CHAIN_EVENT_Claimed && e.seq == 3);
    assert_true(e.epoch == 5 && e.units == 60 && e.total == 700);
    assert_true(e.account[0] == 0xcc && e.wallet[19] == 0xdd && e.block_number == 9);
    assert_int_equal(chain_event_read(&log, CHAIN_VAULT, &e, &known, NULL), EMAC_OK);
    assert_false(known); /* of another contract */
    log.topic[3][0] = 1; /* dirty address */
    assert_int_equal(chain_event_read(&log, CHAIN_PAYOUTS, &e, &known, NULL), EMAC_CORRUPT);
    log.topic[3][0] = 0;
    log.topic_count = 3;
    assert_int_equal(chain_event_read(&log, CHAIN_PAYOUTS, &e, &known, NULL), EMAC_CORRUPT);
    log.topic_count = 0;
    assert_int_equal(chain_event_read(&log, CHAIN_PAYOUTS, &e, &known, NULL), EMAC_OK);
    assert_false(known);
    emac_buf_release(&data);
}

/* Granted(seq, id, client | wallet, size, evidence, expiresAt) and Spent(seq, id, deal | client,
 * size, left): each word where the book looks for it. */
static void datacap_events(void **state)
{
    struct chain_log log = {.topic_count = 4, .block_number = 9, .index = 2};
    struct chain_event e;
    struct emac_buf data;
    uint8_t wallet[EVM_ADDRESS_BYTES] = {7}, evidence[ABI_WORD] = {8}, client[ABI_WORD] = {9};
    bool known;
    emac_buf_init(&data, 1024);
    memset(log.topic[1], 0, ABI_WORD);
    log.topic[1][ABI_WORD - 1] = 4;
    memset(log.topic[2], 0xaa, ABI_WORD);
    memset(log.topic[3], 0xbb, ABI_WORD);
    assert_int_equal(abi_encode(&data, NULL, "anbn", wallet, UINT64_C(50), evidence, UINT64_C(600)),
                     EMAC_OK);
    abi_topic(log.topic[0], "Granted(uint64,bytes32,bytes32,address,uint64,bytes32,uint64)");
    log.data = data.data;
    log.data_len = data.len;
    assert_int_equal(chain_event_read(&log, CHAIN_DATACAP, &e, &known, NULL), EMAC_OK);
    assert_true(known && e.kind == CHAIN_EVENT_Granted && e.contract == CHAIN_DATACAP);
    assert_true(e.seq == 4 && e.root[0] == 0xaa && e.account[0] == 0xbb);
    assert_true(e.units == 50 && e.time_s == 600 && e.wallet[0] == 7);
    data.len = 0;
    assert_int_equal(abi_encode(&data, NULL, "bnn", client, UINT64_C(5), UINT64_C(45)), EMAC_OK);
    abi_topic(log.topic[0], "Spent(uint64,bytes32,bytes32,bytes32,uint64,uint64)");
    log.data_len = data.len;
    assert_int_equal(chain_event_read(&log, CHAIN_DATACAP, &e, &known, NULL), EMAC_OK);
    assert_true(known && e.kind == CHAIN_EVENT_Spent && e.root[0] == 0xaa);
    assert_true(e.digest[0] == 0xbb && e.account[0] == 9 && e.units == 5 && e.total == 45);
    emac_buf_release(&data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(transactions),
        cmocka_unit_test(damaged_transactions),
        cmocka_unit_test(created_addresses),
        cmocka_unit_test(typed_data),
        cmocka_unit_test(motions),
        cmocka_unit_test(amounts),
        cmocka_unit_test(events_are_the_contracts),
        cmocka_unit_test(codes_and_errors),
        cmocka_unit_test(claimed_event),
        cmocka_unit_test(datacap_events),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
