#include "chain/amount.h"

#include "base/assert.h"

struct u256 chain_wei_from_units(int64_t units)
{
    struct u256 wei;
    EMAC_ASSERT(units >= 0);
    struct u256 whole = u256_from_u64((uint64_t)units);
    bool fits = u256_mul_u64(&whole, CHAIN_WEI_PER_UNIT, &wei);
    EMAC_ASSERT(fits);
    return wei;
}

enum emac_status chain_units_from_wei(const struct u256 *wei, int64_t *units, struct emac_err *err)
{
    struct u256 whole;
    uint64_t v;
    char text[U256_DEC_MAX];
    u256_text(text, wei);
    if (u256_div_u64(wei, CHAIN_WEI_PER_UNIT, &whole) != 0)
        return emac_fail(err, EMAC_INVALID,
                         "%s wei is no whole number of ledger units: amounts go down to %llu wei",
                         text, (unsigned long long)CHAIN_WEI_PER_UNIT);
    if (!u256_to_u64(&whole, &v) || v > INT64_MAX)
        return emac_fail(err, EMAC_TOO_LARGE, "%s wei is more than the ledger can hold", text);
    *units = (int64_t)v;
    return EMAC_OK;
}
