/* Digests of what each operator made: two rigs that disagree about a task find the first node at
 * which they differ, and only that one is judged. */
#include <stdlib.h>

#include "base/assert.h"
#include "crypto/crypto.h"
#include "graph/plan_internal.h"

static enum emac_status node_digest(const struct graph_plan *p, struct device *dev,
                                    const struct graph_node *n, uint8_t digest[SHA256_BYTES],
                                    struct emac_err *err)
{
    uint8_t each[OP_OUT_MAX][SHA256_BYTES];
    uint32_t outputs = op_info(n->op)->outputs;
    enum emac_status st = EMAC_OK;

    for (uint32_t k = 0; k < outputs && st == EMAC_OK; k++) {
        size_t bytes = graph_value_bytes(p->g, n->out + k);
        uint8_t *data;

        st = emac_alloc_aligned(&data, bytes, err);
        if (st != EMAC_OK)
            return st;
        st = device_read(dev, data, p->value[n->out + k].tensor.data, bytes, err);
        crypto_sha256(each[k], data, bytes);
        free(data);
    }
    crypto_sha256(digest, each, (size_t)outputs * SHA256_BYTES);
    return st;
}

enum emac_status graph_trace(struct graph_plan *p, struct device *dev,
                             void (*each)(void *ctx, uint32_t node, enum op op,
                                          const uint8_t digest[32]),
                             void *ctx, struct emac_err *err)
{
    enum emac_status st;

    EMAC_TRY(st, plan_ready(p, dev, err));
    for (uint32_t s = 0; s < p->steps; s++) {
        const struct graph_node *n = &p->g->node[p->step[s]];
        uint8_t digest[SHA256_BYTES];

        EMAC_TRY(st, plan_step(p, dev, s, err));
        EMAC_TRY(st, node_digest(p, dev, n, digest, err));
        each(ctx, p->step[s], n->op, digest);
    }
out:
    return st;
}
