/* Plans of local SGD: what each task takes, that no fleet changes what comes out, and jobs that
 * cannot be spread so. */
#include "fixture.h"

#include <stdio.h>

#include "base/assert.h"

#define WANTS_MAX 16

static struct job local_job(uint32_t steps, uint32_t replicas, uint32_t inner,
                            enum delta_form delta, double momentum)
{
    struct job j = small_job(steps, 2 * replicas);
    j.spread = SPREAD_LOCAL;
    j.local = (struct local_recipe){.replicas = replicas,
                                    .inner_steps = inner,
                                    .outer_lr = 0.7,
                                    .outer_momentum = momentum,
                                    .delta = delta,
                                    .fragments = 1};
    if (delta != DELTA_F32)
        j.local.feedback = 0.9;
    if (delta == DELTA_TOPK)
        j.local.density = 0.01;
    return j;
}

/* A made-up executor: an output's CID is a hash of its task and its name, so that everything shows
 * in the end. */
static void execute(const struct job_plan *p, struct plan_state *st, const struct plan_want *w)
{
    const struct plan_program *program = plan_program_find(p, &w->task.program);
    struct plan_result r = {.kind = w->kind, .range = w->range, .loss = -1};
    struct emac_buf buf;
    struct cid task;
    emac_buf_init(&buf, TASK_BYTES_MAX);
    assert_ok(task_encode(&w->task, &buf, &task, err)); /* every task is sound */
    assert_true(plan_task_fits(p, st, &w->task));       /* PLAN-1 */
    set_text(r.slot, w->slot);
    outputs_make_up(program, &task, &r);
    assert_ok(plan_take(st, &r, err));
    emac_buf_release(&buf);
}

/* What a program's row says of its inputs and outputs is what its tasks have. */
static void check_row(const struct job_plan *p, const struct plan_want *w)
{
    const struct plan_program *row = plan_program_find(p, &w->task.program);
    uint32_t known = 0;
    assert_non_null(row);
    for (uint32_t i = 0; i < row->input_count; i++) {
        known += task_input_find(&w->task, row->input[i].name) != NULL;
        assert_true(row->input[i].bytes > 0);
    }
    assert_int_equal(known, row->input_count);
    assert_int_equal(known + (task_input_find(&w->task, "data") != NULL), w->task.input_count);
    assert_int_equal(row->part_bytes > 0, w->task.part_count > 0);
    for (uint32_t i = 1; i < row->output_count; i++)
        assert_true(strcmp(row->output[i - 1].name, row->output[i].name) < 0);
}

static void check_replica(const struct job_plan *p, const struct plan_state *st,
                          const struct plan_want *w)
{
    const struct local_recipe *r = &p->job.local;
    uint32_t m = w->range.first, first = st->step * r->inner_steps;
    uint32_t left = p->job.optimiser.steps - first;
    char name[TASK_NAME_MAX];
    assert_true(m < r->replicas && w->task.first == 2 * m);
    assert_int_equal(w->task.step, first);
    assert_int_equal(w->task.count, left < r->inner_steps ? left : r->inner_steps);
    snprintf(name, sizeof name, "opt.%u", m);
    assert_true(cid_equal(task_input_find(&w->task, "opt"), plan_value(st, name)));
    snprintf(name, sizeof name, "carry.%u", m);
    assert_int_equal(plan_value(st, name) != NULL, r->delta != DELTA_F32);
    if (r->delta != DELTA_F32)
        assert_true(cid_equal(task_input_find(&w->task, "carry"), plan_value(st, name)));
    assert_true(cid_equal(task_input_find(&w->task, "start"), plan_value(st, "params")));
}

/* Steps in common: over all micro-batches, by every rig that will have a replica. */
static void check_common(const struct job_plan *p, const struct plan_state *st,
                         const struct plan_want *w, uint32_t workers)
{
    const struct local_recipe *r = &p->job.local;
    uint32_t first = st->step * r->inner_steps;
    assert_true(first < r->common_steps);
    assert_true(w->task.first == 0 && w->task.step == first && w->task.count == r->inner_steps);
    assert_int_equal(w->copies, workers < r->replicas ? workers : r->replicas);
    assert_true(cid_equal(task_input_find(&w->task, "opt"), plan_value(st, "opt")));
    assert_true(cid_equal(task_input_find(&w->task, "params"), plan_value(st, "params")));
    assert_null(plan_value(st, "opt.0"));
}

/* A streaming replica makes every step once, in order: next[m] is the one that it is at. */
static void check_stream(const struct job_plan *p, const struct plan_state *st,
                         const struct plan_want *w, uint32_t *next)
{
    const struct local_recipe *r = &p->job.local;
    uint32_t m = w->range.first;
    bool tail = strncmp(w->slot, "tail/", 5) == 0;
    assert_true(m < r->replicas && w->task.first == 2 * m);
    assert_int_equal(w->task.step, next[m]);
    assert_int_equal(tail, task_input_find(&w->task, "start") == NULL);
    if (tail)
        assert_int_equal(w->task.count, r->overlap);
    else
        assert_true(cid_equal(task_input_find(&w->task, "start"), plan_value(st, "params")));
    next[m] += w->task.count;
}

/* Run the job with a fleet that takes tasks in any order and asks for few at a time; what its state
 * comes to, and how many tasks it was. */
static struct cid run(const struct job_plan *p, uint64_t seed, uint32_t *tasks)
{
    struct draw d = {.seed = seed};
    struct plan_state st;
    double speed[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    uint32_t next[JOB_REPLICAS_MAX] = {0};
    bool streams = local_streams(&p->job.local);
    plan_state_init(&st);
    *tasks = 0;
    while (plan_phase_of(p, &st) < PLAN_EVAL) {
        struct plan_want want[WANTS_MAX];
        uint32_t count, cap = seed == 0 ? WANTS_MAX : 1 + draw_below(&d, WANTS_MAX);
        uint32_t workers = seed == 0 ? 1 : 1 + draw_below(&d, 8);
        const struct tree_crew crew = {.count = workers, .speed = speed};
        assert_ok(plan_next(p, &st, NULL, 0, &crew, want, cap, &count, err));
        assert_true(count > 0);
        uint32_t pick = seed == 0 ? 0 : draw_below(&d, count);
        check_row(p, &want[pick]);
        if (want[pick].kind == TASK_LOCAL && streams)
            check_stream(p, &st, &want[pick], next);
        else if (want[pick].kind == TASK_LOCAL)
            check_replica(p, &st, &want[pick]);
        if (want[pick].kind == TASK_COMMON)
            check_common(p, &st, &want[pick], workers);
        if (want[pick].kind == TASK_STEP)
            assert_true(want[pick].copies >= 1 && want[pick].copies <= workers);
        execute(p, &st, &want[pick]);
        ++*tasks;
        plan_wants_release(want, count);
        plan_turn(p, &st);
    }
    for (uint32_t m = 0; streams && m < p->job.local.replicas; m++)
        assert_int_equal(next[m], p->job.optimiser.steps);
    assert_null(plan_value(&st, "opt")); /* each replica has its own */
    struct cid end = *plan_value(&st, "params");
    for (uint32_t i = 0; i < st.value_count; i++)
        for (size_t k = 0; k < SHA256_BYTES; k++)
            end.digest[k] = (uint8_t)(end.digest[k] * 31 + st.value[i].cid.digest[k]);
    plan_state_release(&st);
    return end;
}

static void test_no_fleet_changes_the_result(void **state)
{
    static const struct {
        uint32_t steps, replicas, inner;
        enum delta_form delta;
        double momentum;
        uint32_t common; /* rounds */
        enum delta_form last;
    } row[] = {{12, 4, 4, DELTA_F32, 0.9},
               {12, 4, 4, DELTA_F32, 0.9, 1},
               {13, 3, 4, DELTA_TOPK, 0, 3},
               {9, 3, 4, DELTA_TOPK, 0.9, 1, DELTA_INT4},
               {4, 2, 4, DELTA_INT8, 0.9, 0, DELTA_INT8}, /* the last round is the only one */
               {13, 3, 4, DELTA_TOPK, 0},                 /* a last round of one step */
               {3, 1, 5, DELTA_INT8, 0.9},
               {8, JOB_REPLICAS_MAX, 2, DELTA_INT4, 0.9}};
    for (size_t i = 0; i < EMAC_COUNT(row); i++) {
        struct job j =
            local_job(row[i].steps, row[i].replicas, row[i].inner, row[i].delta, row[i].momentum);
        struct job_plan *p;
        uint32_t want_tasks, tasks;
        j.local.common_steps = row[i].common * row[i].inner;
        j.local.last = row[i].last;
        assert_ok(job_plan_new(&j, NULL, &p, err));
        uint32_t rounds = (row[i].steps + row[i].inner - 1) / row[i].inner;
        assert_int_equal(plan_rounds(&j), rounds);
        assert_int_equal(plan_units(&j, rounds), row[i].steps * job_units_per_step(&j));
        struct cid want = run(p, 0, &want_tasks);
        assert_int_equal(want_tasks, 1 + rounds + (rounds - row[i].common) * row[i].replicas);
        for (uint64_t seed = 1; seed < 30; seed++) {
            struct cid got = run(p, seed, &tasks);
            if (!cid_equal(&got, &want) || tasks != want_tasks)
                fail_msg("row %zu seed %llu: another result", i, (unsigned long long)seed);
        }
        job_plan_free(p);
    }
}

static void test_fragments(void **state)
{
    static const struct {
        uint32_t steps, replicas, inner, fragments, overlap, rounds;
        enum delta_form delta;
        enum resume resume;
    } row[] = {{12, 4, 4, 2, 0, 6, DELTA_F32, RESUME_COMMON},
               {12, 4, 4, 2, 1, 6, DELTA_F32, RESUME_COMMON},
               {13, 2, 4, 2, 1, 6, DELTA_TOPK, RESUME_OWN}, /* a last round of two steps */
               {12, 2, 6, 2, 2, 4, DELTA_INT8, RESUME_OWN},
               {9, 3, 4, 1, 3, 2, DELTA_INT4, RESUME_COMMON},
               {3, 2, 8, 2, 3, 1, DELTA_INT4, RESUME_COMMON},
               {6, JOB_REPLICAS_MAX, 2, 1, 1, 3, DELTA_INT8, RESUME_COMMON}};
    for (size_t i = 0; i < EMAC_COUNT(row); i++) {
        struct job j = local_job(row[i].steps, row[i].replicas, row[i].inner, row[i].delta, 0.9);
        struct job_plan *p;
        uint32_t want_tasks, tasks, rounds = row[i].rounds;
        j.local.fragments = row[i].fragments;
        j.local.overlap = row[i].overlap;
        j.local.resume = row[i].resume;
        assert_ok(job_plan_new(&j, NULL, &p, err));
        assert_int_equal(plan_rounds(&j), rounds);
        assert_int_equal(plan_steps(&j, rounds), row[i].steps);
        struct cid want = run(p, 0, &want_tasks);
        assert_int_equal(want_tasks, 1 + rounds * (row[i].replicas + 1) +
                                         (row[i].overlap > 0) * (rounds - 1) * row[i].replicas);
        for (uint64_t seed = 1; seed < 30; seed++) {
            struct cid got = run(p, seed, &tasks);
            if (!cid_equal(&got, &want) || tasks != want_tasks)
                fail_msg("row %zu seed %llu: another result", i, (unsigned long long)seed);
        }
        job_plan_free(p);
    }
}

/* A recipe's numbers show in its programs: another recipe, another model. */
static void test_recipes_differ(void **state)
{
    struct job a = local_job(8, 2, 4, DELTA_TOPK, 0), b = a;
    struct job_plan *p, *q;
    uint32_t tasks;
    assert_ok(job_plan_new(&a, NULL, &p, err));
    struct cid want = run(p, 0, &tasks);
    job_plan_free(p);
    for (int i = 0; i < 10; i++) {
        b = a;
        if (i == 0)
            b.local.density = 0.02;
        else if (i == 1)
            b.local.feedback = 0.8;
        else if (i == 2)
            b.local.outer_lr = 0.6;
        else if (i == 3)
            b.local.inner_steps = 2;
        else if (i == 4)
            b.local.resume = RESUME_OWN;
        else if (i == 5)
            b.local.fragments = 2;
        else if (i == 6)
            b.local.overlap = 1;
        else if (i == 7)
            b.local.common_steps = 4;
        else if (i == 8)
            b.local.last = DELTA_INT4;
        else
            b.optimiser.beta1 = 0.8;
        assert_ok(job_plan_new(&b, NULL, &q, err));
        struct cid got = run(q, 0, &tasks);
        assert_false(cid_equal(&want, &got));
        job_plan_free(q);
    }
}

/* A round keeps the state when one of its steps would have. */
static void test_checkpoints_follow_the_steps(void **state)
{
    struct job j = local_job(20, 2, 4, DELTA_F32, 0.9);
    static const bool want[] = {false, false, true, true, false, true};
    struct job_plan *p;
    struct plan_state st;
    j.checkpoint_every = 6;
    assert_ok(job_plan_new(&j, NULL, &p, err));
    plan_state_init(&st);
    for (; st.step < EMAC_COUNT(want); st.step++)
        assert_int_equal(plan_is_checkpoint(p, &st), want[st.step]);
    plan_state_release(&st);
    job_plan_free(p);
}

static void test_prices(void **state)
{
    struct job j = local_job(10, 2, 4, DELTA_INT8, 0.9);
    struct job_plan *p;
    uint64_t flops;
    int64_t units;
    assert_ok(job_plan_new(&j, NULL, &p, err));
    assert_ok(plan_total(p, &flops, &units, err));
    assert_int_equal(
        flops, plan_program(p, TASK_INIT)->flops + 10 * 2 * plan_program(p, TASK_LOCAL)->flops +
                   3 * 2 * plan_program(p, TASK_STEP)->flops +
                   6 * plan_program(p, TASK_EVAL)->flops + plan_program(p, TASK_SCORE)->flops);
    j.local.common_steps = 4; /* they cost as many times more as there are replicas */
    struct job_plan *q;
    uint64_t more;
    assert_ok(job_plan_new(&j, NULL, &q, err));
    assert_ok(plan_total(q, &more, &units, err));
    assert_int_equal(more - flops, 4 * 2 * plan_program(q, TASK_COMMON)->flops -
                                       4 * 2 * plan_program(p, TASK_LOCAL)->flops -
                                       2 * plan_program(p, TASK_STEP)->flops);
    job_plan_free(q);
    /* packed, a delta is about a quarter of the parameters */
    uint64_t part = plan_program(p, TASK_STEP)->part_bytes;
    assert_true(part > p->params_bytes / 4 && part < p->params_bytes / 2);
    job_plan_free(p);
}

static void test_jobs_that_cannot_be(void **state)
{
    struct job j = local_job(8, 3, 4, DELTA_F32, 0.9);
    struct job_plan *p;
    j.micro_batches = 8;
    assert_fails(job_plan_new(&j, NULL, &p, err), EMAC_INVALID, "multiple of spread.replicas 3");
    assert_fails(job_plan_new(&j, NULL, &p, err), EMAC_INVALID,
                 "take 9 micro_batches, or 2 replicas");
    j = local_job(8, 2, 4, DELTA_TOPK, 0);
    j.local.density = 0.5;
    assert_fails(job_plan_new(&j, NULL, &p, err), EMAC_INVALID, "spread.density");
    j = local_job(8, 2, 4, DELTA_F32, 0.9);
    j.model.storage = DTYPE_BF16;
    assert_fails(job_plan_new(&j, NULL, &p, err), EMAC_INVALID, "set model.storage to f32");
    j = local_job(8, 2, 6, DELTA_F32, 0.9);
    j.local.fragments = 4;
    assert_fails(job_plan_new(&j, NULL, &p, err), EMAC_INVALID, "take 4 inner_steps");
    j.local.fragments = 7;
    assert_fails(job_plan_new(&j, NULL, &p, err), EMAC_INVALID, "take 7 inner_steps");
    j.local.fragments = 3;
    j.local.overlap = 2;
    assert_fails(job_plan_new(&j, NULL, &p, err), EMAC_INVALID,
                 "spread.overlap 2 must be less than the 2 steps");
    j.local.overlap = 0;
    j.local.common_steps = 6;
    assert_fails(job_plan_new(&j, NULL, &p, err), EMAC_UNSUPPORTED, "does not go with fragments");
    j.local.fragments = 1;
    j.local.common_steps = 13;
    assert_fails(job_plan_new(&j, NULL, &p, err), EMAC_INVALID, "spread.inner_steps 6: take 12");
    j.local.common_steps = 12;
    assert_fails(job_plan_new(&j, NULL, &p, err), EMAC_INVALID, "leaves none of recipe.steps 8");
    j.local.common_steps = 0;
    j.local.last = DELTA_INT4;
    assert_fails(job_plan_new(&j, NULL, &p, err), EMAC_INVALID, "'f32' tells all");
    j.local.overlap = 1;
    assert_fails(job_plan_new(&j, NULL, &p, err), EMAC_UNSUPPORTED, "does not go with fragments");
    j.local.last = DELTA_NONE;
    j.local.overlap = 0;
    j.local.inner_steps = j.local.fragments = 16; /* the embedding is half of the model */
    assert_fails(job_plan_new(&j, NULL, &p, err), EMAC_INVALID, "4096 lie in one tensor; take 2");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_fleet_changes_the_result),
        cmocka_unit_test(test_recipes_differ),
        cmocka_unit_test(test_fragments),
        cmocka_unit_test(test_checkpoints_follow_the_steps),
        cmocka_unit_test(test_prices),
        cmocka_unit_test(test_jobs_that_cannot_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
