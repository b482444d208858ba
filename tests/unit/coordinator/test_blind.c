/* What a replica could learn of another's answer before it has given its own (CHECK-2, CHECK-4):
 * everything that the coordinator tells anybody is searched for it. Each search is made once more
 * when all have answered, and must find it then: so it looks where there is something to find. */
#include "harness.h"

#include "coordinator/checks/checks.h"

/* ---- the search ---- */

/* Is this text on a page that anybody may read? Where: the page's path. */
static bool is_told(struct net *n, const char *what, char where[160])
{
    static const struct {
        bool of_job;
        const char *path;
    } PAGE[] = {
        {true, ""},
        {true, "/logs?limit=1000"},
        {true, "/rigs"},
        {true, "/metrics"},
        {true, "/receipts?limit=1000"},
        {true, "/disputes"},
        {false, "/v1/jobs"},
        {false, "/v1/status"},
        {false, "/v1/checks"},
        {false, "/v1/checks/1"},
        {false, "/v1/ledger/journal?limit=1000"},
        {false, "/v1/bonds"},
    };
    for (size_t i = 0; i < EMAC_COUNT(PAGE); i++) {
        snprintf(where, 160, "%s%s%s", PAGE[i].of_job ? "/v1/jobs/" : "",
                 PAGE[i].of_job ? n->job : "", PAGE[i].path);
        char *text = fetch_text(n, where, NULL);
        bool found = strstr(text, what) != NULL;
        free(text);
        if (found)
            return true;
    }
    return false;
}

/* The outputs of a task, as the only receipt of it says. */
static struct outputs outputs_of(struct net *n, const char *slot)
{
    struct db_stmt *q;
    struct outputs o = {0};
    bool row = false;
    os_mutex_lock(&n->c->lock);
    assert_ok(db_query(n->c->db, &q, err,
                       "SELECT r.outputs FROM receipts r JOIN tasks t ON t.job = r.job"
                       " AND t.cid = r.task WHERE t.slot = ? ORDER BY r.at_ms LIMIT 1",
                       "t", slot));
    assert_ok(db_next(q, &row, err));
    assert_true(row && outputs_parse(&o, db_text(q, 0)));
    db_done(q);
    os_mutex_unlock(&n->c->lock);
    assert_true(o.count > 0);
    return o;
}

static void assert_hidden(struct net *n, const struct outputs *o)
{
    char text[CID_TEXT_MAX], where[160];
    for (uint32_t i = 0; i < o->count; i++) {
        cid_text(text, &o->at[i].cid);
        if (is_told(n, text, where))
            fail_msg("%s tells '%s' while another computes it", where, o->at[i].name);
    }
}

static void assert_told(struct net *n, const struct outputs *o)
{
    char text[CID_TEXT_MAX], where[160];
    for (uint32_t i = 0; i < o->count; i++) {
        cid_text(text, &o->at[i].cid);
        if (!is_told(n, text, where))
            fail_msg("'%s' is told nowhere", o->at[i].name);
    }
}

/* The receipt itself, by the name that the list gives. */
static int receipt_status(struct net *n, const char *slot)
{
    char path[160];
    int status = 0;
    snprintf(path, sizeof(path), "/v1/jobs/%s/receipts?limit=1000", n->job);
    json_t *list = get(n, path), *r;
    size_t i;
    json_array_foreach(json_object_get(list, "receipts"), i, r)
    {
        if (status != 0 || strcmp(str_of(r, "slot"), slot) != 0)
            continue;
        snprintf(path, sizeof(path), "/v1/receipts/%s", str_of(r, "receipt"));
        status = call(n, NULL, "GET", path, NULL, NULL);
    }
    json_decref(list);
    assert_true(status != 0);
    return status;
}

/* ---- two at one task ---- */

static void pair_open(struct net *n, const char *name, uint32_t copies)
{
    net_open(n, name);
    rig_add(n);
    rig_add(n);
    struct job job = net_job(n, 10, 2);
    job.check = 1;
    job.state_copies = copies;
    net_submit(n, &job);
}

static int64_t answers_to(struct net *n, const char *slot)
{
    int64_t count = 0;
    os_mutex_lock(&n->c->lock);
    assert_ok(db_one_i64(n->c->db, &count, err,
                         "SELECT COUNT(*) FROM receipts r JOIN tasks t ON t.job = r.job"
                         " AND t.cid = r.task WHERE t.slot = ?",
                         "t", slot));
    os_mutex_unlock(&n->c->lock);
    return count;
}

/* Let the second rig get a task of this kind that the first one alone has answered. */
static json_t *second_lease(struct net *n, const char *kind)
{
    for (int i = 0; i < 400; i++) {
        turn(n, &n->rig[0]);
        json_t *lease = poll(n, &n->rig[1], 0);
        if (lease == NULL)
            continue;
        const char *slot = str_of(lease, "slot");
        if (strncmp(slot, kind, strlen(kind)) == 0 && answers_to(n, slot) == 1)
            return lease;
        assert_int_equal(answer(n, &n->rig[1], lease, false, NULL), 200);
        json_decref(lease);
    }
    fail_msg("nobody gets '%s' second", kind);
    return NULL;
}

/* CHECK-2: whatever the rig is given meanwhile names none of it. */
static void assert_not_named(json_t *lease, const struct outputs *o)
{
    struct emac_buf bytes;
    struct task t;
    bytes_of(lease, "task", &bytes);
    assert_ok(task_decode(&t, bytes.data, bytes.len, err));
    for (uint32_t k = 0; k < o->count; k++) {
        for (uint32_t i = 0; i < t.input_count; i++)
            assert_false(cid_equal(&t.input[i].cid, &o->at[k].cid));
        for (uint32_t i = 0; i < t.part_count; i++)
            assert_false(cid_equal(&t.part[i].cid, &o->at[k].cid));
    }
    task_release(&t);
    emac_buf_release(&bytes);
}

static void looked_for(const char *kind)
{
    struct net n = {0};
    pair_open(&n, kind, 2);
    json_t *lease = second_lease(&n, kind), *more;
    char *slot = strdup(str_of(lease, "slot"));
    struct outputs o = outputs_of(&n, slot);
    assert_hidden(&n, &o);
    assert_int_equal(receipt_status(&n, slot), 409);
    for (int i = 0; i < 12; i++) { /* the first one goes on: what it does builds on that result */
        turn(&n, &n.rig[0]);
        more = i % 4 == 0 ? poll(&n, &n.rig[1], 0) : NULL;
        if (more != NULL)
            assert_not_named(more, &o);
        json_decref(more);
        assert_hidden(&n, &o);
    }
    assert_int_equal(answers_to(&n, slot), 1);
    net_restart(&n); /* what may be told does not rest on memory */
    assert_int_equal(hello(&n, &n.rig[0]), 200);
    assert_int_equal(hello(&n, &n.rig[1]), 200);
    assert_hidden(&n, &o);
    answer(&n, &n.rig[1], lease, false, NULL);
    json_decref(lease);
    run_until(&n, "succeeded");
    assert_told(&n, &o);
    assert_int_equal(receipt_status(&n, slot), 200);
    assert_audit(&n);
    free(slot);
    net_close(&n);
}

static void a_checker_finds_nothing(void **state)
{
    (void)state;
    looked_for("grad");
}

static void a_copier_of_a_step_finds_nothing(void **state)
{
    (void)state;
    looked_for("init");
    looked_for("step");
}

/* Who is called to decide between two that differ is told neither result. */
static void a_referee_finds_nothing(void **state)
{
    struct net n = {0};
    char slot[SLOT_MAX];
    (void)state;
    pair_open(&n, "referee", 1);
    n.rig[1].lies = true;
    for (int i = 0; i < 800 && figure(&n, "mismatches") == 0; i++)
        turn(&n, &n.rig[i % 2]);
    os_mutex_lock(&n.c->lock);
    struct db_stmt *q;
    bool row = false;
    assert_ok(db_query(n.c->db, &q, err, "SELECT slot FROM tasks WHERE state = 'disputed'", ""));
    assert_ok(db_next(q, &row, err));
    assert_true(row);
    set_text(slot, db_text(q, 0));
    db_done(q);
    os_mutex_unlock(&n.c->lock);
    struct outputs o = outputs_of(&n, slot);
    assert_hidden(&n, &o);
    assert_int_equal(receipt_status(&n, slot), 409);
    rig_add(&n);
    run_until(&n, "succeeded");
    assert_int_equal(receipt_status(&n, slot), 200);
    net_close(&n);
}

/* Who had a task that names a result checks it last, also when that task is long over. */
static void what_was_shown_is_remembered(void **state)
{
    struct net n = {0};
    (void)state;
    pair_open(&n, "shown", 2);
    run_until(&n, "succeeded");
    struct outputs first_state = outputs_of(&n, "init");
    struct cid *cid = &first_state.at[0].cid;
    os_mutex_lock(&n.c->lock);
    assert_true(shown_to(node_find(n.c, n.rig[0].id.did), cid));
    cid->digest[0] ^= 1;
    assert_false(shown_to(node_find(n.c, n.rig[0].id.did), cid));
    struct node *other = node_find(n.c, n.rig[1].id.did);
    struct cid first = cid_for("first");
    for (uint32_t i = 0; i <= SHOWN_MAX; i++) {
        char text[24];
        struct task t = {.input_count = 1};
        snprintf(text, sizeof(text), "input %u", i);
        t.input[0].cid = i == 0 ? first : cid_for(text);
        shown_note(other, &t);
        shown_note(other, &t); /* once: it takes no second place */
        assert_true(shown_to(other, &t.input[0].cid));
        assert_int_equal(shown_to(other, &first), i < SHOWN_MAX);
    }
    os_mutex_unlock(&n.c->lock);
    net_close(&n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_checker_finds_nothing),
        cmocka_unit_test(a_copier_of_a_step_finds_nothing),
        cmocka_unit_test(a_referee_finds_nothing),
        cmocka_unit_test(what_was_shown_is_remembered),
    };
    return cmocka_run_group_tests_name("blind", tests, NULL, NULL);
}
