/* A transaction that is accepted has a sender and one form. */
#include <string.h>

#include "base/assert.h"
#include "chain/tx.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const uint8_t SECRET[EVM_SECRET_BYTES] = {[31] = 1};
    struct chain_tx tx, again;
    struct emac_buf raw;
    uint8_t sender[EVM_ADDRESS_BYTES], hash[KECCAK256_BYTES];
    if (chain_tx_read(EMAC_SLICE(data, n), &tx, sender, NULL) != EMAC_OK)
        return 0;
    emac_buf_init(&raw, CHAIN_TX_MAX);
    if (chain_tx_sign(&tx, SECRET, &raw, hash, NULL) == EMAC_OK) {
        EMAC_ASSERT(chain_tx_read(emac_buf_slice(&raw), &again, sender, NULL) == EMAC_OK);
        EMAC_ASSERT(again.nonce == tx.nonce && again.gas == tx.gas &&
                    u256_compare(&again.value, &tx.value) == 0 && again.data.len == tx.data.len);
    }
    emac_buf_release(&raw);
    return 0;
}
