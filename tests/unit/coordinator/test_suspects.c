/* What one rig made and another cannot use (SUSPECT-1 to 4): made again, its maker out, or the
 * accuser not heard; and a job whose honest results are of no use ends. */
#include "harness.h"

#include "coordinator/jobs/suspects.h"

/* Were the bytes made up by a rig that lied? See makeup.h. */
static bool is_lie(struct net *n, const struct cid *cid)
{
    static const char MARK[] = ", a lie";
    struct emac_buf b;
    emac_buf_init(&b, 4096);
    bool there = store_block_get(n->bytes, cid, &b, NULL) == EMAC_OK;
    bool lie = there && memmem(b.data, b.len, MARK, sizeof MARK - 1) != NULL;
    emac_buf_release(&b);
    return lie;
}

static int accuse(struct net *n, struct rigbot *r, json_t *lease, const struct cid *suspect)
{
    char text[CID_TEXT_MAX];
    cid_text(text, suspect);
    r->lease[0] = 0;
    return call(n, &r->id, "POST", "/v1/failures",
                json_pack("{s:s, s:s, s:s, s:s}", "lease", str_of(lease, "lease"), "status",
                          "numeric", "message", "part 0+1 of input 'sum' is too large", "suspect",
                          text),
                NULL);
}

typedef bool suspicious_fn(struct net *n, const struct cid *part);

/* A rig's turn: an optimiser step over a part that `bad` says is bad fails because of it. */
static bool judged_turn(struct net *n, struct rigbot *r, suspicious_fn *bad)
{
    struct emac_buf bytes;
    struct task t;
    json_t *lease;
    int status = poll_status(n, r, 0, &lease);
    bool accused = false;
    if (status == 403)
        r->unplugged = true;
    if (status != 200) {
        json_decref(lease);
        return false;
    }
    bytes_of(lease, "task", &bytes);
    assert_ok(task_decode(&t, bytes.data, bytes.len, err));
    for (uint32_t i = 0; i < t.part_count && !accused; i++) {
        accused = strncmp(str_of(lease, "slot"), "step", 4) == 0 && bad(n, &t.part[i].cid);
        if (accused)
            assert_int_equal(accuse(n, r, lease, &t.part[i].cid), 200);
    }
    if (!accused) {
        status = answer(n, r, lease, lies_now(r, lease), NULL);
        assert_true(status == 200 || status == 403);
    }
    task_release(&t);
    emac_buf_release(&bytes);
    json_decref(lease);
    deposits_push(n, r);
    return true;
}

static void run_judged(struct net *n, const char *state, suspicious_fn *bad, uint32_t accusers)
{
    static const uint32_t LOOPS = 3000;
    for (uint32_t i = 0; i < LOOPS; i++) {
        bool any = false;
        for (uint32_t k = 0; k < n->rigs; k++)
            if (!n->rig[k].unplugged)
                any = (k < accusers ? judged_turn(n, &n->rig[k], bad) : turn(n, &n->rig[k])) || any;
        if (i % 8 == 0 && job_is(n, state))
            return;
        if (!any)
            sleep_ms(5);
    }
    json_t *j = job_now(n);
    fail_msg("the job is not '%s' but '%s': %s", state, str_of(j, "state"), str_of(j, "reason"));
}

/* With one micro-batch a made-up model follows from the job alone. */
static struct job unchecked(struct net *n, uint32_t steps, uint32_t micro_batches)
{
    struct job job = net_job(n, steps, micro_batches);
    job.check = 0;
    job.state_copies = 1;
    return job;
}

static void model_of(struct net *n, char model[CID_TEXT_MAX])
{
    json_t *j = job_now(n);
    assert_true(emac_strcpy(model, CID_TEXT_MAX, str_of(j, "model")));
    json_decref(j);
}

/* The rig's next lease is for this kind of task. */
static json_t *leased(struct net *n, struct rigbot *r, const char *kind)
{
    json_t *lease = poll(n, r, 10000);
    if (lease == NULL || strncmp(str_of(lease, "slot"), kind, strlen(kind)) != 0)
        fail_msg("wanted a task '%s', got '%s'", kind, lease ? str_of(lease, "slot") : "none");
    return lease;
}

static void answered(struct net *n, struct rigbot *r, const char *kind, bool lie)
{
    json_t *lease = leased(n, r, kind);
    assert_int_equal(answer(n, r, lease, lie, NULL), 200);
    json_decref(lease);
    deposits_push(n, r);
}

/* SUSPECT-1, with policy.check 0: nothing else would have found it. */
static void what_cannot_be_used_is_made_again(void **state)
{
    struct net honest = {0}, n = {0};
    char want[CID_TEXT_MAX], model[CID_TEXT_MAX];
    (void)state;
    net_open(&honest, "usable");
    rig_add(&honest);
    struct job job = unchecked(&honest, 3, 1);
    net_submit(&honest, &job);
    run_until(&honest, "succeeded");
    model_of(&honest, want);
    net_close(&honest);

    net_open(&n, "unusable");
    struct rigbot *bad = rig_add(&n);
    job = unchecked(&n, 3, 1);
    net_submit(&n, &job);
    answered(&n, bad, "init", false);
    answered(&n, bad, "grad", false);
    answered(&n, bad, "step", false);
    answered(&n, bad, "grad", true);
    rig_add(&n);
    rig_add(&n);
    run_judged(&n, "succeeded", is_lie, 3);
    model_of(&n, model);
    assert_string_equal(model, want);
    assert_true(rig_state_is(&n, bad, "quarantined"));
    assert_true(logged(&n, "is refused until another rig has made it again: part 0+1"));
    assert_true(logged(&n, bad->id.did));
    assert_true(rig_state_is(&n, &n.rig[1], "admitted") && rig_state_is(&n, &n.rig[2], "admitted"));
    assert_audit(&n);
    net_close(&n);
}

static bool anything(struct net *n, const struct cid *part)
{
    (void)n, (void)part;
    return true;
}

/* SUSPECT-2 */
static void honest_results_of_no_use_end_the_job(void **state)
{
    struct net n = {0};
    (void)state;
    net_open(&n, "diverged");
    for (int i = 0; i < 3; i++)
        rig_add(&n);
    struct job job = unchecked(&n, 3, 1);
    net_submit(&n, &job);
    run_judged(&n, "failed", anything, 3);
    json_t *j = job_now(&n);
    assert_non_null(strstr(str_of(j, "reason"), "training diverged"));
    json_decref(j);
    for (uint32_t i = 0; i < 3; i++)
        assert_true(rig_state_is(&n, &n.rig[i], "admitted"));
    assert_audit(&n);
    net_close(&n);
}

/* SUSPECT-4: it cannot make every sum cost double, nor end the job alone. */
static void who_cries_wolf_is_not_heard(void **state)
{
    struct net n = {0};
    (void)state;
    net_open(&n, "wolf");
    struct rigbot *honest = rig_add(&n), *wolf = rig_add(&n);
    struct job job = unchecked(&n, SUSPECT_ALARMS + 2, 1);
    net_submit(&n, &job);
    answered(&n, honest, "init", false);
    for (uint32_t i = 0; i < SUSPECT_ALARMS + 1; i++) {
        answered(&n, honest, "grad", false);
        struct cid sum = honest->sums[honest->sum_count - 1];
        int64_t tasks = figure(&n, "tasks");
        json_t *lease = leased(&n, wolf, "step");
        assert_int_equal(accuse(&n, wolf, lease, &sum), 200);
        json_decref(lease);
        assert_int_equal(figure(&n, "tasks"), i < SUSPECT_ALARMS ? tasks - 1 : tasks);
        if (i < SUSPECT_ALARMS)
            answered(&n, wolf, "grad", false); /* its own answer agrees */
        assert_int_equal(figure(&n, "tasks"), tasks);
        answered(&n, honest, "step", false);
    }
    assert_true(logged(&n, "was made again, with the same result"));
    assert_int_equal(figure(&n, "mismatches"), 0);
    assert_audit(&n);
    net_close(&n);
}

static void what_is_no_cid_is_refused(void **state)
{
    struct net n = {0};
    json_t *reply;
    (void)state;
    net_open(&n, "nocid");
    struct rigbot *r = rig_add(&n);
    struct job job = unchecked(&n, 1, 1);
    net_submit(&n, &job);
    json_t *lease = poll(&n, r, 2000);
    assert_non_null(lease);
    assert_int_equal(call(&n, &r->id, "POST", "/v1/failures",
                          json_pack("{s:s, s:s, s:s}", "lease", str_of(lease, "lease"), "status",
                                    "numeric", "suspect", "a sum"),
                          &reply),
                     400);
    char *text = json_dumps(reply, 0);
    assert_non_null(strstr(text, "'suspect'"));
    free(text);
    json_decref(reply);
    json_decref(lease);
    net_close(&n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_cannot_be_used_is_made_again),
        cmocka_unit_test(honest_results_of_no_use_end_the_job),
        cmocka_unit_test(who_cries_wolf_is_not_heard),
        cmocka_unit_test(what_is_no_cid_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
