/* Local SGD in fragments, as its planner has it, against the algorithm step by step in plain C: the
 * same bits, whatever travels. */
#include "exec_fixture.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "compute/pack.h"
#include "graph/graph.h"
#include "model/local_sgd.h"
#include "work/family.h"

#define REPLICAS 3
#define BATCHES  2 /* of a replica's step */
#define STEPS    11

#define RECIPE(f, o, h, form, own, mu)                                                             \
    {                                                                                              \
        .replicas = REPLICAS, .inner_steps = (h), .outer_lr = 0.7, .outer_momentum = (mu),         \
        .delta = DELTA_##form, .density = DELTA_##form == DELTA_TOPK ? 0.02 : 0,                   \
        .feedback = DELTA_##form == DELTA_F32 ? 0 : 0.9, .resume = RESUME_##own, .fragments = (f), \
        .overlap = (o)                                                                             \
    }

static const struct local_recipe recipes[] = {
    RECIPE(2, 0, 4, F32, COMMON, 0.9),   RECIPE(2, 1, 4, F32, COMMON, 0.9),
    RECIPE(1, 2, 3, F32, COMMON, 0),     RECIPE(2, 1, 4, INT8, COMMON, 0.9),
    RECIPE(1, 1, 4, INT4, OWN, 0.5),     RECIPE(2, 0, 6, TOPK, OWN, 0),
    RECIPE(2, 2, 6, TOPK, COMMON, 0),    RECIPE(2, 1, 4, TOPK, OWN, 0),
    RECIPE(2, 3, 40, INT4, COMMON, 0.9), /* nothing is told before the end */
};

/* ---- the job by its planner ---- */

static void result_take(struct job_plan *p, struct plan_state *st, const struct plan_want *w,
                        const struct exec_result *got)
{
    const struct plan_program *row = plan_program_find(p, &w->task.program);
    struct plan_result r = {.kind = w->kind, .range = w->range, .loss = -1, .accuracy = -1};
    assert_int_equal(row->output_count, got->output_count);
    for (uint32_t i = 0; i < got->output_count; i++) {
        assert_string_equal(row->output[i].name, got->output[i].name);
        assert_int_equal(row->output[i].bytes, got->value[i]->size);
    }
    set_text(r.slot, w->slot);
    r.output_count = got->output_count;
    memcpy(r.output, got->output, got->output_count * sizeof got->output[0]);
    assert_ok(plan_take(st, &r, err));
}

/* Everything it makes stays in the store's cache. */
static struct cid planned(struct rig *r, struct job_plan *p)
{
    struct plan_state st;
    const double speed = 1;
    const struct tree_crew crew = {.count = 1, .speed = &speed};
    plan_state_init(&st);
    while (plan_phase_of(p, &st) < PLAN_EVAL) {
        struct plan_want want[16];
        uint32_t count;
        assert_ok(plan_next(p, &st, NULL, 0, &crew, want, 16, &count, err));
        struct exec_result got;
        assert_ok(exec_run(r->exec, &want[0].task, &got, err));
        result_take(p, &st, &want[0], &got);
        exec_result_release(r->exec, &got);
        plan_wants_release(want, count);
        plan_turn(p, &st);
    }
    struct cid params = *plan_value(&st, "params");
    plan_state_release(&st);
    return params;
}

/* ---- the same step by step ---- */

struct weights {
    size_t at, n; /* of the numbers of a bundle */
    uint32_t fragment;
};

struct model {
    struct rig *rig;
    const struct local_recipe *r;
    struct cid one_step; /* program */
    const struct store_value *first;
    size_t header, n; /* of a bundle of parameters: bytes, numbers */
    uint32_t tensors;
    struct weights tensor[64];
    float *common, *outer, *own[REPLICAS], *at[REPLICAS], *carry[REPLICAS];
    struct cid opt[REPLICAS];
};

static float *numbers_new(size_t n)
{
    float *x = calloc(n, sizeof *x);
    assert_non_null(x);
    return x;
}

/* The largest tensor is the first, and more than half of all: so of two fragments it is the first,
 * and the rest the second. */
static void model_shape(struct model *m)
{
    struct graph *init;
    struct st_index idx = {0};
    assert_ok(job_family_of(&m->rig->job)->graph_init(&m->rig->job, &init, err));
    assert_ok(st_index_parse(&idx, m->first->data, m->first->size, m->first->size, err));
    for (uint32_t i = 0; i < graph_output_count(init); i++) {
        struct graph_port port = graph_output_at(init, i);
        if (strncmp(port.name, "params/", 7) != 0)
            continue;
        const struct st_tensor *t = st_index_find(&idx, port.name + 7);
        assert_non_null(t);
        m->tensor[m->tensors] = (struct weights){.at = t->begin / sizeof(float),
                                                 .n = (t->end - t->begin) / sizeof(float),
                                                 .fragment = m->tensors > 0};
        m->n += m->tensor[m->tensors++].n;
    }
    assert_true(m->tensor[0].n > m->n / 2);
    m->header = idx.data_offset;
    st_index_release(&idx);
    graph_free(init);
}

static struct cid one_step_put(struct rig *r)
{
    struct program p = {.kind = PROGRAM_STEPS,
                        .grad = plan_program(r->plan, TASK_GRAD)->cid,
                        .step = plan_program(r->plan, TASK_STEP)->cid,
                        .micro_batches = BATCHES,
                        .recipe = r->job.optimiser};
    struct graph *init, *end;
    struct emac_buf buf;
    struct cid cid;
    emac_buf_init(&buf, UNIXFS_BLOCK_MAX);
    assert_ok(job_family_of(&r->job)->graph_init(&r->job, &init, err));
    assert_ok(local_pass_graph(init, &end, err));
    assert_ok(graph_encode(end, &buf, err));
    assert_ok(store_block_put(r->store, CID_DAG_CBOR, buf.data, buf.len, &p.graph, err));
    emac_buf_clear(&buf);
    assert_ok(program_encode(&p, &buf, &cid, err));
    assert_ok(store_block_put_as(r->store, &cid, buf.data, buf.len, err));
    emac_buf_release(&buf);
    graph_free(init);
    graph_free(end);
    return cid;
}

static void model_open(struct model *m, struct rig *r, const struct local_recipe *recipe)
{
    struct task init = {.program = plan_program(r->plan, TASK_INIT)->cid};
    struct exec_result got;
    *m = (struct model){.rig = r, .r = recipe, .one_step = one_step_put(r)};
    assert_ok(exec_run(r->exec, &init, &got, err));
    m->first = store_value_hold(r->store, output(&got, "params"));
    model_shape(m);
    const float *x = (const void *)(m->first->data + m->header);
    m->common = numbers_new(m->n);
    m->outer = numbers_new(m->n);
    memcpy(m->common, x, m->n * sizeof *x);
    for (uint32_t k = 0; k < REPLICAS; k++) {
        m->own[k] = numbers_new(m->n);
        m->at[k] = numbers_new(m->n);
        m->carry[k] = numbers_new(m->n);
        m->opt[k] = output(&got, "opt")->cid;
        memcpy(m->own[k], x, m->n * sizeof *x);
    }
    exec_result_release(r->exec, &got);
}

static void model_close(struct model *m)
{
    store_value_drop(m->rig->store, m->first);
    free(m->common);
    free(m->outer);
    for (uint32_t k = 0; k < REPLICAS; k++) {
        free(m->own[k]);
        free(m->at[k]);
        free(m->carry[k]);
    }
}

static const struct store_value *bundle_put(const struct model *m, const float *x)
{
    const struct store_value *v;
    uint8_t *data;
    assert_ok(emac_alloc_aligned(&data, m->first->size, err));
    memcpy(data, m->first->data, m->header);
    memcpy(data + m->header, x, m->n * sizeof *x);
    assert_ok(store_value_adopt(m->rig->store, data, m->first->size, &v, err));
    return v;
}

static void inner_step(struct model *m, uint32_t k, uint32_t step)
{
    const struct store_value *params = bundle_put(m, m->own[k]);
    struct task t = {.program = m->one_step, .first = k * BATCHES, .count = 1, .step = step};
    struct exec_result got;
    task_input_add(&t, "data", &m->rig->job.data);
    task_input_add(&t, "opt", &m->opt[k]);
    task_input_add(&t, "params", &params->cid);
    task_input_add(&t, "tables", &m->rig->plan->tables);
    assert_ok(exec_run(m->rig->exec, &t, &got, err));
    memcpy(m->own[k], output(&got, "params")->data + m->header, m->n * sizeof(float));
    m->opt[k] = output(&got, "opt")->cid;
    exec_result_release(m->rig->exec, &got);
    store_value_drop(m->rig->store, params);
}

/* What arrives of x[n], in place. */
static void through_link(const struct local_recipe *r, float *x, size_t n)
{
    static const enum pack_format FORMATS[DELTA_FORMS] = {
        [DELTA_INT8] = PACK_INT8, [DELTA_INT4] = PACK_INT4, [DELTA_TOPK] = PACK_TOP};
    struct pack p;
    if (r->delta == DELTA_F32)
        return;
    assert_true(
        pack_make(FORMATS[r->delta], r->delta == DELTA_TOPK ? local_keep(r->density) : 0, &p));
    uint8_t *block = calloc(1, pack_block_bytes(&p));
    for (size_t i = 0, each = pack_block_elements(&p); i < n; i += each) {
        size_t now = n - i < each ? n - i : each;
        pack_block_write(&p, block, x + i, now);
        pack_block_read(&p, block, x + i, now);
    }
    free(block);
}

/* What replica k tells of tensor t, and what it keeps for later. */
static void told(struct model *m, uint32_t k, const struct weights *t, float *sent)
{
    float *carry = m->carry[k] + t->at, *way = numbers_new(t->n);
    for (size_t i = 0; i < t->n; i++) {
        way[i] = m->common[t->at + i] - m->own[k][t->at + i];
        if (m->r->delta != DELTA_F32 && m->r->resume == RESUME_COMMON) {
            float kept = carry[i] * (float)m->r->feedback;
            way[i] = kept + way[i];
        }
        sent[i] = way[i];
    }
    through_link(m->r, sent, t->n);
    for (size_t i = 0; i < t->n; i++)
        carry[i] = m->r->delta == DELTA_F32 ? 0 : way[i] - sent[i];
    memcpy(m->at[k] + t->at, m->own[k] + t->at, t->n * sizeof(float));
    free(way);
}

static void tell(struct model *m, uint32_t fragment, bool all)
{
    float mu = (float)m->r->outer_momentum, lr = (float)m->r->outer_lr;
    float third = (float)(1.0 / REPLICAS);
    for (uint32_t i = 0; i < m->tensors; i++) {
        const struct weights *t = &m->tensor[i];
        float *sent[REPLICAS];
        if (!all && m->r->fragments > 1 && t->fragment != fragment)
            continue;
        for (uint32_t k = 0; k < REPLICAS; k++)
            told(m, k, t, sent[k] = numbers_new(t->n));
        for (size_t j = 0; j < t->n; j++) {
            float *c = &m->common[t->at + j], *u = &m->outer[t->at + j], sum;
            sum = sent[0][j] + sent[1][j];
            sum = sum + sent[2][j];
            float mean = sum * third, way = mean;
            if (mu != 0) {
                *u = *u * mu;
                *u = *u + mean;
                way = *u * mu;
                way = mean + way;
            }
            way = way * lr;
            *c = *c - way;
        }
        for (uint32_t k = 0; k < REPLICAS; k++)
            free(sent[k]);
    }
}

static void merge(struct model *m, uint32_t fragment)
{
    for (uint32_t i = 0; i < m->tensors; i++) {
        const struct weights *t = &m->tensor[i];
        if (m->r->fragments > 1 && t->fragment != fragment)
            continue;
        for (uint32_t k = 0; k < REPLICAS; k++)
            for (size_t j = t->at; j < t->at + t->n; j++) {
                float v = m->common[j];
                if (m->r->overlap > 0) {
                    float since = m->own[k][j] - m->at[k][j];
                    v = v + since;
                }
                if (m->r->delta != DELTA_F32 && m->r->resume == RESUME_OWN)
                    v = v - m->carry[k][j];
                m->own[k][j] = v;
            }
    }
}

/* All replicas step by step; a fragment is told when it can be merged before the end. */
static void run_plainly(struct model *m)
{
    uint32_t stride = m->r->inner_steps / m->r->fragments, turn = 0;
    for (uint32_t step = 1; step <= STEPS; step++) {
        for (uint32_t k = 0; k < REPLICAS; k++)
            inner_step(m, k, step - 1);
        if (step == STEPS)
            tell(m, 0, true);
        else if (step % stride == 0 && step + m->r->overlap < STEPS)
            tell(m, turn++ % m->r->fragments, false);
        if (step < STEPS && step > m->r->overlap && (step - m->r->overlap) % stride == 0)
            merge(m, (turn - 1) % m->r->fragments);
    }
}

static void test_planned_as_plainly(void **state)
{
    for (size_t i = 0; i < EMAC_COUNT(recipes); i++) {
        struct rig r;
        struct model m;
        struct job_plan *p;
        rig_open(&r, ISA_BEST, 1, REPLICAS * BATCHES);
        r.job.optimiser.steps = STEPS;
        job_plan_free(r.plan);
        assert_ok(job_plan_new(&r.job, NULL, &r.plan, err));
        plan_put(r.store, r.plan);
        struct job streamed = r.job;
        streamed.spread = SPREAD_LOCAL;
        streamed.local = recipes[i];
        assert_ok(job_plan_new(&streamed, NULL, &p, err));
        plan_put(r.store, p);
        struct cid got = planned(&r, p);
        model_open(&m, &r, &recipes[i]);
        run_plainly(&m);
        const struct store_value *want = bundle_put(&m, m.common);
        if (!cid_equal(&got, &want->cid))
            fail_msg("recipe %zu: another model than step by step", i);
        store_value_drop(r.store, want);
        model_close(&m);
        job_plan_free(p);
        rig_close(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_planned_as_plainly)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
