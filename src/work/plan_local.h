/* Between plan_local.c, all of whose replicas begin a round with the same parameters, and
 * plan_local_stream.c, whose replicas have parameters of their own. */
#ifndef EMAC_WORK_PLAN_LOCAL_H
#define EMAC_WORK_PLAN_LOCAL_H

#include "work/planner_impl.h"

/* A replica's task: `begin` (may be NULL), so many times `grad` over the micro-batches and `step`,
 * then `end`. */
struct local_steps {
    const struct graph *begin, *grad, *step, *end;
    struct sampler sampler;
    uint32_t micro_batches;
    enum task_kind kind; /* TASK_LOCAL, TASK_COMMON */
};
/* Its programs, and row (kind, part), whose flops are those of one step: the graphs at both
 * ends pass over the numbers, which is as nothing beside them. */
enum emac_status plan_steps_add(struct plan_building *b, uint32_t part, const struct local_steps *s,
                                struct emac_err *err);

/* Values and slots that each replica has its own of: "opt.3", "local/000012/3". */
const struct cid *plan_value_of(const struct plan_state *st, const char *bundle, uint32_t replica);
void plan_value_put(struct plan_state *st, const char *bundle, uint32_t replica,
                    const struct cid *cid);
void plan_value_drop(struct plan_state *st, const char *bundle, uint32_t replica);
/* Each replica's own copy of value `bundle`, if there is one; with `move` it is not common any
 * more. */
void plan_value_share(struct plan_state *st, const char *bundle, uint32_t replicas, bool move);
void plan_slot_of(char out[SLOT_MAX], const char *what, uint32_t round, uint32_t replica);
const struct plan_result *plan_result_of(const struct plan_state *st, const char *what,
                                         uint32_t replica);

/* Steps [first, first + count) of replica m as `w`, of this program and from this optimiser state:
 * what tasks of all planners of local SGD have in common. */
void plan_steps_fill(struct planning *g, struct plan_want *w, const struct plan_program *program,
                     uint32_t m, uint32_t first, uint32_t count, const struct cid *opt);
/* The want of an outer step over the outputs of tasks `what` (`bundle` of each), if it is not there
 * yet: every rig makes the next parameters for itself; few deltas are less than they are. */
enum emac_status plan_outer_want(struct planning *g, const struct plan_program *program,
                                 const struct local_recipe *r, const char *what, const char *bundle,
                                 struct emac_err *err);

extern const struct planner PLANNER_LOCAL_STREAM;

#endif
