/* What a job of kind evaluate ends as (work/evaluate.h): struct cjob.evaluation is the result that
 * lies in the depot by now, or none. When the score changes, for a result was withdrawn, another
 * takes its place. */
#ifndef EMAC_COORDINATOR_EVALUATIONS_H
#define EMAC_COORDINATOR_EVALUATIONS_H

#include "coordinator/internal.h"

/* The ticker's part: put results into the depot; without the lock. */
void evaluations_work(struct coordinator *c);
/* Is the job an evaluation that is over, and its result there? */
bool evaluation_stored(const struct cjob *j);

#endif
