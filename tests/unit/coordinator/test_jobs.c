/* Jobs from submission to their end, and their money. */
#include "harness.h"

static void one_rig_trains_to_the_end(void **state)
{
    struct net n = {0};
    (void)state;
    net_open(&n, "one");
    rig_add(&n);
    struct job job = net_job(&n, 4, 4);
    net_submit(&n, &job);
    int64_t before = balance(&n, "user:");
    run_until(&n, "succeeded");
    json_t *j = job_now(&n);
    assert_int_equal(int_of(j, "step"), 4);
    assert_string_equal(str_of(j, "phase"), "done");
    assert_true(strlen(str_of(j, "model")) > 10);
    assert_true(json_real_value(json_object_get(j, "loss")) > 4.9);
    assert_true(json_is_real(json_object_get(j, "loss_bits_per_byte")));
    int64_t spent = units_of(j, "spent_units");
    assert_true(spent > 0);
    json_decref(j);
    assert_int_equal(balance(&n, "rig:"), spent);
    assert_int_equal(balance(&n, "held:"), 0);
    assert_int_equal(balance(&n, "escrow:"), 0);
    assert_int_equal(balance(&n, "user:"), before + job.budget_units - spent);
    assert_audit(&n);
    net_close(&n);
}

/* Equal jobs give equal models however many rigs there are: with made-up results, whose names
 * depend on every task before, this holds only if the plan is the same. One range a step keeps it
 * so. */
static void three_rigs_share_the_work(void **state)
{
    struct net n = {0};
    (void)state;
    net_open(&n, "three");
    for (int i = 0; i < 3; i++)
        rig_add(&n);
    struct job job = net_job(&n, 6, 8);
    job.check = 0.3;
    job.state_copies = 2;
    job.checkpoint_every = 2;
    net_submit(&n, &job);
    run_until(&n, "succeeded");
    for (int i = 0; i < 3; i++)
        assert_true(n.rig[i].done > 3);
    json_t *j = job_now(&n), *f = json_object_get(j, "figures");
    assert_true(int_of(f, "tasks") >= 1 + 6 * 2);
    assert_true(int_of(f, "checked") >= 6); /* each step ran twice */
    assert_int_equal(int_of(f, "mismatches"), 0);
    assert_true(json_number_value(json_object_get(f, "coordinator_us_per_task")) > 0);
    assert_true(json_array_size(json_object_get(j, "checkpoints")) >= 2);
    json_decref(j);
    assert_audit(&n);
    net_close(&n);
}

static void submission_is_checked(void **state)
{
    struct net n = {0};
    (void)state;
    net_open(&n, "submit");
    struct job job = net_job(&n, 2, 2);
    json_t *r;
    /* nothing in the account */
    push(&n, &n.user, &n.corpus->cid);
    assert_int_equal(submit_status(&n, &job, &r), 402);
    json_decref(r);
    faucet(&n);
    faucet(&n); /* twice gives no more */
    assert_int_equal(balance(&n, "user:"), COORDINATOR_FAUCET_UNITS);
    /* a corpus that is not there */
    job.data = cid_for("elsewhere");
    assert_int_equal(submit_status(&n, &job, &r), 404);
    assert_non_null(strstr(str_of(r, "error"), "not in the depot"));
    json_decref(r);
    /* more than there is */
    job = net_job(&n, 2, 2);
    job.budget_units = COORDINATOR_FAUCET_UNITS + 1;
    assert_int_equal(submit_status(&n, &job, &r), 402);
    json_decref(r);
    /* somebody else's */
    job = net_job(&n, 2, 2);
    set_text(job.owner, n.rig[0].id.did[0] ? n.rig[0].id.did : "did:key:zSomebody");
    int status = submit_status(&n, &job, &r);
    assert_true(status == 400 || status == 403);
    json_decref(r);
    /* a wrong field */
    json_t *bad = json_pack("{s:s}", "name", "x");
    assert_int_equal(call(&n, &n.user, "POST", "/v1/jobs", bad, NULL), 400);
    /* unsigned */
    job = net_job(&n, 2, 2);
    assert_int_equal(call(&n, NULL, "POST", "/v1/jobs", job_to_json(&job), NULL), 401);
    assert_int_equal(balance(&n, "escrow:"), 0);
    assert_audit(&n);
    net_close(&n);
}

static void the_same_object_is_the_same_job(void **state)
{
    struct net n = {0};
    (void)state;
    net_open(&n, "same");
    struct job job = net_job(&n, 2, 2);
    job.budget_units = 0; /* the usual one */
    net_submit(&n, &job);
    int64_t left = balance(&n, "user:");
    json_t *r;
    assert_int_equal(submit_status(&n, &job, &r), 200);
    assert_string_equal(str_of(r, "id"), n.job);
    json_decref(r);
    assert_int_equal(balance(&n, "user:"), left);
    job.nonce = 2;
    assert_int_equal(submit_status(&n, &job, &r), 201);
    assert_string_not_equal(str_of(r, "id"), n.job);
    json_decref(r);
    json_t *list = get(&n, "/v1/jobs?limit=1");
    assert_int_equal(json_array_size(json_object_get(list, "jobs")), 1);
    json_decref(list);
    assert_audit(&n);
    net_close(&n);
}

static void cancelling_refunds_what_is_not_earned(void **state)
{
    struct net n = {0};
    struct identity stranger;
    char path[80];
    (void)state;
    net_open(&n, "cancel");
    struct rigbot *r = rig_add(&n);
    struct job job = net_job(&n, 8, 4);
    net_submit(&n, &job);
    run_to_step(&n, 2);
    json_t *lease = poll(&n, r, 100); /* under way while the job ends */
    assert_non_null(lease);
    snprintf(path, sizeof(path), "/v1/jobs/%s/cancel", n.job);
    identity_seeded(&stranger, 99);
    assert_int_equal(call(&n, &stranger, "POST", path, json_object(), NULL), 403);
    assert_int_equal(call(&n, &n.user, "POST", path, json_object(), NULL), 200);
    assert_int_equal(call(&n, &n.user, "POST", path, json_object(), NULL), 409);
    assert_true(job_is(&n, "cancelled"));
    json_t *b = beat(&n, r);
    assert_int_equal(json_array_size(json_object_get(b, "cancel")), 1);
    json_decref(b);
    json_t *reply;
    assert_int_equal(answer(&n, r, lease, false, &reply), 200);
    assert_true(json_is_false(json_object_get(reply, "accepted")));
    json_decref(reply);
    json_decref(lease);
    assert_int_equal(balance(&n, "escrow:"), 0);
    assert_int_equal(balance(&n, "held:"), 0);
    assert_true(balance(&n, "rig:") > 0);
    assert_int_equal(balance(&n, "rig:") + balance(&n, "user:"), COORDINATOR_FAUCET_UNITS);
    assert_audit(&n);
    net_close(&n);
}

static void a_small_escrow_pauses_until_money_comes(void **state)
{
    struct net n = {0};
    char path[80];
    (void)state;
    net_open(&n, "escrow");
    struct rigbot *r = rig_add(&n);
    struct job job = net_job(&n, 6, 4);
    struct job_plan *p;
    uint64_t flops;
    int64_t units;
    json_t *reply;
    job.data_size = n.corpus->size;
    assert_ok(job_plan_new(&job, NULL, &p, err));
    assert_ok(plan_total(p, &flops, &units, err));
    job_plan_free(p);
    job.budget_units = units / 2;
    net_submit(&n, &job);
    run_until(&n, "paused");
    json_t *j = job_now(&n);
    assert_non_null(strstr(str_of(j, "reason"), "escrow too small"));
    json_decref(j);
    assert_null(poll(&n, r, 50));
    assert_audit(&n);
    snprintf(path, sizeof(path), "/v1/jobs/%s/fund", n.job);
    for (int i = 0; i < 2; i++) { /* the same key counts once */
        char text[24];
        snprintf(text, sizeof(text), "%lld", (long long)units);
        int status = call(&n, &n.user, "POST", path,
                          json_pack("{s:s, s:s}", "units", text, "key", "first"), &reply);
        if (status != 200)
            fail_msg("fund: %d %s", status, str_of(reply, "error"));
        assert_int_equal(units_of(reply, "escrow_units"),
                         units + job.budget_units - balance(&n, "held:"));
        json_decref(reply);
    }
    run_until(&n, "succeeded");
    assert_audit(&n);
    net_close(&n);
}

static int send_failure(struct net *n, struct rigbot *r, json_t *lease, const char *status)
{
    r->lease[0] = 0;
    return call(n, &r->id, "POST", "/v1/failures",
                json_pack("{s:s, s:s, s:s}", "lease", str_of(lease, "lease"), "status", status,
                          "message", "node 7 (adamw) gives NaN"),
                NULL);
}

static void what_two_rigs_cannot_do_fails_the_job(void **state)
{
    struct net n = {0};
    (void)state;
    net_open(&n, "hopeless");
    struct rigbot *a = rig_add(&n), *b = rig_add(&n);
    struct job job = net_job(&n, 4, 2);
    net_submit(&n, &job);
    run_to_step(&n, 1);
    json_t *lease = NULL;
    while (lease == NULL)
        lease = poll(&n, a, 100);
    assert_int_equal(send_failure(&n, a, lease, "numeric"), 200);
    assert_int_equal(send_failure(&n, a, lease, "numeric"), 200); /* again: nothing new */
    assert_true(job_is(&n, "running"));
    char slot[SLOT_MAX];
    set_text(slot, str_of(lease, "slot"));
    json_decref(lease);
    for (int i = 0; i < 20; i++) { /* b gets its own work first, then what a failed at */
        lease = poll(&n, b, 500);
        if (lease == NULL || strcmp(str_of(lease, "slot"), slot) == 0)
            break;
        assert_int_equal(answer(&n, b, lease, false, NULL), 200);
        json_decref(lease);
    }
    assert_non_null(lease);
    assert_int_equal(send_failure(&n, b, lease, "numeric"), 200);
    json_decref(lease);
    assert_true(job_is(&n, "failed"));
    json_t *j = job_now(&n);
    assert_non_null(strstr(str_of(j, "reason"), "gives NaN"));
    json_decref(j);
    assert_int_equal(balance(&n, "escrow:"), 0);
    assert_true(balance(&n, "rig:") > 0);
    assert_audit(&n);
    net_close(&n);
}

/* Two jobs at once take turns: neither waits for the other's end. */
static void jobs_share_the_rigs(void **state)
{
    struct net n = {0};
    char first[32];
    (void)state;
    net_open(&n, "share");
    rig_add(&n);
    struct job job = net_job(&n, 10, 2);
    net_submit(&n, &job);
    set_text(first, n.job);
    job.nonce = 7;
    json_t *r;
    assert_int_equal(submit_status(&n, &job, &r), 201);
    set_text(n.job, str_of(r, "id"));
    json_decref(r);
    run_to_step(&n, 5);
    set_text(n.job, first);
    json_t *j = job_now(&n);
    assert_in_range(int_of(j, "step"), 3, 7);
    json_decref(j);
    run_until(&n, "succeeded");
    assert_audit(&n);
    net_close(&n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_rig_trains_to_the_end),
        cmocka_unit_test(three_rigs_share_the_work),
        cmocka_unit_test(submission_is_checked),
        cmocka_unit_test(the_same_object_is_the_same_job),
        cmocka_unit_test(cancelling_refunds_what_is_not_earned),
        cmocka_unit_test(a_small_escrow_pauses_until_money_comes),
        cmocka_unit_test(what_two_rigs_cannot_do_fails_the_job),
        cmocka_unit_test(jobs_share_the_rigs),
    };
    return cmocka_run_group_tests_name("jobs", tests, NULL, NULL);
}
