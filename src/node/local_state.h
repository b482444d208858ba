/* The state file of local training (LOCAL-1): dag-cbor
 * {job: CID, step, values: [{cid: CID, name}], checkpoints: [{step, model: CID, params: CID}]}, and
 * with evaluations during training worse, and scores: [last, best] of {loss, step, accuracy}. */
#ifndef EMAC_NODE_LOCAL_STATE_H
#define EMAC_NODE_LOCAL_STATE_H

#include "node/local.h"

struct local_state {
    struct cid job;
    uint32_t step;
    uint32_t value_count;
    struct plan_value value[PLAN_VALUES_MAX];
    struct plan_score score, best; /* as plan_state's, like the next */
    uint32_t worse;
    uint32_t count;
    size_t cap;
    struct local_checkpoint *checkpoint;
};

void local_state_release(struct local_state *s);
/* One of the same step is replaced. */
enum emac_status local_state_add(struct local_state *s, const struct local_checkpoint *c,
                                 struct emac_err *err);
enum emac_status local_state_write(struct os *os, const char *path, const struct local_state *s,
                                   struct emac_err *err);
/* NOT_FOUND when there is no file; CORRUPT or INVALID when it says nothing sensible. */
enum emac_status local_state_read(struct os *os, const char *path, struct local_state *out,
                                  struct emac_err *err);

#endif
