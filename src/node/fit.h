/* Does a job fit the memory of a device, and if not, how would it? */
#ifndef EMAC_NODE_FIT_H
#define EMAC_NODE_FIT_H

#include "node/exec.h"
#include "work/planner.h"

/* The most bytes that any task of the plan needs, and which program's: its blocks are in the store
 * of `x`. `program` may be NULL. */
enum emac_status fit_need(struct exec *x, const struct job_plan *p, uint64_t *bytes,
                          const struct plan_program **program, struct emac_err *err);
/* A job that does not fit is better told before the first task than when the first step is under
 * way. TOO_LARGE with the figures of the largest task, and the least number of stages
 * (spread.kind pipeline) with which each rig of this size would have room, if there is one. `s` is
 * the store of `x`. */
enum emac_status fit_check(struct exec *x, struct store *s, const struct job_plan *p,
                           struct emac_err *err);

#endif
