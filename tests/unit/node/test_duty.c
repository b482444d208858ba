/* A share of the device's time: the sums of duty.h, the executor's rests on a clock that only
 * resting and working move, and what an owner may write. */
#include "exec_fixture.h"

#include "base/assert.h"
#include "node/duty.h"

#define MS UINT64_C(1000000)

static void test_what_an_owner_may_write(void **state)
{
    static const struct {
        const char *text;
        uint32_t per_mille; /* 0: refused */
    } CASES[] = {
        {"1", 1000},   {"0.25", 250}, {"0.25\n", 250}, {" 0.1 \r\n", 100}, {"0.001", 1},
        {"1e-1", 100}, {"0", 0},      {"0.0001", 0},   {"1.01", 0},        {"-0.5", 0},
        {"", 0},       {"\n", 0},     {"half", 0},     {"0.5x", 0},        {"0.5 0.5", 0},
        {"nan", 0},    {"inf", 0},    {"-inf", 0},     {"50%", 0},
    };
    for (size_t i = 0; i < EMAC_COUNT(CASES); i++) {
        uint32_t got = 0;
        bool sound = duty_parse(CASES[i].text, &got);
        if (sound != (CASES[i].per_mille > 0) || (sound && got != CASES[i].per_mille))
            fail_msg("'%s': %s, %u", CASES[i].text, sound ? "taken" : "refused", got);
    }
}

static void test_rest_follows_from_work(void **state)
{
    struct duty d = {0};
    uint64_t now = 10000 * MS;
    assert_int_equal(duty_rest_ns(&d, now), 0);
    /* 2000 ms of work at a quarter: 8000 ms in all, less what may be caught up with. */
    duty_worked(&d, 250, now, 2000 * MS);
    now += 2000 * MS;
    assert_int_equal(duty_rest_ns(&d, now), 6000 * MS - DUTY_CATCH_UP_NS);
    /* Whoever rests as told works the share from then on. */
    now += duty_rest_ns(&d, now);
    duty_worked(&d, 250, now, 100 * MS);
    now += 100 * MS;
    assert_int_equal(duty_rest_ns(&d, now), 300 * MS);
    /* The machine was taken away for a while: that time counts as rest. */
    now += 1000 * MS;
    duty_worked(&d, 250, now, 100 * MS);
    assert_int_equal(duty_rest_ns(&d, now + 100 * MS), 300 * MS - DUTY_CATCH_UP_NS);
    /* All of the time: never a rest. */
    d = (struct duty){0};
    duty_worked(&d, DUTY_WHOLE, now, 5000 * MS);
    assert_int_equal(duty_rest_ns(&d, now + 5000 * MS), 0);
}

/* ---- the executor ---- */

#define WORK_MS 40 /* that the device is busy for, by the made-up clock, at each stint */

static struct {
    uint64_t now, busy, slept, rests;
    bool stint_ends;
    int asked_before_cancel; /* < 0: never cancelled */
} clock_;

static uint64_t made_up_mono(struct os *os)
{
    return clock_.now;
}

/* Asked at a stint's begin and at its end, WORK_MS later. */
static uint64_t made_up_busy(struct os *os)
{
    uint64_t worked = clock_.stint_ends ? WORK_MS * MS : 0;
    clock_.stint_ends = !clock_.stint_ends;
    clock_.now += worked;
    clock_.busy += worked;
    return clock_.busy;
}

static void made_up_sleep(struct os *os, uint32_t ms)
{
    clock_.now += ms * MS;
    clock_.slept += ms * MS;
    clock_.rests++;
}

static bool cancelled_then(void *ctx)
{
    return clock_.asked_before_cancel >= 0 && clock_.asked_before_cancel-- == 0;
}

struct resting {
    struct rig rig;
    struct os os;
    struct exec *exec;
    atomic_uint duty;
    struct exec_result init;
    struct cid params;
};

static void resting_open(struct resting *r, uint32_t per_mille)
{
    *r = (struct resting){.os = *os_real()};
    rig_open(&r->rig, ISA_BEST, 1, 8);
    struct task t = {.program = plan_program(r->rig.plan, TASK_INIT)->cid};
    assert_ok(exec_run(r->rig.exec, &t, &r->init, err));
    r->params = output(&r->init, "params")->cid;
    memset(&clock_, 0, sizeof clock_);
    clock_.now = 1000 * MS;
    clock_.asked_before_cancel = -1;
    atomic_init(&r->duty, per_mille);
    r->os.mono_ns = made_up_mono;
    r->os.busy_ns = made_up_busy;
    r->os.sleep_ms = made_up_sleep;
    const struct exec_config cfg = {.os = &r->os,
                                    .store = r->rig.store,
                                    .dev = r->rig.dev,
                                    .cancelled = cancelled_then,
                                    .duty = &r->duty};
    assert_ok(exec_new(&cfg, &r->exec, err));
}

static enum emac_status resting_run(struct resting *r, struct cid *sum, struct emac_err *e)
{
    struct exec_result out;
    struct task t = {.program = plan_program(r->rig.plan, TASK_GRAD)->cid, .count = 8, .step = 1};
    task_input_add(&t, "data", &r->rig.job.data);
    task_input_add(&t, "params", &r->params);
    task_input_add(&t, "tables", &r->rig.plan->tables);
    enum emac_status st = exec_run(r->exec, &t, &out, e);
    if (st == EMAC_OK) {
        *sum = out.output[0].cid;
        exec_result_release(r->exec, &out);
    }
    return st;
}

static void resting_close(struct resting *r)
{
    exec_free(r->exec);
    exec_result_release(r->rig.exec, &r->init);
    rig_close(&r->rig);
}

static void test_the_executor_works_its_share(void **state)
{
    static const uint32_t SHARES[] = {1000, 500, 250, 100, 37};
    struct cid first = {0};
    for (size_t i = 0; i < EMAC_COUNT(SHARES); i++) {
        struct resting r;
        struct cid sum = {0};
        resting_open(&r, SHARES[i]);
        uint64_t began = clock_.now;
        assert_ok(resting_run(&r, &sum, err));
        /* What was worked must not pass the share of the time that went by, but for what may be
         * caught up with and the stints since the last rest: the graph's and the sums'. */
        uint64_t took = clock_.now - began + DUTY_CATCH_UP_NS;
        uint64_t most = took * SHARES[i] / DUTY_WHOLE + 3 * WORK_MS * MS;
        if (clock_.busy > most)
            fail_msg("share %u: worked %llu ns of %llu", SHARES[i], (unsigned long long)clock_.busy,
                     (unsigned long long)took);
        if (SHARES[i] == DUTY_WHOLE)
            assert_int_equal(clock_.slept, 0);
        else
            assert_true(clock_.slept > 0);
        if (i == 0)
            first = sum;
        assert_true(cid_equal(&first, &sum)); /* resting changes no bit */
        resting_close(&r);
    }
}

static void test_a_rest_ends_when_the_task_is_not_wanted(void **state)
{
    struct resting r;
    struct cid sum = {0};
    resting_open(&r, 1);
    clock_.asked_before_cancel = 20; /* in the first rests, which would last 40 s each */
    assert_fails(resting_run(&r, &sum, err), EMAC_CANCELLED, "cancelled");
    assert_true(clock_.rests > 0 && clock_.rests < 20);
    atomic_store(&r.duty, DUTY_WHOLE); /* what was worked is still rested for, once */
    clock_.asked_before_cancel = -1;
    assert_ok(resting_run(&r, &sum, err));
    uint64_t slept = clock_.slept;
    assert_ok(resting_run(&r, &sum, err));
    assert_int_equal(clock_.slept, slept);
    resting_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_an_owner_may_write),
        cmocka_unit_test(test_rest_follows_from_work),
        cmocka_unit_test(test_the_executor_works_its_share),
        cmocka_unit_test(test_a_rest_ends_when_the_task_is_not_wanted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
