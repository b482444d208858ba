/* What strangers say of storage deals: terms from clients, duties from a coordinator, proofs from
 * rigs. What is taken keeps its bounds, so that no sum of money can pass them. */
#include <string.h>

#include "base/assert.h"
#include "work/deal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check_terms(json_t *o)
{
    struct deal_terms t;
    struct deal_amounts a;
    if (deal_terms_from_json(&t, o, NULL) != EMAC_OK)
        return;
    EMAC_ASSERT(t.replicas >= 1 && t.replicas <= DEAL_REPLICAS_MAX && t.epochs >= 1);
    EMAC_ASSERT(t.piece.size >= 1 && t.piece.size <= DEAL_BYTES_MAX && t.price_units >= 0);
    if (deal_amounts(&t, 3600000, &a, NULL) != EMAC_OK)
        return;
    EMAC_ASSERT(a.epoch_units > 0 && a.bond_units > 0 && a.traffic_units >= 0);
    EMAC_ASSERT(a.escrow_units / t.replicas >= a.bond_units);
}

static void check_duty(json_t *o)
{
    struct deal_duty d;
    if (deal_duty_from_json(&d, o, NULL) != EMAC_OK)
        return;
    EMAC_ASSERT(d.id[0] != '\0' && strchr(d.id, '/') == NULL && strchr(d.id, '.') == NULL);
    EMAC_ASSERT(d.source_count <= DEAL_SOURCES_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct commp piece = {.size = n > 0 ? 1 + data[0] * (uint64_t)1000 : 1};
    json_t *o = json_loadb((const char *)data, n, JSON_REJECT_DUPLICATES, NULL);
    if (o != NULL) {
        check_terms(o);
        check_duty(o);
    }
    json_decref(o);
    EMAC_ASSERT(deal_proof_check(&piece, piece.root, "deal-1", 0, 1, data, n, NULL) != EMAC_OK);
    return 0;
}
