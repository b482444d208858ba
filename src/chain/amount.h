/* Money between the ledger and the chain. The ledger counts units of 10^-9
 * EMAC in int64; the token has 18 decimals: 1 unit = 10^9 wei, exactly. What is
 * no whole number of units (dust) is refused, never rounded. */
#ifndef EMAC_CHAIN_AMOUNT_H
#define EMAC_CHAIN_AMOUNT_H

#include "base/status.h"
#include "base/u256.h"

#define CHAIN_WEI_PER_UNIT UINT64_C(1000000000)

/* units >= 0 (asserted) */
struct u256 chain_wei_from_units(int64_t units);
/* INVALID for dust, TOO_LARGE past int64. */
enum emac_status chain_units_from_wei(const struct u256 *wei, int64_t *units, struct emac_err *err);

#endif
