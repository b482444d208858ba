/* The planner: a pure function from (job, results so far) to the tasks wanted
 * next. Which rig runs what, in which order and pieces, changes no result.
 *
 * A job goes in rounds. The state, named values such as "params" and "opt", is
 * what a round starts from; its tasks take values of the state, constants of the
 * job, and outputs of each other. When the round's results suffice, the next
 * state follows from them (plan_turn). A job's `spread` names its planner, one
 * file plan_<name>.c each (work/planner_impl.h):
 *
 *   init                     -> the first values
 *   rounds 0..R-1            as the planner says
 *   eval first+count         -> sum         (held-out windows or test records, covering [0,E))
 *   score                    -> metrics {loss}, on a data set {accuracy, loss}
 *
 * With recipe.eval_every a round may start from a state that is to be evaluated. Then its
 * evaluation runs beside the round's training, and the round is over when both are: whether to
 * stop early, and which parameters are the best, follows from the rounds' results alone.
 *   eval s/first+count       -> sum
 *   score s                  -> metrics
 *
 * kind "evaluate" is eval and score alone, of a model that is a constant (work/evaluate.h).
 *
 * spread "sync", synchronous data-parallel training; a round is an optimiser step:
 *   grad s/first+count       -> sum         (aligned ranges covering [0,M))
 *   step s                   -> params, opt, metrics
 *
 * spread "pipeline": plan_pipeline.c; "hybrid": plan_hybrid.c.
 * spread "local", local SGD (model/local_sgd.h); a round is `inner_steps` steps of each replica m:
 *   local r/m                -> delta, opt, carry   (opt.m, carry.m of the state)
 *   step r                   -> params, outer, metrics
 *   common r                 -> params, opt, metrics   (of the first common_steps, alone)
 *   with fragments or overlap: plan_local_stream.c.
 *
 * spread "federated", the same with a shard of private data for each m (docs/federated.md):
 *   local r/m                -> delta, opt          on the rig that holds shard m
 *   admit r/m                -> sum, metrics        what the delta counts for
 *   step r                   -> params, outer, metrics
 *
 * A slot names a task within its job: "init", "grad/000012/0+4", "step/000012",
 * "eval/000100/0+8", "score/000100" during training, "eval/0+8", "score" after it,
 * "local/000003/1", "tail/000003/1".
 *
 * PLAN-1  A result counts in its round only when each input of its task is a constant of the
 *         job, a value of the state, or an output of a result that counts (plan_task_fits). So to
 *         withdraw one result is to withdraw what came of it. */
#ifndef EMAC_WORK_PLANNER_H
#define EMAC_WORK_PLANNER_H

#include "work/job.h"
#include "work/model_tree.h"
#include "work/shards.h"
#include "work/task.h"
#include "work/tree.h"

#define SLOT_MAX 48

/* ---- what is derived from a job once ---- */

/* Blocks to be put into a store (the depot) before work starts: programs, constant inputs, files of
 * the model directory. */
struct job_block {
    struct cid cid;
    uint8_t *data;
    size_t len;
};

/* Kinds of tasks, as the rows of the coordinator number them: new ones come last. */
enum task_kind {
    TASK_INIT,
    TASK_GRAD,
    TASK_STEP,
    TASK_EVAL,
    TASK_SCORE,
    TASK_FORWARD, /* of a stage, like the next three (plan_pipeline.c) */
    TASK_BACKWARD,
    TASK_REDUCE,
    TASK_UPDATE,
    TASK_JOIN,
    TASK_LOCAL, /* plan_local.c */
    TASK_ADMIT,
    TASK_DELTA, /* plan_hybrid.c */
    TASK_OUTER,
    TASK_COMMON, /* plan_local.c */
    TASK_KINDS
};

/* What placement, checks and accounts need to know of a kind. */
struct task_kind_info {
    const char *name;
    bool shared; /* ranges of one sum, each sized for a worker */
    bool math;   /* its time goes with its flops; else with the bytes of the state */
    bool copies; /* makes the state: policy.state_copies rigs run it side by side */
    bool always; /* policy.check > 0: a second rig always runs it, not by lot */
    bool staged; /* its holders keep it: others only when none is there or all are late */
};
const struct task_kind_info *task_kind_info(enum task_kind kind);
const char *task_kind_name(enum task_kind kind);

struct plan_bundle {
    char name[TASK_NAME_MAX];
    uint64_t bytes; /* of the file */
};
struct plan_program {
    enum task_kind kind;
    uint32_t part;  /* which of the planner's programs of this kind: a stage, 0 */
    struct cid cid; /* of the program */
    uint64_t flops; /* of one run of its graph: of a micro-batch for a map */
    bool map;       /* it draws micro-batches: its tasks take "data" */
    uint32_t input_count, output_count;
    struct plan_bundle input[TASK_INPUTS_MAX];   /* in order of the graph; without "data" */
    struct plan_bundle output[TASK_OUTPUTS_MAX]; /* sorted by name, as receipts are */
    uint64_t part_bytes;                         /* of each of a task's parts; 0: it takes none */
    uint32_t arg_count;
    char arg[TASK_ARGS_MAX][TASK_NAME_MAX];
};

#define PLAN_PROGRAMS_MAX  128
#define PLAN_CONSTANTS_MAX 64

struct job_plan {
    struct job job;
    const struct planner *planner;
    struct shards shards;        /* spread federated */
    struct emac_buf config;      /* text of the model's config.json */
    struct model_tree base;      /* the job's, or that of the model that is evaluated; none */
    struct cid weights;          /* kind evaluate: the file that is the input "params" */
    uint64_t weights_size;       /* bytes of its blocks */
    struct model_tree tokenizer; /* that of the token set; none when bytes are the tokens */
    uint32_t program_count;
    struct plan_program program[PLAN_PROGRAMS_MAX];
    struct cid tables; /* constant bundle, none when the family has none */
    uint32_t constant_count;
    struct cid constant[PLAN_CONSTANTS_MAX]; /* inputs that no task makes: data, tables */
    uint64_t params_bytes, opt_bytes;        /* sizes of the bundles */
    size_t block_count;
    struct job_block *block; /* programs, graphs, tables (single blocks or UnixFS trees) */
};
/* `s` holds the manifest of the job's data set, or the block of its token set and its tokenizer's
 * directory; NULL will do for a job on bytes. */
enum emac_status job_plan_new(const struct job *job, struct store *s, struct job_plan **out,
                              struct emac_err *err);
void job_plan_free(struct job_plan *p);
/* NULL: there is none (eval and score when job_eval_batches is 0). */
const struct plan_program *plan_program(const struct job_plan *p, enum task_kind kind);
const struct plan_program *plan_program_part(const struct job_plan *p, enum task_kind kind,
                                             uint32_t part);
const struct plan_program *plan_program_find(const struct job_plan *p, const struct cid *cid);

/* ---- where a job stands ---- */

#define PLAN_VALUES_MAX 132

struct plan_value {
    char name[TASK_NAME_MAX];
    struct cid cid;
};

/* An accepted result of the round under way. */
struct plan_result {
    char slot[SLOT_MAX];
    enum task_kind kind;
    struct tree_range range;
    double loss, accuracy; /* of its metrics; < 0: none */
    uint32_t output_count;
    struct task_output output[TASK_OUTPUTS_MAX];
};

/* Of the state after `step` rounds. loss, accuracy < 0: none. */
struct plan_score {
    uint32_t step;
    double loss, accuracy;
};
#define PLAN_NO_SCORE ((struct plan_score){0, -1, -1})

struct plan_state {
    uint32_t step;                            /* rounds done */
    uint32_t value_count;                     /* 0: init is not done */
    struct plan_value value[PLAN_VALUES_MAX]; /* sorted by name */
    uint32_t result_count;
    size_t result_cap;
    struct plan_result *result; /* in the order of their acceptance */
    bool scored;
    double loss;             /* mean of the losses of the last round that told one; < 0: none yet */
    struct plan_score score; /* the last evaluation's */
    struct plan_score best;  /* of the least loss, the first of equals; with recipe.keep "best" its
                              * parameters are the value "best" */
    uint32_t worse;          /* evaluations since */
};
void plan_state_init(struct plan_state *st);
void plan_state_release(struct plan_state *st);
const struct cid *plan_value(const struct plan_state *st, const char *name); /* NULL: none */
void plan_value_set(struct plan_state *st, const char *name, const struct cid *cid);
/* Names in the state, and outputs that become such, begin so: what is kept when a rig lets go of
 * the rest. "params", "opt.2". */
bool plan_name_is_state(const char *name);
/* What names the round's start in a lineage: the CID of "params", or of all values together where
 * there is no such value; none before init. */
struct cid plan_base(const struct plan_state *st);

enum plan_phase { PLAN_INIT, PLAN_TRAIN, PLAN_EVAL, PLAN_DONE };
enum plan_phase plan_phase_of(const struct job_plan *p, const struct plan_state *st);
/* Rounds of training when it does not stop early, and the optimiser steps that the first so many of
 * them make. */
uint32_t plan_rounds(const struct job *job);
uint32_t plan_steps(const struct job *job, uint32_t rounds);
/* What the first so many rounds see of the data, in the job's units (job_unit). */
uint64_t plan_units(const struct job *job, uint32_t rounds);
/* Did recipe.patience end it? */
bool plan_stopped(const struct job_plan *p, const struct plan_state *st);
/* The parameters that the model would have if this were the end. */
const struct cid *plan_model_params(const struct plan_state *st);
/* The score to be shown: the last, and at the end that of the model. */
const struct plan_score *plan_model_score(const struct job_plan *p, const struct plan_state *st);
/* The did:key of the only rig that can run the task; NULL: any. Nobody can check it. */
const char *plan_task_owner(const struct job_plan *p, const struct task *t);
/* Of a task that admits a delta which nobody could check: whose it is; else NULL. */
const char *plan_delta_maker(const struct job_plan *p, enum task_kind kind, struct tree_range r);
/* PLAN-1 for a task of the round that the state is at. */
bool plan_task_fits(const struct job_plan *p, const struct plan_state *st, const struct task *t);
/* Take an accepted result (its task fits; `r` is copied). */
enum emac_status plan_take(struct plan_state *st, const struct plan_result *r,
                           struct emac_err *err);
/* Go on to the next round if the results suffice. */
bool plan_turn(const struct job_plan *p, struct plan_state *st);
/* Is the output still needed: by a task of the round to come, or as part of the next state? */
bool plan_needs(const struct job_plan *p, const struct plan_state *st, const struct plan_result *r,
                const struct task_output *output);
/* Does the state need the value now? After training only parameters are needed. */
bool plan_needs_value(const struct job_plan *p, const struct plan_state *st,
                      const struct plan_value *v);

/* What tells who has a stage of a lane (job_lanes): a value of its state after the last round, or
 * what init made of it while not all stages have theirs. NULL: nothing yet. */
const struct cid *plan_stage_anchor(const struct job_plan *p, const struct plan_state *st,
                                    uint32_t s, uint32_t lane);

/* ---- what comes next ---- */

struct plan_want {
    char slot[SLOT_MAX];
    enum task_kind kind;
    struct tree_range range; /* shared kinds: micro-batches; else what the planner likes */
    uint32_t owner;          /* index of the worker it was sized for; the fastest for tasks that are
                              * not shared; 0 for a range that was open already */
    uint32_t copies;         /* rigs that are to run it; 0: as the job's policy says */
    struct cid anchor;       /* staged kinds: who holds this value comes first */
    uint32_t holders;        /* and so many rigs may hold it */
    bool placed;             /* keep it for the owner, as ranges are */
    uint64_t flops;
    struct task task; /* owned */
};
/* A range of a shared kind that was handed out. */
struct plan_open {
    enum task_kind kind;
    struct tree_range range;
};
/* Is all of `r` in `also` and the kind's results? */
bool plan_is_covered(const struct plan_state *st, enum task_kind kind, struct tree_range r,
                     struct tree_range also);
/* Is the want one of these? */
bool plan_open_has(const struct plan_open *open, uint32_t count, const struct plan_want *w);
/* The tasks wanted now, for the live workers (>= 1; work is counted in flops): at most `cap` (>=
 * 1); what did not fit is wanted by the next call. Release them with plan_wants_release. Of shared
 * kinds what is missing: ranges of `open` (handed out), and shares (SHARE-1, SHARE-2) of what
 * neither they nor results cover. Others are listed until they have a result. */
enum emac_status plan_next(const struct job_plan *p, const struct plan_state *st,
                           const struct plan_open *open, uint32_t open_count,
                           const struct tree_crew *crew, struct plan_want *out, uint32_t cap,
                           uint32_t *count, struct emac_err *err);
void plan_wants_release(struct plan_want *w, uint32_t count);

/* Is the state to be kept? Every recipe.checkpoint_every rounds, at the end, when "best" is new. */
bool plan_is_checkpoint(const struct job_plan *p, const struct plan_state *st);

/* ---- money ---- */

/* Price of a task: ceil(flops * units_per_tflop / 10^12), at least 1, checked. */
enum emac_status plan_price(const struct job *job, uint64_t flops, int64_t *units,
                            struct emac_err *err);
/* Flops and price of the whole job when nothing is done twice; the price is what it is when each
 * micro-batch is a task of its own, the dearest way to round. */
enum emac_status plan_total(const struct job_plan *p, uint64_t *flops, int64_t *units,
                            struct emac_err *err);
/* What to put into escrow when the job names no budget: three times plan_total, rounded up to
 * 0.01 EMAC. */
enum emac_status plan_budget_default(const struct job_plan *p, int64_t *units,
                                     struct emac_err *err);
/* Is the task `cid`, of a kind that is checked by lot, to be executed by a second rig?
 * HMAC-SHA-256(secret, cid) against job.check: unpredictable to rigs, repeatable for auditors. */
bool plan_is_checked(const struct job *job, const uint8_t secret[32], const struct cid *task);

/* ---- results ---- */

/* The model directory (work/model_tree.h): beside the job its CID depends on the params' CID alone.
 * Blocks other than the params' are returned to be stored; release them with job_blocks_free. */
enum emac_status plan_model(const struct job_plan *p, const struct cid *params, struct cid *model,
                            struct job_block **block, size_t *count, struct emac_err *err);
void job_blocks_free(struct job_block *block, size_t count);

#endif
