#include "node/fit.h"

#include "graph/stages.h"

#define MIB_OF(bytes) ((unsigned long long)(((bytes) + ((1u << 20) - 1)) >> 20))

/* How large a task of the program may get: the micro-batches of a range, the parts of a sum. A sum
 * of ranges is asked about with one part, what it always has on one rig. */
static uint32_t runs_of(const struct job_plan *p, const struct plan_program *program)
{
    uint32_t largest = 1;
    if (program->kind == TASK_REDUCE)
        return job_round_batches(&p->job);
    if (!task_kind_info(program->kind)->shared)
        return 1;
    while (largest <= job_round_batches(&p->job) / 2)
        largest *= 2;
    return largest;
}

enum emac_status fit_need(struct exec *x, const struct job_plan *p, uint64_t *bytes,
                          const struct plan_program **program, struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    *bytes = 0;
    for (uint32_t i = 0; i < p->program_count && st == EMAC_OK; i++) {
        const struct plan_program *row = &p->program[i];
        uint64_t need = 0;
        st = exec_program_need(x, &row->cid, runs_of(p, row), &need, err);
        if (need <= *bytes)
            continue;
        *bytes = need;
        if (program != NULL)
            *program = row;
    }
    return st;
}

/* What a rig would need with that many stages; false when the model has not so many. */
static bool staged_need(struct exec *x, struct store *s, const struct job_plan *p, uint32_t stages,
                        uint64_t *bytes)
{
    struct job job = p->job;
    struct job_plan *plan;
    bool done = true;
    if (!job_set_stages(&job, stages) || job_plan_new(&job, s, &plan, NULL) != EMAC_OK)
        return false;
    for (size_t i = 0; i < plan->block_count && done; i++) {
        const struct job_block *b = &plan->block[i];
        done = store_block_put_as(s, &b->cid, b->data, b->len, NULL) == EMAC_OK;
    }
    done = done && fit_need(x, plan, bytes, NULL, NULL) == EMAC_OK;
    job_plan_free(plan);
    return done;
}

enum emac_status fit_check(struct exec *x, struct store *s, const struct job_plan *p,
                           struct emac_err *err)
{
    const struct plan_program *largest = NULL;
    struct emac_err why = {0};
    uint64_t need, staged = 0;
    uint32_t stages = job_stages(&p->job) + 1;
    struct job near = p->job;
    enum emac_status st = fit_need(x, p, &need, &largest, err);
    if (st != EMAC_OK || need <= exec_memory_max(x))
        return st;
    st = exec_program_fits(x, &largest->cid, runs_of(p, largest), &why);
    while (stages <= STAGES_MAX && staged_need(x, s, p, stages, &staged) &&
           staged > exec_memory_max(x))
        stages++;
    if (staged == 0 || staged > exec_memory_max(x))
        return emac_fail(err, st, "the job '%s', task '%s': %s", p->job.name,
                         task_kind_name(largest->kind), why.text);
    job_set_stages(&near, stages);
    return emac_fail(err, st,
                     "the job '%s', task '%s': %s, or rigs that share the model: with spread "
                     "{kind: %s, stages: %u} each needs %llu MiB",
                     p->job.name, task_kind_name(largest->kind), why.text, job_spread_name(&near),
                     stages, MIB_OF(staged));
}
