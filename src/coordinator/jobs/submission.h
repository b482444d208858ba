/* A job on its way in: taken, known?, its plan into the depot (plan_deposit), then under the lock
 * its rows, with those of other jobs perhaps, and its memory. jobs.c */
#ifndef EMAC_COORDINATOR_SUBMISSION_H
#define EMAC_COORDINATOR_SUBMISSION_H

#include "coordinator/assets/assets.h"

struct submission {
    struct job job;
    struct job_plan *plan;
    struct job_terms terms;
    struct emac_buf object;
    struct cid cid;
    char id[JOB_ID_MAX];
};
void submission_init(struct submission *s);
void submission_release(struct submission *s);
/* Check all that can be checked before money moves; `did` is who signed. Needs no lock. */
enum emac_status submission_take(struct coordinator *c, const char *did, json_t *root,
                                 struct submission *s, struct emac_err *err);
/* fleet.c: is there a rig with the memory for the job's tasks, and are those that are there done by
 * policy.deadline? TOO_LARGE with the figures. Needs no lock. */
enum emac_status fleet_suffices(struct coordinator *c, const struct job_plan *p,
                                struct emac_err *err);
enum emac_status submission_known(struct coordinator *c, const struct submission *s, bool *known,
                                  struct emac_err *err);
/* In tx: the row, the escrow, the first line of the log. */
enum emac_status submission_insert(struct coordinator *c, const struct submission *s,
                                   struct emac_err *err);
/* After the commit. The job is stale: jobs_refresh. */
enum emac_status submission_open(struct coordinator *c, struct submission *s, struct cjob **out,
                                 struct emac_err *err);

#endif
