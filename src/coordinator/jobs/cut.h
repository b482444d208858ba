/* Ranges of a sum that their rigs are late with (CUT-1 and CUT-2 of sched/place.h). */
#ifndef EMAC_COORDINATOR_CUT_H
#define EMAC_COORDINATOR_CUT_H

#include "coordinator/state.h"

/* An open task of a shared kind is to be laid out anew, in shares for those who are there. */
void round_cut(struct coordinator *c, struct cjob *j, struct ctask *t);
/* In tx: `made` of the round under way is accepted. What it and the results before it cover is not
 * wanted any more: leases of that are taken back. */
enum emac_status round_covered(struct coordinator *c, struct cjob *j, const struct ctask *made,
                               struct emac_err *err);

#endif
