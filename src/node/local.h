/* Training, or evaluation, in one process: the planner's loop (work/planner.h) with one worker,
 * this one. No network; the same tasks on the same programs as a fleet runs,
 * so the same CIDs come out.
 *
 * LOCAL-1  The state file of a job names the values of one step's state, whose blocks
 *          were on the disk before it was written. So a run that was stopped in
 *          any way goes on from there and ends in the same model.
 * LOCAL-2  Values of steps gone by are let go at once: memory stays flat.
 * LOCAL-3  What a result names is pinned under the job's id: the data while it
 *          runs, each checkpoint's model directory, and the newest state; of an evaluation the
 *          result, whose links are the model and the data. */
#ifndef EMAC_NODE_LOCAL_H
#define EMAC_NODE_LOCAL_H

#include "node/exec.h"
#include "work/planner.h"

#define LOCAL_CHECKPOINTS_MAX 65536

struct local_progress {
    enum plan_phase phase;   /* of what comes next */
    uint32_t step, steps;    /* optimiser steps done, of all */
    double loss, grad_norm;  /* of the last step; 0 before the first */
    double lr;               /* of the last step */
    double units_per_second; /* of job_unit, since this process began */
    double eta_seconds;      /* until the end; 0 when not known yet */
    bool checkpoint;         /* this step was kept */
    struct plan_score score; /* of the last evaluation; loss < 0: none yet */
    bool resumed;            /* first report of a run that goes on from a saved state */
};

struct local_config {
    struct os *os;
    struct store *store; /* holds the data; keeps checkpoints and the model */
    struct device *dev;
    const struct job *job; /* data and data_size set */
    const char *dir;       /* for the state file <job id>.state; NULL: nothing to resume from */
    bool restart;          /* do not resume */
    uint64_t memory_max;   /* exec_config's, as the next */
    enum exec_values values;
    const struct sealed_ring *keys; /* to what is private; may be NULL */
    void (*progress)(void *ctx, const struct local_progress *p); /* after each step; may be NULL */
    bool (*cancelled)(void *ctx); /* asked between micro-batches; may be NULL */
    void *ctx;
};

struct local_checkpoint {
    uint32_t step;
    struct cid params, model; /* params: the step's; the model's are others with keep "best" */
    struct cid opt;           /* the value of that name; none where the planner has no such value */
};

struct local_result {
    char id[JOB_ID_MAX];
    struct cid job, params, opt, model; /* params: the model's; opt as in a checkpoint */
    struct cid evaluation; /* the result of a job of kind evaluate, which has none of the former
                            * and no checkpoint (work/evaluate.h) */
    uint32_t checkpoint_count;
    struct local_checkpoint *checkpoint;        /* in order of step, earlier runs' included */
    uint32_t resumed_at;                        /* step this run began with */
    uint32_t steps;                             /* optimiser steps of the job, done */
    double loss;                                /* of the last optimiser step run; 0 if none was */
    bool has_heldout;                           /* the model's */
    double heldout_loss, heldout_bits_per_byte; /* nats a token, bits a byte */
    bool has_accuracy;                          /* then heldout_loss is nats a record */
    double accuracy;                            /* share of test records classified right */
    uint64_t units;                             /* of job_unit, trained on by this run */
    uint64_t wall_ns, exec_ns, compute_ns;      /* all; inside exec_run; inside the device */
    uint64_t bus_written, bus_read;             /* bytes, as exec_result's */
};

/* CANCELLED when asked to stop: everything needed to go on was kept first, and the sentence says
 * so. Release out->checkpoint with local_result_release. */
enum emac_status local_train(const struct local_config *cfg, struct local_result *out,
                             struct emac_err *err);
void local_result_release(struct local_result *r);

#endif
