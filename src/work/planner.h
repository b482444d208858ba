/* The planner: a pure function from (job, results so far) to the tasks wanted
 * next. Which rig runs what, in which order and pieces, changes no result.
 *
 * Synchronous data-parallel training:
 *   init                     -> params, opt
 *   for step s = 0..S-1:
 *     grad s/first+count     -> sum         (aligned ranges covering [0,M))
 *     step s                 -> params, opt, metrics
 *   eval first+count         -> sum         (held-out windows or test records, covering [0,E))
 *   score                    -> metrics {loss}, on a data set {accuracy, loss}
 * A slot names a task within its job: "init", "grad/000012/0+4", "step/000012",
 * "eval/0+8", "score". */
#ifndef EMAC_WORK_PLANNER_H
#define EMAC_WORK_PLANNER_H

#include "work/job.h"
#include "work/task.h"
#include "work/tree.h"

#define SLOT_MAX 48

/* Everything that is derived from the job once: programs, constant inputs, and the files of the
 * model directory. All are blocks to be put into a store (the depot) before work starts. */
struct job_block {
    struct cid cid;
    uint8_t *data;
    size_t len;
};
struct job_plan {
    struct job job;
    struct emac_buf config; /* text of the model's config.json */
    struct cid init_program, grad_program, step_program, eval_program, score_program;
    struct cid tables; /* constant bundle, none when the family has none */
    uint64_t init_flops, grad_flops /* one micro-batch */, step_flops, eval_flops, score_flops;
    uint64_t params_bytes, opt_bytes, grads_bytes; /* sizes of the bundles */
    /* eval_program, score_program are none when job_eval_batches is 0 */
    size_t block_count;
    struct job_block *block; /* programs, graphs, tables (single blocks or UnixFS trees) */
};
/* `s` holds the manifest of the job's data set; NULL will do for a job on text. */
enum emac_status job_plan_new(const struct job *job, struct store *s, struct job_plan **out,
                              struct emac_err *err);
void job_plan_free(struct job_plan *p);

enum plan_phase { PLAN_INIT, PLAN_TRAIN, PLAN_EVAL, PLAN_DONE };

/* Results so far, as far as the next tasks depend on them. */
struct plan_part {
    struct tree_range range;
    struct cid cid;
};
struct plan_state {
    bool has_state;         /* init is done */
    uint32_t step;          /* optimiser steps done */
    struct cid params, opt; /* after `step` steps */
    uint32_t part_count;    /* accepted sums of the step under way (or of eval) */
    struct plan_part *part;
    bool scored;
};
enum plan_phase plan_phase_of(const struct job_plan *p, const struct plan_state *st);

enum task_kind { TASK_INIT, TASK_GRAD, TASK_STEP, TASK_EVAL, TASK_SCORE };
const char *task_kind_name(enum task_kind kind);

struct plan_want {
    char slot[SLOT_MAX];
    enum task_kind kind;
    struct tree_range range; /* grad, eval */
    uint32_t owner;          /* index of the worker it was sized for; the fastest for tasks that are
                              * not shared; 0 for a range that was open already */
    uint64_t flops;
    struct task task; /* owned */
};
/* The tasks wanted now, given the relative speeds of the live workers (>= 1): at most `cap` (>= 1)
 * wants; what did not fit is wanted by the next call. Release them with plan_wants_release.
 * For grad and eval it lists the ranges still missing: if nothing of the step is done or
 * `open` (ranges already handed out), shares by speed over [0,total); else the ranges of `open`
 * that are not done, and shares of what neither covers. */
enum emac_status plan_next(const struct job_plan *p, const struct plan_state *st,
                           const struct tree_range *open, uint32_t open_count, const double *speed,
                           uint32_t workers, struct plan_want *out, uint32_t cap, uint32_t *count,
                           struct emac_err *err);
void plan_wants_release(struct plan_want *w, uint32_t count);

bool plan_is_checkpoint(const struct job *job, uint32_t step);
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
/* Is the gradient or eval task `cid` to be executed by a second rig? (init and score always are
 * when job.check > 0; steps by state_copies rigs.) HMAC-SHA-256(secret, cid) against job.check:
 * unpredictable to rigs, repeatable for auditors. */
bool plan_is_checked(const struct job *job, const uint8_t secret[32], const struct cid *task);

/* The model directory (UnixFS: config.json, model.safetensors = the params bundle; of a language
 * model generation_config.json, special_tokens_map.json, tokenizer.json, tokenizer_config.json,
 * too): beside the job its CID depends on the params' CID alone. Blocks other than the params' are
 * returned to be stored; release them with job_blocks_free. */
enum emac_status plan_model(const struct job_plan *p, const struct cid *params, struct cid *model,
                            struct job_block **block, size_t *count, struct emac_err *err);
void job_blocks_free(struct job_block *block, size_t count);

/* Read tensor `name` of one f32 element out of a metrics bundle (<= 4 KiB). */
enum emac_status metrics_read(const void *bundle, size_t n, const char *name, double *out,
                              struct emac_err *err);

#endif
