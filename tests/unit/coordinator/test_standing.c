/* What rigs have at stake, and how they lose it (STAND-1 to STAND-6). */
#include "harness.h"
#include "rows.h"

#include "coordinator/money/bonds.h"

/* ---- helpers ---- */

static int64_t exactly(struct net *n, const char *kind, const char *did)
{
    char account[LEDGER_ACCOUNT_MAX];
    snprintf(account, sizeof(account), "%s:%s", kind, did);
    return balance(n, account);
}

static int bond(struct net *n, const struct identity *who, const char *did, const char *from,
                const char *units, const char *key)
{
    return call(
        n, who, "POST", "/v1/bonds",
        json_pack("{s:s, s:s, s:s, s:s}", "did", did, "from", from, "units", units, "key", key),
        NULL);
}

static int notice(struct net *n, const struct identity *who, const char *did, const char *from)
{
    return call(n, who, "POST", "/v1/bonds/return",
                json_pack("{s:s, s:s}", "did", did, "from", from), NULL);
}

enum how { FAULTY, LIAR };

/* `at` NULL: the error costs nothing. */
static void punish_at(struct net *n, enum how how, const char *did, const struct error_at *at,
                      const char *proof)
{
    const struct lie lie = {did, n->job, proof, "it lied in a test"};
    os_mutex_lock(&n->c->lock);
    assert_ok(db_begin(n->c->db, err));
    assert_ok(how == LIAR ? punish_liar(n->c, &lie, err)
                          : punish_faulty(n->c, did, at, "it erred in a test", err));
    assert_ok(db_commit(n->c->db, err));
    verify_after(n->c);
    os_mutex_unlock(&n->c->lock);
}

static void punish(struct net *n, enum how how, const char *did, const char *proof)
{
    punish_at(n, how, did, NULL, proof);
}

static int64_t stake_of(struct net *n, const char *did)
{
    int64_t bond, held;
    os_mutex_lock(&n->c->lock);
    held = stake_units(n->c, node_find(n->c, did), &bond);
    os_mutex_unlock(&n->c->lock);
    assert_true(held >= 0);
    return bond;
}

static void bonds_due(struct net *n)
{
    os_mutex_lock(&n->c->lock);
    bonds_return_due(n->c);
    os_mutex_unlock(&n->c->lock);
}

/* Two rigs, all work of the job done twice, the window open for an hour. */
static void run_held(struct net *n, const char *name, double check)
{
    n->cfg.window_ms = 3600 * 1000;
    net_open(n, name);
    rig_add(n);
    rig_add(n);
    struct job job = net_job(n, 4, 2);
    job.check = check;
    net_submit(n, &job);
    run_until(n, "succeeded");
    assert_audit(n);
}

/* ---- bonds ---- */

static void a_bond_goes_in_and_comes_back(void **state)
{
    struct net n = {0};
    (void)state;
    net_open(&n, "bond");
    struct rigbot *r = rig_add(&n);
    faucet(&n);
    int64_t had = exactly(&n, "user", n.user.did);
    assert_int_equal(bond(&n, &n.user, r->id.did, "user", "500", "a"), 200);
    assert_int_equal(bond(&n, &n.user, r->id.did, "user", "500", "a"), 200); /* the same */
    assert_int_equal(exactly(&n, "stake", r->id.did), 500);
    assert_int_equal(bond(&n, &n.user, r->id.did, "user", "600", "a"), 409);
    assert_int_equal(bond(&n, &n.user, r->id.did, "user", "1", "b"), 200);
    assert_int_equal(exactly(&n, "stake", r->id.did), 501);
    assert_int_equal(exactly(&n, "user", n.user.did), had - 501);
    assert_int_equal(stake_of(&n, r->id.did), 501);
    assert_audit(&n);
    assert_int_equal(notice(&n, &n.user, r->id.did, "user"), 200);
    bonds_due(&n);
    assert_int_equal(stake_of(&n, r->id.did), 0);
    assert_int_equal(exactly(&n, "user", n.user.did), had);
    assert_int_equal(exactly(&n, "stake", r->id.did), 0);
    /* and in again: its return has a key of its own */
    assert_int_equal(bond(&n, &n.user, r->id.did, "user", "7", "c"), 200);
    assert_int_equal(notice(&n, &n.user, r->id.did, "user"), 200);
    bonds_due(&n);
    assert_int_equal(exactly(&n, "user", n.user.did), had);
    assert_audit(&n);
    net_close(&n);
}

/* STAND-4 */
static void notice_counts_for_nothing_and_can_be_slashed(void **state)
{
    struct net n = {0};
    (void)state;
    n.cfg.window_ms = 3600 * 1000;
    net_open(&n, "notice");
    struct rigbot *r = rig_add(&n);
    faucet(&n);
    assert_int_equal(bond(&n, &n.user, r->id.did, "user", "500", "a"), 200);
    assert_int_equal(notice(&n, &n.user, r->id.did, "user"), 200);
    int64_t when = number(&n, "SELECT return_ms FROM bonds");
    assert_int_equal(notice(&n, &n.user, r->id.did, "user"), 200); /* again: no later */
    assert_int_equal(number(&n, "SELECT return_ms FROM bonds"), when);
    bonds_due(&n);
    assert_int_equal(stake_of(&n, r->id.did), 0);
    assert_int_equal(exactly(&n, "stake", r->id.did), 500);
    punish(&n, LIAR, r->id.did, "proof");
    assert_int_equal(exactly(&n, "stake", r->id.did), 0);
    assert_int_equal(balance(&n, "fee"), 500);
    assert_int_equal(number(&n, "SELECT COUNT(*) FROM bonds WHERE return_ms > 0"), 0);
    assert_int_equal(notice(&n, &n.user, r->id.did, "user"), 404);
    assert_audit(&n);
    net_close(&n);
}

static void bad_bonds_are_refused(void **state)
{
    static const struct {
        const char *did, *from, *units, *key; /* did NULL: the rig's */
        int status;
    } CASES[] = {
        {NULL, "user", "0", "k", 400},
        {NULL, "user", "-1", "k", 400},
        {NULL, "user", "1.5", "k", 400},
        {NULL, "user", "9223372036854775808", "k", 400},
        {NULL, "user", "999999999999999999", "k", 402},
        {NULL, "user", "5", "", 400},
        {NULL, "user", "5", "a b", 400},
        {NULL, "bank", "5", "k", 400},
        {NULL, "rig", "5", "k", 403}, /* the user signs */
        {"did:key:z6Mk", "user", "5", "k", 400},
        {"fee", "user", "5", "k", 400},
    };
    struct net n = {0};
    (void)state;
    net_open(&n, "badbond");
    struct rigbot *r = rig_add(&n);
    faucet(&n);
    for (size_t i = 0; i < EMAC_COUNT(CASES); i++) {
        const char *did = CASES[i].did ? CASES[i].did : r->id.did;
        int got = bond(&n, &n.user, did, CASES[i].from, CASES[i].units, CASES[i].key);
        if (got != CASES[i].status)
            fail_msg("bond %zu: status %d, not %d", i, got, CASES[i].status);
    }
    assert_int_equal(bond(&n, &r->id, r->id.did, "rig", "5", "k"), 402); /* it earned nothing */
    assert_int_equal(call(&n, NULL, "POST", "/v1/bonds", json_object(), NULL), 401);
    assert_int_equal(balance(&n, "stake:"), 0);
    assert_audit(&n);
    net_close(&n);
}

/* ---- the dispute window ---- */

/* STAND-1 */
static void pay_is_held_until_the_window_closes(void **state)
{
    struct net n = {0};
    (void)state;
    run_held(&n, "window", 1);
    int64_t held = balance(&n, "held:");
    assert_true(held > 0);
    assert_int_equal(balance(&n, "rig:"), 0);
    assert_int_equal(balance(&n, "escrow:"), 0);
    sql(&n, "UPDATE jobs SET settle_ms = 1"); /* an hour passes */
    os_mutex_lock(&n.c->lock);
    money_settle_due(n.c);
    os_mutex_unlock(&n.c->lock);
    assert_int_equal(balance(&n, "held:"), 0);
    assert_int_equal(balance(&n, "rig:"), held);
    assert_audit(&n);
    /* What a rig earned it may stake. */
    struct rigbot *r = &n.rig[0];
    assert_int_equal(bond(&n, &r->id, r->id.did, "rig", "1", "k"), 200);
    assert_int_equal(exactly(&n, "stake", r->id.did), 1);
    assert_audit(&n);
    net_close(&n);
}

/* STAND-3, STAND-5 */
static void a_liar_loses_all_that_is_not_settled(void **state)
{
    struct net n = {0};
    (void)state;
    run_held(&n, "liar", 1);
    const char *did = n.rig[0].id.did;
    assert_int_equal(bond(&n, &n.user, did, "user", "101", "k"), 200);
    int64_t mine = exactly(&n, "held", did), others = balance(&n, "held:") - mine;
    int64_t user = exactly(&n, "user", n.user.did);
    assert_true(mine > 0);
    punish(&n, LIAR, did, "bafyproof");
    assert_int_equal(exactly(&n, "held", did), 0);
    assert_int_equal(balance(&n, "held:"), others);
    assert_int_equal(exactly(&n, "stake", did), 0);
    assert_int_equal(balance(&n, "fee"), 51);
    assert_int_equal(exactly(&n, "user", n.user.did), user + mine + 50);
    assert_audit(&n);
    punish(&n, LIAR, did, "bafyproof"); /* the same proof again */
    assert_int_equal(balance(&n, "fee"), 51);
    assert_int_equal(number(&n, "SELECT COUNT(*) FROM slashes"), 1);
    assert_int_equal(number(&n, "SELECT COUNT(*) FROM nodes WHERE fault = 'liar'"), 1);
    json_t *list = get(&n, "/v1/bonds");
    assert_int_equal(json_array_size(json_object_get(list, "slashes")), 1);
    json_decref(list);
    assert_audit(&n);
    net_close(&n);
}

/* STAND-5: with one rig's work half confirmed. */
static void a_faulty_rig_keeps_what_was_confirmed(void **state)
{
    struct net n = {0};
    (void)state;
    run_held(&n, "faulty", 1);
    const char *did = n.rig[0].id.did;
    assert_int_equal(bond(&n, &n.user, did, "user", "100", "k"), 200);
    int64_t all = exactly(&n, "held", did);
    /* Of one task the other rig's word is gone. */
    sql(&n, "UPDATE receipts SET outputs = 'sum=bafkqaaa' WHERE rowid = (SELECT MIN(o.rowid)"
            " FROM receipts o WHERE o.node = (SELECT did FROM nodes WHERE did <> (SELECT did"
            " FROM bonds)) AND o.state = 'held' AND EXISTS (SELECT 1 FROM receipts r WHERE"
            " r.job = o.job AND r.task = o.task AND r.node <> o.node AND r.state = 'held'))");
    punish(&n, FAULTY, did, "");
    int64_t kept = exactly(&n, "held", did);
    assert_true(kept > 0 && kept < all);
    assert_int_equal(exactly(&n, "stake", did), 100);
    assert_int_equal(balance(&n, "fee"), 0);
    assert_int_equal(number(&n, "SELECT COUNT(*) FROM nodes WHERE fault = 'faulty'"), 1);
    /* It turns out to have lied: the rest goes too. */
    punish(&n, LIAR, did, "bafyproof");
    assert_int_equal(exactly(&n, "held", did), 0);
    assert_int_equal(exactly(&n, "stake", did), 0);
    assert_int_equal(number(&n, "SELECT COUNT(*) FROM nodes WHERE fault = 'liar'"), 1);
    net_close(&n);
}

/* What one rig has in a job that is under way, all of it confirmed by the other. */
struct midway {
    struct net n;
    struct rigbot *r;
    struct cid task;
    int64_t price;
};

static void midway_open(struct midway *m, const char *name)
{
    char text[CID_TEXT_MAX];
    *m = (struct midway){.n.cfg = {.window_ms = 3600 * 1000}};
    net_open(&m->n, name);
    m->r = rig_add(&m->n);
    rig_add(&m->n);
    struct job job = net_job(&m->n, 4, 2);
    job.check = 1;
    net_submit(&m->n, &job);
    run_to_step(&m->n, 2);
    os_mutex_lock(&m->n.c->lock);
    struct db_stmt *q;
    bool row;
    assert_ok(db_query(m->n.c->db, &q, err,
                       "SELECT task, units FROM receipts WHERE node = ? AND state = 'held'"
                       " ORDER BY units LIMIT 1",
                       "t", m->r->id.did));
    assert_ok(db_next(q, &row, err));
    assert_true(row);
    set_text(text, db_text(q, 0));
    m->price = db_i64(q, 1);
    db_done(q);
    os_mutex_unlock(&m->n.c->lock);
    m->task = cid_from_text(text);
    assert_true(m->price > 0);
}

/* STAND-6: out of pay that stays first, and it goes back to the escrow. */
static void an_error_costs_twice_its_price(void **state)
{
    struct midway m;
    (void)state;
    midway_open(&m, "costs");
    const char *did = m.r->id.did;
    assert_int_equal(bond(&m.n, &m.n.user, did, "user", "1000000000", "k"), 200);
    const struct error_at at = {m.n.job, &m.task};
    int64_t escrow = balance(&m.n, "escrow:"), held = exactly(&m.n, "held", did);
    punish_at(&m.n, FAULTY, did, &at, "");
    int64_t of_pay = number(&m.n, "SELECT held_units FROM fault_costs"),
            of_bond = number(&m.n, "SELECT bond_units FROM fault_costs");
    assert_int_equal(of_pay + of_bond, 2 * m.price);
    assert_true(of_pay > 0);
    assert_int_equal(exactly(&m.n, "stake", did), 1000000000 - of_bond);
    assert_true(exactly(&m.n, "held", did) <= held - of_pay);
    assert_true(balance(&m.n, "escrow:") >= escrow + of_pay);
    os_mutex_lock(&m.n.c->lock); /* memory knows it as well: it may be leased again */
    int64_t known = job_find(m.n.c, m.n.job)->escrow_units;
    os_mutex_unlock(&m.n.c->lock);
    assert_int_equal(known, balance(&m.n, "escrow:"));
    assert_audit(&m.n);
    held = exactly(&m.n, "held", did);
    punish_at(&m.n, FAULTY, did, &at, ""); /* once in its life */
    assert_int_equal(exactly(&m.n, "stake", did), 1000000000 - of_bond);
    assert_int_equal(exactly(&m.n, "held", did), held);
    assert_int_equal(number(&m.n, "SELECT COUNT(*) FROM fault_costs"), 1);
    json_t *list = get(&m.n, "/v1/bonds");
    assert_int_equal(json_array_size(json_object_get(list, "costs")), 1);
    json_decref(list);
    m.r->unplugged = true;
    rig_add(&m.n);
    run_until(&m.n, "succeeded");
    assert_audit(&m.n);
    net_close(&m.n);
}

/* STAND-6, STAND-4: nothing is held any more, the bond bears it, to its last unit if it must; what
 * is left stays for a window although notice was given long ago. */
static void a_bond_bears_costs_and_stays(void **state)
{
    struct midway m;
    (void)state;
    midway_open(&m, "bears");
    const char *did = m.r->id.did, *other = m.n.rig[1].id.did;
    char units[32];
    assert_int_equal(bond(&m.n, &m.n.user, did, "user", "1000000000", "k"), 200);
    snprintf(units, sizeof(units), "%lld", (long long)m.price);
    assert_int_equal(bond(&m.n, &m.n.user, other, "user", units, "l"), 200);
    assert_int_equal(notice(&m.n, &m.n.user, did, "user"), 200);
    sql(&m.n, "UPDATE bonds SET return_ms = 1 WHERE return_ms > 0"); /* an hour passes */
    const struct error_at at = {m.n.job, &m.task};
    sql(&m.n, "UPDATE nodes SET state = 'quarantined', fault = 'faulty' WHERE did = (SELECT did"
              " FROM bonds ORDER BY units LIMIT 1)"); /* the other confirms nothing */
    int64_t user = exactly(&m.n, "user", m.n.user.did);
    punish_at(&m.n, FAULTY, did, &at, "");
    assert_int_equal(exactly(&m.n, "held", did), 0);
    assert_int_equal(exactly(&m.n, "stake", did), 1000000000 - 2 * m.price);
    assert_int_equal(exactly(&m.n, "user", m.n.user.did), user + 2 * m.price);
    bonds_due(&m.n);
    assert_int_equal(exactly(&m.n, "stake", did), 1000000000 - 2 * m.price);
    punish_at(&m.n, FAULTY, other, &at, "");
    assert_int_equal(exactly(&m.n, "stake", other), 0); /* it had no more than half of it */
    assert_int_equal(number(&m.n, "SELECT COUNT(*) FROM bonds WHERE units = 0 AND costs > 0"), 1);
    sql(&m.n, "UPDATE bonds SET return_ms = 1 WHERE return_ms > 0");
    bonds_due(&m.n);
    assert_int_equal(exactly(&m.n, "stake", did), 0);
    assert_int_equal(exactly(&m.n, "user", m.n.user.did), user + 1000000000 + m.price);
    net_close(&m.n);
}

/* STAND-5: two that confirm each other, and are out both, have confirmed nothing. */
static void who_is_out_confirms_nothing(void **state)
{
    struct net n = {0};
    (void)state;
    run_held(&n, "mutual", 1);
    const char *first = n.rig[0].id.did, *second = n.rig[1].id.did;
    punish(&n, FAULTY, first, "");
    assert_true(exactly(&n, "held", first) > 0);
    punish(&n, FAULTY, second, "");
    assert_int_equal(exactly(&n, "held", first), 0);
    assert_int_equal(exactly(&n, "held", second), 0);
    assert_audit(&n);
    net_close(&n);
}

/* ---- the audit ---- */

static void the_audit_finds_each_planted_bug(void **state)
{
    static const struct {
        const char *plant, *finding, *undo;
    } BUGS[] = {
        {"UPDATE jobs SET settle_ms = 0", "STAND-1", "UPDATE jobs SET settle_ms = 4000000000000"},
        {"UPDATE receipts SET state = 'settled' WHERE node = (SELECT MIN(did) FROM nodes)",
         "STAND-1", "UPDATE receipts SET state = 'held' WHERE state = 'settled'"},
        {"UPDATE bonds SET units = units + 1, put = put + 1", "STAND-2",
         "UPDATE bonds SET units = units - 1, put = put - 1"},
        {"UPDATE bonds SET did = 'x' || did", "STAND-2", "UPDATE bonds SET did = SUBSTR(did, 2)"},
        {"UPDATE bonds SET units = units - 1, slashed = slashed + 1", "STAND-3",
         "UPDATE bonds SET units = units + 1, slashed = slashed - 1"},
        {"UPDATE bonds SET units = units - 1, costs = costs + 1", "STAND-6",
         "UPDATE bonds SET units = units + 1, costs = costs - 1"},
        {"INSERT INTO fault_costs SELECT did, '', '', 2, 1, 0, 0 FROM bonds", "STAND-6",
         "DELETE FROM fault_costs"},
        {"UPDATE nodes SET state = 'quarantined', fault = 'liar'", "STAND-5",
         "UPDATE nodes SET state = 'admitted', fault = ''"},
    };
    struct net n = {0};
    (void)state;
    run_held(&n, "planted", 1);
    assert_int_equal(bond(&n, &n.user, n.rig[0].id.did, "user", "100", "k"), 200);
    assert_audit(&n);
    for (size_t i = 0; i < EMAC_COUNT(BUGS); i++) {
        sql(&n, BUGS[i].plant);
        json_t *a = get(&n, "/v1/ledger/audit");
        char *text = json_dumps(a, 0);
        if (json_is_true(json_object_get(a, "ok")) || strstr(text, BUGS[i].finding) == NULL)
            fail_msg("planted bug %zu is not found as %s: %s", i, BUGS[i].finding, text);
        free(text);
        json_decref(a);
        sql(&n, BUGS[i].undo);
        assert_audit(&n);
    }
    net_close(&n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bond_goes_in_and_comes_back),
        cmocka_unit_test(notice_counts_for_nothing_and_can_be_slashed),
        cmocka_unit_test(bad_bonds_are_refused),
        cmocka_unit_test(pay_is_held_until_the_window_closes),
        cmocka_unit_test(a_liar_loses_all_that_is_not_settled),
        cmocka_unit_test(a_faulty_rig_keeps_what_was_confirmed),
        cmocka_unit_test(an_error_costs_twice_its_price),
        cmocka_unit_test(a_bond_bears_costs_and_stays),
        cmocka_unit_test(who_is_out_confirms_nothing),
        cmocka_unit_test(the_audit_finds_each_planted_bug),
    };
    return cmocka_run_group_tests_name("standing", tests, NULL, NULL);
}
