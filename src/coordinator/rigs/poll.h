/* A rig asks for work: by a long poll, or in the same breath as it delivers a receipt, which saves
 * it a round trip (leases.c). */
#ifndef EMAC_COORDINATOR_POLL_H
#define EMAC_COORDINATOR_POLL_H

#include <jansson.h>

#include "coordinator/state.h"

struct poll {
    bool asked; /* poll_read found one */
    uint64_t wait_ms;
    uint32_t hold_count;
    struct cid hold[NODE_HOLDS_MAX]; /* states that it holds */
    struct node_serving serving;
};

/* From an object {wait_ms, holds}; NULL is no poll. */
enum emac_status poll_read(json_t *o, struct poll *out, struct emac_err *err);
/* Under the lock: one look for work for a working rig; NULL when there is none now. */
json_t *poll_at_once(struct coordinator *c, struct node *n, const struct poll *p,
                     const char *base_url);

#endif
