/* Digests of what each operator made: two rigs that disagree about a task find the first node at
 * which they differ, and only that one is judged. */
#include "base/assert.h"
#include "crypto/crypto.h"
#include "graph/plan_internal.h"

static void node_digest(const struct graph_plan *p, const struct graph_node *n,
                        uint8_t digest[SHA256_BYTES])
{
    uint8_t each[OP_OUT_MAX][SHA256_BYTES];
    uint32_t outputs = op_info(n->op)->outputs;

    for (uint32_t k = 0; k < outputs; k++)
        crypto_sha256(each[k], p->value[n->out + k].tensor.data,
                      graph_value_bytes(p->g, n->out + k));
    crypto_sha256(digest, each, (size_t)outputs * SHA256_BYTES);
}

enum emac_status graph_trace(struct graph_plan *p, struct device *dev,
                             void (*each)(void *ctx, uint32_t node, enum op op,
                                          const uint8_t digest[32]),
                             void *ctx, struct emac_err *err)
{
    enum emac_status st;

    EMAC_TRY(st, plan_ready(p, err));
    for (uint32_t s = 0; s < p->steps; s++) {
        const struct graph_node *n = &p->g->node[p->step[s]];
        uint8_t digest[SHA256_BYTES];

        EMAC_TRY(st, plan_step(p, dev, s, err));
        node_digest(p, n, digest);
        each(ctx, p->step[s], n->op, digest);
    }
out:
    return st;
}
