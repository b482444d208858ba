/* What each rig did for a job (shares.c). Reading and telling need no lock.
 *
 * A rig's last second is in its struct node: what a receipt adds comes into the row with what other
 * receipts add, once a second and before the job ends. A process that dies takes that second with
 * it, which costs nobody anything. */
#ifndef EMAC_COORDINATOR_SHARES_H
#define EMAC_COORDINATOR_SHARES_H

#include <jansson.h>
#include <stdint.h>

#include "base/status.h"
#include "sched/speed.h"

struct cjob;
struct coordinator;
struct node;

/* What a rig tells beside a receipt: of the task's computing; of its traffic since the receipt
 * before. Zeros: nothing told. */
struct told {
    uint64_t computed_us, sent, received;
};

/* What the row of a rig and a job lacks; times on the wall. */
struct share {
    const struct cjob *job; /* NULL: nothing */
    int64_t tasks, first_at, last_at;
    struct told told;
};

enum emac_status shares_read(json_t *root, struct told *out, struct emac_err *err);
/* In tx: the rig's share of the job grows by the task of a lease that was granted then. `n` may be
 * NULL: a rig that did not say hello to this process. */
enum emac_status shares_add(struct coordinator *c, struct cjob *j, struct node *n, const char *did,
                            int64_t granted_at, const struct told *told, struct emac_err *err);
/* In tx: what was added since the last time goes into the rows. */
enum emac_status shares_flush(struct coordinator *c, const struct cjob *j, struct emac_err *err);
void shares_speed(struct node *n, enum sched_work work, uint64_t flops, const struct told *told);
/* {span_ms, rigs: [...]}: the time between the job's first task and its last receipt. */
enum emac_status shares_json(struct coordinator *c, const char *job, json_t **out,
                             struct emac_err *err);

#endif
