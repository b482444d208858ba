/* What a job will take before it runs: tasks, bytes, time, price. Not a formula
 * but a simulation of the network by events: the planner's own plan_next and
 * plan_turn, the coordinator's placement (sched/place.h), rigs that poll, fetch,
 * compute and answer, and their links (sched/flows.h). So a new planner is
 * predicted by what is here already. Pure and deterministic.
 *
 * The model of a rig: one task after the other, flops / speed and PREDICT_TASK_S
 * of other work each; meanwhile, as node/agent.h has it, it takes in up to
 * SCHED_AHEAD_TASKS more and delivers receipts, for whose answer it does not wait.
 * To take one in: a poll and its answer, which take the link's latency and their
 * bytes; then inputs that the rig does not hold come from a rig that made or
 * fetched them (else from the coordinator), four at a time, a round trip each,
 * of up to SCHED_FETCH_TASKS tasks beside each other and beside the next poll.
 * Checkpoints go up to the depot beside the work. That memory could be too short
 * to look ahead is not foreseen, and what is taken back (AHEAD-2) is dropped at
 * once, not with the next heartbeat.
 *
 * Long jobs: PREDICT_ROUNDS rounds are simulated, what lies between them and the
 * end is as many times the mean of their second half. */
#ifndef EMAC_SCHED_PREDICT_H
#define EMAC_SCHED_PREDICT_H

#include "http/shape.h"
#include "sched/place.h"
#include "work/planner.h"

#define PREDICT_RIGS_MAX 256
#define PREDICT_ROUNDS   48

struct predict_rig {
    double math_flops;      /* flops a second at tasks whose time goes with flops */
    double state_flops;     /* at the others: optimiser steps */
    struct link_shape link; /* all zero: 10 Gbit/s, no latency */
    uint64_t memory;        /* that a task may use, for predict_shares; 0: not known */
    uint64_t keep;          /* that values may take between tasks, for predict_holds; the same */
    /* From slow_at_s on it takes `slower` times as long, in the middle of a task too, and nobody is
     * told. 0: never. */
    double slow_at_s, slower;
};

/* A rig of which only the speed at a large matrix product is known, as the challenge and `emac
 * doctor` find it: no thin link, the usual shares of that speed (sched/speed.h). */
void predict_rig_init(struct predict_rig *r, double gemm_flops);

/* What a task takes beside its computing: hashing, signing, the coordinator's transaction. */
#define PREDICT_TASK_S 0.008

struct predict_config {
    const struct job_plan *plan;
    const struct predict_rig *rig;
    uint32_t rigs;
    bool has_corpus; /* rigs hold the job's data already */
};

struct predict_share {
    double tasks, busy_s, sent, received; /* bytes */
};

struct predict {
    double seconds; /* until the model lies in the depot */
    double work_s;  /* until the last receipt */
    double round_s; /* a round in the middle of it */
    double tasks[TASK_KINDS];
    double flops, units; /* of all executions that are paid */
    double bytes;        /* received by anybody */
    uint32_t rounds, rounds_run, rigs;
    struct predict_share rig[PREDICT_RIGS_MAX];
};

/* INVALID without rigs or with too many; INTERNAL when the plan stands still, which would be a
 * planner's bug. */
enum emac_status predict_run(const struct predict_config *cfg, struct predict *out,
                             struct emac_err *err);
/* Its `seconds` alone. */
enum emac_status predict_seconds(const struct job_plan *p, const struct predict_rig *rig,
                                 uint32_t rigs, double *seconds, struct emac_err *err);
/* The share of work_s during which rig i computed. */
double predict_busy(const struct predict *p, uint32_t i);

/* ---- does it fit? (predict_fit.c) ---- */

/* Bytes that the largest task of the plan needs at once, as a rig counts them: values between
 * operators, inputs, outputs, partial sums. *which is the kind of that task. */
enum emac_status predict_memory(const struct job_plan *p, uint64_t *bytes, enum task_kind *which,
                                struct emac_err *err);
/* The same of one program's tasks. */
enum emac_status predict_program_memory(const struct job_plan *p,
                                        const struct plan_program *program, uint64_t *bytes,
                                        struct emac_err *err);
/* The recipe nearest to the job's whose tasks fit `memory` bytes: a smaller micro_batch and as many
 * more of them (a step of the same size), else the least stages (job_set_stages). `s` as for
 * job_plan_new. False when there is none; *bytes is what it needs. */
bool predict_nearest(const struct job *job, struct store *s, uint64_t memory, struct job *out,
                     uint64_t *bytes);
/* TOO_LARGE with the figures and that recipe when the largest rig may use less than `memory` bytes
 * for a task; 0: that is not known, and OK. */
enum emac_status predict_fits(const struct job_plan *p, struct store *s, uint64_t memory,
                              struct emac_err *err);

/* ---- and between tasks? (predict_hold.c) ---- */

/* Bytes that whoever has a stage keeps of it: weights, optimiser state, what is frozen; and what of
 * that each step makes anew. */
struct sched_stage predict_state(const struct job_plan *p, uint32_t s);
/* Does who runs such a task keep a stage, its program's part, from then on, of a job that has
 * several? */
bool predict_is_stage(const struct job_plan *p, enum task_kind kind);
/* A lease of the job, no check: its stage comes to whoever has it. */
struct predict_lease {
    enum task_kind kind;
    uint32_t part;            /* of its program */
    const struct cid *anchor; /* not of init's */
};
/* A rig, as ROOM-1 (sched/place.h) asks about it. */
struct predict_keeper {
    uint64_t keep; /* bytes that values may take between tasks; 0: not known */
    bool (*holds)(const void *ctx, const struct cid *cid);
    const void *ctx;
    const struct predict_lease *lease;
    uint32_t leases;
};
/* May it keep, beside the stages that it holds and those that its leases bring, that of a task with
 * program part `part` and this anchor? True when its `keep` is not known. */
bool predict_has_room(const struct job_plan *p, const struct plan_state *st,
                      const struct predict_keeper *k, uint32_t part, const struct cid *anchor);
/* TOO_LARGE with the figures, and what would do, when a job's stages, of which a rig may have
 * several, find no room on these rigs together. OK without rigs or stages, or when what one may
 * keep is not known. */
enum emac_status predict_holds(const struct job_plan *p, struct store *s,
                               const struct predict_rig *rig, uint32_t rigs, struct emac_err *err);

/* ---- where should it be cut? (predict_stages.c) ---- */

/* The job with the spread.shares with which these rigs are done soonest, by prediction, and each
 * has room for its stage; of those as good those nearest to alike. *seconds is what it takes then.
 * The result is as good as the guess that a stage goes to the rig of its rank (job_stage_rank).
 * False when the job has no stages, or no shares were found with which all stages have room. */
bool predict_shares(const struct job *job, struct store *s, const struct predict_rig *rig,
                    uint32_t rigs, struct job *out, double *seconds);

/* ---- will it be done in time? (predict_time.c) ---- */

/* The recipe nearest to the job's, on the same micro-batches, that these rigs do within `seconds`;
 * *took is what it takes. Of a pipeline: smaller activations; of other jobs local SGD, with the
 * fewest inner steps and the largest deltas that do. False when there is none. */
bool predict_faster(const struct job *job, struct store *s, const struct predict_rig *rig,
                    uint32_t rigs, double seconds, struct job *out, double *took);
/* TOO_LARGE when the job has a policy.deadline and these rigs take longer: with both figures,
 * whether links or computing bound it, and that recipe, or how many rigs it would take. OK without
 * rigs, for then nothing is known. */
enum emac_status predict_in_time(const struct job_plan *p, struct store *s,
                                 const struct predict_rig *rig, uint32_t rigs,
                                 struct emac_err *err);

#endif
