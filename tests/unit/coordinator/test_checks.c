/* Checks by lot in a coordinator: who is checked, by whom, and that anybody can draw again (CHECK-1
 * to CHECK-3, DRAW-1 to DRAW-3). */
#include "harness.h"
#include "rows.h"

#include "coordinator/checks/checks.h"

/* ---- helpers ---- */

/* What stands behind a rig, as if it spoke from there; the subnet of tests is one for all. */
static void behind(struct net *n, const struct rigbot *r, const char *owner, const char *subnet)
{
    os_mutex_lock(&n->c->lock);
    struct node *node = node_find(n->c, r->id.did);
    assert_true(emac_strcpy(node->owner, sizeof(node->owner), owner));
    assert_true(emac_strcpy(node->subnet, sizeof(node->subnet), subnet));
    os_mutex_unlock(&n->c->lock);
}

/* Two epochs pass: what was drawn so far may be told. */
static void epochs_pass(struct net *n)
{
    os_mutex_lock(&n->c->lock);
    n->c->draw.first_ms -= 2 * DRAW_EPOCH_MS;
    os_mutex_unlock(&n->c->lock);
}

static void hash_read(uint8_t out[DRAW_SECRET], json_t *o, const char *key)
{
    assert_true(emac_unhex(out, DRAW_SECRET, str_of(o, key)));
}

static struct cid cid_read(json_t *o, const char *key)
{
    struct cid cid;
    assert_ok(cid_parse(&cid, str_of(o, key), err));
    return cid;
}

/* ---- the lots, drawn again ---- */

struct tally {
    uint32_t drawn, checked, answered_twice, by_first;
};

/* By what the coordinator publishes alone. */
static void draw_again(struct net *n, struct tally *t)
{
    uint8_t anchor[DRAW_SECRET], secret[DRAW_SECRET], seed[SHA256_BYTES];
    json_t *head = get(n, "/v1/checks"), *page = get(n, "/v1/checks/1"), *d;
    size_t i;
    hash_read(anchor, head, "anchor");
    assert_string_equal(str_of(head, "secret"), str_of(page, "secret"));
    hash_read(secret, page, "secret");
    assert_true(draw_secret_holds(secret, 1, anchor));
    json_array_foreach(json_object_get(page, "draws"), i, d)
    {
        struct cid task = cid_read(d, "task"), receipt = cid_read(d, "receipt");
        json_t *answered = json_object_get(d, "answered");
        draw_seed(seed, secret, &task, &receipt);
        bool checked = json_is_true(json_object_get(d, "checked"));
        assert_int_equal(draw_checked(seed, (uint32_t)int_of(d, "share_ppm")), checked);
        assert_string_equal(json_string_value(json_array_get(answered, 0)), str_of(d, "of"));
        t->drawn++;
        t->checked += checked;
        t->answered_twice += json_array_size(answered) >= 2;
        if (checked && json_array_size(answered) == 2) {
            const char *by = json_string_value(json_array_get(answered, 1));
            bool first = true;
            for (uint32_t k = 0; k < n->rigs; k++)
                if (strcmp(n->rig[k].id.did, str_of(d, "of")) != 0)
                    first = first && draw_rank(seed, draw_point(by)) <=
                                         draw_rank(seed, draw_point(n->rig[k].id.did));
            t->by_first += first;
        }
    }
    json_decref(head);
    json_decref(page);
}

static void anybody_can_draw_again(void **state)
{
    struct net n = {0};
    struct tally t = {0};
    (void)state;
    net_open(&n, "draws");
    for (int i = 0; i < 4; i++)
        rig_add(&n);
    struct job job = net_job(&n, 12, 4);
    job.check = 0.5; /* of 20 results fewer than a tenth are checked once in 50,000 runs */
    net_submit(&n, &job);
    run_until(&n, "succeeded");
    json_t *head = get(&n, "/v1/checks"), *page = get(&n, "/v1/checks/1");
    assert_true(json_is_null(json_object_get(head, "secret")));
    assert_true(json_is_null(json_object_get(page, "secret"))); /* not before its time */
    assert_int_equal(int_of(head, "epoch"), 1);
    json_decref(head);
    json_decref(page);
    epochs_pass(&n);
    draw_again(&n, &t);
    assert_true(t.drawn >= 20);
    assert_int_equal(t.checked, t.answered_twice);
    assert_true(t.checked > t.drawn / 10 && t.by_first > 0);
    assert_true(logged(&n, "rigs in the same subnet"));
    assert_audit(&n);
    net_close(&n);
}

/* The chain is the secret file's: another process reveals the same. */
static void a_restart_draws_on(void **state)
{
    struct net n = {0};
    char anchor[2 * DRAW_SECRET + 1];
    (void)state;
    net_open(&n, "redraw");
    rig_add(&n);
    rig_add(&n);
    struct job job = net_job(&n, 8, 2);
    job.check = 1;
    net_submit(&n, &job);
    run_to_step(&n, 2);
    json_t *head = get(&n, "/v1/checks");
    set_text(anchor, str_of(head, "anchor"));
    json_decref(head);
    coordinator_stop(n.c);
    net_start(&n);
    run_until(&n, "succeeded");
    head = get(&n, "/v1/checks");
    assert_string_equal(str_of(head, "anchor"), anchor);
    json_decref(head);
    epochs_pass(&n);
    struct tally t = {0};
    draw_again(&n, &t);
    assert_true(t.drawn >= 8 && t.drawn == t.checked);
    assert_true(number(&n, "SELECT COUNT(*) FROM trust WHERE kind = 'rig' AND good > 0") == 2);
    assert_true(number(&n, "SELECT COUNT(*) FROM trust WHERE kind = 'device' AND name = 'avx2'"
                           " AND good > 0") == 1);
    assert_audit(&n);
    net_close(&n);
}

/* ---- how much is checked ---- */

/* The share falls with what rigs have at stake and with comparisons, and never below the floor. */
static void who_has_a_stake_is_checked_less(void **state)
{
    struct net n = {0};
    (void)state;
    net_open(&n, "stake");
    rig_add(&n);
    rig_add(&n);
    struct job job = net_job(&n, 40, 2);
    job.check = 0.001;
    net_submit(&n, &job);
    run_until(&n, "succeeded");
    assert_int_equal(number(&n, "SELECT MAX(draw_ppm) FROM tasks WHERE draw_epoch > 0"), TRUST_PPM);
    assert_true(number(&n, "SELECT MIN(draw_ppm) FROM tasks WHERE draw_epoch > 0") < 250000);
    assert_true(number(&n, "SELECT MIN(draw_ppm) FROM tasks WHERE draw_epoch > 0") >=
                TRUST_FLOOR_PPM);
    assert_audit(&n);
    net_close(&n);
}

/* CHECK-3 */
static void a_tight_budget_gets_no_more_than_it_asks_for(void **state)
{
    struct net n = {0};
    (void)state;
    net_open(&n, "tight");
    rig_add(&n);
    rig_add(&n);
    struct job job = net_job(&n, 6, 2);
    job.check = 0.001;
    net_submit(&n, &job);
    int64_t plain = 0;
    os_mutex_lock(&n.c->lock);
    jobs_refresh(n.c);
    plain = n.c->job[0]->plain_units;
    os_mutex_unlock(&n.c->lock);
    char path[64];
    snprintf(path, sizeof(path), "/v1/jobs/%s/cancel", n.job);
    assert_int_equal(call(&n, &n.user, "POST", path, json_object(), NULL), 200);
    job.nonce = 2;
    job.budget_units = plain + plain * 2 / 5; /* the first and the last are done twice anyway */
    json_t *reply;
    assert_int_equal(submit_status(&n, &job, &reply), 201);
    set_text(n.job, str_of(reply, "id"));
    json_decref(reply);
    sql(&n, "UPDATE tasks SET draw_epoch = 0");
    run_until(&n, "succeeded");
    assert_int_equal(number(&n, "SELECT MAX(draw_ppm) FROM tasks WHERE draw_epoch > 0 AND"
                                " slot LIKE 'grad/000000/%'"),
                     1000);
    assert_audit(&n);
    net_close(&n);
}

static void a_job_that_asks_for_no_checks_has_none(void **state)
{
    struct net n = {0};
    (void)state;
    net_open(&n, "none");
    rig_add(&n);
    rig_add(&n);
    struct job job = net_job(&n, 4, 2);
    net_submit(&n, &job);
    run_until(&n, "succeeded");
    assert_int_equal(number(&n, "SELECT COUNT(*) FROM tasks WHERE draw_epoch > 0"), 0);
    assert_int_equal(number(&n, "SELECT COUNT(*) FROM trust"), 0);
    assert_audit(&n);
    net_close(&n);
}

/* ---- who checks ---- */

/* A ring of two of one owner, and one rig apart from them: it checks both. */
static void a_ring_does_not_check_itself(void **state)
{
    struct net n = {0};
    (void)state;
    net_open(&n, "ring");
    struct rigbot *a = rig_add(&n), *b = rig_add(&n), *apart = rig_add(&n);
    behind(&n, a, n.user.did, "10.0.0.0/24");
    behind(&n, b, n.user.did, "10.0.1.0/24");
    behind(&n, apart, "", "10.0.2.0/24");
    struct job job = net_job(&n, 6, 3);
    job.check = 1;
    net_submit(&n, &job);
    run_until(&n, "succeeded");
    assert_int_equal(number(&n, "SELECT COUNT(*) FROM tasks WHERE draw_class = 'same-owner'"
                                " AND draw_epoch > 0"),
                     0);
    assert_true(number(&n, "SELECT COUNT(*) FROM tasks WHERE draw_epoch > 0") >= 6);
    char query[512];
    snprintf(query, sizeof(query),
             "SELECT COUNT(*) FROM tasks t WHERE t.draw_epoch > 0 AND t.draw_checked = 1 AND"
             " NOT EXISTS (SELECT 1 FROM receipts r WHERE r.job = t.job AND r.task = t.cid"
             " AND r.node = '%s')",
             apart->id.did);
    assert_int_equal(number(&n, query), 0);
    assert_audit(&n);
    net_close(&n);
}

static void where_all_are_of_one_owner_it_says_so(void **state)
{
    struct net n = {0};
    (void)state;
    net_open(&n, "oneowner");
    behind(&n, rig_add(&n), n.user.did, "10.0.0.0/24");
    behind(&n, rig_add(&n), n.user.did, "10.0.1.0/24");
    struct job job = net_job(&n, 3, 1);
    job.check = 1;
    net_submit(&n, &job);
    run_until(&n, "succeeded");
    assert_true(logged(&n, "rigs of the same owner"));
    assert_int_equal(figure(&n, "lapsed"), 0);
    assert_audit(&n);
    net_close(&n);
}

/* CHECK-2: while a rig computes what another has answered, it is shown nothing that names the
 * answer. */
static void replicas_learn_nothing_of_each_other(void **state)
{
    struct net n = {0};
    (void)state;
    net_open(&n, "hidden");
    struct rigbot *a = rig_add(&n), *b = rig_add(&n);
    struct job job = net_job(&n, 4, 1);
    job.state_copies = 2;
    net_submit(&n, &job);
    json_t *la = poll(&n, a, 2000), *lb = poll(&n, b, 2000), *more;
    assert_non_null(la);
    assert_non_null(lb);
    assert_string_equal(str_of(la, "slot"), "init");
    assert_string_equal(str_of(lb, "slot"), "init");
    assert_int_equal(answer(&n, a, la, false, NULL), 200);
    /* The first weights are there: the first gradient names them, b may not see it yet. */
    assert_int_equal(poll_status(&n, b, 300, &more), 204);
    json_decref(more);
    more = poll(&n, a, 2000);
    assert_non_null(more);
    assert_int_equal(strncmp(str_of(more, "slot"), "grad", 4), 0);
    assert_int_equal(answer(&n, b, lb, false, NULL), 200);
    json_decref(la);
    json_decref(lb);
    assert_int_equal(answer(&n, a, more, false, NULL), 200);
    json_decref(more);
    run_until(&n, "succeeded");
    assert_audit(&n);
    net_close(&n);
}

/* ---- bad requests ---- */

static void bad_questions_are_refused(void **state)
{
    static const struct {
        const char *path;
        int status;
    } CASES[] = {
        {"/v1/checks/0", 404},
        {"/v1/checks/x", 404},
        {"/v1/checks/1x", 404},
        {"/v1/checks/99999999999999999999", 404},
        {"/v1/checks/16385", 404},
        {"/v1/checks/16384", 200},
        {"/v1/checks/1?after=x", 400},
        {"/v1/checks/1?limit=x", 400},
        {"/v1/checks/1?after=j/t&limit=1", 404},
    };
    struct net n = {0};
    (void)state;
    net_open(&n, "badchecks");
    for (size_t i = 0; i < EMAC_COUNT(CASES); i++)
        if (call(&n, NULL, "GET", CASES[i].path, NULL, NULL) != CASES[i].status)
            fail_msg("GET %s is not %d", CASES[i].path, CASES[i].status);
    struct rigbot *r = rig_named(&n, 9);
    json_t *body = hello_body(r);
    json_object_set_new(body, "owner", json_string("me"));
    assert_int_equal(call(&n, &r->id, "POST", "/v1/nodes", body, NULL), 400);
    body = hello_body(r);
    json_object_set_new(body, "driver", json_string("a\nb"));
    assert_int_equal(call(&n, &r->id, "POST", "/v1/nodes", body, NULL), 400);
    net_close(&n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(anybody_can_draw_again),
        cmocka_unit_test(a_restart_draws_on),
        cmocka_unit_test(who_has_a_stake_is_checked_less),
        cmocka_unit_test(a_tight_budget_gets_no_more_than_it_asks_for),
        cmocka_unit_test(a_job_that_asks_for_no_checks_has_none),
        cmocka_unit_test(a_ring_does_not_check_itself),
        cmocka_unit_test(where_all_are_of_one_owner_it_says_so),
        cmocka_unit_test(replicas_learn_nothing_of_each_other),
        cmocka_unit_test(bad_questions_are_refused),
    };
    return cmocka_run_group_tests_name("checks", tests, NULL, NULL);
}
