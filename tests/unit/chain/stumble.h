/* A node that stumbles over its n-th question: it does not answer, or answers null. Walking n
 * through a whole course takes every way out of it once. */
#ifndef EMAC_TEST_CHAIN_STUMBLE_H
#define EMAC_TEST_CHAIN_STUMBLE_H

#include "chain/node.h"

struct stumble {
    struct chain_node node;
    struct chain_node *inner;
    unsigned left; /* questions that are answered first */
    bool says_null, stumbled;
};

static inline enum emac_status stumble_call(struct chain_node *node, const char *method,
                                            json_t *params, json_t **result, struct emac_err *err)
{
    struct stumble *s = (struct stumble *)(void *)node;
    if (s->left-- > 0)
        return s->inner->call(s->inner, method, params, result, err);
    s->left = UINT32_MAX;
    s->stumbled = true;
    json_decref(params);
    *result = s->says_null ? json_null() : NULL;
    return s->says_null ? EMAC_OK
                        : emac_fail(err, EMAC_UNAVAILABLE, "node '%s' is away", node->name);
}

static inline void stumble_init(struct stumble *s, struct chain_node *inner, unsigned after,
                                bool says_null)
{
    *s = (struct stumble){.node = {.name = "stumbling", .call = stumble_call},
                          .inner = inner,
                          .left = after,
                          .says_null = says_null};
}

#endif
