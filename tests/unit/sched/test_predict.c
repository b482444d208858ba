/* Predictions: what follows exactly where the network is simple, and what must hold where it is
 * not. */
#include "../work/fixture.h"

#include "sched/predict.h"

#define MATH  1e9
#define STATE 1e8

static const struct link_shape THIN = {10000000, 50000000, 60000000};

static struct predict ran_at(double math_flops, const struct job *j, uint32_t rigs,
                             const struct link_shape *link)
{
    struct predict_rig rig[8];
    struct predict p;
    struct job_plan *plan;
    assert_ok(job_plan_new(j, NULL, &plan, err));
    for (uint32_t i = 0; i < rigs; i++)
        rig[i] = (struct predict_rig){.math_flops = math_flops,
                                      .state_flops = STATE,
                                      .link = link != NULL ? *link : (struct link_shape){0}};
    const struct predict_config cfg = {.plan = plan, .rig = rig, .rigs = rigs};
    assert_ok(predict_run(&cfg, &p, err));
    job_plan_free(plan);
    return p;
}

static struct predict ran(const struct job *j, uint32_t rigs, const struct link_shape *link)
{
    return ran_at(MATH, j, rigs, link);
}

static struct job plain_job(uint32_t steps, uint32_t micro_batches)
{
    struct job j = small_job(steps, micro_batches);
    j.check = 0;
    j.state_copies = 1;
    return j;
}

/* One rig has nobody to wait for: its computing, and the other work of each task. */
static void test_one_rig(void **state)
{
    struct job j = plain_job(6, 8);
    struct job_plan *plan;
    struct predict p = ran(&j, 1, NULL);
    uint64_t flops;
    int64_t units;
    double tasks = 0, seconds = 0;
    assert_ok(job_plan_new(&j, NULL, &plan, err));
    assert_ok(plan_total(plan, &flops, &units, err));
    for (int i = 0; i < TASK_KINDS; i++)
        tasks += p.tasks[i];
    assert_true(p.tasks[TASK_INIT] == 1 && p.tasks[TASK_STEP] == 6 && p.tasks[TASK_GRAD] == 6);
    assert_true(p.flops == (double)flops);
    for (uint32_t i = 0; i < plan->program_count; i++) {
        const struct plan_program *program = &plan->program[i];
        bool math = task_kind_info(program->kind)->math;
        double times = p.tasks[program->kind];
        if (program->kind == TASK_GRAD)
            times *= 8;
        if (program->kind == TASK_EVAL)
            times = job_eval_batches(&j);
        seconds += times * (double)program->flops / (math ? MATH : STATE);
    }
    assert_true(p.rig[0].busy_s > seconds * 0.999999 && p.rig[0].busy_s < seconds * 1.000001);
    assert_true(p.work_s >= seconds + tasks * PREDICT_TASK_S);
    assert_true(p.work_s < seconds + tasks * PREDICT_TASK_S + 0.01);
    assert_true(p.rounds == 6 && p.rounds_run == 6 && p.rig[0].tasks == tasks);
    /* Its corpus comes, checkpoints go; sums stay. */
    assert_true(p.rig[0].received == (double)j.data_size);
    assert_true(p.rig[0].sent >= (double)plan->params_bytes);
    job_plan_free(plan);
}

static void test_the_same_again(void **state)
{
    struct job j = small_job(8, 16);
    struct predict a = ran(&j, 3, &THIN), b = ran(&j, 3, &THIN);
    assert_memory_equal(&a, &b, sizeof a);
}

/* Bytes that must move bound the time from below; latency does, too. */
static void test_links_take_time(void **state)
{
    struct job j = plain_job(8, 16);
    struct predict open = ran(&j, 2, NULL), thin = ran(&j, 2, &THIN);
    assert_true(thin.seconds > open.seconds);
    for (uint32_t i = 0; i < 2; i++) {
        assert_true(thin.seconds > thin.rig[i].sent * 8 / 10e6);
        assert_true(thin.seconds > thin.rig[i].received * 8 / 50e6);
    }
    /* A round is two tasks, each with a lease and a receipt. */
    assert_true(thin.round_s > 4 * 0.060);
    const struct link_shape far = {10000000, 50000000, 2 * UINT64_C(60000000)};
    assert_true(ran(&j, 2, &far).seconds > thin.seconds);
}

/* Two stages, and micro-batches that compute for longer than their activations travel: what is next
 * comes meanwhile, so that beside the computing only the filling and the draining of the pipeline
 * show, and calls that take a latency each way at both ends. */
static void test_transfers_hide(void **state)
{
    struct job j = plain_job(4, 24);
    j.spread = SPREAD_PIPELINE;
    j.pipeline.stages = 2;
    j.pipeline.replicas = 1;
    struct predict open = ran_at(MATH / 1000, &j, 2, NULL),
                   thin = ran_at(MATH / 1000, &j, 2, &THIN);
    double micro_s = open.rig[1].busy_s / (4 * 24); /* the longer of the two */
    assert_true(micro_s > 1);
    assert_true(thin.round_s > open.round_s);
    assert_true(thin.round_s < open.round_s + 2 * micro_s + 16 * 0.060);
    assert_true(predict_busy(&thin, 1) > 0.9 * predict_busy(&open, 1));
}

/* Ten times the rounds are ten times of everything in the middle. */
static void test_long_jobs(void **state)
{
    struct job j = plain_job(PREDICT_ROUNDS, 8), k = plain_job(10 * PREDICT_ROUNDS, 8);
    struct predict p = ran(&j, 3, &THIN), q = ran(&k, 3, &THIN);
    double want = p.work_s + 9 * PREDICT_ROUNDS * p.round_s;
    assert_true(q.rounds == 10 * PREDICT_ROUNDS && q.rounds_run == PREDICT_ROUNDS);
    assert_true(q.tasks[TASK_STEP] == 10 * PREDICT_ROUNDS);
    assert_true(q.work_s > want * 0.9 && q.work_s < want * 1.1);
}

static void test_any_fleet_ends(void **state)
{
    for (uint32_t rigs = 1; rigs <= 8; rigs++) {
        struct job j = small_job(3, 5 + rigs);
        struct predict p = ran(&j, rigs, rigs % 2 == 0 ? &THIN : NULL);
        double tasks = 0;
        for (uint32_t i = 0; i < rigs; i++) {
            tasks += p.rig[i].tasks;
            assert_true(predict_busy(&p, i) >= 0 && predict_busy(&p, i) <= 1);
        }
        assert_true(tasks > 0 && p.units > 0);
        assert_true(p.tasks[TASK_STEP] >= 3);
    }
}

static void test_memory(void **state)
{
    struct job j = small_job(4, 8), k = j;
    struct job_plan *p;
    uint64_t need, more;
    enum task_kind which;
    assert_ok(job_plan_new(&j, NULL, &p, err));
    assert_ok(predict_memory(p, &need, &which, err));
    for (uint32_t i = 0; i < p->program_count; i++)
        for (uint32_t o = 0; o < p->program[i].output_count; o++)
            assert_true(need > p->program[i].output[o].bytes);
    job_plan_free(p);
    k.micro_batch *= 64;
    assert_ok(job_plan_new(&k, NULL, &p, err));
    assert_ok(predict_memory(p, &more, &which, err));
    assert_int_equal(which, TASK_GRAD);
    assert_true(more > need);
    job_plan_free(p);
}

/* What does not fit is refused with the figures; what is offered instead does fit. */
static void test_nearest(void **state)
{
    struct job j = small_job(4, 8), near;
    struct job_plan *p;
    uint64_t need, less, again;
    enum task_kind which;
    j.micro_batch = 256;
    assert_ok(job_plan_new(&j, NULL, &p, err));
    assert_ok(predict_memory(p, &need, &which, err));
    assert_ok(predict_fits(p, NULL, need, err));
    assert_ok(predict_fits(p, NULL, 0, err));
    assert_fails(predict_fits(p, NULL, need / 2, err), EMAC_TOO_LARGE, "with recipe.micro_batch ");
    assert_fails(predict_fits(p, NULL, 1, err), EMAC_TOO_LARGE, "take a smaller model");
    job_plan_free(p);
    assert_true(predict_nearest(&j, NULL, need / 2, &near, &less));
    assert_true(less <= need / 2 && near.micro_batch < 256);
    assert_int_equal(near.micro_batch * near.micro_batches, 256 * 8);
    assert_int_equal(near.spread, SPREAD_SYNC);
    assert_ok(job_plan_new(&near, NULL, &p, err));
    assert_ok(predict_memory(p, &again, &which, err));
    assert_int_equal(again, less);
    job_plan_free(p);
    /* Nothing left to halve: stages. */
    j.micro_batch = 1;
    assert_ok(job_plan_new(&j, NULL, &p, err));
    assert_ok(predict_memory(p, &need, &which, err));
    job_plan_free(p);
    assert_true(predict_nearest(&j, NULL, need - 1, &near, &less));
    assert_int_equal(near.spread, SPREAD_PIPELINE);
    assert_true(near.pipeline.stages >= 2 && less < need);
    assert_false(predict_nearest(&j, NULL, 1, &near, &less));
}

static void fleet_of(struct predict_rig *rig, uint32_t rigs, const struct link_shape *link)
{
    for (uint32_t i = 0; i < rigs; i++)
        rig[i] = (struct predict_rig){.math_flops = MATH,
                                      .state_flops = STATE,
                                      .link = link != NULL ? *link : (struct link_shape){0}};
}

/* What takes longer than its deadline is refused with the seconds, what bounds it, and what would
 * do; and that does. */
static void test_deadlines(void **state)
{
    static const struct link_shape MODEM = {400000, 400000, 60000000};
    struct job j = plain_job(24, 16), near;
    struct predict_rig rig[4];
    struct job_plan *p;
    double seconds, again;
    fleet_of(rig, 4, &MODEM);
    seconds = ran(&j, 4, &MODEM).seconds;
    j.deadline = seconds * 1.01 / 3600;
    assert_ok(job_plan_new(&j, NULL, &p, err));
    assert_ok(predict_in_time(p, NULL, rig, 4, err));
    assert_ok(predict_in_time(p, NULL, rig, 0, err)); /* nothing is known */
    p->job.deadline = 0;
    assert_ok(predict_in_time(p, NULL, rig, 4, err));
    p->job.deadline = seconds / 2 / 3600;
    char says[64];
    snprintf(says, sizeof says, "would take %.0f s on the 4 rigs", seconds);
    const char *const parts[] = {says, "links bound it",
                                 "with spread {kind: local, replicas: 4, inner_steps: "};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        assert_fails(predict_in_time(p, NULL, rig, 4, err), EMAC_TOO_LARGE, parts[i]);
    job_plan_free(p);
    assert_true(predict_faster(&j, NULL, rig, 4, seconds / 2, &near, &again));
    assert_true(again <= seconds / 2 && near.local.inner_steps > 1);
    assert_true(ran(&near, 4, &MODEM).seconds == again);
    assert_int_equal(near.micro_batches, j.micro_batches);

    /* Local SGD that is too slow: more steps apart, or smaller deltas. */
    struct job slow = near;
    double less = again * 0.9;
    assert_true(predict_faster(&slow, NULL, rig, 4, less, &near, &again));
    assert_true(again <= less && (near.local.inner_steps > slow.local.inner_steps ||
                                  near.local.delta > slow.local.delta));
    assert_int_equal(near.local.replicas, slow.local.replicas);

    /* No recipe computes faster: more rigs would. */
    fleet_of(rig, 4, NULL);
    seconds = ran(&j, 4, NULL).seconds;
    assert_ok(job_plan_new(&j, NULL, &p, err));
    p->job.deadline = seconds / 49.9 / 3600;
    assert_fails(predict_in_time(p, NULL, rig, 4, err), EMAC_TOO_LARGE,
                 "about 200 rigs like these");
    assert_fails(predict_in_time(p, NULL, rig, 4, err), EMAC_TOO_LARGE, "computing bounds it");
    job_plan_free(p);
}

/* Rigs of speeds 4, 2 and 1: alike stages wait for the slowest, stages by their speeds do not. */
static void test_shares_go_with_speeds_and_memory(void **state)
{
    struct predict_rig rig[3] = {{.math_flops = MATH / 40, .state_flops = STATE / 4},
                                 {.math_flops = MATH / 10, .state_flops = STATE},
                                 {.math_flops = MATH / 20, .state_flops = STATE / 2}};
    struct job j = plain_job(2, 8), out;
    struct job_plan *plan;
    double alike = 0, took = 0, tight = 0;
    j.model.layers = 8;
    j.model.hidden_size = 64;
    j.model.head_dim = 32;
    j.model.intermediate_size = 128;
    j.micro_batch = 8;
    assert_false(predict_shares(&j, NULL, rig, 3, &out, &took)); /* it has no stages */
    job_set_stages(&j, 3);
    assert_ok(job_plan_new(&j, NULL, &plan, err));
    assert_ok(predict_seconds(plan, rig, 3, &alike, err));
    job_plan_free(plan);
    assert_true(predict_shares(&j, NULL, rig, 3, &out, &took));
    print_message("# alike %.3f s, shares [%u, %u, %u] %.3f s\n", alike, out.pipeline.share[0],
                  out.pipeline.share[1], out.pipeline.share[2], took);
    assert_true(took < alike / 1.5);
    assert_true(out.pipeline.share[0] > out.pipeline.share[1] &&
                out.pipeline.share[1] > out.pipeline.share[2]);
    /* Of rigs that are alike nothing is said. */
    const struct predict_rig same[] = {rig[1], rig[1], rig[1]};
    assert_true(predict_shares(&j, NULL, same, 3, &out, &took) && out.pipeline.share[0] == 0);
    /* The fastest has little memory: its stage is made to fit. */
    uint64_t need = 0;
    assert_true(predict_shares(&j, NULL, rig, 3, &out, &took));
    assert_ok(job_plan_new(&out, NULL, &plan, err));
    for (uint32_t i = 0; i < plan->program_count; i++) {
        uint64_t bytes;
        assert_ok(predict_program_memory(plan, &plan->program[i], &bytes, err));
        if (plan->program[i].part == 0 && task_kind_info(plan->program[i].kind)->staged)
            need = bytes > need ? bytes : need;
    }
    job_plan_free(plan);
    rig[1].memory = need * 4 / 5;
    assert_true(predict_shares(&j, NULL, rig, 3, &out, &tight));
    assert_true(tight >= took);
    rig[0].memory = rig[1].memory = rig[2].memory = 1;
    assert_false(predict_shares(&j, NULL, rig, 3, &out, &took));
}

/* Rigs keep the state of all stages that they have, and of one twice. */
static void test_stages_find_room_between_tasks(void **state)
{
    struct predict_rig rig[4] = {{.keep = 0}};
    struct job j = small_job(2, 4);
    struct job_plan *p;
    uint64_t all = 0, largest = 0, moves = 0;
    char says[64];
    j.model.layers = 8;
    job_set_stages(&j, 4);
    assert_ok(job_plan_new(&j, NULL, &p, err));
    for (uint32_t s = 0; s < 4; s++) {
        struct sched_stage one = predict_state(p, s);
        assert_int_equal(one.all, one.moves); /* nothing is frozen */
        all += one.all;
        largest = one.all > largest ? one.all : largest;
        moves = one.moves > moves ? one.moves : moves;
    }
    assert_ok(predict_holds(p, NULL, rig, 1, err)); /* nobody knows */
    assert_ok(predict_holds(p, NULL, rig, 0, err));
    rig[0].keep = all + moves;
    assert_ok(predict_holds(p, NULL, rig, 1, err));
    rig[0].keep--;
    assert_fails(predict_holds(p, NULL, rig, 1, err), EMAC_TOO_LARGE, "2 rigs like the largest");
    for (int r = 0; r < 4; r++)
        rig[r].keep = largest + moves;
    uint32_t enough = 1;
    while (predict_holds(p, NULL, rig, enough, NULL) != EMAC_OK)
        enough++;
    assert_true(enough > 1 && enough <= 4);
    snprintf(says, sizeof says, "%u rigs like the largest would do", enough);
    assert_fails(predict_holds(p, NULL, rig, enough - 1, err), EMAC_TOO_LARGE, says);
    for (int r = 0; r < 4; r++)
        rig[r].keep = 1;
    assert_fails(predict_holds(p, NULL, rig, 4, err), EMAC_TOO_LARGE, "take a smaller model");
    job_plan_free(p);
    struct job whole = small_job(2, 4); /* has no stages */
    assert_ok(job_plan_new(&whole, NULL, &p, err));
    assert_ok(predict_holds(p, NULL, rig + 1, 1, err));
    job_plan_free(p);
}

/* ---- unlike rigs, by counted time ---- */

#define GOAL 1.15 /* of the ideal split, which is what the issue asks for */

static struct predict ran_on(const struct job *j, const struct predict_rig *rig, uint32_t rigs)
{
    struct predict p;
    struct job_plan *plan;
    assert_ok(job_plan_new(j, NULL, &plan, err));
    const struct predict_config cfg = {.plan = plan, .rig = rig, .rigs = rigs};
    assert_ok(predict_run(&cfg, &p, err));
    job_plan_free(plan);
    return p;
}

/* Rigs of so many thousandths of a whole one, of which a micro-batch takes micro_s. */
static void unlike_fleet(const struct job *j, double micro_s, const uint32_t *per_mille,
                         struct predict_rig *rig, uint32_t rigs)
{
    struct job_plan *plan;
    assert_ok(job_plan_new(j, NULL, &plan, err));
    double flops = (double)plan_program(plan, TASK_GRAD)->flops / micro_s;
    job_plan_free(plan);
    for (uint32_t i = 0; i < rigs; i++)
        rig[i] = (struct predict_rig){.math_flops = flops * per_mille[i] / 1000,
                                      .state_flops = flops / 10 * per_mille[i] / 1000};
}

/* A round, when each rig did for itself what it does alone. */
static double ideal_s(const struct job *j, const struct predict_rig *rig, uint32_t rigs)
{
    double rate = 0;
    for (uint32_t i = 0; i < rigs; i++)
        rate += 1 / ran_on(j, &rig[i], 1).round_s;
    return 1 / rate;
}

static void test_unlike_rigs_share_by_speed(void **state)
{
    static const struct {
        uint32_t micro_batches, rigs, per_mille[8];
        double micro_s;
    } FLEETS[] = {
        {128, 4, {1000, 500, 250, 100}, 0.014}, /* bench/unlike.yaml, the issue's */
        {128, 4, {100, 250, 500, 1000}, 0.014},
        {128, 4, {1000, 500, 250, 100}, 0.14},
        {1000, 4, {1000, 500, 250, 100}, 0.014}, /* no power of two */
        {64, 2, {1000, 100}, 0.05},
        {256, 8, {1000, 900, 800, 700, 300, 200, 100, 50}, 0.05},
        {128, 3, {1000, 1000, 1000}, 0.05},
    };
    for (size_t i = 0; i < sizeof FLEETS / sizeof *FLEETS; i++) {
        struct predict_rig rig[8];
        struct job j = plain_job(12, FLEETS[i].micro_batches);
        j.state_copies = 2;
        unlike_fleet(&j, FLEETS[i].micro_s, FLEETS[i].per_mille, rig, FLEETS[i].rigs);
        double took = ran_on(&j, rig, FLEETS[i].rigs).round_s;
        double ideal = ideal_s(&j, rig, FLEETS[i].rigs);
        print_message("# fleet %zu: a round %.3f s, ideal %.3f s, ratio %.3f\n", i, took, ideal,
                      ideal / took);
        if (took > ideal * GOAL)
            fail_msg("fleet %zu: %.3f of the ideal split", i, took / ideal);
    }
}

/* CUT-1: the fastest rig becomes ten times slower in the middle of a round. What it sits on is made
 * by the others in pieces, and in the rounds that follow it gets shares of its size (SPEED-3). So
 * all that is lost, to the end, is less than two rounds of those that follow. */
static void test_a_rig_that_slows_is_relieved(void **state)
{
    static const uint32_t FAST[] = {1000, 500, 250, 100}, SLOW[] = {100, 500, 250, 100};
    const uint32_t rounds = 12;
    struct job j = plain_job(rounds, 128);
    struct predict_rig rig[4], slow[4];
    unlike_fleet(&j, 0.014, FAST, rig, 4);
    unlike_fleet(&j, 0.014, SLOW, slow, 4);
    struct predict before = ran_on(&j, rig, 4), after = ran_on(&j, slow, 4);
    for (uint32_t part = 1; part < 10; part++) {
        /* at each tenth of the sixth round */
        double at = before.work_s - before.round_s * (rounds - 6 + 1 - part / 10.0);
        rig[0].slow_at_s = at;
        rig[0].slower = 10;
        struct predict p = ran_on(&j, rig, 4);
        double left = (before.work_s - at) / before.round_s * after.round_s;
        print_message("# slows at %.3f s: %.3f s, %.3f s if all had known, %.2f rounds lost\n", at,
                      p.work_s, at + left, (p.work_s - at - left) / after.round_s);
        if (p.work_s > at + left + 2 * after.round_s)
            fail_msg("part %u: %.2f rounds lost", part, (p.work_s - at - left) / after.round_s);
    }
}

static void test_bad_fleets(void **state)
{
    struct job j = small_job(2, 2);
    struct job_plan *plan;
    struct predict p;
    struct predict_rig rig = {.math_flops = MATH, .state_flops = STATE};
    assert_ok(job_plan_new(&j, NULL, &plan, err));
    struct predict_config cfg = {.plan = plan, .rig = &rig};
    assert_fails(predict_run(&cfg, &p, err), EMAC_INVALID, "1 to");
    cfg.rigs = PREDICT_RIGS_MAX + 1;
    assert_fails(predict_run(&cfg, &p, err), EMAC_INVALID, "rigs");
    job_plan_free(plan);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_rig),
        cmocka_unit_test(test_the_same_again),
        cmocka_unit_test(test_links_take_time),
        cmocka_unit_test(test_transfers_hide),
        cmocka_unit_test(test_long_jobs),
        cmocka_unit_test(test_any_fleet_ends),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_nearest),
        cmocka_unit_test(test_shares_go_with_speeds_and_memory),
        cmocka_unit_test(test_stages_find_room_between_tasks),
        cmocka_unit_test(test_unlike_rigs_share_by_speed),
        cmocka_unit_test(test_a_rig_that_slows_is_relieved),
        cmocka_unit_test(test_bad_fleets),
        cmocka_unit_test(test_deadlines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
