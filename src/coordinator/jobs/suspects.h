/* What one rig made and another cannot use: a sum or a delta that is no number, or of another
 * shape, a delta that no honest steps lead to (work/task.h, max_norm). The rig that meets it says
 * so with its failure (POST /v1/failures, "suspect").
 *
 * SUSPECT-1  Nobody is believed. The result is in dispute, and counts no more, until a rig that has
 *            no vote for it has made it again: votes that differ call a third, and the minority is
 *            quarantined as in any dispute; votes that agree bring the result back. The round goes
 *            on with what a majority made.
 * SUSPECT-2  What two rigs made alike is honest. When it is of no use all the same, training
 *            diverged, and the job ends with that sentence.
 * SUSPECT-3  What only its owner can make (data that stay) cannot be made again: when two rigs
 *            cannot use it the owner is quarantined and the job ends.
 * SUSPECT-4  Each result is called into question once. Who did so for nothing SUSPECT_ALARMS times
 *            is not heard any more: it would make others' work cost double. */
#ifndef EMAC_COORDINATOR_SUSPECTS_H
#define EMAC_COORDINATOR_SUSPECTS_H

#include "coordinator/internal.h"

#define SUSPECT_ALARMS 3

enum suspicion {
    SUSPECT_NONE,     /* no rig of this job made it, or who says so is not heard */
    SUSPECT_DISPUTED, /* it is being made again; memory of the job was built anew */
    SUSPECT_SOUND,    /* as often made alike as can be asked for */
    SUSPECT_OWNED     /* SUSPECT-3 */
};
/* Rig n could not do a task of j because of `suspect`; `fault` is its sentence. Own transaction.
 * `maker`: OWNED: the owner. */
enum emac_status suspect_hear(struct coordinator *c, struct cjob *j, struct node *n,
                              const struct cid *suspect, const char *fault, enum suspicion *out,
                              char maker[DID_KEY_MAX], struct emac_err *err);
/* The job cannot go on because of an OWNED result: its maker leaves. Own transaction. */
enum emac_status suspect_expel(struct coordinator *c, const char *maker, const char *fault,
                               struct emac_err *err);
/* A second rig made `t` alike. */
void suspect_cleared(struct coordinator *c, struct cjob *j, const struct ctask *t);
/* What was said against the task's first result; NULL: nothing that is remembered. */
const char *suspect_fault(const struct coordinator *c, const struct cid *task);

#endif
