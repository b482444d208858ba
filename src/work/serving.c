#include "work/serving.h"

#include "base/assert.h"
#include "work/licence.h"

#define FLOPS_PER_TFLOP  1000000000000u
#define FLOPS_PER_WEIGHT 2 /* of a token */

enum emac_status serving_rig_price(uint64_t weights, int64_t units_per_tflop, int64_t *units,
                                   struct emac_err *err)
{
    unsigned __int128 flops =
        (unsigned __int128)weights * FLOPS_PER_WEIGHT * SERVING_MILLION; /* < 2^85 */
    uint64_t tflops = (uint64_t)(flops / FLOPS_PER_TFLOP);
    uint64_t rest = (uint64_t)(flops % FLOPS_PER_TFLOP);
    EMAC_ASSERT(units_per_tflop >= 0);
    unsigned __int128 price =
        (unsigned __int128)tflops * (uint64_t)units_per_tflop +
        ((unsigned __int128)rest * (uint64_t)units_per_tflop + FLOPS_PER_TFLOP - 1) /
            FLOPS_PER_TFLOP;
    if (price > INT64_MAX)
        return emac_fail(err, EMAC_TOO_LARGE,
                         "a model of %llu weights cannot be paid at %lld units a TFLOP",
                         (unsigned long long)weights, (long long)units_per_tflop);
    *units = (int64_t)price;
    return EMAC_OK;
}

enum emac_status serving_bill(const struct serving_price *p, uint64_t tokens,
                              struct serving_bill *out, struct emac_err *err)
{
    int64_t work;
    EMAC_ASSERT(p->count <= SERVING_TERMS_MAX && p->fee_ppm <= LICENCE_SHARE_ONE);
    *out = (struct serving_bill){0};
    bool fits = licence_million(p->rig_units, tokens, &work);
    out->fee = (int64_t)((unsigned __int128)(uint64_t)work * p->fee_ppm / LICENCE_SHARE_ONE);
    out->rig = work - out->fee;
    out->total = work;
    for (uint32_t i = 0; i < p->count && fits; i++)
        fits = licence_million(p->inference_units[i], tokens, &out->royalty[i]) &&
               !__builtin_add_overflow(out->total, out->royalty[i], &out->total);
    if (!fits)
        return emac_fail(err, EMAC_TOO_LARGE, "an answer of %llu tokens cannot be paid",
                         (unsigned long long)tokens);
    EMAC_ASSERT(out->rig >= 0 && out->fee >= 0);
    return EMAC_OK;
}
