/* Between plan_pipeline.c and plan_hybrid.c: a round of one pipeline or of several side by side. */
#ifndef EMAC_WORK_PLAN_PIPELINE_H
#define EMAC_WORK_PLAN_PIPELINE_H

#include "graph/stages.h"
#include "work/planner_impl.h"

struct pipeline_lane {
    const struct plan_result *reduce[STAGES_MAX], *step[STAGES_MAX], *delta[STAGES_MAX];
    uint32_t back[STAGES_MAX]; /* how many micro-batches the stage brought back */
};

/* The round's results, by stage and micro-batch. Lane l has micro-batches [l * batches,
 * (l + 1) * batches) of a step; tasks that are no micro-batch's have its first. */
struct pipeline_round {
    struct planning *g;
    uint32_t stages, lanes, batches;                /* batches: of a lane */
    const struct plan_result **forward, **backward; /* [stages][lanes * batches] */
    struct pipeline_lane lane[JOB_LANES_MAX];
    const struct plan_result *outer[STAGES_MAX], *join;
};
enum emac_status pipeline_round_init(struct pipeline_round *r, struct planning *g,
                                     struct emac_err *err);
void pipeline_round_release(struct pipeline_round *r); /* in any case */

/* Programs of all stages; `more` adds those of init and what else a stage has. */
typedef enum emac_status pipeline_stage_fn(struct plan_building *b, const struct stages *st,
                                           uint32_t s, const struct graph *init,
                                           struct emac_err *err);
enum emac_status pipeline_build(struct plan_building *b, pipeline_stage_fn *more,
                                struct emac_err *err);

/* stage_init with what the stage takes of a base that stays as it is. */
enum emac_status pipeline_stage_init(const struct stages *st, const struct graph *init, uint32_t s,
                                     struct graph **out, struct emac_err *err);

const struct plan_result *pipeline_result(const struct plan_state *st, enum task_kind kind,
                                          uint32_t s, uint32_t m);
/* A lane's own value: "params.3" of lane 1 is "params.3.1"; a lone pipeline's is "params.3". */
void pipeline_value_name(char out[TASK_NAME_MAX], const char *name, uint32_t lane);
const struct cid *pipeline_value(const struct job_plan *p, const struct plan_state *st,
                                 const char *name, uint32_t lane);
/* "act.1.2" -> 1, if the bundle is of that kind and the number is a stage. */
bool pipeline_bundle(const struct pipeline_round *r, const char *name, const char *kind,
                     uint32_t *stage);

/* Add a want unless an input is not there yet, no room is left or it has a result; NULL then. */
struct plan_want *pipeline_want(struct pipeline_round *r, enum task_kind kind, uint32_t s,
                                uint32_t m, const char *slot);
void pipeline_slot(const struct pipeline_round *r, char out[SLOT_MAX], enum task_kind kind,
                   uint32_t s, uint32_t lane);
/* Room for `count` parts of `total`. */
enum emac_status pipeline_parts(struct plan_want *w, uint32_t total, uint32_t count,
                                struct emac_err *err);
/* What all lanes want: sums and optimiser steps; the whole model, if it is needed; passes. */
enum emac_status pipeline_steps(struct pipeline_round *r, struct emac_err *err);
void pipeline_want_join(struct pipeline_round *r);
void pipeline_passes(struct pipeline_round *r);
/* For struct planner. */
bool pipeline_needs(const struct job_plan *p, const struct plan_state *st,
                    const struct plan_result *r, const struct task_output *output);
enum emac_status pipeline_bill(const struct job_plan *p, struct plan_bill *b, struct emac_err *err);

/* plan_hybrid.c: where a task between lanes finds its input; NULL: it is not there yet. */
const struct cid *hybrid_input(const struct pipeline_round *r, enum task_kind kind,
                               const char *name, uint32_t lane);

#endif
