/* For the files plan_*.c: one planner a value of the job's `spread`, and what they share. */
#ifndef EMAC_WORK_PLANNER_IMPL_H
#define EMAC_WORK_PLANNER_IMPL_H

#include "work/family.h"
#include "work/planner.h"

/* Building a plan. */
struct plan_building {
    struct job_plan *p;
    const struct job_family *family;
    struct block_list blocks;
};

/* A graph and the program around it become blocks and the next row of p->program. With a sampler
 * it is a map, else an apply. `what` names it in sentences. */
enum emac_status plan_program_add(struct plan_building *b, enum task_kind kind, uint32_t part,
                                  const struct graph *g, const struct sampler *sampler,
                                  struct emac_err *err);
/* The same in parts, for a program that is more than a graph. A graph becomes a block; */
enum emac_status plan_graph_add(struct plan_building *b, enum task_kind kind, const struct graph *g,
                                struct cid *cid, struct emac_err *err);
/* a program becomes a block; */
enum emac_status plan_program_put(struct plan_building *b, const struct program *program,
                                  struct cid *cid, struct emac_err *err);
/* and `row`, with its CID and flops, the next of p->program. */
void plan_program_take(struct plan_building *b, const struct plan_program *row);
/* By name, as a task lists its inputs and a receipt its outputs. */
void plan_bundles_sort(struct plan_bundle *list, uint32_t count);
/* The bundles of a graph's ports as the inputs and outputs of a row, and its parts. */
enum emac_status plan_bundles_note(struct plan_program *row, const struct graph *g,
                                   struct emac_err *err);
/* plan_local.c: the outer step over the deltas of `replicas`, which go through `decode` (NULL: as
 * they are), and of which none may have a norm above `reach` (0: any). */
enum emac_status plan_outer_add(struct plan_building *b, enum task_kind kind, uint32_t part,
                                const struct graph *outer, const struct graph *decode,
                                uint32_t replicas, double reach, struct emac_err *err);
/* Where the training micro-batches come from. */
struct sampler plan_train_sampler(const struct job *j);
/* Let tasks take this as an input. */
enum emac_status plan_constant_add(struct job_plan *p, const struct cid *cid, struct emac_err *err);

/* What the tasks to come are chosen from. */
struct planning {
    const struct job_plan *p;
    const struct plan_state *st;
    const struct plan_open *open;
    uint32_t open_count;
    const struct tree_crew *crew;
    struct plan_want *out;
    uint32_t count, cap;
};

/* Task objects. Inputs are kept in order of their names, each once; "base" is added to what takes
 * it by plan_next. Args come in strict order. */
void task_input_add(struct task *t, const char *name, const struct cid *cid);
struct task_arg *task_arg_add(struct task *t, const char *name, uint32_t width);
/* Those of an optimiser's graph at step `step` over so many (model/optimiser.h). */
void task_optimiser_args(struct task *t, const struct job *job, uint32_t step,
                         uint32_t micro_batches);
/* The next want, of program (kind, part), with its slot and flops for one run; NULL when `cap` is
 * reached or the slot has a result already. */
struct plan_want *plan_want_add(struct planning *g, const struct plan_program *program,
                                const char *slot);
uint32_t plan_fastest(const struct planning *g);
/* Whose part number `part` is: they go round, the fastest first. */
uint32_t plan_owner(const struct planning *g, uint32_t part);
const struct plan_result *plan_result_find(const struct plan_state *st, const char *slot);
const struct cid *plan_output(const struct plan_result *r, const char *name); /* NULL: none */
void plan_value_remove(struct plan_state *st, const char *name);

/* ---- plan_share.c: a sum shared out by ranges, and the task that takes it ---- */

struct plan_share {
    enum task_kind map, sum; /* GRAD and STEP, EVAL and SCORE */
    uint32_t total;          /* micro-batches */
    /* Fill the map task of a range, the task of the whole sum (its parts are there already). */
    void (*fill_map)(struct planning *g, struct tree_range r, struct plan_want *w);
    void (*fill_sum)(struct planning *g, struct plan_want *w);
};
/* Wants for the ranges that are missing; once all are there for the sum. */
enum emac_status plan_share_wants(struct planning *g, const struct plan_share *share,
                                  struct emac_err *err);

/* ---- plan_eval.c: evaluations, and what follows from their scores ---- */

/* Must the state after this round have the whole model's "params"? It is to be kept or evaluated,
 * or the evaluation beside the round may end training or find the best. */
bool plan_whole_after(const struct job_plan *p, const struct plan_state *st);
/* Is the state that the round starts from, or training ended with, to be evaluated? */
bool plan_eval_due(const struct job_plan *p, const struct plan_state *st);
enum emac_status plan_eval_wants(struct planning *g, struct emac_err *err);
const struct plan_result *plan_score_find(const struct plan_state *st); /* NULL: none yet */
/* Of the state after `step` rounds, whose parameters are `params`. */
void plan_score_take(const struct job_plan *p, struct plan_state *st, const struct plan_result *r,
                     uint32_t step, const struct cid *params);

/* ---- plan_price.c ---- */

struct plan_bill {
    const struct job *job;
    uint64_t flops;
    int64_t units;
};
/* `times` tasks of this program, each of one run of its graph; NULL adds nothing. */
enum emac_status plan_bill_add(struct plan_bill *b, const struct plan_program *program,
                               uint64_t times, struct emac_err *err);

/* Of PLANNER_EVALUATE? */
bool plan_trains(const struct job_plan *p);

/* plan_eval.c: all evaluations of a job that is not stopped early. */
enum emac_status plan_eval_bill(const struct job_plan *p, struct plan_bill *b,
                                struct emac_err *err);

/* A round may have results of kinds EVAL and SCORE too, which are no business of its planner's. */
struct planner {
    /* Replicas on rigs of their own all begin with the initial state: each of these rigs makes it
     * for itself, for it is less to make than to move. */
    bool begins_alike;
    /* Programs of init and of the rounds. */
    enum emac_status (*build)(struct plan_building *b, struct emac_err *err);
    uint32_t (*rounds)(const struct job *job);
    uint32_t (*steps)(const struct job *job, uint32_t rounds); /* NULL: one a round */
    /* Wants of a round. NULL: it trains nothing, and turn is not called. */
    enum emac_status (*wants)(struct planning *g, struct emac_err *err);
    /* Values of the first round beside the outputs of init, which are there. May be NULL. */
    void (*begin)(const struct job_plan *p, struct plan_state *st);
    /* Put the values after the round in place if its results suffice, else change nothing. */
    bool (*turn)(const struct job_plan *p, struct plan_state *st);
    /* May be NULL: every output but "metrics" is needed until the turn. */
    bool (*needs)(const struct job_plan *p, const struct plan_state *st,
                  const struct plan_result *r, const struct task_output *output);
    /* What the rounds cost. */
    enum emac_status (*bill)(const struct job_plan *p, struct plan_bill *b, struct emac_err *err);
};
const struct planner *planner_of(const struct job *job);

extern const struct planner PLANNER_SYNC, PLANNER_PIPELINE, PLANNER_LOCAL, PLANNER_HYBRID,
    PLANNER_EVALUATE;

#endif
