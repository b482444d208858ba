#include <string.h>

#include "base/assert.h"
#include "graph/graph.h"
#include "sched/predict.h"

static uint64_t add(uint64_t a, uint64_t b)
{
    uint64_t sum;
    return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

static uint64_t times(uint64_t a, uint64_t b)
{
    uint64_t product;
    return __builtin_mul_overflow(a, b, &product) ? UINT64_MAX : product;
}

static const struct job_block *block_find(const struct job_plan *p, const struct cid *cid)
{
    for (size_t i = 0; i < p->block_count; i++)
        if (cid_equal(&p->block[i].cid, cid))
            return &p->block[i];
    return NULL;
}

/* Of the program's graph: values between operators. */
static enum emac_status between(const struct job_plan *p, const struct plan_program *program,
                                uint64_t *bytes, struct emac_err *err)
{
    struct program decoded;
    struct graph *g = NULL;
    struct graph_plan *plan = NULL;
    const struct job_block *b = block_find(p, &program->cid);
    enum emac_status st;
    EMAC_ASSERT(b != NULL);
    EMAC_TRY(st, program_decode(&decoded, b->data, b->len, err));
    b = block_find(p, &decoded.graph);
    EMAC_ASSERT(b != NULL);
    EMAC_TRY(st, graph_decode(&g, b->data, b->len, err));
    EMAC_TRY(st, graph_plan_new(g, &plan, err));
    *bytes = graph_plan_bytes(plan);
out:
    graph_plan_free(plan);
    graph_free(g);
    return st;
}

/* Partial sums: one a level of the tree for ranges, two a level and two more for the task that
 * takes them all. */
static uint64_t sums(const struct job_plan *p, const struct plan_program *program)
{
    uint64_t levels = 0;
    for (uint32_t c = p->job.micro_batches; c > 1; c >>= 1)
        levels++;
    if (task_kind_info(program->kind)->shared)
        return times(program->output[0].bytes, levels);
    return program->part_bytes == 0 ? 0 : times(program->part_bytes, 2 * levels + 2);
}

enum emac_status predict_memory(const struct job_plan *p, uint64_t *bytes, enum task_kind *which,
                                struct emac_err *err)
{
    *bytes = 0;
    *which = TASK_INIT;
    for (uint32_t i = 0; i < p->program_count; i++) {
        const struct plan_program *program = &p->program[i];
        uint64_t need;
        enum emac_status st = between(p, program, &need, err);
        if (st != EMAC_OK)
            return st;
        for (uint32_t k = 0; k < program->input_count; k++)
            need = add(need, program->input[k].bytes);
        for (uint32_t k = 0; k < program->output_count; k++)
            need = add(need, program->output[k].bytes);
        need = add(need, sums(p, program));
        if (need > *bytes) {
            *bytes = need;
            *which = program->kind;
        }
    }
    return EMAC_OK;
}
