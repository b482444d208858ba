/* The whole: the real coordinator, real agents, a job to its end. Whatever the rigs do, the model
 * is the one that training in one process gives. */
#include "agent_runner.h"

#include "../coordinator/users.h"
#include "node/local.h"

#define STEPS   6
#define WAIT_MS 60000

static struct net net;
static struct cid reference; /* the model by local training */

static void train_here(struct net *n, const struct job *job)
{
    struct local_result r;
    const struct local_config cfg = {.os = os_real(), .store = n->bytes, .dev = n->dev, .job = job};
    assert_ok(local_train(&cfg, &r, err));
    reference = r.model;
    local_result_release(&r);
}

static struct job the_job(struct net *n)
{
    struct job job = net_job(n, STEPS, 6);
    job.check = 0.5;
    job.state_copies = 2;
    job.checkpoint_every = 2;
    return job;
}

static void open_with(uint32_t check_lapse_ms)
{
    net = (struct net){
        .cfg = {.heartbeat_ms = 100, .lease_ttl_ms = 1500, .check_lapse_ms = check_lapse_ms}};
    net_open(&net, "network");
    struct job job = the_job(&net);
    if (cid_is_none(&reference))
        train_here(&net, &job);
}

static void submit(void)
{
    struct job job = the_job(&net);
    net_submit(&net, &job);
}

/* Without a job yet. */
static int setup_idle(void **state)
{
    open_with(700);
    return 0;
}

static int setup(void **state)
{
    open_with(700);
    submit();
    return 0;
}

/* Due checks wait for rigs whose admission takes long; the job does not end before. */
static int setup_patient(void **state)
{
    open_with(20000);
    submit();
    return 0;
}

static int teardown(void **state)
{
    net_close(&net);
    return 0;
}

static void wait_state(struct net *n, const char *state)
{
    for (int i = 0; i < WAIT_MS / 10; i++) {
        if (job_is(n, state))
            return;
        os_real()->sleep_ms(os_real(), 10);
    }
    json_t *j = job_now(n);
    fail_msg("the job is not '%s' but '%s' at step %d: %s", state, str_of(j, "state"),
             (int)int_of(j, "step"), str_of(j, "reason"));
}

static void wait_step(struct net *n, int64_t step)
{
    for (int i = 0; i < WAIT_MS / 5; i++) {
        json_t *j = job_now(n);
        bool there = int_of(j, "step") >= step;
        json_decref(j);
        if (there)
            return;
        os_real()->sleep_ms(os_real(), 5);
    }
    fail_msg("the job does not come to step %d", (int)step);
}

static void check_model(struct net *n)
{
    char want[CID_TEXT_MAX];
    json_t *j = job_now(n);
    cid_text(want, &reference);
    assert_string_equal(str_of(j, "model"), want);
    json_decref(j);
    assert_audit(n);
}

/* All at once, for each takes up to a second. */
static void agents_end(struct agent *a, int count)
{
    for (int i = 0; i < count; i++)
        node_stop(a[i].node);
    for (int i = 0; i < count; i++)
        agent_end(&a[i]);
}

static void wait_admitted(struct agent *a)
{
    struct node_figures f;
    for (int i = 0; i < WAIT_MS / 10; i++) {
        node_figures(a->node, &f);
        if (strcmp(f.state, "admitted") == 0)
            return;
        os_real()->sleep_ms(os_real(), 10);
    }
    fail_msg("a rig is not admitted but '%s'", f.state);
}

/* Both are there when the job comes, so each makes every step, and some of the rest. */
static void test_two_rigs(void **state)
{
    struct agent a[2];
    struct node_figures f[2];
    for (int i = 0; i < 2; i++)
        agent_start(&a[i], net.url);
    for (int i = 0; i < 2; i++)
        wait_admitted(&a[i]);
    submit();
    wait_state(&net, "succeeded");
    check_model(&net);
    for (int i = 0; i < 2; i++) {
        node_figures(a[i].node, &f[i]);
        assert_true(f[i].tasks_done > STEPS);
        assert_int_equal(f[i].tasks_failed, 0);
        assert_true(f[i].paid_units > 0);
    }
    agents_end(a, 2);
    assert_int_equal(figure(&net, "mismatches"), 0);
}

/* One rig goes in the middle, another comes; both serve nobody, so all goes through the depot. */
static void test_rigs_come_and_go(void **state)
{
    struct agent a, b, c;
    struct node_config hidden = agent_config(net.url);
    hidden.unreachable = true;
    agent_start(&a, net.url);
    agent_start_as(&b, hidden);
    wait_step(&net, 2);
    agent_end(&b);
    agent_start_as(&c, hidden);
    wait_state(&net, "succeeded");
    check_model(&net);
    agent_end(&a);
    agent_end(&c);
}

static void flip_sums(void *ctx, const char *output, uint8_t *bundle, size_t n)
{
    int *flips = ctx;
    if (output != NULL && strcmp(output, "sum") == 0) {
        bundle[n - 1] ^= 1;
        ++*flips;
    }
}

/* A rig that lies about gradients is found out, and the model is none the worse. */
static void test_a_liar(void **state)
{
    struct agent honest[2], liar;
    struct node_config cfg = agent_config(net.url);
    int flips = 0;
    cfg.tamper = flip_sums;
    cfg.tamper_ctx = &flips;
    agent_start_as(&liar, cfg);
    wait_step(&net, 1); /* nobody is there yet to check it */
    for (int i = 0; i < 2; i++)
        agent_start(&honest[i], net.url);
    wait_state(&net, "succeeded");
    check_model(&net);
    agent_await(&liar);
    assert_true(flips > 0);
    assert_int_equal(liar.st, EMAC_FORBIDDEN);
    node_close(liar.node);
    remove_tree(liar.dir);
    agents_end(honest, 2);
    assert_true(figure(&net, "mismatches") > 0);
}

/* The coordinator is started again in mid-run: the rigs stay. */
static void test_coordinator_again(void **state)
{
    struct agent a[2];
    for (int i = 0; i < 2; i++)
        agent_start(&a[i], net.url);
    wait_step(&net, 2);
    coordinator_stop(net.c);
    os_real()->sleep_ms(os_real(), 700);
    net_start(&net);
    wait_state(&net, "succeeded");
    check_model(&net);
    agents_end(a, 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_two_rigs, setup_idle, teardown),
        TEST(test_rigs_come_and_go),
        cmocka_unit_test_setup_teardown(test_a_liar, setup_patient, teardown),
        TEST(test_coordinator_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
