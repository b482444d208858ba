/* chain.json, as a stranger may hand it around: what is accepted has nodes, an operator, a chain.
 */
#include "base/assert.h"
#include "chain/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct chain_config c;
    uint8_t key[ED25519_PUBLIC_BYTES];
    if (chain_config_parse(EMAC_SLICE(data, n), "fuzz", &c, NULL) != EMAC_OK)
        return 0;
    EMAC_ASSERT(c.urls >= 1 && c.urls <= CHAIN_NODES_MAX && c.chain_id > 0 && c.least_units >= 0);
    EMAC_ASSERT(crypto_did_key_parse(key, c.operator_did));
    return 0;
}
