/* Votes, checks, disputes, quarantine, and what becomes of the money (COORD-2, 3, 6, 7). */
#include "harness.h"

#include "coordinator/checks/behind.h"
#include "coordinator/internal.h"

/* ---- votes: a pure function ---- */

static struct outputs named(const char *text)
{
    struct outputs o = {.count = 1};
    set_text(o.at[0].name, "sum");
    o.at[0].cid = cid_for(text);
    return o;
}

static void votes_are_counted(void **state)
{
    static const struct {
        const char *votes; /* one letter a rig: equal letters are equal results */
        enum verdict verdict;
        char winner;
    } CASES[] = {
        {"", VERDICT_OPEN, 0},          {"a", VERDICT_AGREED, 'a'},
        {"aa", VERDICT_AGREED, 'a'},    {"ab", VERDICT_DISPUTED, 0},
        {"aba", VERDICT_AGREED, 'a'},   {"abb", VERDICT_AGREED, 'b'},
        {"abc", VERDICT_DISPUTED, 0},   {"abcb", VERDICT_AGREED, 'b'},
        {"aabb", VERDICT_DISPUTED, 0},  {"ababa", VERDICT_AGREED, 'a'},
        {"aabbc", VERDICT_DISPUTED, 0},
    };
    (void)state;
    for (size_t i = 0; i < EMAC_COUNT(CASES); i++) {
        struct vote v[8] = {0};
        uint32_t n = (uint32_t)strlen(CASES[i].votes), winner;
        for (uint32_t k = 0; k < n; k++)
            v[k].outputs = named((char[]){CASES[i].votes[k], 0});
        enum verdict got = verify_votes(v, n, &winner);
        if (got != CASES[i].verdict ||
            (got == VERDICT_AGREED && CASES[i].votes[winner] != CASES[i].winner))
            fail_msg("votes '%s': verdict %d, winner %u", CASES[i].votes, got, winner);
    }
}

static void outputs_have_one_text(void **state)
{
    struct outputs o = named("x"), back;
    char text[OUTPUTS_TEXT_MAX];
    (void)state;
    o.count = 2;
    set_text(o.at[1].name, "tail");
    o.at[1].cid = cid_for("y");
    outputs_text(text, &o);
    assert_true(outputs_parse(&back, text));
    assert_true(outputs_equal(&o, &back));
    assert_false(outputs_parse(&back, "sum"));
    assert_false(outputs_parse(&back, "sum=nonsense"));
    assert_false(outputs_parse(&back, "=bafkqaaa"));
}

/* ---- whole jobs ---- */

static int64_t earned(struct net *n, const struct rigbot *r)
{
    char held[LEDGER_ACCOUNT_MAX], rig[LEDGER_ACCOUNT_MAX];
    snprintf(held, sizeof(held), "held:%s", r->id.did);
    snprintf(rig, sizeof(rig), "rig:%s", r->id.did);
    return balance(n, held) + balance(n, rig);
}

static void everything_checked_and_everybody_honest(void **state)
{
    struct net n = {0};
    (void)state;
    net_open(&n, "honest");
    rig_add(&n);
    rig_add(&n);
    struct job job = net_job(&n, 5, 4);
    job.check = 1;
    job.state_copies = 2;
    net_submit(&n, &job);
    run_until(&n, "succeeded");
    json_t *j = job_now(&n), *f = json_object_get(j, "figures");
    assert_int_equal(int_of(f, "mismatches"), 0);
    assert_int_equal(int_of(f, "lapsed"), 0);
    assert_int_equal(int_of(f, "checked"), int_of(f, "tasks"));
    json_decref(j);
    assert_audit(&n);
    net_close(&n);
}

/* The final model of an honest run of this job, for comparison. */
static void honest_model(struct job *job, char model[CID_TEXT_MAX])
{
    struct net n = {0};
    net_open(&n, "oracle");
    rig_add(&n);
    struct job plain = *job;
    plain.data = n.corpus->cid;
    plain.check = 0; /* neither is part of any task */
    plain.state_copies = 1;
    net_submit(&n, &plain);
    run_until(&n, "succeeded");
    json_t *j = job_now(&n);
    assert_true(emac_strcpy(model, CID_TEXT_MAX, str_of(j, "model")));
    json_decref(j);
    net_close(&n);
}

/* One micro-batch a step, so that the plan, and with it each made-up name, is the same for any
 * number of rigs. */
static void a_liar_among_three_is_caught_and_unpaid(void **state)
{
    struct net n = {0};
    char model[CID_TEXT_MAX];
    (void)state;
    net_open(&n, "liar");
    struct rigbot *bad = rig_add(&n);
    rig_add(&n);
    rig_add(&n);
    bad->lies = true;
    struct job job = net_job(&n, 6, 1);
    job.check = 1;
    job.state_copies = 2;
    honest_model(&job, model);
    net_submit(&n, &job);
    run_until(&n, "succeeded");
    assert_true(rig_state_is(&n, bad, "quarantined"));
    assert_int_equal(earned(&n, bad), 0);
    assert_true(figure(&n, "mismatches") >= 1);
    json_t *j = job_now(&n);
    assert_string_equal(str_of(j, "model"), model);
    json_decref(j);
    /* Whether it made or checked the result, or came third. */
    assert_true(logged(&n, "is decided by a majority") ||
                logged(&n, "from what a majority had decided"));
    assert_audit(&n);
    net_close(&n);
}

/* It worked well for a while: what only it vouched for is made again all the same. */
static void a_late_liar_takes_its_unconfirmed_work_along(void **state)
{
    struct net n = {0};
    char model[CID_TEXT_MAX];
    (void)state;
    n.cfg.lost_grace_ms = 100;
    n.cfg.check_lapse_ms = 2000; /* of old checks whose inputs went */
    net_open(&n, "lateliar");
    struct rigbot *bad = rig_add(&n);
    bad->lies = true;
    bad->lie_after = 4;
    struct job job = net_job(&n, 8, 1);
    job.check = 1;
    job.checkpoint_every = 2;
    honest_model(&job, model);
    net_submit(&n, &job);
    run_to_step(&n, 5); /* alone: nobody checks */
    rig_add(&n);
    rig_add(&n);
    run_until(&n, "succeeded");
    json_t *j = job_now(&n);
    assert_string_equal(str_of(j, "model"), model);
    json_decref(j);
    assert_true(rig_state_is(&n, bad, "quarantined"));
    assert_int_equal(earned(&n, bad), 0);
    assert_true(logged(&n, "goes back from step"));
    assert_audit(&n);
    net_close(&n);
}

/* Best after 3 steps. */
static float dip(struct net *n, json_t *lease)
{
    int round = (int)int_of(lease, "round");
    return 3.0f + 0.1f * (float)(round > 3 ? round - 3 : 3 - round);
}

/* A job that two evaluations in a row without a better one end: after 3 + 2 + 1 steps. */
static void run_scored(struct net *n, struct rigbot *bad, char model[CID_TEXT_MAX])
{
    n->score = dip;
    if (bad != NULL) {
        bad->lies = true;
        bad->about = "score";
    }
    struct job job = net_job(n, 12, 1);
    job.check = 1;
    job.eval_every = 1;
    job.patience = 2;
    job.keep = KEEP_BEST;
    net_submit(n, &job);
    if (bad != NULL)
        run_to_lie(n, bad);
    run_until(n, "succeeded");
    assert_audit(n);
    assert_int_equal(figure(n, "lapsed"), 0);
    json_t *j = job_now(n);
    assert_int_equal(int_of(j, "step"), 6);
    assert_true(emac_strcpy(model, CID_TEXT_MAX, str_of(j, "model")));
    json_decref(j);
}

static void a_lie_about_a_score_does_not_move_the_end(void **state)
{
    struct net honest = {.keep = CHECKS_BEHIND_MAX + 2}, n = honest;
    char want[CID_TEXT_MAX], model[CID_TEXT_MAX];
    (void)state;
    net_open(&honest, "scores");
    rig_add(&honest);
    rig_add(&honest);
    run_scored(&honest, NULL, want);
    net_close(&honest);
    net_open(&n, "scoreliar");
    struct rigbot *bad = rig_add(&n);
    rig_add(&n);
    rig_add(&n);
    run_scored(&n, bad, model);
    assert_true(rig_state_is(&n, bad, "quarantined"));
    net_close(&n);
    assert_string_equal(model, want);
}

static void two_who_differ_wait_for_a_third(void **state)
{
    struct net n = {0};
    (void)state;
    net_open(&n, "dispute");
    struct rigbot *bad = rig_add(&n), *good = rig_add(&n);
    bad->lies = true;
    struct job job = net_job(&n, 4, 1);
    job.check = 1;
    net_submit(&n, &job);
    json_t *j = NULL;
    for (int i = 0; i < 400; i++) {
        turn(&n, bad);
        turn(&n, good);
        json_decref(j);
        j = job_now(&n);
        if (strstr(str_of(j, "reason"), "waiting for another rig"))
            break;
        sleep_ms(5);
    }
    assert_non_null(strstr(str_of(j, "reason"), "waiting for another rig"));
    assert_string_equal(str_of(j, "state"), "running");
    assert_int_equal(int_of(j, "step"), 0);
    json_decref(j);
    assert_false(rig_state_is(&n, bad, "quarantined") || rig_state_is(&n, good, "quarantined"));
    assert_audit(&n);
    rig_add(&n);
    run_until(&n, "succeeded");
    assert_true(rig_state_is(&n, bad, "quarantined"));
    assert_false(rig_state_is(&n, good, "quarantined"));
    assert_true(logged(&n, "decided by a majority"));
    assert_int_equal(earned(&n, bad), 0);
    assert_audit(&n);
    net_close(&n);
}

static void cancelling_in_a_dispute_pays_neither(void **state)
{
    struct net n = {0};
    char path[80];
    (void)state;
    net_open(&n, "cancelled");
    struct rigbot *bad = rig_add(&n), *good = rig_add(&n);
    bad->lies = true;
    struct job job = net_job(&n, 4, 1);
    job.check = 1;
    net_submit(&n, &job);
    for (int i = 0; i < 400 && figure(&n, "mismatches") == 0; i++) {
        turn(&n, bad);
        turn(&n, good);
    }
    int64_t before = balance(&n, "held:");
    snprintf(path, sizeof(path), "/v1/jobs/%s/cancel", n.job);
    assert_int_equal(call(&n, &n.user, "POST", path, json_object(), NULL), 200);
    assert_true(balance(&n, "rig:") < before); /* init is paid, the disputed gradient is not */
    assert_audit(&n);
    net_close(&n);
}

static void a_check_lapses_when_nobody_can_make_it(void **state)
{
    struct net n = {0};
    (void)state;
    n.cfg.check_lapse_ms = 300;
    net_open(&n, "lapse");
    rig_add(&n);
    struct job job = net_job(&n, 3, 2);
    job.check = 1;
    job.state_copies = 2;
    net_submit(&n, &job);
    run_until(&n, "succeeded");
    assert_true(figure(&n, "lapsed") > 3);
    assert_int_equal(figure(&n, "checked"), 0);
    assert_true(logged(&n, "lapses: there is no second rig"));
    assert_audit(&n);
    net_close(&n);
}

static void a_liar_about_the_state_is_caught_by_its_copy(void **state)
{
    struct net n = {0};
    (void)state;
    net_open(&n, "stateliar");
    struct rigbot *bad = rig_add(&n);
    rig_add(&n);
    rig_add(&n);
    struct job job = net_job(&n, 4, 1);
    job.state_copies = 2;
    net_submit(&n, &job);
    bool lied = false;
    for (int i = 0; i < 600 && !rig_state_is(&n, bad, "quarantined"); i++) {
        json_t *lease;
        int status = poll_status(&n, bad, 0, &lease);
        if (status == 200) {
            bool lie = strncmp(str_of(lease, "slot"), "step", 4) == 0;
            lied = lied || lie;
            answer(&n, bad, lease, lie, NULL);
        }
        json_decref(lease);
        turn(&n, &n.rig[1]);
        if (lied) /* before, the third might leave it no step to lie about */
            turn(&n, &n.rig[2]);
        if (status == 204)
            sleep_ms(2); /* ranges are kept for their rigs for a while */
    }
    assert_true(lied && rig_state_is(&n, bad, "quarantined"));
    bad->unplugged = true;
    run_until(&n, "succeeded");
    assert_int_equal(earned(&n, bad), 0);
    assert_audit(&n);
    net_close(&n);
}

/* A lease of this rig on a slot that begins so, everything before it answered. */
static json_t *lease_on(struct net *n, struct rigbot *r, const char *slot)
{
    for (int i = 0; i < 100; i++) {
        json_t *lease = poll(n, r, 100);
        if (lease && strncmp(str_of(lease, "slot"), slot, strlen(slot)) == 0)
            return lease;
        if (lease)
            assert_int_equal(answer(n, r, lease, false, NULL), 200);
        json_decref(lease);
    }
    fail_msg("no lease on '%s'", slot);
    return NULL;
}

/* The step is under way with a lied sum when the lie comes out: its result must not be taken,
 * though its rig is honest and its lease was granted. */
static void a_step_from_a_disputed_sum_leads_nowhere(void **state)
{
    struct net n = {0};
    char model[CID_TEXT_MAX];
    (void)state;
    net_open(&n, "unsound");
    struct rigbot *bad = rig_add(&n), *a = rig_add(&n);
    struct job job = net_job(&n, 3, 1);
    job.check = 1;
    honest_model(&job, model);
    net_submit(&n, &job);
    json_t *lie = lease_on(&n, bad, "grad/000000"), *reply;
    assert_int_equal(answer(&n, bad, lie, true, NULL), 200);
    json_t *check = lease_on(&n, a, "grad/000000"); /* a second execution: nobody else could */
    struct rigbot *b = rig_add(&n);
    json_t *step = lease_on(&n, b, "step/000000"); /* begins with the lie */
    assert_int_equal(answer(&n, a, check, false, NULL), 200);
    assert_true(figure(&n, "mismatches") == 1);
    assert_int_equal(answer(&n, b, step, false, &reply), 200);
    assert_true(json_is_false(json_object_get(reply, "accepted")));
    json_decref(reply);
    json_t *j = job_now(&n);
    assert_int_equal(int_of(j, "step"), 0);
    json_decref(j);
    json_decref(lie);
    json_decref(check);
    json_decref(step);
    run_until(&n, "succeeded");
    j = job_now(&n);
    assert_string_equal(str_of(j, "model"), model);
    json_decref(j);
    assert_true(rig_state_is(&n, bad, "quarantined"));
    assert_audit(&n);
    net_close(&n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(votes_are_counted),
        cmocka_unit_test(outputs_have_one_text),
        cmocka_unit_test(everything_checked_and_everybody_honest),
        cmocka_unit_test(a_liar_among_three_is_caught_and_unpaid),
        cmocka_unit_test(a_late_liar_takes_its_unconfirmed_work_along),
        cmocka_unit_test(a_lie_about_a_score_does_not_move_the_end),
        cmocka_unit_test(two_who_differ_wait_for_a_third),
        cmocka_unit_test(cancelling_in_a_dispute_pays_neither),
        cmocka_unit_test(a_check_lapses_when_nobody_can_make_it),
        cmocka_unit_test(a_liar_about_the_state_is_caught_by_its_copy),
        cmocka_unit_test(a_step_from_a_disputed_sum_leads_nowhere),
    };
    return cmocka_run_group_tests_name("verify", tests, NULL, NULL);
}
