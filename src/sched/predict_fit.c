#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/buf.h"
#include "base/checked.h"
#include "graph/graph.h"
#include "sched/predict.h"

static const struct job_block *block_find(const struct job_plan *p, const struct cid *cid)
{
    for (size_t i = 0; i < p->block_count; i++)
        if (cid_equal(&p->block[i].cid, cid))
            return &p->block[i];
    return NULL;
}

/* Values between operators of a graph of the plan. */
static enum emac_status graph_need(const struct job_plan *p, const struct cid *cid, uint64_t *bytes,
                                   struct emac_err *err)
{
    struct graph *g = NULL;
    struct graph_plan *plan = NULL;
    const struct job_block *b = block_find(p, cid);
    enum emac_status st;
    *bytes = 0;
    if (b == NULL) /* a program of programs has none */
        return EMAC_OK;
    EMAC_TRY(st, graph_decode(&g, b->data, b->len, err));
    EMAC_TRY(st, graph_plan_new(g, &plan, err));
    *bytes = graph_plan_bytes(plan);
out:
    graph_plan_free(plan);
    graph_free(g);
    return st;
}

/* Of the program, and of those that its steps run one after the other: the largest. */
static enum emac_status between(const struct job_plan *p, const struct cid *program,
                                uint64_t *bytes, struct emac_err *err)
{
    struct program decoded;
    const struct job_block *b = block_find(p, program);
    uint64_t part;
    *bytes = 0;
    if (b == NULL)
        return EMAC_OK;
    enum emac_status st = program_decode(&decoded, b->data, b->len, err);
    if (st == EMAC_OK)
        st = graph_need(p, &decoded.graph, bytes, err);
    const struct cid *inner[] = {&decoded.grad, &decoded.step};
    for (size_t i = 0; st == EMAC_OK && decoded.kind == PROGRAM_STEPS && i < EMAC_COUNT(inner);
         i++) {
        st = between(p, inner[i], &part, err);
        *bytes = part > *bytes ? part : *bytes;
    }
    return st;
}

/* Partial sums: one a level of the tree for ranges, as many and one for a task that takes
 * the sums of all micro-batches; one for the task of a sum, which comes in one part at least. */
static uint64_t sums(const struct job_plan *p, const struct plan_program *program)
{
    uint64_t levels = 0;
    for (uint32_t c = job_round_batches(&p->job); c > 1; c >>= 1)
        levels++;
    if (task_kind_info(program->kind)->shared)
        return emac_mul_most(program->output[0].bytes, levels);
    return emac_mul_most(program->part_bytes, program->kind == TASK_REDUCE ? levels + 1 : 1);
}

enum emac_status predict_program_memory(const struct job_plan *p,
                                        const struct plan_program *program, uint64_t *bytes,
                                        struct emac_err *err)
{
    enum emac_status st = between(p, &program->cid, bytes, err);
    for (uint32_t k = 0; k < program->input_count; k++)
        *bytes = emac_add_most(*bytes, program->input[k].bytes);
    for (uint32_t k = 0; k < program->output_count; k++)
        *bytes = emac_add_most(*bytes, program->output[k].bytes);
    *bytes = emac_add_most(*bytes, sums(p, program));
    return st;
}

enum emac_status predict_memory(const struct job_plan *p, uint64_t *bytes, enum task_kind *which,
                                struct emac_err *err)
{
    *bytes = 0;
    *which = TASK_INIT;
    for (uint32_t i = 0; i < p->program_count; i++) {
        const struct plan_program *program = &p->program[i];
        uint64_t need;
        enum emac_status st = predict_program_memory(p, program, &need, err);
        if (st != EMAC_OK)
            return st;
        if (need > *bytes) {
            *bytes = need;
            *which = program->kind;
        }
    }
    return EMAC_OK;
}

/* ---- the nearest that fits ---- */

static bool need_of(const struct job *job, struct store *s, uint64_t *bytes)
{
    struct job_plan *plan;
    enum task_kind which;
    if (job_plan_new(job, s, &plan, NULL) != EMAC_OK)
        return false;
    bool known = predict_memory(plan, bytes, &which, NULL) == EMAC_OK;
    job_plan_free(plan);
    return known;
}

bool predict_nearest(const struct job *job, struct store *s, uint64_t memory, struct job *out,
                     uint64_t *bytes)
{
    struct job j = *job;
    while (j.micro_batch % 2 == 0 && j.micro_batches <= JOB_MICRO_BATCHES_MAX / 2) {
        j.micro_batch /= 2;
        j.micro_batches *= 2;
        *out = j;
        if (need_of(&j, s, bytes) && *bytes <= memory)
            return true;
    }
    j = *job;
    for (uint32_t stages = job_stages(&j) + 1; stages <= STAGES_MAX; stages++) {
        if (!job_set_stages(&j, stages) || !need_of(&j, s, bytes))
            return false;
        *out = j;
        if (*bytes <= memory)
            return true;
    }
    return false;
}

#define MIB_OF(bytes) ((unsigned long long)(((bytes) + ((1u << 20) - 1)) >> 20))

enum emac_status predict_fits(const struct job_plan *p, struct store *s, uint64_t memory,
                              struct emac_err *err)
{
    struct job near;
    char hint[200] = "take a smaller model or larger rigs";
    uint64_t need, less;
    enum task_kind which;
    enum emac_status st = predict_memory(p, &need, &which, err);
    if (st != EMAC_OK || memory == 0 || need <= memory)
        return st;
    if (!predict_nearest(&p->job, s, memory, &near, &less))
        ;
    else if (near.kind == JOB_EVALUATE)
        snprintf(hint, sizeof hint, "with recipe.micro_batch %u it is %llu MiB", near.micro_batch,
                 MIB_OF(less));
    else if (near.micro_batch != p->job.micro_batch)
        snprintf(hint, sizeof hint,
                 "with recipe.micro_batch %u and micro_batches %u it is %llu MiB", near.micro_batch,
                 near.micro_batches, MIB_OF(less));
    else
        snprintf(hint, sizeof hint, "with spread {kind: %s, stages: %u} it is %llu MiB",
                 job_spread_name(&near), near.pipeline.stages, MIB_OF(less));
    return emac_fail(err, EMAC_TOO_LARGE,
                     "no rig has the memory for '%s': a task of kind '%s' needs %llu MiB, the "
                     "largest rig may use %llu MiB for one; %s",
                     p->job.name, task_kind_name(which), MIB_OF(need),
                     (unsigned long long)(memory >> 20), hint);
}
