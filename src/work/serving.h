/* What generated text costs: a pure function of a price and a number of tokens, those that the
 * model reads (the prompt) and those that it writes, alike.
 *
 *   work      = ceil(tokens * rig / 10^6)           the rig's pay and the network's fee together
 *   fee       = floor(work * fee_ppm / 10^6)        the rig gets the rest
 *   royalty i = ceil(tokens * inference_i / 10^6)   of each licence that the model stands under
 *
 * Invariants (tests cite them):
 * BILL-1  total = rig + fee + the royalties, exactly; nothing is negative.
 * BILL-2  Each part grows with the tokens or stays. So what is reserved for the most tokens that an
 *         answer can have covers what is made. */
#ifndef EMAC_WORK_SERVING_H
#define EMAC_WORK_SERVING_H

#include <stdint.h>

#include "base/status.h"

#define SERVING_TERMS_MAX 2 /* a model's licence, and that of the base which an adapter runs on */
#define SERVING_MILLION   1000000

struct serving_price {
    int64_t rig_units; /* for a million tokens */
    uint32_t fee_ppm;  /* of them, at most 10^6 */
    uint32_t count;
    int64_t inference_units[SERVING_TERMS_MAX]; /* for a million tokens, by licence */
};

struct serving_bill {
    int64_t rig, fee, royalty[SERVING_TERMS_MAX], total;
};

/* Units for a million tokens of a model of so many weights: one token takes 2 flops a weight. At
 * least 1 unless the price is 0; TOO_LARGE. */
enum emac_status serving_rig_price(uint64_t weights, int64_t units_per_tflop, int64_t *units,
                                   struct emac_err *err);
/* TOO_LARGE when it passes int64. */
enum emac_status serving_bill(const struct serving_price *p, uint64_t tokens,
                              struct serving_bill *out, struct emac_err *err);

#endif
