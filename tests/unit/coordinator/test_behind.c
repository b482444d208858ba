/* Checks of rounds that last milliseconds: none is overtaken (BEHIND-1 to BEHIND-5). */
#include "harness.h"
#include "rows.h"

#include "coordinator/checks/behind.h"
#include "coordinator/internal.h"

#define STEPS  14
#define NEVER  600000
#define LOOKED 12 /* turns without work: nothing is handed out */
#define SLOWER 4

/* On a busy machine a rig must not be late with a lease: the coordinator's time goes slower. */
static uint64_t slower_ns(struct os *os)
{
    (void)os;
    return os_real()->mono_ns(os_real()) / SLOWER;
}

static void slow_open(struct net *n, struct os *os, const char *name)
{
    *os = *os_real();
    os->mono_ns = slower_ns;
    n->moved = os;
    n->keep = CHECKS_BEHIND_MAX + 2;
    n->cfg.rate_per_s = 1000 * SLOWER;
    net_open(n, name);
}

static int64_t step_now(struct net *n)
{
    json_t *j = job_now(n);
    int64_t step = int_of(j, "step");
    json_decref(j);
    return step;
}

static void assert_checked(struct net *n)
{
    assert_int_equal(figure(n, "lapsed"), 0);
    assert_true(number(n, "SELECT COUNT(*) FROM tasks WHERE draw_checked = 1") >= STEPS);
    assert_int_equal(number(n, "SELECT COUNT(*) FROM tasks t WHERE draw_checked = 1 AND 2 >"
                               " (SELECT COUNT(*) FROM receipts r WHERE r.job = t.job AND"
                               " r.task = t.cid)"),
                     0);
}

/* A job of which everything is done twice; `slow` has the check of a's first gradient. */
static json_t *check_of_first(struct net *n, struct rigbot *a, struct rigbot *slow)
{
    struct job job = net_job(n, STEPS, 1);
    job.check = 1;
    net_submit(n, &job);
    while (step_now(n) < 1)
        turn(n, a);
    for (int i = 0; i < NET_LOOPS; i++) {
        json_t *lease = poll(n, slow, 100);
        if (lease && strcmp(str_of(lease, "slot"), "grad/000000/0+1") == 0)
            return lease;
        if (lease)
            assert_int_equal(answer(n, slow, lease, false, NULL), 200);
        json_decref(lease);
    }
    fail_msg("no check of the first gradient");
    return NULL;
}

/* The others work until they are given nothing more, and do not come further. */
static void others_wait(struct net *n, struct rigbot *slow)
{
    const int64_t most = 1 + CHECKS_BEHIND_MAX;
    for (int i = 0, idle = 0; i < NET_LOOPS && idle < LOOKED; i++) {
        bool any = false;
        for (uint32_t k = 0; k < n->rigs; k++)
            any = (&n->rig[k] != slow && turn(n, &n->rig[k])) || any;
        idle = any || step_now(n) < most ? 0 : idle + 1;
        if (!any)
            sleep_ms(2);
        if (slow != NULL && i % 8 == 0)
            json_decref(beat(n, slow));
    }
    assert_int_equal(step_now(n), most);
}

/* With `killed` the process after a kill waits as well, for a rig that is not even back. */
static void rounds_wait(const char *name, bool killed)
{
    struct net n = {0};
    struct os os;
    slow_open(&n, &os, name);
    struct rigbot *a = rig_add(&n), *slow = rig_add(&n);
    json_t *lease = check_of_first(&n, a, slow);
    rig_add(&n);
    others_wait(&n, slow);
    if (killed) {
        net_restart(&n);
        assert_int_equal(hello(&n, slow), 200);
        others_wait(&n, slow);
    }
    assert_int_equal(int_of(lease, "keep"), 0);
    assert_int_equal(answer(&n, slow, lease, false, NULL), 200);
    json_decref(lease);
    run_until(&n, "succeeded");
    assert_checked(&n);
    assert_audit(&n);
    net_close(&n);
}

static void rounds_wait_for_a_check_under_way(void **state)
{
    (void)state;
    rounds_wait("underway", false);
}

static void rounds_wait_after_a_restart(void **state)
{
    (void)state;
    rounds_wait("restarted", true);
}

/* It says that it is alive, and that is all: the others go on without its answer, which counts when
 * it comes. */
static void a_wait_has_an_end(void **state)
{
    struct net n = {0};
    struct os os;
    (void)state;
    n.cfg.check_wait_ms = 200;
    slow_open(&n, &os, "vain");
    n.keep = STEPS + 2; /* what comes late finds all there */
    struct rigbot *a = rig_add(&n), *slow = rig_add(&n);
    json_t *lease = check_of_first(&n, a, slow);
    rig_add(&n);
    for (int i = 0; i < NET_LOOPS && step_now(&n) < STEPS; i++) {
        bool any = turn(&n, &n.rig[0]);
        if (!turn(&n, &n.rig[2]) && !any)
            sleep_ms(2);
        if (i % 8 == 0)
            json_decref(beat(&n, slow));
    }
    assert_int_equal(step_now(&n), STEPS);
    assert_int_equal(answer(&n, slow, lease, false, NULL), 200);
    json_decref(lease);
    run_until(&n, "succeeded");
    assert_checked(&n);
    assert_audit(&n);
    net_close(&n);
}

/* Where nobody could make a check nobody waits for it. */
static void one_rig_alone_is_not_held_up(void **state)
{
    struct net n = {0};
    (void)state;
    n.cfg.check_lapse_ms = NEVER;
    net_open(&n, "lone");
    rig_add(&n);
    struct job job = net_job(&n, STEPS, 1);
    job.check = 1;
    net_submit(&n, &job);
    run_to_step(&n, STEPS);
    assert_int_equal(figure(&n, "lapsed"), 0); /* the job waits for a second one now */
    assert_true(job_is(&n, "running"));
    net_close(&n);
}

/* It asked for work once, and from then on only says that it is alive. */
static void who_never_asks_holds_up_nobody(void **state)
{
    struct net n = {0};
    (void)state;
    n.cfg.lease_ttl_ms = 300;
    n.cfg.check_lapse_ms = 100;
    n.cfg.check_wait_ms = 100;
    net_open(&n, "undead");
    struct rigbot *a = rig_add(&n), *undead = rig_add(&n);
    json_decref(poll(&n, undead, 0));
    struct job job = net_job(&n, STEPS, 1);
    job.check = 1;
    net_submit(&n, &job);
    for (int i = 0; i < NET_LOOPS; i++) {
        json_decref(beat(&n, undead));
        if (turn(&n, a))
            continue;
        if (job_is(&n, "succeeded"))
            break;
        sleep_ms(5);
    }
    assert_true(job_is(&n, "succeeded"));
    assert_true(figure(&n, "lapsed") >= STEPS);
    assert_audit(&n);
    net_close(&n);
}

/* Three were asked for: the third is not left out because two agree and the round is over. */
static void copies_that_were_asked_for_are_made(void **state)
{
    struct net n = {0};
    (void)state;
    n.keep = CHECKS_BEHIND_MAX + 2;
    net_open(&n, "copies");
    struct rigbot *rig[3] = {rig_add(&n), rig_add(&n), rig_add(&n)};
    struct job job = net_job(&n, STEPS, 1);
    job.state_copies = 3;
    net_submit(&n, &job);
    for (int i = 0; i < NET_LOOPS; i++) {
        bool any = turn(&n, rig[0]);
        any = turn(&n, rig[1]) || any;
        if (i % 16 == 0)
            any = turn(&n, rig[2]) || any;
        if (any)
            continue;
        if (job_is(&n, "succeeded"))
            break;
        sleep_ms(5);
    }
    assert_true(job_is(&n, "succeeded"));
    assert_int_equal(number(&n, "SELECT COUNT(*) FROM tasks t WHERE slot LIKE 'step/%' AND 3 <>"
                                " (SELECT COUNT(*) FROM receipts r WHERE r.job = t.job AND"
                                " r.task = t.cid)"),
                     0);
    assert_audit(&n);
    net_close(&n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rounds_wait_for_a_check_under_way),
        cmocka_unit_test(rounds_wait_after_a_restart),
        cmocka_unit_test(a_wait_has_an_end),
        cmocka_unit_test(one_rig_alone_is_not_held_up),
        cmocka_unit_test(who_never_asks_holds_up_nobody),
        cmocka_unit_test(copies_that_were_asked_for_are_made),
    };
    return cmocka_run_group_tests_name("behind", tests, NULL, NULL);
}
