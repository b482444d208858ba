/* Bytes that are gone with their rigs, checkpoints, and coming back from them. */
#include "harness.h"

static void alone_until(struct net *n, int64_t step, struct job *job)
{
    rig_add(n);
    net_submit(n, job);
    run_to_step(n, step);
}

static void model_of(struct net *n, char model[CID_TEXT_MAX])
{
    json_t *j = job_now(n);
    assert_string_equal(str_of(j, "state"), "succeeded");
    assert_true(emac_strcpy(model, CID_TEXT_MAX, str_of(j, "model")));
    json_decref(j);
}

static void undisturbed(struct job job, char model[CID_TEXT_MAX])
{
    struct net n = {0};
    net_open(&n, "undisturbed");
    job.data = n.corpus->cid;
    alone_until(&n, 1, &job);
    run_until(&n, "succeeded");
    model_of(&n, model);
    net_close(&n);
}

static bool has_checkpoint(struct net *n, int64_t step, const char *state)
{
    json_t *j = job_now(n), *k;
    size_t i;
    bool found = false;
    json_array_foreach(json_object_get(j, "checkpoints"), i, k)
    {
        found = found || (int_of(k, "step") == step && strcmp(str_of(k, "state"), state) == 0);
    }
    json_decref(j);
    return found;
}

static void wait_checkpoint(struct net *n, int64_t step)
{
    for (int i = 0; i < 200 && !has_checkpoint(n, step, "complete"); i++)
        sleep_ms(10);
    assert_true(has_checkpoint(n, step, "complete"));
}

static void lost_state_goes_back_to_the_checkpoint(void **state)
{
    struct net n = {0};
    char model[CID_TEXT_MAX], want[CID_TEXT_MAX];
    struct job job = {0};
    (void)state;
    n.cfg.lease_ttl_ms = 300;
    net_open(&n, "checkpoint");
    job = net_job(&n, 7, 1);
    job.checkpoint_every = 2;
    undisturbed(job, want);
    alone_until(&n, 5, &job);
    wait_checkpoint(&n, 4);
    n.rig[0].unplugged = true; /* with the state after step 5 */
    rig_add(&n);
    run_until(&n, "succeeded");
    assert_true(logged(&n, "goes back to the checkpoint after step 4"));
    model_of(&n, model);
    assert_string_equal(model, want);
    assert_audit(&n);
    net_close(&n);
}

static void without_a_checkpoint_it_begins_again(void **state)
{
    struct net n = {0};
    char model[CID_TEXT_MAX], want[CID_TEXT_MAX];
    struct job job;
    (void)state;
    n.cfg.lease_ttl_ms = 300;
    net_open(&n, "again");
    job = net_job(&n, 4, 1);
    undisturbed(job, want);
    alone_until(&n, 2, &job);
    n.rig[0].unplugged = true;
    rig_add(&n);
    run_until(&n, "succeeded");
    assert_true(logged(&n, "the job begins again"));
    model_of(&n, model);
    assert_string_equal(model, want);
    assert_audit(&n);
    net_close(&n);
}

/* A sum that went with its rig is made again; the step goes on from the other's. */
static void a_lost_sum_is_made_again(void **state)
{
    struct net n = {0};
    struct job job;
    (void)state;
    n.cfg.lease_ttl_ms = 300;
    n.cfg.check_lapse_ms = 300; /* of the copies of steps that b alone can make */
    net_open(&n, "sum");
    struct rigbot *a = rig_add(&n), *b = rig_add(&n);
    job = net_job(&n, 3, 2);
    job.state_copies = 2;
    net_submit(&n, &job);
    run_to_step(&n, 1);
    for (int i = 0; i < 200; i++) { /* a makes one sum of a step and is gone */
        json_t *lease = poll(&n, a, 20);
        bool grad = lease && strncmp(str_of(lease, "slot"), "grad", 4) == 0;
        if (lease)
            assert_int_equal(answer(&n, a, lease, false, NULL), 200);
        json_decref(lease);
        if (grad)
            break;
        turn(&n, b);
    }
    a->unplugged = true;
    run_until(&n, "succeeded");
    assert_true(b->done > 3);
    assert_audit(&n);
    net_close(&n);
}

/* b cannot reach a: a is asked to bring the state to the depot. */
static void what_one_rig_cannot_fetch_comes_through_the_depot(void **state)
{
    struct net n = {0};
    struct job job;
    json_t *lease = NULL, *beat_reply;
    (void)state;
    net_open(&n, "unfetchable");
    job = net_job(&n, 4, 1);
    alone_until(&n, 1, &job);
    struct rigbot *a = &n.rig[0], *b = rig_add(&n);
    for (int i = 0; i < 40 && lease == NULL; i++)
        lease = poll(&n, b, 200);
    assert_non_null(lease);
    struct cid params = a->holds[a->hold_count - 1];
    char text[CID_TEXT_MAX], path[128];
    cid_text(text, &params);
    assert_int_equal(
        call(&n, &b->id, "POST", "/v1/failures",
             json_pack("{s:s, s:s, s:s, s:[s]}", "lease", str_of(lease, "lease"), "status",
                       "unavailable", "message", "no route", "missing", text),
             NULL),
        200);
    json_decref(lease);
    b->lease[0] = 0;
    beat_reply = beat(&n, a);
    assert_int_equal(json_array_size(json_object_get(beat_reply, "deposit")), 1);
    assert_string_equal(
        json_string_value(json_array_get(json_object_get(beat_reply, "deposit"), 0)), text);
    json_decref(beat_reply);
    deposits_push(&n, a);
    snprintf(path, sizeof(path), "/v1/providers/%s", text);
    json_t *p = get(&n, path);
    assert_int_equal(json_array_size(json_object_get(p, "providers")), 1);
    assert_string_equal(str_of(json_array_get(json_object_get(p, "providers"), 0), "node"),
                        "depot");
    json_decref(p);
    run_until(&n, "succeeded");
    assert_false(logged(&n, "begins again"));
    assert_true(b->done > 0);
    assert_audit(&n);
    net_close(&n);
}

/* The rig's next lease, which is of a task called so. */
static json_t *lease_of(struct net *n, struct rigbot *r, const char *what)
{
    json_t *lease = poll(n, r, 2000);
    assert_non_null(lease);
    assert_true(strncmp(str_of(lease, "slot"), what, strlen(what)) == 0);
    return lease;
}

static void lease_do(struct net *n, struct rigbot *r, json_t *lease)
{
    assert_int_equal(answer(n, r, lease, false, NULL), 200);
    json_decref(lease);
}

/* HELD-1: what a poll does not name is held all the same, until the next does not name it either.
 */
static void a_poll_from_before_a_result_takes_nothing_back(void **state)
{
    struct net n = {0};
    struct job job;
    json_t *lease;
    (void)state;
    net_open(&n, "overtaken");
    job = net_job(&n, 4, 1);
    alone_until(&n, 1, &job);
    struct rigbot *a = &n.rig[0];
    lease_do(&n, a, lease_of(&n, a, "grad"));
    struct rigbot before = *a;
    lease_do(&n, a, lease_of(&n, a, "step"));
    struct rigbot after = *a;
    memcpy(a->holds, before.holds, sizeof(a->holds));
    a->hold_count = before.hold_count;
    lease = lease_of(&n, a, "grad"); /* of the step's parameters */
    assert_int_equal(int_of(lease, "fetch_bytes"), 0);
    lease_do(&n, a, lease);
    lease = lease_of(&n, a, "step");
    assert_true(int_of(lease, "fetch_bytes") > 0);
    memcpy(a->holds, after.holds, sizeof(a->holds));
    a->hold_count = after.hold_count;
    lease_do(&n, a, lease);
    run_until(&n, "succeeded");
    assert_audit(&n);
    net_close(&n);
}

static void only_the_last_two_checkpoints_stay(void **state)
{
    struct net n = {0};
    struct job job;
    (void)state;
    net_open(&n, "keep");
    job = net_job(&n, 8, 1);
    job.checkpoint_every = 2;
    rig_add(&n);
    net_submit(&n, &job);
    for (int64_t step = 2; step <= 6; step += 2) {
        run_to_step(&n, step);
        deposits_push(&n, &n.rig[0]);
        wait_checkpoint(&n, step);
    }
    assert_true(has_checkpoint(&n, 2, "old"));
    assert_true(has_checkpoint(&n, 4, "complete"));
    run_until(&n, "succeeded");
    assert_audit(&n);
    net_close(&n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lost_state_goes_back_to_the_checkpoint),
        cmocka_unit_test(without_a_checkpoint_it_begins_again),
        cmocka_unit_test(a_lost_sum_is_made_again),
        cmocka_unit_test(what_one_rig_cannot_fetch_comes_through_the_depot),
        cmocka_unit_test(a_poll_from_before_a_result_takes_nothing_back),
        cmocka_unit_test(only_the_last_two_checkpoints_stay),
    };
    return cmocka_run_group_tests_name("lost", tests, NULL, NULL);
}
