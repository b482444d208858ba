/* What each rig did for a job (shares.c). Reading and telling need no lock. */
#ifndef EMAC_COORDINATOR_SHARES_H
#define EMAC_COORDINATOR_SHARES_H

#include <jansson.h>

#include "coordinator/state.h"

/* What a rig tells beside a receipt: of the task's computing; of its traffic since the receipt
 * before. Zeros: nothing told. */
struct told {
    uint64_t computed_us, sent, received;
};
enum emac_status shares_read(json_t *root, struct told *out, struct emac_err *err);
/* In tx: the rig's share of the job grows by the task of a lease that was granted then. */
enum emac_status shares_add(struct coordinator *c, const char *job, const char *did,
                            int64_t granted_at, const struct told *told, struct emac_err *err);
void shares_speed(struct node *n, enum sched_work work, uint64_t flops, const struct told *told);
/* {span_ms, rigs: [...]}: the time between the job's first task and its last receipt. */
enum emac_status shares_json(struct coordinator *c, const char *job, json_t **out,
                             struct emac_err *err);

#endif
