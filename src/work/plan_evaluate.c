/* Evaluation alone (work/evaluate.h). It has no rounds of training and no state: all tasks are
 * those of the evaluation that ends a job (plan_eval.c), on parameters that are a constant of the
 * job. The score is the one round. */
#include "work/planner_impl.h"

static enum emac_status build(struct plan_building *b, struct emac_err *err)
{
    return EMAC_OK; /* add_eval has made all programs */
}

static uint32_t rounds(const struct job *job)
{
    return 1;
}

static enum emac_status bill(const struct job_plan *p, struct plan_bill *b, struct emac_err *err)
{
    return EMAC_OK; /* plan_eval_bill has it */
}

const struct planner PLANNER_EVALUATE = {.build = build, .rounds = rounds, .bill = bill};
