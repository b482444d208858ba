/* Sweeps at the coordinator: all or no money, the rungs, who stops, restarts (SWEEP-1 to 3). */
#include "base/assert.h"
#include "harness.h"

#define TRIALS 4
#define STEPS  6

/* Held-out losses by trial at the rungs, after 2 and 4 steps, and at the end. With half going on:
 * trials 0 and 3 stop at the first rung, 1 at the second. */
static const float LOSS[TRIALS][3] = {{4, 1, 1}, {2, 3, 1}, {3, 2, 2}, {4, 1, 1}};

static struct {
    char id[32];
    char job[TRIALS][32];
} sweep;

static float score(struct net *n, json_t *lease)
{
    int64_t round = int_of(lease, "round");
    (void)n;
    for (int i = 0; i < TRIALS; i++)
        if (strcmp(sweep.job[i], str_of(lease, "job")) == 0)
            return LOSS[i][round == 2 ? 0 : round == 4 ? 1 : 2];
    fail_msg("job '%s' is no trial", str_of(lease, "job"));
    return 0;
}

static struct job trial_job(struct net *n, int trial)
{
    struct job job = net_job(n, STEPS, 2);
    snprintf(job.name, sizeof(job.name), "s-%02d", trial);
    job.optimiser.lr = 0.01 * (trial + 1);
    job.eval_every = 2;
    job.checkpoint_every = 2;
    return job;
}

static json_t *body(struct net *n, void (*change)(int trial, struct job *job))
{
    json_t *trials = json_array();
    for (int i = 0; i < TRIALS; i++) {
        char label[32];
        struct job job = trial_job(n, i);
        snprintf(label, sizeof(label), "recipe.lr=%g", job.optimiser.lr);
        if (change)
            change(i, &job);
        json_array_append_new(trials,
                              json_pack("{s:s, s:o}", "label", label, "job", job_to_json(&job)));
    }
    return json_pack("{s:s, s:f, s:[i, i], s:o}", "name", "s", "keep", 0.5, "rungs", 2, 4, "trials",
                     trials);
}

static void ready(struct net *n, const char *name, int rigs)
{
    net_open(n, name);
    faucet(n);
    push(n, &n->user, &n->corpus->cid);
    for (int i = 0; i < rigs; i++)
        rig_add(n);
    n->score = score;
    n->jobs = TRIALS;
}

static json_t *sweep_now(struct net *n)
{
    char path[64];
    snprintf(path, sizeof(path), "/v1/sweeps/%s", sweep.id);
    return get(n, path);
}

static json_t *trial_of(json_t *s, size_t i)
{
    return json_array_get(json_object_get(s, "trials"), i);
}

static void submit(struct net *n)
{
    json_t *reply;
    int status = call(n, &n->user, "POST", "/v1/sweeps", body(n, NULL), &reply);
    if (status != 201)
        fail_msg("POST /v1/sweeps: %d %s", status, str_of(reply, "error"));
    set_text(sweep.id, str_of(reply, "id"));
    for (size_t i = 0; i < TRIALS; i++)
        set_text(sweep.job[i], str_of(trial_of(reply, i), "job"));
    json_decref(reply);
}

static bool all_turn(struct net *n)
{
    bool any = false;
    for (uint32_t k = 0; k < n->rigs; k++)
        any = turn(n, &n->rig[k]) || any;
    if (!any)
        sleep_ms(5);
    return any;
}

/* SWEEP-2: nobody is past the rung that is not decided. */
static void assert_held(json_t *s)
{
    static const int64_t UNTIL[] = {2, 4, STEPS};
    for (size_t i = 0; i < TRIALS; i++)
        if (int_of(trial_of(s, i), "step") > UNTIL[int_of(s, "rungs_decided")])
            fail_msg("trial %zu is at step %d with %d rungs decided", i,
                     (int)int_of(trial_of(s, i), "step"), (int)int_of(s, "rungs_decided"));
}

/* Let all rigs work until so many rungs are decided (more than there are: until the end). */
static void run_to_rung(struct net *n, int64_t rungs)
{
    for (int i = 0; i < NET_LOOPS; i++) {
        json_t *s = sweep_now(n);
        bool there = int_of(s, "rungs_decided") >= rungs || strcmp(str_of(s, "state"), "running");
        assert_held(s);
        json_decref(s);
        if (there)
            return;
        all_turn(n);
        for (uint32_t k = 0; i % 16 == 15 && k < n->rigs; k++)
            json_decref(beat(n, &n->rig[k]));
    }
    json_t *s = sweep_now(n);
    char *text = json_dumps(s, JSON_INDENT(1));
    fail_msg("the sweep does not come to rung %d: %s", (int)rungs, text);
}

static void assert_outcome(struct net *n)
{
    static const int64_t STOPPED[TRIALS] = {2, 4, 0, 2};
    json_t *s = sweep_now(n);
    assert_string_equal(str_of(s, "state"), "succeeded");
    assert_string_equal(str_of(s, "winner"), sweep.job[2]);
    assert_true(strlen(str_of(s, "model")) > 10);
    for (size_t i = 0; i < TRIALS; i++) {
        json_t *t = trial_of(s, i), *scores = json_object_get(t, "scores");
        size_t rungs = STOPPED[i] == 2 ? 1 : 2;
        if (int_of(t, "stopped_at") != STOPPED[i] || json_array_size(scores) != rungs)
            fail_msg("trial %zu stopped at %d with %zu scores", i, (int)int_of(t, "stopped_at"),
                     json_array_size(scores));
        assert_string_equal(str_of(t, "state"), STOPPED[i] ? "cancelled" : "succeeded");
        assert_int_equal(int_of(t, "step"), STOPPED[i] ? STOPPED[i] : STEPS);
        for (size_t r = 0; r < rungs; r++)
            assert_true(json_number_value(json_object_get(json_array_get(scores, r), "loss")) ==
                        (double)LOSS[i][r]);
    }
    json_decref(s);
    assert_int_equal(balance(n, "escrow:"), 0);
    assert_int_equal(balance(n, "held:"), 0);
    assert_audit(n);
}

static void the_same_for_any_number_of_rigs(void **state)
{
    (void)state;
    for (int rigs = 1; rigs <= 3; rigs++) {
        struct net n = {0};
        ready(&n, "rigs", rigs);
        submit(&n);
        run_to_rung(&n, 9);
        assert_outcome(&n);
        net_close(&n);
    }
}

static void it_goes_on_after_a_restart(void **state)
{
    struct net n = {0};
    (void)state;
    ready(&n, "restart", 2);
    submit(&n);
    for (int64_t rung = 0; rung <= 2; rung++) {
        run_to_rung(&n, rung);
        coordinator_stop(n.c);
        net_start(&n);
    }
    run_to_rung(&n, 9);
    assert_outcome(&n);
    json_t *list = get(&n, "/v1/sweeps");
    assert_int_equal(json_array_size(json_object_get(list, "sweeps")), 1);
    json_decref(list);
    net_close(&n);
}

/* ---- submission ---- */

static void no_evaluation(int trial, struct job *job)
{
    job->eval_every = trial == 2 ? 0 : job->eval_every;
}

static void too_short(int trial, struct job *job)
{
    job->optimiser.steps = trial == 1 ? 4 : job->optimiser.steps;
}

static void too_dear(int trial, struct job *job)
{
    job->budget_units = COORDINATOR_FAUCET_UNITS / 2; /* each could be paid, all cannot */
}

static void twice_the_same(int trial, struct job *job)
{
    if (trial == 3)
        snprintf(job->name, sizeof(job->name), "s-00");
    job->optimiser.lr = trial == 3 ? 0.01 : job->optimiser.lr;
}

static void refused_before_any_escrow(void **state)
{
    static const struct {
        void (*change)(int trial, struct job *job);
        int status;
        const char *part;
    } CASES[] = {
        {no_evaluation, 400, "trial 2: recipe.eval_every"},
        {too_short, 400, "trial 1: rungs: 4 is not below"},
        {too_dear, 402, ""},
        {twice_the_same, 409, ""},
    };
    struct net n = {0};
    (void)state;
    ready(&n, "refused", 0);
    int64_t before = balance(&n, "user:");
    for (size_t i = 0; i < EMAC_COUNT(CASES); i++) {
        json_t *reply;
        int status = call(&n, &n.user, "POST", "/v1/sweeps", body(&n, CASES[i].change), &reply);
        if (status != CASES[i].status || !strstr(str_of(reply, "error"), CASES[i].part))
            fail_msg("row %zu: %d %s", i, status, str_of(reply, "error"));
        json_decref(reply);
        assert_int_equal(balance(&n, "user:"), before);
        reply = get(&n, "/v1/jobs");
        assert_int_equal(json_array_size(json_object_get(reply, "jobs")), 0);
        json_decref(reply);
    }
    json_t *one = body(&n, NULL);
    while (json_array_size(json_object_get(one, "trials")) > 1)
        json_array_remove(json_object_get(one, "trials"), 1);
    assert_int_equal(call(&n, &n.user, "POST", "/v1/sweeps", one, NULL), 400);
    assert_int_equal(call(&n, NULL, "POST", "/v1/sweeps", body(&n, NULL), NULL), 401);
    assert_int_equal(call(&n, NULL, "GET", "/v1/sweeps/sweep-none", NULL, NULL), 404);
    assert_int_equal(balance(&n, "escrow:"), 0);
    assert_audit(&n);
    net_close(&n);
}

static void the_same_object_is_the_same_sweep(void **state)
{
    struct net n = {0};
    json_t *reply;
    (void)state;
    ready(&n, "twice", 0);
    submit(&n);
    int64_t left = balance(&n, "user:");
    assert_int_equal(call(&n, &n.user, "POST", "/v1/sweeps", body(&n, NULL), &reply), 200);
    assert_string_equal(str_of(reply, "id"), sweep.id);
    json_decref(reply);
    assert_int_equal(balance(&n, "user:"), left);
    net_close(&n);
}

/* ---- trials that end otherwise ---- */

static void cancel(struct net *n, const char *what, const char *id, int status)
{
    char path[80];
    snprintf(path, sizeof(path), "/v1/%s/%s/cancel", what, id);
    assert_int_equal(call(n, &n->user, "POST", path, json_object(), NULL), status);
}

/* A trial that its owner cancels is the last of its rung: the others go on as if it were worst. */
static void a_trial_may_end_early(void **state)
{
    struct net n = {0};
    (void)state;
    ready(&n, "early", 2);
    submit(&n);
    cancel(&n, "jobs", sweep.job[1], 200);
    run_to_rung(&n, 9);
    json_t *s = sweep_now(&n);
    assert_string_equal(str_of(s, "state"), "succeeded");
    assert_string_equal(str_of(s, "winner"), sweep.job[0]); /* 4 and 4 tie: the lower trial */
    assert_int_equal(int_of(trial_of(s, 1), "stopped_at"), 2);
    assert_int_equal(int_of(trial_of(s, 2), "stopped_at"), 4);
    json_decref(s);
    assert_audit(&n);
    net_close(&n);
}

static void without_any_sound_trial_it_fails(void **state)
{
    struct net n = {0};
    (void)state;
    ready(&n, "none", 0);
    submit(&n);
    for (int i = 0; i < TRIALS; i++)
        cancel(&n, "jobs", sweep.job[i], 200);
    run_to_rung(&n, 9);
    json_t *s = sweep_now(&n);
    assert_string_equal(str_of(s, "state"), "failed");
    assert_true(json_is_null(json_object_get(s, "winner")));
    json_decref(s);
    net_close(&n);
}

static void the_owner_cancels(void **state)
{
    struct net n = {0};
    char path[80];
    (void)state;
    ready(&n, "cancel", 1);
    submit(&n);
    run_to_rung(&n, 1);
    snprintf(path, sizeof(path), "/v1/sweeps/%s/cancel", sweep.id);
    assert_int_equal(call(&n, &n.rig[0].id, "POST", path, json_object(), NULL), 403);
    cancel(&n, "sweeps", sweep.id, 200);
    cancel(&n, "sweeps", sweep.id, 409);
    cancel(&n, "sweeps", "sweep-none", 404);
    json_t *s = sweep_now(&n);
    assert_string_equal(str_of(s, "state"), "cancelled");
    for (size_t i = 0; i < TRIALS; i++)
        assert_string_equal(str_of(trial_of(s, i), "state"), "cancelled");
    json_decref(s);
    assert_int_equal(balance(&n, "escrow:"), 0);
    assert_audit(&n);
    net_close(&n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_for_any_number_of_rigs),
        cmocka_unit_test(it_goes_on_after_a_restart),
        cmocka_unit_test(refused_before_any_escrow),
        cmocka_unit_test(the_same_object_is_the_same_sweep),
        cmocka_unit_test(a_trial_may_end_early),
        cmocka_unit_test(without_any_sound_trial_it_fails),
        cmocka_unit_test(the_owner_cancels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
