/* A sweep: several recipes of one job side by side, of which the worse stop early. Pure.
 *
 * Successive halving (Jamieson & Talwalkar 2016; the inner loop of Hyperband, Li et al. 2018): all
 * trials train to the first rung, a number of steps, and are evaluated there on held-out data; the
 * share `keep` with the lowest loss goes on to the next rung, the others stop; whoever passes the
 * last rung trains to its end, and the lowest final held-out loss wins. A trial is an ordinary job
 * with all its steps and its own schedule, so a trial that wins has the model that its job alone
 * would have given. Who stops is a function of the losses: it depends on no rig.
 *
 *   kind: sweep
 *   name: rates                     # [a-z0-9-]{1,36}: trial 3 becomes the job "rates-03"
 *   job: {...}                      # a job (work/job.h), or instead of it
 *   file: kjv.yaml                  # a job file, relative to this one
 *   over:                           # a grid, the last field changing fastest
 *     recipe.optimiser: [adamw, lion]
 *     recipe.lr: [0.001, 0.003]
 *   # or a list of trials:  over: [{recipe.lr: 0.001}, {recipe.lr: 0.003, seed: 2}]
 *   rungs: [20, 60]                 # optimiser steps, rising, below those of every trial
 *   keep: 0.5                       # more than 0, less than 1
 *
 * recipe.eval_every and recipe.checkpoint_every divide each rung; left out they are the greatest
 * number that does. A trial that waits at a rung is kept by its checkpoint, not by rigs' memory. */
#ifndef EMAC_WORK_SWEEP_H
#define EMAC_WORK_SWEEP_H

#include "work/job.h"

#define SWEEP_TRIALS_MAX 64
#define SWEEP_RUNGS_MAX  16
#define SWEEP_NAME_MAX   36
#define SWEEP_LABEL_MAX  200
#define SWEEP_ID_MAX     24
#define SWEEP_KEEP_USUAL 0.5
#define SWEEP_AT_ONCE    8 /* trials that train side by side: rigs keep the states of all of them */

struct sweep_trial {
    char label[SWEEP_LABEL_MAX]; /* "recipe.lr=0.001 seed=2" */
    json_t *job;                 /* the job file's content; owned */
    struct cid cid;              /* of the job, once it is known */
};
struct sweep {
    char name[SWEEP_NAME_MAX + 1];
    double keep;
    uint32_t rung_count, rung[SWEEP_RUNGS_MAX]; /* steps, rising */
    uint32_t trial_count;
    struct sweep_trial trial[SWEEP_TRIALS_MAX];
};

/* From a sweep file's content. `base` is the job that all trials begin with when the sweep names a
 * file, else NULL. Fields are refused by their path; the trials' jobs are not looked into: that is
 * job_from_json's. Release in any case. */
enum emac_status sweep_from_json(struct sweep *out, json_t *root, json_t *base,
                                 struct emac_err *err);
/* root's `file`; NULL when the job is in the sweep itself. */
const char *sweep_file(json_t *root);
void sweep_release(struct sweep *s);

/* Name, keep and rungs alone, of both forms: a sweep file and what the coordinator is sent. */
enum emac_status sweep_read_head(struct sweep *out, json_t *root, struct emac_err *err);
/* What a trial must be beside a sound job: it is evaluated and kept at each rung, goes on after
 * the last, and learns from the same data as the first trial. */
enum emac_status sweep_check_trial(const struct sweep *s, const struct job *job,
                                   const struct job *first, struct emac_err *err);
/* The round of the job after which it has made so many optimiser steps; 0: none ends there. */
uint32_t sweep_round(const struct job *job, uint32_t steps);
/* The canonical form, dag-cbor {jobs: [CID], keep, kind: "sweep", name, owner, rungs, labels}, and
 * its CID. "sweep-" and the last 12 characters of it are the id. */
enum emac_status sweep_encode(const struct sweep *s, const char *owner, struct emac_buf *out,
                              struct cid *cid, struct emac_err *err);
void sweep_id(char out[SWEEP_ID_MAX], const struct cid *cid);

/* A trial at a rung. */
struct sweep_score {
    uint32_t trial;
    double loss; /* held out; < 0: the trial has failed */
};
/* Put the scores in order, best first: the lower loss, of equal ones the lower trial, failed ones
 * last. Returns how many go on: the floor of count * keep, one at least; none that failed. */
uint32_t sweep_decide(struct sweep_score *score, uint32_t count, double keep);

#endif
