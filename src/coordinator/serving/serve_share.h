/* Which rig gets a request for text.
 *
 * SHARE-1  A rig has at most as many answers under way as it said it has slots.
 *
 * SHARE-2  Of the rigs that could begin at once, one that has the model loaded comes first, then
 * one that has its weights in memory, then the one with the most free slots; whoever failed at the
 * request comes last. For SERVE_HOLDER_MS the others leave it to those; then it goes to whoever
 * asks.
 *
 * SHARE-3  A rig that computes a task leaves it to one that will be free sooner. */
#ifndef EMAC_COORDINATOR_SERVE_SHARE_H
#define EMAC_COORDINATOR_SERVE_SHARE_H

#include "coordinator/state.h"

#define SERVE_HOLDER_MS 200

/* A request that waits. */
struct serve_wish {
    const struct cid *model, *params;
    const struct node *failed; /* who failed at it last; NULL */
    uint64_t queued_ms;
};
/* May the rig, which asks, have it now? node.serving.answers are right. If not, *wake_ms is brought
 * forward to when that may change by time alone. Under the lock. */
bool serve_suits(struct coordinator *c, const struct serve_wish *w, const struct node *n,
                 uint64_t *wake_ms);

#endif
