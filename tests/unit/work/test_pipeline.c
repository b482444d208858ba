/* Pipelines as plans: whatever the order in which tasks come, and whatever is lost on the way, the
 * same tasks lead to the same state; and no more lies about than need be. */
#include "fixture.h"

#include <stdio.h>

#include "base/assert.h"
#include "models.h"
#include "work/plan_pipeline.h"

#define WANTS_MAX 256

struct fleet {
    const struct job_plan *p;
    struct draw d;
    struct plan_state st;
    uint32_t runs, losses;
};

/* An output's CID follows from the task, and so from all that it is made of. */
static struct cid made(const struct cid *task, const char *name)
{
    uint8_t bytes[CID_BYTES + TASK_NAME_MAX] = {0};
    cid_bytes(bytes, task);
    memcpy(bytes + CID_BYTES, name, strlen(name));
    return cid_of(CID_RAW, bytes, sizeof bytes);
}

static void want_run(struct fleet *f, const struct plan_want *w)
{
    const struct plan_program *program = plan_program_find(f->p, &w->task.program);
    struct plan_result r = {.kind = w->kind, .range = w->range, .loss = -1};
    struct emac_buf buf;
    struct cid task;
    assert_non_null(program);
    assert_true(plan_task_fits(f->p, &f->st, &w->task)); /* PLAN-1 */
    emac_buf_init(&buf, TASK_BYTES_MAX);
    assert_ok(task_encode(&w->task, &buf, &task, err));
    emac_buf_release(&buf);
    for (uint32_t i = 0; i < program->input_count; i++)
        assert_non_null(task_input_find(&w->task, program->input[i].name));
    assert_int_equal(w->task.input_count, program->input_count + program->map);
    assert_int_equal(w->task.arg_count, program->arg_count);
    strcpy(r.slot, w->slot);
    assert_null(plan_result_find(&f->st, w->slot));
    r.output_count = program->output_count;
    for (uint32_t i = 0; i < program->output_count; i++) {
        strcpy(r.output[i].name, program->output[i].name);
        r.output[i].cid = made(&task, program->output[i].name);
    }
    assert_ok(plan_take(&f->st, &r, err));
    f->runs++;
}

/* A result is gone with its rig. Only what is still needed is made again, and it gives the same
 * outputs, so what came of it stays good. */
static void result_lose(struct fleet *f)
{
    struct plan_state *st = &f->st;
    if (st->result_count == 0)
        return;
    uint32_t i = draw_below(&f->d, st->result_count);
    const struct plan_result *r = &st->result[i];
    bool needed = false;
    for (uint32_t k = 0; k < r->output_count; k++)
        needed = needed || plan_needs(f->p, st, r, &r->output[k]);
    if (!needed)
        return;
    st->result[i] = st->result[--st->result_count];
    f->losses++;
}

/* No stage is further ahead of itself than its window. */
static void check_window(const struct fleet *f, const struct plan_want *want, uint32_t count)
{
    uint32_t stages = f->p->job.pipeline.stages;
    uint32_t batches = f->p->job.micro_batches / job_lanes(&f->p->job);
    for (uint32_t stage = 0; stage < stages; stage++) {
        uint32_t back[JOB_LANES_MAX] = {0}, from = stage; /* from: the next that brings any back */
        while (plan_program_part(f->p, TASK_BACKWARD, from) == NULL)
            from++;
        for (uint32_t i = 0; i < f->st.result_count; i++) {
            const struct plan_result *r = &f->st.result[i];
            if (r->kind == TASK_BACKWARD && r->range.count == from)
                back[r->range.first / batches]++;
        }
        for (uint32_t i = 0; i < count; i++) {
            uint32_t m = want[i].range.first;
            if (want[i].kind == TASK_FORWARD && want[i].range.count == stage)
                assert_true(m % batches < back[m / batches] + 3 * (stages - stage));
        }
    }
}

/* After init something tells of each stage where it is, of those that stay as they are, too. */
static void check_anchors(const struct fleet *f)
{
    const struct job *j = &f->p->job;
    for (uint32_t i = 0; f->st.value_count > 0 && i < job_stages(j) * job_lanes(j); i++)
        assert_non_null(plan_stage_anchor(f->p, &f->st, i % job_stages(j), i / job_stages(j)));
}

static void round_run(struct fleet *f, uint32_t loss_percent)
{
    double speed[5];
    uint32_t workers = 1 + draw_below(&f->d, 5), count;
    struct plan_want want[WANTS_MAX];
    for (uint32_t i = 0; i < workers; i++)
        speed[i] = 0.1 + draw_unit(&f->d) * 10;
    if (draw_below(&f->d, 100) < loss_percent)
        result_lose(f);
    const struct tree_crew crew = {.count = workers, .speed = speed};
    assert_ok(plan_next(f->p, &f->st, NULL, 0, &crew, want, 1 + draw_below(&f->d, WANTS_MAX),
                        &count, err));
    assert_true(count > 0);
    check_window(f, want, count);
    check_anchors(f);
    for (uint32_t i = 0; i < count; i++) {
        const struct plan_want *w = &want[i];
        bool staged = task_kind_info(w->kind)->staged;
        assert_true(w->owner < workers);
        assert_int_equal(cid_is_none(&w->anchor), !staged);
        if (plan_task_fits(f->p, &f->st, &w->task) && draw_below(&f->d, 3) > 0)
            want_run(f, w);
    }
    plan_turn(f->p, &f->st);
    plan_wants_release(want, count);
}

/* -> the model's parameters */
static struct cid fleet_run(const struct job_plan *p, uint64_t seed, uint32_t loss_percent)
{
    struct fleet f = {.p = p, .d = {.seed = seed}};
    plan_state_init(&f.st);
    for (int round = 0; plan_phase_of(p, &f.st) != PLAN_EVAL; round++) {
        if (round > 5000)
            fail_msg("seed %llu: no end", (unsigned long long)seed);
        round_run(&f, loss_percent);
    }
    assert_int_equal(f.st.step, p->job.optimiser.steps);
    assert_true(loss_percent == 0 || f.losses > 0);
    struct cid params = *plan_value(&f.st, "params");
    plan_state_release(&f.st);
    return params;
}

static struct job pipeline_job(uint32_t stages, uint32_t micro_batches)
{
    struct job j = small_job(3, micro_batches);
    j.model.layers = 4;
    j.spread = SPREAD_PIPELINE;
    j.pipeline.stages = stages;
    j.pipeline.replicas = 1;
    return j;
}

/* Replicas of it, side by side. */
static struct job hybrid_job(uint32_t stages, uint32_t micro_batches, uint32_t replicas,
                             uint32_t inner_steps, enum delta_form delta)
{
    struct job j = pipeline_job(stages, micro_batches);
    j.spread = SPREAD_HYBRID;
    j.pipeline.replicas = 0;
    j.local = (struct local_recipe){.replicas = replicas,
                                    .inner_steps = inner_steps,
                                    .outer_lr = 0.7,
                                    .outer_momentum = delta == DELTA_INT4 ? 0 : 0.9,
                                    .delta = delta,
                                    .feedback = 1};
    j.optimiser.steps = 5;
    j.checkpoint_every = inner_steps;
    return j;
}

/* The same job from a base, of which `kind` is trained. */
static struct job based(struct job j, enum tune_kind kind)
{
    j.tune =
        (struct tune){.kind = kind, .layers = 1, .rank = 2, .alpha = 4, .targets = 1u << TUNE_Q};
    j.base = text_base(&j.model, ST_F32, (struct entry){0});
    return j;
}

/* -> how often the plan has a program of that kind. */
static uint32_t programs_of(const struct job_plan *p, enum task_kind kind)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->program_count; i++)
        n += p->program[i].kind == kind;
    return n;
}

/* Of a head a stage of four is trained, of adapters three, and gradients pass through the fourth on
 * their way: nothing goes back to where nothing is trained from there on, and no sum, step, delta
 * or outer step is made where all is frozen; each stage takes the base's tensors from disk, once.
 */
static void test_what_is_frozen_has_no_tasks(void **state)
{
    static const struct {
        enum tune_kind kind;
        bool hybrid;
        uint32_t backward, update;
    } CASES[] = {{TUNE_HEAD, false, 1, 1},
                 {TUNE_HEAD, true, 1, 1},
                 {TUNE_LORA, false, 4, 3},
                 {TUNE_LORA, true, 4, 3},
                 {TUNE_FULL, false, 4, 4}};
    for (size_t k = 0; k < EMAC_COUNT(CASES); k++) {
        struct job j = pipeline_job(4, 4);
        struct job_plan *p;
        if (CASES[k].hybrid)
            j = hybrid_job(4, 4, 2, 2, DELTA_F32);
        j = based(j, CASES[k].kind);
        assert_ok(job_plan_new(&j, s, &p, err));
        assert_int_equal(programs_of(p, TASK_FORWARD), 3);
        assert_int_equal(programs_of(p, TASK_BACKWARD), CASES[k].backward);
        assert_int_equal(programs_of(p, TASK_REDUCE), CASES[k].update);
        assert_int_equal(programs_of(p, TASK_UPDATE), CASES[k].update);
        assert_int_equal(programs_of(p, TASK_OUTER), CASES[k].hybrid ? CASES[k].update : 0);
        assert_int_equal(programs_of(p, TASK_DELTA), CASES[k].hybrid ? CASES[k].update : 0);
        for (uint32_t i = 0; i < p->program_count; i++)
            for (uint32_t n = 0; n < p->program[i].input_count; n++) {
                const char *name = p->program[i].input[n].name;
                bool whole = strcmp(name, TASK_WHOLE) == 0, base = strcmp(name, "base") == 0;
                bool staged = CASES[k].kind != TUNE_FULL;
                assert_true(!whole || (staged && p->program[i].kind == TASK_INIT));
                assert_true(!base || !staged || p->program[i].kind == TASK_EVAL);
            }
        job_plan_free(p);
    }
}

static void test_no_order_changes_the_result(void **state)
{
    static const uint32_t SHAPES[][5] = {{2, 1},
                                         {2, 5},
                                         {3, 4},
                                         {4, 7},
                                         {2, 6, 2, 2},
                                         {3, 6, 3, 3},
                                         {2, 4, 4, 1},
                                         {4, 2, 1, 2},
                                         {4, 5, 0, 0, TUNE_HEAD},
                                         {3, 4, 0, 0, TUNE_LORA},
                                         {4, 6, 2, 2, TUNE_HEAD},
                                         {3, 4, 2, 1, TUNE_LORA}};
    for (size_t k = 0; k < EMAC_COUNT(SHAPES); k++) {
        struct job j = pipeline_job(SHAPES[k][0], SHAPES[k][1]);
        if (SHAPES[k][2] > 0)
            j = hybrid_job(SHAPES[k][0], SHAPES[k][1], SHAPES[k][2], SHAPES[k][3],
                           k % 2 == 0 ? DELTA_INT4 : DELTA_F32);
        if (SHAPES[k][4] != TUNE_SCRATCH)
            j = based(j, (enum tune_kind)SHAPES[k][4]);
        struct job_plan *p;
        struct cid first = {0};
        assert_ok(job_plan_new(&j, s, &p, err));
        for (uint64_t seed = 0; seed < 10; seed++) {
            struct cid params = fleet_run(p, 100 * k + seed, seed % 2 * 30);
            if (seed == 0)
                first = params;
            else if (!cid_equal(&first, &params))
                fail_msg("seed %llu, %u stages of %u micro-batches: another result",
                         (unsigned long long)(100 * k + seed), SHAPES[k][0], SHAPES[k][1]);
        }
        job_plan_free(p);
    }
}

/* The whole's weights are put together where a checkpoint is, and only there. */
static void test_joins(void **state)
{
    struct job j = pipeline_job(2, 2);
    struct job_plan *p;
    struct fleet f = {.d = {.seed = 5}};
    j.checkpoint_every = 2;
    assert_ok(job_plan_new(&j, NULL, &p, err));
    f.p = p;
    plan_state_init(&f.st);
    uint32_t step = 0;
    while (plan_phase_of(p, &f.st) != PLAN_EVAL) {
        round_run(&f, 0);
        if (f.st.step == step)
            continue;
        step = f.st.step;
        assert_int_equal(plan_value(&f.st, "params") != NULL, step >= 2);
        assert_non_null(plan_value(&f.st, "params.1"));
        assert_non_null(plan_value(&f.st, "opt.0"));
    }
    plan_state_release(&f.st);
    job_plan_free(p);
}

/* What it costs is what is run when nothing is lost. */
static void test_the_bill(void **state)
{
    struct job j = pipeline_job(3, 4), whole = small_job(3, 4);
    struct job_plan *p, *w;
    uint64_t flops, whole_flops;
    int64_t units, whole_units;
    whole.model.layers = 4;
    assert_ok(job_plan_new(&j, NULL, &p, err));
    assert_ok(job_plan_new(&whole, NULL, &w, err));
    assert_ok(plan_total(p, &flops, &units, err));
    assert_ok(plan_total(w, &whole_flops, &whole_units, err));
    /* stages but the last go forward twice: at most a third more */
    assert_true(flops > whole_flops && flops < whole_flops * 4 / 3 + 1000000);
    assert_int_equal(p->params_bytes, w->params_bytes);
    job_plan_free(p);
    job_plan_free(w);
}

/* Between inner steps each stage of each replica has weights, moments and what it has not told of
 * its own; what all began from, and the whole model if it was kept, stay beside. */
static void test_what_replicas_carry(void **state)
{
    struct job j = hybrid_job(2, 4, 2, 2, DELTA_INT8);
    struct job_plan *p;
    struct fleet f = {.d = {.seed = 5}};
    assert_ok(job_plan_new(&j, NULL, &p, err));
    f.p = p;
    plan_state_init(&f.st);
    while (f.st.value_count == 0)
        round_run(&f, 0);
    struct cid start = *plan_value(&f.st, "params.1");
    for (uint32_t m = 0; m < 2; m++)
        assert_true(cid_equal(&start, pipeline_value(p, &f.st, "params.1", m)));
    assert_null(plan_value(&f.st, "opt.1"));
    for (uint32_t step = 0; step < 5; step++) {
        struct cid before = *plan_value(&f.st, "params.1");
        while (f.st.step == step)
            round_run(&f, 0);
        bool together = f.st.step % 2 == 0 || f.st.step == 5;
        const struct cid *now = plan_value(&f.st, "params.1");
        assert_int_equal(cid_equal(&before, now), !together);
        const struct cid *a = pipeline_value(p, &f.st, "params.1", 0);
        const struct cid *b = pipeline_value(p, &f.st, "params.1", 1);
        assert_int_equal(cid_equal(a, b), together);
        assert_int_equal(cid_equal(a, now), together);
        assert_false(
            cid_equal(pipeline_value(p, &f.st, "opt.0", 0), pipeline_value(p, &f.st, "opt.0", 1)));
        assert_int_equal(plan_value(&f.st, "params") != NULL, f.st.step >= 2);
        for (uint32_t i = 0; i < f.st.value_count; i++)
            assert_true(plan_name_is_state(f.st.value[i].name));
    }
    plan_state_release(&f.st);
    job_plan_free(p);
}

static void test_hybrids_that_cannot_be(void **state)
{
    struct job j = hybrid_job(2, 4, 2, 2, DELTA_F32);
    struct job_plan *p;
    j.checkpoint_every = 3;
    assert_fails(job_plan_new(&j, NULL, &p, err), EMAC_INVALID, "inner_steps 2, after which");
    assert_fails(job_plan_new(&j, NULL, &p, err), EMAC_INVALID, "recipe.checkpoint_every 3");
    j.checkpoint_every = 5; /* the end */
    assert_ok(job_plan_new(&j, NULL, &p, err));
    job_plan_free(p);
    j.eval_every = 1;
    assert_fails(job_plan_new(&j, NULL, &p, err), EMAC_INVALID, "recipe.eval_every 1");
    j = hybrid_job(4, 20, 5, 2, DELTA_F32);
    assert_fails(job_plan_new(&j, NULL, &p, err), EMAC_INVALID, "take 4 replicas, or 3 stages");
    j = hybrid_job(2, 3, 2, 2, DELTA_F32);
    assert_fails(job_plan_new(&j, NULL, &p, err), EMAC_INVALID, "multiple of spread.replicas 2");
    j = hybrid_job(2, 4, 2, 2, DELTA_F32);
    j.model.storage = DTYPE_BF16;
    assert_fails(job_plan_new(&j, NULL, &p, err), EMAC_INVALID, "model.storage");
}

static void test_refusals(void **state)
{
    struct job j = pipeline_job(16, 1);
    struct job_plan *p;
    j.model.layers = 1;
    assert_fails(job_plan_new(&j, NULL, &p, err), EMAC_INVALID, "take at most");
    j.pipeline.stages = 1;
    assert_fails(job_plan_new(&j, NULL, &p, err), EMAC_INVALID, "spread.stages");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_order_changes_the_result),
        cmocka_unit_test(test_what_is_frozen_has_no_tasks),
        cmocka_unit_test(test_joins),
        cmocka_unit_test(test_the_bill),
        cmocka_unit_test(test_what_replicas_carry),
        cmocka_unit_test(test_hybrids_that_cannot_be),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests_name("work/pipeline", tests, store_new, store_done);
}
