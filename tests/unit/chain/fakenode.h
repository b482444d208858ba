/* Nodes that look at a scripted chain, each honest, behind, or lying in one named way. */
#ifndef EMAC_TEST_CHAIN_FAKENODE_H
#define EMAC_TEST_CHAIN_FAKENODE_H

#include "fakechain.h"

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

struct fake_node {
    struct chain_node node;
    struct fake_chain *chain;
    enum fake_lie lie;
    size_t behind; /* blocks that it has not seen yet */
};

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
