/* A scripted chain: blocks with events of the vault, reorganisations, and nodes that look at it,
 * each honest, behind, or lying in one named way. Everything follows from the choices handed in. */
#ifndef EMAC_TEST_CHAIN_FAKECHAIN_H
#define EMAC_TEST_CHAIN_FAKECHAIN_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "chain/book.h"
#include "codec/abi.h"

#define FAKE_BLOCKS_MAX 2000
#define FAKE_EVENTS_MAX 3 /* a block */
#define FAKE_CHAIN_ID   314159
#define FAKE_ACCOUNTS   4

/* X(name, does one honest node beside the liar, or checking alone, catch it: 1 alone, 2 beside) */
#define FAKE_LIES(X)                                                                               \
    X(NONE, 0)                                                                                     \
    X(OTHER_ID, 1)                                                                                 \
    X(CURSOR_REWRITTEN, 1)                                                                         \
    X(PARENTS_ELSEWHERE, 1)                                                                        \
    X(WRONG_NUMBER, 1)                                                                             \
    X(LOG_OUT_OF_RANGE, 1)                                                                         \
    X(LOG_TWICE, 1)                                                                                \
    X(LOG_REMOVED, 1)                                                                              \
    X(LOG_OTHER_CONTRACT, 1)                                                                       \
    X(LOG_OTHER_BLOCK, 1)                                                                          \
    X(LOG_BAD_DATA, 1)                                                                             \
    X(LOG_DISORDER, 1)                                                                             \
    X(FIRST_LOG_WITHHELD, 1)                                                                       \
    X(LAST_LOG_WITHHELD, 2)                                                                        \
    X(LOG_OTHER_UNITS, 2)                                                                          \
    X(FINAL_TOO_HIGH, 2)                                                                           \
    X(REFUSES, 1)                                                                                  \
    X(SILENT, 1)                                                                                   \
    X(NONSENSE, 1)

enum fake_lie {
#define X(name, caught) FAKE_##name,
    FAKE_LIES(X)
#undef X
        FAKE_LIE_COUNT
};

struct fake_event {
    uint32_t account;
    uint64_t units, seq;
};

struct fake_block {
    uint64_t number;
    uint8_t hash[CHAIN_HASH_BYTES], parent[CHAIN_HASH_BYTES];
    size_t events;
    struct fake_event event[FAKE_EVENTS_MAX];
    uint64_t seq; /* last event's number, this block included */
};

struct fake_chain {
    struct fake_block block[FAKE_BLOCKS_MAX];
    size_t count;  /* blocks; numbers need not follow on each other */
    size_t final;  /* index of the last final block */
    uint64_t salt; /* makes every block another one */
    uint8_t address[CHAIN_CONTRACTS][EVM_ADDRESS_BYTES];
};

struct fake_node {
    struct chain_node node;
    struct fake_chain *chain;
    enum fake_lie lie;
    size_t behind; /* blocks that it has not seen yet */
};

static inline const struct fake_block *fake_top(const struct fake_chain *c)
{
    return &c->block[c->count - 1];
}

static inline void fake_account(uint8_t account[CHAIN_ACCOUNT_BYTES], uint32_t i)
{
    memset(account, (int)(0x40 + i), CHAIN_ACCOUNT_BYTES);
}

/* A block on top, `step` heights above. */
static inline struct fake_block *fake_mine(struct fake_chain *c, uint64_t step)
{
    EMAC_ASSERT(c->count < FAKE_BLOCKS_MAX);
    struct fake_block *b = &c->block[c->count];
    memset(b, 0, sizeof(*b));
    if (c->count > 0) {
        b->number = fake_top(c)->number + step;
        b->seq = fake_top(c)->seq;
        memcpy(b->parent, fake_top(c)->hash, CHAIN_HASH_BYTES);
    }
    uint8_t seed[16 + CHAIN_HASH_BYTES] = {0};
    c->salt++;
    memcpy(seed, &c->salt, 8);
    memcpy(seed + 8, &b->number, 8);
    memcpy(seed + 16, b->parent, CHAIN_HASH_BYTES);
    crypto_keccak256(b->hash, seed, sizeof(seed));
    c->count++;
    return b;
}

static inline void fake_deposit(struct fake_block *b, uint32_t account, uint64_t units)
{
    if (b->events < FAKE_EVENTS_MAX)
        b->event[b->events++] = (struct fake_event){account, units, ++b->seq};
}

static inline void fake_chain_init(struct fake_chain *c)
{
    memset(c, 0, sizeof(*c));
    for (int i = 0; i < CHAIN_CONTRACTS; i++)
        memset(c->address[i], 0xa0 + i, EVM_ADDRESS_BYTES);
    fake_mine(c, 1);
}

/* ---- JSON ---- */

static inline json_t *fake_block_json(const struct fake_block *b)
{
    return json_pack("{s:o, s:o, s:o, s:o, s:s}", "number", chain_json_quantity(b->number), "hash",
                     chain_json_bytes(b->hash, CHAIN_HASH_BYTES), "parentHash",
                     chain_json_bytes(b->parent, CHAIN_HASH_BYTES), "timestamp",
                     chain_json_quantity(1000 + b->number), "baseFeePerGas", "0x7");
}

static inline json_t *fake_word(uint64_t v)
{
    uint8_t word[ABI_WORD];
    struct u256 big = u256_from_u64(v);
    u256_to_bytes(word, &big);
    return chain_json_bytes(word, ABI_WORD);
}

static inline json_t *fake_log_json(const struct fake_chain *c, const struct fake_block *b,
                                    size_t i)
{
    uint8_t topic[CHAIN_HASH_BYTES], account[CHAIN_ACCOUNT_BYTES], tx[CHAIN_HASH_BYTES];
    const struct fake_event *e = &b->event[i];
    abi_topic(topic, "Deposited(uint64,bytes32,address,uint64)");
    fake_account(account, e->account);
    crypto_keccak256(tx, &e->seq, sizeof(e->seq));
    return json_pack("{s:o, s:[o,o,o,o], s:o, s:o, s:o, s:o, s:o, s:b}", "address",
                     chain_json_bytes(c->address[CHAIN_VAULT], EVM_ADDRESS_BYTES), "topics",
                     chain_json_bytes(topic, CHAIN_HASH_BYTES), fake_word(e->seq),
                     chain_json_bytes(account, CHAIN_ACCOUNT_BYTES), fake_word(7), "data",
                     fake_word(e->units), "blockNumber", chain_json_quantity(b->number),
                     "blockHash", chain_json_bytes(b->hash, CHAIN_HASH_BYTES), "transactionHash",
                     chain_json_bytes(tx, CHAIN_HASH_BYTES), "logIndex",
                     chain_json_quantity(10 * i), "removed", 0);
}

/* ---- what a node sees and says ---- */

static inline size_t fake_seen(const struct fake_node *n)
{
    return n->behind < n->chain->count ? n->chain->count - n->behind : 1;
}

static inline const struct fake_block *fake_by_number(const struct fake_node *n, uint64_t number)
{
    for (size_t i = 0; i < fake_seen(n); i++) {
        if (n->chain->block[i].number == number)
            return &n->chain->block[i];
    }
    return NULL;
}

static inline json_t *fake_get_block(struct fake_node *n, const char *tag)
{
    size_t seen = fake_seen(n);
    const struct fake_block *b;
    bool final = strcmp(tag, "finalized") == 0;
    if (final && n->lie != FAKE_FINAL_TOO_HIGH)
        b = &n->chain->block[n->chain->final < seen ? n->chain->final : seen - 1];
    else if (final || strcmp(tag, "latest") == 0)
        b = &n->chain->block[seen - 1];
    else
        b = fake_by_number(n, strtoull(tag + 2, NULL, 16));
    if (b == NULL)
        return json_null();
    json_t *o = fake_block_json(b);
    if (!final && n->lie == FAKE_CURSOR_REWRITTEN)
        json_object_set_new(o, "hash", fake_word(77));
    if (!final && n->lie == FAKE_WRONG_NUMBER)
        json_object_set_new(o, "number", chain_json_quantity(b->number + 1));
    return o;
}

static inline json_t *fake_get_by_hash(struct fake_node *n, json_t *hash)
{
    uint8_t want[CHAIN_HASH_BYTES];
    assert_true(chain_json_to_bytes(hash, want, sizeof(want)));
    for (size_t i = 0; i < fake_seen(n); i++) {
        const struct fake_block *b = &n->chain->block[i];
        if (memcmp(b->hash, want, sizeof(want)) != 0)
            continue;
        json_t *o = fake_block_json(b);
        if (n->lie == FAKE_PARENTS_ELSEWHERE)
            json_object_set_new(o, "parentHash", fake_word(78));
        return o;
    }
    return json_null();
}

/* The lie of this node, told about a list of logs. */
static inline void fake_twist(struct fake_node *n, json_t *list)
{
    size_t count = json_array_size(list);
    json_t *first = json_array_get(list, 0);
    if (count == 0)
        return;
    switch (n->lie) {
    case FAKE_LOG_OUT_OF_RANGE:
        json_object_set_new(first, "blockNumber", chain_json_quantity(1u << 30));
        break;
    case FAKE_LOG_TWICE:
        json_array_insert_new(list, 1, json_deep_copy(first));
        break;
    case FAKE_LOG_REMOVED:
        json_object_set_new(first, "removed", json_true());
        break;
    case FAKE_LOG_OTHER_CONTRACT:
        json_object_set_new(first, "address",
                            json_string("0x00000000000000000000000000000000000000ff"));
        break;
    case FAKE_LOG_OTHER_BLOCK:
        json_object_set_new(first, "blockHash", fake_word(79));
        break;
    case FAKE_LOG_BAD_DATA:
        json_object_set_new(first, "data", json_string("0x01"));
        break;
    case FAKE_LOG_DISORDER:
        json_array_append_new(list, json_deep_copy(first));
        break;
    case FAKE_FIRST_LOG_WITHHELD:
        if (count > 1)
            json_array_remove(list, 0);
        break;
    case FAKE_LAST_LOG_WITHHELD:
        json_array_remove(list, count - 1);
        break;
    case FAKE_LOG_OTHER_UNITS:
        json_object_set_new(first, "data", fake_word(1000000));
        break;
    default:
        break;
    }
}

static inline json_t *fake_get_logs(struct fake_node *n, json_t *filter)
{
    json_t *list = json_array();
    uint64_t from = strtoull(json_string_value(json_object_get(filter, "fromBlock")) + 2, NULL, 16);
    uint64_t to = strtoull(json_string_value(json_object_get(filter, "toBlock")) + 2, NULL, 16);
    for (size_t i = 0; i < fake_seen(n); i++) {
        const struct fake_block *b = &n->chain->block[i];
        for (size_t k = 0; b->number >= from && b->number <= to && k < b->events; k++)
            json_array_append_new(list, fake_log_json(n->chain, b, k));
    }
    fake_twist(n, list);
    return list;
}

static inline enum emac_status fake_call(struct chain_node *node, const char *method,
                                         json_t *params, json_t **result, struct emac_err *err)
{
    struct fake_node *n = (struct fake_node *)(void *)node;
    enum emac_status st = EMAC_OK;
    *result = NULL;
    if (n->lie == FAKE_SILENT)
        st = emac_fail(err, EMAC_TIMEOUT, "node '%s' did not answer in time", node->name);
    else if (n->lie == FAKE_REFUSES)
        st = emac_fail(err, EMAC_FAILED, "node '%s' refuses to answer", node->name);
    else if (n->lie == FAKE_NONSENSE)
        *result = json_pack("{s:s}", "number", "many");
    else if (strcmp(method, "eth_chainId") == 0)
        *result = chain_json_quantity(FAKE_CHAIN_ID + (n->lie == FAKE_OTHER_ID));
    else if (strcmp(method, "eth_getBlockByNumber") == 0)
        *result = fake_get_block(n, json_string_value(json_array_get(params, 0)));
    else if (strcmp(method, "eth_getBlockByHash") == 0)
        *result = fake_get_by_hash(n, json_array_get(params, 0));
    else if (strcmp(method, "eth_getLogs") == 0)
        *result = fake_get_logs(n, json_array_get(params, 0));
    else
        EMAC_ASSERT(!"a method of the scripted chain");
    json_decref(params);
    return st;
}

static inline void fake_node_init(struct fake_node *n, struct fake_chain *c, const char *name)
{
    *n = (struct fake_node){.node = {.name = name, .call = fake_call}, .chain = c};
}

#endif
