/* Sweeps (work/sweep.h) at the coordinator: sweeps.c is their memory and what happens by itself,
 * sweeps_api.c the routes. All under the lock.
 *
 * SWEEP-1  A trial is an ordinary job with an escrow of its own; the rows of a sweep and of all its
 *          trials with their escrows are written in one transaction, or none.
 * SWEEP-2  While a rung is undecided no trial trains beyond it (cjob.hold), and it is decided when
 *          every trial that has not stopped is evaluated there and no check or dispute of it is
 *          open, or has ended. So the decision is the one that the trials' results lead to, in
 *          whatever order they come.
 * SWEEP-3  A decision is one transaction: scores, who stops, the next rung. The jobs that stop are
 *          cancelled after it; whoever restarts finds them by their rows. */
#ifndef EMAC_COORDINATOR_SWEEPS_H
#define EMAC_COORDINATOR_SWEEPS_H

#include "coordinator/internal.h"
#include "work/sweep.h"

#define SWEEPS_OPEN_MAX 100

struct ctrial {
    char job[JOB_ID_MAX];
    bool stopped;
};
/* A sweep that runs. */
struct csweep {
    char id[SWEEP_ID_MAX], owner[DID_KEY_MAX];
    double keep;
    uint32_t rung, rung_count; /* rung: the next to be decided; rung_count: all are */
    uint32_t rung_step[SWEEP_RUNGS_MAX];
    uint32_t trial_count;
    struct ctrial trial[SWEEP_TRIALS_MAX];
};

struct csweep *csweep_find(struct coordinator *c, const char *id); /* NULL: has ended, or none */
/* Take a sweep whose rows are there into memory: it is held at its rung from now on. */
enum emac_status csweep_load(struct coordinator *c, const char *id, struct emac_err *err);
/* All trials end, and the sweep with them. */
enum emac_status csweep_cancel(struct coordinator *c, struct csweep *s, struct emac_err *err);

#endif
