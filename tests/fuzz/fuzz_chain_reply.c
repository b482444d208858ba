/* A node's reply: whatever it says, it becomes a value within its limits or a sentence. */
#include "base/assert.h"
#include "chain/rpc.h"
#include "chain/contracts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

struct said {
    struct chain_node node;
    struct emac_slice reply;
};

static enum emac_status say(struct chain_node *node, const char *method, json_t *params,
                            json_t **result, struct emac_err *err)
{
    struct said *s = (struct said *)(void *)node;
    json_decref(params);
    return chain_rpc_parse(node->name, s->reply, 1, result, err);
}

static void read_logs(struct chain_node *node)
{
    const uint8_t address[1][EVM_ADDRESS_BYTES] = {{0}};
    struct chain_logs logs;
    struct chain_event e;
    bool known;
    if (chain_node_logs(node, 0, 1, address, 1, &logs, NULL) != EMAC_OK)
        return;
    for (size_t i = 0; i < logs.count; i++) {
        for (int k = 0; k < CHAIN_CONTRACTS; k++)
            chain_event_read(&logs.at[i], (enum chain_contract)k, &e, &known, NULL);
    }
    chain_logs_release(&logs);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct said s = {{"fuzz", say}, EMAC_SLICE(data, n)};
    struct chain_block block;
    struct chain_receipt receipt;
    struct emac_buf code;
    uint8_t hash[CHAIN_HASH_BYTES] = {0};
    uint64_t number;
    bool found;
    chain_node_id(&s.node, &number, NULL);
    chain_node_block(&s.node, "latest", &block, NULL);
    chain_node_receipt(&s.node, hash, &found, &receipt, NULL);
    chain_node_knows(&s.node, hash, &found, NULL);
    emac_buf_init(&code, CHAIN_DATA_MAX);
    chain_node_read(&s.node, hash, EMAC_SLICE(hash, 4), &code, NULL);
    EMAC_ASSERT(code.len <= CHAIN_DATA_MAX);
    emac_buf_release(&code);
    read_logs(&s.node);
    return 0;
}
